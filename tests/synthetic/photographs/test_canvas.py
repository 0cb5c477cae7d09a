"""The canvas: the photograph in its middle, and shoulders that go on."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.photographs.canvas import BOTTOM, SIDES, TOP, make_canvas
from fomm_lib.synthetic.photographs.matte import Matte


@pytest.mark.needs_system
def test_the_photograph_is_in_the_middle(closed):
    canvas, image = closed.layers.canvas, closed.portrait.image
    assert canvas.shape == (image.shape[0] + TOP + BOTTOM, image.shape[1] + 2 * SIDES)
    assert (canvas.image[TOP:-BOTTOM, SIDES:-SIDES] == image).all()
    assert np.abs(canvas.landmarks - canvas.offset - closed.portrait.landmarks).max() < 1e-9
    assert np.abs(canvas.texture_points(np.array([[-0.5, -0.5]]))).max() == 0


@pytest.mark.needs_system
def test_shoulders_go_on_along_their_slope_and_a_cut_crown_stays_cut(closed):
    height, width = closed.portrait.image.shape[:2]
    y, x = np.mgrid[:height, :width]
    alpha = (y > 150 + 0.5 * np.abs(x - width / 2)).astype(np.float32)
    alpha[:, 100:150] = 1  # cut off by the upper border
    colours = np.zeros((height, width, 3), np.float32)
    canvas = make_canvas(closed.portrait, closed.fit, Matte(alpha, colours, colours, 1.0, 0.0))
    top = (canvas.alpha > 0.5).argmax(axis=0)
    for x0, x1 in ((4, 60), (-60, -4)):
        assert np.abs(np.diff(top[x0:x1])).mean() == pytest.approx(0.5, abs=0.05)
    assert np.abs(np.diff(top[: SIDES + 20])).max() <= 1
    assert not (canvas.alpha[: TOP - 4] > 0).any()
