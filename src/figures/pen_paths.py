"""Digits drawn as paths of the pen, many on one sheet."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from .sheet import HEADER, LINE, MARGIN, MUTED, PEN, VERMILLION, Array, sheet

PER_ROW = 8
UNIT = 0.38  # inches on paper for 1 in scaled coordinates; a path, from -1 to 1, is twice that
PITCH = np.array([3.2, 3.7])  # from one path's middle to the next, across and down, in scaled coordinates


def pen_sheet(number: int, title: str, subtitle: str) -> tuple[Figure, Axes, Array]:
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


def label(axes: Axes, middle: Array, strong: str, weak: str) -> None:
    """Two lines above a path."""
    x, y = middle
    axes.text(x, y + 1.95, strong, ha="center", va="baseline", weight="bold", size=9)
    axes.text(x, y + 1.55, weak, ha="center", va="baseline", color=MUTED, size=8)


def draw_paths(axes: Axes, paths: Array, heads: bool) -> None:
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


def draw_arrows(axes: Axes, tails: Array, arrows: Array) -> None:
    """Draw arrows, (n, 2), from their tails, (n, 2)."""
    shape: dict[str, Any] = {"width": 0.055, "headlength": 4, "headaxislength": 3.5}  # in units of the paths
    to_scale: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "xy"}
    axes.quiver(*tails.T, *arrows.T, color=VERMILLION, zorder=4, **shape, **to_scale)
