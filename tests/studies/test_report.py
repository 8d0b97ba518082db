"""The report: what it averages, and how it orders what was measured here and what was published."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

import fetch
import preprocess
import split
from pen.features import FEATURE_SETS
from pen.ink import eight_points
from pipeline.params import load_params
from pipeline.rows import Rows, read_rows
from studies import report

ROOT = Path(__file__).parents[2]


def test_mean_of_the_seeds_and_their_ensemble() -> None:
    # three seeds, three rows of digit 0; each seed is wrong on a row of its own, barely
    p = np.zeros((3, 3, 10))
    p[..., 0], p[..., 1] = 0.9, 0.1
    for i in range(3):
        p[i, i, :2] = 0.4, 0.6
    found = report.summarize(p, np.zeros(3, np.int64), 1.0)
    assert found["seeds"] == [66.667] * 3
    assert (found["mean"], found["standard_deviation"], found["ensemble"]) == (66.667, 0, 100)


def test_the_documents_show_what_was_measured() -> None:
    found = json.loads((ROOT / "docs/accuracy_results.json").read_text())
    assert (ROOT / "docs/accuracy_results.md").read_text() == report.markdown(found)
    assert found["published"] == [list(figure) for figure in report.PUBLISHED]
    page = (ROOT / "docs/accuracy.md").read_text()
    for figures, name in (found, "this network"), (found["ink"], "full pen trace"):
        mean = f" | {figures['mean']:.2f} ± {figures['standard_deviation']:.2f} |"
        assert re.search(rf"{name}.*, mean of 10 seeds.*{re.escape(mean)}", page)
        assert re.search(rf"{name}.*, ensemble of 10 \| {figures['ensemble']:.2f} \|", page)
    for name, value, _ in found["others"][1:]:
        assert re.search(rf"{re.escape(name.removeprefix('k '))} \| {value:.2f} \|", page), name


@pytest.mark.parametrize(("features", "size"), [("table", 16), ("ink", FEATURE_SETS["ink"].size)])
def test_it_trains_on_the_rows_of_the_last_training_of_the_pipeline(workspace: Path, features: str, size: int) -> None:
    text = (workspace / "params.yaml").read_text().replace("features: table", f"features: {features}")
    (workspace / "params.yaml").write_text(text)
    for stage in (fetch, preprocess, split):
        stage.main()
    rows, test = report.load_rows(load_params())
    train, validation = (read_rows(name, size, with_ink=True) for name in ("train", "validation"))
    expected = train.and_also(validation)
    assert rows.X.shape == (300, size)
    np.testing.assert_array_equal(rows.X, expected.X)
    np.testing.assert_array_equal(rows.y, expected.y)
    np.testing.assert_array_equal(rows.strokes.points, expected.strokes.points)
    np.testing.assert_array_equal(test.X, read_rows("test", size).X)


def test_seeds_and_classifiers_on_a_few_digits(small_inks: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [(((eight_points(ink) - 50) / 50).astype(np.float32), ink) for ink in small_inks]
    rows, test = (Rows(X, ink.digit, ink.writer, np.arange(len(X))) for X, ink in parts)
    params = load_params(ROOT / "params.yaml").model_copy(update={"epochs": 2, "hidden_layers": [16], "batch_size": 16})
    progress = tqdm(disable=True)
    steps = []
    monkeypatch.setattr(progress, "update", lambda: steps.append(1))
    p, y, _ = report.train_seeds(params, rows, test, 2, progress)
    assert y is test.y
    assert p.shape == (2, 140, 10)
    np.testing.assert_allclose(p.sum(axis=2), 1, rtol=1e-5)
    assert not np.array_equal(p[0], p[1])
    few = dict(list(report.classifiers().items())[:3])
    monkeypatch.setattr(report, "classifiers", lambda: few)
    found = report.measure_others(rows, test, progress)
    assert [measured.name for measured in found] == list(few)
    assert all(measured.accuracy > 80 for measured in found)
    assert len(steps) == 5
