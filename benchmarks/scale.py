"""How time and memory grow with rows, width and depth: `make bench-scale`; writes benchmarks/results/scale.{json,md}.

The rows lie in a memory-mapped file that is never loaded whole. Each measurement is a process of its own; its memory is
the most that it held privately at any time (Linux: RssAnon), without the pages of the file, which the system may drop.
"""

import argparse
import json
import os
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

import synthetic  # noqa: E402
from neural_net import Network, Training, dense_layers  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
WIDTHS, DEPTHS = (64, 128, 256, 512, 1024), (1, 2, 4, 8, 16)
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
    X, y = (np.load(folder / f"{name}.npy", mmap_mode="r")[:rows] for name in "Xy")
    rng = np.random.default_rng(0)
    network = Network(dense_layers(hidden, 10, "relu"), 16, rng=rng)
    before, watch, start = private_mib(), PeakMemory(), time.process_time()
    watch.start()
    history = Training(network, X, y, rng=rng, epochs=1, batch_size=128).run()
    seconds = time.process_time() - start
    watch.done.set()
    return {
        "rows": rows,
        "hidden": hidden,
        "parameters": network.n_parameters,
        "seconds": seconds,
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
    text = report(tables)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scale.json").write_text(json.dumps(tables, indent=1) + "\n")
    (RESULTS / "scale.md").write_text(text)
    sys.stdout.write(text)


def measure(folder: str, rows: int, hidden: list[int]) -> dict[str, Any]:
    """``train`` in a process of its own, on one thread."""
    what = json.dumps({"folder": folder, "rows": rows, "hidden": hidden})
    command = [sys.executable, __file__, "--one", what]
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def report(tables: dict[str, list[dict[str, Any]]]) -> str:
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
    return "\n".join(lines)


if __name__ == "__main__":
    main()
