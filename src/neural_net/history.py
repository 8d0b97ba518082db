"""The history of a training: the measurements of its epochs."""

from collections.abc import Iterator
from typing import overload

from .callbacks import Record
from .display import html_table
from .parts import lookup

_SHOWN = 10  # epochs at the start and at the end of a long history


class History:
    """The measurements of all epochs, oldest first: ``records`` is a list of dictionaries with the same keys.

    ``history["train_loss"]`` is one quantity over all epochs, ``history[-1]`` the latest epoch's record. Iteration
    yields the records, so that ``pandas.DataFrame(history)`` has a row for each epoch.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @overload
    def __getitem__(self, key: str) -> list[float]: ...

    @overload
    def __getitem__(self, key: int) -> Record: ...

    @overload
    def __getitem__(self, key: slice) -> list[Record]: ...

    def __getitem__(self, key: str | int | slice) -> list[float] | Record | list[Record]:
        """One quantity over all epochs, by its name; or records, by their place."""
        if isinstance(key, str):
            return [lookup("a quantity of the history", record, key) for record in self.records]
        return self.records[key]

    @property
    def last(self) -> Record:
        """The measurements of the latest epoch."""
        return self.records[-1]

    def __repr__(self) -> str:
        return f"<{self._title()}>"

    def _repr_html_(self) -> str:
        """A table for notebooks, of the first and the last epochs."""
        head = list(self.records[0]) if self.records else ["epoch"]
        rows = [[f"{record[name]:.4g}" for name in head] for record in self.records]
        if len(rows) > 2 * _SHOWN:
            rows[_SHOWN:-_SHOWN] = [["…"] * len(head)]
        return html_table([head, *rows], self._title())

    def _title(self) -> str:
        last = ", ".join(f"{name} {value:.4g}" for name, value in (self.records or [{}])[-1].items() if name != "epoch")
        return f"History of {len(self)} epochs" + f"; the last: {last}" * bool(last)
