"""One clip of a photograph that moves: images, and the truth about them.

    photograph = Photograph(portrait, fit_head(portrait, load_shape()))
    clip = PhotographClip(photograph, seed=0, number=3, frames=24, size=256)
    clip.frame(0)                                               # the photograph as it is, uint8 (256, 256, 3)
    truth = clip.true_motion(source=0, driving=10)              # truth.flow, truth.visible
    clip.landmarks(10)                                          # (68, 2)

Motion is that of rendered heads (`sample_motion`), within the angles that a photograph supports, but lids
close more often: a network sees few pairs in which they move, if they blink as people do. In half of
the clips the background is one that the renderer draws, and in half the camera's processing varies (colour,
exposure, blur, noise, in a third of these JPEG): else a network learns the walls of one photographer.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
from PIL import Image
from torch import Tensor

from fomm_lib.errors import InputError
from fomm_lib.media.squares import head_square
from fomm_lib.synthetic.clip import (
    TrueMotion,
    check_clip,
    project_points,
    shared_renderer,
    to_true_motion,
)
from fomm_lib.synthetic.motion import sample_motion
from fomm_lib.synthetic.photographs.draw import PhotographRenderer, View, view_of
from fomm_lib.synthetic.photographs.fit import Fit
from fomm_lib.synthetic.photographs.landmarks import Portrait
from fomm_lib.synthetic.photographs.layers import Layers, make_layers
from fomm_lib.synthetic.photographs.pixels import sample_square
from fomm_lib.synthetic.photographs.posture import Pose, poses, positions
from fomm_lib.synthetic.render import SUPERSAMPLING
from fomm_lib.synthetic.scene import Scene, sample_scene

# In dm, of the undeformed bust: what `sample_scene` asks for; only its colours are used.
_CROWN, _CHIN = 8.2, 6.3
_PLAIN_KINDS = (0, 2, 3)  # of drawn backgrounds: gradients, clouds, and rectangles as in rooms


class Photograph:
    """A portrait that can move.

    Args:
        portrait: what `read_portrait` gives; fit: what `fit_head` gives for it.

    Attributes:
        layers, renderer: made when first needed (half a second).
    """

    def __init__(self, portrait: Portrait, fit: Fit):
        self.portrait, self.fit = portrait, fit

    @cached_property
    def layers(self) -> Layers:
        """See `make_layers`."""
        return make_layers(self.portrait, self.fit)

    @cached_property
    def renderer(self) -> PhotographRenderer:
        """See `PhotographRenderer`."""
        return PhotographRenderer(self.layers)

    def image(self, pose: Pose, view: View, background: np.ndarray | None = None) -> np.ndarray:
        """The photograph in a pose, (size, size, 3) float32 in [0, 1].

        Args:
            background: (S, S, 3) in [0, 1], S = SUPERSAMPLING size; the photograph's own by default.
        """
        if background is None:
            background = self.background(view)
        return self.composed(positions(self.layers, pose), pose.blink, view, background)

    def composed(self, points: np.ndarray, blink: float, view: View, background: np.ndarray) -> np.ndarray:
        """As `image`, of positions that are known already."""
        person = self.renderer.draw(points, blink, view)
        image = person[..., :3] + background * (1 - person[..., 3:])
        blocks = image.reshape(view.size, SUPERSAMPLING, view.size, SUPERSAMPLING, 3)
        return np.clip(blocks.mean(axis=(1, 3)), 0, 1)

    def background(self, view: View) -> np.ndarray:
        """The photograph's background, (S, S, 3) in [0, 1]."""
        return sample_square(self.layers.canvas.background, view.square, view.size * SUPERSAMPLING) / 255

    def square(self) -> tuple[float, float, float]:
        """The square of the canvas around the head, see `head_square`."""
        return head_square(self.layers.canvas.landmarks)


class PhotographClip:
    """A photograph in motion: images, and the truth about them. Its first frame is the photograph as it is.

    All that is random depends on `(seed, number)` alone.

    Args:
        photograph: the portrait.
        seed, number: of the random numbers.
        frames: how many.
        size: width and height in pixels, 16 to 1024; the photographs hold about 256.
        fps: frames a second. A low number spreads few frames over a long time, so that poses differ.
        varied: whether backgrounds, colours and blur may differ from the photograph's.
        poses: in place of random ones; then `frames` is not used.

    Raises:
        InputError: a number out of range; moderngl or EGL is missing (when first needed).

    Example:
        >>> clip = PhotographClip(photograph, seed=0, number=3, frames=24, size=256)  # doctest: +SKIP
        >>> clip.frame(0).shape                                                       # doctest: +SKIP
        (256, 256, 3)
    """

    def __init__(
        self,
        photograph: Photograph,
        seed: int,
        number: int,
        frames: int,
        size: int,
        fps: float = 2,
        *,
        varied: bool = True,
        poses: list[Pose] | None = None,
    ):
        check_clip(seed, number, frames, size, fps)
        self.photograph, self.seed, self.number, self.size = photograph, seed, number, size
        self.poses = poses or _random_poses(photograph.fit, seed, number, np.arange(frames) / fps)
        self._known: dict[int, np.ndarray] = {}
        rng = np.random.default_rng([seed, number, 2])
        square = _framed(photograph.square(), rng)
        self.view = view_of(photograph.layers, square, size)
        self.replaced = self.scene = self.quality = None
        if varied:
            self.replaced, self.scene, self.quality = _variation(rng)

    def __len__(self) -> int:
        return len(self.poses)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.frame(k) for k in range(len(self)))

    def at_size(self, size: int) -> PhotographClip:
        """The same clip at another size."""
        other = object.__new__(PhotographClip)
        other.__dict__.update({k: v for k, v in self.__dict__.items() if k != "_background"})
        other.size = size
        other.view = view_of(self.photograph.layers, self.view.square, size)
        return other

    def frame(self, k: int) -> np.ndarray:
        """Image k, uint8 (size, size, 3)."""
        blink = self._pose(k).blink
        image = self.photograph.composed(self._points(k), blink, self.view, self._background)
        image = self.scene.develop(image, k) if self.scene else (image * 255 + 0.5).astype(np.uint8)
        return image if self.quality is None else _through_jpeg(image, self.quality)

    def true_motion(self, source: int, driving: int) -> TrueMotion:
        """The exact motion between two frames, given by their numbers.

        Lids that are more than 30 % closed in either frame count as hidden: what they show changes.
        """
        renderer, start, end = self.photograph.renderer, self._points(source), self._points(driving)
        blink = max(self._pose(source).blink, self._pose(driving).blink)
        flow = renderer.flow(start, end, blink, self.view)
        return to_true_motion(flow, renderer.kinds(start, self.view) < 0)

    def kinds(self, k: int) -> np.ndarray:
        """(size, size): the `Kind` of layer that each pixel shows, -1 for background."""
        return self.photograph.renderer.kinds(self._points(k), self.view)

    def landmarks(self, k: int) -> Tensor:
        """(68, 2): iBUG's landmarks as points (x, y) in `geometry`'s convention, hidden ones too."""
        points = self._points(k)[self.photograph.fit.vertices]
        return project_points(points, self.view.projection, self.size)

    def truth_pairs(self, count: int) -> np.ndarray:
        """(count, 2) pairs of frames, source and driving, in which lids and lips move more than by chance.

        Half of them are drawn alike from all pairs; a quarter each with probabilities proportional to the
        change of the opening of the eyes, and of the width and opening of the mouth, both in distances
        between the eyes.
        """
        rng = np.random.default_rng([self.seed, self.number, 9])
        points = np.stack([self.landmarks(k).numpy() for k in range(len(self))])
        sources, drivings = np.nonzero(~np.eye(len(self), dtype=bool))
        lids, lips = _openings(points)
        pairs = []
        for k in range(count):
            weight = np.ones(len(sources))
            if k % 4 in (1, 3):
                moved = lids if k % 4 == 1 else lips
                weight = np.abs(moved[sources] - moved[drivings]).sum(axis=1) + 1e-6
            chosen = rng.choice(len(sources), p=weight / weight.sum())
            pairs.append((sources[chosen], drivings[chosen]))
        return np.array(pairs)

    @cached_property
    def _background(self) -> np.ndarray:
        if self.replaced is None:
            return self.photograph.background(self.view)
        return shared_renderer(self.size).draw_background(self.replaced)

    def _points(self, k: int) -> np.ndarray:
        """Positions of all vertices in frame k; kept, because truth needs most of them several times."""
        pose = self._pose(k)
        if k not in self._known:
            self._known[k] = positions(self.photograph.layers, pose)
        return self._known[k]

    def _pose(self, k: int) -> Pose:
        if not 0 <= k < len(self):
            raise InputError(f"frame {k}: this clip has the frames 0 to {len(self) - 1}")
        return self.poses[k]


def _random_poses(fit: Fit, seed: int, number: int, times: np.ndarray) -> list[Pose]:
    rng = np.random.default_rng([seed, number, 1])
    kept = rng.uniform(0, 1)
    return poses(sample_motion(rng, times, lids_often=True), fit, kept)


def _framed(square: tuple[float, float, float], rng: np.random.Generator) -> tuple[float, float, float]:
    """The square, up to 15 % closer or 5 % farther, and a little aside."""
    left, top, side = square
    zoom = rng.uniform(0.85, 1.05)
    x, y = np.array([left, top]) + side / 2 + rng.normal(0, 0.02 * side, 2)
    return float(x - side * zoom / 2), float(y - side * zoom / 2), side * zoom


def _variation(rng: np.random.Generator) -> tuple[dict | None, Scene | None, int | None]:
    """Inputs of the background's shader, the camera's processing, and a JPEG quality; or None for each."""
    scene = sample_scene(rng, _CROWN, _CHIN)
    exposure = rng.uniform(0.8, 1.15)
    _, scale, soft, angle = scene.uniforms["scene"]
    kind = float(_PLAIN_KINDS[rng.integers(len(_PLAIN_KINDS))])
    background = {**scene.uniforms, "seed": rng.uniform(0, 31), "scene": (kind, scale, soft, angle)}
    scene = replace(scene, tint=tuple(exposure * np.array(scene.tint)))
    is_replaced, is_processed, is_compressed = rng.uniform(size=3) < [1 / 2, 1 / 2, 1 / 3]
    quality = int(rng.integers(60, 96))
    return (
        background if is_replaced else None,
        scene if is_processed else None,
        quality if is_processed and is_compressed else None,
    )


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


def _openings(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Openings of both eyes, (T, 2), and height and width of the opening of the mouth, (T, 2)."""

    def gap(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(points[:, a] - points[:, b], axis=1)

    unit = np.linalg.norm(points[:, 36:42].mean(axis=1) - points[:, 42:48].mean(axis=1), axis=1)[:, None]
    lids = np.stack([gap(37, 41) + gap(38, 40), gap(43, 47) + gap(44, 46)], axis=1) / 2 / unit
    lips = np.stack([gap(62, 66), gap(48, 54)], axis=1) / unit
    return lids, lips
