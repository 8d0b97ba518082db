"""What the stage scripts share: errors said in one line, files written whole or not at all, words to the terminal."""

import starting  # noqa: F401 (a Ctrl-C from here on is said in a line)

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import restore


class ParamsError(ValueError):
    """params.yaml cannot be used; the message has one line for each fault."""


class StageError(Exception):
    """The stage cannot go on; the message says what is wrong and what the user can do."""


class FruitlessError(StageError):
    """The parameters can be run, but nothing comes of them, as when training diverges."""


def run(main: Callable[[], None]) -> None:
    """Call a script's ``main`` and end the process: 0, 1 for a fault of the data or the disk, 2 for one of params.yaml.

    A fault that a user can mend is said in a line or two on stderr, without a traceback.
    """
    try:
        with stops_told(signal.default_int_handler):  # that it is a KeyboardInterrupt lets the script end in order
            main()
            for number in STOPS:  # all is done: to end by a stop now would make it undone for DVC
                signal.signal(number, signal.SIG_IGN)
    except ParamsError as error:
        restore.after_refusal()
        _fail(str(error), 2)
    except FruitlessError as error:
        restore.after_refusal()
        _fail(str(error), 1)
    except StageError as error:
        _fail(str(error), 1)
    except BrokenPipeError:  # who reads what is said has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except OSError as error:
        if error.errno not in _DISK_FAULTS:
            raise
        _fail(f"{error.filename or 'a file'}: {_DISK_FAULTS[error.errno]}", 1)
    except KeyboardInterrupt as stopped:
        _fail(str(stopped) or "stopped; the same command again makes what is missing", 130)


_DISK_FAULTS = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EACCES: "no permission; check who owns the folder",
    errno.EPERM: "no permission; check who owns the folder",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a file is in the way of a folder; move it away",
    errno.EISDIR: "a folder is in the way of a file; move it away",
    errno.EEXIST: "something else is in the way; move it away",
    errno.ENOLCK: "the file system knows no locks, which DVC and MLflow need; move the project to another",
    errno.ENOTSUP: "the file system lacks what DVC and MLflow need; move the project to another",
    errno.ELOOP: "links lead in a circle; remove them",
    errno.ENOENT: "does not exist; `dvc repro` makes what a stage reads",
}


STOPS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
LOCK_FILE = Path("dvc.lock")
KEPT_LOCK_FILE = Path(".dvc/tmp/dvc.lock.kept")  # as it was when evaluate ran
TOGETHER = 1.0  # seconds in which several signals are one request: to the whole group, and passed on by its members


@contextlib.contextmanager
def stops_told(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let a handler know of Ctrl-C, SIGTERM and SIGHUP while the block lasts, once for those that come together.

    It is not told of what was ignored before, as `nohup` ignores SIGHUP, nor in other threads than the main one. What
    the block itself decides for a signal stays.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # others cannot set handlers
        outer = next((known for known in map(signal.getsignal, STOPS) if isinstance(known, _Once)), None)
        once = _Once(handler, outer)
        for number in STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, once)
    try:
        yield
    finally:
        for changed, was in before.items():
            if signal.getsignal(changed) is once:
                signal.signal(changed, was)


class _Once:
    """Passes a signal on unless it came together with one before, also one that came in the block around."""

    def __init__(self, handler: Callable[[int, FrameType | None], None], outer: "_Once | None") -> None:
        self.handler = handler
        self.last: list[float] = outer.last if outer else []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.last or now > self.last[-1] + TOGETHER:
            self.last.append(now)
            self.handler(number, frame)


def _fail(message: str, code: int) -> None:
    sys.stderr.write(message.rstrip() + "\n")
    sys.exit(code)


def one_line(text: object, most: int = 600) -> str:
    """What a file, a store or a request says, fit to be repeated: so many letters at most, all printable."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def say(text: str) -> None:
    """Write a line for the user to the terminal or the log."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def part_of(path: Path) -> Path:
    """Where a file or folder is made that is to be renamed to ``path``: beside it, under ``locked``.

    It is the same place each time. So what a process leaves there that is killed is gone when the next one has made the
    same; else DVC would take it for a part of the stage's output.
    """
    return path.with_name(f".{path.name}.part")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let no other process be in such a block for the same folder, which is made if need be.

    The system takes the lock from a process that dies. Where a file system knows no locks, there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        StageError: if it is a pipe or a device, of which there may be no end.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise StageError(f"{path} is not a file; move it away")
    return path.read_bytes()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: into another one beside it, then renamed."""
    part = part_of(path)
    with locked(path.parent):
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                _sync(file.fileno())  # else a machine that loses power may have renamed it and not written it
            part.replace(path)
        except BaseException as error:
            part.unlink(missing_ok=True)
            if isinstance(error, OSError):
                error.filename, error.filename2 = str(path), None
            raise


def _sync(file: int) -> None:
    """Have the system write a file to the disk, where its file system can be told to."""
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a metrics file: indented, keys in the order given, no NaN or infinity."""
    write_bytes(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def sha256_of(paths: Iterable[Path]) -> str:
    """The SHA-256 of the files' contents, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
