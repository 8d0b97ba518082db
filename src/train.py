"""The train stage: data/split -> models/, metrics/{history,diagnostics,histograms}.csv, metrics/train.json.

Trains the network that params.yaml describes on the training rows, and measures it after every epoch on the
validation rows. The diagnostics have no rows unless params.yaml asks for them. With ``refit`` the
network that is kept is trained once more, in the same way, on all of these rows.
"""

import starting  # noqa: F401 (a Ctrl-C from here on is said in a line)

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
from arrays import load_rows
from calibration import fit_temperature
from checkpoint import CHECKPOINTS, Checkpoint, checkpoints, fingerprint
from model import CLASSES, PenDigitsModel, save_model
from neural_net import (
    Callback,
    Diagnostics,
    DivergedError,
    EarlyStopping,
    History,
    Network,
    StateError,
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
from neural_net.training import Augment
from params import Faults, Params, load_params
from strokes import FEATURE_SETS, Augmentation, Strokes, read_strokes

SPLIT, MODELS, METRICS = Path("data/split"), Path("models"), Path("metrics")
MOST_PARAMETERS = 50_000_000  # for training, that is some 2 GB
COPIES = 8  # of each row held out, for the temperature
DIAGNOSTICS = ("epoch", "layer", "quantity", "value")
HISTOGRAMS = ("epoch", "layer", "of", "low", "high", "share")


class Rows(NamedTuple):
    """Features of digits (rows, size), the digits (rows,), and the ink that new ones are made of; None: none are."""

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    strokes: Strokes | None = None

    def take(self, chosen: NDArray[np.bool_]) -> "Rows":
        """Some of the rows, by a mask."""
        return Rows(self.X[chosen], self.y[chosen], self.strokes and self.strokes.take(chosen))

    def and_also(self, others: "Rows") -> "Rows":
        """These rows and then the others."""
        strokes = None
        if self.strokes is not None and others.strokes is not None:
            strokes = self.strokes.and_also(others.strokes)
        return Rows(np.concatenate([self.X, others.X]), np.concatenate([self.y, others.y]), strokes)


def train(
    params: Params,
    training_rows: Rows,
    validation_rows: Rows | None,
    on_epoch: Callable[[dict[str, float]], None],
    watching: Sequence[Callback] = (),
    checkpoint: Checkpoint | None = None,
) -> tuple[PenDigitsModel, History]:
    """Build and train the network that ``params`` describes; ``on_epoch`` is told each epoch's record.

    Args:
        validation_rows: None: nothing is measured on them, and training does not stop early.
        watching: callbacks that look on.
        checkpoint: is where the training goes on from, if there is one, and where it is kept meanwhile.

    Raises:
        ParamsError: if params name parts that do not exist.
        FruitlessError: if the training diverges.
    """
    rng = np.random.default_rng(params.seed)
    network = build_network(params, rng)
    callbacks = list(watching)
    if params.weight_average is not None:
        callbacks.append(WeightAverage(params.weight_average))
    if params.early_stopping is not None and validation_rows is not None:
        callbacks.append(EarlyStopping(params.early_stopping))
    callbacks += [_Report(on_epoch), *([checkpoint] if checkpoint else [])]
    training = Training(
        network,
        training_rows.X,
        training_rows.y,
        rng=rng,
        **training_parts(params),
        epochs=params.epochs,
        batch_size=None if params.batch_size == "full" else params.batch_size,
        validation=validation_rows and (validation_rows.X, validation_rows.y),
        augment=_new_rows(params, training_rows),
        callbacks=callbacks,
    )
    try:
        history = training.run(checkpoint.load() if checkpoint else None)
    except DivergedError as error:
        raise stage.FruitlessError(str(error)) from None
    except StateError as error:
        if not checkpoint:
            raise
        checkpoint.discard(error)
        return train(params, training_rows, validation_rows, on_epoch, watching, checkpoint)
    return PenDigitsModel(network, params.dataset, features=params.features), history


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
            isinstance(layer, int) or layer == "activation" or make_layer(layer)
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
        network = Network(layers, rng=rng)
        shape_in = (FEATURE_SETS[params.features].size,)
        size = network.count_parameters(shape_in)
        if size > MOST_PARAMETERS:
            raise ValueError(f"a network may have {MOST_PARAMETERS:,} parameters at most, got {size:,}")
        network.build(shape_in)
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
        parts["loss"].table(len(CLASSES))  # refuses class weights for another number of classes
    for option in ("lr", "weight_decay", "clip_norm"):
        with faults.noted("optimizer: "):
            if isinstance(params.optimizer, dict) and option in (next(iter(params.optimizer.values()), None) or {}):
                raise ValueError(f"{option} has a key of its own, {option}, and cannot be set here too")
    with faults.noted():
        parts["optimizer"] = make_optimizer(
            params.optimizer, lr=params.lr, weight_decay=params.weight_decay, clip_norm=params.clip_norm
        )
    with faults.noted():
        if params.warmup_epochs and params.warmup_epochs >= params.epochs:
            raise ValueError(f"warmup_epochs must be less than epochs, {params.epochs}, got {params.warmup_epochs:g}")
        schedule = make_schedule(params.schedule)
        parts["schedule"] = Warmup(schedule, params.warmup_epochs) if params.warmup_epochs else schedule
    faults.refuse()
    return parts


def augmentation(params: Params) -> Augmentation:
    """What ``params`` says of making new rows.

    Raises:
        ParamsError: if the shares do not go together.
    """
    faults = Faults()
    with faults.noted("augment: "):
        made = Augmentation(
            backwards=params.augment_backwards,
            reordered=params.augment_reordered,
            ornamented=params.augment_ornamented,
            plain=params.augment_plain,
            restarted=params.augment_restarted,
            apart=params.augment_apart,
            bend=params.augment_bend,
            rotation=params.augment_rotation,
            shear=params.augment_shear,
            aspect=params.augment_aspect,
            warp=params.augment_warp,
            trim=params.augment_trim,
            jitter=params.augment_jitter,
        )
    faults.refuse()
    return made


def _new_rows(params: Params, rows: Rows) -> Augment | None:
    """What ``Training`` calls for each epoch's rows."""
    made, features, strokes = augmentation(params), FEATURE_SETS[params.features], rows.strokes
    if not made or strokes is None:
        return None
    return lambda _, rng: made(strokes, rows.y, rng, features)


def fitted_temperature(params: Params, network: Network, rows: Rows) -> float:
    """The temperature for people whom the network never saw, fitted to rows by others whom it did not see either.

    The people held out are few, and the temperature hangs on whether one of them has odd habits. So it is fitted to
    ``COPIES`` new rows for each of theirs, made as those that training makes: as if more people had been held out.
    """
    new_rows, rng = _new_rows(params, rows), np.random.default_rng(params.seed)
    if new_rows is None:
        return fit_temperature(network.outputs(rows.X), rows.y)
    logits = [network.outputs(new_rows(rows.X, rng)) for _ in range(COPIES)]
    return fit_temperature(np.concatenate(logits), np.tile(rows.y, COPIES))


def check_names(params: Params) -> None:
    """Raise ParamsError, before any work, for all that ``params`` names wrongly."""
    faults = Faults()
    with faults.noted():
        build_network(params, np.random.default_rng(0))
    with faults.noted():
        training_parts(params)
    with faults.noted():
        augmentation(params)
    faults.refuse()


class _Report(Callback):
    """Passes each epoch's record on, those before a restart too."""

    def __init__(self, on_epoch: Callable[[dict[str, float]], None]) -> None:
        self.on_epoch = on_epoch

    def on_epoch_end(self, training: Training, record: dict[str, float]) -> None:
        self.on_epoch(record)

    def set_state(self, training: Training, state: Mapping[str, Any]) -> None:
        for record in training.history.records:
            self.on_epoch(record)


def refit(params: Params, epochs: int, rows: Rows, checkpoint: Checkpoint) -> PenDigitsModel:
    """Train on all rows as ``params`` says, for as many epochs as the training that held some out took."""
    with tqdm(total=epochs, unit="epoch", desc="on all writers", disable=None, file=sys.stderr) as bar:

        def on_epoch(record: dict[str, float]) -> None:
            bar.update()

        return train(params.model_copy(update={"epochs": epochs}), rows, None, on_epoch, (), checkpoint)[0]


def inputs() -> list[Path]:
    """The files that decide, with the parameters, what comes out: data and code."""
    script = Path(__file__)
    modules = [script, *tracking.imported(script)]
    code = [file for path in modules for file in ([path] if path.is_file() else path.rglob("*.py"))]
    return [*sorted(SPLIT.glob("train*.npz")), *sorted(SPLIT.glob("validation*.npz")), *sorted(code)]


def check_unchanged(key: str) -> None:
    """Refuse to write a result of inputs that are no longer there: DVC would record it as one of those that are.

    Raises:
        StageError: if parameters, data or code are other than those that ``key`` is the fingerprint of.
    """
    try:
        if fingerprint(load_params().model_dump(mode="json"), inputs()) == key:
            return
    except stage.ParamsError:  # in the middle of an edit
        pass
    raise stage.StageError(
        "parameters, data or code were changed during the training, whose result DVC would take for the new ones'; "
        "nothing is written, and with the old ones back the same command has it at once"
    )


def read_rows(name: str, features: str) -> Rows:
    """Read one of the split's parts, and its ink.

    Raises:
        StageError: if a file is damaged, or the two do not belong together.
    """
    path, ink = SPLIT / f"{name}.npz", SPLIT / f"{name}_ink.npz"
    X, y = load_rows(path, FEATURE_SETS[features].size, ("X", "y"))
    strokes = read_strokes(ink)
    if len(strokes.points) != len(y):
        raise stage.StageError(f"{path} and {ink} hold different digits; `dvc repro` makes them anew")
    return Rows(X, y, strokes)


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
    rows, validation = read_rows("train", params.features), read_rows("validation", params.features)
    key = fingerprint(params.model_dump(mode="json"), inputs())
    # One thread: at these sizes more only get in each other's way, and parallel experiments share the cores.
    with (
        threadpool_limits(1),
        tracking.training(params) as run,
        checkpoints(tracking.project_root() / CHECKPOINTS, key, map(Path, tracking.MODEL_FILES)) as checkpoint,
        tqdm(total=params.epochs, unit="epoch", disable=None, file=sys.stderr) as bar,
    ):

        def on_epoch(record: dict[str, float]) -> None:
            run.epoch(record)
            bar.set_postfix_str(
                ", ".join(f"{key} {record[key]:.4f}" for key in ("train_loss", "val_loss", "val_accuracy"))
            )
            bar.update()

        watch = Diagnostics()
        watching = [watch] if params.diagnostics else []
        model, history = train(params, rows, validation, on_epoch, watching, checkpoint("training"))
        loss = training_parts(params)["loss"]
        train_loss, train_accuracy = evaluate(model.network, rows.X, rows.y, loss)
        val_loss, val_accuracy = evaluate(model.network, validation.X, validation.y, loss)
        temperature = fitted_temperature(params, model.network, validation)
        if params.refit:
            model = refit(params, len(history), rows.and_also(validation), checkpoint("refit"))
        model.temperature = temperature
        check_unchanged(key)
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
            "temperature": round(temperature, 6),
        }
        stage.write_json(METRICS / "train.json", metrics)
    stage.say(
        f"trained on {params.dataset}: {len(history)} epochs, "
        f"validation loss {val_loss:.4f}, validation accuracy {val_accuracy:.2%}"
    )


if __name__ == "__main__":
    stage.run(main)
