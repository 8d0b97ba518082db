"""`make sweep`: search for better parameters by cross-validation over writers, on this machine or on a cluster.

    python src sweep --trials 40 --space docs/sweep.yaml
    python src sweep --trials 80 --scheduler tcp://host:8786     # extends it, on the cluster of that scheduler

Optuna draws the trials, Dask distributes their trainings, and a database keeps the study: stopped at any time, the
same command goes on. A trial is one setting of the parameters. Its score is the log-loss at one temperature, over all
folds and seeds, as `make cv` shows it. The test file takes no part.
"""

import argparse
import contextlib
import math
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neural_net.npz import NpzError
from pipeline.configure import configure, load_checked
from pipeline.errors import ParamsError, StageError
from pipeline.params import Params
from pipeline.paths import project_root
from runtime.files import write_bytes
from runtime.progress import progress_bar
from runtime.script import say
from tracking.sweep_run import SweepRun
from utils import one_line

from . import sweep_report
from .cluster import Cluster, Lost, connected
from .cross_validate import overridden, with_values
from .fold_process import BrokenCodeError, answer_of, outcome_of
from .folds import HOLDS, Data, Outcome, Score, jobs_of, read_data, score, standard_error
from .snapshot import take_snapshot
from .space import Space, load_space
from .sweep_study import (
    BEAT_SECONDS,
    CLIENT,
    FOLDER,
    RESULT,
    SAMPLERS,
    abandoned,
    beat,
    database_faults,
    identity,
    make_sampler,
    of_gone_clients,
    open_study,
    rungs,
    storage_uri,
    this_client,
)

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

DEFAULT_SPACE = Path("docs/sweep.yaml")
RUN_ID = "mlflow_run"  # an attribute of a study


class Settings(NamedTuple):
    """What a sweep is told beside its study.

    Attributes:
        base: the parameters that the space does not name.
        changed: those of them that are not as in params.yaml.
        hold: what is held out: writers, or ways of writing, of which there are then as many as ``folds``.
        steps: after how many folds a trial may be pruned, and at last all folds.
        trials: how many trials the study is to have in the end.
        kept: a folder for what the trials that are running have come to, so that nothing is lost with the client.
    """

    space: Space
    base: Params
    changed: dict[str, Any]
    data: Data
    trials: int
    folds: int
    seeds: int
    steps: list[int]
    kept: Path
    hold: str = "writers"

    def score(self, outcomes: Mapping[tuple[int, int], Outcome]) -> Score:
        """The score of some folds of a trial."""
        return score(dict(outcomes), self.data, self.folds, self.hold)


class _Running:
    """A trial of this client: its jobs, and what came of them so far."""

    def __init__(self, trial: "Trial", values: dict[str, Any], params: Params, settings: Settings) -> None:
        self.trial, self.number, self.values = trial, trial.number, values
        self.steps = list(settings.steps)
        jobs = jobs_of(params, settings.folds, settings.seeds, hold=settings.hold)
        self.jobs = {(job.params.seed, job.fold): job for job in jobs}
        self.outcomes: dict[tuple[int, int], Outcome] = {}
        self.reported = set(
            trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        )  # by a client before

    def due(self) -> list[tuple[int, int]]:
        """The trainings of the present step that are not done."""
        return [key for key in self.jobs if key[1] < self.steps[0] and key not in self.outcomes]


class Sweep:
    """Runs the trials of a study until there are as many as wanted. The client logs and decides, workers train."""

    def __init__(
        self,
        study: "Study",
        cluster: Cluster,
        settings: Settings,
        ended: Callable[["FrozenTrial", dict[Any, Outcome]], None],
    ) -> None:
        self.study, self.cluster, self.settings, self.ended = study, cluster, settings, ended
        self.client, self._beaten = this_client(), -math.inf
        self._running: dict[int, _Running] = {}
        self.busy = 0.0  # seconds that workers have trained

    def run(self, show: Callable[[], None] = lambda: None) -> None:
        """Go on until the study has all trials. ``show`` is called about every second."""
        wanted = self.settings.trials
        while True:
            self._beat()
            while self.cluster.has_room and self._counted() < wanted:
                self._start(self.study.ask())
            show()
            if not self._running:
                return
            for (number, key), came in self.cluster.wait(1.0):
                if number in self._running:  # else another of its trainings has failed
                    self._came(self._running[number], key, came)

    def _beat(self) -> None:
        """Now and then, say that this client lives, and take over the trials of those that do not."""
        if time.monotonic() > self._beaten + BEAT_SECONDS:
            self._beaten = time.monotonic()
            beat(self.study, self.client)
            for trial in abandoned(self.study, self.client, self._running):
                self._start(trial)

    def _counted(self) -> int:
        """The trials of the study: those of other clients that are running, too."""
        return len(self.study.get_trials(deepcopy=False))

    def _start(self, trial: "Trial") -> None:
        trial.set_user_attr(CLIENT, self.client)
        values = self.settings.space.draw(trial)
        try:
            params = with_values(self.settings.base, values, f"trial {trial.number}")
            if params.dataset != "own":
                configure(params)
        except ParamsError as error:  # values that are right, each by itself
            self._end(trial, values, {}, failed=str(error))
            return
        running = self._running[trial.number] = _Running(trial, values, params, self.settings)
        for key in running.jobs:
            with contextlib.suppress(FileNotFoundError, NpzError):
                running.outcomes[key] = outcome_of(self._file(trial.number, key).read_bytes())
        self._advance(running)

    def _file(self, number: int, key: tuple[int, int]) -> Path:
        return self.settings.kept / f"{number}-{key[0]}-{key[1]}.npz"

    def _came(self, running: _Running, key: tuple[int, int], came: Outcome | Lost) -> None:
        if isinstance(came, Lost):
            self._end(running.trial, running.values, running.outcomes, failed=came.reason)
            return
        self.busy += came.seconds
        running.outcomes[key] = came
        write_bytes(self._file(running.number, key), answer_of(came))
        if not running.due():
            self._advance(running)

    def _advance(self, running: _Running) -> None:
        """Report what is done, and submit the next trainings, unless the trial is pruned or done."""
        while not running.due():
            done = running.steps.pop(0)
            if not running.steps:
                self._end(running.trial, running.values, running.outcomes)
                return
            of_step = {key: outcome for key, outcome in running.outcomes.items() if key[1] < done}
            if done not in running.reported:
                running.trial.report(self.settings.score(of_step).value, done)
            if running.trial.should_prune():
                self._end(running.trial, running.values, of_step, pruned=True)
                return
        for key in running.due():
            self.cluster.submit((running.number, key), running.jobs[key], -running.number)

    def _end(
        self,
        trial: "Trial",
        values: dict[str, Any],
        outcomes: Mapping[tuple[int, int], Outcome],
        failed: str = "",
        pruned: bool = False,
    ) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        number, value = trial.number, None
        known: dict[str, Any] = {"values": values, "failed": one_line(failed, 300)}
        known["seconds"] = sum(outcome.seconds for outcome in outcomes.values())
        running = self._running.pop(number, None)
        if running:
            self.cluster.forget((number, key) for key in running.jobs)
        if outcomes and not failed:
            found = self.settings.score(outcomes)
            value = found.value
            known |= {"by_fold": found.by_fold.tolist(), "standard_error": standard_error(found.by_fold)}
            names = next(iter(outcomes.values())).measures
            known["measures"] = {
                name: float(np.mean([one.measures[name] for one in outcomes.values()])) for name in names
            }
        with contextlib.suppress(UpdateFinishedTrialError):  # by a client that took this one for dead
            trial.set_user_attr(RESULT, known)
        state = TrialState.FAIL if failed else TrialState.PRUNED if pruned else TrialState.COMPLETE
        frozen = self.study.tell(number, None if failed or pruned else value, state, skip_if_finished=True)
        for path in self.settings.kept.glob(f"{number}-*.npz"):
            path.unlink(missing_ok=True)
        self.ended(frozen, dict(outcomes))


class _Shown:
    """Shows a line for each trial that has ended, and how far the sweep is."""

    def __init__(self, study: "Study", bar: Any) -> None:
        self.study, self.bar, self._headed = study, bar, False

    def ended(self, trial: "FrozenTrial") -> None:
        self.bar.clear()
        if not self._headed:
            say(f"{sweep_report.COLUMNS}values")
            self._headed = True
        say(sweep_report.row_of(trial))

    def update(self) -> None:
        found, best = sweep_report.counts(self.study), sweep_report.complete(self.study)[:1]
        said = [f"best {trial.value:.5f}" for trial in best]
        said += [f"{n} {state}" for state, n in found.items() if n]
        self.bar.set_postfix_str(", ".join(said), refresh=False)
        self.bar.update(sum(found.values()) - found["running"] - self.bar.n)


def work(study: "Study", settings: Settings, scheduler: str | None, workers: int | None) -> None:
    """Run the trials that the study lacks, here or on a cluster, log them, and say how busy the workers were."""
    base = settings.base.model_dump(mode="json")
    logged = SweepRun(study.study_name, base, study.user_attrs.get(RUN_ID, ""))
    if logged.id:  # else MLflow is away, and the next client goes on with the run that is known
        study.set_user_attr(RUN_ID, logged.id)
    status, start = "FAILED", time.perf_counter()
    try:
        left = of_gone_clients(study)
        for number in logged.lacking(left):
            log_trial(logged, settings, left[number], {})
        with connected(scheduler, workers) as cluster, progress_bar(settings.trials, "trial", "sweep") as bar:
            shown = _Shown(study, bar)

            def ended(trial: "FrozenTrial", outcomes: dict[tuple[int, int], Outcome]) -> None:
                shown.ended(trial)
                log_trial(logged, settings, trial, outcomes)

            running = Sweep(study, cluster, settings, ended)
            running.run(shown.update)
            seconds, slots = time.perf_counter() - start, max(1, cluster.slots)
        say(f"{seconds:.0f} s; the {slots} workers trained for {running.busy / seconds / slots:.0%} of the time")
        status = "FINISHED"
    except BrokenCodeError as error:
        raise StageError(f"{error}\nthe code of a training has a mistake, see above") from None
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        best = sweep_report.complete(study)[:1]
        drawn = sweep_report.pictures(study, settings.kept) if status == "FINISHED" else []
        command = sweep_report.experiment({**settings.changed, **best[0].user_attrs[RESULT]["values"]}) if best else ""
        score_of_best = {"best_score": best[0].value or 0.0} if best else {}
        logged.end(status, score_of_best | {"trials": len(study.get_trials(deepcopy=False))}, command, drawn)
    for path in drawn:
        say(f"picture: {path}")


def log_trial(
    logged: SweepRun, settings: Settings, trial: "FrozenTrial", outcomes: dict[tuple[int, int], Outcome]
) -> None:
    """Log a trial that has ended in MLflow: its parameters, its score on each fold, and its mean training loss."""
    known = trial.user_attrs[RESULT]
    numbers = {name: known[name] for name in ("standard_error", "seconds") if math.isfinite(known.get(name, math.nan))}
    numbers |= known.get("measures", {})
    if trial.value is not None:
        numbers["score"] = trial.value
    losses = [outcome.train_loss for outcome in outcomes.values()]
    length = min(map(len, losses), default=0)
    curves = {"fold_score": known.get("by_fold", []), "train_loss": [float(v) for v in _mean(losses, length)]}
    params = settings.base.model_dump(mode="json")
    with contextlib.suppress(ParamsError):
        params = with_values(settings.base, known["values"], "a trial").model_dump(mode="json")
    state = sweep_report.STATES[trial.state.name]
    logged.trial(trial.number, params, state, numbers, curves, known["seconds"])


def _mean(curves: list[Any], length: int) -> Any:
    return np.mean([curve[:length] for curve in curves], axis=0) if curves else []


def main() -> None:
    given = _arguments()
    base = overridden(load_checked(), given.changes)
    space = load_space(given.space, base)
    data = read_data(base.features)
    if given.hold == "ways":
        given.folds, given.no_pruning = len(data.ways()), True  # the first ways are not like the others
    else:
        data.fold_of_rows(given.folds)  # rejects a wrong number
    if given.seeds < 1 or given.trials < 0:
        raise StageError(f"SEEDS must be at least 1 and TRIALS at least 0, got {given.seeds} and {given.trials}")
    made_of = identity(space, base, given.folds, given.seeds, f"{take_snapshot().of_results} {given.hold}")
    name, uri = given.study or f"sweep-{made_of[:8]}", storage_uri(given.storage)
    study = open_study(uri, name, made_of, make_sampler(given.sampler, base.seed), not given.no_pruning)
    kept = project_root() / FOLDER / name
    kept.mkdir(parents=True, exist_ok=True)
    steps = [given.folds] if given.no_pruning else rungs(given.folds)
    changed = {key: _value_in(base, key) for key in (change.partition("=")[0] for change in given.changes)}
    settings = Settings(space, base, changed, data, given.trials, given.folds, given.seeds, steps, kept, given.hold)
    with database_faults(uri), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's, of its own interfaces
        found = sweep_report.counts(study)
        had = ", ".join(f"{n} {state}" for state, n in found.items() if n)
        say(f"study {name}: {had or 'no trials yet'}")
        if given.trials > sum(found.values()) - found["running"]:
            work(study, settings, given.scheduler, given.workers)
        for line in sweep_report.ranking(study):
            say(line)
        for trial in sweep_report.complete(study)[:1]:
            values = {**settings.changed, **trial.user_attrs[RESULT]["values"]}
            say(f"\nTrial {trial.number} as an experiment, and its score again:")
            say(f"  {sweep_report.experiment(values)}")
            say(f"  {sweep_report.measurement(values, given.folds, given.seeds, given.hold)}")
            if given.apply:
                sweep_report.apply(values)
                say("params.yaml has its values now")


def _value_in(params: Params, name: str) -> Any:
    value: Any = params.model_dump()
    for key in name.split("."):
        value = value[key]
    return value


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", metavar="key=value", help="a value to use instead of that in params.yaml")
    parser.add_argument("--space", type=Path, default=DEFAULT_SPACE, help="names, ranges and choices")
    parser.add_argument("--trials", type=int, default=40, help="how many the study is to have in the end; 0: show it")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sampler", choices=SAMPLERS, default="tpe")
    parser.add_argument("--hold", choices=HOLDS, default="writers", help="what a trial is measured on, as in make cv")
    parser.add_argument("--no-pruning", action="store_true", help="measure every trial on all folds")
    parser.add_argument("--study", help="a name instead of one made from space, parameters, data and code")
    parser.add_argument(
        "--storage", metavar="URL", help="a database of SQLAlchemy's, as postgresql+psycopg://host/name"
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="the Dask cluster there, as tcp://host:8786")
    parser.add_argument("--workers", type=int, help="of the cluster on this machine; by default one for each core")
    parser.add_argument("--apply", action="store_true", help="write the best values into params.yaml")
    return parser.parse_args()
