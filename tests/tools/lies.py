"""Inputs that lie: every reader uses or rejects whatever a file, a store or a request holds, in a line, within bounds.

`make lies` gives each reader 10,000 mutated inputs (LIES=300: fewer) and prints a table. Input number i of a reader is
drawn from ``Random(f"{reader} {i}")`` on any machine; `python tests/tools/lies.py READER i` shows it. Each reader has a
process of its own with limited memory, in which an audit hook watches: a file opened for writing outside the working
folder, a connection, a process or a pickle is a fault, whatever becomes of it.
"""

import asyncio
import contextlib
import copy
import hashlib
import io
import json
import multiprocessing
import os
import re
import signal
import socket
import sqlite3
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest.mock import AsyncMock, patch

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "src"), str(ROOT)]

from runtime import checkpoint  # noqa: E402

from tests.data_sets.lzw_writer import compress  # noqa: E402

import commands.predict  # noqa: E402
import split  # noqa: E402
from commands import champion, compare, doctor, ranking, serve  # noqa: E402
from data_sets import download, pen_files, pendigits, synthetic, unipen  # noqa: E402
from neural_net import DivergedError, Network, StateError, Training, WeightAverage, dense_layers  # noqa: E402
from pen.augmentation import EXCLUSIVE, Augmentation  # noqa: E402
from pen.features import FEATURE_SETS  # noqa: E402
from pen.ink import DataError, Ink, eight_points, join_strokes  # noqa: E402
from pen.recognizer import Recognizer, recognizer_files  # noqa: E402
from pen.strokes import strokes_of  # noqa: E402
from pipeline import configure, params, paths  # noqa: E402
from pipeline.errors import ParamsError, StageError  # noqa: E402
from pipeline.model import read_model  # noqa: E402
from pipeline.rows import Rows, read_rows, read_strokes, rows_npz, strokes_npz  # noqa: E402
from pipeline.tables import table_csv  # noqa: E402
from tracking.store import connect, one_line_faults, open_store  # noqa: E402
from utils import scale_features  # noqa: E402
from web.application import application  # noqa: E402

SECONDS = 5.0  # of CPU time that one input may take
MEMORY = 300_000_000  # bytes that a reader's process may take on top of what it has when it begins
LONGEST_LINE = 1500
INPUTS = int(os.environ.get("LIES", 10_000))

Seed = list[tuple[Any, Callable[[Random, Any], Any]]]  # an honest input: each file's value, and how to write it


class Target(NamedTuple):
    """A reader, and what it is fed with."""

    seeds: Callable[[], list[Seed]]
    call: Callable[..., object]  # takes the files of an input
    refusal: type[Exception]  # raised for what is rejected; its message is looked at
    wicked: Callable[[], list[tuple[Any, ...]]] = list  # inputs made to do harm, which must be rejected
    lines: int = 1  # of a rejection


class Tally(NamedTuple):
    """What became of a reader's inputs."""

    accepted: int
    refused: int
    faults: list[str]
    slowest: float  # seconds of CPU time
    memory: int  # bytes


class RefusedError(Exception):
    """The input was rejected, with this message."""


class FaultError(BaseException):
    """The input was neither used as it should be nor rejected. What handles any ``Exception`` cannot hide it."""


def check(holds: object, what: object = "not what it should be") -> None:
    if not holds:
        raise FaultError(str(what))


# --- Mutations of bytes and of values --------------------------------------------------------------------------------

TOKENS = [
    b"", b"\0", b"\n", b"\r", b",", b" ", b"-", b"-1", b"9" * 30, b"1e400", b"nan", b"\xff\xfe", b"../", b"\x1b[2J",
    b"[" * 300, b"{" * 300, b"\xe2\x80\xa8", b"0x10", b"100", b"101", b".PEN_UP", b".SEGMENT", b"PK\x01\x02", b'"',
]  # fmt: skip
FLOATS = [float("nan"), float("inf"), -1.0, 0.0, 1e30]
ODD = [
    *FLOATS, None, True, False, 0, 1, -1, 3, 10**9, 2**62, 2**63, 10**30, 10**400, 0.5, 1e300, "", "0", "x", "../../x",
    "a\nb", "\x1b[2J", "\ud800", "é", "%s{0}", "x" * 5000, "\x1b[2J\n" * 900, "1e-5", "os.system", b"\xff",
    "RUNNING", "FINISHED", "deleted", "READY", "models:/x", "host:99999999999999999999", "relu", "conv1d", "softmax",
    [], [[]], {}, {"": 0}, {"x": {}}, {"\x1b[2J\n": "x"}, ["linear"], {"linear": {"n_out": 10}},
    {"conv1d": {"filters": 10**9}}, {"residual": {"layers": ["x"]}}, {"reshape": {"shape": [0, 16]}},
]  # fmt: skip
NUMBERS = [b"0", b"1", b"2", b"99", b"100", b"-5", b"999999", b"1000000", b"9" * 30, b"007", b"nan", b"x"]


def damaged(rng: Random, content: bytes) -> bytes:
    """Bytes after a few changes: flipped, cut, doubled, moved, or with something put in."""
    made = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 6])):
        at, length = rng.randrange(len(made) + 1), min(1 << rng.randrange(12), len(made))
        match rng.randrange(7):
            case 0 if at < len(made):
                made[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(made):
                made[at] = rng.randrange(256)
            case 2:
                made[at : at + length] = b""
            case 3:
                made[at:at] = made[at : at + length]
            case 4:
                made[at : at + rng.randrange(5)] = rng.choice(TOKENS)
            case 5:
                made[at:at] = rng.randbytes(rng.randrange(9))
            case 6 if rng.random() < 0.2:
                del made[at:]
    return bytes(made)


def altered(rng: Random, value: Any) -> Any:
    """A copy of lists, dicts, arrays, lines and plain values with a few places changed."""
    made = [copy.deepcopy(value)]
    for _ in range(rng.choice([1, 1, 2, 4])):
        holder: Any = made
        key: Any = 0
        while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.85:
            holder = holder[key]
            key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        inside = holder[key]
        match rng.randrange(7):
            case 0 if holder is not made:
                del holder[key]
            case 1 if isinstance(inside, dict):
                inside[rng.choice(["x", "", "layers", "__class__", "1", "\ud800"])] = rng.choice(ODD)
            case 1 if isinstance(inside, list):
                inside.insert(rng.randrange(len(inside) + 1), rng.choice(ODD))
            case 2 if isinstance(inside, np.ndarray):
                holder[key] = odd_array(rng, inside)
            case 3 if isinstance(inside, int | float) and not isinstance(inside, bool):
                holder[key] = rng.choice([-inside, inside + 1, inside * 1000, str(inside), [inside]])
            case 4 if isinstance(holder, list) and len(holder) < 1000:
                holder.insert(key, copy.deepcopy(inside))
            case 5 if isinstance(inside, bytes):
                holder[key] = damaged(rng, inside)
            case 1 | 2 | 3 if isinstance(inside, bytes):
                holder[key] = re.sub(rb"-?[0-9.]+", rng.choice(NUMBERS), inside, count=rng.choice([0, 1, 1, 1]))
            case _:
                holder[key] = copy.deepcopy(rng.choice(ODD))
    return made[0]


def odd_array(rng: Random, array: Any) -> Any:
    """An array of another shape, dtype or content."""
    dtype = rng.choice(["f8", "f4", "f2", "i8", "u1", "c16", "?", "S3", "U2", ">f4", "M8[s]", "O"])
    with warnings.catch_warnings(), contextlib.suppress(ValueError, TypeError, OverflowError):
        warnings.simplefilter("ignore")
        changed = [array.ravel()[: rng.randrange(array.size + 1)], array[None], np.zeros((0, 3)), array.astype(dtype)]
        changed += [np.array(rng.choice([0, 1.5, "x", b"x"])), np.zeros(2, [("a", "f4"), ("b", "S2")])]
        one = np.array(array, order=rng.choice("CF"))
        one[tuple(rng.randrange(n) for n in one.shape)] = rng.choice([0, 1, 0.5, 9, *FLOATS])
        return rng.choice([*changed, one, one, one])
    return np.zeros(1)


def mutated(rng: Random, seed: Seed) -> tuple[Any, ...]:
    """The files of an input, one of them with its value altered, its bytes damaged, or both."""
    chosen, how, files = rng.randrange(len(seed)), rng.random(), []
    for place, (value, write) in enumerate(seed):
        content = write(rng, altered(rng, value) if place == chosen and how < 0.6 else value)
        damage = place == chosen and how > 0.55 and isinstance(content, bytes)
        files.append(damaged(rng, content) if damage else content)
    return tuple(files)


# --- How values are written ------------------------------------------------------------------------------------------


def as_lines(rng: Random, lines: Any) -> bytes:
    parts = lines if isinstance(lines, list) else [lines]
    return b"".join(part if isinstance(part, bytes) else str(part).encode(errors="replace") for part in parts)


def as_json(rng: Random, value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


def as_zip(rng: Random, named: Any, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of bytes and arrays; at times with a name twice, sizes of 64 bits, or a directory that lies."""
    content, named = io.BytesIO(), named if isinstance(named, dict) else {"x": named}
    with warnings.catch_warnings(), patch("zipfile.ZIP64_LIMIT", 0 if rng.random() < 0.1 else 1 << 31):
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(content, "w") as archive:
            for name in [*named, *list(named)[: rng.random() < 0.05]]:
                file = isinstance(named[name], bytes)
                entry = zipfile.ZipInfo(str(name).encode(errors="replace").decode() + ".npy" * (not file))
                entry.compress_type = zipfile.ZIP_LZMA if rng.random() < 0.01 else method
                archive.writestr(entry, named[name] if file else npy_of(named[name]))
    made = bytearray(content.getvalue())
    at = made.find(b"PK\x01\x02")
    for _ in range(rng.choice([1, 8]) if rng.random() < 0.1 and at >= 0 else 0):
        made[min(at + 4 + rng.randrange(90), len(made) - 1)] = rng.choice([0, 1, 0x7F, 0xFF])
    return bytes(made)


def npy_of(value: Any) -> bytes:
    """An array as a file, also one of objects, which is pickled."""
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        array = np.asarray([value, None], dtype=object)
    member = io.BytesIO()
    np.save(member, array, allow_pickle=True)
    return member.getvalue()


as_npz = partial(as_zip, method=zipfile.ZIP_STORED)

# --- The data's files ------------------------------------------------------------------------------------------------

BENT = Augmentation(**dict.fromkeys(Augmentation.model_fields, 1.0) | dict.fromkeys(EXCLUSIVE, 0.2) | {"trim": 0.2})
CONTENTS = {"pendigits.tra": b"1" * 900, "pendigits.tes": b"ab" * 99, "pendigits-orig.tra": b"xyz" * 99}
CONTENTS |= {"pendigits-orig.tes": bytes(range(250))}
TWO_WRITERS = pendigits.TRAINING._replace(rows=4, writers=2)


def small_ink() -> Ink:
    return synthetic.make_data_set(10, np.random.default_rng(0))[0]


def tables() -> list[Seed]:
    lines = pendigits.format_table(eight_points(small_ink()), small_ink().digit).splitlines(keepends=True)
    return [[(some, as_lines)] for some in (lines[:8], lines[:1], [lines[0][:-1] + b"\r\n"])]


def read_table(content: bytes) -> None:
    X, digit = pendigits.parse_table(content, "pendigits.tra")
    check(X.shape == (len(digit), 16) and X.min() >= 0 and X.max() <= 100 and set(digit) <= set(range(10)))


def inks() -> list[Seed]:
    small, seeds = small_ink(), list[Seed]()
    for n in (4, 4, 2, 6):
        digits, writer, number = [small[i] for i in range(n)], np.arange(n) % 2 + 1, np.arange(n) // 2 + 1
        ink = join_strokes(digits, small.digit[:n], writer, number)
        seeds.append([(unipen.format_ink(ink).splitlines(keepends=True), as_lines)])
    return seeds


def read_ink(content: bytes) -> None:
    """What preprocess and the augmentation do with it."""
    ink = unipen.parse_ink(content, "pendigits-orig.tra")
    points = eight_points(ink)
    check(points.shape == (len(ink), 16) and points.min() >= 0 and points.max() <= 100)
    Path("ink.npz").write_bytes(strokes_npz(strokes_of(ink)))
    drawn = read_strokes(Path("ink.npz"), len(ink))
    X, writer = pen_files.join(points, ink.digit, ink, TWO_WRITERS, len(ink))
    check(np.isfinite(X).all() and abs(X).max() <= 1 and set(writer) == {1, 2})
    table_csv(pen_files.table_of(X, ink.digit, writer))
    bent = BENT(drawn, ink.digit, np.random.default_rng(0))
    check(bent.shape == X.shape and np.isfinite(bent).all() and abs(bent).max() <= 1)


def archives() -> list[Seed]:
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
    download.MEMBERS = tuple(pendigits.Member(name, len(CONTENTS[name]), sums[name]) for name in CONTENTS)
    packed = {f"sub/{name}.Z": compress(content) for name, content in CONTENTS.items()}
    bombs = {"pendigits.tra": bytes(4_000_000)}, {"pendigits.tra.Z": compress(bytes(300_000))}
    return [[(named, as_zip)] for named in (CONTENTS, packed, *(CONTENTS | bomb for bomb in bombs))]


def read_archive(content: bytes) -> None:
    check(download.read_archive(content, "the.zip") == CONTENTS)


# --- params.yaml -----------------------------------------------------------------------------------------------------

WRITTEN = [  # in YAML, in the place of a value
    "", "~", "no", "-0.0", "1e400", ".inf", ".nan", "0x1F", "1_000", "1:30", "2001-99-99", '"\\0\\e[2J"',
    "[1, [2, [3]]]", "{a: {b: {c: 1}}}", "{1: 2}", "{? [1]: 2}", "9" * 5000, "0x" + "f" * 5000, "1e999999999",
    "!!binary aGk=", "!!binary '***'", "!!set {a, b}", "!!omap [a: 1]", "!!map [a]", "!!int x", "!!float x", "!!null x",
    "!!timestamp x", "!!seq {a: 1}", "!!python/object/apply:os.system ['touch /tmp/lies']", "!!python/name:os.system",
    "!!python/object/new:os.system [touch]", "!!python/module:os", "!!python/tuple [1]", "!unknown x", "&a [*a]",
    "*missing", "{<<: {a: 1}}", "{<<: 1}", "=", "|\n  text", "[1, 2", "'open", "%x", "@", "a: b", "{a: 1, a: 2}",
    "{relu: {}, gelu: {}}", "{leaky_relu: {slope: .nan}}", "{leaky_relu: {[1]: 2}}", "{linear: {n_out: 1e9}}", "a\tb",
    "[100000, 100000]", "[{residual: {layers: [4]}}]", "[flatten, flatten]", "[{reshape: {shape: [-1]}}]", "1e-05",
    "[{batch_norm: {eps: 0}}]", "{sgd: {momentum: 2}}", "{sgd: {lr: 0}}", "{adam: {eps: '1'}}", "{step: {every: 0}}",
    "{warmup: {schedule: {warmup: {schedule: warmup}}}}", "{bend: 3, x: 1}", "{backwards: 1, plain: 1}", "é\u2028x",
    "[" * 300 + "]" * 300, "{a: " * 200 + "1" + "}" * 200, "[" + "{residual: {layers: [" * 24 + "4" + "]}}" * 24 + "]",
    "[" + "{batch_norm: {}}, " * 300 + "1]", "{adam: " + "x" * 5000 + "}", "[" + "1, " * 5000 + "1]",
]  # fmt: skip
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))


def params_files() -> list[Seed]:
    configure.MOST_PARAMETERS = 2_000_000  # of 50 million, which 2 cores take seconds to draw
    return [[(yaml.safe_load((ROOT / "params.yaml").read_text()) | {"hidden_layers": [64, 32]}, as_yaml)]]


def as_yaml(rng: Random, values: Any) -> bytes:
    """A line a key, some of them with a value that only YAML can have."""
    if not isinstance(values, dict):
        return as_json(rng, values)
    texts = {key: json.dumps(value, default=str) for key, value in values.items()}
    texts |= {key: rng.choice(WRITTEN) for key in texts if rng.random() < 0.03}
    return "\n".join(f"{key}: {text}" for key, text in texts.items()).encode(errors="replace")


def wicked_params() -> list[tuple[bytes]]:
    shipped = (ROOT / "params.yaml").read_text()
    more = ["#" * 10**7, '"a\\nb\\e[31m": 1\n', '"{0.__class__}": 1\n"{0.__class__}": 2\n', "null: 2\n", "{a: b}: 2\n"]
    texts = [
        LAUGHS, "lr: &a [*a]\n", "a: " + "[" * 40_000, "{" * 40_000, "- " * 20_000, "? " * 20_000, "&a " * 10_000, "",
        "a: " + "[" * 98 + "]" * 98, "--- 1\n--- 2\n", "%YAML 9.9\n---\na: 1\n", *(shipped + line for line in more),
    ]  # fmt: skip
    contents = [*map(str.encode, texts), b"\xff\xfe\x00\xd8", bytes(1000), shipped.encode("utf-16")]
    return [(content,) for content in contents]


def read_params(content: bytes) -> None:
    Path("params.yaml").write_bytes(content)
    configure.load_and_configure(Path("params.yaml"))


# --- What stages hand on ---------------------------------------------------------------------------------------------


def handed_on(split: bool) -> list[Seed]:
    """Five rows as the preprocess stage or the split stage hands them on, and their ink."""
    ink, n = small_ink(), np.arange(5)
    X, y, writer = scale_features(eight_points(ink)[n]), ink.digit[n], ink.writer[n]
    table = (table_csv(pen_files.table_of(X, y, writer)).splitlines(keepends=True), as_lines)
    arrays = ({"X": X.astype("f4"), "y": y, "writer": writer, "row": n}, as_npz)
    return [[arrays if split else table, (strokes_of(ink).take(n)._asdict(), as_npz)]]


def read_processed(table: bytes, ink: bytes) -> None:
    """What the split stage does."""
    paths.PROCESSED = Path()
    Path("training.csv").write_bytes(table)
    Path("training_ink.npz").write_bytes(ink)
    rows = split.read_part("training", "table")
    check(np.isfinite(rows.X).all() and set(rows.y) <= set(range(10)) and len(rows_npz(rows)))


def read_split(table: bytes, ink: bytes) -> None:
    """What train, evaluate and plot read."""
    paths.SPLIT.mkdir(parents=True, exist_ok=True)
    (paths.SPLIT / "train.npz").write_bytes(table)
    (paths.SPLIT / "train_ink.npz").write_bytes(ink)
    rows: Rows = read_rows("train", 16, with_ink=True)
    check(rows.X.shape == (len(rows.y), 16) and set(rows.y) <= set(range(10)) and rows.strokes)
    check(np.isfinite(BENT(rows.strokes, rows.y, np.random.default_rng(0))).all())  # type: ignore[arg-type]


# --- Models and checkpoints ------------------------------------------------------------------------------------------


def small_model(features: str = "table") -> Recognizer:
    layers = dense_layers([6], 10, normalization="batch_norm", dropout=0.1)
    network = Network(layers, FEATURE_SETS[features].size, rng=np.random.default_rng(0))
    return Recognizer(network, "synthetic", features=features)


def models() -> list[Seed]:
    made = [recognizer_files(small_model(features)) for features in FEATURE_SETS]
    read = [(json.loads(files["network.json"]), dict(np.load(io.BytesIO(files["network.npz"])))) for files in made]
    return [[(description, as_json), (arrays, as_npz)] for description, arrays in read]


def read_model_files(description: bytes, arrays: bytes) -> None:
    paths.MODELS.mkdir(exist_ok=True)
    (paths.MODELS / "network.json").write_bytes(description)
    (paths.MODELS / "network.npz").write_bytes(arrays)
    loaded = read_model()
    digits = np.full((2, 16), 50) if loaded.features == "table" else [[[[0, 0], [3, 4]]], [[[0, 0]], [[1, 1]]]]
    check(loaded.predict_proba(digits).shape == (2, 10))


def small_training(*callbacks: Any) -> Training:
    rng = np.random.default_rng(7)
    X, y = rng.normal(size=(37, 4)).astype("f4"), rng.integers(0, 3, 37)
    network = Network(dense_layers([5], 3, dropout=0.2, normalization="batch_norm"), 4, rng=rng)
    callbacks = WeightAverage(0.9), *callbacks
    return Training(network, X, y, rng=rng, optimizer="adam", epochs=3, batch_size=8, callbacks=callbacks)


class Keeper(checkpoint.Checkpoint):
    """As in the stage, but keeps in memory what it would write after each step, and prints nothing."""

    def __init__(self) -> None:
        super().__init__(None, every=0.0)
        self.kept = list[Any]()

    def _write(self, training: Training) -> None:
        self.kept.append(checkpoint.unpack(checkpoint.pack(training.state())))

    def set_state(self, training: Training, state: Any) -> None:
        pass


def checkpoints() -> list[Seed]:
    keeper = Keeper()
    small_training(keeper).run()
    return [[(state, as_checkpoint)] for state in (*keeper.kept[::4], keeper.kept[-1])]


def as_checkpoint(rng: Random, state: Any) -> bytes:
    """Content that is damaged at times, with the right checksum, as someone would make who means harm."""
    try:
        data = checkpoint.pack(state).partition(b"\n")[2]
    except (ValueError, TypeError):
        data = as_npz(rng, state)
    data = damaged(rng, data) if rng.random() < 0.3 else data
    return checkpoint.MAGIC + hashlib.sha256(data).hexdigest().encode() + b"\n" + data


def read_checkpoint(content: bytes) -> None:
    """What the train stage does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow in a network made to overflow
        try:
            history = small_training(Keeper()).run(checkpoint.unpack(content))
        except DivergedError as error:
            raise RefusedError(str(error)) from None
        except (checkpoint.CheckpointError, StateError) as error:
            with contextlib.redirect_stdout(io.StringIO()) as said:
                Keeper().discard(error)
            raise RefusedError(said.getvalue()) from None
    check(0 < len(history) <= 3)


# --- The store -------------------------------------------------------------------------------------------------------

DATABASE = Path("mlflow.db")
TABLES = ("experiments", "experiment_tags", "runs", "params", "latest_metrics", "metrics", "tags", "inputs")
TABLES += ("logged_models", "registered_models", "model_versions", "registered_model_aliases")


def stores() -> list[Seed]:
    """The rows of MLflow's tables, in its own database, of four runs: one is the champion's, one says RUNNING."""
    from mlflow.entities import LoggedModelOutput, Metric, Param

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{DATABASE.absolute()}"
    client, experiment_id = open_store()
    tags = {"dataset": "pendigits", "data.sha256": "ab", "git.commit": "c" * 40, "model.sha256": "ef"}
    for number, lr in enumerate(["0.003", "0.01", "0.03", "0.1"]):
        own = tags | {"dvc.exp_name": f"gray-hill{number}", "mlflow.process": f"{socket.gethostname()}:{2**40}"}
        run_id = client.create_run(experiment_id, 1_700_000_000_000 + number, own, f"gray-hill{number}").info.run_id
        values = {"final_val_accuracy": 0.97 + number / 1000, "val_log_loss": 0.1, "test_accuracy": 0.96}
        metrics = [Metric(key, value, 1, 0) for key, value in values.items()]
        client.log_batch(run_id, metrics, [Param("hidden_layers", "[64, 32]"), Param("lr", lr)])
        if number == 3:
            break
        made = client.create_logged_model(experiment_id, "network", run_id)
        ready = client.finalize_logged_model(made.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(ready.model_id, 0)])
        client.set_terminated(run_id, end_time=1_700_000_000_500)
        if number == 0:
            champion.crown(client, client.get_run(run_id))
    return [[(rows_of_tables(), lambda rng, tables: tables)]]


def rows_of_tables() -> dict[str, list[list[Any]]]:
    with connect(DATABASE) as database:
        return {table: [*map(list, database.execute(f"select * from {table}"))] for table in TABLES}  # noqa: S608


def wicked_tables() -> list[tuple[Any]]:
    """Text as a number, an unknown status, and a champion of no run."""
    runs = {run[0] for run in rows_of_tables()["runs"]}

    def lied(table: str, is_meant: Callable[[int, Any], bool], lie: object) -> tuple[Any]:
        tables = rows_of_tables()
        changed = [[lie if is_meant(*cell) else cell[1] for cell in enumerate(row)] for row in tables[table]]
        return (tables | {table: changed},)

    places = [("latest_metrics", 1, "x\x1b[2J"), ("logged_models", 6, "\x1b[2J")]  # value, status
    wicked = [lied(table, lambda at, _, column=column: at == column, lie) for table, column, lie in places]
    return wicked + [lied("model_versions", lambda _, cell: cell in runs, lie) for lie in (None, b"\xff")]


def read_store(tables: Any) -> None:
    """What `make doctor`, `make compare` and `make champion` do with MLflow's tables; SQLite keeps any type in them."""
    with connect(DATABASE) as database:
        database.execute("pragma synchronous = off")
        for table in TABLES:
            database.execute(f"delete from {table}")  # noqa: S608
            rows = tables.get(table) if isinstance(tables, dict) else None
            for row in rows if isinstance(rows, list) else []:
                # what SQLite or its driver rejects cannot be there
                with contextlib.suppress(sqlite3.Error, OverflowError, UnicodeError, TypeError):
                    database.execute(f"insert into {table} values ({', '.join('?' * len(row))})", row)  # noqa: S608
        database.commit()
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    said = [found.what for found in doctor.check_store(Path.cwd())]
    try:
        with one_line_faults():
            store = open_store()
            finished = ranking.finished_runs(store)
            if finished:
                said += [*compare.table(finished), *compare.advice(finished, {}, {"some"})]
                said += compare.ranking(ranking.ranked(finished, "pendigits"), {"lr": "0.01"}, {})
                ranking.named(finished, finished[0].info.run_name)
            said.append(champion.crown(store.client, champion.candidate(finished, [])))
    finally:
        for line in said:
            check(line.isprintable() and len(line) < 2000, line)


# --- Requests --------------------------------------------------------------------------------------------------------


def ask(
    app: Any, body: bytes, headers: Any = (), path: str = "/invocations", method: str = "POST"
) -> tuple[int, bytes]:
    """The answer of an ASGI application: status and body, also if it raises after the answer for its server to log."""
    told = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body)), **dict(headers)}
    raw = [(name.encode(), value.encode()) for name, value in told.items()]
    scope = {"type": "http", "method": method, "scheme": "http", "path": path, "query_string": b"", "headers": raw}
    parts, send = [{"type": "http.request", "body": body}], AsyncMock()

    async def receive() -> Any:
        return parts.pop() if parts else await asyncio.Event().wait()  # the client stays

    with contextlib.suppress(Exception):
        asyncio.run(app(scope, receive, send))
    came = [call.args[0] for call in send.await_args_list]
    return came[0]["status"], b"".join(message.get("body", b"") for message in came)


ROW = [47, 100, 27, 81, 57, 37, 26, 0, 0, 23, 56, 53, 100, 90, 40, 98]
NAMED = dict(zip(pendigits.FEATURES, ROW, strict=True))
BODIES: list[Any] = [{"inputs": [ROW, ROW]}, {"inputs": ROW}, {"dataframe_records": [NAMED, NAMED]}]
BODIES.append({"dataframe_split": {"columns": list(pendigits.FEATURES), "data": [ROW, ROW]}})
STROKES = [[[0, 9.5], [4, 0]], [[1, 5], [7, 5]]]
BODIES += [{"inputs": [STROKES]}, {"inputs": {name: [value] for name, value in NAMED.items()}}]


@cache
def small_app() -> Any:
    return application(small_model(), serve.OWN_NAMES)


def answer(body: bytes) -> None:
    status, said = ask(small_app(), body)
    check(status in (200, 400, 413), f"{status} {said[:200]!r}")
    check(len(said.splitlines()) == 1, said[:200])
    told = json.loads(said)
    if status != 200:
        raise RefusedError(told["message"])
    check(all(0 <= row["digit"] <= 9 for row in told["predictions"]))


PAGE: dict[str, Any] = {
    "/predict": {"ink": [STROKES]},
    "/think": {"strokes": STROKES},
    "/added": {"strokes": STROKES, "layer": 1, "unit": 3},
    "/break": {"strokes": STROKES, "switches": {"zeroed": "linear1", "noise": 0.5, "shuffle_points": True}},
    "/step": {"strokes": STROKES, "truth": 1, "network": {"hidden_layers": [3], "activation": "tanh"}, "lr": 0.1},
    "/drawings": {"strokes": STROKES, "digit": 1, "consent": True},
}


def answer_page(path: str, body: bytes) -> None:
    status, said = ask(small_app(), body, path=path if path in PAGE else "/think")
    check(status in (200, 201, 400, 413), f"{status} {said[:200]!r}")
    told = json.loads(said)
    if status >= 400:
        raise RefusedError(told["message"])


def mlflow_inputs() -> list[Seed]:
    """What MLflow hands to the model: rows, columns or a table; the features that the model reads come first."""

    def handed(features: str, rng: Random, value: Any) -> tuple[str, Any]:
        with contextlib.suppress(Exception):  # some values make no table
            return features, pd.DataFrame(value) if rng.random() < 0.5 else value
        return features, value

    digits = [[stroke[:4].tolist() for stroke in small_ink()[i]] for i in range(2)]
    forms: list[Any] = [[ROW, ROW], ROW, [NAMED, NAMED], {name: [value] for name, value in NAMED.items()}]
    seeds: list[Seed] = [[(form, partial(handed, "table"))] for form in forms]
    return [*seeds, *([(form, partial(handed, "ink"))] for form in (digits, [{"ink": digit} for digit in digits]))]


@cache
def small_served_model(features: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's, about type hints
        from tracking import served_model
    model = served_model.PenDigits()
    model._model = small_model(features)
    return model


def predict(given: tuple[str, Any]) -> None:
    from mlflow.exceptions import MlflowException

    features, body = given
    try:
        answered = small_served_model(features).predict(body)
    except MlflowException as error:
        check(error.error_code == "INVALID_PARAMETER_VALUE")
        raise RefusedError(str(error)) from None
    check(answered["digit"].between(0, 9).all())


def predict_rows(content: bytes) -> None:
    Path("rows.csv").write_bytes(content)
    check(commands.predict.predict(Path("rows.csv"), small_model("table"))["predicted"].between(0, 9).all())


ENDLESS_INK = b'.SEGMENT DIGIT 0-999999998 ? "1"\n.COMMENT 1 1 1\n.PEN_DOWN\n' + b"1 1\n" * 20_000
TARGETS = {
    "tables": Target(tables, read_table, DataError, lambda: [(b"0," * 100_000,), (b" " * 100_000,)]),
    "ink": Target(inks, read_ink, DataError, lambda: [(ENDLESS_INK,), (b"\n.X" * 20_000,)]),
    "rows to predict": Target(lambda: [*tables(), *inks()], predict_rows, StageError, lambda: [(ENDLESS_INK,)]),
    "archive": Target(archives, read_archive, download.SourceError, lambda: [(b"PK\x05\x06" + b"\xff" * 18,)]),
    "params.yaml": Target(params_files, read_params, ParamsError, wicked_params, lines=2 * len(params.KEYS)),
    "data/processed": Target(partial(handed_on, split=False), read_processed, StageError),
    "data/split": Target(partial(handed_on, split=True), read_split, StageError),
    "model files": Target(models, read_model_files, StageError),
    "checkpoints": Target(checkpoints, read_checkpoint, RefusedError),
    "runs in MLflow": Target(stores, read_store, StageError, wicked_tables),
    "bodies, make serve": Target(lambda: [[(body, as_json)] for body in BODIES], answer, RefusedError),
    "bodies, make draw": Target(
        lambda: [[(path, lambda rng, value: str(value)), (body, as_json)] for path, body in PAGE.items()],
        answer_page,
        RefusedError,
    ),
    "inputs of the model in MLflow": Target(mlflow_inputs, predict, RefusedError),
}

# --- Running them ----------------------------------------------------------------------------------------------------


def make_input(name: str, seeds: list[Seed], number: int) -> tuple[Any, ...]:
    """Input number i of a reader."""
    rng = Random(f"{name} {number}")
    return mutated(rng, rng.choice(seeds))


def try_input(target: Target, given: tuple[Any, ...]) -> bool:
    """Whether the input was accepted; False if it was rejected in words fit for a terminal. Raises for a fault."""
    try:
        target.call(*given)
    except (target.refusal, RefusedError) as error:
        behind: BaseException | None = error
        while behind := behind and behind.__context__:
            check(not isinstance(behind, MemoryError), f"more memory than there is: {error}")
        lines = str(error).splitlines()
        check(1 <= len(lines) <= target.lines, f"{len(lines)} lines: {error}")
        check(all(line.isprintable() and len(line) < LONGEST_LINE for line in lines), repr(str(error)[:3000]))
        return False
    return True


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGING = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "sqlite3.connect"}
FORBIDDEN = {"socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.symlink"}
FORBIDDEN |= {"pickle.find_class", "ctypes.dlopen"}


def watch(folder: Path, seen: list[str]) -> None:
    """Note in ``seen`` what no reader may do: writing outside the folder, connecting, starting, unpickling."""
    inside = f"{folder.resolve()}/"

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if event in FORBIDDEN:
            seen.append(f"{event} {str(details)[:100]}")
        if event in CHANGING or (event == "open" and isinstance(details[0], str | bytes) and details[2] & WRITING):
            for name in details[: 2 if event in ("os.rename", "os.link") else 1]:
                path = os.path.realpath(os.fsdecode(name)) if not isinstance(name, int) else ""
                if path and not f"{path}/".startswith((inside, "/dev/")):
                    seen.append(f"{event} {path}")

    sys.addaudithook(hook)


def out_of_time(*_: object) -> None:
    raise FaultError(f"more than {SECONDS:g} s")


def attack(name: str, inputs: int, seen: list[str]) -> Tally:
    """Feed one reader, in this process, whose working folder must be empty; ``seen`` is what ``watch`` fills."""
    import resource  # which only Unix has

    target, faults, counts, slowest = TARGETS[name], list[str](), [0, 0], 0.0
    seeds, wicked = target.seeds(), target.wicked()
    with contextlib.suppress(target.refusal, RefusedError, FaultError):  # imports what is imported late
        target.call(*make_input(name, seeds, 0))
    signal.signal(signal.SIGPROF, out_of_time)
    start_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    for number in range(-len(wicked), inputs):
        given = wicked[number] if number < 0 else make_input(name, seeds, number)
        seen.clear()
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            try:
                accepted = try_input(target, given)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            check(not seen, seen)
            check(time.process_time() - start < SECONDS, f"more than {SECONDS:g} s")
            check(number >= 0 or not accepted, "was made to do harm, and is accepted")
            counts[accepted] += 1
        except (Exception, FaultError) as error:  # noqa: BLE001 (it is printed in the end)
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}:{frame.lineno}"
            faults.append(f"{number}: {type(error).__name__} {str(error)[:300]!r} at {where}")
        slowest = max(slowest, time.process_time() - start)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - start_memory
    return Tally(counts[True], counts[False], faults, slowest, memory)


def _attack_in(folder: str, names: list[str], inputs: int) -> list[Tally]:
    os.chdir(folder)
    watch(Path.cwd(), seen := list[str]())
    with contextlib.redirect_stdout(io.StringIO()):
        return [attack(name, inputs, seen) for name in names]


def attack_alone(names: list[str], inputs: int) -> list[Tally]:
    """Feed readers in a process of their own, in a folder of its own; BrokenProcessPool if one ends it."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_attack_in, folder, names, inputs).result()


def main() -> None:
    names = sys.argv[1:2] or list(TARGETS)
    if len(sys.argv) == 3:
        os.chdir(tempfile.mkdtemp())
        given = make_input(names[0], TARGETS[names[0]].seeds(), int(sys.argv[2]))
        print(repr(given)[:3000])
        print("accepted" if try_input(TARGETS[names[0]], given) else "rejected")
        return
    print("| reader | inputs | used | rejected | faults | slowest, s | memory, MB |\n|---|--:|--:|--:|--:|--:|--:|")
    faults: list[str] = []
    for name in names:
        (tally,) = attack_alone([name], INPUTS)
        numbers = f"{INPUTS:,} | {tally.accepted:,} | {tally.refused:,} | {len(tally.faults)}"
        print(f"| {name} | {numbers} | {tally.slowest:.2f} | {tally.memory / 1e6:.0f} |", flush=True)
        faults += [f"{name}, {fault}" for fault in tally.faults]
        if not tally.accepted:
            faults.append(f"{name}: none was used, so the code behind the reader was not tried")
    print(*faults[:50], sep="\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
