"""What a sweep costs on 1 to 1000 workers: `make bench-sweeps`; writes benchmarks/results/sweeps.{json,md}.

The client's own work and Dask's are measured here, with trainings that take no time. A simulation then gives each of
many workers trainings of the measured length, through one client, and says where more workers stop to help.
"""

import argparse
import heapq
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from pipeline.params import load_params  # noqa: E402
from pipeline.rows import Rows  # noqa: E402
from studies.cluster import connected  # noqa: E402
from studies.folds import Data, Job, Outcome  # noqa: E402
from studies.space import load_space  # noqa: E402
from studies.sweep import Settings, Sweep  # noqa: E402
from studies.sweep_study import make_sampler, open_study  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
WORKERS = (1, 2, 10, 100, 1000)
N_ROWS, FOLDS = 7494, 5
SECONDS, SPREAD = 35.0, 0.2  # of a training: the median, and the standard deviation of its logarithm
START_SECONDS = 10.0  # of a cluster and a worker's first import
BYTES_A_SECOND = 125e6  # of a network of 1 Gbit/s


class Costs(NamedTuple):
    """Measured seconds of the client for each trial and each training, and of Dask; the snapshot's bytes."""

    trial: float
    training: float
    dask: float
    snapshot: int


class AtOnce:
    """A cluster whose trainings take no time."""

    has_room = True

    def __init__(self, of_fold: list[Outcome]) -> None:
        self.of_fold, self.jobs = of_fold, list[tuple[Any, Job]]()

    def submit(self, tag: Any, job: Job, priority: int = 0) -> None:
        self.jobs.append((tag, job))
        self.has_room = len(self.jobs) < FOLDS

    def forget(self, tags: Iterable[Any]) -> None:
        pass

    def wait(self, seconds: float) -> list[tuple[Any, Outcome]]:
        tag, job = self.jobs.pop(0)
        self.has_room = len(self.jobs) < FOLDS
        return [(tag, self.of_fold[job.fold])]


def client_seconds(trials: int, folds: int) -> float:
    """The seconds that the client takes for a study of so many trials and folds, with SQLite and all rows."""
    rng = np.random.default_rng(0)
    rows = Rows(
        np.zeros((N_ROWS, 16), np.float32), rng.integers(10, size=N_ROWS), np.arange(N_ROWS) % 30, np.arange(N_ROWS)
    )
    data, params = Data(rows), load_params(ROOT / "params.yaml")
    of_row = data.fold_of_rows(folds)
    outcomes = []
    for fold in range(folds):
        right = np.eye(10)[rows.y[of_row == fold]] * 5 + rng.normal(0, 1, ((of_row == fold).sum(), 10))
        log_p = right - np.logaddexp.reduce(right, axis=1, keepdims=True)
        outcomes.append(Outcome(log_p, {"accuracy": 0.9, "loss": 0.1}, np.ones(120), SECONDS))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = open_study(f"sqlite:///{folder}/studies.db", "s", "", make_sampler("tpe", 0), False)
        space = load_space(ROOT / "docs/sweep.yaml", params)
        settings = Settings(space, params, {}, data, trials, folds, 1, [folds], Path(folder))
        sweep = Sweep(study, AtOnce(outcomes), settings, lambda trial, outcomes: None)  # type: ignore[arg-type]
        start = time.perf_counter()
        sweep.run()
        return time.perf_counter() - start


def measured(trials: int = 40, tasks: int = 500) -> Costs:
    """Measure the client and Dask on this machine."""
    client_seconds(2, 2)  # imports
    few, many = client_seconds(trials, 2), client_seconds(trials, FOLDS)
    training = (many - few) / trials / (FOLDS - 2)
    with connected(None, 2) as cluster:
        list(cluster.client.map(abs, range(10)))
        start = time.perf_counter()
        cluster.client.gather(cluster.client.map(abs, range(-tasks, 0), pure=False))
        dask = (time.perf_counter() - start) / tasks
        return Costs(few / trials - 2 * training, training, dask, len(cluster.snapshot.content))


def simulate(workers: int, trials: int, costs: Costs, seconds: Callable[[], float], folds: int = FOLDS) -> float:
    """The seconds of a sweep without pruning.

    The client submits a trial's trainings as long as fewer are under way than there are workers, and one more. It
    takes one result after the other. The snapshot reaches the workers by doubling: each that has it passes it on.
    """
    copies = np.ceil(np.log2(workers + 1)) * costs.snapshot / BYTES_A_SECOND
    free = [START_SECONDS + copies] * workers  # when each worker is free
    heapq.heapify(free)
    client, begun, waiting, results = START_SECONDS, 0, list[float](), list[float]()
    done, end = 0, 0.0
    while done < trials * folds:
        while begun < trials and len(waiting) + len(results) < workers + 1:
            client += costs.trial
            waiting += [client] * folds
            begun += 1
        while waiting and (len(results) < workers or not results):
            at = max(heapq.heappop(free), waiting.pop(0)) + costs.dask
            finished = at + seconds()
            heapq.heappush(free, finished)
            heapq.heappush(results, finished)
        client = max(client, heapq.heappop(results)) + costs.training
        done, end = done + 1, client
    return end


def table(costs: Costs, records: list[dict[str, float]]) -> str:
    """The results as a page."""
    client = f"{1000 * costs.trial:.0f} ms for a trial and {1000 * costs.training:.0f} ms for a training"
    dask = f"Dask {1000 * costs.dask:.1f} ms for a task; the snapshot has {costs.snapshot / 1e6:.1f} MB."
    lines = [
        f"Measured: the client takes {client}, {dask}",
        f"Simulated: {FOLDS} trainings a trial, each of {SECONDS:.0f} s (median; the logarithm varies by {SPREAD}).",
        "",
        "| trials | workers | minutes | busy % | trials an hour |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r['trials']:,} | {r['workers']:,} | {r['seconds'] / 60:,.1f} | {100 * r['busy']:.0f} | "
        f"{3600 * r['trials'] / r['seconds']:,.0f} |"
        for r in records
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    costs, records = measured(), []
    for trials in (40, 1000):
        for workers in WORKERS:
            rng, drawn = np.random.default_rng(0), list[float]()

            def seconds(rng: np.random.Generator = rng, drawn: list[float] = drawn) -> float:
                drawn.append(SECONDS * float(np.exp(SPREAD * rng.normal())))
                return drawn[-1]

            wall = simulate(workers, trials, costs, seconds)
            records.append(
                {"trials": trials, "workers": workers, "seconds": round(wall, 1), "busy": sum(drawn) / wall / workers}
            )
    (RESULTS / "sweeps.json").write_text(json.dumps({"costs": costs._asdict(), "simulated": records}, indent=1) + "\n")
    (RESULTS / "sweeps.md").write_text(table(costs, records))
    sys.stdout.write(table(costs, records))


if __name__ == "__main__":
    main()
