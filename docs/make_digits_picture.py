"""Draw docs/images/digits.png, the picture at the top of the README: a typical digit of each kind as the pen wrote it.

Run from the top of the project, after `dvc repro split`: `PYTHONPATH=src python docs/make_digits_picture.py`.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from figures import sheet
from pen.features import FEATURE_SETS
from pen.strokes import Strokes
from pipeline.rows import read_rows

TABLE, IMAGE = FEATURE_SETS["table"], Path(__file__).parent / "images" / "digits.png"
COLOURS = sheet.PEN(np.linspace(0, 1, 64))


def typical(X: np.ndarray, y: np.ndarray) -> list[int]:
    """For each digit the row that is nearest to the median of its kind."""
    distance = np.empty(len(y))
    for digit in range(10):
        rows = X[y == digit]
        distance[y == digit] = np.abs(rows - np.median(rows, axis=0)).sum(axis=1)
    return [int(np.flatnonzero(y == digit)[np.argmin(distance[y == digit])]) for digit in range(10)]


def draw(strokes: Strokes) -> Figure:
    """Ten digits in a row: the path from dark to bright, dotted where the pen is up, and the table's eight points."""
    figure = Figure(figsize=(10.0, 1.45))
    eight = TABLE.at(strokes, np.tile(np.linspace(0, 1, TABLE.n_points), (len(strokes.points), 1)))
    for i, axes in enumerate(figure.subplots(1, len(strokes.points), subplot_kw={"aspect": "equal"})):
        draw_digit(axes, strokes.points[i], strokes.stroke[i], eight[i])
        axes.text(0, -1.58, str(i), ha="center", va="center", color=sheet.MUTED, size=11)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.0, top=1.0, wspace=0.0)
    return figure


def draw_digit(axes: Axes, points: np.ndarray, stroke: np.ndarray, eight: np.ndarray) -> None:
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.9, 1.2))
    axes.set_axis_off()
    parts, down = np.stack([points[:-1], points[1:]], axis=1), np.diff(stroke) == 0
    axes.add_collection(LineCollection(list(parts[~down]), colors=sheet.MUTED, linewidths=1.5, linestyles=":"))
    ink = LineCollection(list(parts[down]), colors=COLOURS[:-1][down], linewidths=3.2, capstyle="round")
    axes.add_collection(ink)
    axes.scatter(*eight.T, s=26, color=sheet.PAPER, edgecolors=sheet.INK, linewidths=1.2, zorder=3)
    axes.scatter(*eight[0], s=34, color=sheet.INK, zorder=4)


def main() -> None:
    rows = read_rows("train", TABLE.size, with_ink=True)
    chosen = rows.take(np.array(typical(rows.X, rows.y)))
    with sheet.style():
        IMAGE.write_bytes(sheet.to_png(draw(chosen.strokes)))


if __name__ == "__main__":
    main()
