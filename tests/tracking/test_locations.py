"""A checkout that is moved, copied or used under two paths keeps its runs and their files."""

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from tests.mlflow_store import MLFLOW_WARNS, copy_store

from commands import doctor
from commands.sync import sync
from pipeline.errors import StageError
from tracking.mlflow_run import Run
from tracking.store import Store, check_artifacts, open_store

pytestmark = MLFLOW_WARNS


@pytest.fixture
def first(tmp_path: Path, empty_store: Path, environment: pytest.MonkeyPatch) -> Path:
    """A checkout with one finished run, which has a file."""
    root = tmp_path / "first"
    root.mkdir()
    copy_store(empty_store, root)
    store = at(root, environment)
    run = store.client.create_run(store.experiment_id)
    store.client.log_text(run.info.run_id, "kept", "note.txt")
    store.client.set_terminated(run.info.run_id, "FINISHED")
    return root


def at(root: Path, environment: pytest.MonkeyPatch, *, follow: bool = True) -> Store:
    environment.setenv("DVC_ROOT", str(root))
    environment.delenv("MLFLOW_TRACKING_URI", raising=False)  # which MLflow sets
    environment.chdir(root)
    return open_store(follow=follow)


def note(store: Store, folder: Path) -> str:
    (run,) = store.client.search_runs([store.experiment_id], "attributes.status = 'FINISHED'")
    folder.mkdir(exist_ok=True)
    return Path(store.client.download_artifacts(run.info.run_id, "note.txt", str(folder))).read_text()


def dump(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        return list(database.iterdump())


def test_a_moved_checkout_is_followed_and_one_that_is_back_is_rewritten_no_more(
    first: Path, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second = first.with_name("second, with a ' and a ?")
    first.rename(second)
    at(second, environment, follow=False)
    assert doctor.check_store(second)[0].what.startswith(f"the checkout was moved from {first}")
    openings = [threading.Thread(target=open_store) for _ in range(2)]
    for opening in openings:
        opening.start()
    for opening in openings:
        opening.join()
    assert capsys.readouterr().out.count("rewritten") == 1
    assert note(open_store(), second / "got") == "kept"
    assert not first.exists()
    assert (second / "mlflow.db.before-move").exists()
    second.rename(first)
    assert note(at(first, environment), first / "got") == "kept"
    assert "relative" in capsys.readouterr().out
    before = dump(first)
    for here, there in ((first, second), (second, first)):
        here.rename(there)
        store = at(there, environment)
        assert dump(there) == before
    assert store.client.get_experiment(store.experiment_id).artifact_location == "mlartifacts"
    assert capsys.readouterr().out == ""


def test_a_copy_has_its_own_and_waits_until_no_run_says_running(first: Path, environment: pytest.MonkeyPatch) -> None:
    store = at(first, environment)
    store.client.create_run(store.experiment_id, run_name="cut-off")
    before = dump(first)
    copy = first.with_name("copy")
    shutil.copytree(first, copy)
    with pytest.raises(StageError, match=r"moved from .*first, and the run cut-off says RUNNING"):
        at(copy, environment)
    assert dump(copy) == before
    environment.setattr("sys.argv", ["doctor", "close"])
    doctor.main()
    (run,) = open_store().client.search_runs([store.experiment_id], "attributes.status = 'FINISHED'")
    assert run.info.artifact_uri.startswith(f"{copy}/mlartifacts/")
    assert dump(first) == before


def test_a_database_of_another_name_moves_with_the_checkout(first: Path, environment: pytest.MonkeyPatch) -> None:
    (first / "mlflow.db").rename(first / "own.db")
    second = first.rename(first.with_name("second"))
    for name, value in {"DVC_ROOT": str(second), "MLFLOW_TRACKING_URI": "sqlite:///own.db"}.items():
        environment.setenv(name, value)
    assert note(open_store(), second / "got") == "kept"
    assert (second / "own.db.before-move").exists()
    assert not first.exists()


def test_a_database_elsewhere_keeps_its_artifacts_beside_it_or_says_that_their_checkout_is_gone(
    first: Path, environment: pytest.MonkeyPatch
) -> None:
    team = first.with_name("team")
    team.mkdir()
    (first / "mlflow.db").rename(team / "old.db")  # as version 0.1 made it: its artifacts are in the checkout
    second = first.rename(first.with_name("second"))
    environment.setenv("DVC_ROOT", str(second))
    environment.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{team}/new.db")
    store = open_store()
    assert store.client.get_experiment(store.experiment_id).artifact_location == str(team / "mlartifacts")
    check_artifacts(store)

    environment.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{team}/old.db")
    store = open_store()
    for log in (lambda: sync(store, second), lambda: Run.start(store, second, {}, {}, 0)):
        with pytest.raises(
            StageError, match=f"artifacts of .*/team/old.db were in {first}/mlartifacts, and .* link to"
        ):
            log()
    (found,) = doctor.check_store(second)
    assert f"were in {first}/mlartifacts" in found.what
    assert found.command
    assert not first.exists()
    first.symlink_to(second)
    check_artifacts(store)
    assert note(store, team / "got") == "kept"
