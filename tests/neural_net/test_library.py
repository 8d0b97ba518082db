"""What holds for the library as a whole: what it imports, and what it explains."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import neural_net
from neural_net import ACTIVATIONS, INITIALIZERS, LAYERS, LOSSES, OPTIMIZERS, SCHEDULES

FOLDER = Path(neural_net.__file__).parent
TREES = {path.name: ast.parse(path.read_text()) for path in sorted(FOLDER.glob("*.py"))}
PARTS = {**ACTIVATIONS, **LAYERS, **LOSSES, **INITIALIZERS, **OPTIMIZERS, **SCHEDULES}
BUILT_IN = {name: part for name, part in PARTS.items() if part.__module__.startswith("neural_net")}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("name", TREES)
def test_it_imports_numpy_and_the_standard_library_only(name: str) -> None:
    assert set(imports(TREES[name])) <= {"numpy", *sys.stdlib_module_names}


# Documentation


def test_everything_named_for_export_is_there_and_explained_and_no_part_is_left_out() -> None:
    assert all(getattr(neural_net, name).__doc__ for name in neural_net.__all__)
    classes = {part.__name__ for part in BUILT_IN.values() if isinstance(part, type)}
    assert classes <= set(neural_net.__all__)
