"""params.yaml is taken as a whole or refused with one line a fault."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from pipeline.configure import configure, load_and_configure, with_own_names
from pipeline.params import ParamsError, check_params, load_params

FILE = Path(__file__).parents[2] / "params.yaml"
SHIPPED: dict[str, Any] = yaml.safe_load(FILE.read_text())


@pytest.mark.parametrize("option", ["lr=0.005", "lr=1e-5", "augment.shear=0.2", "clip_norm=1", "weight_average=null"])
def test_dvc_changes_one_line_of_the_shipped_file_and_loses_no_comment(option: str, tmp_path: Path) -> None:
    before, file = FILE.read_text(), tmp_path / "params.yaml"
    file.write_text(before)
    apply_overrides(file, [option])  # as `dvc exp run -S` does
    pairs = zip(before.splitlines(), file.read_text().splitlines(), strict=True)
    ((old, new),) = [pair for pair in pairs if pair[0] != pair[1]]
    assert old.strip().partition(":")[0] == new.strip().partition(":")[0] == option.partition("=")[0].split(".")[-1]
    assert old.partition("#")[1:] == new.partition("#")[1:]


def refusal(**changes: Any) -> str:
    with pytest.raises(ParamsError) as caught:
        check_params(SHIPPED | changes)
    return str(caught.value)


def test_shipped_params_are_accepted_and_all_faults_said_at_once() -> None:
    assert set(check_params(SHIPPED).model_dump()) == set(SHIPPED)
    params = check_params(
        SHIPPED | {"optimizer": {"adam": {"eps": "1e-08"}}, "hidden_layers": [{"batch_norm": {"eps": "1e-5"}}]}
    )
    assert (params.optimizer, params.hidden_layers) == ({"adam": {"eps": 1e-8}}, [{"batch_norm": {"eps": 1e-5}}])
    values = {key: value for key, value in SHIPPED.items() if key != "seed"}
    values |= {"lr": -1, "augment": {"bend": -1, "x": 1}}
    with pytest.raises(ParamsError) as caught:
        check_params(values)
    assert "params.yaml: seed is missing" in str(caught.value).splitlines()
    assert len(str(caught.value).splitlines()) == 4


def test_wrong_values_and_unknown_names_are_said_together(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    wrong = {"lr": "abc", "optimizer": "adamx", "hidden_layers": [8, "conv9"], "loss": {"focal": {"gamma": "1e0"}}}
    file.write_text(yaml.safe_dump(SHIPPED | wrong))
    with pytest.raises(ParamsError) as caught:
        load_and_configure(file)
    said = [" ".join(line.split()[1:3]) for line in str(caught.value).splitlines()]
    assert said == ["lr must", "hidden_layers: layer", "optimizer must"]


@pytest.mark.parametrize(("key", "value", "line"), [
    ("lr", -0.1, "lr must be greater than 0, got -0.1"),
    ("lr", 0, "lr must be greater than 0, got 0"),
    ("lr", "fast", "lr must be a number, got 'fast'"),
    ("lr", float("nan"), "lr must be a finite number, got nan"),
    ("validation_writers", 30, "validation_writers must be less than or equal to 29, got 30"),
    ("epochs", 0, "epochs must be greater than or equal to 1, got 0"),
    ("epochs", 2.0, "epochs must be a whole number, got 2.0"),
    ("dropout", 1, "dropout must be less than 1, got 1"),
    ("dataset", "mnist", "dataset must be 'pendigits', 'synthetic' or 'own', got 'mnist'"),
    ("batch_size", "ful", "batch_size must be a whole number greater than or equal to 1, or full, got 'ful'"),
    ("hidden_layers", [64, 0], "hidden_layers must be a list of widths"),
    ("residual", "yes", "residual must be a boolean, got 'yes'"),
    ("activaton", "relu", "activaton is not a parameter; did you mean activation?"),
    ("qqqqq", 1, "qqqqq is not a parameter; known are dataset, "),
    ("augment", {"bend": -1}, "augment.bend must be greater than or equal to 0, got -1"),
    ("augment", {"trim": 0.3}, "augment.trim must be less than or equal to 0.2, got 0.3"),
    ("augment", {"bent": 0.1}, "augment.bent is not a parameter; did you mean augment.bend?"),
    ("augment", {"plain": 0.6, "reordered": 0.6}, "augment: backwards, reordered, joined, ornamented and plain must"),
    ("augment", 0.1, "augment must be keys and values, got 0.1"),
    ("own", {"path": "mine.csv", "label": "y"}, "own.path: must be a file in data/own, where `make new-data DATA=...`"),
    ("own", {"path": "data/own/a.csv", "label": "y", "name": "pendigits"}, "own.name: must not be one of pendigits, "),
    ("own", {"path": "data/own/a.csv"}, "own.label is missing"),
    ("own", {"path": "data/own/a.csv", "label": 0, "tast": "x"}, "own.label"),
    ("extra_ink", "drawings/a.unipen", "extra_ink: must be a file in data/own, which DVC watches; copy"),
    ("augment_bend", 0.1, "augment_bend is now augment.bend, in one block: `augment: {bend: ...}`"),
])  # fmt: skip
def test_fault_is_said_with_key_range_and_value(key: str, value: Any, line: str) -> None:
    assert refusal(**{key: value}).startswith(f"params.yaml: {line}")


def test_a_network_that_ends_in_paths_is_refused_and_a_loss_for_yes_or_no_smooths_its_labels() -> None:
    layers = [{"reshape": {"shape": [8, 2]}}, {"conv1d": {"filters": 4}}]
    with pytest.raises(
        ParamsError, match=r"the network ends in paths, \(8, 10\), and a digit has one class; add flatten"
    ):
        configure(check_params(SHIPPED | {"hidden_layers": layers}))
    loss: Any = configure(check_params(SHIPPED | {"loss": "binary_cross_entropy", "label_smoothing": 0.1})).loss
    assert (type(loss).__name__, loss.label_smoothing) == ("BinaryCrossEntropy", 0.1)


def test_names_of_other_libraries_become_our_own() -> None:
    given: dict[str, Any] = {"optimizer": {"Adam": {"beta_1": 0.8}}}
    given["hidden_layers"] = [{"residual": {"layers": [{"Dense": {"units": 16, "kernel_initializer": "he"}}]}}]
    params = with_own_names(check_params(SHIPPED | given))
    own = [{"residual": {"layers": [{"linear": {"n_out": 16, "init": "he_normal"}}]}}]
    assert (params.optimizer, params.hidden_layers) == ({"adam": {"beta1": 0.8}}, own)
    with pytest.raises(ParamsError, match="lr has a key of its own"):
        configure(check_params(SHIPPED | {"optimizer": {"sgd": {"learning_rate": 1}}}))


@pytest.mark.parametrize("written", ["1e-05", "1e-5", "1E-05", "+1e-05"])
def test_number_that_yaml_takes_for_a_string_is_a_number(tmp_path: Path, written: str) -> None:
    file = tmp_path / "params.yaml"
    text = yaml.safe_dump(SHIPPED | {"augment": {"bend": 0.25}})
    file.write_text(
        text.replace(f"\nlr: {SHIPPED['lr']}", f"\nlr: {written}").replace("bend: 0.25", f"bend: {written}")
    )
    assert isinstance(yaml.safe_load(file.read_text())["lr"], str)
    assert isinstance(yaml.safe_load(file.read_text())["augment"]["bend"], str)
    assert (load_params(file).lr, load_params(file).augment.bend) == (0.00001, 0.00001)


@pytest.mark.parametrize(("text", "message"), [
    ("- 1\n", "params.yaml must hold keys and values"),
    ("", "params.yaml must hold keys and values"),
    ("lr: [1\n", "params.yaml is not valid YAML"),
    ("lr: 1\nlr: 2\n", "params.yaml: lr is given twice"),
    ("a: " + "[" * 40_000, "params.yaml: nothing may be nested more than 100 deep"),
    ("- " * 20_000, "params.yaml: nothing may be nested more than 100 deep"),
    ("a: &a [x, x]\nb: [*a, *a]\n", "params.yaml is not valid YAML: aliases are not supported"),
    ("lr: !!python/object/apply:os.system ['true']\n", "params.yaml is not valid YAML"),
])  # fmt: skip
def test_file_that_is_no_params_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError) as caught:
        load_params(tmp_path / "params.yaml")
    assert str(caught.value).startswith(message)


def test_file_that_is_not_there_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="run from the top folder"):
        load_params(tmp_path / "params.yaml")
