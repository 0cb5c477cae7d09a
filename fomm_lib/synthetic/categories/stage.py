"""Random camera, lamps, ground and background for a subject that stands on a ground."""

from __future__ import annotations

from typing import Any

import numpy as np

from fomm_lib.synthetic.categories.subject import Framing
from fomm_lib.synthetic.scene import (
    Scene,
    any_colour,
    background,
    camera_towards,
    light,
    linear,
    processing,
)

FLOORS = ("plain", "boards", "grass", "road")
"""Kinds of ground, numbered as in the shader `background`."""


def sample_stage(rng: np.random.Generator, framing: Framing, road_angle: float = 0.0) -> Scene:
    """Draw camera, lamps, ground, background, and image processing, as `scene.sample_scene` does for heads.

    The camera stands still and looks at the middle of the space in which the subject moves.

    Args:
        road_angle: heading of a road, radians; see `_floor`.
    """
    field_of_view = np.deg2rad(rng.uniform(16, 42))
    share = rng.uniform(0.78, 0.98)  # of half the image, that the reach fills
    distance = framing.reach / share / np.tan(field_of_view / 2)
    pitch = np.deg2rad(rng.uniform(*framing.pitch))
    yaw, roll = np.deg2rad([rng.normal(0, 6), rng.normal(0, 1.5)])
    target = framing.middle + framing.reach * rng.normal(0, 0.04, 3)
    depth = 2.5 * framing.reach, 2.5 * framing.reach
    view, uniforms = camera_towards(target, distance, field_of_view, yaw, pitch, roll, depth)
    uniforms["to_world"] = np.linalg.inv(uniforms["view_projection"])
    uniforms |= light(rng, framing.middle, 1.25 * framing.reach)
    uniforms |= background(rng, uniforms["exposure"])
    uniforms |= _floor(rng, framing, road_angle)
    return Scene(view, uniforms, **processing(rng))


def _floor(rng: np.random.Generator, framing: Framing, road_angle: float) -> dict[str, Any]:
    """Kind, size and colours of the ground; a road runs along the heading `road_angle`."""
    kind = str(rng.choice(framing.floors))
    colours = np.array([any_colour(rng, 50, 190) for _ in range(3)])
    grey = colours.mean(axis=1, keepdims=True)
    colours = grey + (colours - grey) * rng.uniform(0.15, 0.8)  # grounds are less colourful than clothes
    colours[1] = colours[0] + rng.uniform(0.1, 0.6) * (colours[1] - colours[0])
    colours = np.array([linear(colour) for colour in colours])
    green = np.array([rng.uniform(60, 130), rng.uniform(95, 150), rng.uniform(35, 75)])
    colours[2] = linear(green if rng.uniform() < 0.8 else [170, 150, 105])
    size, angle = rng.uniform(1.5, 6), rng.uniform(0, np.pi)
    if kind == "road":
        colours[0] = linear(np.full(3, rng.uniform(60, 135)) + rng.normal(0, 4, 3))
        size, angle = rng.uniform(32, 45), road_angle
    return {
        "floor_colour": colours,
        "floor_detail": (float(FLOORS.index(kind)), size, angle, framing.reach * rng.uniform(15, 60)),
        "floor_grain": 12.0 / framing.reach,
    }
