"""Pairs of portrait and driving video whose true result is known, clean ones and spoiled ones.

A person is rendered as the portrait, another one as the driving video, and the first once more with the
movement of the second: that is what the animation should show, with the true flow of every pixel. All is
rendered by `fomm_lib.synthetic`, and depends on (seed, number).

    clean = make_pair(seed=1, number=3, kind="clean")
    far = make_pair(seed=1, number=3, kind="pose")             # the same people, the portrait turned away
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from fomm_lib.animation.animator import Animator
from fomm_lib.evaluation.true_motion import end_point_error
from fomm_lib.geometry import resize_flow
from fomm_lib.media.squares import FACE_ACROSS, FACE_DOWN, SQUARE_PER_FACE, cut
from fomm_lib.media.tensors import to_tensor
from fomm_lib.synthetic.clip import SyntheticClip
from fomm_lib.synthetic.motion import Motion
from fomm_lib.synthetic.posture import Posture

SIDE, FRAMES, FPS = 128, 16, 10.0
MEASURED = (5, 10, 15)  # driving frames whose true result is rendered
DRIVERS = 50_000  # the number of a pair's driver is that of the pair plus this
KINDS = (
    "no face in the portrait",
    "several faces in the portrait",
    "portrait cut off",
    "portrait blurred",
    "portrait dark",
    "driver of another category",
    "several faces in the driving video",
    "driving video cut off",
    "cut in the driving video",
    "driving video blurred",
    "driving video dark",
    "something before the driving face",
    "pose",
    "size",
)


@dataclass
class KnownPair:
    """A portrait, a driving video, and what the result should be.

    Attributes:
        kind: "clean", or one of `KINDS`.
        portrait: uint8 (H, W, 3); driving: frames of that kind.
        options: of `animate`: crops.
        truth: the person of the portrait with the driver's movement: frame 0 is the portrait as the model
            should see it, the others the results at `MEASURED`; None where there is no right result.
    """

    kind: str
    portrait: np.ndarray
    driving: list[np.ndarray]
    truth: SyntheticClip | None
    options: dict[str, Any] = field(default_factory=dict)


def stack(postures: Sequence[Posture]) -> Callable[[np.ndarray], Motion]:
    """The motion of a clip that takes these postures one after the other."""
    names = "actions", "head", "gaze", "sway"
    motion = Motion(*(np.stack([getattr(one, name) for one in postures]) for name in names))
    return lambda times: motion


def frame_head(
    clip: SyntheticClip, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0), frame: int = 0
) -> None:
    """Move the camera's image so that the face is framed as in the training data (`head_square`).

    Args:
        zoom: 1 is that framing; 2 shows the head twice as large.
        shift: of the face, in shares of its box.
    """
    points = clip.landmarks(frame).numpy().astype(float)
    low, high = points.min(axis=0), points.max(axis=0)
    box = (high - low).max()
    scale = zoom * 2 / SQUARE_PER_FACE / box
    target = np.array([FACE_ACROSS, FACE_DOWN]) * 2 - 1 + np.array(shift) * scale * box
    move = np.eye(4)
    move[[0, 1], [0, 1]] = scale
    move[:2, 3] = target - scale * (low + high) / 2
    uniforms = clip.scene.uniforms
    uniforms = {**uniforms, "view_projection": move @ uniforms["view_projection"]}
    clip.scene = replace(clip.scene, uniforms=uniforms)
    clip.uniforms = {**clip.person.uniforms, **uniforms}


def relative_posture(start: Posture, first: Posture, now: Posture) -> Posture:
    """The posture `start` moved as a driver has moved from `first` to `now`."""
    moved = {
        name: getattr(start, name) + getattr(now, name) - getattr(first, name)
        for name in ("actions", "head", "gaze", "sway")
    }
    return Posture(**moved | {"actions": np.clip(moved["actions"], 0, None)})


@lru_cache(maxsize=4)
def driver(seed: int, number: int, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)):
    """The driving clip of a pair, framed, and its frames."""
    clip = SyntheticClip(seed, DRIVERS + number, FRAMES, SIDE, fps=FPS)
    frame_head(clip, zoom, shift)
    return clip, list(clip)


def portrait_clip(
    seed: int,
    number: int,
    moving: SyntheticClip,
    later: Sequence[Posture] | None = None,
    *,
    turned: tuple[float, float] = (0.0, 0.0),
    zoom: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    person: int | None = None,
    size: int = SIDE,
) -> SyntheticClip:
    """The person of the portrait: frame 0 in a pose near that of the driver's first frame, then moved.

    Args:
        moving: the driving clip.
        later: postures of the driver at the measured frames; by default those of `moving` at `MEASURED`.
        turned: degrees of yaw and pitch between the poses of portrait and driver.
        zoom, shift: see `frame_head`.
        person: another person than that of the number.
    """
    rng = np.random.default_rng([seed, number, 7])
    first = moving.motion[0]
    later = [moving.motion[k] for k in MEASURED] if later is None else later
    own = SyntheticClip(seed, number, 1, size, fps=FPS).motion[0]
    start = replace(own, head=first.head + np.deg2rad(rng.normal(0, 3, 3)), sway=first.sway, gaze=first.gaze)

    def clip_from(start: Posture) -> SyntheticClip:
        postures = [start, *(relative_posture(start, first, now) for now in later)]
        return SyntheticClip(
            seed, number, len(postures), size, fps=FPS, motion=stack(postures), person_number=person
        )

    clip = clip_from(start)
    seen, wanted = clip.head_pose(0).yaw_pitch_roll, moving.head_pose(0).yaw_pitch_roll
    yaw, pitch = wanted[0] - seen[0] + turned[0], wanted[1] - seen[1] + turned[1]
    clip = clip_from(replace(start, head=start.head + np.deg2rad([pitch, yaw, 0])))
    frame_head(clip, zoom * rng.uniform(0.88, 1.12), shift)
    return clip


def other_category(rng: np.random.Generator, frames: int = FRAMES) -> list[np.ndarray]:
    """Images of something that is no head and moves: balls, boxes that drive past, or a waving cloth."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    ground = gaussian_filter(rng.uniform(0, 1, (SIDE, SIDE, 3)), (rng.uniform(3, 20),) * 2 + (0,))
    ground = (ground - ground.min()) / (np.ptp(ground) + 1e-9) * rng.uniform(0.3, 0.8)
    colours, kind, phase = rng.uniform(0, 1, (4, 3)), rng.integers(3), rng.uniform(0, 6.3, 4)
    place, speed = rng.uniform(0.2, 0.8, (4, 2)), rng.normal(0, 0.5, (4, 2))
    sizes, result = rng.uniform(0.08, 0.25, 4), []
    for k in range(frames):
        image, time = ground.copy(), k / FPS
        if kind == 2:
            wave = x * (1 + 0.5 * np.sin(phase[0])) + 0.15 * np.sin(8 * y + 4 * time + phase[1])
            stripes = np.sin(30 * wave + 9 * y)[..., None] > 0
            image = (
                np.where(stripes, colours[0], colours[1]) * (0.7 + 0.3 * np.sin(6 * wave + time))[..., None]
            )
        else:
            for i in range(4):
                cx, cy = (np.abs((place[i] + speed[i] * time) % 2 - 1)).tolist()
                if kind == 0:
                    shape = (x - cx) ** 2 + (y - cy) ** 2 < sizes[i] ** 2
                else:
                    shape = (np.abs(x - cx) < 1.6 * sizes[i]) & (
                        np.abs(y - 0.3 - 0.4 * place[i, 1]) < sizes[i] / 2
                    )
                image[shape] = colours[i] * (0.6 + 0.4 * y[shape, None])
        result.append((np.clip(gaussian_filter(image, (0.6, 0.6, 0)), 0, 1) * 255).astype(np.uint8))
    return result


def darkened(rng: np.random.Generator, images: list[np.ndarray]) -> list[np.ndarray]:
    """As taken with little light: 5 to 12 % of it, and the noise of a sensor."""
    light = rng.uniform(0.05, 0.12)
    noisy = [image * light + rng.normal(0, 3, image.shape) for image in images]
    return [np.clip(image + 0.5, 0, 255).astype(np.uint8) for image in noisy]


def blurred(rng: np.random.Generator, images: list[np.ndarray]) -> list[np.ndarray]:
    """Out of focus: a Gaussian of 2 to 4 pixels of 128."""
    width = rng.uniform(2, 4) * images[0].shape[0] / SIDE
    return [np.stack([gaussian_filter(image[..., c], width) for c in range(3)], axis=-1) for image in images]


def with_bar(
    rng: np.random.Generator, images: list[np.ndarray], share: float | None = None
) -> list[np.ndarray]:
    """Something like an arm that comes before the face and stays: a rounded bar in a skin or cloth colour.

    Args:
        share: of the height of the face that it covers; a random 0.3 to 0.5 by default.
    """
    share = rng.uniform(0.3, 0.5) if share is None else share
    height, width = images[0].shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(float)
    y, x = y / height, x / width
    slope, middle = rng.normal(0, 0.25), FACE_DOWN + rng.uniform(-0.08, 0.12)
    colour = np.array([[205, 150, 120], [120, 80, 60], [60, 70, 110], [90, 90, 90]][rng.integers(4)], float)
    result = []
    for k, image in enumerate(images):
        end = np.clip(1.4 * (k - 2) / 5, 0, 1.2)  # it comes from the left
        half = share / SQUARE_PER_FACE / 2
        away = np.abs(y - middle - slope * (x - 0.5))
        bar = (away < half) & (x < end)
        shade = 1 - 0.5 * (away / max(half, 1e-9)) ** 2
        result.append(np.where(bar[..., None], colour * shade[..., None], image).astype(np.uint8))
    return result


def make_pair(seed: int, number: int, kind: str = "clean") -> KnownPair:
    """The pair of this number, spoiled in one way. All pairs of a number show the same people."""
    rng = np.random.default_rng([seed, number, 8, ("clean", *KINDS).index(kind)])
    clip, driving = driver(seed, number)
    if kind in ("pose", "portrait cut off", "size", "driving video cut off", "cut in the driving video"):
        return _rendered(seed, number, kind, rng)
    truth = portrait_clip(seed, number, clip)
    portrait = truth.frame(0)
    pair = KnownPair(kind, portrait, driving, truth)
    other = number + 1
    if kind == "no face in the portrait":
        pair.portrait, pair.truth = other_category(rng, 1)[0], None
    elif kind == "driver of another category":
        pair.driving, pair.truth = other_category(rng), None
    elif kind == "several faces in the portrait":
        pair.portrait, pair.truth = np.concatenate([portrait, driver(seed, other)[1][0]], axis=1), None
    elif kind == "several faces in the driving video":
        pair.driving = [
            np.concatenate(two, axis=1) for two in zip(driving, driver(seed, other)[1], strict=True)
        ]
    elif kind.endswith(("blurred", "dark")):
        change = blurred if kind.endswith("blurred") else darkened
        if kind.startswith("portrait"):
            pair.portrait = change(rng, [portrait])[0]
        else:
            pair.driving = change(rng, driving)
    elif kind == "something before the driving face":
        pair.driving = with_bar(rng, driving)
    return pair


def _rendered(seed: int, number: int, kind: str, rng: np.random.Generator) -> KnownPair:
    """The kinds for which something is rendered anew."""
    clip, driving = driver(seed, number)
    share = rng.uniform(0.4, 0.6)
    if kind == "pose":
        yaw = clip.head_pose(0).yaw_pitch_roll[0]
        turned = -np.sign(yaw or 1.0) * rng.uniform(35, 55)
        truth = portrait_clip(seed, number, clip, turned=(turned, rng.normal(0, 5)))
        return KnownPair(kind, truth.frame(0), driving, truth)
    if kind == "size":
        zoom = rng.uniform(1.7, 2.3)
        if rng.uniform() < 0.5:
            truth = portrait_clip(seed, number, clip, zoom=zoom)
            return KnownPair(kind, truth.frame(0), driving, truth)
        driving = driver(seed, number, zoom)[1]
        truth = portrait_clip(seed, number, clip)
        return KnownPair(kind, truth.frame(0), driving, truth)
    if kind == "cut in the driving video":
        other, others = driver(seed, number + 1)
        when = int(rng.integers(4, FRAMES - 4))
        postures = [(clip if k < when else other).motion[k] for k in MEASURED]
        truth = portrait_clip(seed, number, clip, postures)
        return KnownPair(kind, truth.frame(0), [*driving[:when], *others[when:]], truth)
    # Beyond the edge of the square: the face's box is 1 / 2.4 of it, and reaches 0.29 to its sides.
    sides = {"left": (-1, 0), "right": (1, 0), "bottom": (0, 1)}
    x, y = sides[rng.choice(list(sides))]
    room = (1 - FACE_DOWN) if y else FACE_ACROSS  # from the middle of the face to the edge, of the square
    gap = room * SQUARE_PER_FACE - 0.5
    shift = (x * (gap + share), y * (gap + share))
    if kind == "driving video cut off":
        truth = portrait_clip(seed, number, clip)
        return KnownPair(kind, truth.frame(0), driver(seed, number, 1.0, shift)[1], truth)
    truth = portrait_clip(seed, number, clip, shift=shift)
    if rng.uniform() < 0.5:
        return KnownPair(kind, truth.frame(0), driving, truth)
    # As often by the square: the portrait shows the whole face, its given square does not.
    large = portrait_clip(seed, number, clip, zoom=0.5, shift=(x * share / 2, y * share / 2), size=2 * SIDE)
    left, top = (round(SIDE / 2 - way * gap * SIDE / SQUARE_PER_FACE) for way in (x, y))
    return KnownPair(kind, large.frame(0), driving, truth, {"crop": (left, top, SIDE)})


@torch.inference_mode()
def errors(model, pair: KnownPair) -> dict[str, float]:
    """How wrong the animation is: end-point error of the flow on the visible person (px of 256), and L1 of
    the image on the person, against the true result; means over `MEASURED`. NaN without a right result.
    """
    result = {"epe": float("nan"), "l1": float("nan")}
    if pair.truth is None:
        return result
    crop = pair.options.get("crop")
    still = pair.portrait if crop is None else cut(pair.portrait, crop)
    animator = Animator(model, still)
    square = min(pair.driving[0].shape[:2])
    left = (pair.driving[0].shape[1] - square) // 2
    images = [to_tensor(pair.driving[k][:, left : left + square], (SIDE, SIDE)) for k in (0, *MEASURED)]
    generated = animator(torch.stack(images))
    flow = resize_flow(generated.deformation, SIDE, SIDE)
    epe, l1 = [], []
    for i in range(1, len(images)):
        motion, true = pair.truth.true_motion(0, i), to_tensor(pair.truth.frame(i))
        epe.append(end_point_error(flow[i], motion.flow, motion.visible & motion.surface))
        l1.append(float((generated.prediction[i] - true).abs().mean(dim=0)[motion.surface].mean()))
    return {"epe": float(np.nanmean(epe)), "l1": float(np.mean(l1))}
