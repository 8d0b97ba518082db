"""How networks and histories are shown: as the code that makes them, and as tables in text and in HTML."""

import html
from collections.abc import Iterable, Iterator, Sequence

from .layer import Layer

WIDTH = 100  # characters; longer code has a line for each layer


def code(kind: str, parts: Sequence[object], options: Sequence[str]) -> str:
    """The code that makes an object out of a list of parts: ``Network([Linear(3), ReLU()], rng=0)``."""
    shown = [repr(part) for part in parts]
    end = ", ".join(["]", *options]) + ")"
    short = f"{kind}([{', '.join(shown)}{end}"
    return short if len(short) <= WIDTH else "\n".join([f"{kind}([", *(f"    {part}," for part in shown), end])


def text_table(rows: Sequence[Sequence[str]], foot: str) -> str:
    """Rows of text, the first of which is the head, under each other; the last column is a number's."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([*(f"{cell:<{n}}" for cell, n in zip(row[:-1], widths, strict=False)), f"{row[-1]:>{widths[-1]}}"])
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:], rule, foot])


def html_table(rows: Sequence[Sequence[str]], foot: str) -> str:
    """The same as HTML, in which text can do nothing. Spaces that begin a cell stay."""
    lines = [f"<tr>{''.join(f'<th>{html.escape(name)}</th>' for name in rows[0])}</tr>"]
    for row in rows[1:]:
        cells = (html.escape(cell).replace("  ", "&emsp;") for cell in row)
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<table><caption>{html.escape(foot)}</caption>\n" + "\n".join(lines) + "\n</table>"


def layer_rows(layers: Iterable[Layer], built: bool) -> list[tuple[str, ...]]:
    """The rows of the table of a network: the head, and a row for each layer."""
    rows: list[tuple[str, ...]] = [("layer", "kind", "output shape", "parameters")]
    for layer, depth in _walk_deep(layers):
        shape, count = (str(tuple(layer.shape_out)), f"{layer.n_parameters:,}") if built else ("not built", "?")
        rows.append(("  " * depth + layer.name, type(layer).__name__, shape, count))
    return rows


def _walk_deep(layers: Iterable[Layer], depth: int = 0) -> Iterator[tuple[Layer, int]]:
    for layer in layers:
        yield layer, depth
        yield from _walk_deep(layer.children(), depth + 1)
