"""The scripts, one after the other as DVC calls them, on the built-in digits."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import evaluate
from data_sets import synthetic
from data_sets.unipen import format_ink
from pen.features import FEATURE_SETS
from pen.ink import join_strokes
from pen.recognizer import load_recognizer
from tracking import reporter

ROOT = Path(__file__).parent.parent
STAGES = ["fetch", "preprocess", "split", "train", "evaluate", "plot"]


def run(folder: Path, stage: str, python: str = sys.executable, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a stage's script in a folder, as DVC does in the checkout or in a temporary experiment of another."""
    environment = os.environ | {"PENDIGITS_TRACKING": "off", "DVC_ROOT": str(folder)} | environment
    command = [python, str(ROOT / "src" / f"{stage}.py")]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def prepare(folder: Path, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"dataset": "synthetic", "synthetic_rows_per_writer": 40, "epochs": 4, "hidden_layers": [48]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params | {"batch_size": 32} | changes))
    return folder


def run_all(folder: Path, python: str = sys.executable, **environment: str) -> None:
    for stage in STAGES:
        done = run(folder, stage, python, **environment)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prepare(tmp_path_factory.mktemp("pipeline with a space"))
    run_all(folder)
    return folder


def with_data_of(finished: Path, folder: Path, **changes: object) -> Path:
    shutil.copytree(finished / "data", prepare(folder, **changes) / "data")
    return folder


def test_pipeline_writes_all_that_it_promises(finished: Path) -> None:
    training, test = (json.loads((finished / "metrics" / name).read_text()) for name in ("train.json", "evaluate.json"))
    assert training["dataset"] == test["dataset"] == "synthetic"
    assert (training["n_train"], training["n_validation"], test["n_test"]) == (24 * 40, 6 * 40, 14 * 40)
    assert training["epochs"] == 4
    assert test["test_accuracy"] > 0.6
    assert training["n_refit"] == 30 * 40
    assert training["loss_floor"] < training["val_loss"]
    assert training["val_log_loss"] == pytest.approx(test["test_log_loss"], rel=0.5)
    assert len((finished / "metrics/history.csv").read_text().splitlines()) == 1 + 4
    assert len((finished / "metrics/predictions.csv").read_text().splitlines()) == 1 + 14 * 40
    pictures = {path.name for path in (finished / "metrics/plots").iterdir()}
    assert pictures >= {"curves.png", "confusion.png", "writers.png", "weights.png", "first_layer.png", "mistakes.png"}
    for path in finished.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".csv"):
            assert str(finished) not in path.read_text()


def test_drawings_are_learned_and_compared_with_the_network_without_them(finished: Path, tmp_path: Path) -> None:
    """The user's fives are others' sevens upside down."""
    ink = synthetic.make_data_set(50, np.random.default_rng(1))[1]
    fives = [[-stroke for stroke in ink[i]] for i in np.flatnonzero(ink.digit == 7)]
    n = len(fives)
    folder = with_data_of(finished, tmp_path / "drawn", extra_ink="data/own/drawings.unipen")
    (folder / "data/own").mkdir()
    content = format_ink(join_strokes(fives, [5] * n, [1] * n, range(n)))
    (folder / "data/own/drawings.unipen").write_bytes(content)
    for stage in STAGES[1:5]:
        done = run(folder, stage)
        assert done.returncode == 0, done.stderr
    before, after = (json.loads((at / "metrics/evaluate.json").read_text()) for at in (finished, folder))
    assert after["n_drawings"] == n // 2 == 35
    assert after["drawings_accuracy_after"] > after["drawings_accuracy_before"] + 0.3
    assert after["test_accuracy_before"] == before["test_accuracy"]
    assert after["test_accuracy_after"] == after["test_accuracy"] != before["test_accuracy"]
    plain = (finished / "models/network.npz").read_bytes()
    assert (folder / "models/without_drawings/network.npz").read_bytes() == plain
    assert "of 35\ntest: " in done.stdout

    prepare(folder)  # without them again, in the folder with their results
    for stage in STAGES[1:5]:
        run(folder, stage)
    for name in ("models", "metrics/evaluate.json", "data/split"):
        for file in [path for path in (folder / name, *(folder / name).rglob("*")) if path.is_file()]:
            assert file.read_bytes() == (finished / file.relative_to(folder)).read_bytes(), file


def test_same_inputs_give_the_same_bytes_in_another_process(finished: Path, tmp_path: Path) -> None:
    again = prepare(tmp_path / "again")
    run_all(again)
    for folder in ("data", "models", "metrics"):
        files = [path.relative_to(finished) for path in (finished / folder).rglob("*") if path.is_file()]
        assert len(files) > 1
        for name in files:
            assert (again / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.parametrize("stage", STAGES)
def test_bad_parameters_end_each_stage_before_it_writes(stage: str, tmp_path: Path) -> None:
    folder = prepare(tmp_path / "bad", lr=-1, epochs=0)
    done = run(folder, stage)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "params.yaml: lr must be greater than 0, got -1",
        "params.yaml: epochs must be greater than or equal to 1, got 0",
    ]
    assert [path.name for path in folder.iterdir()] == ["params.yaml"]


def test_names_that_do_not_exist_end_training_in_one_line_each(finished: Path, tmp_path: Path) -> None:
    names = {"activation": "rely", "optimizer": "adan", "init": "hee", "loss": {"focal": {"gama": 1}}}
    folder = with_data_of(finished, tmp_path / "bad", **names)
    done = run(folder, "train")
    assert (done.returncode, done.stderr.count("\n"), done.stderr.count("params.yaml: ")) == (2, 4, 4)
    assert all(f"did you mean {near}?" in done.stderr for near in ("relu", "adam", "gamma"))
    assert not (folder / "models").exists()


def test_the_evaluate_stage_logs_results_that_were_there_before_as_in_a_fresh_clone(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(finished, tmp_path / "clone"))
    logged: list[str] = []
    monkeypatch.setattr(reporter, "results", lambda: contextlib.nullcontext(logged.append("results")))
    evaluate.main()
    assert not logged  # the plot stage logs new results
    checksum = hashlib.md5(Path("metrics/evaluate.json").read_bytes(), usedforsecurity=False).hexdigest()
    Path("dvc.lock").write_text(f"- path: metrics/evaluate.json\n  md5: {checksum}\n")
    evaluate.main()
    assert logged == ["results"]


def test_a_checkpoint_stays_until_the_pictures_are_drawn(finished: Path, tmp_path: Path) -> None:
    """Of an experiment in a temporary folder it is in the main checkout; another seed gives another network."""
    root, folder = tmp_path / "main checkout", with_data_of(finished, tmp_path / "temporary", epochs=1, seed=1)
    for name, left in (("train", True), ("evaluate", True), ("plot", False)):
        done = run(folder, name, DVC_ROOT=str(root))
        assert done.returncode == 0, done.stderr
        assert any((root / ".dvc/tmp/checkpoints").iterdir()) == left, name
    assert (folder / "models/network.npz").read_bytes() != (finished / "models/network.npz").read_bytes()


@pytest.mark.parametrize("stage", ["preprocess", "split", "train", "evaluate", "plot"])
def test_stage_without_its_inputs_says_so_in_one_line(stage: str, tmp_path: Path) -> None:
    done = run(prepare(tmp_path / "empty"), stage)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"sgd": {"momentum": 0.9, "nesterov": True}}, "lr": 0.05, "schedule": "one_cycle"},
        {"hidden_layers": [{"reshape": {"shape": [8, 2]}}, {"conv1d": {"filters": 8}}, "elu", "flatten", 16]},
        {"normalization": "batch_norm", "residual": True, "hidden_layers": [32, 32], "early_stopping": 1},
        {"loss": {"focal": {"gamma": 1}}, "weight_average": 0.9, "warmup_epochs": 1, "batch_size": "full"},
        {"clip_norm": 1, "activation": ["mish", {"leaky_relu": {"slope": 0.1}}], "hidden_layers": [24, 12]},
        {"augment": {}, "hidden_layers": [], "refit": False},
        {"activation": {"squareplus": {"b": 1.0}}},  # of custom.py
    ],
)  # fmt: skip
def test_parts_are_chosen_by_name(finished: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    folder = with_data_of(finished, tmp_path / "other", epochs=2, **changes)
    done = run(folder, "train")
    assert done.returncode == 0, done.stderr
    assert load_recognizer(folder / "models").predict([[50] * 16]).shape == (1,)


def test_the_whole_pipeline_over_ink_with_the_layers_of_params_yaml(tmp_path: Path) -> None:
    layers = yaml.safe_load((ROOT / "params.yaml").read_text())["hidden_layers"]
    folder = prepare(tmp_path / "ink", features="ink", hidden_layers=layers, epochs=2, lr=0.01)
    run_all(folder)
    saved = json.loads((folder / "models" / "network.json").read_text())
    assert saved["extra"]["features"] == "ink"
    assert saved["layers"][0] == {"reshape": {"shape": [8, FEATURE_SETS["ink"].size // 8]}}
    assert json.loads((folder / "metrics" / "evaluate.json").read_text())["test_accuracy"] > 0.5
    assert (folder / "metrics" / "plots" / "mistakes.png").exists()
