"""Where the data may come from: folders, archives and servers, honest and otherwise."""

import contextlib
import hashlib
import io
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
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


@pytest.mark.parametrize("contents", [CONTENTS, ARCHIVE_CONTENTS, {pendigits.ARCHIVE: ARCHIVE}, {"any name": ARCHIVE}])
def test_files_plain_compressed_or_zipped(tmp_path: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    place = tmp_path / "any name" if "any name" in contents else tmp_path
    assert download.read_source(str(place)) == CONTENTS


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
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        data = zipped(strange | {f"uci/{name}": content for name, content in CONTENTS.items()}, method)
        assert download.read_archive(data, "x.zip") == CONTENTS


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archive_compressed_in_ways_whose_reads_have_no_bound(method: int) -> None:
    with pytest.raises(SourceError, match="encrypted or compressed in a way that this data set does not use"):
        download.read_archive(zipped(CONTENTS, method), "x.zip")


Answer = Callable[[BaseHTTPRequestHandler], None]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        answers = self.server.answers  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):  # the client went away
            (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Gives one answer after the other, the last one again and again."""

    answers: list[Answer]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []

    def url(self, *answers: Answer, path: str = "data.zip") -> str:
        self.answers = list(answers)
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield made
        made.shutdown()


def send(data: bytes, status: int = 200, length: int | None = None) -> Answer:
    """Answer with some bytes, and the length that is true or that is given."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(data) if length is None else length))
        request.end_headers()
        request.wfile.write(data)

    return answer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same patience in a tenth of the time."""
    for name in ("CONNECT_TIMEOUT", "PATIENCE", "LONGEST", "LATEST_TRY"):
        monkeypatch.setattr(download, name, getattr(download, name) / 10)
    monkeypatch.setattr(download, "WAITS", (0.0, 0.05, 0.1))


@pytest.mark.parametrize(("path", "asked"), [("data.zip", "data.zip"), ("mirror/", f"mirror/{pendigits.ARCHIVE}")])
def test_download_of_an_archive_and_of_a_folder(
    path: str, asked: str, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    assert download.read_source(server.url(send(ARCHIVE), path=path)) == CONTENTS
    assert capfd.readouterr() == ("", ""), "a log stays quiet"
    assert server.asked == [f"/{asked}"]


@pytest.mark.parametrize(
    "fault", [send(b"", 500), send(b"", 408), send(b"", 429), send(ARCHIVE[:99], length=len(ARCHIVE))]
)
def test_what_may_pass_is_tried_again(server: Server, fault: Answer) -> None:
    url = server.url(fault, fault, send(ARCHIVE))
    assert (download.read_source(url), len(server.asked)) == (CONTENTS, 3)


FAULTS: dict[str, tuple[Answer, str, int]] = {
    "404": (send(b"", 404), "^the server answers 404 Not Found$", 1),
    "500": (send(b"", 500), "^the server answers 500 Internal Server Error$", 3),
    "escapes": (
        lambda it: it.wfile.write(b"HTTP/1.1 404 \x1b[2J\r\n\r\n"),
        r"^the server answers 404 \?\[2J$",
        1,
    ),
    "truncated": (send(ARCHIVE[:99], length=len(ARCHIVE)), "^no connection, or a broken one: .*99 bytes read", 3),
    "too large": (send(bytes(9_000_000)), "^more than 8,000,000 bytes came: not the archive$", 1),
    "silence": (lambda it: None, "^no connection, or a broken one: Remote end closed connection", 3),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_server_may_do_wrong(server: Server, name: str) -> None:
    answer, fault, tries = FAULTS[name]
    with pytest.raises(SourceError, match=fault):
        download.read_source(server.url(answer))
    assert len(server.asked) == tries


def stall(request: BaseHTTPRequestHandler) -> None:
    send(ARCHIVE[:2000], length=len(ARCHIVE))(request)
    time.sleep(2)


def drip(request: BaseHTTPRequestHandler) -> None:
    send(b"", length=len(ARCHIVE))(request)
    for byte in ARCHIVE:
        request.wfile.write(bytes([byte]))
        time.sleep(0.1)


@pytest.mark.parametrize("answer", [stall, drip])
def test_a_server_that_stalls_is_given_up(server: Server, answer: Answer) -> None:
    start = time.monotonic()
    with pytest.raises(SourceError, match=r"stalled|no answer in time|timed out"):
        download.download(server.url(answer))
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
    (["http://", "http://[::1", "http://a b/", "http://host:port/"], "cannot be asked for|no connection"),
])  # fmt: skip
def test_urls_that_cannot_be(urls: list[str], fault: str) -> None:
    for url in urls:
        with pytest.raises(SourceError, match=fault):
            download.read_source(url)
