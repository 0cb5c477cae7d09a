"""Layers: one list of vertices, each of a kind."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.anatomy import load_anatomy
from fomm_lib.synthetic.photographs.layers import Kind, chin_height


@pytest.mark.needs_system
def test_every_vertex_has_a_kind_and_a_place(closed, smiling):
    for layers in (closed.layers, smiling.layers):
        bust, grid, card = len(load_anatomy().vertices), len(layers.outer.points), len(layers.card.pixels)
        assert len(layers.kinds) == 2 * bust + 2 * grid + card
        assert layers.texture_points.shape == (len(layers.kinds), 2) and layers.triangles.max() < len(
            layers.kinds
        )
        assert set(np.unique(layers.kinds)) >= {Kind.SKIN, Kind.EYE, Kind.CAVITY, Kind.OUTER, Kind.BACK}
        drawn = layers.texture_points[np.unique(layers.triangles)]
        assert drawn.min() > -0.2 and drawn.max() < 1.2
    assert len(closed.layers.card.pixels) == 0 < len(smiling.layers.card.pixels)


@pytest.mark.needs_system
def test_the_head_moves_whole_and_shoulders_stay(closed):
    bust, outer, _ = closed.layers.head_shares
    chin, y = chin_height(closed.fit), closed.fit.deformed[:, 1]
    face = closed.layers.face.triangles.ravel()
    assert (bust[face][y[face] > chin + 0.2] == 1).all()
    assert (outer[closed.layers.outer.front[:, 1] < chin - 0.8] == 0).all()


@pytest.mark.needs_system
def test_the_card_lies_behind_the_lips(smiling):
    depth = smiling.fit.to_camera(smiling.layers.card.points)[:, 2] + 20
    lips = smiling.layers.canvas.depth[smiling.fit.vertices[[62, 66]]]
    assert depth.max() < lips.max() and depth.max() > lips.max() - 0.4
