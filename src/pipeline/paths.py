"""The paths of all files that the stages read and write, relative to the project's top folder."""

import os
from pathlib import Path

PARAMS_FILE, PIPELINE_FILE, LOCK_FILE = Path("params.yaml"), Path("dvc.yaml"), Path("dvc.lock")

RAW, PROCESSED, SPLIT = Path("data/raw"), Path("data/processed"), Path("data/split")
MODELS, METRICS, FIGURES = Path("models"), Path("metrics"), Path("metrics/plots")

SCHEMAS = (PROCESSED / "schema.json", SPLIT / "schema.json")  # of the data set
SPLIT_FILES = tuple(SPLIT / f"{name}.npz" for name in ("train", "train_ink", "validation", "validation_ink", "test"))
DRAWINGS_FILES = tuple(SPLIT / f"{name}.npz" for name in ("drawings", "drawings_ink", "drawings_test"))
MODEL_FILES = (MODELS / "network.npz", MODELS / "network.json")
WITHOUT_DRAWINGS = MODELS / "without_drawings"  # the network to compare with, if there are drawings
HISTORY, TRAIN_METRICS = METRICS / "history.csv", METRICS / "train.json"
DIAGNOSTICS, HISTOGRAMS = METRICS / "diagnostics.csv", METRICS / "histograms.csv"
EVALUATE_METRICS, PREDICTIONS = METRICS / "evaluate.json", METRICS / "predictions.csv"
TRAIN_FILES = (HISTORY, TRAIN_METRICS, DIAGNOSTICS, HISTOGRAMS)
EVALUATE_FILES = (EVALUATE_METRICS, PREDICTIONS)


def project_root() -> Path:
    """The main checkout. Queued and temporary experiments share it: DVC deletes their own folders afterwards."""
    if root := os.environ.get("DVC_ROOT"):
        return Path(root).resolve()
    above = (Path.cwd() / PARAMS_FILE).parents
    return next((folder for folder in above if (folder / ".dvc").is_dir()), Path(__file__).resolve().parents[2])
