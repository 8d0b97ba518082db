"""Data sets of other forms: the recipe of docs/architecture.md, as it stands there, and a file that needs none."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.own_table import run_stages

import fetch
import preprocess
import split
import train
from data_sets.data_set import Part
from data_sets.own import Own
from pipeline import paths
from pipeline.rows import read_rows
from pipeline.schema import Schema, read_schema
from pipeline.tabular.options import OwnTable

PAGE = Path(__file__).parents[2] / "docs/architecture.md"


def test_optical_digits_by_the_recipe(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(class OptDigits:.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"Path": Path, "pd": pd, "Schema": Schema, "Part": Part}
    exec(code, names)  # noqa: S102 (a page of ours)
    for stage in (fetch, preprocess):
        monkeypatch.setattr(stage, "data_set_of", lambda params: names["OptDigits"]())
    rng = np.random.default_rng(0)
    (workspace / "data/own").mkdir(parents=True)
    for name, n in (("optdigits.tra", 60), ("optdigits.tes", 20)):
        digit = np.arange(n) % 10
        counts = np.clip(rng.integers(0, 4, (n, 64)) + digit[:, None], 0, 16)
        rows = "\n".join(",".join(map(str, row)) for row in np.column_stack([counts, digit]))
        (workspace / "data/own" / name).write_text(rows + "\n")
    values = yaml.safe_load((workspace / "params.yaml").read_text())
    values |= {"split_by": "random", "hidden_layers": [8], "epochs": 2, "augment": {}}
    (workspace / "params.yaml").write_text(yaml.safe_dump(values))
    run_stages(fetch, preprocess, split, train)
    assert read_schema(paths.SPLIT).dataset == "optdigits"
    assert read_rows("test", 64).y.tolist() == (np.arange(20) % 10).tolist()
    assert {path.name for path in (paths.RAW / "synthetic").iterdir()} == {"optdigits.tra", "optdigits.tes"}


def test_letter_recognition_needs_no_code(tmp_path: Path) -> None:
    """UCI's file: a letter and sixteen whole numbers in a row, without names."""
    lines = [f"{letter},{','.join(str((i * j) % 16) for j in range(1, 17))}" for i, letter in enumerate("TIDNGSBA" * 5)]
    (tmp_path / "table.data").write_text("\n".join(lines))
    schema, parts = Own(OwnTable(path="data/own/letter.data", label=1, header=False)).parts(tmp_path)
    assert (schema.classes, schema.columns) == (tuple("ABDGINST"), [str(i) for i in range(2, 18)])
    assert [len(part.table) for part in parts.values()] == [32, 8]
