"""The server of `make serve`: its answers, its refusals in one line, and its limits for each connection."""

import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.tools.lies import ROW, ask, small_model
from tests.ui_at_work import ROOT, asked, free_port, wait_for

from commands import draw, serve
from data_sets.pendigits import FEATURES
from pen.features import FEATURE_SETS
from pen.ink import join_strokes
from pen.recognizer import Recognizer, recognizer_files
from pen.strokes import strokes_of
from pipeline.errors import StageError
from web.application import MOST_BYTES, application


@pytest.fixture(scope="module")
def model() -> Recognizer:
    return small_model()


@pytest.fixture(scope="module")
def app(model: Recognizer) -> Any:
    return application(model, serve.OWN_NAMES)


def save(model: Recognizer, folder: Path) -> None:
    for name, content in recognizer_files(model).items():
        (folder / name).write_bytes(content)


SHUFFLED = random.Random(0).sample(range(16), 16)
NAMES, VALUES = [FEATURES[i] for i in SHUFFLED], [ROW[i] for i in SHUFFLED]
BODIES: list[dict[str, Any]] = [
    {"inputs": [ROW]},
    {"inputs": ROW},
    {"dataframe_split": {"data": [ROW]}},
    {"dataframe_split": {"columns": NAMES, "data": [VALUES]}},
    {"dataframe_split": {"index": [0], "columns": ["digit", *FEATURES], "data": [[8, *ROW]]}},
    {"dataframe_split": {"index": [0], "columns": list(range(16)), "data": [ROW]}},
    {"dataframe_records": [dict(zip(NAMES, VALUES, strict=True))]},
    {"inputs": {name: [value] for name, value in zip(NAMES, VALUES, strict=True)}},
    {"inputs": dict(zip(NAMES, VALUES, strict=True))},
]


@pytest.mark.parametrize("body", BODIES)
def test_every_form_gives_the_same_answer(app: Any, model: Recognizer, body: dict[str, Any]) -> None:
    status, said = ask(app, json.dumps(body).encode())
    assert status == 200
    (answer,) = json.loads(said)["predictions"]
    p = model.predict_proba([ROW])[0]
    assert answer == {"digit": int(p.argmax())} | {f"p{digit}": float(p[digit]) for digit in range(10)}
    assert ask(app, b'{"inputs": []}') == (200, b'{"predictions":[]}')


STROKES = [[[0, 95.5], [40, 0]], [[10, 50], [70, 50]]]


@pytest.mark.parametrize("features", ["table", "ink"])
def test_ink_is_read_as_by_the_pipeline_in_every_form(features: str) -> None:
    model = small_model(features)
    ink = join_strokes([STROKES], [0], [1], [1])
    p = model.probabilities(FEATURE_SETS[features].of(strokes_of(ink)))[0]
    app = application(model, serve.OWN_NAMES)
    bodies: list[Any] = [{"inputs": [STROKES]}, {"inputs": STROKES}, {"dataframe_records": [{"ink": STROKES}]}]
    for body in [*bodies, {"dataframe_split": {"columns": ["writer", "ink"], "data": [[1, STROKES]]}}]:
        (answer,) = json.loads(ask(app, json.dumps(body).encode())[1])["predictions"]
        assert [answer[f"p{digit}"] for digit in range(10)] == pytest.approx(p, rel=1e-6)
    for many in (STROKES, [STROKES, STROKES]):
        answer = json.loads(ask(app, json.dumps({"ink": many}).encode(), path="/predict")[1])
        assert answer["probabilities"][-1] == pytest.approx(p, rel=1e-6)
        assert answer["digits"][-1] == p.argmax()
    status, said = ask(app, json.dumps({"features": ROW}).encode(), path="/predict")
    assert status == (200 if features == "table" else 400)
    assert features == "table" or "needs the strokes" in json.loads(said)["message"]


@pytest.mark.parametrize(("body", "says"), [
    ("", "body|JSON|required"),
    ("{", "1: Expecting property name"),
    ("{}", "one of inputs, dataframe_split, dataframe_records"),
    ('{"inputs": [[0]], "dataframe_records": []}', "inputs 0: List should have at least 16"),
    ('{"rows": []}', "rows: Extra inputs"),
    ('{"a\\n\\u001b": 1}', r"a \?: Extra inputs"),
    (json.dumps({"inputs": [[101, *ROW[1:]]]}), "inputs 0 0: Input should be less than or equal to 100"),
    (json.dumps({"inputs": [ROW] * 10_001}), "at most 10000"),
    (json.dumps({"dataframe_split": {"columns": ["x1"] * 16, "data": [ROW]}}), "columns must be x1, y1"),
    (json.dumps({"dataframe_records": [{"x1": 1}]}), "dataframe_records: record 0 lacks y1"),
    (json.dumps({"dataframe_split": {"columns": ["x1"], "data": [[1, 2]]}}), "y1 is missing"),
    (json.dumps({"inputs": {"x1": [1], "y1": [1, 2]}}), "the same number of values"),
    (json.dumps({"inputs": [[[]]]}), "inputs 0 0 0: List should have at least 2 items"),
    (json.dumps({"inputs": [[[[1, 2]], [[1, 2]]]]}), "two different points"),
    ('{"inputs": [[[[1, 2], [NaN, 1]]]]}', "finite number"),
    (json.dumps({"inputs": [[[[i, i] for i in range(20_001)]]]}), "at most 20000"),
    ('{"inputs": [' + "[]," * 600_000 + "[]]}", "at least 16"),
], ids=lambda value: str(value)[:30])  # fmt: skip
def test_a_refusal_is_one_line(app: Any, body: str, says: str) -> None:
    status, said = ask(app, body.encode())
    told = json.loads(said)
    assert status == 400
    assert re.search(says, told["message"]), told
    assert told["message"].isprintable()
    assert told["error_code"] == "BAD_REQUEST"


def test_a_large_body_is_refused_before_it_is_read_and_no_other_file_is_shown(app: Any) -> None:
    for path in ("/redoc", "/invocations/x", "/static/../application.py", "/source/../../params.yaml"):
        assert ask(app, b"", path=path, method="GET")[0] == 404
    assert {"/invocations", "/predict"} <= set(
        json.loads(ask(app, b"", path="/openapi.json", method="GET")[1])["paths"]
    )
    assert ask(app, b"[" * (MOST_BYTES + 1))[0] == 413
    assert ask(app, b"{}", {"content-length": "9" * 5000})[0] == 413


HEADERS = {
    200: """host LOCALHOST, host localhost:5050 origin http://localhost:5050,
        sec-fetch-site cross-site sec-fetch-mode navigate, sec-fetch-site same-origin sec-fetch-mode cors""",
    400: """host evil.example, host 127.0.0.1.evil.example, host localhost:evil.example,
        host localhost:5050@evil.example""",
    415: "content-type text/plain",
    403: """origin http://evil.example, origin null, origin http://localhost:3000,
        sec-fetch-site cross-site sec-fetch-mode no-cors, sec-fetch-site same-site sec-fetch-mode cors""",
}


@pytest.mark.parametrize("status", HEADERS)
def test_only_requests_under_its_own_name_are_answered(app: Any, status: int) -> None:
    given = [dict(zip(words[::2], words[1::2], strict=True)) for words in map(str.split, HEADERS[status].split(","))]
    for headers in given + ([{"host": ""}] if status == 400 else []):
        answered, said = ask(app, json.dumps(BODIES[0]).encode(), headers)
        assert answered == status, headers
        assert json.loads(said).keys() == ({"predictions"} if status == 200 else {"error_code", "message"})


def test_a_fault_of_ours_shows_no_traceback(app: Any, model: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(rows: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(model, "probabilities", broken)
    status, said = ask(app, json.dumps(BODIES[0]).encode())
    assert (status, json.loads(said)["message"]) == (500, "the server failed; its log says why")


def test_a_missing_content_type_is_named(app: Any) -> None:
    status, said = ask(app, b'{"inputs": []}', {"content-type": ""})
    assert status == 415
    assert "Content-Type must be application/json" in json.loads(said)["message"]


def test_a_folder_without_a_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["serve", str(tmp_path)])
    for command in (serve, draw):
        with pytest.raises(StageError, match="does not exist") as refused:
            command.main()
        assert str(refused.value).isprintable()
        monkeypatch.setattr("sys.argv", ["draw"])
    monkeypatch.setattr("sys.argv", ["serve", str(tmp_path)])
    monkeypatch.setattr("sys.argv", ["serve", str(tmp_path), "--port", "65536"])
    with pytest.raises(SystemExit):
        serve.main()


# Over a socket
SECONDS = 3  # for a connection, in these tests


def start(folder: Path, port: int, log: Path) -> "subprocess.Popen[bytes]":
    """`make serve`, with fewer seconds for a connection and fewer file descriptors."""
    code = "import os\nif os.name != 'nt': import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (700, 700))\n"
    code += f"from commands import serve; serve.SECONDS = {SECONDS}\nfrom runtime import script; script.run(serve.main)"
    command = [sys.executable, "-c", code, str(folder), "--port", str(port)]
    with log.open("wb") as said:
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        return subprocess.Popen(command, env=environment, stdout=said, stderr=said)


def is_up(port: int) -> bool:
    return ask_server(port, path="/ping")[0] == 200


def ask_server(port: int, body: bytes | None = None, path: str = "/invocations") -> tuple[int, bytes]:
    return asked(f"http://127.0.0.1:{port}{path}", body)


@pytest.fixture(scope="module")
def port(model: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("served")
    save(model, folder)
    number = free_port()
    server = start(folder, number, folder / "log")
    wait_for(lambda: server.poll() is not None or is_up(number))
    yield number
    server.terminate()
    server.wait(20)
    said = (folder / "log").read_text()
    assert said.startswith(f"http://127.0.0.1:{number}/invocations  (Ctrl-C ends it)\n")
    assert "Traceback" not in said


def test_it_serves_what_is_in_the_folder(port: int, model: Recognizer) -> None:
    status, said = ask_server(port, json.dumps({"inputs": [ROW] * 500}).encode())
    assert (status, len(json.loads(said)["predictions"])) == (200, 500)
    expected = {"dataset": "synthetic", "parameters": model.network.n_parameters}
    assert json.loads(ask_server(port, path="/version")[1]) == expected


def test_the_sender_of_an_enormous_body_reads_why_it_is_refused(port: int) -> None:
    status, said = ask_server(port, b"[" * 50_000_000)
    assert (status, json.loads(said)["message"]) == (413, "a body may have 2,000,000 bytes at most")


def test_a_hundred_trainings_are_refused_and_those_that_run_end_with_their_connections(port: int) -> None:
    body = json.dumps({"epochs": 1000, "pace": 0.02}).encode()
    head = b"POST /train HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

    def start_many(number: int) -> list[bytes]:
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(connection) for connection in connections(port, number)]
            for connection in held:
                connection.sendall(head % len(body) + body)
            answers = [connection.recv(100).split()[1] for connection in held]
            assert ask_server(port, json.dumps(BODIES[0]).encode())[0] == 200
            return sorted(answers)

    assert start_many(100) == [b"200"] * 4 + [b"429"] * 96
    wait_for(lambda: start_many(4) == [b"200"] * 4, 20)


HEAD = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("sent", [
    b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
    b"GET /ping HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.example\r\n\r\n",
    b"POST /invocations/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3 + b"\x00\xff", HEAD + b"Content-Length: -1\r\n\r\n",
    HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx", CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
], ids=lambda sent: repr(sent[:20]) + str(len(sent)))  # fmt: skip
def test_what_is_not_http_is_refused_and_the_server_stays(port: int, sent: bytes) -> None:
    said = b""
    with contextlib.suppress(ConnectionError), connections(port, 1)[0] as connection:
        connection.sendall(sent)
        while more := connection.recv(10_000):
            said += more
    assert said == b"" or re.match(rb"HTTP/1.1 4\d\d ", said)
    assert b"Traceback" not in said
    if sent.startswith(CHUNKED):
        assert said.startswith(b"HTTP/1.1 411 ")
    assert is_up(port)


def test_a_request_that_does_not_end_is_cut_off_also_if_bytes_come(port: int) -> None:
    unfinished = [b"", HEAD, HEAD + b"Content-Length: 99\r\n\r\n{", HEAD + b"Content-Length: 9999\r\n\r\n"]
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connection) for connection in connections(port, len(unfinished))]
        for connection, sent in zip(held, unfinished, strict=True):
            connection.sendall(sent)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begun < 20:
                held[-1].sendall(b"[")
                time.sleep(0.05)
        for connection in held:
            with contextlib.suppress(ConnectionError):
                while connection.recv(1000):
                    pass
    assert SECONDS - 1 < time.monotonic() - begun < 20


def connections(port: int, number: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(number)]


@pytest.mark.slow
@pytest.mark.parametrize("more", [10, 800 - serve.MOST_CONNECTIONS], ids=["than it takes", "than file descriptors"])
def test_more_connections_are_refused_until_the_first_are_cut_off(port: int, more: int) -> None:
    idle = connections(port, serve.MOST_CONNECTIONS + more)
    if more < serve.MOST_CONNECTIONS:
        assert ask_server(port, json.dumps(BODIES[0]).encode())[0] == 503
    time.sleep(SECONDS + 1)
    wait_for(lambda: is_up(port), 20)
    for connection in idle:
        connection.close()
