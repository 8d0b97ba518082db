"""A network: a chain of layers over one vector of parameters."""

import copy
import math
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike

from .activations import UserActivation
from .answers import ends_in_softmax, predictions, probabilities
from .display import code, html_table, layer_rows, text_table
from .initializers import initialize
from .layer import Layer, Parameter, shapes_of
from .layers import Chain, handed_out, make_layer, takes_a_list
from .memory import aligned_copy, batch_order
from .parts import lookup
from .values import Array, Rng, Shape, as_rows, check, check_count, generator, listed
from .views import Views


class Network(Views):
    """Layers one after the other, from a row of inputs to a row of outputs; either may also be a path.

    All parameters are in the vector ``params`` and all gradients in ``grads``, which has the same length and dtype. The
    layers have views into both, so assigning to any of them copies the numbers into its place. ``decays`` is 1 for
    weights, which weight decay shrinks, and 0 for other parameters.

    Any number of threads may predict with one network at the same time, while another trains it too. A thread that
    holds ``lock`` computes in the layers' own buffers; the others make twins of the layers meanwhile.

    Args:
        layers: layers and activations, as objects, names or specs that ``make_layer`` takes. A layer that belongs to
            a network already is copied with its weights, and the other network stays as it is. A warning says so,
            unless the layer was taken from ``layers`` of the other network or by its index or name.
        n_in: the number of inputs, or the shape of one sample; None: taken from the first data.
        rng: draws the initial weights: a generator, or a whole number as its seed.
        dtype: float32 to train fast, float64 to check gradients.
        classes: the labels of the outputs, which ``predict`` returns; None: 0, 1, 2, ...

    Attributes:
        task: what the outputs are (see ``answers``): ``classification``, until a training decides it by its loss.

    Raises:
        ValueError: if two layers do not fit, with the layer's name, the expected shape and the given one.
    """

    _views = frozenset({"params", "grads", "decays"})
    params: Array
    grads: Array
    decays: Array
    task = "classification"
    shape_in: Shape = ()

    @takes_a_list
    def __init__(
        self,
        layers: Sequence[Any],
        n_in: int | Sequence[int] | None = None,
        *,
        rng: Rng,
        dtype: DTypeLike = np.float32,
        classes: Sequence[Any] | None = None,
    ) -> None:
        layers = listed("layers", layers)
        if not layers:
            raise ValueError("a network needs at least one layer")
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ValueError(f"a network's dtype must be float32 or float64, got {self.dtype}")
        self.rng, self.lock = generator(rng), threading.RLock()
        self._rng_code = "np.random.default_rng()" if rng is self.rng else repr(rng)
        self.classes = classes
        self.chain = Chain([make_layer(layer) for layer in layers])
        self._part_users()
        self._name_layers()
        if n_in is not None:
            self.build(n_in)

    @property
    def classes(self) -> Array | None:
        """The labels of the outputs, (n_outputs,), or None."""
        return self._classes

    @classes.setter
    def classes(self, classes: Sequence[Any] | Array | None) -> None:
        labels = None if classes is None else np.asarray(classes)
        if self.built:
            _check_classes(labels, self.n_outputs)
        self._classes = labels

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in order, without those inside others (``walk`` yields all). A network's layers cannot change."""
        return tuple(map(handed_out, self.chain.layers))

    @property
    def built(self) -> bool:
        """Whether the network knows its sizes."""
        return bool(self.shape_in)

    @property
    def n_parameters(self) -> int:
        """The length of ``params``."""
        return self.chain.n_parameters

    @property
    def shape_out(self) -> Shape:
        """The shape of the outputs for one sample: (n_outputs,), or (steps, n_outputs) if the network ends in paths."""
        return self.chain.shape_out

    @property
    def n_outputs(self) -> int:
        """The number of outputs for a row, or for each step of a path; for a classifier, the number of classes."""
        if not self.built:
            raise ValueError("the network has no sizes yet; build it, or give it its first data")
        return self.shape_out[-1]

    def count_parameters(self, shape_in: int | Sequence[int]) -> int:
        """The number of parameters for samples of ``shape_in``, computed without allocating them."""
        twin = self.chain.twin()
        twin.build(self._sample(shape_in))
        return twin.n_parameters

    def _sample(self, shape_in: int | Sequence[int]) -> Shape:
        """The shape of a sample as a tuple; ValueError if it cannot be one."""
        sizes = np.atleast_1d(shape_in).tolist()
        check(bool(sizes), self, "a sample must hold at least one number, got the shape ()")
        for n in sizes:
            check_count(self, n_in=n)
        return tuple(sizes)

    def build(self, shape_in: int | Sequence[int]) -> None:
        """Fix all sizes for samples of ``shape_in``, make the two vectors and draw the initial weights.

        Layers that have weights keep them, such as copies of another network's layers. If they do not fit, a warning
        says so and new ones are drawn.
        """
        shape_in = self._sample(shape_in)
        before = [(layer, layer.arrays()) for layer in self.walk()]
        shape_out = self.chain.build(shape_in)
        _check_classes(self.classes, shape_out[-1])
        for name in ("params", "grads", "decays"):
            self.place(name, aligned_copy(np.zeros(self.n_parameters, self.dtype)))
        self.chain.bind(self.params, self.grads)
        start = 0
        for _, _, parameter in self.parameters():
            self.decays[start : start + parameter.size] = parameter.decay
            start += parameter.size
        initialize(self.chain, self.rng)
        for layer, weights in before:
            _keep(layer, weights)
            layer.complete = True
        widest = max(math.prod(layer.shape_out) for layer in self.walk())
        self._rows_at_once = min(max(_NUMBERS_AT_ONCE // widest, 128), 1024)
        self.ends_in_softmax = ends_in_softmax(self.chain)  # its probabilities are its outputs
        self.identity = object()  # by which an optimizer knows the network again
        self.shape_in = shape_in  # last, since other threads ask for it

    def trained_parts(self) -> tuple[slice, ...] | None:
        """The parts of ``params`` that belong to trainable layers; None: all."""
        spans, start = list[slice](), 0
        for layer, _, parameter in self.parameters():
            stop = start + parameter.size
            if layer.trainable:
                joined = bool(spans) and spans[-1].stop == start
                spans[-1:] = [slice(spans[-1].start, stop)] if joined else [*spans[-1:], slice(start, stop)]
            start = stop
        return None if spans == [slice(0, start)] or not start else tuple(spans)

    def get_weights(self) -> list[Array]:
        """Copies of all parameters, each layer's followed by its state, such as running means."""
        return self.chain.get_weights()

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy arrays into the parameters and states, in the order of ``get_weights``.

        Raises:
            ValueError: if they are not as many, or one does not fit; then nothing is copied.
        """
        self.chain.set_weights(weights)

    # Forward and backward

    def forward(self, X: Array, training: bool = False) -> Array:
        """The outputs (batch, *shape_out) for X (batch, *shape_in), in a buffer that holds until the next call.

        This and ``backward`` are for training, in one thread; ``outputs`` is for predictions.
        """
        try:
            fits = X.shape[1:] == self.shape_in and X.dtype == self.dtype
        except AttributeError:  # a list, or a table with a dtype for each column
            fits = False
        if not fits or not self.shape_in:
            X = self.check_inputs(X)
        return self.chain.forward(X, training)

    def backward(self, grad_out: Array) -> Array:
        """Fill ``grads`` from the loss's gradient by the latest outputs; returns the gradient by the inputs."""
        return self.chain.backward(np.asarray(grad_out, self.dtype))

    def backward_parameters(self, grad_out: Array) -> None:
        """``backward`` without the gradient by the inputs, which training does not need."""
        self.chain.backward_parameters(np.asarray(grad_out, self.dtype))

    # Predictions

    def outputs(self, X: Any) -> Array:
        """The outputs for any number of rows, in a new array; for a classifier these are the logits.

        Rows are in Fortran order, which makes operations along them faster, such as softmax.
        """
        X = self.check_inputs(X)
        shape = (len(X), *self.shape_out)
        result = np.empty(shape, self.dtype, batch_order(shape))
        chain, free = self.chain, self.lock.acquire(False)  # without waiting
        if not free:
            try:
                chain = chain.twin()
            except TypeError:  # a part keeps what cannot be copied, such as a lock
                free = self.lock.acquire()
        try:
            if len(X) == 1:
                result[:] = chain.forward(X)
                return result
            for start in range(0, len(X), self._rows_at_once):
                rows = X[start : start + self._rows_at_once]
                result[start : start + len(rows)] = chain.forward(rows)
        finally:
            if free:
                self.lock.release()
        return result

    def __call__(self, X: Any) -> Array:
        """The same as ``outputs``."""
        return self.outputs(X)

    def predict_proba(self, X: Any) -> Array:
        """The probabilities of the classes, (rows, *shape_out): the softmax of the outputs, or as ``task`` has it.

        Raises:
            ValueError: for a network of regression, and for one with a single output and no class.
        """
        return probabilities(self, self.outputs(X))

    def predict(self, X: Any) -> Array:
        """The most probable class of each row, (rows,), or as ``task`` has it.

        That is 0 or 1 for each label of a multilabel network, (rows, n_outputs), and the outputs for one of regression;
        (rows,) if there is a single output. For a network that ends in paths, those of each step, (rows, steps, ...).
        """
        return predictions(self, self.outputs(X))

    def check_inputs(self, X: Any) -> Array:
        """X as an array of the network's dtype whose rows fit the first layer; copied only if necessary.

        Raises:
            ValueError: for another shape, for NaN or infinity, and for values that are not numbers.
        """
        X = as_rows(X, self.dtype)
        if not self.built:
            with self.lock:
                if not self.built:
                    self.build(X.shape[1:])
        if X.shape[1:] != self.shape_in:
            name = self.chain.layers[0].name
            raise ValueError(f"{name}, the first layer, expects samples of shape {self.shape_in}, got {X.shape[1:]}")
        return X

    def __copy__(self) -> "Network":
        """A full copy: a shallow one would share the layers, which have one vector only."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """Copy the parameters once, in the layers."""
        left_out = ("params", "grads", "lock")
        return {name: value for name, value in vars(self).copy().items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Bind the layers of the copy to its own vectors."""
        self.__dict__.update(state, lock=threading.RLock())
        if self.built:
            for name in ("params", "grads"):
                self.place(name, aligned_copy(np.zeros(self.n_parameters, self.dtype)))
            start = 0
            for layer, name, parameter in self.parameters():
                self.params[start : start + parameter.size] = getattr(layer, name).reshape(-1)
                start += parameter.size
            states = [layer.state for layer in self.walk()]
            self.chain.bind(self.params, self.grads)
            for layer, kept in zip(self.walk(), states, strict=True):
                layer.state = kept

    # Layers

    def __len__(self) -> int:
        return len(self.chain.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, key: int) -> Layer: ...

    @overload
    def __getitem__(self, key: str) -> Any: ...  # the caller, who knows the name, knows the parameters too

    @overload
    def __getitem__(self, key: slice) -> tuple[Layer, ...]: ...

    def __getitem__(self, key: int | str | slice) -> Any:
        """Layers by their place, or one by its name, such as ``network["linear1"]``, also inside another layer."""
        if isinstance(key, str):
            return handed_out(lookup("a layer of the network", {layer.name: layer for layer in self.walk()}, key))
        return self.layers[key]

    def parameters(self) -> Iterator[tuple[Layer, str, Parameter]]:
        """Every parameter as (layer, name, declaration), in the order of the vector."""
        for layer in self.walk():
            for name, parameter in layer.parameters.items():
                yield layer, name, parameter

    def walk(self) -> Iterator[Layer]:
        """All layers, with those inside others."""
        for layer in self.chain.layers:
            yield from layer.walk()

    def set_rng(self, rng: Rng) -> None:
        """Give a generator to the layers that draw at random."""
        self.rng = generator(rng)
        for layer in self.walk():
            layer.rng = self.rng

    def summary(self) -> str:
        """A table of the layers, the shapes of their outputs, and their numbers of parameters."""
        return text_table(layer_rows(self.chain.layers, self.built), self._total())

    def _repr_html_(self) -> str:
        """The summary for notebooks."""
        return html_table(layer_rows(self.chain.layers, self.built), self._total())

    def __repr__(self) -> str:
        """The code that makes such a network, with the same initial weights if ``rng`` was a seed."""
        options = []
        if self.built:
            options.append(f"n_in={self.shape_in[0] if len(self.shape_in) == 1 else self.shape_in}")
        options.append(f"rng={self._rng_code}")
        if self.dtype != np.float32:
            options.append(f"dtype='{self.dtype}'")
        if self.classes is not None:
            options.append(f"classes={self.classes.tolist()}")
        return code("Network", self.chain.layers, options)

    def _total(self) -> str:
        if not self.built:
            return "sizes are taken from the first data"
        parts = self.trained_parts()
        trained = self.n_parameters if parts is None else sum(part.stop - part.start for part in parts)
        frozen = f", {self.n_parameters - trained:,} of them frozen" if trained < self.n_parameters else ""
        return f"{self.n_parameters:,} parameters{frozen}, {self.dtype}"

    def _part_users(self) -> None:
        """Copy a user's activation object that is in several places, because it remembers its latest batch."""
        seen: set[int] = set()
        for layer in self.walk():
            if isinstance(layer, UserActivation):
                layer.user = copy.deepcopy(layer.user) if id(layer.user) in seen else layer.user
                seen.add(id(layer.user))

    def _name_layers(self) -> None:
        seen: Counter[str] = Counter()
        for layer in self.walk():
            kind = type(getattr(layer, "user", layer)).__name__.lower()
            seen[kind] += 1
            layer._name = f"{kind}{seen[kind]}"
            check(layer.name == layer._name, layer, "the class must not have an attribute name, which is the network's")


def _check_classes(classes: Array | None, n_outputs: int) -> None:
    if classes is not None and classes.shape != (n_outputs,):
        raise ValueError(f"the network has {n_outputs} outputs for {classes.size} classes")


def _keep(layer: Layer, weights: Mapping[str, Array]) -> None:
    """Give a layer the weights that it had before its network was built."""
    places = layer.arrays()
    if shapes_of(weights) == shapes_of(places):
        for name, array in weights.items():
            places[name][...] = array
    elif weights:
        warnings.warn(
            f"{layer.name} draws new weights: those it has do not fit here, {shapes_of(weights)}", stacklevel=4
        )


_NUMBERS_AT_ONCE = 49152  # of a layer's outputs: then those of several layers fit into a processor's second cache
