"""One training of a cross-validation: a network that predicts the rows of a fold, and was trained on the others.

`make cv` and `make sweep` call the same function, here or on another machine, so that equal jobs give equal bits.
"""

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import split
import train
from pen.calibration import fit_temperature
from pipeline import paths
from pipeline.errors import StageError
from pipeline.params import Params
from pipeline.rows import Rows
from pipeline.schema import Schema, read_schema
from pipeline.table_rows import TableRows, fitted
from pipeline.tabular.measures import regression

from . import table_folds
from .ways import ways_of

FOLD_SEED = 0  # the same folds for all configurations, so that their results can be compared fold by fold
PEN_DIGITS = Schema(dataset="")


class Data(NamedTuple):
    """The rows of the training file. The test file takes no part."""

    rows: Rows | TableRows
    schema: Schema = PEN_DIGITS

    def fold_of_rows(self, folds: int) -> NDArray[np.int64]:
        """The fold, from 0, of each row: (rows,). A writer, or a group, is wholly in one fold.

        Raises:
            StageError: if there are too few writers, groups or rows.
        """
        if isinstance(self.rows, TableRows):
            return table_folds.folds_of(self.rows, self.schema, folds)
        return fold_of(self.rows.writer, folds)

    def ways(self) -> dict[str, NDArray[np.bool_]]:
        """The rows of each rare way of writing, by its name; StageError for a table."""
        if isinstance(self.rows, TableRows):
            raise StageError("ways of writing can be held out of pen digits only")
        return ways_of(self.rows.strokes, self.rows.y)

    def held_out(self, job: "Job") -> NDArray[np.bool_]:
        """The rows that a job predicts, (rows,)."""
        if job.hold == "ways":
            return list(self.ways().values())[job.fold]
        return self.fold_of_rows(job.folds) == job.fold


HOLDS = ("writers", "ways")  # what is held out


class Job(NamedTuple):
    """What is trained.

    Attributes:
        params: with the seed of this training.
        folds, fold: how many folds there are, and which one is predicted, from 0.
        most_writers: train on only this many of the other writers, drawn with the seed; None: on all.
        on_test: train as the pipeline does in the end, and predict the test file instead. For `make report` only.
        hold: ``writers``: a fold is some writers, or groups; ``ways``: it is all rows of a way of writing.
    """

    params: Params
    folds: int
    fold: int
    most_writers: int | None = None
    on_test: bool = False
    hold: str = "writers"


class Outcome(NamedTuple):
    """What a training gave.

    Attributes:
        predicted: (rows of the fold, classes) log-probabilities; of a regression (rows of the fold,) labels.
        measures: on these rows, by name.
        train_loss: (epochs,) the training objective.
        seconds: of the training.
    """

    predicted: NDArray[np.float64]
    measures: dict[str, float]
    train_loss: NDArray[np.float64]
    seconds: float


def read_data(features: str) -> Data:
    """Read the training file of data/processed."""
    schema = read_schema(paths.PROCESSED)
    if schema.kind == "pen":
        return Data(split.read_with_writers("training", features), schema)
    return Data(split.read_rows_of(schema, "training", features), schema)


def jobs_of(
    params: Params, folds: int, seeds: int, most_writers: int | None = None, hold: str = "writers"
) -> list[Job]:
    """All trainings of a cross-validation, seed by seed. The seeds count up from ``params.seed``."""
    seeded = [
        params.model_copy(update={"seed": seed, "early_stopping": None})
        for seed in range(params.seed, params.seed + seeds)
    ]
    return [Job(one, folds, fold, most_writers, hold=hold) for one in seeded for fold in range(folds)]


def train_fold(job: Job, data: Data) -> Outcome:
    """Train on the rows of the other folds, and predict those of the job's.

    Raises:
        FailedTrainingError: if the training diverges.
    """
    start = time.perf_counter()
    held_out = data.held_out(job)
    schema, rows, here = _parts(job, data, held_out)
    model, history = train.train(job.params, rows, None, on_epoch=lambda record: None, schema=schema)
    if schema.classes:
        p = model.probabilities(here.X).astype(np.float64)
        predicted = np.log(np.maximum(p, np.finfo(np.float32).tiny))
    else:
        predicted = np.asarray(model.numbers(here.X), np.float64)  # type: ignore[union-attr]  # of a table
    if schema.kind == "table":
        measures = {name.removeprefix("val_"): value for name, value in train.validation_measures(model, here).items()}
    else:
        right = float(np.mean(predicted.argmax(axis=1) == here.y))
        measures = {"accuracy": right, "loss": cross_entropy(predicted, here.y)}
    losses = np.array([record["train_loss"] for record in history.records] if history else [], np.float64)
    return Outcome(predicted, measures, losses, time.perf_counter() - start)


def load_rows(params: Params) -> tuple[Rows, Rows]:
    """The rows of the pipeline's last training, and the rows of the official test file, which influence no choice."""
    rows, test = (split.read_with_writers(name, params.features) for name in ("training", "test"))
    held_out = split.choose_validation(rows.y, rows.writer, params)
    kept = rows.take(~held_out)
    return kept.and_also(rows.take(held_out)) if params.refit else kept, test


def train_on_all(params: Params, rows: Rows, test: Rows) -> Outcome:
    """Train on these rows: the outcome has the probabilities, (rows, 10), of the test rows."""
    start = time.perf_counter()
    model, history = train.train(params, rows, None, on_epoch=lambda record: None)
    p = model.probabilities(test.X).astype(np.float64)
    return Outcome(p, {}, np.array(history["train_loss"]), time.perf_counter() - start)


def _parts(job: Job, data: Data, held_out: NDArray[np.bool_]) -> tuple[Schema, Rows, Rows]:
    """The schema, the rows to train on and those to predict. A table is encoded as its training rows require."""
    rows = data.rows
    if isinstance(rows, TableRows):
        known = fitted(data.schema, rows.take(~held_out))
        return known, rows.take(~held_out).encoded(known), rows.take(held_out).encoded(known)
    if job.hold == "ways":
        return data.schema, rows.take(~held_out), rows.take(held_out)
    drawn = np.random.default_rng(job.params.seed).permutation(np.unique(rows.writer))
    others = drawn[~np.isin(drawn, rows.writer[held_out])][: job.most_writers]
    return data.schema, rows.take(np.isin(rows.writer, others)), rows.take(held_out)


class Score(NamedTuple):
    """How well a configuration predicts rows that it was not trained on; less is better.

    Attributes:
        value: the log-loss at the most likely temperature, which is one for all rows; of a regression, the RMSE. Of
            ways of writing it is the mean over the ways, each of which counts as much.
        by_fold: (folds,) the same of each fold.
        temperature: nan of a regression.
        predicted: (seeds, rows, ...) in the order of the data, of the folds that were predicted; of ways (rows, ...).
        y: (rows,) their labels.
    """

    value: float
    by_fold: NDArray[np.float64]
    temperature: float
    predicted: NDArray[np.float64]
    y: NDArray[Any]


def score(outcomes: dict[tuple[int, int], Outcome], data: Data, folds: int, hold: str = "writers") -> Score:
    """The score of some folds, each predicted with the same seeds. This log-loss varies less by chance than others.

    It does not depend on the overall confidence of the networks either, which label smoothing changes.

    Args:
        outcomes: by seed and fold.
    """
    if hold == "ways":
        return _score_of_ways(outcomes, data)
    of_row, seeds = data.fold_of_rows(folds), sorted({seed for seed, _ in outcomes})
    done = sorted({fold for _, fold in outcomes})
    y, of_row = data.rows.y[np.isin(of_row, done)], of_row[np.isin(of_row, done)]
    shape = next(iter(outcomes.values())).predicted.shape[1:]
    predicted = np.empty((len(seeds), len(y), *shape))
    for (seed, fold), outcome in outcomes.items():
        predicted[seeds.index(seed), of_row == fold] = outcome.predicted
    if not shape:
        parts = [(predicted[:, of_row == fold].ravel(), np.tile(y[of_row == fold], len(seeds))) for fold in done]
        by_fold = np.array([regression(found, true)["rmse"] for found, true in parts])
        whole = regression(predicted.ravel(), np.tile(y, len(seeds)))["rmse"]
        return Score(whole, by_fold, float("nan"), predicted, y)
    logits, labels = predicted.reshape(-1, *shape), np.tile(y, len(seeds))  # log p is as good as the logits that gave p
    temperature = fit_temperature(logits, labels)
    by_fold = np.array([
        cross_entropy(
            predicted[:, of_row == fold].reshape(-1, *shape) / temperature, np.tile(y[of_row == fold], len(seeds))
        )
        for fold in done
    ])  # fmt: skip
    return Score(cross_entropy(logits / temperature, labels), by_fold, temperature, predicted, y)


def _score_of_ways(outcomes: dict[tuple[int, int], Outcome], data: Data) -> Score:
    held_out = list(data.ways().values())
    logits: dict[int, list[NDArray]] = {}
    for (_, way), outcome in outcomes.items():
        logits.setdefault(way, []).append(outcome.predicted)
    pooled = {way: np.concatenate(found) for way, found in sorted(logits.items())}
    labels = {way: np.tile(data.rows.y[held_out[way]], len(logits[way])) for way in pooled}
    p, y = np.concatenate(list(pooled.values())), np.concatenate(list(labels.values()))
    temperature = fit_temperature(p, y)
    by_way = np.array([cross_entropy(pooled[way] / temperature, labels[way]) for way in pooled])
    return Score(float(by_way.mean()), by_way, temperature, p, y)


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
