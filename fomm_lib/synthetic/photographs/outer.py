"""The outer layer: hair, ears, neck and clothes as a surface over the canvas, and the back of the head.

Its depth is smooth (Laplace's equation) between what is known: the fitted bust, the rim of the face, and the
silhouette, whose depth is that of the ears. Towards the silhouette depth must not fall faster than
`_SLOPE`, or cheeks and ears tear into rags when they turn to the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    distance_transform_edt,
    gaussian_filter,
    grey_dilation,
    maximum_filter,
)
from scipy.spatial import cKDTree

from fomm_lib.synthetic.photographs.canvas import Canvas
from fomm_lib.synthetic.photographs.face import Face, regions
from fomm_lib.synthetic.photographs.fit import DISTANCE, Fit
from fomm_lib.synthetic.photographs.pixels import nearest, rasterize
from fomm_lib.synthetic.surfaces import grid_triangles

STEP = 2  # pixels between the points of the grid
_SILHOUETTE = -0.62  # depth of the head's outline in the person frame, dm: ears, crown
_LOWER_EDGE = -0.3
_SLOPE = 1.5  # dm a dm
_HIDDEN = 14  # pixels inside the face from which on nothing of the outer layer is drawn


@dataclass(frozen=True)
class Outer:
    """The outer layer, a grid of M points.

    Attributes:
        points: (M, 2) in pixels of the canvas.
        front, back: (M, 3) in the person frame: the surface that the photograph shows, and the one behind it,
            mirrored in depth at the silhouette, that closes hair and ears when the head turns.
        front_triangles, back_triangles: (F, 3).
        hidden: (M,) bool: points far behind the face, where the front is left out.
        follow: (M, N) sparse: how the points move with the vertices of the face.
    """

    points: np.ndarray
    front: np.ndarray
    back: np.ndarray
    front_triangles: np.ndarray
    back_triangles: np.ndarray
    hidden: np.ndarray
    follow: scipy.sparse.csr_matrix


def make_outer(canvas: Canvas, face: Face, fit: Fit) -> Outer:
    """Build the outer layer around a face."""
    depth, alpha = _depth(canvas, face, fit), canvas.alpha[::STEP, ::STEP]
    empty = alpha <= 0.02
    depth = nearest(depth, ~empty)
    rim = ~empty & ~binary_erosion(~empty, iterations=2, border_value=1)
    behind = depth
    if rim.any():
        behind = np.minimum(2 * gaussian_filter(nearest(depth, rim), 4) - depth, depth - 0.02)
    y, x = np.mgrid[: canvas.shape[0] : STEP, : canvas.shape[1] : STEP]
    points = np.stack([x, y], axis=-1).reshape(-1, 2).astype(float)
    front, back = (fit.lift(points - canvas.offset, z.ravel()).astype(np.float32) for z in (depth, behind))
    triangles = grid_triangles(np.arange(depth.size).reshape(depth.shape))
    drawn = (maximum_filter(canvas.alpha, 2 * STEP + 1)[::STEP, ::STEP] > 0.03).ravel()
    # Far inside the face nothing is needed, and it would be seen through an open mouth.
    hidden = (distance_transform_edt(face.mask)[::STEP, ::STEP] > _HIDDEN).ravel()
    some = drawn[triangles].any(axis=1)
    above_chin = (points[:, 1] < canvas.landmarks[8, 1])[triangles].all(axis=1)
    return Outer(
        points,
        front,
        back,
        triangles[some & ~hidden[triangles].all(axis=1)],
        triangles[some & above_chin],
        hidden,
        _follow(canvas, face, points, drawn),
    )


def _depth(canvas: Canvas, face: Face, fit: Fit) -> np.ndarray:
    """(rows, columns) of the grid: depth against the eyes, dm."""
    value, known = _known_depth(canvas, face, fit)
    depth = _laplace(value[::STEP, ::STEP], known[::STEP, ::STEP])
    alpha, rows = canvas.alpha[::STEP, ::STEP], canvas.rows[::STEP, ::STEP]
    of_face = face.depth[::STEP, ::STEP]
    whole = np.where(np.isnan(of_face), depth, of_face)
    # The slope limit is a grey dilation with a cone.
    radius = int(1.2 * canvas.eye_distance / STEP)
    ky, kx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    cone = -_SLOPE * np.hypot(ky, kx) * STEP * DISTANCE / fit.focal
    jaw = canvas.landmarks[[4, 12], 1].mean()
    lifted = grey_dilation(np.where((rows < jaw) & (alpha > 0.3), whole, -9.0), structure=cone)
    amount = np.clip((jaw + 0.35 * canvas.eye_distance - rows) / (0.35 * canvas.eye_distance), 0, 1)
    depth = np.where(alpha > 0.02, depth + amount * np.maximum(lifted - depth, 0), depth)
    # Inside the face it lies behind it.
    inside = np.minimum(distance_transform_edt(face.mask) / 6, 1)[::STEP, ::STEP]
    return np.where(np.isnan(of_face), depth, np.minimum(depth, of_face - 0.02 - 0.12 * inside))


def _known_depth(canvas: Canvas, face: Face, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) depths, and where they are known: bust, rim of the face, silhouette, lower edge."""
    where, front = regions(), face.skin_facing > 0
    bust = rasterize(face.skin[face.skin_facing > 0.15], canvas.points, canvas.depth, canvas.shape)
    is_ear = where.ear.astype(np.float32)
    ear = rasterize(face.skin[front], canvas.points, canvas.depth, canvas.shape, is_ear) > 0.05
    chin, upper = canvas.landmarks[8, 1], canvas.rows < canvas.landmarks[[4, 12], 1].mean()
    person = canvas.alpha > 0.5
    on_bust = binary_erosion(~np.isnan(bust) & ~binary_dilation(ear, iterations=2), iterations=4)
    on_bust &= (canvas.alpha > 0.6) & ~face.mask & (canvas.rows < chin + 0.55 * canvas.eye_distance)
    rim = face.mask & ~binary_erosion(face.mask, iterations=5) & upper & ~np.isnan(face.depth)
    silhouette = person & ~binary_erosion(person, iterations=2, border_value=1)
    head = canvas.rows < chin + 0.1 * canvas.eye_distance
    edge = np.zeros(canvas.shape, bool)
    edge[-2:] = True

    def from_person(z: float) -> float:
        return float(fit.to_camera(np.array([[0, 0, z]]))[0, 2] + DISTANCE)

    value, known = np.zeros(canvas.shape, np.float32), np.zeros(canvas.shape, bool)
    outline, shoulders = from_person(_SILHOUETTE), from_person(_SILHOUETTE - 0.1)
    for pixels, depth in (
        (on_bust, bust),
        (rim, face.depth - 0.02),
        (silhouette & head & ~on_bust & ~rim, outline),
        (silhouette & ~head & ~on_bust & ~rim, shoulders),
        (~binary_dilation(person, iterations=3), shoulders),
        (edge, from_person(_LOWER_EDGE)),
    ):
        value, known = np.where(pixels, depth, value), known | pixels
    return value, known


def _laplace(value: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Solve Laplace's equation on a grid (h, w), with values where they are `known`."""
    number = np.arange(value.size).reshape(value.shape)
    pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    one = np.concatenate([a.ravel() for a, _ in pairs])
    other = np.concatenate([b.ravel() for _, b in pairs])
    rows, columns = np.r_[one, other], np.r_[other, one]
    links = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(value.size, value.size))
    laplacian = (scipy.sparse.diags(np.asarray(links.sum(axis=1)).ravel()) - links).tocsr()
    result, fixed = value.ravel().astype(float).copy(), known.ravel()
    free = ~fixed
    right = -laplacian[free][:, fixed] @ result[fixed]
    result[free] = scipy.sparse.linalg.spsolve(laplacian[free][:, free].tocsc(), right)
    return result.reshape(value.shape)


def _follow(canvas: Canvas, face: Face, points: np.ndarray, drawn: np.ndarray) -> scipy.sparse.csr_matrix:
    """Points move with the mean of the six nearest vertices of the face, less the farther they are."""
    vertices = np.unique(face.triangles[face.facing > 0])
    outside, unit = np.flatnonzero(drawn), canvas.eye_distance
    distance, neighbour = cKDTree(canvas.points[vertices]).query(points[outside], k=6)
    share = 1 / (distance + 0.02 * unit)
    share /= share.sum(axis=1, keepdims=True)
    fade = np.exp(-((np.maximum(distance[:, 0] - 0.02 * unit, 0) / (0.16 * unit)) ** 2))
    values = (share * fade[:, None]).ravel()
    places = np.repeat(outside, 6), vertices[neighbour].ravel()
    return scipy.sparse.csr_matrix((values, places), shape=(len(points), len(canvas.points)))
