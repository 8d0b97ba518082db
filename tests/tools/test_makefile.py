"""What make does with environments that it did not make; a fake python and pip stand for the real ones."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.unix_only
ROOT = Path(__file__).parents[2]
FAKE = """\
#!/bin/sh
[ "$1 $2" != "-m venv" ] && { env > environment; exit 0; }
mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/pip" && cp "$0" "$3/bin/uv"
"""
OTHERS = [f".venv-{name}" for name in ("oracle", "audit", "bench", "services", "docs")]
INSTALLED = {name: f"{name}/installed" for name in OTHERS}
INSTALLED |= {".venv": "install", ".venv-lock": "lock"}
ROOMS = ("tests/oracle", "docs", "benchmarks", "tests/services", "docs/scale")
REQUIREMENTS = [f"{room}/requirements.txt" for room in ROOMS]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the Makefile, what its targets depend on, and the fake python."""
    folder = tmp_path / "a checkout"
    for name in ("Makefile", "requirements.lock", *REQUIREMENTS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "python").write_text(FAKE)
    (folder / "python").chmod(0o755)
    return folder


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", f"PYTHON={checkout.parent}/python", *arguments]
    shutil.copy(checkout / "python", checkout.parent / "python")  # a path without spaces
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", INSTALLED)
def test_only_what_make_made_is_made_anew_and_cleaned(name: str, checkout: Path) -> None:
    environment, target = checkout / name, INSTALLED[name]
    environment.mkdir()
    (environment / "mine").touch()
    for _ in range(2):
        refused = make(checkout, target)
        assert refused.returncode
        assert f"{name} was not made by this Makefile, so it is left alone; move it away" in refused.stderr
        assert make(checkout, "clean").returncode == 0
        assert (environment / "mine").exists()
        if not environment.is_symlink():
            environment.rename(checkout / "other")
            environment.symlink_to("other")
            (checkout / "other/made-by-make").touch()  # as by the Makefile of another checkout
    environment.unlink()
    environment.mkdir()  # as a container mounts an empty one
    assert make(checkout, target).returncode == 0
    if name != ".venv-lock":  # which is removed at once
        (environment / "stale").touch()
        for made in environment.glob("installed*"):
            made.unlink()
        assert make(checkout, target).returncode == 0
        assert not (environment / "stale").exists()
    assert make(checkout, "clean").returncode == 0
    assert not environment.exists()


def test_what_would_send_python_or_pip_elsewhere_is_kept_from_them(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwanted = {
        f"PYTHON{name}" for name in ("HOME", "PATH", "STARTUP", "SAFEPATH", "INSPECT", "WARNINGS", "PLATLIBDIR")
    }
    unwanted |= {f"PIP_{name}" for name in ("TARGET", "PREFIX", "ROOT", "DRY_RUN")}
    for name in unwanted | {"PIP_USER", "PIP_INDEX_URL"}:
        monkeypatch.setenv(name, "1")
    assert make(checkout, "install").returncode == 0
    found = dict(line.split("=", 1) for line in (checkout / "environment").read_text().splitlines() if "=" in line)
    assert (found["PIP_USER"], found["PIP_INDEX_URL"]) == ("0", "1")
    assert not unwanted & found.keys()


def test_an_environment_with_spaces_in_its_name_is_refused(checkout: Path) -> None:
    done = make(checkout, "setup", f"VENV={checkout}/environment")
    assert done.returncode
    assert "make cannot work with spaces in its name" in done.stderr


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_a_link_is_no_folder_with_a_slash_behind_it(slashes: str, checkout: Path) -> None:
    (checkout / "other").mkdir()
    for name in ("made-by-make", "mine"):
        (checkout / "other" / name).touch()
    (checkout / "environment").symlink_to("other")
    done = make(checkout, "install", f"VENV=environment{slashes}")
    assert "environment was not made by this Makefile" in done.stderr
    assert (checkout / "other/mine").exists()


def test_clean_leaves_the_queue_alone(checkout: Path) -> None:
    tasks = checkout / ".dvc/tmp/exps/celery"
    for folder in (tasks, checkout / "models"):
        folder.mkdir(parents=True)
    assert make(checkout, "clean").returncode == 0
    assert not (checkout / "models").exists()
    assert tasks.exists()
