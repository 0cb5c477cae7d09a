"""Random people: faces, skin, hair, clothes and glasses, drawn from random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fomm_lib.synthetic.anatomy import AGES, BONES, ETHNICITIES, Anatomy, Mesh, Part, load_anatomy
from fomm_lib.synthetic.posture import Body
from fomm_lib.synthetic.scene import any_colour, linear
from fomm_lib.synthetic.surfaces import glasses_points, load_surfaces

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
        parts: which parts to draw (no hair on a bald head, no glasses on most).
        aux: (V, 4) as in `Surfaces`, with the fraction of the way along this person's hair.
        uniforms: inputs of the shaders: colours, and sizes of brows, beard, freckles, patterns.
    """

    body: Body
    parts: tuple[Part, ...]
    aux: np.ndarray
    uniforms: dict[str, Any]


def sample_person(rng: np.random.Generator) -> Person:
    """Draw a random person: sex, age, ancestry, features, skin, hair, beard, make-up, glasses, clothes."""
    anatomy = load_anatomy()
    male, age, ancestry = draw_traits(rng, young=0.45, children=0.07, childish=0.9)
    neutral = anatomy.vertices + phenotype(anatomy, rng, male, age, ancestry) + features(anatomy, rng)
    neutral = _lower_arms(anatomy, neutral, np.deg2rad(rng.uniform(12, 32))).astype(np.float32)
    head = anatomy.weights[:, BONES.index("head")] > 0.9
    scale = np.ptp(neutral[head, 1]) / np.ptp(anatomy.vertices[head, 1])

    man = bool(male > 0.5)
    uniforms: dict[str, Any] = {"seed": rng.uniform(0, 31)}
    _skin(rng, uniforms, man, age["old"], ancestry)
    hair = hair_colour(rng, age["old"], ancestry)
    uniforms["hair"] = linear(hair)
    uniforms["hair_tip"] = linear(hair * rng.uniform(0.85, 1.35))
    _brows_and_beard(rng, uniforms, man and not age["child"], hair)
    _eyes_and_teeth(rng, uniforms, man, age["old"], ancestry)
    offset, stiff, aux, has_hair = _hairstyle(rng, uniforms, man, age["old"], ancestry)
    thickness = _clothes(rng, uniforms)
    glasses, missing = _glasses(rng, uniforms)
    missing |= set() if has_hair else {Part.HAIR}
    if uniforms["hair_shape"][1]:
        neutral = _press_ears(anatomy, neutral)
    body = Body(neutral, float(scale), offset * np.float32(scale), stiff, thickness, glasses)
    return Person(body, tuple(sorted(set(Part) - missing)), aux, uniforms)


def _between(palette: list, place: float) -> np.ndarray:
    """The colour at a position (0: the first, 1: the second, ...) along a palette."""
    columns = np.array(palette, float).T
    return np.array([np.interp(place, range(len(palette)), column) for column in columns])


def draw_traits(
    rng: np.random.Generator,
    young: float,
    children: float = 0.0,
    childish: float = 0.0,
    mix: Sequence[float] = (0.45, 0.45, 0.55),
) -> tuple[float, dict[str, float], dict[str, float]]:
    """Draw sex, age and ancestry of a person.

    Args:
        rng: the source of the random numbers.
        young: share of people who are not at all old.
        children: share of children.
        childish: how much of a child they are at most.
        mix: of the Dirichlet distribution of `ETHNICITIES`: below 1, most people have one ancestry.

    Returns:
        From 0 (a woman) to 1 (a man), most near one end; shares of `AGES`; shares of `ETHNICITIES`.
    """
    male = rng.beta(0.35, 0.35)
    old = 0.0 if rng.uniform() < young else rng.beta(1.2, 1.6)
    child = rng.uniform(0.3, childish) if children and rng.uniform() < children else 0.0
    age = dict(zip(AGES, (child, (1 - child) * (1 - old), (1 - child) * old), strict=True))
    return male, age, dict(zip(ETHNICITIES, rng.dirichlet(mix), strict=True))


def phenotype(anatomy: Mesh, rng, male: float, age: dict, ancestry: dict) -> np.ndarray:
    """MakeHuman's mixture of shape targets: sex x age x ancestry, and sex x age x muscle x weight."""

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
    "incr": "decr", "up": "down", "out": "in",
    "forward": "backward", "convex": "concave", "uncompress": "compress",
}  # fmt: skip
# Shapes that move the head off the neck, point the ears, or repeat what other shapes do.
_NOT_USED = (
    "head-trans", "head-angle", "head-age", "ear-shape", "mouth-trans-in", "mouth-trans-out", "nose-trans-in",
    "nose-trans-out", "measure", "neck-trans", "neck-scale", "neck-height", "neck-back",
)  # fmt: skip


def features(anatomy: Anatomy, rng) -> np.ndarray:
    """Random nose, eyes, mouth, ...: slightly asymmetric."""
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
    """Lower the arms, which the mesh stretches out, by an angle in radians."""
    result = vertices.copy()
    for side, sign in (("l", 1), ("r", -1)):
        weight = anatomy.weights[:, BONES.index("arm." + side.upper()), None]
        pivot = anatomy.joint(f"joint-{side}-shoulder", vertices)
        c, s = np.cos(angle), sign * np.sin(angle)
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32)
        result += weight * ((vertices - pivot) @ turn.T + pivot - vertices)
    return result


def _press_ears(anatomy: Anatomy, vertices: np.ndarray) -> np.ndarray:
    """Move the ears closer to the head, so that hanging hair covers them."""
    x, y, z = anatomy.vertices.T
    ear = (np.abs(x) > 0.7) & (y > 6.7) & (y < 7.85) & (z > 0.15) & (z < 0.9)
    result = vertices.copy()
    result[ear, 0] -= 0.85 * np.sign(x[ear]) * (np.abs(x[ear]) - 0.7)
    return result


def _skin_tone(rng: np.random.Generator, ancestry: dict[str, float]) -> float:
    mean = 6.3 * ancestry["african"] + 2.2 * ancestry["asian"] + 0.9 * ancestry["caucasian"]
    return np.clip(mean + rng.normal(0, 0.9), 0, 6.9)


def skin_colour(rng: np.random.Generator, ancestry: dict[str, float]) -> np.ndarray:
    """A random colour of skin, (3,) in sRGB, 0 to 255.

    Args:
        ancestry: shares of african, asian and caucasian, which sum to 1.
    """
    return _between(_SKINS, _skin_tone(rng, ancestry)) * rng.normal(1, 0.02, 3)


def _skin(rng, uniforms: dict, man: bool, old: float, ancestry: dict) -> None:
    tone = _skin_tone(rng, ancestry)
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


def hair_colour(rng: np.random.Generator, old: float, ancestry: dict[str, float]) -> np.ndarray:
    """A random colour of hair, (3,) in sRGB; grey is more frequent the older (0 to 1) the person is."""
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
    """Where hair grows (uniforms), and `hair_offset`, `hair_stiff`, `aux` and whether there is hair.

    See `Body` and `Surfaces`.
    """
    surfaces = load_surfaces()
    shares = [0.07, 0.13, 0.46, 0.1, 0.14, 0.1] if man else [0.01, 0.03, 0.2, 0.28, 0.42, 0.06]
    style = rng.choice(_STYLES, p=shares)
    if style == "afro" and ancestry["african"] < 0.3 and rng.uniform() < 0.7:
        style = "short"
    bare, hangs = style in ("bald", "buzz"), style in ("bob", "long")
    receding = rng.uniform(0, 0.35) if man and rng.uniform() < 0.2 + 0.5 * old else 0.0
    line = rng.uniform(7.86, 8.0) + 0.4 * receding
    slope = rng.uniform(0.42, 0.58)
    opening = np.deg2rad(rng.uniform(48, 80))
    fringe = rng.uniform(0.1, 0.45)
    if bare or style == "afro" or rng.uniform() >= (0.3 if man else 0.45):
        fringe = 0.0
    fringe_angle = rng.uniform(0.6, 1.2)
    waves = 4.0 if style == "afro" else rng.choice([0, 0.5, 1.5, 3])
    uniforms["hairline"] = line, slope, rng.uniform(-0.12, 0.06) + receding, 0.0
    uniforms["hair_shape"] = opening, float(hangs), fringe, fringe_angle
    uniforms["hair_strand"] = waves, rng.uniform(18, 60), rng.uniform(0.06, 0.2), rng.uniform(-0.6, 0.6)
    covered = {"bald": rng.uniform(0, 0.12), "buzz": rng.uniform(0.5, 0.95)}.get(style, 0.95)
    softness, grain = rng.uniform(0.02, 0.07), rng.uniform(0.2, 0.7) if style == "buzz" else 0.1
    uniforms["scalp_paint"] = covered, softness, grain, 0.0

    aux, place = surfaces.aux.copy(), surfaces.hair_canonical
    hair_aux = aux[surfaces.span(Part.HAIR)].reshape(*place.shape[:2], 4)  # a view
    angle, elevation = hair_aux[..., 0], hair_aux[..., 2]
    thickness = _hair_thickness(rng, style, angle, elevation)
    # Near the hairline hair lies on the skin.
    inside = 0.75 * (place[..., 1] - line - slope * (place[..., 2] - 1.35))
    inside = inside + fringe * (np.abs(angle) < fringe_angle)
    if hangs:
        inside = np.maximum(inside, 0.8 * (np.abs(angle) - opening))
    thickness = np.maximum(np.maximum(thickness, 0.02) * np.clip(0.15 + inside / 0.45, 0.1, 1), 0.025)
    offset = surfaces.hair_outward * thickness[..., None]

    # Hair that hangs: the rows below the skull, which all start at its lowest row.
    length = {"bob": rng.uniform(0.35, 1.0), "long": rng.uniform(0.8, 2.6)}.get(style, 0.0)
    hanging = np.flatnonzero((place == place[-1]).all(axis=(1, 2)))[1:]
    first = hanging[0]
    drop = np.linspace(0, 1, len(hanging) + 1)[1:, None] * length
    flare = rng.uniform(-0.12, 0.25) if style == "bob" else rng.uniform(-0.08, 0.15)
    neck = 0.12 * (np.abs(angle[hanging]) > 1.9) * np.minimum(drop, 1.0)  # close to the neck at the back
    curl = 0.012 * waves * np.sin(14 * drop + 3 * angle[hanging])
    outward = flare * np.minimum(drop, 1.2) + curl - neck
    offset[hanging] = offset[first - 1] + surfaces.hair_outward[hanging] * outward[..., None]
    offset[hanging, :, 1] -= drop
    way = np.concatenate([np.linspace(0, 1.9, first), 1.9 + np.maximum(drop[:, 0], 0.01)])
    hair_aux[..., 1] = (way / way[-1])[:, None]
    stiff = np.concatenate([np.ones(first), np.clip(1 - 0.5 * (drop[:, 0] - 0.2), 0.15, 1)])
    return offset.astype(np.float32), stiff.astype(np.float32), aux, not bare


def _hair_thickness(rng, style: str, angle: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Thickness over the skull in dm: more on top than at the sides, asymmetric, bumpy, rarely a quiff."""
    puff = rng.uniform(0.3, 0.9)
    top, side = {
        "short": (rng.uniform(0.08, 0.45), rng.uniform(0.03, 0.16)),
        "bob": (rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.35)),
        "long": (rng.uniform(0.08, 0.25), rng.uniform(0.12, 0.35)),
        "afro": (puff, puff),
    }.get(style, (0.0, 0.0))
    up = np.clip(np.sin(elevation), 0, 1)
    asymmetry = rng.uniform(-0.4, 0.4) * np.sin(angle + rng.uniform(-1, 1)) * up
    thickness = (side + (top - side) * up**0.8) * (1 + asymmetry)
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
    """Points of the glasses, and the parts not to draw: 17 % wear glasses, 2 % dark ones."""
    wire = rng.choice([0.009, 0.014, 0.022])
    points = glasses_points(rng.uniform(0.2, 0.26), rng.uniform(0.13, 0.2), rng.uniform(2, 4.5), wire)
    grey = np.full(3, rng.uniform(5, 60))
    coloured = grey + rng.uniform(40, 120) * np.array([1.0, 0.75, 0.45])
    uniforms["rim"] = linear(coloured if rng.uniform() < 0.3 else grey)
    wears = rng.uniform()
    return points, set() if wears < 0.02 else {Part.LENS} if wears < 0.17 else {Part.FRAME, Part.LENS}
