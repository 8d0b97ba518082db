"""The plot stage: from the files of the earlier stages to metrics/plots."""

import json
from pathlib import Path

import numpy as np
import pytest

import plot
from neural_net import BatchNorm, Linear, Network, Residual
from pen.recognizer import PenDigitsModel, save_model
from pipeline.errors import StageError

PICTURES = {"confusion.png", "curves.png", "first_layer.png", "mistakes.png", "weights.png", "writers.png"}
PARAMS = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with all that the stage reads."""
    rng = np.random.default_rng(0)
    n = 40
    X, digit, writer, row = rng.uniform(-1, 1, (n, 16)), np.arange(n) % 10, np.arange(n) % 3 + 1, np.arange(n)
    probability = rng.dirichlet(np.ones(10), n)
    for part in ("metrics", "models", "data/split"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "params.yaml").write_bytes(PARAMS.read_bytes())
    header = "epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy\n"
    (tmp_path / "metrics/history.csv").write_text(header + "1,0.001,2,0.5,2.1,0.4\n2,0.001,1,0.75,1.5,0.6\n")
    train = {"dataset": "synthetic", "n_parameters": 100, "n_train": 80, "n_validation": 20}
    (tmp_path / "metrics/train.json").write_text(json.dumps(train))
    evaluate = {"dataset": "synthetic", "n_test": n, "test_loss": 2.3, "test_accuracy": 0.1}
    (tmp_path / "metrics/evaluate.json").write_text(json.dumps(evaluate))
    lines = ["row,writer,digit,predicted," + ",".join(f"p{k}" for k in range(10))]
    for i, p in enumerate(probability):
        lines += [",".join(map(str, [row[i], writer[i], digit[i], p.argmax(), *p]))]
    (tmp_path / "metrics/predictions.csv").write_text("\n".join(lines) + "\n")
    np.savez(tmp_path / "data/split/test.npz", X=X.astype(np.float32), y=digit, writer=writer, row=row)
    network = Network([Linear(30), "relu", Linear(10)], 16, rng=rng)
    save_model(PenDigitsModel(network, "synthetic"), tmp_path / "models")
    monkeypatch.setenv("PENDIGITS_TRACKING", "off")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "metrics/plots").iterdir()}


def test_main_draws_every_picture_and_the_same_bytes_twice(folder: Path) -> None:
    plot.main()
    once = pictures(folder)
    assert set(once) == PICTURES
    plot.main()
    assert pictures(folder) == once


def test_every_title_names_the_data_set(folder: Path) -> None:
    for figure in plot.draw(plot.read_run(), mistakes_shown=5).values():
        assert figure.get_suptitle().startswith("synthetic: ")


def test_what_is_read_is_what_was_written(folder: Path) -> None:
    run = plot.read_run()
    assert run.history["val_accuracy"].tolist() == [0.4, 0.6]
    assert run.probability.shape == (40, 10)
    assert np.array_equal(run.probability.argmax(axis=1), run.predicted)
    assert run.writer[:4].tolist() == [1, 2, 3, 1]
    assert [(name, w.shape) for name, w in run.layers] == [("linear1", (16, 30)), ("linear2", (30, 10))]


def test_predictions_of_other_rows_are_refused(folder: Path) -> None:
    file = folder / "metrics/predictions.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(StageError, match=r"predictions\.csv does not hold the rows of data/split/test\.npz"):
        plot.main()
    assert not (folder / "metrics/plots").exists()


def test_a_missing_column_is_named(folder: Path) -> None:
    (folder / "metrics/history.csv").write_text("epoch,train_loss\n1,2\n")
    with pytest.raises(StageError, match=r"metrics/history\.csv has no column train_accuracy"):
        plot.main()


@pytest.mark.parametrize("rest", ["1,2,3,4,?\n", "1,2,3,4,5\n1,2\n", "1,2,3\n", ""])
def test_a_table_that_is_not_numbers_in_columns_is_refused(folder: Path, rest: str) -> None:
    (folder / "metrics/history.csv").write_text("epoch,train_loss,train_accuracy,val_loss,val_accuracy\n" + rest)
    with pytest.raises(StageError, match=r"metrics/history\.csv is not a table of numbers"):
        plot.main()


def test_weights_inside_other_layers_are_found_in_order_and_nothing_else_is() -> None:
    layers = [Linear(4), BatchNorm(), Residual([Linear(4), "relu"]), Linear(10)]
    found = plot.weights_of(Network(layers, 16, rng=np.random.default_rng(0)))
    assert [(name, w.shape) for name, w in found] == [("linear1", (16, 4)), ("linear2", (4, 4)), ("linear3", (4, 10))]
