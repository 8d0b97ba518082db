"""Checkpoints: what is in the file, whose it is, and trainings that are killed."""

import errno
import fcntl
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.test_end_to_end import ROOT, prepare, run

from neural_net import Callback, Network, StateError, Training, WeightAverage, dense_layers
from runtime import checkpoint, files
from runtime import signals as signals_module
from runtime.checkpoint import (
    MAGIC,
    MOST_FILES,
    Checkpoint,
    CheckpointError,
    Stop,
    checkpoints,
    fingerprint,
    pack,
    release,
    unpack,
)

RNG = np.random.default_rng
X, Y = RNG(1).normal(size=(37, 4)), RNG(2).integers(0, 3, 37)


def training(*callbacks: Callback, epochs: int = 3, seed: int = 7) -> Training:
    rng = RNG(seed)
    network = Network(dense_layers([9], 3, dropout=0.2), 4, rng=rng)
    return Training(network, X, Y, rng=rng, epochs=epochs, batch_size=8, callbacks=callbacks)


class Crash(Callback):
    """Ends the training after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_batch_end(self, training: Training) -> None:
        if training.step == self.step:
            raise RuntimeError


# The file

STATE = {
    "number": 0.1,
    "big": 2**127 + 1,
    "nothing": None,
    "best": float("inf"),
    "list": [1, "two", {"three": np.arange(3, dtype=np.float32)}],
    "matrix": np.eye(2),
    "scalar": np.float32(0.1),
}


def test_a_state_comes_back_as_it_was() -> None:
    back = unpack(pack(STATE))
    assert {key: back[key] for key in ("number", "big", "nothing", "best")} == {
        "number": 0.1, "big": 2**127 + 1, "nothing": None, "best": float("inf"),
    }  # fmt: skip
    assert back["list"][:2] == [1, "two"]
    assert back["list"][2]["three"].tolist() == [0, 1, 2]
    assert back["list"][2]["three"].dtype == np.float32
    assert back["matrix"].tolist() == [[1, 0], [0, 1]]
    assert back["scalar"] == np.float32(0.1)
    assert type(back["scalar"]) is np.float32


def test_what_is_no_data_is_not_written() -> None:
    with pytest.raises(TypeError, match="a checkpoint cannot hold Stop"):
        pack({"stop": Stop()})
    with pytest.raises(CheckpointError, match="cannot create an OBJECT array"):
        unpack(pack({"objects": np.array([Stop()], dtype=object)}))


@given(data=st.data())
def test_every_damaged_file_is_refused(data: st.DataObject) -> None:
    content = bytearray(pack(STATE))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "any"]))
    place = data.draw(st.integers(0, len(content) - 1))
    if kind == "flip":
        content[place] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del content[place:]
    elif kind == "insert":
        content[place:place] = data.draw(st.binary(min_size=1, max_size=20))
    else:
        content = bytearray(data.draw(st.binary(max_size=200)))
    with pytest.raises(CheckpointError):
        unpack(bytes(content))


def signed(data: bytes, name: str = "") -> bytes:
    """Content with the right checksum, as someone would make who means harm."""
    import hashlib

    return MAGIC + hashlib.sha256(name.encode() + data).hexdigest().encode() + b"\n" + data


@given(data=st.data())
def test_a_damaged_file_with_the_right_checksum_is_refused_or_read(data: st.DataObject) -> None:
    content = bytearray(pack(STATE).partition(b"\n")[2])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(signed(bytes(content)))
    except CheckpointError:
        return


def test_a_file_that_swells_is_refused() -> None:
    import io

    bomb = io.BytesIO()
    np.savez_compressed(bomb, json=np.zeros(10**7, np.uint8))
    with pytest.raises(CheckpointError, match="larger than the file"):
        unpack(signed(bomb.getvalue()))


# Whose it is


def test_other_parameters_data_or_code_are_another_run(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"1")
    first = fingerprint({"lr": 0.1}, [file])
    assert first == fingerprint({"lr": 0.1}, [file])
    assert first != fingerprint({"lr": 0.2}, [file])
    file.write_bytes(b"2")
    assert first != fingerprint({"lr": 0.1}, [file])


def test_the_second_of_two_runs_with_the_same_inputs_waits_and_has_what_the_first_has_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "PATIENCE", 2)

    def slow_first() -> None:
        with checkpoints(tmp_path, "key") as made:
            begun.set()
            for _ in range(15):  # longer than the other's patience
                time.sleep(0.2)
                training(made("training")).run()

    begun = threading.Event()
    first = threading.Thread(target=slow_first)
    first.start()
    begun.wait()
    with checkpoints(tmp_path, "key") as second, checkpoints(tmp_path, "other") as third:
        assert third("training").path == tmp_path / "other.training"
        keep = second("training")
        training(keep).run(keep.load())
    first.join()
    said = capsys.readouterr().out
    assert said.startswith("another run with the same inputs is at work; waiting for it to end\n")
    assert "going on after epoch 3 of 3, which a run with the same inputs had reached\n" in said


def test_a_run_with_the_same_inputs_that_hangs_is_waited_for_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "PATIENCE", 0.3)
    with checkpoints(tmp_path, "key") as first:
        with checkpoints(tmp_path, "key") as second:
            assert second("training").path is None
            training(second("training")).run()
        assert "it seems to hang, and has the checkpoint; this one keeps none" in capsys.readouterr().out
        assert not (tmp_path / "key.done").exists()
        training(first("training")).run()
        assert (tmp_path / "key.training").exists()


def test_the_files_outlive_the_stage_until_their_model_is_met(tmp_path: Path) -> None:
    """DVC may be killed before it has recorded what the stage made."""
    folder, model = tmp_path / "folder", tmp_path / "model"
    for key in ("one", "two", "stopped"):
        model.write_text(f"the model of {key}")
        with suppress(KeyboardInterrupt), checkpoints(folder, key, [model]) as made:
            training(made("training")).run()
            if key == "stopped":
                raise KeyboardInterrupt
    (folder / "one.inside").mkdir()
    (folder / ".one.training.part").touch()
    model.write_text("the model of one")
    with checkpoints(folder, "one"):
        release(folder, [model])
        assert (folder / "one.training").exists(), "another run is at work with it"
    release(folder, [model])
    assert (folder / "one.training").exists(), "that run has made another model"
    with checkpoints(folder, "one", [model]):
        pass
    release(folder, [model])
    (folder / "one.inside").rmdir()
    names = ["stopped.lock", "stopped.training", "two.done", "two.lock", "two.training"]
    assert sorted(path.name for path in folder.iterdir()) == names
    release(tmp_path / "missing", [model])


def test_what_nobody_came_back_for_goes_in_the_end(tmp_path: Path) -> None:
    for age in range(MOST_FILES + 5):
        path = tmp_path / f"run{age}.training"
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    with checkpoints(tmp_path, "key"):
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {"key.lock", *(f"run{age}.training" for age in range(MOST_FILES - 1))}


def test_who_comes_back_in_the_end_finds_the_oldest_too(tmp_path: Path) -> None:
    (tmp_path / "key.training").touch()
    os.utime(tmp_path / "key.training", (1, 1))
    for number in range(MOST_FILES):
        (tmp_path / f"run{number}.training").touch()
    with checkpoints(tmp_path, "key"):
        assert (tmp_path / "key.training").exists()


def test_what_was_ignored_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup, when the terminal is closed
    try:
        with checkpoints(tmp_path, "key") as made:
            training(Interrupt(signal.SIGHUP), made("training")).run()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_those_at_work_keep_their_files_however_old(tmp_path: Path) -> None:
    for name in ("old.lock", "old.training", "left.lock", "left.training"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    for number in range(MOST_FILES):
        (tmp_path / f"run{number}.training").touch()
    with (tmp_path / "old.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with checkpoints(tmp_path, "key"):
            assert {path.name for path in tmp_path.iterdir()} >= {"old.lock", "old.training"}
            assert not {path.name for path in tmp_path.iterdir()} & {"left.lock", "left.training"}


def test_files_that_others_remove_meanwhile_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / ".other.training.part"
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([gone]))
    with checkpoints(tmp_path, "key") as made:
        assert made("training").path is not None
    assert capsys.readouterr().out == ""


# Going on


def test_a_training_goes_on_from_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = training(Crash(-1))
    whole.run()
    with pytest.raises(RuntimeError):
        training(Crash(8), Checkpoint(tmp_path / "file", every=0)).run()
    resumed = Checkpoint(tmp_path / "file")
    after = training(Crash(-1), resumed)
    after.run(resumed.load())
    assert np.array_equal(after.network.params, whole.network.params)
    assert after.history.records == whole.history.records
    said = r"going on after epoch \d(, step \d,)? of 3, which a run with the same inputs had reached\n"
    assert re.fullmatch(said, capsys.readouterr().out)


@pytest.mark.parametrize("content", [b"", b"nonsense", MAGIC, pack(STATE)[:-1]])
def test_a_damaged_file_is_said_and_removed(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert Checkpoint(path).load() is None
    said = "the checkpoint of a stopped run cannot be used (it is not what was written): training from the start\n"
    assert capsys.readouterr().out == said
    assert not path.exists()


def test_a_file_of_another_name_is_not_picked_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one of other parameters, data or code, or of the other training, would be."""
    one, other = tmp_path / "key.training", tmp_path / "key.refit"
    training(Checkpoint(one, every=0.0)).run()
    one.rename(other)
    assert Checkpoint(other).load() is None
    assert "it is not what was written" in capsys.readouterr().out


def test_a_folder_in_its_place_costs_the_checkpoint_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key.training/inside").mkdir(parents=True)
    with checkpoints(tmp_path, "key") as checkpoint:
        one = checkpoint("training")
        assert one.load() is None
        assert one.load() is None
        training(one).run()
    said = capsys.readouterr().out
    assert said.count("cannot be used") == 1
    assert said.count("warning: the checkpoint cannot be written") == 1
    assert (tmp_path / "key.training/inside").is_dir()


def test_files_are_written_at_intervals_and_at_the_end(tmp_path: Path) -> None:
    written: list[int] = []

    class Count(Checkpoint):
        def _write(self, training: Training) -> None:
            written.append(training.step)
            super()._write(training)

    training(Count(tmp_path / "file", every=3600)).run()
    assert written == [15]
    training(Count(tmp_path / "file", every=0), epochs=1).run()
    assert len(written) > 2


def test_a_disk_that_takes_nothing_does_not_stop_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_bytes", full)
    assert len(training(Checkpoint(tmp_path / "file", every=0)).run()) == 3
    said = "warning: the checkpoint cannot be written (No space left on device); the training goes on\n"
    assert capsys.readouterr().out == said


def test_a_folder_that_cannot_be_made_does_not_stop_a_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with checkpoints(tmp_path / "file" / "folder", "key") as made:
        assert len(training(made("training")).run()) == 3
    assert "no checkpoint can be kept (Not a directory" in capsys.readouterr().out


def test_where_there_are_no_locks_nothing_is_kept_and_nothing_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with checkpoints(tmp_path, "key") as made:
        assert made("training").path is None
    assert "no checkpoint can be kept (No locks available" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


# Asked to stop


class Interrupt(Callback):
    """Sends this process a signal before the end of some steps, as a user or a system would."""

    def __init__(self, number: int, *steps: int) -> None:
        self.number, self.steps = number, steps

    def on_batch_end(self, training: Training) -> None:
        if training.step in self.steps:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_a_training_keeps_its_state_first(number: int, tmp_path: Path) -> None:
    handler = signal.getsignal(number)
    whole = training(Interrupt(number))
    whole.run()
    said = r"stopped in epoch 2 of 3; `dvc repro`, .* goes on from there"
    with pytest.raises(KeyboardInterrupt, match=said), checkpoints(tmp_path, "key") as made:
        training(Interrupt(number, 7), made("training")).run()
    assert signal.getsignal(number) == handler
    with checkpoints(tmp_path, "key") as made:
        keep = made("training")
        after = training(Interrupt(number), keep)
        after.run(keep.load())
    assert np.array_equal(after.network.params, whole.network.params)
    release(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_a_stop_that_comes_as_several_signals_is_one(tmp_path: Path) -> None:
    """As from `timeout`, which tells the whole group, and a parent that passes on what it was told."""
    with pytest.raises(KeyboardInterrupt, match="stopped in epoch 2"), checkpoints(tmp_path, "key") as made:
        training(Interrupt(signal.SIGINT, 7), Interrupt(signal.SIGTERM, 7), made("training")).run()
    assert (tmp_path / "key.training").exists()


def test_asked_twice_or_outside_of_a_training_it_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals_module, "TOGETHER", 0)
    with pytest.raises(KeyboardInterrupt, match=r"^$"), checkpoints(tmp_path, "key") as made:
        training(Interrupt(signal.SIGINT, 7), Interrupt(signal.SIGTERM, 7), made("training")).run()
    with pytest.raises(KeyboardInterrupt, match=r"^$"), checkpoints(tmp_path, "key"):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_thread_that_is_not_the_first_can_train_too(tmp_path: Path) -> None:
    lengths: list[int] = []

    def work() -> None:
        with checkpoints(tmp_path, "key") as made:
            lengths.append(len(training(made("training")).run()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert lengths == [3]


def test_a_state_of_another_training_starts_afresh(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        training(Crash(8), Checkpoint(tmp_path / "file", every=0)).run()
    keep = Checkpoint(tmp_path / "file")
    with pytest.raises(StateError):
        training(WeightAverage(), keep).run(keep.load())


# The train stage, killed

OUTPUTS = ["models/network.npz", "models/network.json", "metrics/history.csv", "metrics/train.json"]
OUTPUTS += ["metrics/diagnostics.csv", "metrics/histograms.csv"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all stages up to training that nobody disturbed."""
    folder = prepare(tmp_path_factory.mktemp("whole"), epochs=40, batch_size=16, diagnostics=True, weight_average=0.9)
    for name in ("fetch", "preprocess", "split", "train"):
        done = run(folder, name)
        assert done.returncode == 0, done.stderr
    return folder


def start(folder: Path, every: float = 0.02) -> subprocess.Popen[str]:
    code = f"import checkpoint; checkpoint.EVERY = {every}; import stage, train; stage.run(train.main)"
    environment = os.environ | {"PENDIGITS_TRACKING": "off", "DVC_ROOT": str(folder), "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def kept_in(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".dvc/tmp/checkpoints/*") if path.suffix != ".lock"]


def written_in(folder: Path) -> set[tuple[str, int]]:
    with suppress(FileNotFoundError):  # it is being replaced
        return {(path.name, path.stat().st_ino) for path in kept_in(folder)}
    return set()


def stop_at(process: subprocess.Popen[str], folder: Path, number: int, delay: float) -> tuple[str, str]:
    """Send a signal some time after the process has written a checkpoint; returns what it said."""
    before = written_in(folder)
    while process.poll() is None and written_in(folder) == before:
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(number)
    return process.communicate()


def same_bytes(folder: Path, whole: Path) -> bool:
    return all((folder / name).read_bytes() == (whole / name).read_bytes() for name in OUTPUTS)


def prepared(whole: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "params.yaml").write_bytes((whole / "params.yaml").read_bytes())
    (folder / "data").symlink_to(whole / "data")
    return folder


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_killed_again_and_again_it_ends_with_the_same_bytes(whole: Path, tmp_path: Path, seed: int) -> None:
    folder, chance = prepared(whole, tmp_path / "killed"), random.Random(seed)
    kills = 0
    for _ in range(3):
        process = start(folder)
        stop_at(process, folder, signal.SIGKILL, chance.uniform(0, 0.4))
        kills += process.returncode == -signal.SIGKILL
    assert kills
    last = start(folder)
    out, err = last.communicate()
    assert last.returncode == 0, err
    assert out.count("going on after epoch") in (1, 2)  # two trainings, where params.yaml asks for a refit
    assert same_bytes(folder, whole)
    for name in OUTPUTS:  # DVC was killed before it had recorded them
        (folder / name).unlink()
    out, _ = start(folder).communicate()
    assert re.findall(r"going on after epoch (\d+) of (\d+)", out) == [("40", "40")] * 2
    assert same_bytes(folder, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_the_stage_says_how_to_go_on(whole: Path, tmp_path: Path, number: int) -> None:
    folder = prepared(whole, tmp_path / "asked")
    process = start(folder)
    _, err = stop_at(process, folder, number, 0.05)
    assert process.returncode == 130
    assert err.startswith("stopped in epoch ")
    assert err.endswith("; `dvc repro`, or the same experiment, goes on from there\n")
    last = start(folder)
    out, _ = last.communicate()
    assert "going on after epoch" in out
    assert same_bytes(folder, whole)


def test_other_parameters_start_from_the_beginning(whole: Path, tmp_path: Path) -> None:
    folder = prepared(whole, tmp_path / "other")
    stop_at(start(folder), folder, signal.SIGKILL, 0.05)
    params: dict[str, Any] = yaml.safe_load((folder / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump(params | {"seed": 1, "epochs": 2}))
    last = start(folder)
    out, _ = last.communicate()
    assert last.returncode == 0
    assert "going on" not in out
    assert kept_in(folder)  # the killed run can still go on


@pytest.mark.parametrize("changed", ["seed: 1", "seed: ["])
def test_a_result_of_other_parameters_than_are_there_is_not_written(whole: Path, tmp_path: Path, changed: str) -> None:
    """As they are when params.yaml is edited meanwhile, also where DVC was killed and another training is at work."""
    folder = prepared(whole, tmp_path / "edited")
    params = (folder / "params.yaml").read_text()
    process = start(folder)
    while not kept_in(folder):
        time.sleep(0.005)
    (folder / "params.yaml").write_text(re.sub("(?m)^seed: 0$", changed, params))
    _, err = process.communicate()
    assert process.returncode == 1
    assert err.startswith("parameters, data or code were changed during the training")
    assert not (folder / "models").exists()
    (folder / "params.yaml").write_text(params)
    out, _ = start(folder).communicate()
    assert "going on after epoch 40 of 40" in out
    assert same_bytes(folder, whole)


def test_a_damaged_checkpoint_costs_a_line(whole: Path, tmp_path: Path) -> None:
    folder = prepared(whole, tmp_path / "damaged")
    stop_at(start(folder), folder, signal.SIGKILL, 0.05)
    for path in kept_in(folder):
        path.write_bytes(path.read_bytes()[:-100])
    out, err = start(folder).communicate()
    assert "the checkpoint of a stopped run cannot be used" in out
    assert err == ""
    assert same_bytes(folder, whole)
