"""`make champion`: register the model of the best run, or of a named run, under the alias `champion`.

A model that does worse than the champion on the validation rows is refused; test figures do not count. A program loads
the champion as ``mlflow.pyfunc.load_model("models:/pendigits@champion")``.
"""

import sys
from typing import TYPE_CHECKING

from pipeline import paths
from pipeline.errors import StageError
from pipeline.params import load_params
from runtime.script import say
from tracking.store import one_line_faults, open_store
from utils import one_line

from . import ranking

if TYPE_CHECKING:
    from mlflow import MlflowClient, entities

ALIAS = "champion"


def main() -> None:
    with one_line_faults():
        store = open_store()
        runs = ranking.finished_runs(store)
        say(crown(store.client, candidate(runs, sys.argv[1:])))


def candidate(runs: list["entities.Run"], names: list[str]) -> "entities.Run":
    """The named run, or the best run on the data set of params.yaml.

    Raises:
        StageError: if there is none.
    """
    if names:
        return ranking.named(runs, names[0])[0]
    return ranking.ranked(runs, load_params(paths.project_root() / "params.yaml").name)[0]


def crown(client: "MlflowClient", run: "entities.Run") -> str:
    """Give the alias to a run's model; returns a line for the user.

    Raises:
        StageError: if the present champion does better, or was validated on other rows.
    """
    reigning, name = reigning_over(client, run), run.data.tags["dataset"]
    if reigning and reigning.info.run_id == run.info.run_id:
        return f"{_name(run)} is the champion of {name} already: {ranking.merit_shown(run)}"
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description="The best network so far has the alias champion.")
    model_id = run.outputs.model_outputs[0].model_id
    version = client.create_model_version(name, f"models:/{model_id}", run.info.run_id, model_id=model_id)
    client.set_registered_model_alias(name, ALIAS, version.version)
    after = f", after {_name(reigning)}: {ranking.merit_shown(reigning)}" if reigning else ""
    reads = [each.data.params.get("features", "table") for each in (run, reigning or run)]
    other = f"; it takes another input: features: {reads[0]}, not {reads[1]}" if reads[0] != reads[1] else ""
    return f"models:/{name}@{ALIAS} is now {_name(run)}: {ranking.merit_shown(run)}{after}{other}"


def outlook(client: "MlflowClient", run: "entities.Run") -> str:
    """What `make champion` would do with the best run: the command, or a line that says why it would do nothing."""
    try:
        reigning = reigning_over(client, run)
    except StageError as error:
        return str(error)
    is_champion = reigning and reigning.info.run_id == run.info.run_id
    return f"it is models:/{run.data.tags['dataset']}@{ALIAS}" if is_champion else "make champion (registers its model)"


def reigning_over(client: "MlflowClient", run: "entities.Run") -> "entities.Run | None":
    """The present champion, which the run may replace.

    Raises:
        StageError: if it may not, or the run has no model.
    """
    if not run.outputs or not run.outputs.model_outputs or "dataset" not in run.data.tags:
        raise StageError(f"{_name(run)} has no model in MLflow; `make sync` logs it")
    if reigning := champion_of(client, run.data.tags["dataset"]):
        refuse_worse(run, reigning)
    return reigning


def champion_of(client: "MlflowClient", name: str) -> "entities.Run | None":
    """The run of the registered model's champion, if there is one."""
    for registered in client.search_registered_models(f"name = '{name}'"):
        if ALIAS in registered.aliases:
            version = client.get_model_version(name, registered.aliases[ALIAS])
            if not (version.run_id and isinstance(version.run_id, str)):  # it was registered by hand
                raise StageError(
                    f"the champion, version {one_line(version.version, 20)} of {name} in MLflow, belongs to no run, so "
                    f"no run can be compared with it; remove its alias {ALIAS} in `make ui`"
                )
            run = client.get_run(version.run_id)
            ranking.check_metrics(run)
            return run
    return None


def refuse_worse(run: "entities.Run", reigning: "entities.Run") -> None:
    """Raise StageError unless the run does at least as well as the champion, on the same validation rows."""
    if not ranking.comparable(run, reigning):
        raise StageError(
            f"refused: {_name(run)} was validated on other rows than the champion, {_name(reigning)}, "
            "so their figures cannot tell which is better; run it with the champion's data set and split"
        )
    if ranking.merit(run) < ranking.merit(reigning):
        raise StageError(
            f"refused: {_name(run)} ({ranking.merit_shown(run)}) does worse than the champion, "
            f"{_name(reigning)} ({ranking.merit_shown(reigning)})"
        )


def _name(run: "entities.Run") -> str:
    return one_line(run.info.run_name, 60)
