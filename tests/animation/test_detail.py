"""The detail of the source: closed forms at rest, of a constant, of a shift; and what has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fomm_lib.animation.animator import Animator
from fomm_lib.animation.detail import enlarged, lost_detail, with_detail
from fomm_lib.generator import Generated
from fomm_lib.geometry import coordinate_grid
from fomm_lib.media.tensors import resize_bicubic, to_tensor, to_uint8
from tests.support.odd_files import portrait
from tests.support.small_model import small_model


def vivid_model(changes=None):
    """A small model whose images are not all but grey."""
    model = small_model(changes)
    with torch.no_grad():
        model.generator.final.weight.mul_(100)
    return model


def at_rest(prediction, occlusion, side=8):
    """Without motion: the flow is the identity."""
    grid = coordinate_grid(side, side).expand(len(prediction), -1, -1, -1)
    return Generated(prediction, deformation=grid, occlusion_map=occlusion)


@pytest.mark.parametrize("align_corners", [True, False])
def test_at_rest_the_result_is_the_source(align_corners):
    """Whatever was generated, where the occlusion map is 1, the detail completes it to the source."""
    source, made = torch.rand(1, 3, 32, 24), torch.rand(1, 3, 16, 12)
    grid = coordinate_grid(8, 6, align_corners=align_corners)[None].expand(2, -1, -1, -1)
    generated = Generated(made.expand(2, -1, -1, -1), deformation=grid, occlusion_map=torch.ones(2, 1, 8, 6))
    result = with_detail(generated, lost_detail(source, made), align_corners=align_corners)
    torch.testing.assert_close(result, source.expand(2, -1, -1, -1), atol=2e-5, rtol=0)
    generated.occlusion_map = None  # a model without such a map shows everything
    result = with_detail(generated, lost_detail(source, made), align_corners=align_corners)
    torch.testing.assert_close(result, source.expand(2, -1, -1, -1), atol=2e-5, rtol=0)


def test_where_the_source_is_hidden_nothing_is_added():
    source, made = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 16, 16)
    occlusion = torch.ones(1, 1, 8, 8)
    occlusion[..., 4:] = 0
    result = with_detail(at_rest(made, occlusion), lost_detail(source, made))
    torch.testing.assert_close(result[..., 18:], enlarged(made, (32, 32))[..., 18:])
    torch.testing.assert_close(result[..., :14], source[..., :14], atol=2e-5, rtol=0)


def test_a_constant_image_has_no_detail():
    grey = torch.full((1, 3, 32, 32), 0.4)
    assert lost_detail(grey, torch.full((1, 3, 8, 8), 0.4)).abs().max() < 1e-6


def test_detail_moves_with_the_image():
    """A shift by whole pixels: the detail of the source is shifted by as many of the result, and the part
    that comes from outside has none.
    """
    source = torch.rand(1, 3, 32, 32)
    smooth = F.avg_pool2d(source, 2)
    lost = lost_detail(source, smooth)
    grid = coordinate_grid(16, 16)[None].clone()
    grid[..., 0] += 2 * 2 / 15  # copy from two pixels further right, which are four of the result
    result = with_detail(Generated(torch.full((1, 3, 16, 16), 0.5), deformation=grid), lost / 4)
    torch.testing.assert_close(result[..., :28] - 0.5, lost[..., 4:] / 4, atol=1e-5, rtol=0)
    torch.testing.assert_close(result[..., 29:], torch.full((1, 3, 32, 3), 0.5), atol=1e-5, rtol=0)


def test_images_are_enlarged_as_arrays_are():
    image = portrait(48)
    images = to_tensor(image)[None]
    assert enlarged(images, (48, 48)) is images
    difference = to_uint8(enlarged(images, (96, 80)))[0].astype(int) - resize_bicubic(image, (96, 80))
    assert np.abs(difference).max() <= 1
    overshoot = enlarged(torch.eye(8)[None, None], (64, 64))
    assert overshoot.min() >= 0 and overshoot.max() <= 1


def test_the_result_stays_in_range():
    result = with_detail(at_rest(torch.ones(1, 3, 8, 8), None), torch.ones(1, 3, 16, 16))
    assert result.max() == 1


# --- in the animator -----------------------------------------------------------------------------------


def test_the_animator_adds_what_the_formula_says():
    model, image, driving = vivid_model(), portrait(96), torch.rand(3, 3, 32, 32)
    plain = Animator(model, image, size=64)
    full = Animator(model, image, size=64, result=(128, 128), detail=True)
    plain.set_reference(plain.detect(driving[:1]))
    full.set_reference(full.detect(driving[:1]))
    made, rest = plain(driving), plain.generate(plain.kp_source)
    expected = with_detail(made, lost_detail(to_tensor(image, (128, 128))[None], rest.prediction))
    found = full(driving)
    torch.testing.assert_close(found.prediction, expected, atol=1e-5, rtol=0)
    assert torch.equal(found.deformation, made.deformation)
    without = Animator(model, image, size=64, result=(128, 128))
    without.set_reference(without.detect(driving[:1]))
    torch.testing.assert_close(
        without(driving).prediction, enlarged(made.prediction, (128, 128)), atol=1e-5, rtol=0
    )


def test_at_rest_an_animator_shows_more_of_the_source():
    """A model that generates grey, at rest: what is missing comes back as far as nothing hides it."""
    model, image = vivid_model(), portrait(96)
    source = to_tensor(image, (128, 128))[None]
    error = {}
    for detail in (False, True):
        animator = Animator(model, image, result=(128, 128), detail=detail)
        at_rest = animator.generate(animator.kp_source)
        error[detail] = (at_rest.prediction - source).abs()
    shown = F.interpolate(at_rest.occlusion_map, size=(128, 128), mode="bilinear", align_corners=False)
    assert (error[True] <= error[False] * (1 - 0.5 * shown) + 0.05).float().mean() > 0.9


def test_a_model_without_dense_motion_goes_without():
    model, image = vivid_model({"model_params.generator_params.dense_motion_params": None}), portrait(64)
    with_, without = (Animator(model, image, result=(64, 64), detail=detail) for detail in (True, False))
    assert torch.equal(
        with_.generate(with_.kp_source).prediction, without.generate(without.kp_source).prediction
    )
