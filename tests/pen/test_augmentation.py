"""New rows made of ink are still rows of the data set's form, and differ as the options say."""

import numpy as np
import pytest
from tests.pen.digits import CROSS, SQUARE, ZIGZAG
from tests.pen.digits import strokes as of

from pen.augmentation import Augmentation, is_loop
from pen.features import FEATURE_SETS
from pen.ink import Ink, eight_points
from pen.strokes import Strokes, strokes_of

FORM = ["apart", "bend", "rotation", "shear", "warp", "trim", "jitter"]
ORDER = ["backwards", "reordered", "joined", "ornamented", "plain", "restarted", "hooked"]
ALONE = [{kind: 0.1} for kind in FORM] + [{"aspect": 0.2, "rotation": 0.1}]
N_INK = FEATURE_SETS["ink"].n_points


@pytest.fixture(scope="module")
def digits(small_inks: tuple[Ink, Ink]) -> tuple[Strokes, np.ndarray]:
    return strokes_of(small_inks[0]), small_inks[0].digit


def ink_rows(strokes: Strokes, **options: float) -> np.ndarray:
    """Rows of ink, (n, points, 3), changed by the options."""
    digit = np.full(len(strokes.points), 4)
    made = Augmentation(**options)(strokes, digit, np.random.default_rng(0), FEATURE_SETS["ink"])
    return made.reshape(len(made), -1, 3)


@pytest.mark.parametrize("options", [{}, *ALONE, {"backwards": 1}, {"aspect": 0.2}])
def test_ink_that_is_changed_is_still_ink(digits: tuple[Strokes, np.ndarray], options: dict[str, float]) -> None:
    made, plain = ink_rows(digits[0], **options), FEATURE_SETS["ink"].of(digits[0]).reshape(-1, N_INK, 3)
    extent = np.ptp(made[..., :2], axis=1)
    np.testing.assert_allclose(extent.max(axis=1), 2, rtol=1e-5)
    np.testing.assert_allclose(made[..., :2].max(axis=1) + made[..., :2].min(axis=1), 0, atol=1e-5)
    assert set(np.unique(made[..., 2])) == {0, 1}
    several = digits[0].stroke[:, -1] > 0
    assert not made[~several, :, 2].any()
    assert made[several, :, 2].any(axis=1).mean() > 0.9
    differs = np.abs(made - plain).max(axis=(1, 2)) > 1e-4
    assert differs[several].mean() > 0.9 if options else not differs.any()


@pytest.mark.parametrize("digit", [ZIGZAG, CROSS])
def test_backwards_turns_the_points_round(digit: list) -> None:
    for made in (lambda **options: rows(of(digit), 4, **options), lambda **options: ink_rows(of(digit), **options)[0]):
        np.testing.assert_allclose(made(backwards=1), made()[::-1], atol=1e-5)


def test_the_pens_speed_varies_as_smoothly_over_more_points() -> None:
    line = of([[(0, 0), (0, 100)]])
    steps = np.diff(ink_rows(line, warp=0.5)[0, :, 1])
    assert len(np.unique(steps.round(4))) <= 7 + 6 < N_INK - 1  # seven speeds, six steps with a change of speed inside
    assert steps.max() > 1.5 * steps.min()


def test_without_options_it_makes_the_rows_of_the_table(digits: tuple, small_inks: tuple[Ink, Ink]) -> None:
    nothing = Augmentation()
    assert not nothing
    assert all(Augmentation(**{kind: 0.1}) for kind in [*FORM, *ORDER, "aspect"])
    made = nothing(*digits, np.random.default_rng(0))
    np.testing.assert_array_equal(FEATURE_SETS["table"].of(digits[0]), made)
    assert np.abs(made - (eight_points(small_inks[0]) - 50) / 50).mean() < 0.02  # a unit of the table


@pytest.mark.parametrize("options", ALONE)
def test_rows_fill_both_axes_and_differ(digits: tuple[Strokes, np.ndarray], options: dict[str, float]) -> None:
    strokes, digit = digits
    before = strokes.points.copy()
    made = Augmentation(**options)(strokes, digit, np.random.default_rng(1))
    assert made.dtype == np.float32
    assert made.shape == (len(digit), 16)
    paths = made.reshape(-1, 8, 2)
    np.testing.assert_allclose(paths.min(axis=1), -1, atol=1e-5)
    np.testing.assert_allclose(paths.max(axis=1), 1, atol=1e-5)
    plain = Augmentation()(strokes, digit, np.random.default_rng(1))
    several = strokes.stroke[:, -1] > 0
    concerned = several if "apart" in options else np.ones(len(digit), bool)
    assert (np.abs(made - plain).max(axis=1) > 1e-4)[concerned].mean() > 0.9
    assert (strokes.points == before).all()


@pytest.mark.parametrize("kind", [*FORM, *ORDER])
def test_the_generator_decides(digits: tuple[Strokes, np.ndarray], kind: str) -> None:
    made = [Augmentation(**{kind: 0.1})(*digits, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert made[0].tobytes() == made[1].tobytes() != made[2].tobytes()


def rows(strokes: Strokes, digit: int, **options: float) -> np.ndarray:
    return Augmentation(**options)(strokes, np.array([digit]), np.random.default_rng(0)).reshape(8, 2)


def test_reordered_writes_the_last_stroke_first_in_its_own_direction() -> None:
    path = rows(of(CROSS), 4, reordered=1)
    np.testing.assert_array_equal(path, rows(of(CROSS[::-1]), 4))
    assert path[0, 0] == -1  # the short stroke's start
    assert path[-1, 1] == 1  # the long one's end


@pytest.mark.parametrize(("kind", "strokes", "digit"), [
    ("reordered", ZIGZAG, 4),  # a single stroke
    ("joined", ZIGZAG, 4),
    ("joined", [*CROSS, *CROSS], 4),  # more than three strokes
    ("ornamented", CROSS, 7),  # two strokes already
    ("ornamented", ZIGZAG, 4),  # a digit that nobody ornaments
    ("plain", CROSS, 4),
    ("restarted", ZIGZAG, 0),  # no loop
])  # fmt: skip
def test_what_does_not_apply_changes_nothing(kind: str, strokes: list, digit: int) -> None:
    np.testing.assert_allclose(rows(of(strokes), digit, **{kind: 1}), rows(of(strokes), digit), atol=1e-5)


BODY, BAR = [(0, 100), (0, 60), (60, 40), (60, 10), (0, 0)], [(0, 100), (70, 100)]  # of a 5
THREE = [[(0, 0), (100, 0)], [(0, 50), (60, 50)], [(0, 100), (0, 5)]]  # of an E


@pytest.mark.parametrize(("strokes", "joined"), [
    ([BODY, BAR], BAR[::-1] + BODY),  # of the two directions that from the top
    ([BAR, BODY[::-1]], BAR[::-1] + BODY),
    (THREE, THREE[1][::-1] + THREE[2] + THREE[0]),
    ([BAR[::-1] + BODY[:3], BODY[2:]], BAR[::-1] + BODY),  # as written
])  # fmt: skip
def test_joined_writes_one_stroke_with_the_shortest_lines_between(strokes: list, joined: list) -> None:
    np.testing.assert_allclose(rows(of(strokes), 5, joined=1), rows(of([joined]), 5), atol=0.08)
    assert not ink_rows(of(strokes), joined=1)[..., 2].any()  # the pen stays down


def test_hooked_lengthens_a_share_of_the_starts_and_of_the_ends() -> None:
    lines = of(*[[[(0, 0), (100, 0)]]] * 2000)
    made = Augmentation(hooked=0.3)(lines, np.full(2000, 1), np.random.default_rng(0)).reshape(-1, 8, 2)
    moved = np.abs(np.diff(made[..., 1], axis=1)) > 1e-3  # (digits, 7): a hook leaves the level
    assert moved[:, 0].mean() == pytest.approx(0.3, abs=0.04)
    assert moved[:, -1].mean() == pytest.approx(0.3, abs=0.04)
    assert not moved[:, 3].any()


@pytest.mark.parametrize("digit", [0, 1, 7])
def test_an_ornament_is_a_stroke_that_plain_leaves_out(digit: int) -> None:
    assert not np.allclose(rows(of(ZIGZAG), digit, ornamented=1), rows(of(ZIGZAG), digit), atol=0.01)
    assert np.ptp(rows(of(CROSS), digit, plain=1)[:, 0]) == 0  # the long stroke alone


def test_restarted_begins_a_loop_elsewhere() -> None:
    square = of(SQUARE)
    assert is_loop(square.points).tolist() == [True]
    assert not np.allclose(rows(square, 0, restarted=1)[0], rows(square, 0)[0], atol=0.1)


def test_shares_are_of_all_digits_and_add_up_to_1_at_most() -> None:
    many = of(*[ZIGZAG] * 2000)
    digit = np.full(2000, 4)
    made = Augmentation(backwards=0.3)(many, digit, np.random.default_rng(0))
    turned = np.abs(made - Augmentation()(many, digit, np.random.default_rng(0))).max(axis=1) > 1e-3
    assert turned.mean() == pytest.approx(0.3, abs=0.03)
    with pytest.raises(ValueError, match=r"must add up to 1 at most, got 1\.1"):
        Augmentation(backwards=0.5, reordered=0.6)


def test_affine_changes_keep_straight_lines_straight() -> None:
    path = rows(of([[(0, 0), (100, 50)]]), 1, rotation=0.2, shear=0.3, aspect=0.2)
    np.testing.assert_allclose(np.diff(path, 2, axis=0), 0, atol=1e-4)
