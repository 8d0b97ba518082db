"""The pieces of a recorded step (``step.py``): a run of layers, the loss, and the optimizer's change.

Each is recorded once, compared with the plain code in two further steps, and then repeated.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .capture import Call, NotRepeatableError, Tape, Traced
from .layer import Layer
from .layers import backward_parameters, link
from .losses import Loss
from .optimizers import Optimizer
from .over_steps import gradient
from .parts import is_ours
from .values import Array

COMPARISONS = 2


def is_repeatable(layer: Layer) -> bool:
    return all(part.repeatable and is_ours(part) for part in layer.walk())


class Recording:
    """A piece of the step: it is recorded once, compared with the plain code, and then repeated.

    Attributes:
        comparisons: how often both agreed; None: they did not, or no recording can be made.
        used: whether the recording takes the place of the plain code.
    """

    comparisons: int | None = -1
    used = False

    def __init__(self) -> None:
        self.tape, self.buffers = Tape(), list[Array]()

    def trace_buffers(self, part: Any, method: str) -> None:
        """Let the buffers that a part makes with this method be traced ones."""
        make = getattr(part, method)

        def traced(*args: Any, fill: float | None = None, **options: Any) -> Any:
            buffer = make(*args, fill=fill, **options)
            if fill is None:
                self.buffers.append(buffer)
            return self.tape.trace(buffer)

        vars(part)[method] = traced

    def record(self, piece: Callable[..., Any], *places: Any) -> tuple[list[Call], Any]:
        """The calls of ``piece(*places)``, and the array that it returns."""
        self.tape.calls = []
        result = piece(*map(self.tape.trace, places))
        return self.tape.calls, None if result is None else result.view(np.ndarray)

    def spoil(self) -> None:
        """Fill the buffers with NaN: a recording that lacks a call then gives another result."""
        for buffer in self.buffers:
            buffer.fill(np.nan)

    def agree(self, *pairs: tuple[Any, Any]) -> bool:
        """Whether what was recorded and what the plain code made are the same bits; if not, never use the recording."""
        same = all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)
        if not same:
            self.comparisons = None
        return same

    def count(self) -> None:
        """After a step: it was another comparison."""
        if self.comparisons is not None:
            self.comparisons += 1
            self.used = self.comparisons == COMPARISONS


class RecordedLayers(Recording):
    """Layers of the network that follow each other, with their parts of ``params`` and ``grads``.

    Args:
        before: the layer before them; None: they are the network's first.
    """

    grad: Any = None
    entry: Array  # where a batch is put
    x: Array
    y: Array
    grad_in: Any
    forward_calls: list[Call]
    backward_calls: list[Call]

    def __init__(self, layers: Sequence[Layer], params: Array, grads: Array, before: Layer | None) -> None:
        super().__init__()
        self.layers, self.params, self.grads, self.first = layers, params, grads, before is None
        self.ours_before = before is not None and is_ours(before)

    def forward(self, x: Array, training: bool = True) -> Array:
        if self.used:
            if x is not self.x:
                np.copyto(self.entry, x)
            for call in self.forward_calls:
                call()
            return self.y
        y = _forward(self.layers, x)
        if self.comparisons is not None:
            try:
                self._try_forward(x)
                self.agree((self.y, y))
            except NotRepeatableError:
                self.comparisons = None
        return y

    def backward(self, grad: Array) -> Any:
        if self.used:
            if grad is not self.grad:
                np.copyto(self.grad, grad)
            for call in self.backward_calls:
                call()
            return self.grad_in
        grad_in = _backward(self.layers, grad, self.first)
        if self.comparisons is not None:
            filled = self.grads.copy()
            try:
                self._try_backward(grad)
                self.agree((self.grads, filled), (self.grad_in, grad_in))
            except NotRepeatableError:
                self.comparisons = None
            self.grads[...] = filled
            self.count()
            if self.used and self.first:
                self.entry = _entry(self.x, self.forward_calls, self.backward_calls)
        return grad_in

    backward_parameters = backward  # the first layers leave out the gradient by their input

    def _try_forward(self, x: Array) -> None:
        if self.comparisons == -1:
            self.x = self.entry = x if self.ours_before else x.copy(order="K")
            self.twins = list(self._twins())
            link(self.twins)
            self.forward_calls, self.y = self.record(functools.partial(_forward, self.twins), self.x)
            return
        self.spoil()
        np.copyto(self.x, x)
        for call in self.forward_calls:
            call()

    def _try_backward(self, grad: Array) -> None:
        if self.comparisons == -1:
            if self.grad is None or self.grad.strides != grad.strides:
                self.grad = grad.copy(order="K")
            piece = functools.partial(_backward, self.twins, first=self.first)
            self.backward_calls, self.grad_in = self.record(piece, self.grad)
            return
        self.grads.fill(np.nan)
        np.copyto(self.grad, grad)
        for call in self.backward_calls:
            call()

    def spoil(self) -> None:
        super().spoil()
        for part in (part for twin in self.twins for part in twin.walk()):
            for (name, *_), place in part._buffers.items():
                if name == "inputs":  # the layer before writes there
                    np.asarray(place).fill(np.nan)

    def _twins(self) -> Iterator[Layer]:
        """The layers once more, over the same parameters, with traced arrays."""
        start = 0
        for layer in self.layers:
            twin, stop = layer.twin(), start + layer.n_parameters
            for part in twin.walk():
                self.trace_buffers(part, "buffer")
            twin.bind(self.tape.trace(self.params[start:stop]), self.tape.trace(self.grads[start:stop]))
            yield twin
            start = stop


class RecordedLoss(Recording):
    """The loss of rows that all count the same."""

    grad: Any = None
    entry: Array  # where the targets are put
    outputs: Array
    targets: Array
    forward_calls: list[Call]
    backward_calls: list[Call]

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss
        if not is_ours(loss) or type(loss).forward is not Loss.forward:
            self.comparisons = None

    def forward(self, outputs: Array, targets: Array, weight: Array | None, last: Any) -> float:
        if self.used:
            if outputs is not self.outputs:
                np.copyto(self.outputs, outputs)
            np.copyto(self.entry, targets)
            for call in self.forward_calls:
                call()
            return self.twin.value()
        value, self.given = self.loss.forward(outputs, targets, weight), outputs
        if weight is not None:
            self.comparisons = None
        if self.comparisons is not None:
            try:
                self._try_forward(outputs, targets, last)
                self.agree((self.twin.value(), value))
            except NotRepeatableError:
                self.comparisons = None
        return value

    def backward(self) -> Any:
        if self.used:
            for call in self.backward_calls:
                call()
            return self.grad
        grad = gradient(self.loss, self.given)
        if self.comparisons is not None:
            for call in self.backward_calls:
                call()
            self.agree((self.grad, grad))
            self.count()
            if self.used:
                self.entry = _entry(self.targets, self.forward_calls, self.backward_calls)
        return grad

    def _try_forward(self, outputs: Array, targets: Array, last: Any) -> None:
        if self.comparisons == -1:
            recorded = isinstance(last, RecordedLayers) and last.comparisons is not None
            self.outputs, self.targets = last.y if recorded else outputs.copy(order="K"), targets.copy(order="K")
            self.twin = copy.copy(self.loss)
            self.trace_buffers(self.twin, "_buffer")
            self.forward_calls, _ = self.record(self.twin.compute, self.outputs, self.targets)
            self.backward_calls, self.grad = self.record(self.twin.backward)
            for name, kept in vars(self.twin).items():  # ``value`` reads them
                vars(self.twin)[name] = kept.view(np.ndarray) if isinstance(kept, Traced) else kept
            return
        self.spoil()
        np.copyto(self.outputs, outputs)
        np.copyto(self.targets, targets)
        for call in self.forward_calls:
            call()


class RecordedChange(Recording):
    """The optimizer's change of the parameters."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__()
        self.optimizer = optimizer
        if not is_ours(optimizer):
            self.comparisons = None

    def step(self, params: Array, grads: Array, decays: Array, factor: float, trained: Any) -> None:
        optimizer = self.optimizer
        left, rates = optimizer._begin(params, grads, decays, factor, trained)
        if self.used and optimizer._blocks is self.blocks:
            self._set(left, rates)
            for call in self.calls:
                call()
        elif self.comparisons is None or self.used:
            optimizer._change(optimizer._blocks, left, rates)
        else:
            changed = (params, *optimizer.state.values())
            before = [array.copy() for array in changed]
            optimizer._change(optimizer._blocks, left, rates)
            after = [array.copy() for array in changed]
            for array, content in zip(changed, before, strict=True):
                array[...] = content
            try:
                self._try(left, rates)
                self.agree(*zip(changed, after, strict=True))
            except NotRepeatableError:
                self.comparisons = None
            for array, content in zip(changed, after, strict=True):
                array[...] = content
            self.count()
        optimizer._end()

    def _set(self, left: float, rates: Mapping[str, float]) -> None:
        self.left[...] = left
        for name, rate in rates.items():
            self.rates[name][...] = rate

    def _try(self, left: float, rates: Mapping[str, float]) -> None:
        blocks, trace = self.optimizer._blocks, self.tape.trace
        if self.comparisons == -1:
            self.blocks, dtype = blocks, blocks[0][0].dtype
            self.left, self.rates = np.empty((), dtype), {name: np.empty((), dtype) for name in rates}
            self._set(left, rates)
            traced = [
                (
                    trace(p),
                    trace(g),
                    [trace(part) for part in d],
                    {n: trace(kept) for n, kept in state.items()},
                )
                for p, g, d, state in blocks
            ]
            self.calls = self.tape.calls = list[Call]()
            self.optimizer._change(traced, trace(self.left), {name: trace(rate) for name, rate in self.rates.items()})
            return
        self._set(left, rates)
        for call in self.calls:
            call()


def _forward(layers: Sequence[Layer], x: Array) -> Array:
    for layer in layers:
        x = layer.forward(x, True)
    return x


def _backward(layers: Sequence[Layer], grad: Array, first: bool) -> Any:
    if first:
        return backward_parameters(layers, grad)
    for layer in reversed(layers):
        grad = layer.backward(grad)
    return grad


def _entry(place: Array, calls: list[Call], later: list[Call]) -> Array:
    """Where to put a batch: in its place or, if the only call that reads it copies it elsewhere, right there."""
    readers = [call for call in (*calls, *later) if any(_reads(part, place) for part in getattr(call, "args", ()))]
    if len(readers) == 1 and readers[0] in calls and getattr(readers[0], "func", None) is np.copyto:
        target, source = readers[0].args  # type: ignore[attr-defined]
        for turned in (np.asarray, np.transpose):
            if _is_same_view(turned(place), source):
                calls.remove(readers[0])
                return turned(target)
    return place


def _reads(part: Any, place: Array) -> bool:
    return isinstance(part, np.ndarray) and np.may_share_memory(part, place)


def _is_same_view(a: Array, b: Array) -> bool:
    return a.__array_interface__ == b.__array_interface__
