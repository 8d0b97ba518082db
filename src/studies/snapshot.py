"""The client's code and data as one zip file, which is all that a worker needs beside the installed packages."""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline import paths
from pipeline.errors import StageError

SRC = Path(__file__).resolve().parents[1]
FOR_RESULTS = (
    *("custom.py", "neural_net", "pen", "pipeline", "split.py", "train.py", "utils.py"),
    *("studies/folds.py", "studies/table_folds.py", "studies/ways.py"),
)


class Snapshot(NamedTuple):
    """Code and data of the client.

    Attributes:
        content: a zip file with ``src`` and ``data/processed``, without the test file unless it is asked for.
        checksum: of the files' names and contents.
        of_results: the checksum of data and of the code that can change a score.
    """

    content: bytes
    checksum: str
    of_results: str


def take_snapshot(with_test: bool = False) -> Snapshot:
    """Pack the code of this process and the training file in the working directory; for `make report` the test file."""
    files = {f"src/{path.relative_to(SRC).as_posix()}": path for path in sorted(SRC.rglob("*.py"))}
    data = {f"{paths.PROCESSED.as_posix()}/{path.name}": path for path in _data_files(with_test)}
    contents = {name: path.read_bytes() for name, path in (files | data).items()}
    deciding = [name for name in contents if name in data or name.removeprefix("src/").startswith(FOR_RESULTS)]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return Snapshot(packed.getvalue(), _sum(contents, contents), _sum(contents, deciding))


def _data_files(with_test: bool) -> list[Path]:
    kinds = ("schema", "training", *(["test"] if with_test else []))
    files = [path for path in sorted(paths.PROCESSED.glob("*")) if path.name.startswith(kinds)]
    if not files:
        raise StageError(f"{paths.PROCESSED} has no files; `dvc repro preprocess` makes them")
    return files


def _sum(contents: dict[str, bytes], names: Iterable[str]) -> str:
    checksum = hashlib.sha256()
    for name in names:
        checksum.update(f"{name} {len(contents[name])}\n".encode() + contents[name])
    return checksum.hexdigest()
