"""Checkpoints: what the file holds, whose it is, and trainings that are asked to stop. test_resume.py has the stage."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runtime import checkpoint
from runtime import signals as signals_module

import numpy as np
import pytest
from filelock import FileLock
from tests.project_copy import copy_project
from tests.runtime.test_script import raising

from neural_net import Callback, Network, Training, dense_layers
from pipeline.paths import DRAWINGS_FILES, PARAMS_FILE, SCHEMAS, SPLIT_FILES
from runtime.checkpoint import (
    CHECKPOINTS,
    KEPT_DAYS,
    MAGIC,
    Checkpoint,
    Stop,
    fingerprint,
    pack,
    release,
    resumable_run,
    unpack,
)
from runtime.signals import STOPS

RNG = np.random.default_rng
X, Y = RNG(1).normal(size=(37, 4)), RNG(2).integers(0, 3, 37)


def training(*callbacks: Callback, epochs: int = 3) -> Training:
    rng = RNG(7)
    network = Network(dense_layers([9], 3, dropout=0.2), 4, rng=rng)
    return Training(network, X, Y, rng=rng, epochs=epochs, batch_size=8, callbacks=callbacks)


class At(Callback):
    """Calls functions after a step, at once or before the validation of the epoch that it ends."""

    def __init__(self, step: int, *calls: Callable[[], Any], when: str = "on_batch_end") -> None:
        self.step, self.calls = step, calls
        setattr(self, when, self.call)

    def call(self, training: Training) -> None:
        for call in self.calls if training.step == self.step else ():
            call()


def send(number: int) -> Callable[[], None]:
    return lambda: signal.raise_signal(number)


# --- The file ---

STATE = {"number": 0.1, "big": 2**127 + 1, "nothing": None, "best": float("inf"), "scalar": np.float32(0.1)}
STATE |= {"list": [1, "two", {"three": np.arange(3, dtype=np.float32)}], "matrix": np.eye(2)}


def test_a_state_comes_back_as_it_was() -> None:
    back = unpack(pack(STATE))
    plain = ("number", "big", "nothing", "best", "scalar")
    assert [back[key] for key in plain] == [STATE[key] for key in plain]
    assert back["list"][:2] == [1, "two"]
    assert back["list"][2]["three"].tolist() == [0, 1, 2]
    assert back["matrix"].tolist() == [[1, 0], [0, 1]]
    assert back["list"][2]["three"].dtype == back["scalar"].dtype == np.float32


def test_objects_are_not_written() -> None:
    with pytest.raises(TypeError, match="a checkpoint cannot hold Stop"):
        pack({"stop": Stop()})
    with pytest.raises(ValueError, match="Python objects"):
        pack({"objects": np.array([Stop()], dtype=object)})


@pytest.mark.parametrize("content", [b"", b"nonsense", MAGIC, pack(STATE, "file")[:-1], pack(STATE, "of another run")])
def test_a_file_that_is_not_its_own_is_reported_and_removed(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    keep = Checkpoint(path)
    assert keep.load() is None
    said = "the checkpoint cannot be used (its checksum does not match); training from the start\n"
    assert capsys.readouterr().out == said
    assert not path.exists()
    path.write_bytes(pack(STATE, "file"))
    assert keep.load() is None  # nothing from this place any more: where it cannot be removed, it would come back


# --- Whose it is ---


DECIDES = ["data/split/train.npz", "data/split/drawings_ink.npz", "src/train.py", "src/neural_net/layers.py", "NumPy"]
GUARDS = ["data/split/test.npz", "src/runtime/checkpoint.py", "src/tracking/mlflow_run.py", "src/plot.py"]


@pytest.mark.parametrize(
    ("changed", "another_run"),
    [*((name, True) for name in [*DECIDES, "seed", "bend"]), *((name, False) for name in [*GUARDS, "ece_bins"])],
)
def test_a_run_is_known_by_what_decides_its_results(
    changed: str, another_run: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_project(tmp_path, [])
    monkeypatch.chdir(tmp_path)
    Path("data/split").mkdir()
    for path in (*SPLIT_FILES, *DRAWINGS_FILES, SCHEMAS[1]):
        path.write_text(path.name)
    before = fingerprint()
    assert before == fingerprint()
    if changed == "NumPy":
        monkeypatch.setattr(np, "__version__", "1.0")
    elif "/" in changed:
        Path(changed).write_bytes(Path(changed).read_bytes() + b"\n")
    else:  # a parameter
        PARAMS_FILE.write_text(re.sub(rf"( *{changed}:) [\d.]+", r"\1 12", PARAMS_FILE.read_text()))
    assert (fingerprint() != before) == another_run


def test_the_second_of_two_runs_with_the_same_inputs_waits_and_resumes_at_the_firsts_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = threading.Event()

    def slow_first() -> None:
        with resumable_run("key", tmp_path) as run:
            begun.set()
            time.sleep(0.5)
            training(run.checkpoint("training")).run()

    with ThreadPoolExecutor() as pool:
        first = pool.submit(slow_first)
        begun.wait()
        with resumable_run("other", tmp_path) as other:
            assert other.checkpoint("training").path == tmp_path / "other.training"
        assert not first.done()
        with resumable_run("key", tmp_path) as second:
            keep = second.checkpoint("training")
            training(keep).run(keep.load())
        first.result()
    waited = "another run with the same inputs is at work; waiting for it to end"
    assert capsys.readouterr().out.splitlines() == [waited, "resuming after epoch 3 of 3"]


def test_the_files_outlive_the_stage_until_they_are_released(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC may be killed before it has recorded the stage's result."""
    for key in ("one", "two"):
        with resumable_run(key) as run:
            training(run.checkpoint("training")).run()
    monkeypatch.setattr(checkpoint, "fingerprint", lambda: "two")
    release()
    left = {path.name for path in (workspace / CHECKPOINTS).iterdir()}
    assert {"one.training"} <= left <= {"one.training", "one.lock"}


@pytest.mark.unix_only
def test_old_files_of_other_runs_are_removed(tmp_path: Path) -> None:
    for name, days in [("old.training", KEPT_DAYS + 1), ("young.training", KEPT_DAYS - 1)]:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - days * 86_400,) * 2)
    (tmp_path / "gone.training").symlink_to("nothing")  # as one that another run removes in this moment
    with resumable_run("key", tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {"young.training", "gone.training", "key.lock"}


# --- Resuming ---


@pytest.mark.parametrize(("every", "steps"), [(3600, [15]), (0, sorted([*range(1, 16), 5, 10, 15]))])
def test_files_are_written_at_intervals_and_at_the_end(
    every: float, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    monkeypatch.setattr(checkpoint, "LARGEST_SHARE", float("inf"))
    monkeypatch.setattr(checkpoint, "write_bytes", lambda path, data: written.append(unpack(data, path.name)["step"]))
    training(Checkpoint(Path("file"), every=every)).run()
    assert written == steps


# --- Where no file can be kept ---


@pytest.mark.parametrize("error", [NotImplementedError("no flock here"), None])
def test_a_folder_that_takes_nothing_does_not_stop_a_training(
    error: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path if error else tmp_path / "file" / "folder"
    (tmp_path / "file").touch()
    if error:
        monkeypatch.setattr(FileLock, "acquire", lambda *_, **__: raising(error))
    with resumable_run("key", folder) as run:
        assert run.checkpoint("training").path is None
        assert len(training(run.checkpoint("training")).run()) == 3
    assert capsys.readouterr().out.startswith(f"warning: no checkpoint can be kept in {folder} (")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_does_not_stop_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "write_bytes", lambda *_: raising(OSError(28, "No space left on device")))
    assert len(training(Checkpoint(tmp_path / "file", every=0)).run()) == 3
    said = "warning: the checkpoint cannot be written (No space left on device); the training goes on\n"
    assert capsys.readouterr().out == said


# --- Asked to stop ---


@pytest.mark.parametrize("numbers", [*((number,) for number in STOPS), STOPS], ids=lambda numbers: f"{len(numbers)}")
@pytest.mark.parametrize(("step", "when"), [(7, "on_batch_end"), (10, "on_validation_begin")])
def test_asked_to_stop_a_training_keeps_its_state_first(
    numbers: tuple[int, ...], step: int, when: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several signals at once are one request: `timeout` signals the group, and a parent passes its own on."""
    before = [signal.getsignal(number) for number in STOPS]
    whole = training(At(0))
    whole.run()
    said = r"stopped in epoch 2 of 3; `dvc repro`, .* resumes there"
    with pytest.raises(KeyboardInterrupt, match=said), resumable_run("key", tmp_path) as run:
        training(At(step, *map(send, numbers), when=when), run.checkpoint("training")).run()
    assert [signal.getsignal(number) for number in STOPS] == before
    keep = Checkpoint(tmp_path / "key.training")
    assert keep.load()["step"] == step
    after = training(At(0), keep)
    after.run(keep.load())
    assert np.array_equal(after.network.params, whole.network.params)
    assert after.history.records == whole.history.records
    assert re.fullmatch(r"resuming after epoch \d(, step \d,)? of 3\n", capsys.readouterr().out)


def test_a_stop_that_an_outer_block_has_handled_is_not_handled_again() -> None:
    handled = []
    with signals_module.handle_stops(lambda *_: handled.append("outer")):
        send(signal.SIGTERM)()
        with signals_module.handle_stops(lambda *_: handled.append("inner")):
            send(signal.SIGINT)()
    assert handled == ["outer"]


def test_asked_twice_or_outside_of_a_training_it_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals_module, "TOGETHER", 0)
    with pytest.raises(KeyboardInterrupt, match=r"^$"), resumable_run("key", tmp_path) as run:
        training(At(7, *map(send, STOPS)), run.checkpoint("training")).run()
    with pytest.raises(KeyboardInterrupt, match=r"^$"), resumable_run("key", tmp_path):
        send(signal.SIGTERM)()
    signal.signal(STOPS[-1], signal.SIG_IGN)  # as nohup does with SIGHUP
    with resumable_run("key", tmp_path) as run:
        assert len(training(At(7, send(STOPS[-1])), run.checkpoint("training")).run()) == 3
    assert signal.getsignal(STOPS[-1]) is signal.SIG_IGN
