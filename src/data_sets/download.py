"""Read the data set's files from a folder, a file or a URL: all of them, or the tables without ink, or a reason.

A source may be anything: a web page in place of the file, half a file, an archive made to do harm. So nothing is
unpacked by the names in an archive, no read goes beyond what the data set can need, every file is held against its
SHA-256, and nothing here writes.
"""

import hashlib
import re
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath

from utils import one_line

from . import copies, lzw
from .pendigits import ARCHIVE, ARCHIVE_SHA256, MEMBERS, Member

ARCHIVE_LIMIT = 8_000_000  # bytes; an archive with nothing in it compressed has 6 million
CONNECT_TIMEOUT = 5.0  # seconds to reach one address of a server
PATIENCE = 9.0  # seconds in which the next CHUNK must have come
CHUNK = 16_384  # bytes
MOST_COPIES = 20  # files of a folder that are looked at for copies of the tables
LONGEST = 300.0  # seconds that a download may take
WAITS = (0.0, 1.0, 2.0)  # seconds before each try; what failed for a reason that may pass is tried again, but
LATEST_TRY = 12.0  # no later than so many seconds after the first try: that there is no network is known in under 20 s


class SourceError(Exception):
    """A source does not give the data set; the message says why, without naming the source."""


class _PassingError(SourceError):
    """The next try may go better."""


def read_source(place: str) -> dict[str, bytes]:
    """Read the four files from a folder, a zip file or a URL: verified contents by name.

    Of a folder, or a file, with copies of the tables in another form (``copies``) it is the two tables, without ink.

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
                return _members_or_tables(path)
            path = archive
        if path.is_file():
            content = _read_file(path, ARCHIVE_LIMIT)
            return _tables([content]) or read_archive(content, path.name)
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}") from None
    raise SourceError("no such file or folder")


def is_complete(folder: Path) -> bool:
    """Whether a folder has the four files of the real data set, with the right contents."""
    return all(is_original(folder / member.name, member) for member in MEMBERS)


def is_original(path: Path, member: Member) -> bool:
    """Whether a file has the content of one of the data set's."""
    return path.is_file() and member.is_in(_read_file(path, member.size))


def _members_or_tables(folder: Path) -> dict[str, bytes]:
    """The files in a folder: all four, or the two tables from whatever files hold them."""
    try:
        return _verified_members(lambda name, limit: _read_if_there(folder / name, limit))
    except SourceError:
        paths = [path for path in sorted(folder.iterdir())[:MOST_COPIES] if path.is_file()]
        named = any(path.name == member.name for path in paths for member in MEMBERS)
        if tables := _tables([_read_file(path, copies.LIMIT) for path in paths], named=named):
            return tables
        raise


def _tables(contents: Sequence[bytes], *, named: bool = False) -> dict[str, bytes]:
    """The two tables, if both are in the contents; otherwise nothing.

    Args:
        named: whether a file has the name of a table, so that there is already a reason that names it.

    Raises:
        SourceError: if there are rows in the form of the tables, and they are not the tables'.
    """
    found = copies.official_tables(contents)
    if len(found) == 2:
        return found
    if not named and (n := sum(map(copies.count_rows, contents))):
        what = "values differ, or rows are missing or in another order"
        raise SourceError(f"{n:,} rows in the form of the tables were found, but they are not UCI's: {what}")
    return {}


def _verified_members(read: Callable[[str, int], bytes | None]) -> dict[str, bytes]:
    """Get each file of the data set, plain or as .Z, and hold it against its checksum.

    Args:
        read: gives a file by name: at most one byte more than the limit, or None if there is no such file.
    """
    contents = {}
    for member in MEMBERS:
        content, name = read(member.name, 2 * member.size), member.name  # with other line ends it is longer
        if content is None:
            name += ".Z"
            packed = read(name, ARCHIVE_LIMIT)
            if packed is None:
                raise SourceError(f"there is no {member.name}, nor {name}")
            try:
                content = lzw.decompress(packed, member.size)
            except lzw.LzwError as error:
                raise SourceError(f"{name} {error} (sha256 {_short_sum(packed)})") from None
        if not member.is_in(content):
            content = copies.official(content, member)
        if not member.is_in(content):
            raise SourceError(
                f"{name} is not the original: {_size(content, member.size)} with sha256 {_short_sum(content)}"
                f" instead of {member.size:,} bytes with {member.sha256[:16]}..."
            )
        contents[member.name] = content
    return contents


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
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OverflowError, OSError, ValueError) as error:
        what = "a web page, not the archive" if _is_web_page(data) else f"not a sound zip archive: {_brief(error)}"
        raise SourceError(
            f"{name} is {what} ({len(data):,} bytes, sha256 {_short_sum(data)} instead of {ARCHIVE_SHA256[:16]}...)"
        ) from None
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from None


def _wanted_entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries that have the name of a file of the data set, in whatever folder; nothing is extracted."""
    wanted = {name for member in MEMBERS for name in (member.name, member.name + ".Z")}
    entries = {PurePosixPath(entry.filename).name: entry for entry in archive.infolist() if entry.filename[-1:] != "/"}
    for entry in (entries[name] for name in wanted & entries.keys()):
        # Other methods do not bound what one read unpacks.
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SourceError(f"{entry.filename!r} is encrypted or compressed in a way that this data set does not use")
    return {name: entries[name] for name in wanted & entries.keys()}


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
    """The file that a download is written to: it takes no more than the limit, and knows when something came last."""

    def __init__(self, tell: Callable[[int], object]) -> None:
        self.content = bytearray()
        self.last_news = time.monotonic()
        self.closed = False
        self._tell = tell  # is called with the size of each piece

    def write(self, chunk: bytes) -> None:
        if self.closed:
            raise SourceError("given up")
        if len(self.content) + len(chunk) > ARCHIVE_LIMIT:
            raise SourceError(f"more than {ARCHIVE_LIMIT:,} bytes came: not the archive")
        self.content += chunk
        self.last_news = time.monotonic()
        self._tell(len(chunk))

    def flush(self) -> None:
        """pooch calls it."""


def _try_download(url: str) -> bytes:
    """One try, in a thread of its own: neither a name look-up nor a server that drips heeds requests' timeouts."""
    # Only here: pooch, requests and tqdm take half a second to import, and most runs never go to the network.
    import pooch
    import requests
    from tqdm import tqdm

    answers: list[requests.Response] = []
    faults: list[BaseException] = []

    def begin(answer: requests.Response, **_: object) -> None:
        answers.append(answer)
        bar.total = int(answer.headers.get("Content-Length", 0)) or None

    def work() -> None:
        try:
            get(url, body, None)
        except BaseException as fault:  # noqa: BLE001 (judged by the caller, below)
            faults.append(fault)
        finally:
            for answer in answers:  # pooch leaves connections open on which something went wrong
                answer.close()

    get = pooch.HTTPDownloader(chunk_size=CHUNK, timeout=(CONNECT_TIMEOUT, PATIENCE), hooks={"response": begin})
    with tqdm(desc="download", unit="B", unit_scale=True, disable=None) as bar:  # None: drawn on a terminal only
        body = _Body(bar.update)
        thread = threading.Thread(target=work, daemon=True)
        start = time.monotonic()
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
            now = time.monotonic()
            if now - body.last_news > 1.05 * PATIENCE or now - start > LONGEST:
                body.closed = True
                raise _PassingError(f"the answer stalled after {len(body.content):,} bytes")
    if faults:
        raise _judged(faults[0]) from None
    return bytes(body.content)


def _judged(fault: BaseException) -> BaseException:
    """Turn what a try ended with into a SourceError: one that may pass, or not. Anything unforeseen stays as it is."""
    import requests

    if isinstance(fault, requests.HTTPError) and fault.response is not None:
        status = fault.response.status_code
        kind = _PassingError if status in (408, 429) or status >= 500 else SourceError
        return kind(f"the server answers {status} {_brief(fault.response.reason)}")
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
    return _brief(getattr(fault, "strerror", None) or fault)


def _brief(words: object) -> str:
    """Words that come from a source, made fit for a message: short, and with nothing that a terminal would act on."""
    return one_line(words, 100)
