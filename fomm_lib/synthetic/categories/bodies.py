"""Random people, whole: the body of MakeHuman's base mesh, clothed by colour, who walk, wave, or move slowly.

The slow movements have large changes of pose, as in tai chi. Nobody is modelled after a real person.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from fomm_lib.synthetic.categories.skeleton import (
    BONES,
    JOINT_LANDMARKS,
    PARTS,
    BodyPose,
    Skeleton,
    bone_transforms,
    load_skeleton,
    skin,
)
from fomm_lib.synthetic.categories.solids import turn_y
from fomm_lib.synthetic.categories.subject import Framing, Material, Subject
from fomm_lib.synthetic.motion import holds_and_moves
from fomm_lib.synthetic.people import draw_traits, hair_colour, phenotype, skin_colour
from fomm_lib.synthetic.posture import rotation_matrix, vertex_normals
from fomm_lib.synthetic.scene import any_colour, linear
from fomm_lib.synthetic.surfaces import faces_around

MOVEMENTS = ("walk", "wave", "slow")
LANDMARKS = (
    "nose", "chin", "left ear", "right ear",
    *(
        f"{side} {name}"
        for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
)  # fmt: skip
_ANGLES = 19  # see `_pose`


def arm(raised: float, aside: float, flexed: float, inward: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Directions of upper arm and forearm of the left side, in the frame of the chest.

    Args:
        raised: angle to the front from hanging down; aside: to the side; flexed: of the elbow; inward: by how
            much the forearm turns to the middle, all in radians.

    Example:
        >>> upper, fore = arm(0.0, 0.0, np.pi / 2)
        >>> np.allclose(upper, [0, -1, 0]), np.allclose(fore, [0, 0, 1])      # the forearm points forward
        (True, True)
    """

    def direction(front: float, side: float) -> np.ndarray:
        return np.array([np.sin(side), -np.cos(side) * np.cos(front), np.cos(side) * np.sin(front)]) + 0.0

    return direction(raised, aside), direction(raised + flexed, aside - inward)


def leg(raised: float, aside: float, flexed: float) -> tuple[np.ndarray, np.ndarray]:
    """Directions of thigh and shin of the left side, in the frame of the pelvis; arguments as for `arm`.

    Example:
        >>> [part.round(3).tolist() for part in leg(np.pi / 2, 0.0, np.pi / 2)]   # as one sits on a chair
        [[0.0, -0.0, 1.0], [0.0, -1.0, 0.0]]
    """

    def direction(front: float, side: float) -> np.ndarray:
        return np.array([np.sin(side), -np.cos(side) * np.cos(front), np.cos(side) * np.sin(front)])

    return direction(raised, aside), direction(raised - flexed, aside)


def walking_leg(phase: float, swing: float, lift: float) -> tuple[float, float]:
    """Thigh and knee of a walking leg: swing sin(phase), and 0.12 + lift max(0, cos(phase))^1.5, radians.

    The thigh swings forward while cos(phase) > 0: then the knee bends, so that the foot clears the ground.

    Example:
        >>> [round(angle, 3) for angle in walking_leg(np.pi / 2, 0.4, 1.0)]     # in front, knee straight
        [0.4, 0.12]
    """
    return float(swing * np.sin(phase)), float(0.12 + lift * max(0.0, np.cos(phase)) ** 1.5)


def _pose(angles: np.ndarray) -> BodyPose:
    """From 19 angles: left, right arm (raised, aside, flexed, inward), both legs (raised, aside, flexed),
    chest (pitch, yaw, roll), head (pitch, yaw).
    """
    limbs = {}
    for side, first, second, sign in (("L", 0, 8, 1), ("R", 4, 11, -1)):
        mirror = np.array([sign, 1, 1])
        limbs[f"upper arm.{side}"], limbs[f"forearm.{side}"] = (
            part * mirror for part in arm(*angles[first : first + 4])
        )
        limbs[f"thigh.{side}"], limbs[f"shin.{side}"] = (
            part * mirror for part in leg(*angles[second : second + 3])
        )
    half = 0.5 * angles[14:17]
    turn = rotation_matrix(*half).astype(float)
    head = rotation_matrix(angles[17], angles[18], 0.0).astype(float)
    dips = tuple(float(np.clip(0.7 * (angles[k + 2] - angles[k]) - 0.25, -0.1, 0.9)) for k in (8, 11))
    return BodyPose({"belly": turn, "chest": turn, "head": head}, limbs, dips)


def _walk(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    rate, swing, lift = rng.uniform(0.7, 1.1), rng.uniform(0.32, 0.55), rng.uniform(0.8, 1.15)
    arms, bent = rng.uniform(0.3, 0.8), rng.uniform(0.15, 0.9)
    angles = np.zeros((len(times), _ANGLES))
    for row, time in zip(angles, times + rng.uniform(0, 5), strict=True):
        phase = 2 * np.pi * rate * time
        for first, second, shift in ((0, 8, 0.0), (4, 11, np.pi)):
            thigh, knee = walking_leg(phase + shift, swing, lift)
            row[second], row[second + 1], row[second + 2] = thigh, 0.03, knee
            row[first] = -arms * np.sin(phase + shift)
            row[first + 1], row[first + 2] = 0.14, bent * (1 - 0.4 * np.sin(phase + shift))
        row[14:17] = 0.06, 0.15 * np.sin(phase), 0.03 * np.sin(phase)
    return angles


def _wave(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    angles = np.zeros((len(times), _ANGLES))
    both, first = rng.uniform() < 0.3, int(rng.integers(2))
    rate, wide = rng.uniform(0.7, 1.5), rng.uniform(0.35, 0.7)

    def stand() -> np.ndarray:
        return np.array(
            [rng.uniform(1.1, 2.0), rng.uniform(0.5, 1.6), *rng.normal(0, [0.06, 0.25, 0.1, 0.12, 0.3])]
        )

    moves = holds_and_moves(rng, times, stand, (0.2, 1.0), (0.7, 1.5))
    for row, time, move in zip(angles, times, moves, strict=True):
        for number, start in enumerate((0, 4)):
            if both or number == first:
                row[start + 1] = move[0]
                row[start + 3] = -(move[1] + wide * np.sin(2 * np.pi * rate * time + number * 0.4))
            else:
                row[start : start + 4] = 0.05, 0.15, 0.2, 0.0
        row[9] = row[12] = 0.08
        row[14:19] = move[2:7]
        row[10] = row[13] = 0.06
    return angles


def _slow(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    def draw() -> np.ndarray:
        low = rng.uniform(0.1, 1.0)
        arms = [
            [rng.uniform(-0.3, 2.2), rng.uniform(-0.1, 1.5), rng.uniform(0.1, 1.6), rng.uniform(-0.4, 0.9)]
            for _ in range(2)
        ]
        legs = [
            [low * rng.uniform(0.5, 1.0), rng.uniform(0.1, 0.55), 2 * low * rng.uniform(0.4, 0.7)]
            for _ in range(2)
        ]
        return np.concatenate([*arms, *legs, rng.normal(0, [0.14, 0.5, 0.1]), rng.normal(0, [0.1, 0.35])])

    return holds_and_moves(rng, times, draw, (0.0, 0.5), (1.2, 2.6))


def _dress(
    rng: np.random.Generator, skeleton: Skeleton, rest: np.ndarray, old: float, man: bool, ancestry: dict
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw clothes: aux (N, 4), thickness (N,) of what lies over the skin in dm, the triangles drawn."""
    bone = np.array(list(BONES))[skeleton.weights.argmax(axis=1)]
    limb = np.array([name.split(".")[0] for name in bone])
    body = skeleton.part == PARTS.index("body")
    along = _share_along(skeleton, rest, bone)
    skin_tone, hair = linear(skin_colour(rng, ancestry)), linear(hair_colour(rng, old, ancestry))
    levels = (15, 240), (10, 200), (10, 120)
    top, bottom, shoes = (linear(any_colour(rng, *limits)) for limits in levels)
    aux = np.zeros((len(rest), 4), np.float32)
    aux[:, :3], aux[:, 3] = skin_tone, Material.BARE
    thickness = np.zeros(len(rest), np.float32)

    def wear(chosen: np.ndarray, colour: np.ndarray, thick: float) -> None:
        # Only what has the colour of the top has its pattern.
        aux[chosen, :3], aux[chosen, 3] = colour, Material.CLOTH if colour is top else Material.MATTE
        thickness[chosen] = thick

    sleeve = rng.choice([0.45, 1.0, 2.0], p=[0.4, 0.15, 0.45])
    trouser = rng.choice([0.8, 1.3, 2.0], p=[0.25, 0.1, 0.65])
    skirt = not man and rng.uniform() < 0.45
    if skirt and rng.uniform() < 0.5:
        bottom = top  # a dress
    wear(body & np.isin(limb, ["pelvis"]), bottom, 0.09)
    wear(body & (limb == "thigh") & (along < (0.5 if skirt else trouser)), bottom, 0.09)
    wear(body & (limb == "shin") & (1 + along < trouser) & (not skirt), bottom, 0.09)
    wear(body & np.isin(limb, ["belly", "chest"]), top, 0.08)
    wear(body & (limb == "upper arm") & (along < sleeve), top, 0.08)
    wear(body & (limb == "forearm") & (1 + along < sleeve), top, 0.08)
    wear(body & (limb == "foot"), shoes, 0.06)
    wear(skeleton.part == PARTS.index("helper-skirt"), bottom, 0.0)
    eyes = np.isin(skeleton.part, [PARTS.index("helper-l-eye"), PARTS.index("helper-r-eye")])
    aux[eyes, :3] = linear([25, 20, 18])
    head = rest[limb == "head"]
    crown, chin = head[:, 1].max(), head[:, 1].min()
    height = (rest[:, 1] - chin) / (crown - chin)
    depth = (rest[:, 2] - head[:, 2].min()) / np.ptp(head[:, 2])
    line = rng.uniform(0.66, 0.74)
    scalp = body & (limb == "head") & (height > line + 0.75 * (depth - 0.6)) & (height > 0.42)
    bald = man and rng.uniform() < 0.12
    aux[scalp & (not bald), :3], aux[scalp & (not bald), 3] = hair, Material.FUR
    thickness[scalp & (not bald)] = rng.uniform(0.06, 0.3)
    hanging = skeleton.part == PARTS.index("helper-hair")
    aux[hanging, :3], aux[hanging, 3] = hair, Material.FUR
    shown = skeleton.part.copy()
    length = rng.uniform(5.2, 7.0)
    long_hair = not man and rng.uniform() < 0.65
    drawn = np.isin(shown, [PARTS.index(name) for name in PARTS[:3]])
    if skirt:
        drawn |= shown == PARTS.index("helper-skirt")
        hem = rng.uniform(-6.5, -1.5)
        drawn &= ~((shown == PARTS.index("helper-skirt")) & (skeleton.vertices[:, 1] < hem))
    if long_hair:
        drawn |= hanging & (skeleton.vertices[:, 1] > length)
    return aux, thickness, skeleton.faces[drawn[skeleton.faces].all(axis=1)]


def _share_along(skeleton: Skeleton, rest: np.ndarray, bone: np.ndarray) -> np.ndarray:
    """(N,): how far along its limb bone a vertex is, 0 at the upper joint, 1 at the lower; 0 elsewhere."""
    result = np.zeros(len(rest), np.float32)
    for name, (_, joint, end, _) in BONES.items():
        if end:
            start, stop = skeleton.joint(joint, rest), skeleton.joint(end, rest)
            chosen, away = bone == name, stop - start
            result[chosen] = (rest[chosen] - start) @ away / (away @ away)
    return result


@lru_cache(maxsize=1)
def _around() -> Any:
    skeleton = load_skeleton()
    return faces_around(skeleton.faces, len(skeleton.vertices))


def sample_body(rng: np.random.Generator, motion: np.random.Generator, times: np.ndarray) -> Subject:
    """Draw a person and a movement.

    Args:
        rng: of the body, hair and clothes; motion: of movement and heading; times: (T,) seconds.

    Raises:
        InputError: `anny` is not installed.

    Example:
        >>> looks, motion = (np.random.default_rng(seed) for seed in (0, 1))
        >>> sample_body(looks, motion, np.arange(5) / 25).landmarks(0).shape      # doctest: +SKIP
        (16, 3)
    """
    skeleton = load_skeleton()
    male, age, ancestry = draw_traits(rng, young=0.5, children=0.1, childish=0.8)
    rest = (skeleton.vertices + phenotype(skeleton, rng, male, age, ancestry)).astype(np.float32)
    aux, thickness, faces = _dress(rng, skeleton, rest, age["old"], bool(male > 0.5), ancestry)
    rest = rest + thickness[:, None] * vertex_normals(rest, skeleton.faces, _around())
    pattern = 0 if rng.uniform() < 0.5 else rng.choice([1, 3, 4])
    uniforms = {
        "seed": rng.uniform(0, 31),
        "second": linear(any_colour(rng)),
        "pattern": (float(pattern), rng.uniform(0.6, 2.0), rng.uniform(0.3, 0.6), 0.0),
    }
    movement = str(motion.choice(MOVEMENTS, p=[0.3, 0.25, 0.45]))
    angles = {"walk": _walk, "wave": _wave, "slow": _slow}[movement](motion, times)
    spread = 25 if movement == "wave" else 55
    heading = np.deg2rad(motion.normal(0, spread))
    drift = holds_and_moves(
        motion,
        times,
        lambda: np.array([*motion.normal(0, 0.5, 2), motion.normal(0, 0.35)]),
        (0.2, 1.0),
        (1.0, 2.5),
    )

    def placed(k: int) -> tuple[np.ndarray, np.ndarray]:
        """All vertices and the joints at landmarks, feet on the ground."""
        transforms = bone_transforms(skeleton, rest, _pose(angles[k]))
        points = skin(skeleton, rest, transforms)
        joints = []
        for name in JOINT_LANDMARKS:
            for side in "lr":
                bone = next(b for b, (_, joint, _, _) in BONES.items() if joint == f"joint-{side}-{name}")
                matrix, offset = transforms[bone]
                joints.append(matrix @ skeleton.joint(f"joint-{side}-{name}", rest) + offset)
        face = [points[skeleton.face[name]] for name in LANDMARKS[:4]]
        low = points[skeleton.part == 0, 1].min()
        shift = np.array([drift[k, 0], -low, drift[k, 1]])
        turn = turn_y(heading + drift[k, 2]).T
        centre = np.array([points[skeleton.part == 0, 0].mean(), 0, points[skeleton.part == 0, 2].mean()])
        return (points - centre) @ turn + shift, (np.array([*face, *joints]) - centre) @ turn + shift

    tall = np.ptp(rest[skeleton.part == 0, 1])
    return Subject(
        faces,
        rest,
        aux,
        uniforms,
        LANDMARKS,
        positions=lambda k: placed(k)[0],
        landmarks=lambda k: placed(k)[1],
        frames=len(times),
        framing=Framing(
            np.array([0, 0.5 * tall, 0]), 0.54 * tall, (0, 14), ("plain", "boards", "grass", "plain")
        ),
        facts={"movement": movement, "angles": angles},
    )
