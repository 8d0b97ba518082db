"""Cross-validation over writers: how well a configuration reads people it never saw.

    python src cross_validate lr=0.003 'hidden_layers=[256, 128]' --folds 5 --seeds 2
    python src cross_validate epochs=30 --hold ways --seeds 1

The writers of the training file are divided into folds. Each fold is read by a network that was trained on all others.
The test file is not used, so the result may guide the choice of parameters. On a table of your own, the folds are of
its groups, if it has any. With ``--hold ways``, all rows of a rare way of writing are held out instead: ways.py.
"""

import argparse
import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline.configure import configure
from pipeline.errors import StageError
from pipeline.params import Params, ParamsError, check_params, load_params
from pipeline.rows import Rows
from pipeline.table_rows import TableRows
from runtime.beside import cores
from runtime.progress import progress_bar
from runtime.script import say

from . import table_folds
from .folds import HOLDS, Data, Job, Outcome, jobs_of, read_data, score, standard_error, train_fold
from .processes import each


class Result(NamedTuple):
    """The results of all trainings.

    Attributes:
        accuracy, loss: (seeds, folds), on the rows of the fold's writers.
        errors: writer -> the share of this writer's rows that was read wrongly, the mean over seeds.
        temperature, log_loss: the most likely temperature, one for all rows, and the mean loss with it.
    """

    accuracy: NDArray[np.float64]
    loss: NDArray[np.float64]
    errors: dict[int, float]
    temperature: float
    log_loss: float


Run = Callable[[Sequence[Job]], Iterable[Outcome]]  # trains jobs, here or elsewhere, and yields outcomes in their order


def trained_here(data: Data, processes: int = 1) -> Run:
    """Trains on this machine, with so many processes at a time; with 1, in this one. The results are the same bits."""
    return lambda jobs: each(train_fold, [(job, data) for job in jobs], processes)


def outcomes_of(jobs: Sequence[Job], run: Run, progress: Any = None) -> dict[tuple[int, int], Outcome]:
    """The outcome of each job, by seed and fold; ``progress.update()`` is called after every training."""
    found = {}
    for job, outcome in zip(jobs, run(jobs), strict=True):
        found[job.params.seed, job.fold] = outcome
        if progress is not None:
            progress.update()
    return found


def cross_validate(
    params: Params,
    rows: Rows,
    folds: int,
    seeds: int,
    progress: Any = None,
    most_writers: int | None = None,
    run: Run | None = None,
) -> Result:
    """Train ``folds`` times ``seeds`` networks, the seeds counting up from ``params.seed``.

    Args:
        rows: the rows of the training file.
        progress: its ``update()`` is called after every training.
        most_writers: train on only this many of the other folds' writers, drawn again for every seed; None: on all.
            This gives a learning curve over the amount of data; the rows that a fold is tested on stay the same.
        run: what trains; by default this process.

    Raises:
        StageError: if there are fewer writers than folds.
    """
    data = Data(rows)
    data.fold_of_rows(folds)  # rejects a wrong number before anything is trained
    outcomes = outcomes_of(jobs_of(params, folds, seeds, most_writers), run or trained_here(data), progress)
    found, seeded = score(outcomes, data, folds), range(params.seed, params.seed + seeds)
    wrong = (found.predicted.argmax(axis=2) != found.y).mean(axis=0)
    accuracy, loss = (
        np.array([[outcomes[seed, fold].measures[name] for fold in range(folds)] for seed in seeded])
        for name in ("accuracy", "loss")
    )
    errors = {int(w): float(wrong[rows.writer == w].mean()) for w in np.unique(rows.writer)}
    return Result(accuracy, loss, errors, found.temperature, found.value)


def table(result: Result, apart: Collection[int] = ()) -> str:
    """Accuracy and loss of each fold and of all, and the worst writers; also the mean without the writers ``apart``."""
    lines = ["fold   accuracy %   loss"]
    by_fold = zip(100 * result.accuracy.mean(axis=0), result.loss.mean(axis=0), strict=True)
    lines += [f"{fold:>4}   {right:10.2f}   {loss:.4f}" for fold, (right, loss) in enumerate(by_fold, start=1)]
    right, loss = 100 * result.accuracy, result.loss
    lines.append(f"mean   {right.mean():10.2f}   {loss.mean():.4f}")
    for axis, over in enumerate(("folds", "seeds")):
        errors = standard_error(right.mean(axis=axis)), standard_error(loss.mean(axis=axis))
        lines.append(f"standard error over {over}: accuracy {errors[0]:.2f}, loss {errors[1]:.4f}")
    lines.append(f"log-loss at one temperature, {result.temperature:.2f}: {result.log_loss:.4f}")
    others = [share for writer, share in result.errors.items() if writer not in apart]
    if apart and others:
        lines.append(f"mean of the {len(others)} other writers, without --apart: {100 - 100 * np.mean(others):.2f}")
    worst = sorted(result.errors.items(), key=lambda item: -item[1])[:5]
    lines.append("worst writers: " + ", ".join(f"{writer} ({100 * share:.1f} % wrong)" for writer, share in worst))
    return "\n".join(lines)


def table_of_ways(outcomes: dict[tuple[int, int], Outcome], data: Data) -> str:
    """Accuracy and log-loss of each rare way of writing that was held out, the worst first, and of all."""
    found, ways = score(outcomes, data, 0, "ways"), data.ways()
    right = [
        100 * np.mean([outcome.measures["accuracy"] for (_, number), outcome in outcomes.items() if number == way])
        for way in range(len(ways))
    ]
    rows = sorted(zip(right, found.by_fold, ways.items(), strict=True), key=lambda row: row[0])
    lines = [f"{'way of writing':<28}  rows  accuracy %  log-loss"]
    lines += [f"{name:<28}  {held.sum():>4}  {share:10.2f}  {loss:8.4f}" for share, loss, (name, held) in rows]
    lines.append(f"{f'mean of {len(ways)} ways':<28}        {np.mean(right):10.2f}  {found.value:8.4f}")
    errors = standard_error(np.array(right)), standard_error(found.by_fold)
    lines.append(f"standard error over ways: accuracy {errors[0]:.2f}, log-loss {errors[1]:.4f}")
    lines.append(f"log-losses are at one temperature, {found.temperature:.2f}")
    return "\n".join(lines)


def overridden(params: Params, changes: list[str]) -> Params:
    """Params with some values changed. Each change has the form ``key=value``, with the value in YAML.

    Raises:
        ParamsError: if a change has another form, or its key or value is invalid in params.yaml.
    """
    values = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise ParamsError(f"a change must be key=value, got {change!r}")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ParamsError(f"a value must be YAML, quoted if it has spaces, got {change!r}") from None
    return with_values(params, values, "the command line")


def with_values(params: Params, values: Mapping[str, Any], source: str) -> Params:
    """Params with some values changed, by names such as ``augment.bend``.

    Raises:
        ParamsError: naming the source, if a name or value is invalid.
    """
    all_values = params.model_dump()
    for key, value in values.items():
        *outer, name = key.split(".")
        place: Any = all_values
        for step in outer:
            place = place.get(step)
            if not isinstance(place, dict):
                raise ParamsError(f"{key} is not a parameter")
        place[name] = value
    return check_params(all_values, source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", metavar="key=value", help="a value to use instead of that in params.yaml")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--most-writers", type=int, metavar="N", help="train on N of the other folds' writers only")
    parser.add_argument(
        "--apart", type=int, nargs="+", default=[], metavar="WRITER", help="also show the mean without these writers"
    )
    parser.add_argument(
        "--hold", choices=HOLDS, default="writers", help="writers: folds of them; ways: each rare way of writing"
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="train on the Dask cluster there, as tcp://host:8786")
    given = parser.parse_args()
    params = overridden(load_params(), given.changes)
    data = read_data(params.features)
    if data.schema.kind == "pen":
        configure(params)
    elif given.most_writers is not None or given.apart:
        raise StageError("--most-writers and --apart are for pen digits")
    if given.most_writers is not None and given.most_writers < 1:
        raise StageError(f"--most-writers must be at least 1, got {given.most_writers}")
    folds = given.folds if given.hold == "writers" else len(data.ways())
    if given.hold == "writers":
        data.fold_of_rows(folds)  # rejects a wrong number
    elif given.most_writers is not None or given.apart:
        raise StageError("--most-writers and --apart are for folds of writers")
    total = folds * given.seeds
    with runner(data, given.scheduler) as run, progress_bar(total, "training", "cross-validation") as bar:
        if given.hold == "ways":
            jobs = jobs_of(params, folds, given.seeds, hold="ways")
            shown = table_of_ways(outcomes_of(jobs, run, bar), data)
        elif isinstance(data.rows, TableRows):
            outcomes = outcomes_of(jobs_of(params, given.folds, given.seeds), run, bar)
            pooled = score(outcomes, data, given.folds)
            shown = table_folds.table(table_folds.measured(outcomes), pooled.value, pooled.temperature)
        else:
            found = cross_validate(params, data.rows, given.folds, given.seeds, bar, given.most_writers, run)
            shown = table(found, given.apart)
    few = [] if given.most_writers is None else [f"trained on {given.most_writers} writers"]
    say(" ".join(["configuration: params.yaml", *given.changes, *few]))
    say(shown)


@contextlib.contextmanager
def runner(data: Data, scheduler: str | None) -> Iterator[Run]:
    """What trains: all cores of this machine, or the cluster of a scheduler."""
    if not scheduler:
        yield trained_here(data, cores())
        return
    from .cluster import connected  # here: only a cluster needs Dask

    with connected(scheduler) as cluster:
        yield cluster.trained
