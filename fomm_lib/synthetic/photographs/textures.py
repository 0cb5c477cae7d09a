"""The images on the layers: skin without eyes and mouth, closed lids, eyeballs, teeth, and what is around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

from fomm_lib.synthetic.photographs.canvas import Canvas
from fomm_lib.synthetic.photographs.face import INNER_MOUTH, Face
from fomm_lib.synthetic.photographs.landmarks import EYES, LIPS, OPEN_MOUTH
from fomm_lib.synthetic.photographs.pixels import fill, luminance, nearest, polygon, resize_float

SCALE = 2  # textures are the photograph enlarged so much
_LID_BRIGHTNESS = 0.9  # of a closed lid, compared with the skin below it


@dataclass(frozen=True)
class Textures:
    """Images of (2H, 2W) for a canvas of (H, W), uint8.

    Attributes:
        skin: the photograph with the openings of eyes and mouth filled from around, so that iris and teeth do
            not smear onto lids and lips.
        lids: the same without what is around the eyes (lashes, shadows), for closed lids.
        eyes: the openings of the eyes, extended, for eyeballs that turn.
        teeth: (2H, 2W, 4) the inside of the mouth, opaque between the lips.
        outer: (2H, 2W, 4) the person without the face.
        tooth: (3,) a colour for teeth that the photograph does not show; lash: (3,) a colour for the lashes
            of closed lids, that of the darkest pixels at the edges of the eyes; skin_luminance: median, 0 to
            255.
        colourful: 0 for a grey photograph, 1 for a coloured one.
    """

    skin: np.ndarray
    lids: np.ndarray
    eyes: np.ndarray
    teeth: np.ndarray
    outer: np.ndarray
    tooth: np.ndarray
    lash: np.ndarray
    skin_luminance: float
    colourful: float


def mouth_opening(canvas: Canvas) -> float:
    """The gap between the lips, in distances between the eyes."""
    upper, lower = canvas.landmarks[LIPS[0], 1], canvas.landmarks[LIPS[1], 1]
    return float((lower - upper).mean() / canvas.eye_distance)


def make_textures(canvas: Canvas, face: Face) -> Textures:
    """Make the images of all layers."""
    person, image = _enlarged(canvas.person), _enlarged(canvas.image)
    alpha = np.clip(_enlarged(canvas.alpha), 0, 1)
    shape, is_open = alpha.shape, mouth_opening(canvas) >= OPEN_MOUTH
    inner = canvas.landmarks[INNER_MOUTH]

    def eyes(grow: float) -> np.ndarray:
        return np.maximum(*(polygon(shape, canvas.landmarks[eye], SCALE, grow) for eye in EYES))

    mouth = polygon(shape, inner, SCALE, 0.3) * is_open
    solid = alpha > 0.5
    skin = fill(person, (1 - np.maximum(eyes(0.4), mouth)) * solid)
    lids = _brightened(fill(skin, (1 - eyes(5)) * solid), canvas)
    seen = eyes(-0.8) > 0.7
    eyeballs = image
    if seen.any():
        extended = gaussian_filter(nearest(image, seen), (1.5, 1.5, 0))
        eyeballs = np.where(seen[..., None], image, extended)
    between = gaussian_filter(polygon(shape, inner, SCALE, -0.6), 1.0) * is_open
    tooth, level, colourful = _colours(canvas, image, between)
    return Textures(
        _bytes(skin),
        _bytes(lids),
        _bytes(eyeballs),
        _bytes(np.dstack([image, between * 255])),
        _bytes(np.dstack([_outer(canvas, face, person, alpha), alpha * 255])),
        tooth,
        _darkest(image[(eyes(1) > 0.5) & (eyes(-1) < 0.5)]),
        level,
        colourful,
    )


def _brightened(lids: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Closed lids are nearly as bright as the skin below the eye: sockets of deep-set eyes are shadows."""
    shape, down = lids.shape[:2], np.array([0, 0.25 * canvas.eye_distance])
    for eye in EYES:
        points = canvas.landmarks[eye]
        around, below = polygon(shape, points, SCALE, 5), polygon(shape, points + down, SCALE)
        dark = luminance(lids[around > 0.5]).mean()
        gain = np.clip(_LID_BRIGHTNESS * luminance(lids[below > 0.5]).mean() / max(dark, 1), 1, 2)
        lids = lids * (1 + (gain - 1) * gaussian_filter(around, 4))[..., None]
    return lids


def _outer(canvas: Canvas, face: Face, person: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The person with the face filled from around.

    Cheeks and forehead keep four pixels of the face's rim, so that no seam opens; the jaw loses four, or a
    second outline would stay where it was.
    """
    upper = canvas.rows < canvas.landmarks[[4, 12], 1].mean()
    smaller, larger = (f(face.mask, iterations=4) for f in (binary_erosion, binary_dilation))
    covered = _enlarged(np.where(upper, smaller, larger).astype(np.float32))
    filled = fill(person, np.clip(1 - covered, 0, 1) * (alpha > 0.6))
    return np.where(((alpha > 0.6) & (covered < 0.01))[..., None], person, filled)


def _colours(canvas: Canvas, image: np.ndarray, between: np.ndarray) -> tuple[np.ndarray, float, float]:
    """A colour for teeth, the photograph's where it shows some; luminance and colourfulness of the skin."""
    outline = canvas.landmarks[[1, 4, 8, 12, 15, 26, 17]]
    skin = image[polygon(between.shape, outline, SCALE) > 0.5]
    levels, colourful = luminance(skin), float(np.clip(np.ptp(skin, axis=1).mean() / 30, 0, 1))
    tooth = np.array([0.98, 0.93, 0.84]) * np.percentile(levels, 85)
    tooth = luminance(tooth) + colourful * (tooth - luminance(tooth))
    shown = image[between > 0.6]
    if len(shown) > 40:
        brightness = luminance(shown)
        bright = shown[brightness >= np.percentile(brightness, 70)].mean(axis=0)
        if luminance(bright) > 0.75 * np.median(levels):
            tooth = bright
    return tooth, float(np.median(levels)), colourful


def _darkest(colours: np.ndarray) -> np.ndarray:
    """(3,): the mean of the darkest tenth of some colours (n, 3)."""
    brightness = luminance(colours)
    return colours[brightness <= np.percentile(brightness, 10)].mean(axis=0)


def _enlarged(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return resize_float(image, (SCALE * height, SCALE * width), Image.Resampling.BICUBIC)


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.clip(image + 0.5, 0, 255).astype(np.uint8))
