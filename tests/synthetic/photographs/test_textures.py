"""Textures: nothing of the eyes on lids, nothing of the face behind it."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.photographs.landmarks import EYES
from fomm_lib.synthetic.photographs.pixels import luminance, polygon
from fomm_lib.synthetic.photographs.textures import SCALE, mouth_opening


@pytest.mark.needs_system
def test_eyes_are_filled_with_skin_on_the_skin(smiling):
    layers = smiling.layers
    eyes = [polygon(layers.textures.skin.shape[:2], layers.canvas.landmarks[e], SCALE) > 0.9 for e in EYES]
    for eye in eyes:
        original = luminance(layers.textures.eyes[eye].astype(float))
        filled = luminance(layers.textures.skin[eye].astype(float))
        lids = luminance(layers.textures.lids[eye].astype(float))
        assert filled.std() < 0.6 * original.std()
        assert lids.std() < 0.6 * original.std()
        assert 0.6 < lids.mean() / layers.textures.skin_luminance < 1.4


@pytest.mark.needs_system
def test_teeth_come_from_an_open_mouth(closed, smiling):
    assert mouth_opening(closed.layers.canvas) < 0.03 < mouth_opening(smiling.layers.canvas)
    assert closed.layers.textures.teeth[..., 3].max() == 0
    assert smiling.layers.textures.teeth[..., 3].max() == 255
    assert luminance(smiling.layers.textures.tooth) > 40


@pytest.mark.needs_system
def test_the_outer_texture_is_the_photograph_beside_the_face(closed):
    layers = closed.layers
    height, width = layers.canvas.shape
    outer = layers.textures.outer[::SCALE, ::SCALE].astype(float)
    assert outer.shape == (height, width, 4)
    hair = (layers.canvas.alpha > 0.99) & ~layers.face.mask
    hair &= layers.canvas.rows < layers.canvas.landmarks[19, 1] - 20
    error = np.abs(outer[..., :3] - layers.canvas.person)[hair]
    assert hair.sum() > 200 and np.median(error) < 5
