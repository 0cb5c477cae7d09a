"""Pose a body: facial actions, eyes, joints of the neck, hair, clothes and glasses (linear skinning)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from fomm_lib.synthetic.anatomy import BONES, Anatomy, Part, load_anatomy
from fomm_lib.synthetic.surfaces import eye_vertices, load_surfaces


@dataclass(frozen=True)
class Body:
    """The shape of one person.

    Attributes:
        neutral: (N, 3) the anatomy at rest, dm.
        scale: height of the head over that of the undeformed one; facial actions and hair scale with it.
        hair_offset: (rows, columns, 3) from the skull to the surface of the hair.
        hair_stiff: (rows,) how much hair follows the head (1) or lies on the shoulders (0).
        clothes_thickness: distance from the skin, dm.
        glasses: (n, 3) `glasses_points`.
    """

    neutral: np.ndarray
    scale: float
    hair_offset: np.ndarray
    hair_stiff: np.ndarray
    clothes_thickness: float
    glasses: np.ndarray

    @property
    def crown(self) -> float:
        """Height of the top of the skull, dm."""
        anatomy = load_anatomy()
        head = (anatomy.part == Part.SKIN) & (anatomy.weights[:, BONES.index("head")] > 0.9)
        return float(self.neutral[head, 1].max())

    @property
    def chin(self) -> float:
        """Height of the tip of the chin, dm."""
        anatomy = load_anatomy()
        x, y, z = anatomy.vertices.T
        tip = (anatomy.part == Part.SKIN) & (np.abs(x) < 0.1) & (z > 1.3) & (y > 6.1) & (y < 6.45)
        return float(self.neutral[tip, 1].min())


@dataclass(frozen=True)
class Posture:
    """The pose at one moment.

    Attributes:
        actions: (52,) strengths of the facial actions, 0 to about 1.
        head: (3,) pitch, yaw, roll against the shoulders, radians; positive: down, to the person's left,
            tilted to the person's right shoulder.
        gaze: (2,) pitch, yaw of the eyes in the head, radians.
        sway: (6,) pitch, yaw, roll (radians) and shift (dm) of the whole person.
    """

    actions: np.ndarray
    head: np.ndarray
    gaze: np.ndarray
    sway: np.ndarray


# Bone, joint, and its share of the head's rotation; from the lowest to the highest.
_NECK = (
    ("neck01", "joint-neck", 0.2),
    ("neck02", "neck02", 0.2),
    ("neck03", "neck03", 0.25),
    ("head", "joint-head", 0.35),
)
_CHEST = np.array([0.0, 4.5, 0.3], np.float32)  # the pivot of `sway`


def rotation_matrix(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """R = R_y(yaw) R_x(pitch) R_z(roll), (3, 3): first roll, then pitch, then yaw."""
    (cx, cy, cz), (sx, sy, sz) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
    around_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return (around_y @ around_x @ around_z).astype(np.float32)


def _turn(points: np.ndarray, rotation: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    return (points - pivot) @ rotation.T + pivot


def head_transform(body: Body, posture: Posture) -> list[tuple[np.ndarray, np.ndarray]]:
    """(R, t) of the four bones of the neck, the head last: a point p at rest goes to R p + t."""
    anatomy = load_anatomy()
    sway = rotation_matrix(*posture.sway[:3])
    matrix, offset = sway, _CHEST - sway @ _CHEST + posture.sway[3:].astype(np.float32)
    transforms = []
    for _, joint, share in _NECK:
        pivot = anatomy.joint(joint, body.neutral)
        turn = rotation_matrix(*(share * posture.head))
        matrix, offset = matrix @ turn, matrix @ (pivot - turn @ pivot) + offset
        transforms.append((matrix, offset))
    return transforms


def pose(body: Body, posture: Posture) -> tuple[np.ndarray, np.ndarray]:
    """Positions and normals, (V, 3) float32 each, of every vertex of `Surfaces` (linear blend skinning)."""
    anatomy, surfaces = load_anatomy(), load_surfaces()
    v = body.neutral + body.scale * np.tensordot(posture.actions.astype(np.float32), anatomy.actions, 1)
    for side in "lr":
        # Facial actions move lids and, roughly, eyeballs; a real eye turns about its centre.
        eye = eye_vertices(anatomy, side)
        centre = anatomy.joint(f"joint-{side}-eye", body.neutral)
        v[eye] = _turn(body.neutral[eye], rotation_matrix(*posture.gaze, 0), centre)

    moved = body.neutral - anatomy.vertices
    carried = (surfaces.hair_shares[..., None] * moved[surfaces.hair_carriers]).sum(axis=2)
    hair = (surfaces.hair_canonical + carried + body.hair_offset).reshape(-1, 3)
    glasses = body.glasses + surfaces.frame_anchors @ _anchor_moves(anatomy, moved)
    rest = np.concatenate([v, v[surfaces.clothes], hair, glasses])

    weights = surfaces.weights.copy()
    stiff = np.repeat(body.hair_stiff, surfaces.hair_shares.shape[1])
    weights[surfaces.span(Part.HAIR), BONES.index("head")] = stiff
    sway = rotation_matrix(*posture.sway[:3])
    loose = _turn(rest, sway, _CHEST) + posture.sway[3:].astype(np.float32)
    neck = [BONES.index(bone) for bone, _, _ in _NECK]
    result = loose * (1 - weights[:, neck].sum(axis=1, keepdims=True))
    for column, (matrix, offset) in zip(neck, head_transform(body, posture), strict=True):
        result += weights[:, column, None] * (rest @ matrix.T + offset)

    normals = vertex_normals(result, surfaces.faces, surfaces.around)
    clothes = surfaces.span(Part.CLOTHES)
    result[clothes] += body.clothes_thickness * normals[clothes]
    return result.astype(np.float32), normals


def _anchor_moves(anatomy: Anatomy, moved: np.ndarray) -> np.ndarray:
    """(4, 3) displacements of the `ANCHORS` from their positions on the undeformed head."""
    x, y, z = anatomy.vertices.T
    skin = anatomy.part == Part.SKIN
    bridge = skin & (np.abs(x) < 0.08) & (np.abs(y - 7.33) < 0.1) & (z > 1.45)
    brow = skin & (np.abs(np.abs(x) - 0.25) < 0.15) & (np.abs(y - 7.47) < 0.06) & (z > 1.3)
    cheek = skin & (np.abs(np.abs(x) - 0.3) < 0.12) & (np.abs(y - 7.1) < 0.08) & (z > 1.2)
    # Glasses rest on what protrudes most, at the same depth on both sides.
    forward = max(moved[m, 2].max() for m in (bridge, brow, cheek))
    rows = []
    for side in "lr":
        rows.append([anatomy.joint(f"joint-{side}-eye", moved)[0], moved[bridge, 1].mean(), forward])
    for sign in (1, -1):
        ear = skin & (sign * x > 0.7) & (np.abs(y - 7.4) < 0.12) & (np.abs(z - 0.5) < 0.3)
        rows.append(moved[ear].mean(axis=0))
    return np.array(rows, np.float32)


def vertex_normals(points: np.ndarray, faces: np.ndarray, around: scipy.sparse.csr_matrix) -> np.ndarray:
    """(V, 3) float32 of length 1: the mean direction of the triangles around each vertex, by their area.

    Args:
        points: (V, 3); faces: (F, 3); around: (V, F), as in `Surfaces`.
    """
    a, b, c = (points[faces[:, i]] for i in range(3))
    normals = around @ np.cross(b - a, c - a)
    return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)).astype(np.float32)
