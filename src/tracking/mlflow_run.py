"""Make, find and complete runs in MLflow from the files of a checkout."""

import contextlib
import os
import re
import socket
from collections.abc import Collection, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline import paths
from pipeline.tables import read_table, records_of
from runtime.git import GitError, git_text
from runtime.script import say
from utils import one_line

from .address import PEN_DIGITS, own_database
from .contents import (
    data_checksum,
    data_inputs,
    dataset_of,
    description,
    files_checksum,
    flat,
    model_checksum,
    model_file_checksum,
    numbers_in,
    read_params,
    weight_norms,
)
from .messages import Epoch, now
from .store import Store, check_artifacts

if TYPE_CHECKING:
    from mlflow import MlflowClient, entities

ORIGIN = {"dvc.exp_name": "DVC_EXP_NAME", "dvc.baseline_rev": "DVC_EXP_BASELINE_REV"}  # tags, and where DVC says it
OF_CONTENT = {"checksums": "content"}  # a tag; runs without it, of older versions, have checksums of the files' bytes
EXAMPLE = [47, 100, 27, 81, 57, 37, 26, 0, 0, 23, 56, 53, 100, 90, 40, 98]  # the data set's first row, an 8
METRICS_A_CALL = 1000  # the most that MLflow takes
SWEEP, SWEEP_BEST = "sweep", "sweep.best"  # tags of runs of `make sweep`: the study; the command for its best trial


def origin_of_process() -> dict[str, str]:
    """The origin of the run, as tags: an experiment's name and the commit it started from; none for the workspace."""
    return {tag: os.environ[name] for tag, name in ORIGIN.items() if os.environ.get(name)}


def ensure_run(
    store: Store,
    folder: Path,
    origin: Mapping[str, str],
    *,
    replaced: Collection[str] = (),
    ran_at: int | None = None,
) -> "Run | None":
    """Make or complete the run of the evaluated model in ``folder``; returns None if nothing is missing.

    A run is completed only if it has the same origin, model and parameters; nothing in it is changed. If there is no
    such run, a new one is made. Afterwards the runs that it replaces are deleted: runs that lost their store before
    they were complete, and the runs with the ids in ``replaced``.

    Args:
        ran_at: when the results were made, in ms since 1970; by default now.
    """
    params = flat(read_params(folder))
    cut_off = [
        run.info.run_id
        for run in abandoned_runs(store)
        if _is_of(run, origin) and run.data.params.items() <= params.items() and SWEEP not in run.data.tags
    ]
    run = _complete_or_make(store, folder, origin, params, replaced, ran_at)
    for run_id in {*cut_off, *replaced}:
        store.client.delete_run(run_id)
    return run


def _complete_or_make(
    store: Store,
    folder: Path,
    origin: Mapping[str, str],
    params: Mapping[str, str],
    ignored: Collection[str],
    ran_at: int | None,
) -> "Run | None":
    evaluated_as = files_checksum(folder, [paths.EVALUATE_METRICS])
    runs = [run for run in find_runs(store, origin, folder) if run.info.run_id not in ignored]
    runs = [run for run in runs if run.data.tags.get("evaluate.sha256", evaluated_as) == evaluated_as]
    incomplete = [run for run in runs if "figures.sha256" not in run.data.tags and run.data.params == params]
    if incomplete:
        run = Run(store.client, incomplete[0].info.run_id, incomplete[0].info.run_name, folder)
        run.log_results()
    elif any("evaluate.sha256" in run.data.tags for run in runs):
        return None
    else:
        run = Run.start(store, folder, origin, read_params(folder), ran_at or now())
        run.ran_at = ran_at
        run.complete(with_results=True)
        say(f"MLflow: logged as {run.name}")
    return run


def find_runs(store: Store, origin: Mapping[str, str], folder: Path) -> list["entities.Run"]:
    """The finished runs of this origin that made the model in ``folder``, newest first."""
    return [run for run in _runs_of_model(store, folder) if _is_of(run, origin)]


def _runs_of_model(store: Store, folder: Path) -> list["entities.Run"]:
    found: list[entities.Run] = []
    for checksum in (model_checksum(folder), model_file_checksum(folder)):
        wanted = f"tags.`model.sha256` = '{checksum}' and attributes.status = 'FINISHED'"
        found += store.client.search_runs([store.experiment_id], wanted, order_by=["attributes.start_time DESC"])
    return found


def is_under_another_name(
    store: Store, folder: Path, origin: Mapping[str, str], present: Iterable[Mapping[str, str]]
) -> bool:
    """Whether the experiment in ``folder`` has its run under another name, as after `dvc exp rename`.

    The run is known by its content and baseline, and by its name, which no experiment ``present`` in the checkout has.
    In the project's own store, the run is given the experiment's new name, and the answer is no. In a store that others
    use too, it may be the run of one of them, and keeps its name.
    """
    if find_runs(store, origin, folder):
        return False
    names = {known["dvc.exp_name"] for known in present if known["dvc.baseline_rev"] == origin["dvc.baseline_rev"]}
    evaluated, params = files_checksum(folder, [paths.EVALUATE_METRICS]), flat(read_params(folder))
    for run in _runs_of_model(store, folder):
        tags = run.data.tags
        old = {tag: tags.get(tag, "") for tag in ORIGIN}
        same = tags.get("evaluate.sha256") == evaluated and run.data.params == params
        if same and old["dvc.baseline_rev"] == origin["dvc.baseline_rev"] and old["dvc.exp_name"] not in {"", *names}:
            if not own_database():
                say(f"MLflow: {run.info.run_name} has the results of {origin['dvc.exp_name']}")
                return True
            store.client.set_tag(run.info.run_id, "dvc.exp_name", origin["dvc.exp_name"])
            if run.info.run_name == run_name(tags["dataset"], old):
                store.client.update_run(run.info.run_id, name=run_name(tags["dataset"], origin))
            say(f"MLflow: {run.info.run_name} follows its experiment, which is called {origin['dvc.exp_name']} now")
            return False
    return False


def run_name(dataset: str, origin: Mapping[str, str]) -> str:
    """What a run is called at first."""
    return ("" if dataset == PEN_DIGITS else f"{dataset}-") + origin.get("dvc.exp_name", "workspace")


def _is_of(run: "entities.Run", origin: Mapping[str, str]) -> bool:
    return all(run.data.tags.get(tag) == origin.get(tag) for tag in ORIGIN)


def _group(store: Store, tags: Mapping[str, str], started: int) -> None:
    """List the runs of a grid below a parent, as soon as there are two: one name such as ``mnist-1`` is no grid."""
    same = {key: tags[key] for key in ("grid", "dataset", "dvc.baseline_rev") if key in tags}
    runs = store.client.search_runs([store.experiment_id], "tags.grid != ''")
    runs = [run for run in runs if same.items() <= run.data.tags.items()]
    if len({run.data.tags.get("dvc.exp_name") for run in runs}) > 1:
        parent = _parent(store, tags, started)
        for run in runs:
            if "mlflow.parentRunId" not in run.data.tags:
                store.client.set_tag(run.info.run_id, "mlflow.parentRunId", parent)


def _parent(store: Store, tags: Mapping[str, str], started: int) -> str:
    """The id of the run that MLflow's page lists the runs of a grid under; the second of them makes it.

    It is known by the grid and the commit that the grid started from. It has no results, so nothing ranks it.
    """
    known = {
        "parent_of": tags["grid"],
        "dvc.baseline_rev": tags.get("dvc.baseline_rev", ""),
        "dataset": tags["dataset"],
    }

    def oldest() -> str:
        parents = store.client.search_runs([store.experiment_id], "tags.parent_of != ''")
        found = [run.info for run in parents if known.items() <= run.data.tags.items()]
        return min(((info.start_time, info.run_id) for info in found), default=(0, ""))[1]

    if parent := oldest():
        return parent
    name = run_name(tags["dataset"], {"dvc.exp_name": tags["grid"]})
    made = store.client.create_run(store.experiment_id, started, known, name).info.run_id
    store.client.set_terminated(made, "FINISHED", started)
    if (first := oldest()) != made:  # another process has just made one, too
        store.client.delete_run(made)
    return first


def abandoned_runs(store: Store) -> list["entities.Run"]:
    """The runs that are RUNNING in MLflow although their process, on this machine, is gone."""
    running = store.client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'")
    return [run for run in running if not _may_be_alive(run.data.tags.get("mlflow.process"), run.info.start_time)]


def _may_be_alive(process: str | None, started: int) -> bool:
    """Whether host:pid may be a process from ``started``, in ms since 1970; always true for another machine."""
    import psutil  # here: a stage has no use for it

    host, _, pid = str(process or "").rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return bool(host)
    try:
        found = psutil.Process(int(pid))
        older = found.create_time() * 1000 <= started + 60_000  # else the number was given anew
        return older and found.status() != psutil.STATUS_ZOMBIE  # which nobody has asked how it ended
    except psutil.NoSuchProcess:
        return False


class Run:
    """A run in MLflow, and the checkout whose files it shows.

    Three tags say which parts a run has: ``model.sha256``, ``evaluate.sha256`` and ``figures.sha256``. Each is set
    last, when the part is in the store. So an incomplete run never looks complete.
    """

    def __init__(self, client: "MlflowClient", run_id: str, name: str, folder: Path) -> None:
        self.client, self.id, self.name, self.folder = client, run_id, name, folder
        self.ran_at: int | None = None  # when it ran, in ms since 1970, if that is not now
        self._name_awaits_model = False
        self._epochs: set[float] = set()  # those in the curves
        self._params: list[entities.Param] = []  # those that are not in the store yet

    @classmethod
    def start(
        cls, store: Store, folder: Path, origin: Mapping[str, str], params: Mapping[str, Any], started: int
    ) -> "Run":
        """Open a new run with the facts that are known at the start. The parameters are logged with the first epochs.

        So one call to the store opens the run. With two calls, the store could fail in between, and a second run would
        be opened later.
        """
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        check_artifacts(store)
        dataset, commit = dataset_of(params), _git_commit(folder)
        grid = re.fullmatch(r"(.+)-\d+", origin.get("dvc.exp_name", ""))
        tags = {
            **origin,
            **OF_CONTENT,
            "grid": grid[1] if grid else "",  # DVC numbers the experiments of a grid
            "dataset": dataset,
            "data.sha256": data_checksum(folder),
            "git.commit": commit,
            "mlflow.source.git.commit": commit,
            "mlflow.source.name": "dvc.yaml",
            "mlflow.source.type": "PROJECT",
            "mlflow.user": os.environ.get("USER", ""),
            "mlflow.process": f"{socket.gethostname()}:{os.getpid()}",  # whoever doubts a RUNNING run can look
        }
        known = {tag: value for tag, value in tags.items() if value}
        name = run_name(dataset, origin)
        created = store.client.create_run(store.experiment_id, started, known, name)
        if grid:
            with contextlib.suppress(MlflowException, OSError):  # the run is open; the next one of the grid groups it
                _group(store, known, started)
        run = cls(store.client, created.info.run_id, name, folder)
        run._name_awaits_model = "dvc.exp_name" not in origin
        run._params = [Param(*item) for item in flat(params).items()]
        return run

    def complete(self, *, with_results: bool = False) -> None:
        """Log the files and close the run as FINISHED. If this fails, delete the run."""
        from mlflow.exceptions import MlflowException

        try:
            self.log_training()
            if with_results:
                self.log_results()
        except BaseException:
            with contextlib.suppress(MlflowException, OSError):
                self.client.delete_run(self.id)
            raise
        self.end("FINISHED")

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.id, status, self.ran_at)

    def log_epochs(self, epochs: Iterable[Epoch]) -> None:
        """Add epochs to the curves, with the six digits that metrics/history.csv keeps."""
        if self._params:
            self.client.log_batch(self.id, params=self._params)
            self._params = []
        points, steps = [], set()
        for row, moment in epochs:
            step = int(row["epoch"])
            points += [(key, float(f"{value:.6g}"), moment, step) for key, value in row.items() if key != "epoch"]
            steps.add(step)
        self._log_points(points)
        self._epochs |= steps

    def log_training(self) -> None:
        """Log the results of the train stage: epochs that the curves lack, final figures, weights, model."""
        rows = records_of(read_table(self.folder / paths.HISTORY, ("epoch", "train_loss")))
        self.log_epochs(Epoch(row, self.ran_at or now()) for row in rows if row["epoch"] not in self._epochs)
        model_sha256 = model_checksum(self.folder)
        if self._name_awaits_model:
            self.name += f"-{model_sha256[:8]}"
            self.client.update_run(self.id, name=self.name)
        self._upload(paths.TRAIN_FILES, "metrics")
        self._upload(paths.MODEL_FILES, "weights")
        self._upload([paths.PARAMS_FILE])
        dataset = self.client.get_run(self.id).data.tags["dataset"]
        self.client.log_inputs(self.id, data_inputs(self.folder, dataset))
        finals = numbers_in(self.folder / paths.TRAIN_METRICS)
        self._log_numbers({f"final_{key}" if key in rows[-1] else key: value for key, value in finals.items()})
        self._log_numbers(weight_norms(self.folder))
        self._log_model()
        self.client.set_tag(self.id, "model.sha256", model_sha256)

    def log_results(self) -> None:
        """Log what the stages evaluate and plot wrote, and dvc.lock, which has recorded the stages before plot.

        The pictures are in no folder: MLflow's comparison of runs shows only such files.
        """
        self._upload(paths.EVALUATE_FILES, "metrics")
        models = self.client.get_run(self.id).outputs.model_outputs
        self._log_numbers(numbers_in(self.folder / paths.EVALUATE_METRICS), models[0].model_id if models else None)
        self.client.set_tag(self.id, "mlflow.note.content", description(self.folder))
        self.client.set_tag(self.id, "evaluate.sha256", files_checksum(self.folder, [paths.EVALUATE_METRICS]))
        pictures = sorted(path.relative_to(self.folder) for path in (self.folder / paths.FIGURES).glob("*.png"))
        self._upload([*pictures, paths.LOCK_FILE])
        if pictures:  # otherwise the plot stage completes the run
            self.client.set_tag(self.id, "figures.sha256", files_checksum(self.folder, pictures))

    def _log_model(self) -> None:
        """Log the network as a model that MLflow can serve: a file of code and the network's two files, no pickle.

        The columns of the input have names and MLflow's type ``any``: it would reject integers for doubles. The served
        model checks their values.
        """
        import mlflow
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema
        from mlflow.types.schema import AnyType

        told = _served(self.folder)
        source = _source_of(self.folder, told.script)
        with mlflow.start_run(self.id):
            mlflow.pyfunc.log_model(
                name="network",
                python_model=str(source / told.script),
                artifacts={path.stem + path.suffix: str(self.folder / path) for path in paths.MODEL_FILES},
                code_paths=[str(source / name) for name in ("custom.py", "neural_net", told.room, "utils.py")],
                signature=ModelSignature(
                    inputs=Schema([ColSpec(AnyType(), name) for name in told.example.columns]),
                    outputs=Schema(told.outputs),
                ),
                input_example=told.example,
                pip_requirements=[f"numpy=={version('numpy')}"],  # to find them out would take 3 s
                metadata={"input": told.input},
            )

    def _upload(self, files: Iterable[Path], place: str | None = None) -> None:
        for file in files:
            if (self.folder / file).exists():
                self.client.log_artifact(self.id, str(self.folder / file), place)

    def _log_numbers(self, numbers: Mapping[str, float], model_id: str | None = None) -> None:
        """Log single numbers, not curves; with ``model_id`` also for the page of the logged model."""
        moment = self.client.get_run(self.id).info.start_time  # logged twice, it is still one point
        self._log_points([(key, value, moment, 0, model_id) for key, value in numbers.items()])

    def _log_points(self, points: list[Any]) -> None:
        log_points(self.client, self.id, points)


def log_points(client: Any, run_id: str, points: list[Any]) -> None:
    """Log (key, value, time, step), with or without a model's id, in as few calls as MLflow allows."""
    from mlflow.entities import Metric

    metrics = [Metric(*point) for point in points]
    for first in range(0, len(metrics), METRICS_A_CALL):
        client.log_batch(run_id, metrics[first : first + METRICS_A_CALL])


class _Served(NamedTuple):
    """How a model is served: its script and room in src, an example of its input and words on it, its outputs."""

    script: str
    room: str
    example: Any
    input: str
    outputs: list[Any]


def _served(folder: Path) -> _Served:
    """How MLflow serves the model in ``folder``."""
    import numpy as np
    import pandas as pd
    from mlflow.types import ColSpec

    from pipeline.model import read_model
    from pipeline.tabular.model import TableModel, probability_names

    model = read_model(folder / paths.MODELS)
    if isinstance(model, TableModel):
        label = ColSpec("string" if model.classes else "double", model.label)
        outputs = [label, *(ColSpec("double", name) for name in probability_names(model.classes))]
        told = one_line(f"raw rows with the columns {', '.join(model.encoder.names)}", 1000)
        return _Served("tracking/served_table.py", "pipeline", model.encoder.example(), told, outputs)
    from .served_model import COLUMNS

    if model.features == "ink":
        example = pd.DataFrame({"ink": [[np.reshape(EXAMPLE, (8, 2)).tolist()]]})
        told = "a column ink: the strokes of a digit, lists of points x, y"
    else:
        example = pd.DataFrame([EXAMPLE], columns=COLUMNS)
        told = "raw pen coordinates, 0 to 100, as x1, y1, ..., x8, y8"
    probabilities = [ColSpec("double", f"p{digit}") for digit in range(10)]
    return _Served("tracking/served_model.py", "pen", example, told, [ColSpec("long", "digit"), *probabilities])


def _source_of(folder: Path, script: str) -> Path:
    """The code that made the model in ``folder``; for an older version the present code, which reads the same files."""
    source = folder / "src"
    return source if (source / script).exists() else Path(__file__).resolve().parents[1]


def _git_commit(folder: Path) -> str:
    """The commit that is checked out; empty without git, as in a source archive."""
    with contextlib.suppress(GitError):
        return git_text("rev-parse", "HEAD", folder=folder)
    return ""
