"""Checks for notebook 12: keypoints with a spread, flow from shifts, relative motion, rotation."""

from __future__ import annotations

import math

import torch

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment
from fomm_lib.geometry import coordinate_grid


def _heatmap_moments(heatmap, swapped=False, about_mean=True, power=1, divided=False):
    grid = coordinate_grid(*heatmap.shape)
    grid = grid.flip(-1) if swapped else grid
    mean = (heatmap[..., None] * grid).sum(dim=(0, 1))
    offset = grid - mean if about_mean else grid
    outer = offset[..., :, None] * offset[..., None, :]
    covariance = (heatmap[..., None, None] ** power * outer).sum(dim=(0, 1))
    return mean, covariance / heatmap.numel() if divided else covariance


def _diagonal(heatmap):
    mean, covariance = _heatmap_moments(heatmap)
    return mean, torch.diag(covariance.diag())


def _variances_alone(heatmap):
    mean, covariance = _heatmap_moments(heatmap)
    return mean, covariance.diag()


def _most_certain_point(heatmap):
    points = coordinate_grid(*heatmap.shape).reshape(-1, 2)
    return points[heatmap.argmax()], _heatmap_moments(heatmap)[1]


def _in_pixels(heatmap):
    height, width = heatmap.shape
    mean, covariance = _heatmap_moments(heatmap)
    half = torch.tensor([width - 1, height - 1]) / 2
    return (mean + 1) * half, covariance * torch.outer(half, half)


def _heatmap(*peaks: tuple[int, int], size: tuple[int, int] = (9, 9)) -> torch.Tensor:
    """Equal weight at (row, column) places."""
    heatmap = torch.zeros(size)
    for row, column in peaks:
        heatmap[row, column] = 1 / len(peaks)
    return heatmap


check_heatmap_moments = Exercise(
    "heatmap_moments",
    solution=_heatmap_moments,
    cases=[
        Case("two points one above the other, at the right", lambda f: f(_heatmap((2, 6), (6, 6)))),
        Case("two points on a diagonal", lambda f: f(_heatmap((2, 2), (6, 6)))),
        Case(
            "four points of a wide heatmap",
            lambda f: f(_heatmap((0, 1), (3, 2), (4, 8), (1, 9), size=(5, 11))),
        ),
    ],
    mistakes={
        "(y, x) instead of (x, y)": {"swapped": True},
        "offsets are measured from the mean, not from the centre of the image": {"about_mean": False},
        "the heatmap sums to 1 already; do not divide by the number of pixels": {"divided": True},
        "the heatmap weights the products once, not squared": {"power": 2},
        "the entry xy is missing: without it an ellipse cannot be inclined": _diagonal,
        "the covariance is a matrix of 2 x 2, with the entry xy, not two variances": _variances_alone,
        "the mean is the weighted mean of all points, not the point of the largest weight": (
            _most_certain_point
        ),
        "in pixels; the points of `coordinate_grid` go from -1 to 1": _in_pixels,
        "the offsets are not weighted by the heatmap": lambda heatmap: (
            _heatmap_moments(heatmap)[0],
            torch.cov(coordinate_grid(*heatmap.shape).reshape(-1, 2).T),
        ),
        "the heatmap sums to 1: sum over the pixels, do not take the mean": lambda heatmap: _heatmap_moments(
            heatmap / heatmap.numel()
        ),
        "return the mean first, then the covariance": lambda heatmap: _heatmap_moments(heatmap)[::-1],
    },
)


def _shift_flow(mask, p_source, p_driving, grid):
    return grid + torch.einsum("khw,kc->hwc", mask[1:], p_source - p_driving)


def _off_by_one(mask, p_source, p_driving, grid):
    return grid + torch.einsum("khw,kc->hwc", mask[:-1], p_source - p_driving)


def _against(mask, p_source, p_driving, grid):
    return _shift_flow(mask, p_driving, p_source, grid)


def _without_grid(mask, p_source, p_driving, grid):
    return _shift_flow(mask, p_source, p_driving, grid) - grid


def _background_shared_out(mask, p_source, p_driving, grid):
    return _shift_flow(mask / mask[1:].sum(dim=0).clamp(min=1e-9), p_source, p_driving, grid)


def _averaged(mask, p_source, p_driving, grid):
    return grid + (_shift_flow(mask, p_source, p_driving, grid) - grid) / len(p_source)


def _strongest_mask_only(mask, p_source, p_driving, grid):
    shifts = torch.cat([torch.zeros(1, 2), p_source - p_driving])
    return grid + shifts[mask.argmax(dim=0)]


def _points_not_shifts(mask, p_source, p_driving, grid):
    return mask[0][..., None] * grid + torch.einsum("khw,kc->hwc", mask[1:], p_source)


def _rows_first(mask, p_source, p_driving, grid):
    return _shift_flow(mask, p_source.flip(-1), p_driving.flip(-1), grid)


def _flow_inputs(keypoints: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randn(keypoints + 1, 4, 5, generator=generator).softmax(dim=0)
    p_source, p_driving = torch.rand(2, keypoints, 2, generator=generator) - 0.5
    return mask, p_source, p_driving, coordinate_grid(4, 5)


def _one_keypoint_everywhere():
    mask = torch.zeros(3, 4, 5)
    mask[1] = 1
    return mask, torch.tensor([[0.2, 0.1], [0.7, 0.7]]), torch.zeros(2, 2), coordinate_grid(4, 5)


check_shift_flow = Exercise(
    "shift_flow",
    solution=_shift_flow,
    cases=[
        Case("keypoint 1 of 2 has all weight", lambda f: f(*_one_keypoint_everywhere())),
        Case("three keypoints, soft masks", lambda f: f(*_flow_inputs(3, 0))),
        Case("ten keypoints, soft masks", lambda f: f(*_flow_inputs(10, 1))),
    ],
    mistakes={
        "a backward flow: from a point of the driving frame to one of the source, so p_S - p_D": _against,
        "that is the displacement; the flow is a point: add the grid": _without_grid,
        "that is the mean over the keypoints; the masks are weights already": _averaged,
        "the share of the background stays where it is: its shift is 0": _background_shared_out,
        "p_S - p_D was right; look at which mask belongs to which keypoint": (
            lambda mask, p_source, p_driving, grid: _off_by_one(mask, p_driving, p_source, grid)
        ),
        "the masks are soft: a mean of all shifts, not that of the largest mask": _strongest_mask_only,
        "that moves each part to its keypoint; add the shift p_S - p_D to the grid": _points_not_shifts,
        "points are (x, y) already; do not exchange them": _rows_first,
    },
    given=_off_by_one,
)


def _relative_points(p_source, p_driving, p_first, scale):
    return p_source + scale * (p_driving - p_first)


def _scale_on_source(p_source, p_driving, p_first, scale):
    return scale * (p_source + p_driving - p_first)


def _point_inputs(seed: int):
    return (torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(seed)) - 0.5).unbind(0)


check_relative_points = Exercise(
    "relative_points",
    solution=_relative_points,
    cases=[
        Case(
            "the first frame, moved by nothing",
            lambda f: f(_point_inputs(0)[0], _point_inputs(0)[1], _point_inputs(0)[1], 1.5),
        ),
        Case("another frame, scale 1", lambda f: f(*_point_inputs(1), 1.0)),
        Case("another frame, a source half as large", lambda f: f(*_point_inputs(2), 0.5)),
    ],
    mistakes={
        "absolute: these are the points of the driving frame": lambda s, d, f, scale: d.clone(),
        "the movement is counted from the first driving frame, not from the source": (
            lambda s, d, f, scale: s + scale * (d - s)
        ),
        "the movement goes the other way: from the first frame to this one": (
            lambda s, d, f, scale: s + scale * (f - d)
        ),
        "the scale is applied twice": lambda s, d, f, scale: s + scale**2 * (d - f),
        "the movement is not scaled to the size of the source": lambda s, d, f, scale: s + (d - f),
        "only the movement is scaled, not the place of the source": _scale_on_source,
        "the movement is multiplied by the scale: a source half as large moves half as far": (
            lambda s, d, f, scale: s + (d - f) / scale
        ),
        "that is the movement alone; add it to the source": lambda s, d, f, scale: scale * (d - f),
        "these are the driving points, only scaled; start from the source": lambda s, d, f, scale: scale * d,
        "the source is moved, by the movement since the first frame; not the driving points": (
            lambda s, d, f, scale: d + scale * (s - f)
        ),
        "the points of the source keep their places among each other; scale the movement only": (
            lambda s, d, f, scale: s.mean(dim=0) + scale * (d - f.mean(dim=0))
        ),
    },
)

DISTANCE = 0.3
"""Of the point of the experiment from the keypoint, in units of [-1, 1]."""


def _shift_error(degrees: float) -> float:
    """How far a shift misses a point beside a keypoint about which everything turns."""
    return 2 * DISTANCE * math.sin(math.radians(degrees) / 2)


def _coordinate_sum(degrees: float) -> float:
    angle = math.radians(degrees)
    return DISTANCE * (1 - math.cos(angle) + math.sin(angle))


check_error_by_angle = Experiment(
    "error_by_angle",
    measure=_shift_error,
    settings=[10, 20, 40, 80],
    answer="rises",
    mistakes={
        "that is one coordinate of the error; take its length": lambda degrees: (
            DISTANCE * math.sin(math.radians(degrees))
        ),
        "that is the squared length": lambda degrees: _shift_error(degrees) ** 2,
        "the angle is in degrees; math.sin and torch.sin take radians": lambda degrees: (
            2 * DISTANCE * abs(math.sin(degrees / 2))
        ),
        "that is the error of the first-order motion": lambda degrees: 0.0,
        "that is one coordinate of the error, x; take its length": lambda degrees: (
            DISTANCE * (1 - math.cos(math.radians(degrees)))
        ),
        "that is how far the point is from the keypoint; take the distance from where it was": (
            lambda degrees: DISTANCE
        ),
        "the length of the error is the root of the sum of squares, not the sum of both coordinates": (
            _coordinate_sum
        ),
        "the length of the error, not the mean of its two coordinates": (
            lambda degrees: _coordinate_sum(degrees) / 2
        ),
        "that is the way along the circle; the error is the straight distance": (
            lambda degrees: DISTANCE * math.radians(degrees)
        ),
        "in units of [-1, 1], not in pixels": lambda degrees: 128 * _shift_error(degrees),
    },
    why="a shift moves all points near a keypoint alike, and in a rotation they move differently",
)
