"""`make ui`: serve MLflow's page of the project's runs, to this machine only.

MLflow stores the settings of its page in the browser, where the server cannot set them: the columns of the table,
training or GenAI, whether the Assistant opens by itself. So this server adds a script to the page that sets them once.
Later changes in the browser stay. Another script lets the comparison of runs open on what differs.
"""

import hashlib
import json
import os
import re
import socket
import warnings
from pathlib import Path
from typing import Any

from pipeline.paths import project_root
from runtime.script import say
from tracking.address import ARTIFACTS, PEN_DIGITS, experiment_name, store_uri
from tracking.store import one_line_faults, open_store, view

HOST, FIRST_PORT = "127.0.0.1", 5000
MOST_BYTES = 5_000_000  # of a request
SECONDS = 300.0  # from connection to the last byte of the answer, which may be a large file
MOST_CONNECTIONS = 64  # at a time
PAGE = re.compile(
    r"/|/(health|version|(model-versions/)?get-artifact)|/(static-files|build)/.*|/ajax-api/2.0/mlflow/gateway-proxy"
)
ONLY_DIFFERENCES = """new MutationObserver(() => document.querySelectorAll(
    "button[aria-label$='Show diff only']:not([data-seen])").forEach(button => {
        button.dataset.seen = true; if (button.getAttribute('aria-checked') === 'false') button.click()})
).observe(document, {childList: true, subtree: true})"""
DONE = re.compile(  # what the page asks for: searches, and changes of the runs and models there are
    r"/(ajax-)?api/2\.0/mlflow/(experiments(?!/create)|runs(?!/create-promptlab)|metrics|artifacts/list|logged-models"
    r"|registered-models|model-versions)(/.*)?|/(ajax-)?api/3\.0/mlflow/(server-info|traces/search)|/graphql"
)


def main() -> None:
    """Print the address of the page, and serve it unless MLFLOW_TRACKING_URI names a server."""
    with one_line_faults():
        experiment = open_store().experiment_id
    uri = store_uri()
    if uri.startswith("http"):
        shown = f"workflowType=machine_learning&viewStateShareKey={experiment_name()}"
        page = f"{uri.rstrip('/')}/#/experiments/{experiment}/runs?{shown}"
        say(f"MLFLOW_TRACKING_URI is set; its server shows the runs at {page}")
        return
    port = next(port for port in range(FIRST_PORT, 65536) if is_free(port))
    if port != FIRST_PORT:
        say(f"Port {FIRST_PORT} is taken; using {port}.")
    serve(uri, experiment, port)


def serve(uri: str, experiment: str, port: int) -> None:
    """Run MLflow's server for the store at ``uri``, until Ctrl-C."""
    from mlflow import server

    os.environ[server.BACKEND_STORE_URI_ENV_VAR] = uri
    os.environ[server.ARTIFACT_ROOT_ENV_VAR] = str(project_root() / ARTIFACTS)
    os.environ.pop("MLFLOW_DEPLOYMENTS_TARGET", None)  # gateway-proxy calls no other server then; the page asks it
    with warnings.catch_warnings():  # MLflow and what it uses warn of each other
        warnings.simplefilter("ignore")
        from mlflow.server import fastapi_app

        from web.server_limits import Bounds, listen

    index = Path(str(server.app.static_folder), "index.html").read_text(encoding="utf-8")
    script = local_storage_script(settings(experiment))
    page = index.replace("<head>", f"<head><script>{script};{ONLY_DIFFERENCES}</script>", 1)
    server.app.view_functions["serve"] = lambda: page
    say(f"MLflow is at http://{HOST}:{port}/#/experiments/{experiment}/runs  (Ctrl-C ends it)")
    listen(Bounds(fastapi_app.app, MOST_BYTES, [HOST, "localhost"], does), HOST, port, SECONDS, MOST_CONNECTIONS)


def does(method: str, path: str) -> bool:
    """Whether this server answers a request of this method and path.

    MLflow's server can do much more. It accepts files, and writes them to any place that an experiment names. It calls
    other servers and starts programs, even for a GET request, which any web page can make a browser send. A page of
    finished runs needs none of this.
    """
    return bool(DONE.fullmatch(path) or (method in ("GET", "HEAD") and PAGE.fullmatch(path)))


def settings(experiment: str) -> dict[str, Any]:
    """The values for the browser's localStorage, under the names that MLflow's page uses."""
    return {
        f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState': view(experiment_name()),
        "mlflow.workflowType_v1": "machine_learning",
        "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
        "mlflow.telemetry.info.alert.dismissed_v1": True,
        "mlflow.settings.telemetry.enabled_v1": False,
    }


def local_storage_script(wanted: dict[str, Any]) -> str:
    """JavaScript that puts values into localStorage, unless it has put the same values there before."""
    values = json.dumps({key: json.dumps(value) for key, value in wanted.items()})
    mark = hashlib.sha256(values.encode()).hexdigest()[:16]
    return (
        f"if (localStorage.getItem('{PEN_DIGITS}') !== '{mark}') {{"
        f"Object.entries({values}).forEach(([key, value]) => localStorage.setItem(key, value));"
        f"localStorage.setItem('{PEN_DIGITS}', '{mark}')}}"
    )


def is_free(port: int) -> bool:
    """Whether no program listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0
