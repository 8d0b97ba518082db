"""Checkpoints: a killed training can resume, because its state is in a file that the next run reads.

A file belongs to one set of inputs: its name is a checksum of the inputs that dvc.yaml lists for the stage. The files
are in the main checkout. DVC removes nothing there, and temporary and queued experiments share it.

The first line of a file holds a SHA-256 of its name and of the rest. The rest is an npz file: the arrays, and
everything else as ``json``. Reading it can run no code.

The files stay after the train stage, because DVC has not recorded its result yet. The plot stage, the last one,
deletes them.
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


# --- The fingerprint of a run ----------------------------------------------------------------------------------------


def fingerprint(stage: str = "train") -> str:
    """A checksum of everything that can change a stage's results: its params and deps in dvc.yaml, NumPy's version."""
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
    """Turn a training's state into the content of a file. ``unpack`` reads it back; tuples become lists."""
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
    """Read the state from content that ``pack`` made.

    Raises:
        CheckpointError: if the content is damaged in any way, or was written to a file of another name.
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
    """Handles a request to stop: a running training first writes its state.

    If no training runs, and at the second request, KeyboardInterrupt is raised at once.
    """

    can_wait = asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.can_wait:
            raise KeyboardInterrupt
        self.asked = True


class Checkpoint(Callback):
    """Writes a training's state to a file at intervals, at its end, and at a request to stop.

    Put it last in the list of callbacks, so that it saves the state of the others at the same moment.

    Args:
        path: the file; None: nothing is written.
        stop: after a request to stop, the state is written, then KeyboardInterrupt is raised.
        every: seconds between two checkpoints.
        quiet: resume without a line that says so.
    """

    def __init__(
        self, path: Path | None, stop: Stop | None = None, every: float | None = None, quiet: bool = False
    ) -> None:
        self.path, self.stop, self.every = path, stop or Stop(), EVERY if every is None else every
        self.quiet = quiet
        self._failed = self._discarded = False  # whether a warning was printed; whether the file must not be used

    def load(self) -> Any:
        """Read the state from the file; None if there is no file, or if it is damaged, after a line that says so."""
        if self.path is None or self._discarded or not self.path.exists():
            return None
        try:
            return unpack(self.path.read_bytes(), self.path.name)
        except (CheckpointError, OSError) as error:
            self.discard(error)
            return None

    def discard(self, reason: Exception) -> None:
        """Delete the file and print why."""
        say(f"the checkpoint cannot be used ({one_line(reason, 200)}); training from the start")
        self._discarded = True  # also where it cannot be removed
        with suppress(OSError):
            (self.path or Path()).unlink()

    def set_state(self, training: Training, state: Mapping[str, Any]) -> None:
        whole = len(training.history) == training.epoch
        place = f"epoch {training.epoch}" + ("" if whole else f", step {training.step % training.steps_per_epoch},")
        if not self.quiet:
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
        """Write the file completely or not at all. If the disk is full, the training goes on without it."""
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
            how = "`dvc repro`, or the same experiment, resumes there" if written else "its state could not be saved"
            raise KeyboardInterrupt(f"stopped in epoch {training.epoch} of {training.epochs}; {how}")


# --- In a stage ------------------------------------------------------------------------------------------------------


class ResumableRun:
    """One run of the train stage, identified by its fingerprint."""

    def __init__(self, folder: Path, key: str, stop: Stop, keeps_state: bool) -> None:
        self.folder, self.key, self.stop, self.keeps_state = folder, key, stop, keeps_state

    def checkpoint(self, training: str, quiet: bool = False) -> Checkpoint:
        """The checkpoint of one of its trainings, by name."""
        path = self.folder / f"{self.key}.{training}" if self.keeps_state else None
        return Checkpoint(path, self.stop, quiet=quiet)

    def write(self, results: Mapping[Path, bytes]) -> None:
        """Write the stage's results, unless its inputs were edited meanwhile: DVC would store them under the new ones.

        Raises:
            StageError: if the fingerprint of the train stage has changed since the start. Nothing is written.
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
def resumable_run(key: str, folder: Path | None = None, part: str = "") -> Iterator[ResumableRun]:
    """Let trainings in the block resume where an earlier run with the same inputs stopped.

    In the block, a request to stop lets a training write its state first. If another run with the same inputs is at
    work, this one waits for it to end and then resumes from its checkpoint.

    Args:
        key: the run's fingerprint, taken before its inputs are read.
        folder: the folder of the checkpoints; by default one in the main checkout.
        part: in a second process of the run, the one of its trainings that is at work there.
    """
    folder = project_root() / CHECKPOINTS if folder is None else folder
    stop, lock = Stop(), FileLock(folder / f"{key}.{part}.lock" if part else folder / f"{key}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_old(folder)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say("another run with the same inputs is at work; waiting for it to end")
            lock.acquire()
    except (OSError, NotImplementedError) as error:  # a disk that takes no file, or a file system without locks
        say(f"warning: no checkpoint can be kept in {folder} ({error}); a stopped run cannot resume")
    try:
        with handle_stops(stop):
            yield ResumableRun(folder, key, stop, lock.is_locked)
    finally:
        lock.release()


def release() -> None:
    """Delete the checkpoints of the train stage's latest run. The last stage calls this when nothing can be lost."""
    try:
        key = fingerprint()
    except FileNotFoundError:  # the training's data is not here, as after `dvc pull` of the model alone
        return
    for path in (project_root() / CHECKPOINTS).glob(f"{key}.*"):
        with suppress(OSError):
            path.unlink()


def _remove_old(folder: Path) -> None:
    """Delete the files of runs that were not resumed for a long time."""
    for path in folder.iterdir():
        with suppress(OSError):  # other runs' files come and go meanwhile
            if time.time() - path.stat().st_mtime > KEPT_DAYS * 86_400:
                path.unlink()
