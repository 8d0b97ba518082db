"""Runs made from the files of a checkout: what they hold, which of them are found, completed, replaced or left alone."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.mlflow_store import MLFLOW_WARNS
from tests.tracking.finished_pipeline import (
    RECORDS,
    content_of,
    curve_of,
    files_of,
    runs_of,
    set_param,
    snapshots_of,
    write_evaluation,
    write_picture,
)

from pipeline import paths
from tracking.contents import data_checksum, files_checksum, model_checksum, model_file_checksum, read_params
from tracking.messages import Epoch, now
from tracking.run import Run, ensure_run, find_runs
from tracking.store import Store

pytestmark = MLFLOW_WARNS

Origin = dict[str, str]


@pytest.fixture
def without_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow takes a second to log a model, on which most of these tests do not depend."""
    monkeypatch.setattr(Run, "_log_model", lambda run: None)


def train(store: Store, folder: Path, origin: Origin) -> None:
    Run.start(store, folder, origin, read_params(folder), now()).complete()


def test_a_run_made_from_files_is_complete(store: Store, origin: Origin, folder: Path) -> None:
    ensure_run(store, folder, origin)
    (run,) = runs_of(store, origin)
    assert (run.info.status, run.info.run_name) == ("FINISHED", origin["dvc.exp_name"])
    assert (run.data.params["hidden_layers"], run.data.params["activation"]) == ("[4]", "gelu")
    assert "augment.aspect" in run.data.params
    assert [step for step, _ in curve_of(store, run, "val_loss")] == [1, 2, 3]
    assert [value for _, value in curve_of(store, run, "val_loss")] == pytest.approx([1, 1 / 2, 1 / 3], rel=1e-5)
    assert run.data.metrics["final_val_accuracy"] == 0.96
    assert run.data.metrics["test_accuracy"] == 0.97
    assert run.data.metrics["n_parameters"] == 16 * 4 + 4 + 4 * 10 + 10
    assert run.data.metrics["weight_norm_linear1_W"] > 0
    files = {"weights.png", "weights/network.npz", "metrics/predictions.csv", "metrics/history.csv"}
    assert files <= files_of(store, run)
    assert run.data.tags["data.sha256"] == data_checksum(folder)
    assert run.data.tags["model.sha256"] == model_checksum(folder)
    assert run.data.tags["checksums"] == "content"
    assert set(run.data.tags) >= {"evaluate.sha256", "figures.sha256", "dataset"}
    (output,) = run.outputs.model_outputs
    model = store.client.get_logged_model(output.model_id)
    assert {"final_val_accuracy", "test_accuracy"} <= {metric.key for metric in model.metrics}


@pytest.mark.usefixtures("without_model")
def test_a_run_is_made_once_and_pictures_drawn_anew_change_nothing(store: Store, origin: Origin, folder: Path) -> None:
    assert ensure_run(store, folder, origin)
    before = snapshots_of(store, origin)
    assert ensure_run(store, folder, origin) is None
    assert ensure_run(store, folder, origin, with_figures=False) is None
    set_param(folder, "mistakes_shown", 3)
    write_picture(folder, b"another picture")
    assert ensure_run(store, folder, origin) is None
    assert snapshots_of(store, origin) == before


@pytest.mark.usefixtures("without_model")
def test_another_evaluation_is_another_run(store: Store, origin: Origin, folder: Path) -> None:
    ensure_run(store, folder, origin)
    (first,) = snapshots_of(store, origin)
    set_param(folder, "ece_bins", 10)
    write_evaluation(folder, ece=0.02)
    ensure_run(store, folder, origin, with_figures=False)  # by the evaluate stage
    write_picture(folder, b"another picture")
    ensure_run(store, folder, origin)  # and by the plot stage
    second, unchanged = runs_of(store, origin)
    assert unchanged.to_dictionary() == first
    assert (second.data.metrics["test_ece"], second.data.params["ece_bins"]) == (0.02, "10")
    assert "figures.sha256" in second.data.tags


@pytest.mark.usefixtures("without_model")
def test_experiments_with_the_same_model_have_their_own_runs(store: Store, origin: Origin, folder: Path) -> None:
    ensure_run(store, folder, origin)
    before = snapshots_of(store, origin)
    for other in (origin | {"dvc.exp_name": "other-name"}, origin | {"dvc.baseline_rev": "decaf"}, {}):
        assert ensure_run(store, folder, other)
        (made,) = runs_of(store, other)
    assert made.info.run_name == f"workspace-{model_checksum(folder)[:8]}"
    assert snapshots_of(store, origin) == before


@pytest.mark.usefixtures("without_model")
def test_a_repeated_training_gets_its_own_evaluation(store: Store, origin: Origin, folder: Path) -> None:
    ensure_run(store, folder, origin)
    (first,) = runs_of(store, origin)
    train(store, folder, origin)
    ensure_run(store, folder, origin, with_figures=False)
    ensure_run(store, folder, origin)
    second, unchanged = runs_of(store, origin)
    assert unchanged.to_dictionary() == first.to_dictionary()
    assert content_of(store, second) == content_of(store, first)


def other_parameters(store: Store, folder: Path, origin: Origin) -> None:
    train(store, folder, origin)  # and then evaluate with another setting, before that run was evaluated
    set_param(folder, "ece_bins", 10)


def cut_off(store: Store, folder: Path, origin: Origin) -> None:
    run = Run.start(store, folder, origin, read_params(folder), 0)
    run.log_training()
    run.end("KILLED")


@pytest.mark.usefixtures("without_model")
@pytest.mark.parametrize("earlier", [other_parameters, cut_off])
def test_a_training_of_other_parameters_or_one_that_was_cut_off_is_not_completed(
    earlier: Callable[..., None], store: Store, origin: Origin, folder: Path
) -> None:
    earlier(store, folder, origin)
    (before,) = snapshots_of(store, origin)
    ensure_run(store, folder, origin)
    made, unchanged = runs_of(store, origin)
    assert unchanged.to_dictionary() == before
    assert made.info.status == "FINISHED"
    assert made.data.params["ece_bins"] == str(read_params(folder)["ece_bins"])


@pytest.mark.usefixtures("without_model")
def test_the_run_of_an_older_version_is_found_by_the_checksum_of_bytes(
    store: Store, origin: Origin, folder: Path
) -> None:
    made = ensure_run(store, folder, origin)
    assert made
    store.client.delete_tag(made.id, "checksums")
    store.client.set_tag(made.id, "model.sha256", model_file_checksum(folder))
    store.client.set_tag(made.id, "data.sha256", files_checksum(folder, paths.SPLIT_FILES))
    before = snapshots_of(store, origin)
    assert [run.info.run_id for run in find_runs(store, origin, folder)] == [made.id]
    assert ensure_run(store, folder, origin) is None
    assert snapshots_of(store, origin) == before


def test_of_a_run_that_could_not_be_completed_nothing_is_left(store: Store, origin: Origin, folder: Path) -> None:
    (folder / paths.TRAIN_METRICS).write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        ensure_run(store, folder, origin)
    assert not runs_of(store, origin)


@pytest.mark.usefixtures("without_model")
def test_a_run_that_lost_its_store_gives_way_to_the_complete_one(store: Store, origin: Origin, folder: Path) -> None:
    from mlflow.entities import Param

    params = read_params(folder)
    lost, at_work, other = (Run.start(store, folder, origin, params, now()) for _ in range(3))
    lost.log_epochs([Epoch(RECORDS[0], 0)])
    store.client.log_batch(other.id, params=[Param("lr", "0.5")])
    for gone in (lost, other):
        store.client.set_tag(gone.id, "mlflow.process", f"{socket.gethostname()}:999999999")
    made = ensure_run(store, folder, origin)
    assert made
    assert {run.info.run_id for run in runs_of(store, origin)} == {made.id, at_work.id, other.id}


@pytest.mark.usefixtures("without_model")
def test_long_curves_are_logged_in_calls_that_mlflow_takes(store: Store, origin: Origin, folder: Path) -> None:
    calls: list[int] = []
    log_batch = store.client.log_batch

    def counted(run_id: str, metrics: Any = (), **other: Any) -> None:
        calls.append(len(metrics))
        log_batch(run_id, metrics, **other)

    run = Run.start(store, folder, origin, {}, now())
    run.client = type("Client", (), {"log_batch": staticmethod(counted)})()  # type: ignore[assignment]
    run.log_epochs(Epoch({"epoch": epoch, "a": epoch, "b": -epoch}, epoch) for epoch in range(1, 701))
    assert max(calls) <= 1000
    (logged,) = runs_of(store, origin)
    assert curve_of(store, logged, "b") == [(epoch, -epoch) for epoch in range(1, 701)]
