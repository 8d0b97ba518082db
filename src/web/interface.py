"""The description of what the server answers: OpenAPI, and a page of it that needs no script."""

import html
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from .sources import plain_page


class Recognized(BaseModel):
    """The answer of ``/predict``."""

    digits: list[int]
    probabilities: list[list[float]]


class Refused(BaseModel):
    """The answer to a request that is wrong."""

    error_code: str
    message: str


RESPONSES: dict[int | str, dict[str, Any]] = {"4XX": {"model": Refused, "description": "What is wrong, in one line"}}
EXAMPLE = """curl -s -H 'Content-Type: application/json' -d '{"ink": [[[0, 300], [200, 300], [80, 0]]]}' HOST/predict"""


def page_of(described: dict[str, Any], host: str) -> str:
    """A page of an OpenAPI description: every method and path, what it takes and what it answers.

    Args:
        host: the server's address, such as ``http://127.0.0.1:5051``, for the example.
    """
    paths = "".join(_operations(described))
    kinds = "".join(
        f'<h3 id="{html.escape(name)}">{html.escape(name)}</h3>{_code(json.dumps(schema, indent=2))}'
        for name, schema in described["components"]["schemas"].items()
    )
    about = (
        f"<p>{html.escape(described['info']['description'])} <a href='/openapi.json'>openapi.json</a> for tools.</p>"
    )
    return plain_page("For programs", f"{about}{_code(EXAMPLE.replace('HOST', host))}{paths}<h2>JSON</h2>{kinds}")


def _operations(described: dict[str, Any]) -> Iterator[str]:
    for path, methods in described["paths"].items():
        for method, told in methods.items():
            yield f"<h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{html.escape(told['description'])}</p>"
            for given in told.get("parameters", []):
                name, kind = html.escape(given["name"]), html.escape(given["schema"]["type"])
                yield f"<p>Takes <code>?{name}=</code>, {kind}.</p>"
            if "requestBody" in told:
                yield f"<p>Takes {_kind_of(told['requestBody'])}.</p>"
            yield "".join(
                f"<p>Answers {status}{': ' * bool(kind)}{kind}.</p>"
                for status, answer in told["responses"].items()
                for kind in [_kind_of(answer)]
            )


def _kind_of(told: dict[str, Any]) -> str:
    """A link to the kind of JSON of a body or an answer; empty if it is not described."""
    name = told.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
    return f'<a href="#{html.escape(name)}">{html.escape(name)}</a>' if name else ""


def _code(text: str) -> str:
    lines = "".join(f'<span class="line">{html.escape(line)}</span>' for line in text.splitlines())
    return f'<pre tabindex="0">{lines}</pre>'
