"""One clip of a synthetic head: images, and the truth about them that no recorded video has.

Networks that animate photographs can be trained on these heads without recording anybody, and evaluated
against ground truth: where each pixel came from, what was hidden, where the landmarks are.

    synthesize("heads", clips=200, frames=24, size=128, seed=0)    # a folder of videos to train on

    clip = SyntheticClip(seed=0, number=3, frames=48, size=128)    # or one clip, frame by frame
    clip.frame(10)                                                 # uint8 (128, 128, 3)
    truth = clip.true_motion(source=0, driving=10)                 # truth.flow, truth.visible
    clip.landmarks(10), clip.head_pose(10)                         # (68, 2); rotation and translation

All that is random about a clip depends on `(seed, number)` alone, so that any clip can be rendered again by
itself, by any number of processes. The head is MakeHuman's (CC0, see `anatomy`), images are drawn by OpenGL
(see `render`). Needs the extra `synthetic` and a system with EGL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fomm_lib.errors import InputError, check_integer
from fomm_lib.geometry import coordinate_grid, from_pixels
from fomm_lib.synthetic.anatomy import LANDMARKS, load_anatomy
from fomm_lib.synthetic.motion import Motion, sample_motion
from fomm_lib.synthetic.people import sample_person
from fomm_lib.synthetic.posture import head_transform, pose
from fomm_lib.synthetic.render import SUPERSAMPLING, Renderer
from fomm_lib.synthetic.scene import IMAGE, Scene, backdrop, sample_scene
from fomm_lib.synthetic.surfaces import load_surfaces


@dataclass(frozen=True)
class TrueMotion:
    """Where every pixel of a driving frame comes from.

    Attributes:
        flow: (H, W, 2) backward flow in `geometry`'s convention: where in the source each driving pixel is.
        visible: (H, W) bool: the source shows the same point (not hidden, not outside the image).
        surface: (H, W) bool: the pixel shows the person; elsewhere the background, which does not move.
    """

    flow: Tensor
    visible: Tensor
    surface: Tensor


@dataclass(frozen=True)
class HeadPose:
    """Pose of a head in the camera's coordinates (x right, y down, z away from it).

    Attributes:
        rotation: (3, 3); the identity for an upright head that faces the camera along its axis.
        translation: (3,) of the midpoint between the eyes, in dm from the camera.
    """

    rotation: Tensor
    translation: Tensor

    @property
    def yaw_pitch_roll(self) -> tuple[float, float, float]:
        """In degrees: to the right of the image, down, and clockwise in the image are positive."""
        r = self.rotation.double()
        yaw = torch.atan2(-r[0, 2], r[2, 2])
        pitch = torch.asin(torch.clamp(-r[1, 2], -1, 1))
        roll = torch.atan2(r[1, 0], r[1, 1])
        return tuple(float(torch.rad2deg(a)) for a in (yaw, pitch, roll))


class RenderedClip:
    """What all rendered clips have: images, and the truth about them.

    Subclasses set `seed`, `number`, `size`, `fps`, `scene` and `uniforms`, say how many frames there are, and
    have `pose`, `landmark_points` and `load`.

    Attributes:
        scene: camera, lamps, background; uniforms: inputs of the shaders.
        look: of the `Renderer`.
    """

    look = "head"
    seed: int
    number: int
    size: int
    fps: float
    scene: Scene
    uniforms: dict[str, Any]
    _backdrop: np.ndarray | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.frame(k) for k in range(len(self)))

    def pose(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and normals of all vertices in frame k, (V, 3) each."""
        raise NotImplementedError

    def landmark_points(self, k: int) -> np.ndarray:
        """(n, 3): the landmarks in frame k, in the coordinates of the scene."""
        raise NotImplementedError

    def load(self, renderer: Renderer) -> None:
        """Hand the renderer what does not change from frame to frame."""
        raise NotImplementedError

    def show_behind(self, background: np.ndarray | None) -> None:
        """Put a random square of an image, uint8 (H, W, 3), in place of the drawn background."""
        if background is not None:
            rng = np.random.default_rng([self.seed, self.number, 3])
            self._backdrop = backdrop(rng, background, SUPERSAMPLING * self.size)
            self.uniforms["scene"] = (float(IMAGE), 0.0, 0.0, 0.0)

    def frame(self, k: int) -> np.ndarray:
        """Image k, uint8 (size, size, 3)."""
        return self.scene.develop(self.renderer().draw(*self._pose(k), self.uniforms), k)

    def plain_frame(self, k: int) -> np.ndarray:
        """Image k without light, blur and grain: the colours of the surfaces, uint8 (size, size, 3)."""
        image = self.renderer().draw(*self._pose(k), {**self.uniforms, "unlit": 1.0})
        return (image * 255 + 0.5).astype(np.uint8)

    def places(self, k: int) -> Tensor:
        """What pixels show, (size, size, 4): position on the undeformed surface (dm), number of the part + 1.

        Zeros for the background.
        """
        return torch.from_numpy(self.renderer().places(self._pose(k)[0], self.uniforms))

    def true_motion(self, source: int, driving: int) -> TrueMotion:
        """The exact motion between two frames, given by their numbers."""
        flow = self.renderer().flow(self._pose(source)[0], self._pose(driving)[0], self.uniforms)
        return to_true_motion(flow, self.places(source)[..., 3].numpy() == 0)

    def landmarks(self, k: int) -> Tensor:
        """(n, 2): landmarks as points (x, y) in `geometry`'s convention, hidden ones too; 68 of a head."""
        self._check(k)
        return project_points(self.landmark_points(k), self.scene.uniforms["view_projection"], self.size)

    def _check(self, k: int) -> None:
        if not 0 <= k < len(self):
            raise InputError(f"frame {k}: this clip has the frames 0 to {len(self) - 1}")

    def _pose(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        self._check(k)
        return self.pose(k)

    def renderer(self) -> Renderer:
        """The renderer of this size that the process shares, with this clip loaded."""
        renderer = shared_renderer(self.size, self.look)
        if renderer.loaded is not self:
            self.load(renderer)
            if self._backdrop is not None:
                renderer.load_backdrop(self._backdrop)
            renderer.loaded = self
        return renderer


class SyntheticClip(RenderedClip):
    """One person, in motion, before a camera: images, and the truth about them.

    Args:
        seed, number: the clip's random numbers depend on both; `number` counts the clips of one seed.
        frames: how many.
        size: width and height in pixels, 16 to 1024.
        fps: frames a second. A low number spreads few frames over a long time, so that poses differ.
        person_number: which person; by default each clip has its own, `number`.
        motion: a function of (T,) times in seconds, in place of a random motion.
        scene: in place of a random scene.
        background: an image, uint8 (H, W, 3), in place of a drawn background: a random square of it, often
            out of focus.

    Raises:
        InputError: a number out of range; `anny`, `moderngl` or EGL is missing (when first needed).

    Example:
        >>> clip = SyntheticClip(seed=0, number=3, frames=48, size=128)
        >>> like_frame_10 = warp(to_tensor(clip.frame(0))[None], clip.true_motion(0, 10).flow[None])
    """

    def __init__(
        self,
        seed: int,
        number: int,
        frames: int,
        size: int,
        fps: float = 25,
        *,
        person_number: int | None = None,
        motion: Callable[[np.ndarray], Motion] | None = None,
        scene: Scene | None = None,
        background: np.ndarray | None = None,
    ):
        check_clip(seed, number, frames, size, fps)
        self.seed, self.number, self.size, self.fps = seed, number, size, fps
        self.person_number = number if person_number is None else person_number
        times = np.arange(frames) / fps
        self.person = sample_person(np.random.default_rng([seed, self.person_number, 0]))
        self.motion = (
            motion(times) if motion else sample_motion(np.random.default_rng([seed, number, 1]), times)
        )
        rng = np.random.default_rng([seed, number, 2])
        self.scene = scene or sample_scene(rng, self.person.body.crown, self.person.body.chin)
        self.uniforms = {**self.person.uniforms, **self.scene.uniforms}  # inputs of the shaders
        self.show_behind(background)

    def __len__(self) -> int:
        return len(self.motion)

    def pose(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As in `RenderedClip`."""
        return pose(self.person.body, self.motion[k])

    def landmark_points(self, k: int) -> np.ndarray:
        """(68, 3): iBUG's landmarks."""
        return self.pose(k)[0][load_anatomy().indices(LANDMARKS)]

    def load(self, renderer: Renderer) -> None:
        """As in `RenderedClip`."""
        surfaces = load_surfaces()
        drawn = np.isin(surfaces.part[surfaces.faces[:, 0]], self.person.parts)
        renderer.load(surfaces.faces[drawn], surfaces.part, surfaces.canonical, self.person.aux)

    def head_pose(self, k: int) -> HeadPose:
        """Rotation and translation of the skull; the jaw does not change them."""
        matrix, offset = head_transform(self.person.body, self.motion[k])[-1]
        anatomy, neutral = load_anatomy(), self.person.body.neutral
        eyes = [anatomy.joint(f"joint-{side}-eye", neutral) for side in "lr"]
        flip = np.diag([1.0, -1.0, -1.0])  # OpenGL's camera has y up and looks along -z
        view = flip @ self.scene.view[:3, :3], flip @ self.scene.view[:3, 3]
        rotation = view[0] @ matrix @ flip
        translation = view[0] @ (matrix @ np.mean(eyes, axis=0) + offset) + view[1]
        return HeadPose(*(torch.from_numpy(a.astype(np.float32)) for a in (rotation, translation)))


def to_true_motion(flow: np.ndarray, empty: np.ndarray) -> TrueMotion:
    """What a renderer's `flow` says, in `geometry`'s convention.

    Args:
        flow: (H, W, 4), see `Renderer.flow`; any positive number marks a surface.
        empty: (H, W) bool: pixels of the source that show background.
    """
    raw, size = torch.from_numpy(flow), len(flow)
    surface = raw[..., 3] > 0
    # OpenGL's -1 and 1 are the edges of the image, those of `geometry` the centres of the border pixels.
    moved = from_pixels((raw[..., :2] + 1) / 2 * size - 0.5, size, size)
    still = coordinate_grid(size, size, dtype=moved.dtype)
    return TrueMotion(
        flow=torch.where(surface[..., None], moved, still),
        visible=torch.where(surface, raw[..., 2] > 0, torch.from_numpy(empty)),
        surface=surface,
    )


def project_points(points: np.ndarray, projection: np.ndarray, size: int) -> Tensor:
    """(n, 2): points (n, 3) in an image, in `geometry`'s convention; `projection` (4, 4) is OpenGL's."""
    clip = np.c_[points, np.ones(len(points))] @ projection.T
    pixels = (torch.from_numpy(clip[:, :2] / clip[:, 3:]) + 1) / 2 * size - 0.5
    return from_pixels(pixels, size, size).float()


@lru_cache(maxsize=4)
def shared_renderer(size: int, look: str = "head") -> Renderer:
    """The renderer of a size and a look that all clips of the process share."""
    return Renderer(size, look)


def check_clip(seed: int, number: int, frames: int, size: int, fps: float) -> None:
    """The ranges that every clip has, of rendered heads and of photographs.

    Raises:
        InputError: a number is out of its range.

    Example:
        >>> check_clip(seed=0, number=3, frames=48, size=128, fps=25)
    """
    check_integer("seed", seed, 0, 2**32 - 1)
    check_integer("number", number, 0, 10**7)
    check_integer("frames", frames, 1, 10**6)
    check_integer("size", size, 16, 1024)
    if not 0 < fps <= 240:
        raise InputError(f"fps={fps}: give frames a second, more than 0 and at most 240")
