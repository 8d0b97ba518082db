"""The benchmarks' harness: equal work, unequal results reported, right figures. The peers are not installed here."""

import json
from pathlib import Path
from typing import Any

import bench
import contestants
import numpy as np
import pytest
import scale
import sweeps

from neural_net.activations import softmax

ROOT = Path(__file__).parent.parent


def rows(n: int = 300) -> bench.Arrays:
    """Digits that are easy to tell apart, as training and test rows."""
    rng = np.random.default_rng(0)
    y = rng.integers(10, size=n)
    X = (np.eye(10, 16)[y] + rng.normal(0, 0.1, (n, 16))).astype(np.float32)
    return X, y, X, y


def test_scikit_learn_and_ours_take_the_same_steps_on_a_full_batch() -> None:
    X, y, _, _ = rows()
    task = contestants.Task(X, y, (12, 8), len(X), 1)
    ours, theirs = contestants.Ours(task), contestants.ScikitLearn(task)
    np.testing.assert_allclose(softmax(ours.logits(X)), theirs.logits(X), atol=1e-6)
    before = ours.logits(X)
    for one in (ours, theirs):
        one.train(30)
    assert np.abs(ours.logits(X) - before).max() > 0.1
    np.testing.assert_allclose(softmax(ours.logits(X)), theirs.logits(X), atol=1e-3)


def test_all_take_as_many_steps_and_a_row_has_time_and_accuracy_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    task = contestants.Task(*rows()[:2], (12,), 64, 1)
    ours, products = contestants.Ours(task), contestants.Products(task)
    ours.train(2)
    products.train(1)
    assert (ours.training.step, products.sizes) == (2 * 5, [64, 64, 64, 64, 44])
    monkeypatch.setattr(bench, "SECONDS_A_TURN", 0)
    names = ["ours", "scikit-learn", "products alone"]
    row = bench.compare(rows(), names, 1, (16,), 64, turns=2)
    assert (row["batch"], row["steps"], row["epochs"]) == (64, 5, 4)
    assert set(row["wall"]) == set(row["processor"]) == set(names)
    assert set(row["accuracy"]) == {"ours", "scikit-learn"}
    assert all(seconds > 0 for seconds in row["wall"].values())


def training_row(hidden: list[int], accuracy: float = 0.97, **seconds: float) -> dict[str, Any]:
    times = {"ours": 0.010, **{name.replace("_", " "): value for name, value in seconds.items()}}
    right = {name: accuracy for name in times if name not in ("ours", "products alone")}
    both = {"seconds_an_epoch": times, "wall": times, "processor": times}
    kind = {"kind": "training", "threads": 1, "hidden": hidden, "batch": 32, "steps": 235, "epochs": 3}
    return {**kind, **both, "accuracy": {"ours": 0.97, **right}}


def test_goals_go_by_geometric_mean_and_worst_row_and_unequal_results_are_named() -> None:
    records = [
        training_row([32, 16], PyTorch=0.020, products_alone=0.004, **{"jax.jit": 0.001}),
        training_row([256, 128], PyTorch=0.125, products_alone=0.005, **{"jax.jit": 0.008}),
        training_row([256, 128], PyTorch=0.050, products_alone=0.010, **{"jax.jit": 0.005}) | {"batch": 7494},
    ]
    reached = dict(bench.goals(records))
    assert reached["PyTorch takes at least 2.2 times as long in geometric mean: 5.00"]
    jax = "at most {} times the time of jax.jit in {}: {}".format
    assert reached[jax("1.35", "256-128 and 512-512-256, batches of 32", "1.25 to 1.25")]
    assert not reached[jax("1", "32-16 and 256-128, batches of 128 and more", "2.00 to 2.00")]
    assert reached["at most 2.7 times the time of products alone in 32-16, batches of 32: 2.50 to 2.50"]
    wide = "at most 1.7 times the time of products alone in 256-128 and 512-512-256, batches of 32: 2.00 to 2.00"
    assert not reached[wide]
    assert not bench.unequal([training_row([32], PyTorch=0.05)])
    (fault,) = bench.unequal([training_row([32], accuracy=0.9, PyTorch=0.05)])
    assert "PyTorch reached 90.00% and ours 97.00%" in fault


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_a_training_from_a_mapped_file_is_measured(tmp_path: Path) -> None:
    scale.write_rows(tmp_path, 3000)
    record = scale.train(tmp_path, 2000, [16])
    assert (record["rows"], record["parameters"]) == (2000, 16 * 16 + 16 + 16 * 10 + 10)
    assert record["seconds"] > 0 < record["wall"]
    assert 0 <= record["mib"] < 200


def test_the_page_shows_the_results_that_are_kept() -> None:
    records = json.loads((bench.RESULTS / "bench.json").read_text())
    assert bench.core(records) in (ROOT / "docs/speed.md").read_text()
    assert bench.report(records) == (bench.RESULTS / "bench.md").read_text()
    assert not bench.unequal(records)


def test_a_simulated_sweep_takes_the_trainings_time_and_no_less_than_one_training_or_the_client() -> None:
    """4 trials of 5 trainings of 10 s; the client takes half a second for a trial and a tenth for a training."""
    costs, start = sweeps.Costs(trial=0.5, training=0.1, dask=0, snapshot=0), sweeps.START_SECONDS
    walls = {workers: sweeps.simulate(workers, 4, costs, lambda: 10.0) - start for workers in (1, 2, 20, 1000)}
    assert walls[1] == pytest.approx(0.5 + 200 + 0.1)
    assert walls[2] == pytest.approx(0.5 + 100 + 0.2, abs=1)
    assert walls[20] == walls[1000]
    assert walls[1000] == pytest.approx(4 * 0.5 + 10 + 5 * 0.1, abs=1.6)
