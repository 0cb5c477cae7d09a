"""Part labels of rendered heads: which part of the person every pixel shows, as numbers and as colours.

Images of labels are palette PNGs: every program shows them in colours, and none mixes two classes. The
colours only tell the classes apart and are not those of the surfaces: whoever makes a head from them must
invent skin, hair and clothes.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from fomm_lib.synthetic.anatomy import Part
from fomm_lib.synthetic.clip import RenderedClip

LABELS = ("background", *(part.name.lower() for part in Part))
"""The names of the ten classes, by number."""

# Corners of the colour cube, and two colours between them; any two are at least 180 apart. No class lies
# between two of the four that touch often (background, skin, hair, clothes): a blurred border stays theirs.
PALETTE = np.array(
    [
        (0, 0, 0),  # background
        (0, 255, 255),  # skin
        (255, 255, 255),  # eye
        (255, 255, 0),  # teeth
        (255, 0, 0),  # tongue
        (0, 255, 0),  # lash
        (255, 0, 255),  # hair
        (0, 0, 255),  # clothes
        (255, 128, 128),  # frame
        (128, 255, 128),  # lens
    ],
    np.uint8,
)
"""The colour of every class, uint8 (10, 3)."""


def colour_labels(labels: np.ndarray) -> np.ndarray:
    """Class numbers (..., H, W) to their colours, uint8 (..., H, W, 3).

    Example:
        >>> colour_labels(np.array([[0, 1]])).tolist()
        [[[0, 0, 0], [0, 255, 255]]]
    """
    return PALETTE[labels]


def nearest_labels(image: np.ndarray) -> np.ndarray:
    """Colours, uint8 (..., H, W, 3), to the numbers of the nearest classes, uint8 (..., H, W).

    Example:
        >>> nearest_labels(np.array([[[9, 0, 3], [20, 250, 240]]], np.uint8)).tolist()
        [[0, 1]]
    """
    distances = [
        np.square(image.astype(np.int32) - colour).sum(-1, dtype=np.int32)
        for colour in PALETTE.astype(np.int32)
    ]
    return np.argmin(distances, axis=0).astype(np.uint8)


def label_image(labels: np.ndarray) -> Image.Image:
    """Class numbers (H, W) as a Pillow image with the palette.

    Example:
        >>> label_image(np.ones((2, 2), np.uint8)).mode
        'P'
    """
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(PALETTE.tobytes())
    return image


def clip_labels(clip: RenderedClip, k: int) -> np.ndarray:
    """The labels of frame k of a rendered clip, uint8 (size, size)."""
    return clip.places(k)[..., 3].round().byte().numpy()


def labels_folder(clip: str | os.PathLike) -> Path:
    """The folder of the labels of a clip: `labels/` beside the clips, and the name of the clip in it.

    Inside `labels/` no images lie directly, so that none of it is taken for a clip.

    Example:
        >>> labels_folder("heads/train/synth0-00003#00003#0#24.mp4").as_posix()
        'heads/train/labels/synth0-00003#00003#0#24'
    """
    clip = Path(clip)
    return clip.parent / "labels" / (clip.stem if clip.suffix == ".mp4" else clip.name)
