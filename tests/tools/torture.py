"""Break the pipeline on purpose, in copies of the project, and see what is lost: `make torture`.

Each try lets a run meet a fault, takes the fault away and runs again, as a user would. A try has *lost* something if
that second run fails, if a file of the project or an edit is gone, if a training with a checkpoint did not resume, or
if MLflow does not show every result once, after `make sync` and `make doctor CLOSE=1`, or still says RUNNING. It is
*wrong* if a file is not, byte for byte, what an undisturbed run gives, if something is left over, or if the user got a
traceback, nothing at all until the limit, or a message other than the one that belongs to the fault.

One project on the built-in digits, with a small network, is run with ``seed: 0``. Each try is in a copy of it, with
``seed: 1``, so that a run trains, evaluates and plots. A checkpoint is written every tenth of a second. The moments are
drawn from a seed. A fault is one function, which makes one try; `FAULTS` lists them.
"""

import argparse
import contextlib
import hashlib
import itertools
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.project_copy import copy_project, git

SHRUNK: dict[str, Any] = {"dataset": "synthetic", "synthetic_rows_per_writer": 20, "hidden_layers": [24], "epochs": 150}
LIMIT = 240.0  # seconds after which a run counts as hanging
AT_ONCE = 2  # tries
HUNG = "nothing: it hung"
DVC = [sys.executable, "-m", "dvc"]
MAKE = [sys.executable, "src"]  # `make run` is MAKE + ["run"]


class Try(NamedTuple):
    """What one try of a fault came to."""

    lost: str = ""  # what is gone; empty: nothing
    wrong: str = ""  # what is not as it should be; empty: nothing
    told: str = ""  # to the user
    where: str = ""  # at work at that moment
    skipped: str = ""  # why it could not be made
    then: str = ""  # what the run after it resumed


# --- Copies of the project, and runs in them -------------------------------------------------------------------------


class Ground:
    """Where the copies are made: a project that has run with another seed, and what a run in a copy must give."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fresh, self.prepared = folder, folder / "fresh", folder / "prepared"
        self.fresh.mkdir()
        copy_project(self.fresh, ["README.md", "pyproject.toml"], **SHRUNK)
        edit(self.fresh / "src/runtime/checkpoint.py", r"EVERY = [\d.]+", "EVERY = 0.1")
        edit(self.fresh / "src/train.py", r"LONG = [\d_]+", "LONG = 0")  # with the refit beside the training
        git(self.fresh, "init", "-q")
        commit(self.fresh)
        shutil.copytree(self.fresh, self.prepared)
        self.seconds = {self.fresh: self.undisturbed(self.prepared, tracked=True)}  # that a run takes
        commit(self.prepared)
        self.seconds[self.prepared] = self.undisturbed(self.copy("expected"))
        self.expected = results(folder / "expected")

    def undisturbed(self, folder: Path, *, tracked: bool = False) -> float:
        """The seconds that a run without any fault takes."""
        began, (code, said) = time.monotonic(), run(folder, [*DVC, "repro"], tracked=tracked)
        if code or len(whole_runs(folder / "mlflow.db")) != 1:
            raise SystemExit(f"the run without any fault failed:\n{said}")
        return time.monotonic() - began

    def copy(self, name: str, of: Path | None = None) -> Path:
        """A copy of the project in which a run has something to do."""
        folder = Path(shutil.copytree(of or self.prepared, self.folder / name, symlinks=True, dirs_exist_ok=True))
        edit(folder / "params.yaml", "seed: 0", "seed: 1")
        return folder

    def again(
        self, folder: Path, said: str, wanted: int = 0, *, once: bool = True, resumes: bool = False, lost: str = ""
    ) -> Try:
        """`make run`, without the fault.

        Args:
            said: what the run with the fault said.
            wanted: how many results MLflow must show; 0: the run is not tracked.
            resumes: whether it must go on with a training.
            lost: what is known to be gone.
        """
        code, then = run(folder, [*MAKE, "run"], tracked=wanted > 0)
        lost = f"`make run` fails: {then[-300:]}" if code else lost
        lost = lost or (not_in_mlflow(folder, wanted, once=once) if wanted else "")
        lost = lost or ("the training did not resume" if resumes and not resumed(then) else "")
        wrong = "" if code else differing(results(folder), self.expected) or left_over(folder)
        return Try(lost, wrong or bad(said + then), told(said), then=resumed(then))


def edit(file: Path, before: str, after: str) -> None:
    file.write_text(re.sub(rf"(?m)^{before}$", after, file.read_text()))


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "t")


class Running:
    """A command at work in a session of its own; what it and its children print goes to a file."""

    def __init__(self, folder: Path, command: list[str], *, tracked: bool = False, **more: str) -> None:
        ours = ("DVC_", "MLFLOW_", "PENDIGITS_")
        found = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found.get('PATH', '')}"
        found |= {"PYTHONPATH": "", "DVC_SITE_CACHE_DIR": f"{folder}.dvc"}
        found |= {"PENDIGITS_TRACKING": "" if tracked else "off"}
        found |= {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        self.folder, self.began = folder, time.time()
        self._file = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, cwd=folder, env=found | more, stdout=self._file, stderr=subprocess.STDOUT, start_new_session=True
        )

    def said(self) -> str:
        """Wait for its end; returns what it printed. What hangs is killed, and the text says so."""
        ended = wait_until(self.ended)
        if not ended:
            end(of_folder(self.folder))
            self.process.wait()
        self._file.seek(0)
        return self._file.read() + ("" if ended else f"\n{HUNG} for {LIMIT:.0f} s\n")

    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait_for(self, moment: str) -> None:
        """Wait until the training is at work or has written the network, but no longer than this works."""
        network = self.folder / "models/network.npz"

        def reached() -> object:
            if moment == "training":
                return kept(self.folder)
            with contextlib.suppress(OSError):
                return network.stat().st_mtime > self.began
            return False

        wait_until(lambda: self.ended() or reached(), every=0.005)


def run(folder: Path, command: list[str], *, tracked: bool = False, **more: str) -> tuple[int, str]:
    running = Running(folder, command, tracked=tracked, **more)
    said = running.said()
    return running.process.returncode, said


def of_folder(folder: Path | str) -> dict[psutil.Process, list[str]]:
    """The processes that were started for copies below a folder, in any session, and their command lines."""
    lines = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("DVC_SITE_CACHE_DIR", "").startswith(str(folder)):
                lines[process] = process.cmdline()
    return lines


def stages(folder: Path) -> dict[psutil.Process, str]:
    """The scripts of the pipeline that are at work there, by name."""
    scripts = [(one, found(r"^src/\w+", "\n".join(line))) for one, line in of_folder(folder).items()]
    return {process: script.removeprefix("src/") for process, script in scripts if script}


def end(processes: Iterable[psutil.Process], how: int = getattr(signal, "SIGKILL", signal.SIGTERM)) -> None:
    """End the processes, such as workers of DVC's queue, or a stage whose DVC was killed, or send another signal."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(how)


def wait_until(happened: Callable[[], object], seconds: float = LIMIT, every: float = 0.02) -> bool:
    """Wait, but no longer than so many seconds of a machine that has little else to do."""
    began = time.monotonic()
    while not (done := bool(happened())):
        if time.monotonic() - began > seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)):
            break
        time.sleep(every)
    return done


# --- What is looked at afterwards ------------------------------------------------------------------------------------


def results(folder: Path) -> dict[str, Any]:
    """The checksum of each file in the project, but for git's, DVC's and MLflow's own, and what dvc.lock says.

    A killed process may leave a file that it was writing, under a name that git and DVC ignore.
    """
    found: dict[str, Any] = {}
    not_ours = re.compile(r"(\.git|\.dvc|mlartifacts)/|mlflow\.db|.*(__pycache__|\.part(/|$))")
    for file in folder.rglob("*"):
        name = str(file.relative_to(folder))
        if file.is_file() and not not_ours.match(name):
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    if "dvc.lock" in found:
        found["dvc.lock"] = yaml.safe_load((folder / "dvc.lock").read_text())
    return found


def differing(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    names = [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]
    return f"other bytes: {', '.join(names)}" if names else ""


def left_over(folder: Path) -> str:
    """What should be gone after a run that ended well."""
    paths = [folder / ".git/index.lock", folder / ".dvc/tmp/params.yaml.kept", *kept(folder)]
    names = [str(path.relative_to(folder)) for path in paths if path.exists()]
    return f"left over: {', '.join(names)}" if names else ""


def kept(folder: Path) -> list[Path]:
    """The checkpoints in a folder; their names begin with a dot while they are being written."""
    return [path for path in folder.glob(".dvc/tmp/checkpoints/[!.]*") if path.suffix != ".lock"]


def bad(said: str) -> str:
    """What nobody should see."""
    return next((word for word in ("Traceback", HUNG) if word in said), "")


def found(pattern: str, said: str) -> str:
    """The first text of a pattern; empty if there is none."""
    match = re.search(pattern, said, re.MULTILINE)
    return match.group() if match else ""


def resumed(said: str) -> str:
    return re.sub("^(?=.)", "then: ", found("resuming after epoch.*", said))


def not_in_mlflow(folder: Path, wanted: int, *, once: bool = True) -> str:
    """What is wrong with the runs in MLflow after `make sync` and `make doctor CLOSE=1`; empty if nothing is.

    Args:
        wanted: how many results it must show, each in one whole run if ``once``.
    """
    for command in ["sync"], ["doctor", "close"]:
        code, said = run(folder, [*MAKE, *command], tracked=True)
        if code or bad(said):
            return f"{command[0]} fails: {said[-300:]}"
    whole, still = whole_runs(folder / "mlflow.db"), runs(folder / "mlflow.db", "RUNNING")
    if len(set(whole)) != wanted or (once and len(whole) != wanted):
        return f"{len(whole)} whole runs of {len(set(whole))} models in MLflow instead of {wanted}"
    return f"{still} runs say RUNNING" if still else ""


def asked(database: Path, query: str) -> list[Any]:
    """The first column of the rows of MLflow's database; without a database, none."""
    if not database.exists():
        return []
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as store:
        return [row[0] for row in store.execute(query)]


def runs(database: Path, status: str) -> int:
    """How many runs in MLflow's database are in a state."""
    return asked(database, "select status from runs where lifecycle_stage = 'active'").count(status)


def whole_runs(database: Path) -> list[str]:
    """Of each run in MLflow's database that has all of a result, the model."""
    query = """select max(iif(key = 'model.sha256', value, '')) from tags join runs using (run_uuid)
        where status = 'FINISHED' and lifecycle_stage = 'active'
        and key in ('model.sha256', 'evaluate.sha256', 'figures.sha256') group by run_uuid having count(*) = 3"""
    return asked(database, query)


def told(said: str) -> str:
    """The line that told the user what was wrong: the one before DVC says that a stage failed, or the last of note."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if lines and lines[-1].startswith("`dvc repro` failed: "):  # `make run`, where DVC does not say why
        return lines[-1]
    for before, line in itertools.pairwise(lines):
        if line.startswith("ERROR: failed to reproduce"):
            return before if "exited with" in line else line
    news = "(?i)warning|cannot|another|MLflow: not|no permission|disk|full|read-only|No space"
    return next((line for line in reversed(lines) if re.search(news, line)), "")


# --- Faults ----------------------------------------------------------------------------------------------------------


def killed(ground: Ground, name: str, turn: int, chance: random.Random, *, tracked: bool = False) -> Try:
    """kill -9 of everything, of the running stage alone, or of DVC alone, whose stage then works on.

    At the first turns in the training, in a later stage, and then at any moment, also of a first run.
    """
    kind, origin = ("all", "stage", "dvc")[turn % 3], ground.fresh if turn % 4 == 3 else ground.prepared
    moment = chance.random() * (0.5 if turn < 2 else ground.seconds[origin])
    while True:
        folder = ground.copy(f"{name}-{moment:.3f}", origin)
        running = Running(folder, [*DVC, "repro"], tracked=tracked)
        if turn < 2:
            running.wait_for(("training", "network")[turn])
        time.sleep(moment)
        if kind == "stage":
            wait_until(partial(stages, folder), 5)
        at_work = stages(folder)
        if not running.ended() and (at_work or kind != "stage"):
            break
        end(of_folder(folder))
        moment *= 0.9  # it had ended
    end({"all": of_folder(folder), "stage": at_work, "dvc": [running.process]}[kind])
    wait_until(running.ended)
    lock, wanted = folder / "dvc.lock", tracked * (1 if origin == ground.fresh else 2)
    recorded = lock.exists() and found(r"^ +seed: 1$", lock.read_text())  # the training
    outcome = ground.again(folder, "", wanted, once=kind != "dvc", resumes=bool(kept(folder)) and not recorded)
    end(of_folder(folder))
    where = next(iter(at_work.values()), "DVC")
    return outcome._replace(told=outcome.then or "nothing; the next run makes what is missing", where=where)


def edited_meanwhile(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """DVC alone is killed, and params.yaml edited and run again while its training works on; later it is as before."""
    folder = ground.copy(name)
    running = Running(folder, [*DVC, "repro"])
    running.wait_for("training")
    at_work = stages(folder)
    end(at_work, signal.SIGSTOP)  # on a busy machine it would be over before the edit
    running.process.kill()
    running.process.wait()
    edit(folder / "params.yaml", "seed: 1", "seed: 0")
    end(at_work, signal.SIGCONT)
    code, then = run(folder, [*MAKE, "run"])  # of the old values, which DVC has
    wait_until(lambda: "train" not in stages(folder).values())
    before = {key: known for key, known in results(ground.prepared).items() if key not in ("params.yaml", "dvc.lock")}
    wrong = differing({key: known for key, known in results(folder).items() if key in before}, before)
    said, lost = running.said(), f"`make run` fails: {then[-300:]}" if code else ""
    edit(folder / "params.yaml", "seed: 0", "seed: 1")
    outcome = ground.again(folder, said + then, resumes=True, lost=lost)
    return outcome._replace(wrong=outcome.wrong or wrong, told=found("^parameters, data or code were edited.*", said))


def experiment_killed(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """kill -9 in `dvc exp run`, in the workspace, where there is an edit, or with --temp."""
    folder, temporary = ground.copy(name), turn % 2 == 1
    edit(folder / "params.yaml", "seed: 1", "seed: 0")
    with (folder / "README.md").open("a") as file:
        file.write("\nan edit that is not committed\n")
    edited = results(folder)["README.md"]
    command = [*DVC, "exp", "run", "-S", "seed=1", *["--temp"] * temporary]
    running = Running(folder, command)
    if temporary:  # in the training, or a later stage
        running.wait_for("training")
    time.sleep(chance.uniform(0, 2 if temporary else ground.seconds[ground.prepared]))
    end(of_folder(folder))
    running.said()
    code, then = run(folder, command)
    if code:  # DVC's own files may be incomplete, which `make run` repairs
        run(folder, [sys.executable, "-c", "from runtime.repair import repair; repair()"], PYTHONPATH="src")
        code, then = run(folder, command)
    made, expected = results(folder), ground.expected | {"README.md": edited}
    refs = git(folder, "for-each-ref", "--sort=-creatordate", "--format=%(refname)", "refs/exps/").split()
    names = [ref for ref in refs if re.match(r"refs/exps/[0-9a-f]{2}/", ref)]  # what DVC keeps for its queue is beside
    lost = f"fails: {then[-300:]}" if code else "" if made["README.md"] == edited else "an edit"
    if temporary and names:
        made, expected = {"dvc.lock": yaml.safe_load(git(folder, "show", f"{names[0]}:dvc.lock"))}, ground.expected
        expected = {"dvc.lock": expected["dvc.lock"]}
        lost = lost or ("" if resumed(then) else "the training did not resume")
    wrong = bad(then)
    if names or not temporary:
        wrong = wrong or differing(made, expected) or left_over(folder)
    lost = lost or not_in_mlflow(folder, 2, once=len(names) <= 1)  # the killed one too may have become an experiment
    where = "--temp" if temporary else "workspace"
    return Try(lost, wrong, resumed(then) or "nothing; the same command again makes it", where)


STOPS = [  # how, of what, and when
    ("SIGTERM to all", [*MAKE, "run"], "training"),
    ("Ctrl-C twice", [*MAKE, "run"], "training"),
    ("SIGTERM", [*MAKE, "run"], "network"),
    ("Ctrl-C", [*DVC, "repro"], "training"),
    ("SIGTERM to the stage", [*DVC, "repro"], "training"),
    ("Ctrl-C", [*MAKE, "run"], "network"),
    ("SIGHUP", [*MAKE, "run"], "training"),
]


def asked_to_stop(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """A request to stop in the training, or when the network is made and the stage waits for MLflow.

    It must end all that was at work, and close the training's run.
    """
    folder, (how, command, moment) = ground.copy(name), STOPS[turn % len(STOPS)]
    running = Running(folder, command, tracked=True)
    running.wait_for(moment)
    time.sleep(chance.uniform(0, 0.5))
    if how == "SIGTERM to the stage":
        end(stages(folder), signal.SIGTERM)
    elif how in ("SIGTERM", "SIGHUP"):
        running.process.send_signal(getattr(signal, how))
    else:
        for pause in (0, 2) if how == "Ctrl-C twice" else (0,):
            time.sleep(pause)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGTERM if how == "SIGTERM to all" else signal.SIGINT)
    said = running.said()
    closed = wait_until(lambda: runs(folder / "mlflow.db", "KILLED") == 1, 60)  # where DVC dies, its stage ends later
    time.sleep(1)
    at_work = [line for line in of_folder(folder).values() if "tracking.recorder" not in line]
    outcome = ground.again(folder, said, 2, resumes=True)
    wrong = outcome.wrong or ("" if closed else "its run is not KILLED") or (f"at work: {at_work}" if at_work else "")
    # the stage's line; `make run` prints a second one
    return outcome._replace(wrong=wrong, told=found("^stopped.*", said), where=how)


def disk_full(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """The project on a file system of its own, with less room than a run needs; as root only, who may make one."""
    place = ground.folder / f"{name}-small"
    place.mkdir()
    if not as_root("mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", place):
        return Try(skipped="a file system cannot be mounted here")
    with contextlib.ExitStack() as heal:
        heal.callback(as_root, "umount", "-l", place)
        folder, wanted = ground.copy(f"{place.name}/project"), 2 * (turn % 2)
        as_root("mount", "-o", f"remount,size={shutil.disk_usage(place).used + int(chance.uniform(0, 5e5))}", place)
        _, said = run(folder, [*MAKE, "run"], tracked=wanted > 0)
        as_root("mount", "-o", "remount,size=1g", place)
        return ground.again(folder, said, wanted)


READ_ONLY = ("models", "metrics", ".dvc/tmp", ".dvc/cache", ".git", "data", ".")


def read_only(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """For root a read-only mount, since permissions do not hold root back."""
    folder, where, wanted = ground.copy(name), READ_ONLY[turn % len(READ_ONLY)], 2 * (turn % 2)
    place = folder / where
    with contextlib.ExitStack() as heal:
        if os.geteuid() != 0:
            heal.callback(place.chmod, 0o755)
            place.chmod(0o555)
        else:
            heal.callback(as_root, "umount", "-l", place)
            if not (as_root("mount", "--bind", place, place) and as_root("mount", "-o", "remount,ro,bind", place)):
                return Try(skipped="a folder cannot be made read-only here")
        code, said = run(folder, [*DVC, "repro"], tracked=wanted > 0)
    outcome = ground.again(folder, said, wanted)
    return outcome._replace(where=where, told=outcome.told or ("" if code else "nothing; it ran"))


def as_root(*command: str | Path) -> bool:
    """Whether a command is possible here, and worked."""
    return os.geteuid() == 0 and not subprocess.run(command, capture_output=True, check=False).returncode


def run_twice(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    folder = ground.copy(name)
    first = Running(folder, [*MAKE, "run"], tracked=True)
    time.sleep(chance.uniform(0, 2))
    second = Running(folder, [*MAKE, "run"], tracked=True)
    said = first.said() + second.said()
    failed = first.process.returncode or second.process.returncode
    outcome = ground.again(folder, said, 2, lost=f"one fails: {said[-300:]}" if failed else "")
    return outcome._replace(told=found(".*waiting.*", said) or outcome.told)


def store_fault(kind: str, ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """Something happens to MLflow's database while a run is being logged, or a server is there that never answers."""
    folder, more = ground.copy(name), dict[str, str]()
    database = folder / "mlflow.db"
    with contextlib.ExitStack() as heal:
        if kind == "silent":
            silent = heal.enter_context(socket.create_server(("127.0.0.1", 0)))
            more["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        running = Running(folder, [*DVC, "repro"], tracked=True, **more)
        if kind != "silent":
            wait_until(lambda: running.ended() or runs(database, "RUNNING"), every=0.05)
            time.sleep(chance.random())
        if kind == "locked":
            lock = heal.enter_context(contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=60)))
            lock.execute("begin exclusive")
        elif kind == "deleted":
            database.unlink()
        elif kind == "overwritten":
            content = bytearray(database.read_bytes())
            content[::97] = chance.randbytes(len(content[::97]))
            database.write_bytes(content)
            heal.callback(database.rename, f"{database}.damaged")  # as the message says
        said = running.said()
    lost = f"the run fails: {said[-300:]}" if running.process.returncode else ""
    outcome = ground.again(folder, said, lost=lost)
    wanted = 1 if kind in ("deleted", "overwritten") else 2
    return outcome._replace(lost=outcome.lost or not_in_mlflow(folder, wanted))


# --- All of it -------------------------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """A line of the table, how to make a try, how many the long and the short version make, and what must be said."""

    name: str
    fault: str
    attempt: Callable[[Ground, str, int, random.Random], Try]
    tries: int
    short: int
    says: str  # a regular expression


NOT_LOGGED = r"^MLflow: not logged \(.*\)\. Nothing else is affected; `make sync` logs the run later\.$"
ANEW = "^then: resuming after epoch|^nothing; "
STOPPED = "^stopped in epoch .* resumes there$|^stopped; run the same command again to continue$"
FAULTS = [
    Fault("killed", "kill -9 of all of `dvc repro`, of the stage, or of DVC alone", killed, 60, 2, ANEW),
    Fault("logged", "kill -9 at a random moment while MLflow logs the run", partial(killed, tracked=True), 6, 0, ANEW),
    Fault("experiment", "kill -9 in `dvc exp run`", experiment_killed, 6, 0, ANEW),
    Fault("edited", "params.yaml is edited while a training works", edited_meanwhile, 4, 1, "^parameters, data"),
    Fault("stopped", "SIGTERM, SIGHUP or Ctrl-C, to `make run` or `dvc repro`", asked_to_stop, 7, 1, STOPPED),
    Fault("disk", "the disk is full: up to 0.5 MB left on a tmpfs", disk_full, 6, 1, "disk is full|No space left"),
    Fault("readonly", "a read-only folder", read_only, 7, 1, "(?i)read-only|permission|; it ran$"),
    Fault("twice", "two `make run` in one checkout", run_twice, 4, 0, "^Another `make run` is at work in this folder"),
    Fault("locked", "MLflow's store is locked in a run", partial(store_fault, "locked"), 2, 0, NOT_LOGGED),
    Fault("deleted", "MLflow's store is deleted in a run", partial(store_fault, "deleted"), 2, 0, f"^$|{NOT_LOGGED}"),
    Fault("damaged", "MLflow's store is overwritten in a run", partial(store_fault, "overwritten"), 2, 0, NOT_LOGGED),
    Fault("server", "the tracking server does not answer", partial(store_fault, "silent"), 1, 0, NOT_LOGGED),
]
HEADER = "| fault | tries | lost | wrong | most frequent message to the user |\n|---|---:|---:|---:|---|"


def attempt(fault: Fault, ground: Ground, seed: int, turn: int) -> Try:
    """Make a try, print what went wrong in it, and leave neither processes nor folders."""
    name = f"{fault.name}-{turn:03}"
    try:
        outcome = fault.attempt(ground, name, turn, random.Random(f"{seed} {fault.fault} {turn}"))
    except Exception as error:  # noqa: BLE001 (the next tries may tell more)
        outcome = Try(wrong=f"{type(error).__name__}: {error}")
    end(of_folder(ground.folder / name))
    for place in ground.folder.glob(f"{name}*"):
        shutil.rmtree(place, ignore_errors=True)
    if not outcome.skipped and not re.search(fault.says, outcome.told):
        outcome = outcome._replace(wrong=outcome.wrong or "another message")
    if outcome.lost or outcome.wrong:
        sys.stderr.write(f"--- {fault.fault}, try {turn}: {outcome}\n")
    return outcome


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
    message = re.sub(r"/\S*?/[a-z]+-\d+[^/\s]*(/project)?(?=[/\s):;,]|$)", ".", message)
    message = re.sub(r"(epoch|step) \d+", r"\1 N", message)
    message = re.sub(r" of \d+(?=[,;]|$)", " of M", message).replace(", step N,", "")
    return " ".join(message.replace("|", "/").split())[:200]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="about two minutes, for CI")
    parser.add_argument("--only", choices=[fault.name for fault in FAULTS], nargs="+", help="some rows")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    options = parser.parse_args()
    began, faults = time.monotonic(), 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background would have ignored, by all,
    signal.signal(signal.SIGHUP, lambda *_: None)  # and nohup this: ignored here, it is so in all that is started
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
        ground = Ground(Path(folder))
        took = ", ".join(f"{seconds:.0f} s" for seconds in ground.seconds.values())
        print(f"seed {options.seed}; runs without faults, a first and a second, take {took}\n\n{HEADER}", flush=True)
        counts = {fault: fault.short if options.short else fault.tries for fault in FAULTS}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            chosen = [fault for fault in FAULTS if counts[fault] and fault.name in (options.only or [fault.name])]
            made = [pool.map(partial(attempt, fault, ground, options.seed), range(counts[fault])) for fault in chosen]
            for fault, outcomes in zip(chosen, map(list, made), strict=True):
                faults += sum(bool(outcome.lost or outcome.wrong) for outcome in outcomes)
                print(row(fault, outcomes), flush=True)
        end(of_folder(folder))
    print(f"\n{time.monotonic() - began:.0f} s, {faults} tries lost or wrong")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
