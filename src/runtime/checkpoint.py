"""Trainings that survive a kill: their state is in a file, which the next run with the same inputs resumes from.

A file belongs to one set of inputs: its name is a checksum of them, as dvc.yaml lists them for the stage. It is in the
main checkout, where DVC removes nothing and which temporary and queued experiments share. It starts with a line that
holds the SHA-256 of its name and of what follows, an npz file with the arrays and, as ``json``, everything else:
reading it can run no code.

The files outlive the train stage, because DVC has yet to record its result. The plot stage, the last one, deletes them.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import yaml
from filelock import FileLock, Timeout

from neural_net import Callback, Training
from neural_net.npz import npz_bytes, read_npz
from pipeline.errors import ParamsError, StageError
from pipeline.params import PARAMS_FILE, read_values
from pipeline.paths import PIPELINE_FILE, project_root
from utils import one_line

from .files import write_bytes
from .script import say
from .signals import handle_stops

EVERY = 5.0  # seconds between two checkpoints,
LARGEST_SHARE = 0.05  # or as many more as keep writing to this share of the time
KEPT_DAYS = 30  # of a checkpoint that no run resumed
CHECKPOINTS = Path(".dvc/tmp/checkpoints")  # in the main checkout
MAGIC = b"pendigits checkpoint 2 "


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message says what is wrong with it."""


# --- What a run is known by ------------------------------------------------------------------------------------------


def fingerprint(stage: str = "train") -> str:
    """A checksum of all that decides a stage's results: its params and deps in dvc.yaml, and NumPy's version."""
    described = yaml.safe_load((_project() / PIPELINE_FILE).read_text(encoding="utf-8"))["stages"][stage]
    values = read_values(PARAMS_FILE)
    digest = hashlib.sha256(
        f"{np.__version__} {json.dumps([values.get(key) for key in described['params']], default=str)}".encode()
    )
    for dep in described["deps"]:
        path = Path(dep) if Path(dep).exists() else _project() / dep  # data here, code beside this file
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _project() -> Path:
    return Path(__file__).resolve().parents[2]


# --- The file --------------------------------------------------------------------------------------------------------

_ARRAY = "an array of this file"


def pack(state: Mapping[str, Any], name: str = "") -> bytes:
    """A training's state as the content of a file; the inverse of ``unpack``, but for tuples, which become lists."""
    arrays: dict[str, Any] = {}

    def by_name(value: Any) -> dict[str, str]:
        if not isinstance(value, np.ndarray | np.generic):
            raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")
        name = f"a{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {_ARRAY: name}

    text = json.dumps(state, default=by_name)
    data = npz_bytes({"json": np.frombuffer(text.encode(), np.uint8), **arrays})
    return MAGIC + hashlib.sha256(name.encode() + data).hexdigest().encode() + b"\n" + data


def unpack(content: bytes, name: str = "") -> Any:
    """The state that ``pack`` made the content of.

    Raises:
        CheckpointError: for content that is damaged in any way, or was written to a file of another name.
    """
    head, _, data = content.partition(b"\n")
    if head != MAGIC + hashlib.sha256(name.encode() + data).hexdigest().encode():
        raise CheckpointError("its checksum does not match")
    try:
        arrays = read_npz(data)

        def by_name(value: dict[str, Any]) -> Any:
            return arrays[value[_ARRAY]].copy("K")[()] if value.keys() == {_ARRAY} else value

        return json.loads(arrays["json"].tobytes(), object_hook=by_name)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{type(error).__name__} {error}") from None


# --- In a training ---------------------------------------------------------------------------------------------------


class Stop:
    """Whether the process was asked to stop while a training can write its state first.

    Elsewhere, and at the second request, the process is stopped at once, by KeyboardInterrupt.
    """

    can_wait = asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.can_wait:
            raise KeyboardInterrupt
        self.asked = True


class Checkpoint(Callback):
    """Writes a training's state to a file at intervals, at its end, and when it is asked to stop.

    Belongs last among the callbacks, so that it writes what they remember of the same moment.

    Args:
        path: None: there is no file, and nothing is written.
        stop: where it is asked, KeyboardInterrupt is raised after the state is written.
        every: seconds between two checkpoints.
    """

    def __init__(self, path: Path | None, stop: Stop | None = None, every: float | None = None) -> None:
        self.path, self.stop, self.every = path, stop or Stop(), EVERY if every is None else every
        self._failed = self._discarded = False  # whether a warning was printed; whether the file must not be used

    def load(self) -> Any:
        """The state in the file; None where there is none that can be used, after a line that says so."""
        if self.path is None or self._discarded or not self.path.exists():
            return None
        try:
            return unpack(self.path.read_bytes(), self.path.name)
        except (CheckpointError, OSError) as error:
            self.discard(error)
            return None

    def discard(self, reason: Exception) -> None:
        """Do without the file; say why."""
        say(f"the checkpoint cannot be used ({one_line(reason, 200)}); training from the start")
        self._discarded = True  # also where it cannot be removed
        with suppress(OSError):
            (self.path or Path()).unlink()

    def set_state(self, training: Training, state: Mapping[str, Any]) -> None:
        whole = len(training.history) == training.epoch
        place = f"epoch {training.epoch}" + ("" if whole else f", step {training.step % training.steps_per_epoch},")
        say(f"resuming after {place} of {training.epochs}")

    def on_train_begin(self, training: Training) -> None:
        self._due = time.monotonic() + self.every
        self.stop.can_wait = True

    def on_batch_end(self, training: Training) -> None:
        if self.stop.asked or time.monotonic() >= self._due:
            self._write(training)

    def on_epoch_end(self, training: Training, record: Mapping[str, float]) -> None:
        ends = training.stopping or training.epoch == training.epochs
        if ends or self.stop.asked or time.monotonic() >= self._due:
            self._write(training)

    def on_train_end(self, training: Training) -> None:
        self.stop.can_wait = False

    def _write(self, training: Training) -> None:
        """Write the file, whole or not at all; the training goes on where the disk does not take it."""
        start, written = time.monotonic(), False
        if self.path is not None:
            try:
                write_bytes(self.path, pack(training.state(), self.path.name))
                written = True
            except OSError as error:
                if not self._failed:
                    say(f"warning: the checkpoint cannot be written ({error.strerror}); the training goes on")
                self._failed = True
        now = time.monotonic()
        self._due = now + max(self.every, (now - start) / LARGEST_SHARE)
        if self.stop.asked:
            how = "`dvc repro`, or the same experiment, resumes there" if written else "its state was not kept"
            raise KeyboardInterrupt(f"stopped in epoch {training.epoch} of {training.epochs}; {how}")


# --- In a stage ------------------------------------------------------------------------------------------------------


class ResumableRun:
    """One run of the train stage, known by its fingerprint."""

    def __init__(self, folder: Path, key: str, stop: Stop, keeps_state: bool) -> None:
        self.folder, self.key, self.stop, self.keeps_state = folder, key, stop, keeps_state

    def checkpoint(self, training: str) -> Checkpoint:
        """The checkpoint of one of its trainings, by name."""
        return Checkpoint(self.folder / f"{self.key}.{training}" if self.keeps_state else None, self.stop)

    def write(self, results: Mapping[Path, bytes]) -> None:
        """Write the stage's results, unless its inputs were edited meanwhile: DVC would store them as those of the new.

        Raises:
            StageError: if the train stage's fingerprint is not that of the start any more. Nothing is written.
        """
        try:
            unchanged = fingerprint() == self.key
        except (ParamsError, OSError, yaml.YAMLError, LookupError, TypeError):  # in the middle of an edit
            unchanged = False
        if not unchanged:
            raise StageError(
                "parameters, data or code were edited during the training, so its result is not written: DVC would "
                "store it under the new values; put the old values back and rerun to get it"
            )
        for path, content in results.items():
            write_bytes(path, content)


@contextmanager
def resumable_run(key: str, folder: Path | None = None) -> Iterator[ResumableRun]:
    """Let trainings in the block resume where an earlier run with the same inputs stopped.

    In the block, a request to stop lets a training write its state first. Another run with the same inputs is waited
    for: it makes what this one would make, and leaves its state.

    Args:
        key: the run's fingerprint, taken before its inputs are read.
        folder: where the checkpoints are; by default in the main checkout.
    """
    folder = project_root() / CHECKPOINTS if folder is None else folder
    stop, lock = Stop(), FileLock(folder / f"{key}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_old(folder)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say("another run with the same inputs is at work; waiting for it to end")
            lock.acquire()
    except (OSError, NotImplementedError) as error:  # a disk that takes no file, or a file system without locks
        say(f"warning: no checkpoint can be kept in {folder} ({error}); a stopped run starts anew")
    try:
        with handle_stops(stop):
            yield ResumableRun(folder, key, stop, lock.is_locked)
    finally:
        lock.release()


def release() -> None:
    """Delete the checkpoints of the train stage's latest run, now that nothing can be lost any more."""
    try:
        key = fingerprint()
    except FileNotFoundError:  # the training's data is not here, as after `dvc pull` of the model alone
        return
    for path in (project_root() / CHECKPOINTS).glob(f"{key}.*"):
        with suppress(OSError):
            path.unlink()


def _remove_old(folder: Path) -> None:
    """Delete the files of runs that nobody resumed for a long time."""
    for path in folder.iterdir():
        with suppress(OSError):  # other runs' files come and go meanwhile
            if time.time() - path.stat().st_mtime > KEPT_DAYS * 86_400:
                path.unlink()
