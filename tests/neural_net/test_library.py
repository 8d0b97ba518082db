"""What holds for the library's source as a whole: what it imports, what it never does, and what it explains."""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import neural_net
from neural_net import ACTIVATIONS, INITIALIZERS, LAYERS, LOSSES, OPTIMIZERS, SCHEDULES
from neural_net.parts import options

FOLDER = Path(neural_net.__file__).parent
TREES = {path.name: ast.parse(path.read_text()) for path in sorted(FOLDER.glob("*.py"))}
MODULES = [importlib.import_module(f"neural_net.{name.removesuffix('.py')}") for name in TREES if name[0] != "_"]
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


@pytest.mark.parametrize("name", TREES)
def test_no_print_no_eval_no_pickle_no_global_generator(name: str) -> None:
    tree = TREES[name]
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"print", "eval", "exec", "compile", "__import__", "input"}
    assert not set(imports(tree)) & {"pickle", "marshal", "shelve", "random", "ctypes", "subprocess"}
    drawn = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np.random"
    }
    assert drawn <= {"Generator", "default_rng"}


def test_importing_it_only_defines_names() -> None:
    for name, tree in TREES.items():
        calls = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Expr) and not _is_text(node)]
        assert calls == [], name


def _is_text(node: ast.Expr) -> bool:
    return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


# Documentation


def public() -> Iterator[tuple[str, Any]]:
    """Every public class, function, method and property of the library, by its full name."""
    for module in MODULES:
        yield module.__name__, module
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
                continue
            if isinstance(thing, type | FunctionType):
                yield f"{module.__name__}.{name}", thing
            if isinstance(thing, type):
                for attribute, member in vars(thing).items():
                    if isinstance(member, FunctionType | property) and not attribute.startswith("_"):
                        yield f"{module.__name__}.{name}.{attribute}", member


def explained(name: str, thing: Any) -> bool:
    """Whether it has a docstring of its own, or, as a method, that of the contract that it fulfils."""
    if thing.__doc__:
        return True
    module, _, rest = name.removeprefix("neural_net.").partition(".")
    owner, _, attribute = rest.partition(".")
    if not attribute:
        return False
    bases = getattr(sys.modules[f"neural_net.{module}"], owner).__mro__[1:]
    return any(getattr(vars(kind).get(attribute), "__doc__", None) for kind in bases)


def test_every_public_name_is_explained() -> None:
    names = dict(public())
    assert len(names) > 150
    assert [name for name, thing in names.items() if not explained(name, thing)] == []


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_part_shows_its_formula_or_shapes(name: str) -> None:
    text = BUILT_IN[name].__doc__ or ""
    assert "``" in text or "(batch" in text


@pytest.mark.parametrize("name", [name for name, part in BUILT_IN.items() if isinstance(part, type)])
def test_every_option_is_mentioned(name: str) -> None:
    """In the docstring of its class or of the classes that it extends, in words or in the formula."""
    part: Any = BUILT_IN[name]
    text = " ".join(kind.__doc__ or "" for kind in part.__mro__)
    assert [option for option in options(part) if option not in text] == []


def test_everything_named_for_export_is_there_and_no_part_is_left_out() -> None:
    assert all(hasattr(neural_net, name) for name in neural_net.__all__)
    classes = {part.__name__ for part in BUILT_IN.values() if isinstance(part, type)}
    assert classes <= set(neural_net.__all__)
