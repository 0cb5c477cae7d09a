"""The masked-square test: what is masked, and painters whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.evaluation.inpainting import COLOURS, SQUARES, masked_square
from tests.support.small_model import small_model


@pytest.fixture
def model():
    return small_model({"dataset_params.frame_shape": [64, 64, 3]})


def test_a_painter_of_grey_and_one_that_sees_the_colour(model, monkeypatch):
    def grey(features):
        return torch.full((len(features), 3, *model.size), 0.5)

    monkeypatch.setattr(model.generator, "decode", grey)
    found = masked_square(model)
    by_hand = np.abs(np.array(COLOURS) - 0.5).mean(axis=1)
    assert list(found) == list(SQUARES) and all(np.allclose(found[side], by_hand) for side in SQUARES)
    assert by_hand.mean() == pytest.approx(0.30, abs=0.005)  # as docstring and tables say

    def knows(features):
        return torch.tensor(COLOURS)[:, :, None, None].expand(-1, -1, *model.size)

    monkeypatch.setattr(model.generator, "decode", knows)
    assert all(errors.max() < 1e-6 for errors in masked_square(model).values())


def test_the_square_is_hidden_and_nothing_else(model, monkeypatch):
    """The map that reaches the features: 0 in the square, 1 outside, and no motion."""
    seen = []
    deform = model.generator.deform

    def watch(features, motion):
        seen.append(motion)
        return deform(features, motion)

    monkeypatch.setattr(model.generator, "deform", watch)
    masked_square(model, squares=(8, 32, 100))
    for side, motion in zip((8, 32, 100), seen, strict=True):
        hidden = 1 - motion.occlusion[0, 0]
        size = hidden.shape[0]
        assert hidden.sum().item() == pytest.approx((side / 256 * size) ** 2, rel=1e-4)
        assert torch.allclose(hidden, hidden.flip(0)) and torch.allclose(hidden, hidden.T)
        assert hidden[0].max() == 0
        rows = torch.linspace(-1, 1, size)
        assert torch.allclose(motion.deformation[0, :, 0, 1], rows, atol=1e-4)


def test_the_model_is_left_as_it_was(model):
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = model(image, image.flip(3)).prediction
        masked_square(model, squares=(8,))
        with pytest.raises(RuntimeError):
            broken = torch.nn.Module.register_forward_pre_hook(model.generator.bottleneck, _fail)
            masked_square(model, squares=(8,))
        broken.remove()
        assert torch.equal(model(image, image.flip(3)).prediction, before)


def _fail(*_):
    raise RuntimeError


def test_without_an_occlusion_map_there_is_nothing_to_hide():
    model = small_model({"model_params.generator_params.estimate_occlusion_map": False})
    assert masked_square(model) == {}


def test_small_images_have_a_middle():
    assert np.isfinite(masked_square(small_model(), squares=(8,))[8]).all()


@pytest.mark.parametrize("squares", [(0,), (8, 257)])
def test_squares_that_do_not_fit(model, squares):
    with pytest.raises(InputError, match="1 to 256"):
        masked_square(model, squares)


@pytest.mark.parametrize("colours", [[(0, 0, 2)], [(0, 0)], [(-1, 0, 0)]])
def test_what_is_no_colour(model, colours):
    with pytest.raises(InputError, match="red, green and blue, 0 to 1"):
        masked_square(model, colours=colours)
