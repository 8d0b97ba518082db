"""The study of a sweep: its database, what draws its trials, and trials whose client is gone."""

import contextlib
import datetime
import hashlib
import os
import socket
import time
import warnings
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.params import Params
from pipeline.paths import project_root
from utils import one_line

from .space import Space

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial
    from sqlalchemy import Engine

FOLDER = Path("sweeps")  # in the main checkout, ignored by git and DVC
DATABASE = FOLDER / "studies.db"
SAMPLERS = ("tpe", "random")
BEAT_SECONDS, SILENT_SECONDS = 30.0, 150.0  # how often a client says that it lives, and when it is taken for dead
LOCK_SECONDS = 30  # how long a locked SQLite database is waited for
YOUNG, YOUNG_SECONDS = "young", 10
CLIENT, RESULT = "client", "result"  # attributes of a trial: which client waits for it; what came of it


def storage_uri(asked: str | None) -> str:
    """The study's database: the one asked for, or a SQLite file in the main checkout."""
    return asked or f"sqlite:///{project_root() / DATABASE}"


def rungs(folds: int) -> list[int]:
    """After how many folds a trial may be pruned, and at last all folds: 1, 2, 5."""
    return [done for done in (1, 2) if done < folds] + [folds]


def identity(space: Space, base: Params, folds: int, seeds: int, data_and_code: str) -> str:
    """A checksum of all that decides the score of a trial. Studies of different ones must not be mixed."""
    known = base.model_dump_json(exclude={"early_stopping", "refit", "diagnostics", "ece_bins", "mistakes_shown"})
    return hashlib.sha256(f"{space.model_dump_json()}{known}{folds} {seeds} {data_and_code}".encode()).hexdigest()


def open_study(uri: str, name: str, made_of: str, sampler: "BaseSampler", prune: bool) -> "Study":
    """Open or make a study.

    Raises:
        StageError: if the database cannot be used, or the study is of other parameters, data or code.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    with database_faults(uri):
        options = {"connect_args": {"timeout": LOCK_SECONDS}} if uri.startswith("sqlite") else {"pool_pre_ping": True}
        if uri == storage_uri(None):
            (project_root() / FOLDER).mkdir(exist_ok=True)
        storage = optuna.storages.RDBStorage(uri, engine_kwargs=options)
        if uri.startswith("sqlite"):
            _write_ahead(storage.engine)
        study = optuna.create_study(
            storage=storage,
            sampler=sampler,
            pruner=pruner if prune else optuna.pruners.NopPruner(),
            study_name=name,
            load_if_exists=True,
        )
        before = study.user_attrs.get("made_of", made_of)
        if before != made_of:
            raise StageError(
                f"the study {one_line(name, 60)} was made with another space, other parameters, data or code; name "
                "another one: STUDY=..., or none, and each gets a name of its own"
            )
        study.set_user_attr("made_of", made_of)
    return study


def _write_ahead(engine: "Engine") -> None:
    """Let SQLite write the disk once for many entries. A client that is killed loses none; a trial has twenty."""
    from sqlalchemy import event

    def prepare(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    engine.dispose()
    event.listen(engine, "connect", prepare)


@contextlib.contextmanager
def database_faults(uri: str) -> Iterator[None]:
    """Errors of a database in one line."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from tracking.address import without_password

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (SQLAlchemyError, StorageInternalError, ImportError) as error:
        said = without_password(one_line(error.__cause__ or error, 200))
        raise StageError(f"the database of sweeps, {without_password(uri)}: {said}") from None


def make_sampler(kind: str, seed: int) -> "BaseSampler":
    """Draws trials: ``tpe`` by the trials that have ended, ``random`` by nothing.

    The draws of a trial are seeded by its number, so that a sweep that was stopped goes on as it would have gone. Those
    of ``random`` do not depend on the number of workers either. Those of TPE do, after the first ten: with more
    workers, fewer trials have ended when the next one is drawn.
    """
    from optuna import samplers

    def made(number: int) -> "BaseSampler":
        digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
        drawn = int.from_bytes(digest[:4], "big")
        return samplers.RandomSampler(drawn) if kind == "random" else samplers.TPESampler(seed=drawn)

    class ByNumber(samplers.BaseSampler):
        def __init__(self) -> None:
            self._number, self._inner = -1, made(0)

        def _of(self, trial: "FrozenTrial") -> "BaseSampler":
            if trial.number != self._number:
                self._number, self._inner = trial.number, made(trial.number)
            return self._inner

        def infer_relative_search_space(self, study: "Study", trial: "FrozenTrial") -> dict[str, Any]:
            return self._of(trial).infer_relative_search_space(study, trial)

        def sample_relative(self, study: "Study", trial: "FrozenTrial", search_space: dict[str, Any]) -> dict[str, Any]:
            return self._of(trial).sample_relative(study, trial, search_space)

        def sample_independent(
            self, study: "Study", trial: "FrozenTrial", param_name: str, param_distribution: Any
        ) -> Any:
            return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    return ByNumber()


def this_client() -> str:
    """Host, number and start of this process."""
    import psutil

    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.0f}"


def beat(study: "Study", client: str) -> None:
    """Tell other clients of the study that this one lives."""
    study.set_user_attr(f"{CLIENT} {client}", time.time())


def abandoned(study: "Study", client: str, own: Container[int]) -> "list[Trial]":
    """The trials that are running in the database, and that no living client waits for.

    Args:
        client: this one, which waits for the trials with the numbers in ``own``.
    """
    from optuna.trial import Trial, TrialState

    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    attributes = study.user_attrs
    left = [
        trial
        for trial in running
        if trial.number not in own and ((owner := _owner(trial)) == client or not _lives(owner, attributes))
    ]
    return [Trial(study, trial._trial_id) for trial in left]


def of_gone_clients(study: "Study") -> "dict[int, FrozenTrial]":
    """The trials that have ended and whose client is gone, by number. It may not have logged the last of them."""
    attributes = study.user_attrs
    ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    return {
        trial.number: trial for trial in ended if RESULT in trial.user_attrs and not _lives(_owner(trial), attributes)
    }


def _owner(trial: "FrozenTrial") -> str:
    """The client of a trial. One that was drawn a moment ago may not have it in the database yet."""
    drawn = trial.datetime_start
    young = drawn is not None and (datetime.datetime.now() - drawn).total_seconds() < YOUNG_SECONDS  # noqa: DTZ005
    return str(trial.user_attrs.get(CLIENT, YOUNG if young else ""))


def _lives(owner: str, attributes: Mapping[str, Any]) -> bool:
    import psutil

    if owner == YOUNG:
        return True
    host, pid, started = [*owner.split(":"), "", ""][:3]
    if host == socket.gethostname() and pid.isdigit():
        try:
            return f"{psutil.Process(int(pid)).create_time():.0f}" == started
        except psutil.NoSuchProcess:
            return False
    return time.time() - attributes.get(f"{CLIENT} {owner}", 0) < SILENT_SECONDS
