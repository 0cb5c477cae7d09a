"""`keypoints`: the soft arg max, the detector, and what holds keypoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fomm_lib.blocks import AntiAliasDownsample
from fomm_lib.errors import InputError
from fomm_lib.geometry import coordinate_grid
from fomm_lib.keypoints import KeypointDetector, Keypoints, soft_argmax
from tests.support.small_model import small_model

SMALL = {"num_kp": 3, "block_expansion": 4, "max_features": 16, "num_blocks": 2, "scale_factor": 0.5}


def one_hot(row: int, column: int, height: int = 5, width: int = 9) -> torch.Tensor:
    heatmap = torch.zeros(1, 1, height, width)
    heatmap[..., row, column] = 1
    return heatmap


# --- soft arg max -------------------------------------------------------------------------------------------


def test_soft_argmax_of_one_pixel_is_its_place():
    grid = coordinate_grid(5, 9)
    for row, column in [(0, 0), (4, 8), (2, 4), (3, 1)]:
        assert torch.equal(soft_argmax(one_hot(row, column))[0, 0], grid[row, column])


def test_soft_argmax_of_an_even_map_is_the_middle():
    result = soft_argmax(torch.full((2, 3, 5, 9), 1 / 45))
    torch.testing.assert_close(result, torch.zeros(2, 3, 2), rtol=0, atol=1e-6)


def test_soft_argmax_is_a_mean():
    heatmap = 0.25 * one_hot(0, 0) + 0.75 * one_hot(4, 4)
    torch.testing.assert_close(soft_argmax(heatmap)[0, 0], torch.tensor([-0.25, 0.5]))


def test_a_shifted_map_gives_a_shifted_point():
    heatmap = torch.zeros(1, 2, 12, 16)
    heatmap[..., 3:7, 2:8] = torch.rand(1, 2, 4, 6)
    heatmap /= heatmap.sum(dim=(2, 3), keepdim=True)
    moved = soft_argmax(heatmap.roll((2, 5), dims=(2, 3))) - soft_argmax(heatmap)
    expected = torch.tensor([5 * 2 / 15, 2 * 2 / 11]).expand(1, 2, 2)
    torch.testing.assert_close(moved, expected)


# --- the detector -------------------------------------------------------------------------------------------


def test_what_the_detector_gives():
    keypoints = small_model().detect(torch.rand(2, 3, 32, 32))
    assert keypoints.value.shape == (2, 3, 2)
    assert keypoints.jacobian.shape == (2, 3, 2, 2)
    assert keypoints.heatmap.shape == (2, 3, 10, 10), "16 pixels less the border of a 7x7 convolution"
    torch.testing.assert_close(keypoints.heatmap.sum(dim=(2, 3)), torch.ones(2, 3))
    assert torch.equal(keypoints.value, soft_argmax(keypoints.heatmap))
    assert (keypoints.value.abs() <= 1).all()


def test_a_jacobian_is_the_mean_of_its_maps_under_the_heatmap():
    detector = small_model().kp_detector
    kept = {}
    detector.jacobian.register_forward_hook(lambda _, __, maps: kept.update(maps=maps))
    keypoints = detector(torch.rand(2, 3, 32, 32))
    for k in range(3):
        for i in range(4):
            expected = (kept["maps"][:, 4 * k + i] * keypoints.heatmap[:, k]).sum(dim=(1, 2))
            torch.testing.assert_close(keypoints.jacobian[:, k].flatten(1)[:, i], expected)


@pytest.mark.parametrize("single", [False, True])
def test_jacobians_start_as_the_identity(single):
    keypoints = KeypointDetector(**SMALL, single_jacobian_map=single)(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(keypoints.jacobian, torch.eye(2).expand(2, 3, 2, 2))


def test_single_jacobian_map():
    model = small_model({"model_params.kp_detector_params.single_jacobian_map": True})
    detector = model.kp_detector
    assert detector.jacobian.weight.shape[0] == 4
    kept = {}
    detector.jacobian.register_forward_hook(lambda _, __, maps: kept.update(maps=maps))
    keypoints = detector(torch.rand(2, 3, 32, 32))
    expected = torch.einsum("bkhw,bjhw->bkj", keypoints.heatmap, kept["maps"]).unflatten(-1, (2, 2))
    torch.testing.assert_close(keypoints.jacobian, expected)
    assert not torch.allclose(keypoints.jacobian[:, 0], keypoints.jacobian[:, 1]), "weighted by own heatmaps"


def test_without_jacobians():
    detector = KeypointDetector(**SMALL, estimate_jacobian=False)
    assert detector(torch.rand(1, 3, 32, 32)).jacobian is None
    assert not any("jacobian" in name for name in detector.state_dict())


def test_without_shrinking():
    detector = KeypointDetector(**{**SMALL, "scale_factor": 1})
    assert "down.weight" not in detector.state_dict()
    assert detector(torch.rand(1, 3, 16, 16)).heatmap.shape == (1, 3, 10, 10)


def test_a_lower_temperature_gives_peakier_maps():
    image = torch.rand(1, 3, 32, 32)
    detector = small_model().kp_detector
    peaks = []
    for temperature in (1.0, 0.1, 0.01):
        detector.temperature = temperature
        peaks.append(detector(image).heatmap.amax(dim=(2, 3)))
    assert (peaks[0] < peaks[1]).all() and (peaks[1] < peaks[2]).all()


@torch.no_grad()
def looks_at_bright_pixels(pad: int) -> KeypointDetector:
    """A detector without an hourglass, whose keypoint is where the first channel is bright."""
    detector = KeypointDetector(num_kp=1, num_channels=1, block_expansion=1, num_blocks=1, pad=pad)
    detector.predictor = nn.Identity()
    detector.kp.weight.zero_()
    detector.kp.weight[:, 0, 3, 3] = 10  # over the temperature: a logit of 100
    return detector


@pytest.mark.parametrize(("pad", "size", "factor"), [(0, 58, 63 / 57), (3, 64, 1)])
def test_how_far_keypoints_lie_outside_what_they_look_at(pad, size, factor):
    image = torch.zeros(1, 2, 64, 64)
    image[..., 20, 45] = 1
    keypoints = looks_at_bright_pixels(pad)(image)
    assert keypoints.heatmap.shape == (1, 1, size, size)
    torch.testing.assert_close(keypoints.value[0, 0], factor * coordinate_grid(64, 64)[20, 45])


def test_published_size_of_the_map():
    with torch.device("meta"):
        keypoints = KeypointDetector(scale_factor=0.25)(torch.rand(1, 3, 256, 256))
    assert keypoints.heatmap.shape == (1, 10, 58, 58)


def test_half_precision_gives_points_in_float32():
    detector = small_model().kp_detector
    image = torch.rand(4, 3, 32, 32)
    exact = detector(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = detector(image)
    assert rough.value.dtype == rough.jacobian.dtype == rough.heatmap.dtype == torch.float32
    assert not torch.equal(rough.value, exact.value), "the hourglass did run in bfloat16"
    assert (rough.value - exact.value).abs().max() < 0.05
    assert (rough.jacobian - exact.jacobian).abs().max() < 0.05


def test_float64_stays():
    keypoints = small_model().kp_detector.double()(torch.rand(1, 3, 32, 32, dtype=torch.float64))
    assert keypoints.value.dtype == keypoints.jacobian.dtype == torch.float64


def test_an_image_that_does_not_fit():
    with pytest.raises(InputError, match="multiples of 4, not 15x16"):
        KeypointDetector(**SMALL)(torch.rand(1, 3, 30, 32))
    with pytest.raises(InputError, match=r"scale must be 1 divided by a whole number .* not 0\.3"):
        KeypointDetector(**{**SMALL, "scale_factor": 0.3})


# --- what holds keypoints -----------------------------------------------------------------------------------


@pytest.fixture
def keypoints():
    return Keypoints(torch.rand(5, 3, 2, requires_grad=True), torch.rand(5, 3, 2, 2), torch.rand(5, 3, 4, 4))


def test_some_of_the_images(keypoints):
    assert len(keypoints) == 5
    for index, length in [(slice(1, 3), 2), ([0, 4, 0], 3), (torch.tensor([2]), 1)]:
        some = keypoints[index]
        assert len(some) == length
        for part in ("value", "jacobian", "heatmap"):
            assert torch.equal(getattr(some, part), getattr(keypoints, part)[index])


@pytest.mark.parametrize("index", [1, np.int64(1)])
def test_a_plain_integer_is_refused(keypoints, index):
    message = r"index with a slice to keep the batch axis: kp\[1:2\], not kp\[1\]"
    with pytest.raises(TypeError, match=message):
        keypoints[index]


def test_detach_and_to(keypoints):
    assert keypoints.value.requires_grad and not keypoints.detach().value.requires_grad
    double = keypoints.to(torch.float64)
    assert {double.value.dtype, double.jacobian.dtype, double.heatmap.dtype} == {torch.float64}


def test_one_image_for_many_frames(keypoints):
    many = keypoints[2:3].expand(4)
    for part in ("value", "jacobian", "heatmap"):
        one = getattr(keypoints, part)[2:3]
        assert torch.equal(getattr(many, part), one.repeat(4, *[1] * (one.ndim - 1)))
    assert many.value.data_ptr() == keypoints.value[2:3].data_ptr(), "not copied"


def test_what_is_not_there_stays_away():
    bare = Keypoints(torch.rand(1, 3, 2))
    for changed in (bare.detach(), bare.to("cpu"), bare[0:1], bare.expand(5)):
        assert changed.jacobian is None and changed.heatmap is None


# --- beyond the paper ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("detail_features", [0, 4])
def test_the_detector_sees_what_downsampling_averages(detail_features):
    """Of two images with the same small image only a detector with detail tells which it is."""
    down = AntiAliasDownsample(1, 0.5)
    matrix = torch.autograd.functional.jacobian(down, torch.zeros(1, 1, 8, 8)).reshape(16, 64)
    pattern = torch.linalg.svd(matrix).Vh[-1].reshape(1, 1, 8, 8)
    assert down(pattern).abs().max() < 1e-6 and pattern.abs().max() > 0.1
    params = {**SMALL, "num_channels": 1, "pad": 3, "detail_features": detail_features}
    detector = KeypointDetector(**params).eval()
    assert detector.predictor.encoder.down_blocks[0].conv.in_channels == 1 + detail_features
    image = torch.full((1, 1, 8, 8), 0.5)
    moved = (detector(image + pattern).value - detector(image).value).abs().max()
    assert (moved > 1e-4) == bool(detail_features)


def test_detail_is_a_convolution_of_what_one_small_pixel_covers():
    detector = KeypointDetector(**SMALL, detail_features=4)
    unshuffle, convolution, _ = detector.detail
    assert (convolution.in_channels, convolution.out_channels) == (3 * 4, 4)
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(unshuffle(image)[0, :, 2, 5], image[0, :, 4:6, 10:12].flatten())
    assert KeypointDetector(**SMALL).detail is None
