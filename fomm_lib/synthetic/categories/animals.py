"""Random four-legged animals that walk or trot on the spot, as on a treadmill: the camera stands still.

Builds lie between six kinds (`KINDS`): dog, cat, horse, cow, deer, goat. No real animal was a model.
Coordinates: x to the animal's left, y up, z forward, dm; a leg is solved from where its foot is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fomm_lib.synthetic.categories.solids import Builder, rounded, spline_weights, sweep, turn_y
from fomm_lib.synthetic.categories.subject import Framing, Material, Subject
from fomm_lib.synthetic.motion import ease, holds_and_moves
from fomm_lib.synthetic.scene import any_colour, linear

KINDS = {
    # trunk: length, height of the back, depth of chest, depth of belly, width; leg: thickness;
    # neck: length, rise (degrees), thickness; head: length, depth; ear, tail: length, thickness; horns
    "dog": (7.2, 6.6, 3.2, 2.5, 2.3, 0.62, 2.2, 45, 1.9, 3.0, 1.8, 1.2, 4.0, 0.45, 0),
    "cat": (7.0, 5.0, 2.5, 2.5, 2.0, 0.58, 1.3, 40, 1.5, 2.1, 1.9, 0.9, 5.5, 0.38, 0),
    "horse": (11.5, 13.0, 5.6, 4.9, 3.8, 0.95, 5.2, 48, 3.0, 5.2, 2.7, 1.3, 6.5, 0.8, 0),
    "cow": (13.0, 11.0, 6.2, 6.0, 4.8, 1.0, 2.6, 18, 3.4, 4.6, 2.8, 1.5, 6.5, 0.35, 1),
    "deer": (8.8, 9.2, 3.9, 3.3, 2.6, 0.58, 3.6, 58, 1.7, 2.9, 1.7, 1.5, 1.3, 0.5, 2),
    "goat": (7.6, 7.0, 3.7, 3.8, 2.8, 0.62, 2.0, 50, 1.9, 2.6, 1.7, 1.3, 1.4, 0.45, 1),
}
COATS = (
    (60, 42, 30), (110, 72, 42), (160, 110, 66), (205, 170, 120), (235, 228, 215),
    (30, 27, 26), (120, 118, 116), (178, 96, 48),
)  # fmt: skip
FEET = ("hind left", "front left", "hind right", "front right")
GAITS = {"walk": (np.array([0.0, 0.25, 0.5, 0.75]), 0.65), "trot": (np.array([0.0, 0.5, 0.5, 0.0]), 0.5)}
"""Gait to the phases of the `FEET`, and the share of a cycle that a foot is on the ground."""
LANDMARKS = (
    "nose", "head", "left ear", "right ear", "withers", "rump", "tail",
    *(f"{foot} {joint}" for foot in FEET for joint in ("knee", "foot")),
)  # fmt: skip
_RINGS, _SIDES = 22, 16


@dataclass(frozen=True)
class Build:
    """The measures of one animal, dm (see `KINDS`), and its colours in linear light."""

    trunk: float
    height: float
    chest: float
    belly: float
    width: float
    leg: float
    neck: float
    rise: float
    throat: float
    head: float
    muzzle: float
    ear: float
    tail: float
    brush: float
    horns: int
    coat: np.ndarray
    points: np.ndarray


@dataclass(frozen=True)
class Gait:
    """How the legs move.

    Attributes:
        phases: (4,) of the `FEET`, shares of a cycle; stance: share of a cycle that a foot is on the ground.
        rate: cycles a second; stride: how far a foot moves back while it is on the ground, dm; lift, dm.
    """

    phases: np.ndarray
    stance: float
    rate: float
    stride: float
    lift: float

    @property
    def speed(self) -> float:
        """How fast the ground would pass below, dm/s: stride rate / stance."""
        return self.stride * self.rate / self.stance

    def feet(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Forward position and height of the four feet at a time, (4,) each, dm.

        With u = rate time + phase, modulo 1: while u < stance the foot is on the ground and moves back,
        stride (1/2 - u / stance); then it swings forward, lifted by lift sin(pi s), s from 0 to 1.

        Example:
            >>> gait = Gait(np.zeros(4), stance=0.5, rate=1.0, stride=4.0, lift=1.0)
            >>> [round(float(part[0]), 3) for part in gait.feet(0.25)]     # in the middle of the stance
            [0.0, 0.0]
        """
        u = (self.rate * time + self.phases) % 1
        swing = np.clip((u - self.stance) / (1 - self.stance), 0, 1)
        back = self.stride * (0.5 - u / self.stance)
        forward = self.stride * (ease(swing) - 0.5)
        grounded = u < self.stance
        return np.where(grounded, back, forward), np.where(grounded, 0, self.lift * np.sin(np.pi * swing))


def bend(top: np.ndarray, end: np.ndarray, upper: float, lower: float, forward: float) -> np.ndarray:
    """The joint between two bones of given lengths, in the plane x = constant; too far an end is drawn in.

    Args:
        top, end: (3,); forward: 1 if the joint bends to +z, -1 to -z.
    Returns:
        (3,), at distance `upper` from `top`.

    Example:
        >>> bend(np.array([0, 2.0, 0]), np.zeros(3), 1.25, 1.25, 1).round(3)
        array([0.  , 1.  , 0.75])
    """
    away = end - top
    distance = np.clip(np.linalg.norm(away), abs(upper - lower) + 1e-6, upper + lower - 1e-6)
    along = away / np.linalg.norm(away)
    reach = (upper**2 - lower**2 + distance**2) / (2 * distance)
    height = np.sqrt(max(upper**2 - reach**2, 0.0))
    across = np.array([0.0, -along[2], along[1]])  # `along`, turned by a quarter in the plane of y and z
    across *= np.sign(across[2]) * forward if across[2] else forward
    return top + reach * along + height * across


def sample_build(rng: np.random.Generator) -> Build:
    """Draw the build of an animal: near one kind, or between two."""
    measures = np.array(list(KINDS.values()), float)
    first, second = rng.choice(len(measures), 2, replace=False)
    mix = rng.uniform(0, 0.35) * (rng.uniform() < 0.5)
    values = (1 - mix) * measures[first] + mix * measures[second]
    values[:-1] *= np.clip(rng.normal(1, 0.09, len(values) - 1), 0.75, 1.3)
    horns = int(measures[first][-1]) if rng.uniform() < 0.7 else 0
    coat = np.array(COATS[rng.integers(len(COATS))]) * rng.uniform(0.8, 1.15) + rng.normal(0, 5, 3)
    points = coat * rng.uniform(0.35, 0.7) if rng.uniform() < 0.5 else coat * rng.uniform(0.85, 1)
    return Build(*values[:-1], horns, linear(coat), linear(points))


def _solids(build: Build) -> Builder:
    """Topology and colours; positions come from `_positions`, in the same order."""
    builder, coat = Builder(), build.coat
    fade = np.linspace(0, 1, 10)[:, None] ** 2
    leg = np.repeat(coat * (1 - fade) + build.points * fade, 8, axis=0)
    leg = np.concatenate([leg, coat[None], linear([40, 34, 30])[None]])
    leg[8 * 9 : 8 * 10] = linear([40, 34, 30])  # hooves or paws
    builder.add_tube("trunk", _RINGS, _SIDES, coat, Material.FUR)
    builder.add_tube("neck", 10, _SIDES, coat, Material.FUR)
    dark = np.linspace(0, 1, 12)[:, None] ** 3 * 0.8
    face = np.repeat(coat * (1 - dark) + build.points * dark, _SIDES, axis=0)
    face = np.concatenate([face, coat[None], linear([30, 25, 25])[None]])
    face[_SIDES * 11 : _SIDES * 12] = linear([35, 28, 28])  # the nose
    builder.add_tube("head", 12, _SIDES, face, Material.FUR)
    for foot in FEET:
        builder.add_tube(foot, 10, 8, leg, Material.FUR)
    builder.add_tube("tail", 10, 8, 0.5 * (coat + build.points), Material.FUR)
    for side in ("left", "right"):
        builder.add_tube(f"{side} ear", 6, 8, 0.5 * (coat + build.points), Material.FUR)
        builder.add_tube(f"{side} eye", 6, 8, linear([18, 14, 12]), Material.PANE)
        if build.horns:
            builder.add_tube(f"{side} horn", 8, 6, linear([200, 190, 165]), Material.BARE)
    return builder


def _frame_of(build: Build, state: dict[str, Any]) -> dict[str, np.ndarray]:
    """The joints at one moment: name to (n, 3)."""
    back = build.height + state["bob"]
    rump, withers = np.array([0, back, -build.trunk / 2]), np.array([0, back + 0.1, build.trunk / 2])
    joints = {"back": np.stack([rump, withers])}
    shift, height = state["feet"]
    for number, foot in enumerate(FEET):
        hind, sign = "hind" in foot, 1.0 if "left" in foot else -1.0
        x = sign * 0.27 * build.width
        top = np.array([x, back - (0.45 * build.belly if hind else 0.5 * build.chest), 0.0])
        top[2] = (-0.42 if hind else 0.40) * build.trunk
        leg = build.height - (0.45 * build.belly if hind else 0.5 * build.chest)
        ground = np.array([x, height[number], top[2] + shift[number] + (-0.06 if hind else 0.0) * leg])
        lifted = height[number] / max(build.height, 1)
        metatarsal = (0.32 if hind else 0.3) * leg
        tilt = (-0.25 if hind else -0.03) - 2.5 * lifted
        hock = ground + metatarsal * np.array([0, np.cos(tilt), np.sin(tilt)])
        upper = (0.4 if hind else 0.3) * leg
        lower = (1.06 if hind else 1.025) * leg - metatarsal - upper
        knee = bend(top, hock, upper, lower, 1 if hind else -1)
        inside = top + np.array([0, 0.2 * build.belly, 0])
        toe = ground + np.array([0, 0, 0.35 * build.leg + 0.06 * leg])
        joints[foot] = np.stack([inside, top, knee, hock, ground, toe])
    rise, turn = state["rise"], state["turn"]
    up = np.array([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)])
    base = withers + np.array([0, -0.35 * build.chest, -0.1 * build.trunk])
    top = base + (build.neck + 0.25 * build.chest) * up + np.array([0, 0.2 * build.chest, 0])
    joints["neck"] = np.stack([base, 0.5 * (base + top) + [0, -0.05 * build.neck, 0.06 * build.neck], top])
    dip = state["dip"]
    ahead = np.array([np.sin(1.4 * turn) * np.cos(dip), np.sin(dip), np.cos(1.4 * turn) * np.cos(dip)])
    side = np.array([np.cos(1.4 * turn), 0, -np.sin(1.4 * turn)])
    joints["head"] = np.stack([top - 0.25 * build.head * ahead, top + 0.8 * build.head * ahead])
    over = np.cross(ahead, side)
    for name, sign in (("left", 1.0), ("right", -1.0)):
        root = top + 0.36 * build.muzzle * (0.8 * over + sign * side) - 0.1 * build.head * ahead
        tip = root + build.ear * (0.75 * over + 0.5 * sign * side - 0.15 * ahead)
        joints[f"{name} ear"] = np.stack([root, tip])
        eye = top + 0.2 * build.head * ahead + 0.2 * build.muzzle * over
        joints[f"{name} eye"] = np.stack(
            [eye + 0.36 * sign * build.muzzle * side, eye + 0.5 * sign * build.muzzle * side]
        )
        length = (1.4, 3.0)[max(build.horns - 1, 0)]
        horn = root + 0.15 * build.head * ahead - 0.1 * sign * side
        curve = horn + 0.5 * length * (over + 0.6 * sign * side - 0.3 * ahead)
        joints[f"{name} horn"] = np.stack(
            [horn, curve, curve + 0.5 * length * (over - 0.1 * sign * side + 0.2 * ahead)]
        )
    swish, carry = state["swish"], state["carry"]
    steps = np.linspace(0, 1, 5)[:, None]
    away = np.array([np.sin(swish), np.sin(carry), -np.cos(carry)])
    sag = np.array([0, -0.35, 0]) * steps**2
    root = rump + np.array([0, -0.2 * build.belly, -0.3])
    joints["tail"] = root + build.tail * (steps * away + sag)
    return joints


_LEG = spline_weights(6, 10)
_NECK = spline_weights(3, 10)
_TAIL = spline_weights(5, 10)
_HORN = spline_weights(3, 8)


def _positions(build: Build, joints: dict[str, np.ndarray]) -> np.ndarray:
    """(V, 3): the vertices, in the order of `_solids`."""
    side = np.array([1.0, 0, 0])
    along = np.linspace(0, 1, _RINGS)
    rump, withers = joints["back"]
    depth = np.interp(along, [0, 0.12, 0.5, 0.85, 1], np.array([0.8, 1, 1, 1.03, 0.85]))
    deep = np.interp(along, [0, 0.2, 0.55, 0.85, 1], [0.95, 1, 1, build.chest / build.belly, 1]) * build.belly
    ends = rounded(_RINGS, 4.0)
    half = 0.5 * deep * ends
    line = rump + along[:, None] * (withers - rump) * 1.16 - 0.08 * (withers - rump)
    line = line - np.array([0, 1, 0]) * (0.5 * deep)[:, None]
    parts = [sweep(line, np.stack([0.5 * build.width * depth * ends, half], 1), side, _SIDES, 2.3)]
    neck = _NECK @ joints["neck"]
    thick = np.linspace(0.5 * build.chest * 0.8, 0.5 * build.throat, 10)
    parts.append(sweep(neck, np.stack([0.72 * thick, thick], 1), side, _SIDES))
    start, end = joints["head"]
    at = np.linspace(0, 1, 12)
    size = 0.5 * build.muzzle * np.interp(at, [0, 0.3, 0.6, 1], [0.85, 1, 0.68, 0.5]) * rounded(12, 5.0)
    head = start + at[:, None] * (end - start)
    across = np.cross([0, 1, 0], end - start)
    parts.append(sweep(head, np.stack([0.85 * size, size], 1), across / np.linalg.norm(across), _SIDES))
    for foot in FEET:
        hind = "hind" in foot
        bulk = (0.62 if hind else 0.5) * build.belly
        radius = np.interp(np.linspace(0, 5, 10), [0, 1, 2, 3, 4, 5], [0.3, 0.55, 0.33, 0, 0, 0]) * bulk
        radius = np.maximum(
            radius, build.leg * np.interp(np.linspace(0, 5, 10), [0, 3, 4, 5], [1, 0.8, 0.6, 0.75])
        )
        narrow = np.minimum(radius, 0.6 * radius + 0.4 * build.leg)
        parts.append(sweep(_LEG @ joints[foot], np.stack([narrow, radius], 1), side, 8))
    brush = build.brush * np.interp(np.linspace(0, 1, 10), [0, 0.2, 0.7, 1], [0.7, 0.7, 1, 0.3])
    parts.append(sweep(_TAIL @ joints["tail"], np.stack([brush, brush], 1), side, 8))
    for name in ("left", "right"):
        root, tip = joints[f"{name} ear"]
        wide = 0.3 * build.ear * np.array([0.6, 1, 1, 0.8, 0.5, 0.1])
        line = root + np.linspace(0, 1, 6)[:, None] * (tip - root)
        parts.append(sweep(line, np.stack([wide, 0.3 * wide], 1), across / np.linalg.norm(across), 8))
        inner, outer = joints[f"{name} eye"]
        line = inner + np.linspace(0, 1, 6)[:, None] * (outer - inner)
        ball = 0.11 * build.muzzle * rounded(6)
        parts.append(sweep(line, np.stack([ball, ball], 1), np.array([0, 1.0, 0]), 8))
        if build.horns:
            thin = np.linspace(0.2, 0.06, 8)
            parts.append(
                sweep(_HORN @ joints[f"{name} horn"], np.stack([thin, thin], 1), np.array([0, 0, 1.0]), 6)
            )
    return np.concatenate(parts)


def _landmarks(joints: dict[str, np.ndarray]) -> np.ndarray:
    """(15, 3), in the order of `LANDMARKS`."""
    head, neck = joints["head"], joints["neck"]
    points = [head[1], neck[-1], joints["left ear"][1], joints["right ear"][1]]
    points += [joints["back"][1], joints["back"][0], joints["tail"][-1]]
    for foot in FEET:
        points += [joints[foot][2], joints[foot][4]]
    return np.stack(points)


def _states(rng: np.random.Generator, build: Build, times: np.ndarray) -> tuple[Gait, list[dict[str, Any]]]:
    """Draw a gait, and what the rest of the animal does: nods, looks around, grazes, wags."""
    phases, stance = GAITS["trot" if rng.uniform() < 0.35 else "walk"]
    stride = build.height * rng.uniform(0.35, 0.6)
    gait = Gait(phases, stance, rng.uniform(0.5, 1.1), stride, build.height * rng.uniform(0.08, 0.16))
    start = rng.uniform(0, 10)
    grazes = rng.uniform() < 0.3
    rest = np.deg2rad(build.rise)

    def neck() -> np.ndarray:
        low = grazes and rng.uniform() < 0.5
        rise = np.deg2rad(rng.uniform(-50, -25)) if low else rest + np.deg2rad(rng.normal(0, 10))
        return np.array([rise, np.deg2rad(rng.normal(0, 22)), rng.normal(0, 0.15)])

    moves = holds_and_moves(rng, times, neck, (0.2, 1.2), (0.8, 1.8))
    wag, carry = rng.uniform(0.2, 0.7), np.deg2rad(rng.uniform(-60, 35))
    states = []
    for time, (rise, turn, nod) in zip(times + start, moves, strict=True):
        cycle = 2 * np.pi * gait.rate * time
        states.append(
            {
                "feet": gait.feet(time),
                "bob": 0.012 * build.height * np.cos(2 * cycle),
                "rise": rise + 0.05 * np.cos(2 * cycle + 0.7),
                "turn": turn,
                "dip": np.clip(0.5 * (rise - rest) - 0.6 + nod, -1.35, 0.3),
                "swish": wag * np.sin(2 * np.pi * 0.9 * time),
                "carry": carry,
            }
        )
    return gait, states


def sample_animal(rng: np.random.Generator, motion: np.random.Generator, times: np.ndarray) -> Subject:
    """Draw an animal and its movement.

    Args:
        rng: of build and coat; motion: of gait, head, tail and heading; times: (T,) seconds.

    Example:
        >>> animal = sample_animal(np.random.default_rng(0), np.random.default_rng(1), np.arange(5) / 25)
        >>> animal.landmarks(0).shape
        (15, 3)
    """
    build = sample_build(rng)
    faces, aux = _solids(build).joined()
    kind = rng.choice(4, p=[0.4, 0.3, 0.15, 0.15])
    second = (
        linear(COATS[rng.integers(len(COATS))]) if rng.uniform() < 0.5 else linear(any_colour(rng, 150, 245))
    )
    if kind == 3:
        second = build.coat * 0.25
    uniforms = {
        "seed": rng.uniform(0, 31),
        "second": second,
        "pattern": (float(kind), rng.uniform(0.25, 0.6), rng.uniform(0.3, 0.6), 1.0),
    }
    gait, states = _states(motion, build, times)
    side = np.pi / 2 * (1 if motion.uniform() < 0.5 else -1)
    heading = side + motion.normal(0, np.deg2rad(28))
    wander = holds_and_moves(
        motion,
        times,
        lambda: np.array([motion.normal(0, 0.22), *(0.1 * build.trunk * motion.normal(0, 1, 2))]),
        (0.2, 1.0),
        (1.0, 2.5),
    )

    def place(k: int, points: np.ndarray) -> np.ndarray:
        return points @ turn_y(heading + wander[k, 0]).T + np.array([wander[k, 1], 0, wander[k, 2]])

    neutral = {
        "feet": (np.zeros(4), np.zeros(4)), "bob": 0.0, "rise": np.deg2rad(build.rise), "turn": 0.0,
        "dip": -0.6, "swish": 0.0, "carry": 0.0,
    }  # fmt: skip
    tall = build.height + build.neck * max(np.sin(np.deg2rad(build.rise)), 0) + 0.6 * build.head
    reach = 0.56 * max(build.trunk * 1.25 + build.neck + 0.5 * build.head, tall)
    return Subject(
        faces,
        _positions(build, _frame_of(build, neutral)),
        aux,
        uniforms,
        LANDMARKS,
        positions=lambda k: place(k, _positions(build, _frame_of(build, states[k]))),
        landmarks=lambda k: place(k, _landmarks(_frame_of(build, states[k]))),
        frames=len(times),
        framing=Framing(np.array([0, 0.48 * tall, 0]), reach, (2, 18), ("grass", "grass", "plain", "boards")),
        facts={"gait": gait, "feet": [state["feet"] for state in states]},
    )
