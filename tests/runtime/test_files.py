"""A file or a folder changes whole or not at all."""

import errno
import os
from pathlib import Path
from typing import Any

from runtime import files, script

import pytest

NEW = {"a.csv": b"new a", "b.csv": b"new b"}
OLD = {"a.csv": b"old", "left over": b"old"}


def make_folder(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


@pytest.mark.parametrize(
    ("step", "number", "words"),
    [
        ("pathlib.Path.write_bytes", errno.ENOSPC, "the disk is full"),
        ("pathlib.Path.rename", errno.EACCES, "no permission"),
        ("pathlib.Path.mkdir", errno.EROFS, "the file system is read-only"),
    ],
)
def test_the_reason_is_named_with_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, step: str, number: int, words: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(step, refused)
    with pytest.raises(SystemExit) as end:
        script.run(lambda: files.replace_folder(tmp_path / "digits", NEW))
    assert end.value.code == 1
    assert f"{tmp_path}/digits: {words}" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["file/digits", "file/raw/digits"])
def test_a_file_in_the_place_of_a_folder_above(tmp_path: Path, capsys: Any, folder: str) -> None:
    (tmp_path / "file").touch()
    for write in (lambda path: files.replace_folder(path, NEW), lambda path: files.write_bytes(path / "a", b"")):
        with pytest.raises(SystemExit):
            script.run(lambda write=write: write(tmp_path / folder))
        assert "in the way" in capsys.readouterr().err
    assert (tmp_path / "file").read_bytes() == b""


def test_other_files_go(tmp_path: Path) -> None:
    make_folder(tmp_path / "plots", OLD)
    make_folder(tmp_path / "plots" / "folder", OLD)
    files.remove_other_files(tmp_path / "plots", {"a.csv": "kept"})
    assert contents_of(tmp_path / "plots") == {"a.csv": b"old"}
    assert not (tmp_path / "plots" / "folder").exists()
