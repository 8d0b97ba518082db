"""A project in a subfolder of another repository: experiments, hooks, and a remote that came after the experiment."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.project_copy import WHO, copy_project, git, make_repository
from tests.test_experiments import MORE, SHRUNK, Checkout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose project, in a subfolder, has run once and made one experiment, which is called `first`."""
    top = tmp_path_factory.mktemp("places") / "monorepo"
    project = Checkout(top / "digits")
    copy_project(project.folder, MORE, **SHRUNK | {"hidden_layers": [8], "epochs": 1})
    (top / "other").mkdir()
    (top / "other/dvc.lock").touch()
    make_repository(top)
    assert "dvc exp run -S lr=0.005" in project.make("run")
    assert not (project.folder / ".dvc/config.local").exists()
    project.run("git", "add", ".")
    project.run("git", "commit", "-q", "-m", "Run")
    project.dvc("exp", "run", "--temp", "-n", "first", "-S", "lr=0.01")
    for file in ("other/dvc.lock", "digits/params.yaml"):  # DVC puts an edit of ours into theirs as well
        with (top / file).open("a") as edited:
            edited.write("# edited\n")
    git(top, "commit", "-q", "-a", "-m", "dvc: commit experiment")
    baseline = git(top, "rev-parse", "HEAD~")
    git(top, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/of-another-project", "HEAD")
    git(top, "reset", "-q", "--hard", "HEAD~")
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
    assert "1 experiment: 0 logged, 1 already there" in project.make("sync")
    assert {path: path.read_bytes() for path in kept} == kept
    for name in hook:
        del project.environment[name]
    assert project.run("git", "status", "--short", "--untracked-files=no") == ""
    assert "dvc exp apply first" in project.make("compare")
    assert "problem:" not in project.make("doctor")

    other = Checkout(top.with_name("worktree") / "digits")
    project.run("git", "worktree", "add", "-q", str(other.folder.parent))
    command = f"dvc cache dir --local {project.folder}/.dvc/cache"
    assert f"another worktree has them; to use its cache: `{command}`" in other.make("doctor", fails=True)
    other.dvc(*shlex.split(command)[1:])
    assert "1 experiment: 1 logged" in other.make("sync")


def test_a_renamed_experiment_that_is_older_than_the_remote_is_shared(project: Checkout, tmp_path: Path) -> None:
    project.dvc("exp", "rename", "first", "second")
    said = project.make("sync")
    assert "synthetic-first follows its experiment, which is called second now" in said
    assert "1 experiment: 0 logged, 1 already there" in said

    origin, remote = tmp_path / "origin.git", tmp_path / "remote"
    project.run("git", "init", "-q", "--bare", "-b", "main", str(origin))
    project.run("git", "remote", "add", "origin", str(origin))
    project.dvc("remote", "add", "-d", "store", str(remote))
    project.run("git", "commit", "-q", "-a", "-m", "Add the remote")
    project.run("git", "push", "-q", "origin", "main")
    command = f"dvc remote add --local -d store {remote}"
    assert command in project.make("doctor", fails=True).splitlines()[-2]
    project.dvc(*shlex.split(command)[1:])
    assert "problem:" not in project.make("doctor")

    for key in ("allowFilter", "allowAnySHA1InWant"):
        subprocess.run(["git", "-C", origin, "config", f"uploadpack.{key}", "true"], check=True)
    partial = ["--filter=blob:none", f"file://{origin}"]  # a clone that fetches the content of files when git reads it
    subprocess.run(["git", "clone", "-q", *partial, tmp_path / "clone"], check=True)
    colleague = Checkout(tmp_path / "clone/digits")
    for key, value in WHO.items():
        colleague.run("git", "config", key, value)
    project.run("git", "push", "-q", "origin", "refs/exps/*:refs/exps/*")  # and no files
    colleague.run("git", "fetch", "-q", "origin", "refs/exps/*:refs/exps/*")
    said = colleague.make("sync", fails=True)
    assert "second: not logged: DVC's cache lacks data/split, metrics/predictions.csv, models; it is older" in said
    assert f"type `{command}` before `dvc exp pull origin second`" in said
    colleague.dvc(*shlex.split(command)[1:])
    remote.mkdir(exist_ok=True)
    assert "the remote lacks them too" in colleague.make("doctor", fails=True)
    assert re.search(r"\d+ files uploaded", project.dvc("exp", "push", "origin", "second"))
    assert "the remote has them: `dvc exp pull origin second`" in colleague.make("doctor", fails=True)
    colleague.dvc("exp", "pull", "origin", "second")
    assert "1 experiment: 1 logged" in colleague.make("sync")
    colleague.dvc("exp", "apply", "second")
    assert "lr: 0.01" in (colleague.folder / "params.yaml").read_text()
