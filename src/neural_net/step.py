"""One step of a training: outputs, loss, gradients, change of the parameters.

``Step`` is these four as they are written. In a small network most of a step's time is Python that looks up the same
arrays and functions every time. ``RecordedStep`` therefore records its pieces (``capture.py``): each run of layers, the
loss, and the optimizer's change. A recording is used only after it agreed bit for bit with the plain code in two
further steps, from buffers full of NaN. What cannot be recorded, such as dropout, batch normalization and parts of
one's own, is called as it is.
"""

import functools
import math
from itertools import groupby
from typing import Any

from .capture import Call
from .losses import Loss
from .network import Network
from .optimizers import Optimizer
from .over_steps import gradient
from .parts import arguments
from .recordings import RecordedChange, RecordedLayers, RecordedLoss, is_repeatable
from .values import Array

LARGEST = 2**18  # numbers that the widest layer makes of a batch: recordings have buffers of their own
PLAIN_STEPS = 16  # before a recording is made: a short training is over by then


class Step:
    """The plain step."""

    def __init__(self, network: Network, loss: Loss, optimizer: Optimizer) -> None:
        self.network, self.loss, self.optimizer = network, loss, optimizer

    def forward(self, X: Array, targets: Array, weight: Array | None = None) -> tuple[Array, float]:
        """The outputs, and the loss's value."""
        self.outputs = outputs = self.network.forward(X, training=True)
        return outputs, self.loss.forward(outputs, targets, weight)

    def backward(self, factor: float = 1.0) -> None:
        """Fill the gradients, of ``factor`` times the loss."""
        grad = gradient(self.loss, self.outputs)
        if factor != 1:
            grad *= factor
        self.network.backward_parameters(grad)

    def update(self, factor: float, trained: tuple[slice, ...] | None = None) -> None:
        """Let the optimizer change the trained parts, with the schedule's factor of the learning rate."""
        network = self.network
        self.optimizer.step(network.params, network.grads, network.decays, factor, trained)


class Steps:
    """The steps of a training: plain at first, then recorded, a recording for each size of batches.

    Args:
        replay: False: all steps are plain.
    """

    def __init__(self, network: Network, loss: Loss, optimizer: Optimizer, replay: bool = True) -> None:
        self.plain, self.replay = Step(network, loss, optimizer), replay
        self._widest = max(math.prod(layer.shape_out) for layer in network.walk())
        self._taken: dict[int, int] = {}
        self._recorded: dict[int, Step] = {}
        self._state: Any = None

    def begin_epoch(self) -> tuple[slice, ...] | None:
        """The parts of ``params`` that are trained now. Recordings that a change made wrong are dropped."""
        trained = self.plain.network.trained_parts()
        state = self.plain.network.identity, trained, [getattr(part, name) for part, name in self._numbers]
        if state != self._state:
            self._recorded.clear()
            self._state = state
        return trained

    def of(self, X: Array) -> Step:
        """The step for a batch like X."""
        step = self._recorded.get(len(X))
        if step is not None:
            return step
        taken = self._taken[len(X)] = self._taken.get(len(X), 0) + 1
        if self.replay and taken > PLAIN_STEPS and len(X) * self._widest <= LARGEST:
            plain = self.plain
            self._recorded[len(X)] = RecordedStep(plain.network, plain.loss, plain.optimizer)
        return self.plain

    @functools.cached_property
    def _numbers(self) -> list[tuple[object, str]]:
        """The options that a recording holds as numbers: their owner and name."""
        parts: list[Any] = [self.plain.optimizer, *filter(is_repeatable, self.plain.network.walk())]
        return [(part, n) for part in parts for n, x in arguments(part).items() if type(x) is float and n != "lr"]


class RecordedStep(Step):
    """The same step for batches of one size, in pieces that are recorded."""

    def __init__(self, network: Network, loss: Loss, optimizer: Optimizer) -> None:
        super().__init__(network, loss, optimizer)
        self.parts: list[Any] = []
        start = 0
        for recorded, group in groupby(network.chain.layers, is_repeatable):
            layers = list(group)
            stop = start + sum(layer.n_parameters for layer in layers)
            if recorded:
                before = self.parts[-1] if self.parts else None  # it is not recorded
                params, grads = network.params[start:stop], network.grads[start:stop]
                self.parts.append(RecordedLayers(layers, params, grads, before))
            else:
                self.parts += layers
            start = stop
        self.recorded_loss, self.recorded_change = RecordedLoss(loss), RecordedChange(optimizer)

    def forward(self, X: Array, targets: Array, weight: Array | None = None) -> tuple[Array, float]:
        x = X
        for part in self.parts:
            x = part.forward(x, True)
        return x, self.recorded_loss.forward(x, targets, weight, self.parts[-1])

    def backward(self, factor: float = 1.0) -> None:
        grad, last = self.recorded_loss.backward(), self.parts[-1]
        if isinstance(last, RecordedLayers) and last.grad is None:
            last.grad = self.recorded_loss.grad
        if factor != 1:
            grad *= factor
        for part in self.parts[:0:-1]:
            grad = part.backward(grad)
        self.parts[0].backward_parameters(grad)

    def calls(self) -> list[Call]:
        """All calls that take the place of the plain code, in order."""
        layers = [part for part in self.parts if isinstance(part, RecordedLayers) and part.used]
        calls = [call for part in layers for call in part.forward_calls]
        if self.recorded_loss.used:
            calls += [*self.recorded_loss.forward_calls, *self.recorded_loss.backward_calls]
        calls += [call for part in reversed(layers) for call in part.backward_calls]
        return calls + (self.recorded_change.calls if self.recorded_change.used else [])

    def update(self, factor: float, trained: tuple[slice, ...] | None = None) -> None:
        network = self.network
        self.recorded_change.step(network.params, network.grads, network.decays, factor, trained)
