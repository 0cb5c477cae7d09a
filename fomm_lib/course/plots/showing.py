"""The style of all figures, and how a notebook shows them: as a PNG with an alternative text."""

from __future__ import annotations

import base64
import html
import io
import sys
from collections.abc import Iterable

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial import cKDTree
from torch import Tensor

from fomm_lib.errors import InputError
from fomm_lib.media.overlays import COLOURS
from fomm_lib.media.tensors import as_pixels

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


def use_style() -> None:
    """Use the style of the course for every figure made from now on.

    Example:
        >>> use_style()
        >>> matplotlib.rcParams["figure.dpi"]
        100.0
    """
    matplotlib.rcParams.update(STYLE)


class _Image:
    """A PNG and its alternative text, in the form in which a notebook stores them.

    JupyterLab shows an output of the kind `image/png` with an empty `alt`, whatever its metadata say. So the
    image is HTML, which JupyterLab, Colab and the site show as it is, with its text.
    """

    def __init__(self, png: bytes, alt: str):
        self.png, self.alt = png, alt
        self.live: dict = {}  # what is shown in place of the image as long as a kernel runs

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None):
        source = f"data:image/png;base64,{base64.b64encode(self.png).decode()}"
        return {
            **self.live,
            "text/html": f'<img alt="{html.escape(self.alt)}" src="{source}">',
            "text/plain": self.alt,
        }


def show(image: Figure | bytes, alt: str, colours: int | None = None) -> None:
    """Show a figure, or a PNG such as `animation_png` makes, in a notebook, with an alternative text.

    The text states the result, not the appearance: "far apart, JSD stays at 0.69 while Wasserstein grows with
    the distance" rather than "two curves". A figure is closed, so that it is not shown twice.

    Args:
        image: a figure of at most 6 x 3.5 inches, or the bytes of a PNG of at most 600 x 350 pixels.
        alt: the alternative text; it is compared when the notebook is tested, so round the numbers in it.
        colours: how many colours of a figure to keep, 2 to 256: with 256, photographs take a third of the
            space and look the same. None keeps all.

    Raises:
        InputError: the text has fewer than three words, the image is too large or not a PNG, `colours` is out
            of its range, or IPython is not installed.

    Example:
        >>> show(image_grid([[torch.zeros(3, 8, 8)]]), alt="a black image, 8 by 8 pixels")
        a black image, 8 by 8 pixels
    """
    display(_image(image, alt, colours))


def show_widget(widget, image: Figure | bytes, alt: str) -> None:
    """Show a widget with sliders or buttons, and a still image of it to those who do not run the notebook.

    A widget works only while its kernel runs. The still image takes its place in a stored notebook, on the
    site, and in JupyterLab and Colab until the cell is run. (`interact` needs none: what its function shows
    at first is stored.)

    Args:
        widget: a widget of ipywidgets, e.g. `preview(model)`.
        image: what the widget looks like, or a result of it; see `show`.
        alt: the alternative text of the image.

    Raises:
        InputError: see `show`; or `widget` is no widget.

    Example:
        >>> import ipywidgets
        >>> show_widget(ipywidgets.IntSlider(), image_grid([[torch.zeros(3, 8, 8)]]), "a black image")
        a black image
    """
    still = _image(image, alt)
    try:
        still.live = widget._repr_mimebundle_()
    except (AttributeError, TypeError) as error:
        raise InputError(f"{type(widget).__name__} is no widget of ipywidgets") from error
    display(still)


def display(shown: object, instead: str = "use figure.savefig") -> None:
    """Show an object of IPython in a notebook; `instead` says what to do in a script.

    Raises:
        InputError: IPython is not installed.
    """
    try:
        from IPython.display import display as display_by_ipython
    except ImportError as error:
        raise InputError(f"there is no notebook to show this in; in a script {instead}") from error
    display_by_ipython(shown)


def _image(image: Figure | bytes, alt: str, colours: int | None = None) -> _Image:
    if len(alt.split()) < 3:
        raise InputError(f"alt is {alt!r}; say in a sentence what the image shows")
    if isinstance(image, Figure):
        # pyplot shows its open figures at the end of a cell: this one would be shown a second time.
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(image)
        image = Image.fromarray(figure_pixels(image))
        if colours is not None:
            image = image.quantize(_colour_count(colours), Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        image = _png(image)
    try:
        size = Image.open(io.BytesIO(image)).size
    except OSError as error:
        raise InputError("the image is no PNG; give a figure or the bytes of a PNG") from error
    if size[0] > INCHES[0] * DPI or size[1] > INCHES[1] * DPI:
        raise InputError(
            f"the image has {size[0]} x {size[1]} pixels; at most 600 x 350 fit a page: "
            "call use_style() first, or give figsize=(6, 3.5)"
        )
    return _Image(image, alt)


def figure_pixels(figure: Figure) -> np.ndarray:
    """A figure as pixels, uint8 (H, W, 3), at 100 dots an inch, e.g. a frame for `animation_png`.

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
    """Frames as an animated PNG, which every browser plays without a player or a network.

    Args:
        frames: uint8 (H, W, 3), or tensors (3, H, W) in [0, 1]; all of one size.
        fps: frames a second.
        hold: seconds for which the last frame stays before the animation repeats.
        colours: how many colours to keep, 2 to 256, the same in all frames: 32 suffice for a plot; a
            photograph needs all (None).

    Returns:
        The bytes of the PNG.

    Raises:
        InputError: there are no frames, their sizes differ, or a number is out of its range.

    Example:
        >>> png = animation_png([torch.rand(3, 32, 32) for _ in range(5)])
        >>> Image.open(io.BytesIO(png)).n_frames
        5
    """
    images = [Image.fromarray(as_pixels(frame)) for frame in frames]
    if not images:
        raise InputError("there are no frames to animate")
    if len({image.size for image in images}) > 1:
        raise InputError(f"frames have sizes {sorted({p.size for p in images})}; they must be of one size")
    if fps <= 0:
        raise InputError(f"fps is {fps}; give a number above 0")
    if colours is not None:
        _colour_count(colours)
        images = _few_colours(images, colours)
    times = [1000 / fps] * (len(images) - 1) + [1000 / fps + 1000 * hold]
    return _png(images[0], save_all=True, append_images=images[1:], duration=times, loop=0)


def _png(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True, **options)
    return buffer.getvalue()


def _colour_count(colours: int) -> int:
    if not 2 <= colours <= 256:
        raise InputError(f"colours is {colours}; give 2 to 256, or None for all")
    return colours


def _few_colours(images: list[Image.Image], colours: int) -> list[Image.Image]:
    """All images with one palette (separate ones would flicker); every pixel gets its nearest colour."""
    width, height = images[0].size
    every = Image.new("RGB", (width, height * len(images)))
    for i, image in enumerate(images):
        every.paste(image, (0, i * height))
    palette = every.quantize(colours, method=Image.Quantize.MEDIANCUT).getpalette()
    # Pillow's own search for the nearest colour is coarse: it turns white into a light grey.
    tree = cKDTree(np.reshape(palette, (-1, 3)))
    found = []
    for image in images:
        seen, index = np.unique(np.asarray(image).reshape(-1, 3), axis=0, return_inverse=True)
        nearest = tree.query(seen)[1][index].reshape(height, width)
        found.append(Image.fromarray(nearest.astype(np.uint8)).convert("P"))
        found[-1].putpalette(palette)
    return found
