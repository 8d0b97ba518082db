"""The place for parts of your own: an activation, layer, loss or optimizer that params.yaml can name.

``make gradcheck`` checks their gradients beside ours. See docs/custom.md.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neural_net import register_activation


@register_activation("squareplus")
class SquarePlus:
    """``y = (z + sqrt(z^2 + b)) / 2``: a smooth ReLU that needs no exponential (Barron 2021).

    ``dy/dz = (1 + z / sqrt(z^2 + b)) / 2 = y / sqrt(z^2 + b)``.

    Args:
        b: how wide the bend at 0 is, at least 0; 0 is ReLU.
    """

    check_with = [{"b": 0.5}]
    suited_init = "he_normal"

    def __init__(self, b: float = 4.0) -> None:
        self.b = b

    def Forward_prop(self, Z: NDArray) -> NDArray:
        self.root = np.sqrt(Z * Z + self.b)
        self.Y = (Z + self.root) / 2
        return self.Y

    def Backward_prop(self, dA: NDArray) -> NDArray:
        return dA * self.Y / self.root

    def to_onnx(self, graph: Any, x: str) -> str:
        """The same formula in the operators of ONNX, for ``make export``; leave it out if you do not need that."""
        root = graph.node("Sqrt", graph.node("Add", graph.node("Mul", x, x), graph.constant(self.b)))
        return graph.node("Mul", graph.node("Add", x, root), graph.constant(0.5))
