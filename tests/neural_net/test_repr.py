"""How parts, networks and histories are shown: by the code that makes them, and as tables in notebooks."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import custom
from neural_net import (
    ACTIVATIONS,
    LAYERS,
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    Adam,
    Conv1D,
    CrossEntropy,
    Diagnostics,
    EarlyStopping,
    History,
    Layer,
    LeakyReLU,
    Linear,
    Network,
    Neural_Net,
    Residual,
    Schedule,
    Sigmoid,
    Warmup,
    WeightAverage,
    dense_layers,
    fit,
    gradcheck,
    make_layer,
    make_loss,
    make_optimizer,
    make_schedule,
)
from neural_net.layers import layer_spec
from neural_net.parts import arguments, needed_options, options


def typed(code: str, folder: Path) -> Any:
    """The value of code that a user types after these imports."""
    (folder / "typed.py").write_text(f"from neural_net import *\nfrom custom import *\nimport numpy as np\nit = {code}")
    return runpy.run_path(str(folder / "typed.py"))["it"]


def another(default: Any) -> Any:
    """A value that an option with this default takes too."""
    if isinstance(default, bool | str | Schedule):
        return not default if isinstance(default, bool) else default
    return default + 1 if isinstance(default, int) else (default or 1.0) / 2


def every_part() -> Iterator[Any]:
    for table, make in ((ACTIVATIONS | LAYERS, make_layer), (LOSSES, make_loss)):
        for name, kind in table.items():
            defaults: list[dict[str, Any]] = [] if needed_options(kind) else [{}]
            for given in [*defaults, *gradcheck.OPTIONS.get(name, []), *getattr(kind, "check_with", [])]:
                yield make({name: given})
    for table, make in ((OPTIMIZERS, make_optimizer), (SCHEDULES, make_schedule)):
        for name, kind in table.items():
            yield make(name)
            yield make({name: {option: another(default) for option, default in options(kind).items()}})
    yield from (EarlyStopping(3, "val_accuracy", 0.1), WeightAverage(0.9), Diagnostics(rows=64))
    yield CrossEntropy(class_weights=np.linspace(1, 2, 1500))  # type: ignore[arg-type]


def config(part: Any) -> dict[str, str]:
    given = layer_spec(make_layer(part)) if isinstance(part, Layer | custom.SquarePlus) else arguments(part)
    return {name: repr(value.tolist() if isinstance(value, np.ndarray) else value) for name, value in given.items()}


def test_the_repr_of_every_part_makes_it_again(tmp_path: Path) -> None:
    parts = list(every_part())
    again = typed(f"[{', '.join(map(repr, parts))}]", tmp_path)
    for part, twin in zip(parts, again, strict=True):
        assert type(twin) is type(getattr(part, "user", part))
        assert config(twin) == config(part)


class Forgetful(Layer):
    def __init__(self, width: int) -> None:
        super().__init__()


@pytest.mark.parametrize(("part", "code"), [
    (Conv1D(8, 5, init="he_normal"), "Conv1D(8, kernel_size=5, init='he_normal')"),
    (Adam(), "Adam()"),
    (LeakyReLU(0.01), "LeakyReLU()"),
    (Warmup("cosine", 3), "Warmup(schedule=Cosine(), epochs=3)"),
    (Warmup(), "Warmup()"),
    (Residual(["gelu", custom.SquarePlus(1.5)]), "Residual([GELU(), SquarePlus(b=1.5)])"),
    (Forgetful(3), "Forgetful(...)"),
])  # fmt: skip
def test_a_repr_holds_what_differs_from_the_defaults(part: Any, code: str) -> None:
    assert repr(part) == code


# Networks
@pytest.mark.parametrize("network", [
    Network([Linear(3), "gelu", custom.SquarePlus()], 4, rng=7),
    Neural_Net([4, 3, 2], [custom.SquarePlus(1.5)]),
    Neural_Net((4, 3, 3, 2), ["relu", Sigmoid()], rng=5),
    Network(dense_layers([64] * 6, 3, residual=True, dropout=0.1), 16, rng=3, dtype=float, classes=list("abc")),
    Network([{"conv1d": {"filters": 2}}, "flatten", Linear(3)], (8, 2), rng=1, classes=np.array([3, 5, 7])),
])  # fmt: skip
def test_the_repr_of_a_network_makes_its_twin(network: Network | Neural_Net, tmp_path: Path) -> None:
    twin = typed(repr(network), tmp_path)
    assert repr(twin) == repr(network)
    if isinstance(network, Neural_Net):
        twin, network = twin.network, network.network
    assert (repr(twin), twin.summary(), twin.dtype) == (repr(network), network.summary(), network.dtype)
    assert np.array_equal(twin.params, network.params)  # drawn with the same seed
    assert np.array_equal(twin.classes, network.classes)  # type: ignore[arg-type]


def test_a_network_is_shown_in_one_line_or_in_one_for_each_layer(rng: np.random.Generator) -> None:
    assert repr(Network([Linear(3), "gelu"], rng=rng)) == "Network([Linear(3), GELU()], rng=np.random.default_rng())"
    lines = repr(Network([Linear(100)] * 8, 16, rng=0)).splitlines()
    assert (lines[0], lines[1:-1], lines[-1]) == ("Network([", ["    Linear(100),"] * 8, "], n_in=16, rng=0)")


def test_a_network_is_a_function_and_holds_layers(rng: np.random.Generator) -> None:
    network = Network([Linear(3), Residual([Linear(3), "tanh"]), Linear(2)], 4, rng=0)
    X = rng.normal(size=(5, 4))
    first = network(X)
    kept = first.copy()
    assert np.array_equal(kept, network.outputs(X))
    network(X + 1)
    assert np.array_equal(first, kept)
    assert tuple(network) == network.layers == (network[0], network[1], network[-1])
    assert (len(network), network["linear2"], network[1:]) == (3, network[1].layers[0], network.layers[1:])  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"one of linear1, .* got 'linear4' \(did you mean linear3\?\)"):
        network["linear4"]


# Tables
def test_tables_for_notebooks_hold_every_number_and_no_code(blobs: Any) -> None:
    network = Network([Residual([type("<b>", (Linear,), {})(4)]), Linear(3)], 4, rng=0)
    shown = network._repr_html_()
    cells = [line.removeprefix("<tr>").removesuffix("</tr>") for line in shown.splitlines()[2:-1]]
    assert cells[1] == "<td>&emsp;&lt;b&gt;1</td><td>&lt;b&gt;</td><td>(4,)</td><td>20</td>"
    assert (len(cells), "<caption>35 parameters, float32</caption>" in shown) == (3, True)
    history = fit(network, *blobs, rng=0, epochs=30, batch_size=8)
    shown = history._repr_html_()
    assert all(f"<td>{epoch}</td>" in shown for epoch in (1, 10, 21, 30))
    assert (len(shown.splitlines()), "<td>11</td>" in shown) == (2 + 21 + 1, False)
    assert repr(history).startswith("<History of 30 epochs; the last: lr 0.001, train_loss ")
    assert History()._repr_html_()


# Histories
def test_a_history_gives_epochs_by_place_and_quantities_by_name(blobs: Any) -> None:
    history = fit(Network([Linear(3)], 4, rng=0), *blobs, rng=0, epochs=3)
    assert list(history) == history[:] == [history[0], history[1], history[-1]] == history.records
    assert history["train_loss"] == [record["train_loss"] for record in history] == [*pd.DataFrame(history).train_loss]
    with pytest.raises(ValueError, match="epoch, lr, train_accuracy, train_loss, got 'loss'"):
        history["loss"]
