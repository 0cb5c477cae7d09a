"""A contact sheet: portraits in some poses, to see at a glance whether they can move."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from PIL import Image

from fomm_lib.files import atomic_output
from fomm_lib.synthetic.anatomy import load_anatomy
from fomm_lib.synthetic.photographs.clip import Photograph
from fomm_lib.synthetic.photographs.draw import view_of
from fomm_lib.synthetic.photographs.fit import Fit
from fomm_lib.synthetic.photographs.posture import Pose, at_rest

PORTRAITS = 24
"""How many portraits a sheet shows."""

_OPEN = {"jawOpen": 0.7, "mouthLowerDown": 0.3, "mouthUpperUp": 0.2}


def sheet_poses(fit: Fit) -> list[Pose]:
    """As photographed, turned by 20 degrees to either side, mouth wide open, eyes closed."""
    turns = [at_rest(fit, head=np.deg2rad([0, degrees, 0])) for degrees in (20, -20)]
    return [
        at_rest(fit),
        *turns,
        at_rest(fit, actions=with_actions(fit, _OPEN), own=0.0),
        at_rest(fit, blink=1.0),
    ]


def with_actions(fit: Fit, recipe: dict[str, float]) -> np.ndarray:
    """(52,): the photograph's actions with those of mouth and jaw replaced.

    Args:
        recipe: name to strength; a name without Left or Right stands for both.
    """
    names, strengths = load_anatomy().action_names, fit.actions.copy()
    for k, name in enumerate(names):
        if name.startswith(("mouth", "jaw")):
            strengths[k] = recipe.get(name, recipe.get(name.removesuffix("Left").removesuffix("Right"), 0.0))
    return strengths


def write_sheet(path: str | os.PathLike, photographs: Iterable[Photograph], size: int = 160) -> None:
    """Write a JPEG with a row a portrait, two portraits side by side.

    Args:
        size: width and height of an image.
    """
    rows = []
    for photograph in photographs:
        view = view_of(photograph.layers, photograph.square(), size)
        images = [photograph.image(pose, view) for pose in sheet_poses(photograph.fit)]
        rows.append((np.concatenate(images, axis=1) * 255 + 0.5).astype(np.uint8))
    if len(rows) % 2:
        rows.append(np.full_like(rows[0], 255))
    half = len(rows) // 2
    pixels = np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], axis=1)
    with atomic_output(path, overwrite=True) as temporary:
        Image.fromarray(pixels).save(temporary, "jpeg", quality=90)
