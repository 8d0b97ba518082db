"""Training: what it learns, in which order it does things, and when and how it stops."""

import copy
import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest

import neural_net as nn
from neural_net import SGD, Callback, EarlyStopping, Identity, Linear, Network, Training, dense_layers, evaluate, fit
from neural_net.callbacks import Record
from neural_net.gradcheck import check_layer, check_loss
from neural_net.layers import setup

RNG = np.random.default_rng
Data = tuple[np.ndarray, np.ndarray]


def network(*layers: Any, dtype: Any = np.float64, seed: int = 0) -> Network:
    return Network(list(layers) or dense_layers([16], 3), 4, rng=RNG(seed), dtype=dtype)


# Arguments
def test_fit_shows_the_arguments_of_training_and_passes_them_on(blobs: Data) -> None:
    of_fit, of_training = inspect.signature(fit).parameters, inspect.signature(Training).parameters
    assert list(of_fit.values()) == list(of_training.values())
    assert len(fit(network(), *blobs, rng=0, epochs=3)) == 3


def test_a_seed_stands_for_its_generator(blobs: Data) -> None:
    def numbers(make: Any) -> list[np.ndarray]:
        net, layer = Network([{"dropout": {"rate": 0.4}}, Linear(3)], 4, rng=make(1)), Linear(2)
        fit(net, *blobs, rng=make(2), epochs=1, augment=lambda X, rng: X + rng.normal(size=X.shape))
        setup(layer, (3,), make(3))
        old = nn.Neural_Net([4, 3], [], rng=make(4)).network
        errors = [check_layer(Linear(2), (3,), make(5)), check_loss(nn.CrossEntropy(), make(6))]
        return [net.params, layer.W, old.params, np.array(errors)]

    assert all(map(np.array_equal, numbers(int), numbers(RNG)))


# Learning
@pytest.mark.parametrize("loss", [name for name, kind in nn.LOSSES.items() if kind.__module__.startswith("neural_net")])
def test_every_loss_can_be_learned(loss: str, blobs: Data) -> None:
    net = network()
    before, _ = evaluate(net, *blobs, loss)
    fit(net, *blobs, rng=RNG(0), loss=loss, optimizer={"adam": {"lr": 0.02}}, epochs=50)
    after, accuracy = evaluate(net, *blobs, loss)
    assert after < before / 5
    assert accuracy == 1


def test_one_step_by_head_one_row_and_one_class() -> None:
    net = Network([Linear(1)], 1, rng=RNG(0), dtype=np.float64)
    net.params[:] = 0
    data = [[1.0], [2.0]], [2.0, 4.0]
    history = fit(net, *data, rng=RNG(0), loss="mean_squared_error", optimizer=SGD(0.1), epochs=1, accuracy=False)
    assert history["train_loss"] == [10]  # (4 + 16) / 2
    assert net.params.tolist() == pytest.approx([1, 0.6])  # the slopes are -(2 * 1 + 4 * 2) and -(2 + 4)
    net = network()
    assert fit(net, [[1, 2, 3, 4]], [2], rng=RNG(0), epochs=50, optimizer={"adam": {"lr": 0.1}})["train_loss"][-1] < 0.1
    assert net.predict([[1, 2, 3, 4]]) == [2]
    net = Network([Linear(1)], 4, rng=RNG(0), classes=["only"])
    assert fit(net, np.ones((5, 4)), [0] * 5, rng=RNG(0), epochs=2)["train_loss"] == [0, 0]


class Doubles(nn.Layer):
    """``y = 2 x`` by a NumPy float64, which makes arrays float64."""

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return np.float64(2) * x

    def backward(self, grad_out: np.ndarray) -> np.ndarray:
        return np.float64(2) * grad_out


class InDouble(nn.MeanSquaredError):
    def backward(self) -> np.ndarray:
        return super().backward().astype(np.float64)


class Short(nn.MeanSquaredError):
    def backward(self) -> np.ndarray:
        return super().backward()[:, :1]


def test_parts_of_ones_own_may_calculate_in_float64(blobs: Data) -> None:
    class Tenfold:
        def Forward_prop(self, Z: np.ndarray) -> np.ndarray:
            return np.float64(10) * Z

        Backward_prop = Forward_prop

    X, y = blobs
    nets = [network(Linear(3), *middle, Linear(3), dtype=np.float32) for middle in ([Doubles(), Tenfold()], [])]
    nets[1].layers[1].W *= 20
    for net in nets:
        fit(net, X, y, rng=RNG(0), loss=InDouble(), epochs=1, batch_size=None, optimizer=SGD(1e-4))
    assert nets[0].outputs(X).dtype == np.float32
    np.testing.assert_allclose(nets[0].grads[:15], nets[1].grads[:15], rtol=1e-4)


# Paths at the end
PATH_END = [{"reshape": {"shape": [4, 1]}}, Linear(8), "tanh", Linear(3)]


def test_a_network_that_ends_in_paths_learns_a_class_for_each_step() -> None:
    X = RNG(0).normal(size=(60, 4))
    steps = np.digitize(X, [-0.5, 0.5])  # of each number: low, middle or high
    net = Network(copy.deepcopy(PATH_END), 4, rng=RNG(0), dtype=np.float64, classes=["low", "middle", "high"])
    options: dict[str, Any] = {"optimizer": {"adam": {"lr": 0.05}}, "validation": (X, steps)}
    history = fit(net, X, steps, rng=RNG(0), epochs=60, **options)
    assert net.outputs(X).shape == net.predict_proba(X).shape == (60, 4, 3)
    right = float(np.mean(net.predict(X) == np.array(["low", "middle", "high"])[steps]))
    assert 0.95 < history.last["train_accuracy"] <= 1
    assert (history.last["val_loss"], right) == (evaluate(net, X, steps)[0], pytest.approx(evaluate(net, X, steps)[1]))
    assert right == history.last["val_accuracy"] > 0.95
    with pytest.raises(ValueError, match=r"CrossEntropy expects targets of shape \(rows, 4, 3\), or class .* flatten"):
        fit(net, X, steps[:, 0], rng=RNG(0))


@pytest.mark.parametrize("loss", ["huber", {"cross_entropy": {"class_weights": [1, 2, 3]}}], ids=str)
def test_a_weight_of_a_path_is_as_good_as_repeated_paths(loss: Any) -> None:
    X, weight, trained = RNG(0).normal(size=(12, 4)), np.arange(12) % 3, []
    steps = np.digitize(X, [-0.5, 0.5])
    for repeats, weights in ((1, weight), (weight, None)):
        net, rows = Network(copy.deepcopy(PATH_END), 4, rng=RNG(0), dtype=np.float64), np.repeat(X, repeats, 0)
        options: dict[str, Any] = {"batch_size": None, "epochs": 5, "optimizer": SGD(0.1), "loss": loss}
        history = fit(net, rows, np.repeat(steps, repeats, 0), rng=RNG(0), sample_weight=weights, **options)
        trained.append([*net.params, *history["train_loss"], *history["train_accuracy"]])
    np.testing.assert_allclose(trained[0], trained[1], rtol=1e-9, atol=1e-12)


def test_several_labels_a_row_and_one_output_for_yes_or_no() -> None:
    X = RNG(0).normal(size=(80, 4))
    for labels in (X[:, :2] > 0, X[:, 0] > 0):
        net = network(Linear(labels.ndim))
        history = fit(
            net, X, labels, rng=RNG(0), loss="binary_cross_entropy", epochs=80, optimizer={"adam": {"lr": 0.1}}
        )
        found = (net.outputs(X) > 0).reshape(labels.shape)
        assert evaluate(net, X, labels, "binary_cross_entropy")[1] == np.mean(found == labels) > 0.95
        assert 0.95 < history.last["train_accuracy"] <= 1


# Batches
class Spy(Identity):
    """Writes down the first number of each row that comes by in training."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[float]] = []

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        if training:
            self.seen.append(x[:, 0].tolist())
        return super().forward(x, training)


def test_rows_are_shuffled_anew_every_epoch_and_each_comes_once() -> None:
    spy, X = Spy(), np.repeat(np.arange(20.0), 4).reshape(20, 4)
    fit(network(spy, Linear(3)), X, np.arange(20) % 3, rng=RNG(0), epochs=6, batch_size=8)
    assert [len(batch) for batch in spy.seen] == [8, 8, 4] * 6
    epochs = [spy.seen[i : i + 3] for i in range(0, 18, 3)]
    assert all(sorted(row for batch in epoch for row in batch) == list(range(20)) for epoch in epochs)
    members = {frozenset(batch) for epoch in epochs for batch in epoch}
    assert len(members) == 18  # not only the batches' order changes, but who is in them


def test_rows_come_in_the_order_given_without_shuffle() -> None:
    """More rows than are gathered at once, in batches, as full batches of a part of the rows each."""
    X, (net, twin) = RNG(0).normal(size=(10_000, 4)), (network(Linear(3)) for _ in range(2))
    y, weight, optimizer = np.arange(10_000) % 3, 0.5 + RNG(1).random(10_000), SGD(0.1)
    fit(net, X, y, rng=1, optimizer=SGD(0.1), epochs=1, batch_size=3000, shuffle=False, sample_weight=weight)
    for i in range(0, 10_000, 3000):
        part: dict[str, Any] = {"sample_weight": weight[i : i + 3000], "mean_weight": weight.mean()}
        fit(twin, X[i : i + 3000], y[i : i + 3000], rng=2, optimizer=optimizer, epochs=1, batch_size=None, **part)
    assert net.params == pytest.approx(twin.params, rel=1e-12)


def test_rows_keep_their_targets_and_weights() -> None:
    """Shuffling X without y, or without its weights, would make these tasks impossible."""
    X = np.eye(4)[np.arange(32) % 4]
    weight = np.where(np.arange(32) < 16, 1, 0)
    y = np.where(weight, np.arange(32) % 4 % 3, np.arange(32) // 4 % 3)  # of weight 0: at odds with the others
    net = network(Linear(3))
    fit(net, X, y, rng=RNG(0), batch_size=5, epochs=200, optimizer={"adam": {"lr": 0.1}}, sample_weight=weight)
    assert net.predict(np.eye(4)).tolist() == [0, 1, 2, 0]
    assert evaluate(net, X[:16], y[:16])[0] < 0.01


def test_augmentation_makes_each_epochs_rows_from_the_given_ones_and_cannot_change_them(blobs: Data) -> None:
    X, y = blobs
    spy, seen = Spy(), []

    def shift(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        seen.append(rows)
        return rows + rng.normal()

    fit(network(spy, Linear(3)), X, y, rng=RNG(0), epochs=3, batch_size=None, augment=shift)
    assert all(np.array_equal(rows, X) and not rows.flags.writeable for rows in seen)
    assert len({batch[0] for batch in spy.seen}) == 3


# Weights of rows
BY_CLASS = {"cross_entropy": {"class_weights": [1, 2, 3]}}
PATH = [{"reshape": {"shape": [2, 2]}}, {"conv1d": {"filters": 3}}, "batch_norm", "tanh", "flatten", Linear(3)]


@pytest.mark.parametrize("loss", ["cross_entropy", BY_CLASS, "focal"], ids=["cross entropy", "by class", "focal"])
@pytest.mark.parametrize("layers", [[], dense_layers([8], 3, normalization="batch_norm"), PATH], ids=len)
def test_a_row_of_weight_2_is_a_row_given_twice(layers: Any, loss: Any, blobs: Data) -> None:
    """By weights of rows and of classes; in the weights, the running statistics, and what is measured."""
    X, y = blobs
    weight, held_out = np.arange(32) % 4, np.arange(9) % 3
    by_class = np.array([1, 2, 3])[y] if loss is BY_CLASS else np.ones(32, int)
    plain = "cross_entropy" if loss is BY_CLASS else loss
    once, repeated = network(*copy.deepcopy(layers)), network(*copy.deepcopy(layers))
    options: dict[str, Any] = {"batch_size": None, "epochs": 20, "optimizer": SGD(0.1)}
    a = fit(once, X, y, rng=RNG(0), loss=loss, sample_weight=pd.Series(weight), **options,
            validation=(X[:9], y[:9], held_out))  # fmt: skip
    b = fit(repeated, *(np.repeat(rows, weight * by_class, 0) for rows in (X, y)), rng=RNG(0), loss=plain, **options,
            validation=[np.repeat(rows[:9], held_out * by_class[:9], 0) for rows in (X, y)])  # fmt: skip
    np.testing.assert_allclose(once.params, repeated.params, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(once.outputs(X), repeated.outputs(X), rtol=1e-9, atol=1e-12)
    losses_alone = loss is BY_CLASS  # weights of classes do not count in the accuracy
    for key in ("train_loss", "val_loss") if losses_alone else a.last:
        np.testing.assert_allclose(a[key], b[key], rtol=1e-9)


@pytest.mark.parametrize("size", [1, 5, 32])
@pytest.mark.parametrize("loss", ["mean_squared_error", BY_CLASS], ids=["squared", "by class"])
def test_the_batches_of_an_epoch_pull_as_all_rows_together(loss: Any, size: int, blobs: Data) -> None:
    pulls = []

    class Pull(Callback):
        def on_batch_end(self, training: Training) -> None:
            rows = min(size, 32 - (training.step - 1) * size)
            pulls.append(training.network.grads * rows / 32)

    options: dict[str, Any] = {"epochs": 1, "optimizer": SGD(1e-300), "loss": loss, "sample_weight": np.arange(32) % 4}
    net = network()
    fit(net, *blobs, rng=RNG(0), batch_size=size, callbacks=[Pull()], **options)
    fit(net, *blobs, rng=RNG(0), batch_size=None, **options)
    np.testing.assert_allclose(sum(pulls), net.grads, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("unit", [1e-310, 1e-42, 1e37, 1e307])
def test_weights_of_any_size_count_by_their_proportions(unit: float, blobs: Data) -> None:
    found = []
    for weight, of_classes in ((np.arange(32) % 4, [1, 2, 3]), (np.arange(32) % 4 * unit, [unit, 2 * unit, 3 * unit])):
        net, loss = network(dtype=np.float32), nn.CrossEntropy(0.1, of_classes)
        options: dict[str, Any] = {"loss": loss, "validation": (*blobs, weight), "sample_weight": weight}
        history = fit(net, *blobs, rng=RNG(0), epochs=2, **options)
        found.append([*net.params, *history["train_accuracy"], *history["val_loss"]])
        found[-1] += evaluate(net, *blobs, loss, weight)
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [64, 32, 1])
def test_rare_rows_of_great_weight_balance_in_small_batches(size: int) -> None:
    """Of rows that are all alike, 1 % have the weight 99: half of the weight."""
    y, found = np.arange(100) == 0, []
    for seed in range(8):
        net = network(Linear(2))
        fit(net, np.ones((100, 4)), y, rng=RNG(seed), batch_size=size, epochs=2000 // (100 // size), schedule="cosine",
            optimizer=SGD(0.02 if size > 1 else 0.005), sample_weight=np.where(y, 99, 1), accuracy=False)  # fmt: skip
        found.append(net.predict_proba(np.ones((1, 4)))[0, 1])
    assert np.mean(found) == pytest.approx(0.5, abs=0.02)


def test_the_training_loss_of_batches_counts_each_row_by_its_weight(blobs: Data) -> None:
    X, y = blobs
    weight = np.arange(32) % 4
    options: dict[str, Any] = {"epochs": 1, "optimizer": SGD(1e-300)}  # the weights stay
    in_batches = fit(network(), X, y, rng=RNG(0), sample_weight=weight, batch_size=5, **options)
    at_once = fit(network(), X, y, rng=RNG(0), sample_weight=weight, batch_size=None, **options)
    assert in_batches["train_loss"] == pytest.approx(at_once["train_loss"])


# History
def test_history_says_what_was_measured_after_each_epoch(blobs: Data) -> None:
    net = network()
    training = Training(net, *blobs, rng=RNG(0), validation=(blobs[0][:9], blobs[1][:9]), schedule="cosine", epochs=4,
                        optimizer={"adam": {"lr": 0.5}}, batch_size=None)  # fmt: skip
    before = evaluate(net, *blobs)
    assert evaluate(net, blobs[0], np.eye(3)[blobs[1]]) == pytest.approx(before)
    history = training.run()
    assert history is training.history
    assert (len(history), history["epoch"]) == (4, [1, 2, 3, 4])
    assert set(history.last) == {"epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy"}
    assert (history["train_loss"][0], history["train_accuracy"][0]) == pytest.approx(before)
    assert (history.last["val_loss"], history.last["val_accuracy"]) == evaluate(net, blobs[0][:9], blobs[1][:9])
    assert history["lr"] == pytest.approx([0.5, 0.5 * (2 + 2**0.5) / 4, 0.25, 0.5 * (2 - 2**0.5) / 4])


def test_a_single_output_has_no_accuracy() -> None:
    X, y = np.ones((5, 4)), np.arange(5.0)
    net = network(Linear(1))
    history = fit(net, X, y, rng=RNG(0), loss="mean_squared_error", epochs=1, validation=(X, y))
    assert set(history.last) == {"epoch", "lr", "train_loss", "val_loss"}
    assert np.isnan(evaluate(net, X, y, "mean_squared_error")[1])
    assert set(fit(network(), X, y % 3, rng=RNG(0), epochs=1, accuracy=False).last) == {"epoch", "lr", "train_loss"}


def test_the_first_step_of_a_warmup_changes_the_weights(blobs: Data) -> None:
    net = network()
    before = net.params.copy()
    history = fit(net, *blobs, rng=RNG(0), schedule={"warmup": {"epochs": 1}}, batch_size=None, epochs=2,
                  optimizer=SGD(0.5))  # fmt: skip
    assert history["lr"] == [0.25, 0.5]
    assert not np.array_equal(net.params, before)


def test_the_schedule_hears_the_validation_loss(blobs: Data) -> None:
    X, y = blobs
    wrong = (X, (y + 1) % 3)  # what training learns makes this worse
    schedule = {"reduce_on_plateau": {"rate": 0.5, "patience": 0}}
    options: dict[str, Any] = {"schedule": schedule, "epochs": 4, "optimizer": {"adam": {"lr": 0.1}}}
    assert fit(network(), X, y, rng=RNG(0), validation=wrong, **options)["lr"] == [0.1, 0.1, 0.05, 0.025]
    assert fit(network(), X, y, rng=RNG(0), **options)["lr"] == [0.1] * 4


# Callbacks
class Diary(Callback):
    """Writes down each event with the epoch and the step, and ends the training after two epochs."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def event(training: Training, *record: Record) -> None:
            self.events.append(f"{name.removeprefix('on_')} {training.epoch} {training.step}")
            training.stopping = training.epoch == 2

        return event


def test_callbacks_are_called_in_order_and_can_end_the_training(blobs: Data) -> None:
    diary = Diary()
    history = fit(network(), *blobs, rng=RNG(0), batch_size=20, epochs=9, callbacks=[diary])
    assert diary.events == [
        "train_begin 0 0",
        "epoch_begin 1 0", "batch_begin 1 0", "batch_end 1 1", "batch_begin 1 1", "batch_end 1 2",
        "validation_begin 1 2", "epoch_end 1 2",
        "epoch_begin 2 2", "batch_begin 2 2", "batch_end 2 3", "batch_begin 2 3", "batch_end 2 4",
        "validation_begin 2 4", "epoch_end 2 4",
        "train_end 2 4",
    ]  # fmt: skip
    assert len(history) == 2


class Remember(Callback):
    """Keeps the weights and running statistics at the end of each epoch."""

    def __init__(self) -> None:
        self.weights: list[np.ndarray] = []
        self.means: list[np.ndarray] = []

    def on_epoch_end(self, training: Training, record: Record) -> None:
        self.weights.append(training.network.params.copy())
        self.means += [layer.state["mean"].copy() for layer in training.network.walk() if layer.state]


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_early_stopping_puts_the_best_epoch_back_exactly(monitor: str, blobs: Data) -> None:
    X, y = blobs
    noisy = RNG(3).permutation(y)
    net, remember = network(*dense_layers([32], 3, normalization="batch_norm")), Remember()
    history = fit(
        net, X, y, rng=RNG(0), validation=(X[::3], noisy[::3]), epochs=200, batch_size=8,
        optimizer={"adam": {"lr": 0.02}}, callbacks=[remember, EarlyStopping(5, monitor)],
    )  # fmt: skip
    best = np.argmin(history["val_loss"]) if monitor == "val_loss" else np.argmax(history["val_accuracy"])
    assert len(history) == best + 1 + 5
    assert np.array_equal(net.params, remember.weights[best])
    assert np.array_equal(net.layers[1].state["mean"], remember.means[best])


def test_early_stopping_can_watch_what_a_callback_before_it_measures(blobs: Data) -> None:
    class Measure(Callback):
        def on_epoch_end(self, training: Training, record: Record) -> None:
            record["norm"] = 1.0

    stop = [Measure(), EarlyStopping(2, "norm")]
    assert len(fit(network(), *blobs, rng=RNG(0), epochs=9, callbacks=stop)) == 3
    with pytest.raises(ValueError, match="EarlyStopping watches norm, and the training measures epoch, lr, train_loss"):
        fit(network(), *blobs, rng=RNG(0), callbacks=stop[::-1])


def test_early_stopping_ignores_improvements_that_are_too_small(blobs: Data) -> None:
    options: dict[str, Any] = {"epochs": 50, "optimizer": SGD(0.01)}
    assert len(fit(network(), *blobs, rng=RNG(0), callbacks=[EarlyStopping(3, "train_loss")], **options)) == 50
    stopped = fit(network(), *blobs, rng=RNG(0), callbacks=[EarlyStopping(3, "train_loss", min_delta=0.5)], **options)
    assert len(stopped) == 4


def test_early_stopping_puts_the_best_epoch_back_after_a_divergence(blobs: Data) -> None:
    net, remember, diary = network(Linear(8), Poison(6), Linear(3)), Remember(), Diary()
    callbacks = [remember, EarlyStopping(5, "train_loss"), diary]
    with pytest.raises(nn.DivergedError, match="epoch 2"):
        fit(net, *blobs, rng=RNG(0), batch_size=8, epochs=9, callbacks=callbacks)
    assert np.array_equal(net.params, remember.weights[0])
    assert diary.events[-1] == "train_end 2 6"


def test_weight_average_of_two_steps_by_head() -> None:
    """Of f = w with lr 1 the weights are 0, -1, -2; the average's share of the newest is 9/11, then 9/12."""
    net = Network([Linear(1)], 1, rng=RNG(0), dtype=np.float64)
    net.params[:] = [0, 0]

    class Slope(Callback):
        def on_train_begin(self, training: Training) -> None:
            training.loss.backward = lambda: np.ones((1, 1))  # type: ignore[method-assign]

    data = [[1.0]], [[0.0]]
    options: dict[str, Any] = {"loss": "mean_squared_error", "optimizer": SGD(1.0), "accuracy": False}
    average = nn.WeightAverage(decay=0.99)
    fit(net, *data, rng=RNG(0), epochs=2, callbacks=[Slope(), average], **options)
    assert net.params.tolist() == pytest.approx([-(9 / 11 * 3 / 12 + 2 * 9 / 12)] * 2)
    assert average.average.tolist() == pytest.approx([-2, -2])  # the training's own weights, kept aside


@pytest.mark.parametrize("poisoned", [3, 4, 6])
def test_weight_average_is_what_a_divergence_leaves(poisoned: int, blobs: Data) -> None:
    """In batches of 8, an epoch has 4 steps; the average of the poisoned step is NaN too, and the one before is not."""
    nets = [network(Linear(8), nn.BatchNorm(), Poison(step), Linear(3)) for step in (poisoned, 99)]
    averages: list[np.ndarray] = []
    average = nn.WeightAverage(0.9)

    class Note(Callback):
        def on_batch_end(self, training: Training) -> None:
            averages.append(average.average.copy())

    fit(nets[1], *blobs, rng=RNG(0), batch_size=8, epochs=2, callbacks=[average, Note()])
    with pytest.raises(nn.DivergedError):
        fit(nets[0], *blobs, rng=RNG(0), batch_size=8, epochs=2, callbacks=[nn.WeightAverage(0.9)])
    assert np.array_equal(nets[0].params, averages[poisoned - 2])
    assert np.isfinite(nets[0].outputs(blobs[0])).all()


def test_an_optimizer_goes_on_with_its_network_and_starts_anew_with_another(blobs: Data) -> None:
    options: dict[str, Any] = {"rng": RNG(0), "epochs": 2, "batch_size": None}
    once, again, other = network(), network(), network(seed=1)
    fit(once, *blobs, **options | {"epochs": 4}, optimizer=nn.Adam())
    adam, unused = nn.Adam(), nn.Adam()
    for _ in range(2):
        again, adam = copy.deepcopy((again, adam))  # both together: the pair stays one
        fit(again, *blobs, **options, optimizer=adam)
    assert np.array_equal(again.params, once.params)
    fit(copied := copy.deepcopy(other), *blobs, **options, optimizer=adam)
    fit(other, *blobs, **options, optimizer=unused)
    assert np.array_equal(copied.params, other.params)
    assert (unused.t, adam.t) == (2, 2)


def test_weight_average_is_what_is_validated_and_kept_by_early_stopping(blobs: Data) -> None:
    X, y = blobs
    net, remember = network(), Remember()
    callbacks = [nn.WeightAverage(0.9), remember, EarlyStopping(2)]
    history = fit(net, X, y, rng=RNG(0), validation=(X, (y + 1) % 3), epochs=30, callbacks=callbacks, batch_size=8)
    best = int(np.argmin(history["val_loss"]))
    assert np.array_equal(net.params, remember.weights[best])
    assert evaluate(net, X, (y + 1) % 3)[0] == history["val_loss"][best]


# The first NaN or infinity
class Poison(Identity):
    """Its gradient is NaN from a certain training step on."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step, self.steps = step, 0

    def backward(self, grad_out: np.ndarray) -> np.ndarray:
        self.steps += 1
        return super().backward(grad_out) * (np.nan if self.steps >= self.step else 1)


@pytest.mark.parametrize(("layers", "weights", "options", "where"), [
    ([8, "relu", 3], {}, {"optimizer": SGD(1e30)}, r"epoch 1: .* the output of linear2 after step 1\."),
    ([8, "relu", 3], {}, {"optimizer": SGD(1e30), "batch_size": None},
     r"epoch 2: .* the output of linear2 after step 1\. .* a smaller lr \(it is 1e\+30\)"),
    ([8, 8, 3], {"linear2": np.inf}, {}, r"epoch 1: .* the weights linear2.W from the start\."),
    ([8, 8, 3], {"linear2": 3e38}, {}, r"epoch 1: .* the output of linear2 from the start\."),
    ([4, nn.Residual([Linear(4), Linear(4)]), 3], {"linear3": 3e38}, {}, r"epoch 1: .* the output of linear3 from"),
    ([8, Poison(1), 3], {}, {}, r"epoch 1: .* the gradient linear1.db of step 1\."),
    ([8, "tanh", 8, Poison(6), 3], {}, {}, r"epoch 2: .* the gradient linear2.db of step 6\."),
    ([8, Poison(4), 3], {}, {}, r"epoch 1: .* the gradient linear1.db of step 4\."),  # the last step of an epoch
    ([3], {}, {"optimizer": SGD(1e39)}, r"epoch 1: .* the weights linear1.W after step 1\."),
    ([3], {"linear1": 1e25}, {"loss": "mean_squared_error"}, r"epoch 1: .* in the loss from the start\."),
])  # fmt: skip
def test_divergence_names_epoch_and_layer(layers: Any, weights: Any, options: Any, where: str, blobs: Data) -> None:
    net = network(*[Linear(layer) if isinstance(layer, int) else layer for layer in layers], dtype=np.float32)
    for layer in net.walk():
        if layer.name in weights:
            layer.W[...] = weights[layer.name]
    with pytest.raises(nn.DivergedError, match=rf"training diverged in {where}") as error:
        fit(net, *blobs, rng=RNG(0), **{"batch_size": 8, "epochs": 5} | options)
    assert all(help_ in str(error.value) for help_ in ("a smaller lr", "another init", "clip_norm"))


def test_divergence_on_the_validation_rows_is_named(blobs: Data) -> None:
    X, y = blobs
    net = network(*dense_layers([8], 3), dtype=np.float32)
    with pytest.raises(
        nn.DivergedError, match=r"epoch 1: .* the output of linear\d for the validation rows after step 1"
    ):
        fit(net, X, y, rng=RNG(0), validation=(np.full((2, 4), 3e38), [0, 1]), epochs=2)


# The same seed
def test_equal_seeds_give_equal_bytes_and_both_seeds_matter(blobs: Data) -> None:
    weights = []
    for seed, training_seed in ((0, 0), (0, 0), (1, 0), (0, 1)):
        net = network(*dense_layers([8], 3, normalization="batch_norm", dropout=0.3), seed=seed)
        fit(net, *blobs, rng=RNG(training_seed), epochs=2, batch_size=8, schedule="one_cycle", validation=blobs)
        weights.append(net.params.tobytes())
    assert weights[0] == weights[1]
    assert len(set(weights)) == 3


# Networks that do not fit the training
@pytest.mark.parametrize("end", [["softmax"], ["sigmoid"], [nn.Chain(["softmax"]), "identity", {"dropout": {}}],
                                 [nn.Chain([nn.Residual(["relu"]), "sigmoid", nn.Chain(["flatten"])])],
                                 [{"reshape": {"shape": [1, 3]}}, "softmax", "flatten"]], ids=str)  # fmt: skip
@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "binary_cross_entropy"])
def test_outputs_are_not_squashed_twice(loss: str, end: list[Any], blobs: Data) -> None:
    net = network(Linear(3), *end)
    for call in (lambda: fit(net, *blobs, rng=RNG(0), loss=loss), lambda: evaluate(net, *blobs, loss)):
        with pytest.raises(
            ValueError, match=r"applies s.* itself; leave out s\w+1 at the end of the net.* squashed twice"
        ):
            call()
    fit(net, *blobs, rng=RNG(0), loss="mean_squared_error", optimizer=SGD(1.0), epochs=50)
    assert evaluate(net, *blobs, "mean_squared_error")[1] > 0.9
    if "softmax" in str(net).lower():
        assert np.array_equal(net.predict_proba(blobs[0]), net.outputs(blobs[0]))


def test_batch_normalization_of_single_rows(blobs: Data) -> None:
    """A last batch of one row is normalised as predictions are; batches that all have one row are refused."""
    X, y = blobs
    net = network(*dense_layers([8], 3, normalization="batch_norm"))
    with pytest.raises(ValueError, match="batchnorm1 needs the statistics of at least two rows, and batch_size is 1"):
        fit(net, X, y, rng=RNG(0), batch_size=1)
    fit(net, X[:1], y[:1], rng=RNG(0), epochs=50, optimizer=SGD(0.1))
    assert evaluate(net, X[:1], y[:1])[0] < 0.1
    fit(network(*copy.deepcopy(PATH)), X, y, rng=RNG(0), batch_size=1, epochs=1)  # a path has several points
    net, means = network(nn.BatchNorm(), Linear(3)), []

    class Means(Callback):
        def on_batch_end(self, training: Training) -> None:
            means.append(net.layers[0].state["mean"].copy())
            pulls = training.network.grads[8:-3]
            assert np.abs(pulls).max() > 1e-3  # the weights of a row that is normalised by itself get none

    fit(net, X[:9], y[:9], rng=RNG(0), batch_size=8, epochs=1, callbacks=[Means()])
    assert np.array_equal(*means)


# Bad input
class Wrong(nn.Layer):
    """Returns nothing, or another number of columns, which NumPy would repeat."""

    def __init__(self, columns: int | None) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, x: np.ndarray, training: bool = False) -> Any:
        return None if self.columns is None else x[:, : self.columns]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"X": np.ones((0, 4)), "y": []}, "training needs at least one row, got none"),
    ({"y": [0, 1]}, "X has 3 rows and y has 2"),
    ({"y": 1}, "X has 3 rows and y has no"),
    ({"X": np.ones((3, 5))}, r"linear1, the first layer, expects samples of shape \(4,\), got \(5,\)"),
    ({"epochs": 0}, "Training: epochs must be a whole number of at least 1, got 0"),
    ({"batch_size": 8.0}, "Training: batch_size must be a whole number of at least 1, got 8.0"),
    ({"validation": (np.ones((0, 4)), [])}, "validation needs at least one row, got none"),
    ({"validation": (np.ones((2, 4)), [0])}, "X has 2 rows and the validation's y has 1"),
    ({"sample_weight": [1, 1]}, "sample_weight must be 3 numbers of at least 0 that are not all 0"),
    ({"sample_weight": [1, -1, 1]}, "sample_weight must be 3 numbers of at least 0"),
    ({"sample_weight": [0, 0, 0]}, "that are not all 0"),
    ({"validation": (np.ones((2, 4)), [0, 1], [1, 1, 1])}, "the validation's sample_weight must be 2 numbers"),
    ({"validation": (np.ones((2, 4)),)}, r"validation must be \(X, y\) or \(X, y, sample_weight\), got 1 of them"),
    ({"validation": {}}, r"validation must be \(X, y\) or \(X, y, sample_weight\), got \{\}"),
    ({"validation": 0.2}, r"validation must be \(X, y\) or .*, got 0.2"),
    ({"validation": (np.ones((2, 4)), [0, 3])}, "validation: CrossEntropy expects class numbers from 0 to 2, got"),
    ({"validation": (np.ones((2, 5)), [0, 1])}, "validation: linear1, the first layer, expects samples of"),
    ({"callbacks": [nn.Diagnostics(), EarlyStopping(monitor="los")]}, "EarlyStopping watches los, and .* epoch, lr,"),
    ({"sample_weight": [1, np.nan, 1]}, "sample_weight must be 3 numbers of at least 0"),
    ({"loss": 5}, "loss must be of type Loss, got 5"),
    ({"loss": Short()}, r"Short: backward must return an array of shape \(3, 3\), got the shape \(3, 1\)"),
    ({"callbacks": EarlyStopping(2)}, r"callbacks must be in a list, \[EarlyStopping\(patience=2\)\], got Early"),
    ({"callbacks": [print]}, "a callback must be of type Callback, got <built-in function print>"),
    ({"callbacks": [EarlyStopping()]}, r"EarlyStopping watches val_loss, which needs validation=\(X, y\)"),
    ({"callbacks": [EarlyStopping(monitor="train_accuracy")], "accuracy": False},
     "EarlyStopping watches train_accuracy, which needs accuracy=True and several outputs"),
    ({"augment": "noise"}, "Training: augment must be a function, got 'noise'"),
    ({"augment": lambda X, rng: X[:2]}, "augment must return as many rows as it is given, 3, and returned 2"),
    ({"augment": lambda X, rng: np.repeat(X, 2, 0)}, "as it is given, 3, and returned 6"),
    ({"augment": lambda X, rng: None}, "augment must return as many rows as it is given, 3, and returned None"),
    ({"y": ["a", "b", "c"]}, r"y must be an array of numbers: .*'a'.*; np.unique\(labels, return_inverse=True\) numb"),
    ({"network": network(Linear(1))}, "CrossEntropy needs an output for each class, .* a single one; for a yes or no "),
    ({"network": [Linear(3)]}, r"network must be of type Network, got \[Linear\(3\)\]"),
    ({"network": network(Linear(3), Wrong(None))}, r"wrong1: forward must return an array of shape \(3, 3\), got None"),
    ({"network": network(Linear(3), Wrong(1))}, r"wrong1: forward must .* \(3, 3\), got the shape \(3, 1\)"),
    ({"rng": -1}, "rng must be a numpy.random.Generator, or a whole number as its seed, got -1"),
    ({"rng": None}, "as its seed, got None"),
])  # fmt: skip
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    net = network()
    before = net.params.copy()
    with pytest.raises(ValueError, match=message):
        fit(**{"network": net, "X": np.ones((3, 4)), "y": [0, 1, 2], "rng": RNG(0), "epochs": 1} | arguments)
    assert np.array_equal(net.params, before)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: EarlyStopping(2.5), "EarlyStopping: patience must be a whole number of at least 1, got 2.5"),
    (lambda: EarlyStopping(min_delta=-1), "EarlyStopping: min_delta must be at least 0, got -1"),
    (lambda: nn.WeightAverage(1), "WeightAverage: decay must be at least 0 and less than 1, got 1"),
    (lambda: evaluate(network(), np.ones((0, 4)), []), "evaluation needs at least one row, got none"),
    (lambda: evaluate(network(), np.ones((3, 4)), [0]), "X has 3 rows and y has 1"),
])  # fmt: skip
def test_other_faults_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_batches_whose_rows_all_weigh_nothing_change_nothing(blobs: Data) -> None:
    net, changes = network(), []

    class Compare(Callback):
        def on_batch_begin(self, training: Training) -> None:
            self.before = net.params.copy()

        def on_batch_end(self, training: Training) -> None:
            changes.append(not np.array_equal(net.params, self.before))

    options: dict[str, Any] = {"epochs": 1, "batch_size": 4, "optimizer": SGD(0.1), "callbacks": [Compare()]}
    fit(net, *blobs, rng=RNG(0), sample_weight=np.arange(32) == 5, **options)
    assert (len(changes), sum(changes)) == (8, 1)
