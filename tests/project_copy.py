"""A copy of the project for tests that run it as a user does."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WHO = {"user.name": "A Person", "user.email": "person@example.com"}
PIPELINE = ["src", "dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", "data/own/README.md", "data/.gitignore"]
PIPELINE += ["metrics/.gitignore"]


def copy_project(folder: Path, more: list[str], **params: Any) -> None:
    """Put the files that the pipeline needs into a folder, as they are now, but for some of the parameters.

    ``more`` names further ones, which may be missing. There is no git, no data and no model.
    """
    for name in PIPELINE + more:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    shutil.copy(ROOT / "params.yaml", folder)
    for key, value in params.items():
        set_param(folder, key, value)


def set_param(folder: Path, key: str, value: Any) -> None:
    text = (folder / "params.yaml").read_text()
    changed = re.sub(rf"(?m)^{key}:.*(\n[ -].*)*", f"{key}: {json.dumps(value)}", text)
    (folder / "params.yaml").write_text(changed)


def make_repository(folder: Path) -> None:
    """Make the folder a git repository of somebody's, with its files in one commit."""
    git(folder, "init", "-q", "-b", "main")
    for key, value in WHO.items():
        git(folder, "config", key, value)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "Begin")


def git(folder: Path, *arguments: str) -> str:
    who = [word for key, value in WHO.items() for word in ("-c", f"{key}={value}")]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
