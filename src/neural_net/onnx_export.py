"""Networks in the ONNX format, which other runtimes and languages read.

Each layer becomes one or a few nodes of the graph: see ``_EXPORTS``. A part of your own exports itself: give it the
method ``to_onnx(graph, x) -> name``, which adds its nodes to ``graph`` and returns the name of its output. Only
``to_onnx`` needs the package ``onnx``, and imports it only when called.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .activations import (
    ELU,
    GELU,
    SELU,
    Identity,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .answers import to_probabilities
from .convolution import AveragePool1D, Conv1D, MaxPool1D, Pool1D
from .layer import Layer
from .layers import Chain, Dropout, Flatten, Linear, Reshape, Residual
from .network import Network
from .normalization import BatchNorm, LayerNorm
from .values import Array, as_numbers, check, check_positive, of_type

OPSET = 20  # the operators of ONNX 1.15, of which GELU is the newest
IR_VERSION = 9


class Graph:
    """The nodes and constants of an ONNX graph under construction. Everything is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add an array; returns its name."""
        from onnx import numpy_helper

        name = f"constant{len(self.constants) + 1}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        from onnx import helper

        name = f"{operator.lower()}{len(self.nodes) + 1}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name


def to_onnx(
    network: Network,
    path: str | Path | None = None,
    *,
    scaling: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
    temperature: float = 1.0,
    probabilities: bool = True,
) -> Any:
    """A built network as an ONNX model (``onnx.ModelProto``), in float32.

    Its input ``X`` is (rows, *shape_in). Its output is ``probabilities``, (rows, *shape_out), those of
    ``Network.predict_proba``. If the network has classes, the model's metadata holds ``classes``, their list as JSON.

    Args:
        network: its parameters and running statistics are copied.
        path: also write the model to this file.
        scaling: the middle and the half width of the inputs' range, for networks trained on (X - middle) / half; two
            numbers, or arrays with a number for each input, such as a StandardScaler's ``mean_`` and ``scale_``.
        temperature: what the logits are divided by first.
        probabilities: False: the output is ``outputs``, as ``Network.outputs`` has it. Networks without probabilities
            need this.

    Raises:
        ImportError: if the package onnx is not installed.
        ValueError: if the network is not built or has no probabilities, for an option that cannot be, or if a part in
            the network cannot be exported; the message names the part.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError("to_onnx needs the package onnx: pip install onnx") from None
    if not of_type(Network, "network", network).built:
        raise ValueError("the network has no sizes yet; build it, or give it its first data, and export it then")
    check_positive(network, temperature=temperature)
    middle, half = (as_numbers(part, "scaling") for part in scaling)
    fits = all(part.shape in ((), network.shape_in) for part in (middle, half)) and (half > 0).all()
    check(bool(fits), network, f"scaling must be the middle and the half width, greater than 0, got {scaling}")
    operations: tuple[str, ...] = ()
    if probabilities:
        try:
            operations = to_probabilities(network)
        except ValueError as error:
            raise ValueError(f"{error}; to_onnx(..., probabilities=False) exports the outputs") from None
        if temperature != 1 and not operations:
            raise ValueError("a temperature divides logits, and this network ends in softmax")
    graph, name = Graph(), "X"
    if middle.any() or (half != 1).any():
        name = graph.node("Div", graph.node("Sub", name, graph.constant(middle)), graph.constant(half))
    name = _export(graph, network.chain, name)
    if temperature != 1:
        name = graph.node("Div", name, graph.constant(temperature))
    for operation in operations:
        name = _OPERATIONS[operation](graph, name)
    graph.node("Identity", name)
    result = "probabilities" if probabilities else "outputs"
    graph.nodes[-1].output[0] = result
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "network",
            [onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, ["rows", *network.shape_in])],
            [onnx.helper.make_tensor_value_info(result, onnx.TensorProto.FLOAT, ["rows", *network.chain.shape_out])],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="neural_net",
    )
    if network.classes is not None:
        onnx.helper.set_model_props(model, {"classes": json.dumps(network.classes.tolist())})
    onnx.checker.check_model(model, full_check=True)
    if path is not None:
        Path(path).write_bytes(model.SerializeToString())
    return model


def _export(graph: Graph, layer: Layer, x: str) -> str:
    """Add the nodes of one layer, whose input has the name ``x``; returns the name of its output."""
    part = getattr(layer, "user", layer)
    if hasattr(part, "to_onnx"):
        return str(part.to_onnx(graph, x))
    if type(part) not in _EXPORTS:  # a subclass may compute something else than its base
        remedy = f"give {type(part).__name__} the method to_onnx(graph, x)"
        raise ValueError(f"{layer.name} cannot be exported to ONNX; {remedy}")
    return _EXPORTS[type(part)](graph, layer, x)


def _chain(graph: Graph, layer: Chain, x: str) -> str:
    for inner in layer.layers:
        x = _export(graph, inner, x)
    return x


def _linear(graph: Graph, layer: Linear, x: str) -> str:
    product = graph.node("MatMul", x, graph.constant(layer.W))
    return graph.node("Add", product, graph.constant(layer.b)) if layer.use_bias else product


def _reshape(graph: Graph, layer: Layer, x: str) -> str:
    return graph.node("Reshape", x, graph.constant([-1, *layer.shape_out], np.int64))


def _channels_first(graph: Graph, operator: str, x: str, *constants: str, **attributes: Any) -> str:
    """A node that wants (batch, channels, length) between two exchanges of the axes."""
    path = graph.node("Transpose", x, perm=[0, 2, 1])
    return graph.node("Transpose", graph.node(operator, path, *constants, **attributes), perm=[0, 2, 1])


def _conv1d(graph: Graph, layer: Conv1D, x: str) -> str:
    constants = [graph.constant(layer.W.transpose(2, 1, 0))]
    constants += [graph.constant(layer.b)] if layer.use_bias else []
    pads = [layer._before, layer._length_padded - layer._before - layer.shape_in[0]]
    return _channels_first(graph, "Conv", x, *constants, strides=[layer.stride], dilations=[layer.dilation], pads=pads)


def _pool(operator: str) -> Callable[[Graph, Pool1D, str], str]:
    def export(graph: Graph, layer: Pool1D, x: str) -> str:
        padding = {"same": "SAME_UPPER", "valid": "VALID"}[layer.padding]
        strides = [layer.stride or layer.size]
        return _channels_first(graph, operator, x, kernel_shape=[layer.size], strides=strides, auto_pad=padding)

    return export


def _batch_norm(graph: Graph, layer: BatchNorm, x: str) -> str:
    slope: Array = layer.gamma / np.sqrt(layer.state["variance"] + layer.eps)
    shift = layer.beta - layer.state["mean"] * slope
    return graph.node("Add", graph.node("Mul", x, graph.constant(slope)), graph.constant(shift))


def _layer_norm(graph: Graph, layer: LayerNorm, x: str) -> str:
    gamma, beta = graph.constant(layer.gamma), graph.constant(layer.beta)
    return graph.node("LayerNormalization", x, gamma, beta, axis=-1, epsilon=layer.eps)


def _unchanged(graph: Graph, layer: Layer, x: str) -> str:
    return x


def _as(operator: str, **attributes: Any) -> Callable[[Graph, Any, str], str]:
    """An activation that is an operator of ONNX. ``slope="alpha"`` passes the option ``slope`` on as ``alpha``."""

    def export(graph: Graph, layer: Any, x: str) -> str:
        values = {theirs: getattr(layer, ours) for theirs, ours in attributes.items()}
        return graph.node(operator, x, **values)

    return export


_OPERATIONS: dict[str, Callable[[Graph, str], str]] = {  # of ``answers.TASKS``
    "softmax": lambda graph, x: graph.node("Softmax", x, axis=-1),
    "sigmoid": lambda graph, x: graph.node("Sigmoid", x),
    "log_sigmoid": lambda graph, x: graph.node("Neg", graph.node("Softplus", graph.node("Neg", x))),
}
_EXPORTS: dict[type, Callable[[Graph, Any, str], str]] = {
    Chain: _chain,
    Residual: lambda graph, layer, x: graph.node("Add", x, _chain(graph, layer, x)),
    Linear: _linear,
    Reshape: _reshape,
    Flatten: _reshape,
    Dropout: _unchanged,
    Conv1D: _conv1d,
    MaxPool1D: _pool("MaxPool"),
    AveragePool1D: _pool("AveragePool"),
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    Identity: _unchanged,
    ReLU: _as("Relu"),
    LeakyReLU: _as("LeakyRelu", alpha="slope"),
    ELU: _as("Elu", alpha="alpha"),
    SELU: _as("Selu", alpha="alpha", gamma="scale"),
    Sigmoid: _as("Sigmoid"),
    Tanh: _as("Tanh"),
    Softplus: _as("Softplus"),
    SiLU: lambda graph, layer, x: graph.node("Mul", x, graph.node("Sigmoid", x)),
    GELU: lambda graph, layer, x: graph.node("Gelu", x, approximate="tanh" if layer.approximate else "none"),
    Mish: _as("Mish"),
    Softmax: lambda graph, layer, x: graph.node("Softmax", x, axis=-1),
}
