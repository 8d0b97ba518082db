"""The store: where it is, and how it is made, opened, upgraded and refused."""

import contextlib
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from tests.mlflow_store import MLFLOW_WARNS
from tests.runtime.test_script import raising

from pipeline.errors import StageError
from pipeline.paths import project_root
from tracking import store as store_module
from tracking.address import sqlite_uri, store_shown, store_uri
from tracking.store import Store, one_line_faults, open_store

pytestmark = MLFLOW_WARNS


def test_a_deleted_experiment_comes_back_with_its_place_kind_and_description(store: Store, home: Path) -> None:
    store.client.set_experiment_tag(store.experiment_id, "mlflow.note.content", "")
    store.client.delete_experiment(store.experiment_id)
    assert open_store().experiment_id == store.experiment_id
    experiment = store.client.get_experiment(store.experiment_id)
    assert (experiment.name, experiment.lifecycle_stage) == ("pendigits", "active")
    assert experiment.artifact_location == str(home / "mlartifacts")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert "test_accuracy" in experiment.tags["mlflow.note.content"]


@pytest.mark.timeout(60)
def test_a_ready_store_needs_no_lock_and_another_mlflows_is_kept_and_upgraded(store: Store, home: Path) -> None:
    with FileLock(home / "mlflow.db.lock"):
        assert open_store().experiment_id == store.experiment_id
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute("PRAGMA user_version = 3000000")
    assert open_store().experiment_id == store.experiment_id
    with contextlib.closing(sqlite3.connect(home / "mlflow.db.backup")) as backup:
        assert backup.execute("PRAGMA user_version").fetchone() == (3000000,)


def test_a_damaged_database_and_a_locked_one_are_told_apart(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DVC_ROOT", str(tmp_path))
    environment.setattr(store_module, "LOCK_SECONDS", 0.1)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.executescript("create table t (a); begin exclusive")
        with pytest.raises(StageError, match=r"mlflow\.db cannot be read now, database is locked"):
            open_store()
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StageError, match=r"mlflow\.db is damaged, .*; move it away"):
        open_store()


def test_a_database_where_none_can_be_made_is_refused_at_once(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    environment.setenv("MLFLOW_TRACKING_URI", sqlite_uri(tmp_path / "file/x.db"))
    with pytest.raises(StageError, match=r"x\.db cannot be made, .*; set MLFLOW_TRACKING_URI"):
        open_store()


def test_the_main_checkout_is_what_dvc_says_or_the_nearest(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    for path in ("project/.dvc", "project/src/deep"):
        (tmp_path / path).mkdir(parents=True)
    environment.chdir(tmp_path / "project/src/deep")
    assert project_root() != tmp_path / "project"
    environment.delenv("DVC_ROOT")
    assert project_root() == tmp_path / "project"


@pytest.mark.unix_only
@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("", "sqlite+pysqlite:///{escaped}/mlflow.db"),
        ("http://me:secret@team:5000", "http://me:secret@team:5000"),
        ("sqlite:///other.db?timeout=9", "sqlite+pysqlite:///{escaped}/other.db?timeout=9"),
        ("sqlite:////elsewhere/x.db", "sqlite:////elsewhere/x.db"),
        ("runs", "{root}/runs"),
        ("file:/runs", "file:/runs"),
    ],
)
def test_another_store_may_be_named_whose_relative_path_counts_from_the_main_checkout(
    named: str, meant: str, home: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MLFLOW_TRACKING_URI", named)
    assert store_uri() == meant.format(root=home, escaped=str(home).replace("%", "%25").replace("?", "%3F"))
    assert "secret" not in store_shown()


@pytest.mark.unix_only
@pytest.mark.parametrize("name", ["a%20b", "caf\udce9"])
def test_a_folder_whose_name_mlflow_would_read_as_another_is_refused(
    name: str, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("DVC_ROOT", str(tmp_path / name))
    with pytest.raises(StageError, match=f"work in .*/{name[:3]}[^ ]*: it would take .*; rename"):
        open_store()
    assert not list(tmp_path.iterdir())


@pytest.mark.unix_only
def test_a_new_store_is_made_in_a_folder_of_any_other_name(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a: 'b' \"c\"? 100% #é $x"
    folder.mkdir()
    environment.chdir(folder)
    environment.setenv("DVC_ROOT", str(folder))
    client = open_store().client
    assert client.get_experiment("0").artifact_location == f"{folder}/mlruns/0"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("postgresql+nodriver://me:secret@host/db", r"Can't load plugin: .*; see whether"),
        (
            "mssql+pymssql://me:secret@host/db",
            r"No module named 'pymssql'; install pymssql into the environment, or unset",
        ),
        ("sqlite://", r"=sqlite:// keeps no run; name a file, as in sqlite:///mlflow\.db, or unset it$"),
        ("sqlite:///:memory:", "=sqlite:///:memory: keeps no run; name a file"),
        ("http://127.0.0.1:9", "^MLflow at http://127.0.0.1:9: no answer; see whether it can be reached, or unset"),
        (
            "mysql://me:secret@host/db",
            r"\(MySQLdb.OperationalError\) \(2003, 'away'\); see whether it can be reached, or unset",
        ),
        ("nothing://host", "; see whether it can be reached, or unset MLFLOW_TRACKING_URI$"),
    ],
)
def test_any_fault_of_the_store_is_one_line_that_names_it_and_a_remedy(
    uri: str, line: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MLFLOW_TRACKING_URI", uri)
    environment.setattr("time.sleep", lambda seconds: seconds < 3 or pytest.fail("it would try for minutes"))
    away = type("OperationalError", (Exception,), {"__module__": "MySQLdb"})
    errors = dict.fromkeys(("Error", "OperationalError", "ProgrammingError", "InterfaceError", "InternalError"), away)
    driver = SimpleNamespace(paramstyle="format", connect=lambda **_: raising(away(2003, "away")), **errors)
    environment.setitem(sys.modules, "MySQLdb", driver)
    with pytest.raises(StageError, match=line) as caught, one_line_faults():
        open_store()
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
