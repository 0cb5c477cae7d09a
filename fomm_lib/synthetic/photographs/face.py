"""The face layer: which triangles of the bust carry the photograph, lids, and the strength of a blink."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse.csgraph
from scipy.ndimage import binary_dilation, binary_erosion

from fomm_lib.synthetic.anatomy import LANDMARKS, Part, load_anatomy
from fomm_lib.synthetic.photographs.canvas import Canvas
from fomm_lib.synthetic.photographs.fit import Fit
from fomm_lib.synthetic.photographs.landmarks import EYES, LIPS
from fomm_lib.synthetic.photographs.pixels import nearest, polygon, rasterize
from fomm_lib.synthetic.photographs.shape import actions

MOUTH, INNER_MOUTH = slice(48, 60), slice(60, 68)
"""The landmarks around the lips, and those inside of them."""

BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")
_SEAL = 0.004  # dm that closed lips, and closed lids, overlap
_LIDS = (((43, 44), (47, 46)), ((37, 38), (41, 40)))  # landmarks on upper and lower lid, as `BLINKS`
_FACING, _FACING_JAW = 0.33, 0.08  # cosines to the camera from which a triangle carries the photograph
_NOSTRILS = 6.82  # above it the mask of the mouth is that of the nostrils; undeformed head, dm
_MOUTH_HEIGHT = 6.7  # below it, on the undeformed head, `_FACING_JAW` holds


@dataclass(frozen=True)
class Regions:
    """Vertices of the undeformed bust: (N,) bool each.

    Attributes:
        ear, neck: drawn by the outer layer.
        central: lids, nose and lips, drawn by the face layer wherever they face.
        cavity: the inside of the mouth.
    """

    ear: np.ndarray
    neck: np.ndarray
    central: np.ndarray
    cavity: np.ndarray


@lru_cache(maxsize=1)
def regions() -> Regions:
    """The regions of the bust that the layers treat differently."""
    anatomy = load_anatomy()
    x, y, z = np.abs(anatomy.vertices[:, 0]), *anatomy.vertices.T[1:]
    ear = (x > 0.70) & (y > 6.7) & (y < 7.9) & (z > 0.1) & (z < 0.92)
    neck = (y < 6.1) | ((z < 0.75) & (y < 6.35)) | ((y < 6.22) & (z < 1.15))
    central = (x < 0.55) & (z > 0.95) & (y > 6.45) & (y < 7.62)
    mouth = (y > 6.2) & (y < _NOSTRILS)
    central |= (anatomy.masks["mouth"] > 0.1) & mouth
    return Regions(ear, neck, central, (anatomy.masks["mouth"] > 0.5) & mouth)


@dataclass(frozen=True)
class Face:
    """The face layer.

    Attributes:
        triangles: (F, 3) of the bust's skin; facing: (F,) cosines of their normals to the camera.
        skin: (K, 3) all triangles of skin, and skin_facing: (K,).
        mask: (H, W) bool: pixels of the canvas that show the face.
        depth: (H, W) float32 there, NaN elsewhere.
        lid: (N,) how much a vertex moves in a blink, 0 to 1.
        closing: (2,) strengths of `BLINKS` that just close the eyes of this head.
        sealing: strength of `mouthClose` that just closes the lips of this head at rest.
    """

    triangles: np.ndarray
    facing: np.ndarray
    skin: np.ndarray
    skin_facing: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    lid: np.ndarray
    closing: tuple[float, float]
    sealing: float


def make_face(canvas: Canvas, fit: Fit) -> Face:
    """Choose the triangles that the photograph is projected onto: those that face the camera."""
    anatomy, where = load_anatomy(), regions()
    skin = anatomy.faces[(anatomy.part[anatomy.faces] == Part.SKIN).all(axis=1)]
    corners = fit.to_camera(fit.deformed)[skin]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = normal[:, 2] / (np.linalg.norm(normal, axis=1) + 1e-9)
    # At the jaw the outer layer must not show a second outline, so that the face layer reaches around it.
    least = np.where(anatomy.vertices[skin, 1].mean(axis=1) < _MOUTH_HEIGHT, _FACING_JAW, _FACING)
    chosen = (facing > least) & ~where.ear[skin].any(axis=1)
    chosen |= where.central[skin].all(axis=1)
    height, width = canvas.shape
    column, row = np.clip(np.round(canvas.points), 0, [width - 1, height - 1]).astype(int).T
    solid = canvas.alpha[row, column] > 0.6
    chosen &= ~where.neck[skin].any(axis=1) & solid[skin].all(axis=1)

    chosen[chosen] = _without_fragments(skin[chosen])

    front = chosen & (facing > 0)
    depth = rasterize(skin[front], canvas.points, canvas.depth, canvas.shape)
    mask = ~np.isnan(depth)
    mask = binary_erosion(binary_dilation(mask, iterations=3), iterations=3)
    for opening in (*EYES, MOUTH):
        mask |= polygon(canvas.shape, canvas.landmarks[opening]) > 0.5
    depth = np.where(mask & np.isnan(depth), nearest(depth, ~np.isnan(depth)), depth)
    return Face(
        skin[chosen],
        facing[chosen],
        skin,
        facing,
        mask,
        np.where(mask, depth, np.nan),
        _lids(),
        _closing(fit),
        _sealing(fit),
    )


def _without_fragments(triangles: np.ndarray) -> np.ndarray:
    """(F,) bool: triangles of the largest connected surface, without those that hang on by one edge.

    Fragments at the corner of the jaw would float beside a head that turns.
    """
    kept = np.ones(len(triangles), bool)
    sides = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]], axis=2)
    edge = np.unique(sides.reshape(-1, 2), axis=0, return_inverse=True)[1].reshape(-1, 3)
    for _ in range(3):
        neighbours = np.bincount(edge[kept].ravel(), minlength=edge.max() + 1)[edge]
        kept &= (neighbours > 1).sum(axis=1) > 1
    number, of_edge = np.repeat(np.flatnonzero(kept), 3), edge[kept].ravel() + len(triangles)
    total = len(triangles) + edge.max() + 1
    graph = scipy.sparse.coo_matrix((np.ones(len(number)), (number, of_edge)), shape=(total, total))
    piece = scipy.sparse.csgraph.connected_components(graph, directed=False)[1][: len(triangles)]
    return kept & (piece == np.bincount(piece[kept]).argmax())


@lru_cache(maxsize=1)
def _lids() -> np.ndarray:
    """(N,): how far down a blink moves a vertex of the skin, as a share of the farthest."""
    anatomy = load_anatomy()
    down = -actions()[[anatomy.action_names.index(name) for name in BLINKS], :, 1]
    lid = np.clip(down.sum(axis=0) / np.abs(down).max(), 0, 1)
    lid[anatomy.part != Part.SKIN] = 0
    return lid.astype(np.float32)


def _closing(fit: Fit) -> tuple[float, float]:
    """The strength of a blink that closes each eye: the gap over how much a blink reduces it, at most."""
    anatomy = load_anatomy()
    rest = fit.actions.copy()  # brows and cheeks move lids too
    rest[[k for k, name in enumerate(anatomy.action_names) if name.startswith("eye")]] = 0
    height = (fit.neutral + np.tensordot(rest, actions(), 1))[:, 1]
    landmarks, strengths = anatomy.indices(LANDMARKS), []
    for name, (upper, lower) in zip(BLINKS, _LIDS, strict=True):
        move = actions()[anatomy.action_names.index(name), :, 1]
        upper, lower = landmarks[list(upper)], landmarks[list(lower)]
        gap, change = height[upper] - height[lower], move[upper] - move[lower]
        strengths.append(float(np.clip((gap + _SEAL) / -change, 0.2, 1.6).max()))
    return tuple(strengths)


def _sealing(fit: Fit) -> float:
    """The strength of `mouthClose` that takes the largest gap between the lips of a face at rest."""
    anatomy = load_anatomy()
    upper, lower = anatomy.indices(LANDMARKS)[np.array(LIPS)]
    move = actions()[anatomy.action_names.index("mouthClose"), :, 1]
    gap, change = fit.neutral[upper, 1] - fit.neutral[lower, 1], move[upper] - move[lower]
    return float(np.clip((gap + _SEAL) / -change, 0, 1).max())
