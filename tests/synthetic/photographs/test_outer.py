"""The outer layer: no steeper than its limit, behind the face, nothing in the mouth."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.photographs.layers import Kind
from fomm_lib.synthetic.photographs.outer import STEP
from fomm_lib.synthetic.photographs.pixels import polygon
from fomm_lib.synthetic.photographs.posture import at_rest
from fomm_lib.synthetic.photographs.sheet import with_actions
from tests.support.portraits import kinds_of, landmarks_in, photograph

WIDE = {"jawOpen": 0.8, "mouthLowerDown": 0.3, "mouthUpperUp": 0.2}


@pytest.mark.needs_system
def test_the_head_falls_off_no_faster_than_the_limit(closed):
    canvas, outer = closed.layers.canvas, closed.layers.outer
    shape = canvas.alpha[::STEP, ::STEP].shape
    depth = closed.fit.to_camera(outer.front.astype(float))[:, 2].reshape(shape)
    step = STEP * 20 / closed.fit.focal
    head = (
        (canvas.alpha > 0.3) & (canvas.rows < canvas.landmarks[[4, 12], 1].mean()) & ~closed.layers.face.mask
    )
    inside = head[::STEP, ::STEP][:, 1:] & head[::STEP, ::STEP][:, :-1]
    slope = np.abs(np.diff(depth, axis=1))[inside] / step
    assert np.quantile(slope, 0.98) < 1.6
    behind = (outer.front - outer.back) @ closed.fit.rotation[2]
    assert behind.min() > 0


@pytest.mark.needs_system
@pytest.mark.parametrize(("number", "smiles"), [(2, False), (3, True), (5, True)])
def test_nothing_of_it_is_seen_in_an_open_mouth(tools, number, smiles):
    head = photograph(number, smiles)
    for yaw in (-15, 0, 15):
        turned = np.deg2rad([0, yaw, 0])
        pose = at_rest(head.fit, actions=with_actions(head.fit, WIDE), own=0.0, head=turned)
        mouth = polygon((512, 512), landmarks_in(head, pose, 512)[60:68]) > 0.5
        kinds = kinds_of(head, pose, 512)[mouth]
        assert mouth.sum() > 500
        assert np.isin(kinds, [Kind.OUTER, Kind.BACK, -1]).mean() < 0.003  # pixels on the outline
        assert np.isin(kinds, [Kind.TONGUE, Kind.CAVITY]).mean() > 0.3
