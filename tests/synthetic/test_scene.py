"""Cameras and backgrounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from fomm_lib.synthetic import scene as scene_module
from fomm_lib.synthetic.clip import SyntheticClip
from fomm_lib.synthetic.scene import sample_scene
from tests.support.synthetic_clips import quarters, still


@pytest.mark.needs_system
def test_heads_are_well_in_the_image(drawing):
    for number in range(8):
        clip = SyntheticClip(9, number, 1, 64, motion=lambda times: still(1))
        covered = (clip.places(0)[..., 3] > 0).float().mean()
        assert 0.15 < covered < 0.95
        assert (clip.landmarks(0).abs() < 1.1).all()


@pytest.mark.needs_system
def test_an_image_stands_upright_behind_the_person(drawing):
    backdrop = scene_module.backdrop(np.random.default_rng(1), quarters(), 128)
    assert backdrop.shape == (128, 128, 3)
    scene = sample_scene(np.random.default_rng(0), crown=8.2, chin=6.2)
    clear = replace(scene, blur=0, grain=0, contrast=1, saturation=1, vignette=0, tint=(1, 1, 1))
    clip = SyntheticClip(0, 0, 2, 64, scene=clear, background=quarters())
    clip._backdrop = quarters()  # all of it, so that one knows where it should be
    person = clip.places(0)[..., 3].numpy() > 0
    shown = clip.frame(0).astype(int)
    expected = quarters(64).astype(int)
    inner = ~binary_dilation(person, iterations=2)
    inner[30:34], inner[:, 30:34] = False, False  # borders between the colours are soft
    assert inner.sum() > 500
    assert np.abs(shown - expected)[inner].max() <= 3
    drawn = SyntheticClip(0, 0, 2, 64, scene=clear).frame(0).astype(int)
    assert np.abs(shown - drawn)[inner].mean() > 20
    core = binary_erosion(person, iterations=2)
    assert np.abs(shown - drawn)[core].max() <= 1  # the person is the same
