"""The train stage: data/split -> models/, metrics/{history,diagnostics,histograms}.csv, metrics/train.json.

Trains the network that params.yaml describes on the training rows, and measures it after every epoch on the
validation rows. The diagnostics have no rows unless params.yaml asks for them.
"""

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

import stage
import tracking
from model import CLASSES, N_COORDINATES, PenDigitsModel, save_model
from neural_net import (
    Callback,
    Diagnostics,
    DivergedError,
    EarlyStopping,
    History,
    Network,
    Training,
    Warmup,
    WeightAverage,
    dense_layers,
    evaluate,
    make_activation,
    make_layer,
    make_loss,
    make_optimizer,
    make_schedule,
)
from neural_net.initializers import check_initializer
from params import Faults, Params, load_params
from strokes import Augmentation

SPLIT, MODELS, METRICS = Path("data/split"), Path("models"), Path("metrics")
DIAGNOSTICS = ("epoch", "layer", "quantity", "value")
HISTOGRAMS = ("epoch", "layer", "of", "low", "high", "share")


class Rows(NamedTuple):
    """Scaled pen paths and their digits: X (rows, 16) float32, y (rows,) int64."""

    X: NDArray[np.float32]
    y: NDArray[np.int64]


def train(
    params: Params,
    training_rows: Rows,
    validation_rows: Rows,
    on_epoch: Callable[[dict[str, float]], None],
    watching: Sequence[Callback] = (),
) -> tuple[PenDigitsModel, History]:
    """Build and train the network that ``params`` describes; ``on_epoch`` is told each epoch's record.

    Args:
        watching: callbacks that look on.

    Raises:
        ParamsError: if params name parts that do not exist.
        StageError: if the training diverges.
    """
    rng = np.random.default_rng(params.seed)
    network = build_network(params, rng)
    callbacks: list[Callback] = [_Report(on_epoch), *watching]
    if params.weight_average is not None:
        callbacks.append(WeightAverage(params.weight_average))
    if params.early_stopping is not None:
        callbacks.append(EarlyStopping(params.early_stopping))
    training = Training(
        network,
        *training_rows,
        rng=rng,
        **training_parts(params),
        epochs=params.epochs,
        batch_size=None if params.batch_size == "full" else params.batch_size,
        validation=validation_rows,
        augment=augmentation(params) or None,
        callbacks=callbacks,
    )
    try:
        history = training.run()
    except DivergedError as error:
        raise stage.StageError(str(error)) from None
    return PenDigitsModel(network, params.dataset), history


def build_network(params: Params, rng: np.random.Generator) -> Network:
    """The untrained network that params.yaml describes.

    Raises:
        ParamsError: with one line for each name that does not exist and each option that is refused.
    """
    faults = Faults()
    with faults.noted():
        check_initializer(params.init)
    for spec in params.activation if isinstance(params.activation, list) else [params.activation]:
        with faults.noted():
            make_activation(spec)
    for layer in params.hidden_layers:
        with faults.noted("hidden_layers: "):
            isinstance(layer, int) or make_layer(layer)
    faults.refuse()
    with faults.noted("hidden_layers: "):
        layers = dense_layers(
            params.hidden_layers,
            len(CLASSES),
            params.activation,
            init=params.init,
            normalization=None if params.normalization == "none" else params.normalization,
            dropout=params.dropout,
            residual=params.residual,
        )
        network = Network(layers, N_COORDINATES, rng=rng)
    faults.refuse()
    return network


def training_parts(params: Params) -> dict[str, Any]:
    """Loss, optimizer and schedule as ``params`` name them.

    Raises:
        ParamsError: with one line for each name that does not exist and each option that is refused.
    """
    faults = Faults()
    parts: dict[str, Any] = {}
    with faults.noted():
        parts["loss"] = make_loss(params.loss, label_smoothing=params.label_smoothing)
    with faults.noted():
        parts["optimizer"] = make_optimizer(
            params.optimizer, lr=params.lr, weight_decay=params.weight_decay, clip_norm=params.clip_norm
        )
    with faults.noted():
        schedule = make_schedule(params.schedule)
        parts["schedule"] = Warmup(schedule, params.warmup_epochs) if params.warmup_epochs else schedule
    faults.refuse()
    return parts


def augmentation(params: Params) -> Augmentation:
    """What ``params`` says of making new pen paths."""
    return Augmentation(
        warp=params.augment_warp,
        trim=params.augment_trim,
        rotation=params.augment_rotation,
        shear=params.augment_shear,
        aspect=params.augment_aspect,
        bend=params.augment_bend,
        jitter=params.augment_jitter,
    )


def check_names(params: Params) -> None:
    """Raise ParamsError, before any work, for all that ``params`` names wrongly."""
    faults = Faults()
    with faults.noted():
        build_network(params, np.random.default_rng(0))
    with faults.noted():
        training_parts(params)
    faults.refuse()


class _Report(Callback):
    """Passes each epoch's record on."""

    def __init__(self, on_epoch: Callable[[dict[str, float]], None]) -> None:
        self.on_epoch = on_epoch

    def on_epoch_end(self, training: Training, record: dict[str, float]) -> None:
        self.on_epoch(record)


def load_rows(name: str) -> Rows:
    """Read one of the split's files.

    Raises:
        StageError: if it is not a whole npz file with X and y.
    """
    path = SPLIT / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Rows(arrays["X"], arrays["y"])
    except (ValueError, KeyError, EOFError) as error:
        raise stage.StageError(f"{path} is damaged ({error}); `dvc repro split` makes it anew") from None


def table_csv(columns: Sequence[str], records: Sequence[Mapping[str, Any]]) -> bytes:
    """Records as a table, one a row, numbers with six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        values = (record[column] for column in columns)
        writer.writerow(value if isinstance(value, str) else f"{value:.6g}" for value in values)
    return text.getvalue().encode()


def main() -> None:
    params = load_params()
    check_names(params)
    rows, validation = load_rows("train"), load_rows("validation")
    # One thread: at these sizes more only get in each other's way, and parallel experiments share the cores.
    with (
        threadpool_limits(1),
        tracking.training(params) as run,
        tqdm(total=params.epochs, unit="epoch", disable=None, file=sys.stderr) as bar,
    ):

        def on_epoch(record: dict[str, float]) -> None:
            run.epoch(record)
            bar.set_postfix_str(
                ", ".join(f"{key} {record[key]:.4f}" for key in ("train_loss", "val_loss", "val_accuracy"))
            )
            bar.update()

        watch = Diagnostics()
        model, history = train(params, rows, validation, on_epoch, [watch] if params.diagnostics else [])
        train_loss, train_accuracy = evaluate(model.network, *rows)
        val_loss, val_accuracy = evaluate(model.network, *validation)
        save_model(model, MODELS)
        stage.write_bytes(METRICS / "history.csv", table_csv(list(history.last), history.records))
        stage.write_bytes(METRICS / "diagnostics.csv", table_csv(DIAGNOSTICS, watch.records))
        stage.write_bytes(METRICS / "histograms.csv", table_csv(HISTOGRAMS, watch.histograms()))
        metrics = {
            "dataset": params.dataset,
            "n_train": len(rows.y),
            "n_validation": len(validation.y),
            "n_parameters": model.network.n_parameters,
            "epochs": len(history),
            "train_loss": round(train_loss, 6),
            "train_accuracy": round(train_accuracy, 6),
            "val_loss": round(val_loss, 6),
            "val_accuracy": round(val_accuracy, 6),
        }
        stage.write_json(METRICS / "train.json", metrics)
    stage.say(
        f"trained on {params.dataset}: {len(history)} epochs, "
        f"validation loss {val_loss:.4f}, validation accuracy {val_accuracy:.2%}"
    )


if __name__ == "__main__":
    stage.run(main)
