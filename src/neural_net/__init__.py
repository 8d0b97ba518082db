"""A modular neural network in NumPy, whose every derivative a reader can check by hand.

Read in this order:

- parts, names, layer: how parts are made by name, and the contract of a layer
- activations, normal, initializers, layers, convolution, normalization: the layers
- network, answers, losses, over_steps, optimizers, schedules: the other parts of a training
- training, checks, callbacks, history, blas: the training itself
- step, recordings, capture: its steps, recorded and repeated so that small networks train faster
- gradcheck, diagnostics: whether the derivatives are right, and what happens inside a network
- npz, serialization, onnx_export: saved networks
- registry, original: parts of your own, and the project's first interface
- display, memory: how networks and histories are shown, and where arrays lie
"""

import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

if __name__ == "src.neural_net":  # imported from the top folder of a checkout, it is the package neural_net
    sys.path.insert(0, str(Path(__file__).parents[1]))
    for _module in iter_modules(__path__):
        sys.modules[f"{__name__}.{_module.name}"] = import_module(f"neural_net.{_module.name}")
    sys.modules[__name__] = import_module("neural_net")

from .activations import (
    ACTIVATIONS,
    ELU,
    GELU,
    SELU,
    Activation,
    Identity,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    make_activation,
)
from .callbacks import Callback, EarlyStopping, StateError, WeightAverage
from .convolution import AveragePool1D, Conv1D, MaxPool1D
from .dense import dense_layers
from .diagnostics import Diagnostics
from .history import History
from .initializers import INITIALIZERS
from .layer import Layer
from .layers import LAYERS, Chain, Dropout, Flatten, Linear, Reshape, Residual, make_layer
from .losses import (
    LOSSES,
    BinaryCrossEntropy,
    CrossEntropy,
    FocalLoss,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    make_loss,
)
from .network import Network
from .normalization import BatchNorm, LayerNorm
from .onnx_export import to_onnx
from .optimizers import OPTIMIZERS, SGD, Adagrad, Adam, AdamW, Lion, Optimizer, RMSProp, make_optimizer
from .original import Neural_Net
from .parts import UnknownNameError
from .registry import register_activation, register_layer, register_loss, register_optimizer
from .schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    OneCycle,
    Polynomial,
    ReduceOnPlateau,
    Schedule,
    Step,
    Warmup,
    make_schedule,
)
from .serialization import StorageError, load, save
from .training import DivergedError, Training, evaluate, fit

__version__ = "0.2.0"

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "INITIALIZERS",
    "LAYERS",
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "SELU",
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "AveragePool1D",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Callback",
    "Chain",
    "Constant",
    "Conv1D",
    "Cosine",
    "CosineRestarts",
    "CrossEntropy",
    "Diagnostics",
    "DivergedError",
    "Dropout",
    "EarlyStopping",
    "Exponential",
    "Flatten",
    "FocalLoss",
    "History",
    "Huber",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Lion",
    "Loss",
    "MaxPool1D",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Mish",
    "Network",
    "Neural_Net",
    "OneCycle",
    "Optimizer",
    "Polynomial",
    "RMSProp",
    "ReLU",
    "ReduceOnPlateau",
    "Reshape",
    "Residual",
    "Schedule",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "StateError",
    "Step",
    "StorageError",
    "Tanh",
    "Training",
    "UnknownNameError",
    "Warmup",
    "WeightAverage",
    "dense_layers",
    "evaluate",
    "fit",
    "load",
    "make_activation",
    "make_layer",
    "make_loss",
    "make_optimizer",
    "make_schedule",
    "register_activation",
    "register_layer",
    "register_loss",
    "register_optimizer",
    "save",
    "to_onnx",
]
