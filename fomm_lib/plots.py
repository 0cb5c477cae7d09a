"""Pictures of the course: one style, colours for every kind of sight, and words for who cannot see them.

Convention: colour never stands alone. Curves differ in line style too, keypoints carry numbers, flow has
arrows. Every picture that is shown has an alternative text, and at most 6 x 3.5 inches at 100 dots an inch.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy.spatial import cKDTree
from torch import Tensor

from fomm_lib.files import InputError
from fomm_lib.geometry import coordinate_grid, to_pixels

__all__ = [
    "COLOURS",
    "LOSS_NAMES",
    "animation_png",
    "draw_keypoints",
    "draw_system",
    "figure_pixels",
    "flow_colours",
    "mark_pixels",
    "picture_grid",
    "plot_curves",
    "plot_flow",
    "plot_flows",
    "plot_losses",
    "show",
    "use_style",
]

# Okabe and Ito's colours, told apart under every common kind of colour blindness; without the light yellow.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))

INCHES = (6.0, 3.5)
DPI = 100

STYLE = {
    "figure.figsize": INCHES,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS) + matplotlib.cycler(linestyle=LINES),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "image.cmap": "viridis",
}

# The six losses of the paper, in the order in which training writes them.
LOSS_NAMES = {
    "perceptual": "perceptual",
    "gen_gan": "generator, adversarial",
    "feature_matching": "feature matching",
    "equivariance_value": "equivariance, value",
    "equivariance_jacobian": "equivariance, Jacobian",
    "disc_gan": "discriminator",
}


# Showing


def use_style() -> None:
    """Every figure made from now on follows the style of the course.

    Example:
        >>> use_style()
        >>> matplotlib.rcParams["figure.dpi"]
        100.0
    """
    matplotlib.rcParams.update(STYLE)


class _Picture:
    """A PNG and its words, as a notebook wants them."""

    def __init__(self, png: bytes, alt: str):
        self.png, self.alt = png, alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None):
        # The words stand in both: `text/plain` for a terminal, the metadata for screen readers in a browser.
        return {"image/png": self.png, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


def show(picture: Figure | bytes, alt: str, colours: int | None = None) -> None:
    """Show a figure, or a PNG such as `animation_png` makes, in a notebook, with words for who cannot see it.

    The text says what the picture says, not what it looks like: "far apart, JSD stays at 0.69 while
    Wasserstein grows with the distance" rather than "two curves". A figure is closed: it is not shown twice.

    Args:
        picture: a figure of at most 6 x 3.5 inches, or the bytes of a PNG of at most 600 x 350 pixels.
        alt: the text; it is compared when the notebook is tested, so round the numbers in it.
        colours: how many of a figure's to keep, 2 to 256: with 256, photographs take a third of the space and
            look as before. None keeps all.

    Raises:
        InputError: the text is missing or too short to say anything, the picture is too large or no PNG, or
            `colours` is out of its range.

    Example:
        >>> show(picture_grid([[torch.zeros(3, 8, 8)]]), alt="a black picture, 8 by 8 pixels")
        a black picture, 8 by 8 pixels
    """
    try:
        from IPython.display import display
    except ImportError as error:
        raise InputError(
            "there is no notebook to show pictures in; in a script use figure.savefig"
        ) from error
    if len(alt.split()) < 3:
        raise InputError(f"alt is {alt!r}; say in a sentence what the picture shows")
    if isinstance(picture, Figure):
        # A figure known to pyplot would be shown a second time at the end of the cell.
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(picture)
        picture = Image.fromarray(figure_pixels(picture))
        if colours is not None:
            picture = picture.quantize(
                _colour_count(colours), Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
            )
        picture = _png(picture)
    try:
        size = Image.open(io.BytesIO(picture)).size
    except OSError as error:
        raise InputError("the picture is no PNG; give a figure or the bytes of a PNG") from error
    if size[0] > INCHES[0] * DPI or size[1] > INCHES[1] * DPI:
        raise InputError(
            f"the picture has {size[0]} x {size[1]} pixels; at most 600 x 350 fit a page: "
            "call use_style() first, or give figsize=(6, 3.5)"
        )
    display(_Picture(picture, alt))


def figure_pixels(figure: Figure) -> np.ndarray:
    """A figure as pixels: uint8 (H, W, 3), at 100 dots an inch; a frame for `animation_png`.

    Example:
        >>> figure_pixels(Figure((1, 0.5))).shape
        (50, 100, 3)
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return np.asarray(Image.open(buffer).convert("RGB"))


def animation_png(
    frames: Iterable[np.ndarray | Tensor], fps: float = 10, hold: float = 1.0, colours: int | None = None
) -> bytes:
    """Frames as an animated PNG: it moves in every browser, needs no player, and no network.

    Args:
        frames: uint8 (H, W, 3), or tensors (3, H, W) in [0, 1]; all of one size.
        fps: frames a second.
        hold: seconds for which the last frame stays before it starts anew.
        colours: how many to keep, 2 to 256, the same in all frames: a plot needs 32, a photograph all (None).

    Raises:
        InputError: there are no frames, their sizes differ, or a number is out of its range.

    Example:
        >>> png = animation_png([torch.rand(3, 32, 32) for _ in range(5)])
        >>> Image.open(io.BytesIO(png)).n_frames
        5
    """
    pictures = [Image.fromarray(_pixels(frame)) for frame in frames]
    if not pictures:
        raise InputError("there are no frames to animate")
    if len({picture.size for picture in pictures}) > 1:
        raise InputError(f"frames have sizes {sorted({p.size for p in pictures})}; they must be of one size")
    if fps <= 0:
        raise InputError(f"fps is {fps}; give a number above 0")
    if colours is not None:
        _colour_count(colours)
        pictures = _few_colours(pictures, colours)
    times = [1000 / fps] * (len(pictures) - 1) + [1000 / fps + 1000 * hold]
    return _png(pictures[0], save_all=True, append_images=pictures[1:], duration=times, loop=0)


# Pictures and keypoints


def picture_grid(
    rows: Sequence[Sequence[np.ndarray | Tensor | None]],
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
) -> Figure:
    """Pictures in rows and columns, e.g. source | driving | keypoints | deformed | occlusion | prediction.

    Args:
        rows: pictures of any size: tensors (3, H, W) or (1, H, W) or (H, W) in [0, 1], or uint8 (H, W, 3);
            one channel is shown in grey, None leaves a gap.
        titles: one a column.
        row_titles: one a row.

    Returns:
        A figure of at most 6 x 3.5 inches.

    Raises:
        InputError: there are no pictures, rows differ in length, or the titles do not fit.

    Example:
        >>> figure = picture_grid([[torch.rand(3, 64, 64), torch.rand(1, 64, 64)]], ["source", "occlusion"])
        >>> len(figure.axes)
        2
    """
    lengths = {len(row) for row in rows}
    if not lengths or lengths == {0}:
        raise InputError("there are no pictures to show")
    if len(lengths) > 1:
        raise InputError(
            f"rows have {sorted(lengths)} pictures; give None for a gap, so that all are of one length"
        )
    (columns,) = lengths
    for name, given, wanted in (("titles", titles, columns), ("row_titles", row_titles, len(rows))):
        if given is not None and len(given) != wanted:
            raise InputError(f"{name} has {len(given)} entries; there are {wanted} to name")
    pixels = [[None if picture is None else _pixels(picture) for picture in row] for row in rows]
    height, width = next((p.shape[:2] for row in pixels for p in row if p is not None), (1, 1))

    above, beside = 0.22 * (titles is not None), 0.22 * (row_titles is not None)
    cell = min((INCHES[0] - beside) / columns, (INCHES[1] - above) / len(rows) * width / height)
    with matplotlib.rc_context(STYLE):
        figure = Figure((beside + cell * columns, above + cell * height / width * len(rows)))
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for i, row in enumerate(pixels):
            for j, picture in enumerate(row):
                axis = axes[i, j]
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if picture is not None:
                    axis.imshow(picture)
                if titles is not None and i == 0:
                    axis.set_title(titles[j], fontsize=9, pad=3)
                if row_titles is not None and j == 0:
                    axis.set_ylabel(row_titles[i], fontsize=9)
    return figure


def draw_keypoints(picture: np.ndarray | Tensor, keypoints, radius: float | None = None) -> np.ndarray:
    """The picture with its keypoints as coloured discs, numbered from 0.

    A picture below 192 pixels is enlarged first, by a whole factor, so that the numbers can be read.

    Args:
        picture: tensor (3, H, W) in [0, 1], or uint8 (H, W, 3).
        keypoints: (K, 2) or (1, K, 2), (x, y) in [-1, 1]; or what a detector returns, for one picture.
        radius: of the discs, in pixels of the result; a 24th of its shorter side unless given.

    Returns:
        uint8 (H, W, 3), enlarged or not; the picture itself stays as it is. Points outside it are not seen.

    Raises:
        InputError: the keypoints are not those of one picture, or not finite.

    Example:
        >>> draw_keypoints(torch.zeros(3, 256, 256), torch.tensor([[0.0, 0.0]])).shape
        (256, 256, 3)
    """
    points = torch.as_tensor(getattr(keypoints, "value", keypoints)).detach().float().cpu()
    if points.ndim == 3 and len(points) == 1:
        points = points[0]
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"keypoints have shape {tuple(points.shape)}; give (K, 2), those of one picture")
    if not bool(points.isfinite().all()):
        raise InputError("some keypoints are not finite; the detector that made them has gone wrong")
    pixels = _pixels(picture)
    factor = -(-192 // min(pixels.shape[:2]))
    pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = pixels.shape[:2]
    # A point lies where it lay in the small picture: half a small pixel from the border.
    centres = (to_pixels(points, height // factor, width // factor) + 0.5) * factor
    radius = min(height, width) / 24 if radius is None else radius
    # Drawn four times as large and made smaller: smooth edges. Digits only where they can be read.
    scale = 4
    layer = Image.new("RGBA", (width * scale, height * scale))
    draw = ImageDraw.Draw(layer)
    font = ImageFont.load_default(size=max(1.6 * radius, 7) * scale)
    for k, (x, y) in enumerate((centres * scale).tolist()):
        r = radius * scale
        red, green, blue = ImageColor.getrgb(COLOURS[1:][k % 6])
        draw.ellipse(
            (x - r, y - r, x + r, y + r), fill=(red, green, blue, 255), outline="white", width=scale // 2
        )
        if radius >= 3:
            draw.text((x, y), str(k), fill="black", font=font, anchor="mm")
    layer = layer.resize((width, height), Image.Resampling.LANCZOS)
    below = Image.fromarray(pixels).convert("RGBA")
    return np.asarray(Image.alpha_composite(below, layer).convert("RGB"))


# Curves


def plot_curves(
    x: Sequence[float] | Tensor,
    curves: Mapping[str, Sequence[float] | Tensor],
    xlabel: str,
    ylabel: str,
    size: tuple[float, float] = (6.0, 3.0),
    **axis_options,
) -> Figure:
    """Curves over one x, each with a colour, a line style and a name of its own.

    Args:
        x: (N,), numbers or a tensor.
        curves: {name: values (N,)}, at most seven; tensors may require gradients.
        xlabel, ylabel: what the axes show, with units or ranges.
        size: in inches.
        axis_options: anything `Axes.set` takes, e.g. `ylim=(0, 1)`.

    Returns:
        A figure; draw what else it needs on `figure.axes[0]`.

    Raises:
        InputError: there are no curves, or more than can be told apart, or a curve's length is not that of x.

    Example:
        >>> figure = plot_curves(range(3), {"rises": [0, 1, 2]}, "step", "loss (no unit)", ylim=(0, 2))
        >>> figure.axes[0].get_ylim() == (0, 2)
        True
    """
    if not 1 <= len(curves) <= len(COLOURS):
        raise InputError(
            f"there are {len(curves)} curves; give 1 to {len(COLOURS)}, so that they can be told apart"
        )
    x = np.asarray(torch.as_tensor(x).detach().cpu())
    with matplotlib.rc_context(STYLE):
        figure = Figure(size)
        axis = figure.subplots()
        for name, values in curves.items():
            values = np.asarray(torch.as_tensor(values).detach().cpu())
            if values.shape != x.shape:
                raise InputError(f"{name} has shape {values.shape}, x {x.shape}; they must be of one length")
            axis.plot(x, values, label=name)
        axis.set(xlabel=xlabel, ylabel=ylabel, **axis_options)
        axis.legend()
    return figure


def plot_losses(
    losses: str | os.PathLike | Mapping[str, Sequence[float]], window: int | None = None
) -> Figure:
    """The six losses of a training over its steps, a panel each: faint as measured, firm as a moving mean.

    Args:
        losses: a CSV with a header, as training writes it, or a dict {name: values}. Names are those of
            `LOSS_NAMES`, and `step` (else rows are counted); other columns are left alone, a missing loss
            leaves its panel empty.
        window: how many rows the moving mean takes; a fiftieth of them unless given.

    Returns:
        A figure of 6 x 3.5 inches.

    Raises:
        InputError: the file is no table of numbers, no known loss is in it, or columns differ in length.

    Example:
        >>> figure = plot_losses({"perceptual": [90.0, 80.0, 75.0], "gen_gan": [1.0, 0.9, 0.8]})
        >>> [axis.get_title() for axis in figure.axes][:2]
        ['perceptual', 'generator, adversarial']
    """
    table = _read_table(losses) if isinstance(losses, (str, os.PathLike)) else losses
    columns = {
        name: np.asarray(values, dtype=float)
        for name, values in table.items()
        if name in {*LOSS_NAMES, "step"}
    }
    if not columns.keys() & LOSS_NAMES.keys():
        raise InputError(f"no loss among the columns {sorted(table)}; known are {', '.join(LOSS_NAMES)}")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise InputError(f"columns must be of one length, and not empty; they have {lengths}")
    rows = next(iter(lengths.values()))
    step = columns.get("step", np.arange(rows))
    window = max(rows // 50, 1) if window is None else window
    with matplotlib.rc_context(STYLE):
        figure = Figure(INCHES)
        axes = figure.subplots(2, 3, sharex=True)
        for axis, colour, (name, title) in zip(axes.flat, COLOURS[1:], LOSS_NAMES.items(), strict=True):
            axis.set_title(title)
            if name not in columns:
                axis.text(0.5, 0.5, "not measured", ha="center", transform=axis.transAxes, fontsize=8)
                axis.set_yticks([])
                continue
            axis.plot(step, columns[name], color=colour, linestyle="-", alpha=0.3, linewidth=0.8)
            axis.plot(step, _moving_mean(columns[name], window), color=colour, linestyle="-")
            axis.set_ylim(bottom=0)
        for axis in axes[1]:
            axis.set_xlabel("step")
        for axis in axes[:, 0]:
            axis.set_ylabel("loss (weighted)")
    return figure


# Flow


def flow_colours(displacement: Tensor, maximum: float | None = None) -> np.ndarray:
    """A field of displacements as colours: the hue says the direction, the strength of the colour the length.

    Args:
        displacement: (H, W, 2), (x, y) in [-1, 1] units, e.g. a backward flow less the `coordinate_grid`.
        maximum: the length that has full colour; the longest unless given.

    Returns:
        uint8 (H, W, 3): white where nothing moves, red to the right, green-yellow down, cyan left, violet up.

    Raises:
        InputError: the shape is another, or numbers are not finite.

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
    """A dense backward flow, as colours with a wheel that explains them, and as arrows.

    An arrow starts at a pixel of the driving frame and points to the place of the source that it copies.

    Args:
        flow: (H, W, 2), points of the source in [-1, 1]; the identity is `coordinate_grid(H, W)`.
        arrows: how many along the shorter side.
        maximum: the displacement that has full colour, in units of [-1, 1]; the longest unless given.

    Returns:
        A figure of 6 x 3.5 inches: the field, and the wheel.

    Raises:
        InputError: the shape is another, or numbers are not finite.

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
    """Dense backward flows side by side, in the same colours, so that they can be compared; then the wheel.

    Args:
        flows: {title: (H, W, 2)}, one to four, points of the source in [-1, 1].
        arrows, maximum: as in `plot_flow`; the longest displacement of all flows unless given.

    Returns:
        A figure 6 inches wide.

    Raises:
        InputError: there are no flows or too many, a shape is another, or numbers are not finite.

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
    picture: np.ndarray | Tensor, where: np.ndarray | Tensor, colour: str = COLOURS[6]
) -> np.ndarray:
    """The picture with some of its pixels hatched, e.g. those that the source does not show.

    A picture below 192 pixels is enlarged first, by a whole factor, so that the hatching can be seen.

    Args:
        picture: tensor (3, H, W) in [0, 1], or uint8 (H, W, 3).
        where: (H, W) of bool, which pixels.
        colour: of the hatching, on white.

    Returns:
        uint8, the picture, enlarged or not.

    Raises:
        InputError: the marks are not as many as the pixels, or no bool.

    Example:
        >>> mark_pixels(torch.zeros(3, 256, 256), torch.eye(256, dtype=torch.bool)).shape
        (256, 256, 3)
    """
    pixels, where = _pixels(picture), np.asarray(torch.as_tensor(where).cpu())
    if where.shape != pixels.shape[:2] or where.dtype != bool:
        raise InputError(
            f"the marks have shape {where.shape} and type {where.dtype}; give bool {pixels.shape[:2]}"
        )
    factor = -(-192 // min(pixels.shape[:2]))
    pixels, where = (array.repeat(factor, axis=0).repeat(factor, axis=1) for array in (pixels, where))
    # Stripes are seen without colour too, and a whole area is not taken for part of the picture.
    row, column = np.indices(where.shape)
    striped = (row + column) // 3 % 2 == 0
    hatching = np.where(striped[..., None], np.array(ImageColor.getrgb(colour)), 255).astype(np.uint8)
    return np.where(where[..., None], hatching, pixels)


# The system


def draw_system(
    shapes: Mapping[str, Sequence[int]], pictures: Mapping[str, np.ndarray | Tensor] | None = None
) -> Figure:
    """The whole model as one drawing: networks as boxes, with the number of the notebook that builds each,
    and on every arrow the shape of what travels along it.

    Args:
        shapes: of one sample, without the batch axis: `source`, `driving`, `value` and `jacobian` (of the
            keypoints), `flow`, `occlusion`, `features`, `prediction`, `judged` (the discriminator's map).
        pictures: `source`, `driving`, `prediction`, to be shown in their places; a blank frame otherwise.

    Returns:
        A figure of 6 x 3.5 inches.

    Raises:
        InputError: a shape or a picture is missing or unknown by name.

    Example:
        >>> names = "source driving value jacobian flow occlusion features prediction judged".split()
        >>> figure = draw_system(dict.fromkeys(names, (3, 64, 64)))
    """
    known = {
        "source",
        "driving",
        "value",
        "jacobian",
        "flow",
        "occlusion",
        "features",
        "prediction",
        "judged",
    }
    pictures = pictures or {}
    for what, given, wrong in (
        ("shapes", shapes, known ^ shapes.keys()),
        ("pictures", pictures, pictures.keys() - {"source", "driving", "prediction"}),
    ):
        if wrong:
            raise InputError(
                f"{what}: missing or unknown by name: {', '.join(sorted(wrong))}; "
                f"there are {', '.join(sorted(given)) or 'none'}"
            )
    black, orange, _, green, blue, red, _ = COLOURS
    with matplotlib.rc_context(STYLE):
        figure = Figure(INCHES, layout="none")
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set(xlim=(0, INCHES[0]), ylim=(0, INCHES[1]))
        axis.axis("off")

        def picture(name: str, x: float, y: float, words: str, side: float = 0.8) -> None:
            if name in pictures:
                axis.imshow(_pixels(pictures[name]), extent=(x, x + side, y, y + side), zorder=2)
            frame = matplotlib.patches.Rectangle((x, y), side, side, fill=False, linewidth=0.8, zorder=3)
            axis.add_patch(frame)
            axis.text(x + side / 2, y + side + 0.04, words, ha="center", va="bottom", fontsize=8)
            shape = tuple(shapes[name])
            axis.text(x + side / 2, y - 0.04, f"{shape}", ha="center", va="top", fontsize=7)

        def box(x: float, y: float, width: float, height: float, words: str, colour: str) -> None:
            style = "round,pad=0,rounding_size=0.06"
            axis.add_patch(
                matplotlib.patches.FancyBboxPatch(
                    (x, y), width, height, style, facecolor=(colour, 0.15), edgecolor=colour, linewidth=1.4
                )
            )
            axis.text(x + width / 2, y + height / 2, words, ha="center", va="center", fontsize=8)

        def arrow(start, end, words: str = "", at=None, align: str = "center", dashed: bool = False) -> None:
            line = {"arrowstyle": "-|>", "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "color": black}
            axis.annotate("", end, start, arrowprops=line | {"linestyle": "--" if dashed else "-"})
            if words:
                axis.text(*at, words, ha=align, va="center", fontsize=7, linespacing=1.25)

        keypoints = f"p {tuple(shapes['value'])}\nJ {tuple(shapes['jacobian'])}"
        picture("source", 0.08, 2.25, "source")
        picture("driving", 0.08, 0.45, "driving frame")
        picture("prediction", 5.1, 2.25, "prediction")
        box(1.22, 0.4, 0.78, 1.95, "keypoint\ndetector\n\n(03)", blue)
        box(2.98, 0.4, 0.95, 1.1, "dense\nmotion\n\n(04)", green)
        box(1.9, 2.62, 0.7, 0.56, "encoder\n(05)", orange)
        box(3.04, 2.62, 0.84, 0.56, "warp, mask\n(05)", orange)
        box(4.2, 2.62, 0.66, 0.56, "decoder\n(05)", orange)
        box(5.02, 0.75, 0.92, 0.62, "discriminator\n(06)", red)
        axis.text(4.94, 3.38, "generator", ha="right", va="center", fontsize=8)
        axis.plot([1.8, 1.8, 4.96, 4.96, 1.8], [2.54, 3.26, 3.26, 2.54, 2.54], ":", color=orange, linewidth=1)

        arrow((0.88, 2.9), (1.9, 2.9))
        arrow((0.88, 2.32), (1.22, 2.1))
        arrow((0.88, 0.85), (1.22, 0.85))
        arrow((2.0, 1.3), (2.98, 1.3), f"of the source\n{keypoints}", (2.38, 1.58))
        arrow((2.0, 0.62), (2.98, 0.62), f"of the driving frame\n{keypoints}", (2.49, 0.21))
        # The source itself goes to the dense motion network too: it is warped by every sparse motion there.
        axis.plot([1.5, 1.5, 2.8, 2.8], [2.9, 2.42, 2.42, 1.0], color=black, linewidth=1.1, linestyle="-")
        arrow((2.8, 1.0), (2.98, 1.0))
        arrow((2.6, 2.9), (3.04, 2.9), f"{tuple(shapes['features'])}", (2.82, 3.36))
        arrow((3.42, 1.5), (3.42, 2.62), f"flow\n{tuple(shapes['flow'])}", (3.36, 2.1), "right")
        arrow((3.72, 1.5), (3.72, 2.62), f"occlusion\n{tuple(shapes['occlusion'])}", (3.78, 2.1), "left")
        arrow((3.88, 2.9), (4.2, 2.9))
        arrow((4.86, 2.9), (5.1, 2.9))
        arrow((5.48, 2.06), (5.48, 1.37), "only while\ntraining", (5.4, 1.72), "right", dashed=True)
        arrow(
            (5.48, 0.75),
            (5.48, 0.45),
            f"real or fake, by patch\n{tuple(shapes['judged'])}",
            (5.4, 0.25),
            dashed=True,
        )
    return figure


# What the above share


def _png(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True, **options)
    return buffer.getvalue()


def _colour_count(colours: int) -> int:
    if not 2 <= colours <= 256:
        raise InputError(f"colours is {colours}; give 2 to 256, or None for all")
    return colours


def _few_colours(pictures: list[Image.Image], colours: int) -> list[Image.Image]:
    """The same few colours for all pictures, or they would flicker; every pixel gets the nearest of them."""
    width, height = pictures[0].size
    every = Image.new("RGB", (width, height * len(pictures)))
    for i, picture in enumerate(pictures):
        every.paste(picture, (0, i * height))
    palette = every.quantize(colours, method=Image.Quantize.MEDIANCUT).getpalette()
    # Pillow's own search is coarse: it turns white into a light grey.
    tree = cKDTree(np.reshape(palette, (-1, 3)))
    found = []
    for picture in pictures:
        seen, index = np.unique(np.asarray(picture).reshape(-1, 3), axis=0, return_inverse=True)
        nearest = tree.query(seen)[1][index].reshape(height, width)
        found.append(Image.fromarray(nearest.astype(np.uint8)).convert("P"))
        found[-1].putpalette(palette)
    return found


def _pixels(picture: np.ndarray | Tensor) -> np.ndarray:
    """Any picture of the course as uint8 (H, W, 3)."""
    if (
        isinstance(picture, np.ndarray)
        and picture.dtype == np.uint8
        and picture.ndim == 3
        and picture.shape[2] == 3
    ):
        return picture
    tensor = torch.as_tensor(picture).detach().cpu()
    if tensor.ndim == 2:
        tensor = tensor[None]
    if (
        tensor.ndim != 3
        or tensor.shape[0] not in (1, 3)
        or not (tensor.is_floating_point() or tensor.dtype == torch.bool)
    ):
        raise InputError(
            f"a picture has shape {tuple(picture.shape)} and type {picture.dtype}; "
            "give a tensor (3, H, W) or (1, H, W) in [0, 1], or uint8 (H, W, 3)"
        )
    return (tensor.float().clamp(0, 1) * 255).round().byte().expand(3, -1, -1).permute(1, 2, 0).numpy()


def _field(flow: Tensor) -> np.ndarray:
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise InputError(f"a flow has shape {tuple(flow.shape)}; give (H, W, 2), that of one picture")
    if not bool(flow.isfinite().all()):
        raise InputError("a flow has values that are not finite; what made it has gone wrong")
    return flow.detach().float().cpu().numpy()


def _displacement(flow: Tensor) -> Tensor:
    """How far a flow, (H, W, 2), leads from each place: the flow less the identity."""
    _field(flow)
    return flow.detach().float().cpu() - coordinate_grid(*flow.shape[:2])


def _draw_flow(axis, flow: Tensor, arrows: int, longest: float) -> None:
    height, width = flow.shape[:2]
    moved, grid = _displacement(flow), coordinate_grid(height, width)
    axis.imshow(flow_colours(moved, longest), extent=(-1, 1, 1, -1), interpolation="nearest")
    # The borders crowd: arrows start half a stride inside.
    stride = max(min(height, width) // arrows, 1)
    some = (slice(stride // 2, None, stride),) * 2
    start, way = grid[some].reshape(-1, 2), moved[some].reshape(-1, 2)
    axis.quiver(*start.T, *way.T, angles="xy", scale_units="xy", scale=1, width=0.004)
    axis.set(xlim=(-1, 1), ylim=(1, -1))
    axis.grid(False)


def _draw_wheel(axis, longest: float) -> None:
    """What the colours mean."""
    disc = coordinate_grid(101, 101)
    colours = flow_colours(disc, 1.0)
    colours[disc.norm(dim=-1).numpy() > 1] = 255
    axis.imshow(colours, extent=(-1, 1, 1, -1))
    axis.set(title="direction, length", xticks=[], yticks=[], xlabel=f"rim: {longest:.2g}")
    axis.spines[:].set_visible(False)
    for x, y, word in ((1, 0, "→"), (-1, 0, "←"), (0, 1, "↓"), (0, -1, "↑")):
        axis.text(x * 0.8, y * 0.8, word, ha="center", va="center")
    axis.grid(False)


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of the last `window` values; of fewer at the start, nothing is cut off or moved ahead. What is
    not a number counts in no mean, and has none.
    """
    known = np.isfinite(values)
    total = np.cumsum(np.concatenate([[0.0], np.where(known, values, 0)]))
    count = np.cumsum(np.concatenate([[0], known]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    with np.errstate(invalid="ignore"):
        return np.where(known, (total[end] - total[start]) / (count[end] - count[start]), np.nan)


def _read_table(path: str | os.PathLike) -> dict[str, list[float]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table of losses ({error})") from error
    table: dict[str, list[float]] = {}
    for number, row in enumerate(rows, 2):
        for name in row.keys() & {*LOSS_NAMES, "step"}:
            try:
                table.setdefault(name, []).append(float(row[name] or "nan"))
            except (TypeError, ValueError) as error:
                raise InputError(f"{path}, line {number}: {name} is {row[name]!r}, not a number") from error
    if not table:
        raise InputError(f"{path}: no rows with a loss in it; known columns are {', '.join(LOSS_NAMES)}")
    return table
