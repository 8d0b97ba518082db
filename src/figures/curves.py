"""Loss and accuracy over the epochs of a training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from .sheet import CURVES, DASHED, Array, count, percent, sheet, spread


def curves(history: Mapping[str, Array], train: Mapping[str, int], test_accuracy: float, dataset: str) -> Figure:
    """Loss and accuracy over the epochs, on training and validation rows, with the best epoch and the test accuracy.

    There is no test loss beside the others: it is always the plain cross-entropy, and they are what training minimised.

    Args:
        history: epoch, train_loss, val_loss, train_accuracy, val_accuracy, each (epochs,); accuracies from 0 to 1.
        train: n_parameters, n_train, n_validation.
    """
    epoch = history["epoch"]
    subtitle = (
        f"{train['n_parameters']} parameters, {count(len(epoch), 'epoch')} on {train['n_train']} digits, validated on "
        f"{train['n_validation']}. The trained network reads {percent(test_accuracy)} of the test digits right.\n"
        "Circle: best epoch on validation. Log scales; accuracy is drawn by its error rate. "
        "Training: mean over the epoch's steps."
    )
    figure = sheet(4.5, f"{dataset}: loss and accuracy while training", subtitle)
    left, right = figure.subplots(1, 2)
    _loss_panel(left, epoch, history["train_loss"], history["val_loss"])
    training, validation = 100 * history["train_accuracy"], 100 * history["val_accuracy"]
    _accuracy_panel(right, epoch, training, validation, 100 * test_accuracy)
    return figure


def _loss_panel(axes: Axes, epoch: Array, training: Array, validation: Array) -> None:
    tiny = 1e-7  # zero has no logarithm
    training, validation = np.maximum(training, tiny), np.maximum(validation, tiny)
    low, high = min(training.min(), validation.min()) / 1.2, max(training.max(), validation.max()) * 1.2
    axes.set(yscale="log", ylim=(low, high))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title("Loss", weight="bold")
    _draw_curves(axes, epoch, training, validation, int(np.argmin(validation)), "lowest: {:#.3g}")
    _name_curves(axes, {"training": training[-1], "validation": validation[-1]}, "{:#.3g}")


def _accuracy_panel(axes: Axes, epoch: Array, training: Array, validation: Array, test: float) -> None:
    lowest = min(training.min(), validation.min(), test)
    axes.set_yscale("function", functions=(_error_scale, _error_scale_inverse))
    axes.set_ylim(max(0, lowest - 0.15 * (100 - lowest) - 0.02), 100.02)
    axes.yaxis.set_major_locator(FixedLocator([0, 50, 80, 90, 95, 98, 99, 99.5, 99.9, 100]))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g} %"))
    axes.set_title("Accuracy", weight="bold")
    axes.axhline(test, color=CURVES["test"], linewidth=1, linestyle=DASHED)
    _draw_curves(axes, epoch, training, validation, int(np.argmax(validation)), "highest: {:.2f} %")
    _name_curves(axes, {"training": training[-1], "validation": validation[-1], "test": test}, "{:.2f} %")


def _error_scale(percent: Array) -> Array:
    """Accuracy to height: half the mistakes is about the same step everywhere, and 100 % has a place."""
    height: Array = -np.log10(100.2 - np.minimum(percent, 100.1))
    return height


def _error_scale_inverse(height: Array) -> Array:
    percent: Array = 100.2 - 10.0 ** -np.asarray(height)
    return percent


def _draw_curves(axes: Axes, epoch: Array, training: Array, validation: Array, best: int, best_form: str) -> None:
    dot = "o" if len(epoch) == 1 else ""  # a line through a single point is not to be seen
    for name, values in (("training", training), ("validation", validation)):
        axes.plot(epoch, values, color=CURVES[name], linewidth=1.8, marker=dot, clip_on=False)
    colour = CURVES["validation"]
    ring: dict[str, Any] = {"color": "none", "markeredgecolor": colour, "markersize": 9, "markeredgewidth": 1.8}
    axes.plot(epoch[best], validation[best], "o", clip_on=False, **ring)
    said = f"{best_form.format(validation[best])}, epoch {epoch[best]:g}"
    axes.set_title(said, loc="right", color=colour, size=9)
    axes.set(xlabel="epoch", xlim=(epoch[0] - 0.5, epoch[-1] + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.grid(axis="y")


def _name_curves(axes: Axes, ends: Mapping[str, float], form: str) -> None:
    """Write each curve's name and last value at its right end, moved apart where they would overlap."""
    to_axes = axes.transScale + axes.transLimits
    places = spread([to_axes.transform((1, end))[1] for end in ends.values()], 0.125)
    for place, (name, end) in zip(places, ends.items(), strict=True):
        text, where = f"{name}\n{form.format(end)}", axes.transAxes
        axes.text(1.03, place, text, color=CURVES[name], transform=where, va="center", linespacing=1.1)
