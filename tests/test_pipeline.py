"""The pipeline as dvc.yaml describes it: what its stages depend on, and what they read."""

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@cache
def imported_by(script: Path) -> frozenset[Path]:
    """The modules of ours that a file imports, directly or through others, at the top or inside functions."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(script.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            top, module = SRC / name.split(".")[0], SRC / f"{name.replace('.', '/')}.py"
            if top.is_dir():
                found.add(module if needs_no_other(module) else top)
            elif top.with_suffix(".py").exists():
                module = top.with_suffix(".py")
                found |= {module} | imported_by(module)
    return frozenset(path for path in found if path.parent not in found)


def needs_no_other(module: Path) -> bool:
    """Whether it is a module of the library that can be depended on without the rest."""
    return module.is_file() and not any(
        isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(ast.parse(module.read_text()))
    )


@pytest.mark.parametrize("name", STAGES)
def test_stage_depends_on_its_script_and_every_module_it_imports(name: str) -> None:
    script = ROOT / STAGES[name]["cmd"].split()[1]
    code = {dep for dep in STAGES[name]["deps"] if dep.startswith("src/")}
    needed = {script, *imported_by(script)}
    assert code == {str(path.relative_to(ROOT)) for path in needed}


@pytest.mark.parametrize("name", STAGES)
def test_stage_lists_the_params_that_its_modules_read(name: str) -> None:
    script = ROOT / STAGES[name]["cmd"].split()[1]
    helpers = imported_by(script) - {SRC / "neural_net", SRC / "params.py", SRC / "tracking.py"}
    text = "".join(path.read_text() for path in {script, *helpers})
    read = set(re.findall(r"\bparams\.([a-z_]+)", text)) & set(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert set(STAGES[name]["params"]) == read


def test_every_stage_reads_what_the_one_before_wrote() -> None:
    names = list(STAGES)
    assert names == ["fetch", "preprocess", "split", "train", "evaluate", "plot"]
    for before, after in pairwise(names):
        written = [out if isinstance(out, str) else next(iter(out)) for out in outs_of(before)]
        assert any(dep.startswith(out) for dep in STAGES[after]["deps"] for out in written)


def outs_of(name: str) -> list[Any]:
    return [out for kind in ("outs", "metrics", "plots") for out in STAGES[name].get(kind, [])]


@pytest.mark.parametrize("name", ["fetch", "preprocess", "split"])
def test_stage_without_tracking_does_not_know_mlflow(name: str) -> None:
    assert SRC / "tracking.py" not in imported_by(SRC / f"{name}.py")


def test_only_the_tracking_modules_import_mlflow() -> None:
    importing = {path.name for path in SRC.rglob("*.py") if imports_mlflow(ast.parse(path.read_text()))}
    assert importing <= {"tracking.py", "serving.py", "ui.py"}


def imports_mlflow(node: ast.AST) -> bool:
    """Whether running this code may import mlflow; what is there for the type checker alone does not count."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return False
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return any(name.split(".")[0] == "mlflow" for name in names) or any(map(imports_mlflow, ast.iter_child_nodes(node)))
