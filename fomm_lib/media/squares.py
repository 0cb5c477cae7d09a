"""Squares of images: the one asked for, the one in the middle, the one around a face.

A model whose images are not square gets a rectangle of their shape instead. It is named by three numbers too:
left, top and width; the height follows from the shape, (height, width) of the model or in its ratio.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from fomm_lib.errors import InputError
from fomm_lib.media.faces import follow_person

Square = tuple[int, int, int]
"""Left, top, side, in whole pixels; of a rectangle: left, top, width."""

Shape = tuple[int, int]
"""Height and width of a model's images, or any two numbers in their ratio."""

SQUARE: Shape = (1, 1)

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


def height_of(square: Square, shape: Shape = SQUARE) -> int:
    """The height of a rectangle of this shape in whole pixels.

    Example:
        >>> height_of((0, 0, 50)), height_of((0, 0, 50), (64, 96))
        (50, 33)
    """
    return max(1, round(square[2] * shape[0] / shape[1]))


def _widest(size: tuple[int, int], shape: Shape) -> int:
    """The width of the largest rectangle of this shape in an image of (width, height)."""
    wide = min(size[0], (2 * size[1] + 1) * shape[1] // (2 * shape[0]))  # so that its height is rounded down
    while wide > 1 and height_of((0, 0, wide), shape) > size[1]:
        wide -= 1
    return max(1, wide)


def clamp_square(square: tuple[float, float, float], size: tuple[int, int], shape: Shape = SQUARE) -> Square:
    """A square in whole pixels inside an image of (width, height): shifted, and smaller only if it must be.

    Example:
        >>> clamp_square((-5.2, 10.0, 50.0), (100, 55))
        (0, 5, 50)
    """
    width, height = size
    x, y, side = square
    whole = max(1, min(round(side), _widest(size, shape)))
    tall = height_of((0, 0, whole), shape)
    left = round(x + (side - whole) / 2)
    top = round(y + (side * shape[0] / shape[1] - tall) / 2)
    return min(max(0, left), width - whole), min(max(0, top), max(0, height - tall)), whole


def face_square(images: Iterable[np.ndarray], shape: Shape = SQUARE) -> tuple[Square | None, bool]:
    """One square around the head of one person in all images, uint8 (H, W, 3) of one size.

    The person is the one whom `faces.follow_person` follows. A rectangle holds the square around the head.

    Returns:
        The square, None if no face is found; and whether other people are seen.

    Raises:
        InputError: the extra `faces` is not installed.

    Example:
        >>> face_square([np.zeros((64, 64, 3), np.uint8)])
        (None, False)
    """
    found, size, others = [], (1, 1), False
    for image, landmarks, has_others in follow_person(images):
        size, others = image.shape[1::-1], others or has_others
        if landmarks is not None:
            found.append(head_square(landmarks))
    if not found:
        return None, others
    x, y, side = steady_square(found)
    width = side * max(1, shape[1] / shape[0])
    height = width * shape[0] / shape[1]
    return clamp_square((x - (width - side) / 2, y - (height - side) / 2, width), size, shape), others


def middle_square(image: np.ndarray, shape: Shape = SQUARE) -> Square:
    """The largest square in the middle of an image (H, W, 3).

    Example:
        >>> middle_square(np.zeros((40, 100, 3), np.uint8))
        (30, 0, 40)
        >>> middle_square(np.zeros((40, 100, 3), np.uint8), (64, 96))
        (20, 0, 60)
    """
    height, width = image.shape[:2]
    side = _widest((width, height), shape)
    return (width - side) // 2, max(0, height - height_of((0, 0, side), shape)) // 2, side


def choose_square(
    image: np.ndarray,
    crop: Crop,
    what: str,
    images: Iterable[np.ndarray] | None = None,
    shape: Shape = SQUARE,
) -> tuple[Square, list[str]]:
    """The square that `crop` asks for, and warnings: that no face is found, or more than one.

    Args:
        image: uint8 (H, W, 3).
        crop: which square.
        what: the image in messages, such as "the portrait".
        images: images of the same size in which the face is searched for; `image` alone if None.
        shape: of a rectangle instead of a square.
    Raises:
        InputError: the square does not lie inside the image, or the extra `faces` is not installed.

    Example:
        >>> choose_square(np.zeros((40, 100, 3), np.uint8), (60, 0, 40), "the portrait")
        ((60, 0, 40), [])
    """
    if crop == "auto":
        square, others = face_square([image] if images is None else images, shape)
        if square is None:
            return middle_square(image, shape), [
                f"no face is found in {what}; the square in its middle is used"
            ]
        which = "the largest face" if images is None else "the person with the largest face at its beginning"
        other = "for another, give the crop as three numbers, x, y, side"
        note = f"more than one face is found in {what}; {which} is used; {other}"
        return square, [note] if others else []
    if crop in (None, "middle"):
        return middle_square(image, shape), []
    x, y, side = crop
    tall = height_of(crop, shape)
    height, width = image.shape[:2]
    if side < 1 or x < 0 or y < 0 or x + side > width or y + tall > height:
        wide = "" if tall == side else f" ({side}x{tall} pixels, the shape of this model's images)"
        raise InputError(
            f"crop {x},{y},{side}{wide} does not lie inside {what}, which is {width}x{height} pixels; "
            f"x + side may be {width} at most, y + {'side' if tall == side else 'height'} {height}"
        )
    return (x, y, side), []


def cut(image: np.ndarray, square: Square, shape: Shape = SQUARE) -> np.ndarray:
    """The pixels of an image (H, W, 3) inside a square: a view, (side, side, 3).

    Example:
        >>> cut(np.zeros((40, 100, 3), np.uint8), (30, 0, 40)).shape
        (40, 40, 3)
    """
    x, y, side = square
    return image[y : y + height_of(square, shape), x : x + side]


def cut_middle(image: np.ndarray, shape: Shape = SQUARE) -> np.ndarray:
    """The largest part of an image (H, W, 3) of a shape, from its middle: a view.

    Every image that becomes an input of a model is cut so, before it is resized.

    Example:
        >>> cut_middle(np.zeros((40, 100, 3), np.uint8), (64, 96)).shape
        (40, 60, 3)
    """
    return cut(image, middle_square(image, shape), shape)
