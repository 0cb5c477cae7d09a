"""Checks for notebook 01, the mathematics of GANs: divergences, Wasserstein distance, gradient penalty."""

from __future__ import annotations

import math

import torch

from fomm_lib import gan
from fomm_lib.course.exercises.checker import Case, Exercise


def _gaussian_kl(mean_p, std_p, mean_q, std_q):
    return math.log(std_q / std_p) + (std_p**2 + (mean_p - mean_q) ** 2) / (2 * std_q**2) - 0.5


check_gaussian_kl = Exercise(
    "gaussian_kl",
    solution=_gaussian_kl,
    cases=[
        Case("two equal Gaussians", lambda kl: kl(1.0, 2.0, 1.0, 2.0)),
        Case("means 0 and 3, both of width 1", lambda kl: kl(0.0, 1.0, 3.0, 1.0)),
        Case("p narrow, q wide", lambda kl: kl(0.0, 0.5, 0.0, 2.0)),
        Case("p wide, q narrow", lambda kl: kl(0.0, 2.0, 0.0, 0.5)),
        Case("everything different", lambda kl: kl(-1.0, 0.5, 2.0, 1.5)),
    ],
    mistakes={
        "the last term, -1/2, is missing: equal Gaussians must give 0": (
            lambda mp, sp, mq, sq: _gaussian_kl(mp, sp, mq, sq) + 0.5
        ),
        "p and q are exchanged: KL(p | q) averages over p": (
            lambda mp, sp, mq, sq: _gaussian_kl(mq, sq, mp, sp)
        ),
        "the fraction in the logarithm is inverted: it is log(std_q / std_p)": (
            lambda mp, sp, mq, sq: _gaussian_kl(mp, sp, mq, sq) - 2 * math.log(sq / sp)
        ),
        "std is a width, not a variance: square it": (
            lambda mp, sp, mq, sq: _gaussian_kl(mp, math.sqrt(sp), mq, math.sqrt(sq))
        ),
        "the difference of the means must be squared": (
            lambda mp, sp, mq, sq: math.log(sq / sp) + (sp**2 + abs(mp - mq)) / (2 * sq**2) - 0.5
        ),
    },
)


check_sorted_wasserstein = Exercise(
    "sorted_wasserstein",
    solution=gan.wasserstein_1d,
    cases=[
        Case(
            "the same numbers in another order",
            lambda w: w(torch.tensor([3.0, 1.0, 2.0]), torch.arange(1.0, 4)),
        ),
        Case(
            "everything moved by 5", lambda w: w(torch.tensor([2.0, 0.0, 1.0]), torch.tensor([7.0, 5.0, 6.0]))
        ),
        Case("moved to the left", lambda w: w(torch.tensor([4.0, 9.0]), torch.tensor([1.0, 2.0]))),
        Case("100 random numbers against 100 others", lambda w: w(torch.randn(100), 2 * torch.rand(100))),
    ],
    mistakes={
        "the numbers are compared in their original order: sort both first": lambda x, y: (
            (x - y).abs().mean()
        ),
        "only one of the two is sorted": lambda x, y: (x.sort().values - y).abs().mean(),
        "that is the sum; the exercise asks for the mean": lambda x, y: (
            (x.sort().values - y.sort().values).abs().sum()
        ),
        "that is the mean square; take the absolute difference": (
            lambda x, y: (x.sort().values - y.sort().values).square().mean()
        ),
        "without the absolute value, moves to the left and to the right cancel": (
            lambda x, y: (x.sort().values - y.sort().values).mean()
        ),
        "the difference of the means measures only the shift": lambda x, y: (x.mean() - y.mean()).abs(),
    },
)


def _slopes(critic, x):
    x = x.requires_grad_(True)
    return torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0].flatten(1)


def _slope_lengths(critic, x):
    return torch.linalg.vector_norm(_slopes(critic, x), dim=1)


def _slope_penalty(critic, x):
    return (_slope_lengths(critic, x) - 1).square().mean()


def _curved_critic(x):
    return (x.flatten(1) ** 2).sum(1) + 3 * x.flatten(1)[:, 0]


def _penalty_gradient(penalty):
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    value = penalty(lambda x: x @ weight, torch.randn(5, 2))
    if not (isinstance(value, torch.Tensor) and value.requires_grad):
        return "no gradient reaches the critic's weights"
    value.backward()
    return weight.grad


check_slope_penalty = Exercise(
    "slope_penalty",
    solution=_slope_penalty,
    cases=[
        Case("a critic of slope 1 everywhere", lambda p: p(lambda x: x.sum(1), torch.randn(3, 1))),
        Case(
            "a linear critic with slope (3, 4)",
            lambda p: p(lambda x: x @ torch.tensor([3.0, 4.0]), torch.ones(6, 2)),
        ),
        Case("a curved critic, another slope at each sample", lambda p: p(_curved_critic, torch.randn(8, 2))),
        Case("a batch of images (4, 3, 2, 2)", lambda p: p(_curved_critic, torch.randn(4, 3, 2, 2))),
        Case("the gradient of the penalty with respect to the critic's weights", _penalty_gradient),
    ],
    mistakes={
        "the slope is right but has no gradient: use create_graph=True": (
            lambda critic, x: _slope_penalty(critic, x).detach()
        ),
        "that is one length for the whole batch: take the length of each sample's gradient": (
            lambda critic, x: (_slopes(critic, x).norm() - 1).square()
        ),
        "the length is not compared with 1": lambda critic, x: _slope_lengths(critic, x).square().mean(),
        "the difference is not squared": lambda critic, x: (_slope_lengths(critic, x) - 1).abs().mean(),
        "each number of the gradient is compared with 1; compare the length of the gradient": (
            lambda critic, x: (_slopes(critic, x) - 1).square().mean()
        ),
    },
)
