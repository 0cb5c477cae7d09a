"""The surfaces that are drawn: those of the mesh, and clothes, hair and glasses computed around it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse

from fomm_lib.synthetic.anatomy import BONES, Anatomy, Part, load_anatomy

_SKULL = np.array([0.0, 7.42, 0.35], np.float32)  # its centre, on the undeformed head
_ROWS_SKULL, _ROWS_HANGING, _COLUMNS = 24, 14, 72  # of the grid of hair
_RING, _TUBE = 28, 5  # points around a lens, and around the wire of its frame
_EYE = np.array([0.325, 7.26])  # (x, y) of the centre of the left lens, dm
ANCHORS = ("eye.L", "eye.R", "ear.L", "ear.R")  # what glasses rest on


@dataclass(frozen=True)
class Surfaces:
    """Every surface that is drawn, on the undeformed head: the anatomy first, then clothes, hair and glasses.

    Attributes:
        faces: (F, 3) triangles; part: (V,) part numbers; canonical: (V, 3) positions on the undeformed head.
        aux: (V, 4) further inputs of the shaders, by part:
            skin: lips, inside of the mouth, eyelids (0 to 1 each);
            eye: direction from the centre of the eye;
            lash: position along the lid, lower lid (0/1);
            hair: angle around the head (0 in front), fraction of the way from the crown (0) to the tips (1),
            elevation on the skull.
        clothes: the vertices of the anatomy that the clothes repeat, slightly outside the skin.
        hair_carriers, hair_shares: (rows, columns, 6) vertices of the skin below a point of hair, weights.
        hair_outward: (rows, columns, 3) directions in which the thickness of hair is measured.
        frame_anchors: (n, 4) how much each point of the glasses follows each of the `ANCHORS`.
        weights: (V, 7) skinning weights; those of hair depend on its length, `pose` fills them in.
        around: (V, F) sparse; sums the triangles around each vertex.
    """

    faces: np.ndarray
    part: np.ndarray
    canonical: np.ndarray
    aux: np.ndarray
    clothes: np.ndarray
    hair_carriers: np.ndarray
    hair_shares: np.ndarray
    hair_outward: np.ndarray
    frame_anchors: np.ndarray
    weights: np.ndarray
    around: scipy.sparse.csr_matrix

    def span(self, part: Part) -> slice:
        """The vertices of clothes or hair, which are contiguous."""
        numbers = np.flatnonzero(self.part == part)
        return slice(numbers[0], numbers[-1] + 1)

    @property
    def hair_canonical(self) -> np.ndarray:
        """(rows, columns, 3) points of the skull below the hair."""
        return self.canonical[self.span(Part.HAIR)].reshape(*self.hair_shares.shape[:2], 3)


@lru_cache(maxsize=1)
def load_surfaces() -> Surfaces:
    """Build the surfaces around the anatomy (once in a process)."""
    anatomy = load_anatomy()
    v = anatomy.vertices
    clothes, clothes_faces = _clothes(anatomy)
    hair, outward, carriers, shares, hair_aux = _hair(anatomy)
    rows, columns = hair.shape[:2]
    glasses, glasses_faces, anchors, is_lens = _glasses_mesh()

    start_hair = len(v) + len(clothes)
    start_glasses = start_hair + rows * columns
    hair_faces = grid_triangles(np.arange(rows * columns).reshape(rows, columns))
    faces = [anatomy.faces, clothes_faces + len(v), hair_faces + start_hair, glasses_faces + start_glasses]
    faces = np.concatenate(faces)
    part = np.concatenate(
        [
            # Points that mark joints (-1) are in no triangle: any part will do.
            np.maximum(anatomy.part, Part.SKIN),
            np.full(len(clothes), Part.CLOTHES),
            np.full(rows * columns, Part.HAIR),
            np.where(is_lens, Part.LENS, Part.FRAME),
        ]
    )
    total = len(part)
    aux = np.zeros((total, 4), np.float32)
    aux[: len(v)] = _anatomy_aux(anatomy)
    aux[start_hair:start_glasses] = hair_aux.reshape(-1, 4)
    head_only = np.zeros((rows * columns + len(glasses), len(BONES)), np.float32)
    head_only[:, BONES.index("head")] = 1
    return Surfaces(
        faces=faces,
        part=part,
        canonical=np.concatenate([v, v[clothes], hair.reshape(-1, 3), glasses]),
        aux=aux,
        clothes=clothes,
        hair_carriers=carriers,
        hair_shares=shares,
        hair_outward=outward,
        frame_anchors=anchors,
        weights=np.concatenate([anatomy.weights, anatomy.weights[clothes], head_only]),
        around=faces_around(faces, total),
    )


def faces_around(faces: np.ndarray, count: int) -> scipy.sparse.csr_matrix:
    """(count, F) sparse: 1 where a triangle of `faces`, (F, 3), has the vertex.

    Example:
        >>> faces_around(np.array([[0, 1, 2], [2, 1, 3]]), 4).toarray().astype(int).tolist()
        [[1, 0], [1, 1], [1, 1], [0, 1]]
    """
    corners = (np.ones(faces.size, np.float32), (faces.T.ravel(), np.tile(np.arange(len(faces)), 3)))
    return scipy.sparse.csr_matrix(corners, shape=(count, len(faces)))


def _anatomy_aux(anatomy: Anatomy) -> np.ndarray:
    v, part = anatomy.vertices, anatomy.part
    aux = np.zeros((len(v), 4), np.float32)
    for column, mask in enumerate(("lips", "mouth", "eyelids")):
        aux[part == Part.SKIN, column] = anatomy.masks[mask][part == Part.SKIN]
    for side in "lr":
        eye = eye_vertices(anatomy, side)
        away = v[eye] - anatomy.joint(f"joint-{side}-eye", v)
        aux[eye, :3] = away / np.linalg.norm(away, axis=1, keepdims=True)
    lash = part == Part.LASH
    aux[lash, 0], aux[lash, 1] = v[lash, 0], v[lash, 1] < 7.28
    return aux


def eye_vertices(anatomy: Anatomy, side: str) -> np.ndarray:
    """(N,) bool: the vertices of the person's left (`"l"`) or right (`"r"`) eyeball."""
    return (anatomy.part == Part.EYE) & ((anatomy.vertices[:, 0] > 0) == (side == "l"))


def _clothes(anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """The vertices of the skin that clothes can cover (up to the jaw), and the triangles between them."""
    v = anatomy.vertices[anatomy.faces]
    covered = (anatomy.part[anatomy.faces] == Part.SKIN).all(axis=1) & (v[..., 1] < 6.5).all(axis=1)
    covered &= (anatomy.masks["mouth"][anatomy.faces] < 0.5).all(axis=1)
    covered &= ~((v[..., 1] > 6.05) & (v[..., 2] > 0.75)).any(axis=1)  # the chin stays bare
    numbers, inverse = np.unique(anatomy.faces[covered], return_inverse=True)
    return numbers, inverse.reshape(-1, 3)


def _hair(anatomy: Anatomy) -> tuple[np.ndarray, ...]:
    """A grid of points on the skull by angle and elevation: points, outward, carriers, shares, aux.

    The last rows repeat the lowest one, for hair that hangs. The first and the last column are the seam at
    the back (angles -pi and pi).
    """
    v = anatomy.vertices
    x, y, z = v.T
    ear = (np.abs(x) > 0.70) & (y < 7.85) & (z > 0.15) & (z < 0.85)
    face = (np.abs(x) < 0.5) & (y < 7.35) & (z > 0.7)
    neck = (y < 6.3) | ((z > 0.55) & (y < 6.6))
    skull = np.flatnonzero(
        (anatomy.part == Part.SKIN) & ~ear & ~face & ~neck & (anatomy.masks["mouth"] < 0.5)
    )
    away = v[skull] - _SKULL
    radius = np.linalg.norm(away, axis=1)

    theta = np.linspace(-np.pi, np.pi, _COLUMNS)
    phi = np.deg2rad(np.linspace(89, -22, _ROWS_SKULL))[:, None]
    direction = np.stack(
        [np.cos(phi) * np.sin(theta), np.sin(phi) + 0 * theta, np.cos(phi) * np.cos(theta)], axis=2
    )
    cosine = direction @ (away / radius[:, None]).T
    nearest = np.argsort(-cosine, axis=2)[..., :6]
    angle = np.arccos(np.clip(np.take_along_axis(cosine, nearest, 2), -1, 1))
    shares = np.exp(-((angle / np.deg2rad(7)) ** 2)) + 1e-6
    shares /= shares.sum(axis=2, keepdims=True)
    reach = (shares * radius[nearest]).sum(axis=2)
    for _ in range(3):
        reach = 0.5 * reach + 0.25 * (np.roll(reach, 1, 1) + np.roll(reach, -1, 1))
    reach[0] = reach[0].mean()

    rows = np.minimum(np.arange(_ROWS_SKULL + _ROWS_HANGING), _ROWS_SKULL - 1)
    outward = direction[rows]
    flat = outward[_ROWS_SKULL:] * [1, 0, 1]
    outward[_ROWS_SKULL:] = flat / np.linalg.norm(flat, axis=2, keepdims=True)
    aux = np.zeros((len(rows), _COLUMNS, 4), np.float32)
    aux[..., 0], aux[..., 2] = theta, phi[rows]
    points = (_SKULL + direction * reach[..., None])[rows]
    shares = shares[rows].astype(np.float32)
    return points.astype(np.float32), outward.astype(np.float32), skull[nearest][rows], shares, aux


def grid_triangles(grid: np.ndarray) -> np.ndarray:
    """The triangles between neighbours of a grid of vertex numbers, (rows, columns) to (F, 3)."""
    a, b, c, d = (g.ravel() for g in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def glasses_points(half_width: float, half_height: float, roundness: float, wire: float) -> np.ndarray:
    """(n, 3) points of a pair of glasses in front of the undeformed eyes.

    Args:
        half_width, half_height: of a lens, dm.
        roundness: exponent of the superellipse |x/a|^r + |y/b|^r = 1; 2 is an ellipse, more is squarer.
        wire: radius of the frame, dm.
    """
    angle = np.linspace(0, 2 * np.pi, _RING, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    x = half_width * np.sign(c) * np.abs(c) ** (2 / roundness) + _EYE[0]
    y = half_height * np.sign(s) * np.abs(s) ** (2 / roundness) + _EYE[1]
    points = []
    for sign in (1, -1):
        curve = np.stack([sign * x, y, _front(x)], axis=1)
        points.append(_tube(curve, wire, closed=True))
        points.append(np.concatenate([curve, [[sign * _EYE[0], _EYE[1], _front(_EYE[0])]]]))
    inner, outer = _EYE[0] - half_width, _EYE[0] + half_width
    x = np.linspace(-inner, inner, _RING)
    high, arch = _EYE[1] + 0.4 * half_height, 1 - (x / inner) ** 2
    points.append(_tube(np.stack([x, high + 0.05 * arch, _front(x) + 0.03 * arch], 1), wire, closed=False))
    way = np.linspace(0, 1, _RING)  # along a temple, from the lens to the ear
    x = outer + (0.76 - outer) * way**0.6
    y = high + (7.42 - high) * way - 0.2 * np.maximum(way - 0.9, 0)
    z = _front(outer) + (0.4 - _front(outer)) * way
    points += [_tube(np.stack([sign * x, y, z], 1), wire, closed=False) for sign in (1, -1)]
    return np.concatenate(points).astype(np.float32)


def _front(x: np.ndarray | float) -> np.ndarray | float:
    """Depth (z) of the front of the glasses: bent around the face."""
    return 1.62 - 0.35 * np.maximum(np.abs(x) - 0.15, 0) ** 2


def _tube(curve: np.ndarray, radius: float, closed: bool) -> np.ndarray:
    """Points around a curve, (points x _TUBE, 3)."""
    along = np.roll(curve, -1, 0) - np.roll(curve, 1, 0) if closed else np.gradient(curve, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    first = np.cross(along, [0.31, 0.2, 0.93])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(along, first)
    angle = np.linspace(0, 2 * np.pi, _TUBE, endpoint=False)[None, :, None]
    ring = curve[:, None] + radius * (np.cos(angle) * first[:, None] + np.sin(angle) * second[:, None])
    return ring.reshape(-1, 3)


def _glasses_mesh() -> tuple[np.ndarray, ...]:
    """Points of a pair of glasses, triangles, how each point follows the `ANCHORS`, and which are lens."""
    tube = np.pad(np.arange(_RING * _TUBE).reshape(_RING, _TUBE), ((0, 0), (0, 1)), mode="wrap")
    open_faces = grid_triangles(tube)
    closed_faces = np.concatenate([open_faces, grid_triangles(tube[[-1, 0]])])
    disc = np.stack([np.arange(_RING), np.roll(np.arange(_RING), -1), np.full(_RING, _RING)], axis=1)
    ends = np.linspace(0, 1, _RING).repeat(_TUBE)
    pieces = (  # triangles, and what the points follow; in the order of `glasses_points`
        (closed_faces, {"eye.L": 1}),
        (disc, {"eye.L": 1}),
        (closed_faces, {"eye.R": 1}),
        (disc, {"eye.R": 1}),
        (open_faces, {"eye.L": 0.5, "eye.R": 0.5}),
        (open_faces, {"eye.L": 1 - ends, "ear.L": ends}),
        (open_faces, {"eye.R": 1 - ends, "ear.R": ends}),
    )
    faces, anchors, is_lens, start = [], [], [], 0
    for triangles, followed in pieces:
        count = triangles.max() + 1
        follow = np.zeros((count, len(ANCHORS)), np.float32)
        for anchor, share in followed.items():
            follow[:, ANCHORS.index(anchor)] = share
        faces.append(triangles + start)
        anchors.append(follow)
        is_lens.append(np.full(count, triangles is disc))
        start += count
    points = glasses_points(0.24, 0.18, 2.6, 0.015)
    return points, *map(np.concatenate, (faces, anchors, is_lens))
