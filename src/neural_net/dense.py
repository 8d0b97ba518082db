"""The layers of a network from the widths of its hidden layers, as params.yaml and the estimators give them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .activations import make_activation
from .layer import Layer
from .layers import Linear, Residual, make_layer


def dense_layers(
    hidden_layers: Sequence[Any],
    n_out: int,
    activation: Any = "relu",
    *,
    init: str = "auto",
    normalization: str | None = None,
    dropout: float = 0.0,
    residual: bool = False,
) -> list[Layer]:
    """The layers of a network, from the widths of its hidden layers.

    Args:
        hidden_layers: an integer n stands for ``linear(n)``, ``normalization``, the activation and ``dropout``; the
            word ``activation`` for the activation alone, for use after a convolution. Anything else is a layer, as
            ``make_layer`` takes it.
        n_out: the number of outputs of the last layer, which is linear.
        activation: one for all hidden layers, or a list with one for each integer and each ``activation``.
        init: the initializer of all linear layers.
        normalization: ``batch_norm``, ``layer_norm`` or None.
        dropout: the rate of the dropout; 0 adds none.
        residual: make each hidden layer that is as wide as the one before it a residual block.

    Raises:
        ValueError: if the number of activations is wrong, or a name is unknown.
    """
    listed = isinstance(hidden_layers, Iterable) and not isinstance(hidden_layers, str | Mapping)
    if not listed:
        raise ValueError(f"hidden_layers must be a list of widths or layers, such as [64], got {hidden_layers!r}")
    n_places = sum(isinstance(width, int | np.integer) or width == "activation" for width in hidden_layers)
    activations = list(activation) if isinstance(activation, list | tuple) else [activation] * n_places
    if len(activations) != n_places:
        raise ValueError(
            f"activation lists {len(activations)} names for {n_places} hidden layers; give one for each, or one for all"
        )
    layers: list[Layer] = []
    width_before, remaining = None, iter(activations)
    for width in hidden_layers:
        if not isinstance(width, int | np.integer):
            layers.append(make_activation(next(remaining)) if width == "activation" else make_layer(width))
            width_before = None
            continue
        block: list[Layer] = [Linear(int(width), init=init)]
        block += [make_layer(normalization)] if normalization else []
        block += [make_activation(next(remaining))]
        block += [make_layer({"dropout": {"rate": dropout}})] if dropout else []
        layers += [Residual(block)] if residual and width == width_before else block
        width_before = width
    return [*layers, Linear(n_out, init=init)]
