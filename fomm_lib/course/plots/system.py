"""The system drawing: all networks of the model, and the shape of every tensor that passes between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from fomm_lib.course.plots.showing import INCHES, STYLE
from fomm_lib.errors import InputError
from fomm_lib.media.overlays import COLOURS
from fomm_lib.media.tensors import as_pixels

BLACK, ORANGE, _, GREEN, BLUE, RED, _ = COLOURS
SIDE = 0.8  # of an image, in inches, as are all numbers of the layout below; y points up


class _Box(NamedTuple):
    """A network: its lower left corner, its size, what is written in it."""

    x: float
    y: float
    width: float
    height: float
    text: str
    colour: str


class _Arrow(NamedTuple):
    """A data flow; `text` may name shapes in braces and stands at `at`."""

    start: tuple[float, float]
    end: tuple[float, float]
    text: str = ""
    at: tuple[float, float] = (0.0, 0.0)
    align: str = "center"
    style: str = "-"


# name: (x and y of the lower left corner, title)
IMAGES = {
    "source": (0.08, 2.25, "source"),
    "driving": (0.08, 0.45, "driving frame"),
    "prediction": (5.1, 2.25, "prediction"),
}
BOXES = (
    _Box(1.22, 0.4, 0.78, 1.95, "keypoint\ndetector\n\n(03)", BLUE),
    _Box(2.98, 0.4, 0.95, 1.1, "dense\nmotion\n\n(04)", GREEN),
    _Box(1.9, 2.62, 0.7, 0.56, "encoder\n(05)", ORANGE),
    _Box(3.04, 2.62, 0.84, 0.56, "warp, mask\n(05)", ORANGE),
    _Box(4.2, 2.62, 0.66, 0.56, "decoder\n(05)", ORANGE),
    _Box(5.02, 0.75, 0.92, 0.62, "discriminator\n(06)", RED),
)
ARROWS = (
    _Arrow((0.88, 2.9), (1.9, 2.9)),
    _Arrow((0.88, 2.32), (1.22, 2.1)),
    _Arrow((0.88, 0.85), (1.22, 0.85)),
    _Arrow((2.0, 1.3), (2.98, 1.3), "of the source\np {value}\nJ {jacobian}", (2.38, 1.58)),
    _Arrow((2.0, 0.62), (2.98, 0.62), "of the driving frame\np {value}\nJ {jacobian}", (2.49, 0.21)),
    _Arrow((2.8, 1.0), (2.98, 1.0)),
    _Arrow((2.6, 2.9), (3.04, 2.9), "{features}", (2.82, 3.36)),
    _Arrow((3.42, 1.5), (3.42, 2.62), "flow\n{flow}", (3.36, 2.1), "right"),
    _Arrow((3.72, 1.5), (3.72, 2.62), "occlusion\n{occlusion}", (3.78, 2.1), "left"),
    _Arrow((3.88, 2.9), (4.2, 2.9)),
    _Arrow((4.86, 2.9), (5.1, 2.9)),
    _Arrow((5.48, 2.06), (5.48, 1.37), "only while\ntraining", (5.4, 1.72), "right", "--"),
    _Arrow((5.48, 0.75), (5.48, 0.45), "real or fake, by patch\n{realness}", (5.4, 0.25), style="--"),
)
NAMES = {*IMAGES, "value", "jacobian", "flow", "occlusion", "features", "realness"}


def draw_system(
    shapes: Mapping[str, Sequence[int]], images: Mapping[str, np.ndarray | Tensor] | None = None
) -> Figure:
    """The whole model as one drawing: networks as boxes, with the number of the notebook that builds each,
    and on every arrow the shape of the tensor that it stands for.

    Args:
        shapes: of one sample, without the batch axis: `source`, `driving`, `value` and `jacobian` (of the
            keypoints), `flow`, `occlusion`, `features`, `prediction`, `realness` (the discriminator's map).
        images: `source`, `driving`, `prediction`, to be shown in their places; an empty frame otherwise.

    Returns:
        A figure of 6 x 3.5 inches.

    Raises:
        InputError: a shape or an image is missing or unknown by name.

    Example:
        >>> names = "source driving value jacobian flow occlusion features prediction realness".split()
        >>> figure = draw_system(dict.fromkeys(names, (3, 64, 64)))
    """
    images = images or {}
    for what, given, wrong in (
        ("shapes", shapes, NAMES ^ shapes.keys()),
        ("images", images, images.keys() - IMAGES.keys()),
    ):
        if wrong:
            raise InputError(
                f"{what}: missing or unknown by name: {', '.join(sorted(wrong))}; "
                f"there are {', '.join(sorted(given)) or 'none'}"
            )
    texts = {name: str(tuple(shape)) for name, shape in shapes.items()}
    with matplotlib.rc_context(STYLE):
        figure = Figure(INCHES, layout="none")
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set(xlim=(0, INCHES[0]), ylim=(0, INCHES[1]))
        axis.axis("off")
        for name, (x, y, title) in IMAGES.items():
            if name in images:
                axis.imshow(as_pixels(images[name]), extent=(x, x + SIDE, y, y + SIDE), zorder=2)
            _draw_frame(axis, x, y, title, texts[name])
        for box in BOXES:
            _draw_box(axis, box)
        axis.text(4.94, 3.38, "generator", ha="right", va="center", fontsize=8)
        axis.plot([1.8, 1.8, 4.96, 4.96, 1.8], [2.54, 3.26, 3.26, 2.54, 2.54], ":", color=ORANGE, linewidth=1)
        # The dense motion network takes the source itself too: it warps it by every sparse motion.
        axis.plot([1.5, 1.5, 2.8, 2.8], [2.9, 2.42, 2.42, 1.0], color=BLACK, linewidth=1.1, linestyle="-")
        for arrow in ARROWS:
            _draw_arrow(axis, arrow._replace(text=arrow.text.format(**texts)))
    return figure


def _draw_frame(axis, x: float, y: float, title: str, shape: str) -> None:
    frame = matplotlib.patches.Rectangle((x, y), SIDE, SIDE, fill=False, linewidth=0.8, zorder=3)
    axis.add_patch(frame)
    axis.text(x + SIDE / 2, y + SIDE + 0.04, title, ha="center", va="bottom", fontsize=8)
    axis.text(x + SIDE / 2, y - 0.04, shape, ha="center", va="top", fontsize=7)


def _draw_box(axis, box: _Box) -> None:
    x, y, width, height, text, colour = box
    style = "round,pad=0,rounding_size=0.06"
    axis.add_patch(
        matplotlib.patches.FancyBboxPatch(
            (x, y), width, height, style, facecolor=(colour, 0.15), edgecolor=colour, linewidth=1.4
        )
    )
    axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8)


def _draw_arrow(axis, arrow: _Arrow) -> None:
    line = {"arrowstyle": "-|>", "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "color": BLACK}
    axis.annotate("", arrow.end, arrow.start, arrowprops=line | {"linestyle": arrow.style})
    axis.text(*arrow.at, arrow.text, ha=arrow.align, va="center", fontsize=7, linespacing=1.25)
