"""Where animation fails, measured on rendered people whose true result is known.

    python -m experiments.limits                       # all tables, into data/limits; ten minutes of a core
    python -m experiments.limits angle style           # some of them

The model is heads-128, at its size, in relative mode. `epe` is the end-point error of the flow on the visible
person in pixels of 256, `l1` the error of the image on the person. A row a person and setting:

    angle.csv      the driving head turns by `degrees` of yaw from a frontal start, the portrait is frontal;
                   `hidden`: share of the person that the portrait does not show, `l1_hidden`: the error there
    pose.csv       the portrait's pose is `degrees` of yaw from that of the driver's first frame
    occluder.csv   a bar covers `share` of the height of the driving face from the second frame on
    glasses.csv    the same person without and with glasses; `l1_eyes` in the box of the eyes
    style.csv      portrait and truth through the same filter: painting, drawing, statue, cartoon
    identity.csv   relative and absolute mode: distance of dlib's embedding of the result to that of the true
                   image of the portrait's person, and to the driver (extra `faces`)
    jitter.csv     a driver that stands still, with the noise of a sensor: how far keypoints shake, and the
                   result, without smoothing and with `smooth` 2
    failures.jpg   six failures, a row each: portrait, driving frame, result, true result (python -m
                   experiments.limits failures)
    regions.csv    L1 in eyes, mouth, the outline of the head and the rest of the face: of the model, and of
                   an image that moves the head rightly and freezes the face; `sharpness` of the model's
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from experiments.known_pairs import (
    DRIVERS,
    FPS,
    MEASURED,
    SIDE,
    driver,
    frame_head,
    make_pair,
    portrait_clip,
    relative_posture,
    stack,
    with_bar,
)
from fomm_lib.animation.animator import Animator
from fomm_lib.animation.fast import FastModel
from fomm_lib.animation.movement import smoothed
from fomm_lib.data.tables import write_cells
from fomm_lib.evaluation.page import write_page
from fomm_lib.evaluation.true_motion import end_point_error
from fomm_lib.geometry import resize_flow, to_pixels
from fomm_lib.media.faces import read_faces
from fomm_lib.media.tensors import to_tensor
from fomm_lib.model import load_model
from fomm_lib.synthetic.anatomy import Part
from fomm_lib.synthetic.clip import SyntheticClip

SEED, PEOPLE = 4, 6
DEGREES = (0, 10, 20, 30, 40, 50)
Rows = list[list]


def frontal(number: int, angles: tuple[float, ...]) -> SyntheticClip:
    """A driver that looks into the camera, then turns by each angle (degrees of yaw)."""
    start = SyntheticClip(SEED, DRIVERS + number, 1, SIDE, fps=FPS).motion[0]
    postures = [
        replace(start, head=np.deg2rad([0.0, angle, 0.0]), sway=np.zeros(6)) for angle in (0, *angles)
    ]
    clip = SyntheticClip(SEED, DRIVERS + number, len(postures), SIDE, fps=FPS, motion=stack(postures))
    frame_head(clip)
    return clip


def images_of(frames: list[np.ndarray]) -> Tensor:
    """(T, 3, H, W)."""
    return torch.stack([to_tensor(frame) for frame in frames])


def scores(generated, truth: SyntheticClip, i: int, change: Callable | None = None) -> dict[str, float]:
    """The errors of generated image i against frame i of the truth; `change` is a filter of images."""
    motion = truth.true_motion(0, i)
    true = truth.frame(i)
    true = to_tensor(true if change is None else change(true))
    flow = resize_flow(generated.deformation, SIDE, SIDE)[i]
    off = (generated.prediction[i] - true).abs().mean(dim=0)
    hidden = motion.surface & ~motion.visible
    return {
        "epe": end_point_error(flow, motion.flow, motion.visible & motion.surface),
        "l1": float(off[motion.surface].mean()),
        "hidden": float(hidden.sum() / motion.surface.sum()),
        "l1_hidden": float(off[hidden].mean()) if hidden.any() else float("nan"),
    }


def known(person: int) -> tuple[SyntheticClip, list[np.ndarray], SyntheticClip]:
    """A driving clip, its frames 0 and `MEASURED`, and the true results: frame 0 of them is the portrait."""
    clip, frames = driver(SEED, person)
    return clip, [frames[k] for k in (0, *MEASURED)], portrait_clip(SEED, person, clip)


def number(value: float, digits: int = 4) -> str:
    """For a table."""
    return "" if np.isnan(value) else f"{value:.{digits}g}"


def mean_cells(found: list[dict[str, float]], keys: list[str]) -> list[str]:
    """The mean of each number over frames; without those of which it cannot be measured."""
    return [number(np.nanmean([one[key] for one in found])) for key in keys]


def angle(model) -> Rows:
    """Error against the driving head's angle."""
    rows = [["person", "degrees", "epe", "l1", "hidden", "l1_hidden"]]
    for person in range(PEOPLE):
        moving = frontal(person, DEGREES[1:])
        later = [moving.motion[k] for k in range(len(moving))]
        truth = portrait_clip(SEED, person, moving, later[1:])
        generated = Animator(model, truth.frame(0))(images_of(list(moving)))
        for i, degrees in enumerate(DEGREES):
            found = scores(generated, truth, i)
            rows.append([person, degrees, *(number(found[key]) for key in rows[0][2:])])
    return rows


def pose(model) -> Rows:
    """Error against the distance of the two first poses; the driver turns by 20 degrees."""
    rows = [["person", "degrees", "epe", "l1"]]
    for person in range(PEOPLE):
        moving = frontal(person, (-20.0, 20.0))
        images = images_of(list(moving))
        for degrees in DEGREES:
            later = [moving.motion[1], moving.motion[2]]
            truth = portrait_clip(SEED, person, moving, later, turned=(float(degrees), 0.0))
            generated = Animator(model, truth.frame(0))(images)
            found = [scores(generated, truth, i) for i in (1, 2)]
            rows.append([person, degrees, *mean_cells(found, rows[0][2:])])
    return rows


def occluder(model) -> Rows:
    """Error against the height of a bar before the driving face."""
    rows = [["person", "share", "epe", "l1"]]
    for person in range(PEOPLE):
        clip, frames = driver(SEED, person)
        truth = portrait_clip(SEED, person, clip)
        animator = Animator(model, truth.frame(0))
        for share in (0.0, 0.15, 0.3, 0.45, 0.6):
            covered = with_bar(np.random.default_rng([SEED, person]), frames, share) if share else frames
            animator.set_reference(None)
            generated = animator(images_of([covered[k] for k in (0, *MEASURED)]))
            found = [scores(generated, truth, i + 1) for i in range(len(MEASURED))]
            rows.append([person, share, *mean_cells(found, rows[0][2:])])
    return rows


def glasses(model) -> Rows:
    """The same person without and with glasses."""
    rows = [["person", "glasses", "epe", "l1", "l1_eyes"]]
    for person in range(PEOPLE):
        for worn in (False, True):
            _, frames, truth = known(person)
            parts = set(truth.person.parts) - {Part.FRAME, Part.LENS} | ({Part.FRAME} if worn else set())
            truth.person = replace(truth.person, parts=tuple(sorted(parts)))
            generated = Animator(model, truth.frame(0))(images_of(frames))
            found = []
            for i in range(1, len(frames)):
                eyes = box_of(truth, i, slice(36, 48), 0.3)
                off = (generated.prediction[i] - to_tensor(truth.frame(i))).abs().mean(dim=0)
                found.append(scores(generated, truth, i) | {"l1_eyes": float(off[eyes].mean())})
            rows.append([person, "yes" if worn else "no", *mean_cells(found, rows[0][2:])])
    return rows


def box_of(truth: SyntheticClip, i: int, points: slice, margin: float) -> tuple[slice, slice]:
    """The box around landmarks of frame i, larger by a share of its width on each side."""
    xy = to_pixels(truth.landmarks(i)[points].double(), SIDE, SIDE).numpy()
    low, high = xy.min(axis=0), xy.max(axis=0)
    room = margin * (high[0] - low[0]) * 0.5
    low, high = (low - room).clip(0, SIDE - 2), (high + room).clip(1, SIDE - 1)
    (left, top), (right, bottom) = low.astype(int), np.ceil(high).astype(int) + 1
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


# --- style ---------------------------------------------------------------------------------------------


def grey_of(image: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1]."""
    return image.astype(float) @ np.array([0.299, 0.587, 0.114]) / 255


def as_bytes(image: np.ndarray) -> np.ndarray:
    """[0, 1], grey or in colours, to uint8 in colours."""
    image = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def painting(image: np.ndarray, radius: int = 3) -> np.ndarray:
    """Strokes of a brush, by Kuwahara's filter: of four squares at a pixel the mean of the most even one."""
    colours = image.astype(float) / 255
    grey = grey_of(image)
    size, shift = radius + 1, radius / 2
    mean = np.stack([ndimage.uniform_filter(colours[..., c], size) for c in range(3)], axis=-1)
    spread = ndimage.uniform_filter(grey**2, size) - ndimage.uniform_filter(grey, size) ** 2
    step, best, result = round(shift), None, mean
    for dy in (-step, step):
        for dx in (-step, step):
            there, its = np.roll(mean, (dy, dx), (0, 1)), np.roll(spread, (dy, dx), (0, 1))
            if best is None:
                best, result = its, there
            else:
                result = np.where((its < best)[..., None], there, result)
                best = np.minimum(best, its)
    return as_bytes((result - 0.5) * 1.15 + 0.5)


def drawing(image: np.ndarray) -> np.ndarray:
    """Pencil lines on white paper: a grey image divided by itself, blurred."""
    grey = grey_of(image)
    return as_bytes(np.clip(grey / (ndimage.gaussian_filter(grey, 4) + 0.02), 0, 1) ** 3)


def statue(image: np.ndarray) -> np.ndarray:
    """White stone: bright grey, little contrast, smooth; irises and brows fade."""
    grey = ndimage.gaussian_filter(grey_of(image), 0.8)
    return as_bytes((0.3 + 0.8 * grey)[..., None] * np.array([0.97, 0.95, 0.9]))


def cartoon(image: np.ndarray) -> np.ndarray:
    """Four levels of each colour, and dark outlines."""
    smooth = np.stack([ndimage.median_filter(image[..., c], 5) for c in range(3)], axis=-1) / 255.0
    edges = ndimage.gaussian_gradient_magnitude(grey_of(image), 1.0) > 0.07
    return as_bytes(np.where(edges[..., None], 0.1, np.floor(smooth * 4) / 4 + 0.125))


STYLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "photograph": lambda image: image,
    "painting": painting,
    "cartoon": cartoon,
    "statue": statue,
    "drawing": drawing,
}


def style(model) -> Rows:
    """Portraits that look like something else; the driver stays a rendered head."""
    rows = [["person", "style", "epe", "l1"]]
    for person in range(PEOPLE):
        _, frames, truth = known(person)
        images, still = images_of(frames), truth.frame(0)
        for name, change in STYLES.items():
            generated = Animator(model, change(still))(images)
            found = [scores(generated, truth, i, change) for i in range(1, len(images))]
            rows.append([person, name, *mean_cells(found, rows[0][2:])])
    return rows


# --- identity, jitter, regions --------------------------------------------------------------------------


def identity(model) -> Rows:
    """Whose face it is, by mode."""
    rows = [["person", "mode", "to_portrait", "to_driver", "epe"]]
    for person in range(PEOPLE):
        _, frames, truth = known(person)
        images = images_of(frames)
        true = images_of([truth.frame(i) for i in range(len(images))])
        whose = {"portrait": read_faces(true).identity, "driver": read_faces(images).identity}
        for mode in ("relative", "absolute"):
            generated = Animator(model, truth.frame(0), relative=mode == "relative")(images)
            made = read_faces(generated.prediction[1:].clamp(0, 1)).identity
            far = [np.nanmean(np.linalg.norm(made - other[1:], axis=1)) for other in whose.values()]
            epe = np.nanmean([scores(generated, truth, i)["epe"] for i in range(1, len(images))])
            rows.append([person, mode, *(number(float(value)) for value in (*far, epe))])
    return rows


def jitter(model) -> Rows:
    """A driver that stands still, with noise."""
    rows = [["person", "noise", "smooth", "keypoints", "image"]]
    for person in range(PEOPLE):
        _, frames, truth = known(person)
        animator = Animator(model, truth.frame(0))
        for noise in (0, 4, 12):
            rng = np.random.default_rng([SEED, person, noise])
            still = [np.clip(frames[0] + rng.normal(0, noise, frames[0].shape), 0, 255) for _ in range(8)]
            images = images_of([image.astype(np.uint8) for image in still])
            detected = animator.detect(images)
            for smooth in (0, 2):
                parts = [(detected[k : k + 1], None) for k in range(len(images))]
                points = torch.cat([kp.value for kp, _ in smoothed(parts, smooth)])
                second = (points[:-2] - 2 * points[1:-1] + points[2:]).norm(dim=-1)
                animator.set_reference(None)
                made = torch.cat(
                    [animator.generate(animator.move(kp)).prediction for kp, _ in smoothed(parts, smooth)]
                )
                shake = (made[1:] - made[:-1]).abs().mean()
                rows.append(
                    [person, noise, smooth, number(float(second.mean()) * SIDE), number(float(shake))]
                )
    return rows


def regions(model) -> Rows:
    """L1 by part of the face, of the model and of a frozen face that moves rightly."""
    rows = [["person", "region", "model", "frozen_face", "sharpness"]]
    for person in range(PEOPLE):
        clip, frames, truth = known(person)
        images = images_of(frames)
        generated = Animator(model, truth.frame(0))(images)
        frozen = frozen_face(truth, person, clip)
        found: dict[str, list] = {}
        for i in range(1, len(images)):
            true = to_tensor(truth.frame(i))
            off = {
                "model": (generated.prediction[i] - true).abs().mean(dim=0),
                "frozen_face": (to_tensor(frozen.frame(i)) - true).abs().mean(dim=0),
            }
            detail = [ndimage.laplace(grey_of(as_bytes(x.permute(1, 2, 0).numpy()))) ** 2
                      for x in (generated.prediction[i], true)]  # fmt: skip
            for name, mask in masks_of(truth, i).items():
                sharp = float(np.sqrt(detail[0][mask].mean() / max(detail[1][mask].mean(), 1e-9)))
                values = [float(image[torch.from_numpy(mask)].mean()) for image in off.values()]
                found.setdefault(name, []).append([*values, sharp])
        for name, values in found.items():
            rows.append([person, name, *(number(float(value)) for value in np.mean(values, axis=0))])
    return rows


def frozen_face(truth: SyntheticClip, person: int, moving: SyntheticClip) -> SyntheticClip:
    """The truth, but with the expression and gaze of the portrait throughout."""
    start = truth.motion[0]
    first = moving.motion[0]
    later = [relative_posture(start, first, moving.motion[k]) for k in MEASURED]
    frozen = [start, *(replace(one, actions=start.actions, gaze=start.gaze) for one in later)]
    clip = SyntheticClip(SEED, person, len(frozen), SIDE, fps=FPS, motion=stack(frozen), scene=truth.scene)
    clip.uniforms = truth.uniforms
    return clip


def masks_of(truth: SyntheticClip, i: int) -> dict[str, np.ndarray]:
    """(H, W) bool of each region in frame i."""
    result = {}
    for name, points in {"eyes": slice(36, 48), "mouth": slice(48, 68)}.items():
        mask = np.zeros((SIDE, SIDE), bool)
        mask[box_of(truth, i, points, 0.25)] = True
        result[name] = mask
    surface = truth.places(i)[..., 3].numpy() > 0
    inside = ndimage.binary_erosion(surface, iterations=3, border_value=1)
    result["outline"] = ndimage.binary_dilation(surface, iterations=3) & ~inside
    face = np.zeros((SIDE, SIDE), bool)
    face[box_of(truth, i, slice(0, 68), 0.0)] = True
    result["rest of the face"] = face & inside & ~result["eyes"] & ~result["mouth"]
    return result


FAILURES = (
    "a turn of 50 degrees",
    "pose",
    "something before the driving face",
    "several faces in the driving video",
    "driving video cut off",
    "a drawing",
)
"""The rows of failures.jpg."""


def failures(model) -> np.ndarray:
    """uint8 (6 x 128, 4 x 128, 3): portrait, driving frame, result, true result."""
    rows = []
    for number, kind in enumerate(FAILURES):
        if kind == "a turn of 50 degrees":
            moving = frontal(2, (50.0,))
            truth = portrait_clip(SEED, 2, moving, [moving.motion[1]])
            frames, still, i, true = list(moving), truth.frame(0), 1, truth.frame(1)
        elif kind == "a drawing":
            _, frames, truth = known(0)
            still = drawing(truth.frame(0))
            i, true = 3, drawing(truth.frame(3))
        else:
            pair = make_pair(SEED, number, kind)
            side, width = pair.driving[0].shape[0], pair.driving[0].shape[1]
            left = (width - side) // 2
            frames = [pair.driving[k][:, left : left + side] for k in (0, *MEASURED)]
            still, i, true = pair.portrait, 3, pair.truth.frame(3)
        made = Animator(model, still)(images_of(frames)).prediction[i]
        rows.append(np.concatenate([still, frames[i], as_bytes(made.permute(1, 2, 0).numpy()), true], axis=1))
    return np.concatenate(rows)


TABLES = {
    table.__name__: table for table in (angle, pose, occluder, glasses, style, identity, jitter, regions)
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tables", nargs="*", default=[*TABLES, "failures"])
    parser.add_argument("--out", type=Path, default=Path("data/limits"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = FastModel(load_model("heads-128", device="cpu"))
    for name in options.tables:
        if name == "failures":
            with torch.inference_mode():
                write_page(failures(model), options.out / "failures.jpg", overwrite=True)
            continue
        with torch.inference_mode():
            write_cells(options.out / f"{name}.csv", TABLES[name](model), overwrite=True)
        print(name, flush=True)


if __name__ == "__main__":
    main()
