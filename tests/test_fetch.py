"""Stage fetch: which sources are asked, what the user is told, and that a folder changes whole or not at all."""

import errno
import hashlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
import yaml

import fetch
from data_sets import download, pendigits, unipen
from fetch import NoSourceError, Source
from pen.ink import eight_points
from pipeline.errors import StageError
from runtime import files, script

FILES = {member.name: f"the content of {member.name}".encode() for member in pendigits.MEMBERS}
SRC = Path(fetch.__file__).parent


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four small files in place of the real data set."""
    members = [
        pendigits.Member(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in FILES.items()
    ]
    monkeypatch.setattr(download, "MEMBERS", members)


@pytest.fixture
def no_uci(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """UCI cannot be reached; returns the URLs that were asked for."""
    asked: list[str] = []

    def download(url: str) -> bytes:
        asked.append(url)
        raise download.SourceError("no connection")

    monkeypatch.setattr(download, "download", download)
    return asked


def make_folder(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- Which sources ---------------------------------------------------------------------------------


def places(environment: dict[str, str]) -> list[tuple[str, bool]]:
    return [(source.place, source.chosen) for source in fetch.find_sources(environment)]


def test_uci_alone(tmp_path: Path) -> None:
    assert places({"DVC_ROOT": str(tmp_path / "checkout")}) == [(pendigits.ARCHIVE_URL, False)]


def test_team_folder_beside_the_main_checkout(tmp_path: Path) -> None:
    team = make_folder(tmp_path / "shared" / "pendigits", {})
    expected = [(str(team), False), (pendigits.ARCHIVE_URL, False)]
    assert places({"DVC_ROOT": str(tmp_path / "checkout")}) == expected
    assert places({"DVC_ROOT": str(tmp_path / "checkout"), "PENDIGITS_MIRROR": ""}) == expected


def test_team_folder_beside_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    team = make_folder(tmp_path / "shared" / "pendigits", {})
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    assert places({})[0] == (str(team), False)


@pytest.mark.parametrize(
    ("mirror", "place"),
    [
        ("/data/pendigits", "/data/pendigits"),
        ("data/uci.zip", "/checkout/data/uci.zip"),  # also where an experiment runs elsewhere
        ("https://example.org/uci.zip", "https://example.org/uci.zip"),
    ],
)
def test_mirror_of_the_users_choice_comes_in_place_of_the_team_folder(mirror: str, place: str) -> None:
    expected = [(place, True), (pendigits.ARCHIVE_URL, False)]
    assert places({"DVC_ROOT": "/checkout", "PENDIGITS_MIRROR": mirror}) == expected


def test_no_secret_of_a_url_is_shown() -> None:
    source = Source("PENDIGITS_MIRROR", "https://user:secret@example.org/uci.zip?token=secret#secret")
    assert str(source) == "PENDIGITS_MIRROR (https://example.org/uci.zip)"
    assert str(Source("PENDIGITS_MIRROR", "http://[::1")) == "PENDIGITS_MIRROR (a malformed URL)"


# --- Fetching --------------------------------------------------------------------------------------


def test_first_source_that_has_the_data(tmp_path: Path, small: None, no_uci: list[str], capsys: Any) -> None:
    team = make_folder(tmp_path / "team")
    folder = tmp_path / "raw" / "pendigits"
    fetch.fetch_pendigits(folder, [Source("team", str(team)), Source("UCI", "https://uci")])
    assert contents_of(folder) == FILES
    assert everything_in(tmp_path / "raw") == sorted(["pendigits", *(f"pendigits/{name}" for name in FILES)])
    assert no_uci == []
    said = capsys.readouterr().out
    assert f"4 files from team ({team}), verified by sha256" in said
    assert "CC BY 4.0" in said


def test_folder_that_is_complete_is_left_alone(tmp_path: Path, small: None, no_uci: list[str], capsys: Any) -> None:
    folder = make_folder(tmp_path / "pendigits")
    before = folder.stat()
    fetch.fetch_pendigits(folder, [Source("UCI", "https://uci")])
    assert folder.stat() == before
    assert no_uci == []
    assert "complete and verified: nothing to fetch" in capsys.readouterr().out


def test_folder_that_is_complete_is_fetched_anew_from_a_chosen_source(tmp_path: Path, small: None) -> None:
    folder = make_folder(tmp_path / "pendigits")
    team = make_folder(tmp_path / "team")
    before = folder.stat().st_ino
    fetch.fetch_pendigits(folder, [Source("PENDIGITS_MIRROR", str(team), chosen=True)])
    assert folder.stat().st_ino != before
    assert contents_of(folder) == FILES


@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_folder_that_is_not_complete_is_fetched_anew(tmp_path: Path, small: None, damage: str) -> None:
    folder = make_folder(tmp_path / "pendigits")
    file = folder / "pendigits.tes"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(b"" if damage == "short" else FILES["pendigits.tes"].upper())
    (folder / "left over").touch()
    fetch.fetch_pendigits(folder, [Source("team", str(make_folder(tmp_path / "team")))])
    assert contents_of(folder) == FILES


def test_broken_mirror_is_said_and_uci_asked(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = tmp_path / "pendigits"
    monkeypatch.setattr(
        fetch, "read_source", lambda place: FILES if place == "https://uci" else download.read_source(place)
    )
    fetch.fetch_pendigits(folder, [Source("PENDIGITS_MIRROR", "/nowhere", chosen=True), Source("UCI", "https://uci")])
    assert contents_of(folder) == FILES
    said = capsys.readouterr().out
    assert "warning: PENDIGITS_MIRROR (/nowhere): no such file or folder; trying UCI (https://uci)\n" in said


@pytest.mark.parametrize("there_before", [False, True])
def test_no_source(tmp_path: Path, small: None, no_uci: list[str], there_before: bool) -> None:
    folder = tmp_path / "raw" / "pendigits"
    if there_before:
        make_folder(folder, {"pendigits.tra": b"old"})
    before = everything_in(tmp_path)
    archive = tmp_path.with_suffix(".zip")
    archive.write_bytes(b"<html>")
    with pytest.raises(NoSourceError) as error:
        fetch.fetch_pendigits(folder, [Source("PENDIGITS_MIRROR", str(archive)), Source("UCI", "https://uci/x.zip")])
    assert everything_in(tmp_path) == before
    message = str(error.value)
    checksum = hashlib.sha256(b"<html>").hexdigest()[:16]
    assert f"- PENDIGITS_MIRROR ({archive}): {archive.name} is a web page, not the archive" in message
    assert f"6 bytes, sha256 {checksum}" in message
    assert "- UCI (https://uci/x.zip): no connection" in message
    assert "set PENDIGITS_MIRROR to" in message
    assert pendigits.ARCHIVE in message
    assert "dataset: synthetic" in message
    assert isinstance(error.value, StageError)


# --- A folder changes whole or not at all ----------------------------------------------------------


@pytest.mark.parametrize("old", [None, {"pendigits.tra": b"old", "extra": b"old"}])
def test_replace_folder(tmp_path: Path, old: dict[str, bytes] | None) -> None:
    folder = tmp_path / "raw" / "pendigits"
    if old is not None:
        make_folder(folder, old)
    files.replace_folder(folder, FILES)
    assert contents_of(folder) == FILES
    assert os.listdir(folder.parent) == ["pendigits"]  # noqa: PTH208 (hidden files too)
    assert folder.stat().st_mode & 0o777 == (tmp_path / "raw").stat().st_mode & 0o777, "as readable as any folder"


@pytest.mark.parametrize("operation", ["write_bytes", "rename"])
@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_fault_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, turn: int, fault: BaseException
) -> None:
    folder = make_folder(tmp_path / "raw" / "pendigits", {"pendigits.tra": b"old"})
    turns = []
    plainly = getattr(Path, operation)

    def failing(self: Path, *arguments: Any) -> Any:
        turns.append(self)
        if len(turns) == turn:
            raise fault
        return plainly(self, *arguments)

    monkeypatch.setattr(Path, operation, failing)
    with pytest.raises(type(fault)) as error:
        files.replace_folder(folder, FILES)
    monkeypatch.undo()
    assert everything_in(tmp_path) == ["raw", "raw/pendigits", "raw/pendigits/pendigits.tra"]
    assert contents_of(folder) == {"pendigits.tra": b"old"}
    if isinstance(error.value, OSError):
        assert error.value.filename == str(folder)


@pytest.mark.parametrize(
    ("step", "number", "words"),
    [
        ("pathlib.Path.write_bytes", errno.ENOSPC, "the disk is full"),
        ("os.open", errno.EACCES, "no permission"),
        ("pathlib.Path.mkdir", errno.EROFS, "the file system is read-only"),
    ],
)
def test_a_folder_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, step: str, number: int, words: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(step, refused)
    with pytest.raises(SystemExit) as end:
        script.run(lambda: files.replace_folder(tmp_path / "pendigits", FILES))
    assert end.value.code == 1
    assert f"{tmp_path}/pendigits: {words}" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_said(tmp_path: Path, capsys: Any) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SystemExit):
        script.run(lambda: files.replace_folder(tmp_path / "pendigits", FILES))
    tmp_path.chmod(0o700)
    assert "pendigits: no permission" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["file/pendigits", "file/raw/pendigits"])
def test_file_in_the_place_of_a_folder_above(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StageError, match="cannot be made: a file is in the place of a folder"):
        files.replace_folder(tmp_path / folder, FILES)


def test_another_run_at_the_same_moment_waits(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        with files.locked(tmp_path):
            other = pool.submit(files.replace_folder, tmp_path / "pendigits", FILES)
            assert not wait([other], 0.1).done
            assert everything_in(tmp_path) == []
        other.result(10)
    assert contents_of(tmp_path / "pendigits") == FILES


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    make_folder(tmp_path / ".pendigits.part/new", {"pendigits.tra": b"half"})
    files.replace_folder(tmp_path / "pendigits", FILES)
    assert os.listdir(tmp_path) == ["pendigits"]  # noqa: PTH208 (hidden files too)
    assert contents_of(tmp_path / "pendigits") == FILES


# --- The script ------------------------------------------------------------------------------------


def run_script(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SRC / "fetch.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SRC), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_synthetic_data_set(workspace: Path, capsys: Any) -> None:
    fetch.main()
    folder = workspace / "data" / "raw" / "synthetic"
    first = contents_of(folder)
    assert set(first) == set(FILES)
    assert "made 300 digits by 30 writers and 140 by 14 others" in capsys.readouterr().out
    X, digit = pendigits.parse_table(first["pendigits.tra"], "pendigits.tra")
    ink = unipen.parse_ink(first["pendigits-orig.tra"], "pendigits-orig.tra")
    assert (eight_points(ink) == X).all()
    assert (ink.digit == digit).all()
    fetch.main()
    assert contents_of(folder) == first


def test_script_without_any_source(workspace: Path) -> None:
    params = yaml.safe_load((workspace / "params.yaml").read_text()) | {"dataset": "pendigits"}
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    start = time.monotonic()
    run = run_script(workspace, PENDIGITS_MIRROR="nowhere", HTTPS_PROXY="http://127.0.0.1:9")
    assert run.returncode == 1
    assert time.monotonic() - start < 20
    assert "Traceback" not in run.stderr
    assert f"- PENDIGITS_MIRROR ({workspace}/nowhere): no such file or folder" in run.stderr
    assert f"- UCI ({pendigits.ARCHIVE_URL}): no connection" in run.stderr
    assert not (workspace / "data").exists()


def test_script_with_the_mirror(workspace: Path, mirror: Path) -> None:
    params = yaml.safe_load((workspace / "params.yaml").read_text()) | {"dataset": "pendigits"}
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    run = run_script(workspace, PENDIGITS_MIRROR=str(mirror))
    assert (run.returncode, run.stderr) == (0, "")
    assert download.is_complete(workspace / "data" / "raw" / "pendigits")


def test_import_is_quick_and_brings_no_heavy_module() -> None:
    heavy = "pandas", "requests", "pooch", "matplotlib", "sklearn", "mlflow", "tqdm", "neural_net"
    code = f"import fetch, preprocess, split, sys; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr
