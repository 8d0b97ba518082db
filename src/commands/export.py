"""`make export`: write the trained recognizer as an ONNX model.

Scaling and temperature are part of it: a model of the table's features takes raw coordinates from 0 to 100.
"""

import sys
from pathlib import Path

from neural_net import to_onnx
from pipeline.model import read_model
from pipeline.paths import MODELS
from runtime.script import say

TARGET = Path("dist/pendigits.onnx")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else MODELS
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else TARGET
    recognizer = read_model(folder)
    table = recognizer.features == "table"
    target.parent.mkdir(parents=True, exist_ok=True)
    to_onnx(recognizer.network, target, scaling=(50, 50) if table else (0, 1), temperature=recognizer.temperature)
    reads = "16 coordinates from 0 to 100" if table else f"{recognizer.network.shape_in[0]} features of ink"
    say(f"{target}: X (rows of {reads}) -> probabilities of the digits 0 to 9, {target.stat().st_size / 1000:.0f} kB")
