"""docs/debugging.md shows what its script makes."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent / "docs"
NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[-+]\d+)?)(%?)")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_debugging", DOCS / "make_debugging.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_every_picture(script: ModuleType) -> None:
    shown = re.findall(r"!\[.+\]\(images/(\w+)\.png\)", (DOCS / "debugging.md").read_text())
    assert shown == list(script.EXAMPLES)
    assert {path.stem for path in (DOCS / "images").glob("*.png")} >= set(shown)


@pytest.mark.slow
def test_the_page_says_what_the_script_prints(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word for word, and the numbers nearly: other processors round otherwise, which training magnifies."""
    monkeypatch.setattr(script, "IMAGES", tmp_path / "images")
    script.main()
    text = (DOCS / "debugging.md").read_text().partition("\n## ")[2]  # after the table of symptoms
    page, printed = (
        [line for line in source.splitlines() if line.startswith(("|", "training "))]
        for source in (text, capsys.readouterr().out)
    )
    assert [NUMBER.sub("0", line) for line in page] == [NUMBER.sub("0", line) for line in printed]
    for ours, theirs in zip(NUMBER.findall("\n".join(page)), NUMBER.findall("\n".join(printed)), strict=True):
        near = {"abs": 10} if ours[1] else {"rel": 0.5}
        assert float(ours[0]) == pytest.approx(float(theirs[0]), **near)
    assert len(list((tmp_path / "images").glob("*.png"))) == len(script.EXAMPLES)
