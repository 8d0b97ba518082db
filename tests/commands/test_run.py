"""`make run` from a clean copy of the project: on the built-in digits where nothing can be fetched, and twice."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from tests.project_copy import copy_project

from commands import dvc_process, run
from pipeline.errors import StageError
from runtime.signals import TOGETHER

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project without git, data and models, its training shrunk; no source of the data set answers."""
    folder = tmp_path / "a project"
    copy_project(folder, ["dvc.lock"], epochs=3, hidden_layers=[48], synthetic_rows_per_writer=40)
    return folder


def make_run(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PENDIGITS_TRACKING": "off",
        "PENDIGITS_MIRROR": str(folder / "nowhere"),
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "PYTHONPATH": "",
    }
    environment.pop("DVC_ROOT", None)
    command = [sys.executable, "src/run.py"]
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


@pytest.mark.slow
def test_dvc_repro_itself_never_falls_back(project: Path) -> None:
    run_py = (project / "src/run.py").read_text()
    assert "synthetic" in run_py
    (project / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    environment = os.environ | {"PENDIGITS_MIRROR": str(project / "nowhere"), "https_proxy": "http://127.0.0.1:9"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-m", "dvc", "repro", "fetch"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "PENDIGITS_MIRROR" in done.stdout + done.stderr
    assert not (project / "data/raw/synthetic").exists()


def test_params_are_put_back_after_a_run_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    original = b"# kept\ndataset: pendigits   # this one\nlr: 1\n"
    Path("params.yaml").write_bytes(original)
    with run.synthetic_params():
        assert Path("params.yaml").read_bytes() == b"# kept\ndataset: synthetic   # this one\nlr: 1\n"
        killed = {path: path.read_bytes() for path in (Path("params.yaml"), run.KEPT_PARAMS)}
    assert Path("params.yaml").read_bytes() == original
    for path, content in killed.items():  # as SIGKILL would have left them
        path.write_bytes(content)
    run.put_params_back()
    assert Path("params.yaml").read_bytes() == original
    assert not run.KEPT_PARAMS.exists()


def test_what_was_edited_after_a_run_was_killed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run.KEPT_PARAMS.parent.mkdir(parents=True)
    run.KEPT_PARAMS.write_bytes(b"dataset: pendigits   # this one\nlr: 1\n")
    Path("params.yaml").write_bytes(b"lr: 2  # mine\ndataset: synthetic   # this one\n")
    run.put_params_back()
    assert Path("params.yaml").read_bytes() == b"lr: 2  # mine\ndataset: pendigits   # this one\n"
    assert not run.KEPT_PARAMS.exists()
    assert "was edited meanwhile; it has dataset: pendigits again" in capsys.readouterr().out


@pytest.mark.parametrize("kept", [b"", b"lr: 1\n"])
def test_a_damaged_copy_of_params_is_said_and_removed(
    kept: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run.KEPT_PARAMS.parent.mkdir(parents=True)
    run.KEPT_PARAMS.write_bytes(kept)
    Path("params.yaml").write_bytes(b"dataset: synthetic\n")
    run.put_params_back()
    assert Path("params.yaml").read_bytes() == b"dataset: synthetic\n"
    assert not run.KEPT_PARAMS.exists()
    assert "is damaged and removed" in capsys.readouterr().out


def test_params_that_were_deleted_after_a_kill_are_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run.KEPT_PARAMS.parent.mkdir(parents=True)
    run.KEPT_PARAMS.write_bytes(b"dataset: pendigits\n")
    run.put_params_back()
    assert Path("params.yaml").read_bytes() == b"dataset: pendigits\n"


def test_params_are_put_back_when_the_pipeline_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("dataset: pendigits\n")
    with pytest.raises(ZeroDivisionError), run.synthetic_params():
        raise ZeroDivisionError
    assert Path("params.yaml").read_text() == "dataset: pendigits\n"


@pytest.mark.parametrize(("free", "says"), [(50_000, "the disk is full; free some space"), (10**9, "tells why$")])
def test_a_full_disk_is_named_where_dvc_fails(monkeypatch: pytest.MonkeyPatch, free: int, says: str) -> None:
    monkeypatch.setattr(run.shutil, "disk_usage", lambda place: SimpleNamespace(free=free))
    with pytest.raises(StageError, match=f"^`dvc no-such-command` failed.*{says}"):
        dvc_process.dvc("no-such-command")


SLOW_DVC = """
import os, signal, subprocess, sys, time
stage = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: None); print('at work', flush=True);"
stage += "signal.signal(signal.SIGHUP, lambda *_: None);"
stage += "signal.signal(signal.SIGINT, lambda *_: None); signal.pause(); time.sleep(0.5); print('state is kept')"
signal.signal(signal.SIGINT, signal.SIG_IGN)
told = os.environ | {"DVC_STAGE": "train", "DVC_ROOT": os.getcwd()}
sys.exit(subprocess.call([sys.executable, "-c", stage], env=told) or 1)
"""

DVC_WITH_GIT = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit("interrupted"))
print("at work", flush=True)
git = subprocess.call([sys.executable, "-c", "import time; time.sleep(30); print('git was let be')"])
sys.exit(f"git ended with {git}")
"""


LATE_DVC = f"""
import signal, time
print("at work", flush=True)
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as DVC does when it has just started a stage
time.sleep(1)
{SLOW_DVC}
"""


def start_run(folder: Path, main: str, *, loading: str = "") -> "subprocess.Popen[str]":
    """``run.dvc("repro")``, where what it takes for DVC has this ``main``, and does something while it is loaded."""
    (folder / "dvc").mkdir()
    (folder / "dvc/__init__.py").write_text(loading)
    (folder / "dvc/cli.py").write_text("def main(arguments):\n" + textwrap.indent(main, "    "))
    code = "import sys; sys.argv[0] = sys.argv[1]; import starting, stage, run; stage.run(lambda: run.dvc('repro'))"
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'src'}"}
    command = [sys.executable, "-c", code, str(ROOT / "src/run.py")]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    assert process.stdout
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.parametrize("asked", ["Ctrl-C", "SIGTERM", "SIGHUP", "SIGTERM to all", "SIGHUP to all"])
def test_a_stop_waits_for_the_stage_to_keep_its_state(asked: str, tmp_path: Path) -> None:
    process = start_run(tmp_path, SLOW_DVC)
    time.sleep(0.2)  # until the stage waits for a signal
    if asked in ("SIGTERM", "SIGHUP"):
        process.send_signal(getattr(signal, asked))
    else:  # of which, but for Ctrl-C, DVC dies
        number = {"Ctrl-C": signal.SIGINT, "SIGTERM to all": signal.SIGTERM, "SIGHUP to all": signal.SIGHUP}[asked]
        os.killpg(process.pid, number)
    assert process.communicate(timeout=60) == (
        "state is kept\n",
        "stopped; the same command again makes what is missing\n",
    )
    assert process.returncode == 130


def test_a_stage_that_begins_after_the_stop_is_told_too(tmp_path: Path) -> None:
    process = start_run(tmp_path, LATE_DVC)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)  # the stage would wait for ever; told while Python starts, it keeps nothing
    assert process.returncode == 130


def test_a_second_request_is_passed_on_too(tmp_path: Path) -> None:
    stubborn = SLOW_DVC.replace("signal.pause(); ", "signal.pause(); print('once', flush=True); signal.pause(); ")
    process = start_run(tmp_path, stubborn)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.stdout
    assert process.stdout.readline() == "once\n"
    time.sleep(TOGETHER)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "state is kept\n"
    assert process.returncode == 130


def test_a_stop_between_two_stages_is_for_dvc_and_not_for_what_it_calls(tmp_path: Path) -> None:
    process = start_run(tmp_path, DVC_WITH_GIT)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert "interrupted" in process.communicate(timeout=60)[1]
    assert process.returncode == 130


@pytest.mark.parametrize("everyone", [False, True])
def test_a_stop_while_dvc_is_loaded_is_a_line(everyone: bool, tmp_path: Path) -> None:
    loading = "import time\nprint('at work', flush=True)\ntime.sleep(60)"
    process = start_run(tmp_path, "", loading=loading)
    if everyone:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == ("", "stopped; the same command again makes what is missing\n")
    assert process.returncode == 130


def test_bad_params_are_refused_before_anything_runs(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(re.sub(r"(?m)^lr:.*", "lr: -1", text).replace("gelu", "gelo"))
    done = make_run(project)
    assert done.returncode == 2
    assert done.stderr == "params.yaml: lr must be greater than 0, got -1\n"
    assert not (project / "data/raw").exists()


def test_every_make_target_is_listed_with_its_sentence() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = next(line for line in text.splitlines() if line.startswith(".PHONY:")).split()[1:]
    command = ["make", "--no-print-directory", "help"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    sentences = dict(line.split(maxsplit=2)[1:] for line in listed.splitlines())
    assert set(sentences) == set(phony) - {"install"}  # a step of setup
    assert all(sentences.values())


def test_the_lock_file_counts_sources_alone() -> None:
    """What Python compiles differs from machine to machine, and a stage must not run again for it."""
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"].values()
    folders = {dep["path"]: dep["nfiles"] for stage in stages for dep in stage["deps"] if "nfiles" in dep}
    assert folders["src/neural_net"] == len(list((ROOT / "src/neural_net").glob("*.py")))
