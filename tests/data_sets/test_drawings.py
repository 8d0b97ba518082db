"""Files of labelled drawings: what cannot be used is refused in one line, whatever stage finds it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime import script

import numpy as np
import pytest
import yaml

import fetch
import preprocess
import split
from data_sets.unipen import format_ink
from pen.features import FEATURE_SETS
from pen.ink import Ink, join_strokes
from pen.strokes import strokes_of
from pipeline.rows import read_drawings

PATH = "data/own/drawings.unipen"


def seven(*digits: int) -> Ink:
    """The same seven for each label, a bit larger each time."""
    strokes = [[np.array([(0, 30), (20, 30), (8, 0)]) * (i + 1)] for i in range(len(digits))]
    return join_strokes(strokes, digits, np.zeros(len(digits)), range(len(digits)))


@pytest.fixture
def drawings(workspace: Path) -> Callable[..., None]:
    """Runs the data stages with such a file."""

    def run(content: bytes | None, **params: Any) -> None:
        values = yaml.safe_load((workspace / "params.yaml").read_text()) | {"extra_ink": PATH} | params
        (workspace / "params.yaml").write_text(yaml.safe_dump(values))
        (workspace / "data/own").mkdir(parents=True, exist_ok=True)
        (workspace / "data/own/t.csv").write_text("x,y\n" + "1,a\n2,b\n" * 20)
        if content is not None:
            (workspace / PATH).write_bytes(content)
        for stage in (fetch, preprocess, split):
            stage.main()

    return run


@pytest.mark.parametrize("features", ["table", "ink"])
def test_half_of_the_drawings_join_the_training_rows(drawings: Callable[..., None], features: str) -> None:
    ink = seven(7, 1, 7, 7)
    drawings(format_ink(ink), features=features)
    size = FEATURE_SETS[features].size
    expected = FEATURE_SETS[features].of(strokes_of(ink))  # as the page reads them
    learned, held_out = read_drawings("drawings", size, with_ink=True), read_drawings("drawings_test", size)
    assert learned is not None
    assert held_out is not None
    assert (learned.y.tolist(), held_out.y.tolist(), held_out.row.tolist()) == ([7, 1, 7], [7], [2])
    np.testing.assert_array_equal(learned.X, expected[[0, 1, 3]])
    np.testing.assert_array_equal(held_out.X, expected[[2]])
    drawings(None, extra_ink=None)
    assert read_drawings("drawings", size) is None


GOOD = format_ink(seven(7, 7))


@pytest.mark.parametrize(("content", "params", "fault"), [
    (None, {}, f"{PATH} does not exist; copy it there, and `git add` it before --queue or --temp"),
    (b"", {}, f"{PATH}, line 1: expected a digit such as"),
    (b"x,y\n1,2\n", {}, f"{PATH}, line 1: expected a digit such as"),
    (b"\x89PNG\r\n\x1a\n\x00", {}, f"{PATH}, line 1: expected a digit such as"),
    (GOOD.replace(b'? "7"', b'? "A"', 1), {}, f"{PATH}, line 4: expected a digit such as"),
    (GOOD.replace(b'? "7"', b'? "17"', 1), {}, f"{PATH}, line 4: expected a digit such as"),
    (GOOD.replace(b".PEN_UP\n.DT 100\n", b""), {}, f"{PATH}, line 10: expected a point or `.PEN_UP`"),
    (format_ink(join_strokes([[[(5, 5), (5, 5)]]], [7], [1], [1])), {}, f"{PATH}: all points of drawing 1 are"),
    (format_ink(seven(7)), {}, "draw a digit twice: the second is held out; it holds 1 drawing"),
    (format_ink(seven(7, 1)), {}, "draw a digit twice: the second is held out; it holds 2 drawings, of"),
    (GOOD, {"dataset": "own", "own": {"path": "data/own/t.csv", "label": "y"}, "split_by": "random"}, "must be null"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_line(
    drawings: Callable[..., None], capsys: Any, content: bytes | None, params: dict[str, Any], fault: str
) -> None:
    with pytest.raises(SystemExit):
        script.run(lambda: drawings(content, **params))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(("params.yaml: extra_ink: ", "params.yaml: extra_ink "))
    assert fault in said
