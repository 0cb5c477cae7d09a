"""A photograph continued beyond its borders, with what the fitted bust looks like on it.

A head that turns or sways uncovers more than the photograph shows, and the square that is drawn is wider.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import theilslopes

from fomm_lib.synthetic.photographs.fit import DISTANCE, Fit
from fomm_lib.synthetic.photographs.landmarks import Portrait
from fomm_lib.synthetic.photographs.matte import Matte

SIDES, TOP, BOTTOM = 72, 24, 46
"""Pixels that are added at either side, above and below."""

_STEEPEST = 1.2  # rows a column: slope of a shoulder that is continued
_OUTLINE = slice(8, 32)  # columns in which it is measured: the matte is less sure beside the border


@dataclass(frozen=True)
class Canvas:
    """A photograph continued beyond its borders; all arrays are (H, W, ...), all points in its pixels.

    Attributes:
        image: (H, W, 3) float32, the photograph; person, background: colours of either, see `Matte`.
        alpha: (H, W) float32, opacity of the person.
        offset: (2,) position of the photograph's first pixel.
        landmarks: (68, 2); eye_distance: pixels.
        points: (N, 2) the fitted bust; depth: (N,) how much nearer than the eyes, dm.
    """

    image: np.ndarray
    person: np.ndarray
    background: np.ndarray
    alpha: np.ndarray
    offset: np.ndarray
    landmarks: np.ndarray
    eye_distance: float
    points: np.ndarray
    depth: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.alpha.shape

    @property
    def rows(self) -> np.ndarray:
        """(H, W): the row of every pixel."""
        return np.mgrid[: self.shape[0], : self.shape[1]][0]

    def texture_points(self, points: np.ndarray) -> np.ndarray:
        """Pixels (n, 2) as texture coordinates, 0 to 1 between the outer edges."""
        return (points + 0.5) / np.array(self.shape[::-1])


def make_canvas(portrait: Portrait, fit: Fit, matte: Matte) -> Canvas:
    """Continue a portrait: the person by repeating the border, shoulders along their slope; the background by
    mirroring it (repeated, both would have stripes; mirrored, collars and chins would be there twice).
    """
    offset = np.array([SIDES, TOP])
    slopes = _slope(matte.alpha), _slope(matte.alpha[:, ::-1])
    alpha = _continued(matte.alpha, slopes)
    # A crown that the photograph cuts off stays cut off.
    alpha[:TOP] *= np.clip(1 - (TOP - np.arange(TOP)) / 4, 0, 1)[:, None]
    mirrored = np.pad(matte.background, ((TOP, BOTTOM), (SIDES, SIDES), (0, 0)), mode="reflect")
    bust = fit.deformed
    return Canvas(
        _continued(portrait.image.astype(np.float32), slopes),
        _continued(matte.person, slopes),
        mirrored,
        alpha,
        offset,
        portrait.landmarks + offset,
        portrait.eye_distance,
        fit.project(bust) + offset,
        (fit.to_camera(bust)[:, 2] + DISTANCE).astype(np.float32),
    )


def _slope(alpha: np.ndarray) -> float:
    """How many rows the outline falls a column towards the left border; 0 where nobody is there."""
    solid = alpha > 0.5
    if not solid[:, : _OUTLINE.stop].any(axis=0).all():
        return 0.0
    columns = np.arange(_OUTLINE.start, _OUTLINE.stop)
    rise = theilslopes(solid[:, _OUTLINE].argmax(axis=0), columns)[0]
    return float(np.clip(-rise, 0, _STEEPEST))


def _continued(image: np.ndarray, slopes: tuple[float, float]) -> np.ndarray:
    """Repeat the border of (H, W) or (H, W, 3): at the left and right shifted down by the slope."""
    pad = ((TOP, BOTTOM), (0, 0)) + ((0, 0),) * (image.ndim - 2)
    image = np.pad(image, pad, mode="edge")
    rows = np.arange(len(image))[:, None] - np.arange(1, SIDES + 1) * np.array(slopes)[:, None, None]
    rows = np.clip(np.round(rows), 0, len(image) - 1).astype(int)
    left, right = image[rows[0][:, ::-1], 0], image[rows[1], -1]
    return np.concatenate([left, image, right], axis=1).astype(np.float32)
