"""Checks for notebook 11: spread of a batch, fading, equalised weights, pixel shuffle, losses, PSNR."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch.nn import functional as F

from fomm_lib.course.exercises.checker import Case, Exercise, slope
from fomm_lib.course.exercises.experiment import Experiment
from fomm_lib.family.progressive import double, halve
from fomm_lib.gan import binary_cross_entropy


def _seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _deviation(groups, correction=0):
    """One number a group: (size, B / size, C, H, W) -> (B / size,)."""
    return (groups.var(dim=0, correction=correction) + 1e-8).sqrt().mean(dim=(1, 2, 3))


def _stddev_map(x, group, number=_deviation):
    """The number of its group for each image, as a map."""
    size = min(group, len(x))
    found = number(x.reshape(size, -1, *x.shape[1:])).repeat(size)
    return found.view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])


def _of_neighbours(x, group):
    order = torch.arange(len(x)).view(-1, min(group, len(x))).T.flatten()
    return _stddev_map(x[order], group)[order.argsort()]


def _number_for_each_pixel(x, group):
    size = min(group, len(x))
    deviation = (x.reshape(size, -1, *x.shape[1:]).var(dim=0, correction=0) + 1e-8).sqrt().mean(dim=1)
    return deviation.repeat(size, 1, 1)[:, None]


def _mean_first(x, group):
    return _stddev_map(x.mean(dim=(1, 2, 3), keepdim=True).expand_as(x), group)


def _to_wrong_images(x, group):
    size = min(group, len(x))
    number = len(x) // size
    return _stddev_map(x, group)[:number].repeat_interleave(size, dim=0)


check_stddev_map = Exercise(
    "stddev_map",
    solution=_stddev_map,
    cases=[
        Case("four images, one group", lambda f: f(_seeded(4, 2, 3, 3), 4)),
        Case("eight images in groups of four", lambda f: f(_seeded(8, 2, 3, 3, seed=1), 4)),
        Case("a batch of two, smaller than the group", lambda f: f(_seeded(2, 1, 2, 2, seed=2), 4)),
    ],
    mistakes={
        "divide by the size of the group, not by one less: the population standard deviation": {
            "number": partial(_deviation, correction=1)
        },
        "the deviation is taken pixel by pixel, then averaged; not of the images' means": _mean_first,
        "members of a group stand B / G apart; neighbours are in different groups": _of_neighbours,
        "that is one group of the whole batch": lambda x, group: _stddev_map(x, len(x)),
        "image n is in group n mod (B / G); the numbers have come to other images": _to_wrong_images,
        "first the root of each variance, then the mean of the roots": {
            "number": lambda g: (g.var(dim=0, correction=0) + 1e-8).mean(dim=(1, 2, 3)).sqrt()
        },
        "that is the variance; the deviation is its root": {
            "number": lambda g: g.var(dim=0, correction=0).mean(dim=(1, 2, 3))
        },
        "the variance is taken over the images of a group alone, not over channels and pixels": {
            "number": lambda g: (g.var(dim=(0, 2, 3, 4), correction=0) + 1e-8).sqrt()
        },
        "one number for a group: the mean over channels, rows and columns": _number_for_each_pixel,
        "return the new channel alone; the discriminator concatenates it": lambda x, group: torch.cat(
            [x, _stddev_map(x, group)], dim=1
        ),
    },
)


def _fade_both(new, old, real, alpha, enlarged=double, smaller=halve):
    fake = alpha * new + (1 - alpha) * enlarged(old)
    return fake, alpha * real + (1 - alpha) * enlarged(smaller(real))


def _with_generated(new, old, real, alpha):
    return _fade_both(new, old, real, alpha, smaller=lambda real: old)


def _real_as(blend, new, old, real, alpha):
    return _fade_both(new, old, real, alpha)[0], blend(new, double(halve(real)), real, alpha)


def _enlarged_smoothly(image):
    return F.interpolate(halve(image), scale_factor=2, mode="bilinear")


def _fade_inputs(seed: int):
    return (
        _seeded(2, 3, 8, 8, seed=seed),
        _seeded(2, 3, 4, 4, seed=seed + 1),
        _seeded(2, 3, 8, 8, seed=seed + 2),
    )


check_fade_both = Exercise(
    "fade_both",
    solution=_fade_both,
    cases=[
        Case("the level is whole, alpha = 1", lambda f: f(*_fade_inputs(0), 1.0)),
        Case("a quarter faded in", lambda f: f(*_fade_inputs(3), 0.25)),
        Case("the beginning, alpha = 0", lambda f: f(*_fade_inputs(6), 0.0)),
    ],
    mistakes={
        "alpha is the weight of the new level": (
            lambda new, old, real, alpha: _fade_both(new, old, real, 1 - alpha)
        ),
        "pixels are repeated (nearest), not interpolated": {
            "enlarged": partial(F.interpolate, scale_factor=2, mode="bilinear")
        },
        "make the real image smaller by means of 2 x 2 pixels, not by leaving pixels out": {
            "smaller": lambda real: real[..., ::2, ::2]
        },
        "the real image is blended with its own small version, not with a generated one": _with_generated,
        "the real image is blended with its own small version, not with the new level": partial(
            _real_as, lambda new, coarse, real, alpha: alpha * real + (1 - alpha) * new
        ),
        "alpha is the weight of the whole real image; its small version has 1 - alpha": partial(
            _real_as, lambda new, coarse, real, alpha: (1 - alpha) * real + alpha * coarse
        ),
        "the real image is only made darker; add (1 - alpha) times its small version": partial(
            _real_as, lambda new, coarse, real, alpha: alpha * real
        ),
        "the real image is always coarse; with alpha = 1 it has to be whole": partial(
            _real_as, lambda new, coarse, real, alpha: coarse
        ),
        "pixels of the real image are repeated (nearest), not interpolated": partial(
            _real_as,
            lambda new, coarse, real, alpha: alpha * real + (1 - alpha) * _enlarged_smoothly(real),
        ),
        "the generated image has to stay faded: it is the real one that is not": (
            lambda new, old, real, alpha: (new, real)
        ),
        "return the generated images first, then the real ones": lambda *a: _fade_both(*a)[::-1],
    },
    given=lambda new, old, real, alpha: (_fade_both(new, old, real, alpha)[0], real),
)

RATE = 0.001


def _relative_step(channels: int) -> float:
    """Of an ordinary 3x3 convolution with He's standard deviation, one step of Adam."""
    return RATE / math.sqrt(2 / (9 * channels))


check_step_by_width = Experiment(
    "step_by_width",
    measure=_relative_step,
    settings=[4, 16, 64, 256],
    answer="rises",
    mistakes={
        "not divided by the weights' standard deviation; or that of an equalised layer": (
            lambda channels: RATE
        ),
        "divided by the variance; take the standard deviation": lambda channels: RATE * 9 * channels / 2,
        "a number for a kernel of 1 x 1; these have 3 x 3": lambda channels: RATE * math.sqrt(channels / 2),
        "in percent; give the fraction itself": lambda channels: 100 * _relative_step(channels),
        "PyTorch's own start; take He's, with the function `ordinary`": (
            lambda channels: RATE * math.sqrt(27 * channels)
        ),
        "no difference: copy the weights (clone) before the step": lambda channels: 0.0,
        "channels are those of the input, not of the output": lambda channels: _relative_step(16),
    },
    why="Adam moves each weight by the rate, and the weights of a layer with many inputs are small",
)


def _shuffle_by_hand(x, order=(0, 1, 4, 2, 5, 3)):
    batch, channels, height, width = x.shape
    squares = x.view(batch, channels // 4, 2, 2, height, width)
    return squares.permute(order).reshape(batch, channels // 4, 2 * height, 2 * width)


def _channels_last(x):
    batch, channels, height, width = x.shape
    return _shuffle_by_hand(x.view(batch, 4, channels // 4, height, width).transpose(1, 2).reshape_as(x))


check_shuffle_by_hand = Exercise(
    "shuffle_by_hand",
    solution=_shuffle_by_hand,
    cases=[
        Case("four channels of one pixel", lambda f: f(torch.arange(4.0).view(1, 4, 1, 1))),
        Case("eight channels of one pixel", lambda f: f(torch.arange(8.0).view(1, 8, 1, 1))),
        Case("two images, 12 channels of 2 x 3 pixels", lambda f: f(_seeded(2, 12, 2, 3))),
    ],
    mistakes={
        "rows and columns of the square are exchanged: channel 2 i + j is row i, column j": {
            "order": (0, 1, 4, 3, 5, 2)
        },
        "four neighbouring channels make one square: channel 4 c + 2 i + j": _channels_last,
        "that repeats one channel; each pixel of the square has a channel of its own": (
            lambda x: double(x[:, ::4])
        ),
        "that repeats the first channels; each pixel of the square has a channel of its own": (
            lambda x: double(x[:, : x.shape[1] // 4])
        ),
        "a reshape alone mixes rows of different channels; move the axes first (permute)": {
            "order": (0, 1, 2, 3, 4, 5)
        },
        "the row of the square comes after the row of the image: the order is H, i, W, j": {
            "order": (0, 1, 2, 4, 3, 5)
        },
        "i belongs to the rows, between H and W: the order is H, i, W, j": {"order": (0, 1, 4, 5, 2, 3)},
    },
)

WEIGHT = 1e-3


def _generator_loss(content, logits, target=1.0, weight=WEIGHT, from_logits=True):
    return content + weight * binary_cross_entropy(logits, target, from_logits)


def _saturating(content, logits):
    return content - WEIGHT * binary_cross_entropy(logits, 0.0, from_logits=True)


def _sigmoid_twice(content, logits):
    return _generator_loss(content, logits.sigmoid())


def _weight_on_content(content, logits):
    return WEIGHT * content + binary_cross_entropy(logits, 1.0, from_logits=True)


def _slope_of(loss, logit: float):
    """The gradient that reaches a logit, over the weight of the adversarial term."""
    logits = torch.full((1,), logit, requires_grad=True)
    gradient = slope(loss(torch.tensor(0.5), logits), logits)
    return torch.zeros(1) if gradient is None else gradient / WEIGHT


check_generator_loss = Exercise(
    "generator_loss",
    solution=_generator_loss,
    cases=[
        Case("content 0.5, an undecided D", lambda f: f(torch.tensor(0.5), torch.zeros(4))),
        Case("the gradient where D is sure that it is generated (logit -6)", lambda f: _slope_of(f, -6.0)),
        Case(
            "content 0.01, four logits", lambda f: f(torch.tensor(0.01), torch.tensor([-3.0, -1.0, 0.5, 2.0]))
        ),
    ],
    mistakes={
        "that is log(1 - D): its gradient vanishes where D is sure, and it is most needed there": _saturating,
        "these are logits; a sigmoid before from_logits=True is one too many": _sigmoid_twice,
        "the target is 1: the generator wants its images to be taken for real ones": {"target": 0.0},
        "the small weight belongs to the adversarial term": _weight_on_content,
        "the weight of 0.001 is missing": {"weight": 1},
        "that is 1 - D without logarithm: its gradient vanishes where D is sure": lambda content, logits: (
            content + WEIGHT * (1 - logits.sigmoid()).mean()
        ),
        "that is 1 - D of logits; D is their sigmoid, and the loss its logarithm": lambda content, logits: (
            content + WEIGHT * (1 - logits).mean()
        ),
        "these are logits, any number: from_logits=True": {"from_logits": False},
        "the sign: the cross-entropy has its minus already": lambda content, logits: (
            2 * content - _generator_loss(content, logits)
        ),
        "the mean over the images, not the sum": lambda content, logits: (
            content + len(logits) * (_generator_loss(content, logits) - content)
        ),
        "the content loss is given, with its 0.006; do not multiply it again": lambda content, logits: (
            _generator_loss(0.006 * content, logits)
        ),
        "the content loss is missing": lambda content, logits: _generator_loss(0 * content, logits),
        "no gradient reaches the logits: do not detach them": lambda content, logits: _generator_loss(
            content, logits.detach()
        ),
    },
)

POSSIBLE = torch.stack([(torch.arange(32) >= place).float() for place in range(12, 21)])
"""Nine large signals, edges at nine places, which have the same small signal."""


def _error(share: float) -> float:
    """Mean squared error over all pairs of a true signal and a prediction, mean + share (sample - mean)."""
    mean = POSSIBLE.mean(dim=0)
    made = mean + share * (POSSIBLE - mean)
    return float((made[:, None] - POSSIBLE).square().mean())


def _decibels(share: float) -> float:
    return -10 * math.log10(_error(share))


check_psnr_by_sharpness = Experiment(
    "psnr_by_sharpness",
    measure=_decibels,
    settings=[0.0, 0.25, 0.5, 1.0],
    answer="falls",
    mistakes={
        "6 dB too much: values have the range 1, from 0 to 1, not 2": lambda share: (
            _decibels(share) + 20 * math.log10(2)
        ),
        "10 log10 of a squared error; 20 belongs to a root of it": lambda share: 2 * _decibels(share),
        "the logarithm of base 10": lambda share: -10 * math.log(_error(share)),
        "the sign: PSNR is 10 log10(1 / MSE)": lambda share: -_decibels(share),
        "that is the error itself; PSNR is 10 log10(1 / MSE)": _error,
        "the factor 10 is missing (deci means a tenth)": lambda share: _decibels(share) / 10,
        "values have the range 1, not 255": lambda share: _decibels(share) + 20 * math.log10(255),
        "every sample is compared with all truths, not with its own: use `error_of`": lambda share: (
            -10 * math.log10(max((1 - share) ** 2 * _error(0.0), 1e-12))
        ),
    },
    why="what is as sharp as the truth and at another place has the error twice, 3 dB",
    rtol=0.01,
)
