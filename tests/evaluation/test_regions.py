"""Metrics of parts of an image: closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.evaluation.movements import TEMPLATE
from fomm_lib.evaluation.regions import (
    face_boxes,
    head_outline,
    laplacian_variance,
    sharpness_ratio,
    uncovered,
    uncovered_error,
)

NONE = np.full((68, 2), np.nan)


def face(x=128.0, y=120.0, scale=40.0):
    return scale * TEMPLATE[:, :2] * [1, -1] + [x, y]


def waves(w, size=64):
    """(1, 3, size, size): a cosine along x; whole periods, so that means are exact."""
    x = torch.arange(size, dtype=torch.float64)
    return (0.5 + 0.4 * torch.cos(w * x)).expand(1, 3, size, size).clone()


# --- sharpness ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("periods", [2, 8, 16])
def test_a_blur_has_the_ratio_of_its_frequency_response(periods):
    """Blurred by (1, 2, 1) / 4, a cosine is H = (1 + cos w) / 2 times as high, its Laplacian too."""
    w = 2 * np.pi * periods / 64
    true = waves(w)
    blurred = (true.roll(1, 3) + 2 * true + true.roll(-1, 3)) / 4
    box = [(0, 0, 63 + 1, 64)]
    assert sharpness_ratio(blurred, true, box)[0] == pytest.approx(((1 + np.cos(w)) / 2) ** 2, rel=0.02)
    inner = laplacian_variance(true[0, :, :, : 34 if periods == 2 else 64])
    expected = (0.4 * (2 - 2 * np.cos(w))) ** 2 / 2
    assert inner == pytest.approx(expected, rel=0.1)


def test_sharpness_by_hand():
    image = torch.rand(3, 5, 4, dtype=torch.float64)
    grey = (0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]).numpy()
    by_hand = [
        grey[i - 1, j] + grey[i + 1, j] + grey[i, j - 1] + grey[i, j + 1] - 4 * grey[i, j]
        for i in range(1, 4)
        for j in range(1, 3)
    ]
    assert laplacian_variance(image) == pytest.approx(np.var(by_hand))


def test_sharpness_counts_the_face_only():
    true = torch.rand(3, 3, 64, 64)
    blurred = true.clone()
    blurred[..., :32] *= 0.5
    boxes = [(0, 0, 32, 64), (32, 0, 64, 64), None]
    assert sharpness_ratio(blurred, true, boxes) == pytest.approx([0.25, 1, np.nan], nan_ok=True)
    flat = torch.full((1, 3, 64, 64), 0.5)
    assert np.isnan(sharpness_ratio(true[:1], flat, boxes[:1])).all()
    with pytest.raises(InputError, match="cannot be compared"):
        sharpness_ratio(true, true[:2], boxes)


def test_boxes_are_around_the_face_and_inside_the_image():
    left, top, right, bottom = face_boxes(face()[None], (256, 256))[0]
    low, high = face().min(axis=0), face().max(axis=0)
    assert (left, top) == pytest.approx(low, abs=1) and (right, bottom) == pytest.approx(high, abs=1)
    half = face_boxes(face()[None], (128, 128))[0]
    assert half == pytest.approx([left / 2, top / 2, right / 2, bottom / 2], abs=1)
    outside, beyond = face_boxes(np.stack([face(x=10), face(x=-100)]), (256, 256))
    assert outside[0] == 0 and outside[2] > 8 and beyond is None
    assert face_boxes(NONE[None], (256, 256)) == [None]
    wide = face_boxes(face()[None], (128, 256))[0]  # the longer side is 256: the same pixels
    assert wide[:3] == (left, top, right) and wide[3] == 128


# --- uncovered background -----------------------------------------------------------------------------------


def test_the_outline_is_the_jaw_and_its_mirror():
    for roll in (0, 0.4):
        turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        outline = head_outline(face() @ turn.T)
        assert np.allclose(outline[:17], (face() @ turn.T)[:17])
        ears = (outline[0] + outline[16]) / 2
        assert np.allclose(outline[8] + outline[25], 2 * ears)  # chin and top, of a symmetric face
    assert not np.isfinite(head_outline(np.zeros((68, 2)))).all()


def test_uncovered_is_where_the_head_was_and_is_no_longer():
    source, truth = torch.zeros(3, 256, 256), torch.ones(1, 3, 256, 256)
    (moved,) = uncovered(source, truth, face(x=100), face(x=160)[None])
    assert moved[120, 62] and not moved[120, 110] and not moved[120, 160] and not moved[120, 250]
    width = np.ptp(face()[:17, 0])
    # From the left end of the larger outline before, to that of the still larger one now.
    expected = 60 - (1.2 - 1.1) * width / 2
    assert moved[120].sum() == pytest.approx(expected, abs=2.5)
    assert not uncovered(source, truth, face(), face()[None]).any()
    assert not uncovered(source, truth * 0, face(x=100), face(x=160)[None]).any()  # the wall looks the same
    for before, now in ((NONE, face()), (face(), NONE), (np.zeros((68, 2)), face())):
        assert not uncovered(source, truth, before, now[None]).any()


def test_the_error_counts_the_band_only():
    truth = torch.zeros(2, 3, 40, 40)
    prediction = truth.clone()
    mask = np.zeros((2, 40, 40), bool)
    mask[0, 10:20, 10:20] = True
    prediction[0, :, 10:20, 10:15] = 0.5
    prediction[0, :, 30:] = 1
    mask[1, 0, 0] = True  # less than 0.2 % of the image
    assert uncovered_error(prediction, truth, mask) == pytest.approx([0.25, np.nan], nan_ok=True)
    with pytest.raises(InputError, match="cannot be compared"):
        uncovered_error(prediction, truth[:1], mask)
