"""Metrics of a part of the image: sharpness of the face, and the error where a head uncovers background.

A mean over the whole image hides both: a blurred face costs little L1, and the background that was behind the
head in the source, which a model must invent, is a small share of the pixels. Landmarks say where they are:

    boxes = face_boxes(true_landmarks, size)
    sharpness_ratio(prediction, truth, boxes)                   # (T,), 1: as sharp as the truth
    masks = uncovered(source, truth, source_landmarks, true_landmarks)
    uncovered_error(prediction, truth, masks)                   # (T,), L1 there

Landmarks are those of `media.faces.read_faces`: in pixels of an image whose longer side is 256.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from fomm_lib.evaluation.images import check_pair

_READ_AT = 256
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
_SMALLEST_BOX = 8  # pixels of a side
_SMALLEST_BAND = 0.002  # share of the image's pixels
_JAW = slice(0, 17)
# Of the outline of a head, in its own size, and the difference of images: by experiment on rendered heads.
# Smaller outlines of the driving frame let in hair, larger ones leave few frames where anything is counted.
_SOURCE_SIZE, _DRIVING_SIZE, _CHANGED = 1.1, 1.2, 0.05


def face_boxes(landmarks: np.ndarray, size: tuple[int, int]) -> list[tuple[int, int, int, int] | None]:
    """The boxes around all landmarks, from the brows to the chin, as far as they are inside the image.

    Args:
        landmarks: (T, 68, 2).
        size: (height, width) of the image.
    Returns:
        (left, top, right, bottom) in pixels, the last two exclusive; None without a face, or where less than
        8 pixels of a side are inside.

    Example:
        >>> face_boxes(np.tile([[[63.5, 63.5], [191.5, 127.5]]], (1, 34, 1)), (128, 128))
        [(32, 32, 96, 64)]
    """
    boxes = []
    for points in _to_pixels(landmarks, size):
        box = None
        if np.isfinite(points).all():
            low, high = (edge.round().astype(int) for edge in (points.min(axis=0), points.max(axis=0)))
            left, top = low.clip(0)
            right, bottom = np.minimum(high, (size[1], size[0]))
            if min(right - left, bottom - top) >= _SMALLEST_BOX:
                box = int(left), int(top), int(right), int(bottom)
        boxes.append(box)
    return boxes


def laplacian_variance(image: Tensor) -> float:
    """The variance of the Laplacian of a grey image: how much fine detail it has.

        Var of (I * L),    L = ((0, 1, 0), (1, -4, 1), (0, 1, 0)),    I = .299 r + .587 g + .114 b

    over the pixels whose eight neighbours are inside. From 0 up. A cosine of frequency w along an axis has
    half of (amplitude (2 - 2 cos w))^2: noise counts as detail, too.

    Args:
        image: (3, H, W) in [0, 1].

    Source: Pech-Pacheco et al., *Diatom Autofocusing in Brightfield Microscopy: a Comparative Study*, 2000.

    Example:
        >>> laplacian_variance(torch.full((3, 16, 16), 0.5))
        0.0
    """
    grey = (image.double() * torch.tensor(_GREY, dtype=torch.float64).view(3, 1, 1)).sum(dim=0)
    kernel = torch.tensor(_LAPLACIAN, dtype=torch.float64)
    return float(F.conv2d(grey[None, None], kernel[None, None]).var(correction=0))


def sharpness_ratio(
    prediction: Tensor, truth: Tensor, boxes: list[tuple[int, int, int, int] | None]
) -> np.ndarray:
    """`laplacian_variance` in the box of the face, of the result over that of the truth.

    1: as sharp as the truth; less: blurred; more: sharper or noisier. An image of half the size, enlarged,
    has some 0.3. It does not say whether the detail is right: read it beside LPIPS.

    Args:
        prediction, truth: (T, 3, H, W) in [0, 1].
        boxes: T, of the true faces, see `face_boxes`.
    Returns:
        (T,): NaN without a face, or where the truth is flat.
    Raises:
        InputError: the images differ in number or size.

    Published tables have no such metric.

    Example:
        >>> true = torch.rand(1, 3, 32, 32)
        >>> sharpness_ratio(0.5 * true, true, [(4, 4, 28, 28)])
        array([0.25])
    """
    prediction, truth = check_pair(prediction, truth)
    result = np.full(len(truth), np.nan)
    for t, box in enumerate(boxes):
        if box is not None:
            left, top, right, bottom = box
            found, true = (
                laplacian_variance(images[t, :, top:bottom, left:right]) for images in (prediction, truth)
            )
            result[t] = found / true if true > 0 else np.nan
    return result


def head_outline(landmarks: np.ndarray) -> np.ndarray:
    """The outline of a head: the jaw, and above the ears the jaw mirrored, which is about as high as hair.

        p' = p - 2 ((p - c) . n) n,    n normal to the line of the ears, c their middle

    Args:
        landmarks: (68, 2).
    Returns:
        (34, 2): the jaw from ear to ear, and the mirrored one back; not finite where the ears coincide.

    Example:
        >>> face = np.zeros((68, 2)); face[:17, 0] = np.arange(17); face[8, 1] = 5
        >>> head_outline(face)[[8, 25]].tolist()
        [[8.0, 5.0], [8.0, -5.0]]
    """
    jaw = np.asarray(landmarks, float)[_JAW]
    middle, across = (jaw[0] + jaw[-1]) / 2, jaw[-1] - jaw[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        normal = np.array([-across[1], across[0]]) / np.linalg.norm(across)
        mirrored = jaw - 2 * ((jaw - middle) @ normal)[:, None] * normal
    return np.concatenate([jaw, mirrored[::-1]])


def uncovered(source: Tensor, truth: Tensor, before: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Where a head has uncovered the background of a clip whose camera stands still.

    Pixels inside the head's outline in the source, outside it in the driving frame, and different in the two
    by more than 0.05 (mean over the channels). The source does not show what is there, so a model must invent
    it. The outline (`head_outline`) is an estimate from landmarks. On rendered heads, whose exact mask is
    known (`true_motion`), 0.68 of these pixels are uncovered background, most others hair and shoulders
    (`python -m experiments.landmarks`).

    Args:
        source: (3, H, W); truth: (T, 3, H, W), both in [0, 1].
        before: (68, 2), landmarks of the source; landmarks: (T, 68, 2), of the truth.
    Returns:
        (T, H, W) bool, empty where a face is missing.

    Example:
        >>> face, image = np.random.default_rng(0).uniform(60, 200, (68, 2)), torch.rand(3, 64, 64)
        >>> bool(uncovered(image, image[None], face, face[None]).any())        # nothing moved
        False
    """
    size = tuple(truth.shape[-2:])
    changed = ((source - truth).abs().mean(dim=1) > _CHANGED).numpy()
    was_head = _filled(_to_pixels(before, size), _SOURCE_SIZE, size)
    masks = np.zeros((len(truth), *size), bool)
    for t, points in enumerate(_to_pixels(landmarks, size)):
        is_head = _filled(points, _DRIVING_SIZE, size)
        if is_head is not None and was_head is not None:
            masks[t] = was_head & ~is_head & changed[t]
    return masks


def uncovered_error(prediction: Tensor, truth: Tensor, masks: np.ndarray) -> np.ndarray:
    """L1 in a mask: mean |x - y| over its pixels and the channels.

    From 0 up, lower is better.

    Args:
        prediction, truth: (T, 3, H, W) in [0, 1].
        masks: (T, H, W) bool, see `uncovered`.
    Returns:
        (T,): NaN where the mask has less than 0.2 % of the image.
    Raises:
        InputError: the images differ in number or size.

    Published tables have no such metric.

    Example:
        >>> uncovered_error(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5), np.ones((1, 8, 8), bool))
        array([0.5])
    """
    prediction, truth = check_pair(prediction, truth)
    difference = (prediction - truth).abs().mean(dim=1).double().numpy()
    result = np.full(len(truth), np.nan)
    for t, mask in enumerate(masks):
        if mask.mean() >= _SMALLEST_BAND:
            result[t] = difference[t][mask].mean()
    return result


def _to_pixels(landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Landmarks in pixels of an image of this size; both count the centre of the first pixel as 0."""
    return (np.asarray(landmarks, float) + 0.5) * (max(size) / _READ_AT) - 0.5


def _filled(landmarks: np.ndarray, scale: float, size: tuple[int, int]) -> np.ndarray | None:
    """(height, width) bool: inside the outline of a head, `scale` times as large; None without one."""
    outline = head_outline(landmarks)
    if not np.isfinite(outline).all():
        return None
    middle = outline.mean(axis=0)
    image = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(image).polygon([tuple(p) for p in middle + scale * (outline - middle)], fill=1)
    return np.asarray(image)
