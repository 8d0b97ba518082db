"""`make draw`: a page on which you draw a digit, see the network think, and take it apart.

It serves the network in models/, or that of a run in MLflow: make draw RUN=name.
"""

import tempfile
from pathlib import Path

from pipeline.errors import StageError
from pipeline.model import Model, read_model
from pipeline.paths import MODELS
from pipeline.tabular.model import TableModel

from . import serve

PORT = 5051


def main() -> None:
    arguments = serve.parser("Draw digits and see the network think.", PORT)
    arguments.add_argument("run", nargs="?", help="a run in MLflow; default: the network in models/")
    chosen = serve.parsed(arguments)
    model = model_of_run(chosen.run) if chosen.run else read_model(MODELS)
    if isinstance(model, TableModel):
        raise StageError("the network reads a table of your own, not digits; `make serve` predicts its rows")
    serve.start(model, chosen, "/")


def model_of_run(name: str) -> Model:
    """The network of a finished run.

    Raises:
        StageError: if there is no such run, or its network is lost.
    """
    from tracking.store import one_line_faults, open_store  # here: MLflow takes seconds, and models/ needs none of it

    from . import ranking

    with one_line_faults():
        from mlflow.exceptions import MlflowException

        store = open_store()
        run = ranking.named(ranking.finished_runs(store), name)[0]
        with tempfile.TemporaryDirectory() as folder:
            try:
                return read_model(Path(store.client.download_artifacts(run.info.run_id, "weights", folder)))
            except (OSError, MlflowException):
                raise StageError(f"the run {name} has lost its network; `make sync` logs it again") from None
