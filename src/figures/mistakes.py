"""What the network got wrong on the test rows: the confusion matrix, accuracy by writer, mistakes as pen paths."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from utils import wilson

from .pen_paths import draw_paths, label, pen_sheet
from .sheet import BLUE, DASHED, FAINT, HEADER, INK, MISTAKES, MUTED, Array, count, message, percent, sheet
from .tables import shortened

MOST_CLASSES, MOST_GROUPS = 20, 30  # in a picture


def confusion(
    digit: Array, predicted: Array, n_classes: int, dataset: str, names: Sequence[str] = (), noun: str = "digit"
) -> Figure:
    """The confusion matrix with its counts. Colour shows the mistakes alone: the diagonal would outshine them.

    Args:
        digit, predicted: (rows,) classes from 0 to n_classes - 1.
        names: of the classes; by default their numbers. Of many classes, those with the most mistakes are shown.
        noun: what a class is.
    """
    counts = np.zeros((n_classes, n_classes), dtype=int)
    np.add.at(counts, (digit, predicted), 1)
    wrong = counts * (1 - np.eye(n_classes, dtype=int))
    names = list(names or map(str, range(n_classes)))
    said = _commonest(wrong, len(digit), names, "test digit" if noun == "digit" else "test row")
    if n_classes > MOST_CLASSES:
        said += f"\nThe {MOST_CLASSES} of {n_classes} {noun}s with the most mistakes; recall and precision of these."
        most = np.sort(np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:MOST_CLASSES])
        counts, wrong, names = counts[np.ix_(most, most)], wrong[np.ix_(most, most)], [names[i] for i in most]
        n_classes = MOST_CLASSES
    figure = sheet(7.45, f"{dataset}: which {noun}s are taken for which", said, width=7.2)
    axes = figure.subplots()
    axes.imshow(np.ma.masked_equal(wrong, 0), cmap=MISTAKES, vmin=1, vmax=max(wrong.max(), 2))
    axes.imshow(np.ma.masked_equal(np.eye(n_classes), 0), cmap=ListedColormap([FAINT]))
    end, room = n_classes - 0.5, n_classes / 10  # beyond the cells: as wide on paper for any number of them
    axes.set(xlim=(-0.5, end + room), ylim=(end + 0.7 * room, -0.5))
    ends, lines = (-0.5, end), np.arange(n_classes + 1) - 0.5
    axes.hlines(lines, *ends, color=FAINT, linewidth=0.8)
    axes.vlines(lines, *ends, color=FAINT, linewidth=0.8)
    for row, column in np.argwhere(counts):
        if row == column:
            _centred(axes, column, row, counts[row, column], size=10)
        else:
            _centred(axes, column, row, counts[row, column], size=10, color=INK, weight="bold")
    _name_sides(axes, names, noun)
    _recall_and_precision(axes, counts)
    return figure


def _name_sides(axes: Axes, names: Sequence[str], noun: str) -> None:
    middle, numbers = (len(names) - 1) / 2, range(len(names))
    if noun == "digit":
        axes.text(-1.1, middle, f"true {noun}", rotation=90, ha="right", va="center", color=MUTED)
        _centred(axes, middle, -1.25, f"predicted {noun}", size=9.5)
        axes.set_xticks(numbers)
        axes.set_yticks(numbers)
    else:  # names have lengths of their own
        short = [shortened(name, 16) for name in names]
        axes.set_xticks(numbers, short, rotation=45 if max(map(len, short)) > 40 // len(names) else 0, parse_math=False)
        axes.set_yticks(numbers, short, parse_math=False)
        axes.set_xlabel(f"predicted {noun}", x=1 / 2.2)  # the middle of the cells
        axes.xaxis.set_label_position("top")
        axes.set_ylabel(f"true {noun}", y=1 - 1 / 2.14)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=11, labelcolor=INK)
    axes.spines[:].set_visible(False)


def _recall_and_precision(axes: Axes, counts: Array) -> None:
    end, room = len(counts) - 0.5, len(counts) / 10
    beside, below = end + 0.55 * room, end + 0.3 * room
    _centred(axes, beside, -0.5 - 0.32 * room, "recall")
    axes.text(-0.5 - 0.15 * room, below, "precision", ha="right", va="center_baseline", color=MUTED, size=8.5)
    narrow = len(counts) > 12  # too narrow for 100.0 %
    upright = {"rotation": 90, "va": "center"} if narrow else {"va": "center_baseline"}
    for i, right in enumerate(np.diagonal(counts)):
        recall, precision = (right / whole if whole else np.nan for whole in (counts[i].sum(), counts[:, i].sum()))
        _centred(axes, beside, i, "-" if np.isnan(recall) else percent(recall, 1))
        share = "-" if np.isnan(precision) else percent(precision, 0 if narrow else 1)
        axes.text(i, below, share, ha="center", color=MUTED, size=8.5, **upright)


def _centred(
    axes: Axes, x: float, y: float, text: object, size: float = 8.5, color: str = MUTED, weight: str = "normal"
) -> None:
    axes.text(x, y, str(text), ha="center", va="center_baseline", color=color, size=size, weight=weight)


def _commonest(wrong: Array, n: int, names: Sequence[str], row: str) -> str:
    if not wrong.any():
        return f"No mistake in {count(n, row)}."
    true, read = (shortened(names[int(i)], 20) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
    which = f"a {true} read as {read}" if row == "test digit" else f"{true} taken for {read}"
    often = f", most often {which} ({count(int(wrong.max()), 'time')})" if wrong.sum() > 1 else f": {which}"
    return f"{count(int(wrong.sum()), 'mistake')} in {count(n, row)}{often}. Grey: right."


def writers(writer: Array, correct: Array, dataset: str, noun: str = "writer") -> Figure:
    """Accuracy for each writer of the test rows, worst first, with 95 % intervals, counts, and the mean of all rows.

    Args:
        writer: (rows,) the writers' numbers, or the names of groups; of many, the worst are shown.
        correct: (rows,) true where the prediction is right.
        noun: ``writer`` or ``group``.
    """
    names, which = np.unique(writer, return_inverse=True)
    digits, right = np.bincount(which), np.bincount(which, weights=correct).astype(int)
    order = np.lexsort((names, right / digits))[:MOST_GROUPS]
    names, digits, right = names[order], digits[order], right[order]
    low, high = wilson(right, digits)
    mean = float(np.mean(correct))
    people = "1 person" if len(names) == 1 else f"{len(names)} people"
    rows = f"{count(len(writer), 'test digit')} by {people}"
    if noun == "group":
        n_groups = len(np.unique(writer))
        rows = f"{count(len(writer), 'test row')} of {count(n_groups, 'group')}"
        rows += f", the {MOST_GROUPS} worst" if n_groups > MOST_GROUPS else ""
    subtitle = f"{rows}. Dashed: all together, {percent(mean)}. Bands: 95 % intervals (Wilson)."
    height = HEADER + 1.0 + 0.28 * len(names)
    figure = sheet(height, f"{dataset}: test accuracy by {noun}", subtitle, width=7.2)
    axes = figure.subplots()
    line = np.arange(len(names))
    axes.axvline(100 * mean, color=MUTED, linewidth=1, linestyle=DASHED)
    axes.hlines(line, 100 * low, 100 * high, color=BLUE, linewidth=5, alpha=0.25)
    axes.plot(100 * right / digits, line, "o", color=BLUE, markersize=7, clip_on=False)
    axes.set(xlabel="accuracy", xlim=(None, 100.2), ylim=(len(names) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g} %"))
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.grid(axis="x")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    _column(axes, -0.015, noun, np.array([shortened(name, 24) for name in names]) if noun == "group" else names)
    _column(axes, 1.14, "mistakes", digits - right)
    _column(axes, 1.25, "digits" if noun == "writer" else "rows", digits)
    return figure


def _column(axes: Axes, place: float, header: str, numbers: Array) -> None:
    """A column of numbers beside the lines of an axes, ``place`` being its right edge in widths of the axes."""
    axes.text(place, 1.0, header, transform=axes.transAxes, ha="right", va="bottom", color=MUTED)
    for line, number in enumerate(numbers):
        axes.text(place, line, str(number), transform=axes.get_yaxis_transform(), ha="right", va="center_baseline")


def mistakes(
    paths: Array, digit: Array, predicted: Array, confidence: Array, writer: Array, shown: int, dataset: str
) -> Figure:
    """The mistakes that the network was surest of, drawn as the pen moved.

    Args:
        paths: (rows, points, 2) from -1 to 1, NaN where the pen was up.
        digit, predicted, writer: (rows,); a writer of 0 is unknown.
        confidence: (rows,) the probability of the predicted digit.
        shown: how many mistakes, at most.
    """
    wrong = np.flatnonzero(digit != predicted)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:shown]
    title = f"{dataset}: the mistakes the network was surest of"
    if not len(worst):
        return message(title, f"No mistake in {count(len(digit), 'test digit')}: nothing to draw.")
    subtitle = (
        f"{len(worst)} of {count(len(wrong), 'mistake')} in {count(len(digit), 'test digit')}, with the probability "
        "given to the wrong digit.\nThe pen starts at the dot (dark) and ends at the arrow (bright)."
    )
    figure, axes, middles = pen_sheet(len(worst), title, subtitle)
    draw_paths(axes, paths[worst] + middles[:, None])
    for middle, row in zip(middles, worst, strict=True):
        sure = "> 99.9 %" if confidence[row] > 0.9995 else percent(confidence[row], 1)
        whose = f", writer {writer[row]}" if writer[row] else ""
        label(axes, middle, f"{digit[row]} read as {predicted[row]}", sure + whose)
    return figure
