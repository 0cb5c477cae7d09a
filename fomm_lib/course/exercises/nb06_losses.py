"""Checks for notebook 06, losses: both adversarial losses, receptive field, median, numerical slope."""

from __future__ import annotations

from functools import partial

import torch
from torch.nn.functional import softplus

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment


def _receptive_field(num_blocks):
    field, stride = 1, 1
    for block in range(num_blocks):
        field += 3 * stride
        if block < num_blocks - 1:
            field += stride
            stride *= 2
    return field


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
        "the last block does not pool": lambda num_blocks: (
            _receptive_field(num_blocks) + 2 ** (num_blocks - 1)
        ),
        "after a pool of 2, one step is two pixels of the image": lambda num_blocks: 4 * num_blocks,
        "the pool itself covers two neighbours: it widens the field by one step": (
            lambda num_blocks: 1 + 3 * (2**num_blocks - 1)
        ),
        "that is the distance between neighbouring patches, not the side of one": (
            lambda num_blocks: 2 ** (num_blocks - 1)
        ),
        "the field starts with one pixel": lambda num_blocks: _receptive_field(num_blocks) - 1,
        "a pool widens the field by one step of the old size; only then does the step double": (
            lambda num_blocks: _receptive_field(num_blocks) + 2 ** (num_blocks - 1) - 1
        ),
    },
)


def _both_losses(discriminator, real, fake, loss_g=None, loss_d=None, for_g=None, for_d=None):
    """Both losses, with other formulas or with other images of the generator, for typical mistakes."""
    loss_g = loss_g or (lambda on_fake: (1 - on_fake).square().mean())
    loss_d = loss_d or (lambda on_real, on_fake: (1 - on_real).square().mean() + on_fake.square().mean())
    fake_for_g = for_g(fake) if for_g else fake
    fake_for_d = for_d(fake) if for_d else fake.detach()
    return loss_g(discriminator(fake_for_g)), loss_d(discriminator(real), discriminator(fake_for_d))


def _without_gradient(discriminator, real, fake):
    with torch.no_grad():
        on_fake = discriminator(fake)
    return (1 - discriminator(fake)).square().mean(), (1 - discriminator(real)).square().mean() + (
        on_fake.square().mean()
    )


def _game(function, what):
    """A generator of one number and a discriminator of two; the losses, or a gradient of one of them."""
    generator = torch.tensor(0.2, requires_grad=True)
    weight, bias = torch.tensor(1.5, requires_grad=True), torch.tensor(0.1, requires_grad=True)
    fake = generator * torch.tensor([[1.0, 2.0], [3.0, 0.5]])
    real = torch.tensor([[0.7, 0.9], [0.4, 0.8]])
    found = function(lambda x: weight * x + bias, real, fake)
    if what == "losses":
        return found
    loss_g, loss_d = found
    loss, of = {
        "loss_d, generator": (loss_d, generator),
        "loss_g, generator": (loss_g, generator),
        "loss_d, discriminator": (loss_d, weight),
    }[what]
    slope = torch.autograd.grad(loss, of, allow_unused=True)[0] if loss.requires_grad else None
    return 0.0 if slope is None else float(slope)


check_both_losses = Exercise(
    "both_losses",
    solution=_both_losses,
    given=partial(_both_losses, for_d=lambda fake: fake),
    cases=[
        Case("the two losses", lambda f: _game(f, "losses")),
        Case("loss_g's gradient in the generator", lambda f: _game(f, "loss_g, generator")),
        Case("loss_d's gradient in the discriminator", lambda f: _game(f, "loss_d, discriminator")),
        Case("loss_d's gradient in the generator", lambda f: _game(f, "loss_d, generator")),
    ],
    mistakes={
        "loss_g needs its gradient in the generator: detach only for loss_d": {"for_g": torch.detach},
        "no_grad() also hides the discriminator from loss_d: detach its input, the generated image": (
            _without_gradient
        ),
        "the formulas are right: the generator's target for its images is 1, not 0": {
            "loss_g": lambda on_fake: on_fake.square().mean()
        },
        "the formulas are right: the discriminator's target is 1 for real images, else 0": {
            "loss_d": lambda on_real, on_fake: on_real.square().mean() + (1 - on_fake).square().mean()
        },
        "the formulas are right: loss_d has no factor of 1/2": {
            "loss_d": lambda on_real, on_fake: ((1 - on_real).square().mean() + on_fake.square().mean()) / 2
        },
        "that is the cross-entropy of logits (notebook 01); use least squares of the outputs": {
            "loss_g": lambda on_fake: softplus(-on_fake).mean(),
            "loss_d": lambda on_real, on_fake: softplus(-on_real).mean() + softplus(on_fake).mean(),
        },
        "the formulas are right: least squares, not absolute differences": {
            "loss_g": lambda on_fake: (1 - on_fake).abs().mean(),
            "loss_d": lambda on_real, on_fake: (1 - on_real).abs().mean() + on_fake.abs().mean(),
        },
    },
)


def _bars(width):
    positions = torch.arange(-30, 31)
    return torch.stack([((positions - shift).abs() <= width // 2).float() for shift in (-4, -2, 0, 2, 4)])


def _says_what_stays(numbers):
    if max(numbers) - min(numbers) < 0.1:
        return "1 for all"
    sharp = all(min(number, 1 - number) < 0.1 for number in numbers)
    return "0 for narrow bars, 1 for wide ones" if sharp else "grows gradually"


check_median_of_bars = Experiment(
    "median_of_bars",
    measure=lambda width: float(_bars(width).median(dim=0).values.max()),
    settings=[1, 3, 5, 9],
    answer="0 for narrow bars, 1 for wide ones",
    choices=("1 for all", "0 for narrow bars, 1 for wide ones", "grows gradually"),
    conclude=_says_what_stays,
    mistakes={
        "that is the brightest pixel of the mean; take the median of each pixel": (
            lambda width: float(_bars(width).mean(dim=0).max())
        ),
        "that is the brightest pixel of all five bars; first take their median, pixel by pixel": (
            lambda width: float(_bars(width).max())
        ),
        "that is the median over all pixels; take it over the five bars, dim=0": (
            lambda width: float(_bars(width).median())
        ),
    },
    why="the median is 1 where at least three of the five bars are",
    atol=0.01,
)


def _numerical_slope(warp, points, h=1e-2, spread=2.0, dim=-1, back=True):
    """Central differences; the other arguments are for typical mistakes."""
    columns = []
    for step in h * torch.eye(2):
        before = warp(points - step) if back else warp(points)
        columns.append((warp(points + step) - before) / (spread * h))
    return torch.stack(columns, dim=dim)


def _sloped(function, warp, **options):
    return function(warp, torch.rand(2, 3, 2) - 0.5, **options)


_TURN = torch.tensor([[0.9, -0.4], [0.2, 1.1]])


def _bend(points):
    x, y = points.unbind(-1)
    return torch.stack([x + 0.3 * y.square(), y - 0.5 * x * y], dim=-1)


check_numerical_slope = Exercise(
    "numerical_slope",
    solution=_numerical_slope,
    cases=[
        Case("a matrix, whose slope is itself", lambda f: _sloped(f, lambda z: z @ _TURN.T)),
        Case("a bend, with squares", lambda f: _sloped(f, _bend)),
        Case("a bend, with a large step of 0.5", lambda f: _sloped(f, _bend, h=0.5)),
        Case("a shift", lambda f: _sloped(f, lambda z: z + 3)),
    ],
    mistakes={
        "that is the transpose: column j holds what changes with coordinate j": {"dim": -2},
        "the two points are 2 h apart": {"spread": 1.0},
        "that is a one-sided difference; take warp(p + h) - warp(p - h)": {"spread": 1.0, "back": False},
        "divide by the distance of the two points": lambda warp, points, h=1e-2: (
            2 * h * _numerical_slope(warp, points, h)
        ),
        "move one coordinate at a time": lambda warp, points, h=1e-2: (
            (warp(points + h) - warp(points - h)) / (2 * h)
        )[..., None].expand(*points.shape, 2),
    },
    rtol=1e-3,
    atol=1e-3,
)
