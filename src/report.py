"""The network beside others: ten seeds, their ensemble, scikit-learn's classifiers and published figures.

    python src/report.py

Everything is trained on the whole training file, and read by it is the official test file. Writes
docs/accuracy_results.json and docs/accuracy_results.md.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import stage
import train
from params import Params, load_params
from utils import accuracy

DOCS = Path("docs")
N_SEEDS = 10


class Published(NamedTuple):
    """A figure from the literature, on the official test file."""

    name: str
    accuracy: float  # in per cent
    source: str


_BENCHMARK = "multivariate time series benchmarks on the official split"
PUBLISHED = (
    Published("LITEMVTime, an ensemble of convolutional networks", 98.86, _BENCHMARK),
    Published("InceptionTime, an ensemble of convolutional networks", 98.77, _BENCHMARK),
    Published("ConvTran", 98.71, _BENCHMARK),
    Published("FCN", 98.57, _BENCHMARK),
    Published("ResNet", 98.54, _BENCHMARK),
    Published("ROCKET", 98.31, _BENCHMARK),
    Published("HIVE-COTE 2", 97.91, _BENCHMARK),
    Published("k nearest neighbours, k = 3", 97.80, "the data set's authors"),
    Published("k nearest neighbours, k = 1", 97.74, "the data set's authors"),
)


class Measured(NamedTuple):
    """What was trained here: its accuracy in per cent, and the seconds that one training took."""

    name: str
    accuracy: float
    seconds: float


def load_test_rows() -> train.Rows:
    """The official test file, which takes no part in any choice."""
    with np.load(train.SPLIT / "test.npz", allow_pickle=False) as arrays:
        return train.Rows(arrays["X"], arrays["y"])


def train_seeds(params: Params, rows: train.Rows, X: NDArray, n_seeds: int, progress: Any) -> tuple[NDArray, float]:
    """Train networks that differ in their seed alone: ``params.seed``, and so many after it.

    Returns:
        Their probabilities for X, (seeds, rows of X, 10), and the mean seconds of a training.
    """
    found, start = [], time.perf_counter()
    for seed in range(params.seed, params.seed + n_seeds):
        seeded = params.model_copy(update={"seed": seed})
        model, _ = train.train(seeded, rows, None, on_epoch=lambda record: None)
        found.append(model.probabilities(X).astype(np.float64))
        progress.update()
    return np.array(found), (time.perf_counter() - start) / n_seeds


def classifiers() -> dict[str, Callable[[], Any]]:
    """Scikit-learn's, by the name in the report; their settings are common ones and were not tuned to the test file."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    return {
        "k nearest neighbours, k = 1": lambda: KNeighborsClassifier(1),
        "k nearest neighbours, k = 3": lambda: KNeighborsClassifier(3),
        "support vector machine, RBF, C = 10": lambda: SVC(C=10),
        "gradient boosting, 300 rounds": lambda: HistGradientBoostingClassifier(max_iter=300, random_state=0),
        "MLPClassifier, 256-128": lambda: MLPClassifier((256, 128), random_state=0),
    }


def measure_others(rows: train.Rows, test: train.Rows, progress: Any) -> list[Measured]:
    """Fit scikit-learn's classifiers to the rows and read the test rows."""
    found = []
    for name, make in classifiers().items():
        start = time.perf_counter()
        fitted = make().fit(rows.X, rows.y)
        seconds = time.perf_counter() - start
        found.append(Measured(name, 100 * accuracy(test.y, fitted.predict(test.X)), seconds))
        progress.update()
    return found


def summarize(
    p: NDArray, y: NDArray, seconds: float, others: Sequence[Measured], published: Sequence[Published]
) -> dict[str, Any]:
    """All figures of the report. p: (seeds, rows, 10) probabilities; y: (rows,). Accuracies are in per cent."""
    single = [100 * accuracy(y, one.argmax(axis=1)) for one in p]
    together = p.mean(axis=0)
    return {
        "n_test": len(y),
        "seeds": [round(value, 3) for value in single],
        "mean": round(float(np.mean(single)), 3),
        "standard_deviation": round(float(np.std(single, ddof=1)), 3) if len(single) > 1 else None,
        "ensemble": round(100 * accuracy(y, together.argmax(axis=1)), 3),
        "seconds": round(seconds, 1),
        "others": [[name, round(value, 3), round(time_taken, 1)] for name, value, time_taken in others],
        "published": [list(figure) for figure in published],
    }


def markdown(results: dict[str, Any]) -> str:
    """The report as a table, the best first, with what is published marked as such."""
    deviation = results["standard_deviation"]
    count = len(results["seeds"])
    spread = "" if deviation is None else f" ± {deviation:.2f}"
    rows = [
        (results["ensemble"], f"**ensemble of {count} of this network**", f"{results['ensemble']:.2f}", "here"),
        (results["mean"], f"**this network, mean of {count} seeds**", f"{results['mean']:.2f}{spread}", "here"),
        *((value, name, f"{value:.2f}", "here") for name, value, _ in results["others"]),
        *((value, name, f"{value:.2f}", f"published: {source}") for name, value, source in results["published"]),
    ]
    rows.sort(key=lambda row: -row[0])
    lines = [f"| {name} | {text} | {where} |" for _, name, text, where in rows]
    return "\n".join(["| | test accuracy % | measured |", "|---|---:|---|", *lines, ""])


def main() -> None:
    params = load_params()
    train.check_names(params)
    rows, test = train.load_rows("train"), load_test_rows()
    if params.refit:
        rows = rows.and_also(train.load_rows("validation"))
    published = PUBLISHED if params.dataset == "pendigits" else ()
    total = N_SEEDS + len(classifiers())
    with threadpool_limits(1), tqdm(total=total, unit="training", disable=None, file=sys.stderr) as bar:
        p, seconds = train_seeds(params, rows, test.X, N_SEEDS, bar)
        results = summarize(p, test.y, seconds, measure_others(rows, test, bar), published)
    stage.write_json(DOCS / "accuracy_results.json", results)
    stage.write_bytes(DOCS / "accuracy_results.md", markdown(results).encode())
    stage.say(markdown(results).rstrip())


if __name__ == "__main__":
    stage.run(main)
