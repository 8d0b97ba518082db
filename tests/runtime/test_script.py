"""What the stage scripts share."""

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from pipeline import errors
from pipeline.params import ParamsError
from runtime import files, script
from runtime.signals import STOPS


def raising(error: BaseException) -> NoReturn:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ParamsError("params.yaml: lr is missing"), 2, "params.yaml: lr is missing"),
        (errors.StageError("the data are damaged"), 1, "the data are damaged"),
        (
            OSError(errno.ENOSPC, "No space left on device", "models/network.npz"),
            1,
            "models/network.npz: the disk is full",
        ),
        (OSError(errno.EACCES, "Permission denied", "models"), 1, "models: no permission"),
        (OSError(errno.ENOLCK, "No locks available"), 1, "a file: the file system knows no locks"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_fault_ends_the_process_with_one_line(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        script.run(lambda: raising(error))
    said = capsys.readouterr().err
    assert ended.value.code == code
    assert said.startswith(words)
    assert len(said.splitlines()) == 1


ENDS_SLOWLY = """
import atexit, time, stage
atexit.register(lambda: (print("at its end", flush=True), time.sleep(1)))
stage.run(lambda: None)
"""


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_that_comes_too_late_changes_nothing(number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDS_SLOWLY], cwd=Path(script.__file__).parent, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "at its end\n"
    process.send_signal(number)
    process.communicate()
    assert process.returncode == 0


def test_who_has_read_enough_may_leave() -> None:
    code = "import stage; stage.run(lambda: [stage.say('x' * 1000) for _ in range(1000)])"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(script.__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "x" * 1000 + "\n"
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr
    assert process.stderr.read() == ""
    process.stderr.close()


def test_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        script.run(lambda: raising(ZeroDivisionError()))


def test_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new" / "metrics.json"
    files.write_bytes(file, b"before")
    monkeypatch.setattr(Path, "replace", lambda *_: raising(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space") as caught:
        files.write_bytes(file, b"after")
    assert caught.value.filename == str(file)
    assert file.read_bytes() == b"before"
    assert [path.name for path in file.parent.iterdir()] == ["metrics.json"]


def test_what_a_killed_process_left_of_a_file_goes_with_the_next(tmp_path: Path) -> None:
    code = f"""
import os, signal, pathlib, stage
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
stage.write_bytes(pathlib.Path({str(tmp_path / "file")!r}), b"half")
"""
    source = str(Path(script.__file__).parent)
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": source}, check=False)
    assert [path.name for path in tmp_path.iterdir()] == [".file.part"]
    files.write_bytes(tmp_path / "file", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_writers_of_one_file_come_one_after_the_other(tmp_path: Path) -> None:
    contents = [bytes([number]) * 1_000_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(files.write_bytes, tmp_path / "file", content) for content in contents]:
            done.result()
    assert (tmp_path / "file").read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_json_keeps_order_and_refuses_what_is_no_number(tmp_path: Path) -> None:
    files.write_json(tmp_path / "m.json", {"b": 1, "a": 0.5})
    assert list(json.loads((tmp_path / "m.json").read_text())) == ["b", "a"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "m.json", {"b": float("nan")})


def test_checksum_is_of_all_contents_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"ab")
    second.write_bytes(b"c")
    # sha256 of "abc", from FIPS 180-2, appendix B.1
    assert files.sha256_of([first, second]).startswith("ba7816bf8f01cfea414140de5dae2223")
    assert files.sha256_of([second, first]) != files.sha256_of([first, second])
