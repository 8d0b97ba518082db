"""What the pipeline costs beside the training: `make bench-pipeline`; writes benchmarks/results/pipeline.{json,md}.

In a copy of the checkout, with nothing cached: one `dvc repro` from nothing, taken apart at its stages; one with
nothing to do; how long each stage takes to start; and the train stage with and without tracking, in turn. The data come
from where `make run` finds them; a download from far away is not the pipeline's.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
STAGES = tuple(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
OUTSIDE, NOTHING, TRACKING = 15.0, 3.0, 0.05  # goals: seconds outside of training, seconds with nothing to do, a share
TURNS = 3
PYTHON, DVC = [sys.executable], [sys.executable, "-m", "dvc"]


def environment(**more: str) -> dict[str, str]:
    """This process's environment with the stages' python first, and the mirror that `make run` would find."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    beside = ROOT.parent / "shared" / "pendigits"
    mirror = {"PENDIGITS_MIRROR": str(beside)} if beside.is_dir() else {}
    return {**mirror, **os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1", **more}


def run(command: list[str], folder: Path, **more: str) -> tuple[float, float]:
    """Seconds on the clock and on all processors that a command takes; it is shown what it said only if it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(**more), capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def reproduce(folder: Path) -> dict[str, float]:
    """Seconds of one `dvc repro`: what is before the stages, and each from when DVC announces it to the next one."""
    said, marks = [], [("before", time.perf_counter())]
    with subprocess.Popen(
        [*DVC, "repro"], cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            said.append(line)
            if line.startswith("Running stage '"):
                marks.append((line.split("'")[1], time.perf_counter()))
    marks.append(("end", time.perf_counter()))
    taken = {name: after - at for (name, at), (_, after) in pairwise(marks)}
    if process.returncode or tuple(taken) != ("before", *STAGES):
        sys.exit(f"dvc repro ended with {process.returncode}:\n{''.join(said)}")
    return taken


def copy_checkout(folder: Path) -> None:
    """The files of the checkout that git knows or would take, in a repository of their own; no lock, no cache."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    run(["git", "init", "--quiet"], folder)


def measure(turns: int) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_checkout(folder)
        stages = reproduce(folder)
        nothing = [run([*DVC, "repro"], folder)[0] for _ in range(turns)]
        starts = {
            stage: statistics.median(run([*PYTHON, "-c", f"import {stage}"], folder / "src")[0] for _ in range(turns))
            for stage in STAGES
        }
        trainings: dict[str, list[tuple[float, float]]] = {"off": [], "on": []}
        for turn in range(turns):
            for mode in ("off", "on") if turn % 2 else ("on", "off"):
                shutil.rmtree(folder / ".dvc/tmp/checkpoints", ignore_errors=True)  # else the next goes on
                command = [*PYTHON, "src/train.py"]
                trainings[mode].append(run(command, folder, PENDIGITS_TRACKING=mode, DVC_ROOT=name))
        params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    return {
        "stages": stages,
        "nothing_to_do": statistics.median(nothing),
        "starts": starts,
        "epochs": params["epochs"],
        "training": {
            mode: [statistics.median(column) for column in zip(*t, strict=True)] for mode, t in trainings.items()
        },
    }


def report(figures: dict[str, Any]) -> str:
    """The table, in Markdown."""
    outside = sum(seconds for stage, seconds in figures["stages"].items() if stage != "train")
    (off, off_processors), (on, on_processors) = figures["training"]["off"], figures["training"]["on"]
    lines = ["| | seconds | goal | |", "| --- | ---: | --- | --- |"]

    def row(what: str, value: str, goal: str = "", reached: bool | None = None) -> None:
        lines.append(f"| {what} | {value} | {goal} | {_verdict(reached)} |")

    row("`dvc repro` from nothing: before the first stage", f"{figures['stages']['before']:.1f}")
    for stage in STAGES:
        row(stage, f"{figures['stages'][stage]:.1f}")
    row("all but train", f"{outside:.1f}", f"at most {OUTSIDE:g}", outside <= OUTSIDE)
    nothing = figures["nothing_to_do"]
    row("`dvc repro` with nothing to do", f"{nothing:.1f}", f"less than {NOTHING:g}", nothing < NOTHING)
    for stage in STAGES:
        row(f"python and the imports of {stage}", f"{figures['starts'][stage]:.2f}")
    row(f"the train stage, {figures['epochs']} epochs, without tracking", f"{off:.1f}")
    row("the same with tracking", f"{on:.1f}")
    row("tracking's share", f"{on / off - 1:+.1%}", f"at most {TRACKING:.0%}", on / off - 1 <= TRACKING)
    row("tracking's share of all processors' time", f"{on_processors / off_processors - 1:+.1%}")
    return "\n".join(lines) + "\n"


def _verdict(reached: bool | None) -> str:
    return "" if reached is None else "reached" if reached else "**not reached**"


def main() -> None:
    figures = measure(TURNS)
    text = report(figures)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pipeline.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "pipeline.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
