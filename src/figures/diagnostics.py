"""Pictures of what goes on inside a network while it trains, from the records of ``neural_net.Diagnostics``.

Layers are coloured by depth, from dark, at the inputs, to bright. Nothing here reads or writes a file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter, StrMethodFormatter

from .sheet import BLUE, DASHED, HEADER, INK, LINE, MUTED, PEN, Array, sheet, spread

Records = Sequence[Mapping[str, Any]]

TITLES = {
    "gradient_norm": "Gradient norm",
    "weight_norm": "Weight norm",
    "update_ratio": "Update / weights",
    "dead_share": "Dead units",
    "activation_mean": "Activation mean",
    "activation_deviation": "Activation standard deviation",
}
LOGARITHMIC = {"gradient_norm", "weight_norm", "update_ratio"}
HEALTHY_UPDATE = 1e-3  # a rule of thumb for one step's update over the weights
MOST_NAMES = 9  # of layers beside a panel


def quantities(records: Records, dataset: str) -> Figure:
    """Every quantity over the epochs, a line a layer; epoch 0 is before the training.

    Args:
        records: dictionaries of epoch, layer, quantity and value.
    """
    subtitle = (
        "A line a layer, measured on the same training rows each time; epoch 0 is before the training.\n"
        "Dashed: a healthy size for one step's update. A unit is dead if it answers alike to all rows."
    )
    figure = sheet(6.6, f"{dataset}: inside the network while training", subtitle)
    for axes, quantity in zip(figure.subplots(2, 3).flat, TITLES, strict=True):
        panel(axes, records, quantity)
        axes.set_title(TITLES[quantity], weight="bold")
    return figure


def panel(axes: Axes, records: Records, quantity: str, beside: Records = ()) -> None:
    """Draw one quantity over the epochs into ``axes``, a line a layer, each named at its end.

    Args:
        beside: records of another panel, which is to have the same scale.
    """
    lines = by_layer(records, quantity)
    shades = depths(len(lines))
    for (epochs, values), shade in zip(lines.values(), shades, strict=True):
        axes.plot(epochs, values, color=shade, linewidth=1.6, marker="o" if len(epochs) == 1 else "")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y")
    if quantity == "dead_share":
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    else:
        everything = [record["value"] for record in (*records, *beside) if record["quantity"] == quantity]
        if quantity == "update_ratio":
            axes.axhline(HEALTHY_UPDATE, color=MUTED, linewidth=1, linestyle=DASHED)
            everything.append(HEALTHY_UPDATE)
        scale(axes, np.array(everything), quantity in LOGARITHMIC)
    ends = {layer: values[np.isfinite(values)][-1:].sum() for layer, (_, values) in lines.items()}
    _name_lines(axes, ends, shades)


def by_layer(records: Records, quantity: str) -> dict[str, tuple[Array, Array]]:
    """Epochs and values of one quantity, by layer, from the input on."""
    found: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        if record["quantity"] == quantity:
            found.setdefault(record["layer"], []).append((record["epoch"], record["value"]))
    return {layer: (np.array(pairs)[:, 0], np.array(pairs)[:, 1]) for layer, pairs in found.items()}


def depths(n: int) -> list[Any]:
    """A colour for each of n layers, from dark to bright."""
    return [PEN(share) for share in np.linspace(0, 0.92, n)] if n > 1 else [BLUE] * n


def scale(axes: Axes, values: Array, logarithmic: bool) -> None:
    """Fit the vertical axis to the values: logarithmic if that is wanted and their sizes differ tenfold.

    What is 0 then falls out of the picture below.
    """
    values = values[np.isfinite(values)]
    sizes = values[values > 0]
    if not logarithmic or not len(sizes) or sizes.max() < 10 * sizes.min():
        low, high = (values.min(), values.max()) if len(values) else (0, 1)
        room = 0.05 * (high - low) or 0.5
        axes.set_ylim(low - room, high + room)
        return
    reach = sizes.max() / sizes.min()
    axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(sizes.min() / reach**0.05, sizes.max() * reach**0.05)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if reach < 100 else (1,), numticks=8))
    if reach < 100:
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _name_lines(axes: Axes, ends: Mapping[str, float], shades: Sequence[Any]) -> None:
    """Write the layers' names beside the ends of their lines, as many as there is room for."""
    if not ends:
        return
    shown = np.unique(np.linspace(0, len(ends) - 1, min(len(ends), MOST_NAMES)).astype(int))
    names, values = list(ends), list(ends.values())
    to_axes = axes.transScale + axes.transLimits
    heights = to_axes.transform([(1, np.clip(values[i], *axes.get_ylim())) for i in shown])[:, 1]
    for i, height in zip(shown, spread(list(heights), 0.1), strict=True):
        axes.text(1.03, height, names[i], color=shades[i], transform=axes.transAxes, va="center", size=8)


def histograms(bins: Records, dataset: str) -> Figure:
    """How each layer's weights and gradients are spread before the training and after it.

    Args:
        bins: dictionaries of epoch, layer, of (``weights`` or ``gradients``), low, high and share.
    """
    layers = list(dict.fromkeys(record["layer"] for record in bins))
    last = max(record["epoch"] for record in bins)
    subtitle = f"Height: share of the layer's numbers. Outline: before the training; filled: after epoch {last:g}."
    height = HEADER + LINE + 0.7 + 0.95 * len(layers)
    figure = sheet(height, f"{dataset}: weights and gradients of each layer", subtitle)
    grid = figure.subplots(len(layers), 2, squeeze=False, sharex="col")
    for row, layer in zip(grid, layers, strict=True):
        for axes, of in zip(row, ("weights", "gradients"), strict=True):
            _bars(axes, [record for record in bins if record["layer"] == layer and record["of"] == of])
        row[0].set_ylabel(layer, color=INK)
    grid[0, 1].set_xscale("log")
    for axes, title in zip(grid[0], ("Weights and biases", "Gradients, by magnitude"), strict=True):
        axes.set_title(title, weight="bold")
    return figure


def _bars(axes: Axes, bins: Records) -> None:
    """One layer's histograms of the first and the last epoch."""
    for epoch, filled in ((bins[-1]["epoch"], True), (bins[0]["epoch"], False)):
        chosen = [record for record in bins if record["epoch"] == epoch]
        edges = [*(record["low"] for record in chosen), chosen[-1]["high"]]
        axes.stairs([record["share"] for record in chosen], edges, fill=filled, color=BLUE if filled else INK)
    axes.set_ylim(0, None)
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
