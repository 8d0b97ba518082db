"""A sweep in MLflow: a parent run, and a child for each trial. The client logs them when a trial has ended."""

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import StageError
from runtime.script import say

from .contents import dataset_of, flat
from .messages import now
from .mlflow_run import SWEEP, SWEEP_BEST, log_points
from .store import Store, check_artifacts, one_line_faults, open_store

TRIAL, PARENT = "sweep.trial", "mlflow.parentRunId"  # tags of a trial: its number, and the run of the study


class SweepRun:
    """The run of a study. If MLflow fails, a line says so, and the sweep goes on without it.

    Attributes:
        id: of the parent run; empty without MLflow.
    """

    def __init__(self, study: str, base: Mapping[str, Any], known: str = "") -> None:
        self.study, self.id = study, ""
        self._dataset = dataset_of(base)
        self._store: Store | None = None
        if os.environ.get("PENDIGITS_TRACKING") != "off":
            with self._one_line():
                self._open(known, base)

    def _open(self, known: str, base: Mapping[str, Any]) -> None:
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        store = open_store()
        check_artifacts(store)
        process = f"{socket.gethostname()}:{os.getpid()}"
        if known:
            try:
                stage = store.client.get_run(known).info.lifecycle_stage
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                stage = "deleted"
            if stage == "active":
                store.client.update_run(known, status="RUNNING")
                store.client.set_tag(known, "mlflow.process", process)
                self._store, self.id = store, known
                return
        tags = {SWEEP: self.study, "dataset": self._dataset, "mlflow.user": os.environ.get("USER", "")}
        tags |= {"mlflow.process": process, "mlflow.source.name": "make sweep"}
        created = store.client.create_run(store.experiment_id, now(), tags, self.study)
        self._store, self.id = store, created.info.run_id
        store.client.log_batch(self.id, params=[Param(*item) for item in flat(base).items()])

    def lacking(self, trials: Iterable[int]) -> list[int]:
        """Which of these trials, whose clients are gone, have no complete run. A half-written one is deleted."""
        lacking = set(trials)
        if self._store is None or not lacking:
            return []
        store, wanted = self._store, f"tags.`{PARENT}` = '{self.id}'"
        with self._one_line():
            for run in store.client.search_runs([store.experiment_id], wanted, max_results=50_000):
                number = int(run.data.tags[TRIAL])
                if run.info.status != "RUNNING":
                    lacking.discard(number)
                elif number in lacking:
                    store.client.delete_run(run.info.run_id)
        return sorted(lacking)

    def trial(
        self,
        number: int,
        params: Mapping[str, Any],
        state: str,
        numbers: Mapping[str, float],
        curves: Mapping[str, Sequence[float]],
        seconds: float,
    ) -> None:
        """Log a trial that has ended.

        Args:
            params: all parameters of a run.
            state: complete, pruned or failed.
            curves: values for the steps 1, 2, ...
        """
        if self._store is None:
            return
        from mlflow.entities import Param

        store, end = self._store, now()
        tags = {SWEEP: self.study, TRIAL: str(number), "sweep.state": state, PARENT: self.id}
        tags |= {"dataset": self._dataset, "mlflow.user": os.environ.get("USER", "")}
        begun = end - round(1000 * seconds)
        points = [(name, value, end, 0) for name, value in numbers.items()]
        points += [(name, value, end, step) for name, curve in curves.items() for step, value in enumerate(curve, 1)]
        with self._one_line():
            run = store.client.create_run(store.experiment_id, begun, tags, f"{self.study}-{number}").info.run_id
            store.client.log_batch(run, params=[Param(*item) for item in flat(params).items()])
            log_points(store.client, run, points)
            store.client.set_terminated(run, "FAILED" if state == "failed" else "FINISHED", end)

    def end(self, status: str, numbers: Mapping[str, float], command: str, files: Iterable[Path] = ()) -> None:
        """Close the parent run as FINISHED, FAILED or KILLED.

        Args:
            numbers: of the study.
            command: that makes its best trial a DVC experiment; empty if there is none.
            files: pictures.
        """
        if self._store is None:
            return
        with self._one_line():
            for name, value in numbers.items():
                self._store.client.log_metric(self.id, name, value)
            self._store.client.set_tag(self.id, SWEEP_BEST, command)
            for file in files:
                self._store.client.log_artifact(self.id, str(file))
            self._store.client.set_terminated(self.id, status)

    @contextlib.contextmanager
    def _one_line(self) -> Any:
        try:
            with one_line_faults():
                yield
        except (StageError, OSError) as error:
            say(f"the sweep goes on without MLflow: {error}")
            self._store = None
