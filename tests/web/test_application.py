"""The page and its files, what it refuses, and the drawings that it keeps."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tools.lies import ask

from data_sets.unipen import parse_ink
from neural_net import ACTIVATIONS, INITIALIZERS, LOSSES, OPTIMIZERS, SCHEDULES
from pen.features import FEATURE_SETS
from pipeline import paths
from pipeline.rows import Rows, rows_npz, strokes_npz
from runtime.files import write_bytes
from web import collecting
from web.application import STATIC, menus
from web.digits import Shelf

LINE = [[[1.5, 2], [11.5, 102]]]


def test_the_page_loads_only_what_the_server_has(app: Any) -> None:
    status, page = ask(app, b"", path="/", method="GET")
    assert status == 200
    files = [*STATIC.iterdir()]
    for text in (page.decode(), *(file.read_text() for file in files)):
        assert not re.search(r"""(src|href|url|import|from)\W{1,3}(https?:)?//""", text)
    loaded = re.findall(r'(?:src|href)="(/[^"#]*)"', page.decode())
    assert {"/static/main.js", "/static/page.css", "/drawings/export", "/docs"} <= set(loaded)
    for path in (*loaded, *(f"/static/{file.name}" for file in files)):
        assert ask(app, b"", path=path, method="GET")[0] == 200, path
    assert max(len(file.read_text().splitlines()) for file in files) <= 450


def test_a_page_describes_every_request_and_answer(app: Any) -> None:
    page = ask(app, b"", path="/docs", method="GET")[1].decode()
    described = json.loads(ask(app, b"", path="/openapi.json", method="GET")[1])
    assert re.findall(r"<code>([A-Z]+ /\S*)</code>", page) == [
        f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods
    ]
    assert {"ToPredict", "Recognized", "Refused"} <= set(re.findall(r'href="#(\w+)"', page))
    assert set(re.findall(r'href="#(\w+)"', page)) <= set(re.findall(r'id="(\w+)"', page))
    assert "422" not in page  # wrong bodies are answered with 400
    assert "<script" not in page


def test_the_menus_are_the_librarys(app: Any) -> None:
    shown = json.loads(ask(app, b"", path="/model", method="GET")[1])["menus"]
    tables = {"activation": ACTIVATIONS, "loss": LOSSES, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    for name, table in (tables | {"init": ["auto", *INITIALIZERS]}).items():
        assert shown[name] == list(table)


@pytest.mark.parametrize("name", ["activation", "init", "normalization", "loss", "optimizer", "schedule"])
def test_every_choice_of_a_menu_trains_and_steps(app: Any, name: str) -> None:
    for choice in menus()[name]:
        status, said = ask(app, json.dumps({"epochs": 1, "n_points": 40, name: choice}).encode(), path="/train")
        assert (status, said.count(b"event: epoch"), said.count(b"event: end")) == (200, 1, 1), choice
        step = {"activation": {"network": {name: choice}}, "optimizer": {name: choice}}.get(name, {})
        assert ask(app, json.dumps({"strokes": LINE, "truth": 1, **step}).encode(), path="/step")[0] == 200, choice


NETWORK = {"hidden_layers": [10**9]}


@pytest.mark.parametrize(("path", "body", "says"), [
    ("/think", {"strokes": []}, "at least 1"),
    ("/think", {"strokes": [[[1, 1]], [[1, 1]]]}, "two different points"),
    ("/think", {"strokes": [[[1, 1], [1e7, 1]]]}, "less than or equal"),
    ("/think", {"strokes": [[[1, 1], [2]]]}, "at least 2"),
    ("/break", {"switches": {"zeroed": "nothing"}}, "must be one of"),
    ("/break", {"switches": {"noise": -1}}, "greater than or equal to 0"),
    ("/step", {"strokes": LINE, "truth": 10}, "less than or equal to 9"),
    ("/step", {"strokes": LINE, "truth": 1, "network": NETWORK}, "less than or equal to 16"),
    ("/step", {"strokes": LINE, "truth": 1, "optimizer": "adamm"}, "did you mean adam"),
    ("/train", {"hidden_layers": [-1]}, "greater than or equal to 1"),
    ("/train", {"hidden_layers": [128] * 10}, "50,000 parameters at most"),
    ("/train", {"activation": "relo"}, "did you mean relu"),
    ("/train", {"lr": "x"}, "valid number"),
    ("/drawings", {"strokes": LINE, "digit": 1}, "consent"),
    ("/drawings", {"strokes": LINE, "digit": 1, "consent": False}, "consent"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_line(app: Any, path: str, body: Any, says: str) -> None:
    status, said = ask(app, json.dumps(body).encode(), path=path)
    assert status == 400
    assert says in json.loads(said)["message"]
    assert len(said.splitlines()) == 1


def test_other_sites_can_start_no_training(app: Any) -> None:
    for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}):
        assert ask(app, b"{}", headers, path="/train")[0] in (400, 403)


def test_labelled_drawings_are_kept_as_ink_exported_and_deleted(
    app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawings(method: str, path: str = "/drawings", body: Any = None) -> tuple[int, bytes]:
        return ask(app, json.dumps(body).encode() if body else b"", path=path, method=method)

    assert drawings("GET", "/drawings/export") == (200, b"")
    for digit in (7, 3):
        status, said = drawings("POST", body={"strokes": LINE * 2, "digit": digit, "consent": True})
        assert status == 201
    assert json.loads(said)["counts"] == [0, 0, 0, 1, 0, 0, 0, 1, 0, 0]
    content = drawings("GET", "/drawings/export")[1]
    assert content == (tmp_path / "drawings/drawings.unipen").read_bytes()
    command = json.loads(drawings("GET")[1])["command"]
    assert command.startswith(f"cp {tmp_path}/drawings/drawings.unipen data/own/drawings.unipen && git add data/own/")
    assert command.endswith("\ndvc exp run -S extra_ink=data/own/drawings.unipen")
    ink = parse_ink(content, "export")
    assert ink.digit.tolist() == [7, 3]
    assert [np.asarray(stroke).tolist() for stroke in ink[0]] == [[[0, 0], [50, 500]]] * 2
    monkeypatch.setattr(collecting, "MOST_DRAWINGS", 2)
    assert drawings("POST", body={"strokes": LINE, "digit": 1, "consent": True})[0] == 409
    assert json.loads(drawings("DELETE")[1])["total"] == 0
    assert drawings("GET", "/drawings/export") == (200, b"")


@pytest.mark.parametrize("features", ["table", "ink"])
def test_the_digits_are_those_of_split_where_they_are(
    features: str, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    digits = shelf.held_out.take(np.arange(550))
    for name in ("train", "validation"):
        rows = Rows(digits.rows(features), digits.y, digits.writer, np.arange(550))
        write_bytes(paths.SPLIT / f"{name}.npz", rows_npz(rows))
        write_bytes(paths.SPLIT / f"{name}_ink.npz", strokes_npz(digits.strokes))
    found = Shelf()
    assert (found.origin, len(found.measured.y)) == ("split", 500)
    for kind in FEATURE_SETS:
        assert (found.training.rows(kind) == digits.rows(kind)).all()
