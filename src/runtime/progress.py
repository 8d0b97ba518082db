"""The progress of long work: a bar on a terminal, a line every ten seconds in a log."""

import sys
from typing import NoReturn

from tqdm import tqdm

EVERY = 10.0  # seconds between two lines


def progress_bar(total: int, unit: str, name: str = "training") -> "tqdm[NoReturn]":
    """A bar for work of ``total`` units, which is told of each with ``update()``."""
    if sys.stderr.isatty():
        return tqdm(total=total, unit=unit, desc=name, file=sys.stderr)
    return tqdm(
        total=total,
        desc=name,
        file=_Log(),
        bar_format="{desc}: " + unit + " {n} of {total}, {elapsed}, {remaining} left{postfix}",
        delay=EVERY,
        mininterval=EVERY,
        miniters=1,  # else tqdm would guess how many units make up the interval
        leave=False,
        position=0,  # within another bar, tqdm would move the cursor
    )


class _Log:
    """Writes as lines what tqdm writes over the last line of a terminal."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(f"{text.strip()}\n")

    def flush(self) -> None:
        sys.stderr.flush()
