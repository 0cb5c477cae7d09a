"""Rendered heads that stand for photographs: nobody's face, and of known shape."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fomm_lib.geometry import to_pixels
from fomm_lib.synthetic.anatomy import load_anatomy
from fomm_lib.synthetic.clip import SyntheticClip, project_points
from fomm_lib.synthetic.motion import add_actions
from fomm_lib.synthetic.photographs.clip import Photograph
from fomm_lib.synthetic.photographs.draw import View, view_of
from fomm_lib.synthetic.photographs.fit import fit_head
from fomm_lib.synthetic.photographs.landmarks import read_portrait
from fomm_lib.synthetic.photographs.posture import Pose, positions
from fomm_lib.synthetic.photographs.shape import Shape, load_shape
from fomm_lib.synthetic.scene import Scene, camera_towards
from tests.support.synthetic_clips import still

SMILE = {"mouthSmile": 0.6, "jawOpen": 0.25, "mouthUpperUp": 0.3, "mouthLowerDown": 0.3}
SHUT = {"mouthPress": 0.8, "mouthRollLower": 0.5, "mouthRollUpper": 0.5}


def rendered(
    number: int,
    size: int = 256,
    actions: dict[str, float] | None = None,
    yaw: float = 0.0,
    height: float = 7.1,
    wall: tuple[float, float, float] = (0.2, 0.3, 0.4),
) -> np.ndarray:
    """A head before a plain wall, uint8 (size, size, 3).

    Args:
        number: which person; actions: facial actions, without Left or Right for both.
        yaw: degrees that the head turns; height: dm, of the middle of the image.
    """
    motion = still(1)
    add_actions(motion.actions, actions or {}, np.ones(1))
    motion.head[0, 1] = np.deg2rad(yaw)
    clip = SyntheticClip(7, number, 1, size, motion=lambda times: motion)
    view, camera = camera_towards(np.array([0, height, 1.2]), 40.0, np.deg2rad(5.4))
    exposure = clip.scene.uniforms["exposure"]
    walls = np.tile(np.array(wall) / exposure, (4, 1))
    plain = {"scene": (0.0, 1.0, 0.0, 0.0), "wall": walls}
    clip.scene = Scene(view, {**clip.scene.uniforms, **camera, **plain})
    clip.uniforms.update(camera | plain)
    return clip.frame(0)


def action(**strengths: float) -> np.ndarray:
    """(52,) facial actions at some strengths."""
    actions = np.zeros((1, len(load_anatomy().action_names)))
    add_actions(actions, strengths, np.ones(1))
    return actions[0].astype(np.float32)


@lru_cache(maxsize=1)
def shape() -> Shape:
    """The model of heads, made once."""
    return load_shape()


@lru_cache(maxsize=4)
def photograph(number: int, smiles: bool = False) -> Photograph:
    """A rendered head as a photograph with its fit."""
    portrait = read_portrait(rendered(number, actions=SMILE if smiles else SHUT))
    return Photograph(portrait, fit_head(portrait, shape()))


def canvas_view(photograph: Photograph, size: int = 256) -> View:
    """The square that clips show before they are framed."""
    return view_of(photograph.layers, photograph.square(), size)


def kinds_of(photograph: Photograph, pose: Pose, size: int = 256) -> np.ndarray:
    """(size, size): the `Kind` that each pixel shows in a pose."""
    return photograph.renderer.kinds(positions(photograph.layers, pose), canvas_view(photograph, size))


def landmarks_in(photograph: Photograph, pose: Pose, size: int = 256) -> np.ndarray:
    """(68, 2) pixels of `canvas_view`."""
    points = positions(photograph.layers, pose)[photograph.fit.vertices]
    seen = project_points(points, canvas_view(photograph, size).projection, size)
    return to_pixels(seen, size, size).numpy()
