"""Predictions for a file: which forms of it are read, what is written, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.tracking.finished_pipeline import write_model

from commands import predict
from data_sets.pendigits import FEATURES, format_table
from data_sets.unipen import format_ink
from neural_net import Network, dense_layers
from pen.features import FEATURE_SETS
from pen.ink import Ink, eight_points
from pen.recognizer import Recognizer
from pipeline.errors import StageError


@pytest.fixture(params=["table", "ink"])
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recognizer:
    monkeypatch.chdir(tmp_path)
    network = Network(dense_layers([], 10), n_in=FEATURE_SETS[request.param].size, rng=0)
    made = Recognizer(network, "synthetic", temperature=0.5, features=request.param)
    write_model(tmp_path, made)
    return made


def said(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> pd.DataFrame:
    monkeypatch.setattr("sys.argv", ["predict", *arguments])
    predict.main()
    return pd.read_csv("out.csv" if "--to" in arguments else f"{Path(arguments[0]).stem}-predictions.csv")


@pytest.mark.parametrize("model", ["table"], indirect=True)
@pytest.mark.parametrize("form", ["as published", "named", "shuffled", "unnamed", "numbered", "\ufeffspaced"])
def test_every_form_of_a_table_gives_the_same_digits(
    form: str, model: Recognizer, small_inks: tuple[Ink, Ink], monkeypatch: pytest.MonkeyPatch
) -> None:
    ink = small_inks[1]
    X = eight_points(ink).astype(int)
    table = pd.DataFrame(X, columns=list(FEATURES))
    forms: dict[str, Any] = {
        "as published": format_table(X, ink.digit).decode(),
        "named": table.assign(id="007").to_csv(index=False),
        "shuffled": table.assign(id="007")[["id", *reversed(FEATURES)]].to_csv(index=False),
        "unnamed": table.to_csv(index=False, header=False),
        "numbered": pd.DataFrame(X).to_csv(index=False),
        "\ufeffspaced": table.rename(columns=lambda name: f"the {name}").to_csv(index=False).replace(",", ", "),
    }
    Path("rows.csv").write_text("\ufeff" * (form[0] == "\ufeff") + forms[form], encoding="utf-8")
    answer = said(monkeypatch, "rows.csv")
    p = model.predict_proba(X)
    np.testing.assert_array_equal(answer["predicted"], p.argmax(axis=1))
    np.testing.assert_allclose(answer["probability"], p.max(axis=1), atol=1e-6)
    kept = {"as published": ["digit"], "named": ["id"], "shuffled": ["id"]}.get(form, [])
    assert list(answer) == [*kept, "predicted", "probability"]
    assert "007" in Path("rows-predictions.csv").read_text() or "id" not in kept


def test_ink_is_read_for_both_kinds_of_model(
    model: Recognizer, small_inks: tuple[Ink, Ink], monkeypatch: pytest.MonkeyPatch
) -> None:
    ink = small_inks[1]
    Path("pen.tes").write_bytes(format_ink(ink))
    answer = said(monkeypatch, "pen.tes", "models", "--to", "out.csv")
    X = [[stroke.tolist() for stroke in digit] for digit in ink] if model.features == "ink" else eight_points(ink)
    assert (answer["predicted"] == model.predict(X)).mean() > 0.95  # the table's points are rounded
    np.testing.assert_array_equal(answer["digit"], ink.digit)
    if model.features == "ink":
        Path("rows.csv").write_text("1,2\n")
        with pytest.raises(StageError, match=r"reads ink, so .* must be ink in the UNIPEN format"):
            said(monkeypatch, "rows.csv")


ROW = ",".join(["50"] * 16)


@pytest.mark.parametrize("model", ["table"], indirect=True)
@pytest.mark.parametrize(("content", "line"), [
    (f"{ROW}\n{ROW[:-2]}101\n", r"rows.csv, row 2: y8 must be a number from 0 to 100, got '101'"),
    (f"{','.join(FEATURES)}\n{ROW}\nx{ROW[2:]}\n", r"rows.csv, row 2: x1 must be a number from 0 to 100, got 'x'"),
    (f"{','.join(FEATURES[:-1])},y9\n{ROW}\n", "rows.csv has no column y8; the coordinates are"),
    ("1,2,4\n", "rows.csv must hold rows of 16 coordinates, got 1 rows of 3 values"),
    (f"{','.join(FEATURES)}\n", "rows.csv must hold rows of 16 coordinates, got 0 rows"),
    (f"{ROW}\n{ROW},1,2\n", "rows.csv is not a CSV table: "), ("", "rows.csv is not a CSV table: "),
    ("\udcff", "rows.csv is not a CSV table: "), (".SEGMENT\n", "rows.csv, line 1: expected a digit such as"),
    (None, "rows.csv cannot be read: No such file"),
])  # fmt: skip
def test_a_file_that_is_no_table_is_one_line(
    content: str | None, line: str, model: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        Path("rows.csv").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(StageError, match=line) as caught:
        said(monkeypatch, "rows.csv")
    assert len(str(caught.value).splitlines()) == 1
    for target in ("rows.csv", "data/raw/rows.csv"):
        with pytest.raises(StageError, match=f"{target} must stay as it is"):
            said(monkeypatch, "rows.csv", "--to", target)
