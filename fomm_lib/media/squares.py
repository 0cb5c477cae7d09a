"""Squares of images: the one asked for, the one in the middle, the one around a face."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from fomm_lib.errors import InputError
from fomm_lib.media.faces import landmarks68

Square = tuple[int, int, int]
"""Left, top, side, in whole pixels."""

Crop = Square | Literal["auto", "middle"] | None
"""Which square to cut out: given, around the face ("auto"), or the largest in the middle ("middle", None)."""

# The position of a head in the square of the training data, measured on the 47 clips of data/heads in which
# a face is found: the box of the landmarks, from the brows to the chin, is 0.41 of the side, and its middle
# is at 0.50 across and 0.61 down. (In VoxCeleb's squares: 0.47, 0.52 and 0.59.)
SQUARE_PER_FACE = 2.4
FACE_ACROSS, FACE_DOWN = 0.5, 0.605


def head_square(landmarks: np.ndarray) -> tuple[float, float, float]:
    """The square around a head, framed as in the training data: with hair and the top of the shoulders.

    Args:
        landmarks: (68, 2), in pixels.
    Returns:
        (x, y, side), of the upper left corner; the square may extend beyond the image.

    Example:
        >>> head_square(np.array([[100.0, 200.0], [140.0, 220.0], [120.0, 250.0]]))
        (60.0, 152.4, 120.0)
    """
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    side = SQUARE_PER_FACE * (high - low).max()
    (x, y) = (low + high) / 2 - (FACE_ACROSS * side, FACE_DOWN * side)
    return float(x), float(y), float(side)


def steady_square(squares: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """One square for a whole video: the median side of the head's squares, plus the range of its movement.

    A square that followed the head would remove its movement from the video, and would shake with every error
    of the detector. The range is from the 5th to the 95th percentile of the centres, so that one wrong face
    does not enlarge the square.

    Args:
        squares: `head_square` of some frames, at least one.

    Returns:
        (x, y, side), in pixels.

    Example:
        >>> steady_square([(0, 0, 100), (10, 0, 100), (20, 0, 100)])
        (1.0, -9.0, 118.0)
    """
    x, y, side = np.array(squares, float).T
    centre_x, centre_y, side = x + side / 2, y + side / 2, np.median(side)
    (left, right), (top, bottom) = (np.percentile(c, [5, 95]) for c in (centre_x, centre_y))
    side += max(right - left, bottom - top)
    return float((left + right - side) / 2), float((top + bottom - side) / 2), float(side)


def clamp_square(square: tuple[float, float, float], size: tuple[int, int]) -> Square:
    """A square in whole pixels inside an image of (width, height): shifted, and smaller only if it must be.

    Example:
        >>> clamp_square((-5.2, 10.0, 50.0), (100, 55))
        (0, 5, 50)
    """
    width, height = size
    x, y, side = square
    whole = max(1, min(round(side), width, height))
    left = round(x + (side - whole) / 2)
    top = round(y + (side - whole) / 2)
    return min(max(0, left), width - whole), min(max(0, top), height - whole), whole


def face_square(images: Iterable[np.ndarray]) -> Square | None:
    """One square around the head in all images, uint8 (H, W, 3) of one size; None if no face is found.

    Raises:
        InputError: the extra `faces` is not installed.

    Example:
        >>> face_square([np.zeros((64, 64, 3), np.uint8)]) is None
        True
    """
    squares, size = [], (1, 1)
    for image in images:
        size = image.shape[1::-1]
        landmarks = landmarks68(image)
        if landmarks is not None:
            squares.append(head_square(landmarks))
    return clamp_square(steady_square(squares), size) if squares else None


def middle_square(image: np.ndarray) -> Square:
    """The largest square in the middle of an image (H, W, 3).

    Example:
        >>> middle_square(np.zeros((40, 100, 3), np.uint8))
        (30, 0, 40)
    """
    height, width = image.shape[:2]
    side = min(height, width)
    return (width - side) // 2, (height - side) // 2, side


def choose_square(
    image: np.ndarray, crop: Crop, what: str, images: Iterable[np.ndarray] | None = None
) -> tuple[Square, list[str]]:
    """The square that `crop` asks for, and warnings (one if no face is found, else none).

    Args:
        image: uint8 (H, W, 3).
        crop: which square.
        what: the image in messages, such as "the portrait".
        images: images of the same size in which the face is searched for; `image` alone if None.
    Raises:
        InputError: the square does not lie inside the image, or the extra `faces` is not installed.

    Example:
        >>> choose_square(np.zeros((40, 100, 3), np.uint8), (60, 0, 40), "the portrait")
        ((60, 0, 40), [])
    """
    if crop == "auto":
        square = face_square([image] if images is None else images)
        if square is not None:
            return square, []
        return middle_square(image), [f"no face is found in {what}; the square in its middle is used"]
    if crop in (None, "middle"):
        return middle_square(image), []
    x, y, side = crop
    height, width = image.shape[:2]
    if side < 1 or x < 0 or y < 0 or x + side > width or y + side > height:
        raise InputError(
            f"crop {x},{y},{side} does not lie inside {what}, which is {width}x{height} pixels; "
            f"x + side may be {width} at most, y + side {height}"
        )
    return (x, y, side), []


def cut(image: np.ndarray, square: Square) -> np.ndarray:
    """The pixels of an image (H, W, 3) inside a square: a view, (side, side, 3).

    Example:
        >>> cut(np.zeros((40, 100, 3), np.uint8), (30, 0, 40)).shape
        (40, 40, 3)
    """
    x, y, side = square
    return image[y : y + side, x : x + side]
