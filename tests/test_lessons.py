"""The lessons: their code prints what they show, and their arithmetic is right."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LESSONS = sorted(ROOT.glob("docs/learn/[0-9]*.md"))
FENCED = re.compile(r"^```(python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MATRIX = re.compile(r"\\begin{pmatrix}(.*?)\\end{pmatrix}", re.DOTALL)
PYTHON = {  # for what LaTeX writes; two matrices side by side are a product
    r"\\[dt]?frac{([^{}]*)}{([^{}]*)}": r"((\1)/(\2))",
    r"\\sqrt{([^{}]*)}": r"np.sqrt(\1)",
    r"\\log(?:\s+([\d.]+)|\s*(?=\())": lambda found: f"np.log({found[1]})" if found[1] else "np.log",
    r"\\max\(": "np.maximum(",
    r"\\(?:cdot|odot)": "*",
    r"\be\^(?:{([^{}]*)}|(\d))": r"np.exp(\1\2)",
    r"\^T": ".T",
    r"\^(?:{([^{}]*)}|(\d))": r"**(\1\2)",
    r"\)\s*np\.array": ")@np.array",
    r"\.T\s*np\.array": ".T@np.array",
}
NUMBERS = re.compile(r"(?:[-\d.\s*+/()\[\],@]|np\.(?:array|sqrt|log|maximum|exp)|\.T)+")
CHECKER = """
import numpy as np

def check(formula, digits, first, other):
    assert np.allclose(first, other, rtol=0, atol=0.51 * 10.0**-digits), formula
"""


def array(found: re.Match[str]) -> str:
    rows = [f"[{', '.join(row.split('&'))}]" for row in found[1].split(r"\cr")]
    return f"np.array([{', '.join(rows)}])"


def checks(formula: str) -> Iterator[str]:
    """A line of Python for each equation between numbers or matrices; sides with letters are left out."""
    for equation in re.split(r"\\q?quad", formula):
        first = None
        for sign, side in re.findall(r"(^|=|\\approx)((?:(?!=|\\approx).)+)", MATRIX.sub(array, equation), re.DOTALL):
            for latex, python in [*PYTHON.items()] * 2:  # twice, for a fraction in a fraction
                side = re.sub(latex, python, side)
            side = " ".join(side.split()).rstrip(",.")
            if NUMBERS.fullmatch(side):
                digits = len(side.partition(".")[2]) if sign == r"\approx" else 9
                if first is not None:
                    yield f"check({formula!r}, {digits}, {first}, {side})"
                first = first or side


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_a_lesson_prints_what_it_shows_and_calculates_right(lesson: Path, tmp_path: Path) -> None:
    text = lesson.read_text(encoding="utf-8")
    blocks = FENCED.findall(text)
    formulas = re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", FENCED.sub("", text), re.DOTALL)
    arithmetic = [line for pair in formulas for line in checks("".join(pair))]
    assert len(arithmetic) >= 10
    assert text.count("\nCode: [") >= 1
    assert text.count("<summary>Solution</summary>") == text.count("</details>") == 3
    code = [block for kind, block in blocks if kind == "python"]
    script = tmp_path / "lesson.py"
    script.write_text("\n".join([*code, CHECKER, *arithmetic]), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", script]
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not ran.returncode, ran.stderr
    assert ran.stdout == "".join(block for kind, block in blocks if kind == "text")
