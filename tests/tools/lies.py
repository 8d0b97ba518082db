"""Inputs that lie: whatever a file, a store or a request holds is used or refused in a line, within bounds.

`make lies` gives each target 10,000 mutated inputs and ends with a table; so does `make fuzz`, which is fuzz.py.
Input number i of a target comes from ``Random(f"{target} {i}")``, on any machine: `python tests/lies.py TARGET i`
gives it again. Each target has a process of its own, whose memory is limited and in which an audit hook watches: a file
opened for writing outside the working folder, a connection, a process or a pickle is a fault, whatever becomes of it.
"""

import asyncio
import contextlib
import copy
import io
import json
import logging
import multiprocessing
import os
import queue
import random
import re
import resource
import signal
import socket
import sqlite3
import stat
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from tests.data_sets.lzw_writer import compress  # noqa: E402

import preprocess
import split
import train
from commands import champion, compare, doctor, serve
from data_sets import download, lzw, pendigits, synthetic, unipen
from neural_net import Network, StateError, Training, WeightAverage, dense_layers  # noqa: E402
from pen import augmentation, recognizer, strokes
from pen.features import FEATURE_SETS
from pen.ink import DataError, Ink, eight_points, join_strokes
from pipeline import configure, errors, params, paths
from pipeline.rows import read_rows
from runtime import checkpoint, script
from tracking.store import _connected, _mark_in, faults_said, open_store

SECONDS = 5.0  # of CPU time that one input may take
MEMORY = 300_000_000  # bytes that a target's process may take on top of what it has when it begins
LONGEST_LINE = 1500
INPUTS, MANY = int(os.environ.get("LIES", 10_000)), 1000

Random = random.Random


class Target(NamedTuple):
    """What is fed with lies."""

    seeds: Callable[[], list[Any]]  # honest inputs, and wicked ones
    mutate: Callable[[Random, Any], Any]
    call: Callable[[Any], object]
    refusal: type[Exception]  # what refuses; its message is looked at
    lines: int = 1  # that a refusal may have


class Tally(NamedTuple):
    """What became of a target's inputs."""

    inputs: int
    accepted: int
    refused: int
    faults: list[str]
    slowest: float  # seconds of CPU time
    memory: int  # bytes


# --- Mutations of bytes and of values --------------------------------------------------------------------------------

TOKENS = [
    b"",
    b"\0",
    b"\n",
    b"\r",
    b",",
    b" ",
    b"-",
    b"-1",
    b"9" * 30,
    b"1e400",
    b"nan",
    b"\xff\xfe",
    b"../",
    b"\x1b[2J",
]
TOKENS += [
    b"[" * 300,
    b"{" * 300,
    b"\xe2\x80\xa8",
    b"0x10",
    b"100",
    b"101",
    b'"',
    b".PEN_UP",
    b".SEGMENT",
    b"PK\x01\x02",
]


def damaged(rng: Random, content: bytes) -> bytes:
    """Bytes after one to six changes: flipped, cut, doubled, moved, or with something put in."""
    made = bytearray(content)
    for _ in range(rng.randint(1, 6)):
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


ODD = [
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    10**9,
    2**63,
    10**30,
    10**400,
    0.5,
    -0.0,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "0",
]
ODD += ["x", "../../x", "a\nb", "\x1b[2J", "\ud800", "é", "%s{0}", "x" * 5000, "1e-5", [], [[]], {}, {"": 0}, {"x": {}}]
ODD += ["relu", "linear", "os.system", "__class__", ["linear"], {"linear": {"n_out": 10}}, {"dropout": {"rate": 0.5}}]


def odd(rng: Random) -> Any:
    return copy.deepcopy(rng.choice(ODD))


def altered(rng: Random, value: Any) -> Any:
    """A copy of lists, dicts, arrays and plain values with one to four places changed."""
    made = [copy.deepcopy(value)]
    for _ in range(rng.randint(1, 4)):
        holder: Any = made
        key: Any = 0
        while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.85:
            holder = holder[key]
            key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        inside = holder[key]
        match rng.randrange(6):
            case 0 if holder is not made:
                del holder[key]
            case 1 if isinstance(inside, dict):
                inside[rng.choice(["x", "", "layers", "__class__", "1", "\ud800"])] = odd(rng)
            case 1 if isinstance(inside, list):
                inside.insert(rng.randrange(len(inside) + 1), odd(rng))
            case 2 if isinstance(inside, np.ndarray):
                holder[key] = odd_array(rng, inside)
            case 3 if isinstance(inside, int | float) and not isinstance(inside, bool):
                holder[key] = rng.choice([-inside, inside + 1, inside * 1000, str(inside), [inside]])
            case 4 if isinstance(holder, list) and len(holder) < 1000:
                holder.insert(key, copy.deepcopy(inside))
            case _:
                holder[key] = odd(rng)
    return made[0]


def odd_array(rng: Random, array: Any) -> Any:
    """An array of another shape, dtype or content."""
    choices: list[Callable[[], Any]] = [
        lambda: array.astype(rng.choice(["f8", "f4", "f2", "i8", "u1", "c16", "?", "S3", "U2", ">f4", "M8[s]"])),
        lambda: array.ravel()[: rng.randrange(array.size + 1)],
        lambda: np.full_like(array, rng.choice([0, 1]) if array.dtype.kind not in "fc" else rng.choice(FLOATS)),
        lambda: np.array(rng.choice([0, 1.5, "x", b"x", True])),
        lambda: array[None],
        lambda: np.asfortranarray(array),
        lambda: np.zeros((0, 3)),
        lambda: np.array([{"a": 1}], dtype=object),
        lambda: np.zeros(2, dtype=[("a", "f4"), ("b", "S2")]),
    ]
    with warnings.catch_warnings(), contextlib.suppress(ValueError, TypeError):
        warnings.simplefilter("ignore")
        return rng.choice(choices)()
    return np.zeros(1)


FLOATS = [float("nan"), float("inf"), -1.0, 0.0, 1e30]

# --- The data's files ------------------------------------------------------------------------------------------------


def small_ink() -> Ink:
    return synthetic.make_data_set(10, np.random.default_rng(0))[0]


NUMBER = re.compile(rb"[0-9]+")


def damaged_lines(rng: Random, content: bytes) -> bytes:
    """As ``damaged``, or with one to three lines changed as a whole, which leaves more of what is read later."""
    if rng.random() < 0.5:
        return damaged(rng, content)
    lines = content.splitlines(keepends=True)
    for _ in range(rng.randint(1, 3)):
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(4):
            case 0 if len(lines) > 1:
                del lines[at]
            case 1:
                lines.insert(at, lines[other])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                number = rng.choice([b"0", b"1", b"2", b"99", b"100", b"-5", b"999999", b"1000000", b"9" * 30, b"007"])
                lines[at] = NUMBER.sub(number, lines[at], count=rng.choice([0, 1, 1, 1]))
    return b"".join(lines)


def tables() -> list[Any]:
    ink = small_ink()
    whole = pendigits.format_table(eight_points(ink), ink.digit)
    lines = whole.splitlines(keepends=True)
    honest = [b"".join(lines[:8]), lines[0], b"".join(lines[:3]).replace(b"\n", b"\r\n")]
    return [*honest, *honest, b"0," * 100_000, b" " * 100_000]


def read_table(content: bytes) -> None:
    X, digit = pendigits.parse_table(content, "pendigits.tra")
    check(X.shape == (len(digit), 16) and X.min() >= 0 and X.max() <= 100 and set(digit) <= set(range(10)))


TWO_WRITERS = pendigits.TRAINING._replace(rows=4, writers=2)


def inks() -> list[Any]:
    """The first of them are by two writers, so that damaged ones may still be by all whom the part should have."""
    small = small_ink()
    digits = [small[i] for i in range(6)]

    def written(n: int) -> bytes:
        writer, number = np.arange(n) % 2 + 1, np.arange(n) // 2 + 1
        return unipen.format_ink(join_strokes(digits[:n], small.digit[:n], writer, number))

    long = b'.SEGMENT DIGIT 0-999999998 ? "1"\n.COMMENT 1 1 1\n.PEN_DOWN\n' + b"1 1\n" * 20_000
    honest = [written(4), written(2).replace(b"\n", b"\r\n"), written(6)]
    return [*honest, *honest, *honest, written(1), long, b"\n.X" * 20_000]


def read_ink(content: bytes) -> None:
    ink = unipen.parse_ink(content, "pendigits-orig.tra")
    points = eight_points(ink)
    check(points.shape == (len(ink), 16) and points.min() >= 0 and points.max() <= 100)
    Path("ink.npz").write_bytes(strokes.format_strokes(strokes.strokes_of(ink)))
    drawn = strokes.read_strokes(Path("ink.npz"))
    check(np.isfinite(drawn.points).all() and abs(drawn.points).max() <= 1.001 and (np.diff(drawn.stroke) >= 0).all())
    X, writer = preprocess.preprocess(points, ink.digit, ink, TWO_WRITERS, len(ink))
    check(np.isfinite(X).all() and abs(X).max() <= 1 and set(writer) == {1, 2})
    preprocess.format_csv(X, ink.digit, writer)
    bent = augmentation.Augmentation(*[0.25] * 4, *[1.0] * 7, 0.2, 1.0)(drawn, ink.digit, np.random.default_rng(0))
    check(bent.shape == X.shape and np.isfinite(bent).all() and abs(bent).max() <= 1)


# --- Archives --------------------------------------------------------------------------------------------------------

CONTENTS = {"pendigits.tra": b"1" * 900, "pendigits.tes": b"ab" * 99, "pendigits-orig.tra": b"xyz" * 99}
CONTENTS |= {"pendigits-orig.tes": bytes(range(250))}
MODES = [0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFDIR, stat.S_IFIFO]
NAMES = [
    "../x",
    "/etc/x",
    "C:\\x",
    "..\\x",
    "a/../../x",
    "a\0b",
    "x" * 3000,
    "\x1b[2J",
    "",
    "/",
    ".",
    "pendigits.tra/",
    "é",
]


def archives() -> list[Any]:
    download.MEMBERS = tuple(
        pendigits.Member(name, len(content), script.hashlib.sha256(content).hexdigest())
        for name, content in CONTENTS.items()
    )
    plain = [[name, content, 0, zipfile.ZIP_DEFLATED] for name, content in CONTENTS.items()]
    packed = [[f"{name}.Z", compress(content), 0, zipfile.ZIP_STORED] for name, content in CONTENTS.items()]
    bomb = [["pendigits.tra", bytes(4_000_000), 0, zipfile.ZIP_DEFLATED], *plain[1:]]
    lzw_bomb = [["pendigits.tra.Z", compress(bytes(300_000)), 0, zipfile.ZIP_DEFLATED], *plain[1:]]
    return [plain, packed, zipped(bomb), zipped(lzw_bomb), zipped(plain), zipped(packed), b"<!doctype html><p>no"]


def zipped(entries: Sequence[Sequence[Any]]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data, mode, method in entries:
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            entry.external_attr, entry.compress_type = mode << 16, method
            archive.writestr(entry, data)
    return content.getvalue()


def mutate_archive(rng: Random, seed: Any) -> bytes:
    if isinstance(seed, bytes):
        return damaged(rng, seed)
    entries = copy.deepcopy(seed)
    for _ in range(rng.randint(1, 3)):
        entry = rng.choice(entries)
        match rng.randrange(5):
            case 0:
                entries.append([rng.choice([*NAMES, entry[0], f"sub/{entry[0]}"]), b"x", rng.choice(MODES), 0])
            case 1:
                entry[0] = rng.choice(NAMES)
            case 2:
                entry[1] = damaged(rng, entry[1])
            case 3:
                entry[2:] = [rng.choice(MODES), rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])]
            case 4 if len(entries) > 1:
                entries.remove(entry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of names that are there twice
        content = bytearray(zipped(entries))
    if rng.random() < 0.5:  # sizes, sums, offsets and flags in the list at the end
        at = content.find(b"PK\x01\x02")
        content[at + 4 + rng.randrange(42)] = rng.choice([0, 1, 0x7F, 0xFF])
    return wide(rng, bytes(content)) if rng.random() < 0.1 else bytes(content)


WIDE = [0, 1, 100, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]


def wide(rng: Random, archive: bytes) -> bytes:
    """An archive whose first entry has its sizes or its place as numbers of 64 bits."""
    made = bytearray(archive)
    at, end = made.find(b"PK\x01\x02"), made.rfind(b"PK\x05\x06")
    fields = [place for place in (24, 20, 42) if rng.random() < 0.6]
    extra = struct.pack(f"<HH{len(fields)}Q", 1, 8 * len(fields), *(rng.choice(WIDE) for _ in fields))
    for place in fields:
        made[at + place : at + place + 4] = b"\xff" * 4
    name, before = struct.unpack_from("<HH", made, at + 28)
    struct.pack_into("<H", made, at + 30, before + len(extra))
    struct.pack_into("<I", made, end + 12, struct.unpack_from("<I", made, end + 12)[0] + len(extra))
    made[at + 46 + name + before : at + 46 + name + before] = extra
    return bytes(made)


def read_archive(content: bytes) -> None:
    check(download.read_archive(content, "the.zip") == CONTENTS)


def lzws() -> list[Any]:
    rng = Random(0)
    texts = [b"abcabc" * 300, rng.randbytes(3000), bytes(20_000), b"", b"x"]
    streams = [compress(text, widest) for text in texts for widest in (10, 12, 16)]
    return [
        *streams,
        compress(texts[1], 12, clear_after=300),
        b"\x1f\x9d\x90" + b"\xff" * 500,
        b"\x1f\x9d\x90" + bytes(900),
    ]


def read_lzw(content: bytes) -> None:
    check(len(lzw.decompress(content, 20_000)) <= 20_000)


# --- params.yaml -----------------------------------------------------------------------------------------------------

VALUES = [
    "", "~", "true", "no", "0", "-1", "1", "-0.0", "1e-5", "1e400", ".inf", "-.inf", ".nan", "0x1F", "0o17", "1_000",
    "1:30", "2001-01-01", "2001-99-99", "'1'", '""', '"\\0\\e[2J"', "[]", "[[]]", "[1, [2, [3]]]", "{}",
    "{a: {b: {c: 1}}}", "{1: 2}", "{? [1]: 2}", "9" * 400, "9" * 5000, "0x" + "f" * 5000, "1e999999999",
    "!!binary aGk=", "!!binary '***'", "!!set {a, b}", "!!omap [a: 1]", "!!map [a]", "!!map x", "!!int x", "!!float x",
    "!!timestamp x", "!!null x", "!!seq {a: 1}", "!!python/object/apply:os.system ['touch /tmp/lies']",
    "!!python/object/new:os.system [touch]", "!!python/name:os.system", "!!python/module:os", "!!python/tuple [1]",
    "!unknown x", "&a [1]", "&a [*a]", "*missing", "{<<: {a: 1}}", "{<<: 1}", "=", "|\n  text", "[1, 2", "'open", "@",
    "%x", "a: b", "{a: 1, a: 2}", "{relu: {}, gelu: {}}", "{leaky_relu: {slope: .nan}}", "{leaky_relu: {slope: [1]}}",
    "{leaky_relu: {slope: null}}", "{leaky_relu: {[1]: 2}}", "{linear: {n_out: 1e9}}", "{linear: {n_out: -1}}",
    "[conv1d]", "[{conv1d: {filters: 1000000000}}]", "[{linear: {n_out: 1000000000}}]", "[100000, 100000]",
    "[{residual: {layers: [4]}}]", "[{residual: {layers: [{residual: {layers: [x]}}]}}]", "[softmax]",
    "[1000000000000]", "[flatten, flatten]", "[dropout]", "[{reshape: {shape: [-1]}}]", "[{reshape: {shape: [0, 16]}}]",
    "[{max_pool1d: {size: 3}}]", "[{batch_norm: {eps: 0}}]", "{sgd: {momentum: 2}}", "{sgd: {lr: 0}}",
    "{adam: {beta1: 1}}",
    "{adam: {eps: '1'}}", "{step: {every: 0}}", "warmup", "{warmup: {schedule: {warmup: {schedule: warmup}}}}",
    "{one_cycle: {rise: true}}", "{focal: {gamma: -1}}", "é\u2028x", "a\tb", "9223372036854775807",
    "9223372036854775808", "[" * 300 + "]" * 300, "{a: " * 200 + "1" + "}" * 200, "[" * 5000 + "]" * 5000,
]  # fmt: skip


def params_files() -> list[Any]:
    configure.MOST_PARAMETERS = 2_000_000  # of 50 million, which 2 cores take seconds to draw
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"hidden_layers": [64, 32]}
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in shipped.items())
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    wicked = [
        laughs,
        "a: " + "[" * 40_000,
        "{" * 40_000,
        "- " * 20_000,
        "? " * 20_000,
        "&a " * 10_000,
        text + "#" * 10**6,
    ]
    return [text.encode()] * 40 + [content.encode() for content in wicked]


KEYS = [*params.Params.model_fields]


def mutate_params(rng: Random, content: bytes) -> bytes:
    if rng.random() < 0.3:
        return damaged(rng, content)
    changes = dict.fromkeys(rng.sample(KEYS, rng.choice([1, 1, 1, 2, 4])))
    lines = content.decode().splitlines()
    for number, line in enumerate(lines):
        if (key := line.partition(":")[0]) in changes:
            lines[number] = f"{key}: {rng.choice(VALUES)}"
    return "\n".join(lines).encode()


def every_value_of_every_key() -> list[bytes]:
    """All of them; ``make lies`` adds these to the drawn ones."""
    shipped = params_files()[0].decode().splitlines()
    return [
        "\n".join(f"{key}: {value}" if line.startswith(f"{key}:") else line for line in shipped).encode()
        for key in KEYS
        for value in VALUES
    ]


def read_params(content: bytes) -> None:
    path = Path("params.yaml")
    path.write_bytes(content)
    configure.check_names(params.load_params(path))


# --- What stages hand on ---------------------------------------------------------------------------------------------


def splits() -> list[Any]:
    """A part of data/split and its ink, as arrays and as bytes."""
    ink, n = small_ink(), 6
    drawn = strokes.strokes_of(ink).take(np.arange(n))
    X = preprocess.scale_features(eight_points(ink)[:n]).astype(np.float32)
    rows = split.Rows(X, ink.digit[:n], ink.writer[:n], np.arange(n))
    files = split.format_npz(rows), strokes.format_strokes(drawn)
    return [(rows._asdict(), drawn._asdict()), files]


def mutate_split(rng: Random, seed: Any) -> tuple[bytes, bytes]:
    rows, drawn = seed
    if isinstance(rows, bytes):
        return rng.choice([(damaged(rng, rows), drawn), (rows, damaged(rng, drawn))])
    changed = rng.random() < 0.5
    return npz_of(rng, altered(rng, rows) if changed else rows), npz_of(rng, drawn if changed else altered(rng, drawn))


def read_split(files: tuple[bytes, bytes]) -> None:
    """What train, evaluate and plot read."""
    paths.SPLIT = Path("split")
    paths.SPLIT.mkdir(exist_ok=True)
    for name, content in zip(("train.npz", "train_ink.npz"), files, strict=True):
        (paths.SPLIT / name).write_bytes(content)
    rows = read_rows("train", "table")
    check(rows.X.shape == (len(rows.y), 16) and set(rows.y) <= set(range(10)) and rows.strokes)
    assert rows.strokes
    new = augmentation.Augmentation(*[0.25] * 4, *[1.0] * 7, 0.2, 1.0)(rows.strokes, rows.y, np.random.default_rng(0))
    check(np.isfinite(new).all())
    train.load_rows(paths.SPLIT / "train.npz", 16, ("X", "y", "row", "writer"))


# --- Models and checkpoints ------------------------------------------------------------------------------------------


def small_model(features: str = "table") -> recognizer.PenDigitsModel:
    layers = dense_layers([6], 10, normalization="batch_norm", dropout=0.1)
    network = Network(layers, FEATURE_SETS[features].size, rng=np.random.default_rng(0))
    return recognizer.PenDigitsModel(network, "synthetic", features=features)


def models() -> list[Any]:
    made = []
    for features in FEATURE_SETS:
        recognizer.save_model(small_model(features), Path("models"))
        with np.load("models/network.npz") as arrays:
            made.append([json.loads(Path("models/network.json").read_text()), dict(arrays)])
    return made


LAYERS = ["relu", "softmax", "flatten", "dropout", "batch_norm", "nonsense", "linear", "conv1d", "residual", "reshape"]
OPTIONS = ["layers", "n_out", "filters", "shape", "rate", "size", "init", "rng", "eps", "momentum"]


def mutate_model(rng: Random, seed: Any) -> tuple[bytes, bytes]:
    description, arrays = copy.deepcopy(seed)
    if rng.random() < 0.4:
        description = altered(rng, description)
    if rng.random() < 0.3 and isinstance(description, dict):
        layer = {rng.choice(LAYERS): {rng.choice(OPTIONS): odd(rng)}}
        description["layers"] = [rng.choice([layer, rng.choice(LAYERS)]), *seed[0]["layers"]][:: rng.choice([1, -1])]
    if rng.random() < 0.1 and isinstance(description, dict) and isinstance(description.get("extra"), dict):
        description["extra"] |= {rng.choice(["dataset", "temperature", "features"]): odd(rng)}
    if rng.random() < 0.4:
        arrays = altered(rng, arrays)
    text = json.dumps(description).encode()
    npz = npz_of(rng, arrays)
    if rng.random() < 0.3:
        text = damaged(rng, text)
    return text, damaged(rng, npz) if rng.random() < 0.3 else npz


def npz_of(rng: Random, arrays: Any) -> bytes:
    """An npz file, also of objects, at times compressed, or with headers that claim other shapes."""
    content = io.BytesIO()
    named = {str(name) or "x": value for name, value in arrays.items()} if isinstance(arrays, dict) else {"x": arrays}
    method = rng.choice([zipfile.ZIP_STORED] * 20 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, value in named.items():
            member = io.BytesIO()
            np.save(member, np.asarray(value, dtype=None if fits(value) else object), allow_pickle=True)
            data = member.getvalue()
            if rng.random() < 0.05:
                data = data.replace(b"'shape': (", rng.choice([b"'shape': (9999999999,", b"'shape': (-1,"]), 1)
            elif rng.random() < 0.02:
                data = rng.choice(HEADERS)
            archive.writestr(zipfile.ZipInfo(name.encode("ascii", "replace").decode() + ".npy"), data, method)
    made = bytearray(content.getvalue())
    if rng.random() < 0.03 and (at := made.find(b"PK\x01\x02")) >= 0:  # the first array's sizes, where zipfile looks
        made[at + 20 : at + 28] = rng.choice([bytes(8), b"\x64\0\0\0" * 2, b"\xff\xff\xff\x7f" * 2])
    return wide(rng, bytes(made)) if named and rng.random() < 0.03 else bytes(made)


def npy_of(header: bytes, version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2 if version == 1 else 4, "little") + header


HEADERS = [  # that NumPy's reader gets wrong, or would take long for
    npy_of(b"-" * 9000 + b"1"),
    npy_of(b"-" * 900 + b"1"),
    npy_of(b"[" * 900),
    npy_of(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1L,), }\n") + bytes(4),
    npy_of(b"{'descr': [('a', '<f4', (10**9, 10**9))], 'fortran_order': False, 'shape': (1,), }\n"),
    npy_of(b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, 1), }\n") + bytes(4),
    npy_of(b"{'descr': '|a4', 'fortran_order': False, 'shape': (1,), }\n") + bytes(4),
    npy_of(b"{'descr': '<f4\\d', 'fortran_order': False, 'shape': (1,), }\n") + bytes(4),
    npy_of(b" " * 60_000, 2),
    b"",
]


def fits(value: Any) -> bool:
    try:
        np.asarray(value)
    except (ValueError, OverflowError):
        return False
    return True


def read_model(files: tuple[bytes, bytes]) -> None:
    for name, content in zip(("network.json", "network.npz"), files, strict=True):
        Path("models", name).write_bytes(content)
    loaded = recognizer.load_model(Path("models"))
    digits = np.full((2, 16), 50) if loaded.features == "table" else [[[[0, 0], [3, 4]]], [[[0, 0]], [[1, 1]]]]
    check(loaded.predict_proba(digits).shape == (2, 10))


X, Y = np.random.default_rng(1).normal(size=(37, 4)).astype("f4"), np.random.default_rng(2).integers(0, 3, 37)


def small_training(*callbacks: Any) -> Training:
    rng = np.random.default_rng(7)
    network = Network(dense_layers([5], 3, dropout=0.2, normalization="batch_norm"), 4, rng=rng)
    average = WeightAverage(0.9)
    return Training(network, X, Y, rng=rng, optimizer="adam", epochs=3, batch_size=8, callbacks=[average, *callbacks])


class Keeper(checkpoint.Checkpoint):
    """As in the stage, but keeps in memory what it would write after each step, and says nothing."""

    def __init__(self) -> None:
        super().__init__(None, every=0.0)
        self.kept: list[bytes] = []

    def _write(self, training: Training) -> None:
        self.kept.append(checkpoint.pack(training.state()))

    def set_state(self, training: Training, state: Any) -> None:
        pass


def checkpoints() -> list[Any]:
    keeper = Keeper()
    small_training(keeper).run()
    return [*map(checkpoint.unpack, keeper.kept[::4]), checkpoint.unpack(keeper.kept[-1]), keeper.kept[7]]


def signed(data: bytes) -> bytes:
    """Content with the right checksum, as someone would make who means harm."""
    return checkpoint.MAGIC + script.hashlib.sha256(data).hexdigest().encode() + b"\n" + data


def mutate_checkpoint(rng: Random, seed: Any) -> bytes:
    if isinstance(seed, bytes):
        return damaged(rng, seed) if rng.random() < 0.3 else signed(damaged(rng, seed.partition(b"\n")[2]))
    made = altered(rng, seed)
    try:
        return checkpoint.pack(made)
    except (ValueError, TypeError):
        return signed(npz_of(rng, made))


def read_checkpoint(content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow in a network made to overflow
        try:
            state = checkpoint.unpack(content)
            history = small_training(Keeper()).run(state)
        except (checkpoint.CheckpointError, StateError) as error:
            raise RefusedError(str(error)) from None
        except train.DivergedError as error:
            raise RefusedError(str(error)) from None
    check(0 < len(history) <= 3)


# --- The store -------------------------------------------------------------------------------------------------------


DATABASE = Path("mlflow.db")
TABLES = ("experiments", "experiment_tags", "runs", "params", "latest_metrics", "metrics", "tags", "inputs")
TABLES += ("logged_models", "registered_models", "model_versions", "registered_model_aliases")


def stores() -> list[Any]:
    """The rows of MLflow's tables, in its own database, of four runs: one is the champion's, one says RUNNING."""
    from mlflow.entities import LoggedModelOutput, Metric, Param

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{DATABASE.absolute()}"
    client, experiment_id = open_store()
    told = {"hidden_layers": "[64, 32]", "activation": "gelu", "lr": "0.003"}
    tags = {"dataset": "pendigits", "data.sha256": "ab", "git.commit": "c" * 40, "model.sha256": "ef"}
    for number, lr in enumerate(["0.003", "0.01", "0.03", "0.1"]):
        own = tags | {"dvc.exp_name": f"gray-hill{number}", "mlflow.process": f"{socket.gethostname()}:{2**40}"}
        run_id = client.create_run(experiment_id, 1_700_000_000_000 + number, own, f"gray-hill{number}").info.run_id
        values = {"final_val_accuracy": 0.97 + number / 1000, "final_val_loss": 0.1, "test_accuracy": 0.96}
        metrics = [Metric(key, value, 1, 0) for key, value in values.items()]
        client.log_batch(run_id, metrics, [Param(*item) for item in (told | {"lr": lr}).items()])
        if number == 3:
            break
        made = client.create_logged_model(experiment_id, "network", run_id)
        client.log_outputs(
            run_id, [LoggedModelOutput(client.finalize_logged_model(made.model_id, "READY").model_id, 0)]
        )
        client.set_terminated(run_id, end_time=1_700_000_000_500)
        if number == 0:
            champion.crown(client, client.get_run(run_id))
    with _connected(DATABASE) as database:
        return [{table: [*map(list, database.execute(f"select * from {table}"))] for table in TABLES}]  # noqa: S608


WORDS = ["", "x", "a\nb", "\x1b[2J", "é", "%s{0}", "x" * 6000, "nan", "-1", "host:1", ":", "host:99999999999999999999"]
CELLS = [*WORDS, *FLOATS, None, 0, 1, -1, 2**62, 0.5, 1e300, -1e300, float("-inf"), b"\xff", "RUNNING", "FINISHED"]
CELLS += ["deleted", "active", "READY", "1", "models:/x", "file:///x", "../x"]


def mutate_store(rng: Random, seed: Any) -> Any:
    """Rows gone, doubled, or with a cell that holds anything: SQLite looks at no types."""
    made = copy.deepcopy(seed)
    for _ in range(rng.randint(1, 5)):
        rows = made[rng.choice(TABLES)]
        if not rows:
            continue
        row = rng.choice(rows)
        match rng.randrange(8):
            case 0:
                rows.remove(row)
            case 1:
                rows.append(row[:])
                row[rng.randrange(len(row))] = rng.choice(CELLS)
            case 2:
                column = rng.randrange(len(row))
                row[column] = rng.choice(rows)[column]
            case _:
                row[rng.randrange(len(row))] = rng.choice(CELLS)
    return made


def read_store(tables: Any) -> None:
    """What `make doctor`, `make compare` and `make champion` do with what MLflow's tables hold."""
    with _connected(DATABASE) as database:
        database.execute("pragma synchronous = off")
        for table, rows in tables.items():
            database.execute(f"delete from {table}")  # noqa: S608
            for row in rows:
                with contextlib.suppress(sqlite3.IntegrityError):  # what the table's own rules refuse cannot be there
                    database.execute(f"insert into {table} values ({', '.join('?' * len(row))})", row)  # noqa: S608
        database.commit()
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    said = [found.what for found in doctor.check_store(Path.cwd())]
    refused = None
    try:
        with faults_said():
            store = open_store()
            finished = compare.finished_runs(store)
            if finished:
                said += [*compare.table(finished), *compare.advice(finished, {}, {"some"})]
                compare.named(finished, finished[0].info.run_name)
            said.append(champion.crown(store.client, champion.candidate(finished, [])))
    except errors.StageError as error:
        refused = error
    for line in said:
        check(line.isprintable() and len(line) < 2000, line)
    if refused:
        raise refused


def databases() -> list[Any]:
    with contextlib.closing(sqlite3.connect("seed.db")) as made:
        for table in ("experiments", "runs", "metrics", "params", "tags", "alembic_version"):
            made.execute(f"create table {table} (id text, status text)")
            made.executemany(f"insert into {table} values (?, ?)", [(str(n), "x" * n) for n in range(20)])  # noqa: S608
        made.execute("pragma user_version = 3017002")
        made.commit()
    return [Path("seed.db").read_bytes()]


def mutate_database(rng: Random, content: bytes) -> bytes:
    made = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        made[rng.randrange(rng.choice([100, 600, len(made)]))] = rng.randrange(256)
    return damaged(rng, bytes(made)) if rng.random() < 0.2 else bytes(made)


def read_database(content: bytes) -> None:
    path = Path("other.db")
    path.write_bytes(content)
    mark = _mark_in(path)
    check(mark is None or isinstance(mark, int))
    fault = doctor.database_fault(path) if content else None
    if fault:
        raise RefusedError(fault)


# --- Requests --------------------------------------------------------------------------------------------------------


def ask(
    app: Any,
    body: bytes,
    headers: dict[str, str] | None = None,
    path: str = "/invocations",
    method: str = "POST",
    fails: bool = False,
) -> tuple[int, bytes]:
    """The answer of an ASGI application: status and body; ``fails`` when an exception of its own is expected."""
    told = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body))} | (headers or {})
    raw = [(name.encode(), value.encode()) for name, value in told.items() if value or name == "host"]
    scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "query_string": b"", "headers": raw}
    scope |= {"scheme": "http", "raw_path": path.encode(), "root_path": "", "asgi": {"version": "3.0"}}
    coming = [body[at : at + 100_000] for at in range(0, len(body), 100_000)] or [b""]
    came: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": coming.pop(0), "more_body": bool(coming)}

    async def send(message: Any) -> None:
        came.append(message)

    try:
        asyncio.run(app({**scope, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 5050)}, receive, send))
    except Exception:
        if not fails:
            raise
    return came[0]["status"], b"".join(message.get("body", b"") for message in came)


def bodies() -> list[Any]:
    row = [47, 100, 27, 81, 57, 37, 26, 0, 0, 23, 56, 53, 100, 90, 40, 98]
    named = dict(zip(pendigits.FEATURES, row, strict=True))
    split = {"columns": list(pendigits.FEATURES), "data": [row, row]}
    return [{"inputs": [row, row]}, {"inputs": row}, {"dataframe_split": split}, {"dataframe_records": [named, named]}]


def damaged_body(rng: Random, seed: Any) -> bytes:
    text = json.dumps(altered(rng, seed) if rng.random() < 0.6 else seed).encode()
    return damaged(rng, text) if rng.random() < 0.6 else text


app: Any = None


def answer(body: bytes) -> None:
    global app
    app = app or serve.application(small_model(), serve.OWN_NAMES)
    status, said = ask(app, body)
    check(status in (200, 400, 413), f"{status} {said[:200]!r}")
    check(len(said.splitlines()) == 1, said[:200])
    told = json.loads(said)
    if status != 200:
        raise RefusedError(told["message"])
    check(all(0 <= row["digit"] <= 9 for row in told["predictions"]))


def mutate_for_mlflow(rng: Random, seed: Any) -> Any:
    """A body for MLflow's own server, json or csv; or what a program hands to the model that it has loaded."""
    match rng.randrange(4):
        case 0:
            return altered(rng, next(iter(seed.values())))
        case 1:
            row = [rng.choice([0, 1, 50, 99.5, 100]) for _ in pendigits.FEATURES]
            text = "".join(f"{','.join(map(str, line))}\n" for line in (pendigits.FEATURES, row, row))
            return "text/csv", damaged_lines(rng, text.encode())
    return "application/json", damaged_body(rng, seed)


def ink_bodies() -> list[Any]:
    ink = small_ink()
    digits = [[stroke[:4].tolist() for stroke in ink[i]] for i in range(2)]
    return [{"inputs": digits}, {"dataframe_records": [{"ink": digit} for digit in digits]}]


served: dict[str, Any] = {}


def predict(body: Any, features: str = "table") -> None:
    """What the model in MLflow answers, asked through MLflow's server or by a program.

    What MLflow refuses before it asks the model counts as refused; its words for that are its own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's, about type hints
        from mlflow.exceptions import MlflowException
        from mlflow.pyfunc import scoring_server

        from tracking import served_model
    if features not in served:
        served[features] = served_model.PenDigits()
        served[features]._model, served[features]._one_at_a_time = small_model(features), served_model.threading.Lock()
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    asked = [] if isinstance(body, tuple) else [body]
    if isinstance(body, tuple):
        model_of_mlflow = SimpleNamespace(metadata=None, predict=asked.append)
        with contextlib.suppress(Exception):  # whatever MLflow raises before or after it asks the model is MLflow's
            scoring_server.invocations(body[1], body[0], model_of_mlflow, None)
    if not asked:
        raise RefusedError("MLflow refuses the body")
    try:
        answered = served[features].predict(asked[0])
    except MlflowException as error:
        check(error.error_code == "INVALID_PARAMETER_VALUE")
        raise RefusedError(str(error)) from None
    check(answered["digit"].between(0, 9).all())
    scoring_server.predictions_to_json(answered, io.StringIO())


# --- Running them ----------------------------------------------------------------------------------------------------


class RefusedError(Exception):
    """The input was refused, with this message."""


class FaultError(BaseException):
    """The input was neither used as it should be nor refused. What handles any ``Exception`` cannot hide it."""


def check(holds: object, what: object = "not what it should be") -> None:
    if not holds:
        raise FaultError(str(what))


TARGETS = {
    "tables": Target(tables, damaged_lines, read_table, DataError),
    "ink": Target(inks, damaged_lines, read_ink, DataError),
    "archive": Target(archives, mutate_archive, read_archive, download.SourceError),
    ".Z streams": Target(lzws, damaged, read_lzw, lzw.LzwError),
    "params.yaml": Target(params_files, mutate_params, read_params, errors.ParamsError, lines=2 * len(KEYS)),
    "data/split": Target(splits, mutate_split, read_split, errors.StageError),
    "model files": Target(models, mutate_model, read_model, errors.StageError),
    "checkpoints": Target(checkpoints, mutate_checkpoint, read_checkpoint, RefusedError),
    "runs in MLflow": Target(stores, mutate_store, read_store, errors.StageError),
    "mlflow.db": Target(databases, mutate_database, read_database, errors.StageError),
    "bodies, make serve": Target(bodies, damaged_body, answer, RefusedError),
    "bodies, MLflow": Target(bodies, mutate_for_mlflow, predict, RefusedError),
    "ink, MLflow": Target(ink_bodies, mutate_for_mlflow, partial(predict, features="ink"), RefusedError),
}


def make_input(name: str, seeds: list[Any], rng: Random) -> Any:
    return TARGETS[name].mutate(rng, rng.choice(seeds))


def drawn(name: str, number: int) -> Random:
    """What input number i of a target is drawn by."""
    return Random(f"{name} {number}")


class Choices(Random):
    """Draws what bytes say; where they end, what follows from them."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = io.BytesIO(data)

    def getrandbits(self, k: int) -> int:
        drawn = self._left.read(-(-k // 8))
        return int.from_bytes(drawn) >> -k % 8 if len(drawn) * 8 >= k else super().getrandbits(k)

    def random(self) -> float:
        return self.getrandbits(16) / (1 << 16)


def try_input(target: Target, given: Any) -> bool:
    """Whether the input was accepted; False if it was refused in words fit for a terminal.

    Raises:
        Anything else: a fault.
    """
    try:
        target.call(given)
    except (target.refusal, RefusedError) as error:
        check(MemoryError not in map(type, chain_of(error)), f"more memory than there is: {error}")
        lines = str(error).splitlines()
        check(1 <= len(lines) <= target.lines, f"{len(lines)} lines: {error}")
        check(all(line.isprintable() and len(line) < LONGEST_LINE for line in lines), repr(str(error)[:3000]))
        return False
    return True


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, the one that it was raised in the handling of, and so on."""
    while error:
        yield error
        error = error.__context__


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGING = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown"}
CHANGING |= {"os.utime", "os.setxattr", "sqlite3.connect"}
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


class Attack:
    """Feeds one target, in this process, whose working folder must be empty; ``seen`` is what ``watch`` fills."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.target, self.seen = TARGETS[name], seen
        self.seeds = self.target.seeds()
        self.faults: list[str] = []
        self.inputs, self.accepted, self.slowest = 0, 0, 0.0
        with contextlib.suppress(self.target.refusal, RefusedError, FaultError):  # imports what is imported late
            self.target.call(self.target.mutate(Random(0), self.seeds[0]))
        signal.signal(signal.SIGPROF, out_of_time)
        self.start_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))

    def feed(self, given: Any, label: object) -> None:
        """Hand over an input, and note a fault under its label."""
        self.inputs += 1
        self.seen.clear()
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            self.accepted += try_input(self.target, given)
            check(not self.seen, self.seen)
            check(time.process_time() - start < SECONDS, f"more than {SECONDS:g} s")
        except (Exception, FaultError) as error:  # noqa: BLE001 (told in the end)
            signal.setitimer(signal.ITIMER_PROF, 0)
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}:{frame.lineno}"
            self.faults.append(f"{label}: {type(error).__name__} {str(error)[:300]!r} at {where}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.slowest = max(self.slowest, time.process_time() - start)

    def end(self) -> Tally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - self.start_memory
        refused = self.inputs - self.accepted - len(self.faults)
        return Tally(self.inputs, self.accepted, refused, self.faults, self.slowest, memory)


def attack(name: str, inputs: int, seen: list[str], extra: bool = False) -> Tally:
    """Feed one target with inputs that are drawn by their numbers."""
    attack = Attack(name, seen)
    for number in range(inputs):
        attack.feed(make_input(name, attack.seeds, drawn(name, number)), number)
    for number, given in enumerate(every_value_of_every_key() if extra and name == "params.yaml" else []):
        attack.feed(given, f"key and value {number}")
    return attack.end()


def _attack_and_tell(names: list[str], inputs: int, extra: bool, folder: str, told: Any) -> None:
    os.chdir(folder)
    sys.stdout = io.StringIO()
    seen: list[str] = []
    watch(Path.cwd(), seen)
    told.put([attack(name, inputs, seen, extra) for name in names])


def attack_alone(names: list[str], inputs: int, extra: bool = False, seconds: float = 3600) -> list[Tally]:
    """Feed targets in a process of their own, in a folder of its own; a process that hangs or dies is a fault."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        child = context.Process(target=_attack_and_tell, args=(names, inputs, extra, folder, told))
        child.start()
        try:
            end = time.monotonic() + seconds
            while True:
                with contextlib.suppress(queue.Empty):
                    tallies: list[Tally] = told.get(timeout=1)
                    break
                if not child.is_alive() or time.monotonic() > end:
                    why = "died" if not child.is_alive() else "hangs"
                    return [Tally(inputs, 0, 0, [f"the process {why} (code {child.exitcode})"], 0.0, 0)] * len(names)
            child.join(30)
            return tallies
        finally:
            child.kill()
            child.join()


def show(name: str, rng: Random) -> None:
    """Print one input, and what becomes of it."""
    os.chdir(tempfile.mkdtemp())
    given = make_input(name, TARGETS[name].seeds(), rng)
    print(repr(given)[:3000])
    print("accepted" if try_input(TARGETS[name], given) else "refused")


def report(names: list[str], feed: Callable[[str, int], Tally]) -> None:
    """Feed targets one after the other and print a row of a table for each, and then the faults; ends the process."""
    print("| target | inputs | used | refused | faults | slowest, s | memory, MB |\n|---|--:|--:|--:|--:|--:|--:|")
    faults: list[str] = []
    for name in names:
        tally = feed(name, INPUTS)
        numbers = f"{tally.inputs:,} | {tally.accepted:,} | {tally.refused:,} | {len(tally.faults)}"
        print(f"| {name} | {numbers} | {tally.slowest:.2f} | {tally.memory / 1e6:.0f} |", flush=True)
        faults += [f"{name}, {fault}" for fault in tally.faults]
        if tally.inputs >= MANY and not tally.accepted:
            faults.append(f"{name}: none was used, so what comes after the reading was not tried")
    for fault in faults[:50]:
        print(fault)
    sys.exit(bool(faults))


def main() -> None:
    names = sys.argv[1:2] or list(TARGETS)
    if len(sys.argv) == 3:
        show(names[0], drawn(names[0], int(sys.argv[2])))
    else:
        report(names, lambda name, inputs: attack_alone([name], inputs, extra=True)[0])


if __name__ == "__main__":
    main()
