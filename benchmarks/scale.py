"""How time and memory grow with rows, width and depth: `make bench-scale`; writes benchmarks/results/scale.{json,md}.

The rows lie in a memory-mapped file that is never loaded whole. Each measurement is a process of its own; its memory is
the most that it held privately at any time (Linux: RssAnon), without the pages of the file, which the system may drop.
Then the same training with one thread and with two, and one process against two at once.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from data_sets import synthetic  # noqa: E402
from neural_net import Network, Training, dense_layers  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
WIDTHS, DEPTHS = (64, 128, 256, 512, 1024), (1, 2, 4, 8, 16)
TOGETHER = ((1_000_000, [32, 16]), (100_000, [256, 128]), (20_000, [512, 512, 256]))  # rows, hidden: seconds each
DRAWN = 100_000  # different digits; larger files repeat them with a jitter


def write_rows(folder: Path, n: int) -> None:
    """Write n scaled rows and their digits, piece by piece."""
    rng = np.random.default_rng(0)
    drawn, digit, _ = synthetic.make_rows(min(n, DRAWN), rng)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n, 16))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.uint8, (n,))
    for start in range(0, n, DRAWN):
        stop = min(start + DRAWN, n)
        X[start:stop] = drawn[: stop - start] / 50 - 1 + rng.uniform(-0.01, 0.01, (stop - start, 16))
        y[start:stop] = digit[: stop - start]


class PeakMemory(threading.Thread):
    """Looks a hundred times a second at how much memory the process holds privately; ``mib`` is the most."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mib, self.done = private_mib(), threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.01):
            self.mib = max(self.mib, private_mib())


def private_mib() -> float:
    """The process's anonymous memory, from /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def train(folder: Path, rows: int, hidden: list[int]) -> dict[str, Any]:
    """One epoch, batch 128, over the first rows of the file."""
    X, y = (np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)[:rows] for name in "Xy")
    rng = np.random.default_rng(0)
    network = Network(dense_layers(hidden, 10, "relu"), 16, rng=rng)
    before, watch = private_mib(), PeakMemory()
    start, wall = time.process_time(), time.perf_counter()
    watch.start()
    history = Training(network, X, y, rng=rng, epochs=1, batch_size=128).run()
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    watch.done.set()
    return {
        "rows": rows,
        "hidden": hidden,
        "parameters": network.n_parameters,
        "seconds": seconds,
        "wall": wall,
        "mib": max(watch.mib, private_mib()) - before,
        "accuracy": history.last["train_accuracy"],
    }


def exponent(sizes: list[float], seconds: list[float]) -> float:
    """The slope of the logarithms: 1 where the cost grows in proportion."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=ROWS[-1], help="rows at most")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        what = json.loads(arguments.one)
        sys.stdout.write(json.dumps(train(Path(what["folder"]), what["rows"], what["hidden"])))
        return
    rows = [n for n in ROWS if n <= arguments.most]
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), rows[-1])
        tables = {
            "rows": [measure(folder, n, [32, 16]) for n in rows],
            "width": [measure(folder, 10_000, [width, width]) for width in WIDTHS],
            "depth": [measure(folder, 10_000, [128] * depth) for depth in DEPTHS],
        }
        pairs = [together(folder, min(n, rows[-1]), hidden) for n, hidden in TOGETHER]
    text = report(tables, pairs)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scale.json").write_text(json.dumps({**tables, "together": pairs}, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "scale.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def measure(folder: str, rows: int, hidden: list[int], threads: int = 1, processes: int = 1) -> dict[str, Any]:
    """``train`` in a process of its own, or in several at once, of which the one that takes longest is returned."""
    what = json.dumps({"folder": folder, "rows": rows, "hidden": hidden})
    env = os.environ | {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--one", what]
    started = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    answers = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit(f"training {hidden} on {rows} rows failed")
    return max((json.loads(answer) for answer in answers), key=lambda record: record["wall"])


def together(folder: str, rows: int, hidden: list[int], turns: int = 3) -> dict[str, Any]:
    """Median seconds on the wall, in turn: one process with one thread, one with two, two with one each."""
    ways = {"one": (1, 1), "two_threads": (2, 1), "two_processes": (1, 2)}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(turns):
        for way, (threads, processes) in ways.items():
            taken[way].append(measure(folder, rows, hidden, threads, processes)["wall"])
    return {"rows": rows, "hidden": hidden, **{way: statistics.median(values) for way, values in taken.items()}}


def report(tables: dict[str, list[dict[str, Any]]], pairs: list[dict[str, Any]]) -> str:
    """The tables, in Markdown, each with its exponent."""
    lines = []
    sizes = {"rows": "rows", "width": "parameters", "depth": "parameters"}
    for name, records in tables.items():
        slope = exponent([r[sizes[name]] for r in records], [r["seconds"] for r in records])
        lines += [f"{name.capitalize()}: seconds grow as {sizes[name]} to the power of {slope:.2f}.", ""]
        lines += ["| rows | hidden | parameters | file, MiB | seconds an epoch | memory, MiB | training accuracy |"]
        lines += ["| ---: | --- | ---: | ---: | ---: | ---: | ---: |"]
        for r in records:
            hidden = (
                "-".join(map(str, r["hidden"])) if len(r["hidden"]) < 4 else f"{len(r['hidden'])} x {r['hidden'][0]}"
            )
            cells = [f"{r['rows']:,}", hidden, f"{r['parameters']:,}", f"{r['rows'] * 65 / 2**20:.1f}"]
            cells += [f"{r['seconds']:.2f}", f"{r['mib']:.1f}", f"{r['accuracy']:.1%}"]
            lines += ["| " + " | ".join(cells) + " |"]
        lines += [""]
    lines += ["Two at a time: seconds on the wall for one epoch, and how many times as fast as one thread that is.", ""]
    lines += ["| rows | hidden | one thread | two threads | two processes, an epoch each |"]
    lines += ["| ---: | --- | ---: | ---: | ---: |"]
    for pair in pairs:
        one, threads, processes = pair["one"], pair["two_threads"], pair["two_processes"]
        cells = [f"{pair['rows']:,}", "-".join(map(str, pair["hidden"])), f"{one:.2f}"]
        cells += [f"{threads:.2f} ({one / threads:.2f}x)", f"{processes:.2f} ({2 * one / processes:.2f}x)"]
        lines += ["| " + " | ".join(cells) + " |"]
    lines += [""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
