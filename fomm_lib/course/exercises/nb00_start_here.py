"""Checks for notebook 00, start here: coordinates, input channels, and backward warps of an image."""

from __future__ import annotations

import math

import torch

from fomm_lib.course.exercises.checker import Case, Exercise
from fomm_lib.course.exercises.experiment import Experiment
from fomm_lib.files import data_path
from fomm_lib.geometry import apply_2x2, coordinate_grid, warp
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import read_image


def _places_of_pixels(pixels, height, width, less=1, swap=False):
    sides = torch.tensor([height, width] if swap else [width, height])
    return 2 * pixels / (sides - less) - 1


check_places_of_pixels = Exercise(
    "places_of_pixels",
    solution=_places_of_pixels,
    cases=[
        Case("the middle of 5 x 9 pixels", lambda f: f(torch.tensor([4.0, 2.0]), 5, 9)),
        Case("the first pixel and the last", lambda f: f(torch.tensor([[0.0, 0.0], [8.0, 4.0]]), 5, 9)),
        Case("between pixels, and outside", lambda f: f(torch.tensor([[1.5, -2.0], [70.0, 12.25]]), 64, 64)),
        Case("points of a batch, 2 x 10", lambda f: f(64 * torch.rand(2, 10, 2), 48, 96)),
    ],
    mistakes={
        "from the first centre to the last there are width - 1 steps, not width": {"less": 0},
        "that puts -1 and 1 at the outer edges of the image, not at the centres of its border pixels": (
            lambda pixels, height, width: (2 * pixels + 1) / torch.tensor([width, height]) - 1
        ),
        "x is the column and depends on the width; y is the row and depends on the height": {"swap": True},
        "that runs from 0 to 1; scale it to a length of 2 and start at -1": (
            lambda pixels, height, width: pixels / torch.tensor([width - 1, height - 1])
        ),
        "that is the inverse: from points to pixels": (
            lambda pixels, height, width: (pixels + 1) / 2 * torch.tensor([width - 1, height - 1])
        ),
    },
)


check_motion_channels = Exercise(
    "motion_channels",
    solution=lambda num_kp, num_channels: (num_kp + 1) * (num_channels + 1),
    cases=[
        Case("the published model: 10 keypoints, 3 colours", lambda f: f(10, 3)),
        Case("15 keypoints, grey images", lambda f: f(15, 1)),
        Case("one keypoint, 3 colours", lambda f: f(1, 3)),
    ],
    mistakes={
        "the background counts as a motion too": lambda num_kp, num_channels: num_kp * (num_channels + 1),
        "the heatmap is missing: one more channel for each motion": (
            lambda num_kp, num_channels: (num_kp + 1) * num_channels
        ),
        "background and heatmap are missing": lambda num_kp, num_channels: num_kp * num_channels,
        "every motion has its own warped source": lambda num_kp, num_channels: num_kp + 1 + num_channels,
    },
)


def _move(image, x=0.0, y=0.0, padding_mode="border"):
    """An image warped by a flow that adds (x, y), in units of [-1, 1]."""
    flow = coordinate_grid(*image.shape[1:]) + torch.tensor([x, y])
    return warp(image[None], flow[None], padding_mode=padding_mode)[0]


def _move_right(image, pixels, length=-2, axis=2, less=1, padding_mode="border"):
    return _move(image, length * pixels / (image.shape[axis] - less), padding_mode=padding_mode)


check_move_right = Exercise(
    "move_right",
    solution=_move_right,
    given=lambda image, pixels: _move_right(image, pixels, length=2),
    cases=[
        Case("no movement", lambda f: f(torch.rand(3, 5, 9), 0)),
        Case("a ramp, moved by 2 pixels", lambda f: f(torch.linspace(0, 1, 9).expand(3, 5, 9), 2)),
        Case("a random image, moved by 3 pixels", lambda f: f(torch.rand(3, 6, 8), 3)),
        Case("half a pixel", lambda f: f(torch.rand(3, 4, 16), 0.5)),
    ],
    mistakes={
        "that moves it down or up: x is the first of the two numbers": (
            lambda image, pixels: _move(image, y=-2 * pixels / (image.shape[1] - 1))
        ),
        "a pixel is 2 / (width - 1), because the centres of the border pixels are -1 and 1": {"less": 0},
        "points run from -1 to 1, a length of 2: the factor 2 was right": {"length": -1},
        "a pixel must become a distance in units of [-1, 1]: 2 / (width - 1)": (
            lambda image, pixels: _move(image, -float(pixels))
        ),
        "what leaves at the right must not come back in at the left: the border should repeat": (
            lambda image, pixels: image.roll(int(pixels), 2)
        ),
        "the border should repeat, as it did": {"padding_mode": "zeros"},
        "x belongs to the width, not to the height": {"axis": 1},
    },
)


def _turned_by(image, degrees):
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    flow = apply_2x2(torch.tensor([[cos, -sin], [sin, cos]]), coordinate_grid(64, 64))
    return warp(image[None], flow[None], padding_mode="border")[0]


def _sharpness_by_warps(trips, back=-10, again=True, inside=slice(16, 48)):
    image = to_tensor(read_image(data_path("portrait.jpg")), (64, 64))
    for _ in range(trips if again else min(trips, 1)):
        image = _turned_by(_turned_by(image, 10), back)
    return image[:, inside, inside].diff(dim=2).abs().mean()


check_sharpness_by_warps = Experiment(
    "sharpness_by_warps",
    measure=_sharpness_by_warps,
    settings=[0, 1, 2, 4],
    answer="falls",
    mistakes={
        "each round trip starts from the result of the one before, not from the original": {"again": False},
        "both turns go the same way: turn back by -10 degrees": {"back": 10},
        "those are twice as many round trips: a trip is two warps": lambda trips: _sharpness_by_warps(
            2 * trips
        ),
        "measure in the middle: at the border other pixels come in": {"inside": slice(None)},
    },
    why="every warp interpolates between pixels, and so averages them",
    rtol=0.01,
)
