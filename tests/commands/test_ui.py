"""`make ui`: where the page is, what the server does and refuses; test_page.py looks at the page in a browser."""

import contextlib
import json
import signal
from pathlib import Path

import pytest
from tests.mlflow_store import MLFLOW_WARNS, copy_store
from tests.ui_at_work import asked, ui_at_work

from commands import ui
from tracking.address import store_uri
from tracking.store import Store

pytestmark = MLFLOW_WARNS
SERVERS_PAGE = "http://server:5000/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=pendigits"


@pytest.mark.parametrize(("uri", "port", "said"), [
    ("", 5002, "Port 5000 is taken; using 5002.\n"),
    ("http://server:5000/", None, f"MLFLOW_TRACKING_URI is set; its server shows the runs at {SERVERS_PAGE}\n"),
], ids=["the next free port", "a tracking server shows the runs itself"])  # fmt: skip
def test_the_page_is_where_it_says(
    uri: str, port: int | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[tuple[str, str, int]] = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(ui, "one_line_faults", contextlib.nullcontext)  # without MLflow, which takes seconds
    monkeypatch.setattr(ui, "open_store", lambda: Store(None, "7"))  # type: ignore[arg-type]
    monkeypatch.setattr(ui, "serve", lambda *arguments: served.append(arguments))
    monkeypatch.setattr(ui, "is_free", lambda port: port >= 5002)
    ui.main()
    assert (served, capsys.readouterr().out) == ([(store_uri(), "7", port)] if port else [], said)


DONE = """GET /, GET /get-artifact, GET /static-files/static/js/main.js, GET /ajax-api/2.0/mlflow/artifacts/list,
    GET /ajax-api/2.0/mlflow/metrics/get-history-bulk-interval, POST /ajax-api/2.0/mlflow/runs/search,
    POST /ajax-api/2.0/mlflow/runs/set-tag, POST /api/2.0/mlflow/runs/create, POST /graphql,
    POST /api/2.0/mlflow/experiments/set-experiment-tag, PATCH /ajax-api/2.0/mlflow/registered-models/update,
    POST /ajax-api/2.0/mlflow/logged-models, GET /model-versions/get-artifact,
    GET /ajax-api/2.0/mlflow/gateway-proxy"""
NOT_DONE = """POST /ajax-api/2.0/mlflow/experiments/create, POST /ajax-api/2.0/mlflow/experiments/create/,
    POST /ajax-api/2.0/mlflow/runs/create-promptlab-run, POST /ajax-api/2.0/mlflow/upload-artifact,
    PUT /api/2.0/mlflow-artifacts/artifacts/x, POST /api/2.0/mlflow/webhooks, POST /ajax-api/3.0/jobs/,
    POST /gateway/proxy/x/y, POST /v1/traces, POST /x/graphql, POST /get-artifact, GET /ajax-api/3.0/jobs/x,
    GET /ajax-api/3.0/mlflow/assistant/providers/claude_code/health,
    GET /ajax-api/3.0/mlflow/assistant/providers/ollama/models, POST /ajax-api/2.0/mlflow/gateway-proxy"""


@pytest.mark.parametrize(("requests", "done"), [(DONE, True), (NOT_DONE, False)], ids=["done", "not done"])
def test_it_reads_and_changes_runs_and_does_nothing_else(requests: str, done: bool) -> None:
    for request in requests.split(","):
        assert ui.does(*request.split()) == done, request


@pytest.mark.slow
def test_the_server_answers_its_page_alone(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    copy_store(empty_store, tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with ui_at_work(tmp_path / "elsewhere", signal.SIGHUP) as address:
        page, _, place = address.partition("/#/")
        api = f"{page}/api/2.0/mlflow"
        by_name = f"{api}/experiments/get-by-name?experiment_name=pendigits"
        experiment = json.loads(asked(by_name)[1])["experiment"]["experiment_id"]
        assert place == f"experiments/{experiment}/runs"
        assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["said"]
        assert asked(f"{page}/health", headers={"Host": "localhost:8080"})[0] == 200  # through a tunnel
        assert asked(f"{page}/health", headers={"Host": "x.example"})[0] == 400
        change = f"{api}/experiments/set-experiment-tag"
        tag = json.dumps({"experiment_id": experiment, "key": "who", "value": "me"}).encode()
        for origin, expected in (("http://x.example", 403), (page, 200)):
            assert asked(change, tag, {"Origin": origin})[0] == expected
        assert asked(change, tag, {"Content-Length": str(ui.MOST_BYTES + 1)})[0] == 413
        elsewhere = json.dumps({"name": "x", "artifact_location": str(tmp_path / "written")}).encode()
        for way in ("experiments/create", "experiments//create", "upload-artifact?run_uuid=x&path=y", "webhooks"):
            assert asked(f"{api}/{way}", elsewhere)[0] in (308, 403), way
