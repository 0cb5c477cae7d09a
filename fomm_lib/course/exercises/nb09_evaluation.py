"""Checks for notebook 09, evaluation: keypoint distance, flow error, percentile interval."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.geometry import coordinate_grid


def _keypoint_distance(found, true):
    both = np.isfinite(found[:, 0, 0]) & np.isfinite(true[:, 0, 0])
    return float(np.abs(found[both] - true[both]).mean()) if both.any() else float("nan")


def _landmarks(function, missing_found=(), missing_true=(), shift=(0.0, 0.0)):
    rng = np.random.default_rng(0)
    true = rng.uniform(50, 200, (4, 68, 2))
    found = true + rng.normal(0, 2, true.shape) + np.array(shift)
    found[list(missing_found)], true[list(missing_true)] = np.nan, np.nan
    return function(found, true)


check_keypoint_distance = Exercise(
    "keypoint_distance",
    solution=_keypoint_distance,
    cases=[
        Case("shifted by 6 pixels to the right", lambda f: _landmarks(f, shift=(6.0, 0.0))),
        Case("no face was found in one frame", lambda f: _landmarks(f, missing_found=[2])),
        Case("different frames are missing in both", lambda f: _landmarks(f, [0, 2], [3], (1.0, 4.0))),
        Case("no frame has both", lambda f: _landmarks(f, [0, 1], [2, 3])),
    ],
    mistakes={
        "that is the Euclidean distance; AKD is the mean of |dx| and |dy|": lambda found, true: float(
            np.nanmean(np.linalg.norm(found - true, axis=-1))
        ),
        "x and y are averaged, not added": lambda found, true: float(
            np.nanmean(np.abs(found - true).sum(axis=-1))
        ),
        "without the absolute value, errors cancel": lambda found, true: float(np.nanmean(found - true)),
        "a frame without a face makes the result NaN: leave it out": lambda found, true: float(
            np.abs(found - true).mean()
        ),
        "a missing face is not an error of 0: leave the frame out": lambda found, true: float(
            np.nan_to_num(np.abs(found - true)).mean()
        ),
    },
)


def _comparing(measure):
    """The exercise with another measure of the difference, (H, W, 2), and the visible pixels."""
    return lambda flow, true_flow, visible: float(measure(flow - true_flow, visible) * 128)


def _two_flows(function, shift=(3 / 128, 4 / 128), hidden=0, noise=0.0):
    generator = torch.Generator().manual_seed(0)
    true_flow = coordinate_grid(8, 8)
    flow = true_flow + torch.tensor(shift) + noise * torch.randn(8, 8, 2, generator=generator)
    visible = torch.ones(8, 8, dtype=torch.bool)
    visible[:hidden] = False
    flow[:hidden] += 1.0  # hidden pixels have an arbitrary flow
    return function(flow, true_flow, visible)


check_flow_error = Exercise(
    "flow_error",
    solution=_comparing(lambda d, visible: d.norm(dim=-1)[visible].mean()),
    cases=[
        Case("shifted by 3 pixels across and 4 down", _two_flows),
        Case("three rows are hidden", partial(_two_flows, hidden=3)),
        Case("with noise", partial(_two_flows, hidden=2, noise=0.05)),
    ],
    mistakes={
        "a unit of [-1, 1] is 128 pixels of an image of 256": (
            _comparing(lambda d, visible: d.norm(dim=-1)[visible].mean() / 128)
        ),
        "that is the mean of |dx| and |dy|; take the length": (
            _comparing(lambda d, visible: d.abs()[visible].mean())
        ),
        "hidden pixels have no true flow: leave them out": (
            _comparing(lambda d, visible: d.norm(dim=-1).mean())
        ),
        "a sum over visible pixels must be divided by their number": (
            _comparing(lambda d, visible: (d.norm(dim=-1) * visible).mean())
        ),
        "that is the square root of the mean square": (
            _comparing(lambda d, visible: d.square().sum(-1)[visible].mean().sqrt())
        ),
    },
)


def _percentile_interval(values, drawn, confidence=0.95, axis=1, tail=0.5):
    rest = (1 - confidence) * tail
    low, high = np.quantile(values[drawn].mean(axis=axis), [rest, 1 - rest])
    return float(low), float(high)


def _some_videos(function, confidence=0.95, number=12):
    rng = np.random.default_rng(1)
    values = rng.gamma(2.0, size=number)
    return function(values, rng.integers(number, size=(400, number)), confidence)


check_percentile_interval = Exercise(
    "percentile_interval",
    solution=_percentile_interval,
    cases=[
        Case("equal videos", lambda f: f(np.full(5, 2.0), np.zeros((10, 5), int), 0.95)),
        Case("twelve videos, 95 %", _some_videos),
        Case("five videos, 80 %", lambda f: _some_videos(f, 0.8, 5)),
    ],
    mistakes={
        "that is the spread of videos; use the means of the draws": (
            lambda values, drawn, confidence: tuple(
                np.quantile(values[drawn], [(1 - confidence) / 2, (1 + confidence) / 2])
            )
        ),
        "leave out (1 - confidence) / 2 on each side": partial(_percentile_interval, tail=1.0),
        "take a mean over each draw, axis 1, not axis 0": partial(_percentile_interval, axis=0),
        "the order is low, high": lambda *arguments: _percentile_interval(*arguments)[::-1],
    },
)
