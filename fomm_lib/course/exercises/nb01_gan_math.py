"""Checks for notebook 01, the mathematics of GANs: losses, Wasserstein distance, bounds on the slope."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from fomm_lib import gan
from fomm_lib.course.exercises.checker import Case, Exercise, slope
from fomm_lib.course.exercises.experiment import Experiment


def _gan_losses(on_real, on_fake):
    of_real, of_fake = F.softplus(-on_real).mean(), F.softplus(on_fake).mean()
    return of_real + of_fake, F.softplus(-on_fake).mean()


def _changed(discriminator=None, generator=None):
    """`_gan_losses` with one of the two changed: a function of (on_real, on_fake, the right loss)."""

    def losses(on_real, on_fake):
        of_d, of_g = _gan_losses(on_real, on_fake)
        return (
            discriminator(on_real, on_fake, of_d) if discriminator else of_d,
            generator(on_real, on_fake, of_g) if generator else of_g,
        )

    return losses


check_gan_losses = Exercise(
    "gan_losses",
    solution=_gan_losses,
    given=_changed(generator=lambda on_real, on_fake, loss: -F.softplus(on_fake).mean()),
    cases=[
        Case("a winning D", lambda f: f(torch.tensor([6.0, 5.0]), torch.tensor([-6.0, -8.0]))),
        Case("an undecided D", lambda f: f(torch.zeros(3), torch.zeros(3))),
        Case("random outputs", lambda f: f(torch.randn(8), torch.randn(8) - 1)),
    ],
    mistakes={
        "that pushes generated samples away from 'real': their target is 1 for the generator": _changed(
            generator=lambda on_real, on_fake, loss: F.softplus(on_fake).mean()
        ),
        "the labels of the discriminator are exchanged: real is 1, generated is 0": _changed(
            lambda on_real, on_fake, loss: F.softplus(on_real).mean() + F.softplus(-on_fake).mean()
        ),
        "the discriminator's loss was right: it is the sum of both parts, not their mean": _changed(
            lambda on_real, on_fake, loss: loss / 2
        ),
        "return both losses, the discriminator's and the generator's": (
            lambda on_real, on_fake: _gan_losses(on_real, on_fake)[1]
        ),
        "the discriminator's loss comes first": lambda on_real, on_fake: _gan_losses(on_real, on_fake)[::-1],
        "the sign: the generator minimises its loss, which is the cross-entropy itself": _changed(
            generator=lambda on_real, on_fake, loss: -loss
        ),
        "the generator's loss needs only the generated samples": _changed(
            generator=lambda on_real, on_fake, loss: loss + F.softplus(on_real).mean()
        ),
        "the outputs are logits: compute the cross-entropy from them, with the target 1": _changed(
            generator=lambda on_real, on_fake, loss: ((1 - on_fake) ** 2).mean()
        ),
    },
)


def _of_sorted(measure):
    """The exercise with another measure of the differences in sorted order."""
    return lambda x, y: measure(x.sort().values - y.sort().values)


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
        "that is the sum; the exercise asks for the mean": _of_sorted(lambda d: d.abs().sum()),
        "that is the mean square; take the absolute difference": _of_sorted(lambda d: d.square().mean()),
        "without the absolute value, moves to the left and to the right cancel": _of_sorted(torch.mean),
        "these are positions in sorted order; compare the numbers at them": (
            lambda x, y: (x.argsort() - y.argsort()).abs().float().mean()
        ),
        "sort both in the same direction": (
            lambda x, y: (x.sort().values - y.sort(descending=True).values).abs().mean()
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
    gradient = slope(penalty(lambda x: x @ weight, torch.randn(5, 2)), weight)
    return "no gradient reaches the critic's weights" if gradient is None else gradient


check_slope_penalty = Exercise(
    "slope_penalty",
    solution=_slope_penalty,
    cases=[
        Case("a critic of slope 1 everywhere", lambda p: p(lambda x: x.sum(1), torch.randn(3, 1))),
        Case(
            "a linear critic with slope (3, 4)",
            lambda p: p(lambda x: x @ torch.tensor([3.0, 4.0]), torch.ones(6, 2)),
        ),
        Case("a critic of slope 0.5", lambda p: p(lambda x: x[:, 0] / 2, torch.randn(4, 2))),
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
        "a slope below 1 is punished too": lambda critic, x: (
            (_slope_lengths(critic, x) - 1).relu().square().mean()
        ),
        "square after the difference, then take the mean over the batch": lambda critic, x: (
            _slope_lengths(critic, x).mean() - 1
        ).square(),
        "the length is the square root of the sum of squares": lambda critic, x: (
            (_slope_lengths(critic, x).square() - 1).square().mean()
        ),
        "sum the critic's outputs: their mean divides each gradient by the number of samples": (
            lambda critic, x: (_slope_lengths(critic, x) / len(x) - 1).square().mean()
        ),
        "an image is one point: flatten its gradient before you take the length": lambda critic, x: (
            (_slopes(critic, x).reshape(x.shape).norm(dim=1) - 1).square().mean()
        ),
        "the difference is not squared": lambda critic, x: (_slope_lengths(critic, x) - 1).abs().mean(),
        "each number of the gradient is compared with 1; compare the length of the gradient": (
            lambda critic, x: (_slopes(critic, x) - 1).square().mean()
        ),
    },
)


def _gradients(depth, norm=True):
    """Gradients (500, 64) of a network of normed layers at the exercise's points."""
    # The notebook's own random state does not change.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(64, 64, bias=False) for _ in range(depth - 1)] + [nn.Linear(64, 1)]
    points = torch.randn(500, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    out = points
    for i, layer in enumerate(layers):
        weight = layer.weight.detach()
        weight = weight / torch.linalg.matrix_norm(weight, 2) if norm else weight
        out = F.linear(out.relu() if i else out, weight, layer.bias)
    return torch.autograd.grad(out.sum(), points)[0]


check_slope_by_depth = Experiment(
    "slope_by_depth",
    measure=lambda depth: _gradients(depth).norm(dim=1).max(),
    settings=[1, 2, 4, 8],
    answer="falls",
    mistakes={
        "that is the mean slope; the bound is about the largest": (
            lambda depth: _gradients(depth).norm(dim=1).mean()
        ),
        "that is one length for all points together: take the length of each point's gradient": (
            lambda depth: _gradients(depth).norm()
        ),
        "that is the largest number of the gradients: take the length of each point's gradient": (
            lambda depth: _gradients(depth).abs().max()
        ),
        "the layers are not divided by their spectral norms": (
            lambda depth: _gradients(depth, norm=False).norm(dim=1).max()
        ),
        "that is the product of the bounds, 1; measure the slope of the network": lambda depth: 1.0,
    },
    why="a layer stretches most where the next one does not, and ReLU removes half of the signal",
)
