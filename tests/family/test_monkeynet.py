"""Monkey-Net: the published networks and two training steps; covariances; what its motion can say."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fomm_lib.family.monkeynet import (
    GaussianDiscriminator,
    GaussianKeypoints,
    MonkeyNet,
    gaussians,
    heatmap_covariance,
    monkeynet_step,
    widen,
)
from fomm_lib.geometry import coordinate_grid, gaussian_heatmaps
from fomm_lib.keypoints import soft_argmax
from tests.family.golden import fill_in_order, grad_norms, load, parameters
from tests.support.golden_recipe import image


@pytest.fixture(scope="module")
def golden():
    return load("monkeynet_small_align1")


SMALL = {"block_expansion": 8, "max_features": 64, "num_blocks": 4, "scale": 0.5}


def networks(golden):
    """The small model of the golden numbers, filled with them."""
    model = MonkeyNet(
        5,
        detector=SMALL,
        motion={**SMALL, "differences": True},
        generator={**SMALL, "refinement_blocks": 2},
    )
    discriminator = GaussianDiscriminator(5, 8, 64, 3)
    published = list(golden["names_generator"])
    entries = model.state_dict()
    ours = [
        name
        for part in ("encoder", "motion", "decoder", "refinement", "conv")
        for name in entries
        if name.startswith(f"generator.{part}.") or (part == "motion" and name.startswith("motion."))
    ]
    fill_in_order(model, published, 501, order=ours)
    fill_in_order(model.detector, golden["names_kp_detector"], 502)
    fill_in_order(discriminator, golden["names_discriminator"], 503)
    with torch.no_grad():
        model.motion.conv.weight.mul_(0.1)
    return model, discriminator


def at(tensor, pixels=16):
    step = max(1, tensor.shape[-1] // pixels)
    return tensor[..., ::step, ::step].detach().numpy()


@torch.no_grad()
def test_published_networks(golden):
    model, discriminator = networks(golden)
    assert parameters(model.detector) == golden["params_kp_detector"]
    assert parameters(model.motion) + parameters(model.generator) == golden["params_generator"]
    assert parameters(discriminator) == golden["params_discriminator"]
    model.eval(), discriminator.eval()
    source, driving = image(510, 64, 2), image(520, 64, 2)
    kp_source, kp_driving = model.detector(source), model.detector(driving)
    for name, kp in (("source", kp_source), ("driving", kp_driving)):
        np.testing.assert_allclose(kp.value.numpy(), golden[f"mean_{name}"], atol=1e-4)
        np.testing.assert_allclose(kp.covariance.numpy(), golden[f"var_{name}"], atol=1e-4)
    np.testing.assert_allclose(gaussians(kp_driving, 32, 32).numpy(), golden["gaussian_driving"], atol=1e-4)
    made = model.generate(source, kp_source, kp_driving)
    np.testing.assert_allclose(at(made.motion.embedding), golden["mask_embedding"], atol=1e-4)
    np.testing.assert_allclose(at(made.motion.mask), golden["mask"], atol=1e-4)
    np.testing.assert_allclose(at(made.motion.correction), golden["correction"], atol=1e-4)
    flow = made.motion.flow.permute(0, 3, 1, 2)
    np.testing.assert_allclose(at(flow), golden["deformation"][:, :2], atol=1e-4)
    for name in ("prediction", "deformed"):
        whole = getattr(made, name)
        np.testing.assert_allclose(at(whole), golden[name], atol=1e-4)
        found = [float(whole.mean()), float(whole.std())]
        np.testing.assert_allclose(found, golden[f"{name}_mean_std"], atol=1e-4)
    *maps, prediction = discriminator(driving, kp_driving)
    np.testing.assert_allclose(prediction.numpy(), golden["disc_prediction"], atol=1e-4)
    for i, features in enumerate(maps):
        found = [float(features.mean()), float(features.std())]
        np.testing.assert_allclose(found, golden[f"disc_map{i}_mean_std"], atol=1e-4)


def test_two_training_steps_as_published(golden):
    model, discriminator = (network.double().train() for network in networks(golden))  # see golden.py
    adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
    optimizers = {
        "generator": torch.optim.Adam([*model.motion.parameters(), *model.generator.parameters()], **adam),
        "detector": torch.optim.Adam(model.detector.parameters(), **adam),
        "discriminator": torch.optim.Adam(discriminator.parameters(), **adam),
    }
    weights = json.loads(str(golden["weights"]))
    names = {"deformed": "rec_def", "gen_gan": "gan", "disc": "disc"}
    for step, rel in ((0, 1e-3), (1, 1e-2)):
        losses = monkeynet_step(
            model,
            discriminator,
            optimizers,
            image(540 + step, 64, 2).double(),
            image(550 + step, 64, 2).double(),
            reconstruction=weights["reconstruction"],
            deformed=weights["reconstruction_deformed"],
        )
        for name, value in losses.items():
            wanted = float(golden[f"step{step}_{names.get(name, name)}"])
            assert float(value) == pytest.approx(wanted, rel=rel), (step, name)
        if step == 0:
            for kind, network in (("kp_detector", model.detector), ("discriminator", discriminator)):
                norms = [float(golden[key]) for key in golden if key.startswith(f"grad_norm/{kind}/")]
                np.testing.assert_allclose(grad_norms(network), norms, rtol=2e-2, atol=1e-4)


def test_parameters_of_the_full_size():
    with torch.device("meta"):
        model = MonkeyNet()
        assert parameters(model.detector) / 1e6 == pytest.approx(14.1, abs=0.05)
        whole = parameters(model.motion) + parameters(model.generator)
        assert whole / 1e6 == pytest.approx(80.6, abs=0.05)
        assert parameters(GaussianDiscriminator()) / 1e6 == pytest.approx(1.7, abs=0.05)


def test_mean_and_covariance_of_a_gaussian_come_back():
    mean = torch.tensor([[[0.2, -0.1]]])
    covariance = torch.tensor([[[[0.02, 0.006], [0.006, 0.01]]]])
    heatmap = gaussians(GaussianKeypoints(mean, covariance), 257, 257)
    heatmap = heatmap / heatmap.sum()
    found = soft_argmax(heatmap)
    torch.testing.assert_close(found, mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(heatmap_covariance(heatmap, found), covariance, atol=1e-4, rtol=0)


def test_an_isotropic_gaussian_is_the_models_own():
    points = torch.tensor([[[0.3, -0.5], [0.0, 0.0]]])
    kp = GaussianKeypoints(points, 0.01 * torch.eye(2).expand(1, 2, 2, 2))
    torch.testing.assert_close(gaussians(kp, 16, 24), gaussian_heatmaps(points, 16, 24))


def test_covariances_are_widened_as_a_whole_and_stay_finite(golden):
    wide = torch.tensor([[0.01, 0.002], [0.002, 0.02]])
    assert torch.equal(widen(wide), wide)
    turned = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    narrow = turned @ torch.diag(torch.tensor([0.00025, 0.003])) @ turned.T
    torch.testing.assert_close(widen(narrow), 4 * narrow, rtol=1e-4, atol=1e-8)
    found = widen(torch.from_numpy(golden["two_pixels_var"]).view(2, 2))
    assert not np.isfinite(golden["two_pixels_var_clipped"]).any() and bool(found.isfinite().all())
    assert bool(widen(torch.zeros(2, 2)).isfinite().all())
    kp = GaussianKeypoints(torch.zeros(1, 1, 2), widen(torch.zeros(1, 1, 2, 2)))
    assert bool(gaussians(kp, 8, 8).isfinite().all())


def test_widening_has_a_gradient_everywhere():
    for matrix in (torch.zeros(2, 2), torch.eye(2), 1e-4 * torch.eye(2)):
        matrix = matrix.clone().requires_grad_(True)
        widen(matrix).sum().backward()
        assert bool(matrix.grad.isfinite().all())
    matrix = torch.tensor([[2e-4, 1e-4], [1e-4, 5e-3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: widen((m + m.T) / 2), matrix)


def test_it_begins_with_the_background_and_equal_keypoints_move_nothing():
    torch.manual_seed(0)
    model = MonkeyNet(5, detector=SMALL, motion=SMALL, generator={**SMALL, "refinement_blocks": 1}).eval()
    source = torch.rand(1, 3, 64, 64)
    kp = GaussianKeypoints(torch.zeros(1, 5, 2), 0.01 * torch.eye(2).expand(1, 5, 2, 2))
    moved = GaussianKeypoints(kp.value + 0.2, kp.covariance)
    with torch.no_grad():
        still, motion = model.motion(source, kp, kp), model.motion(source, kp, moved)
    grid = coordinate_grid(32, 32)
    torch.testing.assert_close(still.flow[0], grid)
    share = float(torch.tensor([2.0, 0, 0, 0, 0, 0]).softmax(0)[0])
    torch.testing.assert_close(motion.mask[:, 0], torch.full((1, 32, 32), share))
    torch.testing.assert_close(motion.flow[0], grid - 0.2 * (1 - share), atol=1e-5, rtol=0)


def test_the_discriminator_does_not_move_the_detector():
    torch.manual_seed(0)
    model = MonkeyNet(5, detector=SMALL, motion=SMALL, generator={**SMALL, "refinement_blocks": 1})
    discriminator = GaussianDiscriminator(5, 8, 64, 3)
    optimizers = {
        "generator": torch.optim.SGD([*model.motion.parameters(), *model.generator.parameters()], 0.0),
        "detector": torch.optim.SGD(model.detector.parameters(), 0.0),
        "discriminator": torch.optim.SGD(discriminator.parameters(), 0.0),
    }
    images = torch.rand(2, 1, 3, 64, 64)
    silent = {"reconstruction": (0, 0, 0, 0), "adversarial": 0.0}
    losses = monkeynet_step(model, discriminator, optimizers, *images, **silent)
    assert float(losses["disc"]) > 0
    assert max(grad_norms(model.detector)) == 0 and max(grad_norms(discriminator)) > 0
