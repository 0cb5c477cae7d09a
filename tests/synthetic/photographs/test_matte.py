"""The matte: what is the person in a rendered head is known."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.synthetic.photographs.matte import cut_out
from tests.support.portraits import SMILE, photograph, rendered


@pytest.mark.needs_system
@pytest.mark.parametrize("number", [3, 11])
def test_person_and_background_are_told_apart(tools, number):
    head = photograph(number, smiles=True)
    matte = cut_out(head.portrait, head.fit)
    # The same head before a wall of another colour differs where the background is seen.
    other = rendered(number, actions=SMILE, wall=(0.45, 0.1, 0.1)).astype(float)
    background = np.abs(other - head.portrait.image).max(axis=2) > 30
    assert ((matte.alpha < 0.5) == background).mean() > 0.97
    assert matte.plainness > 0.9 and matte.alpha.min() == 0 and matte.alpha.max() == 1
    wall = head.portrait.image[2, 2].astype(float)
    assert np.abs(matte.background - wall).max(axis=2).mean() < 4
    assert 0 <= matte.grain < 3


@pytest.mark.needs_system
def test_the_parts_make_up_the_image(closed):
    matte = cut_out(closed.portrait, closed.fit)
    alpha = matte.alpha[..., None]
    error = np.abs(alpha * matte.person + (1 - alpha) * matte.background - closed.portrait.image)
    assert error.mean() < 1.5


@pytest.mark.needs_system
def test_a_background_that_is_not_plain_is_measured(closed):
    image = closed.portrait.image.copy()
    noise = np.random.default_rng(0).integers(0, 256, (image.shape[0] // 8, 32, 3), dtype=np.uint8)
    noise = noise.repeat(8, axis=0).repeat(8, axis=1)
    far = np.ones(image.shape[:2], bool)
    far[:, 50:200] = False
    portrait = type(closed.portrait)(np.where(far[..., None], noise, image), closed.portrait.landmarks)
    assert cut_out(portrait, closed.fit).plainness < 0.6
