"""Show where the time of a training step goes: `python benchmarks/step.py`. It writes nothing.

Three tables, in microseconds of one thread, medians of repeats in turn:

- steps of the bench's networks: the plain step, the recorded one, the number of its calls and their time, and the
  matrix products alone;
- the layers of params.yaml's network, forward and backward, its loss and its optimizer;
- NumPy's functions for a vector that fits into the second cache.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from bench import HIDDEN, ROOT
from contestants import Products, Task
from machine import cpu, kernel

from neural_net import Training
from neural_net.memory import aligned_copy
from neural_net.step import RecordedStep, Step
from pipeline.configure import configure, load_checked

Work = Callable[[], object]


def times(works: Mapping[str, Work], seconds: float = 0.5) -> dict[str, float]:
    """The median microseconds of processor time of each, measured in turn for so long in all."""
    taken: dict[str, list[int]] = {name: [] for name in works}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken[next(iter(taken))]) < 5:
        for name, work in works.items():
            start = time.thread_time_ns()
            work()
            taken[name].append(time.thread_time_ns() - start)
    return {name: statistics.median(values) / 1e3 for name, values in taken.items()}


def step_of(step: Step, X: np.ndarray, targets: np.ndarray) -> Work:
    """One whole step."""

    def work() -> None:
        step.forward(X, targets)
        step.backward()
        step.update(1e-9)

    return work


def steps(hidden: tuple[int, ...], batch: int) -> str:
    """A row of the first table."""
    rng = np.random.default_rng(0)
    X, y = rng.uniform(-1, 1, (batch, 16)).astype(np.float32), rng.integers(0, 10, batch)
    task = Task(X, y, hidden, batch, 1)
    training = Training(task.network(), X, y, rng=1, batch_size=None, epochs=25)
    training.run()
    targets, recorded = training.targets[:], training.steps.of(X)
    works: dict[str, Work] = {"plain": step_of(training.steps.plain, X, targets)}
    calls: list[Any] = []
    if isinstance(recorded, RecordedStep):
        works["recorded"] = step_of(recorded, X, targets)
        calls = recorded.calls()
        works["its calls"] = lambda: [call() for call in calls]
    products = Products(task)
    found = times({**works, "products": lambda: products.train(1)})
    cells = [f"{found[name]:10.1f}" if name in found else " " * 10 for name in ("plain", "recorded", "its calls")]
    return f"{'-'.join(map(str, hidden)):>12}{batch:>7}{''.join(cells)}{len(calls) or '':>8}{found['products']:10.1f}"


def layers() -> list[str]:
    """The second table."""
    params = load_checked(ROOT / "params.yaml")
    made, rng = configure(params), np.random.default_rng(0)
    network, batch = made.network, 128 if params.batch_size == "full" else params.batch_size
    network.set_rng(rng)
    x = rng.uniform(-1, 1, (batch, *network.shape_in)).astype(network.dtype)
    targets = made.loss.targets(rng.integers(0, network.n_outputs, batch), network.n_outputs, network.dtype)
    inputs = [x]
    for layer in network.layers:
        inputs.append(layer.forward(inputs[-1], True))
    made.loss.forward(inputs[-1], targets)
    works: dict[str, Work] = {"loss": lambda: (made.loss.forward(inputs[-1], targets), made.loss.backward())}
    works["optimizer"] = lambda: made.optimizer.step(network.params, network.grads, network.decays, 1e-9)
    grad = made.loss.backward()
    for layer, x in zip(reversed(network.layers), reversed(inputs[:-1]), strict=True):
        works[f"{layer.name} forward"] = lambda layer=layer, x=x: layer.forward(x, True)  # type: ignore[misc]
        works[f"{layer.name} backward"] = lambda layer=layer, grad=grad: layer.backward(grad)  # type: ignore[misc]
        grad = layer.backward(grad)
    return [f"{name:>20}{value:10.1f}" for name, value in times(works, 2).items()]


def functions(n: int = 32768) -> list[str]:
    """The third table."""
    rng = np.random.default_rng(0)
    a, b, out = (aligned_copy(rng.uniform(0.5, 1, n).astype(np.float32)) for _ in range(3))
    works: dict[str, Work] = {f.__name__: lambda f=f: f(a, b, out) for f in (np.add, np.multiply, np.divide)}
    works |= {f.__name__: lambda f=f: f(a, out) for f in (np.sqrt, np.exp, np.tanh)}
    return [f"{name:>12}{value:10.1f}" for name, value in times(works).items()]


def main() -> None:
    """Print the tables."""
    lines = [f"{cpu()}; BLAS kernel {kernel()}; NumPy {np.__version__}", ""]
    lines += [f"{'hidden':>12}{'batch':>7}{'plain':>10}{'recorded':>10}{'calls':>10}{'number':>8}{'products':>10}"]
    lines += [steps(hidden, batch) for hidden in HIDDEN for batch in (32, 128)]
    lines += ["", "params.yaml's network", *layers(), "", "32,768 numbers in float32", *functions(), ""]
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    main()
