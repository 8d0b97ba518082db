"""DVC's files, cut off."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline import paths
from pipeline.errors import StageError
from runtime import repair

WHOLE = b"""schema: '2.0'
stages:
  a:
    cmd: echo
    deps:
    - path: x
      hash: md5
      md5: 0cc175b9c0f1b6a831c399e269772661
      size: 1
"""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(repair, "PATIENCE", 0)
    monkeypatch.chdir(tmp_path)
    Path(".dvc/tmp").mkdir(parents=True)


def test_whole_files_stay_and_missing_ones_are_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    repair.mend()
    paths.LOCK_FILE.write_bytes(WHOLE)
    repair.RUNNING.write_text("{}")
    repair.mend()
    assert paths.LOCK_FILE.read_bytes() == WHOLE
    assert repair.RUNNING.exists()
    assert capsys.readouterr().out == ""


def test_a_pipe_is_not_waited_for() -> None:
    os.mkfifo(repair.RUNNING)
    with pytest.raises(StageError, match="rwlock is not a file"):
        repair.mend()


@pytest.mark.parametrize("length", [0, 3, 14, 24, 60, 75, 85])
def test_a_cut_lock_file_is_removed(length: int, capsys: pytest.CaptureFixture[str]) -> None:
    paths.LOCK_FILE.write_bytes(WHOLE[:length])
    repair.mend()
    assert not paths.LOCK_FILE.exists()
    assert "dvc.lock was cut off" in capsys.readouterr().out


def test_a_cut_lock_file_is_as_evaluate_found_it(capsys: pytest.CaptureFixture[str]) -> None:
    """With the training's entry, which what is committed may lack."""
    paths.KEPT_LOCK_FILE.write_bytes(WHOLE)
    paths.LOCK_FILE.write_bytes(WHOLE[:75])
    repair.mend()
    assert paths.LOCK_FILE.read_bytes() == WHOLE
    assert "dvc.lock was cut off" in capsys.readouterr().out


def test_an_empty_rwlock_is_removed() -> None:
    repair.RUNNING.touch()
    repair.mend()
    assert not repair.RUNNING.exists()


def test_an_rwlock_of_processes_that_are_gone_is_removed(capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass

    def rwlock(*pids: int) -> None:
        holders = [{"pid": pid, "cmd": "dvc repro"} for pid in pids]
        repair.RUNNING.write_text(json.dumps({"write": {}, "read": {"/p/data": holders}}))

    rwlock(ended.pid, os.getpid())
    repair.mend()
    assert repair.RUNNING.exists()
    os.utime(repair.RUNNING, (1e9, 1e9))  # older than this process, which then only has the number of another
    repair.mend()
    assert not repair.RUNNING.exists()
    rwlock(ended.pid)
    repair.mend()
    assert not repair.RUNNING.exists()
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        rwlock(zombie.pid)
        repair.mend()
    assert not repair.RUNNING.exists()
    assert capsys.readouterr().out.count("was left by `dvc repro`, which was killed; it is removed") == 3


def test_a_dvc_at_work_keeps_its_rwlock_whatever_the_clock_says() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "dvc", "repro"]) as dvc:
        repair.RUNNING.write_text(json.dumps({"write": {"/p/data": {"pid": dvc.pid, "cmd": "dvc repro"}}, "read": {}}))
        os.utime(repair.RUNNING, (1e9, 1e9))
        repair.mend()
        dvc.kill()
    assert repair.RUNNING.exists()


def test_a_lock_of_git_is_removed_when_nobody_is_at_work(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    repair.INDEX_LOCK.parent.mkdir()
    repair.INDEX_LOCK.touch()
    work = tmp_path / "git"
    work.write_text("import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, str(work)]) as at_work:
        try:
            repair.mend()
            assert repair.INDEX_LOCK.exists()
        finally:
            at_work.kill()
    repair.mend()
    assert not repair.INDEX_LOCK.exists()
    assert "it is removed" in capsys.readouterr().out
