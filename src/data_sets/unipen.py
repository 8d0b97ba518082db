"""UNIPEN, the text format of the ink files: the pen's strokes, digit by digit, with their writers."""

import re
from collections.abc import Callable
from typing import NoReturn

import numpy as np

from pen.ink import DataError, Ink

from .pendigits import integers, shown

_SEGMENT = re.compile(rb'\.SEGMENT DIGIT +([0-9]{1,9})(?:-([0-9]{1,9}))? \? "([0-9])" *+')
_COMMENT = re.compile(rb"\.COMMENT +([0-9]) +([0-9]{1,9}) +([0-9]{1,9}) *+")
_POINT = re.compile(rb" *+-?[0-9]{1,6} ++-?[0-9]{1,6} *+")
_PEN_DOWN, _PEN_UP = re.compile(rb"\.PEN_DOWN *+"), re.compile(rb"\.PEN_UP *+")
_PAUSE = re.compile(rb"\.DT +[0-9]{1,9} *+")


def parse_ink(content: bytes, name: str) -> Ink:
    """Read a UNIPEN file of digits, laid out like this::

        .SEGMENT DIGIT    6-7 ? "4"         the digit 4, written in strokes 6 to 7 of the file
        .COMMENT 4  1  117                  the digit, its writer, the number of this writer's sample
        .PEN_DOWN
         240  310                           x and y, a line a point
        .PEN_UP
        .DT 100                             the pause after the stroke

    The time taken is in proportion to the file's length, whatever is in it.

    Args:
        name: the file's name, for messages.

    Raises:
        DataError: naming the first line that does not belong where it stands.
    """
    lines = _Lines(content, name)
    lines.skip(lambda line: not line or (line.startswith(b".") and not line.startswith(b".SEGMENT")))
    about, samples, strokes, points = [], [0], [0], []
    while not lines.at_end():
        digit, writer, number, n_strokes = _read_heading(lines, n_before=samples[-1])
        about.append((digit, writer, number))
        for _ in range(n_strokes):
            lines.take(_PEN_DOWN, "`.PEN_DOWN`")
            path = lines.take_all(_POINT, "a point such as ` 240  310`")
            points += path
            strokes.append(strokes[-1] + len(path))
            lines.take(_PEN_UP, "a point or `.PEN_UP`")
            lines.take(_PAUSE, "a pause such as `.DT 100`")
        samples.append(samples[-1] + n_strokes)
        lines.skip(lambda line: not line.strip())
    if not about:
        lines.fail('a digit such as `.SEGMENT DIGIT 6-7 ? "4"`')
    digits, writers, numbers = np.array(about, dtype=np.int64).T
    return Ink(
        integers(b" ".join(points)).reshape(-1, 2), np.array(strokes), np.array(samples), digits, writers, numbers
    )


def _read_heading(lines: "_Lines", n_before: int) -> tuple[int, int, int, int]:
    """Read .SEGMENT and .COMMENT of a sample that ``n_before`` strokes precede: digit, writer, number, strokes."""
    first, last, digit = lines.take(_SEGMENT, 'a digit such as `.SEGMENT DIGIT 6-7 ? "4"`')
    n_strokes = int(last or first) - int(first) + 1
    if int(first) != n_before or n_strokes < 1:
        lines.fail(f"strokes numbered from {n_before}", back=1)
    same_digit, writer, number = lines.take(_COMMENT, "digit, writer and sample such as `.COMMENT 4 1 117`")
    if same_digit != digit:
        lines.fail(f"the digit of the line above, {int(digit)}", back=1)
    return int(digit), int(writer), int(number), n_strokes


class _Lines:
    """The lines of a file, taken one after the other."""

    def __init__(self, content: bytes, name: str) -> None:
        self._lines = content.splitlines()
        self._name = name
        self._at = 0

    def at_end(self) -> bool:
        return self._at == len(self._lines)

    def skip(self, unwanted: Callable[[bytes], bool]) -> None:
        while not self.at_end() and unwanted(self._lines[self._at]):
            self._at += 1

    def take(self, pattern: re.Pattern[bytes], expected: str) -> tuple[bytes, ...]:
        """Take the next line and return the groups of the pattern, which it must match."""
        match = None if self.at_end() else pattern.fullmatch(self._lines[self._at])
        if not match:
            self.fail(expected)
        self._at += 1
        return match.groups()

    def take_all(self, pattern: re.Pattern[bytes], expected: str) -> list[bytes]:
        """Take the lines from here on that match, at least one."""
        start = self._at
        self.skip(lambda line: pattern.fullmatch(line) is not None)
        if self._at == start:
            self.fail(expected)
        return self._lines[start : self._at]

    def fail(self, expected: str, back: int = 0) -> NoReturn:
        """Name the next line, or the one ``back`` lines before it, and what should stand there."""
        at = self._at - back
        found = shown(self._lines[at]) if at < len(self._lines) else "the end of the file"
        raise DataError(f"{self._name}, line {at + 1}: expected {expected}, got {found}")


def format_ink(ink: Ink) -> bytes:
    """Write ink as a UNIPEN file in the form of the real ones: the inverse of ``parse_ink``."""
    parts = ['.LEXICON "0" "1" "2" "3" "4" "5" "6" "7" "8" "9"\n.HIERARCHY      DIGIT\n']
    numbers = ink.samples.tolist()
    about = zip(ink.digit.tolist(), ink.writer.tolist(), ink.number.tolist(), strict=True)
    for i, (digit, writer, number) in enumerate(about):
        first, last = numbers[i], numbers[i + 1] - 1
        strokes = f"{first:4d}" if first == last else f"{first:4d}-{last}"
        parts.append(f'\n.SEGMENT DIGIT {strokes} ? "{digit}"\n.COMMENT {digit} {writer:2d} {number:4d}\n')
        for stroke in ink[i]:
            points = (len(stroke) * "%4d %4d\n") % tuple(stroke.ravel().tolist())
            parts.append(f".PEN_DOWN\n{points}.PEN_UP\n.DT 100\n")
    return "".join(parts).encode()
