"""The short form of `make lies`, that its faults would be seen, and inputs that once were not handled."""

import os
import subprocess
import sys

import pytest
from tests.tools import lies
from tests.tools.lies import ROOT, TARGETS

pytestmark = pytest.mark.unix_only  # limits of memory and time
STORE = "runs in MLflow"  # its own database, of which each input costs a tenth of a second
QUICK = [name for name in TARGETS if name != STORE]


def test_a_few_lies_to_every_reader() -> None:
    tallies = [*lies.attack_alone(list(QUICK), 250), *lies.attack_alone([STORE], 40)]
    for name, tally in zip([*QUICK, STORE], tallies, strict=True):
        assert not tally.faults, name
        assert tally.refused > 5, name
        assert tally.accepted > 0, name


BAD = """
import itertools, os, pickle, socket, sqlite3, subprocess, tempfile
from tests.tools import lies

def refuses(words):
    raise lies.RefusedError(words)

def hides(call, times=0):
    try:
        call()
    except Exception:
        if times > 1:
            hides(lambda: {}["x"], times - 1)
        if times:
            refuses("no")

calls = {
    "writes elsewhere": lambda: open(os.path.join(tempfile.gettempdir(), "lies-elsewhere"), "w").close(),
    "unpickles": lambda: pickle.loads(b"cos\\ngetcwd\\n."),
    "starts a process": lambda: subprocess.run(["true"]),
    "starts a process in another way": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "opens a database elsewhere": lambda: sqlite3.connect(f"{tempfile.gettempdir()}/lies.db").close(),
    "connects": lambda: socket.socket().connect_ex(("127.0.0.1", 9)) and None,
    "hangs": lambda: [None for _ in iter(int, 1)],
    "hangs where all is handled": lambda: hides(lambda: all(n == 0 for n in iter(int, 1))),
    "takes long in one call": lambda: sum(range(10**8)),
    "fills memory": lambda: bytes(10**9),
    "refuses as memory has run out": lambda: hides(lambda: bytes(10**9), 2),
    "says two lines": lambda: refuses("a\\nb"),
    "says too much": lambda: refuses("x" * 5000),
    "talks to the terminal": lambda: refuses("\\x1b[2J"),
    "says nothing": lambda: refuses(""),
    "has a traceback": lambda: {}["x"],
    "is right": lambda: refuses("no"),
}
lies.SECONDS, lies.MEMORY = 0.3, 50_000_000
os.chdir(tempfile.mkdtemp())
seen = []
lies.watch(lies.Path.cwd(), seen)
for name, call in calls.items():
    # the first call of all is for what is imported late, and not looked at
    count = itertools.count()
    seeds = lambda: [[(b"", lambda rng, value: b"")]]
    lies.TARGETS[name] = lies.Target(seeds, lambda _: next(count) and call(), lies.RefusedError)
    print(name, len(lies.attack(name, 1, seen).faults), sep=": ")
lies.TARGETS["wicked"] = lies.Target(seeds, len, lies.RefusedError, lambda: [(b"",)])
print("uses what was made to do harm", len(lies.attack("wicked", 1, seen).faults), sep=": ")
"""


def test_what_no_reader_may_do_is_seen() -> None:
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-c", BAD], env=environment, capture_output=True, text=True, check=True, timeout=100
    )
    counts = dict(line.split(": ") for line in done.stdout.splitlines())
    assert len(counts) == 18
    assert counts.pop("is right") == "0"
    assert [name for name, count in counts.items() if count != "1"] == []
