"""What MLflow shows of a checkout's files: parameters as strings, and checksums of what the arrays hold."""

from pathlib import Path

import numpy as np
import pytest

from neural_net.npz import read_npz
from pipeline import paths
from pipeline.errors import StageError
from tracking.contents import data_checksum, files_checksum, flat, model_checksum, model_file_checksum, read_params

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
