"""Networks, losses, optimizers, schedules and training beside PyTorch's numbers, which ``make oracle`` keeps."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.oracle import cases

from neural_net import ACTIVATIONS, LAYERS, LOSSES, OPTIMIZERS, SCHEDULES

GOLDEN: dict[str, dict[str, dict[str, list[float]]]] = json.loads(
    (Path(__file__).parent.parent / "oracle" / "golden.json").read_text()
)
OURS = {
    "network": lambda name: cases.run_network(name)[0], "optimizer": cases.run_optimizer,
    "schedule": cases.run_schedule, "training": lambda _: cases.run_training(),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, named in GOLDEN.items() for name in named])
def test_the_same_as_pytorch(kind: str, name: str) -> None:
    ours = OURS[kind](name)
    for key, theirs in GOLDEN[kind][name].items():
        largest = max(map(abs, theirs), default=0)
        np.testing.assert_allclose(ours[key].ravel(), theirs, rtol=0, atol=1e-6 * largest, err_msg=key)


def test_the_golden_numbers_are_of_the_present_cases_and_as_many_as_the_docs_say() -> None:
    count = sum(len(numbers) for named in GOLDEN.values() for case in named.values() for numbers in case.values())
    assert f"{count:,} numbers" in (Path(__file__).parents[2] / "docs/library.md").read_text(encoding="utf-8")
    kinds: dict[str, Any] = {"network": cases.NETWORKS, "optimizer": cases.OPTIMIZERS, "schedule": cases.SCHEDULES}
    assert {kind: set(GOLDEN[kind]) for kind in kinds} == {kind: set(named) for kind, named in kinds.items()}


def names(spec: Any) -> Iterator[str]:
    """The names of all parts in specs, those inside others included."""
    if isinstance(spec, str):
        yield spec
    elif isinstance(spec, list | tuple):
        for part in spec:
            yield from names(part)
    elif isinstance(spec, dict):
        for name, options in spec.items():
            yield name
            yield from names([value for value in options.values() if isinstance(value, list | dict | str)])


def test_no_part_that_pytorch_has_is_left_out() -> None:
    compared = set(names([*cases.NETWORKS.values(), *cases.OPTIMIZERS.values(), *cases.SCHEDULES.values()]))
    ours = {**ACTIVATIONS, **LAYERS, **LOSSES, **OPTIMIZERS, **SCHEDULES}
    built_in = {name for name, kind in ours.items() if kind.__module__.startswith("neural_net")}
    assert built_in - compared == {"lion", "constant"}
