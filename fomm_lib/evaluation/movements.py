"""What a face does, read from its landmarks: lips, mouth width, lids, brows, and the pose of the head.

A distance of landmarks (AKD) does not say what is wrong: a mouth that never opens costs less than a head that
is a little too far left. These are the movements that people see, each a number a frame:

    measures = read_movements(faces.steady)         # {"lips": (T,), ..., "roll": (T,)}

A result follows the truth if its curve of numbers follows: `comparison.following` gives the slope (1: it
moves as far, 0: not at all) and the correlation (1: at the right time).

**Pose.** The 16 landmarks of the nose, the corners of eyes and mouth, and the upper lip, which no expression
moves far, are compared with those of a mean head, `TEMPLATE`. With P (16, 3) its points and p (16, 2) those
of the image (y up), both centred, the affine camera of least squares is A = p^T P (P^T P)^-1, and the nearest
camera that only turns, scales and projects in parallel follows from A = U diag(a, b) V^T:

    p = s R_2 P,    s = (a + b) / 2,    R_2 = U V^T,    R = (r_1, r_2, r_1 x r_2)

R = R_y(yaw) R_x(pitch) R_z(roll), as in `synthetic.posture`: a positive yaw turns the face to the person's
left, a positive pitch bends it down, a positive roll tilts its top to the person's right.

**Lengths** between two landmarks, or means of some, along an axis e of the head (up, or to the person's
left):

    length = (d - s R_2 D) . u / (s u . u) + D . e,    u = R_2 e

with d their difference in the image and D that of the template. So a length does not change when the head
turns; it is in distances between the eyes (some 63 mm).

The reader of landmarks has errors. Read from true images of rendered heads, against their true landmarks,
the movements have these slopes and correlations (`python -m experiments.landmarks`): lips 0.59 and 0.68,
mouth width 0.65 and 0.66, lids 0.40 and 0.66, brows 0.70 and 0.33, yaw 1.02 and 0.97, pitch 0.67 and 0.80,
roll 0.86 and 0.94. Result and truth are read alike, so a perfect result has 1; but lids and brows are read
dimly.

Source: DeMenthon and Davis, *Model-Based Object Pose in 25 Lines of Code*, 1995 (the camera, without its
iteration for perspective); Soukupová and Čech, *Real-Time Eye Blink Detection Using Facial Landmarks*, 2016
(the pairs of landmarks of the lids). The mean head is that of MakeHuman (CC0), see `synthetic.anatomy`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MEASURES = {
    "lips": "lips",  # gap between the inner edges of the lips, in distances between the eyes
    "mouth_width": "mouth width",  # between the corners of the mouth, in distances between the eyes
    "lids": "lids",  # gap between the lids, mean of both eyes, in distances between the eyes
    "brows": "brows",  # height of the brows over the corners of the eyes, in distances between them
    "yaw": "yaw",  # turn to the person's left, degrees
    "pitch": "pitch",  # turn down, degrees
    "roll": "roll",  # tilt to the person's right, degrees
}
"""Movements of a face: column of the CSV -> title."""

# The 68 landmarks of a mean head at rest: x to the person's left, y up, z to the front, in distances between
# the eyes, from the point between the eyes.
# fmt: off
TEMPLATE = np.array([
    (-1.07, 0.00, -0.67), (-1.05, -0.37, -0.59), (-1.05, -0.60, -0.75), (-0.95, -0.88, -0.63),
    (-0.88, -1.12, -0.65), (-0.73, -1.38, -0.52), (-0.45, -1.53, -0.11), (-0.24, -1.64, 0.07),
    (0.00, -1.68, 0.13), (0.24, -1.64, 0.07), (0.45, -1.53, -0.11), (0.73, -1.38, -0.52),
    (0.88, -1.12, -0.65), (0.95, -0.88, -0.63), (1.05, -0.60, -0.75), (1.05, -0.37, -0.59),
    (1.07, 0.00, -0.67),
    (-0.86, 0.25, -0.19), (-0.67, 0.32, 0.00), (-0.54, 0.35, 0.08), (-0.26, 0.28, 0.18), (-0.17, 0.20, 0.19),
    (0.17, 0.20, 0.19), (0.26, 0.28, 0.18), (0.54, 0.35, 0.08), (0.67, 0.32, 0.00), (0.86, 0.25, -0.19),
    (0.00, 0.01, 0.21), (0.00, -0.14, 0.26), (0.00, -0.34, 0.37), (0.00, -0.50, 0.47),
    (-0.28, -0.62, 0.15), (-0.12, -0.66, 0.31), (0.00, -0.72, 0.36), (0.12, -0.66, 0.31), (0.28, -0.62, 0.15),
    (-0.70, 0.00, -0.04), (-0.56, 0.07, -0.02), (-0.43, 0.07, 0.03),
    (-0.32, -0.01, -0.01), (-0.44, -0.06, 0.02), (-0.56, -0.06, 0.02),
    (0.32, -0.01, -0.01), (0.43, 0.07, 0.03), (0.56, 0.07, -0.02),
    (0.70, 0.00, -0.04), (0.56, -0.06, 0.02), (0.44, -0.06, 0.02),
    (-0.41, -1.06, 0.08), (-0.22, -0.87, 0.24), (-0.08, -0.91, 0.35), (0.00, -0.89, 0.31),
    (0.08, -0.91, 0.35), (0.22, -0.87, 0.24), (0.41, -1.06, 0.08), (0.21, -1.25, 0.19),
    (0.09, -1.27, 0.22), (0.00, -1.26, 0.22), (-0.09, -1.27, 0.22), (-0.21, -1.25, 0.19),
    (-0.39, -1.07, 0.06), (-0.16, -1.06, 0.27), (0.00, -1.07, 0.28), (0.16, -1.06, 0.27),
    (0.39, -1.07, 0.06), (0.17, -1.07, 0.21), (0.00, -1.07, 0.24), (-0.17, -1.07, 0.21),
])
# fmt: on
"""(68, 3), the landmarks of a mean head at rest; see the module."""

_RIGID = [*range(27, 36), 36, 39, 42, 45, 48, 51, 54]  # nose, corners of the eyes, upper lip and corners
_UP, _LEFT = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
# Measure -> landmarks at one end, at the other end, and the axis: the length from the second to the first.
_LENGTHS = {
    "lips": ([61, 62, 63], [67, 66, 65], _UP),
    "mouth_width": ([54], [48], _LEFT),
    "lids": ([37, 38, 43, 44], [41, 40, 47, 46], _UP),
    "brows": ([*range(17, 27)], [36, 39, 42, 45], _UP),
}
_TOO_FLAT = 1e-6  # share of the larger singular value: landmarks on a line have no pose


@dataclass(frozen=True)
class HeadPose:
    """The camera of T frames: a head's point P is seen at s R_2 P + a shift, y up.

    Attributes:
        scale: (T,) pixels in the distance between the eyes; NaN where there is no face.
        rotation: (T, 3, 3).
    """

    scale: np.ndarray
    rotation: np.ndarray

    @property
    def angles(self) -> dict[str, np.ndarray]:
        """ "yaw", "pitch", "roll" -> (T,) in degrees."""
        r = self.rotation
        angles = {
            "yaw": np.arctan2(r[:, 0, 2], r[:, 2, 2]),
            "pitch": np.arcsin(np.clip(-r[:, 1, 2], -1, 1)),
            "roll": np.arctan2(r[:, 1, 0], r[:, 1, 1]),
        }
        return {name: np.degrees(angle) for name, angle in angles.items()}


def head_pose(landmarks: np.ndarray) -> HeadPose:
    """The pose of the head, see the module.

    Args:
        landmarks: (T, 68, 2), in pixels, y down.
    Returns:
        NaN where a landmark is NaN, or all lie on one line.

    Example:
        >>> frontal = 60 * TEMPLATE[None, :, :2] * [1, -1] + 128
        >>> pose = head_pose(frontal)
        >>> round(float(pose.scale[0]), 6), abs(round(float(pose.angles["yaw"][0]), 6))
        (60.0, 0.0)
    """
    seen = np.asarray(landmarks, float)[:, _RIGID] * (1, -1)
    known = TEMPLATE[_RIGID] - TEMPLATE[_RIGID].mean(axis=0)
    camera = np.swapaxes(seen - seen.mean(axis=1, keepdims=True), 1, 2) @ np.linalg.pinv(known).T
    scale, rotation = np.full(len(seen), np.nan), np.full((len(seen), 3, 3), np.nan)
    there = np.isfinite(camera).all(axis=(1, 2))
    left, values, right = np.linalg.svd(camera[there], full_matrices=False)
    flat = values[:, 1] <= _TOO_FLAT * values[:, 0]
    rows = left @ right
    rows[flat] = np.nan
    scale[there] = np.where(flat, np.nan, values.mean(axis=1))
    third = np.cross(rows[:, 0], rows[:, 1])
    rotation[there] = np.concatenate([rows, third[:, None]], axis=1)
    return HeadPose(scale, rotation)


def read_movements(landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """Every one of `MEASURES`, see the module.

    Args:
        landmarks: (T, 68, 2), in pixels, y down.
    Returns:
        Measure -> (T,); NaN where there is no face.

    Example:
        >>> frontal = 60 * TEMPLATE[None, :, :2] * [1, -1] + 128
        >>> round(float(read_movements(frontal)["mouth_width"][0]), 6)
        0.82
    """
    pose = head_pose(landmarks)
    seen = np.asarray(landmarks, float) * (1, -1)
    camera = pose.scale[:, None, None] * pose.rotation[:, :2]  # (T, 2, 3): s R_2
    result = {}
    for name, (one, other, axis) in _LENGTHS.items():
        known = TEMPLATE[one].mean(axis=0) - TEMPLATE[other].mean(axis=0)
        found = seen[:, one].mean(axis=1) - seen[:, other].mean(axis=1)
        along = camera @ axis  # s u
        beyond = ((found - camera @ known) * along).sum(axis=1)
        result[name] = beyond / (along * along).sum(axis=1) + known @ axis
    return result | pose.angles
