"""The 68 landmarks of the one face of a photograph, and the photograph at the size that is worked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from fomm_lib.media.faces import SHIFTS, find_faces, landmarks68, shifted
from fomm_lib.synthetic.photographs.reasons import Reason, Unusable

EYES = (slice(36, 42), slice(42, 48))
"""The landmarks around the person's right and left eye."""

LIPS = [61, 62, 63], [67, 66, 65]
"""The landmarks on the inner edges of the upper and lower lip, one above the other."""

OPEN_MOUTH = 0.03
"""Gap between the lips, in distances between the eyes, from which a mouth counts as open."""

WORKING_DISTANCE = 52.0
"""Distance between the eyes, in pixels, at which photographs are worked at: a head of 256 pixels."""

_SMALLEST, _LARGEST = 30.0, 64.0  # distances between the eyes that are used, and that are left as they are
_READ_AT = 550  # the longer side at which landmarks are read, because dlib rounds them to whole pixels


@dataclass(frozen=True)
class Portrait:
    """A photograph with one face.

    Attributes:
        image: uint8 (H, W, 3), at most about `WORKING_DISTANCE` between the eyes.
        landmarks: (68, 2), in its pixels.
    """

    image: np.ndarray
    landmarks: np.ndarray

    @property
    def eye_distance(self) -> float:
        """Between the middles of the eyes, in pixels."""
        return eye_distance(self.landmarks)


def eye_distance(landmarks: np.ndarray) -> float:
    """Distance between the middles of the eyes, of landmarks (68, 2).

    Example:
        >>> points = np.zeros((68, 2)); points[42:48] = 3, 4
        >>> eye_distance(points)
        5.0
    """
    right, left = (landmarks[eye].mean(axis=0) for eye in EYES)
    return float(np.linalg.norm(left - right))


def read_portrait(image: np.ndarray) -> Portrait:
    """Find the face and its landmarks, the mean over five shifted boxes of the detector.

    A photograph that is finer than needed is reduced.

    Args:
        image: uint8 (H, W, 3), RGB.
    Raises:
        Unusable: no face, several, or one that is too small.
        InputError: the extra `faces` is not installed.

    Example:
        >>> portrait = read_portrait(read_image(data_path("portrait.jpg")))
        >>> portrait.landmarks.shape
        (68, 2)
    """
    landmarks = _landmarks(image)
    distance = eye_distance(landmarks)
    if distance < _SMALLEST:
        raise Unusable(Reason.SMALL, f"{distance:.0f} pixels between the eyes, less than {_SMALLEST:.0f}")
    if distance > _LARGEST:
        height, width = image.shape[:2]
        factor = WORKING_DISTANCE / distance
        size = round(width * factor), round(height * factor)
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
        landmarks = (landmarks + 0.5) * np.array(size) / (width, height) - 0.5
    return Portrait(image, landmarks)


def _landmarks(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    factor = _READ_AT / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    faces = find_faces(resized)
    if not faces:
        raise Unusable(Reason.NO_FACE, "the detector finds no face")
    if len(faces) > 1:
        raise Unusable(Reason.SEVERAL_FACES, f"the detector finds {len(faces)} faces")
    (face,) = faces
    points = [landmarks68(resized, shifted(face, *shift)) for shift in SHIFTS]
    return (np.mean(points, axis=0) + 0.5) * np.array([width, height]) / size - 0.5
