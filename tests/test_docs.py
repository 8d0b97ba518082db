"""README and docs lead to what exists, and show the figures that were measured."""

import ast
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from neural_net import ACTIVATIONS, INITIALIZERS, LAYERS, LOSSES, OPTIMIZERS, SCHEDULES

ROOT = Path(__file__).parents[1]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted(ROOT.glob("docs/*.md"))]
PAGES += sorted(ROOT.glob("docs/learn/*.md"))
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code_in(page: Path) -> str:
    return "\n".join(CODE.findall(page.read_text(encoding="utf-8")))


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@each_page
def test_every_link_and_picture_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = CODE.sub("", text)
    assert not re.search(r"\$[^$\n]*\\[^a-zA-Z\s][^$\n]*\$", prose), "GitHub drops a backslash before a sign"
    for target, anchor in re.findall(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)", prose):
        if "://" in target:
            continue
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), target
        assert not anchor or anchor in headings(place), f"{target}#{anchor}"
    for name, target in re.findall(r"^Code: \[`([\w.]+)`\]\((.*)\)$", text, re.MULTILINE):
        inside: list[Any] = [ast.parse((page.parent / target).read_text(encoding="utf-8"))]
        for part in name.split("."):  # a method of the class itself, as `make docs` shows it
            inside = [node for outer in inside for node in outer.body if getattr(node, "name", "") == part]
        assert inside, name


@each_page
def test_every_make_target_and_path_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|[`$&|(] ?|    )make ([a-z][a-z-]*)", code_in(page), re.MULTILINE))
    assert named <= targets
    for path in re.findall(r"\b(?:src|tests|benchmarks|docs|\.github)/[\w./-]*\w", code_in(page)):
        assert page.name == "CHANGELOG.md" or "NAME" in path or (ROOT / path).exists(), path


def test_the_map_names_files_that_exist() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b\w+\.py\b", page.split("## Rooms")[1].split("## ")[0]))
    assert named - {path.name for path in (ROOT / "src").rglob("*.py")} == set()


def test_every_part_has_its_formula_on_the_page() -> None:
    """Parts of a user's own, such as those in custom.py, are not the library's."""
    page = (ROOT / "docs/formulas.md").read_text(encoding="utf-8")
    parts = {**ACTIVATIONS, **INITIALIZERS, **LAYERS, **LOSSES, **OPTIMIZERS, **SCHEDULES}
    ours = {name for name, part in parts.items() if part.__module__.startswith("neural_net.")}
    assert len(ours) > 50
    assert ours - set(re.findall(r"`(\w+)`", page)) == set()


def test_the_readme_is_short_and_shows_what_was_measured() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) < 120
    found = json.loads((ROOT / "docs/accuracy_results.json").read_text(encoding="utf-8"))
    for row, figures in (("features: ink", found["ink"]), ("the default", found)):
        shown = f"{figures['mean']:.2f} ± {figures['standard_deviation']:.2f}"
        assert re.search(rf"^\| .*{row}.*\| {shown} \|$", readme, re.MULTILINE), row
    scores = json.loads((ROOT / "metrics/evaluate.json").read_text(encoding="utf-8"))
    assert f"reads {scores['test_accuracy']:.2%}".replace("%", " %") in readme
    records = json.loads((ROOT / "benchmarks/results/bench.json").read_text(encoding="utf-8"))
    rows = [r["seconds_an_epoch"] for r in records if r["kind"] == "training" and r["threads"] == 1]
    ratio = {name: statistics.geometric_mean(row[name] / row["ours"] for row in rows) for name in rows[0]}
    assert f"PyTorch takes {ratio['PyTorch']:.1f} times as long" in readme
    assert f"scikit-learn {ratio['scikit-learn']:.1f} times" in readme
    assert f"jax.jit {ratio['jax.jit']:.1f} times" in readme


NUMBER = re.compile(r"-?\d[\d,]*\.?\d*")


def expected_output(text: str) -> list[str]:
    """What a page says that its code prints: the code or block after the word "prints"."""
    found = re.findall(r"^prints\s+(?:`([^`]+)`|```\n(.*?)```)", text, re.DOTALL | re.MULTILINE)
    return [line for pair in found for line in "".join(pair).splitlines() if NUMBER.search(line)]


def values(line: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(line)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/library.md"])
def test_the_code_runs_and_prints_what_the_page_says(name: str, mirror: Path, tmp_path: Path) -> None:
    """All blocks of a page in order, on the real data; figures may differ by 2 %, as processors round differently."""
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    environment = os.environ | {"PENDIGITS_MIRROR": str(mirror), "DVC_ROOT": str(tmp_path), "PYTHONPATH": ".:src"}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-W", "ignore:3 activations:UserWarning", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    for stage in ("fetch", "preprocess", "split"):
        run(f"src/{stage}.py")
    text = (ROOT / name).read_text(encoding="utf-8")
    (tmp_path / "page.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), encoding="utf-8")
    printed = [(NUMBER.sub("0", line.strip()), values(line)) for line in run("page.py").splitlines()]
    expected = expected_output(text)
    assert expected
    for line in expected:
        same_words = [found for words, found in printed if words == NUMBER.sub("0", line.strip())]
        assert any(found == pytest.approx(values(line), rel=0.02) for found in same_words), line
