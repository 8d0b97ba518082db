"""`make serve` and `make draw`: serve a trained network on this machine, for programs and as a page to draw on.

Both start the same server. GET / is the page, POST /predict and /invocations recognize digits. A network over a table
of your own has no page; POST /invocations predicts its rows. The server limits the cost of a request, and answers only
requests to its own host name, so that a page of another site cannot use it.
"""

import argparse
import shlex
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from pipeline.model import Model, read_model
from pipeline.tabular.model import TableModel
from runtime.script import say
from web.application import STREAMS, application
from web.server_limits import listen
from web.table import table_application

HOST, PORT = "127.0.0.1", 5050
OWN_NAMES = ["127.0.0.1", "localhost"]
SECONDS = 10.0  # from connection to the last byte of the answer
STREAM_SECONDS = 600.0  # the same for a live training
MOST_CONNECTIONS = 128  # at a time; more are answered 503, more than twice as many are closed unanswered


def parser(description: str, port: int = PORT) -> argparse.ArgumentParser:
    """The arguments of both commands, but for the model."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--host", default=HOST, help="the address to listen on; default: this machine only")
    made.add_argument("--port", type=int, default=port)
    made.add_argument("--name", action="append", default=[], help="a name by which others reach the host; repeatable")
    return made


def main() -> None:
    arguments = parser("Serve a trained network.")
    arguments.add_argument("folder", nargs="?", default="models", help="the folder with network.npz and network.json")
    chosen = parsed(arguments)
    start(read_model(Path(chosen.folder)), chosen, "/invocations")


def parsed(arguments: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, with a port that is one."""
    chosen = arguments.parse_args()
    if not 0 <= chosen.port <= 65535:
        arguments.error(f"a port is a number from 0 to 65535, not {chosen.port}")
    return chosen


def start(model: Model, chosen: argparse.Namespace, path: str) -> None:
    """Print the address and serve until Ctrl-C."""
    names = [*OWN_NAMES, *chosen.name]
    app = table_application(model, names) if isinstance(model, TableModel) else application(model, names)
    address = f"http://{chosen.host}:{chosen.port}{path}"
    say(f"{address}  (Ctrl-C ends it)")
    if isinstance(model, TableModel):
        say(f"an example, with the mean of each number:\n{request(model, address)}")
    options: dict[str, Any] = {"streams": {STREAMS: STREAM_SECONDS}, "lifespan": "off", "server_header": False}
    with threadpool_limits(1):  # more threads make the products of one digit ten times slower
        listen(app, chosen.host, chosen.port, SECONDS, MOST_CONNECTIONS, **options)


def request(model: TableModel, address: str) -> str:
    """A shell command that asks for the prediction of a row that the model takes."""
    rows = model.encoder.example().to_json(orient="records", force_ascii=False)
    body = f'{{"dataframe_records": {rows}}}'
    return shlex.join(["curl", address, "-H", "Content-Type: application/json", "-d", body])
