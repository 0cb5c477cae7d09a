"""Checks for notebook 03, keypoints: soft-argmax, heatmaps, Jacobians, equivariance."""

from __future__ import annotations

from functools import partial

import torch

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.geometry import apply_2x2, coordinate_grid, inverse_2x2, multiply_2x2, warp
from fomm_lib.keypoints import soft_argmax


def _mean_place(heatmap):
    return soft_argmax(heatmap[None, None])[0, 0]


def _heatmap(height, width):
    return torch.randn(height, width).flatten().softmax(0).view(height, width)


check_mean_place = Exercise(
    "mean_place",
    solution=_mean_place,
    cases=[
        Case("all of it in one corner", lambda f: f(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))),
        Case("two cells of a map of 3 x 5", lambda f: f(torch.eye(3, 5)[:, [0, 2, 3, 1, 4]] / 3)),
        Case("a random map of 6 x 9", lambda f: f(_heatmap(6, 9))),
    ],
    mistakes={
        "x and y are exchanged: (x, y) is (column, row)": lambda heatmap: _mean_place(heatmap).flip(0),
        "that is in pixels; points run from -1 to 1": (
            lambda heatmap: (_mean_place(heatmap) + 1) / 2 * torch.tensor(heatmap.shape).flip(0).sub(1)
        ),
        "that is the position of the maximum, not the mean": lambda heatmap: coordinate_grid(
            *heatmap.shape
        ).flatten(0, 1)[heatmap.argmax()],
        "the map already sums to 1: sum, do not average": lambda heatmap: (
            _mean_place(heatmap) / heatmap.numel()
        ),
        "-1 and 1 are the centres of the border pixels, not their outer edges": lambda heatmap: (
            _mean_place(heatmap) * (1 - 1 / torch.tensor(heatmap.shape).flip(0))
        ),
    },
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
        "the factor 1/2 in the exponent is missing": partial(_gaussian, factor=1.0),
        "variance is already the square of the width: do not square it again": (
            lambda point, height, width, variance=0.01: _gaussian(point, height, width, variance**2)
        ),
        "the distance must be squared": partial(_gaussian, power=0.5),
        "its maximum is 1: do not normalise it to a sum of 1": (
            lambda *args: _gaussian(*args) / _gaussian(*args).sum()
        ),
        "x and y are exchanged: (x, y) is (column, row)": (
            lambda point, *args: _gaussian(point.flip(0), *args)
        ),
        "the squared length is the sum over x and y, not their mean": partial(_gaussian, factor=0.25),
        "the minus in the exponent is missing": partial(_gaussian, factor=-0.5),
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

    def jacobian(self, points):
        return self.theta[:, None, :, :2] + 2 * self.curve * torch.diag_embed(points)

    def warp_image(self, image):
        height, width = image.shape[-2:]
        flow = self(coordinate_grid(height, width).view(1, -1, 2).expand(len(image), -1, -1))
        return warp(image, flow.view(-1, height, width, 2), padding_mode="reflection")


def _carry_jacobian(transform, points, jacobians):
    return multiply_2x2(transform.jacobian(points), jacobians)


def _carried(function, curve):
    transform = _Bend(2, curve=curve)
    points, jacobians = torch.rand(2, 4, 2) - 0.5, torch.eye(2) + 0.3 * torch.randn(2, 4, 2, 2)
    return function(transform, points, jacobians)


check_carry_jacobian = Exercise(
    "carry_jacobian",
    solution=_carry_jacobian,
    cases=[
        Case("an affine transform", lambda f: _carried(f, 0.0)),
        Case("a curved transform, another Jacobian at each point", lambda f: _carried(f, 0.4)),
        Case(
            "the identity",
            lambda f: f(_Bend(1, strength=0), torch.zeros(1, 1, 2), torch.ones(1, 1, 2, 2)),
        ),
    ],
    mistakes={
        "the order: T is applied last, so T' is the first factor": (
            lambda transform, points, jacobians: multiply_2x2(jacobians, transform.jacobian(points))
        ),
        "that multiplies entry by entry; use a matrix product": (
            lambda transform, points, jacobians: transform.jacobian(points) * jacobians
        ),
        "that is the inverse, from the image to the deformed one": (
            lambda transform, points, jacobians: multiply_2x2(
                inverse_2x2(transform.jacobian(points)), jacobians
            )
        ),
        "the keypoint's own Jacobian is missing": lambda transform, points, jacobians: transform.jacobian(
            points
        ),
        "evaluate T' at the given points p', not at T(p')": (
            lambda transform, points, jacobians: multiply_2x2(
                transform.jacobian(transform(points)), jacobians
            )
        ),
    },
)


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


check_equivariance = Exercise(
    "equivariance",
    solution=_comparing(lambda p, p_warped, t: (p - t(p_warped)).abs().mean()),
    cases=[
        Case("a detector that ignores the image", _fixed_point_error),
        Case(
            "the identity",
            lambda f: f(_brightest, torch.rand(2, 3, 12, 12), _Bend(2, strength=0)),
        ),
        Case(
            "the mean position of the brightness, strong warps",
            lambda f: f(_brightest, torch.rand(6, 3, 12, 12), _Bend(6, curve=0.1)),
        ),
    ],
    mistakes={
        "T maps points of the deformed image back, so apply it to p', not to p": (
            _comparing(lambda p, p_warped, t: (t(p) - p_warped).abs().mean())
        ),
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
