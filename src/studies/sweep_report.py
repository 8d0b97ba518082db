"""What a sweep shows: a line for each trial, the best in the end, pictures, and how to go on with the best."""

import io
import json
import math
import re
import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import paths
from pipeline.configure import load_checked
from pipeline.errors import ParamsError
from runtime.files import write_bytes
from tracking.contents import dvc_option
from utils import one_line

from .sweep_study import RESULT

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

BEST = 10  # rows of the last table
PICTURED = 4  # parameters in the contour, those that matter most
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
COLUMNS = f"{'trial':>5}  {'state':<8}  {'score':>15}  {'folds':>5}  {'s':>5}  "


def counts(study: "Study") -> dict[str, int]:
    """How many trials are complete, pruned, failed and running."""
    states = [STATES.get(trial.state.name, "running") for trial in study.get_trials(deepcopy=False)]
    return {name: states.count(name) for name in STATES.values()}


def complete(study: "Study") -> "list[FrozenTrial]":
    """The trials that were measured on all folds, the best first."""
    from optuna.trial import TrialState

    return sorted(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)), key=lambda trial: trial.value or 0.0)


def row_of(trial: "FrozenTrial") -> str:
    """A trial that has ended in a line."""
    known = trial.user_attrs.get(RESULT, {})
    score = "" if trial.value is None else f"{trial.value:.5f}"
    if trial.value is not None and "standard_error" in known:
        score += f" ± {known['standard_error']:.4f}" * math.isfinite(known["standard_error"])
    values = known.get("failed") or settings(known.get("values", {}))
    folds = len(known.get("by_fold", ()))
    begin = (
        f"{trial.number:>5}  {STATES[trial.state.name]:<8}  {score:>15}  {folds:>5}  {known.get('seconds', 0):>5.0f}  "
    )
    return begin + one_line(values, 300)


def settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={text}" for name, text in texts(values).items())


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Values in the form in which MLflow stores them, but not divided into options."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def ranking(study: "Study", trials: int = BEST) -> list[str]:
    """The best trials, with the standard error over folds, and those that are as good as the best within it."""
    best = complete(study)
    if not best:
        return ["No trial was measured on all folds."]
    lines = [
        "",
        f"The best of {len(best)} that were measured on all folds:",
        COLUMNS + "values",
        *map(row_of, best[:trials]),
    ]
    limit = (best[0].value or 0.0) + best[0].user_attrs[RESULT]["standard_error"]
    equal = [str(trial.number) for trial in best[1:] if (trial.value or 0.0) <= limit]
    if equal:
        lines.append(one_line(f"Within one standard error of the best: {', '.join(equal)}.", 300))
    return lines


def experiment(values: Mapping[str, Any]) -> str:
    """The command that makes a setting a DVC experiment."""
    return " ".join(["dvc exp run", *(dvc_option(*item) for item in texts(values).items())])


def measurement(values: Mapping[str, Any], folds: int, seeds: int, hold: str = "writers") -> str:
    """The command that gives a trial's score again."""
    changes = [f"{name}={text}" for name, text in texts(values).items()]
    short = " ".join(change.replace(", ", ",") for change in changes)
    quoted = f'"{short}"' if re.fullmatch(r"[\w.=,\[\] +-]+", short) else shlex.quote(shlex.join(changes))
    held_out = "HOLD=ways" if hold == "ways" else f"FOLDS={folds}"
    return f"make cv {held_out} SEEDS={seeds} S={quoted}"


def apply(values: Mapping[str, Any]) -> None:
    """Write values into params.yaml. Its comments stay, and it has the form in which DVC writes it."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    before = paths.PARAMS_FILE.read_bytes()
    known: Any = parse_yaml_for_update(before.decode(), str(paths.PARAMS_FILE))
    for name, value in values.items():
        *outer, key = name.split(".")
        place = known
        for step in outer:
            place = place[step]
        place[key] = value
    write_bytes(paths.PARAMS_FILE, dumps_yaml(known).encode())
    try:
        load_checked()
    except ParamsError:
        write_bytes(paths.PARAMS_FILE, before)
        raise


def pictures(study: "Study", folder: Path) -> list[Path]:
    """Draw history, importance, parallel coordinates and contour, as far as the trials suffice."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import optuna

    if len(complete(study)) < 2:
        return []
    drawn, of = [], optuna.visualization.matplotlib
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's, of its own interfaces
        try:
            names = list(optuna.importance.get_param_importances(study))[:PICTURED]
        except (ValueError, RuntimeError):  # all scores are equal
            names = []
        kinds = {
            "history": lambda: of.plot_optimization_history(study),
            "importance": lambda: of.plot_param_importances(study),
            "parallel": lambda: of.plot_parallel_coordinate(study, params=names or None),
            "contour": lambda: of.plot_contour(study, params=names or None),
        }
        for name, draw in kinds.items():
            if name != "history" and len(names) < (2 if name == "contour" else 1):
                continue
            figure = np.ravel(np.asarray(draw(), object))[0].figure
            figure.set_size_inches(12, 12 if name == "contour" else 6)
            content = io.BytesIO()
            figure.savefig(content, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
            plt.close(figure)
            drawn.append(folder / f"{name}.png")
            write_bytes(drawn[-1], content.getvalue())
    return drawn
