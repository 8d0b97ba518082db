"""Parts of your own, usable by name: decorators that enter a class into the tables where names are looked up.

    @register_activation("double")
    class Double:
        def Forward_prop(self, Z):
            return 2 * Z

        def Backward_prop(self, dA):
            return 2 * dA

From then on ``double`` is an activation like any other: for ``dense_layers`` and ``params.yaml``, for saved networks,
and for the gradient check. The class keeps each argument of its ``__init__`` in an attribute of the same name, so that
a saved network can be made again from them.

A class may have two attributes that the library asks for. ``check_with`` lists options to check the gradient with,
beside the defaults: ``check_with = [{"slope": 0.3}]``; a part that needs options needs it. ``suited_init``, of an
activation, names the initializer for the weights before it.
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

    ``Forward_prop(Z)`` returns the activation of Z (batch, ...), in Z's shape; ``Backward_prop(dA)`` the gradient by
    the Z of the latest ``Forward_prop`` from the gradient by its result.

    Raises:
        ValueError: if the name is no Python identifier or is taken already.
        TypeError: if the class is no activation.
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

    What it takes from ``lr``, ``weight_decay`` and ``clip_norm`` of ``params.yaml`` are those that are arguments of its
    ``__init__``. It has no gradient to check.
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
