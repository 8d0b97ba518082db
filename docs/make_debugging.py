"""What docs/debugging.md shows: three trainings that fail, each beside the same one with its cure.

Run from the top of the project by `make debugging`; writes docs/images/*.png and prints the tables of the page.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.datasets import load_digits

from figures import diagnostics, sheet
from neural_net import Diagnostics, DivergedError, Network, Training, dense_layers

IMAGES = Path(__file__).parent / "images"
COLOURS = (sheet.VERMILLION, sheet.BLUE)  # the failure, the cure


class Example(NamedTuple):
    """One failure and its cure: the quantity that shows it, when to look, and what is different by name."""

    title: str
    what_to_see: str
    quantity: str
    epoch: int
    settings: dict[str, Any]
    cases: dict[str, dict[str, Any]]  # the failure, then the cure: what params.yaml says, and the settings


class Run(NamedTuple):
    """What a training left behind; ``end`` is the message it stopped with, if it diverged."""

    records: list[dict[str, Any]]
    losses: list[float]
    accuracy: float
    end: str


EXAMPLES = {
    "vanishing": Example(
        "Vanishing gradients: eight layers of sigmoids",
        "Each sigmoid shrinks the gradient on its way back, so the first layers never learn.",
        "gradient_norm",
        0,
        {"hidden_layers": [32] * 8, "optimizer": {"sgd": {"lr": 0.03, "momentum": 0.9}}, "epochs": 15},
        {"activation: sigmoid": {"activation": "sigmoid"}, "activation: relu": {"activation": "relu"}},
    ),
    "exploding": Example(
        "Exploding loss: pixels from 0 to 16 that nobody scaled",
        "Steps are a hundred times too large from the first one on, and each makes the next one larger. "
        "Dashed: a healthy size.",
        "update_ratio",
        1,
        {"hidden_layers": [64] * 6, "optimizer": {"sgd": {"lr": 0.05}}, "epochs": 40, "batch_size": None},
        {
            "clip_norm: null": {"scaled": False},
            "clip_norm: 1": {"scaled": False, "optimizer": {"sgd": {"lr": 0.05, "clip_norm": 1}}},
        },
    ),
    "dead": Example(
        "Dead ReLUs: a learning rate that is too large",
        "Large steps push units below zero for every row. Without a gradient they do not come back.",
        "dead_share",
        15,
        {"hidden_layers": [32, 32], "epochs": 15},
        {"lr: 2.0": {"optimizer": {"sgd": {"lr": 2.0}}}, "lr: 0.1": {"optimizer": {"sgd": {"lr": 0.1}}}},
    ),
}


def run(
    hidden_layers: list[int], activation: str = "relu", scaled: bool = True, batch_size: int | None = 64, **how: Any
) -> Run:
    """Train on scikit-learn's 1797 small digits, 8 x 8 pixels from 0 to 16, which need no download."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    network = Network(dense_layers(hidden_layers, 10, activation), X.shape[1], rng=rng)
    watch, end = Diagnostics(), ""
    how |= {"rng": rng, "batch_size": batch_size, "callbacks": [watch]}
    training = Training(network, X / 8 - 1 if scaled else X, y, **how)
    try:
        training.run()
    except DivergedError as error:
        end = str(error)
    return Run(watch.records, training.history["train_loss"], training.history.last["train_accuracy"], end)


def draw(example: Example, runs: dict[str, Run]) -> Figure:
    """The quantity of the failure, beside that of the cure on the same scale, and both losses."""
    figure = sheet.sheet(3.7, example.title, example.what_to_see)
    *panels, loss = figure.subplots(1, 3)
    failure, cure = runs.values()
    for axes, mine, other in ((panels[0], failure, cure), (panels[1], cure, failure)):
        diagnostics.panel(axes, mine.records, example.quantity, beside=other.records)
        axes.set_ylabel(diagnostics.TITLES[example.quantity].lower())
    for axes, name, colour in zip(panels, runs, COLOURS, strict=True):
        axes.set_title(name, weight="bold", color=colour)
    draw_losses(loss, runs)
    return figure


def draw_losses(axes: Axes, runs: dict[str, Run]) -> None:
    """The training loss of the failure and of the cure, on a logarithmic scale."""
    for result, colour in zip(runs.values(), COLOURS, strict=True):
        epochs = len(result.losses)
        axes.plot(range(1, epochs + 1), result.losses, color=colour, linewidth=1.8)
        if result.end:
            axes.text(epochs, result.losses[-1], "  then NaN", color=colour, va="center")
    diagnostics.scale(axes, np.concatenate([result.losses for result in runs.values()]), logarithmic=True)
    axes.set_title("Training loss", weight="bold")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y")


def table(example: Example, runs: dict[str, Run]) -> list[str]:
    """The failure and its cure in numbers, as the lines of a Markdown table."""
    what = diagnostics.TITLES[example.quantity].lower()
    lines = [
        f"| | {what}, first layer | {what}, last layer | training loss | training accuracy |",
        "|---|---|---|---|---|",
    ]
    for name, result in runs.items():
        found = [r["value"] for r in result.records if (r["quantity"], r["epoch"]) == (example.quantity, example.epoch)]
        shown = [f"{value:.0%}" if example.quantity == "dead_share" else f"{value:.2g}" for value in found]
        lines.append(f"| `{name}` | {shown[0]} | {shown[-1]} | {result.losses[-1]:.2g} | {result.accuracy:.0%} |")
    return lines


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    for name, example in EXAMPLES.items():
        runs = {case: run(**example.settings | settings) for case, settings in example.cases.items()}
        with sheet.style():
            (IMAGES / f"{name}.png").write_bytes(sheet.to_png(draw(example, runs)))
        messages = [result.end for result in runs.values() if result.end]
        sys.stdout.write("\n".join([example.title, *table(example, runs), *messages, "", ""]))


if __name__ == "__main__":
    main()
