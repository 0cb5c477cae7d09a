"""Measures and sample images of the test split, of models whose errors are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fomm_lib.files import data_path
from fomm_lib.generator import Generated
from fomm_lib.keypoints import Keypoints
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.training import validation
from tests.support.tiny_training import TINY


def test_sample_grid_is_as_wide_as_six_images_and_leaves_the_mode():
    model = FirstOrderMotionModel(TINY).train()
    grid = validation.sample_grid(model, *torch.rand(2, 2, 3, 32, 32))
    assert grid.dtype == np.uint8 and grid.shape == (2 * 194 + 2, 6 * 194 + 2, 3)
    assert model.training


class Repeats(torch.nn.Module):
    """A model that gives the source back, or the driving frame, and says that all moves so."""

    size, device = (128, 128), torch.device("cpu")

    def __init__(self, of="source", deformation=None, occlusion=None):
        super().__init__()
        self.of, self.anything = of, torch.nn.Parameter(torch.zeros(1))
        self.generator = SimpleNamespace(dense_motion_network=deformation is not None)
        self.motion = SimpleNamespace(deformation=deformation, occlusion=occlusion)

    def forward(self, source, driving):
        return Generated(source if self.of == "source" else driving)

    def detect(self, image):
        return Keypoints(torch.zeros(1, 1, 2))

    def dense_motion(self, source, kp_source, kp_driving):
        return self.motion


def test_validation_of_models_whose_errors_are_known(data):
    held_out = validation.Validation(data, (32, 32), pairs=6)
    assert held_out.source.shape == (6, 3, 32, 32) and held_out.truth == []
    assert held_out(Repeats("driving")) == {"l1": 0.0, "psnr": pytest.approx(100)}
    numbers = held_out(Repeats("source"))
    difference = held_out.source - held_out.driving
    assert numbers["l1"] == pytest.approx(float(difference.abs().mean()), rel=1e-5)
    assert not validation.Validation(data / "train", (32, 32))


def test_validation_knows_the_truth_about_synthetic_heads():
    heads = data_path("heads")
    held_out = validation.Validation(heads, (128, 128), pairs=1)
    assert len(held_out.truth) == 6
    with np.load(sorted((heads / "truth").glob("*.npz"))[0]) as truth:
        flow, visible = torch.from_numpy(truth["flow"].astype(np.float32)), torch.from_numpy(truth["visible"])
    held_out.truth = held_out.truth[:1]
    numbers = held_out(Repeats(deformation=flow[None], occlusion=visible[None, None].float()))
    assert numbers["epe_person"] < 1e-3 and numbers["occlusion_ap"] == pytest.approx(1)
    shifted = flow + torch.tensor([3 / 128, 4 / 128])  # by 3 and 4 pixels of 256
    shifted = held_out(Repeats(deformation=shifted[None], occlusion=1 - visible[None, None].float()))
    assert shifted["epe_person"] == pytest.approx(5, rel=1e-3) and shifted["occlusion_ap"] < 0.5
    assert shifted["expression"] == pytest.approx(numbers["expression"], rel=1e-3)  # the head alone is wrong
