"""A user's own parts: registered, named, saved, loaded and gradient-checked like ours."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import custom
import neural_net as nn
from neural_net import Network, gradcheck, load, make_activation, register_activation, register_layer, registry, save

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "docs/custom.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)


@pytest.fixture(autouse=True)
def same_tables_afterwards() -> Iterator[None]:
    kept = {part: dict(table) for part, table in registry.TABLES.items()}
    yield
    for part, table in registry.TABLES.items():
        table.clear()
        table.update(kept[part])


class Doubling:
    """An activation by the original's interface."""

    def Forward_prop(self, Z: Any) -> Any:
        return 2 * Z

    def Backward_prop(self, dA: Any) -> Any:
        return 2 * dA


def has_right_gradients(name: str, times: int) -> bool:
    errors = [error for _, checked, _, error in gradcheck.check_all() if checked == name]
    return len(errors) == times and max(errors) < gradcheck.TOLERANCE


# The example
def test_squareplus_in_numbers_to_check_by_head() -> None:
    """With b = 4: sqrt(1.5^2 + 4) = 2.5."""
    squareplus = custom.SquarePlus()
    assert squareplus.Forward_prop(np.array([-1.5, 0.0, 1.5])).tolist() == [0.5, 1.0, 2.0]
    assert squareplus.Backward_prop(np.array([1.0, 1.0, 10.0])).tolist() == [0.2, 0.5, 8.0]
    assert BLOCKS[0] == (ROOT / "src/custom.py").read_text()


@pytest.mark.parametrize("module", ["pen.recognizer", "estimator"])
def test_reading_a_model_and_the_estimator_know_the_custom_parts(module: str) -> None:
    """In a process of its own: here, this file has imported custom already."""
    code = f"import {module}; from neural_net import make_activation; make_activation('squareplus')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", check=True)


# Registering


def test_a_registered_name_comes_before_the_fields_other_names() -> None:
    class Logistic(Doubling):
        pass

    for name, kind in (("swish", Doubling), ("mine", Logistic)):
        register_activation(name)(kind)
    users = [make_activation(name).user for name in ("swish", "Swish", "logistic")]  # type: ignore[attr-defined]
    assert [type(user) for user in users] == [Doubling, Doubling, Logistic]
    assert repr(make_activation("SiLU")) == "SiLU()"


TAKEN = [(register_activation, "relu"), (register_activation, "linear"), (register_activation, "squareplus")]
TAKEN += [(register_layer, "linear"), (register_layer, "gelu")]
TAKEN += [(nn.register_loss, "cross_entropy"), (nn.register_optimizer, "adam")]


@pytest.mark.parametrize(("register", "name"), TAKEN)
def test_a_name_that_exists_is_refused(register: Any, name: str) -> None:
    bases = {nn.register_loss: type(nn.make_loss("focal")), nn.register_optimizer: type(nn.make_optimizer("sgd"))}
    mine = type("Mine", (bases.get(register, type(make_activation("tanh"))),), {})
    with pytest.raises(ValueError, match=f"Mine cannot be the .* {name}: .* has that name already"):
        register(name)(mine)


@pytest.mark.parametrize("register", dict(TAKEN))
def test_a_class_that_lacks_the_contract_is_refused(register: Any) -> None:
    with pytest.raises(TypeError, match="Random cannot be registered as the "):
        register("mine")(type("Random", (), {}))


@pytest.mark.parametrize("name", ["my part", "", "3d", Doubling])
def test_a_name_that_yaml_could_not_hold_plainly_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="must be made of letters"):
        register_activation(name)


def test_a_part_that_needs_options_says_what_to_check_it_with() -> None:
    class Power(Doubling):
        def __init__(self, k: int) -> None:
            self.k = k

        def Forward_prop(self, Z: Any) -> Any:
            self.Z = Z
            return Z**self.k

        def Backward_prop(self, dA: Any) -> Any:
            return dA * self.k * self.Z ** (self.k - 1)

    with pytest.raises(ValueError, match=r'check_with = \[\{"k": \.\.\.\}\]'):
        register_activation("power")(Power)
    Power.check_with = [{"k": 2}, {"k": 3}]  # type: ignore[attr-defined]
    register_activation("power")(Power)
    assert has_right_gradients("power", 2)
    with pytest.raises(ValueError, match="activation power needs the option k"):
        make_activation("power")


def test_one_file_may_be_read_twice() -> None:
    """Under two names, as in tests and notebooks, and anew after a change; each class can still be saved."""
    twin = importlib.import_module("src.custom")
    assert twin.SquarePlus is not custom.SquarePlus
    for kind in (custom.SquarePlus, twin.SquarePlus, importlib.reload(twin).SquarePlus):
        assert small(kind(b=1.0)).layers[1].config() == {"b": 1.0}


# Saving
def small(activation: Any, widths: tuple[int, ...] = (4,)) -> Network:
    return Network(nn.dense_layers(widths, 2, activation), 3, rng=np.random.default_rng(0))


def test_a_network_with_a_custom_part_is_saved_and_loaded_and_one_that_is_gone_named(tmp_path: Path) -> None:
    network = small({"squareplus": {"b": 1.0}}, (4, 4))
    X = np.random.default_rng(1).normal(size=(5, 3))
    save(network, tmp_path)
    assert {"squareplus": {"b": 1.0}} in json.loads((tmp_path / "network.json").read_text())["layers"]
    assert np.array_equal(load(tmp_path)[0].outputs(X), network.outputs(X))
    register_activation("doubling")(Doubling)
    save(small("doubling"), tmp_path)
    del registry.TABLES["activation"]["doubling"]
    with pytest.raises(nn.StorageError, match="got 'doubling'"):
        load(tmp_path)


def test_an_option_that_the_part_did_not_keep_is_named(tmp_path: Path) -> None:
    @register_activation("forgetful")
    class Forgetful(Doubling):
        def __init__(self, slope: float = 1.0) -> None:
            pass

    with pytest.raises(ValueError, match=r"Forgetful: keep the option slope in an attribute, self\.slope"):
        save(small("forgetful"), tmp_path)


# The gradient check
def test_make_gradcheck_counts_custom_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert has_right_gradients("squareplus", 2)  # with its defaults, and as check_with says
    with pytest.raises(SystemExit) as end:
        gradcheck.main(["custom"])
    assert not end.value.code
    assert re.search(r"squareplus +b=0\.5 +\d\.\de-\d\d\n", capsys.readouterr().out)


@pytest.mark.parametrize("wrong", [3.0, np.nan])
def test_make_gradcheck_finds_a_wrong_derivative(wrong: float, capsys: pytest.CaptureFixture[str]) -> None:
    @register_activation("wrong")
    class Wrong(Doubling):
        def Backward_prop(self, dA: Any) -> Any:
            return wrong * dA

    with pytest.raises(SystemExit) as end:
        gradcheck.main()
    assert end.value.code
    assert re.search(r"wrong +\S+  WRONG\n", capsys.readouterr().out)


# What the documentation promises
def test_the_documented_parts_are_right_and_train_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "documented.py").write_text("\n\n".join(BLOCKS[1:]))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("documented")
    assert has_right_gradients("scale", 1)
    assert has_right_gradients("log_cosh", 1)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    network = Network(nn.dense_layers([8, "scale", 8], 2, "squareplus"), 5, rng=rng)
    parts: Any = {"loss": "log_cosh", "optimizer": {"sign_descent": {"lr": 0.01}}}
    history = nn.fit(network, X, (X[:, 0] > 0).astype(int), rng=rng, epochs=100, batch_size=20, **parts)
    assert history.last["train_loss"] < 0.2 * history["train_loss"][0]
    assert history.last["train_accuracy"] > 0.95
    save(network, tmp_path)
    assert np.array_equal(load(tmp_path)[0].outputs(X), network.outputs(X))
