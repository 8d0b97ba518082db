"""Break the pipeline on purpose, in copies of the project, and see what is lost: `make torture`.

Each try lets a run meet a fault, takes the fault away and runs again, as a user would. *Lost* counts the tries after
which that second run fails, or something of before is gone: params.yaml, an edit, a run in MLflow. *Wrong* counts those
after which a file is not, byte for byte, what a run gives that nothing happened to, and those in which the user got a
traceback, or nothing at all until the limit.

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
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"
SHRUNK: dict[str, Any] = {"dataset": "synthetic", "synthetic_rows_per_writer": 20, "hidden_layers": [24], "epochs": 150}
LIMIT = 240.0  # seconds after which a run counts as hanging
AT_ONCE = 2  # tries
HUNG = "nothing: it hung"
DVC = [sys.executable, "-m", "dvc"]
MAKE_RUN = [sys.executable, "src/run.py"]  # what `make run` does
EXPERIMENT = ["exp", "run", "-S", "seed=1"]


class Try(NamedTuple):
    """What one try of a fault came to. ``skipped`` says why it could not be made."""

    lost: bool = False
    wrong: bool = False
    told: str = ""
    skipped: str = ""


# --- Copies of the project, and runs in them -------------------------------------------------------------------------


class Ground:
    """Where the copies are made: a project that is ready to run, and what a run of it must give."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pristine = folder / "pristine"
        listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
        for name in listed.splitlines():
            if (ROOT / name).is_file() and not name.startswith(("metrics/", "docs/", "dvc.lock", "tests/")):
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

    @cached_property
    def experiment(self) -> dict[str, Any]:
        """What the experiment that the faults run gives if nothing happens to it."""
        place = self.copy("experiment", self.whole)
        run(place, [*DVC, *EXPERIMENT])
        return results(place)

    def again(self, folder: Path, said: str, **more: str) -> tuple[Try, str]:
        """`make run`, without the fault: what that shows, and what it says."""
        code, then = run(folder, MAKE_RUN, **more)
        changed = (folder / "params.yaml").read_bytes() != (self.pristine / "params.yaml").read_bytes()
        differs = not code and results(folder) != self.expected
        return Try(bool(code) or changed, differs or bad(said + then), told(said)), then


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
        hung = ""
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()
            hung = f"\n{HUNG} for {LIMIT:.0f} s\n"
        self._file.seek(0)
        return self._file.read() + hung

    def kill(self) -> None:
        """SIGKILL to it and all its children."""
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
    """The checksum of each file that the pipeline makes, and what dvc.lock says."""
    names = ("models", "metrics", "data")
    files = [file for name in names for file in sorted((folder / name).rglob("*")) if file.is_file()]
    found: dict[str, Any] = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name != ".gitignore"
    }
    return found | {"dvc.lock": yaml.safe_load((folder / "dvc.lock").read_text())}


def bad(said: str) -> bool:
    return "Traceback" in said or HUNG in said


_NEWS = re.compile(r"warning|cannot|another|MLflow: not|no permission|disk|full|read-only|No space", re.IGNORECASE)


def told(said: str) -> str:
    """The line that told the user what was wrong: the one before DVC says that a stage failed, or the last of note."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    failed = next((i for i, line in enumerate(lines) if line.startswith("ERROR: failed to reproduce")), 0)
    worth = [lines[failed - 1] if "exited with" in lines[failed] else lines[failed]] if failed else []
    worth = worth or [line for line in lines if _NEWS.search(line)][-1:]
    return "".join(worth)


def moment(chance: random.Random, ground: Ground) -> float:
    """A moment of a run, in seconds from its start."""
    return chance.uniform(0, ground.seconds)


def wait_until(happened: Callable[[], object], seconds: float = LIMIT) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if happened():
            return True
        time.sleep(0.02)
    return False


# --- Faults ----------------------------------------------------------------------------------------------------------


def killed(ground: Ground, name: str, turn: int, chance: random.Random, tracking: str = "off") -> Try:
    """kill -9 of everything, of the running stage alone, or of DVC alone, whose stage then works on."""
    when, kind = moment(chance, ground), ("all", "stage", "dvc")[turn % 3]
    while True:
        folder = ground.copy(f"{name}-{when:.3f}")
        running = start(folder, [*DVC, "repro"], PENDIGITS_TRACKING=tracking)
        time.sleep(when)
        stages = running.stages() if kind != "stage" or wait_until(running.stages, 5) else []
        if running.process.poll() is None and (stages or kind != "stage"):
            break
        running.said()
        when *= 0.9  # it had ended
    if kind == "all":
        running.kill()
    for victim in stages if kind == "stage" else [running.process] if kind == "dvc" else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    running.process.wait(LIMIT)
    outcome, then = ground.again(folder, "", PENDIGITS_TRACKING=tracking)
    running.kill()
    if tracking != "off":
        outcome = outcome._replace(lost=outcome.lost or not in_mlflow(folder))
    went_on = re.search(r"going on after epoch.*", then)
    return outcome._replace(
        told=f"then: {went_on.group()}" if went_on else "nothing; the next run makes what is missing"
    )


def experiment_killed(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """kill -9 in `dvc exp run`, in the workspace with an edit at hand, with --temp, or of a queued one's training."""
    expected, folder = ground.experiment, ground.copy(name, ground.whole)
    kind = ("workspace", "--temp", "--queue")[turn % 3]
    edited = (folder / "README.md").read_text() + "\nan edit that is not committed\n"
    (folder / "README.md").write_text(edited)
    command = [*DVC, *EXPERIMENT, *([kind] if kind != "workspace" else [])]
    if kind == "--queue":
        run(folder, [*command, "-n", "first"])
        run(folder, [*DVC, "queue", "start"])
        wait_until(lambda: kept(folder))
        for victim in psutil.process_iter(["cmdline"]):
            if "src/train.py" in (victim.info["cmdline"] or []) and victim.environ().get("DVC_ROOT") == str(folder):
                victim.kill()
        wait_until(lambda: "Failed" in run(folder, [*DVC, "queue", "status"])[1])
        run(folder, [*command, "-n", "second"])
        run(folder, [*DVC, "queue", "start"])
        worked = wait_until(lambda: "Success" in run(folder, [*DVC, "queue", "status"])[1])
        then = run(folder, [*DVC, "queue", "logs", "second"])[1]
    else:
        running = start(folder, command)
        if kind == "--temp":
            wait_until(lambda: kept(folder))
        else:
            time.sleep(moment(chance, ground))
        running.kill()
        code, then = run(folder, command)
        if code:  # DVC's own files may be cut off, which `make run` mends
            then = run(folder, [sys.executable, "src/mend.py"])[1]
            code, after = run(folder, command)
            then += after
        worked = not code
    if kind == "workspace":
        right = worked and results(folder) == expected
    else:
        latest = git(folder, "for-each-ref", "--sort=-creatordate", "--count=1", "--format=%(refname)", "refs/exps/")
        right = worked and yaml.safe_load(git(folder, "show", f"{latest.strip()}:dvc.lock")) == expected["dvc.lock"]
        right = right and "going on after epoch" in then
    gone = (folder / "README.md").read_text() != edited
    went_on = re.search(r"going on after epoch.*", then)
    said = f"then: {went_on.group()}" if went_on else told(then) or "nothing; the same command again makes it"
    if not right or not worked or gone or bad(then):
        said = f"{kind}: {said} {then[-400:]}"
    return Try(not worked or gone, (worked and not right) or bad(then), said)


def kept(folder: Path) -> list[Path]:
    """The checkpoints in a folder; their names begin with a dot while they are being written."""
    return [path for path in folder.glob(".dvc/tmp/checkpoints/[!.]*") if path.suffix != ".lock"]


def asked_to_stop(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    """SIGTERM or SIGINT to the training; its run in MLflow must be closed."""
    folder = ground.copy(name, ground.whole)
    shutil.rmtree(folder / "models")
    running = start(folder, [*DVC, "repro", "-f", "-s", "train"], PENDIGITS_TRACKING="")
    wait_until(lambda: kept(folder))
    time.sleep(chance.uniform(0, 1))
    for stage in running.stages():
        with contextlib.suppress(psutil.NoSuchProcess):
            stage.send_signal((signal.SIGTERM, signal.SIGINT)[turn % 2])
    said = running.said()
    closed = not runs(folder / "mlflow.db", "RUNNING")
    outcome, _ = ground.again(folder, said)
    return outcome._replace(wrong=outcome.wrong or not closed)


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
        _, said = run(folder, [*DVC, "repro"], PENDIGITS_TRACKING=("off", "")[turn % 2])
        mount("-o", "remount,size=1g", str(place))
        return ground.again(folder, said)[0]
    finally:
        unmount(place)


READ_ONLY = ("models", "data", "metrics", ".dvc/tmp", ".dvc/cache", ".git", ".")


def read_only(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    folder, place = ground.copy(name), READ_ONLY[turn % len(READ_ONLY)]
    (folder / place).mkdir(parents=True, exist_ok=True)
    with not_writable(folder / place) as possible:
        _, said = run(folder, [*DVC, "repro"], PENDIGITS_TRACKING=("off", "")[turn % 2])
    return ground.again(folder, said)[0] if possible else Try(skipped="a folder cannot be made read-only here")


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
    _, said = run(folder, [*DVC, "repro"], PYTHONPATH=str(patch), PENDIGITS_TRACKING=("off", "")[turn % 2])
    return ground.again(folder, said)[0]


_JUMPS = """
import random, time
def jumping(clock, unit, chance=random.Random(0)):
    return lambda: clock() + int(chance.uniform(-3e8, 3e8)) * unit
time.time, time.time_ns = jumping(time.time, 1), jumping(time.time_ns, 10**9)
"""


def run_twice(ground: Ground, name: str, turn: int, chance: random.Random) -> Try:
    folder = ground.copy(name)
    first = start(folder, MAKE_RUN)
    time.sleep(chance.uniform(0, 2))
    second = start(folder, MAKE_RUN)
    said = [first.said(), second.said()]
    failed = first.process.returncode or second.process.returncode
    outcome, _ = ground.again(folder, "".join(said))
    waiting = re.search(r".*waiting.*", "".join(said))
    return outcome._replace(lost=outcome.lost or bool(failed), told=waiting.group() if waiting else told("".join(said)))


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
    return Try(failed, "at once" in said, "the second waits for the first")


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
    """Eight workers of DVC's queue; each experiment must give what a training alone with its seed gives."""
    folder, seeds = ground.copy(name, ground.whole), range(8 * turn + 1, 8 * turn + 9)
    for seed in seeds:
        run(folder, [*DVC, "exp", "run", "--queue", "-S", f"seed={seed}", "-n", f"seed{seed}"])
    run(folder, [*DVC, "queue", "start", "-j", "8"], PENDIGITS_TRACKING="")
    ended = partial(re.search, "Queued|Running")
    wait_until(lambda: not ended(run(folder, [*DVC, "queue", "status"])[1]))
    run(folder, [*DVC, "queue", "stop", "--kill"])
    refs = dict(re.findall(r"(\S+/(\S+))\n", git(folder, "for-each-ref", "--format=%(refname)", "refs/exps/"))) or {}
    made = {name: git(folder, "show", f"{ref}:metrics/history.csv") for ref, name in refs.items() if "seed" in name}
    wrong = 0
    for seed in seeds:
        alone = ground.copy(f"{name}-alone", ground.whole)
        params = yaml.safe_load((alone / "params.yaml").read_text())
        (alone / "params.yaml").write_text(yaml.safe_dump(params | {"seed": seed}))
        run(alone, [sys.executable, "src/train.py"])
        wrong += made.get(f"seed{seed}") != (alone / "metrics/history.csv").read_text()
    logged = runs(folder / "mlflow.db", "FINISHED")
    said = f"{len(made)} of 8 succeeded, {logged} runs in MLflow"
    return Try(len(made) != 8 or logged != 8, bool(wrong), said)


def runs(database: Path, status: str) -> int:
    """How many runs in MLflow's database are in a state."""
    if not database.exists():
        return 0
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as store:
        return int(store.execute("select count(*) from runs where status = ?", [status]).fetchone()[0])


def in_mlflow(folder: Path) -> bool:
    """Whether `make sync` sees to it that MLflow shows the result, in a sound store."""
    code, _ = run(folder, [sys.executable, "src/sync.py"], PENDIGITS_TRACKING="")
    return not code and runs(folder / "mlflow.db", "FINISHED") > 0


def store_fault(
    what: Callable[[Path, random.Random], Callable[[], object]],
    ground: Ground,
    name: str,
    turn: int,
    chance: random.Random,
) -> Try:
    """Something happens to MLflow's database while a run is being logged."""
    folder = ground.copy(name, ground.whole)
    run(folder, [sys.executable, "src/sync.py"], PENDIGITS_TRACKING="")  # makes the database
    running = start(folder, [*DVC, "repro", "-f"], PENDIGITS_TRACKING="")
    time.sleep(chance.uniform(0.2, 0.6) * ground.seconds)
    heal = what(folder / "mlflow.db", chance)
    said = running.said()
    heal()
    outcome, _ = ground.again(folder, said)
    return outcome._replace(lost=outcome.lost or not in_mlflow(folder))


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
    """MLflow's server is killed, or stops answering, at a random moment of a run."""
    folder, place = ground.copy(name), ground.folder / f"{name}-server"
    place.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{place}/m.db", "--artifacts-destination", str(place / "artifacts")]
    server = start(place, [sys.executable, "-m", "mlflow", "server", *store, "--port", str(port), "--workers", "1"])
    wait_until(lambda: answers(port), 90)
    running = start(folder, [*DVC, "repro"], PENDIGITS_TRACKING="", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    time.sleep(moment(chance, ground))
    os.killpg(server.process.pid, (signal.SIGKILL, signal.SIGSTOP)[turn % 2])
    said = running.said()
    server.kill()
    return ground.again(folder, said)[0]


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
    lost = not before.exists() or len(list(before.parent.iterdir())) != 1
    found = re.search(r"- PENDIGITS_MIRROR \([^)]*\): (.*)", said)
    return Try(lost, code != 1 or bad(said), found.group(1) if found else said[-100:])


@contextlib.contextmanager
def misbehaving(fault: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
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
    """A line of the table, how to make a try, and how many the long and the short version make."""

    name: str
    fault: str
    attempt: Callable[[Ground, str, int, random.Random], Try]
    tries: int
    short: int


FAULTS = [
    Fault("killed", "kill -9 at a random moment of `dvc repro`: all, the stage, or DVC alone", killed, 100, 3),
    Fault("logged", "the same, while MLflow logs the run", partial(killed, tracking=""), 6, 0),
    Fault("experiment", "kill -9 in `dvc exp run`, `--temp`, `--queue`", experiment_killed, 9, 0),
    Fault("stopped", "SIGTERM or Ctrl-C in the training", asked_to_stop, 6, 1),
    Fault("disk", "the disk is full: 0.1 to 2.5 MB left on a tmpfs", disk_full, 10, 1),
    Fault("readonly", f"a read-only folder: {', '.join(READ_ONLY)}", read_only, 14, 1),
    Fault("clock", "the clock jumps by years, back and forth", clock_jumps, 4, 0),
    Fault("twice", "two `make run` in one checkout", run_twice, 4, 1),
    Fault("setup", "two `make` in one checkout that both set up .venv", set_up_twice, 2, 1),
    Fault("parallel", "eight experiments at once: eight workers of DVC's queue", eight_experiments, 1, 0),
    Fault("locked", "MLflow's store is locked in the middle of a run", partial(store_fault, locked), 3, 0),
    Fault("deleted", "MLflow's store is deleted in the middle of a run", partial(store_fault, deleted), 3, 0),
    Fault("corrupted", "MLflow's store is overwritten in the middle of a run", partial(store_fault, corrupted), 3, 0),
    Fault("server", "the tracking server vanishes, or stops answering", server_vanishes, 4, 0),
    *(
        Fault("network", f"the network in fetch {what}", partial(network_fault, what), 3, int(what != "stalls"))
        for what in ("refuses", "stalls", "sends half", "answers a web page", "answers 500")
    ),
]
HEADER = "| fault | tries | lost | wrong | what the user was told, most often |\n|---|---:|---:|---:|---|"


def attempts(fault: Fault, ground: Ground, tries: int, seed: int) -> list[Try]:
    """Make the tries, some at once; removes their folders, and says what went wrong in them."""

    def attempt(turn: int) -> Try:
        name = f"{fault.name}{FAULTS.index(fault)}-{turn}"
        try:
            outcome = fault.attempt(ground, name, turn, random.Random(f"{seed} {fault.fault} {turn}"))
        finally:
            for place in ground.folder.glob(f"{name}*"):
                shutil.rmtree(place, ignore_errors=True)
        if outcome.lost or outcome.wrong:
            sys.stderr.write(f"--- {fault.fault}, try {turn}: {outcome}\n")
        return outcome

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(attempt, range(tries)))


def row(fault: Fault, outcomes: list[Try]) -> str:
    made = [outcome for outcome in outcomes if not outcome.skipped]
    messages = [plain(outcome.told) for outcome in made] or [f"skipped: {outcomes[0].skipped}"]
    said = max(messages, key=messages.count)
    lost, wrong = sum(outcome.lost for outcome in made), sum(outcome.wrong for outcome in made)
    return f"| {fault.fault} | {len(made)} | {lost} | {wrong} | {said} |"


def plain(message: str) -> str:
    """A message without what is of one try alone."""
    message = re.sub(r"/\S*?/(small/project|[a-z]+\d+-\d+[^/\s]*)(?=[/\s):;,]|$)", ".", message)
    message = re.sub(r"(epoch|step) \d+", r"\1 N", message)
    message = re.sub(r" of \d+(?=[,;])", " of M", message).replace(", step N,", "")
    return " ".join(message.replace("|", "/").split())[:200]


def write_document(rows: list[str], seconds: float, seed: int) -> None:
    """Put the table between the two marks in docs/reliability.md."""
    said = f"`make torture`, seed {seed}, took {seconds / 60:.0f} minutes with Python {platform.python_version()} on "
    table = "\n".join([f"{said}{os.cpu_count()} cores.", "", HEADER, *rows])
    text = DOCUMENT.read_text(encoding="utf-8")
    marks = "<!-- torture: begin -->\n", "<!-- torture: end -->"
    before, _, rest = text.partition(marks[0])
    DOCUMENT.write_text(f"{before}{marks[0]}\n{table}\n\n{marks[1]}{rest.partition(marks[1])[2]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="under two minutes, for CI; writes no document")
    parser.add_argument("--tries", type=int, help="how often each fault is tried; writes no document")
    parser.add_argument("--only", choices=sorted({f.name for f in FAULTS}), nargs="+", help="writes no document")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    options = parser.parse_args()
    began, rows, faults = time.monotonic(), [], 0
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
        ground = Ground(Path(folder))
        print(f"seed {options.seed}; a run without faults takes {ground.seconds:.0f} s\n\n{HEADER}", flush=True)
        for fault in FAULTS:
            tries = options.tries or (fault.short if options.short else fault.tries)
            if tries and fault.name in (options.only or [fault.name]):
                outcomes = attempts(fault, ground, tries, options.seed)
                faults += sum(outcome.lost or outcome.wrong for outcome in outcomes)
                rows.append(row(fault, outcomes))
                print(rows[-1], flush=True)
    print(f"\n{time.monotonic() - began:.0f} s, {faults} tries lost or wrong")
    if not (options.short or options.only or options.tries):
        write_document(rows, time.monotonic() - began, options.seed)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
