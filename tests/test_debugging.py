"""docs/debugging.md shows what its script makes."""

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[-+]\d+)?)(%?)")


@pytest.mark.slow
def test_the_page_says_and_shows_what_the_script_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word for word, and the numbers nearly: other processors round otherwise, which training magnifies."""
    monkeypatch.syspath_prepend(DOCS)
    script = importlib.import_module("make_debugging")
    monkeypatch.setattr(script, "IMAGES", tmp_path / "images")
    script.main()
    assert re.findall(r"!\[.+\]\(images/(\w+)\.png\)", (DOCS / "debugging.md").read_text()) == list(script.EXAMPLES)
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
