"""Networks, losses and training beside PyTorch's numbers, which ``make oracle`` keeps."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.oracle import cases

from neural_net import ACTIVATIONS, LAYERS, LOSSES

GOLDEN: dict[str, dict[str, dict[str, list[float]]]] = json.loads(
    (Path(__file__).parent.parent / "oracle" / "golden.json").read_text()
)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, named in GOLDEN.items() for name in named])
def test_the_same_as_pytorch(kind: str, name: str) -> None:
    ours = cases.run_network(name)[0] if kind == "network" else cases.run_training()
    for key, theirs in GOLDEN[kind][name].items():
        largest = max(map(abs, theirs), default=0)
        np.testing.assert_allclose(ours[key].ravel(), theirs, rtol=0, atol=1e-6 * largest, err_msg=key)


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


def test_no_layer_or_loss_is_left_out_and_the_golden_numbers_are_of_the_present_cases() -> None:
    assert set(GOLDEN["network"]) == set(cases.NETWORKS)
    ours = {**ACTIVATIONS, **LAYERS, **LOSSES}
    built_in = {name for name, kind in ours.items() if kind.__module__.startswith("neural_net")}
    assert built_in <= set(names([*cases.NETWORKS.values()]))
