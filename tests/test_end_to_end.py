"""The scripts, one after the other as DVC calls them, on the built-in digits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pen.features import FEATURE_SETS

ROOT = Path(__file__).parent.parent
STAGES = ["fetch", "preprocess", "split", "train", "evaluate", "plot"]
WRITTEN = [
    "models/network.npz",
    "models/network.json",
    "metrics/history.csv",
    "metrics/train.json",
    "metrics/evaluate.json",
    "metrics/predictions.csv",
]


def run(folder: Path, stage: str, root: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a stage's script in a folder, as DVC does in the checkout or in a temporary experiment of another."""
    environment = os.environ | {"PENDIGITS_TRACKING": "off", "DVC_ROOT": str(root or folder)}
    command = [sys.executable, str(ROOT / "src" / f"{stage}.py")]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def prepare(folder: Path, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    shrunk = {
        "dataset": "synthetic",
        "synthetic_rows_per_writer": 40,
        "epochs": 4,
        "hidden_layers": [48],
        "batch_size": 32,
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params | shrunk | changes))
    return folder


def run_all(folder: Path) -> list[str]:
    said = []
    for stage in STAGES:
        done = run(folder, stage)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        said.append(done.stdout)
    return said


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prepare(tmp_path_factory.mktemp("pipeline with a space"))
    run_all(folder)
    return folder


def test_pipeline_writes_all_that_it_promises(finished: Path) -> None:
    training, test = (json.loads((finished / "metrics" / name).read_text()) for name in ("train.json", "evaluate.json"))
    assert training["dataset"] == test["dataset"] == "synthetic"
    assert (training["n_train"], training["n_validation"], test["n_test"]) == (24 * 40, 6 * 40, 14 * 40)
    assert training["epochs"] == 4
    assert test["test_accuracy"] > 0.6
    assert len((finished / "metrics/history.csv").read_text().splitlines()) == 1 + 4
    assert len((finished / "metrics/predictions.csv").read_text().splitlines()) == 1 + 14 * 40
    pictures = {path.name for path in (finished / "metrics/plots").iterdir()}
    assert pictures >= {"curves.png", "confusion.png", "writers.png", "weights.png", "first_layer.png", "mistakes.png"}


def test_same_inputs_give_the_same_bytes_in_another_process(finished: Path, tmp_path: Path) -> None:
    run_all(prepare(tmp_path / "again"))
    for name in WRITTEN:
        assert (tmp_path / "again" / name).read_bytes() == (finished / name).read_bytes(), name
    for picture in (finished / "metrics/plots").iterdir():
        assert (tmp_path / "again/metrics/plots" / picture.name).read_bytes() == picture.read_bytes(), picture.name


def test_another_seed_gives_another_network(finished: Path, tmp_path: Path) -> None:
    other = prepare(tmp_path / "other", seed=1)
    (other / "data").symlink_to(finished / "data")
    assert run(other, "train").returncode == 0
    assert (other / "models/network.npz").read_bytes() != (finished / "models/network.npz").read_bytes()


def test_outputs_hold_no_paths_of_this_machine(finished: Path) -> None:
    for path in finished.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".csv"):
            assert str(finished) not in path.read_text()


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
    folder = prepare(tmp_path / "bad", activation="rely", optimizer="adan", init="he", loss={"focal": {"gama": 1}})
    (folder / "data").symlink_to(finished / "data")
    done = run(folder, "train")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("params.yaml: ") for line in lines)
    assert "did you mean relu?" in done.stderr
    assert "did you mean adam?" in done.stderr
    assert "did you mean gamma?" in done.stderr
    assert not (folder / "models").exists()


@pytest.mark.parametrize(("temporary", "left_after"), [(False, [True, False]), (True, [True, True, False])])
def test_a_trainings_state_goes_when_nothing_can_be_lost(
    finished: Path, tmp_path: Path, temporary: bool, left_after: list[bool]
) -> None:
    folder = prepare(tmp_path / "project", epochs=1)
    root = tmp_path / "main checkout" if temporary else folder
    (folder / "data").symlink_to(finished / "data")
    (folder / "dvc.lock").write_text("stages: {}")
    for name, left in zip(["train", "evaluate", "plot"], left_after, strict=False):
        done = run(folder, name, root)
        assert done.returncode == 0, done.stderr
        assert any((root / ".dvc/tmp/checkpoints").iterdir()) == left, name
    assert (folder / ".dvc/tmp/dvc.lock.kept").exists() != temporary


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": {"cross_entropy": {"class_weights": [1, 2]}}}, "2 class_weights for 10 outputs"),
        ({"hidden_layers": [{"linear": {"n_out": 10**9}}]}, "may have 50,000,000 parameters at most"),
        ({"optimizer": {"sgd": {"lr": 0.3}}}, "optimizer: lr has a key of its own"),
        ({"warmup_epochs": 9}, "warmup_epochs must be less than epochs, 4, got 9"),
        ({"hidden_layers": [16, {"conv1d": {"filters": 3}}]}, "hidden_layers: Conv1D: conv1d1 expects samples"),
    ],
)
def test_what_cannot_work_is_said_before_training(
    finished: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    folder = prepare(tmp_path / "bad", **changes)
    (folder / "data").symlink_to(finished / "data")
    done = run(folder, "train")
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "models").exists()


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
        {"augment_warp": 0, "augment_trim": 0, "augment_bend": 0, "hidden_layers": []},
    ],
)  # fmt: skip
def test_parts_are_chosen_by_name(finished: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    folder = prepare(tmp_path / "other", epochs=2, **changes)
    (folder / "data").symlink_to(finished / "data")
    for stage in ("train", "evaluate"):
        done = run(folder, stage)
        assert done.returncode == 0, done.stderr


def test_the_whole_pipeline_over_ink_with_the_layers_of_params_yaml(tmp_path: Path) -> None:
    layers = yaml.safe_load((ROOT / "params.yaml").read_text())["hidden_layers"]
    folder = prepare(tmp_path / "ink", features="ink", hidden_layers=layers, epochs=2, lr=0.01)
    run_all(folder)
    saved = json.loads((folder / "models" / "network.json").read_text())
    assert saved["extra"]["features"] == "ink"
    assert saved["layers"][0] == {"reshape": {"shape": [8, FEATURE_SETS["ink"].size // 8]}}
    assert json.loads((folder / "metrics" / "evaluate.json").read_text())["test_accuracy"] > 0.5
    assert (folder / "metrics" / "plots" / "mistakes.png").exists()
