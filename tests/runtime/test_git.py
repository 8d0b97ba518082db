"""Git is asked about the folder at hand, whatever called us; test_doctor.py has a git that refuses."""

import os
import shutil
import subprocess
from pathlib import Path

from runtime import git, script

import pytest
from tests import project_copy


def make(folder: Path) -> Path:
    """A repository with one commit and a project in a subfolder; returns the latter."""
    project = folder / "a project"
    project.mkdir(parents=True)
    (project / "params.yaml").write_text("lr: 1\n")
    project_copy.make_repository(folder)
    return project


def test_a_script_that_a_hook_calls_leaves_the_hook_s_repository_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, other = make(tmp_path / "ours"), make(tmp_path / "theirs")
    hook = {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index", "GIT_WORK_TREE": "."}
    for name, path in hook.items():
        monkeypatch.setenv(name, str(other.parent / path))
    ours = project.parent
    assert Path(git.git_text("rev-parse", "--show-toplevel", folder=project)) == ours

    def main() -> None:
        assert not hook.keys() & os.environ.keys()
        done = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=project, capture_output=True, check=True)
        assert Path(done.stdout.decode().strip()) == ours

    script.run(main)


def test_the_kind_of_an_error_does_not_depend_on_what_git_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make(tmp_path / "not a git repository")
    with pytest.raises(git.GitError, match="dubious ownership") as of_a_command:
        git.git("rev-parse", "dubious ownership: not a git repository", folder=project)
    assert (type(of_a_command.value), of_a_command.value.remedy) == (git.GitError, "")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(git.GitError) as of_another_user:
        git.has_git(project)
    top = project.parent.as_posix()
    assert of_another_user.value.remedy == f"git config --global --add safe.directory '{top}'"
    (project.parent / ".git").rename(tmp_path / "away")
    assert not git.has_git(project)
    (project.parent / ".git").write_text("gitdir: nowhere")  # a worktree without its repository
    assert not git.has_git(project)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_clone_has_the_same_bytes_whatever_it_says_of_line_ends(ends: str, tmp_path: Path) -> None:
    shutil.copy(project_copy.ROOT / ".gitattributes", tmp_path)
    (tmp_path / "params.yaml").write_bytes(f"lr: 1{ends}".encode())
    make(tmp_path)
    clone = ["git", "clone", "-q", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", tmp_path, tmp_path / "clone"]
    subprocess.run(clone, check=True)
    assert (tmp_path / "clone/params.yaml").read_bytes() == f"lr: 1{ends}".encode()


@pytest.mark.unix_only
@pytest.mark.parametrize(("kind", "option"), [("shallow", "--depth=1"), ("partial", "--filter=blob:none")])
def test_a_clone_without_all_objects_is_known_and_completed(kind: str, option: str, tmp_path: Path) -> None:
    project = make(tmp_path / "whole")
    assert git.has_git(project)
    assert git.lacks_history(project) is None
    (project / "params.yaml").write_text("lr: 2\n")
    for command in (("commit", "-q", "-a", "-m", "Go on"), ("config", "uploadpack.allowFilter", "true")):
        project_copy.git(project, *command)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", option, project.parent.as_uri(), clone], check=True)
    found, command_to_type = git.lacks_history(clone) or ("", "")
    assert found == kind
    subprocess.run(["sh", "-c", command_to_type], cwd=clone, check=True)
    assert git.lacks_history(clone) is None
    assert "?" not in project_copy.git(clone, "rev-list", "--objects", "--all", "--missing=print")
    assert project_copy.git(clone, "rev-list", "--count", "HEAD") == "2"
