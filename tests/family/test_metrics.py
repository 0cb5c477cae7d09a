"""Measures of the family: closed forms, invariances, and what they must tell apart."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fomm_lib.errors import InputError
from fomm_lib.family.metrics import (
    confusion_matrix,
    histogram_overlap,
    label_scores,
    laplacian_pyramid,
    opponent_colours,
    sliced_wasserstein,
)
from tests.support.golden_recipe import image


def test_scores_of_labels_in_closed_form():
    true = torch.tensor([[0, 0, 0, 1], [1, 2, 2, 2]])
    perfect = label_scores(confusion_matrix(true, true, 4))
    assert perfect == {"pixel_accuracy": 1.0, "class_accuracy": 1.0, "iou": 1.0}
    found = torch.tensor([[0, 0, 1, 1], [1, 2, 2, 0]])
    scores = label_scores(confusion_matrix(found, true, 4))  # class 3 does not occur
    assert scores["pixel_accuracy"] == 6 / 8
    assert scores["class_accuracy"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert scores["iou"] == pytest.approx((2 / 4 + 2 / 3 + 2 / 3) / 3)
    with pytest.raises(InputError, match=r"found has shape \(2,\), true \(3,\)"):
        confusion_matrix(torch.zeros(2), torch.zeros(3), 2)


def test_overlap_of_histograms():
    torch.manual_seed(0)
    a = torch.rand(10_000)
    assert histogram_overlap(a, a) == pytest.approx(1)
    assert histogram_overlap(a, torch.rand(10_000)) > 0.95
    assert histogram_overlap(a, a / 2) == pytest.approx(0.5, abs=0.02)
    assert histogram_overlap(torch.zeros(5), torch.ones(7)) == 0


def test_opponent_colours_ignore_brightness():
    grey = torch.full((1, 3, 1, 1), 0.3)
    assert opponent_colours(grey).abs().max() < 1e-7
    colour = torch.tensor([0.6, 0.2, 0.1]).view(1, 3, 1, 1)
    torch.testing.assert_close(opponent_colours(colour), opponent_colours(colour + 0.3))


def test_a_pyramid_sums_to_the_image():
    whole = image(3, 64, 2)
    bands = laplacian_pyramid(whole, 3)
    assert [band.shape[-1] for band in bands] == [64, 32, 16]
    small = bands[-1]
    for band in reversed(bands[:-1]):
        large = torch.zeros_like(band)
        large[..., ::2, ::2] = small
        taps = torch.tensor([1.0, 4, 6, 4, 1]) / 16
        kernel = (taps[:, None] * taps).expand(3, 1, 5, 5)
        small = band + 4 * F.conv2d(F.pad(large, (2, 2, 2, 2), mode="reflect"), kernel, groups=3)
    torch.testing.assert_close(small, whole)
    flat = laplacian_pyramid(torch.full((1, 3, 32, 32), 0.7), 2)
    assert flat[0].abs().max() < 0.05 and torch.allclose(flat[1], torch.tensor(0.7))


def test_sliced_wasserstein_orders_what_it_must():
    torch.manual_seed(0)
    real, other = (torch.stack([image(s + k, 64)[0] for k in range(16)]) for s in (100, 200))
    same = sliced_wasserstein(real, other)
    assert list(same) == [64, 32, 16]
    blurred = F.avg_pool2d(F.pad(real, (1, 1, 1, 1), mode="reflect"), 3, 1)
    noisy = (real + 0.1 * torch.randn_like(real)).clamp(0, 1)
    assert sliced_wasserstein(real, noisy)[64] > 2 * same[64]
    assert sliced_wasserstein(real, noisy)[16] < sliced_wasserstein(real, noisy)[64]
    assert sliced_wasserstein(real, blurred)[64] > 0
    assert sliced_wasserstein(real, real[torch.randperm(16)])[16] < same[16] * 2
    assert sliced_wasserstein(real, noisy) == sliced_wasserstein(real, noisy)
    assert sliced_wasserstein(real, noisy) != sliced_wasserstein(real, noisy, seed=1)


def test_sliced_wasserstein_does_not_see_brightness_or_contrast():
    real = torch.stack([image(k, 32)[0] for k in range(8)])
    assert max(sliced_wasserstein(real, 0.5 * real + 0.1).values()) < 1e-5


def test_what_sliced_wasserstein_refuses():
    with pytest.raises(InputError, match="give as many of each"):
        sliced_wasserstein(torch.zeros(2, 3, 32, 32), torch.zeros(3, 3, 32, 32))
    with pytest.raises(InputError, match="a patch of 7 pixels does not fit into 4"):
        sliced_wasserstein(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
