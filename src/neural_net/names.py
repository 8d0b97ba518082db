"""The names of parts and options: one is its own, and the field's other names for it are understood too."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

OTHER_NAMES = {  # of Keras, PyTorch, scikit-learn and papers
    "identity": ["linear"],  # as an activation
    "leaky_relu": ["lrelu"],
    "sigmoid": ["logistic"],
    "silu": ["swish"],
    "linear": ["dense", "fully_connected", "fc"],
    "conv1d": ["conv", "convolution1d"],
    "max_pool1d": ["max_pooling1d", "max_pool", "max_pooling"],
    "average_pool1d": ["avg_pool1d", "average_pooling1d", "avg_pool", "average_pool", "average_pooling"],
    "batch_norm": ["batch_norm1d", "batch_normalization"],
    "layer_norm": ["layer_normalization"],
    "residual": ["residual_block", "skip_connection"],
    "cross_entropy": [
        "log_loss",
        "softmax_cross_entropy",
        "categorical_crossentropy",
        "sparse_categorical_crossentropy",
        "nll",
    ],
    "binary_cross_entropy": ["bce", "bce_with_logits", "binary_crossentropy", "sigmoid_cross_entropy"],
    "focal": ["categorical_focal_crossentropy"],
    "mean_squared_error": ["mse", "l2", "squared_error"],
    "mean_absolute_error": ["mae", "l1", "absolute_error"],
    "huber": ["smooth_l1"],
    "xavier_normal": ["glorot_normal"],
    "xavier_uniform": ["glorot_uniform", "glorot", "xavier"],
    "he_normal": ["kaiming_normal", "kaiming", "he"],
    "he_uniform": ["kaiming_uniform"],
    "sgd": ["gradient_descent", "stochastic_gradient_descent"],
    "constant": ["fixed"],
    "step": ["step_decay", "step_lr"],
    "exponential": ["exponential_decay", "exponential_lr"],
    "cosine": ["cosine_decay", "cosine_annealing", "cosine_annealing_lr"],
    "cosine_restarts": ["cosine_decay_restarts", "cosine_annealing_warm_restarts", "warm_restarts"],
    "polynomial": ["polynomial_decay", "polynomial_lr", "linear", "linear_decay"],
    "one_cycle": ["one_cycle_lr"],
    "reduce_on_plateau": ["reduce_lr_on_plateau", "plateau"],
}
OTHER_OPTIONS = {  # of equal meaning only
    "lr": ["learning_rate", "learning_rate_init"],
    "clip_norm": ["max_norm", "max_grad_norm"],
    "rho": ["alpha"],
    "eps": ["epsilon"],
    "n_out": ["units", "out_features", "width"],
    "n_in": ["in_features"],
    "use_bias": ["bias"],
    "init": ["kernel_initializer"],
    "bias_init": ["bias_initializer"],
    "filters": ["out_channels"],
    "size": ["pool_size", "kernel_size"],
    "stride": ["strides"],
    "dilation": ["dilation_rate"],
    "shape": ["target_shape"],
    "slope": ["negative_slope", "alpha"],
    "class_weights": ["class_weight", "weight"],
    "every": ["step_size"],
    "rate": ["p", "gamma", "factor", "decay_rate"],
    "period": ["t_0"],
    "growth": ["t_mult"],
    "rise": ["pct_start"],
    "start_divisor": ["div_factor"],
    "end_divisor": ["final_div_factor"],
}


def _folded(name: str) -> str:
    """Alike for ``leaky_relu``, ``LeakyReLU`` and ``leaky-relu``, and for ``mse`` and ``MSELoss``."""
    return name.lower().translate(str.maketrans("", "", "_- ")).removesuffix("loss")


def _own_names(table: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The own names that each other name stands for, in different tables of parts."""
    found: dict[str, list[str]] = {}
    for name, others in table.items():
        for other in others:
            found.setdefault(_folded(other), []).append(name)
    return found


_PARTS, _OPTIONS = _own_names(OTHER_NAMES), _own_names(OTHER_OPTIONS)


def own_name(table: Mapping[str, Any], name: Any) -> Any:
    """The name by which a table knows a part: the same, in another case, of its class, or one of ``OTHER_NAMES``.

    The earlier of these rules wins, and of two parts the one that was registered later. A name that no rule knows is
    returned as it is.
    """
    if not isinstance(name, str) or name in table or not (folded := _folded(name)):
        return name
    of_tables = {_folded(key): key for key in table}
    of_classes = {_folded(getattr(part, "__name__", "")): key for key, part in table.items()}
    others = [key for key in _PARTS.get(folded, []) if key in table]
    return of_tables.get(folded) or of_classes.get(folded) or next(iter(others), name)


def own_option(known: Iterable[str], option: Any) -> Any:
    """The name by which a part knows an option: the same, in another case, or one of ``OTHER_OPTIONS``."""
    known = list(known)
    if not isinstance(option, str) or option in known or not (folded := _folded(option)):
        return option
    others = [key for key in _OPTIONS.get(folded, []) if key in known]
    return next(iter([key for key in known if _folded(key) == folded] + others), option)
