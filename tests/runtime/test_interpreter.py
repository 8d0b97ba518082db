"""What a script does under a Python that is not the project's, and for a user without a name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
SCRIPTS = sorted(path.name for path in SRC.glob("*.py") if "script.run(" in path.read_text())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_python_that_lacks_a_package_is_named_with_the_one_that_was_expected(name: str, tmp_path: Path) -> None:
    bare = sys._base_executable  # type: ignore[attr-defined]
    command = [bare, "-S", str(SRC / ("" if name == "__main__.py" else name)), "doctor"]
    environment = os.environ | {"DVC_ROOT": str(tmp_path), "PYTHONPATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("No module named ")
    assert f"this is {bare}, and the project's Python is {tmp_path}/.venv/bin/python" in line


def test_a_user_without_name_and_home_gets_both(tmp_path: Path) -> None:
    code = (
        "import pwd; pwd.getpwuid = {}.__getitem__; import runtime, os; print(os.environ['HOME'], os.environ['USER'])"
    )
    environment = {"PYTHONPATH": str(SRC), "DVC_ROOT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/.dvc/tmp unknown\n"
