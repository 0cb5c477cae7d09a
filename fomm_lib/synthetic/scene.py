"""Random camera, lamps and background of a clip, and what a camera does to an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

IMAGE = 6  # the kind of background that shows an image; kinds 0 to 5 are drawn by the shader


@dataclass(frozen=True)
class Scene:
    """Camera, light and background of a clip, and the camera's processing of an image.

    Attributes:
        view: (4, 4) from the person's coordinates (dm, y up) to the camera's (x right, y up, z towards it).
        uniforms: inputs of the shaders.
        blur: standard deviation in pixels of an image of 128.
        grain: standard deviation of the noise, 0 to 1; `grain_seed` selects it.
        contrast, saturation, vignette: 1, 1, 0 change nothing.
        tint: (3,) factors of red, green and blue.
    """

    view: np.ndarray
    uniforms: dict[str, Any]
    blur: float = 0.0
    grain: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    vignette: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    grain_seed: int = 0

    def develop(self, image: np.ndarray, frame: int) -> np.ndarray:
        """Apply the camera's processing to image number `frame`, (H, W, 3) float in [0, 1]; gives uint8."""
        size = len(image)
        grey = (image @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
        image = (grey + (image - grey) * self.saturation - 0.45) * self.contrast + 0.45
        image = image * np.array(self.tint)
        if self.vignette:
            axis = np.linspace(-1, 1, size)
            image = image * (1 - self.vignette * (axis[:, None] ** 2 + axis**2) / 2)[..., None]
        if self.blur:
            radius = self.blur * size / 128
            image = gaussian_filter(image, (radius, radius, 0))
        if self.grain:
            image = image + np.random.default_rng([self.grain_seed, frame]).normal(0, self.grain, image.shape)
        return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def sample_scene(rng: np.random.Generator, crown: float, chin: float) -> Scene:
    """Draw a random camera (field of view, distance, height, roll), lamps, background, and image processing.

    Args:
        crown, chin: heights of the top of the skull and of the tip of the chin, dm.
    """
    view, uniforms = _camera(rng, crown, chin)
    middle = np.array([0, chin + 0.4 * (crown - chin), 0.4])
    uniforms |= light(rng, middle)
    uniforms |= background(rng, uniforms["exposure"])
    return Scene(view, uniforms, **processing(rng))


def processing(rng: np.random.Generator) -> dict[str, Any]:
    """Draw what a camera does to an image: arguments of `Scene`."""
    grey = rng.uniform() < 0.04
    return {
        "blur": rng.uniform(0.3, 0.7) * (rng.uniform() < 0.35),
        "grain": rng.uniform(0.004, 0.022) * (rng.uniform() < 0.6),
        "contrast": rng.normal(1, 0.1),
        "saturation": 0.0 if grey else float(np.clip(rng.normal(0.95, 0.2), 0, 1.5)),
        "vignette": rng.uniform(0, 0.3) * (rng.uniform() < 0.4),
        "tint": tuple(rng.normal(1, 0.03, 3)),
        "grain_seed": int(rng.integers(2**31)),
    }


def _direction(yaw: float, pitch: float) -> np.ndarray:
    return np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])


def camera_towards(
    target: np.ndarray,
    distance: float,
    field_of_view: float,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    depth: tuple[float, float] = (6.0, 8.0),
) -> tuple[np.ndarray, dict[str, Any]]:
    """A camera that looks at `target` from `distance` (dm; angles in radians): view matrix and uniforms.

    Args:
        depth: how far before and behind the target something may be, dm.
    """
    eye = target + distance * _direction(yaw, pitch)
    view = _look_at(eye, target, roll)
    f, near, far = 1 / np.tan(field_of_view / 2), max(1.0, distance - depth[0]), distance + depth[1]
    # Image rows run downwards: the y axis is flipped here, and nowhere else.
    projection = np.diag([f, -f, -(far + near) / (far - near), 0])
    projection[2, 3], projection[3, 2] = -2 * far * near / (far - near), -1
    return view, {"view_projection": projection @ view, "eye_point": eye}


def _look_at(eye: np.ndarray, target: np.ndarray, roll: float) -> np.ndarray:
    backward = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross([np.sin(roll), np.cos(roll), 0], backward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(backward, right), backward])
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = rotation, -rotation @ eye
    return view


def _camera(rng, crown: float, chin: float) -> tuple[np.ndarray, dict[str, Any]]:
    height = crown - chin
    close = rng.uniform() >= 0.9
    share = rng.uniform(0.72, 0.9) if close else rng.uniform(0.48, 0.72)  # of the height of the image
    field_of_view = np.deg2rad(rng.uniform(9, 34))
    distance = height / share / (2 * np.tan(field_of_view / 2))
    target = np.array([rng.normal(0, 0.1), chin + height * rng.uniform(0.36, 0.54), 0.6])
    yaw, pitch, roll = np.deg2rad([rng.normal(0, 7), rng.normal(2, 5), rng.normal(0, 2.5)])
    return camera_towards(target, distance, field_of_view, yaw, pitch, roll)


def light(rng: np.random.Generator, middle: np.ndarray, reach: float = 2.6) -> dict[str, Any]:
    """Sky and ground, a key light that casts shadows, and up to two more from anywhere.

    Args:
        middle: (3,) of what is lit, dm; reach: shadows are computed so far around it, dm.
    """
    warmth = rng.normal(0, 0.13)
    white = np.array([1 + warmth, 1, 1 - warmth])
    stage = rng.uniform() < 0.25  # strongly coloured lamps
    key, fill = rng.uniform(0.5, 1.2), rng.uniform(0.12, 0.6)
    directions, colours = [], []
    for lamp in range(3):
        if lamp == 0:
            yaw, pitch, strength = rng.normal(0, 42), rng.uniform(0, 60), key
        else:
            yaw, pitch = rng.uniform(-170, 170), rng.uniform(-10, 60)
            strength = rng.uniform(0, 0.5) * (rng.uniform() < 0.6)
        directions.append(_direction(*np.deg2rad([yaw, pitch])))
        colours.append(np.clip(strength * white * (1 + rng.normal(0, 0.25 if stage else 0.05, 3)), 0, 3))
    # The shadow map is a parallel projection: of a head, 2.6 dm around it, 6 dm before and behind its middle.
    behind, away = 6 * (reach / 2.6), 8 * (reach / 2.6)
    parallel = np.diag([1 / reach, 1 / reach, -1 / behind, 1])
    parallel[2, 3] = -away / behind
    return {
        "lamp_direction": np.array(directions),
        "lamp_colour": np.array(colours),
        "sky": np.clip(fill * white * (1 + rng.normal(0, 0.08, 3)), 0, 2),
        "ground": np.clip(fill * rng.uniform(0.4, 0.9) * white * (1 + rng.normal(0, 0.08, 3)), 0, 2),
        "shadow_strength": rng.uniform(0.3, 1),
        "exposure": rng.uniform(0.75, 1.2) / (0.55 * key + fill),
        "light_projection": parallel @ _look_at(middle + away * directions[0], middle, 0.0),
        "unlit": 0.0,
    }


def background(rng: np.random.Generator, exposure: float) -> dict[str, Any]:
    """Draw one of the backgrounds that the shader knows, and its four colours."""
    colours = np.array([linear(any_colour(rng, 8, 250)) for _ in range(4)])
    if rng.uniform() < 0.6:  # most interiors have few colours
        colours = colours.mean(axis=0) + (colours - colours.mean(axis=0)) * rng.uniform(0.1, 0.6)
    kind = rng.choice(6, p=[0.22, 0.2, 0.2, 0.24, 0.07, 0.07])
    return {
        "wall": np.clip(colours, 0, 1) / exposure * rng.uniform(0.5, 1),
        "scene": (float(kind), rng.uniform(0.3, 1.1), rng.beta(1.2, 1.5), rng.normal(0, 0.4)),
    }


def backdrop(rng: np.random.Generator, image: np.ndarray, side: int) -> np.ndarray:
    """A random square of an image, to stand behind a person: often out of focus, dimmer or brighter.

    Args:
        image: uint8 (H, W, 3).
        side: width and height of the result, in pixels.
    Returns:
        uint8 (side, side, 3).
    """
    height, width = image.shape[:2]
    cut = max(1, round(min(height, width) * rng.uniform(0.5, 1)))
    left, top = rng.integers(width - cut + 1), rng.integers(height - cut + 1)
    square = image[top : top + cut, left : left + cut]
    if rng.uniform() < 0.5:
        square = square[:, ::-1]
    resized = Image.fromarray(np.ascontiguousarray(square)).resize((side, side), Image.Resampling.LANCZOS)
    radius = rng.uniform(0, 0.04) * side * (rng.uniform() < 0.7)
    blurred = gaussian_filter(np.asarray(resized, np.float32), (radius, radius, 0))
    return np.clip(blurred * rng.uniform(0.6, 1.15), 0, 255).astype(np.uint8)


def linear(colour: Any) -> np.ndarray:
    """An sRGB colour (0 to 255) in linear light (0 to 1), by a gamma of 2.2."""
    return (np.clip(colour, 3, 250) / 255) ** 2.2


def any_colour(rng: np.random.Generator, low: float = 10, high: float = 240) -> np.ndarray:
    """A random colour: mostly muted, sometimes strong."""
    grey, strength, hue = rng.uniform(low, high), rng.beta(1, 2.5) * 115, rng.uniform(0, 2 * np.pi)
    return np.clip(grey + strength * np.cos(hue + np.array([0, 2.09, 4.19])), 2, 253)
