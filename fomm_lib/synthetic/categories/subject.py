"""What a category provides: surfaces, the positions of their vertices in each frame, and landmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np


class Material(IntEnum):
    """How a surface reflects light, numbered as in the shader `object_colour`."""

    CLOTH, BARE, FUR, PAINT, PANE, MATTE = range(6)


@dataclass(frozen=True)
class Framing:
    """What the camera must show.

    Attributes:
        middle: (3,) of the space in which the subject moves, dm; the ground is at y = 0.
        reach: half the extent of that space, dm.
        pitch: range of the camera's height above the horizon, degrees.
        floors: names of the grounds that suit; see `stage.FLOORS`.
    """

    middle: np.ndarray
    reach: float
    pitch: tuple[float, float]
    floors: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """One subject in motion.

    Attributes:
        faces: (F, 3) triangles; canonical: (V, 3) undeformed positions, dm.
        aux: (V, 4) albedo in linear light, and the number of the `Material`.
        uniforms: further inputs of the shaders.
        names: of the landmarks.
        positions: frame number to (V, 3), dm; x and z on the ground, y up.
        landmarks: frame number to (n, 3).
        frames: how many.
        framing: what the camera must show.
        facts: numbers about the subject, by name, e.g. the radius of a wheel; for exercises and tests.
    """

    faces: np.ndarray
    canonical: np.ndarray
    aux: np.ndarray
    uniforms: dict[str, Any]
    names: tuple[str, ...]
    positions: Callable[[int], np.ndarray]
    landmarks: Callable[[int], np.ndarray]
    frames: int
    framing: Framing
    facts: dict[str, Any] = field(default_factory=dict)
