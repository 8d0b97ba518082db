"""Trainings that survive: their state in a file, written at intervals, which the next run with the same inputs finds.

A file belongs to one set of inputs: its name is a checksum of parameters, data, code and NumPy's version. It lies in
the main checkout, where DVC removes nothing and which temporary and queued experiments share. It starts with a line
that holds the SHA-256 of its name and of what follows, an npz file with the arrays and, as ``json``, everything else:
reading it can run no code.

The files outlive the stage, as DVC has yet to record what it made. They go, by ``release``, when the next stage has met
their model; of a temporary experiment, of which DVC drops all when it is killed in a later stage, with the last one.
"""

import fcntl
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

import numpy as np

import stage
from neural_net import Callback, Training
from neural_net.npz import read_npz

EVERY = 5.0  # seconds between two writings,
LARGEST_SHARE = 0.05  # or as many more as keep writing to this share of the time
PATIENCE = 600.0  # seconds without a new file after which a run with the same inputs is waited for no longer
MOST_FILES = 200  # that may lie in the folder; runs that nobody took up again leave theirs
CHECKPOINTS = Path(".dvc/tmp/checkpoints")  # in the main checkout
MAGIC = b"pendigits checkpoint 1 "


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message says what is wrong with it."""


# --- What a run is known by ------------------------------------------------------------------------------------------


def fingerprint(params: Mapping[str, Any], files: Iterable[Path]) -> str:
    """A checksum of all that decides what comes out of a training: parameters, data, code, NumPy."""
    contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return hashlib.sha256(json.dumps([dict(params), contents, np.__version__]).encode()).hexdigest()[:32]


# --- The file --------------------------------------------------------------------------------------------------------


def pack(state: Mapping[str, Any], name: str = "") -> bytes:
    """A training's state as the content of a file; the inverse of ``unpack``, but for tuples, which become lists."""
    arrays: dict[str, Any] = {}

    def by_name(value: Any) -> dict[str, str]:
        if not isinstance(value, np.ndarray | np.generic):
            raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}

    text = json.dumps(state, default=by_name)
    content = io.BytesIO()
    np.savez(content, json=np.frombuffer(text.encode(), np.uint8), **arrays)
    data = content.getvalue()
    return MAGIC + hashlib.sha256(name.encode() + data).hexdigest().encode() + b"\n" + data


def unpack(content: bytes, name: str = "") -> Any:
    """The state that ``pack`` made the content of.

    Raises:
        CheckpointError: for content that is damaged in any way, or was written to a file of another name.
    """
    head, _, data = content.partition(b"\n")
    if head != MAGIC + hashlib.sha256(name.encode() + data).hexdigest().encode():
        raise CheckpointError("it is not what was written")
    try:
        arrays = read_npz(data)

        def by_name(value: dict[str, Any]) -> Any:
            return arrays[value[_ARRAY]].copy("K")[()] if value.keys() == {_ARRAY} else value

        return json.loads(arrays["json"].tobytes(), object_hook=by_name)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{type(error).__name__} {error}") from None


_ARRAY = "an array of this file"


class Stop:
    """Whether the process was asked to stop, by Ctrl-C, SIGTERM or SIGHUP, while a training heeded that.

    Elsewhere, and when it is asked again, it is stopped at once, by KeyboardInterrupt.
    """

    heeded = asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.heeded:
            raise KeyboardInterrupt
        self.asked = True


class Checkpoint(Callback):
    """Writes a training's state to a file at intervals, at its end, and when it is asked to stop.

    Belongs last among the callbacks, so that it writes what they remember of the same moment.

    Args:
        path: None: there is no file, and nothing is written.
        stop: where it is asked, KeyboardInterrupt is raised after the state is written.
        every: seconds between two writings.
    """

    def __init__(self, path: Path | None, stop: Stop | None = None, every: float | None = None) -> None:
        self.path, self.stop, self.every = path, stop or Stop(), EVERY if every is None else every
        self._failed = self._discarded = False  # whether a warning was said; whether the file was not to be used

    def load(self) -> Any:
        """The state in the file; None where there is none that can be used, after saying so."""
        if self.path is None or self._discarded or not self.path.exists():
            return None
        try:
            return unpack(stage.read_bytes(self.path), self.path.name)
        except (CheckpointError, stage.StageError, OSError) as error:
            self.discard(error)
            return None

    def discard(self, reason: Exception) -> None:
        """Do without the file; say why."""
        stage.say(f"the checkpoint of a stopped run cannot be used ({str(reason)[:200]}): training from the start")
        self._discarded = True  # also where it cannot be removed
        with suppress(OSError):
            (self.path or Path()).unlink()

    def set_state(self, training: Training, state: Mapping[str, Any]) -> None:
        whole = len(training.history) == training.epoch
        place = f"epoch {training.epoch}" + ("" if whole else f", step {training.step % training.steps_per_epoch},")
        stage.say(f"going on after {place} of {training.epochs}, which a run with the same inputs had reached")

    def on_train_begin(self, training: Training) -> None:
        self._due = time.monotonic() + self.every
        self.stop.heeded = True

    def on_batch_end(self, training: Training) -> None:
        if self.stop.asked or time.monotonic() >= self._due:
            self._write(training)

    def on_epoch_end(self, training: Training, record: Mapping[str, float]) -> None:
        ends = training.stopping or training.epoch == training.epochs
        if ends or self.stop.asked or time.monotonic() >= self._due:
            self._write(training)

    def on_train_end(self, training: Training) -> None:
        self.stop.heeded = False

    def _write(self, training: Training) -> None:
        """Write the file, whole or not at all; a disk that does not take it does not end the training."""
        start, written = time.monotonic(), False
        if self.path is not None:
            try:
                stage.write_bytes(self.path, pack(training.state(), self.path.name))
                written = True
            except OSError as error:
                if not self._failed:
                    stage.say(f"warning: the checkpoint cannot be written ({error.strerror}); the training goes on")
                self._failed = True
        now = time.monotonic()
        self._due = now + max(self.every, (now - start) / LARGEST_SHARE)
        if self.stop.asked:
            how = "`dvc repro`, or the same experiment, goes on from there" if written else "its state was not kept"
            raise KeyboardInterrupt(f"stopped in epoch {training.epoch} of {training.epochs}; {how}")


# --- The stage's checkpoints -----------------------------------------------------------------------------------------


@contextmanager
def checkpoints(folder: Path, key: str, model: Iterable[Path] = ()) -> Iterator[Callable[[str], Checkpoint]]:
    """For one run of the stage: gives each of its trainings its checkpoint, by the training's name.

    In the block, signals ask trainings to stop, as ``Stop`` says. When it ends well, the checksum of the model that it
    made is put beside the files. Where another process has the files, and hangs, there are none.

    Args:
        folder: where the files are; made if need be.
        key: what the run is known by.
        model: the files of the model, once the block has ended.
    """
    stop = Stop()
    with _alone(folder, key) as alone, stage.stops_told(stop):
        yield lambda name: Checkpoint(folder / f"{key}.{name}" if alone else None, stop)
        if alone:
            with suppress(OSError):  # else they are swept away one day
                stage.write_bytes(folder / f"{key}{_DONE}", stage.sha256_of(model).encode())


def release(folder: Path, model: Iterable[Path]) -> None:
    """Remove the files of the runs that made a model, now that nothing can be lost any more."""
    made = stage.sha256_of(model).encode()
    for done in folder.glob(f"*{_DONE}"):
        with suppress(OSError, stage.StageError):
            if stage.read_bytes(done) == made and (lock := _lock_now(done.with_suffix(".lock"))):
                with lock:
                    _remove(folder, done.stem)


def _remove(folder: Path, key: str) -> None:
    """Remove a key's files; last the mark, by which they are found again, and the lock, which keeps others out."""
    files = [*folder.glob(f".{key}.*"), *folder.glob(f"{key}.*")]
    for path in sorted(files, key=lambda file: (file.suffix == ".lock", file.suffix == _DONE)):
        with suppress(OSError):  # a folder in their place is none of ours
            path.unlink()


_DONE = ".done"


@contextmanager
def _alone(folder: Path, key: str) -> Iterator[bool]:
    """Whether this process may use the key's files: no other does while the block lasts."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder, key)
        _sweep(folder)
    except OSError as error:
        stage.say(f"warning: no checkpoint can be kept ({error.strerror}: {folder}); a stopped run starts anew")
        yield False
        return
    with lock or nullcontext():
        if not lock:
            stage.say("it seems to hang, and has the checkpoint; this one keeps none")
        yield lock is not None


def _lock(folder: Path, key: str) -> IO[str] | None:
    """The key's lock; None if a process has it that does nothing. One at work is waited for: it does what is wanted."""
    seen, since = None, 0.0
    while not (lock := _lock_now(folder / f"{key}.lock")):
        if seen is None:
            stage.say("another run with the same inputs is at work; waiting for it to end")
        if (found := _written(folder, key)) != seen:
            seen, since = found, time.monotonic()
        if time.monotonic() > since + PATIENCE:
            return None
        time.sleep(0.1)
    return lock


def _written(folder: Path, key: str) -> set[tuple[int, int]]:
    """What tells whether one of the key's files has been written anew."""
    found = set()
    for path in folder.glob(f"{key}.*"):
        with suppress(FileNotFoundError):
            known = path.stat()
            found.add((known.st_ino, known.st_mtime_ns))
    return found


def _lock_now(path: Path) -> IO[str] | None:
    """The file, open and locked; None if another process has it.

    Raises:
        OSError: if the file system knows no locks.
    """
    while True:
        lock = path.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock.fileno()).st_nlink:
                return lock
            lock.close()  # who had it has just ended, and removed it
        except BlockingIOError:
            lock.close()
            return None
        except OSError:
            lock.close()
            path.unlink(missing_ok=True)
            raise


def _sweep(folder: Path) -> None:
    """Remove what nobody came back for, oldest first, but nothing of those at work."""
    ages = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # others' files come and go meanwhile
            ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages, reverse=True)[MOST_FILES:]:
        key = path.name.lstrip(".").partition(".")[0]
        if not _is_held(folder / f"{key}.lock"):
            with suppress(OSError):  # a folder is none of ours
                path.unlink()


def _is_held(lock: Path) -> bool:
    """Whether a process at work holds a lock."""
    try:
        with lock.open("r+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
