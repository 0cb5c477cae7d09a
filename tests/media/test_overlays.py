"""The watermark, and the result in the whole portrait."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.media.overlays import PasteBack, Watermark
from tests.support.odd_files import moving_frames

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("size", [(256, 256), (64, 64), (768, 256), (90, 40)])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_the_mark_is_seen_on_any_ground(size, grey):
    frame = np.full((size[1], size[0], 3), grey, np.uint8)
    marked = Watermark(size)(frame)
    assert (frame == grey).all() and marked.shape == frame.shape and marked.dtype == np.uint8
    changed = np.argwhere((marked != grey).any(axis=2))
    assert changed[:, 0].min() > size[1] // 2 and changed[:, 1].max() < size[0] - 1  # a corner, no more
    corner = marked[changed[:, 0].min() :, : changed[:, 1].max()].astype(int)
    assert corner.max() - corner.min() > 120  # letters and ground are far apart


def test_a_mark_on_all_but_nothing():
    for size in [(1, 1), (5, 3)]:
        assert Watermark(size)(np.zeros((size[1], size[0], 3), np.uint8)).shape == (size[1], size[0], 3)


def test_pasting_the_original_back_changes_nothing():
    image = moving_frames(2, (90, 70))[1]
    for x, y, side in [(10, 5, 40), (0, 0, 70), (20, 0, 70), (89, 69, 1)]:
        square = image[y : y + side, x : x + side]
        assert np.abs(PasteBack(image, (x, y, side))(square).astype(int) - image).max() <= 1


def test_outside_the_square_nothing_changes_and_inside_all():
    image = moving_frames(2, (90, 70))[1]
    other = np.random.default_rng(0).integers(60, 190, (48, 48, 3)).astype(np.uint8)
    whole = PasteBack(image, (20, 10, 48))(other)
    outside = np.ones(image.shape[:2], bool)
    outside[10:58, 20:68] = False
    assert (whole[outside] == image[outside]).all()
    middle = whole[18:50, 28:60].astype(int) - other[8:40, 8:40]
    assert middle.std(axis=(0, 1)).max() < 1  # but for the shift of colour that hides the seam


def test_no_seam():
    """A square that is brighter all over leaves no step: no larger one than was there before."""
    image = moving_frames(2, (120, 100))[1]
    brighter = (image[20:80, 30:90].astype(int) + 25).astype(np.uint8)
    whole = PasteBack(image, (30, 20, 60))(brighter).astype(int)
    for axis in (0, 1):
        steps, before = (np.abs(np.diff(p.astype(int), axis=axis)).max() for p in (whole, image))
        assert steps <= before + 2
    assert np.abs(whole - image).max() <= 2


def test_at_the_edge_of_the_image_nothing_fades():
    image = np.zeros((60, 60, 3), np.uint8)
    other = np.full((40, 40, 3), 100, np.uint8)
    other[:, :20] = 50
    whole = PasteBack(image, (0, 20, 40))(other)  # touches the left and the lower edge
    assert (whole[40:, 0] == whole[40:, 1]).all() and (whole[59, 5] == whole[58, 5]).all()
    assert np.abs(np.diff(whole[:, 10, 0].astype(int))).max() < 30


def test_a_square_that_is_the_whole_image():
    other = np.full((30, 30, 3), 77, np.uint8)
    assert np.array_equal(PasteBack(np.zeros((30, 30, 3), np.uint8), (0, 0, 30))(other), other)
