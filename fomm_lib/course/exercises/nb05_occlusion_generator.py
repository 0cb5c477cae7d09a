"""Checks for notebook 05, occlusion and generator: warp and mask, best factor, double reads, shifts."""

from __future__ import annotations

from functools import cache

import torch
from torch.nn import functional as F

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment
from fomm_lib.geometry import coordinate_grid, to_pixels, warp
from fomm_lib.model import load_model
from fomm_lib.synthetic.truth import downsample_pair, read_true_pairs


def _warp_and_mask(features, flow, occlusion, mode="bilinear", align_corners=False):
    size = features.shape[-2:]
    corners = align_corners if mode == "bilinear" else None  # PyTorch refuses it with "nearest"
    return F.interpolate(occlusion, size=size, mode=mode, align_corners=corners) * warp(features, flow)


def _mask_then_warp(features, flow, occlusion):
    """What the notebook gives, with its bug."""
    still = coordinate_grid(*features.shape[-2:]).expand_as(flow)
    return warp(_warp_and_mask(features, still, occlusion), flow)


def _masked(function, batch=1, channels=2, small=(6, 8)):
    flow = coordinate_grid(6, 8) * 0.6 + 0.2 * torch.rand(batch, 6, 8, 2)
    return function(torch.rand(batch, channels, 6, 8), flow, torch.rand(batch, 1, *small))


check_warp_and_mask = Exercise(
    "warp_and_mask",
    solution=_warp_and_mask,
    given=_mask_then_warp,
    cases=[
        Case("a map of the same size", _masked),
        Case("a map of half the size, three images", lambda f: _masked(f, 3, 4, (3, 4))),
        Case(
            "no motion, occlusion map 0",
            lambda f: f(torch.rand(1, 2, 4, 4), coordinate_grid(4, 4)[None], torch.zeros(1, 1, 4, 4)),
        ),
    ],
    mistakes={
        "O = 1 means copy: multiply by O, not by 1 - O": (
            lambda features, flow, occlusion: _warp_and_mask(features, flow, 1 - occlusion)
        ),
        "the warp is missing": lambda features, flow, occlusion: _warp_and_mask(
            features, coordinate_grid(*features.shape[-2:]).expand_as(flow), occlusion
        ),
        "the map is missing": lambda features, flow, occlusion: warp(features, flow),
        "resize the map bilinearly, or it has steps": {"mode": "nearest"},
        "resize the map with align_corners=False, as in the training of the published weights": {
            "align_corners": True
        },
    },
)


def _best_gain(warped, wanted, mean=(0, 2, 3), total=(0, 2, 3)):
    w, t = (x - x.mean(dim=mean, keepdim=True) for x in (warped, wanted))
    return (w * t).sum(dim=total) / (w * w).sum(dim=total)


def _correlation(warped, wanted):
    return _best_gain(warped, wanted) * warped.std(dim=(0, 2, 3)) / wanted.std(dim=(0, 2, 3))


def _raw_gain(warped, wanted):
    return (warped * wanted).sum(dim=(0, 2, 3)) / (warped * warped).sum(dim=(0, 2, 3))


def _mean_quotient(warped, wanted):
    w, t = (x - x.mean(dim=(0, 2, 3), keepdim=True) for x in (warped, wanted))
    return (t / w).mean(dim=(0, 2, 3))


def _gain_of(function, factors, noise=0.0, shift=0.0):
    warped = 1 + torch.rand(3, len(factors), 4, 5)
    wanted = torch.tensor(factors).view(1, -1, 1, 1) * warped + noise * torch.randn(3, len(factors), 4, 5)
    return function(warped, wanted + shift)


check_best_gain = Exercise(
    "best_gain",
    solution=_best_gain,
    cases=[
        Case("a copy, and half a copy", lambda f: _gain_of(f, [1.0, 0.5])),
        Case(
            "another mean, on which the factor must not depend", lambda f: _gain_of(f, [1.0, 0.2], 0.0, 2.0)
        ),
        Case("much noise", lambda f: _gain_of(f, [0.8, 0.1, -0.5], 0.3, 0.5)),
    ],
    mistakes={
        "give one factor for each channel, shape (c,)": {"total": (0, 1, 2, 3)},
        "divide by w w, not by t t: the factor multiplies w": (
            lambda warped, wanted: _best_gain(wanted, warped)
        ),
        "that is the correlation, which has no scale: divide by w w": _correlation,
        "subtract their means from both first": _raw_gain,
        "that subtracts the mean of every image; take the mean over batch and positions, dim=(0, 2, 3)": (
            {"mean": (2, 3)}
        ),
        "a mean of quotients is unstable where w is near 0: sum first, then divide": _mean_quotient,
    },
)


def _double_reads(
    flow, clamp=True, swap=False, nearest=True, row_length=10_000, marked=lambda readers: readers > 1
):
    height, width = flow.shape[:2]
    pixels = to_pixels(flow, height, width)
    column, row = (pixels.round() if nearest else pixels).long().unbind(-1)
    if swap:
        column, row = row, column
    if clamp:
        column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    number = (row + 1000) * row_length + column + 1000  # pixels outside have a number too
    found, index = number.flatten().unique(return_inverse=True)
    return marked(torch.bincount(index, minlength=len(found))[index].view(height, width))


def _marked_in_the_source(flow):
    height, width = flow.shape[:2]
    column, row = to_pixels(flow, height, width).round().long().unbind(-1)
    number = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return torch.bincount(number.flatten(), minlength=height * width).view(height, width) > 1


def _pushed_card(height=6, width=8):
    """A patch of the result reads the same pixels as its left neighbours."""
    flow = coordinate_grid(height, width)
    flow[2:4, 4:6] = flow[2:4, 2:4]
    return flow


check_double_reads = Exercise(
    "double_reads",
    solution=_double_reads,
    cases=[
        Case("a card that appears twice: card and ghost", lambda f: f(_pushed_card())),
        Case("the identity: no pixel is read twice", lambda f: f(coordinate_grid(4, 6))),
        Case(
            "all pixels read the right neighbour, at the border outside",
            lambda f: f(coordinate_grid(5, 7) + torch.tensor([1 / 3, 0.0])),
        ),
        Case("a random flow", lambda f: f(1.2 * (2 * torch.rand(6, 9, 2) - 1))),
    ],
    mistakes={
        "the counts belong to pixels of the source; look them up for each pixel of the result": (
            _marked_in_the_source
        ),
        "each pixel reads itself: count more than one reader": {"marked": lambda readers: readers >= 1},
        "that marks the pixels with one reader": {"marked": lambda readers: readers == 1},
        "outside the border the border is read, so those pixels share it too": {"clamp": False},
        "x and y are exchanged: (x, y) is (column, row)": {"swap": True},
        "long() cuts off the decimals: round() first": {"nearest": False},
        "a row holds W pixels: number them row * W + column, or different pixels get the same number": (
            lambda flow: _double_reads(flow, row_length=flow.shape[0])
        ),
        "give a bool for every pixel, not the number of readers": {"marked": lambda readers: readers},
    },
)


@cache
def _encoder_and_images():
    """What the notebook measures with: the encoder of heads-64, and six heads of 64 x 64 pixels."""
    model = load_model("heads-64", device="cpu")
    images = torch.stack([downsample_pair(pair).source for pair in read_true_pairs()])
    return lambda x: model.generator.encode(x).features, images


@torch.inference_mode()
def _shift_error(shift, cells=lambda shift: shift // 2, border=8, relative=True, axis=-1):
    encode, images = _encoder_and_images()
    inside = (..., slice(border, -border), slice(border, -border)) if border else ...
    moved = encode(images.roll(shift, dims=axis))[inside]
    expected = encode(images).roll(cells(shift), dims=-1)[inside]
    return float((moved - expected).abs().mean() / (expected.abs().mean() if relative else 1.0))


def _says_which_shifts(errors):
    odd, even = errors[::2], errors[1::2]
    if max(errors) < 0.02:
        return "all shifts"
    return "even shifts only" if max(even) < 0.02 < min(odd) else "none: the error grows with the shift"


check_shift_errors = Experiment(
    "shift_errors",
    measure=_shift_error,
    settings=[1, 2, 3, 4],
    answer="even shifts only",
    choices=("all shifts", "even shifts only", "none: the error grows with the shift"),
    conclude=_says_which_shifts,
    mistakes={
        "roll the features too, by shift // 2 cells: a cell is two pixels wide": {
            "cells": lambda shift: shift
        },
        "leave out a border of 8 cells, where rolled pixels come in from the other side": {"border": 0},
        "divide by the mean absolute value of the rolled features": {"relative": False},
        "roll images and features along the same axis, the last": {"axis": -2},
    },
    why="2 x 2 pooling makes cells of two pixels, and a shift by whole cells loses nothing",
    atol=1e-3,
)
