"""Small clips whose pixels say which clip and which frame they are."""

from __future__ import annotations

import imageio.v3 as iio
import numpy as np
from PIL import Image

SIZE = 16
PUBLISHED = {
    "flip_param": {"horizontal_flip": True, "time_flip": True},
    "jitter_param": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1},
}
"""The published augmentation."""


def image(number: int, clip: int = 0, size: int = SIZE) -> np.ndarray:
    """A frame that says which one it is: red = its number, green = its clip; blue is a ramp."""
    frame = np.zeros((size, size, 3), np.uint8)
    frame[..., 0], frame[..., 1] = number * 10, clip * 20
    frame[..., 2] = np.linspace(0, 255, size, dtype=np.uint8)
    return frame


def write_folder(path, frames=8, clip=0, size=SIZE):
    path.mkdir(parents=True)
    for number in range(frames):
        Image.fromarray(image(number, clip, size)).save(path / f"{number:04d}.png")
    return path


def write_strip(path, frames=6, clip=0, size=SIZE):
    Image.fromarray(np.concatenate([image(number, clip, size) for number in range(frames)], axis=1)).save(
        path
    )
    return path


def write_video(path, frames=30, clip=0, size=64):
    iio.imwrite(path, np.stack([image(number % 25, clip, size) for number in range(frames)]), fps=25)
    return path


def numbers_seen(item) -> list[int]:
    """The frame numbers as the pixels tell them."""
    return [round(float(item[key][0].mean()) * 255 / 10) for key in ("source", "driving")]
