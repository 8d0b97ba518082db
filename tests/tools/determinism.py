"""Run the pipeline twice, with 1, 2 and 4 BLAS threads, and on other Pythons, and say what differs: `make determinism`.

The network is that of params.yaml, trained for three epochs on the built-in digits. Ends with 1 if two runs alike give
other bytes, or a figure differs by more than `AGREE` from the first run's.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from tests.test_end_to_end import ROOT, prepare, run_all

SHRUNK = {"dataset": "synthetic", "synthetic_rows_per_writer": 60, "epochs": 3}
AGREE = 0.005  # by how much a figure may differ


def run(folder: Path, python: str, threads: int) -> Path:
    """Run all stages in a folder; the stages pin training to one thread whatever ``threads`` says."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | SHRUNK
    count = {f"{name}_NUM_THREADS": str(threads) for name in ("OPENBLAS", "OMP", "MKL")}
    run_all(prepare(folder, **params), python, **count)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """What the pipeline has written, but for what it fetched and computed on the way."""
    found = [file for name in ("models", "metrics") for file in (folder / name).rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def compare(first: Path, other: Path) -> tuple[list[str], float]:
    """The files whose bytes differ, and the largest difference between two numbers in train.json and evaluate.json."""
    one, two = files(first), files(other)
    differ = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
    most = 0.0
    for name in ("metrics/train.json", "metrics/evaluate.json"):
        here, there = json.loads(one[name]), json.loads(two[name])
        most = max([most, *(abs(here[key] - there[key]) for key in here if isinstance(here[key], int | float))])
    return differ, most


def main() -> None:
    pythons = [os.path.abspath(python) for python in sys.argv[1:]]  # noqa: PTH100 (a link is what it is)
    faults = 0
    with tempfile.TemporaryDirectory(prefix="determinism-") as place:
        first = run(Path(place) / "first", sys.executable, 1)
        print("| compared with a run with one BLAS thread | files whose bytes differ | most that a figure differs |")
        print("|---|---|---:|")
        cases = [("the same again", sys.executable, 1)]
        cases += [(f"{threads} BLAS threads", sys.executable, threads) for threads in (2, 4)]
        cases += [(subprocess.check_output([python, "-V"], text=True).strip(), python, 1) for python in pythons]
        for number, (name, python, threads) in enumerate(cases):
            differ, most = compare(first, run(Path(place) / str(number), python, threads))
            faults += most > AGREE or (number == 0 and bool(differ))
            shown = ", ".join(differ) if len(differ) <= 4 else f"{len(differ)} of {len(files(first))}"
            print(f"| {name} | {shown or 'none'} | {most:.2g} |", flush=True)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
