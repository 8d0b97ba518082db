"""Compare the library with PyTorch in float64, and keep PyTorch's numbers for the tests: `make oracle`.

Prints the worst difference of each case, relative to the largest number of what is compared. Exits with 1 if one is
above the limit; else writes golden.json, which `make test` compares the library with, where PyTorch is not installed.
"""

import json
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (as everybody calls it)

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "src")]

import cases  # noqa: E402

from neural_net import Layer  # noqa: E402
from neural_net.layers import Residual  # noqa: E402

LIMIT = 1e-6
DIGITS = 12  # kept in golden.json

Tensor = torch.Tensor
Parameters = dict[str, Tensor]


def tensor(values: Any) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float64)


# Networks. A twin computes what our layer of its name computes, from a copy of its parameters, in PyTorch's words.
def linear(layer: Any, p: Parameters, x: Tensor, training: bool) -> Tensor:
    return F.linear(x, p["W"].T, p.get("b"))


def padded(x: Tensor, padding: str, reach: int, stride: int, value: float = 0.0) -> Tensor:
    """The path with its channels first, and as many more points as windows of that reach need."""
    x, length = x.transpose(1, 2), x.shape[1]
    missing = max((-(-length // stride) - 1) * stride + reach - length, 0) if padding == "same" else 0
    return F.pad(x, (missing // 2, missing - missing // 2), value=value)


def conv1d(layer: Any, p: Parameters, x: Tensor, training: bool) -> Tensor:
    x = padded(x, layer.padding, (layer.kernel_size - 1) * layer.dilation + 1, layer.stride)
    W = p["W"].permute(2, 1, 0)
    return F.conv1d(x, W, p.get("b"), stride=layer.stride, dilation=layer.dilation).transpose(1, 2)


def max_pool1d(layer: Any, p: Parameters, x: Tensor, training: bool) -> Tensor:
    stride = layer.stride or layer.size
    return F.max_pool1d(padded(x, layer.padding, layer.size, stride, -math.inf), layer.size, stride).transpose(1, 2)


def average_pool1d(layer: Any, p: Parameters, x: Tensor, training: bool) -> Tensor:
    stride = layer.stride or layer.size
    sums, ones = (padded(part, layer.padding, layer.size, stride) for part in (x, torch.ones_like(x)))
    return (F.avg_pool1d(sums, layer.size, stride) / F.avg_pool1d(ones, layer.size, stride)).transpose(1, 2)


def batch_norm(layer: Any, p: Parameters, x: Tensor, training: bool) -> Tensor:
    mean, variance = vars(layer).setdefault(
        "oracle_state", (torch.zeros_like(p["beta"]).detach(), torch.ones_like(p["beta"]).detach())
    )
    channels = x.reshape(-1, x.shape[-1])
    y = F.batch_norm(channels, mean, variance, p["gamma"], p["beta"], training, 1 - layer.momentum, layer.eps)
    return y.reshape(x.shape)


def dropout(layer: Any, p: Parameters, x: Tensor, training: bool) -> Tensor:
    return x * tensor(layer.scale) if training else x  # the draws are ours


TWINS: dict[str, Callable[[Any, Parameters, Tensor, bool], Tensor]] = {
    "Linear": linear, "Conv1D": conv1d,
    "MaxPool1D": max_pool1d, "AveragePool1D": average_pool1d,
    "Reshape": lambda layer, p, x, _: x.reshape(len(x), *layer.shape), "Flatten": lambda layer, p, x, _: x.flatten(1),
    "BatchNorm": batch_norm,
    "LayerNorm": lambda layer, p, x, _: F.layer_norm(x, x.shape[-1:], p["gamma"], p["beta"], layer.eps),
    "Dropout": dropout, "Identity": lambda layer, p, x, _: x, "ReLU": lambda layer, p, x, _: F.relu(x),
    "LeakyReLU": lambda layer, p, x, _: F.leaky_relu(x, layer.slope),
    "ELU": lambda layer, p, x, _: F.elu(x, layer.alpha), "SELU": lambda layer, p, x, _: F.selu(x),
    "Sigmoid": lambda layer, p, x, _: F.sigmoid(x), "Tanh": lambda layer, p, x, _: F.tanh(x),
    "Softplus": lambda layer, p, x, _: F.softplus(x), "SiLU": lambda layer, p, x, _: F.silu(x),
    "GELU": lambda layer, p, x, _: F.gelu(x, approximate="tanh" if layer.approximate else "none"),
    "Mish": lambda layer, p, x, _: F.mish(x),
    "Softmax": lambda layer, p, x, _: F.softmax(x, dim=-1),
}  # fmt: skip


def forward(layers: list[Layer], parameters: dict[Layer, Parameters], x: Tensor, training: bool) -> Tensor:
    for layer in layers:
        if isinstance(layer, Residual):
            x = x + forward(layer.layers, parameters, x, training)
        else:
            x = TWINS[type(layer).__name__](layer, parameters[layer], x, training)
    return x


def loss_of(spec: Any, logits: Tensor, y: Any) -> Tensor:
    name, options = (spec, {}) if isinstance(spec, str) else next(iter(spec.items()))
    target = torch.tensor(y, dtype=torch.int64 if np.ndim(y) == logits.ndim - 1 else torch.float64)
    logits, target = logits.flatten(0, -2), target.flatten(0, logits.ndim - 2)
    if name == "mean_squared_error":
        return F.mse_loss(logits, target)
    if name == "mean_absolute_error":
        return F.l1_loss(logits, target)
    if name == "huber":
        return F.huber_loss(logits, target, delta=options.get("delta", 1.0))
    if name == "binary_cross_entropy":
        e = options.get("label_smoothing", 0.0)
        return F.binary_cross_entropy_with_logits(logits, (1 - e) * target + e / 2)
    if name == "focal":
        p = torch.softmax(logits, dim=1)[torch.arange(len(target)), target]
        return (-((1 - p) ** options.get("gamma", 2.0)) * torch.log(p)).mean()
    weight = tensor(options["class_weights"]) if "class_weights" in options else None
    return F.cross_entropy(logits, target, weight, label_smoothing=options.get("label_smoothing", 0.0))


def copies(network: Any) -> dict[Layer, Parameters]:
    return {
        layer: {name: tensor(getattr(layer, name)).requires_grad_() for name in layer.parameters}
        for layer in network.walk()
    }


def flat(parameters: dict[Layer, Parameters]) -> list[Tensor]:
    return [p for named in parameters.values() for p in named.values()]


def compare_network(name: str) -> tuple[cases.Results, cases.Results]:
    ours, network = cases.run_network(name)
    _, X = cases.network(name)
    loss, y = cases.NETWORKS[name][2:]
    x, parameters = tensor(X).requires_grad_(), copies(network)
    outputs = forward(network.layers, parameters, x, training=True)
    value = loss_of(loss, outputs, y)
    value.backward()
    gradient = torch.cat([p.grad.flatten() for p in flat(parameters)] or [torch.zeros(0)])
    after = forward(network.layers, parameters, x, training=False)
    theirs = {"outputs": outputs, "loss": value, "gradient": gradient, "gradient of X": x.grad}
    if not torch.equal(after, outputs):  # most layers know no training
        theirs["outputs outside training"] = after
    return ours, {key: t.detach().numpy() for key, t in theirs.items()}


# Optimizers
def torch_optimizer(name: str, w: Tensor) -> torch.optim.Optimizer:
    ((kind, options),) = cases.OPTIMIZERS[name][0].items()
    options = {key: value for key, value in options.items() if not key.startswith("clip_")}
    decay = options.get("weight_decay", 0.01 if kind == "adamw" else 0.0)
    if kind in ("adam", "adamw"):
        betas = options.get("beta1", 0.9), options.get("beta2", 0.999)
        eps, amsgrad = options.get("eps", 1e-8), options.get("amsgrad", False)
        return torch.optim.AdamW([w], options["lr"], betas, eps, weight_decay=decay, amsgrad=amsgrad)
    if kind == "rmsprop":
        options["alpha"] = options.pop("rho", 0.99)
    made = {"sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad, "rmsprop": torch.optim.RMSprop}[kind]
    return made([w], **options)


def clip(name: str, w: Tensor) -> None:
    (options,) = cases.OPTIMIZERS[name][0].values()
    if "clip_norm" in options:
        torch.nn.utils.clip_grad_norm_([w], options["clip_norm"])
    if "clip_value" in options:
        torch.nn.utils.clip_grad_value_([w], options["clip_value"])


def compare_optimizer(name: str) -> tuple[cases.Results, cases.Results]:
    w, places = tensor(cases.START).requires_grad_(), {}
    optimizer = torch_optimizer(name, w)
    if cases.OPTIMIZERS[name][1]:
        weights, biases = (tensor(cases.START[cases.DECAYS == kind]).requires_grad_() for kind in (1, 0))
        group = optimizer.param_groups[0]
        group["params"] = [weights]
        optimizer.add_param_group({**group, "params": [biases], "weight_decay": 0.0})
        parts = [weights, biases]
    else:
        parts = [w]
    for step in range(1, max(cases.STEPS) + 1):
        g = cases.gradient(torch.cat(parts).detach().numpy())
        start = 0
        for part in parts:
            part.grad = tensor(g[start : start + len(part)])
            start += len(part)
        clip(name, w)
        optimizer.step()
        if step in cases.STEPS:
            places[f"step {step}"] = torch.cat(parts).detach().numpy().copy()
    return cases.run_optimizer(name), places


# Schedules
def torch_schedule(name: str, optimizer: torch.optim.Optimizer) -> Any:
    spec, made, n = cases.SCHEDULES[name], torch.optim.lr_scheduler, cases.EPOCHS
    kind, options = (spec, {}) if isinstance(spec, str) else next(iter(spec.items()))
    if kind == "step":
        return made.StepLR(optimizer, options["every"], options["rate"])
    if kind == "exponential":
        return made.ExponentialLR(optimizer, options["rate"])
    if kind == "cosine":
        return made.CosineAnnealingLR(optimizer, n, options.get("floor", 0.0))
    if kind == "cosine_restarts":
        n, floor = options["period"], options.get("floor", 0.0)
        return made.CosineAnnealingWarmRestarts(optimizer, n, options.get("growth", 1), floor)
    if kind == "polynomial":
        return made.PolynomialLR(optimizer, n, options.get("power", 1.0))
    if kind == "one_cycle":  # PyTorch counts its steps from 1, so that its rise ends at rise * steps - 1
        rise = (options.get("rise", 0.3) * n + 1) / (n + 1)
        divisors = options.get("start_divisor", 25), options.get("end_divisor", 1e4)
        return made.OneCycleLR(optimizer, 1.0, n + 1, None, None, rise, "cos", False, 0.85, 0.95, *divisors)
    if kind == "reduce_on_plateau":
        threshold, floor = options["threshold"], options["floor"]
        return made.ReduceLROnPlateau(
            optimizer, "min", options["rate"], options["patience"], threshold, min_lr=floor, eps=0
        )
    warmup = made.LinearLR(optimizer, 1 / options["epochs"], 1.0, options["epochs"] - 1)
    if "schedule" not in options:
        return warmup
    cosine = made.CosineAnnealingLR(optimizer, n - options["epochs"])
    return made.SequentialLR(optimizer, [warmup, cosine], [options["epochs"] - 1])


def compare_schedule(name: str) -> tuple[cases.Results, cases.Results]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, factors = torch_schedule(name, optimizer), []
    if name.startswith("warmup"):
        factors.append(0.0)  # we begin with 0, PyTorch one step later
    for t in range(cases.EPOCHS + 1):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(*([cases.PLATEAUS[t]] if name == "reduce_on_plateau" else []))
    return cases.run_schedule(name), {"factors": np.array(factors[: cases.EPOCHS + 1])}


# Training
def compare_training(_: str) -> tuple[cases.Results, cases.Results]:
    network, X, y = cases.training_data()
    parameters, (options,) = copies(network), cases.TRAINING_OPTIMIZER.values()
    everything = flat(parameters)
    weights = [named["W"] for named in parameters.values() if "W" in named]
    others = [p for p in everything if not any(p is w for w in weights)]
    groups = [{"params": weights, "weight_decay": options["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    optimizer, losses = torch.optim.AdamW(groups, lr=options["lr"]), []
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for _epoch in range(100):
        optimizer.zero_grad()
        value = F.cross_entropy(forward(network.layers, parameters, tensor(X), training=True), torch.tensor(y))
        value.backward()
        torch.nn.utils.clip_grad_norm_(everything, options["clip_norm"])
        optimizer.step()
        schedule.step()
        losses.append(value.item())
    theirs = torch.cat([p.detach().flatten() for p in everything]).numpy()
    return cases.run_training(), {"losses": np.array(losses), "weights": theirs}


def comparisons() -> Iterator[tuple[str, str, cases.Results, cases.Results]]:
    """Every case as (kind, name, ours, PyTorch's)."""
    for kind, names, compare in (
        ("network", cases.NETWORKS, compare_network),
        ("optimizer", cases.OPTIMIZERS, compare_optimizer),
        ("schedule", cases.SCHEDULES, compare_schedule),
        ("training", ["100 epochs"], compare_training),
    ):
        for name in names:
            yield kind, name, *compare(name)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max()) if ours.size else 0.0


def main() -> None:
    warnings.simplefilter("ignore")  # PyTorch's about its own calls
    golden: dict[str, dict[str, dict[str, Any]]] = {}
    worst = 0.0
    print(f"{'kind':<10} {'case':<36} {'compared':<24} {'worst difference':>16}")
    for kind, name, ours, theirs in comparisons():
        differences = {key: difference(ours[key], theirs[key]) for key in theirs}
        key = max(differences, key=lambda key: differences[key])
        wrong = not differences[key] <= LIMIT
        print(f"{kind:<10} {name:<36} {key:<24} {differences[key]:>16.1e}{'  WRONG' if wrong else ''}")
        worst = max(worst, float("inf") if wrong else differences[key])
        golden.setdefault(kind, {})[name] = {
            key: [float(f"{x:.{DIGITS}g}") for x in array.ravel()] for key, array in theirs.items()
        }
    if worst > LIMIT:
        sys.exit("\nThe library and PyTorch disagree; golden.json is left as it was.")
    text = re.sub(r"\[[^]]*]", lambda numbers: " ".join(numbers[0].split()), json.dumps(golden, indent=1))
    (HERE / "golden.json").write_text(text + "\n")
    print(f"\nAll agree within {worst:.1e}, the limit is {LIMIT:.0e}; golden.json is written.")


if __name__ == "__main__":
    main()
