"""Where the data may come from: folders, archives and servers, honest and otherwise."""

import contextlib
import hashlib
import io
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data_sets.lzw_writer import compress

from data_sets import download, pendigits
from data_sets.download import SourceError
from data_sets.pendigits import Member

SIZES = {"pendigits.tra": (7, 300), "pendigits.tes": (11, 200), "pendigits-orig.tra": (13, 900)}
SIZES |= {"pendigits-orig.tes": (17, 700)}  # as easy to tell apart in an archive as in a message
CONTENTS = {
    name: b"".join(b"%12d\n" % (number * number * factor) for number in range(rows))
    for name, (factor, rows) in SIZES.items()
}


@pytest.fixture(autouse=True)
def small_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four small files in place of the real ones."""
    monkeypatch.setattr(download, "MEMBERS", members_of(CONTENTS))


def members_of(contents: dict[str, bytes]) -> list[Member]:
    return [Member(name, len(text), hashlib.sha256(text).hexdigest()) for name, text in contents.items()]


def zipped(contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


# As in UCI's archive: the ink compressed, and files that are of no use here.
ARCHIVE_CONTENTS = {"pendigits.names": b"about"}
ARCHIVE_CONTENTS |= {f"{n}.Z": compress(text) for n, text in CONTENTS.items() if "orig" in n}
ARCHIVE_CONTENTS |= {n: text for n, text in CONTENTS.items() if "orig" not in n}
ARCHIVE = zipped(ARCHIVE_CONTENTS)
WEB_PAGE = b"<!DOCTYPE html>\n<html><body>Please log in to the network.</body></html>\n"


@pytest.mark.parametrize("contents", [CONTENTS, ARCHIVE_CONTENTS, {pendigits.ARCHIVE: ARCHIVE}])
def test_folder_with_the_files_plain_compressed_or_zipped(tmp_path: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert download.read_source(str(tmp_path)) == CONTENTS


def test_zip_file_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "download (1)").write_bytes(ARCHIVE)
    assert download.read_source(str(tmp_path / "download (1)")) == CONTENTS


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archive_of_plain_files_in_a_folder(method: int) -> None:
    data = zipped({f"uci/{name}": content for name, content in CONTENTS.items()}, method)
    assert download.read_archive(data, "x.zip") == CONTENTS


def test_the_real_mirror(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MEMBERS", pendigits.MEMBERS)
    contents = download.read_source(str(mirror))
    assert {name: len(content) for name, content in contents.items()} == {m.name: m.size for m in pendigits.MEMBERS}


TABLE, INK = CONTENTS["pendigits.tes"], ARCHIVE_CONTENTS["pendigits-orig.tra.Z"]


@pytest.mark.parametrize(("name", "content", "fault"), [
    ("pendigits.tes", None, "there is no {name}, nor {name}.Z"),
    ("pendigits.tes", b"short", "{name} is not the original: 5 bytes with sha256 f9b0078b5df596d2... instead"),
    ("pendigits.tes", TABLE + b"!", "{name} is not the original: more than 2,600 bytes with sha256"),
    ("pendigits.tes", TABLE.replace(b"2", b"3"), "{name} is not the original: 2,600 bytes with sha256"),
    ("pendigits-orig.tra.Z", WEB_PAGE, "{name} is not a .Z file (sha256 "),
    ("pendigits-orig.tra.Z", compress(b"A" * 99_999), "{name} unpacks to more than 11,700 bytes"),
    ("pendigits-orig.tra.Z", INK[:-9], "{name} is not the original"),
])  # fmt: skip
def test_a_file_that_is_not_the_original_is_named(tmp_path: Path, name: str, content: bytes | None, fault: str) -> None:
    for file, text in {**ARCHIVE_CONTENTS, name: content}.items():
        if text is not None:
            (tmp_path / file).write_bytes(text)
    with pytest.raises(SourceError) as error:
        download.read_source(str(tmp_path))
    assert str(error.value).startswith(fault.format(name=name))


@pytest.mark.parametrize(
    ("place", "fault"),
    [("nothing", "^no such file or folder$"), ("", r"^there is no pendigits\.tra"), ("x" * 5000, "File name too long")],
)
def test_there_is_nothing(tmp_path: Path, place: str, fault: str) -> None:
    with pytest.raises(SourceError, match=fault):
        download.read_source(str(tmp_path / place))


def test_large_files_are_not_read_whole(tmp_path: Path) -> None:
    for name in ("big.zip", "pendigits.tra"):
        with (tmp_path / name).open("wb") as stream:
            stream.truncate(10**12)  # takes no room on the disk
    with pytest.raises(SourceError, match=r"^big\.zip has more than 8,000,000 bytes"):
        download.read_source(str(tmp_path / "big.zip"))
    with pytest.raises(SourceError, match=r"^pendigits\.tra is not .*: more than 3,900 bytes"):
        download.read_source(str(tmp_path))
    assert not download.is_complete(tmp_path)


def test_complete_is_all_files_with_the_right_contents(tmp_path: Path) -> None:
    for name, content in CONTENTS.items():
        assert not download.is_complete(tmp_path)
        (tmp_path / name).write_bytes(content)
    assert download.is_complete(tmp_path)
    (tmp_path / "pendigits.tes").write_bytes(CONTENTS["pendigits.tes"].replace(b"2", b"3"))
    assert not download.is_complete(tmp_path)


@pytest.mark.parametrize(("data", "what"), [
    *((data, "not a sound zip archive") for data in (b"", b"PK\x03\x04 and no more", ARCHIVE[:-30], ARCHIVE[:1000])),
    (WEB_PAGE, "a web page, not the archive"),
])  # fmt: skip
def test_corrupt_archives_are_named_with_their_checksum(data: bytes, what: str) -> None:
    checksum = hashlib.sha256(data).hexdigest()[:16]
    with pytest.raises(SourceError, match=rf"^uci\.zip is {what}.*[( ]{len(data):,} bytes, sha256 {checksum}"):
        download.read_archive(data, "uci.zip")


def test_archive_of_something_else_and_of_more() -> None:
    with pytest.raises(SourceError, match=r"^iris\.zip: there is no pendigits\.tra, nor pendigits\.tra\.Z"):
        download.read_archive(zipped({"iris.data": b"5.1,3.5"}), "iris.zip")
    # Nothing is extracted: an entry that leads elsewhere is not looked at, in whatever folder the others are
    strange = dict.fromkeys(("../pendigits.tra", "/etc/passwd", "C:\\x", "x/.."), b"x")
    data = zipped(strange | {f"uci/{name}": content for name, content in CONTENTS.items()})
    assert download.read_archive(data, "x.zip") == CONTENTS


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archive_compressed_in_ways_whose_reads_have_no_bound(method: int) -> None:
    with pytest.raises(SourceError, match="encrypted or compressed in a way that this data set does not use"):
        download.read_archive(zipped(CONTENTS, method), "x.zip")


def test_zip_bomb_is_read_to_the_expected_size_only(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped({**ARCHIVE_CONTENTS, "pendigits.tra": bytes(30_000_000)})
    read: list[int] = []
    plainly = zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda file, n: read.append(n) or plainly(file, n))
    with pytest.raises(SourceError, match=r"pendigits\.tra is not the original: more than 3,900 bytes"):
        download.read_archive(data, "x.zip")
    assert read == [3901]


def test_archive_that_lies_about_sizes() -> None:
    size = struct.pack("<L", len(CONTENTS["pendigits.tra"]))
    assert ARCHIVE.count(size) == 2  # before the content, and in the directory
    for lie in (0, 1, 3899, 3901, 2**31, 2**32 - 1):
        with contextlib.suppress(SourceError):
            assert download.read_archive(ARCHIVE.replace(size, struct.pack("<L", lie)), "x.zip") == CONTENTS


@pytest.mark.parametrize("start", [2**31, 2**63, 2**64 - 1])
def test_an_entry_that_starts_beyond_the_end_of_the_world_is_refused(start: int) -> None:
    """By the 64 bits that a zip can give to a place in it, of which Python's files take 63."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo("pendigits.tra"), b"x")
    data, extra = bytearray(content.getvalue()), struct.pack("<HHQ", 1, 8, start)
    at, end = data.find(b"PK\x01\x02"), data.find(b"PK\x05\x06")
    struct.pack_into("<H", data, at + 30, len(extra))
    struct.pack_into("<L", data, at + 42, 2**32 - 1)
    struct.pack_into("<L", data, end + 12, end + len(extra) - at)
    data[end:end] = extra
    with pytest.raises(SourceError, match="is not a sound zip archive"):
        download.read_archive(bytes(data), "x.zip")


@st.composite
def damaged_archives(draw: st.DrawFn) -> bytes:
    data = bytearray(ARCHIVE)
    for _ in range(draw(st.integers(1, 6))):
        # The directory at the end is where most of an archive's structure is.
        place = draw(st.one_of(st.integers(0, len(data) - 1), st.integers(len(data) - 400, len(data) - 1)))
        data[place] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))])


@given(data=st.one_of(damaged_archives(), st.binary(max_size=200)))
def test_damaged_archives_are_refused_or_whole(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:  # hypothesis calls this often, the fixtures come but once
        patch.setattr(download, "MEMBERS", members_of(CONTENTS))
        with contextlib.suppress(SourceError):
            assert download.read_archive(data, "x.zip") == CONTENTS


def test_message_holds_little_of_what_is_in_an_archive() -> None:
    # A file name that is said to be 64 KiB long: zipfile's own message shows it all.
    start = ARCHIVE.index(b"pendigits-orig.tra.Z")
    data = ARCHIVE[: start - 4] + b"\xff\x0f" + ARCHIVE[start - 2 :]
    with pytest.raises(SourceError, match=r"^x\.zip is not a sound zip archive: File name in directory") as error:
        download.read_archive(data, "x.zip")
    assert len(str(error.value)) < 300
    assert str(error.value).isprintable()


Answer = Callable[[BaseHTTPRequestHandler], None]
Server = Callable[..., str]


def send(data: bytes, status: int = 200, length: int | None = None) -> Answer:
    """Answer with some bytes, and the length that is true or that is given."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(data) if length is None else length))
        request.end_headers()
        request.wfile.write(data)

    return answer


def answer_with(data: bytes) -> Answer:
    return lambda request: request.wfile.write(data)


@pytest.fixture
def serve() -> Iterator[Server]:
    """Start a server that gives one answer after the other, the last one again and again; returns its URL."""
    servers = []

    def start(*answers: Answer) -> str:
        waiting = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                with contextlib.suppress(OSError):  # the client went away
                    answer(self)

            def log_message(self, *_: object) -> None:
                pass

        asked: list[str] = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.asked = asked  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/data.zip"

    start.servers = servers  # type: ignore[attr-defined]
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same patience in a tenth of the time."""
    for name in ("CONNECT_TIMEOUT", "PATIENCE", "LONGEST", "LATEST_TRY"):
        monkeypatch.setattr(download, name, getattr(download, name) / 10)
    monkeypatch.setattr(download, "WAITS", (0.0, 0.05, 0.1))


def times_asked(serve: Server) -> int:
    return sum(len(server.asked) for server in serve.servers)  # type: ignore[attr-defined]


def test_download_of_an_archive_and_of_a_folder(serve: Server, capfd: pytest.CaptureFixture[str]) -> None:
    assert download.read_source(serve(send(ARCHIVE))) == CONTENTS
    assert capfd.readouterr() == ("", ""), "a log stays quiet"
    url = serve(send(ARCHIVE)).replace("data.zip", "mirror/")
    assert download.read_source(url) == CONTENTS
    assert serve.servers[-1].asked == [f"/mirror/{pendigits.ARCHIVE}"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "fault", [send(b"", 500), send(b"", 503), send(b"", 429), send(ARCHIVE[:99], length=len(ARCHIVE))]
)
def test_what_may_pass_is_tried_again(serve: Server, fault: Answer) -> None:
    assert (download.read_source(serve(fault, fault, send(ARCHIVE))), times_asked(serve)) == (CONTENTS, 3)


FAULTS: dict[str, tuple[Answer, str, int]] = {
    "404": (send(b"", 404), "^the server answers 404 Not Found$", 1),
    "403": (send(b"", 403), "^the server answers 403 Forbidden$", 1),
    "500": (send(b"", 500), "^the server answers 500 Internal Server Error$", 3),
    "escapes": (answer_with(b"HTTP/1.1 404 \x1b[2J\r\n\r\n"), r"^the server answers 404 \?\[2J$", 1),
    "truncated": (send(ARCHIVE[:99], length=len(ARCHIVE)), "^no connection, or a broken one: .*99 bytes read", 3),
    "web page": (send(WEB_PAGE), "is a web page, not the archive", 1),
    "cut": (send(ARCHIVE[:-9]), "is not a sound zip archive", 1),
    "too large": (send(bytes(9_000_000)), "^more than 8,000,000 bytes came: not the archive$", 1),
    "huge length": (send(ARCHIVE, length=10**18), "^no connection, or a broken one", 3),
    "not http": (answer_with(b"SSH-2.0-OpenSSH\r\n\r\n"), "^no connection, or a broken one", 3),
    "silence": (answer_with(b""), "^no connection, or a broken one: Remote end closed connection", 3),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_server_may_do_wrong(serve: Server, name: str) -> None:
    answer, fault, tries = FAULTS[name]
    with pytest.raises(SourceError, match=fault):
        download.read_source(serve(answer))
    assert times_asked(serve) == tries


def stall(request: BaseHTTPRequestHandler) -> None:
    send(ARCHIVE[:2000], length=len(ARCHIVE))(request)
    time.sleep(2)


def drip(request: BaseHTTPRequestHandler) -> None:
    send(b"", length=len(ARCHIVE))(request)
    for byte in ARCHIVE:
        request.wfile.write(bytes([byte]))
        time.sleep(0.1)


@pytest.mark.parametrize("answer", [stall, drip, lambda _: time.sleep(2)], ids=["stall", "drip", "no answer"])
def test_a_server_that_stalls_is_given_up(serve: Server, answer: Answer) -> None:
    start = time.monotonic()
    with pytest.raises(SourceError, match=r"stalled|no answer in time|timed out"):
        download.download(serve(answer))
    assert time.monotonic() - start < 4  # 20 s with the real patience is 2 s here


def test_nobody_listens_and_a_name_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(SourceError, match=r"^no connection, or a broken one: Connection refused$"):
            download.download(f"http://127.0.0.1:{reserved.getsockname()[1]}/")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3))
    start = time.monotonic()
    with pytest.raises(SourceError, match=r"^the answer stalled after 0 bytes$"):
        download.download("http://uci.invalid/")
    assert time.monotonic() - start < 4


@pytest.mark.parametrize(("urls", "fault"), [
    (["ftp://host/x", "file:///etc/passwd", "javascript://x"], "^only http and https are understood$"),
    (
        ["http://", "http://[::1", "http://a b/", "http://host:port/", "http://" + "x" * 300],
        "cannot be asked for|no connection",
    ),
])  # fmt: skip
def test_urls_that_cannot_be(urls: list[str], fault: str) -> None:
    for url in urls:
        with pytest.raises(SourceError, match=fault):
            download.read_source(url)
