"""`make export`: write the trained model as an ONNX model.

Scaling and temperature are part of it: a model of the pen table takes raw coordinates from 0 to 100. A model of a table
of your own takes encoded rows, as ``TableModel.rows`` makes them.
"""

import sys
from pathlib import Path

from neural_net import to_onnx
from pipeline.model import read_model
from pipeline.paths import MODELS
from pipeline.tabular.model import TableModel
from runtime.script import say


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else MODELS
    model = read_model(folder)
    n_in, scaling, gives, name = model.network.shape_in[0], (0, 1), "probabilities of the digits 0 to 9", "pendigits"
    if isinstance(model, TableModel):
        reads, name = f"{n_in} encoded columns", model.dataset
        gives = f"probabilities of {len(model.classes)} classes" if model.classes else f"{model.label}, standardised"
    elif model.features == "table":
        reads, scaling = "16 coordinates from 0 to 100", (50, 50)
    else:
        reads = f"{n_in} features of ink"
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(f"dist/{name}.onnx")
    target.parent.mkdir(parents=True, exist_ok=True)
    probabilities = bool(model.classes)
    to_onnx(model.network, target, scaling=scaling, temperature=model.temperature, probabilities=probabilities)
    say(f"{target}: X (rows of {reads}) -> {gives}, {target.stat().st_size / 1000:.0f} kB")
