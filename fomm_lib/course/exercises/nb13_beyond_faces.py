"""Checks for notebook 13: landmarks that follow, a foot, a moving camera, the size of a subject."""

from __future__ import annotations

from functools import partial

import torch

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment
from fomm_lib.geometry import coordinate_grid

NEAR = 0.2
"""How near a keypoint must be to a landmark, in units of [-1, 1]."""


def _follows(away, error, moved, shift):
    return ((away < NEAR) & (error < 0.5 * moved)).any(dim=1)


def _nearest_follows(away, error, moved, shift):
    nearest = away == away.amin(dim=1, keepdim=True)
    return (nearest & (away < NEAR) & (error < 0.5 * moved)).any(dim=1)


def _every_near_one_follows(away, error, moved, shift):
    near = away < NEAR
    return near.any(dim=1) & (~near | (error < 0.5 * moved)).all(dim=1)


def _landmarks_follow(keypoints, landmarks, rule=_follows, frame=1, direction=1):
    """Which landmarks follow by a rule, a function of the distances in a frame and the errors of the motions,
    (n, K) each, and of the lengths of the motions, (n, 1) and (K,).
    """
    moved, shift = landmarks[0] - landmarks[1], direction * (keypoints[0] - keypoints[1])
    away = (landmarks[frame][:, None] - keypoints[frame]).norm(dim=-1)
    error = (moved[:, None] - shift).norm(dim=-1)
    return rule(away, error, moved.norm(dim=-1, keepdim=True), shift.norm(dim=-1))


def _points(*driving, shift) -> torch.Tensor:
    """(2, n, 2): points of the driving frame, and where they are in the source."""
    placed = torch.tensor(driving)
    return torch.stack([placed + torch.tensor(shift), placed])


def _random(seed: int):
    generator = torch.Generator().manual_seed(seed)
    keypoints, landmarks = (torch.rand(2, count, 2, generator=generator) * 0.8 - 0.4 for count in (10, 12))
    landmarks[0] = landmarks[1] + 0.3 * torch.randn(12, 2, generator=generator)
    keypoints[0] = keypoints[1] + 0.3 * torch.randn(10, 2, generator=generator)
    return keypoints, landmarks


def _far_in_the_source():
    """The keypoint is near in the driving frame alone, and moves nearly as the landmark does."""
    return _points([0.0, 0.15], shift=[0.5, 0.1]), _points([0.0, 0.0], shift=[0.5, 0.0])


check_landmarks_follow = Exercise(
    "landmarks_follow",
    solution=_landmarks_follow,
    cases=[
        Case(
            "the keypoint beside moves as the landmark does",
            lambda f: f(_points([0.1, 0.0], shift=[0.3, 0.0]), _points([0.0, 0.0], shift=[0.3, 0.0])),
        ),
        Case(
            "the keypoint beside stands still",
            lambda f: f(_points([0.1, 0.0], shift=[0.0, 0.0]), _points([0.0, 0.0], shift=[0.3, 0.0])),
        ),
        Case(
            "one keypoint follows, one beside it stands still, one far away follows",
            lambda f: f(
                torch.cat(
                    [
                        _points([0.1, 0.0], shift=[0.3, 0.0]),
                        _points([0.0, 0.1], shift=[0.0, 0.0]),
                        _points([0.9, 0.9], shift=[0.1, 0.2]),
                    ],
                    dim=1,
                ),
                torch.cat(
                    [_points([0.0, 0.0], shift=[0.3, 0.0]), _points([-0.5, 0.0], shift=[0.1, 0.2])], dim=1
                ),
            ),
        ),
        Case(
            "the error is three quarters of the motion",
            lambda f: f(_points([0.1, 0.0], shift=[0.1, 0.0]), _points([0.0, 0.0], shift=[0.4, 0.0])),
        ),
        Case("near in the driving frame alone", lambda f: f(*_far_in_the_source())),
        Case("ten keypoints, twelve landmarks", lambda f: f(*_random(0))),
        Case("ten other keypoints", lambda f: f(*_random(1))),
    ],
    mistakes={
        "near is measured in the driving frame, index 1, as the flow is": {"frame": 0},
        "a keypoint far away says nothing about this landmark: take those within NEAR": {
            "rule": lambda away, error, moved, shift: (error < 0.5 * moved).any(dim=1)
        },
        "one keypoint is enough; not all that are near must follow": {"rule": _every_near_one_follows},
        "the error must be below half the motion, not below the motion": {
            "rule": lambda away, error, moved, shift: _follows(away, error, 2 * moved, shift)
        },
        "both motions go from the driving frame to the source": {"direction": -1},
        "a keypoint that is near may still stand still": {
            "rule": lambda away, error, moved, shift: (away < NEAR).any(dim=1)
        },
        "any keypoint within NEAR may follow, not only the nearest": {"rule": _nearest_follows},
        "half of the landmark's motion is allowed, not half of the keypoint's": {
            "rule": lambda away, error, moved, shift: _follows(away, error, shift, shift)
        },
        "that compares the square of the distance with NEAR": {
            "rule": lambda away, error, moved, shift: _follows(away**2, error, moved, shift)
        },
        "the same keypoint must be near and follow; combine both for each pair, then use any": {
            "rule": lambda away, error, moved, shift: (away < NEAR).any(1) & (error < 0.5 * moved).any(1)
        },
        "two motions of equal length may point elsewhere: take the length of their difference": {
            "rule": lambda away, error, moved, shift: _follows(away, (moved - shift).abs(), moved, shift)
        },
    },
)


def _foot(u, stance, stride, lift, back=1, ahead=1, exchanged=False, lifted_at_stance=False):
    """Position of a foot at u of a cycle; the swing is linear here. `back` and `ahead` are the signs of the
    ways on the ground and in the air.
    """
    on_ground = u < stance
    standing, swing = u / stance, ((u - stance) / (1 - stance)).clamp(0, 1)
    ways = back * (0.5 - standing), ahead * (swing - 0.5)
    forward = stride * torch.where(on_ground, *(ways[::-1] if exchanged else ways))
    lifted = on_ground if lifted_at_stance else ~on_ground
    height = lift * lifted * torch.sin(torch.pi * (standing if lifted_at_stance else swing))
    return torch.stack([forward, height], dim=-1)


def _cycle(count: int) -> torch.Tensor:
    return torch.arange(count) / count


check_foot = Exercise(
    "foot",
    solution=_foot,
    cases=[
        Case("a walk: 65 % on the ground", lambda f: f(_cycle(20), 0.65, 4.0, 1.0)),
        Case("a trot: half of the cycle", lambda f: f(_cycle(16), 0.5, 6.0, 1.5)),
        Case("a short step, high", lambda f: f(_cycle(12), 0.6, 0.5, 2.0)),
    ],
    mistakes={
        "the foot jumps when it leaves the ground: it swings from behind to the front": {"ahead": -1},
        "the foot is lifted while it should stand": {"lifted_at_stance": True},
        "lengths are whole strides: from half a stride in front to half a stride behind": (
            lambda u, stance, stride, lift: _foot(u, stance, 2 * stride, lift)
        ),
        "the swing is right now; on the ground the foot still goes forward": {"back": -1},
        "on the ground the place depends on u / stance, in the air on swing": {
            "back": -1,
            "ahead": -1,
            "exchanged": True,
        },
        "do not turn time round: u is right, and the sign of the forward place is wrong": (
            lambda u, stance, stride, lift: _foot(1 - u, stance, stride, lift, back=-1, ahead=-1)
        ),
    },
    given=partial(_foot, back=-1, ahead=-1),
)


def _background_flow(grid, source_offset, driving_offset):
    return grid + driving_offset - source_offset


def _moved_camera(function, source_offset, driving_offset, size=(3, 4)):
    return function(coordinate_grid(*size), torch.tensor(source_offset), torch.tensor(driving_offset))


check_background_flow = Exercise(
    "background_flow",
    solution=_background_flow,
    cases=[
        Case("the camera stands still", lambda f: _moved_camera(f, (0.2, 0.1), (0.2, 0.1))),
        Case("it moved to the right", lambda f: _moved_camera(f, (0.0, 0.0), (0.3, 0.0))),
        Case("it moved left and down", lambda f: _moved_camera(f, (0.1, -0.2), (-0.2, 0.3), size=(4, 3))),
    ],
    mistakes={
        "the other way round: what the driving frame shows at z is at z + o_D of the world": (
            lambda grid, source, driving: grid + source - driving
        ),
        "that is the displacement; the flow is a point of the source: add the grid": (
            lambda grid, source, driving: (driving - source).expand_as(grid)
        ),
        "the background stays only if the camera does": lambda grid, source, driving: grid.clone(),
        "that is the point of the world; the source shows it at that point minus o_S": (
            lambda grid, source, driving: grid + driving
        ),
        "the point of the world is z + o_D; in the source it is o_S less, not more": (
            lambda grid, source, driving: grid + driving + source
        ),
        "(y, x) in place of (x, y)": lambda grid, source, driving: grid + (driving - source).flip(-1),
    },
)

STEP = 0.1
"""How far the disc of the experiment moves, in units of [-1, 1]."""
SIDE = 64


def disc(radius: float, x: float) -> torch.Tensor:
    """A white disc on black with its centre at (x, 0), (SIDE, SIDE).

    Example:
        >>> round(float(disc(0.5, 0.0).mean()), 1)          # about pi / 16
        0.2
    """
    away = (coordinate_grid(SIDE, SIDE) - torch.tensor([x, 0.0])).norm(dim=-1)
    return (away < radius).float()


def _repeat_error(radius: float, on_disc: bool = False, step: float = STEP) -> float:
    still, moved = disc(radius, 0.0), disc(radius, step)
    difference = (still - moved).abs()
    return float(difference[moved > 0].mean() if on_disc else difference.mean())


def _share_of_the_disc(radius: float) -> float:
    return _repeat_error(radius) / float(disc(radius, 0.0).mean())


check_error_by_size = Experiment(
    "error_by_size",
    measure=_repeat_error,
    settings=[0.1, 0.2, 0.4, 0.8],
    answer="rises",
    mistakes={
        "that is the error on the disc only; take the mean over the image": {"on_disc": True},
        "that is the error divided by the size of the disc, which falls; L1 is the mean over the image": (
            _share_of_the_disc
        ),
        "that is the sum; L1 is the mean over the pixels": lambda radius: _repeat_error(radius) * SIDE**2,
        "both signs cancel: take the absolute value before the mean": lambda radius: float(
            (disc(radius, 0.0) - disc(radius, STEP)).mean()
        ),
        "that is the root of the mean square; L1 has no root": lambda radius: _repeat_error(radius) ** 0.5,
        "the disc moves by STEP, not by its radius": lambda radius: _repeat_error(radius, step=radius),
        "that is the share of the image that the disc covers": lambda radius: float(disc(radius, 0.0).mean()),
    },
    why="the same motion changes more pixels of a large subject than of a small one",
)
