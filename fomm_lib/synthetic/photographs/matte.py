"""The person and the background of a photograph, apart: opacity, and the colours of both.

The background of a portrait is nearly plain: a smooth polynomial of the position, in CIELAB, fitted robustly
to pixels beside the head. Pixels that are surely of the background or of the person seed a random walker,
which decides on the rest; in a band along the outline opacity is how far the colour is on the way from the
background's to the person's.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
    label,
)

from fomm_lib.synthetic.anatomy import Part, load_anatomy
from fomm_lib.synthetic.photographs.fit import DISTANCE, Fit
from fomm_lib.synthetic.photographs.landmarks import Portrait
from fomm_lib.synthetic.photographs.pixels import fill, nearest, polygon, rasterize

_PLAIN = 8.0  # CIELAB units from the polynomial that still are plain
_BAND = 3  # pixels on either side of the outline in which opacity is soft
_WISPS = 24  # pixels around the person in which strands of hair may be
_STIFFNESS = 300.0  # of the random walker: how much an edge of the image holds it back


@dataclass(frozen=True)
class Matte:
    """The person and the background of a photograph.

    Attributes:
        alpha: (H, W) float32, opacity of the person.
        person, background: (H, W, 3) float32, 0 to 255: colours of either, also where the other is seen.
        plainness: share of the pixels beside the head that are near the polynomial, 0 to 1.
        grain: standard deviation of the background's noise, in grey levels.
    """

    alpha: np.ndarray
    person: np.ndarray
    background: np.ndarray
    plainness: float
    grain: float


def cut_out(portrait: Portrait, fit: Fit) -> Matte:
    """Separate the person of a portrait from the background.

    Args:
        portrait: what `read_portrait` gives; fit: what `fit_head` gives for it.

    Source: Grady, *Random Walks for Image Segmentation*, 2006, as in scikit-image.
    """
    from skimage.color import rgb2lab

    image = portrait.image.astype(np.float32)
    seen = _bust(fit, image.shape[:2])
    lab = rgb2lab(portrait.image).astype(np.float32)
    beside = _beside(portrait, seen)
    wall, spread = _polynomial_wall(lab, beside)
    away = np.linalg.norm(lab - wall, axis=2)
    person = _segment(portrait, lab, away, spread, beside, seen)
    # Beside the person, what is not plain is hair that the matte misses: it must not stay behind as a ghost.
    clear = ~binary_dilation(person, iterations=3)
    clear &= (away < max(_PLAIN, 3 * spread)) | (distance_transform_edt(~person) > _WISPS)
    painted = _to_rgb(wall)
    # Near what is seen of it, the background is the photograph's; behind the person it is the polynomial.
    near = np.clip(1 - distance_transform_edt(~clear) / 60, 0, 1)[..., None]
    background = painted + fill(image - painted, clear) * near
    alpha, colours = _soften(image, background, person)
    noise = (image - gaussian_filter(image, (1, 1, 0)))[clear]
    return Matte(
        alpha,
        colours,
        background.astype(np.float32),
        float(np.mean(away[beside] < _PLAIN)) if beside.any() else 0.0,
        float(noise.std()) if len(noise) else 0.0,
    )


def _to_rgb(lab: np.ndarray) -> np.ndarray:
    from skimage.color import lab2rgb

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # colours that no screen shows are clipped
        return (lab2rgb(lab) * 255).astype(np.float32)


def _bust(fit: Fit, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: where the fitted bust is."""
    anatomy, points = load_anatomy(), fit.deformed
    skin = anatomy.faces[(anatomy.part[anatomy.faces] == Part.SKIN).all(axis=1)]
    return ~np.isnan(rasterize(skin, fit.project(points), fit.to_camera(points)[:, 2] + DISTANCE, shape))


def _beside(portrait: Portrait, bust: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels at the left, right and upper border, away from the head and above the shoulders."""
    (height, width), distance = bust.shape, portrait.eye_distance
    y, x = np.mgrid[:height, :width]
    border = (x < 0.045 * width) | (x > 0.955 * width - 1) | (y < 0.02 * height)
    high = y < portrait.landmarks[8, 1] - 0.9 * distance
    return border & high & ~binary_dilation(bust, iterations=max(1, int(0.25 * distance)))


def _polynomial_wall(lab: np.ndarray, beside: np.ndarray) -> tuple[np.ndarray, float]:
    """The background's colour at every pixel, a cubic polynomial, and the spread around it.

    Iteratively reweighted least squares with Cauchy's weights, 1 / (1 + (residual / spread)^2).
    """
    height, width = beside.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    # Beyond the rows that are seen a cubic would run away.
    lowest = float(np.flatnonzero(beside.any(axis=1)).max(initial=0)) / height
    u, v = x / width - 0.5, np.minimum(y / height, lowest + 0.1) - 0.5
    terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v, v**3, u * v * v], axis=-1)
    if not beside.any():
        return np.broadcast_to(np.median(lab, axis=(0, 1)), lab.shape), 10.0
    a, b, weight, spread = terms[beside], lab[beside], np.ones((int(beside.sum()), 1)), 10.0
    for _ in range(4):
        coefficients = np.linalg.lstsq(a * weight, b * weight, rcond=None)[0]
        residual = np.linalg.norm(b - a @ coefficients, axis=1)
        spread = max(1.5, 1.5 * float(np.median(residual)))
        weight = 1 / (1 + (residual / spread) ** 2)[:, None]
    return (terms @ coefficients).astype(np.float32), spread


def _segment(
    portrait: Portrait,
    lab: np.ndarray,
    away: np.ndarray,
    spread: float,
    beside: np.ndarray,
    bust: np.ndarray,
) -> np.ndarray:
    """(H, W) bool: the person, by a random walker from what is sure."""
    from skimage.segmentation import random_walker

    (height, width), distance = away.shape, portrait.eye_distance
    y, x = np.mgrid[:height, :width]
    chin_x, chin_y = portrait.landmarks[8]
    # The bust's ears and crown may be larger than the person's: only inside the landmarks its skin is sure.
    brows = portrait.landmarks[26:16:-1] - (0, 0.4 * distance)
    outline = np.concatenate([portrait.landmarks[:17], brows])
    core = binary_erosion(bust & (polygon(bust.shape, outline) > 0.5), iterations=2)
    torso = (y > chin_y - 5) & (np.abs(x - chin_x) < 0.45 * distance)
    torso |= (y > height - 8) & (np.abs(x - chin_x) < 0.8 * distance)
    known = np.zeros(away.shape, np.int32)
    like = gaussian_filter(away, 0.7) < max(6.0, 2 * spread)
    regions, _ = label(like & ~core & ~torso)
    touching = np.unique(regions[beside & (away < 12)])
    known[binary_erosion(np.isin(regions, touching[touching > 0]), iterations=1)] = 1
    known[(away > max(30.0, 6 * spread)) & (known == 0)] = 2
    known[binary_erosion(bust & (y < chin_y), iterations=3) & ~like] = 2
    known[core | torso] = 2
    if not (known == 1).any():
        known[0] = 1
    if (known == 0).any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # probabilities just outside [0, 1]: only the larger one counts
            known = random_walker(lab / 100, known, beta=_STIFFNESS, mode="cg_j", tol=1e-3, channel_axis=-1)
    person = known == 2
    regions, _ = label(person)
    main = np.bincount(regions[core], minlength=1).argmax() if core.any() else 1
    person = regions == main
    holes = binary_fill_holes(person) & ~person
    regions, _ = label(holes)
    return person | (holes & (np.bincount(regions.ravel())[regions] < 400))


def _soften(image: np.ndarray, background: np.ndarray, person: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Opacity, and the person's colours without the background's: alpha F + (1 - alpha) B is the image."""
    inside, outside = distance_transform_edt(person), distance_transform_edt(~person)
    band = (inside <= _BAND) | (outside <= _BAND)
    inner = nearest(gaussian_filter(image, (1, 1, 0)), inside > _BAND)
    step = inner - background
    share = ((image - background) * step).sum(axis=2) / np.maximum((step**2).sum(axis=2), 200)
    contrast = np.clip(np.linalg.norm(step, axis=2) / 60, 0, 1)
    blurred = gaussian_filter(person.astype(np.float32), 0.8)
    soft = contrast * np.clip(share, 0, 1) + (1 - contrast) * blurred
    alpha = np.where(band, soft, person).astype(np.float32)
    alpha = np.maximum(alpha, inside > _BAND)
    alpha[outside > _BAND] = 0
    solid = alpha[..., None]
    clean = np.clip((image - (1 - solid) * background) / np.maximum(solid, 0.3), 0, 255)
    clean = np.where(solid > 0.98, image, clean)
    clean = np.where(band[..., None] & (solid < 0.9), (clean + inner) / 2, clean)
    return alpha, nearest(clean, alpha > 0.3).astype(np.float32)
