"""Synthetic clips in which what happens is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from fomm_lib.synthetic import scene as scene_module
from fomm_lib.synthetic.clip import SyntheticClip
from fomm_lib.synthetic.motion import Motion


def still(frames: int) -> Motion:
    """A motion at rest."""
    return Motion(
        np.zeros((frames, 52), np.float32),
        np.zeros((frames, 3)),
        np.zeros((frames, 2)),
        np.zeros((frames, 6)),
    )


def moved(**columns) -> Motion:
    """Two frames: the first at rest, the second as told, e.g. head=(0, 0.3, 0)."""
    motion = still(2)
    for name, value in columns.items():
        getattr(motion, name)[1] = value
    return motion


def frontal(clip_size: int = 128, fov: float = 1.0) -> SimpleNamespace:
    """A camera far in front of the eyes, and what it takes to project by hand."""
    target, distance = np.array([0, 7.28, 1.2]), 100.0
    view, camera = scene_module.camera_towards(target, distance, np.deg2rad(fov))
    return SimpleNamespace(
        view=view, camera=camera, focal=clip_size / 2 / np.tan(np.deg2rad(fov) / 2), distance=distance
    )


def clip_at_rest(motion: Motion, size: int = 128, fov: float = 1.0, number: int = 3) -> SyntheticClip:
    clip = SyntheticClip(7, number, len(motion), size, motion=lambda times: motion)
    front = frontal(size, fov)
    clip.scene = scene_module.Scene(front.view, {**clip.scene.uniforms, **front.camera})
    clip.uniforms.update(front.camera)
    return clip


def quarters(side: int = 200) -> np.ndarray:
    """An image of four colours."""
    image = np.zeros((side, side, 3), np.uint8)
    half = side // 2
    image[:half, :half], image[:half, half:] = (200, 40, 40), (40, 200, 40)
    image[half:, :half], image[half:, half:] = (40, 40, 200), (200, 200, 40)
    return image
