"""`make compare`: rank the finished runs, or show named runs side by side, and name the best one.

The best run is chosen by the validation rows, never by the test rows, as `make champion` does.
"""

import argparse
import difflib
import itertools
import math
import re
import shutil
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import yaml

from pipeline import paths
from pipeline.configure import with_own_names
from pipeline.errors import ParamsError, StageError
from pipeline.params import check_params
from runtime.git import GitError, git
from runtime.script import say
from tracking.contents import dvc_option, flat, read_params
from tracking.mlflow_run import SWEEP_BEST
from tracking.store import one_line_faults, open_store
from utils import one_line

from . import champion
from .experiments import experiments_of
from .ranking import (
    comparable,
    differing,
    finished_runs,
    merit,
    merit_shown,
    named,
    params_of,
    ranked,
    rankers,
    sweeps,
    unfinished_runs,
)

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import entities

MOST_COLUMNS = 4  # runs side by side; more are ranked
SHOWN = 10  # rows of the ranking
MOST_SWEEPS = 3
COLUMN = 30  # the most letters across that a value takes
COMMITTED = "as committed"
LEAST = 16  # letters across for the parameters of the ranking
LESS_IS_BETTER = re.compile("loss|error|rmse|mae|ece|brier|nll|seconds")  # of a metric's name
METRICS = (  # side by side
    *("final_val_accuracy", "val_balanced_accuracy", "val_log_loss", "val_rmse", "val_mae", "val_r2", "test_accuracy"),
    *("test_balanced_accuracy", "test_log_loss", "test_macro_f1", "test_ece", "test_rmse", "test_mae", "test_r2"),
    "n_parameters",
)
TESTED = ("test_balanced_accuracy", "test_rmse", "test_accuracy")  # the first that the runs have is in the ranking


def main() -> None:
    parser = argparse.ArgumentParser(description="Rank runs, or show a few side by side.")
    parser.add_argument("runs", nargs="*", help="names, or patterns such as 'grid-*'; without them, all runs")
    parser.add_argument("--metric", help="rank by this metric instead of the validation accuracy")
    asked = parser.parse_args()
    root, width = paths.project_root(), shutil.get_terminal_size((120, 24)).columns
    with one_line_faults():
        store = open_store()
        runs, unfinished = finished_runs(store), unfinished_runs(store)
        if len(runs) < 2:
            raise StageError(
                "there are fewer than two finished runs; "
                "`dvc exp run -S lr=0.005` makes one, `make sync` logs lost ones"
            )
        here = flat(read_params(root))
        experiments = {experiment.name for experiment in experiments_of(root)}
        chosen = list({run.info.run_id: run for name in asked.runs for run in named(runs, name)}.values())
        if len(chosen) == 1:
            chosen = [next(run for run in runs if run is not chosen[0]), *chosen]
        if chosen and len(chosen) <= MOST_COLUMNS and not asked.metric:
            lines = [*side_by_side(chosen, width), "", *advice(chosen, here, experiments)]
        else:
            pool = ranked(
                chosen or runs, here.get("own.name", "") if here.get("dataset") == "own" else here.get("dataset", "")
            )
            left_out = {"on other data or validation rows": len(chosen or runs) - len(pool)}
            left_out |= {} if chosen else unfinished
            lines = [*ranking(pool, committed_params(here), left_out, asked.metric, width), ""]
            lines += advice(pool, here, experiments)
            lines += [] if chosen else [f"  {one_line(champion.outlook(store.client, pool[0]), 1000)}"]
            lines += [] if chosen else of_sweeps(sweeps(store))
    for line in lines:
        say(line)


def of_sweeps(runs: Sequence["entities.Run"]) -> list[str]:
    """Lines that name the latest sweeps. Their trials have scores of cross-validation, which no other run has."""
    lines = ["", "Sweeps, scored by cross-validation:"] if runs else []
    for run in runs[:MOST_SWEEPS]:
        best, n = (run.data.metrics.get(name, math.nan) for name in ("best_score", "trials"))
        lines.append(f"  {one_line(f'{run.info.run_name}: {best:.5f}, the best of {n:.0f} trials', 120)}")
        lines.append(f"    {one_line(run.data.tags[SWEEP_BEST], 1000)}")
    return lines


def committed_params(here: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the present commit, as MLflow stores them; if there are none, the workspace's, ``here``."""
    try:
        content = git("cat-file", "--filters", f"HEAD:./{paths.PARAMS_FILE}", folder=paths.project_root())
        return flat(with_own_names(check_params(yaml.safe_load(content))).model_dump(mode="json"))
    except (GitError, ParamsError, yaml.YAMLError, TypeError):
        return dict(here)


def ranking(
    runs: Sequence["entities.Run"],
    base: Mapping[str, str],
    left_out: Mapping[str, int],
    metric: str | None = None,
    width: int = 120,
) -> list[str]:
    """Lines of text with one row per setting, the best first: mean ± standard deviation over its seeds.

    Args:
        runs: comparable runs, the best first.
        base: the committed parameters; a row names the parameters that differ from them.
        left_out: how many other runs there are, by the reason.
        metric: what ranks; by default accuracy, then loss, on the validation rows.
        width: of the terminal; a narrow one gets fewer figures and more lines.

    Raises:
        StageError: if no run has the metric.
    """
    known = sorted({name for run in runs for name in run.data.metrics})
    if metric and metric not in known:
        near = difflib.get_close_matches(metric, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise StageError(one_line(f"no run has the metric {metric}; {hint}"))
    validation = rankers(known)
    order = {metric: bool(LESS_IS_BETTER.search(metric))} if metric else validation
    tested = next((name for name in TESTED if name in known), "test_accuracy")
    columns = list(dict.fromkeys([*order, *validation, tested]))
    table = settings(runs, base, order, columns)
    shown = table[(table.index <= SHOWN) | (table["changes"] == COMMITTED)]
    rows = [["", "run", *columns, "differs from the committed parameters in"]]
    rows += [[str(row[0]), *row[1:]] for row in shown.drop(columns="best").itertuples(name=None)]
    while True:
        fixed = [min(COLUMN, max(map(len, column))) for column in [*zip(*rows, strict=True)][:-1]]
        rest = max(LEAST, width - sum(fixed) - 2 * len(fixed))
        if rest > LEAST or len(fixed) == 3:
            break
        for row in rows:
            del row[-2]  # the last of the figures
    lines = _aligned([line for row in rows for line in _folded(row, [*fixed, rest])])
    different = differing(runs)
    same = {key: value for key, value in params_of(runs[0]).items() if key not in {*different, "seed"}}
    common = [f"{key}={value}" for key, value in same.items() if base.get(key) != value]
    lines += [one_line(f"All of them have {', '.join(common)}.", 300)] * bool(common)
    lines += ["No run has the committed parameters."] * (COMMITTED not in set(table["changes"]))
    place = int(table.index[table["best"] == 0][0])
    if place != 1:
        best = f"{runs[0].info.run_name}, {merit_shown(runs[0])}"
        lines.append(one_line(f"The best single run is of row {place}: {best}.", 300))
    left_out = {"lower in rank": len(table) - len(shown), **left_out}
    if any(left_out.values()):
        lines.append(f"Left out: {', '.join(f'{n} {reason}' for reason, n in left_out.items() if n)}.")
    return lines


def settings(
    runs: Sequence["entities.Run"], base: Mapping[str, str], order: Mapping[str, bool], columns: list[str]
) -> "pd.DataFrame":
    """One row per setting, numbered from 1, the best first. Runs of one setting differ only in their seed.

    Args:
        order: the metrics that rank, and whether less is better.
        columns: the metrics to show.

    Returns:
        Text: ``run``, the name of the best run; each metric as mean ± standard deviation; ``changes``, the
        parameters that differ from ``base``. And ``best``, the best run's place in ``runs``.
    """
    import pandas as pd

    different, params = differing(runs), [params_of(run) for run in runs]
    figures = pd.DataFrame([run.data.metrics for run in runs], dtype=float).reindex(columns=columns)
    figures["seed"] = [found.pop("seed", "-") for found in params]
    figures["setting"] = [str(sorted(found.items())) for found in params]
    grouped = figures.drop_duplicates().groupby("setting", sort=False)  # a rerun of the same training counts once
    means, deviations, counts = grouped[columns].mean(), grouped[columns].std(), grouped.size()
    means = means.sort_values(list(order), ascending=list(order.values()), kind="stable")
    rows = []
    for setting in map(str, means.index):
        at = int((figures["setting"] == setting).argmax())  # the best of them, as runs are ranked
        changed = [f"{key}={value}" for key, value in params[at].items() if key in different and value != base.get(key)]
        as_committed = all(base.get(key) == value for key, value in params[at].items())
        mean, deviation, n = means.loc[setting].to_dict(), deviations.loc[setting].to_dict(), int(counts[setting])
        row = {"run": one_line(f"{runs[at].info.run_name}{f' (n={n})' if n > 1 else ''}", 100)}
        row |= {name: _mean(mean[name], deviation[name], n) for name in columns}
        row |= {"changes": COMMITTED if as_committed else one_line(", ".join(changed), 300)}
        rows.append(row | {"best": at})
    return pd.DataFrame(rows, index=range(1, len(rows) + 1))


def _mean(mean: float, deviation: float, n: int) -> str:
    if math.isnan(mean):
        return "-"
    return format(mean, _form(mean)) + (f" ± {format(deviation, _form(mean))}" if n > 1 else "")


def side_by_side(runs: Sequence["entities.Run"], width: int) -> list[str]:
    """``table``, or several tables below each other if one is too wide; each begins with the first run."""
    for n in range(len(runs) - 1, 0, -1):
        tables = [table([runs[0], *runs[at : at + n]]) for at in range(1, len(runs), n)]
        if n == 1 or all(len(line) <= width for lines in tables for line in lines):
            return [line for lines in tables for line in ["", *lines]][1:]
    return table(runs)


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
    return _aligned([line for row in rows for line in _folded([one_line(cell, 300) for cell in row])])


def _folded(row: Sequence[str], widths: Sequence[int] = ()) -> list[list[str]]:
    """Split a row into lines whose cells are at most so wide, or COLUMN: hidden_layers can be long."""
    cells = [textwrap.wrap(cell, most) or [""] for cell, most in zip(row, widths or [COLUMN] * len(row), strict=True)]
    return [list(line) for line in itertools.zip_longest(*cells, fillvalue="")]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in itertools.zip_longest(*rows, fillvalue="")]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def _with_delta(value: float | None, first: float | None, place: int) -> str:
    if value is None:
        return "-"
    form = _form(value)
    shown = format(value, form)
    return shown if place == 0 or first is None else f"{shown} ({format(value - first, '+' + form)})"


def _form(value: float) -> str:
    return ".0f" if math.isfinite(value) and value == int(value) and abs(value) > 1 else ".4f"


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
        return ["They do equally well on the rows held out for validation."]
    said = f"Best on the rows held out for validation: {best.info.run_name}"
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
    options = [dvc_option(key, value) for key, value in changed.items()]
    return " ".join(["dvc exp run", *options]) if changed else "dvc repro  (params.yaml has its parameters)"
