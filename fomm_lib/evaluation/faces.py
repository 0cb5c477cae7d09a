"""Metrics of faces: AKD, MKR, AED, jitter and movement error.

Pixel differences do not tell a late smile from a shadow. These metrics compare landmarks and embeddings of
the identity, which pretrained models read from both images (dlib; extra `metrics`):

    found, true = read_faces(prediction), read_faces(truth)         # of fomm_lib.media.faces
    average_keypoint_distance(found.landmarks, true.landmarks)      # (T,), pixels of an image of 256

Where no face is found there is no number (NaN), and `missing_keypoint_rate` counts it. dlib's landmarks have
errors of their own: on the true images of synthetic heads 2 to 4 of those pixels. So distances below one
pixel mean nothing.
"""

from __future__ import annotations

import numpy as np

PARTS = {"mouth": slice(48, 68), "eyes": slice(36, 48)}
"""Part of the face -> its landmarks."""


def average_keypoint_distance(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """AKD: the mean absolute difference of landmarks, over both coordinates, in pixels of an image of 256.

        mean over k of (|x_k - x'_k| + |y_k - y'_k|) / 2

    From 0 up, lower is better; NaN where either image has no face. It depends on pose and expression, not on
    sharpness, colour or background.

    Published tables: the same formula (the text calls it a distance; as a Euclidean one it would be about 1.5
    times as large), but their landmarks come from a neural network (Bulat and Tzimiropoulos 2017), and are
    more exact than those of dlib's trees.

    Args:
        found, true: (T, 68, 2), landmarks of the prediction and of the true image.
    Returns:
        (T,).

    Source: FOMM, section 4, "Metrics"; the authors' script for it.

    Example:
        >>> average_keypoint_distance(np.zeros((1, 68, 2)), np.full((1, 68, 2), [1.0, 3.0]))
        array([2.])
    """
    return np.abs(np.subtract(found, true)).mean(axis=(1, 2))


def average_part_distance(found: np.ndarray, true: np.ndarray, part: str) -> np.ndarray:
    """AKD of the landmarks of one part of the face, "mouth" (20 landmarks) or "eyes" (12 of the lids).

    In the mean over 68 landmarks a mouth that stays closed counts little, and lids hardly.

    Args:
        found, true: (T, 68, 2), landmarks of the prediction and of the true image.
        part: a key of `PARTS`.
    Returns:
        (T,), in pixels of an image of 256.

    Example:
        >>> average_part_distance(np.zeros((1, 68, 2)), np.full((1, 68, 2), 3.0), "eyes")
        array([3.])
    """
    return average_keypoint_distance(found[:, PARTS[part]], true[:, PARTS[part]])


def missing_keypoint_rate(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """MKR: 1 where the true image has a face and the prediction has none, else 0; NaN without a true face.

    The mean over frames is the rate, 0 to 1, lower is better. It says for how many frames AKD and AED have no
    number: a model that fails on hard frames gets a better AKD by that, so read the two together.

    Published tables: the share of missing landmarks, reported for bodies, whose joints are found one by one.
    Of a face all 68 are found or none.

    Args:
        found, true: (T, 68, 2), landmarks of the prediction and of the true image.
    Returns:
        (T,).

    Example:
        >>> missing_keypoint_rate(np.full((1, 68, 2), np.nan), np.zeros((1, 68, 2)))
        array([1.])
    """
    missing = np.isnan(found[:, 0, 0]).astype(float)
    return np.where(np.isnan(true[:, 0, 0]), np.nan, missing)


def average_euclidean_distance(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """AED: the Euclidean distance |e - e'| of two embeddings of identity (T, D) -> (T,).

    From 0 up, lower is better; two images of one person are mostly less than 0.6 apart (dlib's embedding).

    Published tables: the paper defines the distance, the authors' script reports its *square* under this
    name, and with another network (OpenFace). So neither number is comparable with theirs; the square is
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
    """How much landmarks shake: the length of their second difference in time, in pixels of an image of 256.

        mean over k of |p_k(t - 1) - 2 p_k(t) + p_k(t + 1)|

    From 0 up. A still image and a movement of constant speed have 0. The value to reach is that of the *real*
    video, which includes the errors of the landmarks' reader.

    Published tables have no such metric.

    Args:
        landmarks: (T, 68, 2).
        frames: (T,), their frame numbers: only runs of three consecutive frames count.
    Returns:
        (T,): of the middle frame of each such run, NaN elsewhere.

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
    """The difference of two displacements since the first frame, in pixels of an image of 256.

        mean over k of (|dx_k - dx'_k| + |dy_k - dy'_k|) / 2,   d_k = p_k(t) - p_k(0)

    For animation, where another person is shown and there is no ground truth. From 0 up, lower is better; a
    still image has the driver's own movement as its error. Faces of different shape move a little
    differently, so 0 cannot be reached. Published tables have no such metric.

    Args:
        landmarks: (T, 68, 2), of the animation.
        driving: (T, 68, 2), of the driving frames.
    Returns:
        (T,): NaN for the first frame, and where a face is missing in a frame or in the first one.
    """
    difference = (landmarks - landmarks[:1]) - (driving - driving[:1])
    result = np.abs(difference).mean(axis=(1, 2))
    result[:1] = np.nan
    return result
