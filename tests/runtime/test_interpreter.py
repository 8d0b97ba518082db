"""What a script does under a Python that is not the project's, and for a user without a name."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
SCRIPTS = sorted(path.name for path in SRC.glob("*.py") if "script.run(" in path.read_text())


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("before", "fault"),
    [("pass", "No module named "), ("sys.version_info = (3, 9, 6)", "Python 3.11 or later is needed, ")],
)
def test_a_wrong_python_is_named_with_the_one_that_was_expected_and_what_it_leaves(
    name: str, before: str, fault: str, tmp_path: Path
) -> None:
    script, bare = SRC / name, sys._base_executable  # type: ignore[attr-defined]
    ast.parse(script.read_text(), feature_version=(3, 7))  # else it ends before it says anything
    code = (
        f"import runpy, sys; {before}; sys.path[:0] = [{str(SRC)!r}]; runpy.run_path({str(script)!r}, None, '__main__')"
    )
    environment = os.environ | {"DVC_ROOT": str(tmp_path), "DVC_EXP_NAME": "an-experiment", "PYTHONPATH": ""}
    done = subprocess.run(
        [bare, "-S", "-c", code, "doctor"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    line, undo = done.stderr.splitlines()
    assert line.startswith(fault)
    assert f"this is {bare}, and the project's Python is {tmp_path / '.venv'}/bin/python" in line
    assert "`git checkout params.yaml`" in undo


@pytest.mark.unix_only
def test_a_user_without_name_and_home_gets_both(tmp_path: Path) -> None:
    code = (
        "import pwd; pwd.getpwuid = {}.__getitem__; import runtime, os; print(os.environ['HOME'], os.environ['USER'])"
    )
    environment = {"PYTHONPATH": str(SRC), "DVC_ROOT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/.dvc/tmp unknown\n"
