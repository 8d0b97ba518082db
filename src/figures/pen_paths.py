"""Digits drawn as paths of the pen, many on one sheet."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from .sheet import HEADER, LINE, MARGIN, MUTED, PEN, Array, sheet

PER_ROW = 8
UNIT = 0.38  # inches on paper for 1 in scaled coordinates; a path, from -1 to 1, is twice that
HEAD = 1 / 16  # inches from the middle of an arrow head to its tip
PITCH = np.array([3.2, 3.7])  # from one path's middle to the next, across and down, in scaled coordinates


def pen_sheet(number: int, title: str, subtitle: str, per_row: int = PER_ROW) -> tuple[Figure, Axes, Array]:
    """A sheet with one axes for all paths, since one each would take seconds, and each path's middle, (number, 2)."""
    unit = UNIT * min(1, PER_ROW / per_row)
    across, down = PITCH * np.array([per_row, -(-number // per_row)])
    width, below = across * unit + 2 * MARGIN, down * unit + MARGIN
    height = below + HEADER + LINE * (subtitle.count("\n") + 1)
    figure = sheet(height, title, subtitle, width=width)
    figure.set_layout_engine("none")
    axes = figure.add_axes((MARGIN / width, MARGIN / height, across * unit / width, down * unit / height))
    axes.set(xlim=(0, across), ylim=(-down, 0))
    axes.set_axis_off()
    row, column = np.divmod(np.arange(number), per_row)
    return figure, axes, np.column_stack([(column + 0.5) * PITCH[0], -(row + 1) * PITCH[1] + 1.3])


def label(axes: Axes, middle: Array, strong: str, weak: str) -> None:
    """Two lines above a path."""
    x, y = middle
    axes.text(x, y + 1.95, strong, ha="center", va="baseline", weight="bold", size=9)
    axes.text(x, y + 1.55, weak, ha="center", va="baseline", color=MUTED, size=8)


def draw_paths(axes: Axes, paths: Array) -> None:
    """Draw pen paths (n, points, 2): a dot where each starts, colour along the way, an arrow head where it ends.

    The pieces of all paths that have one colour are one line with gaps: matplotlib takes its time for each line.
    """
    last = paths.shape[1] - 1
    steps = last * 10 + 1
    time = np.linspace(0, last, steps)
    before = np.minimum(time.astype(int), max(last - 1, 0))
    part = (time - before)[:, None]
    fine = (1 - part) * paths[:, before] + part * paths[:, np.minimum(before + 1, last)]  # (n, steps, 2)
    pieces = np.stack([fine[:, :-1], fine[:, 1:], np.full_like(fine[:, 1:], np.nan)], axis=2)
    lines = list(pieces.swapaxes(0, 1).reshape(steps - 1, 3 * len(paths), 2))
    colours = PEN(np.linspace(0, 1, steps - 1))
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=2.0, capstyle="round"), autolim=False)
    points, starts = paths.reshape(-1, 2), paths[:, 0]
    dots = np.tile(PEN(np.linspace(0, 1, last + 1)), (len(paths), 1))
    axes.scatter(points[:, 0], points[:, 1], s=9, color=dots, zorder=3)
    axes.scatter(starts[:, 0], starts[:, 1], s=40, color=PEN(0.0), zorder=3)
    unit = axes.bbox.width / axes.figure.dpi / axes.viewLim.width  # inches for 1 in scaled coordinates
    triangles = [triangle for path in paths for triangle in _head(path, HEAD / unit)]
    axes.add_collection(PolyCollection(triangles, facecolors=PEN(1.0), linewidths=0, zorder=3), autolim=False)


def _head(path: Array, size: float) -> list[Array]:
    """A triangle (3, 2) at the end, its tip along the last move; none of a path without any.

    A path's last points may be one and the same.
    """
    ways = path[-1] - path
    moves = ways[np.abs(ways).max(axis=1) > 1e-6]
    if not len(moves):
        return []
    corners = np.arctan2(moves[-1, 1], moves[-1, 0]) + 2 * np.pi / 3 * np.arange(3)
    return [path[-1] + size * np.column_stack([np.cos(corners), np.sin(corners)])]


def samples(parts: Mapping[str, tuple[Array, Array, Array]], dataset: str, rows: int = 3) -> Figure:
    """Some digits of each part of the data set as pen paths: a column a digit, ``rows`` rows a part.

    Args:
        parts: by name, such as training and test: paths (n, points, 2), digits (n,) and writers (n,), 0 if
            unknown.
    """
    subtitle = (
        "What the network reads of each, chosen at random. The pen starts at the dot (dark) and ends at the arrow "
        "(bright).\nThe test writers are other people than the training writers, and numbered anew."
    )
    rng, columns = np.random.default_rng(0), int(max(digit.max() for _, digit, _ in parts.values())) + 1
    figure, axes, middles = pen_sheet(len(parts) * rows * columns, f"{dataset}: samples", subtitle, columns)
    places, drawn = middles.reshape(len(parts), rows, columns, 2), []
    for (name, (paths, digit, writer)), of_part in zip(parts.items(), places, strict=True):
        for column in range(columns):
            known = np.flatnonzero(digit == column)
            chosen = rng.permutation(known)[:rows]
            spots = of_part[: len(chosen), column]
            drawn.append(paths[chosen] + spots[:, None])
            for spot, row in zip(spots, chosen, strict=True):
                label(axes, spot, f"{name} {column}", f"writer {writer[row]}" if writer[row] else "")
    draw_paths(axes, np.concatenate(drawn))
    return figure
