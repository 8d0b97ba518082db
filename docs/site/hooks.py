"""What MkDocs cannot do by itself: pages from outside docs/, docstrings, code of the source, formulas as MathML."""

import ast
import posixpath
import re
import textwrap
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
PAGES["benchmarks/results/bench.md"] = "benchmarks.md"
LINK = re.compile(r"```.*?```|(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)", re.DOTALL)  # or code, which stays as it is
CODE = re.compile(r"^Code: \[`([\w.]+)`\]\((\S+)\)$", re.MULTILINE)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>([.,:;?)]*)', re.DOTALL)
PLAIN = {  # MathML as browsers without a font for mathematics draw it well
    re.compile(r"<mo>&#x00028;</mo><mtable>(.*?)</mtable><mo>&#x00029;</mo>"): r'<mtable class="matrix">\1</mtable>',
    re.compile(r"(<mo[^>]*>(?!&#x00029;)[^<]*</mo>)<mo>&#x02212;</mo>"): r'\1<mo form="prefix">&#x02212;</mo>',
    re.compile(r"(<m[io]>(?:log|max)</m[io]>)(?!<mo[^>]*>&#x00028;)"): r'\1<mspace width="0.17em"/>',
}


def source(path: Path, name: str) -> str:
    """The present text of a function, a class or a method in a file, by its name, such as ``Linear.forward``."""
    text = path.read_text(encoding="utf-8")
    node: Any = ast.parse(text)
    for part in name.split("."):
        node = next(child for child in node.body if getattr(child, "name", "") == part)
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return textwrap.dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))


def with_code(markdown: str, folder: Path, fence: str = "```python") -> str:
    """Put the code below each line such as ``Code: [`Linear.forward`](layers.py)``; the path is relative to folder."""
    return CODE.sub(lambda match: f"{match[0]}\n\n{fence}\n{source(folder / match[2], match[1])}\n```", markdown)


def on_config(config: Any) -> Any:
    """A page for each module of the library; nothing to write when a module is added."""
    modules = sorted(path.stem for path in (ROOT / "src/neural_net").glob("*.py") if path.stem != "__init__")
    config.nav.append({"Library reference": [{f"neural_net.{name}": f"api/{name}.md"} for name in modules]})
    return config


def on_files(files: Any, config: Any) -> Any:
    """The pages and pictures that come from outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for entry in config.nav[-1]["Library reference"]:
        for name, page in entry.items():
            files.append(File.generated(config, page, content=f"# `{name}`\n\n::: {name}\n"))
    for picture in [*ROOT.glob("metrics/plots/*.png"), *ROOT.glob("benchmarks/results/*.png")]:
        files.append(File.generated(config, picture.relative_to(ROOT).as_posix(), content=picture.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links to files of the project lead to their pages; those to code become plain text, or the code itself."""
    sources = {target: source for source, target in PAGES.items()}
    folder = posixpath.dirname(sources.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def relinked(match: re.Match[str]) -> str:
        picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target or "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path in PAGES:
            place = PAGES[path]
        elif path.startswith("src/neural_net/"):
            place = f"api/{posixpath.basename(path).removesuffix('.py')}.md"
        elif path.startswith("docs/") and not path.endswith(".py"):
            place = path.removeprefix("docs/")
        elif path.endswith(".png"):
            place = path
        else:
            return text
        here = posixpath.dirname(page.file.src_uri) or "."
        return f"{picture}[{text}]({posixpath.relpath(place, here)}{anchor})"

    return LINK.sub(relinked, with_code(markdown, ROOT / folder))


def on_page_content(html: str, **_: Any) -> str:
    """Formulas as MathML, which browsers draw without a script."""

    def mathml(match: re.Match[str]) -> str:
        block = match[1] == "div"
        formula = convert(unescape(match[2]).strip(), display="block" if block else "inline")
        for pattern, plain in PLAIN.items():
            formula = pattern.sub(plain, formula)
        return f"<p>{formula}</p>{match[3]}" if block else f'<span class="formula">{formula}{match[3]}</span>'

    return FORMULA.sub(mathml, html)
