"""Batch and layer normalization."""

from typing import Any

import numpy as np

from .layer import Layer
from .values import Array, Shape, check_below_1, check_positive


class Normalization(Layer):
    """The base of batch and layer normalization: ``y = gamma * xhat + beta``, ``xhat = (x - mean) / sqrt(var + eps)``.

    gamma and beta have one number for each feature (the last axis); mean and var are taken over ``_axes``.

    With ``g = gamma * dL/dy`` the gradient is ``dL/dx = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps)``. With
    weights of rows, mean and var are weighted, and each mean in the gradient becomes the sum times the row's share.
    """

    passing = ("batch", "xhat", "y", "deviation", "share")
    batch: Shape = ()  # the shape of the batches that the present buffers are for
    share: Array | None = None  # (batch, 1, ...) of each row in mean and var; None: all the same
    eps: float
    gamma: Array
    beta: Array
    dgamma: Array
    dbeta: Array

    def _shapes(self, shape_in: Shape) -> Shape:
        self.declare("gamma", shape_in[-1:], "ones")
        self.declare("beta", shape_in[-1:], "zeros")
        return shape_in

    def _axes(self, x: Array) -> tuple[int, ...]:
        raise NotImplementedError

    def _over(self, reduce: Any, name: str, x: Array) -> Array:
        """The sum or mean over ``_axes``, which stay as axes of length 1, in the buffer of that name."""
        axes = self._axes(x)
        shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
        return reduce(x, axis=axes, keepdims=True, out=self.buffer(name, shape))

    def _mean(self, name: str, x: Array) -> Array:
        if self.share is None:
            return self._over(np.mean, name, x)
        return self._over(np.sum, name, np.multiply(x, self.share, out=self.buffer("weighted", x.shape)))

    def _level(self, name: str, grad: Array) -> Array:
        """What the mean of ``grad`` is for rows that count the same: the sum times each row's share."""
        if self.share is None:
            return self._over(np.mean, name, grad)
        total = self._over(np.sum, name, grad)
        return np.multiply(total, self.share, out=self.buffer(f"{name} of rows", (len(grad), *total.shape[1:])))

    def _statistics(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance over ``_axes``."""
        mean = self._mean("mean", x)
        squares = np.subtract(x, mean, out=self.buffer("product", x.shape))
        squares *= squares
        return mean, self._mean("variance", squares)

    def _normalize(self, x: Array, mean: Array, variance: Array) -> Array:
        self.deviation = deviation = np.add(variance, self.eps, out=self.buffer("deviation", variance.shape))
        np.sqrt(deviation, out=deviation)  # sqrt(var + eps)
        if x.shape != self.batch:
            self.batch, self.xhat, self.y = x.shape, self.buffer("xhat", x.shape), self.output(x.shape)
        xhat = np.subtract(x, mean, out=self.xhat)
        xhat /= deviation
        y = np.multiply(xhat, self.gamma, out=self.y)
        y += self.beta
        return y

    def forget(self) -> None:
        super().forget()
        self.batch = ()

    def _backward(self, grad_out: Array, through_statistics: bool) -> Array:
        """The gradient by x; mean and variance count as constants unless they were computed from x."""
        features = tuple(range(grad_out.ndim - 1))
        product = np.multiply(grad_out, self.xhat, out=self.buffer("product", grad_out.shape))
        product.sum(axis=features, out=self.dgamma)
        grad_out.sum(axis=features, out=self.dbeta)
        grad = np.multiply(grad_out, self.gamma, out=self.buffer("grad_in", grad_out.shape))  # g
        if through_statistics:
            slope = self._level("slope", np.multiply(grad, self.xhat, out=product))  # mean(g * xhat)
            grad -= self._level("level", grad)
            grad -= np.multiply(self.xhat, slope, out=product)
        grad /= self.deviation
        return grad


class BatchNorm(Normalization):
    """Normalize each feature over the batch, and over the points of a path (Ioffe and Szegedy 2015).

    Training uses the batch's mean and variance, and updates the running ones: ``running = momentum * running + (1 -
    momentum) * batch's`` (with the unbiased variance, as in PyTorch). Prediction uses the running ones. They are saved
    with the network but not trained. A batch with one number for each feature has no variance: it uses the running ones
    too, and does not change them; so does a frozen layer. A row of weight 2 counts as a row that comes twice.
    """

    repeatable = False  # it has running statistics
    by_batch = False  # whether the latest batch was normalised by its own statistics

    def __init__(self, momentum: float = 0.9, eps: float = 1e-5) -> None:
        super().__init__()
        check_below_1(self, momentum=momentum)
        check_positive(self, eps=eps)
        self.momentum, self.eps = momentum, eps

    def bind(self, params: Array, grads: Array) -> None:
        super().bind(params, grads)
        features = self.parameters["gamma"].shape
        self.state = {"mean": np.zeros(features, self.dtype), "variance": np.ones(features, self.dtype)}

    def _axes(self, x: Array) -> tuple[int, ...]:
        return tuple(range(x.ndim - 1))

    def forward(self, x: Array, training: bool = False) -> Array:
        n = self._count(x) if training and self.trainable else 0.0
        if self.by_batch != (n > 1):
            self.by_batch = n > 1
        if not self.by_batch:
            return self._normalize(x, self.state["mean"], self.state["variance"])
        mean, variance = self._statistics(x)
        unbiased = variance * (n / (n - 1))
        for name, latest in (("mean", mean), ("variance", unbiased)):
            self.state[name] *= self.momentum
            self.state[name] += (1 - self.momentum) * latest.reshape(-1)
        return self._normalize(x, mean, variance)

    def _count(self, x: Array) -> float:
        """The numbers for each feature, and in ``share`` how much of the statistics each row makes up."""
        numbers, weight = x.size // x.shape[-1], self.row_weight
        if self.share is not None:
            self.share = None
        if weight is None:
            return numbers
        points, rows, mass = numbers // len(x), float(np.count_nonzero(weight)), float(weight.sum())
        if rows * points > 1:
            share = np.divide(weight, mass * points, out=self.buffer("share", weight.shape))
            self.share = share.reshape(-1, *[1] * (x.ndim - 1))
            rows = max(rows, mass)  # all weights may be small numbers
        return rows * points

    def backward(self, grad_out: Array) -> Array:
        return self._backward(grad_out, through_statistics=self.by_batch)


class LayerNorm(Normalization):
    """``y = gamma * (x - mean) / sqrt(var + eps) + beta`` with the mean and variance of each sample's last axis.

    Training and prediction are the same (Ba et al. 2016). On a path, each point is normalized over its channels.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        check_positive(self, eps=eps)
        self.eps = eps

    def _axes(self, x: Array) -> tuple[int, ...]:
        return (x.ndim - 1,)

    def forward(self, x: Array, training: bool = False) -> Array:
        return self._normalize(x, *self._statistics(x))

    def backward(self, grad_out: Array) -> Array:
        return self._backward(grad_out, through_statistics=True)
