"""Losses: the distance of the outputs from the targets, as a mean over the batch, and its gradient by the outputs.

Targets are class numbers (batch,) or a row of numbers for each sample (batch, n_outputs). ``targets`` checks them and
turns them into rows once, before training; ``forward`` and ``backward`` only do arithmetic.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .memory import aligned
from .parts import Shown, make
from .values import Array, as_numbers, check, check_below_1, check_positive, class_numbers, not_finite, of_type


class Loss(Shown):
    """The contract of all losses: ``forward(outputs, targets)`` is the value, ``backward()`` its gradient by outputs.

    Both arguments are (batch, n_outputs); ``targets`` makes the second. The gradient is a buffer that holds until
    the next ``forward``.
    """

    _arranged: tuple[Any, ...] = ()  # the shape and dtype that the present buffers are for
    includes = ""  # the name of the activation that the loss itself applies to the outputs
    always_classes = False  # whether a vector of targets holds class numbers even for a single output
    binary = False  # whether each output is a yes or a no of its own

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, tuple[int, ...], Any], Array] = {}

    def targets(self, y: Any, n_outputs: int, dtype: Any = np.float64) -> Array:
        """Check targets and turn them into the rows that ``forward`` takes.

        Args:
            y: class numbers (batch,) from 0 to n_outputs - 1, or rows (batch, n_outputs).

        Returns:
            rows (batch, n_outputs) in ``dtype``.

        Raises:
            ValueError: if they do not fit the loss or the outputs.
        """
        name = type(self).__name__
        y = as_numbers(y, f"{name}'s targets")
        if y.ndim == 1 and (n_outputs > 1 or self.always_classes):
            return self.table(n_outputs, dtype)[class_numbers(y, n_outputs, name)]
        if y.ndim == 1:
            y = y[:, None]
        if y.ndim != 2 or y.shape[1] != n_outputs:
            raise ValueError(
                f"{name} expects targets of shape (rows, {n_outputs}), or class numbers, got shape {y.shape}"
            )
        with np.errstate(over="ignore"):  # reported below
            rows = y.astype(dtype, order="C")
        if not np.isfinite(rows).all():
            raise ValueError(f"{name}: the targets hold {not_finite(y, dtype)}")
        return self._rows(rows)

    def table(self, n_outputs: int, dtype: Any = np.float64) -> Array:
        """The target row of each class: (n_outputs, n_outputs)."""
        return self._rows(np.eye(n_outputs, dtype=dtype))

    def floor(self, n_outputs: int) -> float:
        """The lowest value that is possible for class numbers, each class equally often; 0 without label smoothing."""
        return 0.0

    def _rows(self, rows: Array) -> Array:
        """Check and transform rows of targets, if the loss needs it."""
        return rows

    def forward(self, outputs: Array, targets: Array, sample_weight: Array | None = None) -> float:
        """The mean over the batch; with weights w (batch,), ``sum(w_i * loss_i) / sum(w_i)``, or 0 if all are 0."""
        self.compute(outputs, targets, sample_weight)
        return self.value()

    def compute(self, outputs: Array, targets: Array, sample_weight: Array | None = None) -> None:
        """The arithmetic of ``forward`` on arrays; a loss of one's own may define ``forward`` instead."""
        raise NotImplementedError

    def value(self) -> float:
        """The value that ``compute`` left."""
        raise NotImplementedError

    def row_weights(self, targets: Array, sample_weight: Array | None = None) -> Array | None:
        """How much each row counts in ``forward``, (batch,), for rows of targets; None: all the same.

        A loss that has weights of its own, such as weights of classes, multiplies them.
        """
        return sample_weight

    def backward(self) -> Array:
        """The gradient of the latest value by the outputs: (batch, n_outputs)."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Copy no buffers, so that a copy can be used in another thread."""
        return vars(self) | {"_buffers": {}, "_arranged": ()}

    def _check_shapes(self, outputs: Array, targets: Array) -> None:
        if outputs.shape != targets.shape or not len(outputs):
            raise ValueError(
                f"{type(self).__name__} expects rows of targets of the outputs' shape, which targets() makes, for at "
                f"least one row, got outputs of shape {outputs.shape} and targets of shape {targets.shape}"
            )

    def _buffer(self, name: str, like: Array, shape: tuple[int, ...] | None = None, fill: float | None = None) -> Array:
        key = (name, like.shape if shape is None else shape, like.dtype)
        found = self._buffers.get(key)
        if found is None:
            if len(self._buffers) >= _MOST_BUFFERS:
                self._buffers.clear()
            found = self._buffers[key] = aligned(key[1], like.dtype)
            if fill is not None:
                found.fill(fill)
        return found


_MOST_BUFFERS = 48
ROWS_GATHERED = 8192  # at once, of targets and of rows


class Targets:
    """The target rows of a training: ``targets[rows]`` gives those of some rows. Class numbers are stored as such.

    Raises:
        ValueError: as ``Loss.targets``.
    """

    def __init__(self, loss: Loss, y: Array, n_outputs: int, dtype: Any) -> None:
        self._classes: Array | None = None
        if y.ndim == 1 and (n_outputs > 1 or loss.always_classes):
            numbers = class_numbers(y, n_outputs, type(loss).__name__)
            self._classes = numbers.astype(np.min_scalar_type(n_outputs - 1), copy=False)
            y = np.arange(n_outputs)
        self._table, self._binary = loss.targets(y, n_outputs, dtype), loss.binary

    def __getitem__(self, rows: Any) -> Array:
        return self._table[rows] if self._classes is None else self._table.take(self._classes[rows], axis=0)

    def classes(self, rows: Any) -> Array:
        """The class of each of these rows; for rows of numbers, the index of the largest, or which are a yes."""
        if self._classes is not None:
            return self._classes[rows]
        return self._table[rows] > 0.5 if self._binary else self._table[rows].argmax(axis=-1)


def usual_weights(weight: Array) -> Array:
    """Weights in float64; very large and very small ones over their mean, so that they fit into float32.

    Their proportions count. Their size only matters to batch normalization, which takes their sum for a number of rows.
    """
    if 1e-6 < weight.max() < 1e6:
        return weight
    weight = weight / weight.max()  # now their sum is finite
    return weight / weight.mean()


class CrossEntropy(Loss):
    """Softmax and cross-entropy on logits z: ``loss = -sum_c t_c log softmax(z)_c = logsumexp(z) - sum_c t_c z_c``.

    ``dL/dz = (softmax(z) - t) / batch``. The row's maximum is subtracted from z first. The sum inside the logarithm is
    then at least 1, so no epsilon is needed.

    Args:
        label_smoothing: e in ``t' = (1 - e) t + e / classes`` (Szegedy et al. 2016, section 7).
        class_weights: w (classes,): ``loss = -sum_c w_c t_c log softmax(z)_c``. The mean over the batch is weighted
            with ``sum_c w_c t_c`` before smoothing, as in PyTorch for class numbers.
    """

    includes = "softmax"
    always_classes = True

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        check_below_1(self, label_smoothing=label_smoothing)
        if class_weights is not None:
            listed = not isinstance(class_weights, Mapping)
            check(listed, self, f"class_weights must list a number for each class in order, got {class_weights}")
            usable = len(class_weights) > 0 and all(np.isfinite(w) and w > 0 for w in class_weights)
            check(usable, self, f"class_weights must be numbers greater than 0, got {list(class_weights)}")
        self.label_smoothing, self.class_weights = label_smoothing, class_weights
        self._by_class = None if class_weights is None else usual_weights(np.asarray(class_weights, np.float64))

    def _rows(self, rows: Array) -> Array:
        name, e, n = type(self).__name__, self.label_smoothing, rows.shape[1]
        if (rows < 0).any() or not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
            raise ValueError(f"{name}: rows of targets must be probabilities that add up to 1")
        if self.class_weights is not None and len(self.class_weights) != n:
            raise ValueError(f"{name} has {len(self.class_weights)} class_weights for {n} outputs")
        return (1 - e) * rows + e / n if e else rows

    def floor(self, n_outputs: int) -> float:
        """The entropy of the smoothed targets, ``-sum_c t'_c log t'_c``: the loss where softmax(z) = t'.

        For a class number and n classes ``-(1 - e + e / n) log(1 - e + e / n) - (n - 1) (e / n) log(e / n)``. With
        weights of classes the minimum is at softmax(z) proportional to ``w_c t'_c``.
        """
        if not self.label_smoothing:
            return 0.0
        t = self.table(n_outputs)
        return self.forward(np.log(t * np.asarray(self.class_weights or 1.0)), t)

    def compute(self, outputs: Array, targets: Array, sample_weight: Array | None = None) -> None:
        self._check_shapes(outputs, targets)
        if self._arranged != (outputs.shape, outputs.dtype):
            self._arrange(outputs)
        weighted, scale = self._weigh(targets, sample_weight)
        z, p, t, ones, total, mass = outputs.T, self._p, self._t, self._ones, self._total, self._one_each
        t[...] = weighted.T
        self._even = weighted is targets  # then the targets of each row add up to 1
        if not self._even:
            mass = ones.dot(t, self._mass)
        np.subtract(z, np.maximum.reduce(z, axis=0, out=self._top), out=p)
        p.reshape(-1).dot(t.reshape(-1), self._linear)  # sum of t_c z_c
        np.exp(p, out=p)
        ones.dot(p, total)  # the sum over the classes, as a product
        p /= total  # softmax
        np.log(total, out=total).dot(mass, self._logarithms)
        self._scale = scale

    def value(self) -> float:
        return (float(self._logarithms) - float(self._linear)) * self._scale

    def backward(self) -> Array:
        grad, p = self._grad, self._p
        if not self._even:
            p = np.multiply(p, self._mass, out=grad)
        np.subtract(p, self._t, out=grad)
        grad *= self._scale
        return grad.T

    def _arrange(self, outputs: Array) -> None:
        """Get the buffers for a batch of this size, with a row for each class: a network's outputs have this order."""
        n, classes = outputs.shape
        self._p, self._t, self._grad = (self._buffer(name, outputs, (classes, n)) for name in ("p", "t", "grad"))
        self._top, self._total, self._mass = (self._buffer(name, outputs, (n,)) for name in ("top", "total", "mass"))
        self._one_each = self._buffer("one each", outputs, (n,), fill=1)
        self._ones = self._buffer("ones", outputs, (classes,), fill=1)
        self._linear, self._logarithms = (self._buffer(name, outputs, ()) for name in ("linear", "logarithms"))
        self._arranged = outputs.shape, outputs.dtype

    def row_weights(self, targets: Array, sample_weight: Array | None = None) -> Array | None:
        if self._by_class is None:
            return sample_weight
        w, e = self._by_class.astype(targets.dtype), self.label_smoothing
        weight = np.matmul(targets, w, out=self._buffer("row_weights", targets, targets.shape[:1]))
        weight -= e * w.mean()
        weight /= 1 - e  # the weight before smoothing
        return weight if sample_weight is None else np.multiply(weight, sample_weight, out=weight)

    def _weigh(self, targets: Array, sample_weight: Array | None) -> tuple[Array, float]:
        """The targets times the weights of their class and sample, and the reciprocal of the batch's weight."""
        weight, weighted = self.row_weights(targets, sample_weight), targets
        if weight is None:
            return targets, 1 / len(targets)
        for factor in (self._by_class, None if sample_weight is None else sample_weight[:, None]):
            if factor is not None:
                factor = np.asarray(factor, targets.dtype)
                weighted = np.multiply(weighted, factor, out=self._buffer("weighted", targets))
        return weighted, _reciprocal(float(weight.sum()))


def _reciprocal(weight: float) -> float:
    """``1 / weight``, or 0 for a batch whose rows all have the weight 0, which then changes nothing."""
    return 1 / weight if weight else 0.0


class Elementwise(Loss):
    """The base of losses that compare each output y with its target t: the mean of l(y, t) over batch and outputs.

    ``L = sum over i, j of l(y_ij, t_ij) / (batch * outputs)``, ``dL/dy_ij = l'(y_ij, t_ij) / (batch * outputs)``.
    """

    def _compare(self, y: Array, t: Array, value: Array, slope: Array) -> None:
        """Write l(y, t) into ``value`` and its derivative by y into ``slope``."""
        raise NotImplementedError

    def compute(self, outputs: Array, targets: Array, sample_weight: Array | None = None) -> None:
        self._check_shapes(outputs, targets)
        value, self._slope = self._buffer("value", outputs), self._buffer("slope", outputs)
        self._mean = self._buffer("mean", outputs, ())
        self._compare(outputs, targets, value, self._slope)
        if sample_weight is None:
            self._share: Any = 1 / outputs.size
            value.mean(out=self._mean)
            return
        self._share = share = self._buffer("share", outputs, (len(outputs), 1))
        np.multiply(sample_weight[:, None], _reciprocal(float(sample_weight.sum())) / outputs.shape[1], out=share)
        np.multiply(value, share, out=value).sum(out=self._mean)

    def value(self) -> float:
        return float(self._mean)

    def backward(self) -> Array:
        return np.multiply(self._slope, self._share, out=self._buffer("value", self._slope))


class MeanSquaredError(Elementwise):
    """``loss = mean over batch and outputs of (y - t)^2``, ``dL/dy = 2 (y - t) / (batch * outputs)``."""

    def _compare(self, y: Array, t: Array, value: Array, slope: Array) -> None:
        difference = np.subtract(y, t, out=slope)
        np.multiply(difference, difference, out=value)
        slope *= 2


class MeanAbsoluteError(Elementwise):
    """``loss = mean over batch and outputs of |y - t|``, ``dL/dy = sign(y - t) / (batch * outputs)``, 0 for y = t."""

    def _compare(self, y: Array, t: Array, value: Array, slope: Array) -> None:
        difference = np.subtract(y, t, out=value)
        np.sign(difference, out=slope)
        np.abs(difference, out=value)


class Huber(Elementwise):
    """``loss = mean over batch and outputs of l(y - t)``: squared near 0, absolute far away (Huber 1964).

    ``l(d) = d^2 / 2`` for ``|d| <= delta``, else ``delta (|d| - delta / 2)``. With ``c``, d clipped to between -delta
    and delta, ``l(d) = c (d - c / 2)`` and ``l'(d) = c``.
    """

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        check_positive(self, delta=delta)
        self.delta = delta

    def _compare(self, y: Array, t: Array, value: Array, slope: Array) -> None:
        difference = np.subtract(y, t, out=value)
        c = np.clip(difference, -self.delta, self.delta, out=slope)
        half = np.multiply(c, 0.5, out=self._buffer("half", c))
        difference -= half
        value *= c


class BinaryCrossEntropy(Elementwise):
    """Sigmoid and cross-entropy on logits z, for outputs that are each a yes or a no: 1 or 0, or a number between.

    ``l = -t log s(z) - (1 - t) log(1 - s(z)) = max(z, 0) - z t + log(1 + exp(-|z|))`` with ``s(z) = 1 / (1 + exp(-z))``
    is the second form, which cannot overflow; ``l' = s(z) - t``. The loss is the mean over batch and outputs.

    Class numbers count as rows with a 1 for the class and 0 for the others.

    Args:
        label_smoothing: e in ``t' = (1 - e) t + e / 2``.
    """

    binary = True
    includes = "sigmoid"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        check_below_1(self, label_smoothing=label_smoothing)
        self.label_smoothing = label_smoothing

    def _rows(self, rows: Array) -> Array:
        if (rows < 0).any() or (rows > 1).any():
            raise ValueError(f"{type(self).__name__}: the targets must be numbers from 0 to 1")
        e = self.label_smoothing
        return (1 - e) * rows + e / 2 if e else rows

    def floor(self, n_outputs: int) -> float:
        """The entropy of a smoothed target: ``-(e / 2) log(e / 2) - (1 - e / 2) log(1 - e / 2)``."""
        if not self.label_smoothing:
            return 0.0
        t = self.table(n_outputs)
        return self.forward(np.log(t / (1 - t)), t)

    def _compare(self, y: Array, t: Array, value: Array, slope: Array) -> None:
        rest, product = np.abs(y, out=self._buffer("rest", y)), self._buffer("product", y)
        np.exp(np.negative(rest, out=rest), out=rest)  # exp(-|z|)
        np.exp(np.minimum(y, 0, out=slope), out=slope)
        slope /= np.add(rest, 1, out=product)  # s(z)
        slope -= t
        np.maximum(y, 0, out=value)
        value -= np.multiply(y, t, out=product)
        value += np.log1p(rest, out=rest)


class FocalLoss(Loss):
    """``loss = -sum_c t_c (1 - p_c)^gamma log p_c``, p = softmax(z): easy samples count less (Lin et al. 2017, eq. 4).

    With ``h_c = dloss/dlog p_c = t_c (gamma (1 - p_c)^(gamma - 1) p_c log p_c - (1 - p_c)^gamma)`` the gradient is
    ``dL/dz = (h - p sum(h)) / batch``, because ``dlog p_c / dz_j = [c = j] - p_j``.

    Args:
        gamma: how much less easy samples count; 0 is the cross-entropy.
    """

    includes = "softmax"
    always_classes = True

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        check(gamma >= 0, self, f"gamma must be at least 0, got {gamma}")
        self.gamma = gamma

    def forward(self, outputs: Array, targets: Array, sample_weight: Array | None = None) -> float:
        self._check_shapes(outputs, targets)
        log_p, p, rest, power, value = (
            self._buffer(name, outputs) for name in ("log_p", "p", "rest", "power", "value")
        )
        total, share = (self._buffer(name, outputs, (len(outputs), 1)) for name in ("total", "share"))
        top = np.maximum.reduce(outputs, axis=1, keepdims=True, out=self._buffer("top", outputs, share.shape))
        np.subtract(outputs, top, out=log_p)
        np.sum(np.exp(log_p, out=p), axis=1, keepdims=True, out=total)
        log_p -= np.log(total, out=total)
        np.exp(log_p, out=p)
        np.negative(np.expm1(log_p, out=rest), out=rest)  # 1 - p, exact near p = 1
        np.maximum(rest, np.finfo(rest.dtype).tiny, out=rest)
        np.power(rest, self.gamma, out=power)
        share[...] = 1 if sample_weight is None else sample_weight[:, None]
        share *= _reciprocal(float(share.sum()))
        self._log_p, self._p, self._rest, self._power = log_p, p, rest, power
        self._share, self._targets = share, targets
        np.multiply(power, log_p, out=value)
        value *= targets
        value *= share
        return -float(value.sum())

    def backward(self) -> Array:
        h, p = self._buffer("h", self._p), self._p
        np.power(self._rest, self.gamma - 1, out=h)
        h *= self.gamma
        h *= p
        h *= self._log_p
        h -= self._power
        h *= self._targets
        total = np.sum(h, axis=1, keepdims=True, out=self._buffer("total", p, (len(p), 1)))
        h -= np.multiply(p, total, out=self._buffer("value", p))
        h *= self._share
        return h


LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "focal": FocalLoss,
    "mean_squared_error": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
}


def make_loss(spec: Any, **defaults: Any) -> Loss:
    """A loss from its name, from ``{"name": {option: value}}``, or the object itself."""
    return of_type(Loss, "loss", make("loss", LOSSES, spec, **defaults))
