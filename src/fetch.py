"""Stage fetch: put the data set into data/raw/<dataset>, whole and verified, or say why that cannot be.

Sources of the real data, in order: the mirror that PENDIGITS_MIRROR names (a folder, a zip file or a URL) or, where that
is not set, the folder shared/pendigits beside the main checkout if there is one; then UCI. A source may be anything: a
web page in place of the file, half a file, or an archive made to do harm. So nothing is unpacked by the names in an
archive, no read goes beyond what the data set can need, and nothing is written before everything is verified.
"""

import hashlib
import os
import re
import shutil
import stat
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np

import lzw
import stage
import synthetic
from params import load_params
from pendigits import (
    ARCHIVE,
    ARCHIVE_SHA256,
    ARCHIVE_URL,
    CITATION,
    LICENSE,
    MEMBERS,
    TEST,
    TRAINING,
    Member,
    eight_points,
    format_ink,
    format_table,
)
from stage import StageError

RAW = Path("data/raw")

ARCHIVE_LIMIT = 8_000_000  # bytes; with nothing in it compressed the archive has 6 million
CONNECT_TIMEOUT = 5.0  # seconds to reach one address of a server
PATIENCE = 9.0  # seconds in which the next CHUNK must have come
CHUNK = 16_384  # bytes
LONGEST = 300.0  # seconds that a download may take
WAITS = (0.0, 1.0, 2.0)  # seconds before each try; a download that fails for a reason that may pass is tried again,
LATEST_TRY = 12.0  # but not later than so many seconds after the first try: no network is known in under 20 s


class NoSourceError(StageError):
    """No source gave the data set; the message lists them, and what can be done."""


class SourceError(Exception):
    """One source did not give the data set; the message says why, without naming the source."""


class _PassingError(SourceError):
    """The next try may go better."""


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
        fetch_pendigits(folder, find_sources(os.environ))


def make_synthetic(folder: Path, rows_per_writer: int) -> None:
    """Write the built-in data set, in the files and forms of the real one."""
    inks = synthetic.make_data_set(rows_per_writer, np.random.default_rng(synthetic.SEED))
    contents = {}
    for part, ink in zip((TRAINING, TEST), inks, strict=True):
        contents[part.table] = format_table(eight_points(ink), ink.digit)
        contents[part.ink] = format_ink(ink)
    replace_folder(folder, contents)
    stage.say(f"{folder}: made {len(inks[0]):,} digits by 30 writers and {len(inks[1]):,} by 14 others")


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


def fetch_pendigits(folder: Path, sources: Sequence[Source]) -> None:
    """Put the four files of the real data set into a folder, from the first source that gives them.

    A folder that has them all already is left alone, unless the user chose a source.

    Raises:
        NoSourceError: when no source gives them. The folder is left as it was.
        OSError: when the folder cannot be written. It is left as it was, too.
    """
    if is_complete(folder) and not any(source.chosen for source in sources):
        stage.say(f"{folder} is complete and verified: nothing to fetch")
        return
    failures: list[str] = []
    for source in sources:
        if failures:
            stage.say(f"warning: {failures[-1]}; trying {source}")
        try:
            contents = read_source(source.place)
        except SourceError as error:
            failures.append(f"{source}: {error}")
            continue
        replace_folder(folder, contents)
        stage.say(f"{folder}: {len(contents)} files from {source}, verified by sha256")
        stage.say(f"data: {CITATION}; {LICENSE}")
        return
    raise NoSourceError(_nothing_found(failures))


def _nothing_found(failures: list[str]) -> str:
    return "\n".join(
        [
            "The data set of pen-written digits could not be had from any source:",
            *(f"  - {failure}" for failure in failures),
            "What you can do:",
            "  - set PENDIGITS_MIRROR to a folder, a zip file or a URL that has it,",
            f"  - or put {ARCHIVE}",
            "    into a folder shared/pendigits beside the checkout,",
            "  - or use the built-in data set: dataset: synthetic in params.yaml.",
        ]
    )


def is_complete(folder: Path) -> bool:
    """Whether a folder has the four files of the real data set, with the right contents."""
    return all(
        (folder / member.name).is_file() and _is_original(member, _read_file(folder / member.name, member.size))
        for member in MEMBERS
    )


# --- Reading a source ------------------------------------------------------------------------------


def read_source(place: str) -> dict[str, bytes]:
    """Read the four files from a folder, a zip file or a URL: verified contents by name.

    Raises:
        SourceError: if they are not all there, or are not the original ones.
    """
    if "://" in place:
        return read_archive(download(place), ARCHIVE)
    path = Path(place)
    try:
        if path.is_dir():
            archive = path / ARCHIVE
            if not archive.is_file():
                return _verified_members(lambda name, limit: _read_if_there(path / name, limit))
            path = archive
        if path.is_file():
            return read_archive(_read_file(path, ARCHIVE_LIMIT), path.name)
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}") from None
    raise SourceError("no such file or folder")


def _verified_members(read: Callable[[str, int], bytes | None]) -> dict[str, bytes]:
    """Get each file of the data set, plain or as .Z, and hold it against its checksum.

    Args:
        read: gives a file by name: at most one byte more than the limit, or None if there is no such file.
    """
    contents = {}
    for member in MEMBERS:
        content, name = read(member.name, member.size), member.name
        if content is None:
            name += ".Z"
            packed = read(name, ARCHIVE_LIMIT)
            if packed is None:
                raise SourceError(f"there is no {member.name}, nor {name}")
            try:
                content = lzw.decompress(packed, member.size)
            except lzw.LzwError as error:
                raise SourceError(f"{name} {error} (sha256 {_short_sum(packed)})") from None
        if not _is_original(member, content):
            raise SourceError(
                f"{name} is not the original: {_size(content, member.size)} with sha256 {_short_sum(content)}"
                f" instead of {member.size:,} bytes with {member.sha256[:16]}..."
            )
        contents[member.name] = content
    return contents


def _is_original(member: Member, content: bytes) -> bool:
    return len(content) == member.size and hashlib.sha256(content).hexdigest() == member.sha256


def _size(content: bytes, limit: int) -> str:
    return f"{len(content):,} bytes" if len(content) <= limit else f"more than {limit:,} bytes"


def _short_sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16] + "..."


def _read_if_there(path: Path, limit: int) -> bytes | None:
    return _read_file(path, limit) if path.is_file() else None


def _read_file(path: Path, limit: int) -> bytes:
    """Read a file, but no more than one byte beyond the limit."""
    with path.open("rb") as stream:
        return stream.read(limit + 1)


# --- Archives --------------------------------------------------------------------------------------


def read_archive(data: bytes, name: str) -> dict[str, bytes]:
    """Read the four files out of a zip archive: verified contents by name.

    Args:
        name: of the archive, for messages.

    Raises:
        SourceError: if it is not an archive of the data set, or one that no honest program makes.
    """
    if len(data) > ARCHIVE_LIMIT:
        raise SourceError(f"{name} has more than {ARCHIVE_LIMIT:,} bytes: not the archive")
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries = _wanted_entries(archive)
            return _verified_members(lambda member, limit: _read_entry(archive, entries.get(member), limit))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError) as error:
        what = "a web page, not the archive" if _is_web_page(data) else f"not a sound zip archive: {error}"
        raise SourceError(
            f"{name} is {what} ({len(data):,} bytes, sha256 {_short_sum(data)} instead of {ARCHIVE_SHA256[:16]}...)"
        ) from None
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from None


def _wanted_entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries that have the name of a file of the data set, after a look at all of them."""
    wanted = {name for member in MEMBERS for name in (member.name, member.name + ".Z")}
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        path = PurePosixPath(entry.orig_filename.replace("\\", "/"))
        shown = repr(entry.orig_filename[:60])
        if path.is_absolute() or ".." in path.parts or re.search(r"^[A-Za-z]:|\0", str(path)):
            raise SourceError(f"{shown} would land outside the folder")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise SourceError(f"{shown} is a link or a special file")
        # Other methods do not bound what one read unpacks.
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SourceError(f"{shown} is encrypted or compressed in a way that is not used for this data set")
        if path.name in entries:
            raise SourceError(f"{path.name} is there twice")
        if path.name in wanted and not entry.is_dir():
            entries[path.name] = entry
    return entries


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None, limit: int) -> bytes | None:
    if entry is None:
        return None
    with archive.open(entry) as stream:
        return stream.read(limit + 1)


def _is_web_page(data: bytes) -> bool:
    return re.match(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml|head|body)", data[:1000], re.IGNORECASE) is not None


# --- Downloads -------------------------------------------------------------------------------------


def download(url: str) -> bytes:
    """Get a file of at most ``ARCHIVE_LIMIT`` bytes; of a URL that ends in a slash, the archive below it.

    Raises:
        SourceError: if it does not come, after some tries where trying again makes sense.
    """
    if not re.match("https?://", url, re.IGNORECASE):
        raise SourceError("only http and https are understood")
    if url.endswith("/"):
        url += ARCHIVE
    start, fault = time.monotonic(), SourceError()
    for wait in WAITS:
        if time.monotonic() + wait - start > LATEST_TRY:
            break
        time.sleep(wait)
        try:
            return _try_download(url)
        except _PassingError as error:
            fault = error
    raise fault


class _Body:
    """What a download writes to: it keeps no more than the limit, and knows when something came last."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.last_news = time.monotonic()
        self.closed = False

    def write(self, chunk: bytes) -> None:
        if self.closed:
            raise SourceError("given up")
        if len(self.content) + len(chunk) > ARCHIVE_LIMIT:
            raise SourceError(f"more than {ARCHIVE_LIMIT:,} bytes came: not the archive")
        self.content += chunk
        self.last_news = time.monotonic()

    def flush(self) -> None:
        """Part of what pooch expects of a file."""


def _try_download(url: str) -> bytes:
    """One try, in a thread of its own: neither a name look-up nor a server that drips heeds requests' timeouts."""
    # Only here: pooch, requests and tqdm take half a second to import, and most runs never go to the network.
    import pooch
    from tqdm import tqdm

    body, faults = _Body(), list[BaseException]()
    with tqdm(desc=ARCHIVE[:9], unit="B", unit_scale=True, disable=None) as bar:  # None: only on a terminal
        get = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=(CONNECT_TIMEOUT, PATIENCE))

        def work() -> None:
            try:
                get(url, body, None)
            except BaseException as fault:  # noqa: BLE001 (judged by the caller, below)
                faults.append(fault)

        thread = threading.Thread(target=work, daemon=True)
        start = time.monotonic()
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
            now = time.monotonic()
            if now - body.last_news > PATIENCE + 0.5 or now - start > LONGEST:
                body.closed = True
                raise _PassingError(f"the answer stalled after {len(body.content):,} bytes")
    if faults:
        raise _judged(faults[0]) from None
    return bytes(body.content)


def _judged(fault: BaseException) -> BaseException:
    """Turn what a try ended with into a SourceError: one that may pass, or not. Anything unforeseen stays as it is."""
    import requests

    if isinstance(fault, requests.HTTPError):
        status = fault.response.status_code
        kind = _PassingError if status in (408, 429) or status >= 500 else SourceError
        return kind(f"the server answers {status} {fault.response.reason}")
    if isinstance(fault, requests.exceptions.SSLError):
        return SourceError(f"no secure connection: {_root_cause(fault)}")
    if isinstance(fault, requests.Timeout):
        return _PassingError("no answer in time")
    if isinstance(fault, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return _PassingError(f"no connection, or a broken one: {_root_cause(fault)}")
    if isinstance(fault, requests.RequestException | ValueError):
        return SourceError(f"cannot be asked for: {type(fault).__name__}")
    return fault


def _root_cause(fault: BaseException) -> str:
    """The first fault of a chain in a few words, such as 'Connection refused'."""
    while fault.__context__ is not None:
        fault = fault.__context__
    return str(getattr(fault, "strerror", None) or fault)[:200]


def _without_secrets(place: str) -> str:
    """A place for people to read: of a URL, without user name, password and query."""
    if "://" not in place:
        return place
    parts = urlsplit(place)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


# --- Writing ---------------------------------------------------------------------------------------


def replace_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Make a folder of the files given, in place of the one that may be there: all of it or, on any fault, nothing.

    The new folder is filled beside the old one and then takes its name.

    Raises:
        OSError: naming the folder, if it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        bench = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            new = bench / "new"
            new.mkdir()
            for name, content in contents.items():
                (new / name).write_bytes(content)
            _exchange(folder, new, old=bench / "old")
        finally:
            shutil.rmtree(bench, ignore_errors=True)
    except OSError as error:
        error.filename, error.filename2 = str(folder), None
        raise


def _exchange(folder: Path, new: Path, old: Path) -> None:
    """Give ``new`` the name of ``folder``, which goes to ``old`` if there is one, and comes back if that fails."""
    try:
        if os.path.lexists(folder):
            folder.rename(old)
        new.rename(folder)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(folder):
            old.rename(folder)
        raise


def _sweep(folder: Path) -> None:
    """Remove what runs that were killed left beside the folder: nothing that works takes an hour."""
    for bench in folder.parent.glob(f".{folder.name}.*"):
        if time.time() - bench.stat().st_mtime > 3600:
            shutil.rmtree(bench, ignore_errors=True)


if __name__ == "__main__":
    stage.run(main)
