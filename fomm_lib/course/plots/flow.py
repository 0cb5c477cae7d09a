"""Dense flow as colours and arrows, and marked pixels."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import ImageColor
from torch import Tensor

from fomm_lib.course.plots.showing import INCHES, STYLE
from fomm_lib.errors import InputError
from fomm_lib.geometry import coordinate_grid
from fomm_lib.media.overlays import COLOURS
from fomm_lib.media.tensors import as_pixels


def flow_colours(displacement: Tensor, maximum: float | None = None) -> np.ndarray:
    """A field of displacements as colours: hue is the direction, saturation the length.

    Args:
        displacement: (H, W, 2), (x, y) in [-1, 1] units, e.g. a backward flow minus the `coordinate_grid`.
        maximum: the length that has full saturation; by default the longest.

    Returns:
        uint8 (H, W, 3): white where nothing moves, red to the right, green-yellow down, cyan left, violet up.

    Raises:
        InputError: the shape is wrong, or numbers are not finite.

    Example:
        >>> flow_colours(torch.zeros(2, 2, 2))[0, 0]
        array([255, 255, 255], dtype=uint8)
    """
    field = _field(displacement)
    length = np.hypot(field[..., 0], field[..., 1])
    maximum = length.max() if maximum is None else maximum
    hue = np.arctan2(field[..., 1], field[..., 0]) / (2 * np.pi) % 1
    strength = np.clip(length / max(maximum, 1e-12), 0, 1)
    colours = matplotlib.colors.hsv_to_rgb(np.stack([hue, strength, np.ones_like(hue)], -1))
    return (colours * 255).round().astype(np.uint8)


def plot_flow(flow: Tensor, arrows: int = 12, maximum: float | None = None) -> Figure:
    """A dense backward flow as colours and arrows, with a colour wheel as its legend.

    An arrow starts at a pixel of the driving frame and ends at the point of the source that it copies.

    Args:
        flow: (H, W, 2), points of the source in [-1, 1]; the identity is `coordinate_grid(H, W)`.
        arrows: how many along the shorter side.
        maximum: the displacement that has full saturation, in units of [-1, 1]; by default the longest.

    Returns:
        A figure of 6 x 3.5 inches: the field, and the colour wheel.

    Raises:
        InputError: the shape is wrong, or numbers are not finite.

    Example:
        >>> from fomm_lib.geometry import coordinate_grid
        >>> figure = plot_flow(coordinate_grid(64, 64) * 0.9)
    """
    longest = float(_displacement(flow).norm(dim=-1).max()) if maximum is None else maximum
    with matplotlib.rc_context(STYLE):
        figure = Figure(INCHES)
        axis, wheel = figure.subplots(1, 2, width_ratios=(3, 1))
        _draw_flow(axis, flow, arrows, longest)
        axis.set(xlabel="x, -1 to 1", ylabel="y, -1 to 1", title="from driving to source")
        axis.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        _draw_wheel(wheel, longest)
    return figure


def plot_flows(flows: Mapping[str, Tensor], arrows: int = 10, maximum: float | None = None) -> Figure:
    """Dense backward flows side by side in the same colours, to compare them, with a colour wheel.

    Args:
        flows: {title: (H, W, 2)}, one to four, points of the source in [-1, 1].
        arrows, maximum: as in `plot_flow`; by default `maximum` is the longest displacement of all flows.

    Returns:
        A figure 6 inches wide.

    Raises:
        InputError: there are no flows or too many, a shape is wrong, or numbers are not finite.

    Example:
        >>> grid = coordinate_grid(64, 64)
        >>> figure = plot_flows({"nearer": grid * 0.9, "farther": grid * 1.1})
        >>> [axis.get_title() for axis in figure.axes]
        ['nearer', 'farther', 'direction, length']
    """
    if not 1 <= len(flows) <= 4:
        raise InputError(f"there are {len(flows)} flows; give 1 to 4, so that arrows can be seen")
    if maximum is None:
        maximum = max(float(_displacement(flow).norm(dim=-1).max()) for flow in flows.values())
    with matplotlib.rc_context(STYLE):
        figure = Figure((INCHES[0], 0.5 + 5.4 / (len(flows) + 0.8)))
        *axes, wheel = figure.subplots(1, len(flows) + 1, width_ratios=(*[1] * len(flows), 0.8))
        for axis, (title, flow) in zip(axes, flows.items(), strict=True):
            _draw_flow(axis, flow, arrows, maximum)
            axis.set(xticks=[], yticks=[], title=title)
        _draw_wheel(wheel, maximum)
        wheel.title.set_fontsize(8)
    return figure


def mark_pixels(
    image: np.ndarray | Tensor, where: np.ndarray | Tensor, colour: str = COLOURS[6]
) -> np.ndarray:
    """The image with some of its pixels hatched, e.g. those that are not visible in the source.

    An image below 192 pixels is enlarged first, by a whole factor, so that the hatching can be seen.

    Args:
        image: tensor (3, H, W) in [0, 1], or uint8 (H, W, 3).
        where: bool (H, W), which pixels.
        colour: of the hatching, on white.

    Returns:
        uint8 (H, W, 3), or a multiple of that size.

    Raises:
        InputError: `where` has another size than the image, or is not bool.

    Example:
        >>> mark_pixels(torch.zeros(3, 256, 256), torch.eye(256, dtype=torch.bool)).shape
        (256, 256, 3)
    """
    pixels, where = as_pixels(image), np.asarray(torch.as_tensor(where).cpu())
    if where.shape != pixels.shape[:2] or where.dtype != bool:
        raise InputError(
            f"the marks have shape {where.shape} and type {where.dtype}; give bool {pixels.shape[:2]}"
        )
    factor = -(-192 // min(pixels.shape[:2]))
    pixels, where = (array.repeat(factor, axis=0).repeat(factor, axis=1) for array in (pixels, where))
    # Stripes are visible without colour too, and cannot be mistaken for part of the image.
    row, column = np.indices(where.shape)
    striped = (row + column) // 3 % 2 == 0
    hatching = np.where(striped[..., None], np.array(ImageColor.getrgb(colour)), 255).astype(np.uint8)
    return np.where(where[..., None], hatching, pixels)


def _field(flow: Tensor) -> np.ndarray:
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise InputError(f"a flow has shape {tuple(flow.shape)}; give (H, W, 2), that of one image")
    if not bool(flow.isfinite().all()):
        raise InputError("a flow has values that are not finite; what made it has gone wrong")
    return flow.detach().float().cpu().numpy()


def _displacement(flow: Tensor) -> Tensor:
    """The flow, (H, W, 2), minus the identity."""
    _field(flow)
    return flow.detach().float().cpu() - coordinate_grid(*flow.shape[:2])


def _draw_flow(axis, flow: Tensor, arrows: int, longest: float) -> None:
    height, width = flow.shape[:2]
    moved, grid = _displacement(flow), coordinate_grid(height, width)
    axis.imshow(flow_colours(moved, longest), extent=(-1, 1, 1, -1), interpolation="nearest")
    # Arrows start half a stride inside, because at the borders they would run together.
    stride = max(min(height, width) // arrows, 1)
    some = (slice(stride // 2, None, stride),) * 2
    start, shift = grid[some].reshape(-1, 2), moved[some].reshape(-1, 2)
    axis.quiver(*start.T, *shift.T, angles="xy", scale_units="xy", scale=1, width=0.004)
    axis.set(xlim=(-1, 1), ylim=(1, -1))
    axis.grid(False)


def _draw_wheel(axis, longest: float) -> None:
    """The colour wheel: which colour stands for which displacement."""
    disc = coordinate_grid(101, 101)
    colours = flow_colours(disc, 1.0)
    colours[disc.norm(dim=-1).numpy() > 1] = 255
    axis.imshow(colours, extent=(-1, 1, 1, -1))
    axis.set(title="direction, length", xticks=[], yticks=[], xlabel=f"rim: {longest:.2g}")
    axis.spines[:].set_visible(False)
    for x, y, sign in ((1, 0, "→"), (-1, 0, "←"), (0, 1, "↓"), (0, -1, "↑")):
        axis.text(x * 0.8, y * 0.8, sign, ha="center", va="center")
    axis.grid(False)
