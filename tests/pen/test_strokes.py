"""New rows made of ink are still rows of the data set's form, and the strokes are what they are said to be."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pen.augmentation import Augmentation, is_loop
from pen.features import FEATURE_SETS, points_at, stretch
from pen.ink import Ink, eight_points, join_strokes
from pen.strokes import N_DENSE, Strokes, format_strokes, read_strokes, strokes_of
from pipeline.errors import StageError

FORM = ["apart", "bend", "rotation", "shear", "warp", "trim", "jitter"]
ORDER = ["backwards", "reordered", "ornamented", "plain", "restarted"]
ALONE = [{kind: 0.1} for kind in FORM] + [{"aspect": 0.2, "rotation": 0.1}]


def ink(*samples: list[list[tuple[int, int]]]) -> Strokes:
    count = len(samples)
    return strokes_of(join_strokes(samples, [0] * count, [1] * count, range(1, count + 1)))


ZIGZAG = [[(0, 0), (40, 100), (80, 20)]]
CROSS = [[(0, 0), (0, 300)], [(-50, 100), (50, 100)]]  # a long stroke upwards, then a short one to the right
SQUARE = [[(0, 0), (100, 0), (100, 100), (0, 100), (0, 5)]]


@pytest.fixture(scope="module")
def digits(small_inks: tuple[Ink, Ink]) -> tuple[Strokes, np.ndarray]:
    return strokes_of(small_inks[0]), small_inks[0].digit


# --- Strokes ----------------------------------------------------------------------------------------


def test_a_digit_is_in_the_middle_and_keeps_its_proportions() -> None:
    points, stroke = ink([[(100, 0), (100, 300)], [(50, 100), (150, 100)]])
    assert points.shape == (1, N_DENSE, 2)
    assert points.dtype == np.float32
    assert points[0].min(axis=0) == pytest.approx([-1 / 3, -1])
    assert points[0].max(axis=0) == pytest.approx([1 / 3, 1])
    assert np.bincount(stroke[0]).tolist() == [47, 17]  # of lengths 300 and 100
    assert (points[0, :47, 0] == 0).all()


@pytest.mark.parametrize("stroke", [[(5, 5)], [(5, 5), (5, 5)]])
def test_a_digit_that_is_a_dot(stroke: list[tuple[int, int]]) -> None:
    points, _ = ink([stroke])
    assert (points == 0).all()


def test_a_dot_beside_a_line() -> None:
    _, stroke = ink([[(0, 0), (0, 100)], [(10, 10)]])
    assert np.bincount(stroke[0]).tolist() == [N_DENSE - 2, 2]


def test_more_strokes_than_points() -> None:
    points, stroke = ink([[(i, 0), (i, 9)] for i in range(100)])
    assert points.shape == (1, N_DENSE, 2)
    assert stroke.max() == N_DENSE // 2 - 1


def test_strokes_are_read_as_they_were_written(digits: tuple[Strokes, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "ink.npz"
    path.write_bytes(format_strokes(digits[0]))
    for found, expected in zip(read_strokes(path), digits[0], strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert format_strokes(read_strokes(path)) == path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text"])
def test_what_is_no_file_of_strokes_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ink.npz"
    path.write_bytes(content)
    with pytest.raises(StageError, match=r"ink\.npz is damaged \("):
        read_strokes(path)


def test_a_header_that_claims_gigabytes_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "ink.npz"
    header = {"descr": "<f4", "fortran_order": False, "shape": (2**33, N_DENSE, 2)}
    with zipfile.ZipFile(path, "w") as archive, archive.open("points.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
    with pytest.raises(StageError, match=r"cannot reshape array of size 0 into shape \(8589934592,"):
        read_strokes(path)


def test_strokes_of_another_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ink.npz"
    path.write_bytes(format_strokes(Strokes(np.zeros((2, 9, 2), np.float32), np.zeros((2, 9), np.int8))))
    with pytest.raises(StageError, match=r"is damaged \(strokes of shape \(2, 9, 2\)\)"):
        read_strokes(path)


# --- Features ----------------------------------------------------------------------------------------


N_INK = FEATURE_SETS["ink"].n_points


def ink_rows(strokes: Strokes, **options: float) -> np.ndarray:
    """Rows of ink, (n, points, 3), changed by the options."""
    digit = np.full(len(strokes.points), 4)
    made = Augmentation(**options)(strokes, digit, np.random.default_rng(0), FEATURE_SETS["ink"])
    return made.reshape(len(made), -1, 3)


def test_ink_keeps_proportions_and_says_where_the_pen_is_up() -> None:
    row = FEATURE_SETS["ink"].of(ink(CROSS)).reshape(N_INK, 3)
    x, y, up = row.T
    assert np.ptp(x) / np.ptp(y) == pytest.approx(1 / 3, abs=0.02)  # 100 wide, 300 high; no point is just at each end
    assert (y.min(), y.max()) == pytest.approx((-1, 1))
    way = np.hypot(50, 200)  # from the end of the first stroke to the start of the second
    steps = np.linspace(0, 300 + way + 100, N_INK)
    assert up.tolist() == ((steps > 300) & (steps < 300 + way)).tolist()
    first = steps <= 300
    assert np.ptp(x[first]) == 0
    np.testing.assert_allclose(np.diff(y[first]), y[1] - y[0], rtol=1e-5)


def test_one_stroke_is_never_up_and_the_table_would_not_know() -> None:
    joined = [[*CROSS[0], *CROSS[1]]]
    assert not FEATURE_SETS["ink"].of(ink(joined)).reshape(N_INK, 3)[:, 2].any()
    table = [FEATURE_SETS["table"].of(ink(strokes)) for strokes in (joined, CROSS)]
    np.testing.assert_allclose(*table, atol=0.1)


def test_rows_of_the_table_are_eight_points(digits: tuple[Strokes, np.ndarray]) -> None:
    made = Augmentation()(*digits, np.random.default_rng(0))
    np.testing.assert_array_equal(FEATURE_SETS["table"].of(digits[0]), made)


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


def test_ink_backwards_is_its_rows_backwards() -> None:
    np.testing.assert_allclose(ink_rows(ink(CROSS), backwards=1), ink_rows(ink(CROSS))[:, ::-1], atol=1e-5)


def test_the_pens_speed_varies_as_smoothly_over_more_points() -> None:
    line = ink([[(0, 0), (0, 100)]])
    steps = np.diff(ink_rows(line, warp=0.5)[0, :, 1])
    assert len(np.unique(steps.round(4))) <= 7 + 6 < N_INK - 1  # seven speeds, six steps with a change of speed inside
    assert steps.max() > 1.5 * steps.min()


def test_paths_are_drawn_without_what_the_pen_did_in_the_air() -> None:
    features = FEATURE_SETS["ink"]
    row = features.of(ink(CROSS))
    path, up = features.drawn(row)[0], row.reshape(N_INK, 3)[:, 2] == 1
    assert np.isnan(path[up]).all()
    np.testing.assert_array_equal(path[~up], row.reshape(N_INK, 3)[~up, :2])
    table = FEATURE_SETS["table"]
    assert table.drawn(table.of(ink(CROSS))).tobytes() == table.of(ink(CROSS)).tobytes()


# --- Augmentation ------------------------------------------------------------------------------------


def test_without_options_it_is_false_and_makes_the_rows_of_the_table(
    small_inks: tuple[Ink, Ink],
) -> None:
    nothing = Augmentation()
    assert not nothing
    assert all(Augmentation(**{kind: 0.1}) for kind in [*FORM, *ORDER, "aspect"])
    made = nothing(strokes_of(small_inks[0]), small_inks[0].digit, np.random.default_rng(0))
    table = (eight_points(small_inks[0]) - 50) / 50
    assert np.abs(made - table).mean() < 0.02  # a unit of the table


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


def test_backwards_turns_the_eight_points_round() -> None:
    np.testing.assert_allclose(rows(ink(ZIGZAG), 4, backwards=1), rows(ink(ZIGZAG), 4)[::-1], atol=1e-5)


def test_reordered_writes_the_last_stroke_first_in_its_own_direction() -> None:
    path = rows(ink(CROSS), 4, reordered=1)
    np.testing.assert_array_equal(path, rows(ink(CROSS[::-1]), 4))
    assert path[0, 0] == -1  # the short stroke's start
    assert path[-1, 1] == 1  # the long one's end


def test_reordered_leaves_a_single_stroke_alone() -> None:
    np.testing.assert_array_equal(rows(ink(ZIGZAG), 4, reordered=1), rows(ink(ZIGZAG), 4))


@pytest.mark.parametrize(("digit", "strokes_left"), [(7, 1), (4, 2)])
def test_plain_leaves_the_longest_stroke_of_0_1_and_7(digit: int, strokes_left: int) -> None:
    path = rows(ink(CROSS), digit, plain=1)
    assert (np.ptp(path[:, 0]) == 0) == (strokes_left == 1)


@pytest.mark.parametrize(("digit", "changed"), [(0, True), (1, True), (7, True), (4, False)])
def test_ornamented_adds_a_stroke_to_0_1_and_7(digit: int, changed: bool) -> None:
    strokes = ink(ZIGZAG)
    assert np.allclose(rows(strokes, digit, ornamented=1), rows(strokes, digit), atol=0.01) != changed


def test_only_digits_of_one_stroke_are_ornamented() -> None:
    np.testing.assert_allclose(rows(ink(CROSS), 7, ornamented=1), rows(ink(CROSS), 7), atol=1e-5)


def test_restarted_begins_a_loop_elsewhere_and_leaves_the_rest_alone() -> None:
    square = ink(SQUARE)
    assert is_loop(square.points).tolist() == [True]
    assert not np.allclose(rows(square, 0, restarted=1)[0], rows(square, 0)[0], atol=0.1)
    np.testing.assert_array_equal(rows(ink(ZIGZAG), 0, restarted=1), rows(ink(ZIGZAG), 0))


def test_shares_are_of_all_digits() -> None:
    many = ink(*[ZIGZAG] * 2000)
    digit = np.full(2000, 4)
    made = Augmentation(backwards=0.3)(many, digit, np.random.default_rng(0))
    turned = np.abs(made - Augmentation()(many, digit, np.random.default_rng(0))).max(axis=1) > 1e-3
    assert turned.mean() == pytest.approx(0.3, abs=0.03)


def test_shares_of_more_than_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must add up to 1 at most, got 1\.1"):
        Augmentation(backwards=0.5, reordered=0.6)


def test_affine_changes_keep_straight_lines_straight() -> None:
    path = rows(ink([[(0, 0), (100, 50)]]), 1, rotation=0.2, shear=0.3, aspect=0.2)
    np.testing.assert_allclose(np.diff(path, 2, axis=0), 0, atol=1e-4)


# --- Paths -------------------------------------------------------------------------------------------


def test_points_at_goes_by_the_length_of_the_path() -> None:
    path = np.array([[[0, 0], [2, 0], [2, 6]]], np.float32)
    moments = np.array([[0, 0.125, 0.25, 0.5, 1]])
    assert points_at(path, moments).tolist() == [[[0, 0], [1, 0], [2, 0], [2, 2], [2, 6]]]
    along = np.concatenate([path, [[[5], [7], [9]]]], axis=2)
    assert points_at(along, moments)[0, :, 2].tolist() == pytest.approx([5, 6, 7, 7 + 2 / 3, 9])


def test_an_axis_without_extent_is_not_divided_by() -> None:
    flat = np.zeros((1, 8, 2), np.float32)
    flat[0, :, 0] = np.arange(8)
    assert np.isfinite(stretch(flat)).all()
