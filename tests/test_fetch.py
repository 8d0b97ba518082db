"""Stage fetch: which sources are asked, what the user is told, and that a failure leaves the data as it was."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.runtime.test_files import contents_of, make_folder

import evaluate
import fetch
import plot
import preprocess
import split
import train
from data_sets import download, pendigits
from fetch import NoSourceError, Source
from pipeline import paths
from pipeline.errors import StageError
from studies import cross_validate

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


def plain_rows(*tables: bytes) -> str:
    """Rows as OpenML writes them."""
    return b"".join(tables).decode().replace(" ", "")


def copies_of(tables: list[bytes]) -> dict[str, dict[str, bytes]]:
    """The two tables in other forms: files by name."""
    names = ",".join([*(f"input{i}" for i in range(1, 17)), "class"])
    heading = "% a comment\n@RELATION pendigits\n" + "".join(f"@ATTRIBUTE {name} REAL\n" for name in names.split(","))
    quoted = '"' + names.replace(",", '","') + '"\n' + re.sub(r"(\d)\n", r"'\1'\n", plain_rows(*tables))
    floats = [re.sub(r"(\d+)", r"\1.0", plain_rows(table)) for table in tables]
    return {
        "ARFF": {"dataset_32_pendigits.arff": f"{heading}@DATA\n{plain_rows(*tables)}".encode()},
        "CSV, CRLF, BOM, quotes": {"pendigits.csv": b"\xef\xbb\xbf" + quoted.replace("\n", "\r\n").encode()},
        "floats apart": dict(zip(("a.csv", "b.csv"), (f"{names}\n{table}".encode() for table in floats), strict=True)),
        "official with CRLF": {
            member.name: table.replace(b"\n", b"\r\n") for member, table in zip(pendigits.MEMBERS, tables, strict=False)
        },
        "one digit wrong": {"pendigits.csv": plain_rows(*tables).replace("8\n", "3\n", 1).encode()},
    }


@pytest.mark.parametrize("form", copies_of([b"", b""]))
def test_copies_of_the_tables_are_checked_row_by_row(
    workspace: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, form: str
) -> None:
    official = download.read_source(str(mirror))
    tables = {member.name: official[member.name] for member in pendigits.MEMBERS[:2]}
    files = copies_of([*tables.values()])[form]
    folder = make_folder(workspace / "data/raw/pendigits", files)
    if form == "one digit wrong":
        n_rows = sum(map(len, (table.splitlines() for table in tables.values())))
        for place in (folder, folder / "pendigits.csv"):
            with pytest.raises(download.SourceError, match=f"^{n_rows:,} rows in the form .* not UCI's: values differ"):
                download.read_source(str(place))
        with pytest.raises(NoSourceError, match="not UCI's"):
            fetch.fetch_pendigits(folder, [])
        assert contents_of(folder) == files
        return
    fetch.fetch_pendigits(folder, [])
    assert contents_of(folder) == tables
    assert contents_of(folder.with_name("pendigits.kept-1")) == files
    single = next(iter((folder.with_name("pendigits.kept-1")).iterdir()))
    if len(files) == 1:
        assert download.read_source(str(single)) == tables
    assert "without ink and writers: train with features: table and split_by: random" in capsys.readouterr().out


def test_every_file_with_windows_line_ends_is_the_official_one(tmp_path: Path, mirror: Path) -> None:
    official = download.read_source(str(mirror))
    copy = {name: content.replace(b"\n", b"\r\n") for name, content in official.items()}
    assert download.read_source(str(make_folder(tmp_path / "copy", copy))) == official


def test_digits_without_ink_through_the_pipeline(
    workspace: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    official = download.read_source(str(mirror))
    openml = make_folder(workspace / "openml", copies_of([official[m.name] for m in pendigits.MEMBERS[:2]])["ARFF"])
    monkeypatch.setenv("PENDIGITS_MIRROR", str(next(openml.iterdir())))
    values = yaml.safe_load((workspace / "params.yaml").read_text()) | {
        "dataset": "pendigits",
        "hidden_layers": [16],
        "epochs": 2,
        "lr": 0.02,
        "weight_average": None,
    }

    def stage(main: Callable[[], None], **changes: Any) -> None:
        (workspace / "params.yaml").write_text(yaml.safe_dump(values | changes))
        main()

    stage(fetch.main)
    stage(preprocess.main)
    with pytest.raises(StageError, match="split_by: writer needs the writers, which are only in UCI's archive"):
        stage(split.main)
    with pytest.raises(StageError, match="features: ink needs the ink, which is only in UCI's archive; use table"):
        stage(split.main, split_by="random", features="ink")
    monkeypatch.setattr("sys.argv", ["cross_validate"])
    with pytest.raises(StageError, match="needs the ink and the writers, which are only in UCI's archive"):
        cross_validate.main()
    for main in (split.main, train.main, evaluate.main, plot.main):
        stage(main, split_by="random")
    said = capsys.readouterr().out
    assert "augment is ignored: it needs the ink in UCI's archive\n" in said
    measured = json.loads(paths.EVALUATE_METRICS.read_bytes())
    assert measured["test_accuracy"] > 0.5
    assert "test_accuracy_people_low" not in measured
    assert {"mistakes.png", "samples.png"} <= {path.name for path in paths.FIGURES.iterdir()}
    assert not (paths.FIGURES / "writers.png").exists()


def test_stages_import_no_heavy_module_that_they_do_not_need() -> None:
    heavy = {"pandas", "requests", "pooch", "matplotlib", "sklearn", "mlflow", "tqdm"}
    code = f"import sys, fetch; print({heavy | {'neural_net'}} & set(sys.modules))\n"
    code += f"import preprocess, split; print({heavy} & set(sys.modules))\n"
    code += "import train, evaluate, plot; print({'mlflow', 'matplotlib', 'pandas'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(SRC)}, capture_output=True, text=True
    )
    assert run.stdout == "set()\n" * 3, run.stderr
