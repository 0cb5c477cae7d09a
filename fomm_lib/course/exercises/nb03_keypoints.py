"""Checks for notebook 03, keypoints: Gaussians, widths and sizes of heatmaps, equivariance."""

from __future__ import annotations

import torch

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment
from fomm_lib.geometry import apply_2x2, coordinate_grid, gaussian_heatmaps, warp
from fomm_lib.keypoints import soft_argmax


def _heatmap(height, width):
    return torch.randn(height, width).flatten().softmax(0).view(height, width)


def _heatmap_width(heatmap, centre=None, power=2):
    grid = coordinate_grid(*heatmap.shape)
    centre = soft_argmax(heatmap[None, None])[0, 0] if centre is None else centre
    distance = (grid - centre).square().sum(-1).sqrt()
    return (heatmap * distance**power).sum() ** (1 / power)


def _two_spots(distance):
    heatmap = torch.zeros(3, 9)
    heatmap[1, 4 - distance] = heatmap[1, 4 + distance] = 0.5
    return heatmap


check_heatmap_width = Exercise(
    "heatmap_width",
    solution=_heatmap_width,
    cases=[
        Case("two equal spots at (-1, 0) and (1, 0)", lambda f: f(_two_spots(4))),
        Case("a single spot at the upper left", lambda f: f(torch.eye(3)[:1].T @ torch.eye(3)[:1])),
        Case("two equal spots, nearer", lambda f: f(_two_spots(1))),
        Case("a random map of 6 x 9", lambda f: f(_heatmap(6, 9))),
    ],
    mistakes={
        "measure from the mean position of the heatmap, not from the centre of the image": {
            "centre": torch.zeros(2)
        },
        "measure from the mean position, not from the position of the maximum": (
            lambda heatmap: _heatmap_width(
                heatmap, coordinate_grid(*heatmap.shape).flatten(0, 1)[heatmap.argmax()]
            )
        ),
        "that is the mean squared distance: take its root": lambda heatmap: _heatmap_width(heatmap) ** 2,
        "that is the mean distance: square before the mean, take the root after it": {"power": 1},
        "the heatmap has no effect: weigh each position with its probability": lambda heatmap: _heatmap_width(
            torch.full_like(heatmap, 1 / heatmap.numel())
        ),
        "the heatmap already sums to 1: sum, do not average": lambda heatmap: (
            _heatmap_width(heatmap) / heatmap.numel() ** 0.5
        ),
    },
)


def _peak(side, variance=0.02):
    return gaussian_heatmaps(torch.tensor([[0.5, -0.4]]), side, side, variance=variance)[None]


def _place(scores, temperature=0.1):
    heatmap = (scores / temperature).flatten(2).softmax(-1).view(scores.shape)
    return soft_argmax(heatmap)[0, 0]


check_place_by_size = Experiment(
    "place_by_size",
    measure=lambda side: _place(_peak(side)).norm(),
    settings=[16, 32, 64, 128],
    answer="stays",
    mistakes={
        "divide the scores by the temperature, 0.1, before the softmax": lambda side: _place(
            _peak(side), temperature=1.0
        ).norm(),
        "that is the distance from the peak; measure from the centre of the image, (0, 0)": (
            lambda side: (_place(_peak(side)) - torch.tensor([0.5, -0.4])).norm()
        ),
        "that is in pixels of the map; the distance is wanted in units of [-1, 1]": lambda side: (
            _place(_peak(side)).norm() * (side - 1) / 2
        ),
        "that is x alone; the distance has x and y": lambda side: _place(_peak(side))[0],
    },
    why="a larger map has more positions under the peak too, and their share of the area is the same",
)


def _gaussian(point, height, width, variance=0.01, factor=0.5, power=1.0):
    distance2 = (coordinate_grid(height, width) - point).square().sum(-1)
    return torch.exp(-factor * distance2**power / variance)


check_keypoint_gaussian = Exercise(
    "keypoint_gaussian",
    solution=_gaussian,
    cases=[
        Case("in the middle of 5 x 5 pixels", lambda f: f(torch.zeros(2), 5, 5, 0.25)),
        Case("to the upper right, on 4 x 6 pixels", lambda f: f(torch.tensor([0.6, -0.5]), 4, 6, 0.3)),
        Case("the usual width, on 32 x 32 pixels", lambda f: f(torch.tensor([0.1, 0.2]), 32, 32)),
    ],
    mistakes={
        "the factor 1/2 in the exponent is missing": {"factor": 1.0},
        "use the argument `variance`, not 0.01": (
            lambda point, height, width, variance=0.01: _gaussian(point, height, width)
        ),
        "variance is already the square of the width: do not square it again": (
            lambda point, height, width, variance=0.01: _gaussian(point, height, width, variance**2)
        ),
        "the distance must be squared": {"power": 0.5},
        "its maximum is 1: do not normalise it to a sum of 1": (
            lambda *args: _gaussian(*args) / _gaussian(*args).sum()
        ),
        "x and y are exchanged: (x, y) is (column, row)": (
            lambda point, *args: _gaussian(point.flip(0), *args)
        ),
        "the squared length is the sum over x and y, not their mean": {"factor": 0.25},
        "the minus in the exponent is missing": {"factor": -0.5},
        "sum over the last axis: x and y together give one distance": (
            lambda point, height, width, variance=0.01: torch.exp(
                -(coordinate_grid(height, width) - point).square() / variance / 2
            )
        ),
        "the grid has (height, width) positions, in this order": (
            lambda point, height, width, *args: _gaussian(point, width, height, *args)
        ),
    },
)


class _Bend:
    """z -> A z + b + c z^2: a small substitute for `losses.RandomTransform`."""

    def __init__(self, batch, strength=0.3, curve=0.0):
        self.theta = torch.eye(2, 3) + strength * torch.randn(batch, 2, 3)
        self.curve = curve

    def __call__(self, points):
        turned = apply_2x2(self.theta[:, None, :, :2], points)
        return turned + self.theta[:, None, :, 2] + self.curve * points**2

    def warp_image(self, image):
        height, width = image.shape[-2:]
        flow = self(coordinate_grid(height, width).view(1, -1, 2).expand(len(image), -1, -1))
        return warp(image, flow.view(-1, height, width, 2), padding_mode="reflection")


def _brightest(images):
    """A detector of one point, the mean position of the brightness."""
    return soft_argmax(
        images.mean(1, keepdim=True).mul(8).flatten(2).softmax(-1).view(len(images), 1, 12, 12)
    )


def _comparing(loss):
    """The exercise with another loss of p, p' and T."""
    return lambda detector, images, transform: loss(
        detector(images), detector(transform.warp_image(images)), transform
    )


def _fixed_point_error(function):
    return function(lambda x: torch.full((len(x), 3, 2), 0.2), torch.rand(4, 3, 8, 8), _Bend(4, 0.2))


_carries_the_wrong_points = _comparing(lambda p, p_warped, t: (t(p) - p_warped).abs().mean())

check_equivariance = Exercise(
    "equivariance",
    solution=_comparing(lambda p, p_warped, t: (p - t(p_warped)).abs().mean()),
    given=_carries_the_wrong_points,
    cases=[
        Case("a detector that ignores the image", _fixed_point_error),
        Case(
            "the identity",
            lambda f: f(_brightest, torch.rand(2, 3, 12, 12), _Bend(2, strength=0)),
        ),
        Case(
            "a detector of brightness",
            lambda f: f(_brightest, torch.rand(6, 3, 12, 12), _Bend(6, curve=0.1)),
        ),
    ],
    mistakes={
        "map the points of the deformed image back by T first": (
            _comparing(lambda p, p_warped, t: (p - p_warped).abs().mean())
        ),
        "the second detection must be of the deformed image": (
            _comparing(lambda p, p_warped, t: (p - t(p)).abs().mean())
        ),
        "without the absolute value, errors cancel": (
            _comparing(lambda p, p_warped, t: (p - t(p_warped)).mean())
        ),
        "that is the mean square; take the absolute difference": (
            _comparing(lambda p, p_warped, t: (p - t(p_warped)).square().mean())
        ),
        "that is the Euclidean length; take the mean of |x| and |y|": (
            _comparing(lambda p, p_warped, t: (p - t(p_warped)).norm(dim=-1).mean())
        ),
        "average over points and images, do not add": (
            _comparing(lambda p, p_warped, t: (p - t(p_warped)).abs().sum())
        ),
    },
)
