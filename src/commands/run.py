"""`make run`: run the whole pipeline with `dvc repro`, then print a table of the results and what to try next.

If the data set cannot be fetched, the same pipeline runs on the built-in synthetic one, and prints a warning.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline import paths
from pipeline.errors import StageError
from runtime.files import write_bytes
from runtime.git import has_git, lacks_history
from runtime.repair import repair
from runtime.script import say

from .dvc_process import dvc

DVC_FOLDER = Path(".dvc")
LOCK = DVC_FOLDER / "tmp" / "run.lock"
KEPT_PARAMS = DVC_FOLDER / "tmp" / "params.yaml.kept"
INTERVALS = {  # of the test accuracy, and what they tell
    "test_accuracy": "other digits by the same people",
    "test_accuracy_people": "other people",
}
DATASET, SYNTHETIC = re.compile(rb"(?m)^dataset:[ \t]*[^\s#]+"), b"dataset: synthetic"


def main() -> None:
    """Run the stages that are not up to date, and print the results."""
    if not DVC_FOLDER.is_dir():
        raise StageError("there is no .dvc folder here; run from the top folder of the project")
    LOCK.parent.mkdir(exist_ok=True)
    with only_one():
        put_params_back()  # where an earlier run was killed in the middle of its fallback
        repair()
        tell_dvc_about_git()
        if has_git() and (lacking := lacks_history()):
            kind, command = lacking
            say(f"This clone is {kind}, and DVC loses queued and temporary experiments; to fix it, run: {command}")
        worked = not is_up_to_date() and check_and_reproduce()
    say_summary(worked)


def is_up_to_date() -> bool:
    """Whether DVC has nothing to do; False where it cannot tell, as with a params.yaml that is no YAML."""
    try:
        return json.loads(dvc("status", "--json", capture=True) or "{}") == {}
    except StageError:
        return False


def check_and_reproduce() -> bool:
    """Check parameters and data, and run the stages that are not up to date; returns whether there were any."""
    from pipeline.configure import load_and_configure  # here: a run with nothing to do would wait for its import

    params, _ = load_and_configure()
    if params.dataset != "pendigits" or data_at_hand():
        dvc("repro")
        return True
    with synthetic_params():
        if is_up_to_date():
            return False
        dvc("repro")
        return True


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Make a second `make run` in the same folder wait for the first."""
    lock = FileLock(LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("Another `make run` is at work in this folder; waiting for it to end.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def tell_dvc_about_git() -> None:
    """Configure DVC to work without git if there is no repository, for instance in an unpacked source archive."""
    config = DVC_FOLDER / "config.local"
    told = config.exists() and "no_scm" in config.read_text(encoding="utf-8")
    if not told and not has_git():
        dvc("config", "--local", "core.no_scm", "true")
    elif told and has_git():
        dvc("config", "--local", "--unset", "core.no_scm")


def data_at_hand() -> bool:
    """Fetch the data set; returns whether it is there. If it cannot be fetched, an earlier copy serves, too."""
    from data_sets.download import is_complete
    from fetch import NoSourceError, fetch_pendigits

    try:
        fetch_pendigits()
        os.environ.pop("PENDIGITS_MIRROR", None)  # it has served: the stage need not read it again
    except NoSourceError as error:
        say(str(error))
        if is_complete(paths.RAW / "pendigits"):
            os.environ.pop("PENDIGITS_MIRROR", None)
            say("Using the data set from an earlier run; it is complete and verified.")
            return True
        say(_warning("THE DATA SET COULD NOT BE FETCHED: RUNNING ON THE BUILT-IN SYNTHETIC DIGITS INSTEAD"))
        return False
    return True


def _warning(text: str) -> str:
    return f"\n\033[1;33m{text}\033[0m\n" if sys.stdout.isatty() else f"\n*** {text} ***\n"


@contextlib.contextmanager
def synthetic_params() -> Iterator[None]:
    """Set `dataset: synthetic` in params.yaml during the block; afterwards the file has the same bytes as before."""
    kept = paths.PARAMS_FILE.read_bytes()
    if len(DATASET.findall(kept)) != 1:
        raise StageError(f"{paths.PARAMS_FILE}: write dataset on a line of its own, so that it can be replaced")
    write_bytes(KEPT_PARAMS, kept)
    try:
        write_bytes(paths.PARAMS_FILE, DATASET.sub(SYNTHETIC, kept))
        yield
    finally:
        put_params_back()


def put_params_back() -> None:
    """Restore params.yaml from the copy that `synthetic_params` keeps, unless it was edited meanwhile."""
    if not KEPT_PARAMS.exists():
        return
    kept = KEPT_PARAMS.read_bytes()
    if paths.PARAMS_FILE.exists() and paths.PARAMS_FILE.read_bytes() not in (kept, DATASET.sub(SYNTHETIC, kept)):
        say(f"{paths.PARAMS_FILE} was edited during the run and stays as it is; check the value of dataset")
        KEPT_PARAMS.unlink()
    else:
        KEPT_PARAMS.replace(paths.PARAMS_FILE)


def say_summary(worked: bool) -> None:
    """Print the table of results, and what to try next."""
    training, test = (json.loads(path.read_text()) for path in (paths.TRAIN_METRICS, paths.EVALUATE_METRICS))
    say("" if worked else "\nNothing to do: everything is up to date.\n")
    for name, value in summary(training, test):
        say(f"  {name:<20} {value}")
    say("\nNext:")
    for command, purpose in next_steps(training["dataset"], has_git()):
        say(f"  {command:<66} {purpose}")


def summary(training: dict[str, Any], test: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of the table, from the metrics files."""
    best = f", with the weights of epoch {training['best_epoch']}" if "best_epoch" in training else ""
    return [
        ("data set", training["dataset"]),
        ("rows", f"{training['n_train']:,} training, {training['n_validation']:,} validation, {test['n_test']:,} test"),
        ("network", f"{training['n_parameters']:,} parameters, {training['epochs']} epochs{best}"),
        *measured(training, test),
        ("pictures", str(paths.FIGURES)),
    ]


def measured(training: dict[str, Any], test: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures that count: of a table of the user's, those that rank its runs."""
    lines = []
    for part, key, of in (("validation", "val", training), ("test", "test", test)):
        if "val_rmse" in training:
            lines.append((part, f"RMSE {of[f'{key}_rmse']:.6g}, R2 {of[f'{key}_r2']:.4f}"))
            continue
        kind = "balanced_accuracy" if "val_balanced_accuracy" in training else "accuracy"
        whom = "held out" if kind != "accuracy" or part == "validation" else "people never seen"
        shown = f"{kind.replace('_', ' ')} {of[f'{key}_{kind}']:.2%}, log-loss {of[f'{key}_log_loss']:.4f}  ({whom})"
        lines.append((part, shown))
    if training["n_refit"]:
        long = f" for {training['best_epoch']} epochs" if "best_epoch" in training else ""
        said = f"trained anew{long} on all {training['n_refit']:,} training and validation rows; this network is tested"
        lines.insert(1, ("refit", said))
    if "temperature" in training:
        said = f"of the probabilities after calibration, temperature {training['temperature']:.3g}; no label smoothing"
        lines.append(("log-loss", said))
    bounds = [interval(test, *each) for each in INTERVALS.items() if f"{each[0]}_low" in test]
    return lines + [("95 % interval", "; ".join(bounds))] * ("val_accuracy" in training and lines[0][1][:3] == "acc")


def interval(test: dict[str, Any], key: str, of: str) -> str:
    """An interval in words, from metrics/evaluate.json."""
    return f"{test[f'{key}_low']:.2%} to {test[f'{key}_high']:.2%} for {of}"


def next_steps(dataset: str, git: bool) -> list[tuple[str, str]]:
    """Commands to try next. They fit this checkout: experiments need git, and the data set that was available."""
    on = " -S dataset=synthetic" if dataset == "synthetic" else ""
    of_digits = dataset in ("pendigits", "synthetic")
    experiment = f"source .venv/bin/activate && dvc exp run -S lr=0.005{on}"
    return [
        ("make ui", "look at this run in MLflow"),
        (experiment, "run an experiment")
        if git
        else ("git init && git add . && git commit -m begin", "experiments need git"),
        ("make test", "run the tests") if of_digits else ("make serve", "serve predictions"),
    ]
