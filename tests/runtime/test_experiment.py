"""A params.yaml that is refused is put back to what it was before the experiment; whatever is not certain is left."""

import os
import re
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from runtime import experiment, script

import pytest
from scmrepo.git import Git
from tests.project_copy import git, make_repository
from tests.runtime.test_script import raising

from pipeline.errors import FailedTrainingError, StageError
from pipeline.params import load_params
from pipeline.paths import PARAMS_FILE

FIND_DVC = experiment._dvc_process


def begin(ends: str = "lf") -> None:
    """Make the working directory a repository with one commit, whose text files have such line ends."""
    Path(".gitattributes").write_text("*.yaml text\n")
    make_repository(Path())
    git(Path(), "config", "core.eol", ends)
    PARAMS_FILE.unlink()
    git(Path(), "checkout", str(PARAMS_FILE))


@pytest.fixture
def repository(workspace: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """The workspace as a repository, in an experiment that DVC has just begun."""
    begin(getattr(request, "param", "lf"))
    monkeypatch.setenv("DVC_EXP_NAME", "an-experiment")
    called_with(monkeypatch, "-S", "lr=-1")
    return workspace


def called_with(monkeypatch: pytest.MonkeyPatch, *options: str, begun: float = -1) -> None:
    """Let the stage find a DVC above it that was started so many seconds from now."""
    found = (time.time() + begun, ["python", "/a/path/dvc", "exp", "run", *options])
    monkeypatch.setattr(experiment, "_dvc_process", lambda: found)


def edit(key: str = "lr", value: str = "-1") -> bytes:
    """Change the value of a key, wherever it stands; returns the new file."""
    new = re.sub(rb"(?m)^( *%b:) [^\r\n]*" % key.encode(), rb"\1 " + value.encode(), PARAMS_FILE.read_bytes())
    PARAMS_FILE.write_bytes(new)
    return new


def stash() -> None:
    """What DVC does before it writes the values of -S, by the library with which it does it."""
    with Git(".") as scm, scm.stash_workspace(reinstate_index=True):
        pass


def refused() -> bytes:
    """params.yaml after a stage that rejects it."""
    with pytest.raises(SystemExit) as ended:
        script.run(lambda: load_params() and None)
    assert ended.value.code == 2
    return PARAMS_FILE.read_bytes()


@pytest.mark.parametrize("repository", ["lf", "crlf"], indirect=True)
@pytest.mark.parametrize("edited", [True, False])
def test_params_come_back_as_they_were(
    repository: Path, edited: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = edit("seed", "7  # mine") if edited else PARAMS_FILE.read_bytes()
    stash()
    edit()
    for name in ("GIT_DIR", "GIT_INDEX_FILE"):  # as in a hook of another repository
        monkeypatch.setenv(name, str(repository / "elsewhere"))
    assert refused() == before
    assert capsys.readouterr().err == "params.yaml: lr must be greater than 0, got -1\n"


@pytest.mark.parametrize(
    ("option", "key", "came_back"),
    [
        (["-Slr=-1"], "lr", True),
        (["--set-param", "params.yaml:lr=-1"], "lr", True),
        (["--set-param=+augment.aspect=-1"], "aspect", True),
        (["-S", "augment.bend=-1"], "aspect", False),
        (["-S", "lr_more=-1"], "lr", False),
        (["lr=-1"], "lr", False),
    ],
)
def test_only_what_the_command_line_names_is_undone(
    option: list[str], key: str, came_back: bool, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called_with(monkeypatch, *option)
    before = PARAMS_FILE.read_bytes()
    changed = edit(key)
    assert refused() == (before if came_back else changed)


@pytest.mark.parametrize("option", ["--skip-worktree", "--assume-unchanged"])
def test_edits_that_git_does_not_look_for_are_left_alone(
    option: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository, "update-index", option, str(PARAMS_FILE))
    edit("lr", "0.25 # mine")
    stash()
    changed = edit()
    assert refused() == changed
    assert "`git checkout params.yaml`" in capsys.readouterr().err


@pytest.mark.parametrize("doubt", ["two stashes", "a stash with another date", "another key", "no git", "no DVC"])
def test_in_doubt_they_are_left_alone(
    doubt: str, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for lr in ("0.25", "0.125") if doubt == "two stashes" else ():
        edit("lr", lr)
        stash()
    if doubt == "a stash with another date":
        monkeypatch.setenv("GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z")
        edit("lr", "0.25")
        stash()
    if doubt == "another key":
        edit("seed", "9")
    if doubt == "no git":
        monkeypatch.setenv("PATH", "")
    if doubt == "no DVC":
        monkeypatch.setattr(experiment, "_dvc_process", FIND_DVC)
    changed = edit()
    assert refused() == changed
    assert "params.yaml still has the experiment's values; edit it, or restore" in capsys.readouterr().err


@pytest.mark.parametrize(("fault", "undone"), [(FailedTrainingError, True), (StageError, False), (None, False)])
def test_params_stay_unless_they_are_at_fault(
    fault: type[Exception] | None, undone: bool, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called_with(monkeypatch, "-S", "lr=1000")
    before, changed = PARAMS_FILE.read_bytes(), edit("lr", "1000")
    with pytest.raises(SystemExit) if fault else nullcontext():
        script.run(lambda: raising(fault("a fault")) if fault else None)
    assert PARAMS_FILE.read_bytes() == (before if undone else changed)


@pytest.mark.parametrize("kind", ["older than this DVC", "of another commit"])
def test_a_commit_that_is_not_this_dvcs_stash_is_not_taken(
    kind: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = PARAMS_FILE.read_bytes()
    edit("seed", "7")
    stash()
    git(repository, "checkout", "params.yaml")
    if kind == "of another commit":
        git(repository, "commit", "-q", "--allow-empty", "-m", "Go on")
    if kind == "older than this DVC":
        called_with(monkeypatch, "-S", "lr=-1", begun=10)
    edit()
    assert refused() == before


@pytest.mark.parametrize(("name", "value"), [("DVC_EXP_NAME", ""), ("DVC_ROOT", "/")])
def test_outside_an_experiment_or_in_a_temporary_one_nothing_is_touched(
    name: str, value: str, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    changed = edit()
    assert refused() == changed
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_dvc_that_runs_a_stage_is_found_among_the_processes_above(tmp_path: Path) -> None:
    inner = "from runtime import experiment; print(experiment.start_of_dvc())"
    (tmp_path / "dvc.py").write_text(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])")
    environment = os.environ | {"PYTHONPATH": str(Path(script.__file__).parents[1])}
    command = [sys.executable, str(tmp_path / "dvc.py")]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert abs(float(said) - time.time()) < 60
    assert experiment.start_of_dvc() is None
