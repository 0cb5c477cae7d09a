"""The surfaces around the anatomy: triangles, their vertices, and the points of glasses."""

from __future__ import annotations

import numpy as np

from fomm_lib.synthetic.anatomy import Part, load_anatomy
from fomm_lib.synthetic.surfaces import ANCHORS, eye_vertices, glasses_points, grid_triangles, load_surfaces


def test_a_grid_has_two_triangles_a_cell():
    triangles = grid_triangles(np.arange(12).reshape(3, 4))
    assert triangles.shape == (12, 3) and set(triangles.ravel()) == set(range(12))


def test_every_triangle_is_of_one_part_and_every_part_has_some(anny):
    surfaces = load_surfaces()
    parts = surfaces.part[surfaces.faces]
    assert (parts == parts[:, :1]).all()
    assert set(np.unique(parts)) == set(Part)
    assert surfaces.faces.max() < len(surfaces.part) == len(surfaces.canonical) == len(surfaces.weights)
    assert np.allclose(surfaces.weights.sum(axis=1), 1, atol=1e-5)


def test_the_sum_around_a_vertex_is_over_its_triangles(anny):
    surfaces = load_surfaces()
    vertex = surfaces.faces[1000, 0]
    around = surfaces.around[vertex].indices
    assert set(around) == set(np.flatnonzero((surfaces.faces == vertex).any(axis=1)))


def test_glasses_are_symmetric_and_each_point_follows_its_side(anny):
    surfaces = load_surfaces()
    glasses = np.isin(surfaces.part, (Part.FRAME, Part.LENS))
    points = glasses_points(0.25, 0.15, 2.0, 0.01)
    assert points.shape == (glasses.sum(), 3)
    assert abs(points[:, 0].min() + points[:, 0].max()) < 0.01
    follow = surfaces.frame_anchors
    assert follow.shape == (len(points), len(ANCHORS)) and np.allclose(follow.sum(axis=1), 1)
    left = follow[:, ANCHORS.index("eye.L")] == 1
    assert (points[left, 0] > 0).all()


def test_the_two_eyes_are_apart(anny):
    anatomy = load_anatomy()
    left, right = (eye_vertices(anatomy, side) for side in "lr")
    assert left.sum() == right.sum() > 0 and not (left & right).any()
    assert (anatomy.part[left | right] == Part.EYE).all()
