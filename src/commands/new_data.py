"""`make new-data DATA=table.csv LABEL=column`: set the project up for a table of your own.

It copies the file into data/own, describes it in params.yaml with parameters that suit a table, and prints what it
found.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from data_sets.data_set import Part
from data_sets.own import Own, column_name, is_numeric
from data_sets.table_file import kind_of, read_table_file
from pipeline import paths
from pipeline.configure import load_checked
from pipeline.errors import StageError
from pipeline.schema import Schema
from pipeline.tabular.encoder import is_missing, numbers_of
from pipeline.tabular.options import FOLDER, OwnTable, Place, name_from
from runtime.files import write_bytes
from runtime.git import git, has_git
from runtime.script import say
from utils import one_line

from .dvc_process import dvc
from .table_findings import suspicions

if TYPE_CHECKING:
    import pandas as pd

LARGE = 1_000_000  # bytes; `dvc add` keeps larger files out of git
PLOTS = {  # of dvc.yaml, on the predictions of a table, by its task
    "classification": """\
  - accuracy:
      x: epoch
      y: {metrics/history.csv: [train_accuracy, val_accuracy]}
      title: Accuracy
      y_label: accuracy
  - confusion:
      template: mistakes
      x: label
      y: {metrics/predictions.csv: predicted}
      title: Test rows; mistakes coloured
      x_label: label
      y_label: predicted
""",
    "regression": """\
  - predictions:
      template: scatter
      x: label
      y: {metrics/predictions.csv: predicted}
      title: Predictions on the test rows
      x_label: label
      y_label: predicted
""",
}
SMALL = 5_000  # rows; fewer are trained on in smaller batches


def main() -> None:
    if not {"-h", "--help"} & set(sys.argv) and len(sys.argv) < 3:
        raise StageError("name a file and its column to predict: make new-data DATA=table.csv LABEL=column")
    parser = argparse.ArgumentParser(description="Set the project up for a table of your own.")
    parser.add_argument("data", type=Path, help="a CSV, TSV, Parquet or ARFF file")
    parser.add_argument("label", help="the column to predict: its name or number")
    parser.add_argument("--group", help="the column of groups that are held out whole")
    parser.add_argument("--task", choices=("classification", "regression"), default="classification")
    asked = parser.parse_args()
    try:
        options, table = described(asked.data, _place(asked.label), asked.group and _place(asked.group), asked.task)
    except OSError as error:
        raise StageError(f"{asked.data} cannot be read: {error.strerror}") from None
    schema, parts = Own(options, called=str(asked.data)).understood(
        table, None
    )  # rejects the table before anything is written
    target = Path(options.path)
    if target.exists() and target.read_bytes() != asked.data.read_bytes():
        raise StageError(f"{target} exists and holds other data; rename your file, or remove {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or not target.samefile(asked.data):
        shutil.copyfile(asked.data, target)
    before = paths.PARAMS_FILE.read_bytes()
    write_bytes(paths.PARAMS_FILE, with_table(before, options, parts))
    try:
        load_checked()
    except StageError:
        write_bytes(paths.PARAMS_FILE, before)
        raise
    plots = paths.PIPELINE_FILE.read_text(encoding="utf-8")
    write_bytes(paths.PIPELINE_FILE, with_plots(plots, options.task).encode())
    tracked = track(target)
    for line in report(schema, parts):
        say(line)
    for line in suspicions(schema, parts):
        say(f"look at this: {line}")
    say(f"\nWrote {target} ({tracked})")
    say(f"params.yaml (dataset, own, {', '.join(suited(options, parts))})")
    say("and dvc.yaml (plots). Other parameters stay as they were; `git diff params.yaml` shows all changes.")
    say(f"MLflow's experiment and the model are called {options.name}. Next: make run")


def _place(given: str) -> Place:
    return int(given) if given.isdecimal() and int(given) else given


def described(data: Path, label: Place, group: Place | None, task: Any) -> tuple[OwnTable, "pd.DataFrame"]:
    """The block ``own`` for a file, and its table. There is a header unless a field of the first line is a number."""
    header = True
    table = read_table_file(data)
    if kind_of(data) not in (".parquet", ".arff"):
        header = not any(numbers_of(table.columns.to_series()).notna())
        table = table if header else read_table_file(data, header=False)
    column_name(table, label, "label")
    missing = any(is_missing(column, numbers=is_numeric(column)).any() for _, column in table.items())
    name = name_from(data.name)
    try:
        options = OwnTable(
            name=name,
            path=str(FOLDER / f"{name}{data.suffix.lower()}"),
            label=label,
            group=group,
            header=header,
            task=task,
            missing="impute" if missing else "refuse",
        )
    except ValidationError as error:
        raise StageError(one_line(f"{data}: {error.errors()[0]['msg']}")) from None
    return options, table


def suited(options: OwnTable, parts: dict[str, Part]) -> dict[str, Any]:
    """Parameters that suit a table of columns: no convolutions, and nothing that needs ink or that was tuned before."""
    return {
        "extra_ink": None,
        "features": "table",
        "split_by": "random" if options.group is None else "group",
        "augment": {},
        "hidden_layers": [64, 32],
        "loss": "mean_squared_error" if options.task == "regression" else "cross_entropy",
        "label_smoothing": 0,
        "optimizer": "adamw",
        "lr": 0.002,
        "epochs": 120,
        "early_stopping": None,
        "batch_size": 32 if len(parts["training"].table) < SMALL else 128,
        "weight_average": None,
    }


def with_table(params: bytes, options: OwnTable, parts: dict[str, Part]) -> bytes:
    """params.yaml for a table. Its comments stay, and it has the form in which DVC writes it back."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    values: Any = parse_yaml_for_update(params.decode(), str(paths.PARAMS_FILE))
    values["dataset"] = "own"
    values["own"] = options.model_dump()
    for key, value in suited(options, parts).items():
        values[key] = value
    text = re.sub(r"(?m)^# Augmentation: .*\n", "", dumps_yaml(values))
    head = "\n\n# Network\n# hidden_layers: widths, as in [512, 256], or layers by name\n"
    return re.sub(r"\n+(# (Network|hidden_layers).*\n)*(?=hidden_layers:)", head, text).encode()


def with_plots(pipeline: str, task: str) -> str:
    """dvc.yaml with plots for the predictions of a table in place of those of digits, or of another table."""
    stages, _, plots = pipeline.partition("\nplots:\n")
    plots = re.sub(r"(?ms)^  - (?:accuracy|confusion|predictions):.*?(?=^  - |\Z)", "", plots)
    return f"{stages}\nplots:\n{plots}{PLOTS[task]}"


def track(target: Path) -> str:
    """Let git or DVC know the file, so that queued and temporary experiments have it too; returns which."""
    if not has_git():
        return "there is no git repository; experiments need one"
    if target.stat().st_size > LARGE:
        dvc("add", "--quiet", str(target))
        git("add", "--", f"{target}.dvc", str(target.with_name(".gitignore")))
        return "tracked by DVC"
    git("add", "--", str(target))
    return "tracked by git"


def report(schema: Schema, parts: dict[str, Part]) -> list[str]:
    """What the table holds."""
    import pandas as pd

    training, test = parts["training"].table, parts["test"].table
    table = pd.concat([training, test])
    n, n_numeric, label = len(schema.columns), len(schema.numeric), table.iloc[:, len(schema.columns)]
    lines = [
        f"{len(table):,} rows: {len(training):,} for training and validation, {len(test):,} for the test",
        f"{n} columns: {n_numeric} of numbers, {n - n_numeric} of categories; label: {one_line(schema.label, 60)}",
    ]
    if schema.classes:
        counts = label.value_counts()[list(schema.classes)]  # in the order of class_weights and of the probabilities
        shown = ", ".join(f"{one_line(name, 30)} ({count:,})" for name, count in counts.head(10).items())
        more = f", and {len(counts) - 10} more" if len(counts) > 10 else ""
        lines.append(f"{len(counts)} classes: {shown}{more}")
    else:
        lines.append(f"the label is a number from {label.min():g} to {label.max():g}, {label.mean():g} on average")
    features = table[schema.columns]
    gaps = (features.isna() | (features == "")).sum()
    if gaps.any():
        shown = ", ".join(f"{one_line(str(name), 40)} ({n:,})" for name, n in gaps[gaps > 0].head(10).items())
        lines.append(f"{gaps.sum():,} missing values, which are filled in (own.missing: impute): {shown}")
    if schema.group:
        n_groups = table.iloc[:, n + 1].nunique()
        lines.append(f"{n_groups:,} groups by {one_line(schema.group, 60)}; each is wholly on one side of a split")
    return lines
