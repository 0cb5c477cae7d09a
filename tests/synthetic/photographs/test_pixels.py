"""Arrays of pixels: areas, filling, sampling."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.photographs.pixels import (
    fill,
    luminance,
    nearest,
    polygon,
    rasterize,
    resize_float,
    sample_square,
)

SQUARE = np.array([[1.5, 1.5], [6.5, 1.5], [6.5, 4.5], [1.5, 4.5]])


def test_a_polygon_has_its_area():
    mask = polygon((8, 10), SQUARE)
    assert (mask[2:5, 2:7] == 1).all() and 15 <= mask.sum() < 17.5
    assert 60 <= polygon((16, 20), SQUARE, scale=2).sum() < 65
    assert polygon((8, 10), SQUARE, grow=0.7).sum() > 20


def test_filling_keeps_what_is_there_and_averages_around_the_rest():
    rng = np.random.default_rng(0)
    image, weight = rng.uniform(0, 255, (13, 22, 3)), np.ones((13, 22))
    assert np.allclose(fill(image, weight), image, atol=1e-3)
    weight[4:9, 6:14] = 0
    filled = fill(image, weight)
    assert np.allclose(filled[weight > 0], image[weight > 0], atol=1e-3)
    hole = filled[weight == 0]
    assert hole.min() >= image.min() - 1e-3 and hole.max() <= image.max() + 1e-3
    ramp = np.repeat(np.arange(22.0)[None, :, None], 13, axis=0).repeat(3, axis=2)
    assert np.abs(fill(ramp, weight) - ramp).max() < 5


def test_small_helpers():
    assert luminance(np.array([[1.0, 1, 1]])) == pytest.approx(1)
    known = np.zeros((3, 4), bool)
    known[:, 1] = True
    values = np.arange(12).reshape(3, 4)
    assert (nearest(values, known) == values[:, 1:2]).all()
    assert resize_float(np.ones((3, 4, 2)), (6, 8), 2).shape == (6, 8, 2)
    image = np.random.default_rng(0).uniform(size=(9, 9, 3))
    assert np.allclose(sample_square(image, (2, 3, 4), 4), image[3:7, 2:6], atol=1e-6)


@pytest.mark.needs_system
def test_the_nearest_triangle_is_drawn(drawing):
    points = np.array([[0, 0], [9, 0], [9, 9], [0, 9]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    both = np.concatenate([points, points / 2])
    drawn = rasterize(faces, both, np.repeat([0.0, 1.0], 4), (12, 10))
    assert (drawn[1:4, 1:4] == 1).all() and (drawn[6:9, 6:9] == 0).all()
    assert np.isnan(drawn[11]).all()
    across = rasterize(faces[:2], points, np.zeros(4), (12, 10), points[:, 0])
    assert np.allclose(across[1:9, 1:9], np.arange(1, 9), atol=1e-4)
    assert np.isnan(rasterize(faces[:0], points, np.zeros(4), (3, 3))).all()
