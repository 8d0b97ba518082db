"""What all pictures share: style, colours, the sheet with title and subtitle, and the PNG file.

The colours are Okabe and Ito's (jfly.uni-koeln.de/color) and viridis, which the colour-blind can tell apart.
Figures are made without pyplot, which would keep each of them in a global list.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

INK, MUTED, FAINT, PAPER = "#222222", "#666666", "#E3E3E3", "#FFFFFF"
BLUE, VERMILLION, BLACK = "#0072B2", "#D55E00", "#000000"
CURVES = {"training": BLUE, "validation": VERMILLION, "test": BLACK, "floor": MUTED}
MISTAKES = LinearSegmentedColormap.from_list("mistakes", ["#FBE9DC", VERMILLION])
PEN = ListedColormap(mpl.colormaps["viridis"](np.linspace(0.0, 0.9, 256)))  # the last tenth is too pale for paper

DPI = 120
WIDTH, MARGIN, HEADER, LINE = 10.0, 0.2, 0.62, 0.17  # inches: a picture, its margin, its title, a line of its subtitle
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same on every machine
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "text.hinting": "no_hinting",  # a third of the time of drawing
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
DASHED = (0, (4, 3))


@contextmanager
def style() -> Iterator[None]:
    """Within it, pictures are drawn and saved in our style, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file of 256 colours, a third of the usual size; the same figure gives the same bytes."""
    packed = BytesIO()
    figure.set(dpi=DPI, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    if figure.axes and (layout := figure.get_layout_engine()):
        layout.execute(figure)  # ``savefig`` would draw the whole figure for it, and then again
        figure.set_layout_engine("none")
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    # white became the mean of what is nearly white
    image.putpalette([255 if level > 250 else level for level in image.getpalette() or []])
    image.save(packed, format="png")
    return packed.getvalue()


def spread(places: Sequence[float], gap: float, low: float = 0.04, high: float = 0.98) -> list[float]:
    """Move places on a line as little as needed for neighbours to be ``gap`` apart and all to lie within low to high.

    The order stays; of equal places the first given is the lowest.
    """
    order = np.argsort(places, kind="stable")
    groups: list[list[float]] = []  # of neighbours that would touch: the places they were given
    for place in np.asarray(places, dtype=float)[order]:
        groups.append([place])
        while len(groups) > 1 and _ends(groups[-2], gap, low, high)[1] + gap > _ends(groups[-1], gap, low, high)[0]:
            touching = groups.pop()
            groups[-1].extend(touching)
    moved = np.concatenate([np.linspace(*_ends(group, gap, low, high), len(group)) for group in groups])
    return [float(place) for place in moved[np.argsort(order)]]


def _ends(group: list[float], gap: float, low: float, high: float) -> tuple[float, float]:
    """The lowest and highest place of a group set ``gap`` apart, as near to its mean as the bounds allow."""
    half = gap * (len(group) - 1) / 2
    middle = min(max(sum(group) / len(group), low + half), high - half)
    return middle - half, middle + half


def sheet(height: float, title: str, subtitle: str, width: float = WIDTH) -> Figure:
    """An empty figure of that many inches with its title; axes that are added go below."""
    left, top = MARGIN / width, 1 - MARGIN / height
    bottom, below_title = MARGIN / height, 1 - (HEADER + LINE * (subtitle.count("\n") + 1)) / height
    room = (left, bottom, 1 - 2 * left, below_title - bottom)
    layout = ConstrainedLayoutEngine(rect=room, w_pad=0, h_pad=0, wspace=0.06, hspace=0.1)
    figure = Figure(figsize=(width, height), layout=layout)
    heading = figure.suptitle(title, x=left, y=top, ha="left", va="top", size=14, weight="bold", parse_math=False)
    heading.set_in_layout(False)
    figure.text(left, top - 0.3 / height, subtitle, va="top", color=MUTED, parse_math=False)
    return figure


def message(title: str, text: str) -> Figure:
    """A picture that says why there is nothing to see."""
    return sheet(HEADER + LINE + MARGIN, title, text)


def count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f} %"


def shape_text(array: Array) -> str:
    return " × ".join(map(str, array.shape))
