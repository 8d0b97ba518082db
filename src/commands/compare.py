"""`make compare`: show runs side by side in the terminal, with the parameters that differ, and name the better one.

The better run is chosen by the validation rows, never by the test rows.
"""

import difflib
import itertools
import json
import math
import re
import shlex
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline import paths
from pipeline.errors import StageError
from runtime.script import say
from tracking.contents import flat, read_params
from tracking.store import Store, one_line_faults, open_store
from utils import one_line

from .experiments import experiments_of

if TYPE_CHECKING:
    from mlflow import entities


LATEST = 4  # how many are shown when none is named
COLUMN = 30  # the most letters across that a value takes
ROWS = ("dataset", "synthetic_rows_per_writer", "split_by", "validation_writers", "validation_fraction", "split_seed")
METRICS = {  # what is shown, and whether more is better
    "final_val_accuracy": True,
    "final_val_loss": False,
    "test_accuracy": True,
    "test_loss": False,
    "test_macro_f1": True,
    "test_ece": False,
    "n_parameters": None,
}


def main() -> None:
    with one_line_faults():
        runs = finished_runs(open_store())
    if len(runs) < 2:
        raise StageError(
            "there are fewer than two finished runs; `dvc exp run -S lr=0.005` makes one, `make sync` logs lost ones"
        )
    chosen = [named(runs, name) for name in sys.argv[1:]] or runs[:LATEST][::-1]
    if len(chosen) == 1:
        chosen = [next(run for run in runs if run is not chosen[0]), *chosen]
    root = paths.project_root()
    here = flat(read_params(root))
    experiments = {experiment.name for experiment in experiments_of(root)}
    for line in [*table(chosen), "", *advice(chosen, here, experiments)]:
        say(line)


def finished_runs(store: Store) -> list["entities.Run"]:
    """Every finished and evaluated run, newest first.

    Raises:
        StageError: if one has a metric that is not a number.
    """
    runs: list[entities.Run] = []
    token = None
    while token != "":
        page = store.client.search_runs(
            [store.experiment_id],
            "attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        runs += [run for run in page if "test_accuracy" in run.data.metrics]
        token = page.token or ""
    for run in runs:
        check_metrics(run)
    return runs


def check_metrics(run: "entities.Run") -> None:
    """Raise StageError if a metric is not a number: SQLite accepts any value, and other programs may write one."""
    for key, value in run.data.metrics.items():
        if not isinstance(value, int | float):
            raise StageError(
                f"MLflow's store has {one_line(value, 60)!r}, which is not a number, as {one_line(key, 60)} of "
                f"{one_line(run.info.run_name, 60)}; delete that run in `make ui`, and `make sync` logs it again"
            )


def named(runs: Sequence["entities.Run"], name: str) -> "entities.Run":
    """The newest run with this name: the name of a DVC experiment, the name of an MLflow run, or a run's id.

    Raises:
        StageError: if there is none.
    """
    known = [(run, {run.info.run_name, run.data.tags.get("dvc.exp_name", ""), run.info.run_id}) for run in runs]
    for run, names in known:
        if name in names:
            return run
    near = difflib.get_close_matches(name, [run.info.run_name for run in runs], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "`make ui` shows all;"
    raise StageError(f"no finished run is called {name}; {hint} `make sync` logs experiments that have no run")


def merit(run: "entities.Run") -> tuple[float, float]:
    """The rank of a run, more is better: accuracy on the validation rows; if that is equal, the negative loss."""
    metrics = run.data.metrics
    return metrics.get("final_val_accuracy", 0.0), -metrics.get("final_val_loss", float("inf"))


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


def table(runs: Sequence["entities.Run"]) -> list[str]:
    """Lines of text with one column per run: differing parameters, metrics, and differences from the first run."""
    rows = [["", *(run.info.run_name for run in runs)]]
    different = differing(runs)
    rows += [[key, *values] for key, values in different.items()]
    rows += [["(no parameter differs)"]] * (not different)
    rows += [[""]]
    for metric in METRICS:
        values = [run.data.metrics.get(metric) for run in runs]
        if len(set(values)) > 1 or metric.endswith("accuracy"):
            rows.append([metric, *(_with_delta(value, values[0], place) for place, value in enumerate(values))])
    rows = [line for row in rows for line in _folded([one_line(cell, 300) for cell in row])]
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(len(runs) + 1)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def _folded(row: Sequence[str]) -> list[list[str]]:
    """Split a row into lines whose cells are at most COLUMN wide: hidden_layers can be long."""
    cells = [textwrap.wrap(cell, COLUMN) or [""] for cell in row]
    return [list(line) for line in itertools.zip_longest(*cells, fillvalue="")]


def _with_delta(value: float | None, first: float | None, place: int) -> str:
    if value is None:
        return "-"
    form = ".0f" if math.isfinite(value) and value == int(value) and abs(value) > 1 else ".4f"
    shown = format(value, form)
    return shown if place == 0 or first is None else f"{shown} ({format(value - first, '+' + form)})"


def advice(runs: Sequence["entities.Run"], here: Mapping[str, str], experiments: Collection[str]) -> list[str]:
    """Lines that name the best run, and the command that brings it into the workspace.

    Args:
        here: the parameters of the workspace, as MLflow stores them.
        experiments: the names of DVC's experiments.
    """
    if not all(comparable(*pair) for pair in itertools.combinations(runs, 2)):
        return ["These runs were measured on different rows, so their figures cannot tell which is better."]
    best = max(runs, key=merit)
    if all(merit(run) == merit(best) for run in runs):
        return ["They do equally well on the people held out for validation."]
    said = f"Better on the people held out for validation: {best.info.run_name}"
    return [one_line(said, 120), f"  {one_line(command_for(best, here, experiments), 1000)}"]


def command_for(run: "entities.Run", here: Mapping[str, str], experiments: Collection[str]) -> str:
    """The command that brings a run's parameters and results into the workspace.

    If the run is not a DVC experiment, no commit is sure to hold its parameters. The command then sets them one by one,
    and the same code trains the same network.
    """
    name = run.data.tags.get("dvc.exp_name")
    if name in experiments:
        return f"dvc exp apply {name}"
    changed = {key: value for key, value in params_of(run).items() if here.get(key) != value}
    options = [f"-S {shlex.quote(f'{key}={_override(value)}')}" for key, value in changed.items()]
    return " ".join(["dvc exp run", *options]) if changed else "dvc repro  (params.yaml has its parameters)"


def _override(text: str) -> str:
    """Turn a value as MLflow stores it into the syntax of DVC's options: JSON, but keys of mappings have no quotes."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return _in_grammar(value) if isinstance(value, list) else text


def _in_grammar(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_in_grammar, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_in_grammar(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)
