"""The pictures of a run: each function takes arrays and gives a matplotlib Figure. Nothing here reads or writes a file.

The colours are Okabe and Ito's (jfly.uni-koeln.de/color) and viridis, which the colour-blind can tell apart.
Figures are made without pyplot, which would keep each of them in a global list.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

BLUE, VERMILLION, BLACK = "#0072B2", "#D55E00", "#000000"
CURVES = {"training": BLUE, "validation": VERMILLION, "test": BLACK}
INK, MUTED, FAINT, PAPER = "#222222", "#666666", "#E3E3E3", "#FFFFFF"
MISTAKES = LinearSegmentedColormap.from_list("mistakes", ["#FBE9DC", VERMILLION])
PEN = ListedColormap(mpl.colormaps["viridis"](np.linspace(0.0, 0.9, 256)))  # the last tenth is too pale for paper

DPI = 120
WIDTH, MARGIN, HEADER, LINE = 10.0, 0.2, 0.62, 0.17  # inches: a picture, its margin, its title, a line of its subtitle
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same on every machine
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
DASHED = (0, (4, 3))


@contextmanager
def style() -> Iterator[None]:
    """Within it, pictures are drawn and saved in our style, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def png(figure: Figure) -> bytes:
    """The figure as a PNG file of 256 colours, a third of the usual size; the same figure gives the same bytes."""
    drawn, packed = BytesIO(), BytesIO()
    figure.savefig(drawn, format="rgba", dpi=DPI, facecolor=PAPER)  # and not as a png, to pack it but once
    width, height = (int(inches * DPI) for inches in figure.get_size_inches())
    image = Image.frombytes("RGBA", (width, height), drawn.getvalue()).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(packed, format="png", optimize=True)
    return packed.getvalue()


# ---------------------------------------------------------------------------------------------------- training curves


def curves(history: Mapping[str, Array], train: Mapping[str, int], test_accuracy: float, dataset: str) -> Figure:
    """Loss and accuracy over the epochs, on training and validation rows, with the best epoch and the test accuracy.

    There is no test loss beside the others: it is always the plain cross-entropy, and they are what training minimised.

    Args:
        history: epoch, train_loss, val_loss, train_accuracy, val_accuracy, each (epochs,); accuracies from 0 to 1.
        train: n_parameters, n_train, n_validation.
    """
    epoch = history["epoch"]
    subtitle = (
        f"{train['n_parameters']} parameters, {_count(len(epoch), 'epoch')} on {train['n_train']} digits, validated on "
        f"{train['n_validation']}. The trained network reads {_percent(test_accuracy)} of the test digits right.\n"
        "Circle: best epoch on validation. Scales are logarithmic, accuracy's in the mistakes. "
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
    axes.set_yscale("function", functions=(_stretch, _unstretch))
    axes.set_ylim(max(0, lowest - 0.15 * (100 - lowest) - 0.02), 100.02)
    axes.yaxis.set_major_locator(FixedLocator([0, 50, 80, 90, 95, 98, 99, 99.5, 99.9, 100]))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g} %"))
    axes.set_title("Accuracy", weight="bold")
    axes.axhline(test, color=CURVES["test"], linewidth=1, linestyle=DASHED)
    _draw_curves(axes, epoch, training, validation, int(np.argmax(validation)), "highest: {:.2f} %")
    _name_curves(axes, {"training": training[-1], "validation": validation[-1], "test": test}, "{:.2f} %")


def _stretch(percent: Array) -> Array:
    """Accuracy to height: half the mistakes is about the same step everywhere, and 100 % has a place."""
    height: Array = -np.log10(100.2 - np.minimum(percent, 100.1))
    return height


def _unstretch(height: Array) -> Array:
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


def spread(places: Sequence[float], gap: float, low: float = 0.04, high: float = 0.98) -> list[float]:
    """Move places on a line as little as needed for neighbours to be ``gap`` apart and all to lie within low to high.

    The order stays; of equal places the first given is the lowest.
    """
    order = np.argsort(places, kind="stable")
    groups: list[list[float]] = []  # of neighbours that would touch: the places they were given
    for place in np.asarray(places, dtype=float)[order]:
        groups.append([place])
        while len(groups) > 1 and _ends(groups[-2], gap, low, high)[1] + gap > _ends(groups[-1], gap, low, high)[0]:
            touching = groups.pop()
            groups[-1].extend(touching)
    moved = np.concatenate([np.linspace(*_ends(group, gap, low, high), len(group)) for group in groups])
    return [float(place) for place in moved[np.argsort(order)]]


def _ends(group: list[float], gap: float, low: float, high: float) -> tuple[float, float]:
    """The lowest and highest place of a group set ``gap`` apart, as near to its mean as the bounds allow."""
    half = gap * (len(group) - 1) / 2
    middle = min(max(sum(group) / len(group), low + half), high - half)
    return middle - half, middle + half


# ---------------------------------------------------------------------------------------------------------- mistakes


def confusion(digit: Array, predicted: Array, n_classes: int, dataset: str) -> Figure:
    """The confusion matrix with its counts. Colour shows the mistakes alone: the diagonal would outshine them.

    Args:
        digit, predicted: (rows,) classes from 0 to n_classes - 1.
    """
    counts = np.zeros((n_classes, n_classes), dtype=int)
    np.add.at(counts, (digit, predicted), 1)
    wrong = counts * (1 - np.eye(n_classes, dtype=int))
    figure = sheet(7.45, f"{dataset}: which digits are taken for which", _commonest(wrong, len(digit)), width=7.2)
    axes = figure.subplots()
    axes.imshow(np.ma.masked_equal(wrong, 0), cmap=MISTAKES, vmin=1, vmax=max(wrong.max(), 2))
    axes.imshow(np.ma.masked_equal(np.eye(n_classes), 0), cmap=ListedColormap([FAINT]))
    axes.set(xlim=(-0.5, n_classes + 0.5), ylim=(n_classes + 0.2, -0.5))
    ends, lines = (-0.5, n_classes - 0.5), np.arange(n_classes + 1) - 0.5
    axes.hlines(lines, *ends, color=FAINT, linewidth=0.8)
    axes.vlines(lines, *ends, color=FAINT, linewidth=0.8)
    for row, column in np.argwhere(counts):
        if row == column:
            _centred(axes, column, row, counts[row, column], size=10)
        else:
            _centred(axes, column, row, counts[row, column], size=10, color=INK, weight="bold")
    _name_sides(axes, n_classes)
    _recall_and_precision(axes, counts)
    return figure


def _name_sides(axes: Axes, n_classes: int) -> None:
    middle = (n_classes - 1) / 2
    axes.text(-1.1, middle, "true digit", rotation=90, ha="right", va="center", color=MUTED)
    _centred(axes, middle, -1.25, "predicted digit", size=9.5)
    axes.set_xticks(range(n_classes))
    axes.set_yticks(range(n_classes))
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=11, labelcolor=INK)
    axes.spines[:].set_visible(False)


def _recall_and_precision(axes: Axes, counts: Array) -> None:
    beside, below = len(counts) + 0.05, len(counts) - 0.2
    _centred(axes, beside, -0.82, "recall")
    axes.text(-0.65, below, "precision", ha="right", va="center_baseline", color=MUTED, size=8.5)
    for i, right in enumerate(np.diagonal(counts)):
        for x, y, whole in ((beside, i, counts[i].sum()), (i, below, counts[:, i].sum())):
            _centred(axes, x, y, _percent(right / whole, 1) if whole else "-")


def _centred(
    axes: Axes, x: float, y: float, text: object, size: float = 8.5, color: str = MUTED, weight: str = "normal"
) -> None:
    axes.text(x, y, str(text), ha="center", va="center_baseline", color=color, size=size, weight=weight)


def _commonest(wrong: Array, n: int) -> str:
    if not wrong.any():
        return f"No mistake in {_count(n, 'test digit')}."
    true, read = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return (
        f"{_count(int(wrong.sum()), 'mistake')} in {_count(n, 'test digit')}, "
        f"most often a {true} read as {read} ({_count(int(wrong.max()), 'time')}). Grey: right."
    )


def writers(writer: Array, correct: Array, dataset: str) -> Figure:
    """Accuracy for each writer of the test rows, best first, with 95 % intervals, counts, and the mean of all rows.

    Args:
        writer: (rows,) the writers' numbers.
        correct: (rows,) true where the prediction is right.
    """
    names, which = np.unique(writer, return_inverse=True)
    digits, right = np.bincount(which), np.bincount(which, weights=correct).astype(int)
    order = np.lexsort((names, -right / digits))
    names, digits, right = names[order], digits[order], right[order]
    low, high = wilson(right, digits)
    mean = float(np.mean(correct))
    people = "1 person" if len(names) == 1 else f"{len(names)} people"
    subtitle = (
        f"{_count(len(writer), 'test digit')} by {people}. Dashed: all together, {_percent(mean)}. "
        "Bands: 95 % intervals (Wilson)."
    )
    height = HEADER + 1.0 + 0.28 * len(names)
    figure = sheet(height, f"{dataset}: test accuracy by writer", subtitle, width=7.2)
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
    _column(axes, -0.015, "writer", names)
    _column(axes, 1.14, "mistakes", digits - right)
    _column(axes, 1.25, "digits", digits)
    return figure


def _column(axes: Axes, place: float, header: str, numbers: Array) -> None:
    """A column of numbers beside the lines of an axes, ``place`` being its right edge in widths of the axes."""
    axes.text(place, 1.0, header, transform=axes.transAxes, ha="right", va="bottom", color=MUTED)
    for line, number in enumerate(numbers):
        axes.text(place, line, str(number), transform=axes.get_yaxis_transform(), ha="right", va="center_baseline")


def wilson(right: Array, n: Array, z: float = 1.96) -> tuple[Array, Array]:
    """The interval of a share, ``right`` of ``n``, each (k,): low and high, from 0 to 1; z = 1.96 gives 95 %.

    ``(p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`` with ``p = right / n``. Unlike the textbook interval
    it stays within 0 to 1, and has a width where all are right. Source: Wilson 1927, JASA 22, 209-212.
    """
    p = right / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2) / (1 + z**2 / n)
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def mistakes(
    paths: Array, digit: Array, predicted: Array, confidence: Array, writer: Array, shown: int, dataset: str
) -> Figure:
    """The mistakes that the network was surest of, drawn as the pen moved.

    Args:
        paths: (rows, points, 2) from -1 to 1, NaN where the pen was up.
        digit, predicted, writer: (rows,).
        confidence: (rows,) the probability of the predicted digit.
        shown: how many mistakes, at most.
    """
    wrong = np.flatnonzero(digit != predicted)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:shown]
    title = f"{dataset}: the mistakes the network was surest of"
    if not len(worst):
        return _message(title, f"No mistake in {_count(len(digit), 'test digit')}: nothing to draw.")
    subtitle = (
        f"{len(worst)} of {_count(len(wrong), 'mistake')} in {_count(len(digit), 'test digit')}, with the probability "
        "given to the wrong digit.\nThe pen starts at the dot (dark) and ends at the arrow (bright)."
    )
    figure, axes, middles = _pen_sheet(len(worst), title, subtitle)
    _pen_paths(axes, paths[worst] + middles[:, None], heads=True)
    for middle, row in zip(middles, worst, strict=True):
        sure = "> 99.9 %" if confidence[row] > 0.9995 else _percent(confidence[row], 1)
        _label(axes, middle, f"{digit[row]} read as {predicted[row]}", f"{sure}, writer {writer[row]}")
    return figure


# ----------------------------------------------------------------------------------------------------------- weights


def weights(layers: Sequence[tuple[str, Array]], dataset: str) -> Figure:
    """A histogram of each layer's weights, on one scale of weights, so that layers can be compared.

    Args:
        layers: (name, weights of any shape) of each layer, from the input on.
    """
    columns = min(4, len(layers))
    rows = -(-len(layers) // columns)
    subtitle = (
        f"{sum(w.size for _, w in layers)} weights, biases left out; sd: standard deviation. "
        "Height: share of the layer's weights."
    )
    figure = sheet(HEADER + LINE + 0.5 + 1.9 * rows, f"{dataset}: weights of each layer", subtitle)
    reach = max(float(np.abs(w).max()) for _, w in layers) or 1.0
    edges = np.linspace(-reach, reach, 62)  # an odd number of bins, so that one has zero in its middle
    for i, (name, w) in enumerate(layers):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.stairs(100 * np.histogram(w, edges)[0] / w.size, edges, fill=True, color=BLUE)
        axes.set_title(f"{name}\n{_shape(w)}, sd {w.std():#.3g}")
        axes.set(xlim=(-1.02 * reach, 1.02 * reach), ylim=(0, None))
        if i + columns >= len(layers):  # nothing below
            axes.set_xlabel("weight")
        axes.xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g} %"))
    return figure


def first_layer(W: Array, X: Array, digit: Array, dataset: str, shown: int = 24) -> Figure:
    """What units of the first layer look for: the mean path that excites each most, its weights as arrows.

    A unit sums ``w_k . p_k`` over the points p_k of a pen path: over all eight, or, in a convolution, over each piece
    of a few points. So its weights are as many arrows: of all ways to move point k, along w_k raises the sum most.

    Args:
        W: (16, units), or (points, 2, units) of a convolution over the path. Of another shape, where the network reads
            other features than the coordinates, it is no path, and the picture says so.
        X: (rows, 16) pen paths, scaled to -1..1; of another size, they are no coordinates either.
        digit: (rows,).
        shown: how many units, at most: those with the largest weight vectors, in the order of their commonest digit.
    """
    title = f"{dataset}: what units of the first layer look for"
    over_path = W.shape[:-1] == (16,) or (W.ndim == 3 and W.shape[1] == 2 and W.shape[0] <= 8)
    if X.shape[1] != 16 or not over_path:
        return _message(title, f"The first layer ({_shape(W)}) does not read the 16 coordinates: no paths to draw.")
    W = W.reshape(-1, W.shape[-1])
    n_points = len(W) // 2
    pieces = sliding_window_view(X.reshape(-1, 8, 2), n_points, axis=1).transpose(0, 1, 3, 2).reshape(-1, len(W))
    digit = np.repeat(digit, 9 - n_points)
    n = min(100, len(X))
    strongest = np.argsort(-np.linalg.norm(W, axis=0), kind="stable")[:shown]
    excited = np.argsort(-(pieces @ W[:, strongest]), axis=0, kind="stable")[:n].T  # (units shown, n)
    digits = [_frequent(digit[rows]) for rows in excited]
    order = sorted(range(len(strongest)), key=lambda i: digits[i])
    of_what = _count(n, "test digit") if n_points == 8 else f"{n} pieces of {n_points} points, of all test digits,"
    subtitle = (
        f"Path, from the dot to the bright end: the mean of the {of_what} that excite the unit most; "
        "bold: which digits.\nArrows: the unit's weights, where to move each point to excite it more. "
        f"The {len(strongest)} of {_count(W.shape[1], 'unit')} with the largest weights."
    )
    figure, axes, middles = _pen_sheet(len(strongest), title, subtitle)
    paths = pieces[excited[order]].mean(axis=1).reshape(-1, n_points, 2) + middles[:, None]
    arrows = W[:, strongest[order]].T.reshape(-1, n_points, 2)
    arrows = arrows * (0.6 / (np.linalg.norm(arrows, axis=2).max() or 1.0))
    _pen_paths(axes, paths, heads=False)
    _arrows(axes, paths.reshape(-1, 2), arrows.reshape(-1, 2))
    for middle, i in zip(middles, order, strict=True):
        _label(axes, middle, ", ".join(map(str, digits[i])), f"unit {strongest[i]}")
    return figure


def _frequent(digit: Array) -> list[int]:
    """The digits that make up at least a tenth of all, at most three, most frequent first."""
    counts = np.bincount(digit)
    return [int(d) for d in np.argsort(-counts, kind="stable")[:3] if counts[d] >= len(digit) / 10]


# --------------------------------------------------------------------------------------------------------- pen paths

PER_ROW = 8
UNIT = 0.38  # inches on paper for 1 in scaled coordinates; a path, from -1 to 1, is twice that
PITCH = np.array([3.2, 3.7])  # from one path's middle to the next, across and down, in scaled coordinates


def _pen_sheet(number: int, title: str, subtitle: str) -> tuple[Figure, Axes, Array]:
    """A sheet with one axes for all paths, since one each would take seconds, and each path's middle, (number, 2)."""
    across, down = PITCH * np.array([PER_ROW, -(-number // PER_ROW)])
    width, below = across * UNIT + 2 * MARGIN, down * UNIT + MARGIN
    height = below + HEADER + LINE * (subtitle.count("\n") + 1)
    figure = sheet(height, title, subtitle, width=width)
    figure.set_layout_engine("none")
    axes = figure.add_axes((MARGIN / width, MARGIN / height, across * UNIT / width, down * UNIT / height))
    axes.set(xlim=(0, across), ylim=(-down, 0))
    axes.set_axis_off()
    row, column = np.divmod(np.arange(number), PER_ROW)
    return figure, axes, np.column_stack([(column + 0.5) * PITCH[0], -(row + 1) * PITCH[1] + 1.3])


def _label(axes: Axes, middle: Array, strong: str, weak: str) -> None:
    """Two lines above a path."""
    x, y = middle
    axes.text(x, y + 1.95, strong, ha="center", va="baseline", weight="bold", size=9)
    axes.text(x, y + 1.55, weak, ha="center", va="baseline", color=MUTED, size=8)


def _pen_paths(axes: Axes, paths: Array, heads: bool) -> None:
    """Draw pen paths (n, points, 2): a dot where each starts, colour along the way, an arrow head where it ends."""
    last = paths.shape[1] - 1
    steps = last * 10 + 1
    time = np.linspace(0, last, steps)
    before = np.minimum(time.astype(int), max(last - 1, 0))
    part = (time - before)[:, None]
    fine = (1 - part) * paths[:, before] + part * paths[:, np.minimum(before + 1, last)]  # (n, steps, 2)
    pieces = np.stack([fine[:, :-1], fine[:, 1:]], axis=2).reshape(-1, 2, 2)
    colours = np.tile(PEN(np.linspace(0, 1, steps - 1)), (len(paths), 1))
    axes.add_collection(LineCollection(list(pieces), colors=colours, linewidths=2.0, capstyle="round"), autolim=False)
    points, starts = paths.reshape(-1, 2), paths[:, 0]
    dots = np.tile(PEN(np.linspace(0, 1, last + 1)), (len(paths), 1))
    axes.scatter(points[:, 0], points[:, 1], s=9, color=dots, zorder=3)
    axes.scatter(starts[:, 0], starts[:, 1], s=40, color=PEN(0.0), zorder=3)
    if heads:
        for path in paths:
            _head(axes, path)


def _head(axes: Axes, path: Array) -> None:
    """A triangle at the end that points along the last move; a path's last points may be one and the same."""
    ways = path[-1] - path
    moves = ways[np.abs(ways).max(axis=1) > 1e-6]
    if len(moves):
        angle = np.degrees(np.arctan2(moves[-1, 1], moves[-1, 0])) - 90
        axes.plot(*path[-1], marker=(3, 0, angle), markersize=9, color=PEN(1.0), markeredgewidth=0, zorder=3)


def _arrows(axes: Axes, tails: Array, arrows: Array) -> None:
    shape: dict[str, Any] = {"width": 0.055, "headlength": 4, "headaxislength": 3.5}  # in units of the paths
    to_scale: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "xy"}
    axes.quiver(*tails.T, *arrows.T, color=VERMILLION, zorder=4, **shape, **to_scale)


# ------------------------------------------------------------------------------------------------------------- sheets


def sheet(height: float, title: str, subtitle: str, width: float = WIDTH) -> Figure:
    """An empty figure of that many inches with its title; axes that are added go below."""
    left, top = MARGIN / width, 1 - MARGIN / height
    bottom, below_title = MARGIN / height, 1 - (HEADER + LINE * (subtitle.count("\n") + 1)) / height
    room = (left, bottom, 1 - 2 * left, below_title - bottom)
    layout = ConstrainedLayoutEngine(rect=room, w_pad=0, h_pad=0, wspace=0.06, hspace=0.1)
    figure = Figure(figsize=(width, height), layout=layout)
    figure.suptitle(title, x=left, y=top, ha="left", va="top", size=14, weight="bold").set_in_layout(False)
    figure.text(left, top - 0.3 / height, subtitle, va="top", color=MUTED)
    return figure


def _message(title: str, text: str) -> Figure:
    """A picture that says why there is nothing to see."""
    return sheet(HEADER + LINE + MARGIN, title, text)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f} %"


def _shape(array: Array) -> str:
    return " × ".join(map(str, array.shape))
