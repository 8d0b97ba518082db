"""How parts, networks and histories are shown: by the code that makes them, and as tables in notebooks."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
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
    Layer,
    LeakyReLU,
    Residual,
    Warmup,
    WeightAverage,
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
    if isinstance(default, bool | str):
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
    (Residual(["gelu", custom.SquarePlus(1.5)]), "Residual([GELU(), SquarePlus(b=1.5)])"),
    (Forgetful(3), "Forgetful(...)"),
])  # fmt: skip
def test_a_repr_holds_what_differs_from_the_defaults(part: Any, code: str) -> None:
    assert repr(part) == code
