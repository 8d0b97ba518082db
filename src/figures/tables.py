"""Pictures of predictions on the rows of a table: the worst ones as a list, and the numbers of a regression."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .sheet import BLUE, DASHED, FAINT, HEADER, INK, LINE, MUTED, Array, count, message, sheet

LONGEST = 28  # letters of a cell
MOST_LINES = 30


def listed(title: str, subtitle: str, columns: dict[str, Sequence[object]]) -> Figure:
    """Rows as lines of text, at most ``MOST_LINES``, under the names of their columns."""
    cells = {shortened(name): [shortened(value) for value in values][:MOST_LINES] for name, values in columns.items()}
    n = len(next(iter(cells.values())))
    if not n:
        return message(title, subtitle)
    figure = sheet(HEADER + LINE + 0.45 + 0.24 * n, title, subtitle)
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(n - 0.4, -1.2))
    axes.set_axis_off()
    widths = np.array([max(map(len, [name, *values])) + 4 for name, values in cells.items()], dtype=float)
    places = np.concatenate([[0], np.cumsum(widths)[:-1]]) / max(widths.sum(), 100)
    axes.hlines(np.arange(n + 1) - 0.5, 0, 1, color=FAINT, linewidth=0.8)
    for place, (name, values) in zip(places, cells.items(), strict=True):
        axes.text(place, -0.85, name, color=MUTED, va="center_baseline", parse_math=False)
        for line, value in enumerate(values):
            axes.text(place, line, value, color=INK, va="center_baseline", parse_math=False)
    return figure


def shortened(value: object, most: int = LONGEST) -> str:
    """A cell as it is drawn: numbers with four digits, texts cut to ``most`` letters."""
    text = f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= most else text[: most - 3] + "..."


def mistakes(
    row: Array, group: Array | None, label: Array, predicted: Array, confidence: Array, shown: int, dataset: str
) -> Figure:
    """The mistakes that the network was surest of, as a list.

    Args:
        row: (rows,) numbers in the file of origin; group: (rows,) names, or None; label, predicted: (rows,) names.
        confidence: (rows,) the probability of the predicted class.
        shown: how many mistakes, at most.
    """
    wrong = np.flatnonzero(label != predicted)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][: min(shown, MOST_LINES)]
    subtitle = (
        f"{len(worst)} of {count(len(wrong), 'mistake')} in {count(len(label), 'test row')}; rows are counted from 1."
    )
    columns: dict[str, Sequence[object]] = {"row": (row[worst] + 1).tolist()}
    columns |= {} if group is None else {"group": group[worst].tolist()}
    columns |= {"label": label[worst].tolist(), "predicted": predicted[worst].tolist()}
    columns["probability"] = [f"{100 * share:.1f} %" for share in confidence[worst]]
    return listed(f"{dataset}: the mistakes the network was surest of", subtitle, columns)


def largest_errors(
    row: Array, group: Array | None, y: Array, predicted: Array, shown: int, label: str, dataset: str
) -> Figure:
    """The rows whose number a regression missed by most, as a list."""
    worst = np.argsort(-np.abs(predicted - y), kind="stable")[: min(shown, MOST_LINES)]
    columns: dict[str, Sequence[object]] = {"row": (row[worst] + 1).tolist()}
    columns |= {} if group is None else {"group": group[worst].tolist()}
    columns |= {label: y[worst].tolist(), "predicted": predicted[worst].tolist()}
    columns["error"] = (predicted - y)[worst].tolist()
    subtitle = f"{len(worst)} of {count(len(y), 'test row')}; rows are counted from 1."
    return listed(f"{dataset}: the largest errors", subtitle, columns)


def predictions(y: Array, predicted: Array, label: str, rmse: float, r2: float, dataset: str) -> Figure:
    """Predicted over true numbers of a regression, a dot a row; on the line they are equal."""
    subtitle = f"{count(len(y), 'test row')}: RMSE {rmse:.4g}, R² {r2:.3f}. Dashed: a perfect prediction."
    figure = sheet(6.0, f"{dataset}: predicted and true {shortened(label)}", subtitle, width=7.2)
    axes = figure.subplots()
    low, high = min(y.min(), predicted.min()), max(y.max(), predicted.max())
    room = 0.03 * (high - low) or 0.5
    axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=DASHED)
    axes.plot(y, predicted, "o", color=BLUE, markersize=4, alpha=max(0.1, min(0.7, 300 / len(y))), markeredgewidth=0)
    axes.set(xlabel="true", ylabel="predicted", xlim=(low - room, high + room), ylim=(low - room, high + room))
    axes.set_aspect("equal")
    axes.grid()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6))
    return figure
