"""Is what `make run` left behind what it should be? Ends with 1 and a line for each thing that is not."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

LEAST_ACCURACY = 0.978  # what the nearest-neighbour rule reaches


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout


def main() -> None:
    faults = []
    test = json.loads(Path("metrics/evaluate.json").read_text(encoding="utf-8"))
    if test["dataset"] != "pendigits":
        faults.append(f"the data set must be pendigits, got {test['dataset']}")
    if test["test_accuracy"] < LEAST_ACCURACY:
        faults.append(f"the test accuracy must be at least {LEAST_ACCURACY:.1%}, got {test['test_accuracy']:.2%}")
    logged = sqlite3.connect("mlflow.db").execute("SELECT value FROM metrics WHERE key = 'test_accuracy'").fetchall()
    if logged != [(test["test_accuracy"],)]:
        faults.append(f"MLflow must hold the test accuracy of one run, {test['test_accuracy']}, got {logged}")
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"], capture_output=True, text=True, check=True
    )
    if json.loads(status.stdout) != {}:
        faults.append(f"dvc status must be clean, got {status.stdout}")
    changed = [line for line in git("status", "--porcelain").splitlines() if line]
    committed = json.loads(git("show", "HEAD:metrics/evaluate.json"))
    if changed and abs(committed["test_accuracy"] - test["test_accuracy"]) > 0.003:
        faults.append(f"the result differs from the committed one: {test} against {committed}")
    elif changed:  # another kind of processor adds up in another order
        sys.stdout.write(f"note: the bytes differ from the committed ones on this machine: {', '.join(changed)}\n")
    for fault in faults:
        sys.stdout.write(f"wrong: {fault}\n")
    sys.stdout.write(f"{test}\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
