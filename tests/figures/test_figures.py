"""The pictures: they say what the arrays hold, and nothing on them overlaps, however odd the run."""

from collections.abc import Callable, Iterator
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from figures import mistakes, pen_paths, sheet, weights
from figures.confidence import confidence
from figures.curves import curves
from utils import wilson

NAME = "synthetic"
TRAIN = {"n_parameters": 38666, "n_train": 5994, "n_validation": 1500, "n_refit": 7494, "loss_floor": 0.1}
LARGE = {"n_parameters": 38666000, "n_train": 5994000, "n_validation": 1500000, "n_refit": 0, "loss_floor": 0}

TEST = {"test_accuracy": 0.977, "test_accuracy_people_low": 0.96, "test_accuracy_people_high": 0.99}


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with sheet.style():
        yield


def history(epochs: int, last: float = 0.98) -> dict[str, np.ndarray]:
    accuracy = np.linspace(0.1, last, epochs + 1)[1:]
    return {
        "epoch": np.arange(1, epochs + 1, dtype=float),
        "train_loss": 2.3 * 0.9 ** np.arange(epochs),
        "val_loss": 2.3 * 0.95 ** np.arange(epochs),
        "train_accuracy": accuracy,
        "val_accuracy": accuracy - 0.01,
    }


def perfect() -> dict[str, np.ndarray]:
    return {key: np.ones(3) if "accuracy" in key else np.zeros(3) for key in history(1)} | {"epoch": np.arange(1.0, 4)}


def rows(n: int, mistakes: int, n_writers: int = 14) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    digit = rng.integers(0, 10, n)
    predicted = digit.copy()
    predicted[:mistakes] = (predicted[:mistakes] + rng.integers(1, 10, mistakes)) % 10
    return {
        "X": rng.uniform(-1, 1, (n, 16)).astype(np.float32),
        "digit": digit,
        "predicted": predicted,
        "writer": np.arange(n) % n_writers + 1,
        "confidence": rng.uniform(0.2, 1, n),
    }


def draw_mistakes(test: dict[str, np.ndarray], shown: int) -> Figure:
    paths = test["X"].reshape(-1, 8, 2)
    return mistakes.mistakes(paths, **{k: v for k, v in test.items() if k != "X"}, shown=shown, dataset=NAME)


def draw_confusion(test: dict[str, np.ndarray]) -> Figure:
    return mistakes.confusion(test["digit"], test["predicted"], 10, NAME)


def draw_writers(test: dict[str, np.ndarray]) -> Figure:
    return mistakes.writers(test["writer"], test["digit"] == test["predicted"], NAME)


def draw_first_layer(shape: tuple[int, ...], n: int = 300) -> Figure:
    test = rows(n, 0)
    return weights.first_layer(np.random.default_rng(1).normal(size=shape), test["X"], test["digit"], NAME)


def draw_confidence(test: dict[str, np.ndarray], left_out: float = 0.05) -> Figure:
    measured = {"test_ece": 0.01, "test_left_to_a_person": left_out}
    return confidence(test["confidence"], test["digit"] == test["predicted"], 15, measured, NAME)


def draw_samples(n: int, n_training: int) -> Figure:
    parts = {name: rows(size, 0) for name, size in (("training", n_training), ("test", n))}
    return pen_paths.samples(
        {name: (part["X"].reshape(-1, 8, 2), part["digit"], part["writer"]) for name, part in parts.items()}, NAME
    )


def draw_weights(*shapes: tuple[int, ...], scale: float = 1.0) -> Figure:
    rng = np.random.default_rng(2)
    return weights.weights([(f"linear{i}", scale * rng.normal(size=shape)) for i, shape in enumerate(shapes)], NAME)


CASES: dict[str, Callable[[], Figure]] = {
    "curves": lambda: curves(history(60), TRAIN, TEST, NAME),
    "curves, one epoch": lambda: curves(history(1, last=0.4), TRAIN, TEST | {"test_accuracy": 0.35}, NAME),
    "curves, thousands of epochs": lambda: curves(history(3500), LARGE, TEST, NAME),
    "curves, all right": lambda: curves(perfect(), TRAIN, TEST | {"test_accuracy": 1.0}, NAME),
    "confusion": lambda: draw_confusion(rows(3498, 60)),
    "confusion, two classes": lambda: mistakes.confusion(
        np.array([0, 1, 1]), np.array([0, 0, 1]), 2, NAME, ("a long name of a class", "b"), "label"
    ),
    "confusion, twenty classes": lambda: mistakes.confusion(
        np.arange(20), np.arange(20), 20, NAME, [f"{i}" for i in range(20)], "label"
    ),
    "confusion, no mistakes": lambda: draw_confusion(rows(3498, 0)),
    "confusion, every row wrong": lambda: draw_confusion(rows(3498, 3498)),
    "confusion, a million rows": lambda: draw_confusion(rows(1_000_000, 500_000)),
    "writers": lambda: draw_writers(rows(3498, 60)),
    "writers, one": lambda: draw_writers(rows(50, 2, n_writers=1)),
    "writers, every row wrong": lambda: draw_writers(rows(50, 50)),
    "writers, forty of them": lambda: draw_writers(rows(400_000, 4000, n_writers=40)),
    "weights": lambda: draw_weights((16, 256), (256, 128), (128, 10)),
    "weights, one layer": lambda: draw_weights((16, 10)),
    "weights, fourteen layers": lambda: draw_weights((16, 32), *[(32, 32)] * 12, (32, 10)),
    "weights, all zero": lambda: draw_weights((16, 4), (4, 10), scale=0.0),
    "weights, tiny": lambda: draw_weights((16, 4), (4, 10), scale=1e-6),
    "weights of convolutions": lambda: draw_weights((3, 2, 16), (128, 10)),
    "first layer": lambda: draw_first_layer((16, 256)),
    "first layer, one unit": lambda: draw_first_layer((16, 1)),
    "first layer, one row": lambda: draw_first_layer((16, 9), n=1),
    "first layer of other features": lambda: draw_first_layer((46, 64)),
    "first layer, convolution": lambda: draw_first_layer((3, 2, 16)),
    "confidence": lambda: draw_confidence(rows(3498, 60)),
    "confidence, all right": lambda: draw_confidence(rows(100, 0), 0),
    "confidence, all wrong": lambda: draw_confidence(rows(9, 9), 1),
    "samples": lambda: draw_samples(3498, 7494),
    "samples, few": lambda: draw_samples(9, 12),
    "mistakes": lambda: draw_mistakes(rows(3498, 60), 24),
    "mistakes, none": lambda: draw_mistakes(rows(3498, 0), 24),
    "mistakes, two hundred": lambda: draw_mistakes(rows(3498, 300, n_writers=1000), 200),
}


@pytest.mark.parametrize("case", CASES)
def test_names_the_data_set_and_nothing_overlaps(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = CASES[case]()
    assert NAME in figure.get_suptitle()
    words = words_drawn(figure, monkeypatch)
    page = figure.bbox.expanded(0.99, 1)
    for text, box in words:
        assert page.x0 <= box.x0, f"{text!r} leaves the page on the left"
        assert box.x1 <= page.x1, f"{text!r} leaves the page on the right"
        assert page.y0 <= box.y0 and box.y1 <= page.y1, f"{text!r} leaves the page"  # noqa: PT018
    overlapping = [(a, b) for (a, box), (b, other) in combinations(words, 2) if box.overlaps(other)]
    assert not overlapping


def words_drawn(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list:
    """Text and place of all words that really get drawn, without the ticks that lie outside the axes."""
    drawn: dict[int, Text] = {}
    draw = Text.draw

    def recording(self: Text, *args, **kwargs) -> None:
        drawn[id(self)] = self
        draw(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", recording)
        FigureCanvasAgg(figure).draw()
    shown = [text for text in drawn.values() if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent().padded(-0.5)) for text in shown]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_png_is_small_and_the_same_under_the_users_own_settings() -> None:
    once = sheet.to_png(CASES["mistakes"]())
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "savefig.dpi": 30}):
        with sheet.style():
            assert sheet.to_png(CASES["mistakes"]()) == once
        assert mpl.rcParams["font.size"] == 30
    assert once.startswith(b"\x89PNG")
    assert len(once) < 150_000
    assert not [word for word in (b"tEXt", b"iTXt", b"tIME", b"atplotlib") if word in once]  # no program, no date


def test_curves_mark_the_best_epoch_of_each_and_say_the_test() -> None:
    run = history(4) | {"val_loss": np.array([0.5, 0.125, 0.25, 0.75]), "val_accuracy": np.array([0.5, 0.6, 0.75, 0.7])}
    words = texts(curves(run, TRAIN, TEST, NAME))
    assert "lowest: 0.125, epoch 2" in words
    assert "highest: 75.00 %, epoch 3" in words
    assert {"test\n97.70 %", "validation\n0.750", "validation\n70.00 %", "floor\n0.100"} <= set(words)
    assert any("Trained anew on all 7,494 digits (refit) the network reads" in word for word in words)
    large = texts(curves(run, LARGE | {"best_epoch": 2}, TEST, NAME, "row"))
    assert any(
        "38,666,000 parameters" in word and "After that training the network gets 97.70 %" in word for word in large
    )
    assert not [word for word in large if "anew" in word or "floor" in word]


@pytest.mark.parametrize(("places", "moved"), [
    ([0.2, 0.5, 0.8], [0.2, 0.5, 0.8]), ([0.5, 0.5], [0.45, 0.55]), ([0.55, 0.5, 0.9], [0.575, 0.475, 0.9]),
    ([0.4, 0.4, 0.4], [0.3, 0.4, 0.5]), ([0.0, 0.0], [0.0, 0.1]), ([1.0, 0.95, 0.2], [1.0, 0.9, 0.2]),
    ([0.3, 0.35, 0.4, 0.45], [0.225, 0.325, 0.425, 0.525]),
])  # fmt: skip
def test_spread_moves_neighbours_apart_about_their_middle(places: list[float], moved: list[float]) -> None:
    assert sheet.spread(places, 0.1, low=0, high=1) == pytest.approx(moved)


def test_confusion_counts_rows_by_true_and_columns_by_predicted_digit() -> None:
    digit, predicted = np.array([0, 0, 0, 0, 1, 2]), np.array([0, 1, 1, 1, 1, 2])
    figure = mistakes.confusion(digit, predicted, 3, NAME)
    at = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert (at[0, 0], at[1, 0], at[1, 1], at[2, 2]) == ("1", "3", "1", "1")
    assert (0, 1) not in at
    recall = [at[2.665, row] for row in range(3)]
    precision = [at[column, 2.59] for column in range(3)]
    assert (recall, precision) == (["25.0 %", "100.0 %", "100.0 %"], ["100.0 %", "25.0 %", "100.0 %"])
    assert any("most often a 0 read as 1 (3 times)" in text for text in texts(figure))


def test_writers_come_worst_first_and_mistakes_most_confident_first() -> None:
    writer = np.array([7, 7, 7, 7, 2, 2, 5, 5])
    correct = np.array([1, 1, 1, 0, 1, 1, 0, 0], dtype=bool)
    axes = mistakes.writers(writer, correct, NAME).axes[0]
    columns = [text.get_text() for text in axes.texts]
    assert columns == ["writer", "5", "7", "2", "mistakes", "2", "1", "0", "digits", "2", "4", "2"]
    test = rows(6, 0)
    test |= {"digit": np.arange(6), "predicted": np.array([0, 9, 8, 3, 7, 6]), "writer": np.arange(6) + 1}
    test["confidence"] = np.array([1.0, 0.5, 0.99999, 1.0, 0.75, 0.6])
    labels = [text.get_text() for text in draw_mistakes(test, 3).axes[0].texts]
    assert labels == [
        "2 read as 8", "> 99.9 %, writer 3",
        "4 read as 7", "75.0 %, writer 5",
        "5 read as 6", "60.0 %, writer 6",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),  # from published tables of the Wilson score interval
    [(8, 10, 0.490, 0.943), (0, 10, 0.000, 0.278), (10, 10, 0.722, 1.000), (50, 100, 0.404, 0.596)],
)
def test_wilson(right: int, n: int, low: float, high: float) -> None:
    got = wilson(np.array([right]), np.array([n]))
    assert np.concatenate(got) == pytest.approx([low, high], abs=5e-4)


@pytest.mark.parametrize(
    ("end", "heads"), [((1, 0), [0]), ((0, 1), [90]), ((-1, 0), [180]), ((0, -1), [-90]), ((0, 0), [])]
)
def test_the_arrow_head_points_along_the_last_move_where_the_pen_moved(end: tuple[int, int], heads: list[int]) -> None:
    path = np.zeros((1, 8, 2))
    path[0, 5:] = end  # where the pen rests
    axes = Figure().subplots()
    pen_paths.draw_paths(axes, path)
    (triangles,) = (part.get_paths() for part in axes.collections if isinstance(part, PolyCollection))
    tips = [triangle.vertices[0] - end for triangle in triangles]
    assert [np.degrees(np.arctan2(y, x)) for x, y in tips] == pytest.approx(heads)


def test_weights_say_layer_shape_and_deviation() -> None:
    words = texts(weights.weights([("linear1", np.array([[3.0, -3.0]])), ("out", np.full((2, 2, 1), 5.0))], NAME))
    assert "linear1\n1 × 2, sd 3.00" in words
    assert "out\n2 × 2 × 1, sd 0.00" in words
    figure = draw_first_layer((46, 64))
    assert any("46 × 64" in text for text in texts(figure))
    assert not figure.axes
    over_ink = weights.first_layer(np.ones((3, 2, 8)), np.zeros((5, 96)), np.arange(5), NAME)
    assert any("does not read the 16 coordinates" in text for text in texts(over_ink))


def test_first_layer_draws_the_strongest_units_where_they_are_excited() -> None:
    W = np.zeros((16, 3))
    W[0, 0], W[15, 2] = 1, -2  # unit 0 looks for point 1 to the right, unit 2 for point 8 below; unit 1 for nothing
    X = np.zeros((200, 16))
    X[:100, 0], X[100:, 15] = 1, -1
    digit = np.repeat([4, 6], 100)
    figure = weights.first_layer(W, X, digit, NAME, shown=2)
    assert [text.get_text() for text in figure.axes[0].texts] == ["4", "unit 0", "6", "unit 2"]
    grey, coloured = (part.get_segments() for part in figure.axes[0].collections if isinstance(part, LineCollection))
    moves = [whole[[0, -1]] - whole[3] for whole in grey]  # from the middle, where the other points are
    assert np.allclose(moves, [[[1, 0], [0, 0]], [[0, 0], [0, -1]]])
    assert np.allclose(coloured[0][0], grey[0][0])  # here a unit sees the whole path


def test_first_layer_shows_where_on_the_path_the_piece_is() -> None:
    W = np.zeros((2, 2, 1))
    W[1, 1] = 1  # wants the second of its two points high
    X = np.zeros((3, 8, 2))
    X[2, 5, 1] = 1
    figure = weights.first_layer(W, X.reshape(3, 16), np.array([1, 2, 3]), NAME)
    grey, coloured = (part.get_segments() for part in figure.axes[0].collections if isinstance(part, LineCollection))
    assert np.allclose([coloured[0][0], coloured[-1][1]], grey[0][4:6])
    assert figure.axes[0].texts[0].get_text().split(", ")[0] in "123"


def test_confidence_puts_each_bin_where_it_is_sure_and_right_and_says_what_to_leave_out() -> None:
    sure, right = np.repeat([0.5, 0.95], [4, 16]), np.repeat([True, False, True], [1, 3, 16])
    figure = confidence(sure, right, 10, {"test_ece": 0, "test_left_to_a_person": 0.2}, NAME)
    reliability, risk = figure.axes
    assert reliability.lines[-1].get_xydata() == pytest.approx(np.array([[50, 25], [95, 100]]))
    kept, mistakes_left = risk.lines[0].get_data()
    assert (mistakes_left[15], mistakes_left[-1], kept[-1]) == pytest.approx((0, 15, 0))
    assert risk.texts[0].get_text() == "20.0 % left out: all of the rest right"
    assert risk.lines[1].get_xydata() == pytest.approx(np.array([[20, 0]]))  # on the curve


def test_samples_are_digits_of_their_part() -> None:
    digit, n = np.arange(10).repeat(4), 40
    part = np.zeros((n, 8, 2)), digit, np.arange(n)
    words = [text.get_text() for text in pen_paths.samples({"training": part, "test": part}, NAME, 1).axes[0].texts]
    assert words[::2] == [f"{name} {number}" for name in ("training", "test") for number in range(10)]
    assert [int(word.removeprefix("writer ")) // 4 for word in words[1::2]] == [*range(10)] * 2


def test_a_mistake_in_ink_is_drawn_without_what_the_pen_did_in_the_air() -> None:
    test = rows(1, 1)
    paths = np.stack([np.linspace(-1, 1, 32), np.linspace(1, -1, 32)], axis=1)[None]
    paths[:, 10:20] = np.nan
    del test["X"]
    (axes,) = mistakes.mistakes(paths, **test, shown=1, dataset=NAME).axes
    (lines,) = (part for part in axes.collections if isinstance(part, LineCollection))
    drawn = np.concatenate([piece for piece in lines.get_segments() if np.isfinite(piece).all() and len(piece) == 2])
    x = drawn[:, 0] - (drawn[:, 0].min() + drawn[:, 0].max()) / 2
    assert (x.min(), x.max()) == pytest.approx((-1, 1))
    low, high = paths[0, 9, 0], paths[0, 20, 0]
    assert not ((x > low + 1e-6) & (x < high - 1e-6)).any()
