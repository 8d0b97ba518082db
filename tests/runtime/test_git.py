"""Git is asked about the folder at hand, whatever called us; test_doctor.py has a git that refuses."""

import os
import shutil
import subprocess
from pathlib import Path

from runtime import git, script

import pytest
from tests.project_copy import ROOT, make_repository


def make(folder: Path) -> Path:
    """A repository with one commit and a project in a subfolder; returns the latter."""
    project = folder / "a project"
    project.mkdir(parents=True)
    (project / "params.yaml").write_text("lr: 1\n")
    make_repository(folder)
    return project


def test_a_script_that_a_hook_calls_leaves_the_hook_s_repository_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, other = make(tmp_path / "ours"), make(tmp_path / "theirs")
    hook = {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index", "GIT_WORK_TREE": "."}
    for name, path in hook.items():
        monkeypatch.setenv(name, str(other.parent / path))
    ours = str(project.parent)
    assert git.git_text("rev-parse", "--show-toplevel", folder=project) == ours

    def main() -> None:
        assert not hook.keys() & os.environ.keys()
        done = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=project, capture_output=True, check=True)
        assert done.stdout.decode().strip() == ours

    script.run(main)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_clone_has_the_same_bytes_whatever_it_says_of_line_ends(ends: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    (tmp_path / "params.yaml").write_bytes(f"lr: 1{ends}".encode())
    make(tmp_path)
    clone = ["git", "clone", "-q", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", tmp_path, tmp_path / "clone"]
    subprocess.run(clone, check=True)
    assert (tmp_path / "clone/params.yaml").read_bytes() == f"lr: 1{ends}".encode()


def test_a_shallow_clone_is_known(tmp_path: Path) -> None:
    project = make(tmp_path / "whole")
    assert git.has_git(project)
    assert not git.is_shallow(project)
    clone = ["git", "clone", "-q", "--depth", "1", project.parent.as_uri(), tmp_path / "shallow"]
    subprocess.run(clone, check=True)
    assert git.is_shallow(tmp_path / "shallow")
