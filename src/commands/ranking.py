"""Which runs are compared with each other, and which is better: `make compare` and `make champion` both decide it here.

The better run is chosen by the validation rows, never by the test rows.
"""

import difflib
import fnmatch
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.errors import StageError
from tracking.mlflow_run import SWEEP, SWEEP_BEST
from tracking.store import Store
from utils import one_line

if TYPE_CHECKING:
    from mlflow import entities

ROWS = ("dataset", "synthetic_rows_per_writer", "split_by", "validation_writers", "validation_fraction", "split_seed")
UNFINISHED = {"RUNNING": "running", "FAILED": "failed", "KILLED": "stopped"}


def finished_runs(store: Store) -> list["entities.Run"]:
    """Every finished and evaluated run, newest first.

    Raises:
        StageError: if one has a metric that is not a number.
    """
    tested = {"test_accuracy", "test_rmse"}
    runs = [run for run in _runs_with_status(store, "FINISHED") if tested & run.data.metrics.keys()]
    for run in runs:
        check_metrics(run)
    return runs


def unfinished_runs(store: Store) -> Counter[str]:
    """The number of runs of the pipeline that are running, failed or stopped."""
    found = {name: _runs_with_status(store, status) for status, name in UNFINISHED.items()}
    return Counter({name: sum(SWEEP not in run.data.tags for run in runs) for name, runs in found.items()})


def sweeps(store: Store) -> list["entities.Run"]:
    """The run of each study of `make sweep` that has a best trial, newest first."""
    wanted = f"tags.`{SWEEP_BEST}` LIKE 'dvc %'"
    return list(store.client.search_runs([store.experiment_id], wanted, order_by=["attributes.start_time DESC"]))


def _runs_with_status(store: Store, status: str) -> Iterator["entities.Run"]:
    token = None
    while token != "":
        page = store.client.search_runs(
            [store.experiment_id],
            f"attributes.status = '{status}'",
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        token = page.token or ""


def check_metrics(run: "entities.Run") -> None:
    """Raise StageError if a metric is not a number: SQLite accepts any value, and other programs may write one."""
    for key, value in run.data.metrics.items():
        if not isinstance(value, int | float):
            raise StageError(
                f"MLflow's store has {one_line(value, 60)!r}, which is not a number, as {one_line(key, 60)} of "
                f"{one_line(run.info.run_name, 60)}; delete that run in `make ui`, and `make sync` logs it again"
            )


def named(runs: Sequence["entities.Run"], name: str) -> list["entities.Run"]:
    """The newest run with this name, or all runs that match a pattern such as ``grid-*``, newest first.

    Args:
        name: the name of a DVC experiment, the name of an MLflow run, or a run's id.

    Raises:
        StageError: if there is none.
    """
    known = [(run, {run.info.run_name, run.data.tags.get("dvc.exp_name", ""), run.info.run_id}) for run in runs]
    found = [run for run, names in known if name in names][:1]
    found = found or [run for run, names in known if fnmatch.filter(names, name)]
    if found:
        return found
    near = difflib.get_close_matches(name, [run.info.run_name for run in runs], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "`make ui` shows all;"
    raise StageError(f"no finished run is called {name}; {hint} `make sync` logs experiments that have no run")


def rankers(metrics: Iterable[str]) -> dict[str, bool]:
    """The metrics on the validation rows that rank runs, by what runs have, and whether less is better.

    A regression is ranked by its errors. On a table of the user's, whose classes may be of unequal size, balanced
    accuracy and the plain log-loss rank.
    """
    known = set(metrics)
    if "val_rmse" in known:
        return {"val_rmse": True, "val_mae": True}
    if "val_balanced_accuracy" in known:
        return {"val_balanced_accuracy": False, "val_log_loss": True}
    return {"final_val_accuracy": False, "val_log_loss": True}


def merit(run: "entities.Run") -> tuple[float, float]:
    """The rank of a run, more is better: accuracy on the validation rows; if that is equal, the negative log-loss.

    That is the plain cross-entropy: val_loss depends on the label smoothing. Runs of older versions lack it. Of a
    regression, the negative errors count.
    """
    first, second = (
        (-1 if less else 1) * run.data.metrics.get(name, math.nan) for name, less in rankers(run.data.metrics).items()
    )
    worst = -math.inf if "val_rmse" in run.data.metrics else 0.0
    return worst if math.isnan(first) else first, -math.inf if math.isnan(second) else second


def merit_shown(run: "entities.Run") -> str:
    first, second = merit(run)
    if "val_rmse" in run.data.metrics:
        return f"validation RMSE {-first:.6g}, MAE {-second:.6g}"
    kind = "balanced validation accuracy" if "val_balanced_accuracy" in run.data.metrics else "validation accuracy"
    return f"{kind} {first:.2%}" + f", log-loss {-second:.4f}" * math.isfinite(second)


def ranked(runs: Sequence["entities.Run"], dataset: str) -> list["entities.Run"]:
    """The runs on the same rows as the newest run on ``dataset``, or as the newest of all; the best first.

    Of runs that do equally well, the newest comes first.

    Args:
        runs: finished runs, newest first.

    Raises:
        StageError: if there is none.
    """
    if not runs:
        raise StageError("there is no finished run yet; `make run` makes one, `make sync` logs lost ones")
    newest = next((run for run in runs if run.data.tags.get("dataset") == dataset), runs[0])
    return sorted((run for run in runs if run is newest or comparable(run, newest)), key=merit, reverse=True)


def comparable(first: "entities.Run", second: "entities.Run") -> bool:
    """Whether both runs used the same digits for training and for measuring; their features may differ.

    If both runs have the same features and the same kind of checksums, the checksums of their data decide. (An older
    version computed checksums of the files' bytes, not of the arrays.) Otherwise the parameters that select the rows
    decide.
    """
    ours, theirs = first.data, second.data
    kinds = {(data.tags.get("checksums"), data.params.get("features")) for data in (ours, theirs)}
    checksums = [data.tags.get("data.sha256") for data in (ours, theirs)]
    if len(kinds) == 1 and all(checksums):
        return checksums[0] == checksums[1]
    return all(key in ours.params and ours.params[key] == theirs.params.get(key) for key in ROWS)


def params_of(run: "entities.Run") -> dict[str, str]:
    """A run's parameters under their present names: version 0.1 wrote augment_bend for augment.bend."""
    return {re.sub("^augment_", "augment.", key): value for key, value in run.data.params.items()}


def differing(runs: Sequence["entities.Run"]) -> dict[str, list[str]]:
    """The parameters that differ between runs, with their value in every run; "-" if a run lacks the parameter."""
    params = [params_of(run) for run in runs]
    values = {key: [found.get(key, "-") for found in params] for key in dict.fromkeys(itertools.chain(*params))}
    return {key: row for key, row in values.items() if len(set(row)) > 1}
