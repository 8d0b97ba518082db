"""The numbers of the page are those of neural_net, to 1e-6."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.tools.lies import ask, small_model

from neural_net import Linear, Network, dense_layers, evaluate, fit
from pen.features import FEATURE_SETS
from pen.ink import join_strokes
from pen.recognizer import Recognizer
from pen.strokes import strokes_of
from web.application import STATIC
from web.digits import Shelf
from web.live_training import GRID, MOST_TRAININGS, Settings, TooManyError, Trainer
from web.toys import TOYS

STROKES = [[[0, 95.5], [40, 0], [60, 30]], [[10, 50], [70, 50]]]
EXACT = {"rel": 1e-6, "abs": 1e-6}


@pytest.fixture(params=["table", "ink"])
def model(request: pytest.FixtureRequest) -> Recognizer:
    model = small_model(request.param)
    model.temperature = 0.5
    return model


def told(app: Any, path: str, body: Any) -> Any:
    status, said = ask(app, json.dumps(body).encode(), path=path)
    assert status == 200, said
    return json.loads(said)


def row_of(model: Recognizer) -> Any:
    return FEATURE_SETS[model.features].of(strokes_of(join_strokes([STROKES], [0], [1], [1])))


def test_a_drawing_is_thought_about_as_by_the_network(app: Any, model: Recognizer, shelf: Shelf) -> None:
    found, row = told(app, "/think", {"strokes": STROKES}), row_of(model)
    assert found["probabilities"] == pytest.approx(model.probabilities(row)[0], **EXACT)
    assert found["row"] == pytest.approx(row[0], **EXACT)
    by_name = {layer["name"]: layer["values"] for layer in found["layers"]}
    x = row
    for layer in model.network.layers:
        x = layer.forward(x)
        assert by_name.get(layer.name, x[0].ravel()) == pytest.approx(x[0].ravel(), **EXACT)
    assert list(by_name) == ["relu1", "linear2"]
    distances = np.linalg.norm(shelf.training.rows(model.features) - row, axis=1)
    assert [near["distance"] for near in found["nearest"]] == pytest.approx(np.sort(distances)[:5], **EXACT)
    features, towards = FEATURE_SETS[model.features], np.array(found["towards"])
    for point, axis in ((0, 0), (3, 1)):
        step = np.zeros_like(row)
        step[0, point * features.n_channels + axis] = 1e-2
        slope = (model.network.outputs(row + step) - model.network.outputs(row - step))[0] / 2e-2
        assert towards[:, point, axis] == pytest.approx(slope, abs=2e-3)
    adds = told(app, "/contributions", {"strokes": STROKES})
    logits = model.network.outputs(row)[0]
    assert np.sum(adds["contributions"], axis=0) + adds["bias"] == pytest.approx(logits, abs=1e-5)


@pytest.mark.parametrize(("drawn", "meant"), [
    ([[[90, 90]], *STROKES], STROKES), ([*STROKES, [[0, 0], [2, 1]]], STROKES),
    ([[[50, 100], [49, 60], [51, 30], [50, 0]]], [[[50, 100], [50, 60], [50, 30], [50, 0]]]),
    ([[[0, 0], [6, 100]]], [[[0, 0], [6, 100]]]), ([[[0, 0]], [[9, 9]]], [[[0, 0]], [[9, 9]]]),
])  # fmt: skip
def test_stray_dots_and_trembling_are_no_part_of_a_drawing(
    app: Any, model: Recognizer, drawn: list[Any], meant: list[Any]
) -> None:
    row = FEATURE_SETS[model.features].of(strokes_of(join_strokes([meant], [0], [1], [1])))
    assert told(app, "/think", {"strokes": drawn})["row"] == pytest.approx(row[0], **EXACT)


def test_what_is_added_to_a_unit_makes_up_its_value(app: Any, model: Recognizer) -> None:
    shown, x = told(app, "/think", {"strokes": STROKES})["layers"], row_of(model)
    linear = [layer for layer in model.network.layers if isinstance(layer, Linear)]
    for number, layer in enumerate(linear):
        z, scale = layer.forward(x)[0].copy(), 1 if number else 1 / np.sqrt(1 + 1e-5)  # of batch_norm, untrained
        for unit in (0, len(z) - 1):
            added = told(app, "/added", {"strokes": STROKES, "layer": number, "unit": unit})["added"]
            assert np.array(added) == pytest.approx(scale * x[0] * layer.W[:, unit], **EXACT)
            assert sum(added) + layer.b[unit] == pytest.approx(scale * z[unit], **EXACT)
        x = np.array([shown[number]["values"]], dtype=np.float32)
    for wrong in ({"layer": len(linear), "unit": 0}, {"layer": 0, "unit": 10**6}):
        assert ask(app, json.dumps({"strokes": STROKES, **wrong}).encode(), path="/added")[0] == 400


def test_the_page_says_when_it_is_unsure(app: Any, model: Recognizer) -> None:
    scrawl = [[[x, 97 * x % 101] for x in range(100)]]
    assert told(app, "/think", {"strokes": scrawl})["unsure"]


@pytest.mark.parametrize("switches", [
    {"zeroed": "linear1"}, {"drop_biases": True}, {"noise": 0.5}, {"shuffle_points": True}, {"no_temperature": True},
], ids=str)  # fmt: skip
def test_each_switch_breaks_what_it_names_and_nothing_else(
    app: Any, model: Recognizer, shelf: Shelf, switches: dict[str, Any]
) -> None:
    before = model.network.params.copy()
    found = told(app, "/break", {"switches": switches, "strokes": STROKES})
    assert (model.network.params == before).all()
    p = model.probabilities(shelf.measured.rows(model.features))
    assert found["whole"]["accuracy"] == np.mean(p.argmax(1) == shelf.measured.y)
    assert found["whole"]["n"] == found["measured"]["n"] == len(shelf.measured.y)
    row, changed = row_of(model), small_model(model.features)
    match switches:
        case {"no_temperature": True}:
            expected = changed.probabilities(row)[0]
            assert found["measured"]["accuracy"] == found["whole"]["accuracy"]
        case {"zeroed": _} | {"drop_biases": _}:
            changed.temperature = model.temperature
            for layer in [changed.network["linear1"]] if "zeroed" in switches else changed.network.layers:
                layer.set_weights([w * 0 if w.ndim == 1 or "zeroed" in switches else w for w in layer.get_weights()])
            if "drop_biases" in switches:  # neither shifts nor scales of the normalization are biases
                norm, original = changed.network["batchnorm1"], model.network["batchnorm1"]
                norm.set_weights([w * (i != 1) for i, w in enumerate(original.get_weights())])
            expected = changed.probabilities(row)[0]
        case _:
            assert found["probabilities"] != pytest.approx(model.probabilities(row)[0], rel=1e-3)
            return
    assert found["probabilities"] == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize("epochs", [0, 1])
def test_one_step_is_that_of_the_library(app: Any, shelf: Shelf, epochs: int) -> None:
    network = {"hidden_layers": [5], "activation": "tanh", "epochs": epochs, "seed": 3}
    body = {"strokes": STROKES, "truth": 4, "network": network, "optimizer": "sgd", "lr": 0.25}
    found = told(app, "/step", body)
    same = Network(dense_layers([5], 10, "tanh"), 16, rng=3, dtype=np.float64)
    if epochs:
        fit(same, shelf.training.table, shelf.training.y, rng=3, epochs=1, optimizer={"adam": {"lr": 0.01}})
    x, y = np.array([found["x"]]), np.array([4])
    W = same["linear1"].W.copy()
    assert found["loss"] == pytest.approx(evaluate(same, x, y)[0], rel=1e-9)
    assert found["probabilities"] == pytest.approx(same.predict_proba(x)[0], rel=1e-9)
    assert found["d_logits"] == pytest.approx(same.predict_proba(x)[0] - np.eye(10)[4], abs=1e-9)
    fit(same, x, y, rng=0, epochs=1, optimizer={"sgd": {"lr": 0.25}})
    first = found["layers"][0]
    assert np.array(first["W"]) == pytest.approx(W, rel=1e-9)
    assert W - 0.25 * np.array(first["dW"]) == pytest.approx(same["linear1"].W, rel=1e-9)
    assert found["after"]["loss"] == pytest.approx(evaluate(same, x, y)[0], rel=1e-9)
    assert np.array(found["after"]["parameters"]["linear1"]["W"]) == pytest.approx(same["linear1"].W, rel=1e-9)
    ways = [layer[way] for layer in found["layers"] for way in ("forward", "backward")]
    assert "np.log(" in found["code"]["loss"]["code"]
    for lines in (*found["code"].values(), *ways):
        status, said = ask(app, b"", path=f"/source/{lines['file']}", method="GET")
        assert status == 200
        assert re.search(rf'id="L{lines["line"]}">.*def ', said.decode())


FIRST_STEPS: dict[str, Callable[[Any, Any, dict[str, float]], Any]] = {  # as stepping.js writes them; without -lr
    "sgd": lambda g, W, c: g,
    "adagrad": lambda g, W, c: g / (np.sqrt(g**2) + c["eps"]),
    "rmsprop": lambda g, W, c: g / (np.sqrt((1 - c["rho"]) * g**2) + c["eps"]),
    "adam": lambda g, W, c: g / (np.sqrt(g**2) + c["eps"]),
    "adamw": lambda g, W, c: c["weight_decay"] * W + g / (np.sqrt(g**2) + c["eps"]),
    "lion": lambda g, W, c: np.sign(g),
}


@pytest.mark.parametrize("name", FIRST_STEPS)
def test_the_formula_of_an_optimizer_gives_its_first_step(app: Any, name: str) -> None:
    body = {"strokes": STROKES, "truth": 4, "network": {"hidden_layers": [5]}, "optimizer": name, "lr": 0.25}
    found = told(app, "/step", body)
    W, g = (np.array(found["layers"][0][array]) for array in ("W", "dW"))
    change = found["after"]["parameters"]["linear1"]["change_W"]
    assert -0.25 * FIRST_STEPS[name](g, W, found["constants"]) == pytest.approx(np.array(change), **EXACT)
    assert re.search(rf"^  {name}: \[", (STATIC / "stepping.js").read_text(), re.MULTILINE)


def events_of(trainer: Trainer, settings: Settings, most: int = 10_000) -> list[tuple[str, Any]]:
    async def collect() -> list[tuple[str, Any]]:
        found = []
        feed = await trainer.start(settings)
        async for event in feed.events():
            name, content = re.fullmatch(r"event: (.*)\ndata: (.*)\n\n", event).groups()  # type: ignore[union-attr]
            found.append((name, json.loads(content)))
            if len(found) == most:
                feed.end()
                break
        while trainer.running:
            await asyncio.sleep(0.01)
        return found

    return asyncio.run(asyncio.wait_for(collect(), 60))


def test_convolutions_go_along_the_paths_of_digits_only(shelf: Shelf) -> None:
    settings = Settings(
        data="digits", convolutions=2, filters=4, hidden_layers=[8], epochs=1, optimizer="sgd", momentum=0.5
    )
    (_, start), (_, epoch), _ = events_of(Trainer(shelf), settings)
    assert start["layers"][:5] == ["reshape1", "conv1d1", "tanh1", "conv1d2", "tanh2"]
    assert np.shape(epoch["weights"]) == (4, 3, 2)
    with pytest.raises(ValueError, match="points in the plane have none"):
        events_of(Trainer(shelf), Settings(convolutions=1))


@pytest.mark.parametrize("data", [*TOYS, "digits"])
def test_a_live_training_is_that_of_fit(shelf: Shelf, data: str) -> None:
    settings = Settings(data=data, hidden_layers=[8], epochs=3, seed=5, dropout=0.1)
    trainer = Trainer(shelf)
    (first, start), *epochs, (last, _) = events_of(trainer, settings)
    assert (first, last, len(epochs)) == ("start", "end", 3)
    rows = trainer.data(settings)
    rng = np.random.default_rng(5)
    network = Network(dense_layers([8], int(rows.y.max()) + 1, "tanh", dropout=0.1), rng=rng)
    how: dict[str, Any] = {"rng": rng, "epochs": 3, "batch_size": 32, "optimizer": {"adam": {"lr": 0.01}}}
    history = fit(network, rows.X, rows.y, validation=(rows.X_val, rows.y_val), **how)
    for (_, told_epoch), record in zip(epochs, history.records, strict=True):
        assert {key: told_epoch[key] for key in record} == pytest.approx(record, rel=1e-9)
    inside = {(found["layer"], found["quantity"]) for found in epochs[-1][1]["inside"]}
    assert {("linear1", "gradient_norm"), ("tanh1", "dead_share")} <= inside
    picture = epochs[-1][1]
    if data == "digits":
        assert np.array(picture["weights"]) == pytest.approx(network["linear1"].W.T.reshape(-1, 8, 2), **EXACT)
    else:
        corner = network.predict_proba(np.array([[GRID[-1], GRID[0]]], np.float32))[0, 1]
        assert picture["boundary"][len(GRID) - 1] == pytest.approx(100 * corner, abs=0.51)
        assert len(start["points"]) == settings.n_points


def test_trainings_are_bounded_and_end_with_their_page(shelf: Shelf) -> None:
    trainer, endless = Trainer(shelf), Settings(epochs=1000, hidden_layers=[4], pace=0.01)
    assert len(events_of(trainer, endless, most=3)) == 3
    assert trainer.running == 0

    async def too_many() -> None:
        feeds = [await trainer.start(endless) for _ in range(MOST_TRAININGS)]
        with pytest.raises(TooManyError):
            await trainer.start(endless)
        for feed in feeds:  # nobody has taken an event yet
            feed.end()
        while trainer.running:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(too_many(), 60))
    assert len(events_of(trainer, endless, most=2)) == 2  # there is room again


def test_a_training_that_diverges_says_so(shelf: Shelf) -> None:
    wild = {"activation": "identity", "optimizer": "sgd", "lr": 1.0, "batch_size": 1500, "hidden_layers": [32] * 4}
    *_, (last, content) = events_of(Trainer(shelf), Settings(data="digits", epochs=200, **wild))
    assert last == "diverged"
    assert "NaN or infinity" in content["message"]
