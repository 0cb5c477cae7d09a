"""Checks for notebook 08, animation: relative motion of Jacobians, the nearest pose, smoothing."""

from __future__ import annotations

from functools import reduce

import torch

from fomm_lib.animation.movement import smoothed
from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment
from fomm_lib.geometry import inverse_2x2, multiply_2x2
from fomm_lib.keypoints import Keypoints


def _three_sets(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.eye(2) + 0.4 * torch.randn(3, 4, 2, 2, generator=generator)


def _source_last(j_source, j_driving, j_initial):
    """What the notebook gives, with its bug."""
    return _product(j_source, j_driving, inverse_2x2(j_initial))


def _product(*matrices):
    return reduce(multiply_2x2, matrices)


check_relative_jacobian = Exercise(
    "relative_jacobian",
    solution=lambda j_source, j_driving, j_initial: _product(j_driving, inverse_2x2(j_initial), j_source),
    given=_source_last,
    cases=[
        Case("four matrices of each", lambda f: f(*_three_sets(0))),
        Case("no movement", lambda f: f(*_three_sets(2)[[0, 1, 1]])),
        Case("the driving head is the source", lambda f: f(*_three_sets(3)[[0, 1, 0]])),
    ],
    mistakes={
        "invert the reference, then apply the driving one: J_driving J_initial^-1": (
            lambda j_source, j_driving, j_initial: _product(inverse_2x2(j_initial), j_driving, j_source)
        ),
        "the change was right: the driving state after the inverse of the reference; look at j_source": (
            lambda j_source, j_driving, j_initial: _product(j_source, inverse_2x2(j_initial), j_driving)
        ),
        "the inverse is missing": (
            lambda j_source, j_driving, j_initial: _product(j_driving, j_initial, j_source)
        ),
        "matrices change by a product, points by a sum": (
            lambda j_source, j_driving, j_initial: j_source + j_driving - j_initial
        ),
    },
    rtol=1e-3,
    atol=1e-4,
)


def _length(points):
    return points.square().sum(dim=(-2, -1), keepdim=True).sqrt()


def _largest(points):
    return points.abs().amax(dim=(-2, -1), keepdim=True)


def _nearest_pose(source, poses, centred=True, size=_length, farthest=False):
    def shape(points):
        if centred:
            points = points - points.mean(dim=-2, keepdim=True)
        return points / size(points) if size else points

    distance = (shape(poses) - shape(source)).square().sum(dim=(-2, -1))
    return int(distance.argmax() if farthest else distance.argmin())


def _poses(function, shift, size):
    """Six poses; the fifth is that of the source, at another position and of another size."""
    generator = torch.Generator().manual_seed(4)
    source = torch.rand(5, 2, generator=generator) - 0.5
    poses = source + 0.25 * torch.randn(6, 5, 2, generator=generator)
    poses[4] = size * source + torch.tensor(shift)
    return function(source, poses)


def _strange_poses(function):
    """For five sources the nearest of eight poses of which none is like them."""
    generator = torch.Generator().manual_seed(5)
    sets = torch.randn(5, 9, 5, 2, generator=generator)
    return [function(one[0], one[1:]) for one in sets]


check_nearest_pose = Exercise(
    "nearest_pose",
    solution=_nearest_pose,
    cases=[
        Case("the pose is among them", lambda f: _poses(f, (0.0, 0.0), 1.0)),
        Case("the pose is among them, far to the right", lambda f: _poses(f, (2.0, 0.3), 1.0)),
        Case("the pose is among them, three times as large", lambda f: _poses(f, (0.0, 0.0), 3.0)),
        Case("none is equal; the nearest, for five sources", _strange_poses),
    ],
    mistakes={
        "the position must have no effect: subtract the mean of each set": {"centred": False},
        "the size must have no effect: divide each set by its size": {"size": None},
        "position and size must have no effect: subtract the mean, divide by the length": {
            "centred": False,
            "size": None,
        },
        "divide by the length, the root of the sum of all squares": {"size": _largest},
        "that is the farthest pose": {"farthest": True},
    },
)


def _smoothing_error(sigma, near=None, distance=lambda d: d.square().mean().sqrt()):
    """The error of the notebook's path after smoothing; `near` replaces the true path."""
    times = torch.linspace(0, 12, 60)
    path = torch.stack([0.3 * times.sin(), 0 * times], dim=-1)[:, None]
    found = path + 0.03 * torch.randn(path.shape, generator=torch.Generator().manual_seed(1))
    items = [(Keypoints(found[i : i + 1]), i) for i in range(60)]
    curve = torch.cat([kp.value for kp, _ in smoothed(items, sigma)])
    return float(distance(curve - (found if near == "found" else path)))


def _says_where_it_is_best(errors):
    best = errors.index(min(errors))
    return "falls, then rises" if 0 < best < len(errors) - 1 else "rises" if best == 0 else "falls"


check_smoothing_error = Experiment(
    "smoothing_error",
    measure=_smoothing_error,
    settings=[0.5, 1, 2, 4, 8],
    answer="falls, then rises",
    choices=("rises", "falls", "falls, then rises"),
    conclude=_says_where_it_is_best,
    mistakes={
        "that is the distance to the noisy points; compare with true_path": {"near": "found"},
        "that is the mean square; take its root": {"distance": lambda d: d.square().mean()},
        "that is the mean absolute error; take the root of the mean square": {
            "distance": lambda d: d.abs().mean()
        },
    },
    why="more smoothing removes noise, and then the movement too",
)
