"""Checks for notebook 00, start here: coordinates, and the input channels of the dense motion network."""

from __future__ import annotations

import torch

from fomm_lib.course.exercises.checker import Case, Exercise


def _places_of_pixels(pixels, height, width):
    return 2 * pixels / torch.tensor([width - 1, height - 1]) - 1


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
        "from the first centre to the last there are width - 1 steps, not width": (
            lambda pixels, height, width: 2 * pixels / torch.tensor([width, height]) - 1
        ),
        "that puts -1 and 1 at the outer edges of the image, not at the centres of its border pixels": (
            lambda pixels, height, width: (2 * pixels + 1) / torch.tensor([width, height]) - 1
        ),
        "x is the column and depends on the width; y is the row and depends on the height": (
            lambda pixels, height, width: 2 * pixels / torch.tensor([height - 1, width - 1]) - 1
        ),
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
