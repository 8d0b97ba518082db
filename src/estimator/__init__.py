"""The network as scikit-learn knows classifiers and regressors: for pipelines, grid searches and cross-validation."""

import importlib
import sys
from pathlib import Path

if __name__ == "src.estimator":  # imported from the top folder of a checkout, it is the package estimator
    sys.path.insert(0, str(Path(__file__).parents[1]))
    for _name in ("base", "classifier", "regressor"):
        sys.modules[f"{__name__}.{_name}"] = importlib.import_module(f"estimator.{_name}")
    sys.modules[__name__] = importlib.import_module("estimator")

from .classifier import NeuralNetClassifier
from .regressor import NeuralNetRegressor

if Path(__file__).parent.with_name("custom.py").exists():  # an installed library has none
    import custom  # noqa: F401 (so that parameters may name the parts in it)

__all__ = ["NeuralNetClassifier", "NeuralNetRegressor"]
