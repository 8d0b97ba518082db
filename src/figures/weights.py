"""The weights of a network: histograms layer by layer, and what the first layer reacts to."""

from collections.abc import Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.lib.stride_tricks import sliding_window_view

from .pen_paths import draw_paths, label, pen_sheet
from .sheet import BLUE, HEADER, LINE, Array, count, message, shape_text, sheet

PALE = "#BBBBBB"  # of what surrounds a piece of a path


def weights(layers: Sequence[tuple[str, Array]], dataset: str) -> Figure:
    """A histogram of each layer's weights, each with axes of its own.

    Args:
        layers: (name, weights of any shape) of each layer, from the input on.
    """
    rows = -(-len(layers) // 4)
    columns = -(-len(layers) // rows)
    subtitle = (
        f"{count(sum(w.size for _, w in layers), 'weight')}, biases left out; sd: standard deviation. "
        "Height: share of the layer's weights. Each layer has its own scale."
    )
    figure = sheet(HEADER + LINE + 0.5 + 2.1 * rows, f"{dataset}: weights of each layer", subtitle)
    for i, (name, w) in enumerate(layers):
        reach = float(np.abs(w).max()) or 1.0
        edges = np.linspace(-reach, reach, 42)  # an odd number of bins, so that one has zero in its middle
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.stairs(100 * np.histogram(w, edges)[0] / w.size, edges, fill=True, color=BLUE)
        axes.set_title(f"{name}\n{shape_text(w)}, sd {w.std():#.3g}")
        axes.set(xlim=(-1.02 * reach, 1.02 * reach), ylim=(0, None), xlabel="weight")
        if i % columns == 0:
            axes.set_ylabel("share")
        axes.xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g} %"))
    return figure


def first_layer(W: Array, X: Array, digit: Array, dataset: str, shown: int = 24) -> Figure:
    """What units of the first layer react to: for each the test digit that excites it most, and where on its path.

    A unit sums ``w_k . p_k`` over the points p_k of a pen path: over all eight, or, in a convolution, over each piece
    of a few points.

    Args:
        W: (16, units), or (points, 2, units) of a convolution over the path. Of another shape, where the network reads
            other features than the coordinates, it is no path, and the picture says so.
        X: (rows, 16) pen paths, scaled to -1..1; of another size, they are no coordinates either.
        digit: (rows,).
        shown: how many units, at most: those with the largest weight vectors, in the order of their commonest digit.
    """
    title = f"{dataset}: what units of the first layer react to"
    over_path = W.shape[:-1] == (16,) or (W.ndim == 3 and W.shape[1] == 2 and W.shape[0] <= 8)
    if X.shape[1] != 16 or not over_path:
        return message(title, f"The first layer ({shape_text(W)}) does not read the 16 coordinates: no paths to draw.")
    W = W.reshape(-1, W.shape[-1])
    whole, n_points = X.reshape(-1, 8, 2), len(W) // 2
    pieces = sliding_window_view(whole, n_points, axis=1).transpose(0, 1, 3, 2).reshape(-1, len(W))
    row = np.repeat(np.arange(len(X)), 9 - n_points)  # whose piece it is
    n = min(100, len(X))
    strongest = np.argsort(-np.linalg.norm(W, axis=0), kind="stable")[:shown]
    excited = np.argsort(-(W[:, strongest].T @ pieces.T), axis=1, kind="stable")[:, :n]  # (units shown, n)
    digits = [_frequent(digit[row[of_unit]]) for of_unit in excited]
    order = sorted(range(len(strongest)), key=lambda i: digits[i])
    seen = "A unit sees the whole path. Coloured, from the dot to the arrow: the test digit that excites it most."
    if n_points < 8:
        seen = (
            f"A unit sees {n_points} of the eight points at a time. Coloured, from the dot to the arrow: "
            "the piece, of all test digits, that excites it most."
        )
    subtitle = (
        f"{seen}\nBold: the digits of its {n} strongest answers, commonest first. "
        f"The {len(strongest)} of {count(W.shape[1], 'unit')} with the largest weights."
    )
    figure, axes, middles = pen_sheet(len(strongest), title, subtitle)
    best = excited[order, 0]
    axes.add_collection(LineCollection(list(whole[row[best]] + middles[:, None]), colors=PALE, linewidths=2.0))
    draw_paths(axes, pieces[best].reshape(-1, n_points, 2) + middles[:, None])
    for middle, i in zip(middles, order, strict=True):
        label(axes, middle, ", ".join(map(str, digits[i])), f"unit {strongest[i]}")
    return figure


def _frequent(digit: Array) -> list[int]:
    """The digits that make up at least a tenth of all, at most three, most frequent first."""
    counts = np.bincount(digit)
    return [int(d) for d in np.argsort(-counts, kind="stable")[:3] if counts[d] >= len(digit) / 10]
