"""Break the pipeline on purpose, in copies of the project, and see what is lost: `make torture`.

Each try lets a run meet a fault, takes the fault away and runs again. *Lost* counts the tries after which that second
run fails, is not up to date, or params.yaml has changed; *wrong* those whose results are not, byte for byte, those of a
run that nothing happened to, and those in which the user got a traceback of Python's.

The copies work on the built-in digits, with small networks, and checkpoints every tenth of a second.
"""

import argparse
import contextlib
import hashlib
import http.server
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"
RESULTS = ("models", "metrics", "data/split", "data/processed")
SHRUNK: dict[str, Any] = {"dataset": "synthetic", "synthetic_rows_per_writer": 20, "hidden_layers": [24], "epochs": 150}
LIMIT = 300.0  # seconds after which a run counts as hanging
DVC = [sys.executable, "-m", "dvc"]


@dataclass
class Row:
    """A line of the table: what happened in all tries of one fault."""

    fault: str
    tries: int = 0
    lost: int = 0
    wrong: int = 0
    messages: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = max(self.messages, key=self.messages.count, default="")
        return f"| {self.fault} | {self.tries} | {self.lost} | {self.wrong} | {told} |"


HEADER = "| fault | tries | lost | wrong | what the user was told (the commonest) |\n|---|---:|---:|---:|---|"


class Ground:
    """Where the copies are made: a project that is ready to run, and what a run of it must give."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self._count = 0
        self.pristine = folder / "pristine"
        listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
        for name in listed.splitlines():
            if (ROOT / name).is_file() and not name.startswith(("metrics/", "docs/", "dvc.lock")):
                (self.pristine / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.pristine / name)
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        (self.pristine / "params.yaml").write_text(yaml.safe_dump(params | SHRUNK))
        module = self.pristine / "src/checkpoint.py"
        module.write_text(re.sub(r"(?m)^EVERY = [\d.]+", "EVERY = 0.1", module.read_text()))
        git(self.pristine, "init", "-q")
        commit(self.pristine)
        whole = self.copy()
        start = time.monotonic()
        code, said = run(whole, [*DVC, "repro"])
        self.seconds = time.monotonic() - start  # a run takes
        if code:
            raise SystemExit(f"the run without any fault failed:\n{said}")
        self.expected = fingerprints(whole)
        self.whole = whole

    def copy(self, of: Path | None = None, to: Path | None = None) -> Path:
        """A copy of the project, not run yet or as it is after a run."""
        self._count += 1
        place = to or self.folder / f"copy{self._count}"
        shutil.copytree(of or self.pristine, place, symlinks=True, dirs_exist_ok=True)
        return place

    def judge(self, row: Row, folder: Path, said: str) -> None:
        """Run again, without the fault, and enter what that shows."""
        code, again = run(folder, [sys.executable, "src/run.py"])  # what `make run` does
        untouched = (folder / "params.yaml").read_bytes() == (self.pristine / "params.yaml").read_bytes()
        row.tries += 1
        row.lost += bool(code) or not untouched
        row.wrong += fingerprints(folder) != self.expected or "Traceback" in said
        if code or fingerprints(folder) != self.expected or "Traceback" in said:
            sys.stderr.write(f"--- {row.fault}, try {row.tries}\n{said[-3000:]}\n--- again ({code})\n{again[-2000:]}\n")
        row.messages.append(told(said))
        if "going on after" in again:
            row.messages[-1] = "nothing; the next run says: going on after epoch ..." if not told(said) else told(said)
        shutil.rmtree(folder, ignore_errors=True)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t")


def environment(**more: str) -> dict[str, str]:
    found = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "PENDIGITS_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{found.get('PATH', '')}"
    return found | {"PATH": path, "PENDIGITS_TRACKING": "off", "PYTHONPATH": ""} | more


def start(folder: Path, command: list[str], **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=folder, env=environment(**more), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def run(folder: Path, command: list[str], **more: str) -> tuple[int, str]:
    """Run to the end; returns the exit code and what was said. What hangs is killed, and says so."""
    process = start(folder, command, **more)
    try:
        said, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return -1, process.communicate()[0] + f"\nTraceback: none, but it hung for {LIMIT:.0f} s"
    return process.returncode, said


def fingerprints(folder: Path) -> dict[str, str]:
    """The checksum of each file that the pipeline makes."""
    files = [file for name in RESULTS for file in sorted((folder / name).rglob("*")) if file.is_file()]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name != ".gitignore"
    }


_NEWS = re.compile(r"warning|cannot|another|MLflow: not|no permission|disk|full|read-only|No space", re.IGNORECASE)


def told(said: str) -> str:
    """The line that told the user what was wrong: the one before DVC says that a stage failed, or the last of note."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    failed = next((i for i, line in enumerate(lines) if line.startswith("ERROR: failed to reproduce")), 0)
    worth = [lines[failed - 1] if "exited with" in lines[failed] else lines[failed]] if failed else []
    worth = worth or [line for line in lines if _NEWS.search(line)][-1:]
    return re.sub(r"/\S*/(small/project|copy\d+)\b", ".", "".join(worth)).replace("|", "/")[:160]


# --- Faults ----------------------------------------------------------------------------------------------------------


def killed(ground: Ground, tries: int) -> Iterator[Row]:
    """kill -9 of everything, or of the stage or DVC alone, at a random moment of a run."""
    row, resumed = Row("kill -9 at a random moment of `dvc repro`"), 0
    for _ in range(tries):
        folder = ground.copy()
        process = start(folder, [*DVC, "repro"])
        time.sleep(ground.chance.uniform(0.0, ground.seconds))
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        resumed += any(path.suffix != ".lock" for path in folder.glob(".dvc/tmp/checkpoints/*"))
        ground.judge(row, folder, said)
    row.messages = [f"the next `dvc repro` goes on; from within the training in {resumed} tries"]
    yield row


def asked_to_stop(ground: Ground, tries: int) -> Iterator[Row]:
    row = Row("SIGTERM or Ctrl-C to the training")
    for turn in range(tries):
        folder = ground.copy(ground.whole)
        shutil.rmtree(folder / "models")
        process = start(folder, [*DVC, "repro", "-f", "-s", "train"])
        while process.poll() is None and not list(folder.glob(".dvc/tmp/checkpoints/*.training")):
            time.sleep(0.02)
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if b"src/train.py" in entry.read_bytes() and (entry.parent / "cwd").readlink() == folder:
                    os.kill(int(entry.parent.name), (signal.SIGTERM, signal.SIGINT)[turn % 2])
        said, _ = process.communicate()
        ground.judge(row, folder, said)
    row.messages = [re.sub(r"epoch \d+ of \d+", "epoch N of M", message) for message in row.messages]
    yield row


def disk_full(ground: Ground, tries: int) -> Iterator[Row]:
    """The project on a file system of its own, with less room than a run needs; as root only, who may make one."""
    row = Row("the disk is full (a tmpfs with room for 0.2 to 2 MB)")
    place = ground.folder / "small"
    place.mkdir()
    for turn in range(tries):
        if not mount("-t", "tmpfs", "-o", "size=1g", "tmpfs", str(place)):
            break
        try:
            folder = ground.copy(to=place / "project")
            room = int(2e5 + 1.8e6 * turn / max(tries - 1, 1))
            mount("-o", f"remount,size={shutil.disk_usage(place).used + room}", str(place))
            _, said = run(folder, [*DVC, "repro"])
            mount("-o", "remount,size=1g", str(place))
            ground.judge(row, folder, said)
        finally:
            unmount(place)
    yield row


def read_only(ground: Ground, tries: int) -> Iterator[Row]:
    row = Row("a folder is read-only: data, models, metrics, .dvc/tmp, .dvc/cache, all of them")
    for name in ["models", "data", "metrics", ".dvc/tmp", ".dvc/cache", "."][:tries]:
        folder = ground.copy()
        (folder / name).mkdir(parents=True, exist_ok=True)
        with not_writable(folder / name) as possible:
            _, said = run(folder, [*DVC, "repro"])
        if possible:
            ground.judge(row, folder, said)
    yield row


def clock_jumps(ground: Ground, tries: int) -> Iterator[Row]:
    """The wall clock of every Python process jumps by up to ten years, back and forth; all files' times too."""
    row = Row("the clock jumps by years, back and forth, in all processes")
    for turn in range(tries):
        folder, patch = ground.copy(), ground.folder / f"clock{turn}"
        patch.mkdir()
        (patch / "sitecustomize.py").write_text(_JUMPS)
        for file in (folder / "src").rglob("*.py"):
            moment = time.time() + ground.chance.uniform(-3e8, 3e8)
            os.utime(file, (moment, moment))
        _, said = run(folder, [*DVC, "repro"], PYTHONPATH=str(patch))
        ground.judge(row, folder, said)
    yield row


_JUMPS = """
import random, time
def jumping(clock, unit, chance=random.Random(0)):
    return lambda: clock() + int(chance.uniform(-3e8, 3e8)) * unit
time.time, time.time_ns = jumping(time.time, 1), jumping(time.time_ns, 10**9)
"""


def at_once(ground: Ground, tries: int) -> Iterator[Row]:
    row = Row("two `make run` in one checkout at once")
    for _ in range(tries):
        folder = ground.copy()
        both = [start(folder, [sys.executable, "src/run.py"]) for _ in range(2)]
        said = [process.communicate()[0] for process in both]
        codes = [process.returncode for process in both]
        ground.judge(
            row,
            folder,
            "\n".join(said)
            if any(codes)
            else "\n".join(line for words in said for line in words.splitlines() if "waiting" in line),
        )
    yield row
    row = Row("two `make` in one checkout that both set up .venv")
    for turn in range(tries):
        row.tries += 1
        row.wrong += not set_up_once(ground.folder / f"setup{turn}")
        row.messages.append("the second waits for the first")
    yield row


def set_up_once(folder: Path) -> bool:
    """Whether two `make setup` at once make .venv one after the other, with a slow stand-in for Python."""
    folder.mkdir()
    for name in ("Makefile", "requirements.lock"):
        shutil.copy2(ROOT / name, folder / name)
    python = folder / "python"
    python.write_text(_SLOW_PYTHON)
    python.chmod(0o755)
    makes = [start(folder, ["make", "setup", f"PYTHON={python}"]) for _ in range(2)]
    said = [process.communicate()[0] for process in makes]
    return all(process.returncode == 0 for process in makes) and "at once" not in "".join(said)


_SLOW_PYTHON = """#!/bin/sh
case "$1 $2" in
"-m venv") mkdir busy || { echo "two at once"; exit 1; }
  sleep 1; rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; rmdir busy;;
"-m pip") mkdir busy || { echo "two at once"; exit 1; }
  sleep 1; rmdir busy;;
*) exec python3 "$@";;
esac
"""


def parallel(ground: Ground, tries: int) -> Iterator[Row]:
    """Experiments in the queue, eight workers."""
    row = Row("eight experiments at once (`dvc exp run --queue`, eight workers)")
    for _ in range(tries):
        folder = ground.copy(ground.whole)
        commit(folder)
        for seed in range(1, 9):
            run(folder, [*DVC, "exp", "run", "--queue", "-S", f"seed={seed}"])
        run(folder, [*DVC, "queue", "start", "-j", "8"], PENDIGITS_TRACKING="")
        until = time.monotonic() + LIMIT
        status = ""
        while time.monotonic() < until and (not status or re.search("Queued|Running", status)):
            time.sleep(2)
            status = run(folder, [*DVC, "queue", "status"])[1]
        done = len(re.findall("Success", status))
        row.tries, row.lost = row.tries + 8, row.lost + 8 - done
        row.wrong += ended_runs(folder / "mlflow.db") != 8
        row.messages.append(f"{done} of 8 succeeded, {ended_runs(folder / 'mlflow.db')} runs in MLflow")
        run(folder, [*DVC, "queue", "stop", "--kill"])
    yield row


def ended_runs(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as store:
        return int(store.execute("select count(*) from runs where status = 'FINISHED'").fetchone()[0])


def store_faults(ground: Ground, tries: int) -> Iterator[Row]:
    """What may happen to MLflow's database while a run is being logged."""

    def locked(database: Path) -> Callable[[], None]:
        store = sqlite3.connect(database, isolation_level=None)
        store.execute("begin exclusive")
        return store.close

    def deleted(database: Path) -> Callable[[], None]:
        database.unlink()
        return lambda: None

    def corrupted(database: Path) -> Callable[[], None]:
        content = bytearray(database.read_bytes())
        for place in range(0, len(content), 97):
            content[place] = ground.chance.randrange(256)
        database.write_bytes(content)
        return database.unlink

    first = ground.copy(ground.whole)
    run(first, [*DVC, "repro", "-f", "-s", "evaluate"], PENDIGITS_TRACKING="")  # makes the database
    for what in (locked, deleted, corrupted):
        row = Row(f"MLflow's store is {what.__name__} while training runs")
        for _ in range(tries):
            folder = ground.copy(first)
            process = start(folder, [*DVC, "repro", "-f"], PENDIGITS_TRACKING="")
            time.sleep(ground.chance.uniform(0.3, 0.6) * ground.seconds)
            heal = what(folder / "mlflow.db")
            said, _ = process.communicate()
            heal()
            ground.judge(row, folder, said)
        yield row
    shutil.rmtree(first)


def server_vanishes(ground: Ground, tries: int) -> Iterator[Row]:
    row = Row("the tracking server vanishes in the middle")
    for turn in range(tries):
        folder, place, port = ground.copy(), ground.folder / f"server{turn}", 5600 + os.getpid() % 300 + turn
        place.mkdir()
        address = f"http://127.0.0.1:{port}"
        command = [
            "mlflow",
            "server",
            "--backend-store-uri",
            f"sqlite:///{place}/m.db",
            "--port",
            str(port),
            "--workers",
            "1",
        ]
        server = start(place, [sys.executable, "-m", *command])
        wait_for(port)
        process = start(folder, [*DVC, "repro"], PENDIGITS_TRACKING="", MLFLOW_TRACKING_URI=address)
        time.sleep(ground.chance.uniform(0.2, 1.0) * ground.seconds)
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()
        said, _ = process.communicate()
        ground.judge(row, folder, said)
    yield row


def wait_for(port: int) -> None:
    import socket

    until = time.monotonic() + 90
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)


def network_faults(ground: Ground, tries: int) -> Iterator[Row]:
    """The one source of the real data set misbehaves; what was fetched before must stay as it is."""
    for fault in ("refuses", "answers a web page", "sends half", "answers 500", "stalls")[: 3 if tries == 1 else 5]:
        row = Row(f"the network in fetch {fault}")
        for _ in range(tries):
            folder = ground.copy()
            (folder / "params.yaml").write_text(
                re.sub("dataset: synthetic", "dataset: pendigits", (folder / "params.yaml").read_text())
            )
            kept = folder / "data/raw/pendigits/kept"
            kept.parent.mkdir(parents=True)
            kept.write_text("kept")
            with misbehaving(fault) as address:
                nowhere = {"https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
                code, said = run(folder, [sys.executable, "src/fetch.py"], PENDIGITS_MIRROR=address, **nowhere)
            row.tries += 1
            row.lost += not kept.exists() or len(list(kept.parent.iterdir())) != 1
            row.wrong += code != 1 or "Traceback" in said
            found = re.search(r"- PENDIGITS_MIRROR \([^)]*\): (.*)", said)
            row.messages.append((found.group(1) if found else said[-100:])[:120])
            shutil.rmtree(folder)
        yield row


@contextlib.contextmanager
def misbehaving(fault: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<!doctype html><html>please log in</html>"
            self.send_response(500 if fault == "answers 500" else 200)
            self.send_header("Content-Length", str(len(page) if "page" in fault else 1_668_118))
            self.end_headers()
            self.wfile.write(page if "page" in fault else bytes(800_000))
            if fault == "stalls":
                self.wfile.flush()
                time.sleep(30)

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
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


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

FAULTS: dict[
    str, tuple[Callable[[Ground, int], Iterator[Row]], int, int]
] = {  # tries in the long and the short version
    "killed": (killed, 100, 4),
    "stopped": (asked_to_stop, 10, 1),
    "disk": (disk_full, 6, 1),
    "readonly": (read_only, 6, 1),
    "clock": (clock_jumps, 5, 0),
    "twice": (at_once, 3, 1),
    "network": (network_faults, 3, 1),
    "store": (store_faults, 3, 0),
    "server": (server_vanishes, 3, 0),
    "parallel": (parallel, 1, 0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="under two minutes, for CI; writes no document")
    parser.add_argument("--tries", type=int, help="how often each fault is tried")
    parser.add_argument("--only", choices=FAULTS, nargs="+", help="just these faults; writes no document")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
        ground = Ground(Path(folder), options.seed)
        print(f"a run without faults takes {ground.seconds:.0f} s\n\n{HEADER}", flush=True)
        for name in options.only or FAULTS:
            fault, long, short = FAULTS[name]
            tries = options.tries or (short if options.short else long)
            for row in fault(ground, tries) if tries else ():
                rows.append(row)
                print(row, flush=True)
    if not (options.short or options.only):
        write_document(rows)
    sys.exit(any(row.lost or row.wrong for row in rows))


def write_document(rows: list[Row]) -> None:
    """Put the table between the two marks in docs/reliability.md."""
    table = "\n".join([HEADER, *map(str, rows)])
    text = DOCUMENT.read_text(encoding="utf-8")
    marks = "<!-- torture: begin -->\n", "<!-- torture: end -->"
    before, _, rest = text.partition(marks[0])
    DOCUMENT.write_text(f"{before}{marks[0]}\n{table}\n\n{marks[1]}{rest.partition(marks[1])[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
