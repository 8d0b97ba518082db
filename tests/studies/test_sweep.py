"""A sweep: its space, its draws, which trials are pruned, and that it goes on after any stop as if nothing had been."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from mlflow.exceptions import MlflowException
from tests.mlflow_store import MLFLOW_WARNS, copy_store

from commands import compare, ranking
from pipeline.errors import ParamsError, StageError
from pipeline.params import load_params
from pipeline.rows import Rows
from studies import cluster, sweep_report
from studies.cross_validate import overridden, with_values
from studies.folds import Data, Job, Outcome
from studies.space import Space, load_space
from studies.sweep import Settings, Sweep, log_trial
from studies.sweep_study import RESULT, identity, make_sampler, open_study, rungs
from tracking.store import open_store
from tracking.sweep_run import SweepRun

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml").model_copy(update={"hidden_layers": [8]})
WRITER = np.repeat(np.arange(1, 6), 4)
ROWS = Rows(np.zeros((20, 16), np.float32), np.arange(20) % 10, WRITER, np.arange(20))
FAULTS = {
    "lrr: [1, 2]": "lrr is not a parameter; did you mean lr?",
    "lr: {low: -1, high: 2}": "lr must be greater than 0, got -1",
    "epochs: {low: 10, high: 10}": "epochs: low must be less than high, got 10 and 10",
    "dropout: {low: 0, high: 1}": "dropout must be less than 1, got 1",
    "seed: [1, 2]": "seed has no influence on cross-validation",
    "activation: [gelu, tanhh]": "activation must be one of",
    "augment: {bend: {low: a, hihg: 3}, bent: [1, 2]}": "augment.bend.low must be a number, got 'a'",
    "hidden_layers: [[64], [64]]": "hidden_layers must have two values or more, all different, got [[64], [64]]",
    "optimizer: [adamw, {sgd: {momentun: 3}}]": "the option of optimizer sgd must be one of",
    "weight_decay: {low: 1e-5, high: 1e-2, log: true, step: 1}": "weight_decay: log and step exclude each other",
    "clip_norm: {low: 1, high: 2, step: 5}": "clip_norm: step must be greater than 0 and at most high - low, got 5",
    "warmup_epochs: 3": "warmup_epochs must be a range, {low: ..., high: ...}, or a list of values, got 3",
}
SPACE = """\
lr: {low: 1e-3, high: 0.1, log: true}
epochs: {low: 1, high: 9, step: 4}
dropout: {low: 0, high: 0.5, step: 0.1}
optimizer: [adamw, {sgd: {momentum: 0.9}}]
hidden_layers: [[16], [32, 16], []]
augment: {bend: {low: 0, high: 1}}
"""


def space_of(folder: Path, text: str = SPACE) -> Space:
    (folder / "mine.yaml").write_text(text)
    return load_space(folder / "mine.yaml", PARAMS)


def test_all_faults_of_a_space_are_told_at_once_in_a_line_each(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as error:
        space_of(tmp_path, "\n".join(FAULTS))
    lines = str(error.value).splitlines()
    assert [
        line for line in FAULTS.values() if not any(found.startswith(f"mine.yaml: {line}") for found in lines)
    ] == []
    assert "mine.yaml: augment.bent is not a parameter; did you mean augment.bend?" in lines
    assert "mine.yaml: augment.bend.hihg is not known; a range has low, high, log and step" in lines
    with pytest.raises(ParamsError, match=r"other.yaml does not exist; copy docs/sweep.yaml"):
        load_space(tmp_path / "other.yaml", PARAMS)
    load_space(ROOT / "docs/sweep.yaml", PARAMS)


def test_draws_are_of_the_parameters_type_short_and_within_their_range(tmp_path: Path) -> None:
    space, study = space_of(tmp_path), optuna.create_study(sampler=make_sampler("random", 0))
    drawn = [space.draw(study.ask()) for _ in range(50)]
    for values in drawn:
        with_values(PARAMS, values, "a trial")
    assert {values["epochs"] for values in drawn} == {1, 5, 9}
    assert {values["dropout"] for values in drawn} == {0, 0.1, 0.2, 0.3, 0.4, 0.5}
    assert {str(values["optimizer"]) for values in drawn} == {"adamw", "{'sgd': {'momentum': 0.9}}"}
    assert all(values["lr"] == float(f"{values['lr']:.4g}") for values in drawn)
    assert 0.3 < np.mean([values["lr"] < 0.01 for values in drawn]) < 0.7  # the middle of the log scale
    assert len({values["augment.bend"] for values in drawn}) > 40


@pytest.mark.parametrize(("kind", "at_once", "same"), [("random", 30, 30), ("tpe", 10, 10), ("tpe", 1, 30)])
def test_draws_depend_on_the_trials_number_alone_or_on_those_that_ended(
    kind: str, at_once: int, same: int, tmp_path: Path
) -> None:
    """With many trials at once, random ones stay as they are; and a new process goes on as the old one would have."""

    def drawn(at_once: int, restart: int) -> list[dict[str, Any]]:
        study, found = optuna.create_study(sampler=make_sampler(kind, 5)), []
        for first in range(0, 30, at_once):
            if first >= restart:
                study.sampler = make_sampler(kind, 5)
            trials = [study.ask() for _ in range(at_once)]
            found += [space.draw(trial) for trial in trials]
            for trial in reversed(trials):
                study.tell(trial, trial.params["lr"])
        return found

    space = space_of(tmp_path)
    assert drawn(1, 30)[:same] == drawn(at_once, 12)[:same]
    assert drawn(1, 30) != sorted(drawn(1, 30), key=lambda values: values["lr"])


class Here:
    """A cluster of one worker in this process, whose networks are the better the larger ``lr`` is."""

    def __init__(self, at_once: int = 2, stop_after: int = 10**9, lost: int = -1) -> None:
        self.at_once, self.stop_after, self.lost = at_once, stop_after, lost
        self.jobs: list[tuple[Any, Job]] = []
        self.trained: list[Any] = []

    @property
    def has_room(self) -> bool:
        return len(self.jobs) < self.at_once

    def submit(self, tag: Any, job: Job, priority: int = 0) -> None:
        self.jobs.append((tag, job))

    def forget(self, tags: Iterator[Any]) -> None:
        gone = set(tags)
        self.jobs = [(tag, job) for tag, job in self.jobs if tag not in gone]

    def wait(self, seconds: float) -> list[Any]:
        if len(self.trained) == self.stop_after:
            raise KeyboardInterrupt
        tag, job = self.jobs.pop(0)
        self.trained.append(tag)
        if tag[0] == self.lost:
            return [(tag, cluster.Lost("its worker died"))]
        held_out = ROWS.y[Data(ROWS).fold_of_rows(job.folds) == job.fold]
        right = np.eye(10)[held_out] * (1 + 10 * job.params.lr + job.fold / 7 + job.params.seed / 3)
        log_p = right - np.logaddexp.reduce(right, axis=1, keepdims=True)
        log_p[0] = log_p[0, ::-1]
        return [(tag, Outcome(log_p, {"accuracy": job.params.lr, "loss": 0.5}, np.array([2.0, 1.0]), 3.0))]


def sweep_in(
    folder: Path, here: Here, trials: int = 9, *, prune: bool = True, seeds: int = 1, ended: Any = None
) -> optuna.Study:
    space = space_of(folder, "lr: {low: 1e-3, high: 0.1, log: true}")
    study = open_study(f"sqlite:///{folder}/studies.db", "s", "made of", make_sampler("random", 0), prune)
    settings = Settings(space, PARAMS, {}, Data(ROWS), trials, 5, seeds, rungs(5) if prune else [5], folder)
    Sweep(study, here, settings, ended or (lambda trial, outcomes: None)).run()  # type: ignore[arg-type]
    return study


def found(study: optuna.Study) -> list[Any]:
    return [(trial.state.name, trial.params, trial.value) for trial in study.trials]


def test_half_of_the_trials_are_pruned_after_one_fold_and_after_two(tmp_path: Path) -> None:
    here = Here(at_once=1)
    study = sweep_in(tmp_path, here, 16)
    assert rungs(5) == [1, 2, 5]
    folds = [len(trial.user_attrs[RESULT]["by_fold"]) for trial in study.trials]
    assert here.trained == [(number, (PARAMS.seed, fold)) for number, n in enumerate(folds) for fold in range(n)]
    assert set(folds) == {1, 2, 5}
    assert [trial.state.name for trial in study.trials] == ["COMPLETE" if n == 5 else "PRUNED" for n in folds]
    assert sum(folds) < 0.6 * 5 * 16
    best = max(study.trials, key=lambda trial: trial.params["lr"])
    assert best.number == sweep_report.complete(study)[0].number == study.best_trial.number
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize("stop_after", [1, 7, 44])
def test_a_sweep_that_is_stopped_goes_on_and_trains_nothing_twice(stop_after: int, tmp_path: Path) -> None:
    whole, first, second = tmp_path / "whole", tmp_path / "stopped", Here(at_once=3)
    whole.mkdir()
    first.mkdir()
    expected = found(sweep_in(whole, Here(), prune=False))
    stopped = Here(at_once=3, stop_after=stop_after)
    with pytest.raises(KeyboardInterrupt):
        sweep_in(first, stopped, prune=False)
    assert found(sweep_in(first, second, prune=False)) == expected
    assert len(stopped.trained + second.trained) == len({*stopped.trained, *second.trained}) == 45
    assert len(found(sweep_in(first, Here(), 12, prune=False))) == 12  # extended
    with pytest.raises(StageError, match="the study s was made with another space, other parameters, data or code"):
        open_study(f"sqlite:///{first}/studies.db", "s", "of other things", make_sampler("tpe", 0), True)


def test_a_trial_whose_workers_die_has_failed_and_is_counted(tmp_path: Path) -> None:
    study = sweep_in(tmp_path, Here(lost=2), 4, prune=False)
    assert sweep_report.counts(study) == {"complete": 3, "pruned": 0, "failed": 1, "running": 0}
    assert sweep_report.row_of(study.trials[2]).endswith("its worker died")


def test_every_part_of_what_decides_a_score_makes_another_study(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    other = space_of(tmp_path, SPACE.replace("0.5", "0.4"))
    made = [(space, PARAMS, 5, 1, "code"), (other, PARAMS, 5, 1, "code"), (space, PARAMS, 5, 2, "code")]
    made += [(space, overridden(PARAMS, ["lr=1"]), 5, 1, "code"), (space, PARAMS, 5, 1, "other")]
    assert len({identity(*parts) for parts in made}) == len(made)
    assert identity(space, overridden(PARAMS, ["ece_bins=3"]), 5, 1, "code") == identity(*made[0])


def test_the_commands_for_the_best_set_its_values_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"lr": 1.5e-05, "optimizer": {"sgd": {"momentum": 0.9}}, "hidden_layers": [32, {"dropout": {"rate": 0.1}}]}
    values |= {"augment.bend": 0.1234, "clip_norm": None, "activation": "relu"}
    command = shlex.split(sweep_report.experiment(values))
    parsed = OverridesParser.create().parse_overrides(command[4::2])
    assert {override.key_or_group: override.value() for override in parsed} == values
    for some in values, {"lr": 0.02, "hidden_layers": [32, 16]}:
        (*_, made) = shlex.split(sweep_report.measurement(some, 5, 1))  # as the shell gives it to make,
        changes = shlex.split(made.removeprefix("S="))  # and make to its shell
        assert overridden(PARAMS, changes) == with_values(PARAMS, some, "the values")

    monkeypatch.chdir(tmp_path)
    before = (ROOT / "params.yaml").read_text()
    Path("params.yaml").write_text(before)
    sweep_report.apply({name: value for name, value in values.items() if name != "hidden_layers"})
    after = Path("params.yaml").read_text()
    assert load_params(Path("params.yaml")).augment.bend == 0.1234
    assert [line for line in before.splitlines() if line.startswith("#")] == re.findall("(?m)^#.*", after)
    assert "aspect: 0.1\n" in after
    with pytest.raises(ParamsError):
        sweep_report.apply({"lr": -1})
    assert Path("params.yaml").read_text() == after


@MLFLOW_WARNS
def test_mlflow_has_a_parent_with_a_child_for_each_trial_and_compare_names_the_sweep(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_store(empty_store, tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("PENDIGITS_TRACKING", "on")
    base = PARAMS.model_dump(mode="json")
    logged = SweepRun("s", base)
    settings = Settings(space_of(tmp_path), PARAMS, {}, Data(ROWS), 4, 5, 1, [5], tmp_path)
    study = sweep_in(
        tmp_path,
        Here(),
        4,
        prune=False,
        seeds=2,
        ended=lambda trial, outcomes: log_trial(logged, settings, trial, outcomes),
    )
    drawn = sweep_report.pictures(study, tmp_path)
    assert "history.png" in {path.name for path in drawn}
    logged.end("FINISHED", {"best_score": study.best_value, "trials": 4}, "dvc exp run -S lr=1", drawn)
    store = open_store()
    runs = store.client.search_runs([store.experiment_id])
    children = {run.data.tags["sweep.trial"]: run for run in runs if "sweep.trial" in run.data.tags}
    for trial in study.trials:
        run = children[str(trial.number)]
        assert run.data.tags["mlflow.parentRunId"] == logged.id
        assert run.data.params["lr"] == str(trial.user_attrs[RESULT]["values"]["lr"])
        assert run.data.metrics["score"] == trial.value
        curve = store.client.get_metric_history(run.info.run_id, "fold_score")
        assert [point.value for point in curve] == trial.user_attrs[RESULT]["by_fold"]
        assert run.data.metrics["train_loss"] == 1
    assert {file.path for file in store.client.list_artifacts(logged.id)} == {path.name for path in drawn}
    shown = compare.of_sweeps(ranking.sweeps(store))
    assert shown[-2:] == [f"  s: {study.best_value:.5f}, the best of 4 trials", "    dvc exp run -S lr=1"]
    assert ranking.finished_runs(store) == []
    store.client.delete_run(children["3"].info.run_id)
    half = store.client.create_run(store.experiment_id, tags={"sweep.trial": "3", "mlflow.parentRunId": logged.id})
    again = SweepRun("s", base, logged.id)  # the same run when the sweep goes on, after a client that was killed
    assert (again.lacking(range(4)), again.lacking([])) == ([3], [])
    assert store.client.get_run(half.info.run_id).info.lifecycle_stage == "deleted"
    assert (store.client.get_run(logged.id).info.status, ranking.unfinished_runs(store)["running"]) == ("RUNNING", 0)

    assert SweepRun("s", base, "0" * 32).id not in ("", logged.id)  # of a run that is gone, a new one is made

    def is_away(*_: Any) -> Any:
        raise MlflowException("the server is away")

    monkeypatch.setattr(type(store.client), "get_run", is_away)
    assert SweepRun("s", base, logged.id).id == ""  # and no second parent
    runs = store.client.search_runs([store.experiment_id])
    assert len([run for run in runs if "sweep.trial" not in run.data.tags]) == 2
