"""Stage train: data/split -> models/, metrics/{history,diagnostics,histograms}.csv, metrics/train.json.

Trains the network that params.yaml describes on the training rows, and measures it after every epoch on the
validation rows. The diagnostics have no rows unless params.yaml asks for them. With ``refit`` the network that is kept
is trained once more, in the same way, on all of these rows. If it is known how long, a second process does that
meanwhile. Drawings that the user labelled join the training rows; the network without them is then trained too, to
compare with.
"""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from runtime import beside, script

import numpy as np
from threadpoolctl import threadpool_limits

from neural_net import (
    Callback,
    Diagnostics,
    DivergedError,
    EarlyStopping,
    History,
    Network,
    StateError,
    Training,
    WeightAverage,
    evaluate,
)
from neural_net.training import Augment
from pen.calibration import fit_temperature
from pen.features import FEATURE_SETS
from pipeline import paths
from pipeline.configure import PEN_DIGITS, Configured, configure, load_checked
from pipeline.errors import FailedTrainingError
from pipeline.model import Model, make_model, model_files
from pipeline.params import Params
from pipeline.rows import Rows, read_drawings, read_rows
from pipeline.schema import Schema, read_schema
from pipeline.tables import metrics_json, records_csv
from pipeline.tabular.measures import balanced_accuracy, prefixed, regression
from pipeline.tabular.model import TableModel
from runtime.checkpoint import Checkpoint, ResumableRun, fingerprint, resumable_run
from runtime.progress import progress_bar
from tracking import reporter
from utils import log_loss

COPIES = 8  # of each row held out, for the temperature
LONG = 100_000  # rows, counted in each epoch: a training for which a second process is worth its start
REFIT = "refit"  # the word that makes this script the second process
DIAGNOSTICS = ("epoch", "layer", "quantity", "value")
OF_CLASSES = ("train_accuracy", "val_accuracy", "temperature")  # measures that a regression does not have
HISTOGRAMS = ("epoch", "layer", "of", "low", "high", "share")

OnEpoch = Callable[[dict[str, float]], None]  # called with each epoch's record


def train(
    params: Params,
    training_rows: Rows,
    validation_rows: Rows | None,
    on_epoch: OnEpoch,
    watching: Sequence[Callback] = (),
    checkpoint: Checkpoint | None = None,
    made: Configured | None = None,
    schema: Schema = PEN_DIGITS,
) -> tuple[Model, History]:
    """Train the network that ``params`` describes.

    Args:
        validation_rows: None: nothing is measured on them, and training does not stop early.
        watching: callbacks that change nothing.
        checkpoint: where the training resumes, if it was stopped, and where its state is kept meanwhile.
        made: what ``params`` describes, if it is made already; this training uses it up.
        schema: of the data set.

    Raises:
        ParamsError: if params name parts that do not exist.
        FailedTrainingError: if the training diverges.
    """
    made = made or configure(params, schema)
    callbacks = list(watching)
    if params.weight_average is not None:
        callbacks.append(WeightAverage(params.weight_average))
    if params.early_stopping is not None and validation_rows is not None:
        callbacks.append(EarlyStopping(params.early_stopping))
    callbacks += [_Report(on_epoch), *([checkpoint] if checkpoint else [])]
    training = Training(
        made.network,
        training_rows.X,
        training_rows.y,
        rng=made.rng,
        loss=made.loss,
        optimizer=made.optimizer,
        schedule=made.schedule,
        epochs=params.epochs,
        batch_size=None if params.batch_size == "full" else params.batch_size,
        validation=validation_rows and (validation_rows.X, validation_rows.y),
        augment=_new_rows(params, training_rows),
        callbacks=callbacks,
    )
    try:
        history = training.run(checkpoint.load() if checkpoint else None)
    except DivergedError as error:
        raise FailedTrainingError(str(error)) from None
    except StateError as error:
        if not checkpoint:
            raise
        checkpoint.discard(error)
        return train(params, training_rows, validation_rows, on_epoch, watching, checkpoint, schema=schema)
    return make_model(made.network, schema, params.features), history


class _Report(Callback):
    """Passes each epoch's record on, those before a restart too."""

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.on_epoch = on_epoch

    def on_epoch_end(self, training: Training, record: dict[str, float]) -> None:
        self.on_epoch(record)

    def set_state(self, training: Training, state: Mapping[str, Any]) -> None:
        for record in training.history.records:
            self.on_epoch(record)


class _StopAfter(Callback):
    """Ends the training after so many epochs of a schedule for more."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch_end(self, training: Training, record: dict[str, float]) -> None:
        training.stopping = training.stopping or training.epoch >= self.epochs


def best_epoch(params: Params, history: History) -> int:
    """The epoch whose weights a training ended with: the last, or with early stopping that of the lowest val_loss."""
    if params.early_stopping is None:
        return len(history)
    losses = history["val_loss"]
    return losses.index(min(losses)) + 1


def refit(
    params: Params,
    epochs: int,
    rows: Rows,
    run: ResumableRun,
    schema: Schema = PEN_DIGITS,
    second: beside.Beside | None = None,
    part: str = REFIT,
    title: str = "training on all rows",
) -> Model:
    """Train on ``rows`` as ``params`` says, up to the epoch whose weights the training that held some out ended with.

    The learning rate of each epoch is the same as there.

    Args:
        second: the process that has done this meanwhile, or most of it.
        part: of the run, by which its checkpoint is known.
        title: of the progress bar.
    """
    stop = [_StopAfter(epochs)] if epochs < params.epochs else []
    with progress_bar(epochs, "epoch", title) as bar:

        def show(epoch: float) -> None:
            bar.update(max(int(epoch) - bar.n, 0))

        checkpoint = run.checkpoint(part, quiet=second is not None and second.wait(show))
        return train(params, rows, None, lambda record: show(record["epoch"]), stop, checkpoint, schema=schema)[0]


def refit_beside() -> None:
    """In the second process: train on all rows, and leave the result in the checkpoint."""
    inputs = read_inputs()
    rows = inputs.rows.and_also(inputs.validation)
    with threadpool_limits(1), resumable_run(inputs.key, part=REFIT) as run:

        def tell(record: dict[str, float]) -> None:
            beside.tell(int(record["epoch"]))

        if run.keeps_state:
            train(inputs.params, rows, None, tell, (), run.checkpoint(REFIT), inputs.made, inputs.schema)


def fitted_temperature(params: Params, network: Network, rows: Rows) -> float:
    """The temperature for people whom the network never saw, fitted to rows by others whom it did not see either.

    The people held out are few, and the temperature depends on whether one of them has odd habits. So it is fitted to
    ``COPIES`` new rows for each of theirs, made as in training: as if more people had been held out.

    If all rows are read right, as happens with few, no temperature is the most likely one: lower ones are ever more so,
    and the network would be quite sure of each mistake to come. It is then 1.
    """
    new_rows, rng = _new_rows(params, rows), np.random.default_rng(params.seed)
    read = [rows.X] if new_rows is None else (new_rows(rows.X, rng) for _ in range(COPIES))
    logits = np.concatenate([network.outputs(X) for X in read])
    y = np.tile(rows.y, len(logits) // len(rows.y))
    return 1.0 if (logits.argmax(axis=1) == y).all() else fit_temperature(logits, y)


def _new_rows(params: Params, rows: Rows) -> Augment | None:
    """The function that ``Training`` calls for each epoch's rows; None if it trains on the rows as they are."""
    strokes = rows.strokes
    if not params.augment or strokes is None:
        return None
    features = FEATURE_SETS[params.features]
    return lambda _, rng: params.augment(strokes, rows.y, rng, features)


class Inputs(NamedTuple):
    """What the stage reads."""

    params: Params
    key: str  # their fingerprint
    schema: Schema
    made: Configured
    rows: Rows  # the user's drawings at the end
    n_without: int  # how many there are without the drawings
    validation: Rows


def read_inputs() -> Inputs:
    """Read and check what the stage reads; ParamsError or StageError if it cannot be used."""
    params = load_checked()  # rejects invalid values and names before any work
    key, schema = fingerprint(), read_schema(paths.SPLIT)
    made = configure(params, schema)
    size, n_classes = made.network.shape_in[0], len(schema.classes)
    with_ink = schema.kind == "pen" and schema.group is not None
    rows, validation = (
        read_rows(name, size, with_ink=with_ink, n_classes=n_classes) for name in ("train", "validation")
    )
    n_without = len(rows.y)
    drawings = read_drawings("drawings", size, with_ink=with_ink) if schema.kind == "pen" else None
    if drawings:
        rows = rows.and_also(drawings)
    return Inputs(params, key, schema, made, rows, n_without, validation)


def main() -> None:
    """Train, and write the model, the curves and the figures on the training and validation rows."""
    params, key, schema, made, rows, n_without, validation = read_inputs()
    if params.augment and rows.strokes is None:
        needs = "it needs the ink in UCI's archive" if schema.kind == "pen" else "this data set has no ink"
        script.say(f"augment is ignored: {needs}")
    watch = Diagnostics()
    one_thread = threadpool_limits(1)  # more threads slow each other down at these sizes, and change the last bits
    shows, resumes = reporter.training(params), resumable_run(key)
    is_long = params.epochs * len(rows.y) >= LONG
    side_by_side = params.refit and params.early_stopping is None and is_long and beside.cores() > 1
    refits = beside.started(__file__, REFIT) if side_by_side else contextlib.nullcontext()
    with one_thread, shows as shown, resumes as run, refits as second, progress_bar(params.epochs, "epoch") as bar:

        def on_epoch(record: dict[str, float]) -> None:
            shown.epoch(record)
            named = [name for name in ("train_loss", "val_loss", "val_accuracy") if name in record]
            bar.set_postfix_str(", ".join(f"{name} {record[name]:.4f}" for name in named), refresh=False)
            bar.update()

        watching = [watch] if params.diagnostics else []
        model, history = train(params, rows, validation, on_epoch, watching, run.checkpoint("training"), made, schema)
        train_loss, train_accuracy = evaluate(model.network, rows.X, rows.y, made.loss)
        val_loss, val_accuracy = evaluate(model.network, validation.X, validation.y, made.loss)
        model.temperature = temperature = (
            fitted_temperature(params, model.network, validation) if schema.classes else 1.0
        )
        measures = validation_measures(model, validation)  # as evaluate measures the test rows
        best = best_epoch(params, history)
        if params.refit:
            model = refit(params, best, rows.and_also(validation), run, schema, second)
            model.temperature = temperature
        to_compare = dict[Path, bytes]()
        if n_without < len(rows.y):
            plain = rows.take(np.arange(n_without))
            given = plain.and_also(validation) if params.refit else plain
            title = "training without the drawings, to compare"
            without = refit(params, best, given, run, schema, part="without", title=title)
            to_compare = {paths.WITHOUT_DRAWINGS / name: content for name, content in model_files(without).items()}
        metrics = {
            "dataset": schema.dataset,
            "n_train": len(rows.y),
            "n_validation": len(validation.y),
            "n_refit": len(rows.y) + len(validation.y) if params.refit else 0,
            "n_parameters": model.network.n_parameters,
            "epochs": len(history),
            **({} if params.early_stopping is None else {"best_epoch": best}),
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "loss_floor": made.loss.floor(len(schema.classes) or 1),
            **measures,
            "temperature": temperature,
        }
        if not schema.classes:  # a regression
            metrics = {name: value for name, value in metrics.items() if name not in OF_CLASSES}
        run.write(
            {
                **{paths.MODELS / name: content for name, content in model_files(model).items()},
                **to_compare,
                paths.HISTORY: records_csv(history.records, list(history.last)),
                paths.DIAGNOSTICS: records_csv(watch.records, DIAGNOSTICS),
                paths.HISTOGRAMS: records_csv(watch.histograms(), HISTOGRAMS),
                paths.TRAIN_METRICS: metrics_json(metrics),
            }
        )
    if not to_compare:
        for path in paths.MODEL_FILES:  # of an earlier run
            (paths.WITHOUT_DRAWINGS / path.name).unlink(missing_ok=True)
    kept = "" if params.early_stopping is None else f", the best after {best}"
    measured = f"accuracy {val_accuracy:.2%}" if schema.classes else f"RMSE {metrics['val_rmse']:g}"
    said = f"validation: objective {val_loss:.4f}, {measured}"
    script.say(f"trained on {schema.dataset}: {len(history)} epochs{kept}; {said}")


def validation_measures(model: Model, validation: Rows) -> dict[str, float]:
    """What ranks runs: the log-loss; on a table also the balanced accuracy; of a regression, its errors instead.

    Unlike val_accuracy the balanced accuracy suits classes of unequal size. Errors have the label's unit.
    """
    if isinstance(model, TableModel) and model.target is not None:
        return prefixed(regression(model.numbers(validation.X), model.in_units(validation.y)), "val")
    p = model.probabilities(validation.X)
    measures = {"val_log_loss": log_loss(p, validation.y)}
    if isinstance(model, TableModel):
        measures["val_balanced_accuracy"] = balanced_accuracy(p.argmax(axis=1), validation.y)
    return measures


if __name__ == "__main__":
    if sys.argv[1:] == [REFIT]:
        beside.run(refit_beside)
    else:
        script.run(main)
