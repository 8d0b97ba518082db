"""The network as MLflow serves it: it takes every form of request, refuses in words, and loads anywhere."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.mlflow_store import MLFLOW_WARNS
from tests.tracking.finished_pipeline import Runs, write_model

from neural_net import Network
from pen.features import FEATURE_SETS
from pen.recognizer import Recognizer, load_recognizer
from pipeline import paths
from tracking.address import ENVIRONMENT, store_uri
from tracking.contents import read_params
from tracking.messages import now
from tracking.mlflow_run import EXAMPLE, Run

pytestmark = MLFLOW_WARNS

COLUMNS = dict(zip([f"{axis}{point}" for point in range(1, 9) for axis in "xy"], EXAMPLE, strict=True))
FORMS: list[Any] = [
    *(EXAMPLE, [EXAMPLE], np.array([EXAMPLE]), COLUMNS, [COLUMNS], {name: [value] for name, value in COLUMNS.items()}),
    *(pd.DataFrame([COLUMNS]).iloc[:, ::-1], pd.DataFrame([EXAMPLE], dtype=float)),
]
INK = [[[[0, 0], [0, 300]], [[-50, 100], [50, 100]]], [[[5, 5], [9, 9]]]]


def write_ink_model(folder: Path) -> None:
    network = Network(["tanh", {"linear": {"n_out": 10}}], FEATURE_SETS["ink"].size, rng=np.random.default_rng(0))
    write_model(folder, Recognizer(network, "pendigits", features="ink"))


def answer(folder: Path, rows: Any) -> list[dict[str, Any]]:
    return [
        {"digit": int(p.argmax())} | {f"p{digit}": pytest.approx(float(p[digit])) for digit in range(10)}
        for p in load_recognizer(folder / paths.MODELS).predict_proba(rows)
    ]


def served(folder: Path) -> Any:
    from mlflow.pyfunc import PythonModelContext

    from tracking.served_model import PenDigits

    model = PenDigits()
    model.load_context(PythonModelContext({"network.npz": str(folder / paths.MODEL_FILES[0])}, None))
    return model


@pytest.mark.usefixtures("environment")
def test_every_form_of_a_request_gets_the_same_answer(folder: Path) -> None:
    for form in FORMS:
        assert served(folder).predict(form).to_dict("records") == answer(folder, [EXAMPLE]), form
    write_ink_model(folder)
    for form in (INK, pd.DataFrame({"ink": INK})):
        assert served(folder).predict(form).to_dict("records") == answer(folder, INK)


LOAD = """
import json, sys
import mlflow, pandas as pd
uri, *given = sys.argv[1:]
mlflow.set_tracking_uri(uri)
for model_id, rows in zip(given[::2], given[1::2]):
    model = mlflow.pyfunc.load_model(f"models:/{model_id}")
    columns = model.metadata.get_input_schema().input_names()
    rows = pd.DataFrame(json.loads(rows), columns=columns) if len(columns) > 1 else {columns[0]: json.loads(rows)}
    asked = pd.DataFrame(rows), model.input_example
    print(json.dumps([model.predict(rows).to_dict("records") for rows in asked]))
"""


@pytest.mark.slow
def test_models_load_anywhere_without_pickle(runs: Runs, folder: Path) -> None:
    asked, expected = [], []
    for rows in ([EXAMPLE], INK):
        Run.start(runs.store, folder, runs.origin, read_params(folder), now()).complete()
        asked += [runs.found()[0].outputs.model_outputs[0].model_id, json.dumps(rows)]
        expected += [answer(folder, rows)]
        write_ink_model(folder)
    for described in paths.project_root().rglob("MLmodel"):  # nobody reads a pickle that lies in the model's folder
        (described.parent / "python_model.pkl").write_bytes(b"cbuiltins\nexit\n(I3\ntR.")
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONPATH": ""}
    command = [sys.executable, "-c", LOAD, store_uri(), *asked]
    loaded = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=True)
    (table, table_example), (ink, ink_example) = map(json.loads, loaded.stdout.splitlines()[-2:])
    assert [table, ink] == expected
    assert (table_example, len(ink_example)) == (table, 1)


class Planted:
    """Runs code of its own when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("it ran"),)  # type: ignore[return-value]


MLMODEL = """
flavors:
  python_function: {cloudpickle_version: 3.1.1, loader_module: mlflow.pyfunc.model, python_model: python_model.pkl}
model_uuid: 0123456789abcdef0123456789abcdef
"""
TRY_TO_LOAD = """
import contextlib, os, mlflow, warnings
warnings.simplefilter("ignore")
for allowed in ({}, {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true"}):
    os.environ |= allowed
    with contextlib.suppress(mlflow.MlflowException, AttributeError):
        mlflow.pyfunc.load_model("model")
    print(os.path.exists("it ran"))
"""


def test_mlflow_unpickles_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's folder whose MLmodel asks for a pickle; loaded as the project's own processes would load it."""
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/MLmodel").write_text(MLMODEL)
    Path("model/python_model.pkl").write_bytes(pickle.dumps(Planted()))
    command = [sys.executable, "-c", TRY_TO_LOAD]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]  # it does not run; where a user allows it, it does
