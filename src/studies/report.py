"""Compare the network with other methods on the official test file.

    python src report

It measures ten seeds and their ensemble, with the table and with ink, and scikit-learn's classifiers. It adds figures
from the literature. Everything is trained on the whole training file. The results are written to
docs/accuracy_results.json and docs/accuracy_results.md.
"""

import argparse
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.configure import configure
from pipeline.errors import StageError
from pipeline.params import Params, load_params
from pipeline.rows import Rows
from pipeline.tables import metrics_json
from runtime.beside import cores
from runtime.files import write_bytes
from runtime.progress import progress_bar
from runtime.script import say
from utils import accuracy

from .folds import Job, load_rows, train_on_all
from .processes import each

if TYPE_CHECKING:
    from .cluster import Cluster

DOCS = Path("docs")
N_SEEDS = 10
INK_AUGMENT = {"aspect": 0.3, "shear": 0.2, "rotation": 0.1}  # docs/accuracy.md


class Published(NamedTuple):
    """A figure from the literature, on the official test file."""

    name: str
    accuracy: float  # in per cent
    source: str


_LITE = "https://github.com/MSD-IRIMAS/LITE, results_multivariate.csv"
_BENCHMARK = "multivariate time series benchmarks on the official split; not traced to its source"
PUBLISHED = (
    Published("LITEMVTime, an ensemble of convolutional networks", 98.86, _LITE),
    Published("InceptionTime, an ensemble of convolutional networks", 98.77, _BENCHMARK),
    Published("ConvTran", 98.71, _LITE),
    Published("FCN", 98.57, _LITE),
    Published("ResNet", 98.54, _BENCHMARK),
    Published("ROCKET", 98.31, _BENCHMARK),
    Published("HIVE-COTE 2", 97.91, _BENCHMARK),
    Published("k nearest neighbours, k = 3", 97.80, "the data set's authors"),
    Published("k nearest neighbours, k = 1", 97.74, "the data set's authors"),
)


class Measured(NamedTuple):
    """A method that was trained here: its accuracy in per cent, and the seconds that one training took."""

    name: str
    accuracy: float
    seconds: float


def train_seeds(
    params: Params,
    rows: Rows,
    test: Rows,
    n_seeds: int,
    progress: Any,
    processes: int = 1,
    cluster: "Cluster | None" = None,
) -> tuple[NDArray, NDArray, float]:
    """Train ``n_seeds`` networks that differ only in their seed, which counts up from ``params.seed``.

    Args:
        processes: how many trainings are at work at a time on this machine; the results are the same bits.
        cluster: whose workers train instead, on the rows in data/processed.

    Returns:
        Their probabilities for the test rows, (seeds, rows, 10), the rows' digits, and the mean seconds of a training.
    """
    seeded = [params.model_copy(update={"seed": seed}) for seed in range(params.seed, params.seed + n_seeds)]
    found, seconds = [], 0.0
    if cluster:
        outcomes = cluster.trained([Job(one, 0, 0, on_test=True) for one in seeded])
    else:
        outcomes = each(train_on_all, [(one, rows, test) for one in seeded], processes)
    for outcome in outcomes:
        found.append(outcome.predicted)
        seconds += outcome.seconds
        progress.update()
    return np.array(found), test.y, seconds / n_seeds


def classifiers() -> dict[str, Callable[[], Any]]:
    """Scikit-learn's classifiers, by name in the report. Their settings are common and not tuned to the test file."""
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


def measure_others(rows: Rows, test: Rows, progress: Any) -> list[Measured]:
    """Fit scikit-learn's classifiers to the rows and read the test rows."""
    found = []
    for name, make in classifiers().items():
        start = time.perf_counter()
        fitted = make().fit(rows.X, rows.y)
        seconds = time.perf_counter() - start
        found.append(Measured(name, 100 * accuracy(test.y, fitted.predict(test.X)), seconds))
        progress.update()
    return found


def summarize(p: NDArray, y: NDArray, seconds: float) -> dict[str, Any]:
    """The figures of networks that differ only in their seed; accuracies are in per cent.

    Args:
        p: (seeds, rows, 10) probabilities. y: (rows,) digits. seconds: of a training.
    """
    single = [100 * accuracy(y, one.argmax(axis=1)) for one in p]
    return {
        "seeds": [round(value, 3) for value in single],
        "mean": round(float(np.mean(single)), 3),
        "standard_deviation": round(float(np.std(single, ddof=1)), 3) if len(single) > 1 else None,
        "ensemble": round(100 * accuracy(y, p.mean(axis=0).argmax(axis=1)), 3),
        "seconds": round(seconds, 1),
    }


def markdown(results: dict[str, Any]) -> str:
    """The report as a table, the best first; published figures are marked."""
    rows = [*_lines(results, "this network"), *_lines(results["ink"], "this network over ink")]
    rows += [(value, name, f"{value:.2f}", "here") for name, value, _ in results["others"]]
    rows += [(value, name, f"{value:.2f}", f"published: {source}") for name, value, source in results["published"]]
    rows.sort(key=lambda row: -row[0])
    lines = [f"| {name} | {text} | {where} |" for _, name, text, where in rows]
    return "\n".join(["| | test accuracy % | measured |", "|---|---:|---|", *lines, ""])


def _lines(figures: dict[str, Any], name: str) -> list[tuple[float, str, str, str]]:
    """The table's rows for the figures of ``summarize``: accuracy, name, text and origin."""
    mean, together, deviation = (figures[key] for key in ("mean", "ensemble", "standard_deviation"))
    count = len(figures["seeds"])
    spread = "" if deviation is None else f" ± {deviation:.2f}"
    return [
        (together, f"**ensemble of {count} of {name}**", f"{together:.2f}", "here"),
        (mean, f"**{name}, mean of {count} seeds**", f"{mean:.2f}{spread}", "here"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scheduler", metavar="ADDRESS", help="train on the Dask cluster there, as tcp://host:8786")
    scheduler = parser.parse_args().scheduler
    if load_params().dataset == "own":
        raise StageError("`make report` compares methods on pen digits; for a table of your own: make cv, make compare")
    table = load_params().model_copy(update={"features": "table"})
    ink = table.model_copy(update={"features": "ink", "augment": table.augment.model_copy(update=INK_AUGMENT)})
    configure(table)
    configure(ink)
    rows, test = load_rows(table)
    ink_rows, ink_test = load_rows(ink)
    total = 2 * N_SEEDS + len(classifiers())
    with contextlib.ExitStack() as stack:
        cluster = None
        if scheduler:
            from .cluster import connected  # here: only a cluster needs Dask

            cluster = stack.enter_context(connected(scheduler, with_test=True))
        stack.enter_context(threadpool_limits(1))
        bar = stack.enter_context(progress_bar(total, "training", "report"))
        results = {"n_test": len(test.y)} | summarize(*train_seeds(table, rows, test, N_SEEDS, bar, cores(), cluster))
        results["ink"] = summarize(*train_seeds(ink, ink_rows, ink_test, N_SEEDS, bar, cores(), cluster))
        results["others"] = [
            [found.name, round(found.accuracy, 3), round(found.seconds, 1)] for found in measure_others(rows, test, bar)
        ]
    results["published"] = [list(figure) for figure in PUBLISHED] if table.dataset == "pendigits" else []
    write_bytes(DOCS / "accuracy_results.json", metrics_json(results))
    write_bytes(DOCS / "accuracy_results.md", markdown(results).encode())
    say(markdown(results).rstrip())
