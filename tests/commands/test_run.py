"""`make run` from a clean copy of the project: on the built-in digits where nothing can be fetched, and twice."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from tests.project_copy import copy_project

from commands import dvc_process, run
from pipeline.errors import StageError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project without git, data and models, its training shrunk; no source of the data set answers."""
    folder = tmp_path / "a project"
    copy_project(folder, ["dvc.lock"], epochs=3, hidden_layers=[48], synthetic_rows_per_writer=40)
    return folder


def make_run(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PENDIGITS_TRACKING": "off", "PENDIGITS_MIRROR": str(folder / "nowhere")}
    environment |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9") | {"PYTHONPATH": ""}
    environment.pop("DVC_ROOT", None)
    command = [sys.executable, "src", "run"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_without_a_source_the_built_in_digits_take_over_and_params_stay(project: Path) -> None:
    params = (project / "params.yaml").read_bytes()
    first = make_run(project)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "THE DATA SET COULD NOT BE FETCHED" in first.stdout
    assert re.search(r"data set +synthetic", first.stdout)
    for name in ("train.json", "evaluate.json"):
        assert json.loads((project / "metrics" / name).read_text())["dataset"] == "synthetic"
    assert (project / "params.yaml").read_bytes() == params

    second = make_run(project)
    assert second.returncode == 0
    assert "Nothing to do" in second.stdout
    assert "Running stage" not in second.stdout
    assert (project / "params.yaml").read_bytes() == params


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run.KEPT_PARAMS.parent.mkdir(parents=True)
    return tmp_path / "params.yaml"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_params_are_put_back_when_the_pipeline_fails_is_killed_or_they_were_deleted(
    in_empty_folder: Path, end: bytes
) -> None:
    params, original = in_empty_folder, end.join([b"# kept", b"dataset: pendigits   # this one", b"lr: 1", b""])
    params.write_bytes(original)
    with contextlib.suppress(ZeroDivisionError), run.synthetic_params():
        assert params.read_bytes() == end.join([b"# kept", b"dataset: synthetic   # this one", b"lr: 1", b""])
        killed = {path: path.read_bytes() for path in (params, run.KEPT_PARAMS)}
        raise ZeroDivisionError
    assert params.read_bytes() == original
    for lost in (None, params):
        for path, content in killed.items():  # as SIGKILL would have left them
            path.write_bytes(content)
        if lost:
            lost.unlink()
        run.put_params_back()
        assert params.read_bytes() == original
        assert not run.KEPT_PARAMS.exists()


def test_params_that_were_edited_after_a_run_was_killed_stay(
    in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = b"lr: 2  # mine\ndataset: synthetic   # this one\n"
    run.KEPT_PARAMS.write_bytes(b"dataset: pendigits   # this one\nlr: 1\n")
    in_empty_folder.write_bytes(edited)
    run.put_params_back()
    assert in_empty_folder.read_bytes() == edited
    assert not run.KEPT_PARAMS.exists()
    assert "params.yaml was edited during the run and stays as it is" in capsys.readouterr().out


# --- DVC as a process that is stopped
def write_dvc(folder: Path, main: str, stage: str = "") -> None:
    """Put something in DVC's place that does ``main``, and a stage that it may start."""
    for name, code in {"dvc/__init__.py": "", "dvc/__main__.py": main, "src/train.py": stage}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)


def start_run(folder: Path, main: str, stage: str = "") -> "subprocess.Popen[str]":
    write_dvc(folder, main, stage)
    code = "from commands.dvc_process import dvc; from runtime import script; script.run(lambda: dvc('repro'))"
    pipe, environment = subprocess.PIPE, os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )
    assert process.stdout
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.parametrize(("free", "says"), [(50_000, "the disk is full; free some space"), (10**9, "message above$")])
def test_a_full_disk_is_named_where_dvc_fails(
    free: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dvc(tmp_path, "raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc_process.shutil, "disk_usage", lambda place: SimpleNamespace(free=free))
    with pytest.raises(StageError, match=f"^`dvc no-such-command` failed.*{says}"):
        dvc_process.dvc("no-such-command")


DVC = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as DVC does while a stage works
sys.exit(subprocess.call([sys.executable, "src/train.py"]) or 1)
"""
STAGE = """
import signal, time
stops = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, stops)
print("at work", flush=True)
signal.sigwait(stops)
time.sleep(0.5)
print("state is kept")
"""
DVC_WITH_GIT = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit("interrupted"))
git = subprocess.call([sys.executable, "-c", "import time; print('at work', flush=True); time.sleep(30)"])
"""
STOPPED = "stopped; run the same command again to continue\n"


@pytest.mark.unix_only
@pytest.mark.parametrize("asked", ["SIGTERM", "SIGINT to all", "SIGHUP to all"])
def test_a_stop_waits_for_the_stage_to_keep_its_state(asked: str, tmp_path: Path) -> None:
    process = start_run(tmp_path, DVC, STAGE)
    name, _, to_all = asked.partition(" ")  # of which, but for Ctrl-C, DVC dies
    (os.killpg if to_all else os.kill)(process.pid, getattr(signal, name))
    assert process.communicate(timeout=60) == ("state is kept\n", STOPPED)
    assert process.returncode == 130


@pytest.mark.unix_only
def test_a_stop_between_two_stages_is_for_dvc_and_not_for_what_it_calls(tmp_path: Path) -> None:
    process = start_run(tmp_path, DVC_WITH_GIT)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", f"interrupted\n{STOPPED}")
    assert process.returncode == 130


def test_bad_params_are_refused_before_anything_runs(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(re.sub(r"(?m)^lr:.*", "lr: -1", text).replace("gelu", "gelo"))
    done = make_run(project)
    value, name = done.stderr.splitlines()
    assert (done.returncode, value) == (2, "params.yaml: lr must be greater than 0, got -1")
    assert name.startswith("params.yaml: activation must be one of ")
    assert not (project / "data/raw").exists()


def test_the_lock_file_counts_sources_alone() -> None:
    """What Python compiles differs from machine to machine, and a stage must not run again for it."""
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"].values()
    folders = {dep["path"]: dep["nfiles"] for stage in stages for dep in stage["deps"] if "nfiles" in dep}
    assert folders["src/neural_net"] == sum(path.is_file() for path in (ROOT / "src/neural_net").iterdir())
