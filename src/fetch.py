"""Stage fetch: put the data set into data/raw/<dataset>, whole and verified, or say why that cannot be.

The real data set comes from the first source that gives it: the mirror that PENDIGITS_MIRROR names (a folder, a zip
file or a URL) or, where that is not set, the folder shared/pendigits beside the main checkout if there is one; then
UCI. Nothing is written before everything is verified.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runtime import script

import numpy as np

from data_sets import synthetic
from data_sets.download import SourceError, is_complete, read_source
from data_sets.pendigits import ARCHIVE, ARCHIVE_URL, CITATION, LICENSE, TEST, TRAINING, format_table
from data_sets.unipen import format_ink
from pen.ink import eight_points
from pipeline.errors import StageError
from pipeline.params import load_params
from pipeline.paths import RAW
from runtime.files import replace_folder


class NoSourceError(StageError):
    """No source gave the data set; the message lists them, and what can be done."""


@dataclass(frozen=True)
class Source:
    """A place that may have the data set: a folder, a zip file, or the http(s) URL of a zip file."""

    name: str
    place: str
    chosen: bool = False  # by the user, so that it is asked even when the data is there already

    def __str__(self) -> str:
        return f"{self.name} ({_without_secrets(self.place)})"


def main() -> None:
    """Fetch the data set that params.yaml names."""
    params = load_params()
    folder = RAW / params.dataset
    if params.dataset == "synthetic":
        make_synthetic(folder, params.synthetic_rows_per_writer)
    else:
        fetch_pendigits(folder)


def make_synthetic(folder: Path, rows_per_writer: int) -> None:
    """Write the built-in data set, in the files and forms of the real one."""
    inks = synthetic.make_data_set(rows_per_writer, np.random.default_rng(synthetic.SEED))
    contents = {}
    for part, ink in zip((TRAINING, TEST), inks, strict=True):
        contents[part.table] = format_table(eight_points(ink), ink.digit)
        contents[part.ink] = format_ink(ink)
    replace_folder(folder, contents)
    script.say(f"{folder}: made {len(inks[0]):,} digits by 30 writers and {len(inks[1]):,} by 14 others")


def find_sources(environment: Mapping[str, str]) -> list[Source]:
    """The sources to ask, in order, from PENDIGITS_MIRROR, DVC_ROOT (the main checkout) and the working directory."""
    checkout = Path(environment.get("DVC_ROOT") or Path.cwd())
    mirror = environment.get("PENDIGITS_MIRROR", "").strip()
    team_folder = checkout.parent / "shared" / "pendigits"
    sources = [Source("UCI", ARCHIVE_URL)]
    if mirror:
        place = mirror if "://" in mirror else str(checkout / Path(mirror).expanduser())
        sources.insert(0, Source("PENDIGITS_MIRROR", place, chosen=True))
    elif team_folder.is_dir():
        sources.insert(0, Source("shared/pendigits beside the checkout", str(team_folder)))
    return sources


def fetch_pendigits(folder: Path = RAW / "pendigits", sources: Sequence[Source] | None = None) -> None:
    """Put the four files of the real data set into a folder, from the first source that gives them.

    A folder that has them all already is left alone, unless the user chose a source.

    Args:
        sources: to ask, in this order; by default those of ``find_sources``.

    Raises:
        NoSourceError: when no source gives them. The folder is left as it was.
        OSError: when the folder cannot be written. It is left as it was, too.
    """
    sources = find_sources(os.environ) if sources is None else sources
    if is_complete(folder) and not any(source.chosen for source in sources):
        script.say(f"{folder} is complete and verified: nothing to fetch")
        return
    failures: list[str] = []
    for source in sources:
        if failures:
            script.say(f"warning: {failures[-1]}; trying {source}")
        try:
            contents = read_source(source.place)
        except SourceError as error:
            failures.append(f"{source}: {error}")
            continue
        replace_folder(folder, contents)
        script.say(f"{folder}: {len(contents)} files from {source}, verified by sha256")
        script.say(f"data: {CITATION}\nlicence: {LICENSE}")
        return
    raise NoSourceError(_NOTHING_FOUND.format(failures="\n".join(f"  - {failure}" for failure in failures)))


_NOTHING_FOUND = f"""\
The data set of pen-written digits could not be had from any source:
{{failures}}
What you can do:
  - set PENDIGITS_MIRROR to a folder, a zip file or a URL that has it (unset it if the data is there already),
  - or put {ARCHIVE}
    into a folder shared/pendigits beside the checkout,
  - or use the built-in data set, with `dataset: synthetic` in params.yaml."""


def _without_secrets(place: str) -> str:
    """A place for people to read: of a URL, without user name, password and query."""
    if "://" not in place:
        return place
    try:
        parts = urlsplit(place)
    except ValueError:
        return "a malformed URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


if __name__ == "__main__":
    script.run(main)
