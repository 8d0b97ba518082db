"""A file or a folder changes whole or not at all."""

import errno
import os
from pathlib import Path
from typing import Any

from runtime import files

import pytest

NEW = {"a.csv": b"new a", "b.csv": b"new b"}
OLD = {"a.csv": b"old", "left over": b"old"}


def make_folder(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("old", [None, OLD])
def test_a_folder_is_replaced(tmp_path: Path, old: dict[str, bytes] | None) -> None:
    folder = tmp_path / "raw" / "digits"
    if old is not None:
        make_folder(folder, old)
    files.replace_folder(folder, NEW)
    assert contents_of(folder) == NEW
    assert os.listdir(folder.parent) == ["digits"]  # noqa: PTH208 (hidden files too)
    assert folder.stat().st_mode & 0o777 == (tmp_path / "raw").stat().st_mode & 0o777, "as readable as any folder"


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.csv"
    for content in (b"old", b"new"):
        files.write_bytes(path, content)
        assert contents_of(path.parent) == {"a.csv": content}


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    ("operation", "turn"),
    [("write_bytes", 1), ("write_bytes", 2), ("rename", 1), ("rename", 2), ("open", 1), ("replace", 1)],
)
def test_a_fault_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, turn: int, fault: BaseException
) -> None:
    folder = make_folder(tmp_path / "raw" / "digits", OLD)
    turns = []
    plainly = getattr(Path, operation)

    def failing(self: Path, *arguments: Any) -> Any:
        turns.append(self)
        if len(turns) == turn:
            raise fault
        return plainly(self, *arguments)

    monkeypatch.setattr(Path, operation, failing)
    of_file = operation in ("open", "replace")
    with pytest.raises(type(fault)) as error:
        files.write_bytes(folder / "a.csv", b"new") if of_file else files.replace_folder(folder, NEW)
    monkeypatch.undo()
    assert contents_of(tmp_path) == {f"raw/digits/{name}": content for name, content in OLD.items()}
    assert os.listdir(tmp_path / "raw") == ["digits"]  # noqa: PTH208
    if isinstance(error.value, OSError):
        assert error.value.filename == str(folder / "a.csv" if of_file else folder)
