"""The data set's file formats: what was written is read, and anything else is refused by its line."""

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_sets import lzw, pendigits, unipen
from pen.ink import DataError, eight_points

ROW = b" 47,100, 27, 81, 57, 37, 26,  0,  0, 23, 56, 53,100, 90, 40, 98, 8\n"

SEGMENT = b"""\
.SEGMENT DIGIT    0-1 ? "4"
.COMMENT 4 12  224
.PEN_DOWN
 100  200
 100  100
.PEN_UP
.DT 100
.PEN_DOWN
 150  180
.PEN_UP
.DT 100
"""


def without(content: bytes, number: int) -> bytes:
    """The lines of a file but one, counted from 1."""
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: number - 1] + lines[number:])


def test_a_row_of_the_real_table() -> None:
    X, digit = pendigits.parse_table(ROW.replace(b"\n", b"\r\n"), "pendigits.tra")
    assert (X.tolist(), digit.tolist()) == ([[47, 100, 27, 81, 57, 37, 26, 0, 0, 23, 56, 53, 100, 90, 40, 98]], [8])
    assert pendigits.format_table(X, digit) == ROW
    with pytest.raises(DataError, match=r"^pendigits\.tes is empty$"):
        pendigits.parse_table(b"", "pendigits.tes")


@pytest.mark.parametrize(("line", "fault"), [
    (ROW[:-4] + b"\n", "16 values instead of 17"),
    (b"\n", "no values instead of 17"),
    (ROW.replace(b" 47,", b" -1,"), "x1 must be a whole number from 0 to 100, got '-1'"),
    (ROW.replace(b" 81,", b"101,"), "y2 must be a whole number from 0 to 100, got '101'"),
    (ROW.replace(b" 81,", b"8.5,"), "y2 must be a whole number from 0 to 100, got '8.5'"),
    (ROW.replace(b" 81,", b"   ,"), "y2 must be a whole number from 0 to 100, got ''"),
    (ROW.replace(b" 8\n", b"10\n"), "digit must be a whole number from 0 to 9, got '10'"),
    (ROW.replace(b" 81,", b"081,"), "not written as a row of the table"),
    (ROW.replace(b" 81,", b"\x1b[2J\xff,"), r"y2 must be a whole number from 0 to 100, got '\\x1b\[2J\ufffd'"),
    (ROW.replace(b" 81,", b"9" * 5000 + b","), "y2 .* got '9{60}...'"),
])  # fmt: skip
def test_a_bad_row_is_named(line: bytes, fault: str) -> None:
    with pytest.raises(DataError, match=f"^pendigits.tra, line 12: {fault}"):
        pendigits.parse_table(ROW * 11 + line + ROW, "pendigits.tra")


def test_a_digit_in_two_strokes() -> None:
    two = SEGMENT + b"\n" + SEGMENT.replace(b"  0-1", b"  2-3").replace(b"200", b"-99")
    assert unipen.format_ink(unipen.parse_ink(two, "pendigits-orig.tra")).endswith(two)
    ink = unipen.parse_ink(SEGMENT.replace(b"\n", b"\r\n"), "pendigits-orig.tra")
    assert (len(ink), [stroke.tolist() for stroke in ink[0]]) == (1, [[[100, 200], [100, 100]], [[150, 180]]])
    assert (ink.digit.tolist(), ink.writer.tolist(), ink.number.tolist()) == ([4], [12], [224])


@pytest.mark.parametrize(("content", "fault"), [
    (b"", r"line 1: expected a digit such as `\.SEGMENT DIGIT 6-7 \? \"4\"`, got the end of the file"),
    (SEGMENT.replace(b'"4"', b'"x"'), "line 1: expected a digit such as"),
    (SEGMENT.replace(b"0-1", b"1-2"), "line 1: expected strokes numbered from 0, got"),
    (SEGMENT.replace(b"   0-1", b"   0-999999999"), "line 12: expected `.PEN_DOWN`, got the end of the file"),
    (SEGMENT + b"\n" + SEGMENT, "line 13: expected strokes numbered from 2"),
    (without(SEGMENT, 2), "line 2: expected digit, writer and sample such as .*, got '.PEN_DOWN'"),
    (SEGMENT.replace(b"COMMENT 4", b"COMMENT 5"), "line 2: expected the digit of the line above, 4, got"),
    (without(SEGMENT, 3), "line 3: expected `.PEN_DOWN`, got ' 100  200'"),
    (without(SEGMENT, 6), "line 6: expected a point or `.PEN_UP`, got '.DT 100'"),
    (SEGMENT.replace(b" 100  100", b" 100  1e2"), "line 5: expected a point or `.PEN_UP`, got ' 100  1e2'"),
    (SEGMENT.replace(b" 100  100", b" 100 12345678"), "line 5: expected a point or `.PEN_UP`"),
    (without(SEGMENT, 7), "line 7: expected a pause such as `.DT 100`, got '.PEN_DOWN'"),
    (SEGMENT + b".PEN_DOWN\n", "line 12: expected a digit such as"),
])  # fmt: skip
def test_bad_ink_is_named(content: bytes, fault: str) -> None:
    with pytest.raises(DataError, match=f"^pendigits-orig.tra, {fault}"):
        unipen.parse_ink(content, "pendigits-orig.tra")


@pytest.fixture(scope="module")
def real(mirror: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(mirror / pendigits.ARCHIVE) as archive:
        ink = {
            m.name: lzw.decompress(archive.read(f"{m.name}.Z"), m.size) for m in pendigits.MEMBERS if "orig" in m.name
        }
        return ink | {m.name: archive.read(m.name) for m in pendigits.MEMBERS if "orig" not in m.name}


@pytest.mark.parametrize("part", [pendigits.TRAINING, pendigits.TEST], ids=["training", "test"])
def test_the_real_files_are_written_as_they_are_read_and_fit_each_other(real: dict[str, bytes], part: Any) -> None:
    X, digit = pendigits.parse_table(real[part.table], part.table)
    assert pendigits.format_table(X, digit) == real[part.table]
    ink = unipen.parse_ink(real[part.ink], part.ink)
    _, lexicon, rest = real[part.ink].partition(b".LEXICON")
    assert unipen.format_ink(ink) == lexicon + rest
    np.testing.assert_array_equal(ink.digit, digit)
    # Not one row of the 10,992 differs here; another machine's rounding may move a few points.
    assert np.mean(np.any(eight_points(ink) != X, axis=1)) < 0.001
    fewer = {1: 249, 17: 247, 27: 249, 30: 249} if part.writers == 30 else {2: 249, 14: 249}
    assert Counter(ink.writer.tolist()) == {w: fewer.get(w, 250) for w in range(1, part.writers + 1)}
    assert len(ink) == part.rows
