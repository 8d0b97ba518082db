"""Rings and rooms: who may import whom (docs/architecture.md)."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
ORDER = [  # a room imports only rooms that stand before its own; those of one line do not know each other
    {"utils", "neural_net"}, {"custom"}, {"pen"}, {"pipeline"}, {"data_sets"}, {"figures"}, {"runtime"},
    {"tracking"}, {"fetch", "preprocess", "split", "train", "evaluate", "plot", "estimator"}, {"web"},
    {"commands", "studies"},
    {"__main__"},
]  # fmt: skip
FIRST_RING = set.union(*ORDER[:6])
RANKS = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
LONGEST = 450  # lines


@cache
def modules() -> dict[str, Path]:
    """The files of src by the names that they are imported by."""
    files = {path: path.relative_to(SRC).with_suffix("").parts for path in SRC.rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in files.items()}


def imports(name: str, code: str, is_package: bool = False) -> set[str]:
    """The modules of ours that a module's code imports: at the top, in functions and for the type checker."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".")[: len(name.split(".")) - node.level + is_package] if node.level else []
            package = ".".join([*above, *filter(None, [node.module])])
            members = {f"{package}.{alias.name}" for alias in node.names}
            found |= {member if member in modules() else package for member in members}
    return {module for module in found if module in modules()}


@cache
def graph() -> dict[str, set[str]]:
    return {
        name: imports(name, path.read_text(), is_package=path.stem == "__init__") for name, path in modules().items()
    }


def room(module: str) -> str:
    return module.split(".")[0]


def wrong_ways(edges: dict[str, set[str]]) -> list[tuple[str, str]]:
    pairs = [(name, other) for name, others in edges.items() for other in others if room(name) != room(other)]
    return [(name, other) for name, other in pairs if RANKS[room(other)] >= RANKS[room(name)]]


def test_rooms_import_only_rooms_that_stand_before_them() -> None:
    assert ({room(name) for name in modules()}, wrong_ways(graph())) == (set(RANKS), [])
    outside = {
        (name, other) for name, others in graph().items() for other in others if room(name) in ("neural_net", "utils")
    }
    assert {room(other) for _, other in outside} == {"neural_net"}


def test_no_module_imports_itself_through_others_or_is_too_long() -> None:
    known = {  # for the type checker alone: what a callback is given, and whose answers they are
        "neural_net.callbacks": {"neural_net.training"}, "neural_net.answers": {"neural_net.network"},
    }  # fmt: skip
    edges = {name: others - known.get(name, set()) for name, others in graph().items()}
    assert edges["neural_net.npz"] == set()  # a stage reads arrays without depending on the network
    list(TopologicalSorter(edges).static_order())  # raises CycleError, which names the cycle
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


@pytest.mark.parametrize(("name", "code", "found"), [
    ("pen.ink", "import runtime.files", "runtime.files"),
    ("pen.ink", "def f():\n    from tracking import mlflow_run", "tracking.mlflow_run"),
    ("pen.ink", "if TYPE_CHECKING:\n    from pipeline.params import Params", "pipeline.params"),
    ("figures.sheet", "import train", "train"),
    ("train", "from studies import report", "studies.report"),
    ("pipeline.rows", "from data_sets.pendigits import TEST", "data_sets.pendigits"),
])  # fmt: skip
def test_a_wrong_import_is_found_wherever_it_stands(name: str, code: str, found: str) -> None:
    assert (imports(name, code), wrong_ways({name: {found}})) == ({found}, [(name, found)])
    assert imports("pen.features", "from . import ink") == imports("pen", "from .ink import Ink", True) == {"pen.ink"}
