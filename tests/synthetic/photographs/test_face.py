"""The face layer: one surface, and blinks that close."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.anatomy import LANDMARKS, load_anatomy
from fomm_lib.synthetic.photographs.face import regions
from fomm_lib.synthetic.photographs.layers import Kind
from fomm_lib.synthetic.photographs.posture import at_rest
from fomm_lib.synthetic.photographs.sheet import with_actions
from tests.support.portraits import kinds_of, photograph


@pytest.mark.needs_system
def test_the_face_is_one_surface_without_fragments(closed):
    faces = closed.layers.face.triangles
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, edge, count = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    shared = (count[edge.reshape(-1, 3)] > 1).sum(axis=1)
    assert (shared > 0).all() and (shared > 1).mean() > 0.95
    where = regions()
    assert not (where.ear | where.neck)[faces].any()
    landmarks = load_anatomy().indices(LANDMARKS)
    assert set(landmarks[27:]) <= set(faces.ravel())


@pytest.mark.needs_system
@pytest.mark.parametrize(("number", "smiles"), [(2, False), (3, True), (11, True)])
def test_closed_lids_leave_no_gap(tools, number, smiles):
    head = photograph(number, smiles)
    rest, blink = (kinds_of(head, at_rest(head.fit, blink=b), 512) == Kind.EYE for b in (0.0, 1.0))
    assert rest.sum() > 300
    assert blink.sum() <= 0.005 * rest.sum()


@pytest.mark.needs_system
@pytest.mark.parametrize(("number", "smiles"), [(2, False), (3, True), (11, True)])
def test_closed_lips_leave_no_gap(tools, number, smiles):
    head = photograph(number, smiles)
    inside = [Kind.TEETH, Kind.TONGUE, Kind.CAVITY, Kind.CARD]
    rest = at_rest(head.fit)
    shut = at_rest(head.fit, actions=with_actions(head.fit, {}), own=0.0)
    seen = np.isin(kinds_of(head, shut, 512), inside).sum()
    assert seen <= 12  # of 262144 pixels; the line between the lips is some 100 long
    if smiles:
        assert np.isin(kinds_of(head, rest, 512), inside).sum() > 300
