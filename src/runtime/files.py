"""Files and folders that are written completely or not at all.

The new content is first written beside the old one, under a name that starts with a dot and ends in ``.part``. Then it
is renamed. A killed process may leave such a file behind; git and DVC ignore the name.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

DISK_FAULTS = {  # what a script prints for an OSError
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EACCES: "no permission; check who owns the folder",
    errno.EPERM: "no permission; check who owns the folder",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a file is in the way of a folder; move it away",
    errno.EISDIR: "a folder is in the way of a file; move it away",
    errno.EEXIST: "something else is in the way; move it away",
    errno.ENOTEMPTY: "something else is in the way; move it away",
    errno.ELOOP: "links lead in a circle; remove them",
    errno.ENOENT: "does not exist; `dvc repro` makes the files that a stage reads",
}


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file completely or not at all.

    Raises:
        OSError: naming ``path``, if it cannot be written. The old file is still there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a machine that loses power may have renamed it and not written it
        part.replace(path)
    except BaseException as error:  # noqa: BLE001 (raised again, below)
        part.unlink(missing_ok=True)
        raise _naming(path, error) from None


def replace_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replace a folder, which may not exist yet, by one with exactly these files; after a fault the old one stays.

    Raises:
        OSError: naming ``folder``, if it cannot be written. The old folder is still there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent) as bench:
            new, old = Path(bench, "new"), Path(bench, "old")
            new.mkdir()
            for name, content in contents.items():
                (new / name).write_bytes(content)
            if folder.exists():
                folder.rename(old)
            try:
                new.rename(folder)
            except BaseException:
                if old.exists():
                    old.rename(folder)
                raise
    except OSError as error:
        raise _naming(folder, error) from None


def remove_other_files(folder: Path, kept: Mapping[str, object]) -> None:
    """Remove all files of a folder except ``kept``, for instance pictures that only an earlier run drew."""
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _naming(path: Path, error: BaseException) -> BaseException:
    """The same error, but with the name of ``path``: the user does not know the temporary file."""
    if isinstance(error, OSError):
        error.filename, error.filename2 = str(path), None
    return error
