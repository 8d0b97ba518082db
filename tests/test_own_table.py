"""A table of the user's through all stages, and what people do with the result."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.own_table import COLOURS, made_table, run_stages, write_table
from tests.tools.lies import ask

import fetch
import preprocess
import split
import train
from commands import export, predict, run, serve
from pipeline import paths
from pipeline.errors import StageError
from pipeline.model import read_model
from pipeline.rows import read_rows
from pipeline.schema import read_schema
from pipeline.tabular.model import TableModel
from studies import cross_validate, folds, table_folds
from web.table import table_application


def metrics(name: str) -> dict[str, Any]:
    return json.loads((paths.METRICS / name).read_text())


def own_model() -> TableModel:
    model = read_model()
    assert isinstance(model, TableModel)
    return model


def test_classes_from_a_csv_to_served_answers(workspace: Path, capsys: Any) -> None:
    table = made_table()
    write_table(workspace, table.drop(columns="price"), augment={"bend": 0.1})
    run_stages()
    said = capsys.readouterr().out
    assert said.count("augment is ignored: this data set has no ink\n") == 1
    assert "(patient)" in said
    training, test = metrics("train.json"), metrics("evaluate.json")
    assert training["dataset"] == test["dataset"] == "plants"
    assert min(training["val_balanced_accuracy"], test["test_balanced_accuracy"]) > 0.9
    assert "balanced accuracy" in str(run.summary(training, test))
    assert f"temperature {training['temperature']:.3g}" in dict(run.summary(training, test))["log-loss"]
    assert "make test" not in dict(run.next_steps("plants", git=True))

    # whole groups are held out, and what is scaled was fitted to training rows
    parts = {name: read_rows(name, 6, n_classes=3) for name in ("train", "validation", "test")}
    groups = [set(rows.writer) for rows in parts.values()]
    assert set.union(*groups) == set(table["patient"])
    assert sum(map(len, groups)) == 12
    for rows in parts.values():
        np.testing.assert_array_equal(rows.y, table["species"].str[-1].astype(int)[rows.row])
    np.testing.assert_allclose(parts["train"].X[:, :2].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(parts["train"].X[:, :2].std(axis=0), 1, atol=1e-6)
    assert not np.allclose(parts["test"].X[:, :2].mean(axis=0), 0, atol=1e-3)

    predictions = pd.read_csv(paths.PREDICTIONS)
    assert list(predictions)[:5] == ["row", "group", "label", "predicted", "p_class 0"]
    assert predictions["label"].tolist() == table["species"][predictions["row"]].tolist()
    pictures = {path.name for path in paths.FIGURES.iterdir()}
    assert pictures == {"curves.png", "confusion.png", "mistakes.png", "groups.png", "weights.png", "confidence.png"}

    # the same answers from the file, from the server and from the stage
    answer = predict.predict(workspace / "data/own/plants.csv", own_model())
    assert answer["predicted"][predictions["row"]].tolist() == predictions["predicted"].tolist()
    record = {"word": COLOURS[0], "width": 3, "länge": "4.1", "more": None}
    app = table_application(own_model(), serve.OWN_NAMES)
    bodies = [{"dataframe_records": [record]}, {"inputs": ["4.1", 3, COLOURS[0]]}]
    bodies += [{"dataframe_split": {"columns": [*record], "data": [[*record.values()]]}}]
    told = [json.loads(ask(app, json.dumps(body).encode())[1])["predictions"] for body in bodies]
    assert told[0] == told[1] == told[2]
    assert set(told[0][0]) == {"species", "p_class 0", "p_class 1", "p_class 2"}
    assert told[0][0]["species"] == own_model().predict([["4.1", 3, COLOURS[0]]])[0]
    shown = shlex.split(serve.request(own_model(), "http://localhost:5050/invocations"))[-1]
    assert ask(app, shown.encode())[0] == 200
    csv = pd.DataFrame([record]).to_csv(index=False).encode()
    assert json.loads(ask(app, csv, {"content-type": "text/csv; charset=utf-8"})[1])["predictions"] == told[0]
    for kind, body, status in (("text/csv", b'a,b\n"1', 400), ("text/csv", b"", 400), ("text/plain", csv, 415)):
        got, said = ask(app, body, {"content-type": kind})
        assert (got, "application/json or text/csv" in json.loads(said)["message"]) == (status, status == 415)
    for wrong, reason in (([1, 2], "missing are"), (["x", 2, "a"], "länge must hold numbers, got 'x'")):
        status, body = ask(app, json.dumps({"inputs": [wrong]}).encode())
        assert (status, reason in json.loads(body)["message"]) == (400, True)

    # a second data set leaves nothing of the first behind
    values = yaml.safe_load(Path("params.yaml").read_text()) | {"dataset": "synthetic", "split_by": "writer"}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    run_stages(fetch, preprocess, split)
    assert read_schema(paths.SPLIT).dataset == "synthetic"
    assert sorted(path.name for path in paths.PROCESSED.iterdir())[2:] == [
        "test_ink.npz",
        "training.csv",
        "training_ink.npz",
    ]


@pytest.mark.parametrize("loss", ["mean_squared_error", "mean_absolute_error", "huber"])
def test_regression_in_the_unit_of_the_label(workspace: Path, loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = made_table().drop(columns="species")
    write_table(workspace, table, own={"label": "price", "task": "regression"}, loss=loss, epochs=40, split_by="random")
    run_stages()
    test = metrics("evaluate.json")
    assert test["test_r2"] > 0.9
    assert test["test_rmse"] < 0.4 * table["price"].std()
    assert set(metrics("train.json")) >= {"val_rmse", "val_mae", "val_r2"}
    assert not {"val_accuracy", "temperature"} & set(metrics("train.json"))
    predictions = pd.read_csv(paths.PREDICTIONS)
    np.testing.assert_allclose(predictions["label"], table["price"][predictions["row"]], rtol=1e-5)
    error = predictions["predicted"] - predictions["label"]
    assert np.sqrt((error**2).mean()) == pytest.approx(test["test_rmse"], rel=1e-3)
    pictures = {path.name for path in paths.FIGURES.iterdir()}
    assert pictures == {"curves.png", "predictions.png", "errors.png", "weights.png"}
    answer = predict.predict(Path("data/own/plants.csv"), own_model())
    np.testing.assert_allclose(answer["predicted"][predictions["row"]], predictions["predicted"], rtol=1e-4)
    monkeypatch.setattr("sys.argv", ["export", "models", "plants.onnx"])
    export.main()


@pytest.mark.parametrize(("changes", "fault"), [
    ({"own": None}, "own is null; `make new-data"),
    ({"own": {"path": "data/own/none.csv"}}, "own: data/own/none.csv does not exist"),
    ({"own": {"label": "genus"}}, "own.label: the table has no column genus; it has länge, width"),
    ({"own": {"label": "Species"}}, "own.label: the table has no column Species; did you mean species?"),
    ({"own": {"label": 9}}, "own.label: the table has no column 9"),
    ({"own": {"group": "species"}}, "own.group and own.label are the same column, species"),
    ({"own": {"group": None}}, "split_by: group needs own.group to name a column; use random"),
    ({"validation_writers": 12, "split_by": "writer"}, "validation_writers: 12 must be less than the number of groups"),
    ({"features": "ink"}, "features must be table for a table of your own, got ink"),
    ({"own": {"task": "regression", "label": "price"}}, "loss must be mean_squared_error, mean_absolute_error, huber"),
])  # fmt: skip
def test_faults_of_params_are_said_in_a_line(workspace: Path, changes: dict[str, Any], fault: str) -> None:
    write_table(workspace, made_table(60), **changes)
    with pytest.raises(StageError) as caught:
        run_stages(fetch, preprocess, split, train)
    assert str(caught.value).startswith(f"params.yaml: {fault}")
    assert not paths.MODELS.exists()


def test_cross_validation_holds_out_whole_groups(workspace: Path) -> None:
    write_table(workspace, made_table(), epochs=5)
    run_stages(fetch, preprocess)
    schema, params = read_schema(paths.PROCESSED), train.load_checked()
    rows = split.read_rows_of(schema, "training", "table")
    fold = table_folds.folds_of(rows, schema, 3)
    assert all(len(set(fold[rows.writer == group])) == 1 for group in set(rows.writer))
    data, jobs = folds.Data(rows, schema), folds.jobs_of(params, folds=2, seeds=2)
    outcomes = cross_validate.outcomes_of(jobs, cross_validate.trained_here(data))
    measured, pooled = table_folds.measured(outcomes), folds.score(outcomes, data, 2)
    assert measured["balanced_accuracy"].min() > 0.5
    assert pooled.value < measured["log_loss"].mean()  # at the best temperature
    shown = table_folds.table(measured, pooled.value, pooled.temperature).splitlines()
    assert [line.split()[0] for line in shown[1:4]] == ["1", "2", "mean"]
    with pytest.raises(StageError, match="from 2 to the number of groups"):
        table_folds.folds_of(rows, schema, 20)
