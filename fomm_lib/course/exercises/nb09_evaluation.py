"""Checks for notebook 09, evaluation: keypoint distance, flow error, what an interval contains."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment
from fomm_lib.geometry import coordinate_grid


def _keypoint_distance(found, true, measure=lambda d: np.abs(d).mean()):
    both = np.isfinite(found[:, 0, 0]) & np.isfinite(true[:, 0, 0])
    return float(measure(found[both] - true[both])) if both.any() else float("nan")


def _landmarks(function, missing_found=(), missing_true=(), shift=(0.0, 0.0)):
    rng = np.random.default_rng(0)
    true = rng.uniform(50, 200, (4, 68, 2))
    found = true + rng.normal(0, 2, true.shape) + np.array(shift)
    found[list(missing_found)], true[list(missing_true)] = np.nan, np.nan
    return function(found, true)


check_keypoint_distance = Exercise(
    "keypoint_distance",
    solution=_keypoint_distance,
    given=lambda found, true: float(np.nan_to_num(np.abs(found - true)).mean()),
    cases=[
        Case("shifted by 6 pixels to the right", lambda f: _landmarks(f, shift=(6.0, 0.0))),
        Case("a frame without a face", lambda f: _landmarks(f, missing_found=[2])),
        Case("different frames are missing in both", lambda f: _landmarks(f, [0, 2], [3], (1.0, 4.0))),
        Case("no frame has both", lambda f: _landmarks(f, [0, 1], [2, 3])),
    ],
    mistakes={
        "that is the Euclidean distance; AKD is the mean of |dx| and |dy|": {
            "measure": lambda d: np.linalg.norm(d, axis=-1).mean()
        },
        "x and y are averaged, not added": {"measure": lambda d: np.abs(d).sum(axis=-1).mean()},
        "without the absolute value, errors cancel": {"measure": np.mean},
        "a missing face has no error, no large one either: leave the frame out": lambda found, true: float(
            np.nan_to_num(np.abs(found - true), nan=256.0).mean()
        ),
        "a frame without a face makes the result NaN: leave it out": lambda found, true: float(
            np.abs(found - true).mean()
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


def _coverage(frames, spread=1.96, units=None, of=np.std):
    """The share of the notebook's 2000 simulated evaluations whose interval contains the true mean, 0."""
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(2000, 12, 1)) + 0.7 * rng.normal(size=(2000, 12, 18))
    chosen = errors[:, :, :frames]
    flat = chosen.mean(axis=2) if units == "videos" else chosen.reshape(2000, -1)
    half = spread * of(flat, axis=1) / np.sqrt(flat.shape[1])
    return float((np.abs(flat.mean(axis=1)) <= half).mean())


check_coverage = Experiment(
    "coverage",
    measure=_coverage,
    settings=[1, 3, 6, 18],
    answer="falls",
    mistakes={
        "that counts videos, as one should in earnest; here count all 12 n frames": {"units": "videos"},
        "that is the share of intervals that miss 0": lambda frames: 1 - _coverage(frames),
        "1.96 standard deviations on each side, not one": {"spread": 1.0},
        "divide the standard deviation by the root of the number of frames": lambda frames: _coverage(
            frames, spread=1.96 * np.sqrt(12 * frames)
        ),
        "divide by the root of the number of frames, not by the number": lambda frames: _coverage(
            frames, spread=1.96 / np.sqrt(12 * frames)
        ),
    },
    why="frames of one video repeat its error, and n of them are counted as n independent ones",
)
