"""What `make doctor` finds, and what it says to type."""

import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from tests.project_copy import git

from commands import doctor
from commands.doctor import Finding
from tracking.mlflow_run import abandoned_runs


def commands(findings: list[Finding]) -> str:
    return "\n".join(finding.command for finding in findings)


def test_git_a_commit_and_a_name_are_asked_for_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert commands(doctor.check_git(tmp_path)).startswith("git init && git add")
    git(tmp_path, "init")
    assert commands(doctor.check_git(tmp_path)).startswith("git add")
    (tmp_path / "file").touch()
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "Begin")
    assert "user.email" in commands(doctor.check_git(tmp_path))
    git(tmp_path, "config", "user.email", "person@example.com")
    assert not commands(doctor.check_git(tmp_path))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # a checkout of another user
    (finding,) = doctor.check_git(tmp_path)
    assert "git refuses: fatal: detected dubious ownership in repository" in finding.what
    assert finding.command == f"git config --global --add safe.directory {tmp_path.as_posix()}"
    for name, value in {"COUNT": "1", "KEY_0": "safe.directory", "VALUE_0": "*"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)  # as a container may set it
    assert not commands(doctor.check_git(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git is not installed" in doctor.check_git(tmp_path)[0].what


def test_a_lock_is_read_as_pip_reads_it_and_other_versions_are_named(tmp_path: Path) -> None:
    text = (
        "a==1.0 \\\n    --hash=sha256:b==3 \\\n    --hash=sha256:c\n    # via d==4\n"
        "numpy==0.0.1 ; sys_platform != 'nowhere' \\\n    --hash=x\n"
        "g==1 ; sys_platform == 'nowhere'\n"
    )
    assert doctor.locked_versions(text) == {"a": "1.0", "numpy": "0.0.1"}
    (tmp_path / "requirements.lock").write_text(text)
    (finding,) = doctor.check_environment(tmp_path)
    assert "(lock: 0.0.1)" in finding.what
    assert "make setup" in finding.command


@pytest.mark.unix_only
@pytest.mark.parametrize("start", ["#!{}/bin/python", '#!/bin/sh\n\'\'\'exec\' "{}/bin/python3.11" "$0" "$@"'])
def test_an_environment_that_was_moved_with_its_checkout_is_found(start: str, tmp_path: Path) -> None:
    script = tmp_path / "a checkout/.venv/bin/dvc"
    script.parent.mkdir(parents=True)
    (tmp_path / "link").symlink_to("a checkout")
    for place, found in ("a checkout", ""), ("link", ""), ("former", f"{tmp_path}/former/.venv"):
        script.write_text(start.format(tmp_path / place / ".venv") + "\nprint('/else/bin/python')\n")
        assert doctor.moved_environment(script) == found
    assert not doctor.moved_environment(Path(sys.executable).with_name("dvc"))


def test_params_that_cannot_be_run_are_found(workspace: Path) -> None:
    assert not commands(doctor.check_params(workspace))
    text = (workspace / "params.yaml").read_text()
    (workspace / "params.yaml").write_text(text.replace("activation: gelu", "activation: gelo"))
    (finding,) = doctor.check_params(workspace)
    assert "gelo" in finding.what
    assert finding.command == "git checkout params.yaml"


def test_a_damaged_database_and_one_that_is_none_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    path = tmp_path / "mlflow.db"
    assert "not made yet" in doctor.check_store(tmp_path)[0].what
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "a%20b"))
    assert "for another letter; rename that folder" in doctor.check_store(tmp_path / "a%20b")[0].what
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE runs (a)")
        database.executemany("INSERT INTO runs VALUES (?)", [("x" * 1000,)] * 100)
    database.close()
    assert doctor.database_fault(path) == "it lacks the table alembic_version"
    content = bytearray(path.read_bytes())
    content[4096 * 4 : 4096 * 9] = os.urandom(4096 * 5)
    path.write_bytes(content)
    (finding,) = doctor.check_store(tmp_path)
    assert "mlflow.db is damaged" in finding.what
    assert finding.command.startswith(f"mv {path}")
    path.write_bytes(b"this is no database" * 100)
    assert "not a database" in str(doctor.database_fault(path))


def a_run(process: str, started: float) -> Any:
    return SimpleNamespace(
        info=SimpleNamespace(run_id=process, run_name="a run", start_time=int(started * 1000)),
        data=SimpleNamespace(tags={"mlflow.process": process} if process else {}),
    )


@pytest.mark.unix_only
def test_runs_are_abandoned_when_their_process_here_is_gone() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    here, now = socket.gethostname(), time.time()
    gone = [a_run(f"{here}:{process.pid}", now) for process in (ended, zombie)]
    gone += [a_run("", now), a_run(f"{here}:{os.getpid()}", now - 1e6)]
    alive = [a_run(f"{here}:{os.getpid()}", now), a_run("another-host:1", now)]
    closed: list[tuple[str, str]] = []
    client = SimpleNamespace(
        search_runs=lambda *_: gone + alive, set_terminated=lambda run_id, status: closed.append((run_id, status))
    )
    store: Any = SimpleNamespace(client=client, experiment_id="1")
    assert abandoned_runs(store) == gone
    doctor.close_abandoned(store)
    assert closed == [(run.info.run_id, "KILLED") for run in gone]
    zombie.wait()


def check_things(root: Path) -> list[Finding]:
    raise KeyError("\x1b[2Jodd")


def test_the_exit_code_says_whether_all_is_well(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    fine, broken = (lambda root, finding=found: [finding] for found in (Finding("fine"), Finding("broken", "fix it")))
    monkeypatch.setattr(sys, "argv", ["doctor"])
    monkeypatch.setattr(doctor, "CHECKS", (fine,))
    doctor.main()
    assert capsys.readouterr().out == "ok: fine\n"
    monkeypatch.setattr(doctor, "CHECKS", (check_things, fine, broken))
    with pytest.raises(SystemExit) as ended:
        doctor.main()
    assert ended.value.code == 1
    first, _, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("problem: things could not be checked: KeyError: ")
    assert first.isprintable()
    assert rest == ["ok: fine", "problem: broken", "      fix it"]


def test_the_queue_that_no_worker_attends_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "has_git", lambda root: True)
    monkeypatch.setattr(doctor, "queue_tasks", lambda root: [("b", "Queued"), ("a", "Queued"), ("c", "Success")])
    (finding,) = doctor.check_queue(tmp_path)
    assert finding.what.endswith(": a, b")
    assert finding.command == "dvc queue start"
    pid_file = tmp_path / ".dvc/tmp/exps/celery/dvc-exp-worker-1.pid"
    pid_file.parent.mkdir(parents=True)
    pid_file.write_text(str(os.getpid()))
    assert not commands(doctor.check_queue(tmp_path))
    pid_file.write_text("999999999")
    assert commands(doctor.check_queue(tmp_path)) == "dvc queue start"
    monkeypatch.setattr(doctor, "queue_tasks", lambda root: [("a", "Failed"), ("b", "Queued")])
    said = [finding.command.split(",")[0] for finding in doctor.check_queue(tmp_path)]
    assert said == ["dvc queue logs a", "dvc queue start"]
