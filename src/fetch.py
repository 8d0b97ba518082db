"""Stage fetch: put the data set into data/raw/<dataset>, whole and verified, or say why that cannot be.

The real data set comes from the first source that gives it: the mirror that PENDIGITS_MIRROR names (a folder, a zip
file or a URL) or, where that is not set, the folder shared/pendigits beside the main checkout if there is one; then
UCI. Nothing is written before everything is verified.
"""

import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runtime import script

from data_sets.choice import data_set_of
from data_sets.download import SourceError, is_complete, is_original, read_source
from data_sets.pendigits import ARCHIVE, ARCHIVE_URL, CITATION, LICENSE, MEMBERS
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
    """Fetch the data set that params.yaml names: make it, copy it, or download it."""
    params = load_params()
    folder, contents = RAW / params.dataset, data_set_of(params).files()
    if contents is None:
        fetch_pendigits(folder)
        return
    replace_folder(folder, contents)
    for name, content in contents.items():
        script.say(f"{folder / name}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()[:16]}...")


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
    """Put the files of the real data set into a folder, from the first source that gives them; last, the folder itself.

    A folder that has them all already is left alone, unless the user chose a source. Files in it that are not the data
    set's are kept in a folder beside it.

    Args:
        sources: to ask, in this order; by default those of ``find_sources``.

    Raises:
        NoSourceError: when no source gives them. The folder is left as it was.
        OSError: when the folder cannot be written. It is left as it was, too.
    """
    sources = [*(find_sources(os.environ) if sources is None else sources)]
    complete = is_complete(folder)
    if complete and not any(source.chosen for source in sources):
        script.say(f"{folder} is complete and verified: nothing to fetch")
        return
    failures: list[str] = []
    if folder.is_dir() and not complete:
        sources.append(Source("the files that are there", str(folder)))  # perhaps copies in another form
    for source in sources:
        if failures:
            script.say(f"warning: {failures[-1]}; trying {source}")
        try:
            contents = read_source(source.place)
        except SourceError as error:
            failures.append(f"{source}: {error}")
            continue
        keep_others(folder)
        replace_folder(folder, contents)
        script.say(f"{folder}: {len(contents)} files from {source}, verified by sha256")
        if len(contents) < len(MEMBERS):
            script.say("without ink and writers: train with features: table and split_by: random")
        script.say(f"data: {CITATION}\nlicence: {LICENSE}")
        return
    raise NoSourceError(_NOTHING_FOUND.format(failures="\n".join(f"  - {failure}" for failure in failures)))


def keep_others(folder: Path) -> None:
    """Move a folder aside if it has files that are not the official ones: they may be the user's."""
    originals = {member.name: member for member in MEMBERS}
    others = [
        path.name
        for path in (sorted(folder.iterdir()) if folder.is_dir() else [])
        if path.name not in originals or not is_original(path, originals[path.name])
    ]
    if others:
        places = (folder.with_name(f"{folder.name}.kept-{n}") for n in itertools.count(1))
        kept = next(place for place in places if not place.exists())
        folder.rename(kept)
        script.say(
            f"{folder} held files that are not the data set's ({', '.join(others[:4])}); they are now in {kept}. "
            "For a table of your own: make new-data DATA=table.csv LABEL=column"
        )


_NOTHING_FOUND = f"""\
The data set of pen-written digits could not be had from any source:
{{failures}}
What you can do:
  - set PENDIGITS_MIRROR to a folder, a zip file or a URL that has it (unset it if the data is there already),
  - or put {ARCHIVE}
    into a folder shared/pendigits beside the checkout,
  - or put OpenML's copy, as CSV or ARFF, into {RAW / "pendigits"} (it has no ink and no writers),
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
