"""dvc.yaml declares what each stage really reads and writes, and nothing that cannot change a byte of the results."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_sets.pendigits import TEST, TRAINING
from data_sets.unipen import format_ink
from pen.ink import join_strokes
from pipeline import paths

ROOT = Path(__file__).parents[2]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text().replace("${dataset}", "synthetic"))[
    "stages"
]
GUARDS, PEOPLE = ("runtime", "tracking"), ("commands", "studies")
SHRUNK = {"hidden_layers": [8], "epochs": 1, "diagnostics": True}
DATA_SETS: dict[str, dict[str, Any]] = {
    "synthetic": {"synthetic_rows_per_writer": 10, "extra_ink": "data/own/drawings.unipen"},
    "own": {"own": {"path": "data/own/table.csv", "label": "y"}, "split_by": "random"},
}
OWN = "x,y\n" + "1,a\n2,b\n" * 20
OLD_FILES = [  # what an earlier run may have left, which no stage may read
    *(paths.RAW / "synthetic" / name for part in (TRAINING, TEST) for name in (part.table, part.ink)),
    *(paths.PROCESSED / f"{name}{kind}" for name in ("training", "test", "drawings") for kind in (".csv", "_ink.npz")),
    *(*paths.SCHEMAS, *paths.DRAWINGS_FILES, paths.RAW / "own/table.csv", paths.WITHOUT_DRAWINGS / "network.npz"),
    *(*paths.SPLIT_FILES, *paths.MODEL_FILES, *paths.TRAIN_FILES, *paths.EVALUATE_FILES, paths.FIGURES / "curves.png"),
]
LOADED_ONLY = {  # modules that cannot change what a stage writes, loaded along with the one that can
    "fetch": (("src/pen", "src/neural_net", "src/custom.py"), "src/pen/ink.py"),
    "preprocess": (("src/neural_net", "src/custom.py"), "src/neural_net/npz.py"),
    "split": (("src/neural_net", "src/custom.py"), "src/neural_net/npz.py"),
}


def is_below(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def deps_of(stage: dict[str, Any], *rooms: str) -> list[str]:
    return [dep for dep in stage["deps"] if dep.split("/")[0] in rooms]


def outs_of(stage: dict[str, Any]) -> list[str]:
    outs = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in outs]


# What the stages do
def audited(folder: Path, script: Path, values: dict[str, Any], *words: str) -> dict[str, Any]:
    """What audit.py sees of a script that runs in a folder with such a params.yaml."""
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, Path(__file__).with_name("audit.py"), script, folder / "record", *words]
    more = {"DVC_ROOT": str(folder), "PENDIGITS_TRACKING": "off", "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, cwd=folder, env=os.environ | more, stdin=subprocess.PIPE) as process:
        assert process.wait() == 0  # its stdin is open until then, which a second process goes by
    return json.loads((folder / "record").read_text().replace("data/raw/own", "data/raw/synthetic"))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What audit.py saw of each stage, run as DVC does among the files of an earlier run, on each kind of data set."""
    found = [records_of(tmp_path_factory.mktemp("audited"), dataset) for dataset in DATA_SETS]
    return {name: [records[name] for records in found] for name in STAGES}


def records_of(folder: Path, dataset: str) -> dict[str, dict[str, Any]]:
    values = yaml.safe_load((ROOT / "params.yaml").read_text()) | SHRUNK | {"dataset": dataset} | DATA_SETS[dataset]
    for path in OLD_FILES:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"old")
    (folder / "data/own").mkdir()
    (folder / "data/own/table.csv").write_text(OWN)
    drawings = join_strokes([[[(0, 0), (9, 9)]], [[(0, 0), (8, 9)]]], [1, 1], [1, 1], [1, 2])
    (folder / "data/own/drawings.unipen").write_bytes(format_ink(drawings))

    random_rows, beside, found = {}, {}, {}
    for name in STAGES:
        if name == "split":  # reads another parameter then
            random_rows = audited(folder, ROOT / "src/split.py", values | {"split_by": "random"})
        if name == "train":  # the second process, which leaves the stage less to do
            beside = audited(folder, ROOT / "src/train.py", values, "refit")
        found[name] = audited(folder, ROOT / f"src/{name}.py", values)
    assert {path for kind, path, *_ in beside["events"] if kind != "read"} == set()
    found["train"]["events"] = beside["events"] + found["train"]["events"]
    found["train"]["modules"] = sorted({*beside["modules"], *found["train"]["modules"]})
    found["train"]["params"] = sorted({*beside["params"], *found["train"]["params"]})
    found["split"]["params"] = sorted({*found["split"]["params"], *random_rows["params"]})
    others = {paths.RAW / name for name in DATA_SETS if name != dataset}
    left = [path for path in OLD_FILES if (folder / path).exists() and (folder / path).read_bytes() == b"old"]
    assert [path for path in left if path.parent not in others] == []
    assert list(folder.rglob("*.part")) == []
    return found


def differences(name: str, stage: dict[str, Any], records: list[dict[str, Any]]) -> list[str]:
    """How what a stage did differs from what dvc.yaml declares, a line each; what is needed is so on some data set."""
    found = [differences_in(name, stage, record) for record in records]
    lines = dict.fromkeys(line for lines in found for line in lines)
    return [line for line in lines if not line.startswith("does not") or all(line in lines for lines in found)]


def differences_in(name: str, stage: dict[str, Any], record: dict[str, Any]) -> list[str]:
    read, written = set[str](), set[str]()
    for kind, path, *target in record["events"]:
        if kind == "os.rename":
            written = {target[0] + file.removeprefix(path) if is_below(file, path) else file for file in written}
        elif kind != "read":
            written.add(path)
        elif not any(is_below(path, file) or is_below(file, path) for file in written):
            read.add(path)
    read, written = ({path for path in some if ".part" not in path} for some in (read, written))
    deps, outs = deps_of(stage, "data", "models", "metrics"), outs_of(stage)
    loaded = {Path(module).relative_to(ROOT).as_posix() for module in record["modules"]}
    others, needed = LOADED_ONLY.get(name, ((), ""))
    decides = {
        file
        for file in loaded
        if file.split("/")[1] not in GUARDS and (file == needed or not any(is_below(file, other) for other in others))
    }
    code = deps_of(stage, "src")
    return [
        *(f"reads {path}" for path in read if not any(is_below(path, dep) for dep in deps)),
        *(f"does not read {dep}" for dep in deps if not any(is_below(path, dep) for path in read)),
        *(f"writes {path}" for path in written if not any(is_below(path, out) for out in outs)),
        *(f"does not write {out}" for out in outs if not any(is_below(path, out) for path in written)),
        *(f"loads {file}" for file in decides if not any(is_below(file, dep) for dep in code)),
        *(f"does not load {dep}" for dep in code if not any(is_below(file, dep) for file in loaded)),
        *(f"reads the parameter {key}" for key in record["params"] if key not in stage["params"]),
        *(f"does not read the parameter {key}" for key in stage["params"] if key not in record["params"]),
    ]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_does_what_dvc_yaml_declares(name: str, records: dict[str, list[dict[str, Any]]]) -> None:
    assert differences(name, STAGES[name], records[name]) == []


@pytest.mark.parametrize("name", STAGES)
def test_the_audit_finds_what_is_not_declared(name: str, records: dict[str, list[dict[str, Any]]]) -> None:
    stage, (record, other) = STAGES[name], records[name]
    for kind in ("params", "deps", "outs", "metrics", "plots"):
        for i in range(len(stage.get(kind, []))):
            less = copy.deepcopy(stage)
            del less[kind][i]
            assert differences(name, less, [record, other]), (kind, i)
    out = outs_of(stage)[-1]
    early = record | {"events": [["read", out], *record["events"]]}
    assert differences(name, stage, [early, other]) == [f"reads {out}"]
    more = copy.deepcopy(stage)
    more["deps"] += ["data/other", "src/other.py"]
    assert differences(name, more, [record, other]) == ["does not read data/other", "does not load src/other.py"]


ALL = set(yaml.safe_load((ROOT / "params.yaml").read_text()))


@pytest.mark.parametrize(("line", "files", "keys"), [
    ("checkpoint.fingerprint()", [], set()),
    ("exec('def fingerprint(): open(MODEL).close()'); fingerprint()", ["models/network.json"], set()),
    ("load_params().model_dump()", [], ALL), ("dict(load_params())", [], ALL), ("vars(load_params())", [], ALL),
    ("load_params().model_copy(update={'lr': 1}).lr", [], {"lr"}),
    ("with reporter.training(load_params()): load_params().lr", [], {"lr"}),
])  # fmt: skip
def test_every_read_counts_but_those_of_the_fingerprint_and_of_tracking(
    line: str, files: list[str], keys: set[str], tmp_path: Path
) -> None:
    for path in (*paths.SPLIT_FILES, *paths.DRAWINGS_FILES, *paths.SCHEMAS, *paths.MODEL_FILES):
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / path).touch()
    imports = "from pipeline.params import load_params; from runtime import checkpoint; from tracking import reporter"
    (tmp_path / "stage.py").write_text(f"{imports}\nMODEL = 'models/network.json'\n{line}\n")
    record = audited(tmp_path, tmp_path / "stage.py", yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert record["events"] == [["read", file] for file in files]
    assert set(record["params"]) == keys


# What an edit makes DVC run again
def stages_of(file: str) -> set[str]:
    return {name for name, stage in STAGES.items() if any(is_below(file, dep) for dep in stage["deps"])}


@pytest.mark.parametrize(("file", "stages"), [
    ("src/neural_net/layers.py", {"train", "evaluate", "plot"}), ("src/custom.py", {"train", "evaluate", "plot"}),
    ("data/own/README.md", {"fetch", "preprocess"}),
    ("src/pen/augmentation.py", {"preprocess", "split", "train", "evaluate", "plot"}),
    ("src/figures/curves.py", {"plot"}), ("src/data_sets/pendigits.py", {"fetch", "preprocess"}),
    ("data/split/train_ink.npz", {"train"}), ("data/split/validation_ink.npz", {"train"}),
    ("data/split/test.npz", {"evaluate", "plot"}),
])  # fmt: skip
def test_an_edit_concerns_the_stages_whose_results_it_can_change(file: str, stages: set[str]) -> None:
    assert stages_of(file) == stages
    assert (ROOT / file).is_file() or file.startswith("data/")


def test_no_stage_depends_on_what_guards_the_run_or_shows_it() -> None:
    files = [str(file.relative_to(ROOT)) for room in GUARDS + PEOPLE for file in (ROOT / "src" / room).rglob("*.py")]
    assert len(files) > 20
    assert [file for file in files if stages_of(file)] == []
    assert len(deps_of(STAGES["train"], "src")) <= 6
