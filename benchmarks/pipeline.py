"""What the pipeline costs beside the training: `make bench-pipeline`.

In a copy of the checkout, with empty caches: each stage from nothing, a repro with nothing to do, how long a stage
takes to start, and the same training with and without tracking. ``PENDIGITS_MIRROR`` says where the data are.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
STAGES = ("fetch", "preprocess", "split", "train", "evaluate", "plot")
OUTSIDE, NOTHING, TRACKING = 15.0, 3.0, 0.05  # goals: seconds outside of training, seconds with nothing to do, a share
TURNS = 3


def seconds(command: list[str], folder: Path, **environment: str) -> float:
    """How long a command takes; its output is shown only if it fails."""
    env = os.environ | {"DVC_NO_ANALYTICS": "1", **environment}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def copy_checkout(folder: Path) -> None:
    """The files of the checkout that git knows or would take, in a repository of their own."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    seconds(["git", "init", "--quiet"], folder)


def row(what: str, value: str, goal: str = "", reached: bool | None = None) -> str:
    verdict = "" if reached is None else "reached" if reached else "**not reached**"
    return f"| {what} | {value} | {goal} | {verdict} |\n"


def main() -> None:
    python, dvc = [sys.executable], [sys.executable, "-m", "dvc"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_checkout(folder)
        taken = {stage: seconds([*dvc, "repro", "--quiet", "--single-item", stage], folder) for stage in STAGES}
        nothing = statistics.median(seconds([*dvc, "repro", "--quiet"], folder) for _ in range(TURNS))
        start = {stage: seconds([*python, "-c", f"import {stage}"], folder / "src") for stage in STAGES}
        train = [*python, "src/train.py"]
        off, on = [], []
        for _ in range(TURNS):
            off.append(seconds(train, folder, PENDIGITS_TRACKING="off", DVC_ROOT=name))
            on.append(seconds(train, folder, PENDIGITS_TRACKING="on", DVC_ROOT=name))
    outside = sum(taken.values()) - taken["train"]
    share = statistics.median(on) / statistics.median(off) - 1
    text = "| | seconds | goal | |\n| --- | ---: | --- | --- |\n"
    text += "".join(row(f"{stage} from nothing, started by dvc", f"{taken[stage]:.1f}") for stage in STAGES)
    text += row("all stages but the training", f"{outside:.1f}", f"at most {OUTSIDE:g}", outside <= OUTSIDE)
    text += row("repro with nothing to do", f"{nothing:.1f}", f"less than {NOTHING:g}", nothing < NOTHING)
    text += "".join(row(f"{stage}'s imports", f"{start[stage]:.2f}") for stage in STAGES)
    text += row("tracking, of a whole train stage", f"{share:.1%}", f"at most {TRACKING:.0%}", share <= TRACKING)
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "pipeline.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
