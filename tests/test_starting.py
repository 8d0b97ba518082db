"""Ctrl-C and SIGTERM while a script still imports its libraries."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path for path in (ROOT / "src").glob("*.py") if "stage.run(main)" in path.read_text())
SLOW_NUMPY = """
import time
print("loading", flush=True)
time.sleep(100)
"""


def script_that_loads(folder: Path) -> subprocess.Popen[str]:
    """A script in the middle of its imports: numpy is one that takes long."""
    (folder / "numpy.py").write_text(SLOW_NUMPY)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "src/train.py")],
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "loading\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_libraries_load_is_one_line(number: signal.Signals, tmp_path: Path) -> None:
    process = script_that_loads(tmp_path)
    process.send_signal(number)
    said = process.communicate(timeout=60)
    assert said == ("", "stopped; the same command again makes what is missing\n")
    assert process.returncode == 128 + number


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As a shell has it for what runs in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = script_that_loads(tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.kill()
    process.communicate()


def test_a_program_that_imports_a_script_keeps_its_own_way() -> None:
    program = "import signal, train, stage; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    said = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert said == "True\n"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_begins_so(path: Path) -> None:
    first = next(node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom))
    assert isinstance(first, ast.Import)
    assert [alias.name for alias in first.names] == ["starting"]
    assert len(SCRIPTS) > 15
