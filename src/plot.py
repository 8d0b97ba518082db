"""Stage plot: what training and evaluation wrote -> metrics/plots/*.png.

The figures are imported late, so that matplotlib loads while MLflow does, in the process beside this one.
"""

import json
import re
from typing import TYPE_CHECKING, Any

from runtime import script

import numpy as np
from numpy.typing import NDArray

from pen.features import FEATURE_SETS
from pipeline import paths
from pipeline.errors import StageError
from pipeline.model import read_model
from pipeline.params import load_params
from pipeline.rows import Rows, read_rows
from pipeline.tables import read_table, records_of
from pipeline.tabular.model import TableModel, probability_names
from runtime.checkpoint import release
from runtime.files import remove_other_files, write_bytes
from tracking import reporter

if TYPE_CHECKING:
    from figures.run import Results


def main() -> None:
    """Draw the pictures of the run, and remove those of an earlier run that drew more."""
    params = load_params()
    with reporter.results():
        from figures.run import draw
        from figures.sheet import style, to_png

        results = read_results()
        with style():
            pictures = {
                name: to_png(figure) for name, figure in draw(results, params.mistakes_shown, params.ece_bins).items()
            }
        for name, picture in pictures.items():
            write_bytes(paths.FIGURES / name, picture)
        remove_other_files(paths.FIGURES, pictures)
    release()
    script.say(f"drew {len(pictures)} pictures of {results.test['dataset']} in {paths.FIGURES}")


def read_results() -> "Results":
    """What the stages before wrote, put together.

    Raises:
        StageError: if a file lacks what it should hold, or the predictions are not those of the test rows.
    """
    from figures.run import Results

    model = read_model()
    size, n_classes = model.network.shape_in[0], len(model.classes)
    rows, training = (read_rows(name, size, n_classes=n_classes) for name in ("test", "train"))
    accuracies = ("train_accuracy", "val_accuracy") if model.classes else ()
    of_table = isinstance(model, TableModel)
    predictions = _table_predictions(model.classes) if of_table else _digit_predictions(rows)
    if not np.array_equal(predictions["row"], rows.row):
        raise StageError(f"{paths.PREDICTIONS} does not hold the rows of the test; `dvc repro` makes both again")
    drawn = (lambda X: np.empty(0)) if of_table else FEATURE_SETS[model.features].drawn
    return Results(
        train=json.loads(paths.TRAIN_METRICS.read_bytes()),
        test=json.loads(paths.EVALUATE_METRICS.read_bytes()),
        history=read_table(paths.HISTORY, ("epoch", "train_loss", *accuracies[:1], "val_loss", *accuracies[1:])),
        X=rows.X,
        training=(drawn(training.X), training.y, training.writer),
        writer=rows.writer,
        digit=rows.y if model.classes else predictions["label"],
        predicted=predictions["predicted"],
        probability=predictions["probability"],
        layers=[(layer.name, getattr(layer, name)) for layer, name, made in model.network.parameters() if made.decay],
        diagnostics=records_of(read_table(paths.DIAGNOSTICS, ())),
        histograms=records_of(read_table(paths.HISTOGRAMS, ())),
        row=rows.row,
        names=tuple(map(str, model.classes)),
        label=model.label,
        paths=drawn(rows.X),
    )


def _digit_predictions(rows: Rows) -> dict[str, NDArray[Any]]:
    table = read_table(paths.PREDICTIONS, ("row", "writer", "digit", "predicted", "p0"))
    if not np.array_equal(table["digit"], rows.y):
        raise StageError(f"{paths.PREDICTIONS} does not hold the rows of the test; `dvc repro` makes both again")
    probability = np.column_stack([column for name, column in table.items() if re.fullmatch(r"p\d+", name)])
    return {"row": table["row"], "predicted": table["predicted"], "probability": probability}


def _table_predictions(classes: tuple[object, ...]) -> dict[str, NDArray[Any]]:
    """Rows, predictions as classes' numbers, and probabilities; of a regression, numbers and the true ones."""
    names = probability_names(classes)
    table = read_table(paths.PREDICTIONS, ("row", *names) if names else ("row", "label", "predicted"))
    found = {name: table[name] for name in ("row", "label", "predicted")}
    probability = np.column_stack([table[name] for name in names]) if names else np.empty((len(found["row"]), 0))
    return found | {"probability": probability} | ({"predicted": probability.argmax(axis=1)} if names else {})


if __name__ == "__main__":
    script.run(main)
