"""Cross-validation holds out whole writers, takes any configuration, and its table says what came out."""

import multiprocessing
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import threadpoolctl

import train
from pen.ink import eight_points
from pen.strokes import strokes_of
from pipeline import errors
from pipeline.params import Params, ParamsError, load_params
from pipeline.rows import Rows
from studies import cross_validate, folds, processes

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml")
WRITER = np.repeat(np.arange(1, 8), 3)
LOG_TINY = -np.log(np.finfo(np.float32).tiny)


def test_every_writer_is_in_one_fold_and_the_folds_are_about_equal() -> None:
    fold = folds.fold_of(WRITER, 3)
    assert {len(set(fold[WRITER == writer])) for writer in range(1, 8)} == {1}
    assert sorted(np.bincount(fold) // 3) == [2, 2, 3]
    np.testing.assert_array_equal(folds.fold_of(WRITER[::-1], 3), fold[::-1])


@pytest.mark.parametrize("count", [1, 8])
def test_folds_that_cannot_be(count: int) -> None:
    with pytest.raises(errors.StageError, match=f"from 2 to the number of writers, 7, got {count}"):
        folds.fold_of(WRITER, count)


def test_values_are_overridden_as_yaml() -> None:
    found = cross_validate.overridden(
        PARAMS, ["lr=0.5", "hidden_layers=[8, {dropout: {rate: 0.1}}]", "early_stopping=null", "augment.bend=1e-1"]
    )
    assert (found.lr, found.hidden_layers, found.early_stopping) == (0.5, [8, {"dropout": {"rate": 0.1}}], None)
    assert (found.augment, found.activation) == (PARAMS.augment.model_copy(update={"bend": 0.1}), PARAMS.activation)


@pytest.mark.parametrize(("change", "message"), [
    ("lr", "a change must be key=value, got 'lr'"),
    ("hidden_layers=[{reshape:", "a value must be YAML, quoted if it has spaces, got 'hidden_layers=[{reshape:'"),
    ("lr=-1", "the command line: lr must be greater than 0, got -1"),
    ("learning_rate=1", "the command line: learning_rate is not a parameter"),
    ("augment.bent=1", "the command line: augment.bent is not a parameter; did you mean augment.bend?"),
])  # fmt: skip
def test_bad_changes_are_refused(change: str, message: str) -> None:
    with pytest.raises(ParamsError) as error:
        cross_validate.overridden(PARAMS, [change])
    assert str(error.value).startswith(message)


def test_each_training_sees_the_other_writers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(np.zeros((21, 16), np.float32), WRITER % 10, WRITER, np.arange(21))
    seen: list[tuple[int, set[int]]] = []

    def spy(
        params: Params, training: Rows, validation: None, on_epoch: object, schema: object
    ) -> tuple[SimpleNamespace, None]:
        seen.append((params.seed, set(training.y.tolist())))
        always_one = np.tile(np.eye(10)[1], (21, 1))
        return SimpleNamespace(probabilities=lambda X: always_one[: len(X)]), None

    monkeypatch.setattr(train, "train", spy)
    result = cross_validate.cross_validate(PARAMS.model_copy(update={"seed": 5}), rows, folds=7, seeds=2)
    assert [seed for seed, _ in seen] == [5] * 7 + [6] * 7
    left_out = [set(range(1, 8)) - digits for _, digits in seen]  # the digits name the writers here
    assert sorted(map(tuple, left_out[:7])) == [(writer,) for writer in range(1, 8)]
    assert result.accuracy.sum(axis=1).tolist() == [1, 1]  # only writer 1 writes what is always predicted
    assert result.errors == {writer: float(writer != 1) for writer in range(1, 8)}
    assert result.temperature == pytest.approx(20)  # of what is sure and wrong in six of seven
    assert result.log_loss == pytest.approx(6 / 7 * LOG_TINY / 20 + np.log1p(9 * np.exp(-LOG_TINY / 20)), rel=1e-3)

    seen.clear()
    cross_validate.cross_validate(PARAMS, rows, folds=7, seeds=1, most_writers=2)
    for (_, digits), out in zip(seen, left_out[:7], strict=True):
        assert len(digits) == 2
        assert not digits & out


def test_a_small_run_from_ink_to_table(small_inks: tuple) -> None:
    ink = small_inks[0]
    X = ((eight_points(ink) - 50) / 50).astype(np.float32)
    params = PARAMS.model_copy(
        update={"epochs": 10, "lr": 0.01, "hidden_layers": [32], "batch_size": 16, "weight_average": None}
    )
    rows = Rows(X, ink.digit, ink.writer, np.arange(300), strokes_of(ink))
    result = cross_validate.cross_validate(params, rows, folds=2, seeds=2)
    assert result.accuracy.shape == result.loss.shape == (2, 2)
    assert result.accuracy.mean() > 0.3
    assert not np.array_equal(result.loss[0], result.loss[1])
    at_once = cross_validate.cross_validate(
        params, rows, folds=2, seeds=2, run=cross_validate.trained_here(folds.Data(rows), 2)
    )
    assert [one.tolist() for one in at_once[:2]] == [one.tolist() for one in result[:2]]
    assert at_once[2:] == result[2:]


def test_the_processes_have_one_thread_each() -> None:
    for libraries in processes.each(threadpoolctl.threadpool_info, [(), ()], 2):
        assert [library["num_threads"] for library in libraries if library["user_api"] == "blas"] == [1]


def test_when_one_training_fails_the_others_are_not_waited_for() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        list(processes.each(time.sleep, [(-1,), (3600,)], 2))
    assert multiprocessing.active_children() == []


def test_table_shows_means_and_standard_errors() -> None:
    accuracy = np.array([[0.90, 0.94], [0.92, 0.96]])
    text = cross_validate.table(
        cross_validate.Result(accuracy, 1 - accuracy, {4: 0.1, 7: 0.25}, 0.5, 0.0625), apart=[7]
    )
    assert "   1        91.00   0.0900" in text
    assert "mean        93.00   0.0700" in text
    assert "over folds: accuracy 2.00" in text  # 91 and 95: a deviation of 2.83, by the root of 2
    assert "over seeds: accuracy 1.00" in text
    assert "log-loss at one temperature, 0.50: 0.0625" in text
    assert "mean of the 1 other writers, without --apart: 90.00" in text
    assert text.endswith("worst writers: 7 (25.0 % wrong), 4 (10.0 % wrong)")
