"""Inputs that lie: whatever they hold, they are used or refused in a line or two, in little time and memory.

`make fuzz` runs 10,000 examples of each test that draws any. Data files, archives, model files and checkpoints have
their tests beside those of the code that reads them.
"""

import json
import sqlite3
import threading
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from test_end_to_end import ROOT

import tracking
from model import PenDigitsModel, load_model
from neural_net import Network, dense_layers
from params import Params, ParamsError, load_params
from stage import StageError
from train import check_names

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's, about a type hint that it does not use
    import serving

SHIPPED = (ROOT / "params.yaml").read_text()
KEYS = sorted(yaml.safe_load(SHIPPED))
MEMORY = 50_000_000  # bytes that reading params.yaml may take; the network that it asks for comes later

one_file_for_all = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(file: Path, content: str | bytes) -> Params | None:
    """Read and check params.yaml as a stage does; None if it is refused, as it should be."""
    file.write_bytes(content.encode(errors="surrogatepass") if isinstance(content, str) else content)
    try:
        params = load_params(file)
        check_names(params)
    except ParamsError as error:
        lines = str(error).splitlines()
        assert lines
        assert len(lines) <= 2 * len(KEYS)
        assert all(line.startswith("params.yaml") and len(line) < 1500 and line.isprintable() for line in lines), lines
        return None
    return params


def with_key(key: str, written: str) -> str:
    """The shipped file, with something else written for a key."""
    lines = SHIPPED.splitlines()
    return "\n".join(f"{key}: {written}" if line.startswith(f"{key}:") else line for line in lines) + "\n"


ODD_VALUES = [
    "", "~", "null", "true", "no", "0", "-1", "1", "-0.0", "1e-5", "1e400", ".inf", "-.inf", ".nan", "0x1F",
    "0o17", "1_000", "1:30", "2001-01-01", "2001-99-99", "'1'", '""', '"\\0\\e[2J"', "[]", "[[]]",
    "[1, [2, [3]]]", "{}", "{a: {b: {c: 1}}}", "{1: 2}", "{? [1]: 2}", "9" * 400, "9" * 5000, "0x" + "f" * 5000,
    "1e999999999", "!!binary aGk=", "!!binary '***'", "!!set {a, b}", "!!omap [a: 1]", "!!map [a]", "!!map x",
    "!!int x", "!!float x", "!!timestamp x", "!!null x", "!!seq {a: 1}",
    "!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!python/tuple [1]", "!unknown x",
    "&a [1]", "&a [*a]", "*missing", "{<<: {a: 1}}", "{<<: 1}", "= ", "=", "|\n  text", "[1, 2", "'open", "@",
    "%x", "a: b", "{a: 1, a: 2}", "{relu: {}, gelu: {}}", "{leaky_relu: {slope: .nan}}",
    "{leaky_relu: {slope: 1e400}}", "{leaky_relu: {slope: [1]}}", "{leaky_relu: {slope: null}}",
    "{leaky_relu: {[1]: 2}}", "{linear: {n_out: 1e9}}", "{linear: {n_out: -1}}", "[conv1d]",
    "[{conv1d: {filters: 1000000000}}]", "[{linear: {n_out: 1000000000}}]", "[100000, 100000]",
    "[{residual: {layers: [4]}}]", "[{residual: {layers: [{residual: {layers: [x]}}]}}]", "[softmax]",
    "[1000000000000]", "[flatten, flatten]", "[dropout]", "[{reshape: {shape: [-1]}}]",
    "[{reshape: {shape: [0, 16]}}]", "[{max_pool1d: {size: 3}}]", "[{batch_norm: {eps: 0}}]",
    "{sgd: {momentum: 2}}", "{sgd: {lr: 0}}", "{adam: {beta1: 1}}", "{adam: {eps: '1'}}", "{step: {every: 0}}",
    "warmup", "{warmup: {schedule: {warmup: {schedule: warmup}}}}", "{one_cycle: {rise: true}}",
    "{focal: {gamma: -1}}", "é\u2028x", "a\tb", "9223372036854775807", "9223372036854775808",
    "[" * 300 + "]" * 300, "{a: " * 200 + "1" + "}" * 200, "[" * 5000 + "]" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_every_odd_value_of_every_key(key: str, tmp_path: Path) -> None:
    start = time.perf_counter()
    for written in ODD_VALUES:
        read(tmp_path / "params.yaml", with_key(key, written))
    assert time.perf_counter() - start < 60


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))


@pytest.mark.parametrize(
    "content",
    [
        LAUGHS,
        LAUGHS + with_key("hidden_layers", "*a59"),
        "lr: &a [*a]\n",
        "a: " + "[" * 100_000,
        "{" * 100_000,
        "- " * 100_000,
        "? " * 50_000,
        "&a " * 50_000,
        SHIPPED + "#" * 10_000_000,
        "x: " + "y" * 10_000_000,
        with_key("hidden_layers", "[" + "1, " * 20_000 + "1]"),
        with_key("hidden_layers", "[" + "{batch_norm: {}}, " * 5_000 + "1]"),
        SHIPPED + "\nnew\\nline: 1\n",
        SHIPPED + '"a\\nb\\e[31m": 1\n',
        SHIPPED + "1: 2\n",
        SHIPPED + "null: 2\n",
        SHIPPED + "{a: b}: 2\n",
        '"{0.__class__}": 1\n"{0.__class__}": 2\n',
        b"\xff\xfe\x00\xd8",
        b"\x00" * 1000,
        SHIPPED.encode("utf-16"),
        "\ufeff" + SHIPPED,
        "--- 1\n--- 2\n",
        "%YAML 9.9\n---\na: 1\n",
        "",
        "...",
        "!!python/object/new:os.system [echo]",
    ],
    ids=lambda content: repr(content[:20]),
)
def test_files_made_to_do_harm(content: str | bytes, tmp_path: Path) -> None:
    start = time.perf_counter()
    tracemalloc.start()
    try:
        read(tmp_path / "params.yaml", content)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 20


odd = st.sampled_from(ODD_VALUES) | st.text(max_size=12) | st.floats().map(repr) | st.integers().map(str)


@given(changes=st.dictionaries(st.sampled_from(KEYS), odd, min_size=1, max_size=4))
@one_file_for_all
def test_odd_values_of_several_keys(changes: dict[str, str], tmp_path: Path) -> None:
    content = SHIPPED
    for key, written in changes.items():
        lines = content.splitlines()
        content = "\n".join(f"{key}: {written}" if line.startswith(f"{key}:") else line for line in lines)
    read(tmp_path / "params.yaml", content)


YAML_SIGNS = [b"[", b"{", b"&a ", b"*a", b"!!", b": ", b"\n", b"- ", b"#"]


@given(data=st.data())
@one_file_for_all
def test_damaged_params(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(SHIPPED.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"[", b"{", b"&a ", b"*a", b"!!", b": ", b"\n", b"- ", b"#"])
        )
        content[place : place + data.draw(st.integers(0, 4))] = piece
    read(tmp_path / "params.yaml", bytes(content))


# What is asked of the served model

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=17) | st.dictionaries(st.sampled_from([*serving.COLUMNS, "", "0"]), inner),
    max_leaves=40,
)
row = st.lists(st.floats(-10, 110) | st.integers(-1, 101) | anything, min_size=15, max_size=17)
named = st.fixed_dictionaries({name: st.integers(0, 100) | anything for name in serving.COLUMNS})


@pytest.fixture(scope="module")
def served() -> serving.PenDigits:
    made = serving.PenDigits()
    made._model = PenDigitsModel(Network(dense_layers([8], 10), 16, rng=np.random.default_rng(0)), "synthetic")
    made._one_at_a_time = threading.Lock()
    return made


def answers(served: serving.PenDigits, asked: Any) -> bool:
    """Whether there is an answer, each a digit with probabilities; else the fault must be the asker's."""
    try:
        answer = served.predict(asked)
    except MlflowException as error:
        assert error.error_code == "INVALID_PARAMETER_VALUE"
        return False
    assert answer["digit"].between(0, 9).all()
    np.testing.assert_allclose(answer.filter(like="p").sum(axis=1), 1, rtol=1e-5)
    return True


@given(asked=anything | row | st.lists(row, max_size=3) | named | st.lists(named, max_size=3))
def test_requests_are_answered_or_refused(asked: Any, served: serving.PenDigits) -> None:
    answers(served, asked)


@given(asked=st.lists(row, max_size=3) | st.lists(named, max_size=3) | named)
def test_tables_are_answered_or_refused(asked: Any, served: serving.PenDigits) -> None:
    try:
        table = pd.DataFrame(asked)
    except (ValueError, TypeError, OverflowError, AttributeError):
        return  # no table: MLflow's to refuse
    answers(served, table)


def test_a_row_of_coordinates_is_answered(served: serving.PenDigits) -> None:
    assert answers(served, [[50] * 16])
    assert not answers(served, [[50] * 15 + [10**400]])


# What is found where MLflow's store should be


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with sqlite3.connect(path) as made:
        made.execute("create table runs (id text, status text)")
        made.execute("pragma user_version = 3017002")
    made.close()
    return path.read_bytes()


@given(data=st.data())
@one_file_for_all
def test_a_damaged_store_is_read_or_refused(data: st.DataObject, database: bytes, tmp_path: Path) -> None:
    content = bytearray(database)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(200, len(content) - 1)))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    try:
        mark = tracking._mark_in(path)
        assert mark is None or isinstance(mark, int)
    except StageError as error:
        assert "is damaged" in str(error)


# Models that a file describes

PARTS = ["relu", "softmax", "flatten", "dropout", "batch_norm", "nonsense", "", "linear"]
WORDS = ["linear", "conv1d", "residual", "reshape", "dropout", "max_pool1d", "leaky_relu"]
WORDS += ["layers", "n_out", "filters", "shape", "rate", "size", "init", "__class__", "rng"]
VALUES = [10**9, 10**30, -1, 0, 3, [8, 2], "os.system"]
spec = st.recursive(
    st.sampled_from(PARTS) | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS), inner | st.floats() | st.sampled_from(VALUES), max_size=2)
    ),
    max_leaves=8,
)


@given(layers=st.lists(spec, max_size=4) | spec, shape=st.lists(st.integers(-1, 20), max_size=2) | spec)
@one_file_for_all
def test_any_description_of_a_model_is_refused_or_read(layers: Any, shape: Any, tmp_path: Path) -> None:
    description = {"format": 1, "dtype": "float32", "shape_in": shape, "classes": None, "layers": layers, "extra": {}}
    (tmp_path / "network.json").write_text(json.dumps(description))
    np.savez(tmp_path / "network.npz", x=np.zeros(3))
    with pytest.raises(StageError) as refused:
        load_model(tmp_path)
    assert len(str(refused.value).splitlines()) == 1
