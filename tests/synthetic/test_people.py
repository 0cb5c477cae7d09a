"""Random people."""

from __future__ import annotations

import pytest

from fomm_lib.synthetic.clip import SyntheticClip


@pytest.mark.needs_system
def test_the_same_person_in_other_clips(drawing):
    a, b = (SyntheticClip(5, number, 1, 64, person_number=1) for number in (1, 2))
    assert (a.person.body.neutral == b.person.body.neutral).all()
    assert (a.frame(0) != b.frame(0)).mean() > 0.3
