"""The train stage in processes of its own: killed, stopped, edited, with the refit in turn or beside the training.

Its outputs are the same bytes.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.test_end_to_end import ROOT, prepare, run
from tests.tools.torture import kept

from pipeline.paths import MODEL_FILES, TRAIN_FILES

OUTPUTS = [*MODEL_FILES, *TRAIN_FILES]
SMALL = {"synthetic_rows_per_writer": 15, "hidden_layers": [16], "diagnostics": True, "weight_average": 0.9}
TRAIN = """
import sys, time
from runtime import beside, checkpoint, script
import train
checkpoint.EVERY, train.__file__ = 0.02, __file__
if "beside" in __file__:
    train.LONG, beside.cores = 0, lambda: 2
report = train._Report.on_epoch_end
train._Report.on_epoch_end = lambda *given: (report(*given), time.sleep(0.02))  # else it is over before it is killed
if sys.argv[1:]:
    tell = beside.tell
    beside.tell = lambda epoch: (tell(epoch), time.sleep(0.03))
    beside.run(train.refit_beside)
else:
    script.run(train.main)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all stages up to training that nobody disturbed."""
    folder = prepare(tmp_path_factory.mktemp("whole"), epochs=40, **SMALL)
    for name in ("fetch", "preprocess", "split", "train"):
        done = run(folder, name)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """The same data and parameters, not trained yet."""
    (tmp_path / "params.yaml").write_bytes((whole / "params.yaml").read_bytes())
    (tmp_path / "data/split").mkdir(parents=True)
    for path in whole.glob("data/split/*"):
        (tmp_path / "data/split" / path.name).write_bytes(path.read_bytes())
    return tmp_path


def start(folder: Path, how: str = "in turn") -> subprocess.Popen[str]:
    script = folder / f"{how}.py"
    script.write_text(TRAIN)
    more = {"PENDIGITS_TRACKING": "off", "DVC_ROOT": str(folder), "PYTHONPATH": str(ROOT / "src")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, script], cwd=folder, env=os.environ | more, text=True, **pipes)


def finish(folder: Path, how: str = "in turn") -> str:
    process = start(folder, how)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    return out


def written_in(folder: Path) -> list[int]:
    with suppress(FileNotFoundError):  # one is being replaced
        return [path.stat().st_ino for path in kept(folder)]
    return []


def wait_for_checkpoint(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until the process has written one."""
    before = written_in(folder)
    while process.poll() is None and written_in(folder) in (before, []):
        time.sleep(0.005)


def stop(folder: Path, how: str, number: int | None = None, delay: float = 0.05) -> tuple[int, str]:
    """Start a training, kill it or send it a signal some time after its first checkpoint; returns how it ended."""
    process = start(folder, how)
    wait_for_checkpoint(process, folder)
    time.sleep(delay)
    process.send_signal(number) if number else process.kill()
    _, err = process.communicate()
    return process.returncode, err


def same_bytes(folder: Path, whole: Path) -> bool:
    return all((folder / name).read_bytes() == (whole / name).read_bytes() for name in OUTPUTS)


@pytest.mark.unix_only
@pytest.mark.parametrize("how", ["in turn", "beside"])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_stopped_and_killed_again_and_again_it_ends_with_the_same_bytes(
    whole: Path, folder: Path, seed: int, how: str
) -> None:
    chance = random.Random(seed)
    code, err = stop(folder, how, (signal.SIGTERM, signal.SIGINT)[seed % 2])
    assert code == 130
    assert re.fullmatch(r"stopped in epoch \d+ of 40; `dvc repro`, or the same experiment, resumes there\n", err)
    codes = [stop(folder, how, delay=chance.uniform(0, 0.4))[0] for _ in range(3)]
    assert -signal.SIGKILL in codes
    assert finish(folder, how).count("resuming after epoch") in (1, 2)  # of two trainings
    assert same_bytes(folder, whole)
    for name in OUTPUTS:  # DVC was killed before it had recorded them
        (folder / name).unlink()
    assert re.findall(r"resuming after epoch (\d+) of (\d+)", finish(folder, how)) == [("40", "40")] * 2
    assert same_bytes(folder, whole)


@pytest.mark.unix_only
@pytest.mark.parametrize("killed", ["the stage", "the second process"])
def test_neither_process_outlives_the_other_or_loses_its_work(whole: Path, folder: Path, killed: str) -> None:
    process = start(folder, "beside")
    while not list(folder.glob(".dvc/tmp/checkpoints/[!.]*.refit")):
        assert process.poll() is None
        time.sleep(0.005)
    (second,) = psutil.Process(process.pid).children()
    (process if killed == "the stage" else second).kill()
    out, err = process.communicate()
    assert psutil.wait_procs([second], 60)[1] == []
    if killed == "the stage":
        out = finish(folder)
    else:
        assert (process.returncode, err) == (0, "")
        assert "the second process ended too early (exit code -9); this one does the rest of its work\n" in out
    assert re.search(r"(?m)^resuming after epoch \d+, .*of 40$|^resuming after epoch [123]?\d of 40$", out)
    assert same_bytes(folder, whole)


def test_a_training_that_fails_says_so_once(folder: Path) -> None:
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(re.sub("(?m)^lr: .*", "lr: 1e30", text))
    process = start(folder, "beside")
    _, err = process.communicate()
    assert (process.returncode, err.count("\n"), err[:28]) == (1, 1, "training diverged in epoch 1")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("params.yaml", rb"(?m)^seed: 0$", b"seed: 1"),
        ("params.yaml", rb"(?m)^seed: 0$", b"seed: ["),
        ("data/split/validation_ink.npz", rb"$", b"\0"),
    ],
)
def test_a_result_of_inputs_that_were_edited_meanwhile_is_not_written(
    whole: Path, folder: Path, file: str, old: bytes, new: bytes
) -> None:
    content = (folder / file).read_bytes()
    process = start(folder)
    wait_for_checkpoint(process, folder)
    (folder / file).write_bytes(re.sub(old, new, content, count=1))
    _, err = process.communicate()
    assert process.returncode == 1
    assert err.startswith("parameters, data or code were edited during the training, so its result is not written")
    assert not any((folder / name).exists() for name in OUTPUTS)
    (folder / file).write_bytes(content)
    assert "resuming after epoch 40 of 40" in finish(folder)
    assert same_bytes(folder, whole)
