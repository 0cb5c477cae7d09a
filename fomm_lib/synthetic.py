"""Synthetic talking heads: people who do not exist, rendered, with the true motion of every pixel.

A network that shall animate photographs can be trained on heads for which nobody had to be filmed, and judged
against truth that no film has: where each pixel came from, what was hidden, where the landmarks lie.

    synthesize("heads", clips=200, frames=24, size=128, seed=0)    # a folder of videos to train on

    clip = SyntheticClip(seed=0, number=3, frames=48, size=128)    # or one clip, frame by frame
    clip.frame(10)                                                 # uint8 (128, 128, 3)
    truth = clip.true_motion(source=0, driving=10)                 # truth.flow, truth.visible
    clip.landmarks(10), clip.head_pose(10)                         # (68, 2); rotation and translation

Everything about a clip is drawn from random numbers that depend on `(seed, number)`, so that any clip can be
made again by itself, by any number of processes. The head is MakeHuman's (CC0; `synthetic_anatomy`), pictures
are drawn by OpenGL (`synthetic_render`). Needs the extra `synthetic` and a system with EGL.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from fomm_lib.files import InputError, atomic_output
from fomm_lib.geometry import coordinate_grid, from_pixels
from fomm_lib.synthetic_anatomy import (
    AGES,
    BONES,
    ETHNICITIES,
    FRAME,
    HAIR,
    LANDMARKS,
    LENS,
    PARTS,
    Anatomy,
    Body,
    Posture,
    data_folder,
    glasses_points,
    head_transform,
    load_anatomy,
    load_surfaces,
    pose,
)
from fomm_lib.synthetic_render import Renderer, Scene, any_colour, linear, sample_scene
from fomm_lib.video import VideoWriter

# --- People ------------------------------------------------------------------------------------------------

# Colours as screens show them (sRGB, 0 to 255).
_SKINS = [
    (244, 209, 190), (237, 191, 164), (225, 172, 140), (209, 154, 118),
    (185, 129, 93), (150, 99, 70), (112, 73, 52), (78, 50, 37),
]  # fmt: skip
_HAIRS = {
    "dark": [(22, 18, 17), (25, 20, 18), (38, 27, 22), (62, 42, 30)],
    "fair": [
        (38, 27, 22), (62, 42, 30), (92, 62, 42), (128, 92, 60),
        (176, 138, 92), (214, 184, 138), (150, 70, 40),
    ],
    "grey": [(128, 126, 124), (188, 186, 182), (226, 224, 220)],
}  # fmt: skip
_IRISES = [
    (60, 38, 24), (84, 54, 32), (110, 78, 44), (96, 104, 60),
    (92, 120, 110), (96, 130, 160), (70, 96, 128), (120, 130, 140),
]  # fmt: skip


@dataclass(frozen=True)
class Person:
    """One random person: what stays the same in a clip.

    Attributes:
        body: the shape.
        parts: numbers of the parts to draw (no hair on a bald head, no glasses on most).
        aux: (V, 4) as in `Surfaces`, with the way along this person's hair.
        uniforms: what the shaders want to know: colours, and sizes of brows, beard, freckles, patterns.
    """

    body: Body
    parts: tuple[int, ...]
    aux: np.ndarray
    uniforms: dict[str, Any]


def sample_person(rng: np.random.Generator) -> Person:
    """Draw a person: sex, age, ancestry, features, skin, hair, beard, make-up, glasses, clothes."""
    anatomy = load_anatomy()
    male = rng.beta(0.35, 0.35)  # 0: a woman, 1: a man; most are near one end
    old = 0.0 if rng.uniform() < 0.45 else rng.beta(1.2, 1.6)
    child = rng.uniform(0.3, 0.9) if rng.uniform() < 0.07 else 0.0
    age = {"child": child, "young": (1 - child) * (1 - old), "old": (1 - child) * old}
    ancestry = dict(zip(ETHNICITIES, rng.dirichlet([0.45, 0.45, 0.55]), strict=True))
    neutral = anatomy.vertices + _phenotype(anatomy, rng, male, age, ancestry) + _features(anatomy, rng)
    neutral = _lower_arms(anatomy, neutral, np.deg2rad(rng.uniform(12, 32))).astype(np.float32)
    head = anatomy.weights[:, BONES.index("head")] > 0.9
    scale = np.ptp(neutral[head, 1]) / np.ptp(anatomy.vertices[head, 1])

    man = bool(male > 0.5)
    uniforms: dict[str, Any] = {"seed": rng.uniform(0, 31)}
    _skin(rng, uniforms, man, age["old"], ancestry)
    hair = _hair_colour(rng, age["old"], ancestry)
    uniforms["hair"] = linear(hair)
    uniforms["hair_tip"] = linear(hair * rng.uniform(0.85, 1.35))
    _brows_and_beard(rng, uniforms, man and not child, hair)
    _eyes_and_teeth(rng, uniforms, man, age["old"], ancestry)
    offset, stiff, aux, has_hair = _hairstyle(rng, uniforms, man, age["old"], ancestry)
    thickness = _clothes(rng, uniforms)
    glasses, missing = _glasses(rng, uniforms)
    missing |= set() if has_hair else {HAIR}
    if uniforms["hair_shape"][1]:
        neutral = _press_ears(anatomy, neutral)
    body = Body(neutral, float(scale), offset * np.float32(scale), stiff, thickness, glasses)
    return Person(body, tuple(sorted(set(range(len(PARTS))) - missing)), aux, uniforms)


def _between(palette: list, place: float) -> np.ndarray:
    """The colour at a place (0: the first, 1: the second, ...) along a palette."""
    columns = np.array(palette, float).T
    return np.array([np.interp(place, range(len(palette)), column) for column in columns])


def _phenotype(anatomy: Anatomy, rng, male: float, age: dict, ancestry: dict) -> np.ndarray:
    """MakeHuman's own mixture: offsets of sex x age x ancestry, and of sex x age x muscle x weight."""

    def levels(mean: float) -> dict[str, float]:
        value = np.clip(rng.normal(mean, 0.5), -1, 1)
        return {"min": max(-value, 0.0), "average": 1 - abs(value), "max": max(value, 0.0)}

    muscle, weight = levels(0.0), levels(0.1)
    offsets = np.zeros_like(anatomy.vertices)
    for sex, of_sex in (("female", 1 - male), ("male", male)):
        for years in AGES:
            share = of_sex * age[years]
            for ethnicity, part in ancestry.items():
                offsets += np.float32(share * part) * anatomy.shapes[f"{ethnicity}-{sex}-{years}"]
            for m, of_muscle in muscle.items():
                for w, of_weight in weight.items():
                    name = f"universal-{sex}-{years}-{m}muscle-{w}weight"
                    offsets += np.float32(share * of_muscle * of_weight) * anatomy.shapes[name]
    return offsets


_OPPOSITE = {
    "incr": "decr",
    "up": "down",
    "out": "in",
    "forward": "backward",
    "convex": "concave",
    "uncompress": "compress",
}
# Shapes that move the head off the neck, make ears of elves, or that other numbers stand for.
_NOT_USED = (
    "head-trans", "head-angle", "head-age", "ear-shape", "mouth-trans-in", "mouth-trans-out", "nose-trans-in",
    "nose-trans-out", "measure", "neck-trans", "neck-scale", "neck-height", "neck-back",
)  # fmt: skip


def _features(anatomy: Anatomy, rng) -> np.ndarray:
    """Random nose, eyes, mouth, ...: the same on both sides but for a little asymmetry."""
    offsets = np.zeros_like(anatomy.vertices)
    other = ("universal", *ETHNICITIES, "r-")
    for name in sorted(anatomy.shapes):
        stem, _, ending = name.rpartition("-")
        if name.startswith(other) or any(word in name for word in _NOT_USED) or ending in _OPPOSITE.values():
            continue
        weak = "trans" in name or "push" in name or name.startswith("head")
        value = np.clip(rng.normal(0, 0.16 if weak else 0.27), -1, 1)
        skew = rng.normal(0, 0.06)
        for side in ("l-", "r-") if name.startswith("l-") else ("",):
            amount = value + skew * (side == "l-")
            chosen = f"{stem}-{_OPPOSITE[ending]}" if ending in _OPPOSITE and amount < 0 else name
            chosen = side + chosen.removeprefix("l-")
            strength = abs(amount) if ending in _OPPOSITE else 0.7 * abs(amount)
            offsets += np.float32(strength) * anatomy.shapes[chosen]
    return offsets


def _lower_arms(anatomy: Anatomy, vertices: np.ndarray, angle: float) -> np.ndarray:
    """The mesh holds its arms out; let them hang."""
    result = vertices.copy()
    for side, sign in (("l", 1), ("r", -1)):
        weight = anatomy.weights[:, BONES.index("arm." + side.upper()), None]
        pivot = vertices[anatomy.joints[f"joint-{side}-shoulder"]].mean(axis=0)
        c, s = np.cos(angle), sign * np.sin(angle)
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32)
        result += weight * ((vertices - pivot) @ turn.T + pivot - vertices)
    return result


def _press_ears(anatomy: Anatomy, vertices: np.ndarray) -> np.ndarray:
    """Hanging hair covers the ears and presses them to the head."""
    x, y, z = anatomy.vertices.T
    ear = (np.abs(x) > 0.7) & (y > 6.7) & (y < 7.85) & (z > 0.15) & (z < 0.9)
    result = vertices.copy()
    result[ear, 0] -= 0.85 * np.sign(x[ear]) * (np.abs(x[ear]) - 0.7)
    return result


def _skin(rng, uniforms: dict, man: bool, old: float, ancestry: dict) -> None:
    mean = 6.3 * ancestry["african"] + 2.2 * ancestry["asian"] + 0.9 * ancestry["caucasian"]
    tone = np.clip(mean + rng.normal(0, 0.9), 0, 6.9)
    skin = _between(_SKINS, tone) * rng.normal(1, 0.02, 3)
    uniforms["skin"] = linear(skin)
    uniforms["blush"] = np.array([1.0, 0.62, 0.58]) + rng.uniform(-0.1, 0.15) * np.array([0, 1, 1])
    painted = not man and rng.uniform() < 0.4
    lips = skin * np.array([0.82, 0.58, 0.58]) * rng.uniform(0.9, 1.12)
    if painted:
        red = [rng.uniform(120, 215), rng.uniform(20, 90), rng.uniform(40, 100)]
        lips = np.array(red) * rng.uniform(0.7, 1.05)
    uniforms["lips"] = linear(lips)
    freckles = rng.uniform(0.3, 1) * (rng.uniform() < 0.2 and tone < 4)
    wrinkles = np.clip(1.3 * old + rng.uniform(0, 0.25), 0, 1)
    uniforms["skin_detail"] = rng.uniform(0.08, 0.5), freckles, wrinkles, rng.uniform(0.1, 0.7)
    eye_shadow = rng.uniform(0.2, 0.9) if painted else rng.uniform(0, 0.25)
    liner = rng.uniform(0.3, 1) if painted else 0.1
    uniforms["make_up"] = eye_shadow, liner, rng.uniform(0, 0.5) + 0.4 * old, rng.uniform(0.05, 0.6)


def _hair_colour(rng, old: float, ancestry: dict) -> np.ndarray:
    if rng.uniform() < np.clip(1.4 * old - 0.2, 0, 0.85):
        palette = _HAIRS["grey"]
    else:
        palette = _HAIRS["fair" if rng.uniform() < ancestry["caucasian"] else "dark"]
    colour = np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.8, 1.2) + rng.normal(0, 4, 3)
    dyed = rng.uniform() < 0.03
    return np.clip(any_colour(rng) if dyed else colour, 8, 240)


def _brows_and_beard(rng, uniforms: dict, grows_beard: bool, hair: np.ndarray) -> None:
    uniforms["brow"] = linear(np.clip(hair * rng.uniform(0.5, 0.9), 12, 150))
    uniforms["beard"] = linear(np.clip(hair * rng.uniform(0.6, 0.95), 12, 235))
    thickness = rng.uniform(0.032, 0.06) + 0.012 * grows_beard
    uniforms["brow_shape"] = thickness, rng.uniform(0, 0.22), rng.uniform(0.55, 1), rng.uniform(0.09, 0.16)
    stubble, full = rng.uniform(0.15, 0.4), rng.uniform(0.6, 0.95)
    styles = [(0, 0), (stubble, stubble), (full, full), (0, 0.9), (0.15, 0.85)]
    style = rng.choice(5, p=[0.4, 0.3, 0.18, 0.06, 0.06]) if grows_beard else 0
    uniforms["beard_shape"] = (*styles[style], rng.uniform(6.55, 7.0), rng.uniform(0.3, 0.9))


def _eyes_and_teeth(rng, uniforms: dict, man: bool, old: float, ancestry: dict) -> None:
    light = rng.uniform() < 0.8 * ancestry["caucasian"]
    place = rng.uniform(2.5, 7) if light else rng.uniform(0, 1.8)
    uniforms["iris"] = linear(_between(_IRISES, place) * rng.uniform(0.8, 1.25))
    iris, pupil = rng.uniform(0.42, 0.5), rng.uniform(0.13, 0.22)
    uniforms["eye_detail"] = iris, pupil, rng.uniform(0, 0.8), rng.uniform(0.85, 1.1)
    uniforms["lash_density"] = rng.uniform(0.05, 0.25) if man else rng.uniform(0.15, 0.6)
    uniforms["teeth_tone"] = rng.beta(1.5, 3) + 0.3 * old


_STYLES = ("bald", "buzz", "short", "bob", "long", "afro")


def _hairstyle(
    rng, uniforms: dict, man: bool, old: float, ancestry: dict
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Where hair grows (uniforms), how thick it lies, how far it hangs; see `Body` and `Surfaces`."""
    surfaces = load_surfaces()
    style = rng.choice(
        _STYLES, p=[0.07, 0.13, 0.46, 0.1, 0.14, 0.1] if man else [0.01, 0.03, 0.2, 0.28, 0.42, 0.06]
    )
    if style == "afro" and ancestry["african"] < 0.3 and rng.uniform() < 0.7:
        style = "short"
    bare, hangs = style in ("bald", "buzz"), style in ("bob", "long")
    receding = rng.uniform(0, 0.35) if man and rng.uniform() < 0.2 + 0.5 * old else 0.0
    line = rng.uniform(7.86, 8.0) + 0.4 * receding
    slope = rng.uniform(0.42, 0.58)
    opening = np.deg2rad(rng.uniform(48, 80))
    fringe = rng.uniform(0.1, 0.45) * (
        not bare and style != "afro" and rng.uniform() < (0.3 if man else 0.45)
    )
    fringe_angle = rng.uniform(0.6, 1.2)
    waves = 4.0 if style == "afro" else rng.choice([0, 0.5, 1.5, 3])
    uniforms["hairline"] = line, slope, rng.uniform(-0.12, 0.06) + receding, 0.0
    uniforms["hair_shape"] = opening, float(hangs), fringe, fringe_angle
    uniforms["hair_strand"] = waves, rng.uniform(18, 60), rng.uniform(0.06, 0.2), rng.uniform(-0.6, 0.6)
    covered = {"bald": rng.uniform(0, 0.12), "buzz": rng.uniform(0.5, 0.95)}.get(style, 0.95)
    uniforms["scalp_paint"] = (
        covered,
        rng.uniform(0.02, 0.07),
        rng.uniform(0.2, 0.7) if style == "buzz" else 0.1,
        0.0,
    )

    aux = surfaces.aux.copy()
    hair_aux = aux[surfaces.span(HAIR)].reshape(surfaces.hair_aux.shape)
    angle, elevation = hair_aux[..., 0], hair_aux[..., 2]
    thickness = _hair_thickness(rng, style, angle, elevation)
    # Towards the rim hair lies on the skin.
    place = surfaces.hair_canonical
    inside = 0.75 * (place[..., 1] - line - slope * (place[..., 2] - 1.35)) + fringe * (
        np.abs(angle) < fringe_angle
    )
    if hangs:
        inside = np.maximum(inside, 0.8 * (np.abs(angle) - opening))
    thickness = np.maximum(np.maximum(thickness, 0.02) * np.clip(0.15 + inside / 0.45, 0.1, 1), 0.025)
    offset = surfaces.hair_outward * thickness[..., None]

    # What hangs: the rows below the skull, which all start where its lowest row lies.
    length = {"bob": rng.uniform(0.35, 1.0), "long": rng.uniform(0.8, 2.6)}.get(style, 0.0)
    hanging = np.flatnonzero((place == place[-1]).all(axis=(1, 2)))[1:]
    first = hanging[0]
    drop = np.linspace(0, 1, len(hanging) + 1)[1:, None] * length
    flare = rng.uniform(-0.12, 0.25) if style == "bob" else rng.uniform(-0.08, 0.15)
    neck = (
        0.12 * (np.abs(angle[hanging]) > 1.9) * np.minimum(drop, 1.0)
    )  # at the back it falls close to the neck
    curl = 0.012 * waves * np.sin(14 * drop + 3 * angle[hanging])
    outward = flare * np.minimum(drop, 1.2) + curl - neck
    offset[hanging] = offset[first - 1] + surfaces.hair_outward[hanging] * outward[..., None]
    offset[hanging, :, 1] -= drop
    way = np.concatenate([np.linspace(0, 1.9, first), 1.9 + np.maximum(drop[:, 0], 0.01)])
    hair_aux[..., 1] = (way / way[-1])[:, None]
    aux[surfaces.span(HAIR)] = hair_aux.reshape(-1, 4)
    stiff = np.concatenate([np.ones(first), np.clip(1 - 0.5 * (drop[:, 0] - 0.2), 0.15, 1)])
    return offset.astype(np.float32), stiff.astype(np.float32), aux, not bare


def _hair_thickness(rng, style: str, angle: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Thickness over the skull in dm: more on top than at the sides, lopsided, bumpy, at times a quiff."""
    puff = rng.uniform(0.3, 0.9)
    top, side = {
        "short": (rng.uniform(0.08, 0.45), rng.uniform(0.03, 0.16)),
        "bob": (rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.35)),
        "long": (rng.uniform(0.08, 0.25), rng.uniform(0.12, 0.35)),
        "afro": (puff, puff),
    }.get(style, (0.0, 0.0))
    up = np.clip(np.sin(elevation), 0, 1)
    thickness = (side + (top - side) * up**0.8) * (
        1 + rng.uniform(-0.4, 0.4) * np.sin(angle + rng.uniform(-1, 1)) * up
    )
    bumps = [
        np.cos(rng.integers(1, 6) * angle + rng.uniform(0, 6.3))
        * np.cos(rng.uniform(3, 27) * elevation + rng.uniform(0, 6.3))
        for _ in range(5)
    ]
    thickness = thickness + 0.12 * (top + side) * np.mean(bumps, axis=0)
    quiff = rng.uniform(0.1, 0.3) * (style in ("short", "long") and rng.uniform() < 0.15)
    return thickness + quiff * np.exp(-((angle / 0.6) ** 2) - ((elevation - 0.9) / 0.35) ** 2)


def _clothes(rng, uniforms: dict) -> float:
    jacket = rng.uniform() < 0.35
    uniforms["cloth"] = linear(any_colour(rng, 8, 120 if jacket else 235))
    uniforms["cloth_second"] = linear(any_colour(rng))
    uniforms["shirt"] = linear(any_colour(rng, 170, 250) if rng.uniform() < 0.8 else any_colour(rng))
    collar = rng.uniform(5.5, 5.8) if jacket else rng.uniform(5.25, 5.65)
    v_neck = rng.uniform(0.2, 0.9) * (not jacket and rng.uniform() < 0.35)
    uniforms["neckline"] = collar, rng.uniform(5.65, 6.05), v_neck, rng.uniform(0.3, 0.7)
    pattern = 0 if rng.uniform() < 0.5 else rng.integers(1, 6)
    tie = float(rng.uniform() < 0.6)
    uniforms["cloth_detail"] = float(pattern), rng.uniform(2, 9), rng.uniform(0.3, 0.6) * jacket, tie
    return float(rng.uniform(0.04, 0.1))


def _glasses(rng, uniforms: dict) -> tuple[np.ndarray, set[int]]:
    """A pair of glasses, and the parts that are missing: one in six wears some, a few of them dark ones."""
    wire = rng.choice([0.009, 0.014, 0.022])
    points = glasses_points(rng.uniform(0.2, 0.26), rng.uniform(0.13, 0.2), rng.uniform(2, 4.5), wire)
    grey = np.full(3, rng.uniform(5, 60))
    coloured = grey + rng.uniform(40, 120) * np.array([1.0, 0.75, 0.45])
    uniforms["rim"] = linear(coloured if rng.uniform() < 0.3 else grey)
    wears = rng.uniform()
    return points, set() if wears < 0.02 else {LENS} if wears < 0.17 else {FRAME, LENS}


# --- Motion ------------------------------------------------------------------------------------------------

# What the mouth does for sounds (a, o, u, e, m, f, t) and the face for moods: facial actions and strengths.
# A name without Left or Right stands for both.
_SOUNDS = [
    {"jawOpen": 0.5, "mouthLowerDown": 0.4, "mouthUpperUp": 0.25},
    {"jawOpen": 0.35, "mouthFunnel": 0.7, "mouthPucker": 0.25},
    {"jawOpen": 0.12, "mouthPucker": 0.8, "mouthFunnel": 0.3},
    {"jawOpen": 0.22, "mouthStretch": 0.5, "mouthSmile": 0.25, "mouthLowerDown": 0.45, "mouthUpperUp": 0.3},
    {"mouthPress": 0.5, "mouthRollLower": 0.3, "mouthRollUpper": 0.3},
    {"jawOpen": 0.12, "mouthRollLower": 0.5, "mouthUpperUp": 0.45},
    {"jawOpen": 0.2, "mouthLowerDown": 0.5, "mouthUpperUp": 0.35, "mouthShrugUpper": 0.2},
]
_MOODS = [
    {"mouthSmile": 0.8, "cheekSquint": 0.5, "mouthDimple": 0.2, "eyeSquint": 0.3},
    {"mouthSmile": 0.9, "cheekSquint": 0.7, "jawOpen": 0.3, "mouthUpperUp": 0.5, "mouthLowerDown": 0.3},
    {"mouthSmile": 0.7, "mouthUpperUp": 0.45, "mouthLowerDown": 0.35, "mouthStretch": 0.2},
    {"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.8, "jawOpen": 0.3},
    {"browInnerUp": 0.6, "browOuterUp": 0.7},
    {"browDown": 0.9, "eyeSquint": 0.5, "mouthPress": 0.4, "noseSneer": 0.3},
    {"browInnerUp": 0.8, "mouthFrown": 0.7, "mouthShrugLower": 0.5},
    {"noseSneer": 0.9, "mouthUpperUp": 0.6, "browDown": 0.6, "eyeSquint": 0.5},
    {"mouthPucker": 0.9},
    {"cheekPuff": 0.8, "mouthPress": 0.3},
    {"mouthLeft": 0.7, "browDownLeft": 0.5},
    {"mouthRight": 0.7, "browOuterUpRight": 0.7},
    {"jawOpen": 0.7, "mouthStretch": 0.3, "browInnerUp": 0.4},
    {"mouthRollLower": 0.6, "mouthRollUpper": 0.6, "mouthPress": 0.4},
    {"jawForward": 0.5, "mouthShrugLower": 0.6},
    {"jawOpen": 0.4, "mouthClose": 0.4, "mouthDimple": 0.6},
    {"jawOpen": 0.5, "tongueOut": 0.7, "eyeSquint": 0.4},
    {"jawLeft": 0.6},
    {"jawRight": 0.6},
    {"mouthFrown": 0.6, "mouthStretch": 0.4, "eyeWide": 0.3},
]  # fmt: skip
_GAZE_LIMIT = np.deg2rad([20, 30])


@dataclass(frozen=True)
class Motion:
    """What moves, at T moments; `motion[k]` is the `Posture` at one of them.

    Attributes:
        actions: (T, 52); head: (T, 3); gaze: (T, 2); sway: (T, 6). See `Posture`.
    """

    actions: np.ndarray
    head: np.ndarray
    gaze: np.ndarray
    sway: np.ndarray

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, k: int) -> Posture:
        return Posture(self.actions[k], self.head[k], self.gaze[k], self.sway[k])


def sample_motion(rng: np.random.Generator, times: np.ndarray) -> Motion:
    """Draw a motion: speech, moods, turns of the head, glances, blinks; a smooth function of time.

    Args:
        times: (T,) moments in seconds, from 0 on.
    """
    lively = rng.uniform(0.5, 1.25)
    actions = np.zeros((len(times), len(load_anatomy().action_names)))
    _speak(rng, times, actions)
    _show_moods(rng, times, actions, lively)
    head, sway = _move_head(rng, times, lively)
    gaze = _glance(rng, times, head)
    return finish_motion(actions, head, gaze, sway, _blink(rng, times))


def finish_motion(
    actions: np.ndarray, head: np.ndarray, gaze: np.ndarray, sway: np.ndarray, blink: np.ndarray
) -> Motion:
    """Let lids follow the eyes and close in a blink ((T,), 0 to 1); keep all actions to what faces can do."""
    names = load_anatomy().action_names
    actions, lids = actions.copy(), np.clip(gaze / np.deg2rad(25), -1, 1)
    for side, inward in (("Left", -1), ("Right", 1)):
        for action, amount in (
            ("eyeLookUp", -lids[:, 0]),
            ("eyeLookDown", lids[:, 0]),
            ("eyeLookIn", inward * lids[:, 1]),
            ("eyeLookOut", -inward * lids[:, 1]),
        ):
            actions[:, names.index(action + side)] = np.maximum(amount, 0)
        closed = names.index("eyeBlink" + side)
        actions[:, closed] = np.maximum(actions[:, closed], blink)
        for action in ("eyeSquint", "eyeWide", "cheekSquint", "eyeLookDown"):
            actions[:, names.index(action + side)] *= 1 - 0.8 * blink
    soft = 1.15 * np.tanh(np.maximum(actions, 0) / 1.15)  # several causes together do not add up without end
    return Motion(soft.astype(np.float32), head, gaze, sway)


def ease(x: np.ndarray) -> np.ndarray:
    """0 before 0, 1 after 1, and 6x^5 - 15x^4 + 10x^3 between: speed and acceleration begin and end at 0."""
    x = np.clip(x, 0, 1)
    return x**3 * (x * (6 * x - 15) + 10)


def bump(t: np.ndarray, start: float, rise: float, hold: float, fall: float) -> np.ndarray:
    """From 0 up to 1, stay, and back to 0: at the moments t, all in seconds."""
    return ease((t - start) / rise) * (1 - ease((t - start - rise - hold) / fall))


def _holds_and_moves(rng, t, draw: Callable[[], np.ndarray], pause, move, speed=np.inf) -> np.ndarray:
    """Stay at a random value, move smoothly to the next, and so on; on average not faster than `speed`/s."""
    now, value, end = rng.uniform(-2, 0), np.asarray(draw(), float), t.max() + 1
    result = np.repeat(value[None], len(t), 0)
    while now < end:
        now += rng.uniform(*pause)
        target = np.asarray(draw(), float)
        lasts = max(rng.uniform(*move), np.abs(target - value).max() / speed)
        result += (target - value) * ease((t[:, None] - now) / lasts)
        value, now = target, now + lasts
    return result


def add_actions(
    actions: np.ndarray, recipe: dict[str, float], envelope: np.ndarray, skew: float = 0.0
) -> None:
    """Add facial actions in place: `recipe` (name to strength) times the (T,) `envelope`.

    Args:
        skew: how much stronger the left side is than the right, for actions that have both.
    """
    names = load_anatomy().action_names
    for key, strength in recipe.items():
        if key in names:
            actions[:, names.index(key)] += envelope * strength
        else:
            actions[:, names.index(key + "Left")] += envelope * strength * (1 + skew)
            actions[:, names.index(key + "Right")] += envelope * strength * (1 - skew)


def _speak(rng, t: np.ndarray, actions: np.ndarray) -> None:
    now, talks, loud = rng.uniform(-1.5, 0.5), rng.uniform() < 0.7, rng.uniform(0.5, 1.2)
    while now < t.max() + 0.5:
        lasts = rng.uniform(0.8, 4) if talks else rng.uniform(0.3, 2.5)
        sound = now
        while talks and sound < now + lasts:
            step = rng.uniform(0.13, 0.3)
            shape = bump(t, sound - 0.06, 0.55 * step + 0.05, 0.02, 0.6 * step + 0.05)
            recipe = _SOUNDS[rng.integers(len(_SOUNDS))]
            add_actions(actions, recipe, loud * rng.uniform(0.5, 1.15) * shape, rng.normal(0, 0.12))
            sound += step
        now += lasts
        talks = talks != (rng.uniform() < 0.8)


def _show_moods(rng, t: np.ndarray, actions: np.ndarray, lively: float) -> None:
    names = [n for n in load_anatomy().action_names if not n.startswith("eye") and n != "mouthClose"]
    now = rng.uniform(-2, 1)
    while now < t.max() + 0.5:
        recipe = _MOODS[rng.integers(len(_MOODS))]
        if rng.uniform() < 0.15:  # a grimace
            recipe = {name: rng.uniform(0.2, 0.8) for name in rng.choice(names, 3, replace=False)}
        rise, hold, fall = rng.uniform(0.2, 0.6), rng.uniform(0.2, 2), rng.uniform(0.3, 0.9)
        shape = lively * rng.uniform(0.4, 1.1) * bump(t, now, rise, hold, fall)
        add_actions(actions, recipe, shape, rng.normal(0, 0.12))
        now += rng.uniform(0.5, 1.2) * (rise + hold + fall)


def _move_head(rng, t: np.ndarray, lively: float) -> tuple[np.ndarray, np.ndarray]:
    looks_around = rng.uniform() < 0.4

    def turn() -> np.ndarray:
        yaw = rng.uniform(-45, 45) if looks_around and rng.uniform() < 0.5 else rng.normal(0, 15)
        degrees = rng.normal(0, 9 * lively), yaw * lively, rng.normal(0, 6)
        return np.deg2rad(np.clip(degrees, [-24, -46, -18], [24, 46, 18]))

    def stand() -> np.ndarray:
        return np.concatenate([np.deg2rad(rng.normal(0, [2, 5, 2])), rng.normal(0, [0.12, 0.06, 0.1])])

    head = _holds_and_moves(rng, t, turn, (0.0, 1.2), (0.5, 1.6), speed=np.deg2rad(110))
    for axis, degrees in enumerate((1.6, 1.4, 1.0)):  # nobody keeps quite still
        for _ in range(3):
            wave = np.sin(2 * np.pi * rng.uniform(0.3, 1.3) * t + rng.uniform(0, 2 * np.pi))
            head[:, axis] += np.deg2rad(degrees) * lively * wave / 1.7
    return head, _holds_and_moves(rng, t, stand, (0.5, 3), (0.8, 2.0))


def _glance(rng, t: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Quick jumps of the eyes, which partly make up for the turns of the head."""

    def aim() -> np.ndarray:
        return np.deg2rad(rng.normal(0, [6, 11])) * (rng.uniform() < 0.7)

    gaze = _holds_and_moves(rng, t, aim, (0.3, 1.6), (0.05, 0.1)) - rng.uniform(0.1, 0.7) * head[:, :2]
    return np.clip(gaze, -_GAZE_LIMIT, _GAZE_LIMIT)


def _blink(rng, t: np.ndarray) -> np.ndarray:
    closed, now = np.zeros(len(t)), rng.uniform(-0.5, 3)
    while now < t.max() + 0.5:
        hold = rng.uniform(0.4, 1.5) if rng.uniform() < 0.07 else 0.03
        closed = np.maximum(closed, bump(t, now, 0.11, hold, 0.16))
        now += hold + rng.exponential(2.2) + 0.3
    return closed


# --- Clips -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrueMotion:
    """Where every pixel of a driving frame comes from.

    Attributes:
        flow: (H, W, 2) backward flow in `geometry`'s convention: where in the source each driving pixel is.
        visible: (H, W) bool: the source shows that very point (not hidden, not outside of the picture).
        surface: (H, W) bool: the pixel shows the person; elsewhere the background, which stands still.
    """

    flow: Tensor
    visible: Tensor
    surface: Tensor


@dataclass(frozen=True)
class HeadPose:
    """Where a head is, in the camera's coordinates (x right, y down, z away from it).

    Attributes:
        rotation: (3, 3); the identity for a head that faces the same way as the camera's axis points back.
        translation: (3,) of the middle between the eyes, in dm from the camera.
    """

    rotation: Tensor
    translation: Tensor

    @property
    def yaw_pitch_roll(self) -> tuple[float, float, float]:
        """In degrees: to the right of the picture, down, and clockwise in the picture are positive."""
        r = self.rotation.double()
        yaw = torch.atan2(-r[0, 2], r[2, 2])
        pitch = torch.asin(torch.clamp(-r[1, 2], -1, 1))
        roll = torch.atan2(r[1, 0], r[1, 1])
        return tuple(float(torch.rad2deg(a)) for a in (yaw, pitch, roll))


class SyntheticClip:
    """One person, in motion, before a camera: pictures, and the truth about them.

    Args:
        seed, number: together they decide everything that is random; `number` counts the clips of one seed.
        frames: how many.
        size: width and height in pixels.
        fps: frames a second. A low number spreads few frames over a long time, so that poses differ.
        person_number: which person; by default each clip has its own, `number`.
        motion: instead of a random motion, a function of (T,) times.
        scene: instead of a random scene.

    Raises:
        InputError: a number out of range; `anny`, `moderngl` or EGL is missing (when first needed).

    Example:
        >>> clip = SyntheticClip(seed=0, number=3, frames=48, size=128)
        >>> warp(to_tensor(clip.frame(0))[None], clip.true_motion(0, 10).flow[None])   # like clip.frame(10)
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
    ):
        _check("seed", seed, 0, 2**32 - 1)
        _check("number", number, 0, 10**7)
        _check("frames", frames, 1, 10**6)
        _check("size", size, 16, 1024)
        if not 0 < fps <= 240:
            raise InputError(f"fps={fps}: give frames a second, more than 0 and at most 240")
        self.seed, self.number, self.size, self.fps = seed, number, size, fps
        self.person_number = number if person_number is None else person_number
        times = np.arange(frames) / fps
        self.person = sample_person(np.random.default_rng([seed, self.person_number, 0]))
        self.motion = (
            motion(times) if motion else sample_motion(np.random.default_rng([seed, number, 1]), times)
        )
        rng = np.random.default_rng([seed, number, 2])
        self.scene = scene or sample_scene(rng, self.person.body.crown, self.person.body.chin)
        self._uniforms = {**self.person.uniforms, **self.scene.uniforms}

    def __len__(self) -> int:
        return len(self.motion)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.frame(k) for k in range(len(self)))

    def frame(self, k: int) -> np.ndarray:
        """Picture k, uint8 (size, size, 3)."""
        return self.scene.develop(self._renderer().draw(*self._pose(k), self._uniforms), k)

    def plain_frame(self, k: int) -> np.ndarray:
        """Picture k without light, blur and grain: the colours of the surfaces, uint8 (size, size, 3)."""
        picture = self._renderer().draw(*self._pose(k), {**self._uniforms, "unlit": 1.0})
        return (picture * 255 + 0.5).astype(np.uint8)

    def places(self, k: int) -> Tensor:
        """(size, size, 4): what pixels show: a place on the undeformed head (dm), the part's number + 1."""
        return torch.from_numpy(self._renderer().places(self._pose(k)[0], self._uniforms))

    def true_motion(self, source: int, driving: int) -> TrueMotion:
        """The exact motion between two frames, given by their numbers."""
        renderer = self._renderer()
        source_positions, driving_positions = self._pose(source)[0], self._pose(driving)[0]
        raw = torch.from_numpy(renderer.flow(source_positions, driving_positions, self._uniforms))
        empty = torch.from_numpy(renderer.places(source_positions, self._uniforms)[..., 3] == 0)
        surface = raw[..., 3] > 0
        # OpenGL counts from edge to edge of the picture, `geometry` from centre to centre of border pixels.
        flow = from_pixels((raw[..., :2] + 1) / 2 * self.size - 0.5, self.size, self.size)
        still = coordinate_grid(self.size, self.size, dtype=flow.dtype)
        return TrueMotion(
            flow=torch.where(surface[..., None], flow, still),
            visible=torch.where(surface, raw[..., 2] > 0, empty),
            surface=surface,
        )

    def landmarks(self, k: int) -> Tensor:
        """(68, 2): iBUG's landmarks as points (x, y) in `geometry`'s convention; hidden ones too."""
        return self._project(self._pose(k)[0][load_anatomy().places(LANDMARKS)])

    def head_pose(self, k: int) -> HeadPose:
        """Rotation and translation of the head (of the skull: it does not follow the jaw)."""
        matrix, offset = head_transform(self.person.body, self.motion[k])[-1]
        anatomy, neutral = load_anatomy(), self.person.body.neutral
        eyes = [neutral[anatomy.joints[f"joint-{side}-eye"]].mean(axis=0) for side in "lr"]
        flip = np.diag([1.0, -1.0, -1.0])  # OpenGL's camera has y up and looks along -z
        view = flip @ self.scene.view[:3, :3], flip @ self.scene.view[:3, 3]
        rotation = view[0] @ matrix @ flip
        translation = view[0] @ (matrix @ np.mean(eyes, axis=0) + offset) + view[1]
        return HeadPose(*(torch.from_numpy(a.astype(np.float32)) for a in (rotation, translation)))

    def _project(self, points: np.ndarray) -> Tensor:
        clip = np.c_[points, np.ones(len(points))] @ self.scene.uniforms["view_projection"].T
        pixels = (torch.from_numpy(clip[:, :2] / clip[:, 3:]) + 1) / 2 * self.size - 0.5
        return from_pixels(pixels, self.size, self.size).float()

    def _pose(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= k < len(self):
            raise InputError(f"frame {k}: this clip has the frames 0 to {len(self) - 1}")
        return pose(self.person.body, self.motion[k])

    def _renderer(self) -> Renderer:
        """The process's renderer of this size, with this person loaded."""
        renderer = _shared_renderer(self.size)
        if renderer.loaded is not self:
            surfaces = load_surfaces()
            drawn = np.isin(surfaces.part[surfaces.faces[:, 0]], self.person.parts)
            renderer.load(surfaces.faces[drawn], surfaces.part, surfaces.canonical, self.person.aux)
            renderer.loaded = self
        return renderer


@lru_cache(maxsize=2)
def _shared_renderer(size: int) -> Renderer:
    return Renderer(size)


def _check(name: str, value: Any, lowest: int, highest: int) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not lowest <= value <= highest:
        raise InputError(f"{name}={value!r}: give a whole number from {lowest} to {highest}")


# --- Folders of clips --------------------------------------------------------------------------------------

_NOTE = "synthetic.json"  # what a folder was made with; clips of another size or seed do not get into it


def synthesize(
    out: str | os.PathLike,
    clips: int,
    frames: int = 48,
    size: int = 128,
    seed: int = 0,
    *,
    jobs: int = 1,
    format: str = "mp4",
    fps: float = 25,
    first: int = 0,
    clips_per_person: int = 1,
    crf: int = 18,
    progress: bool = True,
) -> list[Path]:
    """Render clips of synthetic heads into a folder that `FramePairs` trains on.

    Clips are named `synth<seed>-<person>#<clip>#<start>#<end>`; what stands before the first `#` tells people
    apart. A clip appears whole or not at all; one that is there already is kept, so that an interrupted run
    goes on where it was. Clip k is the same whatever else is rendered, by however many jobs.

    Args:
        out: the folder; made if need be.
        clips: how many.
        frames: of each clip.
        size: width and height in pixels.
        seed: other seeds give other people.
        jobs: processes at a time; -1 for one per core.
        format: "mp4", or "png" for folders of pictures.
        fps: frames a second; a low number spreads few frames over a long time, so that poses differ.
        first: number of the first clip, to share the work among machines.
        clips_per_person: how many clips in a row show the same person, in other light and motion.
        crf: quality of the mp4, 0 (lossless) to 51.
        progress: whether to show a bar.

    Returns:
        The paths of all clips asked for.

    Raises:
        InputError: a number out of range, a folder made with other settings or one that cannot be written;
            `anny`, `moderngl` or EGL is missing.

    Example:
        >>> synthesize("heads", clips=200, frames=24, size=64, seed=0, jobs=2)
    """
    for name, value, lowest, highest in (
        ("clips", clips, 1, 10**6),
        ("first", first, 0, 10**6),
        ("clips_per_person", clips_per_person, 1, 10**6),
        ("crf", crf, 0, 51),
    ):
        _check(name, value, lowest, highest)
    if format not in ("mp4", "png"):
        raise InputError(f"format={format!r}: choose 'mp4' or 'png'")
    if jobs != -1:
        _check("jobs", jobs, 1, 1024)
    data_folder()  # what is missing shall be said before a folder is made
    SyntheticClip(seed, first, frames, size, fps).frame(0)
    out = Path(out)
    settings = {"seed": seed, "frames": frames, "size": size, "fps": fps, "format": format}
    settings |= {"clips_per_person": clips_per_person, "crf": crf}
    _note_settings(out, settings)
    tasks = []
    for number in range(first, first + clips):
        person = number // clips_per_person
        name = f"synth{seed}-{person:05d}#{number:05d}#0#{frames}"
        tasks.append((out / (name + ".mp4" if format == "mp4" else name), number, person))
    missing = [task for task in tasks if not task[0].exists()]
    alone = jobs == 1
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
    done = parallel(joblib.delayed(_write_clip)(*task, settings, alone) for task in missing)
    for _ in tqdm(
        done, total=len(missing), desc="synthesizing", unit="clip", disable=None if progress else True
    ):
        pass
    return [path for path, _, _ in tasks]


def _note_settings(out: Path, settings: dict[str, Any]) -> None:
    """Write down what a folder is made with, or compare."""
    note = out / _NOTE
    if note.exists():
        try:
            there = json.loads(note.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{note}: is damaged; delete it, or choose another folder") from error
        for name, value in settings.items():
            if there.get(name) != value:
                was = f"{name}={there.get(name)}, not {value}"
                raise InputError(f"{out}: holds clips made with {was}; choose another folder")
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror}); choose another folder") from error
    with atomic_output(note) as temporary:
        temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _write_clip(path: Path, number: int, person: int, settings: dict[str, Any], alone: bool) -> None:
    """Render one clip into a file or folder that appears when it is whole."""
    if not alone:
        # Each of several processes draws with one thread; read by Mesa when the first context is made.
        os.environ.setdefault("LP_NUM_THREADS", "0")
    for left_over in path.parent.glob(f".{path.stem}.*.partial*"):  # of a run that was killed
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink(missing_ok=True)
    size, fps = settings["size"], settings["fps"]
    clip = SyntheticClip(settings["seed"], number, settings["frames"], size, fps, person_number=person)
    if settings["format"] == "mp4":
        comment = f"synthetic head, no real person; fomm-lib, seed {settings['seed']}, clip {number}"
        with VideoWriter(
            path, fps, (size, size), crf=settings["crf"], keyframe_every=12, metadata={"comment": comment}
        ) as writer:
            for frame in clip:
                writer.write(frame)
        return
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        for k, frame in enumerate(clip):
            Image.fromarray(frame).save(partial / f"{k:04d}.png")
        partial.chmod(0o755)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
