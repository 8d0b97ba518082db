"""What the pipeline costs beside the training: `make bench-pipeline`; writes benchmarks/results/pipeline.{json,md}.

In a copy of the checkout, with nothing cached: one `dvc repro` from nothing, taken apart at its stages; then in turn
the imports of each stage, each stage alone without and with MLflow, a run with nothing to do beside `dvc status`, and
an experiment. The data come from where `make run` finds them; a download from far away is not the pipeline's.
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
OUTSIDE, NOTHING, TRACKING, EXPERIMENT = 15.0, 1.5, 0.05, 6.0  # goals; nothing to do: times `dvc status`
LOGGED = ("train", "plot")  # those that log to MLflow
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


def commit(folder: Path) -> None:
    """Commit all files, which DVC's experiments need."""
    run(["git", "add", "--all"], folder)
    run(["git", "-c", "user.name=bench", "-c", "user.email=bench", "commit", "--quiet", "--message=All"], folder)


def measure(turns: int) -> dict[str, Any]:
    """All figures: medians of the turns, in seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_checkout(folder)
        stages = reproduce(folder)
        commit(folder)
        taken: dict[str, list[tuple[float, float]]] = {}

        def turn_of(what: str, command: list[str], place: Path = folder, **more: str) -> None:
            taken.setdefault(what, []).append(run(command, place, **more))

        for turn in range(turns):
            turn_of("status", [*DVC, "status"])
            turn_of("nothing", [*PYTHON, "src", "run"])
            for stage in STAGES:
                turn_of(f"{stage} imports", [*PYTHON, "-c", f"import {stage}"], folder / "src")
                for mode in ("off", "on") if turn % 2 else ("on", "off"):
                    if mode == "off" or stage in LOGGED:
                        shutil.rmtree(folder / ".dvc/tmp/checkpoints", ignore_errors=True)  # else the next goes on
                        command = [*PYTHON, f"src/{stage}.py"]
                        turn_of(f"{stage} {mode}", command, PENDIGITS_TRACKING=mode, DVC_ROOT=name)
            turn_of("experiment", [*DVC, "exp", "run", "--set-param", f"seed={turn + 1}"])
        params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    medians = {what: [statistics.median(column) for column in zip(*each, strict=True)] for what, each in taken.items()}
    return {"stages": stages, "epochs": params["epochs"], "medians": medians}


def report(figures: dict[str, Any]) -> str:
    """Two tables, in Markdown."""
    seconds = {what: clock for what, (clock, _) in figures["medians"].items()}
    processors = {what: used for what, (_, used) in figures["medians"].items()}
    in_repro = figures["stages"]
    lines = [
        "Seconds:\n",
        "| stage | in `dvc repro` from nothing | Python and imports | alone, without MLflow | alone, with MLflow |",
        "| --- | ---: | ---: | ---: | ---: |",
        f"| before the first stage | {in_repro['before']:.1f} |  |  |  |",
    ]
    for stage in STAGES:
        logged = f"{seconds[f'{stage} on']:.1f}" if stage in LOGGED else ""
        alone = f"{seconds[f'{stage} imports']:.2f} | {seconds[f'{stage} off']:.1f} | {logged}"
        lines.append(f"| {stage} | {in_repro[stage]:.1f} | {alone} |")
    lines += ["", "| | seconds | goal | |", "| --- | ---: | --- | --- |"]

    def row(what: str, value: str, goal: str = "", reached: bool | None = None) -> None:
        lines.append(f"| {what} | {value} | {goal} | {_verdict(reached)} |")

    outside = sum(value for stage, value in in_repro.items() if stage != "train")
    row("`dvc repro` from nothing, all but train", f"{outside:.1f}", f"at most {OUTSIDE:g}", outside <= OUTSIDE)
    row("`dvc status`", f"{seconds['status']:.2f}")
    times = seconds["nothing"] / seconds["status"]
    row("`make run` with nothing to do", f"{seconds['nothing']:.2f}")
    row("the same, times `dvc status`", f"{times:.2f}", f"at most {NOTHING:g}", times <= NOTHING)
    beyond, more = (seconds["experiment"] - seconds[f"train {mode}"] for mode in ("on", "off"))
    row("`dvc exp run`", f"{seconds['experiment']:.1f}")
    row("the same beyond the train stage", f"{beyond:.1f}", f"at most {EXPERIMENT:g}", beyond <= EXPERIMENT)
    row("the same beyond the train stage without MLflow", f"{more:.1f}")
    share = seconds["train on"] / seconds["train off"] - 1
    row(
        f"MLflow's share of the train stage, {figures['epochs']} epochs",
        f"{share:+.1%}",
        f"at most {TRACKING:.0%}",
        share <= TRACKING,
    )
    row("MLflow's share of its processors' time", f"{processors['train on'] / processors['train off'] - 1:+.1%}")
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
