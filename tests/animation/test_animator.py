"""The animator against the plain model: batches, the reference frame, larger images, what can be animated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.animation.animator import AnimatableModel, Animator, generated_size
from fomm_lib.animation.fast import FastModel
from fomm_lib.errors import InputError
from fomm_lib.media.tensors import to_tensor
from tests.support.odd_files import portrait
from tests.support.small_model import small_model


@pytest.fixture(scope="module")
def model():
    """A small model whose images are not all but grey, so that they can differ."""
    model = small_model()
    with torch.no_grad():
        model.generator.final.weight.mul_(100)
    return model


def test_the_animator_is_the_model_frame_by_frame(model):
    """Encoding the source once and working in batches changes nothing."""
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(5, 3, 32, 32)
    with torch.inference_mode():
        expected = torch.cat([model(source, frame[None]).prediction for frame in driving])
    animator = Animator(model, source, relative=False)
    got = torch.cat([animator(driving[:3]).prediction, animator(driving[3:]).prediction])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_the_first_frame_of_a_relative_animation_reconstructs_the_source(model):
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        still = model(source, source).prediction
    animator = Animator(model, source)
    torch.testing.assert_close(animator(driving[:1]).prediction, still, atol=1e-4, rtol=1e-4)
    moved = animator(driving[1:]).prediction  # and that frame stays the reference
    again = Animator(model, source)(driving).prediction[1:]
    torch.testing.assert_close(moved, again, atol=1e-5, rtol=1e-5)


def test_a_reference_that_is_set(model):
    """With the second frame as reference, that one shows the source at rest; None starts over."""
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(3, 3, 32, 32)
    animator = Animator(model, source)
    rest = animator(driving[:1]).prediction
    animator.set_reference(animator.detect(driving[1:2]))
    torch.testing.assert_close(animator(driving[1:2]).prediction, rest, atol=1e-4, rtol=1e-4)
    assert (animator(driving[:1]).prediction - rest).abs().max() > 0.01
    animator.set_reference(None)
    torch.testing.assert_close(animator(driving[2:]).prediction, rest, atol=1e-4, rtol=1e-4)


def test_a_source_as_an_image_of_any_size(model):
    image, driving = portrait(96), torch.rand(2, 3, 32, 32)
    source = to_tensor(image, (32, 32))[None]
    found = Animator(model, image)(driving).prediction
    assert torch.equal(found, Animator(model, source)(driving).prediction)


def test_a_larger_size_has_the_same_motion(model):
    """Only the features are finer: keypoints, flow and masks are those of the model's size."""
    image, driving = portrait(96), torch.rand(2, 3, 32, 32)
    plain, large = (Animator(model, image, size=size)(driving) for size in (None, 64))
    assert large.prediction.shape == (2, 3, 64, 64)
    assert torch.equal(large.deformation, plain.deformation)
    as_tensor = Animator(model, to_tensor(image, (32, 32))[None], size=64)(driving)
    assert torch.equal(as_tensor.deformation, plain.deformation)
    assert as_tensor.prediction.shape == (2, 3, 64, 64)


def test_sizes_that_a_model_generates(model):
    assert generated_size(model, None) == generated_size(model, 32) == (32, 32)
    assert generated_size(model, 36) == (36, 36)
    for size in (0, 30, 8192):
        with pytest.raises(InputError, match=f"size = {size}: should be a multiple of 4, at most 4096"):
            Animator(model, np.zeros((8, 8, 3), np.uint8), size=size)


def test_what_can_be_animated(model):
    assert isinstance(model, AnimatableModel) and isinstance(FastModel(model), AnimatableModel)
    assert not isinstance(model.generator, AnimatableModel)
    with pytest.raises(InputError, match=r"in training mode.*; call model.eval\(\) first"):
        Animator(small_model().train(), torch.rand(1, 3, 32, 32))


def test_sizes_of_a_model_whose_images_are_not_square():
    wide = small_model({"dataset_params.frame_shape": [32, 48, 3]})
    assert generated_size(wide, None) == generated_size(wide, 32) == (32, 48)
    assert generated_size(wide, 64) == (64, 96) and generated_size(wide, 40) == (40, 60)
    tall = small_model({"dataset_params.frame_shape": [48, 32, 3]})
    assert generated_size(tall, 64) == (96, 64)
    for size in (0, -32, 36, 33, 2736):
        with pytest.raises(InputError, match=f"size = {size}: should be a multiple of 8, at most 2728"):
            generated_size(tall, size)


def test_a_source_in_memory(model):
    image = portrait(48)
    expected = Animator(model, image).kp_source.value
    torch.testing.assert_close(Animator(model, Image.fromarray(image)).kp_source.value, expected)
    for thing, words in (
        (None, "the source is a NoneType; give the name of a file, a Pillow image"),
        ("me.jpg", "the source is a str"),
        (torch.zeros(3, 32, 32), r"the source is a tensor \(3, 32, 32\); it must be \(1, 3, H, W\)"),
        (torch.zeros(1, 1, 32, 32), "the source is a tensor"),
    ):
        with pytest.raises(InputError, match=words):
            Animator(model, thing)
