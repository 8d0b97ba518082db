"""`python src NAME ...`, which each make target calls and which works without make."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OTHERS = ("commands", "studies", "__pycache__")


def python_src(*arguments: str, folder: Path, main: str = "") -> subprocess.CompletedProcess[str]:
    """Run a copy of src with two commands of the test's own in place of its own."""
    shutil.copytree(ROOT / "src", folder, ignore=shutil.ignore_patterns(*OTHERS), dirs_exist_ok=True)
    for name, code in {"commands/good.py": main, "commands/helper.py": "", "studies/sweep.py": main}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    command = [sys.executable, str(folder), *arguments]
    environment = os.environ | {"PYTHONPATH": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["good", "sweep"])
def test_a_command_or_a_study_is_run_with_its_arguments(name: str, tmp_path: Path) -> None:
    done = python_src(name, "a", "--b", folder=tmp_path, main="import sys\ndef main(): print(sys.argv)")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"['python src {name}', 'a', '--b']\n"


def test_a_command_in_a_stage_of_another_dvc_project_is_about_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own/.dvc").mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "other"))
    main = "from pipeline.paths import project_root\ndef main(): print(project_root())"
    assert python_src("good", folder=tmp_path / "own", main=main).stdout == f"{tmp_path / 'own'}\n"


@pytest.mark.parametrize("arguments", [(), ("helper",), ("../good",)])
def test_an_unknown_name_is_answered_by_those_that_can_be_run(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = python_src(*arguments, folder=tmp_path, main="def main(): print('ran')")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "usage: python src NAME ...; NAME is one of good, sweep\n"


def test_a_command_ends_as_a_script_does_also_while_it_is_imported(tmp_path: Path) -> None:
    done = python_src("good", folder=tmp_path, main="raise KeyboardInterrupt\ndef main(): pass")
    assert (done.returncode, done.stderr) == (130, "stopped; run the same command again to continue\n")


def test_the_usage_names_all_commands() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "src")], capture_output=True, text=True, check=False)
    names = done.stderr.rpartition("one of ")[2].strip().split(", ")
    assert {"run", "ui", "serve", "compare", "champion", "sync", "doctor", "cross_validate", "report"} <= set(names)
    assert not {"dvc_process", "server_limits", "__init__"} & set(names)


@pytest.mark.unix_only
def test_make_help_names_all_targets() -> None:
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))
    command = ["make", "--no-print-directory", "help"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = [line.split(maxsplit=2)[1:] for line in said.splitlines() if line.startswith("  make ")]
    assert {name for name, _ in listed} == targets - {"install"}  # a step of setup
