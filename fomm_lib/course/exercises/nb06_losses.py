"""Checks for notebook 06, losses: feature distance, receptive field, adversarial and equivariance losses."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch.nn.functional import softplus

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.geometry import inverse_2x2


def _weighted_sum(ours, theirs, weights, distance=lambda d: d.abs().mean()):
    return sum(w * distance(a - b) for w, a, b in zip(weights, ours, theirs, strict=True))


def _three_maps(seed):
    dice = torch.Generator().manual_seed(seed)
    return [torch.rand(2, c, s, s, generator=dice) for c, s in ((4, 8), (8, 4), (16, 2))]


check_feature_distance = Exercise(
    "feature_distance",
    solution=_weighted_sum,
    cases=[
        Case("equal features", lambda f: f(_three_maps(0), _three_maps(0), [10, 10, 10])),
        Case(
            "one map, each number 2 apart",
            lambda f: f([torch.zeros(1, 3, 4, 4)], [torch.full((1, 3, 4, 4), 2.0)], [1]),
        ),
        Case(
            "three maps of different size, weights 10",
            lambda f: f(_three_maps(0), _three_maps(1), [10, 10, 10]),
        ),
        Case("different weights", lambda f: f(_three_maps(0), _three_maps(1), [1, 0, 100])),
    ],
    mistakes={
        "that is the sum over all numbers of a map; take the mean": (
            partial(_weighted_sum, distance=lambda d: d.abs().sum())
        ),
        "the difference is squared; the paper uses its absolute value": (
            partial(_weighted_sum, distance=lambda d: d.square().mean())
        ),
        "without the absolute value, positive and negative differences cancel": (
            partial(_weighted_sum, distance=torch.mean)
        ),
        "the weights are missing": lambda ours, theirs, _: _weighted_sum(ours, theirs, [1] * len(ours)),
        "that is the mean over the maps; take the weighted sum": (
            lambda ours, theirs, weights: _weighted_sum(ours, theirs, weights) / len(weights)
        ),
    },
)


def _receptive_field(num_blocks):
    field, stride = 1, 1
    for block in range(num_blocks):
        field += 3 * stride
        if block < num_blocks - 1:
            field += stride
            stride *= 2
    return field


def _strideless_field(num_blocks):
    return 4 + 4 * (num_blocks - 1)


def _pooled_to_the_end(num_blocks):
    return _receptive_field(num_blocks) + 2 ** (num_blocks - 1)


def _pooled_by_double_steps(num_blocks):
    return _receptive_field(num_blocks) + 2 ** (num_blocks - 1) - 1


check_receptive_field = Exercise(
    "receptive_field",
    solution=_receptive_field,
    cases=[
        Case("1 block: one convolution of 4 x 4", lambda f: f(1)),
        Case("2 blocks", lambda f: f(2)),
        Case("3 blocks, as in heads-64", lambda f: f(3)),
        Case("4 blocks, as published", lambda f: f(4)),
    ],
    mistakes={
        "the last block does not pool": _pooled_to_the_end,
        "after a pool of 2, one step is two pixels of the image": _strideless_field,
        "the pool itself covers two neighbours: it widens the field by one step": (
            lambda num_blocks: 1 + 3 * (2**num_blocks - 1)
        ),
        "that is the distance between neighbouring patches, not the side of one": (
            lambda num_blocks: 2 ** (num_blocks - 1)
        ),
        "the field starts with one pixel": lambda num_blocks: _receptive_field(num_blocks) - 1,
        "a pool widens the field by one step of the old size; only then does the step double": (
            _pooled_by_double_steps
        ),
    },
)


def _adversarial_losses(on_real, on_fake):
    return (1 - on_fake).square().mean(), (1 - on_real).square().mean() + on_fake.square().mean()


check_adversarial_losses = Exercise(
    "adversarial_losses",
    solution=_adversarial_losses,
    cases=[
        Case(
            "a discriminator that is right everywhere",
            lambda f: f(torch.ones(2, 1, 3, 3), torch.zeros(2, 1, 3, 3)),
        ),
        Case(
            "0.9 for the real, 0.2 for the generated", lambda f: f(torch.tensor([0.9]), torch.tensor([0.2]))
        ),
        Case(
            "a discriminator that gives 0.5 everywhere",
            lambda f: f(torch.full((2, 1, 3, 3), 0.5), torch.full((2, 1, 3, 3), 0.5)),
        ),
        Case("maps of random numbers", lambda f: f(torch.randn(4, 1, 5, 5), torch.randn(4, 1, 5, 5))),
    ],
    mistakes={
        "generator and discriminator are exchanged: the generator's loss comes first": (
            lambda real, fake: _adversarial_losses(real, fake)[::-1]
        ),
        "the generator's target for its images is 1, not 0": (
            lambda real, fake: (fake.square().mean(), _adversarial_losses(real, fake)[1])
        ),
        "real and generated are exchanged": lambda real, fake: _adversarial_losses(fake, real),
        "the discriminator's loss has no factor of 1/2": (
            lambda real, fake: ((1 - fake).square().mean(), _adversarial_losses(real, fake)[1] / 2)
        ),
        "compute the loss of each patch, and take the mean last": (
            lambda real, fake: _adversarial_losses(real.mean(), fake.mean())
        ),
        "the discriminator's target is 1 for the real and 0 for the generated": (
            lambda real, fake: ((1 - fake).square().mean(), _adversarial_losses(fake, real)[1])
        ),
        "those are absolute differences; use least squares": (
            lambda real, fake: ((1 - fake).abs().mean(), (1 - real).abs().mean() + fake.abs().mean())
        ),
        "the discriminator's loss has two parts: the real and the generated": (
            lambda real, fake: ((1 - fake).square().mean(), (1 - real).square().mean())
        ),
        "that is the cross-entropy of logits (notebook 01); use least squares of the outputs": (
            lambda real, fake: (softplus(-fake).mean(), softplus(-real).mean() + softplus(fake).mean())
        ),
        "that is the cross-entropy of probabilities (notebook 01); use least squares of the outputs": (
            lambda real, fake: (-fake.log().mean(), -real.log().mean() - (1 - fake).log().mean())
        ),
    },
)


def _comparing(product, identity=1):
    """The exercise with another product of J, T' and J'."""
    return lambda j, slope, j_warped: (identity * torch.eye(2) - product(j, slope, j_warped)).abs().mean()


def _turned(degrees, factor=1.0):
    angle = torch.tensor(math.radians(degrees))
    return factor * torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    ).view(1, 1, 2, 2)


def _some_jacobians(seed):
    dice = torch.Generator().manual_seed(seed)
    return torch.eye(2) + 0.3 * torch.randn(2, 5, 2, 2, generator=dice)


check_jacobian_equivariance = Exercise(
    "jacobian_equivariance",
    solution=_comparing(lambda j, slope, j_warped: inverse_2x2(j) @ slope @ j_warped),
    cases=[
        Case(
            "a detector that follows a rotation of 30 degrees",
            lambda f: f(_turned(0), _turned(30), _turned(-30)),
        ),
        Case("one that does not follow it", lambda f: f(_turned(0), _turned(30), _turned(0))),
        Case("Jacobians half as large", lambda f: f(_turned(0, 0.5), _turned(0), _turned(0, 0.25))),
        Case(
            "2 images of 5 keypoints",
            lambda f: f(_some_jacobians(0), _some_jacobians(1), _some_jacobians(2)),
        ),
    ],
    mistakes={
        "that uses J, not its inverse": _comparing(lambda j, slope, j_warped: j @ slope @ j_warped),
        "J - T' J' is small for small Jacobians too; multiply by the inverse of J": (
            lambda j, slope, j_warped: (j - slope @ j_warped).abs().mean()
        ),
        "T' is missing": _comparing(lambda j, slope, j_warped: inverse_2x2(j) @ j_warped),
        "J' is applied first, so it is the last factor: T' J', not J' T'": (
            _comparing(lambda j, slope, j_warped: inverse_2x2(j) @ j_warped @ slope)
        ),
        "the paper uses the absolute value, not the square": (
            lambda j, slope, j_warped: (torch.eye(2) - inverse_2x2(j) @ slope @ j_warped).square().mean()
        ),
        "compare the product with the identity: it should be I, not 0": (
            _comparing(lambda j, slope, j_warped: inverse_2x2(j) @ slope @ j_warped, identity=0)
        ),
        "`*` multiplies entry by entry; `@` multiplies matrices": (
            _comparing(lambda j, slope, j_warped: inverse_2x2(j) * slope * j_warped)
        ),
        "the inverse of J is the first factor, not the last": (
            _comparing(lambda j, slope, j_warped: slope @ j_warped @ inverse_2x2(j))
        ),
    },
)
