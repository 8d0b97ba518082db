"""The stages write the same bytes with tracking, and where a system lacks what only Unix has.

A sitecustomize.py, which Python imports at its start, hides it from the modules under src and from no library, in
each stage and in the process that tracks it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.test_end_to_end import ROOT, STAGES, prepare
from tests.tools.torture import whole_runs

TRACKED = ("train", "evaluate", "plot")  # plot logs what evaluate wrote
HIDE = """
import builtins, os, signal, subprocess, sys, types

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "selectors"}
NAMES = {
    "os": {"getsid", "setsid", "getpgid", "killpg", "fork", "geteuid", "getuid", "set_blocking", "mkfifo", "uname"},
    "signal": {"SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "alarm", "pthread_sigmask"},
}
plain_import, plain_start = builtins.__import__, subprocess.Popen.__init__

class Lacking(types.ModuleType):
    def __getattr__(self, name):
        if name in NAMES[self.__name__]:
            raise AttributeError(f"{self.__name__}.{name} is hidden")
        return self.open if (self.__name__, name) == ("os", "open") else getattr(sys.modules[self.__name__], name)

def open_no_folder(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return os.open(path, *arguments, **options)

lacking = {name: Lacking(name) for name in NAMES}
lacking["os"].open = open_no_folder

def import_as_seen_from(name, globals=None, locals=None, fromlist=(), level=0):
    found = plain_import(name, globals, locals, fromlist, level)
    if str((globals or {}).get("__file__")).startswith(os.environ["HIDE_FROM"]):
        if name.partition(".")[0] in MODULES:
            raise ModuleNotFoundError(f"{name} is hidden")
        return lacking.get(found.__name__, found)
    return found

def start(self, *arguments, env=None, **options):
    if env and "PYTHONPATH" in env:
        env = {**env, "PYTHONPATH": os.path.dirname(__file__) + os.pathsep + env["PYTHONPATH"]}
    plain_start(self, *arguments, env=env, **options)

builtins.__import__, subprocess.Popen.__init__ = import_as_seen_from, start
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = prepare(tmp_path_factory.mktemp("portable"), synthetic_rows_per_writer=10, hidden_layers=[8], epochs=2)
    (made / "sitecustomize.py").write_text(HIDE)
    return made


def run(folder: Path, *command: str | Path, hidden_from: Path = ROOT / "src") -> str:
    more = {"PYTHONPATH": str(folder), "HIDE_FROM": str(hidden_from), "DVC_ROOT": str(folder)}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=os.environ | more, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


STARTS = "s.run([sys.executable, __file__.replace('script', 'inner')], env=os.environ | {'PYTHONPATH': ''}, check=True)"


@pytest.mark.unix_only
@pytest.mark.parametrize("line", [
    "from os import set_blocking", "import os; os.open('.', os.O_RDONLY)", f"import os, subprocess as s, sys; {STARTS}",
])  # fmt: skip
def test_a_module_that_needs_it_would_fail(line: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(line)
    (tmp_path / "inner.py").write_text("import fcntl")
    assert run(folder, tmp_path / "script.py", hidden_from=tmp_path / "elsewhere") == ""
    with pytest.raises(AssertionError, match=r"is hidden|Permission denied|cannot import name 'set_blocking'"):
        run(folder, tmp_path / "script.py", hidden_from=tmp_path)


def results(folder: Path) -> dict[Path, bytes]:
    """The files that the tracked stages have written."""
    found = [path for room in ("models", "metrics") for path in (folder / room).rglob("*") if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def untracked(folder: Path) -> dict[Path, bytes]:
    """The results on this system without tracking; the stages before them lack what only Unix has."""
    for stage in STAGES:
        run(folder, ROOT / f"src/{stage}.py", hidden_from=ROOT / ("src/none" if stage in TRACKED else "src"))
    assert not (folder / "mlflow.db").exists()
    return results(folder)


def test_without_it_the_tracked_stages_write_the_same_bytes(
    folder: Path, untracked: dict[Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"network.npz", "history.csv", "evaluate.json", "curves.png"} <= {path.name for path in untracked}
    for room in ("models", "metrics"):
        shutil.rmtree(folder / room)
    monkeypatch.setenv("PENDIGITS_TRACKING", "verbose")
    for stage in TRACKED:
        assert ("MLflow: logged as " in run(folder, ROOT / f"src/{stage}.py")) == (stage == "train")
    assert len(whole_runs(folder / "mlflow.db")) == 1
    assert results(folder) == untracked


def test_every_module_can_be_imported_without_it(folder: Path) -> None:
    src = ROOT / "src"
    names = [".".join(path.relative_to(src).with_suffix("").parts) for path in sorted(src.glob("*/*.py"))]
    code = f"import sys, importlib; sys.path.insert(0, {str(src)!r}); [importlib.import_module(n) for n in {names}]"
    run(folder, "-W", "ignore", "-c", code)
