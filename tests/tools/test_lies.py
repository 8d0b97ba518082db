"""The short form of `make lies`; that its faults would be seen; and the inputs that once were not handled."""

import copy
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.tools import lies
from tests.tools.lies import ROOT, TARGETS

STORE = "runs in MLflow"  # its own database, of which each input costs a tenth of a second
QUICK = [name for name in TARGETS if name != STORE]
SHIPPED = (ROOT / "params.yaml").read_text()


def test_a_few_lies_to_every_reader() -> None:
    tallies = [*lies.attack_alone(list(QUICK), 250), *lies.attack_alone([STORE], 60)]
    for name, tally in zip([*QUICK, STORE], tallies, strict=True):
        assert not tally.faults, name
        assert tally.refused > 10, name
        assert tally.accepted > 0 or name == "checkpoints", name


BAD = """
import contextlib, itertools, os, pickle, socket, sqlite3, subprocess, tempfile
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
    "writes elsewhere": lambda _: open(os.path.join(tempfile.gettempdir(), "lies-elsewhere"), "w").close(),
    "unpickles": lambda _: pickle.loads(b"cos\\ngetcwd\\n."),
    "starts a process": lambda _: subprocess.run(["true"]),
    "opens a database elsewhere": lambda _: sqlite3.connect(f"{tempfile.gettempdir()}/lies.db").close(),
    "starts a process in another way": lambda _: os.posix_spawn("/bin/true", ["true"], {}),
    "connects": lambda _: socket.socket().connect_ex(("127.0.0.1", 9)) and None,
    "hangs": lambda _: [None for _ in iter(int, 1)],
    "hangs where all is handled": lambda _: hides(lambda: all(n == 0 for n in iter(int, 1))),
    "takes long in one call": lambda _: sum(range(10**8)),
    "fills memory": lambda _: bytes(10**9),
    "refuses as memory has run out": lambda _: hides(lambda: bytes(10**9), 2),
    "says two lines": lambda _: refuses("a\\nb"),
    "says too much": lambda _: refuses("x" * 5000),
    "talks to the terminal": lambda _: refuses("\\x1b[2J"),
    "says nothing": lambda _: refuses(""),
    "has a traceback": lambda _: {}["x"],
    "is right": lambda _: refuses("no"),
}
lies.SECONDS, lies.MEMORY = 0.3, 50_000_000
os.chdir(tempfile.mkdtemp())
seen = []
lies.watch(lies.Path.cwd(), seen)
for name, call in calls.items():
    # the first call of all is for what is imported late, and not looked at
    count = itertools.count()
    mutate, given = lambda rng, seed: next(count), lambda number: number and call(number)
    lies.TARGETS[name] = lies.Target(lambda: [0], mutate, given, lies.RefusedError)
    print(name, len(lies.attack(name, 1, seen).faults), sep=": ")
"""


def test_what_no_reader_may_do_is_seen() -> None:
    environment = {"PYTHONPATH": f"{ROOT}/tests", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", BAD], env=environment, capture_output=True, text=True, check=True, timeout=100
    )
    counts = dict(line.split(": ") for line in done.stdout.splitlines())
    assert len(counts) == 17
    assert counts.pop("is right") == "0"
    assert [name for name, count in counts.items() if count != "1"] == []


def test_an_input_comes_again_by_its_number() -> None:
    seeds = lies.bodies()
    name = "bodies, make serve"
    made = [lies.make_input(name, seeds, lies.drawn(name, number)) for number in range(20)]
    assert made == [lies.make_input(name, lies.bodies(), lies.drawn(name, number)) for number in range(20)]
    assert len(set(made)) > 15


def test_a_fuzzer_decides_by_its_bytes_and_has_no_need_to_decide_all() -> None:
    high, low = lies.Choices(b"\xff" * 9), lies.Choices(bytes(9))
    assert [high.getrandbits(8), high.getrandbits(3), high.random() > 0.99] == [255, 7, True]
    assert [low.randrange(256), low.random(), low.choice("abcd")] == [0, 0.0, "a"]
    one, same, other = (lies.Choices(data).randbytes(9) for data in (b"1", b"1", b"2"))
    assert one == same != other


# What was once not handled, or is known to break others


def with_key(key: str, written: str) -> str:
    return "\n".join(f"{key}: {written}" if line.startswith(f"{key}:") else line for line in SHIPPED.splitlines())


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
PARAMS = [
    LAUGHS,
    LAUGHS + with_key("hidden_layers", "*a59"),
    "lr: &a [*a]\n",
    "a: " + "[" * 40_000,
    "{" * 40_000,
    "- " * 20_000,
    "? " * 20_000,
    "&a " * 10_000,
    "a: " + "[" * 98 + "]" * 98,
    with_key("hidden_layers", "[" + "{residual: {layers: [" * 24 + "4" + "]}}" * 24 + "]"),
    SHIPPED + "#" * 10_000_000,
    with_key("hidden_layers", "[" + "1, " * 5_000 + "1]"),
    with_key("hidden_layers", "[" + "{batch_norm: {}}, " * 300 + "1]"),
    with_key("optimizer", "{adam: " + "x" * 5000 + "}"),
    with_key("optimizer", '{adam: "\\e[2J"}'),
    with_key("lr", "9" * 5000),
    with_key("lr", "1e999999999"),
    with_key("lr", ".nan"),
    with_key("seed", "0x" + "f" * 5000),
    with_key("activation", "!!python/object/apply:os.system ['touch it-ran']"),
    with_key("epochs", "!!python/name:os.system"),
    with_key("epochs", "!!binary '***'"),
    with_key("epochs", "!!timestamp x"),
    with_key("epochs", "!!map x"),
    with_key("epochs", "2001-99-99"),
    with_key("schedule", "{<<: 1}"),
    with_key("schedule", "{? [1]: 2}"),
    SHIPPED + '"a\\nb\\e[31m": 1\n',
    SHIPPED + '"{0.__class__}": 1\n"{0.__class__}": 2\n',
    SHIPPED + "null: 2\n",
    SHIPPED + "{a: b}: 2\n",
    "--- 1\n--- 2\n",
    "%YAML 9.9\n---\na: 1\n",
    "",
    b"\xff\xfe\x00\xd8",
    bytes(1000),
    SHIPPED.encode("utf-16"),
]


@pytest.mark.parametrize("content", PARAMS, ids=lambda content: repr(content[-30:]))
def test_params_made_to_do_harm_are_refused_at_once(content: str | bytes, workspace: Path) -> None:
    start = time.process_time()
    assert not lies.try_input(TARGETS["params.yaml"], content.encode() if isinstance(content, str) else content)
    assert time.process_time() - start < 2
    assert [path.name for path in workspace.iterdir()] == ["params.yaml"]


def a_model(**changes: Any) -> tuple[bytes, bytes]:
    lies.models()
    description = json.loads(Path("models/network.json").read_text()) | changes
    return json.dumps(description).encode(), Path("models/network.npz").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"shape_in": ["x" * 5000]},
        {"classes": ["\ud800\x1b[2J\n"]},
        {"layers": ["x" * 5000]},
        {"layers": [{"linear": {"\x1b[2J\n": 3}}]},
        {"layers": [{"linear": {"n_out": 10**400}}]},
        {"dtype": "\x1b[2J" * 900},
        {"extra": {"dataset": "x", "temperature": "\x1b[2J" * 900}},
        {"extra": {"dataset": "x", "temperature": 10**400}},
    ],
    ids=lambda changes: repr(changes)[:40],
)
def test_models_that_say_too_much(changes: dict[str, Any], workspace: Path) -> None:
    assert not lies.try_input(TARGETS["model files"], a_model(**changes))


@pytest.mark.parametrize("place", ["tally", "callbacks", "rng", "history"])
@pytest.mark.parametrize("lie", ["x" * 5000, "\x1b[2J\n\ud800"])
def test_checkpoints_that_say_too_much(place: str, lie: str, workspace: Path) -> None:
    state = lies.checkpoints()[0]
    state[place] = {
        "tally": {lie: 1},
        "callbacks": [{"kind": lie}],
        "rng": {"bit_generator": lie},
        "history": [{lie: lie}],
    }[place]
    assert not lies.try_input(TARGETS["checkpoints"], lies.checkpoint.pack(state))


@pytest.mark.parametrize(
    "body",
    [
        [["\x1b[2J" + "x" * 5000] * 16],
        [[50] * 15 + [10**400]],
        [[50] * 15 + ["\ud800"]],
        [{"x1": "x" * 5000}],
        {name: ["x" * 5000] for name in lies.pendigits.FEATURES},
        ("application/json", b'{"inputs": ' + b"[" * 50_000),
        ("application/json", json.dumps({"inputs": [["x" * 5000] * 16]}).encode()),
        ("text/csv", b"x1,y1\n" + b"\xff" * 5000),
    ],
    ids=lambda body: repr(body)[:40],
)
def test_bodies_that_say_too_much(body: Any, workspace: Path) -> None:
    assert not lies.try_input(TARGETS["bodies, MLflow"], body)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")  # MLflow's
def test_a_store_that_other_programs_wrote_to(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite keeps text as a number, and control characters as the name of a run that seems to be at work."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    (tables,) = lies.stores()
    assert lies.try_input(TARGETS[STORE], tables)
    for table, column, lie in [("latest_metrics", 1, "x\x1b[2J"), ("logged_models", 6, "\x1b[2J")]:  # value, status
        changed = copy.deepcopy(tables)
        for row in changed[table]:
            row[column] = lie
        assert not lies.try_input(TARGETS[STORE], changed)
    (version,) = tables["model_versions"]
    for lie in (None, b"\xff"):  # the run that a champion is of
        changed = copy.deepcopy(tables)
        changed["model_versions"] = [[lie if cell in {row[0] for row in tables["runs"]} else cell for cell in version]]
        assert not lies.try_input(TARGETS[STORE], changed)
    changed = copy.deepcopy(tables)
    changed["tags"] = [[key, None if key == "mlflow.process" else value, *of] for key, value, *of in tables["tags"]]
    lies.try_input(TARGETS[STORE], changed)
    tables["runs"] = [["\x1b[2J" if cell == "gray-hill3" else cell for cell in row] for row in tables["runs"]]
    assert lies.try_input(TARGETS[STORE], tables)


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("tables", b"0," * 100_000),
        ("tables", b" " * 100_000),
        ("ink", b'.SEGMENT DIGIT 0-999999998 ? "1"\n.COMMENT 1 1 1\n.PEN_DOWN\n' + b"1 1\n" * 20_000),
        ("ink", b"\n.X" * 20_000),
        (".Z streams", b"\x1f\x9d\x90" + b"\xff" * 500),
        ("archive", b"PK\x05\x06" + b"\xff" * 18),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_data_made_to_do_harm_are_refused_at_once(target: str, content: bytes, workspace: Path) -> None:
    start = time.process_time()
    assert not lies.try_input(TARGETS[target], content)
    assert time.process_time() - start < 1
