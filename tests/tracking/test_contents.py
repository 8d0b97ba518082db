"""What MLflow shows of a checkout's files: parameters as strings, and checksums of what the arrays hold."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.conftest import ROOT

from neural_net.npz import read_npz
from neural_net.serialization import network_files
from pipeline import paths
from pipeline.configure import configure
from pipeline.errors import StageError
from pipeline.params import load_params
from tracking.contents import (
    data_checksum,
    description,
    files_checksum,
    flat,
    model_checksum,
    model_file_checksum,
    read_params,
)

CHECKSUMS = [(data_checksum, paths.SPLIT_FILES), (model_checksum, paths.MODEL_FILES[:1])]


@pytest.mark.parametrize(("checksum", "files"), CHECKSUMS)
def test_a_checksum_is_of_the_arrays_of_each_file_the_ink_too(checksum, files, folder: Path) -> None:
    before, bytes_before = checksum(folder), files_checksum(folder, files)
    for file in (folder / name for name in files):
        arrays = read_npz(content := file.read_bytes())
        np.savez(file, **dict(reversed(arrays.items())))  # NumPy's container holds a time, and the Python's habits
        assert file.read_bytes() != content
        assert checksum(folder) == before
        np.savez(file, **{name: array + np.asarray(1, array.dtype) for name, array in arrays.items()})
        assert checksum(folder) not in (before, "")
        file.write_bytes(b"PK")
        with pytest.raises(StageError, match=rf"{file.name} is damaged \(.*\); `dvc repro` makes it again"):
            checksum(folder)
        file.unlink()
        assert checksum(folder) == ""
        file.write_bytes(content)
    assert files_checksum(folder, files) == bytes_before


def test_the_description_of_a_model_counts(folder: Path) -> None:
    before, description = model_checksum(folder), folder / paths.MODEL_FILES[1]
    description.write_text(description.read_text().replace("pendigits", "synthetic"))
    assert model_checksum(folder) != before


def test_the_text_on_a_run_names_groups_for_a_table_and_the_epoch_that_was_kept(folder: Path) -> None:
    measured = {"dataset": "plants", "test_balanced_accuracy": 0.9, "n_refit": 1200, "best_epoch": 7}
    measured |= {f"test_accuracy_people_{end}": 0.5 for end in ("low", "high")}
    (folder / paths.EVALUATE_METRICS).write_text(json.dumps(measured))
    said = description(folder)
    assert "95 % interval for other groups: 50.00% to 50.00%." in said
    assert "Early stopping kept the weights of epoch 7." in said
    assert "trained anew on all 1,200 rows" in said


def test_the_checksum_of_bytes_is_the_one_of_older_versions(tmp_path: Path) -> None:
    (tmp_path / paths.MODELS).mkdir()
    for file, content in zip(paths.MODEL_FILES, (b"ab", b"c"), strict=True):
        (tmp_path / file).write_bytes(content)
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", FIPS 180-4
    assert model_file_checksum(tmp_path) == files_checksum(tmp_path, paths.MODEL_FILES) == abc
    assert files_checksum(tmp_path, [*paths.MODEL_FILES, Path("missing")]) == ""


def test_parameters_become_strings_also_those_of_another_version_of_the_code(tmp_path: Path) -> None:
    text = "lr: 1.0e-5\nlayers: [64, 32]\nname: gelu\nnone: null\nyes_: true\nnested: {deep: {er: [1, 2]}}\n"
    (tmp_path / "params.yaml").write_text(text)
    expected = {"lr": "1e-05", "layers": "[64, 32]", "name": "gelu", "none": "null", "yes_": "true"}
    assert flat(read_params(tmp_path)) == expected | {"nested.deep.er": "[1, 2]"}


def test_the_parts_in_parameters_have_their_own_names(tmp_path: Path) -> None:
    """However params.yaml names them; the run is that of the own names."""
    written = {
        "hidden_layers": [{"Dense": {"n_out": 8, "init": "GlorotUniform"}}, "Activation",
                          {"Residual": {"layers": ["ELU"]}}, 64],
        "activation": ["ReLU", {"LeakyReLU": {"slope": 0.2}}], "init": "Kaiming_Normal", "normalization": "BatchNorm",
        "loss": "CrossEntropyLoss", "optimizer": "AdamW", "schedule": {"WarmUp": {"schedule": "CosineAnnealing"}},
    }  # fmt: skip
    own = {
        "hidden_layers": [{"linear": {"n_out": 8, "init": "xavier_uniform"}}, "activation",
                          {"residual": {"layers": ["elu"]}}, 64],
        "activation": ["relu", {"leaky_relu": {"slope": 0.2}}], "init": "he_normal", "normalization": "batch_norm",
        "loss": "cross_entropy", "optimizer": "adamw", "schedule": {"warmup": {"schedule": "cosine"}},
    }  # fmt: skip
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    files = [tmp_path / name / "params.yaml" for name in ("written", "own")]
    for file, changes in zip(files, (written, own), strict=True):
        file.parent.mkdir()
        file.write_text(yaml.safe_dump(shipped | changes))
    assert read_params(files[0].parent) == read_params(files[1].parent) == shipped | own
    first, second = (configure(load_params(file)) for file in files)
    assert network_files(first.network) == network_files(second.network)
