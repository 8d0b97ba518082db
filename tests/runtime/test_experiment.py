"""A params.yaml that is refused is put back to what it was before the experiment."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.params import load_params
from runtime import experiment, script


def git(*arguments: str) -> str:
    who = ("-c", "user.name=A Person", "-c", "user.email=person@example.com")
    return subprocess.run(["git", *who, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace as a git repository, its params.yaml committed, in an experiment that DVC has just begun."""
    git("init", "-q")
    git("add", "params.yaml")
    git("commit", "-q", "-m", "Begin")
    monkeypatch.setenv("DVC_EXP_NAME", "an-experiment")
    monkeypatch.setattr(experiment, "start_of_dvc", lambda: time.time() - 1)
    return workspace


def set_lr(value: str) -> bytes:
    lines = [
        f"lr: {value}" if line.startswith("lr:") else line for line in Path("params.yaml").read_text().splitlines()
    ]
    Path("params.yaml").write_text("\n".join(lines) + "\n")
    return Path("params.yaml").read_bytes()


def stash_as_dvc_does() -> None:
    """Stash what has changed, and take it back at once."""
    git("stash")
    git("stash", "pop")


def refused() -> bytes:
    with pytest.raises(SystemExit) as ended:
        script.run(lambda: load_params() and None)
    assert ended.value.code == 2
    return Path("params.yaml").read_bytes()


def test_good_params_are_left_alone(repository: Path, signals: None) -> None:
    changed = set_lr("0.125")
    script.run(lambda: load_params() and None)
    assert Path("params.yaml").read_bytes() == changed


def test_params_of_a_clean_workspace_come_back_from_the_commit(repository: Path) -> None:
    before = Path("params.yaml").read_bytes()
    set_lr("-1")
    assert refused() == before


def test_params_that_had_changed_come_back_as_they_were(repository: Path) -> None:
    before = set_lr("0.125  # mine")
    stash_as_dvc_does()
    set_lr("-1")
    assert refused() == before


@pytest.mark.parametrize(("fault", "back"), [(errors.FruitlessError, True), (errors.StageError, False)])
def test_params_that_diverged_come_back_and_those_that_met_another_fault_stay(
    fault: type[Exception], back: bool, repository: Path
) -> None:
    before = set_lr("0.125  # mine")
    stash_as_dvc_does()
    changed = set_lr("1000")

    def main() -> None:
        raise fault("of no use")

    with pytest.raises(SystemExit) as ended:
        script.run(main)
    assert ended.value.code == 1
    assert Path("params.yaml").read_bytes() == (before if back else changed)


def test_a_stash_of_an_earlier_experiment_is_not_taken(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Path("params.yaml").read_bytes()
    set_lr("0.125")
    stash_as_dvc_does()
    git("checkout", "params.yaml")
    monkeypatch.setattr(experiment, "start_of_dvc", lambda: time.time() + 10)
    set_lr("-1")
    assert refused() == before


def test_what_was_edited_by_hand_stays_to_be_mended(repository: Path) -> None:
    by_hand = set_lr("-1")
    stash_as_dvc_does()
    assert refused() == by_hand


def test_outside_an_experiment_nothing_is_touched(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_EXP_NAME")
    changed = set_lr("-1")
    assert refused() == changed
    monkeypatch.setenv("DVC_EXP_NAME", "an-experiment")
    monkeypatch.setenv("DVC_ROOT", str(repository.parent))  # a queued one, in a folder of its own
    assert refused() == changed


def test_the_dvc_that_runs_a_stage_is_found_among_the_processes_above(tmp_path: Path) -> None:
    inner = "import restore; print(restore.start_of_dvc())"
    (tmp_path / "dvc.py").write_text(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])")
    environment = os.environ | {"PYTHONPATH": str(Path(experiment.__file__).parent)}
    said = subprocess.run(
        [sys.executable, str(tmp_path / "dvc.py")], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert abs(float(said) - time.time()) < 60
