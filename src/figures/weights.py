"""The weights of a network: histograms layer by layer, and what the first layer responds to."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.lib.stride_tricks import sliding_window_view

from .pen_paths import draw_arrows, draw_paths, label, pen_sheet
from .sheet import BLUE, HEADER, LINE, Array, count, message, shape_text, sheet


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
        axes.set_title(f"{name}\n{shape_text(w)}, sd {w.std():#.3g}")
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
        return message(title, f"The first layer ({shape_text(W)}) does not read the 16 coordinates: no paths to draw.")
    W = W.reshape(-1, W.shape[-1])
    n_points = len(W) // 2
    pieces = sliding_window_view(X.reshape(-1, 8, 2), n_points, axis=1).transpose(0, 1, 3, 2).reshape(-1, len(W))
    digit = np.repeat(digit, 9 - n_points)
    n = min(100, len(X))
    strongest = np.argsort(-np.linalg.norm(W, axis=0), kind="stable")[:shown]
    excited = np.argsort(-(pieces @ W[:, strongest]), axis=0, kind="stable")[:n].T  # (units shown, n)
    digits = [_frequent(digit[rows]) for rows in excited]
    order = sorted(range(len(strongest)), key=lambda i: digits[i])
    of_what = count(n, "test digit") if n_points == 8 else f"{n} pieces of {n_points} points, of all test digits,"
    subtitle = (
        f"Path, from the dot to the bright end: the mean of the {of_what} that excite the unit most; "
        "bold: which digits.\nArrows: the unit's weights, where to move each point to excite it more. "
        f"The {len(strongest)} of {count(W.shape[1], 'unit')} with the largest weights."
    )
    figure, axes, middles = pen_sheet(len(strongest), title, subtitle)
    paths = pieces[excited[order]].mean(axis=1).reshape(-1, n_points, 2) + middles[:, None]
    arrows = W[:, strongest[order]].T.reshape(-1, n_points, 2)
    arrows = arrows * (0.6 / (np.linalg.norm(arrows, axis=2).max() or 1.0))
    draw_paths(axes, paths, heads=False)
    draw_arrows(axes, paths.reshape(-1, 2), arrows.reshape(-1, 2))
    for middle, i in zip(middles, order, strict=True):
        label(axes, middle, ", ".join(map(str, digits[i])), f"unit {strongest[i]}")
    return figure


def _frequent(digit: Array) -> list[int]:
    """The digits that make up at least a tenth of all, at most three, most frequent first."""
    counts = np.bincount(digit)
    return [int(d) for d in np.argsort(-counts, kind="stable")[:3] if counts[d] >= len(digit) / 10]
