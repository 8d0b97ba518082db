"""The server of `make serve`: what it answers, what it refuses, and what it costs who asks for too much."""

import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tools.lies import ROOT, ask, damaged_body

from commands import serve
from data_sets.pendigits import FEATURES
from neural_net import Network, dense_layers
from pen.features import FEATURE_SETS
from pen.recognizer import Recognizer, recognizer_files
from pipeline.errors import StageError

ROW = [47, 100, 27, 81, 57, 37, 26, 0, 0, 23, 56, 53, 100, 90, 40, 98]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def model() -> Recognizer:
    return Recognizer(Network(dense_layers([8], 10), 16, rng=np.random.default_rng(0)), "synthetic")


@pytest.fixture(scope="module")
def app(model: Recognizer) -> Any:
    return serve.application(model, serve.OWN_NAMES)


def shuffled(row: list[int]) -> tuple[list[str], list[int]]:
    order = list(range(16))
    random.Random(0).shuffle(order)
    return [FEATURES[i] for i in order], [row[i] for i in order]


BODIES = [
    {"inputs": [ROW]},
    {"inputs": ROW},
    {"dataframe_split": {"data": [ROW]}},
    {"dataframe_split": dict(zip(("columns", "data"), (shuffled(ROW)[0], [shuffled(ROW)[1]]), strict=True))},
    {"dataframe_split": {"index": [0], "columns": FEATURES, "data": [ROW]}},
    {"dataframe_records": [dict(zip(*shuffled(ROW), strict=True))]},
]


@pytest.mark.parametrize("body", BODIES)
def test_every_form_gives_the_same_answer(app: Any, model: Recognizer, body: dict[str, Any]) -> None:
    status, said = ask(app, json.dumps(body).encode())
    assert status == 200
    (answer,) = json.loads(said)["predictions"]
    p = model.predict_proba([ROW])[0]
    assert answer == {"digit": int(p.argmax())} | {f"p{digit}": float(p[digit]) for digit in range(10)}


def test_no_rows_give_no_answers(app: Any) -> None:
    assert ask(app, b'{"inputs": []}') == (200, b'{"predictions":[]}')


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "body|JSON|required"),
        ("{", "1: Expecting property name"),
        ("[" * 100_000, "pars"),
        ("[]", "valid dictionary"),
        ("{}", "one of inputs, dataframe_split, dataframe_records"),
        ('{"inputs": [[0]], "dataframe_records": []}', "inputs 0: List should have at least 16"),
        ('{"inputs": [], "dataframe_records": []}', "one of inputs"),
        ('{"rows": []}', "rows: Extra inputs"),
        ('{"a\\n\\u001b": 1}', r"a \?: Extra inputs"),
        ('{"\\ud800": 1}', "unicode"),
        (json.dumps({"inputs": [[101, *ROW[1:]]]}), "inputs 0 0: Input should be less than or equal to 100"),
        (json.dumps({"inputs": [["1", *ROW[1:]]]}), "inputs 0 0: Input should be a valid number"),
        (json.dumps({"inputs": [[True, *ROW[1:]]]}), "inputs 0 0: Input should be a valid number"),
        (json.dumps({"inputs": [[float("nan"), *ROW[1:]]]}), "inputs 0 0"),
        (json.dumps({"inputs": [[10**400, *ROW[1:]]]}), "inputs 0 0"),
        (json.dumps({"inputs": [ROW] * 10_001}), "at most 10000"),
        (json.dumps({"dataframe_split": {"columns": ["x1"] * 16, "data": [ROW]}}), "columns must be x1, y1"),
        (json.dumps({"dataframe_records": [{"x1": 1}]}), "dataframe_records 0 y1: Field required"),
        ('{"inputs": [' + "[]," * 600_000 + "[]]}", "at least 16"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_refusal_is_one_line(app: Any, body: str, says: str) -> None:
    status, said = ask(app, body.encode())
    told = json.loads(said)
    assert status == 400
    assert re.search(says, told["message"]), told
    assert told["message"].isprintable()
    assert told["error_code"] == "BAD_REQUEST"


def test_a_large_body_is_refused_before_it_is_read(app: Any) -> None:
    assert ask(app, b"[" * (serve.MOST_BYTES + 1))[0] == 413
    assert ask(app, b"{}", {"content-length": "9" * 5000})[0] == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 400),
        ({"host": "127.0.0.1.evil.example"}, 400),
        ({"host": ""}, 400),
        ({"host": "localhost:evil.example"}, 400),
        ({"host": "localhost:5050@evil.example"}, 400),
        ({"host": "LOCALHOST"}, 200),
        ({"host": "localhost:5050", "origin": "http://localhost:5050"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
        ({"origin": "http://localhost:3000"}, 403),
        ({"content-type": "text/plain"}, 400),
    ],
)
def test_only_who_means_this_server_is_answered(app: Any, headers: dict[str, str], status: int) -> None:
    answered, said = ask(app, json.dumps(BODIES[0]).encode(), headers)
    assert answered == status
    assert json.loads(said).keys() == ({"predictions"} if status == 200 else {"error_code", "message"})


def test_a_fault_of_ours_shows_no_traceback(app: Any, model: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(rows: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(model, "predict_proba", broken)
    status, said = ask(app, json.dumps(BODIES[0]).encode(), fails=True)
    assert status == 500
    assert json.loads(said)["message"] == "the server failed; its log says why"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/", "/invocations/x"])
def test_there_is_no_page(app: Any, path: str) -> None:
    assert ask(app, b"", path=path, method="GET")[0] == 404


def test_a_network_over_ink_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(
        Recognizer(
            Network(["flatten", {"linear": {"n_out": 10}}], FEATURE_SETS["ink"].size, rng=np.random.default_rng(0)),
            "synthetic",
            1,
            "ink",
        ),
        tmp_path,
    )
    monkeypatch.setattr("sys.argv", ["serve.py", str(tmp_path)])
    with pytest.raises(StageError, match="holds a network over ink, and make serve takes rows of the table") as refused:
        serve.main()
    assert "\n" not in str(refused.value)


def test_a_port_that_there_is_not_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["serve.py", "models", "--port", "99999"])
    with pytest.raises(SystemExit):
        serve.main()
    assert "a port is a number from 0 to 65535, not 99999" in capsys.readouterr().err


# Over a socket


@pytest.fixture(scope="module")
def port(model: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("served")
    save_model(model, folder / "models")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    code = (
        "import resource, serve, stage; resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500)); "
        "serve.SECONDS = 3; stage.run(serve.main)"
    )
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", code, str(folder / "models"), "--port", str(number)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            stderr=log,
        )
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert server.poll() is None
        try:
            if post(number, b"", "GET", "/ping")[0] == 200:
                break
        except OSError:
            time.sleep(0.1)
    yield number
    server.terminate()
    server.wait(20)
    assert "Traceback" not in (folder / "log").read_text()


def post(port: int, body: bytes, method: str = "POST", path: str = "/invocations") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, JSON)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_serves_what_is_in_the_folder(port: int, model: Recognizer) -> None:
    status, said = post(port, json.dumps({"inputs": [ROW] * 500}).encode())
    assert status == 200
    assert len(json.loads(said)["predictions"]) == 500
    assert json.loads(post(port, b"", "GET", "/version")[1]) == {
        "dataset": "synthetic",
        "parameters": model.network.n_parameters,
    }


def test_damaged_bodies_over_a_socket(port: int) -> None:
    for number in range(300):
        body = damaged_body(random.Random(number), random.Random(number).choice(BODIES))
        status, said = post(port, body)
        assert status in (200, 400, 413), body
        assert len(said.splitlines()) == 1
    assert post(port, b"", "GET", "/ping")[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{",
    ],
    ids=["nothing", "half a head", "half a body"],
)
def test_who_does_not_finish_is_cut_off(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        start = time.monotonic()
        connection.sendall(sent)
        try:
            while connection.recv(1000):
                pass
        except ConnectionResetError:
            pass
        assert 2 < time.monotonic() - start < 20


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.example\r\n\r\n",
        b"POST /invocations/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3 + b"\x00\xff",
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:20]) + str(len(sent)),
)
def test_what_is_not_http_is_refused_and_the_server_stays(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        said = b""
        try:
            connection.sendall(sent)
            while more := connection.recv(10_000):
                said += more
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert said == b"" or re.match(rb"HTTP/1.1 4\d\d ", said)
    assert b"Traceback" not in said
    assert post(port, b"", "GET", "/ping")[0] == 200


def test_a_body_that_comes_byte_by_byte_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        start = time.monotonic()
        connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while time.monotonic() - start < 20:
                connection.sendall(b"[")
                time.sleep(0.05)
    assert 2 < time.monotonic() - start < 20


CHUNKED = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_body_in_chunks_is_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(CHUNKED + b"2\r\n{}\r\n0\r\n\r\n")
        assert connection.recv(10_000).startswith(b"HTTP/1.1 411 ")


def test_a_flood_of_tiny_chunks_keeps_no_one_waiting(port: int) -> None:
    flood, slowest = CHUNKED + b"1\r\nx\r\n" * 1_000_000, 0.0
    with contextlib.ExitStack() as open_until_the_end:
        for _ in range(8):
            connection = open_until_the_end.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                connection.sendall(flood)
            start = time.monotonic()
            assert post(port, b"", "GET", "/ping")[0] == 200
            slowest = max(slowest, time.monotonic() - start)
    assert slowest < 1


def waiting(port: int, number: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(number)]


def test_more_connections_than_it_takes_are_refused_until_the_first_are_cut_off(port: int) -> None:
    idle = waiting(port, serve.MOST_CONNECTIONS + 10)
    assert post(port, json.dumps(BODIES[0]).encode())[0] == 503
    time.sleep(5)
    assert post(port, json.dumps(BODIES[0]).encode())[0] == 200
    for connection in idle:
        connection.close()


def test_it_stays_when_there_are_more_connections_than_file_descriptors(port: int) -> None:
    idle = waiting(port, 700)
    time.sleep(5)
    assert post(port, json.dumps(BODIES[0]).encode())[0] == 200
    for connection in idle:
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_in_order(model: Recognizer, tmp_path: Path, number: signal.Signals) -> None:
    save_model(model, tmp_path / "models")
    command = [sys.executable, str(ROOT / "src/serve.py"), "models", "--port", "0"]
    pipe = subprocess.PIPE
    server = subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    assert server.stdout
    assert "Ctrl-C ends it" in server.stdout.readline()
    time.sleep(1)
    server.send_signal(number)
    assert "Traceback" not in server.communicate(timeout=30)[1]


def test_a_folder_without_a_network_is_said_in_a_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "src/serve.py"), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}/network.json does not exist; `dvc repro train` makes it\n"


def test_it_listens_here_alone_unless_told() -> None:
    assert serve.HOST == "127.0.0.1"
