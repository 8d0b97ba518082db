"""A table of a user's, and the stages on it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

import evaluate
import fetch
import plot
import preprocess
import split
import train

STAGES = (fetch, preprocess, split, train, evaluate, plot)
COLOURS = ["red, dark", "$grün$", "ärger"]  # commas, what matplotlib would take for mathematics, and other letters


def made_table(n: int = 240) -> pd.DataFrame:
    """Three classes that two columns tell apart, of 12 patients, with a word that helps and one that does not."""
    rng = np.random.default_rng(0)
    number = rng.integers(0, 3, n)
    word = np.where(rng.random(n) < 0.8, np.array(COLOURS)[number], "?!")
    columns = {"länge": number * 2 + rng.normal(size=n) / 2, "width": 1e4 * rng.normal(size=n), "word": word}
    columns |= {"patient": [f"p{i % 12}" for i in range(n)], "species": [f"class {i}" for i in number]}
    return pd.DataFrame(columns | {"price": 50 + 10 * columns["länge"] - columns["width"] / 1e4})


def write_table(folder: Path, table: pd.DataFrame, **params: Any) -> None:
    """Put a table where the user's belongs, and name it in the params.yaml of the folder."""
    (folder / "data/own").mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "data/own/plants.csv", index=False)
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values |= {"dataset": "own", "hidden_layers": [16], "epochs": 20, "batch_size": 16, "lr": 0.01, "augment": {}}
    values |= {"split_by": "group", "weight_average": None, "label_smoothing": 0, "dropout": 0}
    own = {"path": "data/own/plants.csv", "label": "species", "group": "patient"}
    changes = params.pop("own", {})
    values["own"] = None if changes is None else own | changes
    (folder / "params.yaml").write_text(yaml.safe_dump(values | params))


def run_stages(*stages: Any) -> None:
    for stage in stages or STAGES:
        stage.main()
