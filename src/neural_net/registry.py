"""Parts of your own: decorators that register a class under a name.

    @register_activation("double")
    class Double:
        def Forward_prop(self, Z):
            return 2 * Z

        def Backward_prop(self, dA):
            return 2 * dA

``double`` is now an activation like any other, in ``dense_layers`` and ``params.yaml``, in saved networks and in the
gradient check. The class must keep each argument of its ``__init__`` in an attribute of the same name, so that a saved
network can be made again.

A class may have two more attributes. ``check_with`` lists the options to check the gradient with, besides the defaults:
``check_with = [{"slope": 0.3}]``. It is required if an option has no default. ``suited_init``, of an activation, names
the initializer for the weights before it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from .activations import ACTIVATIONS, Activation
from .layer import Layer
from .layers import LAYERS
from .losses import LOSSES, Loss
from .optimizers import OPTIMIZERS, Optimizer
from .parts import needed_options, same_class

Kind = TypeVar("Kind", bound=type)


def register_activation(name: str) -> Callable[[Kind], Kind]:
    """Make a class an activation by name: an ``Activation``, or any class with ``Forward_prop`` and ``Backward_prop``.

    ``Forward_prop(Z)`` returns the activation of Z (batch, ...), in the shape of Z. ``Backward_prop(dA)`` returns the
    gradient by the Z of the latest ``Forward_prop``, from the gradient by its result.

    Raises:
        ValueError: if the name is not a Python identifier or is already taken.
        TypeError: if the class is not an activation.
    """
    return _decorator("activation", name, _is_activation, "have Forward_prop and Backward_prop")


def register_layer(name: str) -> Callable[[Kind], Kind]:
    """Make a subclass of ``Layer`` a layer by name; errors as in ``register_activation``."""
    return _decorator("layer", name, lambda kind: issubclass(kind, Layer), "be a subclass of Layer")


def register_loss(name: str) -> Callable[[Kind], Kind]:
    """Make a subclass of ``Loss`` a loss by name; errors as in ``register_activation``."""
    return _decorator("loss", name, lambda kind: issubclass(kind, Loss), "be a subclass of Loss")


def register_optimizer(name: str) -> Callable[[Kind], Kind]:
    """Make a subclass of ``Optimizer`` an optimizer by name; errors as in ``register_activation``.

    ``lr``, ``weight_decay`` and ``clip_norm`` of ``params.yaml`` are passed to it if its ``__init__`` takes them.
    """
    return _decorator("optimizer", name, lambda kind: issubclass(kind, Optimizer), "be a subclass of Optimizer")


TABLES: dict[str, dict[str, Any]] = {
    "activation": ACTIVATIONS,
    "layer": LAYERS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
}


def _is_activation(kind: type) -> bool:
    return issubclass(kind, Activation) or (hasattr(kind, "Forward_prop") and hasattr(kind, "Backward_prop"))


def _decorator(part: str, name: str, fits: Callable[[type], bool], contract: str) -> Callable[[Kind], Kind]:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"the name of a registered {part} must be made of letters, digits and _, got {name!r}")

    def register(kind: Kind) -> Kind:
        if not fits(kind):
            raise TypeError(f"{kind.__name__} cannot be registered as the {part} {name}: it must {contract}")
        _check_name_is_free(part, name, kind)
        if part != "optimizer":
            _check_can_be_made(part, name, kind)
        TABLES[part][name] = kind
        return kind

    return register


def _check_name_is_free(part: str, name: str, kind: type) -> None:
    together = ("activation", "layer")  # make_layer looks in both
    for table in together if part in together else (part,):
        taken = TABLES[table].get(name)
        if taken is not None and not (table == part and same_class(taken, kind)):
            raise ValueError(f"{kind.__name__} cannot be the {part} {name}: {taken.__name__} has that name already")


def _check_can_be_made(part: str, name: str, kind: type) -> None:
    needed = needed_options(kind)
    if needed and not getattr(kind, "check_with", None):
        example = ", ".join(f'"{option}": ...' for option in needed)
        raise ValueError(
            f"the {part} {name} needs {' and '.join(needed)}; say with what to check its gradient, in the class: "
            f"check_with = [{{{example}}}]"
        )
