"""Solids: closed, of the right size and place."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.categories.solids import (
    Builder,
    rounded,
    spline_weights,
    sweep,
    tube_faces,
    turn_x,
    turn_y,
)
from fomm_lib.synthetic.categories.subject import Material

LINE = np.stack([np.zeros(5), np.zeros(5), np.linspace(0, 3, 5)], axis=1)


def volume(points: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (points[faces[:, k]] for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_a_tube_is_closed_and_every_edge_runs_both_ways():
    faces = tube_faces(5, 6)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert {tuple(edge) for edge in edges} == {tuple(edge) for edge in edges[:, ::-1]}
    assert len(np.unique(edges, axis=0)) == len(edges)


def test_the_volume_of_a_straight_tube_is_that_of_a_cylinder():
    points = sweep(LINE, np.full((5, 2), 0.5), np.array([1.0, 0, 0]), sides=64)
    assert abs(volume(points, tube_faces(5, 64))) == pytest.approx(np.pi * 0.25 * 3, rel=2e-3)


def test_a_high_exponent_makes_a_box():
    points = sweep(LINE, np.full((5, 2), [1.0, 2.0]), np.array([1.0, 0, 0]), sides=256, exponent=40)
    assert abs(volume(points, tube_faces(5, 256))) == pytest.approx(2 * 4 * 3, rel=0.02)


def test_rings_are_at_right_angles_to_the_line():
    bent = np.array([[0, 0, 0], [0, 1, 2], [0, 3, 3.0]])
    points = sweep(bent, np.ones((3, 2)), np.array([1.0, 0, 0]), sides=8)[:24].reshape(3, 8, 3)
    along = np.gradient(bent, axis=0)
    assert np.abs(((points - bent[:, None]) * along[:, None]).sum(-1)).max() < 1e-9
    assert np.allclose(np.linalg.norm(points - bent[:, None], axis=-1), 1)


def test_a_spline_goes_through_its_joints_and_keeps_lines_straight():
    weights = spline_weights(4, 10)
    joints = np.random.default_rng(0).normal(size=(4, 3))
    assert np.allclose((weights @ joints)[[0, 3, 6, 9]], joints)
    assert np.allclose(weights @ np.arange(4.0), np.linspace(0, 3, 10))


def test_rounded_ends():
    factors = rounded(11)
    assert np.allclose(factors, factors[::-1])
    assert factors[0] < 0.2 and factors[5] == 1


def test_a_builder_joins_solids():
    builder = Builder()
    builder.add_tube("first", 2, 3, np.array([1, 0, 0]), Material.FUR)
    builder.add_tube("second", 2, 4, np.array([0, 1, 0]), Material.PAINT)
    faces, aux = builder.joined()
    assert builder.spans == {"first": slice(0, 8), "second": slice(8, 18)}
    assert faces.max() == 17 and len(aux) == 18
    assert (aux[:8] == [1, 0, 0, Material.FUR]).all() and (aux[8:] == [0, 1, 0, Material.PAINT]).all()


@pytest.mark.parametrize("turn", [turn_x, turn_y])
def test_rotations(turn):
    assert np.allclose(turn(0.3) @ turn(0.4), turn(0.7))
    assert np.allclose(turn(0.3) @ turn(0.3).T, np.eye(3))
    assert np.linalg.det(turn(0.3)) == pytest.approx(1)
