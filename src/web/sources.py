"""The lines of the project's own code that computed a number, and pages that show them."""

import html
import inspect
from pathlib import Path
from typing import Any

SRC = Path(__file__).resolve().parents[1]
SHOWN = ("neural_net", "pen", "web")  # rooms


def lines_of(function: Any) -> dict[str, Any]:
    """Where a function stands, with its code: file, from ``src`` on, line and code."""
    code, line = inspect.getsourcelines(inspect.unwrap(function))
    file = Path(inspect.getsourcefile(inspect.unwrap(function)) or "").resolve().relative_to(SRC)
    return {"file": file.as_posix(), "line": line, "code": inspect.cleandoc("".join(code))}


def known_files() -> dict[str, Path]:
    """The files that have a page, by their path from ``src`` on."""
    return {path.relative_to(SRC).as_posix(): path for room in SHOWN for path in sorted((SRC / room).glob("*.py"))}


def page_of(name: str) -> str | None:
    """A page of a file with an anchor for each line (L12); None if it has no page."""
    path = known_files().get(name)
    if path is None:
        return None
    lines = "\n".join(
        f'<span class="line" id="L{number}"><a href="#L{number}">{number}</a>{html.escape(line)}</span>'
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    )
    return plain_page(f"src/{name}", f'<pre tabindex="0">{lines}</pre>')


def plain_page(title: str, content: str) -> str:
    """A page without scripts: a title, and content that is HTML already."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{html.escape(title)}</title><link rel="icon" href="/static/icon.svg" type="image/svg+xml">'
        '<link rel="stylesheet" href="/static/page.css">'
        f'<body class="source"><main><h1>{html.escape(title)}</h1>{content}</main>'
    )
