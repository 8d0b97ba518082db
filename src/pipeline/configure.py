"""Make network, loss, optimizer and schedule from checked parameters, once for each training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neural_net import (
    ACTIVATIONS,
    INITIALIZERS,
    LAYERS,
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    Loss,
    Network,
    Optimizer,
    Schedule,
    Warmup,
    dense_layers,
    make_activation,
    make_layer,
    make_loss,
    make_optimizer,
    make_schedule,
)
from neural_net.initializers import check_initializer
from neural_net.names import own_name, own_option
from neural_net.parts import options
from pen.features import FEATURE_SETS

from .errors import ParamsError
from .params import Faults, Params, load_params
from .paths import PARAMS_FILE
from .schema import Schema

MOST_PARAMETERS = 50_000_000  # for training, that is some 2 GB
REGRESSION_LOSSES = ("mean_squared_error", "mean_absolute_error", "huber")
PEN_DIGITS = Schema(dataset="")


class Configured(NamedTuple):
    """All that params.yaml describes of one training, ready to be used once."""

    network: Network
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    rng: np.random.Generator  # has drawn the network's first weights, and goes on with the training


def load_checked(path: Path = PARAMS_FILE) -> Params:
    """Read a params.yaml and check its values and all names in it.

    Raises:
        ParamsError: with one line for each fault of the values and each unknown name, all at once.
    """
    try:
        return load_params(path)
    except ParamsError as error:
        faults = Faults()
        with faults.noted():
            raise
        _check_names(error.sound, faults)
        for key, make in {"loss": make_loss, "optimizer": make_optimizer, "schedule": make_schedule}.items():
            with faults.noted():
                key in error.sound and make(error.sound[key])
        faults.refuse()
        raise


def load_and_configure(path: Path = PARAMS_FILE) -> tuple[Params, Configured | None]:
    """Read a params.yaml and make what it describes, before there is data.

    Of a table of the user's nothing is made: the number of its columns decides whether the layers fit.

    Raises:
        ParamsError: as ``load_checked`` and ``configure``.
    """
    params = load_checked(path)
    return params, None if params.dataset == "own" else configure(params)


def configure(params: Params, schema: Schema = PEN_DIGITS) -> Configured:
    """Make the objects that ``params`` describes. It trains nothing, so it also serves as a check before any work.

    Args:
        schema: of the data set, as split writes it.

    Raises:
        ParamsError: with one line for each unknown name and each invalid option, all at once.
    """
    params = with_own_names(params)
    faults, made, rng = Faults(), dict[str, Any](), np.random.default_rng(params.seed)
    _check_names({key: getattr(params, key) for key in ("init", "activation", "hidden_layers")}, faults)
    if not faults.lines:
        with faults.noted("hidden_layers: "):
            made["network"] = _network(params, schema, rng)
    with faults.noted():
        made["loss"] = make_loss(params.loss, label_smoothing=params.label_smoothing)
        if schema.task == "classification":
            made["loss"].table(len(schema.classes))  # rejects class weights for another number of classes
        elif type(made["loss"]) not in [LOSSES[name] for name in REGRESSION_LOSSES]:
            raise ValueError(f"loss must be {', '.join(REGRESSION_LOSSES)} for a regression, got {params.loss}")
    own_keys = {"lr": params.lr, "weight_decay": params.weight_decay, "clip_norm": params.clip_norm}
    given = next(iter(params.optimizer.values()), None) if isinstance(params.optimizer, dict) else None
    for option in own_keys.keys() & (given or {}):
        with faults.noted("optimizer: "):
            raise ValueError(f"{option} has a key of its own, {option}, and cannot be set here")
    with faults.noted():
        made["optimizer"] = make_optimizer(params.optimizer, **own_keys)
    with faults.noted():
        if params.warmup_epochs and params.warmup_epochs >= params.epochs:
            raise ValueError(f"warmup_epochs must be less than epochs, {params.epochs}, got {params.warmup_epochs:g}")
        schedule = make_schedule(params.schedule)
        made["schedule"] = Warmup(schedule, params.warmup_epochs) if params.warmup_epochs else schedule
    faults.refuse()
    return Configured(**made, rng=rng)


def with_own_names(params: Params) -> Params:
    """The same parameters, in which every part has its own name: ``relu`` for ``ReLU``. Unknown names stay."""
    named = {key: getattr(params, key) for key in _TABLES if key in Params.model_fields}
    return params.model_copy(update=_with_own_names(named))


def _with_own_names(given: Mapping[str, Any], part: Any = None) -> dict[str, Any]:
    known = options(part) if isinstance(part, type) else {}
    own = {own_option(known, key): value for key, value in given.items()}
    named = own if len(own) == len(given) else given  # an option with two names is reported with the names given
    return {key: _renamed(_TABLES[key], value) if key in _TABLES else value for key, value in named.items()}


def _renamed(tables: Sequence[Mapping[str, Any]], value: Any) -> Any:
    """A name, a name with options, or a list of these, with own names also inside the options."""
    if isinstance(value, list):
        return [_renamed(tables, inner) for inner in value]
    table = {name: part for table in tables for name, part in table.items()}
    if isinstance(value, dict):
        named = {own_name(table, name): given for name, given in value.items()}
        return {name: given and _with_own_names(given, table.get(name)) for name, given in named.items()}
    return own_name(table, value)


_LAYERS = (LAYERS, ACTIVATIONS, {"activation": None})
_TABLES: dict[str, Sequence[Mapping[str, Any]]] = {  # where the names come from that a key or an option may have
    "hidden_layers": _LAYERS,
    "layers": _LAYERS,
    "activation": (ACTIVATIONS,),
    "init": (INITIALIZERS, {"auto": None}),
    "bias_init": (INITIALIZERS,),
    "loss": (LOSSES,),
    "optimizer": (OPTIMIZERS,),
    "schedule": (SCHEDULES,),
}


def _check_names(params: Mapping[str, Any], faults: Faults) -> None:
    """Note every unknown name of an initializer, activation or layer. The network would stop at the first one."""
    with faults.noted():
        check_initializer(params.get("init", "auto"))
    activation = params.get("activation", [])
    for spec in activation if isinstance(activation, list) else [activation]:
        with faults.noted():
            make_activation(spec)
    for layer in params.get("hidden_layers", []):
        with faults.noted("hidden_layers: "):
            isinstance(layer, int) or layer == "activation" or make_layer(layer)


def _network(params: Params, schema: Schema, rng: np.random.Generator) -> Network:
    """The untrained network; ValueError if its layers do not fit together, or it would be too large."""
    layers = dense_layers(
        params.hidden_layers,
        len(schema.classes) or 1,
        params.activation,
        init=params.init,
        normalization=None if params.normalization == "none" else params.normalization,
        dropout=params.dropout,
        residual=params.residual,
    )
    n_in = schema.encoder.size if schema.encoder else FEATURE_SETS[params.features].size
    network, shape_in = Network(layers, rng=rng), (n_in,)
    size = network.count_parameters(shape_in)
    if size > MOST_PARAMETERS:
        raise ValueError(f"a network may have {MOST_PARAMETERS:,} parameters at most, got {size:,}")
    network.build(shape_in)
    if len(network.shape_out) != 1:
        raise ValueError(f"the network ends in paths, {network.shape_out}, and a digit has one class; add flatten")
    return network
