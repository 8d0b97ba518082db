"""The pictures of diagnostics show all layers, and bear what failing trainings leave behind."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from figures import diagnostics, sheet
from neural_net import Diagnostics, Network, dense_layers, fit


def watched(layers: list[Any], epochs: int = 3) -> Diagnostics:
    rng = np.random.default_rng(0)
    watch = Diagnostics()
    X, y = rng.normal(size=(30, 4)), rng.integers(3, size=30)
    fit(Network(layers, 4, rng=rng), X, y, rng=rng, epochs=epochs, batch_size=10, callbacks=[watch])
    return watch


def records(quantity: str, **layers: list[float]) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "layer": layer, "quantity": quantity, "value": value}
        for layer, values in layers.items()
        for epoch, value in enumerate(values)
    ]


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_every_quantity_has_a_panel_with_every_layer() -> None:
    watch = watched(dense_layers([8, 8], 3, "relu"))
    with sheet.style():
        figure = diagnostics.quantities(watch.records, "digits")
        sheet.to_png(figure)
    panels = {axes.get_title(loc="left") or axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == list(diagnostics.TITLES.values())
    assert sorted(texts(panels["Weight norm"])) == ["linear1", "linear2", "linear3"]
    assert sorted(texts(panels["Dead units"])) == ["relu1", "relu2"]
    line = panels["Gradient norm"].lines[0]
    assert (list(line.get_xdata()), line.get_ydata()[0]) == ([0, 1, 2, 3], watch.records[0]["value"])


@pytest.mark.parametrize(
    "values", [[0.0, 0.0], [1.0, 0.0], [1.0, np.inf], [np.nan, np.nan], [1.0, 1e200], [1e-300, 1.0], [5.0], []], ids=str
)
@pytest.mark.parametrize("quantity", ["gradient_norm", "update_ratio", "dead_share", "activation_mean"])
def test_a_panel_bears_any_numbers(quantity: str, values: list[float]) -> None:
    with sheet.style():
        figure = Figure()
        diagnostics.panel(figure.subplots(), records(quantity, linear1=values, linear2=values), quantity)
        sheet.to_png(figure)


def test_panels_beside_each_other_have_one_scale() -> None:
    large, small = records("gradient_norm", linear1=[1e3, 1e2]), records("gradient_norm", linear1=[1.0, 2.0])
    left, right = Figure().subplots(1, 2)
    diagnostics.panel(left, large, "gradient_norm", beside=small)
    diagnostics.panel(right, small, "gradient_norm", beside=large)
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[0] < 1
    assert left.get_ylim()[1] > 1e3
    assert left.get_yscale() == right.get_yscale() == "log"


def test_names_of_many_layers_keep_apart() -> None:
    many = records("weight_norm", **{f"linear{i}": [1.0, 1.0] for i in range(1, 31)})
    axes = Figure().subplots()
    diagnostics.panel(axes, many, "weight_norm")
    heights = sorted(text.get_position()[1] for text in axes.texts)
    assert (len(heights), texts(axes)[0], texts(axes)[-1]) == (diagnostics.MOST_NAMES, "linear1", "linear30")
    assert min(np.diff(heights)) > 0.09
    assert heights[0] >= 0
    assert heights[-1] <= 1


def test_histograms_have_a_row_a_layer() -> None:
    bins = watched(dense_layers([8, 8], 3, "relu", normalization="batch_norm")).histograms()
    with sheet.style():
        figure = diagnostics.histograms(bins, "digits")
        sheet.to_png(figure)
    names = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert names == ["linear1", "batchnorm1", "linear2", "batchnorm2", "linear3"]
    assert (len(figure.axes), figure.axes[1].get_xscale()) == (2 * len(names), "log")
