"""How a script ends."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from runtime import script

import pytest

from pipeline.errors import FailedTrainingError, ParamsError, StageError
from runtime.signals import STOPS

SRC = Path(script.__file__).parents[1]
FULL = OSError(errno.ENOSPC, "No space left on device", "models/network.npz")


def raising(error: BaseException) -> NoReturn:
    raise error


def start(code: str) -> subprocess.Popen[str]:
    """Python on some code, from the folder that the scripts are in."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], cwd=SRC, text=True, **pipes)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ParamsError("params.yaml: lr is missing"), 2, "params.yaml: lr is missing\n"),
        (StageError("the data are \x1b[31mdamaged\n"), 1, "the data are ?[31mdamaged\n"),
        (FailedTrainingError("the loss is NaN"), 1, "the loss is NaN\n"),
        (FULL, 1, "models/network.npz: the disk is full; free some space and run again\n"),
        (PermissionError(errno.EACCES, "", "models"), 1, "models: no permission; check who owns the folder\n"),
        (OSError(errno.ENOTDIR, "", "models"), 1, "models: a file is in the way of a folder; move it away\n"),
        (OSError(errno.EROFS, "Read-only"), 1, "a file: the file system is read-only\n"),
        (KeyboardInterrupt(), 130, "stopped; run the same command again to continue\n"),
        (KeyboardInterrupt("stopped in epoch 3"), 130, "stopped in epoch 3\n"),
    ],
)
def test_a_fault_ends_the_process_with_one_line(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        script.run(lambda: raising(error))
    assert (ended.value.code, capsys.readouterr().err) == (code, words)


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError(errno.EIO, "Input/output error")])
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        script.run(lambda: raising(error))


@pytest.mark.unix_only
@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize(("late", "code"), [(True, 0), (False, 130)])
def test_a_stop_ends_a_script_unless_all_is_done(number: int, late: bool, code: int) -> None:
    wait = "print('now', flush=True); time.sleep(1)"
    main = "lambda: atexit.register(wait)" if late else "wait"
    with start(f"import atexit, time; from runtime import script\ndef wait(): {wait}\nscript.run({main})") as process:
        assert process.stdout
        assert process.stdout.readline() == "now\n"
        process.send_signal(number)
        process.communicate()
    assert process.returncode == code


@pytest.mark.unix_only
def test_a_reader_of_the_output_may_leave() -> None:
    code = "from runtime import script; script.run(lambda: [script.say('x' * 999) for _ in range(999)])"
    with start(code) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "x" * 999 + "\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
