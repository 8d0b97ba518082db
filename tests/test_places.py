"""A project in a subfolder of another repository: experiments, hooks, and a remote that came after the experiment."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.project_copy import copy_project
from tests.test_experiments import MORE, SHRUNK, Checkout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
WHO = {"user.name": "A Person", "user.email": "person@example.com"}


def make(checkout: Checkout, command: str, **how: bool) -> str:
    """Run what a make target runs."""
    return checkout.run(sys.executable, "src", command, **how)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose project, in a subfolder, has run once and made one experiment, which is called `first`."""
    top = tmp_path_factory.mktemp("places") / "monorepo"
    project = Checkout(top / "digits")
    copy_project(project.folder, MORE, **SHRUNK | {"hidden_layers": [8], "epochs": 1})
    subprocess.run(["git", "init", "-q", "-b", "main", top], check=True)
    for key, value in WHO.items():
        project.run("git", "config", key, value)
    project.run("git", "add", ".")
    project.run("git", "commit", "-q", "-m", "Begin")
    assert "dvc exp run -S lr=0.005" in make(project, "run")
    assert not (project.folder / ".dvc/config.local").exists()
    project.run("git", "add", ".")
    project.run("git", "commit", "-q", "-m", "Run")
    project.dvc("exp", "run", "--temp", "-n", "first", "-S", "lr=0.01")
    return top


@pytest.fixture
def project(prepared: Path, tmp_path: Path) -> Checkout:
    top = shutil.copytree(prepared, tmp_path / "monorepo", symlinks=True)
    return Checkout(top / "digits")


def test_in_a_hook_sync_finds_the_experiment_and_leaves_head_and_index_alone(project: Checkout) -> None:
    top = project.folder.parent
    kept = {path: path.read_bytes() for path in (top / ".git/HEAD", top / ".git/index", top / ".git/refs/heads/main")}
    hook = {"GIT_DIR": top / ".git", "GIT_INDEX_FILE": top / ".git/index", "GIT_WORK_TREE": top}
    project.environment |= {name: str(path) for name, path in hook.items()}
    assert "1 experiment: 0 logged, 1 already there" in make(project, "sync")
    assert {path: path.read_bytes() for path in kept} == kept
    for name in hook:
        del project.environment[name]
    assert project.run("git", "status", "--short", "--untracked-files=no") == ""
    assert "dvc exp apply first" in make(project, "compare")
    assert "problem:" not in make(project, "doctor")

    other = Checkout(top.with_name("worktree") / "digits")
    project.run("git", "worktree", "add", "-q", str(other.folder.parent))
    command = f"dvc cache dir --local {project.folder}/.dvc/cache"
    assert f"another worktree has them; to use its cache: `{command}`" in make(other, "doctor", fails=True)
    other.dvc(*shlex.split(command)[1:])
    assert "1 experiment: 1 logged" in make(other, "sync")


def test_a_renamed_experiment_that_is_older_than_the_remote_is_shared(project: Checkout, tmp_path: Path) -> None:
    project.dvc("exp", "rename", "first", "second")
    said = make(project, "sync")
    assert "synthetic-first follows its experiment, which is called second now" in said
    assert "1 experiment: 0 logged, 1 already there" in said

    origin, remote = tmp_path / "origin.git", tmp_path / "remote"
    project.run("git", "init", "-q", "--bare", "-b", "main", str(origin))
    project.run("git", "remote", "add", "origin", str(origin))
    project.dvc("remote", "add", "-d", "store", str(remote))
    project.run("git", "commit", "-q", "-a", "-m", "Add the remote")
    project.run("git", "push", "-q", "origin", "main")
    command = f"dvc remote add --local -d store {remote}"
    assert command in make(project, "doctor", fails=True).splitlines()[-2]
    project.dvc(*shlex.split(command)[1:])
    assert "problem:" not in make(project, "doctor")

    subprocess.run(["git", "clone", "-q", origin, tmp_path / "clone"], check=True)
    colleague = Checkout(tmp_path / "clone/digits")
    for key, value in WHO.items():
        colleague.run("git", "config", key, value)
    project.run("git", "push", "-q", "origin", "refs/exps/*:refs/exps/*")  # and no files
    colleague.run("git", "fetch", "-q", "origin", "refs/exps/*:refs/exps/*")
    said = make(colleague, "sync", fails=True)
    assert "second: not logged: DVC's cache lacks data/split, metrics/predictions.csv, models; it is older" in said
    assert f"type `{command}` before `dvc exp pull origin second`" in said
    colleague.dvc(*shlex.split(command)[1:])
    remote.mkdir(exist_ok=True)
    assert "the remote lacks them too" in make(colleague, "doctor", fails=True)
    assert re.search(r"\d+ files uploaded", project.dvc("exp", "push", "origin", "second"))
    assert "the remote has them: `dvc exp pull origin second`" in make(colleague, "doctor", fails=True)
    colleague.dvc("exp", "pull", "origin", "second")
    assert "1 experiment: 1 logged" in make(colleague, "sync")
    colleague.dvc("exp", "apply", "second")
    assert "lr: 0.01" in (colleague.folder / "params.yaml").read_text()
