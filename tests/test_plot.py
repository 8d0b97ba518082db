"""The plot stage: from the files of the earlier stages to metrics/plots."""

from pathlib import Path

import numpy as np
import pytest

import plot
from evaluate import predictions_csv
from figures.run import draw
from neural_net import BatchNorm, Linear, Network, Residual
from pen.recognizer import Recognizer, recognizer_files
from pipeline import paths
from pipeline.errors import StageError
from pipeline.rows import Rows, rows_npz
from pipeline.tables import metrics_json
from runtime.files import write_bytes

PICTURES = {
    f"{name}.png"
    for name in ("confidence", "confusion", "curves", "first_layer", "mistakes", "samples", "weights", "writers")
}
WATCHED = {"diagnostics.png", "histograms.png"}
COLUMNS = "epoch,train_loss,train_accuracy,val_loss,val_accuracy\n"
TRAIN = {"n_parameters": 100, "n_train": 80, "n_validation": 20, "n_refit": 100, "loss_floor": 1.2}
TEST = {"dataset": "synthetic", "test_accuracy": 0.1, "test_ece": 0.2, "test_left_to_a_person": 1}


@pytest.fixture
def folder(workspace: Path) -> Path:
    """A working directory with all that the stage reads."""
    rng = np.random.default_rng(0)
    n = 40
    rows = Rows(rng.uniform(-1, 1, (n, 16)).astype(np.float32), np.arange(n) % 10, np.arange(n) % 3 + 1, np.arange(n))
    layers = [Linear(30), BatchNorm(), Residual([Linear(30), "relu"]), Linear(10)]
    model = Recognizer(Network(layers, 16, rng=rng), "synthetic")
    contents = {paths.MODELS / name: content for name, content in recognizer_files(model).items()} | {
        paths.SPLIT / "test.npz": rows_npz(rows),
        paths.SPLIT / "train.npz": rows_npz(rows),
        paths.HISTORY: (COLUMNS + "1,2,0.5,2.1,0.4\n2,1,0.75,1.5,0.6\n").encode(),
        paths.TRAIN_METRICS: metrics_json(TRAIN),
        paths.EVALUATE_METRICS: metrics_json(TEST),
        paths.PREDICTIONS: predictions_csv(rows, rng.dirichlet(np.ones(10), n)),
        paths.DIAGNOSTICS: b"epoch,layer,quantity,value\n0,linear1,weight_norm,2\n",
        paths.HISTOGRAMS: b"epoch,layer,of,low,high,share\n0,linear1,weights,0,1,1\n0,linear1,gradients,0.5,1,1\n",
    }
    for path, content in contents.items():
        write_bytes(path, content)
    return workspace


def pictures() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths.FIGURES.iterdir()}


def test_what_was_written_is_read_and_drawn_the_same_twice_and_others_removed(folder: Path) -> None:
    results = plot.read_results()
    assert results.history["val_accuracy"].tolist() == [0.4, 0.6]
    assert results.probability.shape == (40, 10)
    assert np.array_equal(results.probability.argmax(axis=1), results.predicted)
    assert results.writer[:4].tolist() == [1, 2, 3, 1]
    # the weights of layers inside others too, in order, and nothing else
    shapes = {"linear1": (16, 30), "linear2": (30, 30), "linear3": (30, 10)}
    assert [(name, w.shape) for name, w in results.layers] == list(shapes.items())
    for figure in draw(results, mistakes_shown=5, ece_bins=15).values():
        assert figure.get_suptitle().startswith("synthetic: ")
    plot.main()
    once = pictures()
    assert set(once) == PICTURES | WATCHED
    plot.main()
    assert pictures() == once
    write_bytes(paths.DIAGNOSTICS, b"epoch,layer,quantity,value\n")
    plot.main()
    assert set(pictures()) == PICTURES


@pytest.mark.parametrize(("path", "text", "fault"), [
    (paths.PREDICTIONS, "row,writer,digit,predicted,p0\n0,1,0,0,1\n", "does not hold the rows of the test"),
    (paths.HISTORY, "epoch,train_loss\n1,2\n", "has no column train_accuracy"),
    (paths.HISTORY, COLUMNS + "1,2,3,4,?\n", "the column val_accuracy must hold finite numbers"),
    (paths.HISTORY, COLUMNS + "1,2,3,4,5\n1,2\n", "is not a table"),
    (paths.HISTORY, COLUMNS, "the column epoch must hold finite numbers"),
    (paths.HISTORY, "", "is not a table"),
])  # fmt: skip
def test_what_the_stages_before_did_not_write_is_refused(folder: Path, path: Path, text: str, fault: str) -> None:
    path.write_text(text)
    with pytest.raises(StageError, match=rf"^{path}:? {fault}.*; `dvc repro` makes (it|both) again"):
        plot.main()
    assert not paths.FIGURES.exists()
