"""Arrays of pixels: masks of polygons and triangles, filling of holes, enlarging, sampling a square.

Pixel centres are at integers; x is the column, y the row.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, map_coordinates

from fomm_lib.synthetic.render import compile_program, shared_context

_SUBPIXELS = 4  # polygons are drawn this many times larger, then averaged
_DEPTH_RANGE = 16.0  # dm before and behind the eyes that `rasterize` keeps


def luminance(colours: np.ndarray) -> np.ndarray:
    """Luma of colours (..., 3), by ITU-R BT.601."""
    return colours @ np.array([0.299, 0.587, 0.114], np.float32)


def polygon(shape: tuple[int, int], points: np.ndarray, scale: float = 1.0, grow: float = 0.0) -> np.ndarray:
    """The share of every pixel that a polygon covers, which is drawn up to an eighth of a pixel larger.

    Args:
        shape: (H, W) of the result.
        points: (n, 2) corners, in pixels of an image that is `scale` times smaller.
        grow: distance by which each corner is first moved away from the middle of all, in those pixels.
    Returns:
        (H, W) float32 in [0, 1].

    Example:
        >>> corners = np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]])
        >>> float(polygon((4, 4), corners)[1, 1])
        1.0
    """
    away = points - points.mean(axis=0)
    length = np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1)
    corners = ((points + grow * away / length + 0.5) * scale) * _SUBPIXELS
    height, width = shape
    large = Image.new("L", (width * _SUBPIXELS, height * _SUBPIXELS))
    ImageDraw.Draw(large).polygon([tuple(corner) for corner in corners - 0.5], fill=255)
    blocks = np.asarray(large, np.float32).reshape(height, _SUBPIXELS, width, _SUBPIXELS)
    return blocks.mean(axis=(1, 3)) / 255


def resize_float(image: np.ndarray, size: tuple[int, int], method: int) -> np.ndarray:
    """A float image (h, w) or (h, w, C) at `size` = (H, W), by a method of `PIL.Image.Resampling`."""
    channels = np.atleast_3d(image).astype(np.float32)
    resized = [
        np.asarray(Image.fromarray(np.ascontiguousarray(channels[..., k])).resize(size[::-1], method))
        for k in range(channels.shape[2])
    ]
    return np.stack(resized, axis=2).reshape(*size, *image.shape[2:])


def fill(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fill pixels of weight 0 from means over larger and larger surroundings (pull-push).

    Args:
        image: (H, W, 3) float.
        weight: (H, W), 0 to 1: how much a pixel is kept.

    Source: Gortler et al., *The Lumigraph*, 1996, section 3.4.

    Example:
        >>> float(fill(np.full((8, 8, 3), 5.0), np.eye(8)).std())
        0.0
    """
    image, weight = image.astype(np.float32), weight.astype(np.float32)
    if weight.min() > 0.99:
        return image
    height, width = weight.shape
    if min(height, width) <= 2:
        mean = (image * weight[..., None]).sum(axis=(0, 1)) / max(float(weight.sum()), 1e-6)
        return np.where(weight[..., None] > 0.01, image, mean)
    pad = ((0, height % 2), (0, width % 2))
    kept = np.pad(weight, pad)
    colours = np.pad(image, (*pad, (0, 0))) * kept[..., None]
    small = (kept.shape[0] // 2, kept.shape[1] // 2)
    share = kept.reshape(small[0], 2, small[1], 2).mean(axis=(1, 3))
    mean = colours.reshape(small[0], 2, small[1], 2, 3).mean(axis=(1, 3)) / np.maximum(share, 1e-6)[..., None]
    coarse = fill(mean, np.minimum(4 * share, 1) * (share > 1e-3))
    fine = resize_float(coarse, kept.shape, Image.Resampling.BILINEAR)[:height, :width]
    return image * weight[..., None] + fine * (1 - weight[..., None])


def nearest(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Every pixel's value from the nearest pixel that is `known`, (H, W) bool; at least one must be."""
    row, column = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return image[row, column]


def sample_square(image: np.ndarray, square: tuple[float, float, float], size: int) -> np.ndarray:
    """A square of an image, resampled bilinearly; beyond its border the image is mirrored.

    Args:
        image: (H, W, 3) float.
        square: left and top edge, and side, in pixels, of which the first begins at 0.
        size: width and height of the result.
    Returns:
        (size, size, 3) float32.
    """
    left, top, side = square
    centres = (np.arange(size) + 0.5) * side / size - 0.5
    rows, columns = np.meshgrid(top + centres, left + centres, indexing="ij")
    return np.stack(
        [map_coordinates(image[..., k], [rows, columns], order=1, mode="mirror") for k in range(3)], axis=2
    ).astype(np.float32)


def rasterize(
    faces: np.ndarray,
    points: np.ndarray,
    depth: np.ndarray,
    shape: tuple[int, int],
    values: np.ndarray | None = None,
) -> np.ndarray:
    """A value of the nearest triangle at every pixel centre.

    Args:
        faces: (F, 3) triangles.
        points: (V, 2) corners in pixels; depth: (V,) in dm, larger is nearer.
        shape: (H, W) of the result.
        values: (V,) what to interpolate; the depth by default.
    Returns:
        (H, W) float32; NaN where there is no triangle.

    Raises:
        InputError: nothing can be drawn; see `shared_context`.
    """
    gl, program = shared_context(), _raster_program()
    height, width = shape
    if len(faces) == 0:
        return np.full(shape, np.nan, np.float32)
    x, y = ((2 * points.T + 1) / np.array([[width], [height]])) - 1
    values = depth if values is None else values
    corners = np.stack([x, y, -depth / _DEPTH_RANGE, values], axis=1)[faces.ravel()].astype("f4")
    target = gl.framebuffer(
        [gl.renderbuffer((width, height), 2, dtype="f4")], gl.depth_renderbuffer((width, height))
    )
    buffer = gl.buffer(np.ascontiguousarray(corners).tobytes())
    array = gl.vertex_array(program, [(buffer, "3f 1f", "place", "value")])
    target.use()
    target.clear(0.0, 0.0, 0.0, 0.0)
    gl.enable(gl.DEPTH_TEST)
    array.render()
    raw = np.frombuffer(target.read(components=2, dtype="f4", alignment=1), np.float32).reshape(
        height, width, 2
    )
    return np.where(raw[..., 1] > 0, raw[..., 0], np.nan).astype(np.float32)


@lru_cache(maxsize=1)
def _raster_program():
    return compile_program("photograph_raster_vertex", "photograph_raster", defines={}, units={})
