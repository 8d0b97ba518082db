"""The interface that the project began with, as its README shows it."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_sets.synthetic import make_rows
from neural_net import Neural_Net, ReLU, Sigmoid
from utils import scale_features

ROOT = Path(__file__).parents[2]

README = """
from src.neural_net import Neural_Net, ReLU, Sigmoid
from utils import accuracy, scale_features, split_data

layers_dim = [16, 48, 32, 10]
activations = [Sigmoid(), ReLU(), ReLU()]
model = Neural_Net(layers_dim, activations)
losses = model.train(X_train, y_train, lr=0.003, n_iters=1300)   # full-batch gradient descent, one loss an iteration
preds = model.predict(X_test)                                    # classes, not probabilities
print("Test accuracy:", accuracy(y_test, preds))
"""


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y, _ = make_rows(400, np.random.default_rng(0))
    return scale_features(X), y


def test_the_readmes_lines_run_from_the_root_of_a_checkout(tmp_path: Path, digits: Any) -> None:
    np.savez(tmp_path / "digits.npz", X=digits[0], y=digits[1])
    before = f"""
        import warnings
        import numpy as np
        digits = np.load({str(tmp_path / "digits.npz")!r})
        X_train, X_test, y_train, y_test = digits["X"][:300], digits["X"][300:], digits["y"][:300], digits["y"][300:]
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "the output layer is always softmax")
    """
    after = "assert len(losses) == 1300 and losses[-1] < losses[0] and preds.shape == y_test.shape\n"
    program = textwrap.dedent(before) + README + after
    # as `python example.py` in the root would find them: the root itself, and src on the path
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    command, environment = [sys.executable, "-c", program], os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert re.fullmatch(r"Test accuracy: [01]\.\d+\n", done.stdout)


def test_each_loss_is_that_before_its_step(digits: Any) -> None:
    one_more = Neural_Net([16, 8, 10], ["tanh"])
    losses = one_more.train(*digits, lr=0.1, n_iters=3)
    in_pieces = Neural_Net([16, 8, 10], ["tanh"])
    assert [in_pieces.train(*digits, lr=0.1, n_iters=1)[0] for _ in range(3)] == losses
    assert losses[0] > losses[1] > losses[2]
    assert np.array_equal(one_more.predict(digits[0]), one_more.predict_proba(digits[0]).argmax(axis=1))


def test_a_surplus_activation_is_ignored_with_a_warning(digits: Any) -> None:
    with pytest.warns(UserWarning, match="the output layer is always softmax: the last of 3 activations is ignored"):
        surplus = Neural_Net([16, 8, 8, 10], [Sigmoid(), ReLU(), ReLU()])
    exact = Neural_Net([16, 8, 8, 10], [Sigmoid(), ReLU()])
    assert surplus.train(*digits, lr=0.1, n_iters=3) == exact.train(*digits, lr=0.1, n_iters=3)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_any_other_number_of_activations_is_an_error(n: int) -> None:
    with pytest.raises(ValueError, match=f"2 hidden layers need 2 activations, got {n}"):
        Neural_Net([16, 8, 8, 10], [ReLU() for _ in range(n)])
