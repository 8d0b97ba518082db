"""Train the same small networks with several libraries, in turn, and compare: `make bench`, `make bench-short`.

Every figure is the median of turns that are interleaved over the contestants, so that a busy moment of the machine
hits all of them. One and two threads are measured in processes of their own, held to so many cores. On one core the
processor's time counts: it leaves out other programs' turns, and is what a clock on the wall shows on a machine with
nothing else to do, since no contestant ever waits. On two cores it is the clock on the wall. Both are kept.

Written are ``benchmarks/results/bench.{json,md,png}`` and the table in docs/speed.md; the exit status is 1 if a
contestant learned more or less than ours. docs/speed.md says more.
"""

import argparse
import importlib.util
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from contestants import CONTESTANTS, Ours, Products, Task  # noqa: E402
from machine import cpu, kernel, versions  # noqa: E402

from neural_net import Network, Training, dense_layers, evaluate  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
HIDDEN = ((32, 16), (256, 128), (512, 512, 256))
BATCHES = (32, 128, 512, 0)  # 0: all rows
GOALS = {"PyTorch": 2.2, "scikit-learn": 2.85, "jax.jit": 1.2}  # geometric means, one thread
LIMITS = (  # of our time in each row, relative to another's
    ("jax.jit", HIDDEN[:2], "128 and more", 1.0),
    ("jax.jit", HIDDEN[2:], "128 and more", 1.08),
    ("jax.jit", HIDDEN[1:], "32", 1.35),
    ("products alone", HIDDEN[:1], "32", 2.7),
    ("products alone", HIDDEN[:1], "128 and more", 2.7),
    ("products alone", HIDDEN[1:], "32", 1.7),
    ("products alone", HIDDEN[1:], "128 and more", 1.45),
)
COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#222222")  # Okabe and Ito's
TOLERANCE = 0.02  # of test accuracy, between ours and any other
SECONDS_A_TURN = 0.05  # a turn is as many epochs as take about so long with ours
BEGIN, END = "<!-- make bench writes this table -->", "<!-- to here -->"  # in docs/speed.md
ORIGINAL = 0.958  # test accuracy of the original project, which took 60 to 100 s

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def load(folder: Path = ROOT / "data" / "raw" / "pendigits") -> Arrays:
    """X scaled to -1..1 and y of the training file, then of the test file, as they were published."""
    files = [folder / name for name in ("pendigits.tra", "pendigits.tes")]
    if not all(path.is_file() for path in files):
        sys.exit(
            f"{folder} does not hold the data set; `dataset: pendigits` in params.yaml and `dvc repro fetch` get it"
        )
    tables = [np.loadtxt(path, delimiter=",", dtype=np.int64) for path in files]
    train, test = ((table[:, :16].astype(np.float32) / 50 - 1, table[:, 16]) for table in tables)
    return *train, *test


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the processor and on the wall."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - processor, time.perf_counter() - wall


def compare(data: Arrays, names: list[str], threads: int, hidden: tuple[int, ...], batch: int, turns: int) -> Any:
    """One row of the table: each contestant's median seconds an epoch, and its test accuracy after equal epochs.

    Of the accuracies after each turn the median counts: small batches let the last one vary by a point.
    """
    X, y, X_test, y_test = data
    task = Task(X, y, hidden, batch or len(X), threads)
    running = {name: CONTESTANTS[name](task) for name in names}
    for contestant in running.values():
        contestant.train(2)  # compiles, and warms the caches; not measured
    trial = Ours(task)  # one of its own, so that ours does not train more than the others
    trial.train(1)
    times = max(1, round(SECONDS_A_TURN / measure(lambda: trial.train(1))[0]))
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    right: dict[str, list[float]] = {name: [] for name in names if not isinstance(running[name], Products)}
    for turn in range(turns):
        for name in names if turn % 2 else reversed(names):
            taken[name].append(measure(lambda name=name: running[name].train(times)))
        for name, accuracies in right.items():
            accuracies.append(float(np.mean(running[name].logits(X_test).argmax(axis=1) == y_test)))
    processor, wall = (
        {name: statistics.median(pair[clock] for pair in taken[name]) / times for name in names} for clock in (0, 1)
    )
    return {
        "threads": threads,
        "hidden": hidden,
        "batch": task.batch,
        "steps": math.ceil(len(X) / task.batch),
        "epochs": 2 + turns * times,
        "seconds_an_epoch": processor if threads == 1 else wall,
        "processor": processor,
        "wall": wall,
        "accuracy": {name: statistics.median(accuracies) for name, accuracies in right.items()},
    }


def measure_wall(answer: Callable[[np.ndarray], object], X: np.ndarray) -> float:
    """Seconds on the wall, with as little as possible around the call."""
    start = time.perf_counter()
    answer(X)
    return time.perf_counter() - start


def latency(data: Arrays, names: list[str], threads: int) -> list[dict[str, Any]]:
    """One digit at a time, median and 99th percentile in microseconds, and many digits at once, rows a second."""
    X, y, X_test, _ = data
    task, one = Task(X, y, (32, 16), 128, threads), np.ascontiguousarray(X_test[:1])
    many = np.concatenate([X_test] * 20)
    answers = {"ours, predict": Ours(task).network.predict, "ours, predict_proba": Ours(task).network.predict_proba}
    answers |= {name: CONTESTANTS[name](task).logits for name in names if name != "ours"}
    records = []
    for name, answer in answers.items():
        calls = 100 if "Keras" in name else 5000
        taken = [measure_wall(answer, one) for _ in range(calls)][calls // 10 :]
        bulk = statistics.median(measure(lambda answer=answer: answer(many))[threads > 1] for _ in range(7))
        percentiles = np.percentile(taken, [50, 99]) * 1e6
        records.append(
            {
                "threads": threads,
                "name": name,
                "median_us": float(percentiles[0]),
                "p99_us": float(percentiles[1]),
                "rows_a_second": len(many) / bulk,
            }
        )
    return records


def from_scratch(data: Arrays, seeds: int = 5) -> dict[str, float]:
    """The original's accuracy from nothing: its own network, 25 epochs of Adam; median time, least accuracy."""
    X, y, X_test, y_test = data
    seconds, right = [], []
    for seed in range(seeds):
        start, rng = time.process_time(), np.random.default_rng(seed)
        network = Network(dense_layers([32, 16], 10, "relu"), 16, rng=rng)
        options: dict[str, Any] = {"optimizer": {"adam": {"lr": 0.01}}, "schedule": "cosine", "epochs": 25}
        Training(network, X, y, rng=rng, batch_size=64, accuracy=False, **options).run()
        right.append(evaluate(network, X_test, y_test)[1])
        seconds.append(time.process_time() - start)
    return {"seconds": statistics.median(seconds), "accuracy": min(right)}


def contestants(short: bool, without: list[str]) -> list[str]:
    """Those that are installed; torch.compile needs a C++ compiler, and Keras is slow to set up."""
    needs = {"PyTorch": "torch", "torch.compile": "torch", "jax.jit": "jax", "scikit-learn": "sklearn"}
    needs |= {"Keras (jax)": "keras"}
    names = [name for name in CONTESTANTS if name not in needs or importlib.util.find_spec(needs[name])]
    left_out = (
        {"torch.compile", "Keras (jax)"}
        if short
        else set()
        if shutil.which("g++") or shutil.which("clang++")
        else {"torch.compile"}
    )
    return [name for name in names if name not in {*left_out, *without}]


def work(threads: int, short: bool, without: list[str]) -> Iterator[dict[str, Any]]:
    """All measurements with so many threads, in this process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    data = load()
    names = contestants(short, without)
    yield {
        "kind": "machine",
        "rows": len(data[0]),
        "cpu": cpu(),
        "kernel": kernel(),
        "cores": os.cpu_count(),
        "versions": versions(),
    }
    for hidden in HIDDEN[:2] if short else HIDDEN:
        for batch in (128, 512) if short else BATCHES:
            turns = 3 if short else 7
            yield {"kind": "training", **compare(data, names, threads, hidden, batch, turns)}
    others = [name for name in names if name not in ("torch.compile", "products alone")]
    yield from ({"kind": "latency", **record} for record in latency(data, others, threads))
    if threads == 1:
        yield {"kind": "from scratch", **from_scratch(data)}


def _process(threads: int, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """``work`` in a process that begins with its number of threads in the environment, where the libraries read it."""
    n = str(threads)
    env = os.environ | {"OPENBLAS_NUM_THREADS": n, "OMP_NUM_THREADS": n, "MKL_NUM_THREADS": n, "KERAS_BACKEND": "jax"}
    env |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, __file__, "--work", n, *["--short"] * arguments.short]
    command += ["--without", *arguments.without]
    records = []
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if line.startswith("{"):
                records.append(json.loads(line))
                sys.stdout.write(_progress(records[-1]))
                sys.stdout.flush()
    if process.returncode:
        sys.exit(f"the measurements with {threads} thread(s) ended with status {process.returncode}")
    return records


def _progress(record: dict[str, Any]) -> str:
    if record["kind"] != "training":
        return ""
    seconds = ", ".join(f"{name} {value * 1e3:.1f}" for name, value in record["seconds_an_epoch"].items())
    return f"{record['threads']} thread(s), {list(record['hidden'])}, batch {record['batch']}: ms an epoch: {seconds}\n"


def unequal(records: list[dict[str, Any]]) -> list[str]:
    """What makes the comparison unfair: each contestant whose accuracy is not about ours, in a sentence."""
    return [
        f"{name} reached {right:.2%} and ours {record['accuracy']['ours']:.2%} in {record['epochs']} epochs of hidden "
        f"layers {list(record['hidden'])}, batch {record['batch']}, {record['threads']} thread(s)"
        for record in records
        if record["kind"] == "training"
        for name, right in record["accuracy"].items()
        if abs(right - record["accuracy"]["ours"]) > TOLERANCE
    ]


def ratios(records: list[dict[str, Any]], threads: int) -> dict[str, list[float]]:
    """How many times as long as ours each contestant takes, over the rows of the table."""
    rows = [record["seconds_an_epoch"] for record in records if record.get("steps") and record["threads"] == threads]
    return {name: [row[name] / row["ours"] for row in rows] for name in rows[0] if name != "ours"}


def report(records: list[dict[str, Any]]) -> str:
    """The tables, in Markdown."""
    machine = next(record for record in records if record["kind"] == "machine")
    rows = [record for record in records if record["kind"] == "training"]
    names = list(rows[0]["seconds_an_epoch"])
    lines = [
        machine_line(records),
        "",
        f"{machine['rows']} rows of the training file, float32, Adam, ReLU; medians of interleaved turns, warm-up and",
        "compilation left out. Milliseconds an epoch, and microseconds a step of ours; below each, the accuracy in %",
        "on the test file, the median over the turns. One thread: processor time; the wall clock's medians are",
        f"{_busy(rows):.0%} longer, which is other programs' share of the core.",
        "",
    ]
    if left_out := set(CONTESTANTS) - set(names):
        lines[-1:] = [
            "Left out, as not installed, slow or without a C++ compiler: " + ", ".join(sorted(left_out)) + ".",
            "",
        ]
    lines += _table(["threads", "hidden", "batch", "a step", *names], [_cells(row, names) for row in rows])
    for threads in sorted({row["threads"] for row in rows}):
        lines += ["", f"{threads} thread(s): times as long as ours", ""]
        spans = [
            [name, f"{statistics.geometric_mean(r):.2f}", f"{min(r):.2f}", f"{max(r):.2f}"]
            for name, r in ratios(records, threads).items()
        ]
        lines += _table(["", "geometric mean", "least", "most"], spans)
    lines += ["", "One digit at a time, and 69,960 at once; hidden layers [32, 16]", ""]
    cells = [
        [str(r["threads"]), r["name"], f"{r['median_us']:.1f}", f"{r['p99_us']:.1f}", f"{r['rows_a_second']:,.0f}"]
        for r in records
        if r["kind"] == "latency"
    ]
    lines += _table(["threads", "", "median, us", "99 %, us", "rows a second"], cells)
    scratch = next(record for record in records if record["kind"] == "from scratch")
    lines += [
        "",
        f"From scratch: {scratch['accuracy']:.2%} of the test digits or more in {scratch['seconds']:.2f} s, with",
        "hidden layers [32, 16], 25 epochs, 5 seeds; the original project's own code takes 60 to 100 s to",
        f"{ORIGINAL:.1%}.",
        "",
        "Goals, one thread:",
        "",
        *(f"- {'reached' if reached else '**not reached**'}: {goal}" for goal, reached in goals(records)),
        "",
    ]
    return "\n".join(lines)


def machine_line(records: list[dict[str, Any]]) -> str:
    """The processor and the versions."""
    machine = next(record for record in records if record["kind"] == "machine")
    blas = f" BLAS kernel {machine['kernel']};" if "kernel" in machine else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['cpu']}, {machine['cores']} cores;{blas} {versions}."


def _busy(rows: list[dict[str, Any]]) -> float:
    """How much longer the wall clock's medians are than the processor's, on one thread."""
    return (
        statistics.median(
            row["wall"][name] / row["processor"][name] for row in rows for name in row["wall"] if row["threads"] == 1
        )
        - 1
    )


def core(records: list[dict[str, Any]]) -> str:
    """What docs/speed.md shows: the plot, and milliseconds an epoch on one thread."""
    rows = [record for record in records if record["kind"] == "training" and record["threads"] == 1]
    names = list(rows[0]["seconds_an_epoch"])
    cells = [
        [
            "-".join(map(str, row["hidden"])),
            str(row["batch"]),
            *(f"{row['seconds_an_epoch'][n] * 1e3:.1f}" for n in names),
        ]
        for row in rows
    ]
    means = {name: statistics.geometric_mean(r) for name, r in ratios(records, 1).items()}
    cells.append(["times ours, geometric mean", "", *(f"**{means.get(name, 1):.2f}**" for name in names)])
    plot = "![Milliseconds an epoch over the batch size, one panel a network](../benchmarks/results/bench.png)"
    more = "[All results](../benchmarks/results/bench.md): accuracies, latency and the goals."
    told = "Milliseconds an epoch, one thread:"
    return "\n".join([plot, "", told, "", *_table(["hidden", "batch", *names], cells), "", machine_line(records), more])


def write_page(text: str, path: Path = ROOT / "docs" / "speed.md") -> None:
    """Put the text between the two marks."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def _cells(row: dict[str, Any], names: list[str]) -> list[str]:
    def cell(name: str) -> str:
        right = row["accuracy"].get(name)
        return f"{row['seconds_an_epoch'][name] * 1e3:.1f}" + (f"<br>{right:.1%}".rstrip("%") if right else "")

    hidden, us = "-".join(map(str, row["hidden"])), row["seconds_an_epoch"]["ours"] / row["steps"] * 1e6
    return [str(row["threads"]), hidden, str(row["batch"]), f"{us:.0f}", *map(cell, names)]


def goals(records: list[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """What was wanted, with the figure, and whether it is so."""
    found = ratios(records, 1)
    for name, wanted in GOALS.items():
        if name in found:
            mean = statistics.geometric_mean(found[name])
            yield f"{name} takes at least {wanted:g} times as long in geometric mean: {mean:.2f}", mean >= wanted
    rows = [record for record in records if record["kind"] == "training" and record["threads"] == 1]
    for name, networks, batches, most in LIMITS:
        concerned = [
            row["seconds_an_epoch"]["ours"] / row["seconds_an_epoch"][name]
            for row in rows
            if tuple(row["hidden"]) in networks and (row["batch"] > 32) == (batches != "32") and name in found
        ]
        if concerned:
            where = f"{' and '.join('-'.join(map(str, hidden)) for hidden in networks)}, batches of {batches}"
            spread = f"{min(concerned):.2f} to {max(concerned):.2f}"
            yield f"at most {most:g} times the time of {name} in {where}: {spread}", max(concerned) <= most
    for record in records:
        if record["kind"] == "latency" and record["threads"] == 1 and record["name"].startswith("ours"):
            us = record["median_us"]
            yield f"one digit in less than 20 us ({record['name'].split(', ')[1]}): {us:.1f}", us < 20
        if record["kind"] == "from scratch":
            seconds, right = record["seconds"], record["accuracy"]
            goal = f"{ORIGINAL:.1%} of the test digits within 0.5 s from scratch: {right:.2%} in {seconds:.2f} s"
            yield goal, seconds < 0.5 and right >= ORIGINAL


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows)]


def draw(records: list[dict[str, Any]], path: Path) -> None:
    """A plot of milliseconds an epoch, one thread, a panel for each network, in the pictures' style."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    from figures import sheet

    rows = [record for record in records if record["kind"] == "training" and record["threads"] == 1]
    networks = sorted({tuple(row["hidden"]) for row in rows}, key=sum)
    subtitle = (
        "A panel a network, by its hidden widths. Log scales. Products alone: the matrix products and nothing else."
    )
    with sheet.style():
        figure = sheet.sheet(4.6, "Milliseconds per epoch over batch size, one thread: less is better", subtitle)
        panels = figure.subplots(1, len(networks), squeeze=False)[0]
        for axes, hidden in zip(panels, networks, strict=True):
            mine = [row for row in rows if tuple(row["hidden"]) == hidden]
            for name, colour in zip(mine[0]["seconds_an_epoch"], COLOURS, strict=False):
                style = ":" if name == "products alone" else "o-"
                widths = {"linewidth": 3, "zorder": 3} if name == "ours" else {"linewidth": 1.4, "markersize": 4}
                values = [row["seconds_an_epoch"][name] * 1e3 for row in mine]
                axes.plot([row["batch"] for row in mine], values, style, color=colour, label=name, **widths)
            axes.set_title("-".join(map(str, hidden)), weight="bold")
            axes.set(xscale="log", yscale="log", xlabel="batch")
            axes.set_xticks([row["batch"] for row in mine], [str(row["batch"]) for row in mine])
            axes.minorticks_off()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.grid(axis="y")
        panels[0].set_ylabel("milliseconds")
        legend = panels[0].get_legend_handles_labels()
        figure.legend(*legend, loc="outside lower center", ncols=7, frameon=False)
        path.write_bytes(sheet.to_png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="less than a minute, and nothing is written")
    parser.add_argument("--without", nargs="*", default=[], choices=list(CONTESTANTS)[1:-1], help="leave these out")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2], help="measure with so many threads")
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        for record in work(arguments.work, arguments.short, arguments.without):
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = [1] if arguments.short else [n for n in arguments.threads if n <= cores]
    records = [record for n in threads for record in _process(n, arguments)]
    text = report(records)
    sys.stdout.write("\n" + text)
    if not arguments.short:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "bench.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "bench.md").write_text(text, encoding="utf-8")
        draw(records, RESULTS / "bench.png")
        write_page(core(records))
    if faults := unequal(records):
        sys.exit("The contestants did not learn equally much:\n" + "\n".join(faults))


if __name__ == "__main__":
    main()
