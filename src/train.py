"""Stage train: data/split -> models/, metrics/{history,diagnostics,histograms}.csv, metrics/train.json.

Trains the network that params.yaml describes on the training rows, and measures it after every epoch on the
validation rows. The diagnostics have no rows unless params.yaml asks for them. With ``refit`` the network that is kept
is trained once more, in the same way, on all of these rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime import script

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
from pen.recognizer import CLASSES, Recognizer, recognizer_files
from pipeline import paths
from pipeline.configure import Configured, configure, load_and_configure
from pipeline.errors import FailedTrainingError
from pipeline.params import Params
from pipeline.rows import Rows, read_rows
from pipeline.tables import metrics_json, records_csv
from runtime.checkpoint import Checkpoint, fingerprint, resumable_run
from runtime.progress import progress_bar
from tracking import reporter
from utils import log_loss

COPIES = 8  # of each row held out, for the temperature
DIAGNOSTICS = ("epoch", "layer", "quantity", "value")
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
) -> tuple[Recognizer, History]:
    """Train the network that ``params`` describes.

    Args:
        validation_rows: None: nothing is measured on them, and training does not stop early.
        watching: callbacks that change nothing.
        checkpoint: where the training resumes, if it was stopped, and where its state is kept meanwhile.
        made: what ``params`` describes, if it is made already; this training uses it up.

    Raises:
        ParamsError: if params name parts that do not exist.
        FailedTrainingError: if the training diverges.
    """
    made = made or configure(params)
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
        return train(params, training_rows, validation_rows, on_epoch, watching, checkpoint)
    return Recognizer(made.network, params.dataset, features=params.features), history


class _Report(Callback):
    """Passes each epoch's record on, those before a restart too."""

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.on_epoch = on_epoch

    def on_epoch_end(self, training: Training, record: dict[str, float]) -> None:
        self.on_epoch(record)

    def set_state(self, training: Training, state: Mapping[str, Any]) -> None:
        for record in training.history.records:
            self.on_epoch(record)


def refit(params: Params, epochs: int, rows: Rows, checkpoint: Checkpoint) -> Recognizer:
    """Train on all rows as ``params`` says, for as many epochs as the training that held some out took."""
    with progress_bar(epochs, "epoch", "training on all writers") as bar:

        def on_epoch(record: dict[str, float]) -> None:
            bar.update()

        return train(params.model_copy(update={"epochs": epochs}), rows, None, on_epoch, (), checkpoint)[0]


def fitted_temperature(params: Params, network: Network, rows: Rows) -> float:
    """The temperature for people whom the network never saw, fitted to rows by others whom it did not see either.

    The people held out are few, and the temperature depends on whether one of them has odd habits. So it is fitted to
    ``COPIES`` new rows for each of theirs, made as in training: as if more people had been held out.
    """
    new_rows, rng = _new_rows(params, rows), np.random.default_rng(params.seed)
    if new_rows is None:
        return fit_temperature(network.outputs(rows.X), rows.y)
    logits = [network.outputs(new_rows(rows.X, rng)) for _ in range(COPIES)]
    return fit_temperature(np.concatenate(logits), np.tile(rows.y, COPIES))


def _new_rows(params: Params, rows: Rows) -> Augment | None:
    """The function that ``Training`` calls for each epoch's rows; None if it trains on the rows as they are."""
    features, strokes = FEATURE_SETS[params.features], rows.strokes
    if not params.augment or strokes is None:
        return None
    return lambda _, rng: params.augment(strokes, rows.y, rng, features)


def main() -> None:
    """Train, and write the model, the curves and the figures on the training and validation rows."""
    params, made = load_and_configure()  # rejects invalid values and names before any work
    key = fingerprint()
    size = FEATURE_SETS[params.features].size
    rows, validation = (read_rows(name, size, with_ink=True) for name in ("train", "validation"))
    watch = Diagnostics()
    with (
        threadpool_limits(1),  # more threads slow each other down at these sizes, and change the last bits
        reporter.training(params) as shown,
        resumable_run(key) as run,
        progress_bar(params.epochs, "epoch") as bar,
    ):

        def on_epoch(record: dict[str, float]) -> None:
            shown.epoch(record)
            named = ("train_loss", "val_loss", "val_accuracy")
            bar.set_postfix_str(", ".join(f"{name} {record[name]:.4f}" for name in named), refresh=False)
            bar.update()

        watching = [watch] if params.diagnostics else []
        model, history = train(params, rows, validation, on_epoch, watching, run.checkpoint("training"), made)
        train_loss, train_accuracy = evaluate(model.network, rows.X, rows.y, made.loss)
        val_loss, val_accuracy = evaluate(model.network, validation.X, validation.y, made.loss)
        model.temperature = temperature = fitted_temperature(params, model.network, validation)
        val_log_loss = log_loss(model.probabilities(validation.X), validation.y)  # as evaluate measures the test rows
        if params.refit:
            model = refit(params, len(history), rows.and_also(validation), run.checkpoint("refit"))
            model.temperature = temperature
        metrics = {
            "dataset": params.dataset,
            "n_train": len(rows.y),
            "n_validation": len(validation.y),
            "n_refit": len(rows.y) + len(validation.y) if params.refit else 0,
            "n_parameters": model.network.n_parameters,
            "epochs": len(history),
            "train_loss": round(train_loss, 6),
            "train_accuracy": round(train_accuracy, 6),
            "val_loss": round(val_loss, 6),
            "val_accuracy": round(val_accuracy, 6),
            "loss_floor": round(made.loss.floor(len(CLASSES)), 6),
            "val_log_loss": round(val_log_loss, 6),
            "temperature": round(temperature, 6),
        }
        run.write(
            {
                **{paths.MODELS / name: content for name, content in recognizer_files(model).items()},
                paths.HISTORY: records_csv(history.records, list(history.last)),
                paths.DIAGNOSTICS: records_csv(watch.records, DIAGNOSTICS),
                paths.HISTOGRAMS: records_csv(watch.histograms(), HISTOGRAMS),
                paths.TRAIN_METRICS: metrics_json(metrics),
            }
        )
    script.say(
        f"trained on {params.dataset}: {len(history)} epochs, "
        f"validation loss {val_loss:.4f}, validation accuracy {val_accuracy:.2%}"
    )


if __name__ == "__main__":
    script.run(main)
