"""Files of DVC's and git's that a killed process left half written."""

import subprocess
import sys
from pathlib import Path

from runtime import repair

import psutil
import pytest
from tests.project_copy import git, make_repository
from tests.runtime.test_script import raising

from pipeline.errors import StageError
from pipeline.paths import LOCK_FILE
from runtime.repair import CUT_OFF, RUNNING

WHOLE = b"schema: '2.0'\nstages:\n  a:\n    cmd: echo\n    deps:\n    - path: x\n      hash: md5\n"
WHOLE += b"      md5: 0cc175b9c0f1b6a831c399e269772661\n      size: 1\n"
HALF = len(WHOLE) // 2


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(repair, "PATIENCE", 0)
    monkeypatch.chdir(tmp_path)
    Path(".dvc/tmp").mkdir(parents=True)


def test_whole_files_stay_and_missing_ones_are_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    repair.repair()
    LOCK_FILE.write_bytes(WHOLE)
    RUNNING.write_text("{}")
    repair.repair()
    assert LOCK_FILE.read_bytes() == WHOLE
    assert RUNNING.exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("length", [0, 3, 14, 24, HALF, len(WHOLE) - 8, len(WHOLE) - 1])
def test_a_cut_lock_file_is_removed(length: int, capsys: pytest.CaptureFixture[str]) -> None:
    LOCK_FILE.write_bytes(WHOLE[:length])
    repair.repair()
    assert not LOCK_FILE.exists()
    assert CUT_OFF.read_bytes() == WHOLE[:length]
    assert capsys.readouterr().out.startswith("dvc.lock was cut off")


def test_a_cut_lock_file_is_as_committed_again(tmp_path: Path) -> None:
    LOCK_FILE.write_bytes(WHOLE)
    make_repository(tmp_path)
    LOCK_FILE.write_bytes(WHOLE[:HALF])
    repair.repair()
    assert LOCK_FILE.read_bytes() == WHOLE


def test_the_conflicts_of_a_merge_stay(tmp_path: Path) -> None:
    LOCK_FILE.write_bytes(WHOLE)
    make_repository(tmp_path)
    git(tmp_path, "checkout", "-q", "-b", "other")
    for branch, size in (("other", b"2"), ("main", b"3")):
        git(tmp_path, "checkout", "-q", branch)
        LOCK_FILE.write_bytes(WHOLE.replace(b"size: 1", b"size: " + size))
        git(tmp_path, "commit", "-q", "-a", "-m", branch)
    with pytest.raises(subprocess.CalledProcessError):
        git(tmp_path, "merge", "-q", "other")
    merged = LOCK_FILE.read_bytes()
    with pytest.raises(StageError, match=r"conflict markers of a merge; .*`git checkout --ours dvc\.lock`"):
        repair.repair()
    assert LOCK_FILE.read_bytes() == merged
    git(tmp_path, "checkout", "--ours", "dvc.lock")
    repair.repair()
    assert b"size: 3" in LOCK_FILE.read_bytes()


def test_a_cut_rwlock_is_removed(capsys: pytest.CaptureFixture[str]) -> None:
    RUNNING.write_text('{"write": {"/p/da')
    repair.repair()
    assert not RUNNING.exists()
    assert "rwlock was cut off when a run was killed; it is removed" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["at the top", "in a subfolder", "another user's"])
def test_gits_lock_is_removed_when_neither_git_nor_dvc_is_at_work(
    kind: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    lock = Path(".git/index.lock")
    lock.touch()
    (tmp_path / "git").write_text("print(flush=True); import time; time.sleep(60)")
    place = tmp_path / ".dvc" if kind == "in a subfolder" else tmp_path
    with (
        subprocess.Popen([sys.executable, tmp_path / "git"], cwd=place, stdout=subprocess.PIPE) as at_work,
        monkeypatch.context() as patch,
    ):
        if kind == "another user's":
            patch.setattr(psutil.Process, "cwd", lambda process: raising(psutil.AccessDenied(process.pid)))
        assert at_work.stdout
        at_work.stdout.readline()
        try:
            repair.repair()
            assert lock.exists()
        finally:
            at_work.kill()
    repair.repair()
    assert not lock.exists()
    assert capsys.readouterr().out == ".git/index.lock was left by a process that was killed; it is removed\n"
