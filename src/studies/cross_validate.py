"""Cross-validation over writers: how well a configuration reads people it never saw.

    python src cross_validate lr=0.003 'hidden_layers=[256, 128]' --folds 5 --seeds 2

The writers of the training file are divided into folds. Each fold is read by a network that was trained on all others.
The test file is not used, so the result may guide the choice of parameters. On a table of your own, the folds are of
its groups, if it has any.
"""

import argparse
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

import split
import train
from pen.calibration import fit_temperature
from pen.recognizer import CLASSES
from pipeline import paths
from pipeline.configure import configure
from pipeline.errors import StageError
from pipeline.params import Params, ParamsError, check_params, load_params
from pipeline.rows import Rows
from pipeline.schema import read_schema
from pipeline.table_rows import TableRows
from runtime.beside import cores
from runtime.progress import progress_bar
from runtime.script import say
from utils import accuracy

from . import table_folds
from .processes import each

FOLD_SEED = 0  # the same folds for all configurations, so that their results can be compared fold by fold


class Result(NamedTuple):
    """The results of all trainings.

    Attributes:
        accuracy, loss: (seeds, folds), on the rows of the fold's writers.
        errors: writer -> the share of this writer's rows that was read wrongly, the mean over seeds.
        temperature, log_loss: the most likely temperature, one for all rows, and the mean loss with it. This loss does
            not depend on the overall confidence of the networks, which label smoothing changes, and varies less by
            chance.
    """

    accuracy: NDArray[np.float64]
    loss: NDArray[np.float64]
    errors: dict[int, float]
    temperature: float
    log_loss: float


def cross_validate(
    params: Params,
    rows: Rows,
    folds: int,
    seeds: int,
    progress: Any = None,
    most_writers: int | None = None,
    processes: int = 1,
) -> Result:
    """Train ``folds`` times ``seeds`` networks, the seeds counting up from ``params.seed``.

    Args:
        rows: the rows of the training file.
        progress: its ``update()`` is called after every training.
        most_writers: train on only this many of the other folds' writers, drawn again for every seed; None: on all.
            This gives a learning curve over the amount of data; the rows that a fold is tested on stay the same.
        processes: how many trainings are at work at a time; the results are the same bits.

    Raises:
        StageError: if there are fewer writers than folds.
    """
    writer = rows.writer
    held_out = fold_of(writer, folds)
    accuracies, losses = np.empty((seeds, folds)), np.empty((seeds, folds))
    wrong, log_p = np.zeros(len(writer)), np.empty((seeds, len(writer), len(CLASSES)))
    trainings = []
    for i in range(seeds):
        seeded = params.model_copy(update={"seed": params.seed + i, "early_stopping": None})
        drawn = np.random.default_rng(seeded.seed).permutation(np.unique(writer))
        for fold in range(folds):
            here = held_out == fold
            others = drawn[~np.isin(drawn, writer[here])][:most_writers]
            trainings.append((seeded, rows.take(np.isin(writer, others)), rows.X[here]))
    for number, p in enumerate(each(trained_probabilities, trainings, processes)):
        i, fold = divmod(number, folds)
        here = held_out == fold
        y = rows.y[here]
        accuracies[i, fold] = accuracy(y, p.argmax(axis=1))
        log_p[i, here] = np.log(np.maximum(p, np.finfo(np.float32).tiny))
        losses[i, fold] = cross_entropy(log_p[i, here], y)
        wrong[here] += (p.argmax(axis=1) != y) / seeds
        if progress is not None:
            progress.update()
    errors = {int(w): float(wrong[writer == w].mean()) for w in np.unique(writer)}
    logits, y = log_p.reshape(-1, len(CLASSES)), np.tile(rows.y, seeds)  # log p is as good as the logits that gave p
    temperature = fit_temperature(logits, y)
    return Result(accuracies, losses, errors, temperature, cross_entropy(logits / temperature, y))


def trained_probabilities(params: Params, rows: Rows, X: NDArray) -> NDArray[np.float64]:
    """Train a network on the rows; returns its probabilities for X, (rows of X, classes)."""
    model, _ = train.train(params, rows, None, on_epoch=lambda record: None)
    return model.probabilities(X).astype(np.float64)


def cross_entropy(logits: NDArray, y: NDArray) -> float:
    """Mean of ``logsumexp(logits) - logits[y]`` over the rows."""
    return float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(y)), y]).mean())


def fold_of(writer: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """The fold, from 0, of each row's writer: (rows,). The writers are assigned at random.

    Raises:
        StageError: if there are fewer writers than folds.
    """
    writers = np.unique(writer)
    if not 2 <= folds <= len(writers):
        raise StageError(f"folds must be from 2 to the number of writers, {len(writers)}, got {folds}")
    drawn = np.random.default_rng(FOLD_SEED).permutation(writers)
    fold = {int(w): i for i, part in enumerate(np.array_split(drawn, folds)) for w in part}
    return np.array([fold[int(w)] for w in writer])


def standard_error(values: NDArray[np.float64]) -> float:
    """The standard error of the mean: the standard deviation divided by the square root of the number of values."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


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


def overridden(params: Params, changes: list[str]) -> Params:
    """Params with some values changed. Each change has the form ``key=value``, with the value in YAML.

    Raises:
        ParamsError: if a change has another form, or its key or value is invalid in params.yaml.
    """
    values = params.model_dump()
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise ParamsError(f"a change must be key=value, got {change!r}")
        *outer, name = key.split(".")
        try:
            place: Any = values
            for step in outer:
                place = place.get(step)
                if not isinstance(place, dict):
                    raise ParamsError(f"{key} is not a parameter")
            place[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ParamsError(f"a value must be YAML, quoted if it has spaces, got {change!r}") from None
    return check_params(values, "the command line")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", metavar="key=value", help="a value to use instead of that in params.yaml")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--most-writers", type=int, metavar="N", help="train on N of the other folds' writers only")
    parser.add_argument(
        "--apart", type=int, nargs="+", default=[], metavar="WRITER", help="also show the mean without these writers"
    )
    given = parser.parse_args()
    params = overridden(load_params(), given.changes)
    schema = read_schema(paths.PROCESSED)
    said = "configuration: params.yaml"
    of_table = split.read_rows_of(schema, "training", params.features) if schema.kind == "table" else None
    if isinstance(of_table, TableRows):
        if given.most_writers is not None or given.apart:
            raise StageError("--most-writers and --apart are for pen digits")
        with progress_bar(given.folds * given.seeds, "training", "cross-validation") as bar:
            measured = table_folds.cross_validate_table(
                params, schema, of_table, given.folds, given.seeds, bar, cores()
            )
        say(" ".join([said, *given.changes]))
        say(table_folds.table(measured))
        return
    configure(params)
    if given.most_writers is not None and given.most_writers < 1:
        raise StageError(f"--most-writers must be at least 1, got {given.most_writers}")
    rows = split.read_with_writers("training", params.features)
    total = given.folds * given.seeds
    with progress_bar(total, "training", "cross-validation") as bar:
        result = cross_validate(params, rows, given.folds, given.seeds, bar, given.most_writers, cores())
    few = [] if given.most_writers is None else [f"trained on {given.most_writers} writers"]
    say(" ".join([said, *given.changes, *few]))
    say(table(result, given.apart))
