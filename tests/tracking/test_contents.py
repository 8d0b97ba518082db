"""What MLflow shows of a checkout's files: parameters as strings, and checksums of what the arrays hold."""

import io
from pathlib import Path

import numpy as np
import pytest
from tests.tracking.finished_pipeline import split_arrays

from neural_net.npz import read_npz
from pipeline import paths
from pipeline.errors import StageError
from tracking.contents import data_checksum, files_checksum, flat, model_checksum, model_file_checksum, read_params

CHECKSUMS = {"data": data_checksum, "model": model_checksum}
FILES = {"data": paths.SPLIT_FILES, "model": paths.MODEL_FILES[:1]}


def write_by_numpy(file: Path, change: float = 0) -> None:
    """The same arrays as NumPy's own npz file, which holds a time and the Python's habits."""
    arrays = {name: array + np.asarray(change, array.dtype) for name, array in read_npz(file.read_bytes()).items()}
    content = io.BytesIO()
    np.savez(content, **dict(reversed(arrays.items())))  # type: ignore[arg-type]
    file.write_bytes(content.getvalue())


@pytest.mark.parametrize("kind", CHECKSUMS)
def test_a_checksum_is_one_of_the_arrays_and_not_of_their_file(kind: str, folder: Path) -> None:
    checksum, bytes_before = CHECKSUMS[kind](folder), files_checksum(folder, FILES[kind])
    for file in FILES[kind]:
        write_by_numpy(folder / file)
    assert CHECKSUMS[kind](folder) == checksum
    assert files_checksum(folder, FILES[kind]) != bytes_before


@pytest.mark.parametrize(("kind", "file"), [(kind, file) for kind in FILES for file in FILES[kind]], ids=str)
def test_each_file_counts_the_ink_too(kind: str, file: Path, folder: Path) -> None:
    before = CHECKSUMS[kind](folder)
    write_by_numpy(folder / file, change=1)
    assert CHECKSUMS[kind](folder) not in (before, "")
    (folder / file).write_bytes(b"PK")
    with pytest.raises(StageError, match=rf"{file.name} is damaged \(.*\); `dvc repro` makes it anew"):
        CHECKSUMS[kind](folder)
    (folder / file).unlink()
    assert CHECKSUMS[kind](folder) == ""


def test_the_description_of_a_model_counts(folder: Path) -> None:
    before = model_checksum(folder)
    description = folder / paths.MODEL_FILES[1]
    description.write_text(description.read_text().replace("pendigits", "synthetic"))
    assert model_checksum(folder) != before


def test_an_array_of_another_kind_or_name_does_not_match(folder: Path) -> None:
    arrays, file = split_arrays(0), folder / paths.SPLIT_FILES[0]
    others = [arrays | {"X": arrays["X"].astype("f8")}, arrays | {"X": arrays["X"].T}]
    others += [{"x": arrays["X"], "y": arrays["y"]}]
    seen = {data_checksum(folder)}
    for other in others:
        with file.open("wb") as stream:
            np.savez(stream, **other)  # type: ignore[arg-type]
        seen.add(data_checksum(folder))
    assert len(seen) == 4


def test_the_checksum_of_bytes_is_the_one_of_older_versions(tmp_path: Path) -> None:
    for file, content in zip(paths.MODEL_FILES, (b"ab", b"c"), strict=True):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", FIPS 180-4
    assert model_file_checksum(tmp_path) == files_checksum(tmp_path, paths.MODEL_FILES) == abc
    assert files_checksum(tmp_path, [*paths.MODEL_FILES, Path("missing")]) == ""


def test_parameters_become_strings_also_those_of_another_version_of_the_code(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(
        "lr: 1.0e-5\nlayers: [64, 32]\nname: gelu\nnone: null\non_: true\nnested: {deep: {er: [1, 2]}}\n"
    )
    assert flat(read_params(tmp_path)) == {
        "lr": "1e-05",
        "layers": "[64, 32]",
        "name": "gelu",
        "none": "null",
        "on_": "true",
        "nested.deep.er": "[1, 2]",
    }
