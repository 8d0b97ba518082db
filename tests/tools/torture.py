"""Break the pipeline on purpose, in copies of the project, and see what is lost: `make torture`.

Each try lets a run meet a fault, takes the fault away and runs again, as a user would. A try has *lost* something if
that second run fails, if a file of the project or an edit is gone, if a training did not go on, or if MLflow does not
show every result once, after `make sync` and `make doctor CLOSE=1`, or still says RUNNING. It is *wrong* if a file is
not, byte for byte, what a run gives that nothing happened to, if something is left over, or if the user got a
traceback, nothing at all until the limit, or a message other than the one that belongs to the fault.

The copies work on the built-in digits, with a small network, and write a checkpoint every tenth of a second. Moments
are drawn from a seed. A fault is one function, which makes one try; `FAULTS` lists them.
"""

import argparse
import contextlib
import hashlib
import http.server
import os
import platform
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "reliability.md"
SHRUNK: dict[str, Any] = {"dataset": "synthetic", "synthetic_rows_per_writer": 20, "hidden_layers": [24], "epochs": 150}
LIMIT = 240.0  # seconds after which a run counts as hanging
AT_ONCE = 2  # tries
HUNG = "nothing: it hung"
DVC = [sys.executable, "-m", "dvc"]
MAKE_RUN = [sys.executable, "src/run.py"]  # what `make run` does
EXPERIMENT = ["exp", "run", "-S", "seed=1"]


class Try(NamedTuple):
    """What one try of a fault came to."""

    lost: str = ""  # what is gone; empty: nothing
    wrong: str = ""  # what is not as it should be; empty: nothing
    told: str = ""  # to the user
    where: str = ""  # at work at that moment
    skipped: str = ""  # why it could not be made


# --- Copies of the project, and runs in them -------------------------------------------------------------------------


class Ground:
    """Where the copies are made: a project that is ready to run, and what a run of it must give."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._one_at_a_time = folder, threading.Lock()
        self.pristine = folder / "pristine"
        listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
        for name in listed.splitlines():
            made = name.startswith(("metrics/", "docs/", "dvc.lock", "tests/")) and name != "metrics/.gitignore"
            if (ROOT / name).is_file() and not made:
                (self.pristine / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.pristine / name)
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        (self.pristine / "params.yaml").write_text(yaml.safe_dump(params | SHRUNK))
        module = self.pristine / "src/checkpoint.py"
        module.write_text(re.sub(r"(?m)^EVERY = [\d.]+", "EVERY = 0.1", module.read_text()))
        git(self.pristine, "init", "-q")
        commit(self.pristine)
        start_of_all = time.monotonic()
        both = [self.copy(f"whole{number}") for number in range(AT_ONCE)]
        running = [start(place, [*DVC, "repro"]) for place in both]
        said = [run.said() for run in running]
        self.seconds = time.monotonic() - start_of_all  # that a run takes beside another
        if any(run.process.returncode for run in running):
            raise SystemExit(f"the run without any fault failed:\n{said[0]}")
        self.whole, self.expected = both[0], results(both[0])
        if results(both[1]) != self.expected:
            raise SystemExit("two runs without any fault gave different bytes")
        commit(self.whole)

    def copy(self, name: str, of: Path | None = None) -> Path:
        """A copy of the project that has not run yet, or of another folder."""
        return Path(shutil.copytree(of or self.pristine, self.folder / name, symlinks=True, dirs_exist_ok=True))

    @property
    def experiment(self) -> dict[str, Any]:
        """What the experiment that the faults run gives if nothing happens to it."""
        place = self.folder / "experiment"
        with self._one_at_a_time:
            if not place.exists():
                run(self.copy(place.name, self.whole), [*DVC, *EXPERIMENT])
        return results(place)

    @property
    def with_experiment(self) -> Path:
        """A project that has an experiment, which MLflow shows."""
        place = self.folder / "logged"
        with self._one_at_a_time:
            if not place.exists():
                run(self.copy(place.name, self.whole), [*DVC, *EXPERIMENT, "--temp"], PENDIGITS_TRACKING="")
        return place

    def again(self, folder: Path, said: str, tracking: str = "off", *, once: bool = True) -> tuple[Try, str]:
        """`make run`, without the fault: what that shows, and what it says."""
        code, then = run(folder, MAKE_RUN, PENDIGITS_TRACKING=tracking)
        lost = f"`make run` fails: {then[-300:]}" if code else ""
        if tracking != "off":
            lost = lost or not_in_mlflow(folder, 1, once=once)
        wrong = "" if code else differing(results(folder), self.expected) or left_over(folder)
        return Try(lost, wrong or bad(said + then), told(said)), then


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t")


class Running:
    """A command at work in a session of its own; what it and its children say goes to a file."""

    def __init__(self, folder: Path, command: list[str], more: Mapping[str, str]) -> None:
        ours = ("DVC_", "MLFLOW_", "PENDIGITS_")
        found = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found.get('PATH', '')}"
        found |= {"PENDIGITS_TRACKING": "off", "PYTHONPATH": "", "DVC_SITE_CACHE_DIR": f"{folder}.dvc"}
        found |= {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t"}
        found |= {"GIT_COMMITTER_EMAIL": "t@t", **more}
        self._file = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, cwd=folder, env=found, stdout=self._file, stderr=subprocess.STDOUT, start_new_session=True
        )

    def said(self) -> str:
        """Wait for its end; returns what it said. What hangs is killed, and says so."""
        ended = wait_until(lambda: self.process.poll() is not None)
        if not ended:
            self.kill()
        self._file.seek(0)
        return self._file.read() + ("" if ended else f"\n{HUNG} for {LIMIT:.0f} s\n")

    def kill(self) -> None:
        """SIGKILL to it and all its children, those in other sessions too."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stages(self) -> list[psutil.Process]:
        """The scripts of the pipeline that are at work below it."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if any(word.startswith("src/") for word in child.cmdline()):
                        found.append(child)
        return found


def start(folder: Path, command: list[str], **more: str) -> Running:
    return Running(folder, command, more)


def run(folder: Path, command: list[str], **more: str) -> tuple[int, str]:
    running = start(folder, command, **more)
    said = running.said()
    return running.process.returncode, said


def results(folder: Path) -> dict[str, Any]:
    """The checksum of each file in the project, but for git's, DVC's and MLflow's own, and what dvc.lock says."""
    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.is_file() and not name.startswith((".git/", ".dvc/", "mlartifacts/", "mlflow.db")):
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    found = {name: known for name, known in found.items() if "__pycache__" not in name}
    if "dvc.lock" in found:
        found["dvc.lock"] = yaml.safe_load((folder / "dvc.lock").read_text())
    return found


def differing(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    names = [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]
    return f"other bytes: {', '.join(names)}" if names else ""


def left_over(folder: Path) -> str:
    """What should be gone after a run that ended well."""
    names = [path for path in (".git/index.lock", ".dvc/tmp/params.yaml.kept") if (folder / path).exists()]
    names += [str(path.relative_to(folder)) for path in folder.glob(".dvc/tmp/checkpoints/*")]
    running = folder / ".dvc/tmp/rwlock"
    if running.exists() and "pid" in running.read_text():
        names.append(".dvc/tmp/rwlock")
    return f"left over: {', '.join(names)}" if names else ""


def bad(said: str) -> str:
    """What nobody should be told."""
    return next((word for word in ("Traceback", HUNG) if word in said), "")


def not_in_mlflow(folder: Path, wanted: int, *, once: bool = True, database: Path | None = None, **more: str) -> str:
    """What is wrong with the runs in MLflow after `make sync` and `make doctor CLOSE=1`; empty if nothing is.

    Args:
        wanted: how many results it must show, each in one whole run if ``once``.
        database: of the server that ``more`` names.
    """
    for command in ("src/sync.py",), ("src/doctor.py", "close"):
        code, said = run(folder, [sys.executable, *command], **{"PENDIGITS_TRACKING": "", **more})
        if code or bad(said):
            return f"{command[0]} fails: {said[-300:]}"
    whole, still = whole_runs(database or folder / "mlflow.db"), runs(database or folder / "mlflow.db", "RUNNING")
    if len(set(whole)) != wanted or (once and len(whole) != wanted):
        return f"{len(whole)} whole runs of {len(set(whole))} models in MLflow instead of {wanted}"
    return f"{still} runs say RUNNING" if still else ""


def runs(database: Path, status: str) -> int:
    """How many runs in MLflow's database are in a state; without a database, none."""
    if not database.exists():
        return 0
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as store:
        return int(
            store.execute(
                "select count(*) from runs where status = ? and lifecycle_stage = 'active'", [status]
            ).fetchone()[0]
        )


def whole_runs(database: Path) -> list[str]:
    """Of each run in MLflow's database that has all of a result, the model."""
    query = "select run_uuid, key, value from tags join runs using (run_uuid) where status = ? and lifecycle_stage = ?"
    held: dict[str, dict[str, str]] = {}
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as store:
        for run_id, key, value in store.execute(query, ["FINISHED", "active"]):
            held.setdefault(run_id, {})[key] = value
    parts = {"model.sha256", "evaluate.sha256", "figures.sha256"}
    return [tags["model.sha256"] for tags in held.values() if parts <= tags.keys()]


_NEWS = re.compile(r"warning|cannot|another|MLflow: not|no permission|disk|full|read-only|No space", re.IGNORECASE)


def told(said: str) -> str:
    """The line that told the user what was wrong: the one before DVC says that a stage failed, or the last of note."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if lines and lines[-1].startswith("`dvc repro` failed: "):  # `make run`, where DVC does not say why
        return lines[-1]
    failed = next((i for i, line in enumerate(lines) if line.startswith("ERROR: failed to reproduce")), 0)
    worth = [lines[failed - 1] if "exited with" in lines[failed] else lines[failed]] if failed else []
    worth = worth or [line for line in lines if _NEWS.search(line)][-1:]
    return "".join(worth)


def wait_until(happened: Callable[[], object], seconds: float = LIMIT, every: float = 0.02) -> bool:
    """Wait, but no longer than so many seconds of a machine that has little else to do and stops nobody."""
    waited = 0.0
    while not happened():
        if waited > seconds:
            return False
        before = time.monotonic()
        time.sleep(every)
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        waited += min(time.monotonic() - before, every + 1) / busy
    return True


# --- Faults ----------------------------------------------------------------------------------------------------------


def killed(ground: Ground, name: str, turn: int, chance: random.Random, tracking: str = "off") -> Try:
    """kill -9 of everything, of the running stage alone, or of DVC alone, whose stage then works on."""
    share, kind = chance.random(), ("all", "stage", "dvc")[turn % 3]
    while True:
        folder = ground.copy(f"{name}-{share:.3f}")
        began = time.monotonic()
        running = start(folder, [*DVC, "repro"], PENDIGITS_TRACKING=tracking)
        time.sleep(share * ground.seconds)
        stages = running.stages() if kind != "stage" or wait_until(running.stages, 5) else []
        if running.process.poll() is None and (stages or kind != "stage"):
            break
        running.kill()
        ground.seconds = min(ground.seconds, time.monotonic() - began)  # it had ended
        share *= 0.9
    where = next((Path(word).stem for stage in stages for word in words(stage) if word in SCRIPTS), "DVC")
    if kind == "all":
        running.kill()
    for victim in stages if kind == "stage" else [running.process] if kind == "dvc" else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    wait_until(lambda: running.process.poll() is not None)
    return went_on_after(ground, folder, running, tracking, once=kind != "dvc")._replace(where=where)


def killed_when_done(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """kill -9 of everything, or of DVC alone, when the training is done and DVC is about to record it."""
    folder, kind = ground.copy(name), ("all", "dvc")[turn % 2]
    running = start(folder, [*DVC, "repro"])
    wait_until(lambda: done(folder), every=0.005)
    time.sleep(chance.uniform(0, 0.5))
    if kind == "all":
        running.kill()
    else:
        running.process.kill()
    running.process.wait()
    return went_on_after(ground, folder, running, "off")._replace(where={"dvc": "DVC alone"}.get(kind, kind))


def went_on_after(ground: Ground, folder: Path, running: Running, tracking: str, *, once: bool = True) -> Try:
    """`make run` after a kill: a training that kept its state, and that DVC has not recorded, must go on."""
    lock = folder / "dvc.lock"
    due = kept(folder) and not (lock.exists() and "\n  train:" in lock.read_text())
    outcome, then = ground.again(folder, "", tracking, once=once)
    running.kill()
    lost = outcome.lost or ("the training did not go on" if due and not went_on(then) else "")
    return outcome._replace(lost=lost, told=went_on(then) or "nothing; the next run makes what is missing")


def edited_meanwhile(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """DVC alone is killed, and params.yaml edited and run again while its training works on; later it is as before."""
    expected, folder = ground.experiment, ground.copy(name)
    running, params = start(folder, [*DVC, "repro"]), folder / "params.yaml"
    wait_until(lambda: kept(folder))
    time.sleep(chance.random())
    running.process.kill()
    before = params.read_text()
    params.write_text(before.replace("\nseed: 0\n", "\nseed: 1\n"))
    code, then = run(folder, MAKE_RUN)
    wait_until(lambda: not running.stages() and not of_stage(folder))
    found = {key: known for key, known in results(folder).items() if key != "params.yaml"}
    wrong = "" if code else differing(found, {key: expected[key] for key in expected if key != "params.yaml"})
    said = running.said()
    params.write_text(before)
    outcome, after = ground.again(folder, said + then)
    lost = outcome.lost or (f"`make run` fails: {then[-300:]}" if code else "")
    lost = lost or ("" if went_on(after) else "the training did not go on")
    heard = re.search("(?m)^parameters, data or code were changed.*", said)
    return outcome._replace(lost=lost, wrong=outcome.wrong or wrong, told=heard.group() if heard else "")


def of_stage(folder: Path) -> list[psutil.Process]:
    """The training that is at work for a copy of the project."""
    return [process for process in of_folder(str(folder)) if "src/train.py" in words(process)]


def killed_in_fallback(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """kill -9 of `make run` and all below it where no source of the data set answers, so params.yaml is changed."""
    folder = ground.copy(name)
    params = (folder / "params.yaml").read_text().replace("dataset: synthetic", "dataset: pendigits")
    (folder / "params.yaml").write_text(params)
    nowhere = {"https_proxy": "http://127.0.0.1:9", "PENDIGITS_MIRROR": str(folder / "nowhere")}
    running = start(folder, MAKE_RUN, **nowhere)
    time.sleep(chance.uniform(0, ground.seconds))
    running.kill()
    code, then = run(folder, MAKE_RUN, **nowhere)
    edited = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(edited.replace("dataset: pendigits", "dataset: synthetic"))
    lost = f"`make run` fails: {then[-300:]}" if code else "" if edited == params else "an edit"
    said = re.search("THE DATA SET COULD NOT BE FETCHED.*", then)
    wrong = differing(results(folder), ground.expected) or left_over(folder) or bad(then)
    return Try(lost, wrong, said.group().rstrip("* ") if said else "")


SCRIPTS = [f"src/{name}.py" for name in ("fetch", "preprocess", "split", "train", "evaluate", "plot")]


def words(process: psutil.Process) -> list[str]:
    """A process's command line; empty if it has ended."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def went_on(said: str) -> str:
    found = re.search(r"going on after epoch.*", said)
    return f"then: {found.group()}" if found else ""


def experiment_killed(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """kill -9 in `dvc exp run`, in the workspace with an edit at hand, with --temp, or of a queued one's training."""
    expected, folder = ground.experiment, ground.copy(name, ground.whole)
    kind = ("workspace", "--temp", "--queue")[turn % 3]
    in_place = kind == "workspace"
    with (folder / "README.md").open("a") as file:
        file.write("\nan edit that is not committed\n")
    edited = results(folder)["README.md"]
    command = [*DVC, *EXPERIMENT, *([] if in_place else [kind])]
    if kind == "--queue":
        run(folder, [*command, "-n", "first"])
        run(folder, [*DVC, "queue", "start"])
        wait_until(lambda: kept(folder))
        for victim in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if "src/train.py" in victim.cmdline() and victim.environ().get("DVC_ROOT") == str(folder):
                    victim.kill()
        queue_says(folder, "Failed")
        run(folder, [*command, "-n", "second"])
        run(folder, [*DVC, "queue", "start"])
        worked = queue_says(folder, "Success")
        then = run(folder, [*DVC, "queue", "logs", "second"])[1]
    else:
        running = start(folder, command)
        if in_place:
            time.sleep(chance.uniform(0, ground.seconds))
        elif turn % 2:  # in the training
            wait_until(lambda: kept(folder))
        else:  # in a later stage
            wait_until(lambda: done(folder))
            time.sleep(chance.random())
        running.kill()
        code, then = run(folder, command)
        if code:  # DVC's own files may be cut off, which `make run` mends
            then = run(folder, [sys.executable, "src/mend.py"])[1]
            code, after = run(folder, command)
            then += after
        worked = not code
    wrong = bad(then)
    run(folder, [sys.executable, "src/mend.py"])
    if in_place:
        wrong = wrong or differing(results(folder), expected | {"README.md": edited}) or left_over(folder)
    elif worked:
        made = yaml.safe_load(git(folder, "show", f"{experiments(folder)[0]}:dvc.lock"))
        wrong = wrong or differing({"dvc.lock": made}, {"dvc.lock": expected["dvc.lock"]}) or left_over(folder)
        worked = bool(went_on(then))
    lost = "" if worked else f"{kind}: {then[-300:]}"
    lost = lost or ("an edit" if results(folder)["README.md"] != edited else "")
    made_before = in_place and len(experiments(folder)) > 1  # the killed one too had become an experiment, with its run
    lost = lost or not_in_mlflow(folder, 1 if in_place else 2, once=not made_before)
    return Try(lost, wrong, went_on(then) or "nothing; the same command again makes it", kind)


def experiments(folder: Path) -> list[str]:
    """DVC's experiments, newest first; what it keeps for its queue lies among them."""
    refs = git(folder, "for-each-ref", "--sort=-creatordate", "--format=%(refname)", "refs/exps/").split()
    return [ref for ref in refs if re.match(r"refs/exps/[0-9a-f]{2}/", ref)]


def queue_says(folder: Path, word: str) -> bool:
    """Wait until a task of DVC's queue is in a state."""
    return wait_until(lambda: word in run(folder, [*DVC, "queue", "status"])[1], every=1)


def kept(folder: Path) -> list[Path]:
    """The checkpoints in a folder; their names begin with a dot while they are being written."""
    return [path for path in folder.glob(".dvc/tmp/checkpoints/[!.]*") if path.suffix != ".lock"]


def done(folder: Path) -> list[Path]:
    """What tells that a training is done."""
    return [*folder.glob(".dvc/tmp/checkpoints/*.done")]


def asked_to_stop(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """A request to stop in the training, or when the network is made and the stage waits for MLflow.

    It must end all that was at work, and close the training's run.
    """
    folder, (how, command, in_training) = ground.copy(name), STOPS[turn % len(STOPS)]
    running, made = start(folder, command, PENDIGITS_TRACKING=""), folder / "models/network.npz"
    wait_until(lambda: kept(folder) if in_training else made.exists())
    time.sleep(chance.uniform(0, 0.5))
    if how == "SIGTERM to the stage":
        for stage in running.stages():
            with contextlib.suppress(psutil.NoSuchProcess):
                stage.terminate()
    elif how in ("SIGTERM", "SIGHUP"):
        running.process.send_signal(getattr(signal, how))
    else:
        for pause in (0, 2) if how == "Ctrl-C twice" else (0,):
            time.sleep(pause)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGTERM if how == "SIGTERM to all" else signal.SIGINT)
    said = running.said()
    at_work = [words(process) for process in of_folder(str(folder)) if "log" not in words(process)]
    closed = wait_until(lambda: runs(folder / "mlflow.db", "KILLED") == 1, 60 if how == "Ctrl-C twice" else 1)
    outcome, then = ground.again(folder, said, "")
    lost = outcome.lost or ("" if went_on(then) else "the training did not go on")
    wrong = outcome.wrong or ("" if closed else "its run is not KILLED") or (f"at work: {at_work}" if at_work else "")
    heard = re.search("(?m)^stopped.*", said)  # what the stage says; `make run` says a second line
    wrong = wrong or ("another message" if in_training and "goes on from there" not in said else "")
    return outcome._replace(lost=lost, wrong=wrong, told=heard.group() if heard else "", where=how)


STOPS = [  # how, of what, and whether the training is at work or done
    ("SIGTERM to all", MAKE_RUN, True),
    ("Ctrl-C twice", MAKE_RUN, True),
    ("SIGTERM", MAKE_RUN, False),
    ("Ctrl-C", [*DVC, "repro"], True),
    ("SIGTERM to the stage", [*DVC, "repro"], True),
    ("Ctrl-C", MAKE_RUN, False),
    ("SIGHUP", MAKE_RUN, True),
    ("Ctrl-C twice", MAKE_RUN, False),
]


def disk_full(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """The project on a file system of its own, with less room than a run needs; as root only, who may make one."""
    place = ground.folder / f"{name}-small"
    place.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=1g", "tmpfs", str(place)):
        return Try(skipped="a file system cannot be mounted here")
    try:
        folder = ground.copy(f"{place.name}/project")
        room = int(chance.uniform(1e5, 2.5e6))
        mount("-o", f"remount,size={shutil.disk_usage(place).used + room}", str(place))
        _, said = run(folder, MAKE_RUN, PENDIGITS_TRACKING=(tracking := ("off", "")[turn % 2]))
        mount("-o", "remount,size=1g", str(place))
        return ground.again(folder, said, tracking)[0]
    finally:
        unmount(place)


READ_ONLY = ("models", "data", "metrics", ".dvc/tmp", ".dvc/cache", ".git", ".")


def read_only(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    folder, place = ground.copy(name), READ_ONLY[turn % len(READ_ONLY)]
    (folder / place).mkdir(parents=True, exist_ok=True)
    with not_writable(folder / place) as possible:
        code, said = run(folder, [*DVC, "repro"], PENDIGITS_TRACKING=(tracking := ("off", "")[turn % 2]))
    if not possible:
        return Try(skipped="a folder cannot be made read-only here")
    outcome = ground.again(folder, said, tracking)[0]
    return outcome._replace(where=place, told=outcome.told if code else outcome.told or "nothing; it ran")


def clock_jumps(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """`time.time` of every Python process jumps by up to ten years, back and forth; the source files' times too.

    A module ``sitecustomize``, which Python imports at its start, puts a jumping clock in the place of the right one.
    """
    folder, patch = ground.copy(name), ground.folder / f"{name}-clock"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(_JUMPS)
    for file in (folder / "src").rglob("*.py"):
        when = time.time() + chance.uniform(-3e8, 3e8)
        os.utime(file, (when, when))
    tracking = ("off", "")[turn % 2]
    code, said = run(folder, [*DVC, "repro"], PYTHONPATH=str(patch), PENDIGITS_TRACKING=tracking)
    outcome, _ = ground.again(folder, said, tracking)
    return outcome._replace(lost=outcome.lost or (f"the run fails: {said[-300:]}" if code else ""))


_JUMPS = """
import random, time
def jumping(clock, unit, chance=random.Random(0)):
    return lambda: clock() + int(chance.uniform(-3e8, 3e8)) * unit
time.time, time.time_ns = jumping(time.time, 1), jumping(time.time_ns, 10**9)
"""


def run_twice(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    folder = ground.copy(name)
    first = start(folder, MAKE_RUN, PENDIGITS_TRACKING="")
    time.sleep(chance.uniform(0, 2))
    second = start(folder, MAKE_RUN, PENDIGITS_TRACKING="")
    said = first.said() + second.said()
    failed = first.process.returncode or second.process.returncode
    outcome, _ = ground.again(folder, said, "")
    waiting = re.search(r".*waiting.*", said)
    lost = outcome.lost or (f"one fails: {said[-300:]}" if failed else "")
    return outcome._replace(lost=lost, told=waiting.group() if waiting else told(said))


def set_up_twice(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """Two `make setup` at once must make .venv one after the other; with a slow stand-in for Python."""
    folder = ground.folder / name
    folder.mkdir()
    for file in ("Makefile", "requirements.lock"):
        shutil.copy2(ROOT / file, folder / file)
    python = folder / "python"
    python.write_text(_SLOW_PYTHON)
    python.chmod(0o755)
    makes = [start(folder, ["make", "setup", f"PYTHON={python}"]) for _ in range(2)]
    said = "".join(make.said() for make in makes)
    failed = any(make.process.returncode for make in makes)
    wrong = "two at once" if "two at once" in said else ""
    return Try(f"one fails: {said[-300:]}" if failed else "", wrong, "the second waits for the first")


_SLOW_PYTHON = """#!/bin/sh
case "$1 $2" in
"-m venv") mkdir busy || { echo "two at once"; exit 1; }
  sleep 1; rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; rmdir busy;;
"-m pip") mkdir busy || { echo "two at once"; exit 1; }
  sleep 1; rmdir busy;;
*) exec python3 "$@";;
esac
"""


def eight_experiments(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """Eight workers of DVC's queue; each experiment must give what a run alone with its seed gives."""
    folder, seeds = ground.copy(name, ground.whole), range(8 * turn + 1, 8 * turn + 9)
    for seed in seeds:
        run(folder, [*DVC, "exp", "run", "--queue", "-S", f"seed={seed}", "-n", f"seed{seed}"])
    run(folder, [*DVC, "queue", "start", "-j", "8"], PENDIGITS_TRACKING="")
    ended = partial(re.search, "Queued|Running")
    wait_until(lambda: not ended(run(folder, [*DVC, "queue", "status"])[1]), every=2)
    run(folder, [*DVC, "queue", "stop", "--kill"])
    refs = {ref.rpartition("/")[2]: ref for ref in experiments(folder)}
    locks = {name: git(folder, "show", f"{ref}:dvc.lock") for name, ref in refs.items() if "seed" in name}
    made = {name: yaml.safe_load(lock) for name, lock in locks.items()}
    logged = len(whole_runs(folder / "mlflow.db"))
    alone, wrong = ground.copy(f"{name}-alone", ground.whole), ""
    params = yaml.safe_load((alone / "params.yaml").read_text())
    for seed in seeds:
        (alone / "params.yaml").write_text(yaml.safe_dump(params | {"seed": seed}))
        run(alone, [*DVC, "repro", "-s", "train", "evaluate"])
        stages = yaml.safe_load((alone / "dvc.lock").read_text())["stages"]
        found = made.get(f"seed{seed}", {}).get("stages", {})
        wrong = wrong or differing(*({name: of.get(name) for name in ("train", "evaluate")} for of in (found, stages)))
    said = f"{len(made)} of 8 succeeded, {logged} whole runs in MLflow"
    lost = "" if len(made) == logged == 8 else said
    return Try(lost or not_in_mlflow(folder, 9), wrong, said)  # and the workspace's


def await_run(database: Path, running: Running, chance: random.Random) -> None:
    """Wait until a training is in MLflow, and then up to a second more."""
    wait_until(lambda: running.process.poll() is not None or runs(database, "RUNNING"), every=0.05)
    time.sleep(chance.random())


def store_fault(
    what: Callable[[Path, random.Random], Callable[[], object]],
    ground: Ground,
    name: str,
    turn: int,
    chance: random.Random,
) -> Try:
    """Something happens to MLflow's database, which shows an experiment already, while a run is being logged."""
    folder = ground.copy(name, ground.with_experiment)
    running = start(folder, [*DVC, "repro", "-f"], PENDIGITS_TRACKING="")
    await_run(folder / "mlflow.db", running, chance)
    heal = what(folder / "mlflow.db", chance)
    said = running.said()
    heal()
    failed = running.process.returncode
    outcome, _ = ground.again(folder, said)
    lost = outcome.lost or (f"the run fails: {said[-300:]}" if failed else "") or not_in_mlflow(folder, 2)
    return outcome._replace(lost=lost)


def locked(database: Path, chance: random.Random) -> Callable[[], object]:
    store = sqlite3.connect(database, isolation_level=None, timeout=60, check_same_thread=False)
    store.execute("begin exclusive")
    return store.close


def deleted(database: Path, chance: random.Random) -> Callable[[], object]:
    database.unlink()
    return lambda: None


def corrupted(database: Path, chance: random.Random) -> Callable[[], object]:
    content = bytearray(database.read_bytes())
    for place in range(0, len(content), 97):
        content[place] = chance.randrange(256)
    database.write_bytes(content)
    return partial(database.rename, f"{database}.damaged")  # what the message says


def server_vanishes(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """MLflow's server is killed, or stops answering, at a random moment of a run, and comes back after it."""
    folder, place = ground.copy(name), ground.folder / f"{name}-server"
    place.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{place}/m.db", "--artifacts-destination", str(place / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", *store, "--port", str(port), "--workers", "1"]
    server, where = start(place, command), {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    wait_until(lambda: answers(port))
    running = start(folder, [*DVC, "repro"], PENDIGITS_TRACKING="", **where)
    await_run(place / "m.db", running, chance)
    os.killpg(server.process.pid, (signal.SIGKILL, signal.SIGSTOP)[turn % 2])
    said = running.said()
    if turn % 2:
        os.killpg(server.process.pid, signal.SIGCONT)
    else:
        server = start(place, command)
    wait_until(lambda: answers(port))
    failed = running.process.returncode
    outcome, _ = ground.again(folder, said)
    lost = outcome.lost or (f"the run fails: {said[-300:]}" if failed else "")
    lost = lost or not_in_mlflow(folder, 1, database=place / "m.db", **where)
    server.kill()
    return outcome._replace(lost=lost)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def network_fault(fault: str, ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """The one source of the real data set misbehaves; what was fetched before must stay as it is."""
    folder = ground.copy(name)
    params = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(params.replace("dataset: synthetic", "dataset: pendigits"))
    before = folder / "data/raw/pendigits/kept"
    before.parent.mkdir(parents=True)
    before.write_text("kept")
    with misbehaving(fault) as address:
        nowhere = {"https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
        code, said = run(folder, [sys.executable, "src/fetch.py"], PENDIGITS_MIRROR=address, **nowhere)
    there = [str(path.relative_to(folder)) for path in (folder / "data").rglob("*") if path.is_file()]
    there.remove("data/.gitignore")
    found = re.search(r"- PENDIGITS_MIRROR \([^)]*\): (.*)", said)
    lost = "" if before.exists() else "what was there before"
    wrong = "" if code == 1 and there == ["data/raw/pendigits/kept"] else f"code {code}, and there is {there}"
    return Try(lost, wrong or bad(said), found.group(1) if found else "")


@contextlib.contextmanager
def misbehaving(fault: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if fault == "never answers":
                time.sleep(60)
                return
            page = b"<!doctype html><html>please log in</html>"
            self.send_response(500 if fault == "answers 500" else 200)
            self.send_header("Content-Length", str(len(page) if "page" in fault else 1_668_118))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # who sees at once that it is no archive hangs up
                self.wfile.write(page if "page" in fault else bytes(800_000))
            if fault == "stalls":
                self.wfile.flush()
                time.sleep(60)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    address = f"http://127.0.0.1:{server.server_port}/archive.zip"
    if fault == "refuses":
        server.server_close()
        yield address
        return
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield address
    finally:
        server.shutdown()
        server.socket.close()


# --- Folders that cannot be written ----------------------------------------------------------------------------------


def mount(*arguments: str) -> bool:
    return os.geteuid() == 0 and not subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode


def unmount(place: Path) -> None:
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


@contextlib.contextmanager
def not_writable(folder: Path) -> Iterator[bool]:
    """For root a read-only mount, since permissions do not hold root back. Yields whether it worked."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield True
        folder.chmod(0o755)
        return
    worked = mount("--bind", str(folder), str(folder)) and mount("-o", "remount,ro,bind", str(folder))
    try:
        yield worked
    finally:
        unmount(folder)


# --- All of it -------------------------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """A line of the table, how to make a try, how many the long and the short version make, and what must be said."""

    name: str
    fault: str
    attempt: Callable[[Ground, str, int, random.Random], Try]
    tries: int
    short: int
    says: str  # a regular expression


NOT_LOGGED = r"^MLflow: not logged \(.*\)\. Nothing else is affected; `make sync` enters the run later\.$"
ANEW = "^then: going on after epoch|^nothing; "
STOPPED = "^stopped in epoch .* goes on from there$|^stopped; the same command again makes what is missing$"
FAULTS = [
    Fault("killed", "kill -9 of all of `dvc repro`, of the stage, or of DVC alone", killed, 100, 3, ANEW),
    Fault("done", "kill -9 in the half second after the training is done", killed_when_done, 8, 1, ANEW),
    Fault("logged", "kill -9 at a random moment while MLflow logs the run", partial(killed, tracking=""), 6, 0, ANEW),
    Fault("experiment", "kill -9 in `dvc exp run`", experiment_killed, 9, 0, ANEW),
    Fault("edited", "params.yaml is edited while a training works", edited_meanwhile, 4, 0, "^parameters, data"),
    Fault("fallback", "kill -9 of `make run` on the built-in digits", killed_in_fallback, 4, 0, "COULD NOT BE FETCHED"),
    Fault("stopped", "SIGTERM, SIGHUP or Ctrl-C, to `make run` or `dvc repro`", asked_to_stop, 8, 3, STOPPED),
    Fault("disk", "the disk is full: 0.1 to 2.5 MB left on a tmpfs", disk_full, 6, 1, "disk is full|No space left"),
    Fault("readonly", "a read-only folder", read_only, 7, 1, "(?i)read-only|permission|; it ran$"),
    Fault("clock", "the clock of every process jumps by up to ten years, back and forth", clock_jumps, 4, 0, "^$"),
    Fault("twice", "two `make run` in one checkout", run_twice, 4, 1, "^Another `make run` is at work in this folder"),
    Fault("setup", "two `make` in one checkout that both set up .venv", set_up_twice, 2, 1, "waits"),
    Fault("parallel", "eight experiments at once: eight workers of DVC's queue", eight_experiments, 1, 0, "^8 of 8"),
    Fault("locked", "MLflow's store is locked in a run", partial(store_fault, locked), 2, 0, NOT_LOGGED),
    Fault("deleted", "MLflow's store is deleted in a run", partial(store_fault, deleted), 2, 0, f"^$|{NOT_LOGGED}"),
    Fault("corrupted", "MLflow's store is overwritten in a run", partial(store_fault, corrupted), 2, 0, NOT_LOGGED),
    Fault("server", "the tracking server is killed in a run, or stops answering", server_vanishes, 4, 0, NOT_LOGGED),
    *(
        Fault("network", f"the network in fetch {what}", partial(network_fault, what), 3, short, says)
        for what, short, says in (
            ("refuses", 1, "Connection refused"),
            ("never answers", 0, "no answer in time|stalled after 0"),
            ("stalls", 0, "timed out|the answer stalled after"),
            ("sends half", 1, "IncompleteRead"),
            ("answers a web page", 1, "is a web page, not the archive"),
            ("answers 500", 1, "the server answers 500"),
        )
    ),
]
HEADER = "| fault | tries | lost | wrong | what the user was told, most often |\n|---|---:|---:|---:|---|"


def attempts(fault: Fault, ground: Ground, tries: int, seed: int) -> list[Try]:
    """Make the tries, some at once; says what went wrong in them, and leaves neither processes nor folders of them."""

    def attempt(turn: int) -> Try:
        name = f"{fault.name}{FAULTS.index(fault)}-{turn:03}"
        try:
            outcome = fault.attempt(ground, name, turn, random.Random(f"{seed} {fault.fault} {turn}"))
        except Exception as error:  # noqa: BLE001 (the next tries may tell more)
            outcome = Try(wrong=f"{type(error).__name__}: {error}")
        end_all(str(ground.folder / name))
        for place in ground.folder.glob(f"{name}*"):
            shutil.rmtree(place, ignore_errors=True)
        if not outcome.skipped and not re.search(fault.says, outcome.told):
            outcome = outcome._replace(wrong=outcome.wrong or "another message")
        if outcome.lost or outcome.wrong:
            sys.stderr.write(f"--- {fault.fault}, try {turn}: {outcome}\n")
        return outcome

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(attempt, range(tries)))


def end_all(folder: str) -> None:
    """Kill what a try has left at work: workers of DVC's queue, a stage whose DVC was killed, a server."""
    for process in of_folder(folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def of_folder(folder: str) -> list[psutil.Process]:
    """The processes that were started for copies below a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("DVC_SITE_CACHE_DIR", "").startswith(folder):
                found.append(process)
    return found


def row(fault: Fault, outcomes: list[Try]) -> str:
    made = [outcome for outcome in outcomes if not outcome.skipped]
    messages = [plain(outcome.told) for outcome in made] or [f"skipped: {outcomes[0].skipped}"]
    said = max(messages, key=messages.count) or "nothing"
    lost, wrong = sum(bool(outcome.lost) for outcome in made), sum(bool(outcome.wrong) for outcome in made)
    places = Counter(outcome.where for outcome in made if outcome.where)
    where = f" ({', '.join(f'{place} {times}' for place, times in places.most_common())})" if places else ""
    return f"| {fault.fault}{where} | {len(made)} | {lost} | {wrong} | {said} |"


def plain(message: str) -> str:
    """A message without what is of one try alone."""
    message = re.sub(r"/\S*?/[a-z]+\d+-\d+[^/\s]*(/project)?(?=[/\s):;,]|$)", ".", message)
    message = re.sub(r"(epoch|step) \d+", r"\1 N", message)
    message = re.sub(r" of \d+(?=[,;])", " of M", message).replace(", step N,", "")
    return " ".join(message.replace("|", "/").split())[:200]


def write_document(rows: Mapping[str, str], seed: int, minutes: float | None) -> None:
    """Put rows, by their fault, in the place of those that are between the two marks in docs/reliability.md.

    Args:
        minutes: that all took; None: the other rows stay.
    """
    text = DOCUMENT.read_text(encoding="utf-8")
    marks = "<!-- torture: begin -->\n", "<!-- torture: end -->"
    before, _, rest = text.partition(marks[0])
    table, _, after = rest.partition(marks[1])
    kept = {fault.fault: line for fault in FAULTS for line in table.splitlines() if line.startswith(f"| {fault.fault}")}
    lines = (kept if minutes is None else {}) | rows
    took = "kind by kind" if minutes is None else f"took {minutes:.0f} minutes"
    said = f"`make torture`, seed {seed}, {took}, with Python {platform.python_version()} on {os.cpu_count()} cores:"
    table = "\n".join([said, "", HEADER, *(lines[fault.fault] for fault in FAULTS if fault.fault in lines)])
    DOCUMENT.write_text(f"{before}{marks[0]}{table}\n{marks[1]}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="about five minutes, for CI; writes no document")
    parser.add_argument("--tries", type=int, help="how often each fault is tried; writes no document")
    parser.add_argument("--only", choices=sorted({f.name for f in FAULTS}), nargs="+", help="some rows of the table")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    options = parser.parse_args()
    began, rows, faults = time.monotonic(), {}, 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background would have ignored, by all,
    signal.signal(signal.SIGHUP, lambda *_: None)  # and nohup this: ignored here, it is so in all that is started
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
        ground = Ground(Path(folder))
        print(f"seed {options.seed}; a run without faults takes {ground.seconds:.0f} s\n\n{HEADER}", flush=True)
        for fault in FAULTS:
            tries = options.tries or (fault.short if options.short else fault.tries)
            if tries and fault.name in (options.only or [fault.name]):
                outcomes = attempts(fault, ground, tries, options.seed)
                faults += sum(bool(outcome.lost or outcome.wrong) for outcome in outcomes)
                rows[fault.fault] = row(fault, outcomes)
                print(rows[fault.fault], flush=True)
        end_all(folder)
    took = time.monotonic() - began
    print(f"\n{took:.0f} s, {faults} tries lost or wrong")
    if not (options.short or options.tries):
        write_document(rows, options.seed, None if options.only else took / 60)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
