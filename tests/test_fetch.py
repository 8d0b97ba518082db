"""Stage fetch: which sources are asked, what the user is told, and that a failure leaves the data as it was."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.test_files import contents_of, make_folder

import fetch
from data_sets import download, pendigits
from fetch import NoSourceError, Source

FILES = {member.name: f"the content of {member.name}".encode() for member in pendigits.MEMBERS}
SRC = Path(fetch.__file__).parent


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four small files in place of the real data set; UCI cannot be reached."""
    members = [
        pendigits.Member(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in FILES.items()
    ]
    monkeypatch.setattr(download, "MEMBERS", members)

    def unreachable(url: str) -> bytes:
        raise download.SourceError("no connection")

    monkeypatch.setattr(download, "download", unreachable)


def places(environment: dict[str, str]) -> list[tuple[str, bool]]:
    return [(source.place, source.chosen) for source in fetch.find_sources(environment)]


UCI = (pendigits.ARCHIVE_URL, False)


def test_uci_after_the_team_folder_beside_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main_checkout = {"DVC_ROOT": str(tmp_path / "checkout")}
    assert places(main_checkout) == [UCI]
    team = make_folder(tmp_path / "shared" / "pendigits", {})
    assert places(main_checkout) == places(main_checkout | {"PENDIGITS_MIRROR": ""}) == [(str(team), False), UCI]
    monkeypatch.chdir(make_folder(tmp_path / "checkout", {}))
    assert places({})[0] == (str(team), False)


@pytest.mark.parametrize(("mirror", "place"), [
    ("/data/pendigits", str(Path("/data/pendigits"))),
    ("data/uci.zip", str(Path("/checkout/data/uci.zip"))),  # also where an experiment runs elsewhere
    ("https://example.org/uci.zip", "https://example.org/uci.zip"),
])  # fmt: skip
def test_mirror_of_the_users_choice_comes_in_place_of_the_team_folder(mirror: str, place: str) -> None:
    assert places({"DVC_ROOT": "/checkout", "PENDIGITS_MIRROR": mirror}) == [(place, True), UCI]


def test_no_secret_of_a_url_is_shown() -> None:
    source = Source("PENDIGITS_MIRROR", "https://user:secret@example.org/uci.zip?token=secret#secret")
    assert str(source) == "PENDIGITS_MIRROR (https://example.org/uci.zip)"
    assert str(Source("PENDIGITS_MIRROR", "http://[::1")) == "PENDIGITS_MIRROR (a malformed URL)"


@pytest.mark.parametrize("damage", ["no folder", "missing", "short", "changed"])
def test_first_source_that_has_the_data(tmp_path: Path, small: None, capsys: Any, damage: str) -> None:
    team, folder = make_folder(tmp_path / "team", FILES), tmp_path / "raw" / "pendigits"
    if damage != "no folder":
        make_folder(folder, FILES | {"left over": b""})
        changed = {"missing": None, "short": b"", "changed": FILES["pendigits.tes"].upper()}[damage]
        (folder / "pendigits.tes").unlink() if changed is None else (folder / "pendigits.tes").write_bytes(changed)
    fetch.fetch_pendigits(folder, [Source("team", str(team)), Source("UCI", "https://uci")])
    assert contents_of(folder) == FILES
    said = capsys.readouterr().out
    assert f"4 files from team ({team}), verified by sha256" in said
    assert "CC BY 4.0" in said
    assert not re.search(r"://\S+[.,;:)](\s|$)", said)  # a terminal would open the address with it
    assert "warning" not in said  # UCI was not asked
    kept = folder.with_name("pendigits.kept-1")  # what was there may be the user's own
    assert kept.exists() == (damage != "no folder")
    if kept.exists():
        assert (kept / "left over").exists()
        assert f"are now in {kept}. For a table of your own: make new-data" in said


def test_a_complete_folder_is_left_alone_but_for_a_chosen_source(tmp_path: Path, small: None, capsys: Any) -> None:
    folder, team = make_folder(tmp_path / "pendigits", FILES), make_folder(tmp_path / "team", FILES)
    before = folder.stat()
    fetch.fetch_pendigits(folder, [Source("team", str(team))])
    assert folder.stat() == before
    assert "complete and verified: nothing to fetch" in capsys.readouterr().out
    fetch.fetch_pendigits(folder, [Source("PENDIGITS_MIRROR", str(team), chosen=True)])
    assert folder.stat().st_ino != before.st_ino
    assert contents_of(folder) == FILES


def test_broken_mirror_is_said(tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    read = {"https://uci": FILES}.get
    monkeypatch.setattr(fetch, "read_source", lambda place: read(place) or download.read_source(place))
    folder = tmp_path / "pendigits"
    fetch.fetch_pendigits(folder, [Source("PENDIGITS_MIRROR", "/nowhere", chosen=True), Source("UCI", "https://uci")])
    assert contents_of(folder) == FILES
    said = capsys.readouterr().out
    assert "warning: PENDIGITS_MIRROR (/nowhere): no such file or folder; trying UCI (https://uci)\n" in said


@pytest.mark.parametrize("there_before", [False, True])
def test_no_source(tmp_path: Path, small: None, there_before: bool) -> None:
    folder = tmp_path / "raw" / "pendigits"
    if there_before:
        make_folder(folder, {"pendigits.tra": b"old"})
    archive = tmp_path / "page.zip"
    archive.write_bytes(b"<html>")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NoSourceError) as error:
        fetch.fetch_pendigits(folder, [Source("PENDIGITS_MIRROR", str(archive)), Source("UCI", "https://uci/x.zip")])
    assert sorted(tmp_path.rglob("*")) == before
    message = str(error.value)
    checksum = hashlib.sha256(b"<html>").hexdigest()[:16]
    assert f"- PENDIGITS_MIRROR ({archive}): page.zip is a web page, not the archive (6 bytes, sha256 {checksum}" in (
        message
    )
    for words in (
        "- UCI (https://uci/x.zip): no connection",
        "set PENDIGITS_MIRROR to",
        pendigits.ARCHIVE,
        "dataset: synthetic",
    ):
        assert words in message


def test_the_mirror_of_the_real_data_set(workspace: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = (workspace / "params.yaml").read_text().replace("dataset: synthetic", "dataset: pendigits")
    (workspace / "params.yaml").write_text(params)
    monkeypatch.setenv("PENDIGITS_MIRROR", str(mirror))
    fetch.main()
    assert download.is_complete(workspace / "data/raw/pendigits")


def test_stages_import_no_heavy_module_that_they_do_not_need() -> None:
    heavy = {"pandas", "requests", "pooch", "matplotlib", "sklearn", "mlflow", "tqdm"}
    code = f"import sys, fetch; print({heavy | {'neural_net'}} & set(sys.modules))\n"
    code += f"import preprocess, split; print({heavy} & set(sys.modules))\n"
    code += "import train, evaluate, plot; print({'mlflow', 'matplotlib.pyplot'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(SRC)}, capture_output=True, text=True
    )
    assert run.stdout == "set()\n" * 3, run.stderr
