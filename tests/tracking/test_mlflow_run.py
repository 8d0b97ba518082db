"""Runs made from the files of a checkout: what they hold, and which are found, completed, replaced or left alone."""

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.mlflow_store import MLFLOW_WARNS
from tests.project_copy import set_param
from tests.tracking.finished_pipeline import RECORDS, Runs, write_evaluation, write_picture

from commands import draw, ranking, sync
from pen.recognizer import load_recognizer
from pipeline import paths
from pipeline.errors import StageError
from tracking.contents import data_checksum, files_checksum, model_checksum, model_file_checksum, read_params
from tracking.messages import Epoch, now
from tracking.mlflow_run import Run, ensure_run, find_runs, is_under_another_name

SOURCE = '{"url": "https://archive.ics.uci.edu/static/public/81/pen+based+recognition+of+handwritten+digits.zip"}'

pytestmark = MLFLOW_WARNS
without_model = pytest.mark.usefixtures("without_model")


def train(runs: Runs, folder: Path) -> None:
    Run.start(runs.store, folder, runs.origin, read_params(folder), now()).complete()


def test_a_run_made_from_files_is_complete(runs: Runs, folder: Path) -> None:
    ensure_run(runs.store, folder, runs.origin)
    (run,) = runs.found()
    assert (run.info.status, run.info.run_name) == ("FINISHED", runs.origin["dvc.exp_name"])
    assert (run.data.params["hidden_layers"], run.data.params["activation"]) == ("[4]", "gelu")
    assert "augment.aspect" in run.data.params
    assert runs.curve(run, "val_loss") == [(1, 1), (2, 0.5), (3, 0.333333)]
    assert (run.data.metrics["final_val_accuracy"], run.data.metrics["test_accuracy"]) == (0.96, 0.97)
    assert run.data.metrics["n_parameters"] == 16 * 4 + 4 + 4 * 10 + 10
    assert run.data.metrics["weight_norm_linear1_W"] > 0
    files = {"weights.png", "weights/network.npz", "metrics/predictions.csv", "metrics/history.csv"}
    assert files <= runs.files(run)
    sums = {"data.sha256": data_checksum(folder), "model.sha256": model_checksum(folder), "checksums": "content"}
    assert run.data.tags.items() >= sums.items()
    assert run.data.tags.keys() >= {"evaluate.sha256", "figures.sha256", "dataset"}
    assert {"params.yaml", "dvc.lock"} <= runs.files(run)
    assert "trained for 3 epochs" not in run.data.tags["mlflow.note.content"]  # the number of rows is not known
    assert run.data.tags["mlflow.note.content"].startswith("Test: accuracy 97.00%, log-loss 0.1000 on 2 rows.")
    inputs = [(each.dataset.name, each.tags[0].value, each.dataset.source) for each in run.inputs.dataset_inputs]
    assert inputs == [("pendigits", context, SOURCE) for context in ("training", "validation", "testing")]
    model = runs.store.client.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert {"final_val_accuracy", "test_accuracy"} <= {metric.key for metric in model.metrics}


@without_model
def test_a_run_that_is_logged_later_says_when_it_ran_and_to_which_grid_it_belongs(runs: Runs, folder: Path) -> None:
    later = Runs(runs.store, runs.origin | {"dvc.exp_name": "grid-2-12"})
    assert sync.log(runs.store, folder, later.origin, ran_at=1_700_000_000_000)
    (run,) = later.found()
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_000, 1_700_000_000_000)
    assert run.data.tags["grid"] == "grid-2"


@without_model
def test_the_runs_of_a_grid_have_one_parent_without_results(runs: Runs, folder: Path) -> None:
    def run_of(name: str, **origin: str) -> Any:
        of_one = Runs(runs.store, runs.origin | origin | {"dvc.exp_name": f"{runs.origin['dvc.exp_name']}{name}"})
        assert sync.log(runs.store, folder, of_one.origin, ran_at=1_700_000_000_000)
        (run,) = of_one.found()
        return run

    first = run_of("-1")  # may be a name that somebody chose
    assert "mlflow.parentRunId" not in first.data.tags
    children = [run_of("-2"), runs.store.client.get_run(first.info.run_id)]
    (parent_id,) = {run.data.tags["mlflow.parentRunId"] for run in children}
    parent = runs.store.client.get_run(parent_id)
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", runs.origin["dvc.exp_name"])
    ranked = {run.info.run_id for run in ranking.finished_runs(runs.store)}
    assert {run.info.run_id for run in children} <= ranked - {parent_id}
    assert "mlflow.parentRunId" not in run_of("-3", **{"dvc.baseline_rev": "another"}).data.tags
    assert "mlflow.parentRunId" not in run_of("").data.tags


@without_model
def test_the_page_shows_the_network_of_a_run(runs: Runs, folder: Path) -> None:
    ensure_run(runs.store, folder, runs.origin)
    ours = load_recognizer(folder / paths.MODELS).network.params
    assert (draw.model_of_run(runs.origin["dvc.exp_name"]).network.params == ours).all()
    (run,) = runs.found()
    shutil.rmtree(Path(run.info.artifact_uri, "weights"))
    with pytest.raises(StageError, match="has lost its network"):
        draw.model_of_run(run.info.run_id)


@without_model
def test_a_run_is_made_once_and_pictures_drawn_anew_change_nothing(runs: Runs, folder: Path) -> None:
    assert ensure_run(runs.store, folder, runs.origin)
    before = runs.snapshots()
    assert ensure_run(runs.store, folder, runs.origin) is None
    set_param(folder, "mistakes_shown", 3)
    write_picture(folder, b"another picture")
    assert ensure_run(runs.store, folder, runs.origin) is None
    assert runs.snapshots() == before


@without_model
def test_another_evaluation_is_another_run(runs: Runs, folder: Path) -> None:
    ensure_run(runs.store, folder, runs.origin)
    before = runs.snapshots()
    set_param(folder, "ece_bins", 10)
    write_evaluation(folder, ece=0.02)
    write_picture(folder, b"another picture")
    ensure_run(runs.store, folder, runs.origin)
    assert runs.snapshots()[1:] == before
    run = runs.found()[0]
    assert (run.data.metrics["test_ece"], run.data.params["ece_bins"]) == (0.02, "10")
    assert "figures.sha256" in run.data.tags


@without_model
def test_experiments_with_the_same_model_have_their_own_runs(runs: Runs, folder: Path) -> None:
    ensure_run(runs.store, folder, runs.origin)
    before = runs.snapshots()
    for other in (runs.origin | {"dvc.exp_name": "other-name"}, runs.origin | {"dvc.baseline_rev": "decaf"}, {}):
        assert ensure_run(runs.store, folder, other)
        (made,) = runs._replace(origin=other).found()
    assert (made.info.run_name, runs.snapshots()) == (f"workspace-{model_checksum(folder)[:8]}", before)


@without_model
def test_the_run_of_a_renamed_experiment_follows_its_name(
    runs: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = ({"dvc.exp_name": name, "dvc.baseline_rev": "5eed"} for name in ("first-name", "renamed"))
    runs, renamed = runs._replace(origin=old), runs._replace(origin=new)
    ensure_run(runs.store, folder, old)
    assert not is_under_another_name(runs.store, folder, new, [old, new])  # another experiment with the same content
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert is_under_another_name(runs.store, folder, new, [new])  # in a store of many people
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    is_under_another_name(runs.store, folder, new | {"dvc.baseline_rev": "another"}, [])
    set_param(folder, "ece_bins", 10)
    is_under_another_name(runs.store, folder, new, [new])
    set_param(folder, "ece_bins", 15)
    assert not renamed.found()
    (before,) = map(runs.content, runs.found())
    before["tags"] |= {"dvc.exp_name": "renamed", "mlflow.runName": "renamed"}
    assert not is_under_another_name(runs.store, folder, new, [new, old | {"dvc.baseline_rev": "another"}])
    (run,) = renamed.found()
    assert run.info.run_name == "renamed"
    assert not runs.found()
    assert renamed.content(run) == before
    assert ensure_run(runs.store, folder, new) is None
    runs.store.client.update_run(run.info.run_id, name="by hand")
    is_under_another_name(runs.store, folder, old, [old])
    assert runs.found()[0].info.run_name == "by hand"


@without_model
def test_a_repeated_training_gets_its_own_evaluation(runs: Runs, folder: Path) -> None:
    ensure_run(runs.store, folder, runs.origin)
    before = runs.snapshots()
    train(runs, folder)
    ensure_run(runs.store, folder, runs.origin)
    assert runs.snapshots()[1:] == before
    second, first = map(runs.content, runs.found())
    assert second == first


def other_parameters(runs: Runs, folder: Path) -> None:
    train(runs, folder)  # and then evaluate with another setting, before that run was evaluated
    set_param(folder, "ece_bins", 10)


def cut_off(runs: Runs, folder: Path) -> None:
    run = Run.start(runs.store, folder, runs.origin, read_params(folder), 0)
    run.log_training()
    run.end("KILLED")


@without_model
@pytest.mark.parametrize("earlier", [other_parameters, cut_off])
def test_a_training_of_other_parameters_or_one_cut_off_is_not_completed(earlier: Any, runs: Runs, folder: Path) -> None:
    earlier(runs, folder)
    before = runs.snapshots()
    ensure_run(runs.store, folder, runs.origin)
    assert runs.snapshots()[1:] == before
    made = runs.found()[0]
    assert (made.info.status, made.data.params["ece_bins"]) == ("FINISHED", str(read_params(folder)["ece_bins"]))


@without_model
def test_the_run_of_an_older_version_is_found_by_the_checksum_of_bytes(runs: Runs, folder: Path) -> None:
    made = ensure_run(runs.store, folder, runs.origin)
    assert made
    runs.store.client.delete_tag(made.id, "checksums")
    runs.store.client.set_tag(made.id, "model.sha256", model_file_checksum(folder))
    runs.store.client.set_tag(made.id, "data.sha256", files_checksum(folder, paths.SPLIT_FILES))
    before = runs.snapshots()
    assert [run.info.run_id for run in find_runs(runs.store, runs.origin, folder)] == [made.id]
    assert ensure_run(runs.store, folder, runs.origin) is None
    assert runs.snapshots() == before


def test_of_a_run_that_could_not_be_completed_nothing_is_left(runs: Runs, folder: Path) -> None:
    (folder / paths.TRAIN_METRICS).write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        ensure_run(runs.store, folder, runs.origin)
    assert not runs.found()


@without_model
def test_a_run_that_lost_its_store_gives_way_to_the_complete_one(runs: Runs, folder: Path) -> None:
    params = read_params(folder)
    lost, at_work = (Run.start(runs.store, folder, runs.origin, params, now()) for _ in range(2))
    other = Run.start(runs.store, folder, runs.origin, params | {"lr": 0.5}, now())
    for run in (lost, other):
        run.log_epochs([Epoch(RECORDS[0], 0)])
        runs.store.client.set_tag(run.id, "mlflow.process", f"{socket.gethostname()}:999999999")
    made = ensure_run(runs.store, folder, runs.origin)
    assert made
    assert {run.info.run_id for run in runs.found()} == {made.id, at_work.id, other.id}


def test_what_a_run_has_lost_is_named(runs: Runs, folder: Path) -> None:
    ensure_run(runs.store, folder, runs.origin)
    (run,) = runs.found()
    assert sync.lost_from(runs.store, run, folder) == ""
    with (folder / paths.HISTORY).open("a") as history:
        history.write("4,0.1,0.1,0.1,0.1,0.1\n")
    assert sync.lost_from(runs.store, run, folder) == "part of its curves"
    kept = Path(run.info.artifact_uri)
    shutil.rmtree(kept.parents[1] / "models" / run.outputs.model_outputs[0].model_id / "artifacts")
    assert sync.lost_from(runs.store, run, folder) == "its model"
    (kept / "weights.png").unlink()
    assert sync.lost_from(runs.store, run, folder) == "its pictures"
    (kept / "weights/network.npz").unlink()
    assert sync.lost_from(runs.store, run, folder) == "weights/network.npz"


def test_curves_may_be_longer_than_mlflow_takes_in_a_call(runs: Runs, folder: Path) -> None:
    run = Run.start(runs.store, folder, runs.origin, {}, now())
    run.log_epochs(Epoch({"epoch": epoch, "a": epoch, "b": -epoch}, epoch) for epoch in range(1, 701))
    assert runs.curve(runs.found()[0], "b") == [(epoch, -epoch) for epoch in range(1, 701)]
