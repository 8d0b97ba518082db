"""The names of parts: one of each part's names is its own, and the field's other names for it are understood too."""

from collections.abc import Mapping
from typing import Any

OTHER_NAMES = {
    "sigmoid": ["logistic"],
    "silu": ["swish"],
    "linear": ["dense", "fully_connected"],
    "max_pool1d": ["max_pooling1d"],
    "average_pool1d": ["avg_pool1d", "average_pooling1d"],
    "batch_norm": ["batch_norm1d", "batch_normalization"],
    "layer_norm": ["layer_normalization"],
    "cross_entropy": ["softmax_cross_entropy", "categorical_crossentropy", "sparse_categorical_crossentropy", "nll"],
    "binary_cross_entropy": ["bce", "bce_with_logits", "binary_crossentropy"],
    "mean_squared_error": ["mse", "l2", "squared_error"],
    "mean_absolute_error": ["mae", "l1", "absolute_error"],
    "huber": ["smooth_l1"],
    "xavier_normal": ["glorot_normal"],
    "xavier_uniform": ["glorot_uniform"],
    "he_normal": ["kaiming_normal"],
    "he_uniform": ["kaiming_uniform"],
    "sgd": ["gradient_descent"],
    "step": ["step_decay", "step_lr"],
    "exponential": ["exponential_decay", "exponential_lr"],
    "cosine": ["cosine_decay", "cosine_annealing", "cosine_annealing_lr"],
    "cosine_restarts": ["cosine_decay_restarts", "cosine_annealing_warm_restarts", "warm_restarts"],
    "polynomial": ["polynomial_decay", "polynomial_lr"],
    "one_cycle": ["one_cycle_lr"],
    "reduce_on_plateau": ["reduce_lr_on_plateau"],
}


def _folded(name: str) -> str:
    """Alike for ``leaky_relu``, ``LeakyReLU`` and ``leaky-relu``, and for ``mse`` and ``MSELoss``."""
    return name.lower().translate(str.maketrans("", "", "_- ")).removesuffix("loss")


_OWN_NAMES = {_folded(other): name for name, others in OTHER_NAMES.items() for other in others}


def own_name(table: Mapping[str, Any], name: Any) -> Any:
    """The name by which a table knows a part: the same, in another case, of its class, or one of ``OTHER_NAMES``.

    The earlier of these rules wins, and of two parts the one that was registered later. A name that no rule knows is
    returned as it is.
    """
    if not isinstance(name, str) or name in table or not (folded := _folded(name)):
        return name
    of_tables = {_folded(key): key for key in table}
    of_classes = {_folded(getattr(part, "__name__", "")): key for key, part in table.items()}
    own = of_tables.get(folded) or of_classes.get(folded) or _OWN_NAMES.get(folded)
    return own if own in table else name
