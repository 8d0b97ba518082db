"""The network as scikit-learn knows classifiers and regressors: for pipelines, grid searches and cross-validation."""

import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

if __name__ == "src.estimator":  # imported from the top folder of a checkout, it is the package estimator
    sys.path.insert(0, str(Path(__file__).parents[1]))
    for _module in iter_modules(__path__):
        sys.modules[f"{__name__}.{_module.name}"] = import_module(f"estimator.{_module.name}")
    sys.modules[__name__] = import_module("estimator")

from .classifier import NeuralNetClassifier
from .regressor import NeuralNetRegressor

if Path(__file__).parent.with_name("custom.py").exists():  # an installed library has none
    import custom  # noqa: F401 (so that parameters may name the parts in it)

__all__ = ["NeuralNetClassifier", "NeuralNetRegressor"]
