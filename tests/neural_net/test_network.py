"""Networks: one vector of parameters, data in any form, and what does not fit."""

import copy
import io
import math
import pickle
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from neural_net import BatchNorm, Identity, LayerNorm, Linear, Network, ReLU, Residual, Tanh, dense_layers, fit

ALL_KINDS = [
    {"reshape": {"shape": [8, 2]}}, {"conv1d": {"filters": 4}}, "batch_norm", "relu", "max_pool1d", "flatten",
    {"residual": {"layers": [{"linear": {"n_out": 16}}, "tanh", {"dropout": {"rate": 0.2}}]}}, "layer_norm",
    {"linear": {"n_out": 3}},
]  # fmt: skip


def small(seed: int = 0, **options: Any) -> Network:
    return Network(dense_layers([5], 3), 4, rng=np.random.default_rng(seed), **options)


# One vector
def test_parameters_and_gradients_are_views_into_two_vectors(rng: np.random.Generator) -> None:
    network = Network(copy.deepcopy(ALL_KINDS), 16, rng=rng)
    network.params[:] = np.arange(network.n_parameters)
    network.grads[:] = -network.params
    start = 0
    for layer, name, parameter in network.parameters():
        numbers = np.arange(start, start + parameter.size).reshape(parameter.shape)
        assert np.array_equal(getattr(layer, name), numbers)
        assert np.array_equal(getattr(layer, f"d{name}"), -numbers)
        start += parameter.size
    assert start == network.n_parameters == len(network.params)


def test_assigned_arrays_are_copied_to_where_the_network_computes_and_saves(rng: np.random.Generator) -> None:
    network, X = Network(copy.deepcopy(ALL_KINDS), 16, rng=rng, dtype=np.float64), rng.normal(size=(4, 16))
    places = [(network, "params"), (network, "grads"), (network, "decays")]
    places += [(part, f"{d}{name}") for part, name, _ in network.parameters() for d in ("", "d")]
    places += [(network.layers[-1], name) for name in ("Wb", "WbT", "dWb")]
    for owner, name in places:
        place, before = getattr(owner, name), network.outputs(X)
        setattr(owner, name, rng.normal(size=place.shape).tolist())
        assert getattr(owner, name) is place
        assert np.array_equal(network.outputs(X), before) == (name in ("grads", "decays") or name.startswith("d"))
        for wrong in (0, np.ones((*place.shape, 2)), place[:-1]):
            with pytest.raises(ValueError, match=rf"{name} has shape \(.*\), got an array of shape \("):
                setattr(owner, name, wrong)
    single = Network([Linear(3)], 4, rng=rng)  # in float32
    for assign in (single.set_weights, lambda arrays: setattr(single[0], "W", arrays[0])):
        with pytest.raises(ValueError, match=r"W cannot hold 1e\+300 \(too large for float32\)"):
            assign([np.full((4, 3), 1e300), np.zeros(3)])
    network.layers[-1].W *= 2
    assert np.array_equal(network.params[-network.layers[-1].n_parameters : -3], network.layers[-1].W.ravel())


def test_running_states_keep_their_place_and_dtype(blobs: Any) -> None:
    class Counts(Identity):
        def bind(self, params: Any, grads: Any) -> None:
            super().bind(params, grads)
            self.state = {"seen": np.zeros(1)}

    network = Network([BatchNorm(), Linear(3), Counts()], 4, rng=0)
    norm = network.layers[0]
    place = norm.state["mean"]
    norm.state["mean"] = np.arange(4.0)
    assert (norm.state["mean"] is place, place.tolist()) == (True, [0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"mean has shape \(4,\), got an array of shape \(1,\)"):
        norm.state["mean"] = [1]
    for wrong in ({}, {"mean": np.zeros(4)}, {"mean": np.zeros(1), "variance": np.ones(1)}):
        with pytest.raises(
            ValueError, match=r"the state of batchnorm1 is mean \(4,\), variance \(4,\), got (noth|mean)"
        ):
            norm.state = wrong
    norm.state = {"variance": np.ones(4), "mean": np.zeros(4)}
    assert list(norm.state) == ["mean", "variance"]
    fit(network, *blobs, rng=0, epochs=1)
    for one in (network, copy.deepcopy(network)):
        assert {array.dtype for layer in one.walk() for array in layer.state.values()} == {np.dtype(np.float32)}


def test_a_layers_name_is_its_networks(rng: np.random.Generator) -> None:
    network = Network([Linear(3), Linear(2)], 4, rng=rng)
    with pytest.raises(ValueError, match=r"the network names its layers, and Linear\(3\) cannot be called 'hidden'"):
        network.layers[0].name = "hidden"
    with pytest.raises(ValueError, match="Named: the class must not have an attribute name"):
        Network([type("Named", (Tanh,), {"name": "mine"})()], 4, rng=rng)


def test_arrays_assigned_before_their_place_exists_are_not_lost(rng: np.random.Generator) -> None:
    linear = Linear(3)
    linear.W = np.ones((4, 3))
    with pytest.raises(ValueError, match="W cannot be assigned before the sizes are known"):
        Network([linear], 4, rng=rng)
    with pytest.raises(ValueError, match=r"Network\.params cannot be assigned before the sizes are known"):
        Network([Linear(3)], rng=rng).params = np.ones(15)


def test_backward_fills_the_gradient_vector(rng: np.random.Generator) -> None:
    network = Network(copy.deepcopy(ALL_KINDS), 16, rng=rng)
    network.set_rng(rng)
    network.grads[:] = np.nan
    network.forward(rng.normal(size=(4, 16)), training=True)
    network.backward_parameters(np.ones((4, 3), np.float32))
    without = network.grads.copy()
    assert np.isfinite(without).all()
    assert network.backward(np.ones((4, 3), np.float32)).shape == (4, 16)
    assert np.array_equal(network.grads, without)


def by_joblib(network: Network) -> Any:
    file = io.BytesIO()
    joblib.dump(network, file)
    file.seek(0)
    return joblib.load(file)


TWINS = [copy.copy, copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network)), by_joblib]  # noqa: S301


@pytest.mark.parametrize("twin", TWINS)
def test_deep_networks_can_be_copied(twin: Any, rng: np.random.Generator) -> None:
    network = Network([layer for _ in range(150) for layer in (Linear(2), Tanh())], 2, rng=rng)
    assert np.array_equal(twin(network).outputs(np.eye(2)), network.outputs(np.eye(2)))


@pytest.mark.parametrize("twin", TWINS)
def test_a_copy_predicts_alike_and_trains_by_itself(twin: Any, blobs: Any) -> None:
    X, y = blobs
    original = Network(dense_layers([5], 3, normalization="batch_norm"), rng=np.random.default_rng(0))
    fit(original, X, y, rng=np.random.default_rng(0), epochs=2)
    before, copied = original.outputs(X), twin(original)
    assert np.array_equal(copied.outputs(X), before)
    fit(copied, X, y, rng=np.random.default_rng(1), epochs=2)
    assert not np.array_equal(copied.outputs(X), before)
    assert np.array_equal(original.outputs(X), before)
    fit(original, X, y, rng=np.random.default_rng(1), epochs=2, optimizer="adam")
    assert np.array_equal(copied.outputs(X), original.outputs(X))


def test_a_copy_holds_the_parameters_once_and_no_batch(rng: np.random.Generator) -> None:
    layers = [*ALL_KINDS[:-1], "gelu", "mish", {"linear": {"n_out": 1000}}]
    network = Network(layers, 16, rng=rng)
    network.set_rng(rng)
    network.forward(rng.normal(size=(2000, 16)), training=True)
    network.backward_parameters(np.ones((2000, 1000), np.float32))
    size = network.params.nbytes + network.decays.nbytes
    assert size < len(pickle.dumps(network)) < size + 20_000


# Sizes


def test_parameters_are_counted_for_any_samples_without_touching_the_network(rng: np.random.Generator) -> None:
    network, X = Network(copy.deepcopy(ALL_KINDS), 16, rng=rng), rng.normal(size=(4, 16))
    before, longer = network.outputs(X), [{"reshape": {"shape": [-1, 2]}}, *copy.deepcopy(ALL_KINDS[1:-3]), Linear(3)]
    assert network.count_parameters((16,)) == network.n_parameters == len(network.params)
    assert np.array_equal(network.outputs(X), before)
    assert [Network(copy.deepcopy(longer), 16, rng=rng).count_parameters((n,)) for n in (16, 32)] == [87, 135]


def test_without_a_number_of_inputs_the_first_data_decide() -> None:
    for first_use in ("outputs", "forward", "predict", "predict_proba", "check_inputs"):
        network = Network([{"conv1d": {"filters": 2}}, "flatten", Linear(3)], rng=np.random.default_rng(0))
        assert "sizes are taken from the first data" in network.summary()
        getattr(network, first_use)(np.zeros((1, 8, 2)))
        assert (network.shape_in, network.n_outputs) == ((8, 2), 3)


def test_summary() -> None:
    layers = [Linear(1000), "relu", Residual([Linear(1000), Tanh()]), Linear(3)]
    network = Network(layers, 7, rng=np.random.default_rng(0))
    head, rule, *rows, rule_again, total = network.summary().splitlines()
    assert head.split() == ["layer", "kind", "output", "shape", "parameters"]
    assert set(rule) == set(rule_again) == {"-"}
    assert [row.split()[0] for row in rows] == ["linear1", "relu1", "residual1", "linear2", "tanh1", "linear3"]
    assert rows[2].split() == ["residual1", "Residual", "(1000,)", "1,001,000"]
    assert rows[3].startswith("  linear2")
    assert (total, len({len(line) for line in (head, rule, *rows)})) == ("1,012,003 parameters, float32", 1)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"layers": []}, "a network needs at least one layer"),
    ({"dtype": np.float16}, "a network's dtype must be float32 or float64, got float16"),
    ({"n_in": 2.5}, "n_in must be a whole number of at least 1, got 2.5"),
    ({"n_in": ()}, "a sample must hold at least one number"),
    ({"classes": ["a", "b"]}, "the network has 3 outputs for 2 classes"),
])  # fmt: skip
def test_faulty_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(**{"layers": [Linear(3)], "n_in": 4, "rng": np.random.default_rng(0)} | arguments)


ONE_BY_ONE = [  # as in other libraries
    (lambda: Network(Linear(3), ReLU()), r"Network takes its layers in one list: \[Linear\(3\), \.\.\.\]"),
    (lambda: Network(Linear(3), ReLU(), Linear(2), rng=0), "Network takes its layers in one list"),
    (lambda: Network([Linear(3)], ReLU(), rng=0), r"one list: \[ReLU\(\), "),
    (lambda: Network(layers=Linear(3), rng=0), "Network takes its layers in one list"),
    (lambda: Residual(Linear(3), ReLU()), "Residual takes its layers in one list"),
    (lambda: Residual("relu"), r"layers must be in a list, \['relu'\], got 'relu'"),
    (lambda: Network({"linear": {"n_out": 3}}, rng=0), r"layers must be in a list, \[{'linear': {'n_out': 3}}\]"),
    (lambda: Network([["relu"]], rng=0), r"a layer cannot be a list or a network; .* \*network, got \['relu'\]"),
    (lambda: Network([Network(["relu"], rng=0)], rng=0), r"a layer cannot be a list or a network; put .*, got Net"),
    (lambda: Network(None, rng=0), "layers must be in a list, got None"),  # type: ignore[arg-type]
    (lambda: Network([64, "relu"], rng=0), r"a layer cannot be the number 64; 64 units are Linear\(64\), or a width"),
    (lambda: Network([Linear(3), ReLU], rng=0), r"layer must be a name, .*; write ReLU\(\.\.\.\)"),
]


@pytest.mark.parametrize(("make", "message"), ONE_BY_ONE)
def test_layers_in_another_form_are_refused_in_words(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_sizes_and_classes_are_checked_wherever_they_come_from() -> None:
    network = Network([Linear(3)], rng=0)
    with pytest.raises(ValueError, match="the network has no sizes yet; build it, or give it its first data"):
        str(network.n_outputs)
    assert network.count_parameters(4) == 15
    network.build(4)
    assert (network.shape_in, network.n_outputs) == ((4,), 3)
    network.classes = ["a", "b", "c"]
    with pytest.raises(ValueError, match="the network has 3 outputs for 2 classes"):
        network.classes = ["a", "b"]
    assert network.predict(np.ones((1, 4)))[0] in ["a", "b", "c"]


# Predictions
def test_predictions_are_the_largest_probability(rng: np.random.Generator) -> None:
    network, X = small(), rng.normal(size=(50, 4))
    probabilities = network.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert np.array_equal(network.predict(X), probabilities.argmax(axis=1))
    assert np.array_equal(network.predict(X), network.outputs(X).argmax(axis=1))
    assert probabilities.dtype == np.float32
    named = small(classes=["x", "y", "z"])
    assert np.array_equal(named.predict(X), np.array(["x", "y", "z"])[network.predict(X)])


def test_a_single_output_is_a_number_unless_it_has_a_class(rng: np.random.Generator) -> None:
    network, X = Network([Linear(1)], 4, rng=rng), rng.normal(size=(5, 4))
    assert np.array_equal(network.predict(X), network.outputs(X)[:, 0])
    with pytest.raises(ValueError, match="a network with a single output has no classes"):
        network.predict_proba(X)
    network.classes = np.array(["only"])
    assert (network.predict(X).tolist(), network.predict_proba(X).tolist()) == (["only"] * 5, [[1]] * 5)


def test_any_number_of_rows_and_outputs_are_the_callers_to_keep(rng: np.random.Generator) -> None:
    network, X = Network(copy.deepcopy(ALL_KINDS), 16, rng=rng, dtype=np.float64), rng.normal(size=(2500, 16))
    outputs = network.outputs(X)
    for rows in (slice(0, 1), slice(1000, 1100), slice(2499, 2500)):
        np.testing.assert_allclose(network.outputs(X[rows]), outputs[rows], rtol=1e-9, atol=1e-12)
    assert network.outputs(X[:0]).shape == network.predict_proba(X[:0]).shape == (0, 3)
    assert network.predict(X[:0]).shape == (0,)
    network, X = small(), rng.normal(size=(10, 4))
    first = network.outputs(X)
    kept = first.copy()
    network.outputs(X + 1)
    network.forward(X.astype(np.float32) + 2, training=True)
    assert np.array_equal(first, kept)


# Data in any form
WHOLE = np.array([[1, 0, 3, 2], [0, 7, 1, 1], [5, 5, 0, 100], [1, 2, 3, 4], [9, 0, 0, 1]])
WIDE, TALL = np.zeros((5, 8), np.float32), np.zeros((10, 4))
WIDE[:, 1::2], TALL[::-2] = WHOLE, WHOLE
FORMS: dict[str, Any] = {
    "lists": WHOLE.tolist(),
    **{np.dtype(kind).str: WHOLE.astype(kind) for kind in ("u1", ">i4", "f4", ">f8", "g", "O")},
    "Fortran order": np.asfortranarray(WHOLE, dtype=np.float32),
    "transposed": np.ascontiguousarray(WHOLE.T, dtype=np.float32).T,
    "columns of a wider array": WIDE[:, 1::2],
    "rows of a taller array, backwards": TALL[::-2],
    "DataFrame": pd.DataFrame(WHOLE, columns=list("abcd"), index=[5, 3, 1, 0, 9]),
    "DataFrame of nullable ints": pd.DataFrame(WHOLE).astype("Int64"),
    "text": WHOLE.astype(str),
}
LABEL_FORMS: dict[str, Any] = {
    "list": [0, 1, 2, 0, 1], "floats": np.array([0.0, 1, 2, 0, 1]),
    "bytes, backwards": np.array([1, 0, 2, 1, 0], np.uint8)[::-1],
    "nullable Series": pd.Series([0, 1, 2, 0, 1], dtype="Int64"), "rows": np.asfortranarray(np.eye(3)[[0, 1, 2, 0, 1]]),
}  # fmt: skip
STACKS = [dense_layers([5], 3), [LayerNorm(), BatchNorm(), Linear(3)], [Identity(), Linear(3)], [ReLU(), Linear(3)]]


@pytest.mark.parametrize("stack", range(len(STACKS)))
@pytest.mark.parametrize("form", FORMS)
def test_equal_values_give_equal_bytes_in_any_form(form: str, stack: int) -> None:
    network = Network(copy.deepcopy(STACKS[stack]), 4, rng=np.random.default_rng(0))
    expected = network.outputs(WHOLE.astype(np.float32)).tobytes()
    given_form, before = FORMS[form], copy.deepcopy(FORMS[form])
    if isinstance(given_form, np.ndarray):
        given_form.flags.writeable = False
    assert network.outputs(given_form).tobytes() == expected
    assert np.array_equal(np.asarray(given_form), np.asarray(before))


def trained(X: Any, y: Any) -> bytes:
    network = Network(dense_layers([5], 3, normalization="batch_norm", dropout=0.2), 4, rng=np.random.default_rng(0))
    fit(network, X, y, rng=np.random.default_rng(0), epochs=3, batch_size=2, validation=(X, y))
    return network.params.tobytes()


@given(st.sampled_from(sorted(FORMS)), st.sampled_from(sorted(LABEL_FORMS)))
def test_training_sees_the_values_only_and_changes_nothing(form: str, label_form: str) -> None:
    X, y = FORMS[form], LABEL_FORMS[label_form]
    before = copy.deepcopy((X, y))
    assert trained(X, y) == trained(WHOLE, [0, 1, 2, 0, 1])
    assert all(np.array_equal(np.asarray(now), np.asarray(then)) for now, then in zip((X, y), before, strict=True))


@pytest.mark.parametrize(
    "layout", [np.asfortranarray, lambda X: np.repeat(X, 2, axis=1)[:, ::2], lambda X: X[::-1][::-1]]
)
def test_sums_round_alike_in_any_memory_layout(layout: Any, rng: np.random.Generator) -> None:
    """Of many numbers that are not whole the order of a sum shows, and NumPy's order follows the memory."""
    X, y = rng.normal(size=(64, 40)).astype(np.float32), np.arange(64) % 3
    params = []
    for rows in (X, layout(X)):
        network = Network([LayerNorm(), BatchNorm(), Linear(3)], 40, rng=np.random.default_rng(0))
        fit(network, rows, y, rng=rng, epochs=2, batch_size=None)
        params += [network.params.tobytes() + network.outputs(rows).tobytes()]
    assert params[0] == params[1]


def test_forward_takes_what_outputs_takes_and_keeps_the_dtype() -> None:
    for layers in copy.deepcopy(STACKS):
        network = Network(layers, 4, rng=np.random.default_rng(0))
        for X in (WHOLE, WHOLE.tolist(), pd.DataFrame(WHOLE), np.asfortranarray(WHOLE, dtype=np.float32)):
            outputs = network.forward(X)  # type: ignore[arg-type]
            assert outputs.dtype == np.float32
            np.testing.assert_allclose(outputs, network.outputs(WHOLE), rtol=1e-6)


BAD_INPUTS = [
    ([1, 2, 3, 4], r"expected one row a sample, got an array of shape \(4,\); a single sample is X.reshape\(1, -1\)"),
    (np.ones((2, 5)), r"linear1, the first layer, expects samples of shape \(4,\), got \(5,\)"),
    ([[1, 2, 3, 4], [1, 2, math.nan, 4]], "expected finite numbers, got NaN or infinity in row 1 of X"),
    ([[-math.inf, 2, 3, 4]], "expected finite numbers, got NaN or infinity in row 0 of X"),
    (np.full((1, 4), -1e300), r"expected finite numbers, got 1e\+300 \(too large for float32\) in row 0"),
    ([[1, 2, 3, None]], "expected finite numbers, got NaN or infinity in row 0"),
    ([["a", "b", "c", "d"]], "X must be an array of numbers: .*'a'"),
    (np.ones((1, 4), complex), "X must be real numbers, got complex ones"),
    (csr_array(np.ones((1, 4))), r"X must be an array of numbers, got a sparse one, csr_array; give its toarray\(\)"),
    (np.zeros((1, 4), "datetime64[s]"), r"X must be an array of numbers, got dtype datetime64\[s\]"),
]


@pytest.mark.parametrize(("X", "message"), BAD_INPUTS)
def test_bad_inputs_are_named(X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().predict(X)


# From widths to layers
def kinds(layers: list[Any]) -> list[str]:
    return [type(layer).__name__ for layer in layers]


@pytest.mark.parametrize(("options", "expected"), [
    ({"hidden_layers": []}, "Linear"),
    ({"hidden_layers": [4, 5]}, "Linear ReLU Linear ReLU Linear"),
    ({"hidden_layers": [np.int64(4)], "activation": Tanh()}, "Linear Tanh Linear"),
    ({"hidden_layers": [4, 5], "activation": ["tanh", "gelu"]}, "Linear Tanh Linear GELU Linear"),
    ({"hidden_layers": [4], "normalization": "batch_norm"}, "Linear BatchNorm ReLU Linear"),
    ({"hidden_layers": [4], "normalization": "layer_norm", "dropout": 0.1}, "Linear LayerNorm ReLU Dropout Linear"),
    ({"hidden_layers": [4, 4, 5], "residual": True}, "Linear ReLU Residual Linear ReLU Linear"),
    ({"hidden_layers": ["activation", 4], "activation": ["tanh", "gelu"]}, "Tanh Linear GELU Linear"),
    ({"hidden_layers": [{"reshape": {"shape": [8, 2]}}, {"conv1d": {"filters": 3}}, "flatten", 4]},
     "Reshape Conv1D Flatten Linear ReLU Linear"),
])  # fmt: skip
def test_dense_layers(options: dict[str, Any], expected: str) -> None:
    layers = dense_layers(n_out=3, **options)
    assert (kinds(layers), layers[-1].config()["n_out"]) == (expected.split(), 3)


def test_dense_layers_pass_their_options_on() -> None:
    layers = dense_layers([4, 4], 3, "tanh", init="orthogonal", normalization="batch_norm", dropout=0.25, residual=True)
    assert kinds(list(layers[4].children())) == ["Linear", "BatchNorm", "Tanh", "Dropout"]
    assert [layer.config()["init"] for layer in (layers[0], layers[-1])] == ["orthogonal"] * 2
    assert layers[3].config() == {"rate": 0.25}


@pytest.mark.parametrize(("options", "message"), [
    ({"activation": ["relu"]}, "activation lists 1 names for 2 hidden layers; give one for each, or one for all"),
    ({"hidden_layers": [4, 2.5]}, "an activation must be a name, or an object .* got 2.5"),
    ({"hidden_layers": 64}, r"hidden_layers must be a list of widths or layers, such as \[64\], got 64"),
    ({"hidden_layers": "relu"}, "hidden_layers must be a list of widths or layers"),
])  # fmt: skip
def test_dense_layers_name_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dense_layers(**{"hidden_layers": [4, 5], "n_out": 3} | options)
