"""Loss and accuracy over the epochs of a training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from .sheet import CURVES, DASHED, Array, count, percent, sheet, spread


def curves(
    history: Mapping[str, Array],
    train: Mapping[str, float],
    test: Mapping[str, float],
    dataset: str,
    noun: str = "digit",
) -> Figure:
    """Loss and accuracy over the epochs, on training and validation rows, with the best epoch and the test accuracy.

    The losses are the objective that training minimised. So there is no test loss beside them: test_log_loss is the
    plain cross-entropy, and val_log_loss in metrics/train.json is its counterpart on the validation rows.

    Args:
        history: epoch, train_loss, val_loss, train_accuracy, val_accuracy, each (epochs,); accuracies from 0 to 1.
        train: n_parameters, n_train, n_validation; n_refit, the rows of a second training, of which the tested
            network came, or 0; with early stopping best_epoch, the epochs of that training; loss_floor, the lowest
            value that label smoothing allows, or 0.
        test: test_accuracy; its interval for other people, test_accuracy_people_low and _high, if it is known. Of a
            regression, which has none, only the loss is drawn.
        noun: what a row is.
    """
    epoch = history["epoch"]
    floor, n_refit = train["loss_floor"], train["n_refit"]
    trained = (
        f"{train['n_parameters']:,} parameters, {count(len(epoch), 'epoch')} on {train['n_train']:,} {noun}s, "
        f"validated on {train['n_validation']:,}.\n"
    )
    if "test_accuracy" not in test:
        said = "Circle: best epoch on validation. Training: mean over the epoch's steps. Log scale."
        figure = sheet(4.7, f"{dataset}: loss while training", trained + said)
        _loss_panel(figure.subplots(), epoch, history["train_loss"], history["val_loss"], floor)
        return figure
    long = f" for {count(int(train['best_epoch']), 'epoch')}" if "best_epoch" in train else ""
    tested = f"Trained anew{long} on all {n_refit:,} {noun}s (refit)" if n_refit else "After that training"
    interval = ""
    if "test_accuracy_people_low" in test:
        low, high = (percent(test[f"test_accuracy_people_{end}"], 1) for end in ("low", "high"))
        interval = f" (95 % interval for other {'people' if noun == 'digit' else 'groups'}: {low} to {high})"
    does = "reads" if noun == "digit" else "gets"
    subtitle = (
        f"{trained}{tested} the network {does} {percent(test['test_accuracy'])} of the test {noun}s right{interval}.\n"
        "Circle: best epoch on validation. Training: mean over the epoch's steps. Log scales"
        f"{'; dashed on the left: the lowest loss that label smoothing allows' if floor else ''}."
    )
    figure = sheet(4.7, f"{dataset}: loss and accuracy while training", subtitle)
    left, right = figure.subplots(1, 2)
    _loss_panel(left, epoch, history["train_loss"], history["val_loss"], floor)
    training, validation = 100 * history["train_accuracy"], 100 * history["val_accuracy"]
    _accuracy_panel(right, epoch, training, validation, 100 * test["test_accuracy"])
    return figure


def _loss_panel(axes: Axes, epoch: Array, training: Array, validation: Array, floor: float) -> None:
    tiny = 1e-7  # zero has no logarithm
    training, validation = np.maximum(training, tiny), np.maximum(validation, tiny)
    lowest = min(training.min(), validation.min(), floor or np.inf)
    low, high = lowest / 1.2, max(training.max(), validation.max()) * 1.2
    axes.set(yscale="log", ylim=(low, high))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title("Training objective", weight="bold")
    _draw_curves(axes, epoch, training, validation, int(np.argmin(validation)), "lowest: {:#.3g}")
    ends = {"training": training[-1], "validation": validation[-1]}
    if floor:
        axes.axhline(floor, color=CURVES["floor"], linewidth=1, linestyle=DASHED)
        ends["floor"] = floor
    _name_curves(axes, ends, "{:#.3g}")


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
