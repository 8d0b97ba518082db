"""The files that a run of the pipeline leaves in a checkout, made without running it, and the runs in a store."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tests.project_copy import set_param

from neural_net.npz import npz_bytes
from pen.recognizer import Recognizer, recognizer_files
from pipeline import paths
from pipeline.configure import configure
from pipeline.params import load_params
from pipeline.tables import metrics_json, records_csv
from runtime.files import write_bytes
from tracking.mlflow_run import ORIGIN
from tracking.store import Store

ROOT = Path(__file__).parents[2]
RECORDS = [
    {"epoch": epoch, "lr": 0.002 / epoch, "train_loss": 2 / 3 / epoch, "train_accuracy": 1 - 1 / 3 / epoch}
    | {"val_loss": 1 / epoch, "val_accuracy": 1 - 1 / 7 / epoch}
    for epoch in (1, 2, 3)
]


def write_pipeline(folder: Path) -> None:
    """Make ``folder`` a checkout in which the whole pipeline has run, with a network over the table."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "dvc.lock").write_text("stages: {}")
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    for key, value in (("hidden_layers", [4]), ("features", "table"), ("activation", "gelu")):
        set_param(folder, key, value)
    for number, file in enumerate(paths.SPLIT_FILES):
        write_bytes(folder / file, npz_bytes(split_arrays(number)))
    params = load_params(folder / "params.yaml")
    write_model(folder, Recognizer(configure(params).network, params.dataset))
    write_bytes(folder / paths.HISTORY, records_csv(RECORDS, list(RECORDS[0])))
    metrics = {"dataset": params.dataset, "n_parameters": 118, "epochs": 3, "val_accuracy": 0.96}
    write_bytes(folder / paths.TRAIN_METRICS, metrics_json(metrics))
    write_evaluation(folder)
    write_picture(folder)


def split_arrays(number: int) -> dict[str, Any]:
    return {"X": np.full((2, 16), number, dtype=np.float32), "y": np.array([number, 1])}


def write_model(folder: Path, model: Recognizer) -> None:
    for name, content in recognizer_files(model).items():
        write_bytes(folder / paths.MODELS / name, content)


def write_evaluation(folder: Path, ece: float = 0.01) -> None:
    metrics = {"dataset": "pendigits", "n_test": 2, "test_log_loss": 0.1, "test_accuracy": 0.97, "test_ece": ece}
    write_bytes(folder / paths.EVALUATE_METRICS, metrics_json(metrics))
    write_bytes(folder / paths.PREDICTIONS, b"row,writer,digit,predicted\n0,1,4,4\n")


def write_picture(folder: Path, picture: bytes = b"a picture") -> None:
    write_bytes(folder / paths.FIGURES / "weights.png", picture)


class Runs(NamedTuple):
    """The runs in a store that are of one origin, newest first."""

    store: Store
    origin: dict[str, str]

    def found(self) -> list[Any]:
        every = self.store.client.search_runs([self.store.experiment_id])
        return [run for run in every if all(run.data.tags.get(tag) == self.origin.get(tag) for tag in ORIGIN)]

    def snapshots(self) -> list[dict[str, Any]]:
        return [run.to_dictionary() for run in self.found()]

    def files(self, run: Any, place: str | None = None) -> set[str]:
        listed = self.store.client.list_artifacts(run.info.run_id, place)
        folders = [self.files(run, file.path) for file in listed if file.is_dir]
        return {file.path for file in listed if not file.is_dir}.union(*folders)

    def curve(self, run: Any, metric: str) -> list[tuple[int, float]]:
        points = self.store.client.get_metric_history(run.info.run_id, metric)
        return [(point.step, point.value) for point in points]

    def content(self, run: Any) -> dict[str, Any]:
        """All that does not depend on the moment."""
        models = [self.store.client.list_logged_model_artifacts(model.model_id) for model in run.outputs.model_outputs]
        return {
            "params": run.data.params,
            "curves": {metric: self.curve(run, metric) for metric in run.data.metrics},
            "tags": {
                tag: run.data.tags[tag] for tag in run.data.tags.keys() - {"mlflow.process", "mlflow.parentRunId"}
            },
            "files": self.files(run),
            "models": [{file.path for file in model} for model in models],
            "status": run.info.status,
        }
