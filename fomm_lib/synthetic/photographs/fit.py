"""Fit the bust to the 68 landmarks of a photograph.

Camera frame: x right, y up, the camera at the origin looking along -z. A point v of the person frame (see
`shape`) lies at X = R v + t, with t_z = -`DISTANCE` fixed, and is seen at

    x = c_x + f X_x / (-X_z),    y = c_y - f X_y / (-X_z)

in pixels, with the principal point (c_x, c_y) in the middle of the photograph and a free focal length f.

Unknowns are 40 coefficients of shape, the facial actions, R, two components of t, and log f. Their
least-squares solution leaves some 5 % of the distance between the eyes; a smooth shift in the image plane
(kernel ridge regression) takes the rest, so that the bust has the landmarks that the photograph has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.optimize import least_squares

from fomm_lib.synthetic.anatomy import LANDMARKS, Part, load_anatomy
from fomm_lib.synthetic.photographs.landmarks import EYES, LIPS, OPEN_MOUTH, Portrait
from fomm_lib.synthetic.photographs.shape import EYE_DISTANCE, Shape, actions, canonical
from fomm_lib.synthetic.posture import rotation_matrix

DISTANCE = 20.0
"""From the camera to the eyes, dm."""

JAW, BROWS = slice(0, 17), slice(17, 27)  # of the landmarks
_ROUNDS, _EVALUATIONS = 3, 12
_SPREAD = 0.02  # standard deviation of a landmark, in distances between the eyes
_WEIGHTS = np.ones(68)
_WEIGHTS[JAW], _WEIGHTS[BROWS], _WEIGHTS[36:48], _WEIGHTS[48:] = 0.35, 0.6, 1.5, 1.2
# Actions that 68 points cannot tell from others.
_NOT_FITTED = ("eyeLook", "tongueOut", "cheekPuff", "jawForward")
_RARE = (
    "jawLeft", "jawRight", "mouthLeft", "mouthRight", "mouthRoll", "mouthFunnel", "mouthPucker", "mouthShrug",
    "mouthClose",
)  # fmt: skip
_COMMON = ("jawOpen", "eyeBlink", "mouthSmile", "eyeSquint", "mouthUpperUp", "mouthLowerDown")
_OVERLAP = 0.004  # of closed lips, in distances between the eyes: a fifth of a pixel
_KERNEL = 0.3  # dm, width of exp(-r / width) of the residual shift
_RIDGE = np.full(68, 0.03)
_RIDGE[JAW], _RIDGE[BROWS], _RIDGE[60:] = 0.5, 0.2, 0.01


@dataclass(frozen=True)
class Fit:
    """The head of a photograph, with the camera that sees it there.

    Attributes:
        neutral: (N, 3) float32, the bust at rest in the person frame.
        actions: (52,) strengths of the facial actions in the photograph.
        rotation: (3, 3); translation: (3,); focal: pixels; centre: (2,), see the module.
        vertices: (68,) the vertices that are landmarks: those of the jaw are chosen by the fit.
        angles: (3,) pitch, yaw, roll in degrees.
        error, jaw_error: root mean square distance of landmarks without and of the jaw before the residual
            shift, and `residual` without the jaw after it; in distances between the eyes.
    """

    neutral: np.ndarray
    actions: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    focal: float
    centre: np.ndarray
    vertices: np.ndarray
    angles: np.ndarray
    error: float
    jaw_error: float
    residual: float

    @cached_property
    def deformed(self) -> np.ndarray:
        """(N, 3): the bust with the facial actions of the photograph."""
        return self.neutral + np.tensordot(self.actions, actions(), 1)

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 3) of the person frame in the camera frame."""
        return points @ self.rotation.T + self.translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """(n, 2): pixels at which the photograph shows points (n, 3) of the person frame."""
        return _project(self.to_camera(points), self.focal, self.centre)

    def lift(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """(n, 3) points of the person frame at `pixels` (n, 2), `depth` (n,) dm nearer than the eyes."""
        z = depth - DISTANCE
        x, y = (pixels - self.centre).T / self.focal
        return (np.stack([-x * z, y * z, z], axis=1) - self.translation) @ self.rotation


def _project(points: np.ndarray, focal: float, centre: np.ndarray) -> np.ndarray:
    x, y, z = points.T
    return np.stack([centre[0] - focal * x / z, centre[1] + focal * y / z], axis=1)


def fit_head(portrait: Portrait, shape: Shape) -> Fit:
    """Find the head and the camera that show the landmarks of a portrait where they are.

    Args:
        portrait: what `read_portrait` gives.
        shape: what `load_shape` gives.

    Example:
        >>> fit = fit_head(read_portrait(read_image("person.jpg")), load_shape())    # doctest: +SKIP
        >>> fit.residual < 0.02                                                      # doctest: +SKIP
        True
    """
    landmarks, problem = _sealed(portrait), _Problem(portrait, shape)
    vertices = load_anatomy().indices(LANDMARKS).copy()
    solution = problem.start()
    for k in range(_ROUNDS):
        solution = problem.solve(solution, vertices)
        if k < _ROUNDS - 1:  # which vertices are the outline of the jaw depends on the pose
            vertices[JAW] = problem.jaw(solution)
    neutral, strengths, camera = problem.head(solution)
    rotation, translation, focal = camera

    def seen(bust: np.ndarray) -> np.ndarray:
        return _project(bust[vertices] @ rotation.T + translation, focal, problem.centre)

    bust = neutral + np.tensordot(strengths, actions(), 1)
    before = seen(bust)
    shift = _residual_shift(landmarks - before, vertices)
    depth = (bust @ rotation.T + translation)[:, 2]
    in_camera = np.stack([-shift[:, 0] * depth, shift[:, 1] * depth, 0 * depth], axis=1) / focal
    neutral = (neutral + in_camera @ rotation).astype(np.float32)
    after = seen(neutral + np.tensordot(strengths, actions(), 1))

    def error(found: np.ndarray, which: slice) -> float:
        distance = np.linalg.norm((found - landmarks)[which], axis=1)
        return float(np.sqrt((distance**2).mean()) / portrait.eye_distance)

    rest = slice(JAW.stop, None)
    return Fit(
        neutral, strengths, rotation, translation, float(focal), problem.centre, vertices,
        np.rad2deg(solution[-6:-3]), error(before, rest), error(before, JAW), error(after, rest),
    )  # fmt: skip


def _sealed(portrait: Portrait) -> np.ndarray:
    """The landmarks; those of the inner edges of closed lips overlap by less than a pixel."""
    landmarks = portrait.landmarks.copy()
    upper, lower = landmarks[LIPS[0], 1], landmarks[LIPS[1], 1]
    if (lower - upper).mean() < OPEN_MOUTH * portrait.eye_distance:
        landmarks[LIPS[0], 1] = landmarks[LIPS[1], 1] = (upper + lower) / 2
        landmarks[LIPS[0], 1] += _OVERLAP * portrait.eye_distance
        landmarks[LIPS[1], 1] -= _OVERLAP * portrait.eye_distance
    return landmarks


def _residual_shift(missing: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """(N, 2) pixels: a smooth shift of the bust that nearly is `missing`, (68, 2), at the landmarks."""
    used, first = np.unique(vertices, return_index=True)
    points = canonical()

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-np.linalg.norm(a[:, None] - b[None], axis=2) / _KERNEL)

    near = kernel(points[used], points[used]) + np.diag(_RIDGE[first])
    return kernel(points, points[used]) @ np.linalg.solve(near, missing[first])


class _Problem:
    """The least-squares problem: a vector of shape, actions, three angles, t_x, t_y, log f / f_0."""

    def __init__(self, portrait: Portrait, shape: Shape):
        self.shape, self.landmarks = shape, _sealed(portrait)
        height, width = portrait.image.shape[:2]
        self.centre = np.array([(width - 1) / 2, (height - 1) / 2])
        self.eye_distance = portrait.eye_distance
        self.focal = DISTANCE * self.eye_distance / EYE_DISTANCE
        names = load_anatomy().action_names
        self.fitted = [k for k, name in enumerate(names) if not name.startswith(_NOT_FITTED)]
        fitted_names = [names[k] for k in self.fitted]
        self.shapes, self.count = len(shape.components), len(self.fitted)
        costs = [3 if n.startswith(_RARE) else 0.7 if n.startswith(_COMMON) else 1.2 for n in fitted_names]
        # Rows that are small where shape and actions are usual, and actions the same on both sides.
        usual = np.diag([1.0] * self.shapes + costs)
        left = [k for k, name in enumerate(fitted_names) if name.endswith("Left")]
        right = [fitted_names.index(fitted_names[k][:-4] + "Right") for k in left]
        even = np.zeros((len(left), len(usual)))
        even[np.arange(len(left)), np.array(left) + self.shapes] = 2
        even[np.arange(len(left)), np.array(right) + self.shapes] = -2
        self.prior = np.concatenate([usual, even])
        low = np.r_[np.full(self.shapes, -3.5), np.zeros(self.count), -1, -1, -1, -5, -5, -1]
        high = np.r_[np.full(self.shapes, 3.5), np.full(self.count, 1.1), 1, 1, 1, 5, 5, 1]
        self.bounds = low, high

    def start(self) -> np.ndarray:
        """A mean face, turned and placed as the eyes are."""
        right, left = (self.landmarks[eye].mean(axis=0) for eye in EYES)
        roll = -np.arctan2(left[1] - right[1], left[0] - right[0])
        x, y = ((left + right) / 2 - self.centre) * DISTANCE / self.focal
        rest = [0, 0, roll, x, -y, 0]
        return np.concatenate([np.zeros(self.shapes), np.full(self.count, 0.05), rest])

    def camera(self, solution: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Rotation, translation and focal length."""
        rotation = rotation_matrix(*solution[-6:-3]).astype(float)
        translation = np.array([solution[-3], solution[-2], -DISTANCE])
        return rotation, translation, self.focal * np.exp(solution[-1])

    def head(self, solution: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple]:
        """The bust at rest, the strengths of all actions, and the camera."""
        coefficients = solution[: self.shapes].astype(np.float32)
        strengths = np.zeros(len(actions()), np.float32)
        strengths[self.fitted] = solution[self.shapes : self.shapes + self.count]
        neutral = self.shape.mean + np.tensordot(coefficients, self.shape.components, 1)
        return neutral, strengths, self.camera(solution)

    def solve(self, start: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        """Minimize the residuals, with these vertices as landmarks."""
        mean = self.shape.mean[vertices].astype(float).ravel()
        linear = np.concatenate([self.shape.components[:, vertices], actions()[self.fitted][:, vertices]])
        linear = linear.reshape(len(linear), -1).astype(float)
        weights = (_WEIGHTS / (_SPREAD * self.eye_distance))[:, None]
        prior = self.prior

        def seen(p: np.ndarray) -> np.ndarray:
            rotation, translation, focal = self.camera(p)
            points = (mean + p[:-6] @ linear).reshape(-1, 3) @ rotation.T + translation
            return (_project(points, focal, self.centre) - self.landmarks) * weights

        def residuals(p: np.ndarray) -> np.ndarray:
            return np.concatenate([seen(p).ravel(), prior @ p[:-6]])

        def jacobian(p: np.ndarray) -> np.ndarray:
            rotation, translation, focal = self.camera(p)
            x, y, z = ((mean + p[:-6] @ linear).reshape(-1, 3) @ rotation.T + translation).T
            dx, dy, dz = np.moveaxis(linear.reshape(len(linear), -1, 3) @ rotation.T, 2, 0)
            of_points = np.stack([x * dz - z * dx, z * dy - y * dz], axis=2) * focal / (z * z)[:, None]
            step = 1e-6 * np.eye(len(p))[-6:]  # the camera's six columns by differences
            of_camera = [(seen(p + h) - seen(p - h)).ravel() / 2e-6 for h in step]
            of_points = (of_points * weights).reshape(len(linear), -1)
            upper = np.concatenate([of_points, of_camera]).T
            return np.concatenate([upper, np.pad(prior, ((0, 0), (0, 6)))])

        low, high = self.bounds
        inside = np.clip(start, low + 1e-6, high - 1e-6)
        found = least_squares(
            residuals, inside, jacobian, bounds=self.bounds, max_nfev=_EVALUATIONS, x_scale="jac",
            loss="soft_l1", f_scale=3.0,
        )  # fmt: skip
        return found.x

    def jaw(self, solution: np.ndarray) -> np.ndarray:
        """(17,) vertices of the outline: the outermost along the ray from the nose to each landmark."""
        candidates = _jaw_candidates()
        neutral, strengths, (rotation, translation, focal) = self.head(solution)
        points = (neutral + np.tensordot(strengths, actions(), 1))[candidates]
        middle = self.landmarks[27:36].mean(axis=0)
        away = _project(points @ rotation.T + translation, focal, self.centre) - middle
        wanted = self.landmarks[JAW] - middle
        angle, radius = np.arctan2(away[:, 1], away[:, 0]), np.linalg.norm(away, axis=1)
        difference = angle - np.arctan2(wanted[:, 1], wanted[:, 0])[:, None]
        difference = np.abs((difference + np.pi) % (2 * np.pi) - np.pi)
        score = radius * (1 - 60 * difference**2) - 1e3 * (difference > 0.09)
        return candidates[score.argmax(axis=1)]


@lru_cache(maxsize=1)
def _jaw_candidates() -> np.ndarray:
    """Vertices of the face's skin that can be its outline: without ears, neck and the inside of the mouth."""
    anatomy = load_anatomy()
    x, y, z = anatomy.vertices.T
    face = (anatomy.part == Part.SKIN) & (anatomy.masks["mouth"] < 0.5) & (y < 7.35) & (y > 6.15) & (z > 0.45)
    ear, neck = (np.abs(x) > 0.72) & (z < 0.9), (y < 6.45) & (z < 0.8)
    return np.flatnonzero(face & ~ear & ~neck)
