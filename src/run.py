"""What `make run` does: the whole pipeline by `dvc repro`, then a table of what came out and what to try next.

Where the data set cannot be fetched, the same pipeline runs on the built-in one, and says so.
"""

import starting  # noqa: F401 (a Ctrl-C from here on is said in a line)

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

import stage
from checkpoint import CHECKPOINTS, release
from fetch import RAW, NoSourceError, fetch_pendigits
from mend import mend
from params import PARAMS_FILE, load_params
from sources import is_complete
from tracking import MODEL_FILES
from train import check_names

DVC_FOLDER = Path(".dvc")
LOCK = DVC_FOLDER / "tmp" / "run.lock"
KEPT_PARAMS = DVC_FOLDER / "tmp" / "params.yaml.kept"
METRICS = Path("metrics")
DATASET, SYNTHETIC = re.compile(rb"(?m)^dataset:[ \t]*[^\s#]+"), b"dataset: synthetic"
DVC = """
import os, signal, sys
usual = signal.getsignal(signal.SIGINT)
if usual is signal.default_int_handler:  # while libraries load, a second or more, it would be a traceback
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
import dvc.cli
signal.signal(signal.SIGINT, usual)
del sys.argv[0]
sys.exit(dvc.cli.main(sys.argv[1:]))
"""
FULL = 1_000_000  # bytes that a disk has left when nothing can be done on it


def main() -> None:
    if not DVC_FOLDER.is_dir():
        raise stage.StageError("there is no .dvc folder here; run from the top folder of the project")
    LOCK.parent.mkdir(exist_ok=True)
    with only_one():
        put_params_back()  # where an earlier run was killed in the middle of its fallback
        mend()
        params = load_params()
        check_names(params)
        tell_dvc_about_git()
        if params.dataset == "synthetic" or data_at_hand():
            worked = reproduce()
        else:
            with synthetic_params():
                worked = reproduce()
        release(CHECKPOINTS, map(Path, MODEL_FILES))  # also where evaluate did not run, as the model is as before
    say_summary(worked)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Let a second `make run` in the same folder wait for the first."""
    lock = FileLock(LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        stage.say("Another `make run` is at work in this folder; waiting for it to end.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def tell_dvc_about_git() -> None:
    """Without git, as in an unpacked source archive, DVC must be told that there is none."""
    no_git = not has_git()
    config = DVC_FOLDER / "config.local"
    told = config.exists() and "no_scm" in config.read_text(encoding="utf-8")
    if no_git and not told:
        dvc("config", "--local", "core.no_scm", "true")
    elif told and not no_git:
        dvc("config", "--local", "--unset", "core.no_scm")


def has_git() -> bool:
    """Whether this folder is the top of a git checkout."""
    try:
        inside = subprocess.run(["git", "rev-parse", "--show-prefix"], capture_output=True, text=True, check=False)  # noqa: S607 (git, with words of ours)
    except FileNotFoundError:  # there is no git at all
        return False
    return inside.returncode == 0 and not inside.stdout.strip()


def data_at_hand() -> bool:
    """Fetch the data set, or say where all can see it why that was not possible."""
    try:
        fetch_pendigits()
        os.environ.pop("PENDIGITS_MIRROR", None)  # it has served: the stage need not read it again
    except NoSourceError as error:
        stage.say(str(error))
        if is_complete(RAW / "pendigits"):
            os.environ.pop("PENDIGITS_MIRROR", None)
            stage.say("The data set is there from before, complete and verified: going on with it.")
            return True
        stage.say(_warning("THE DATA SET COULD NOT BE FETCHED: RUNNING ON THE BUILT-IN SYNTHETIC DIGITS INSTEAD"))
        return False
    return True


def _warning(text: str) -> str:
    return f"\n\033[1;33m{text}\033[0m\n" if sys.stdout.isatty() else f"\n*** {text} ***\n"


@contextlib.contextmanager
def synthetic_params() -> Iterator[None]:
    """params.yaml with `dataset: synthetic` for the time being; afterwards it is byte for byte what it was."""
    kept = PARAMS_FILE.read_bytes()
    if len(DATASET.findall(kept)) != 1:
        raise stage.StageError(f"{PARAMS_FILE}: write dataset on a line of its own, so that it can be replaced")
    stage.write_bytes(KEPT_PARAMS, kept)
    try:
        stage.write_bytes(PARAMS_FILE, DATASET.sub(SYNTHETIC, kept))
        yield
    finally:
        put_params_back()


def put_params_back() -> None:
    """Restore params.yaml from where `synthetic_params` keeps it; if it was edited since, the data set's name alone."""
    if not KEPT_PARAMS.exists():
        return
    kept = KEPT_PARAMS.read_bytes()
    before = DATASET.findall(kept)
    if len(before) != 1:
        KEPT_PARAMS.unlink()
        stage.say(f"{KEPT_PARAMS}, a copy of {PARAMS_FILE}, is damaged and removed; see whether dataset is as it was")
        return
    found = PARAMS_FILE.read_bytes() if PARAMS_FILE.exists() else kept
    if found in (kept, DATASET.sub(SYNTHETIC, kept)):
        KEPT_PARAMS.replace(PARAMS_FILE)
        return
    mended, times = re.subn(rb"(?m)^dataset:[ \t]*synthetic\b", lambda _: before[0], found)
    if times:
        stage.write_bytes(PARAMS_FILE, mended)
        stage.say(
            f"{PARAMS_FILE} was edited meanwhile; it has {before[0].decode()} again, and the rest as it was edited"
        )
    KEPT_PARAMS.unlink()


def reproduce() -> bool:
    """Run what is not up to date; returns whether there was anything."""
    status = dvc("status", "--json", capture=True)
    if json.loads(status or "{}") == {}:
        return False
    dvc("repro")
    return True


def dvc(*arguments: str, capture: bool = False) -> str:
    """Call the environment's DVC, whose stages run with the environment's python.

    Raises:
        StageError: if it fails.
        KeyboardInterrupt: if a stop was asked for meanwhile, when it has ended.
    """
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [sys.executable, "-c", DVC, "dvc", *arguments]
    stops: list[int] = []
    with (
        stage.stops_told(lambda number, frame: stops.append(number)),
        subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE if capture else None) as process,  # noqa: S603 (python, with words of ours)
    ):
        said = output_of(process, stops)
    if stops:
        raise KeyboardInterrupt
    if process.returncode:
        failed = f"`dvc {' '.join(arguments)}` failed"
        if shutil.disk_usage(".").free < FULL:  # of which DVC itself may say no more than: disk I/O error
            raise stage.StageError(f"{failed}: the disk is full; free some space and run again")
        raise stage.StageError(f"{failed}; what it says above tells why")
    return said


def output_of(process: "subprocess.Popen[str]", stops: list[int]) -> str:
    """What DVC says until it has ended, and its stage too if a stop is asked for meanwhile, which keeps its state.

    Ctrl-C reaches all that were started from the terminal. SIGTERM and SIGHUP may not, so they are passed on to the
    stage; to DVC itself, as Ctrl-C, if there is no stage. So is a second Ctrl-C: the first may have been for this
    process alone. A stage that DVC starts just then is told too. DVC may be gone before its stage, if SIGTERM or SIGHUP
    reaches both.
    """
    said, ended, requests, told = "", False, 0, set[int]()
    while not ended or (stops and stages_at_work()):
        if stops and (stops[0] != signal.SIGINT or len(stops) > 1):
            if len(stops) > requests:
                requests, told = len(stops), set()
            for found in stages_at_work():
                if found.pid not in told:
                    told.add(found.pid)
                    with contextlib.suppress(psutil.NoSuchProcess):
                        found.terminate()
            if not told:
                told.add(process.pid)
                process.send_signal(signal.SIGINT)
        if ended:
            time.sleep(0.1)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                said, _ = process.communicate(timeout=0.1)
                ended = True
    return said or ""


def stages_at_work() -> list[psutil.Process]:
    """The processes of this checkout's stage, but not MLflow's, which is in a session of its own."""
    found, here, session = [], Path.cwd().resolve(), os.getsid(0)
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError, KeyError):
            if pid == os.getpid() or os.getsid(pid) != session:
                continue
            process = psutil.Process(pid)
            environment = process.environ()
            if "DVC_STAGE" in environment and Path(environment["DVC_ROOT"]).resolve() == here:
                found.append(process)
    return found


def say_summary(worked: bool) -> None:
    """The table at the end, and what to try next."""
    training, test = (json.loads((METRICS / name).read_text()) for name in ("train.json", "evaluate.json"))
    stage.say("" if worked else "\nNothing to do: everything is up to date.\n")
    for name, value in summary(training, test):
        stage.say(f"  {name:<20} {value}")
    stage.say("\nNext:")
    for command, purpose in next_steps(training["dataset"], has_git()):
        stage.say(f"  {command:<66} {purpose}")


def summary(training: dict[str, Any], test: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of the table, from the metrics files."""
    return [
        ("data set", training["dataset"]),
        ("rows", f"{training['n_train']} training, {training['n_validation']} validation, {test['n_test']} test"),
        ("network", f"{training['n_parameters']:,} parameters, {training['epochs']} epochs"),
        ("validation accuracy", f"{training['val_accuracy']:.2%}  (writers held out from training)"),
        ("test accuracy", f"{test['test_accuracy']:.2%}  (people the network never saw)"),
        ("pictures", str(METRICS / "plots")),
    ]


def next_steps(dataset: str, git: bool) -> list[tuple[str, str]]:
    """What to try next, as commands that work here: experiments need git, and the data set that could be had."""
    on = " -S dataset=synthetic" if dataset == "synthetic" else ""
    experiment = f"source .venv/bin/activate && dvc exp run -S lr=0.005{on}"
    return [
        ("make ui", "look at this run in MLflow"),
        (experiment, "run an experiment")
        if git
        else ("git init && git add . && git commit -m begin", "experiments need git"),
        ("make test", "run the tests"),
    ]


if __name__ == "__main__":
    stage.run(main)
