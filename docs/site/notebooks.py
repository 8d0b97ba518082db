"""Make a notebook of each lesson in docs/learn, beside it, and run it: `make notebooks`.

The lessons are Jupytext's Markdown, so that their code becomes cells. Their outputs are computed anew, the code that
they show becomes text, and the solutions become sections that JupyterLab folds.
"""

import re
import sys
from pathlib import Path

import jupytext
import nbformat
from hooks import ROOT, with_code
from nbclient import NotebookClient

OUTPUT = re.compile(r"\n^```text\n.*?^```\n", re.DOTALL | re.MULTILINE)
FOLDED = "<!-- #region jp-MarkdownHeadingCollapsed=true -->\n#### Solution\n<!-- #endregion -->\n"
SOLUTION = re.compile(r"^<details.*?>\n<summary>Solution</summary>\n", re.MULTILINE)
CHAPTER = re.compile(r"\((\d-[\w-]+)\.md(#[\w-]+)?\)")  # JupyterLab makes other names for headings
SHOWN = "```python .noeval"  # for Jupytext: code of the library, which is no cell
START = """```python
import sys

sys.path.insert(0, "../../src")  # neural_net
```

"""


def notebook(lesson: Path) -> nbformat.NotebookNode:
    """The lesson as a notebook that has not been run."""
    text = with_code(OUTPUT.sub("", lesson.read_text(encoding="utf-8")), lesson.parent, SHOWN)
    made = jupytext.reads(START + SOLUTION.sub(FOLDED, text).replace("\n</details>\n", ""), "md")
    for cell in made.cells:
        if cell.cell_type == "markdown":  # code that is shown needs a plain fence again; chapters lead to notebooks
            cell.source = CHAPTER.sub(r"(\1.ipynb)", cell.source.replace(SHOWN, "```python"))
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def main() -> None:
    """Make those that are not there; a reader's own work in the others stays."""
    for lesson in sorted((ROOT / "docs/learn").glob("[0-9]*.md")):
        place = lesson.with_suffix(".ipynb")
        name = place.relative_to(ROOT).as_posix()
        if place.exists():
            sys.stdout.write(f"{name} exists and stays; delete it to make it again\n")
            continue
        made = notebook(lesson)
        place_of_run = {"metadata": {"path": str(lesson.parent)}}
        quiet = ["--log-level=ERROR"]
        NotebookClient(made, extra_arguments=quiet, record_timing=False, resources=place_of_run).execute()
        nbformat.write(made, place)
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
