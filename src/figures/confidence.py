"""How far the network's confidence can be believed: the reliability diagram and the risk-coverage curve."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from utils import wilson

from .sheet import BLUE, DASHED, FAINT, MUTED, VERMILLION, Array, percent, sheet

GOAL = 0.999  # of the digits that are kept; test_left_to_a_person goes by it
FEW = 200  # rows; of no more than these each has a dot


def confidence(
    sure: Array, right: Array, bins: int, test: dict[str, float], dataset: str, noun: str = "digit"
) -> Figure:
    """The two panels: accuracy over confidence, and the error rate of the rest if the least sure digits are left out.

    Args:
        sure: (rows,) the probability of the predicted digit; right: (rows,) whether it is the true one.
        bins: of equal width, as the expected calibration error has them.
        test: test_ece; test_left_to_a_person, the share to leave out for 99.9 % right among the rest.
        noun: what a row is.
    """
    subtitle = (
        f"Left: of the {noun}s that the network is 70 % sure of, about 70 % should be right. "
        f"Expected calibration error {test['test_ece']:.4f}.\n"
        f"Bars: 95 % intervals (Wilson). Grey: the share of all {noun}s that each point stands for.\n"
        f"Right: mistakes in the rest, if the {noun}s that the network is least sure of are left to a person."
    )
    figure = sheet(4.9, f"{dataset}: how far its confidence can be believed", subtitle)
    left, right_panel = figure.subplots(1, 2)
    _reliability(left, sure, right, bins)
    _risk_and_coverage(right_panel, sure, right, test["test_left_to_a_person"])
    return figure


def _reliability(axes: Axes, sure: Array, right: Array, bins: int) -> None:
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    n, good, total = (np.bincount(place, weights=of, minlength=bins) for of in (np.ones(len(sure)), right, sure))
    held = n > 0
    x, y = 100 * total[held] / n[held], 100 * good[held] / n[held]
    low, high = wilson(good[held], n[held])
    edges = 100 * np.arange(bins + 1) / bins
    axes.stairs(100 * n / len(sure), edges, fill=True, color=FAINT)
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=DASHED)
    axes.vlines(x, 100 * low, 100 * high, color=BLUE, linewidth=1.5)
    axes.plot(x, y, "o", color=BLUE, markersize=6, clip_on=False)
    axes.set_title("Reliability", weight="bold")
    axes.set(xlabel="confidence", ylabel="right", xlim=(min(edges[place.min()], 50), 100), ylim=(0, 100.5))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g} %"))
    axes.grid(axis="y")


def _risk_and_coverage(axes: Axes, sure: Array, right: Array, left_out: float) -> None:
    order = np.argsort(-sure, kind="stable")
    kept = np.arange(1, len(sure) + 1)
    wrong = 100 * np.cumsum(~right[order].astype(bool)) / kept
    share = 100 * (1 - kept / len(sure))  # left to a person
    axes.plot(share, wrong, color=BLUE, linewidth=1.8, marker="o" if len(sure) <= FEW else "", markersize=3.5)
    axes.set_title("Risk and coverage", weight="bold")
    top = 1.15 * wrong[len(wrong) // 2 :].max() or 1.0
    axes.set(xlabel="left to a person", ylabel="mistakes in the rest", xlim=(0, 50), ylim=(0, top))
    if 0 < left_out < 0.5:
        mistakes = wrong[round((1 - left_out) * len(sure)) - 1]
        axes.plot(100 * left_out, mistakes, "o", color=VERMILLION, markersize=7, clip_on=False, zorder=3)
        text = f"{percent(left_out, 1)} left out: {f'{100 * GOAL:g} %' if mistakes else 'all'} of the rest right"
        axes.annotate(text, (100 * left_out, mistakes), (10, 14), textcoords="offset points", color=VERMILLION)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g} %"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y")
