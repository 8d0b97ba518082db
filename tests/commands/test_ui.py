"""Where `make ui` says that the page is; test_page.py looks at the page itself."""

import pytest

from commands import ui
from tracking import store as store_module
from tracking.store import Store, store_uri


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is not asked for anything but its experiment's id."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(store_module, "open_store", lambda: Store(None, "7"))  # type: ignore[arg-type]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """What a server was started with, if one was."""
    calls: list[tuple[str, str, int]] = []
    monkeypatch.setattr(ui, "serve", lambda *arguments: calls.append(arguments))
    return calls


def test_a_tracking_server_shows_the_runs_itself(
    served: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000/")
    ui.main()
    address = "http://server:5000/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=pendigits"
    assert capsys.readouterr().out == f"MLFLOW_TRACKING_URI is set; its server shows the runs at {address}\n"
    assert not served


def test_the_page_goes_to_the_next_free_port(
    served: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ui, "is_free", lambda port: port >= 5002)
    ui.main()
    assert served == [(store_uri(), "7", 5002)]
    assert capsys.readouterr().out == "Port 5000 is taken, so it is 5002.\n"


def test_the_browser_is_set_up_once_for_each_set_of_settings() -> None:
    first, second = ui.script(ui.settings("1")), ui.script(ui.settings("2"))
    assert first != second
    mark = first.split("'")[3]
    assert first.count(mark) == 2
    assert mark not in second
    assert "</" not in first


@pytest.mark.parametrize(
    ("method", "path", "done"),
    [
        ("GET", "/", True),
        ("GET", "/get-artifact", True),
        ("POST", "/ajax-api/2.0/mlflow/runs/search", True),
        ("POST", "/ajax-api/2.0/mlflow/runs/set-tag", True),
        ("POST", "/api/2.0/mlflow/experiments/set-experiment-tag", True),
        ("PATCH", "/ajax-api/2.0/mlflow/registered-models/update", True),
        ("POST", "/ajax-api/2.0/mlflow/logged-models", True),
        ("POST", "/graphql", True),
        ("POST", "/ajax-api/2.0/mlflow/experiments/create", False),
        ("POST", "/ajax-api/2.0/mlflow/experiments/create/", False),
        ("POST", "/api/2.0/mlflow/runs/create", True),
        ("POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run", False),
        ("POST", "/ajax-api/2.0/mlflow/upload-artifact", False),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/x", False),
        ("POST", "/api/2.0/mlflow/webhooks", False),
        ("POST", "/ajax-api/3.0/jobs/", False),
        ("POST", "/gateway/proxy/x/y", False),
        ("POST", "/v1/traces", False),
        ("POST", "/x/graphql", False),
        ("GET", "/ajax-api/2.0/mlflow/artifacts/list", True),
        ("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", True),
        ("GET", "/static-files/static/js/main.js", True),
        ("GET", "/ajax-api/3.0/mlflow/assistant/providers/claude_code/health", False),
        ("GET", "/ajax-api/3.0/mlflow/assistant/providers/ollama/models", False),
        ("GET", "/ajax-api/2.0/mlflow/gateway-proxy", False),
        ("GET", "/model-versions/get-artifact", False),
        ("GET", "/ajax-api/3.0/jobs/x", False),
    ],
)
def test_it_reads_and_changes_runs_and_does_nothing_else(method: str, path: str, done: bool) -> None:
    assert ui.does(method, path) == done
