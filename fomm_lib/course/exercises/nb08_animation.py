"""Checks for notebook 08, animation: relative motion, and the nearest pose."""

from __future__ import annotations

from functools import partial, reduce

import torch

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.geometry import inverse_2x2, multiply_2x2


def _relative_place(p_source, p_driving, p_initial, scale=1.0):
    return p_source + scale * (p_driving - p_initial)


def _three_sets(seed, jacobian=False):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(3, 4, 2, 2, generator=generator)
    return torch.eye(2) + 0.4 * noise if jacobian else noise[..., 0]


check_relative_place = Exercise(
    "relative_place",
    solution=_relative_place,
    cases=[
        Case("four points of each, scale 1", lambda f: f(*_three_sets(0))),
        Case("four points of each, scale 0.5", lambda f: f(*_three_sets(1), scale=0.5)),
        Case("no movement", lambda f: f(*_three_sets(2)[[0, 1, 1]])),
    ],
    mistakes={
        "that is absolute: use only the movement since the reference": (
            lambda p_source, p_driving, p_initial, scale=1.0: p_driving
        ),
        "the movement is driving minus initial, not initial minus driving": (
            lambda p_source, p_driving, p_initial, scale=1.0: p_source + scale * (p_initial - p_driving)
        ),
        "scale only the movement, not the sum": (
            lambda p_source, p_driving, p_initial, scale=1.0: scale * (p_source + p_driving - p_initial)
        ),
        "the scale is missing": (
            lambda p_source, p_driving, p_initial, scale=1.0: p_source + p_driving - p_initial
        ),
    },
)


def _product(*matrices):
    return reduce(multiply_2x2, matrices)


check_relative_jacobian = Exercise(
    "relative_jacobian",
    solution=lambda j_source, j_driving, j_initial: _product(j_driving, inverse_2x2(j_initial), j_source),
    cases=[
        Case("four matrices of each", lambda f: f(*_three_sets(0, jacobian=True))),
        Case("no movement", lambda f: f(*_three_sets(2, jacobian=True)[[0, 1, 1]])),
        Case("the driving head is the source", lambda f: f(*_three_sets(3, jacobian=True)[[0, 1, 0]])),
    ],
    mistakes={
        "the order: the change since the reference is applied last, so it is the first factor": (
            lambda j_source, j_driving, j_initial: _product(j_source, j_driving, inverse_2x2(j_initial))
        ),
        "invert the reference, then apply the driving one: J_driving J_initial^-1": (
            lambda j_source, j_driving, j_initial: _product(inverse_2x2(j_initial), j_driving, j_source)
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


def _nearest_pose(source, poses, centred=True, scaled=True, farthest=False):
    def shape(points):
        if centred:
            points = points - points.mean(dim=-2, keepdim=True)
        return points / points.square().sum(dim=(-2, -1), keepdim=True).sqrt() if scaled else points

    distance = (shape(poses) - shape(source)).square().sum(dim=(-2, -1))
    return int(distance.argmax() if farthest else distance.argmin())


def _poses(function, shift, size):
    """Six poses; the fifth is that of the source, at another position and of another size."""
    generator = torch.Generator().manual_seed(4)
    source = torch.rand(5, 2, generator=generator) - 0.5
    poses = source + 0.25 * torch.randn(6, 5, 2, generator=generator)
    poses[4] = size * source + torch.tensor(shift)
    return function(source, poses)


check_nearest_pose = Exercise(
    "nearest_pose",
    solution=_nearest_pose,
    cases=[
        Case("the pose is among them", lambda f: _poses(f, (0.0, 0.0), 1.0)),
        Case("the pose is among them, far to the right", lambda f: _poses(f, (2.0, 0.3), 1.0)),
        Case("the pose is among them, three times as large", lambda f: _poses(f, (0.0, 0.0), 3.0)),
    ],
    mistakes={
        "the position must have no effect: subtract the mean of each set": partial(
            _nearest_pose, centred=False
        ),
        "the size must have no effect: divide each set by its size": partial(_nearest_pose, scaled=False),
        "that is the farthest pose": partial(_nearest_pose, farthest=True),
    },
)
