"""Progressive growing: parts in closed form, and growing, fading and losses as in a public port.

The port (akanimax/pro_gan_pytorch) differs from the published network in three places, which `as_the_port`
changes: the first layer has gain sqrt(2) and no pixel norm after it, the last layers have gain sqrt(2).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fomm_lib import gan
from fomm_lib.errors import InputError
from fomm_lib.family.progressive import (
    EqualizedConv2d,
    Growth,
    PixelNorm,
    ProgressiveDiscriminator,
    ProgressiveGenerator,
    double,
    fade_images,
    halve,
    minibatch_stddev,
    progressive_step,
    width_of,
)
from tests.family.golden import fill_in_order, grad_norms, load, norm_of, parameters, signed

WIDTH = [16, 16, 8]


@pytest.fixture(scope="module")
def golden():
    return load("progan_akanimax_16px")


def as_the_port(golden):
    """Networks of 4 to 16 pixels with the port's numbers and its three differences."""
    generator = ProgressiveGenerator(3, latent=16, width=WIDTH.__getitem__)
    generator.first.scale *= 4
    generator.first.dense_norm = torch.nn.Identity()
    for layer in generator.to_rgb:
        layer.scale *= math.sqrt(2)
    discriminator = ProgressiveDiscriminator(3, width=WIDTH.__getitem__)
    discriminator.final.scale *= math.sqrt(2)
    fill_in_order(generator, golden["names_G"], 400, equalized=True)
    fill_in_order(discriminator, golden["names_D"], 401, ORDER_D, equalized=True)
    return generator, discriminator


def pairs(*names):
    return [f"{name}.{part}" for name in names for part in ("weight", "bias")]


# The port's layers begin with the largest images, ours with the smallest.
ORDER_D = pairs(*(f"blocks.{block}.{conv}" for block in (1, 0) for conv in ("conv1", "conv2")))
ORDER_D += pairs("last_conv", "dense", "final", *(f"from_rgb.{level}" for level in (2, 1, 0)))


@pytest.mark.parametrize(
    ("level", "alpha"), [(0, 1.0), (1, 0.0), (1, 0.3), (1, 1.0), (2, 0.0), (2, 0.3), (2, 1.0)]
)
@torch.no_grad()
def test_growing_and_fading_as_published(golden, level, alpha):
    generator, discriminator = as_the_port(golden)
    assert (parameters(generator), parameters(discriminator)) == (golden["params_G"], golden["params_D"])
    name = f"depth{level + 2}_alpha{alpha}"
    made = generator(torch.from_numpy(golden["z"]), level, alpha)
    np.testing.assert_allclose(made.numpy(), golden[f"G_{name}"], atol=1e-4)
    real = signed(411, 4 * 2**level, 8)
    np.testing.assert_allclose(discriminator(real, level, alpha).numpy(), golden[f"D_{name}"], atol=1e-4)


def test_losses_and_gradients_as_published(golden, monkeypatch):
    generator, discriminator = as_the_port(golden)
    epsilon = torch.from_numpy(golden["epsilon"])
    monkeypatch.setattr(gan.torch, "rand", lambda *args, **kwargs: epsilon)
    z, real = torch.from_numpy(golden["z"]), signed(411, 16, 8)
    with torch.no_grad():
        fake = generator(z, 2, 0.3)
    penalty = 10 * gan.gradient_penalty(lambda image: discriminator(image, 2, 0.3), real, fake)
    assert float(penalty.detach()) == pytest.approx(float(golden["gradient_penalty_times_10"]), rel=1e-3)

    networks = {"generator": generator, "discriminator": discriminator}
    optimizers = {name: torch.optim.SGD(network.parameters(), 0.0) for name, network in networks.items()}
    # The port's step does not fade real images itself: what it is given is taken as it is.
    monkeypatch.setattr("fomm_lib.family.progressive.fade_images", lambda image, alpha: image)
    losses = progressive_step(networks, optimizers, real, (z, z), 2, 0.3)
    disc = sum(float(losses[name]) for name in ("disc", "penalty", "drift"))
    assert disc == pytest.approx(float(golden["dis_loss"]), rel=1e-3)
    assert float(losses["gen"]) == pytest.approx(float(golden["gen_loss"]), rel=1e-3)
    entries = dict(discriminator.named_parameters())
    norms = [float(golden[key]) for key in golden if key.startswith("grad_norm_D/")]
    found = [norm_of(entries[name]) for name in ORDER_D]
    np.testing.assert_allclose(found, norms, rtol=2e-2, atol=1e-5)
    norms = [float(golden[key]) for key in golden if key.startswith("grad_norm_G/")]
    found = grad_norms(generator)
    np.testing.assert_allclose(found, norms, rtol=2e-2, atol=1e-5)


def test_the_minibatch_deviation_is_the_published_one_and_not_that_of_a_port(golden):
    x = torch.from_numpy(golden["stddev_in"])
    found = minibatch_stddev(x)[:, -1].numpy()
    np.testing.assert_allclose(found, golden["stddev_out"], atol=1e-5)
    assert np.abs(found - golden["stddev_zoo_out"]).max() > 0.01
    np.testing.assert_allclose(PixelNorm()(x).numpy(), golden["pixelnorm_out"], atol=1e-5)


def test_minibatch_deviation_in_closed_form():
    same = torch.ones(8, 3, 2, 2)
    torch.testing.assert_close(minibatch_stddev(same)[:, 3], torch.full((8, 2, 2), 1e-4))
    # Groups are {0, 2, 4, 6} and {1, 3, 5, 7}: +-1 and +-3 about their means.
    x = torch.tensor([1.0, 3, -1, -3, 1, 3, -1, -3]).view(8, 1, 1, 1)
    torch.testing.assert_close(minibatch_stddev(x)[:, 1].flatten(), torch.tensor([1.0, 3] * 4))
    assert minibatch_stddev(torch.rand(2, 1, 1, 1)).shape == (2, 2, 1, 1)
    with pytest.raises(InputError, match="a batch of 6 cannot be split into groups of 4"):
        minibatch_stddev(torch.zeros(6, 1, 1, 1))


def test_equalised_convolution(golden):
    conv = EqualizedConv2d(5, 3, 3)
    assert conv.scale == pytest.approx(float(golden["eqconv_scale"]))
    torch.manual_seed(0)
    conv = EqualizedConv2d(64, 256, 3, padding=1)
    with torch.no_grad():
        conv.bias.fill_(7.0)
        out = conv(torch.randn(4, 64, 16, 16))[..., 1:-1, 1:-1]
    assert float(out.std()) == pytest.approx(math.sqrt(2), rel=0.03)  # gain times the input's
    assert float(out.mean()) == pytest.approx(7.0, abs=0.03)  # the bias is not scaled
    # Adam's first step moves weights of any layer by the learning rate, so outputs by scale * rate.
    assert EqualizedConv2d(16, 1, 1, gain=1.0).scale == 0.25


def test_pixel_norm_gives_unit_mean_square_in_half_precision_too():
    x = torch.randn(2, 64, 4, 4) * 100
    torch.testing.assert_close(PixelNorm()(x).square().mean(1), torch.ones(2, 4, 4), atol=1e-4, rtol=0)
    half = PixelNorm()(torch.zeros(1, 4, 1, 1, dtype=torch.float16))
    assert half.dtype == torch.float16 and bool(half.isfinite().all())


def test_widths_as_published():
    assert [width_of(level) for level in range(9)] == [512, 512, 512, 512, 256, 128, 64, 32, 16]


def test_a_level_begins_as_the_enlarged_level_below():
    torch.manual_seed(0)
    generator = ProgressiveGenerator(3, latent=8, width=lambda level: 8)
    discriminator = ProgressiveDiscriminator(3, width=lambda level: 8)
    z, image = torch.randn(4, 8), torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(generator(z, 2, 0.0), double(generator(z, 1)))
        torch.testing.assert_close(discriminator(image, 2, 0.0), discriminator(halve(image), 1))
    torch.testing.assert_close(halve(double(image)), image)


def test_real_images_fade_too():
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(fade_images(image, 1.0), image)
    torch.testing.assert_close(fade_images(image, 0.0), double(halve(image)))
    torch.testing.assert_close(halve(fade_images(image, 0.3)), halve(image))


def test_the_schedule():
    growth = Growth(fade=100, stable=50, levels=3)
    places = {0: (0, 1.0), 49: (0, 1.0), 50: (1, 0.0), 75: (1, 0.25), 150: (1, 1.0), 199: (1, 1.0)}
    places |= {200: (2, 0.0), 299: (2, 0.99), 300: (2, 1.0), 10**6: (2, 1.0)}
    assert {seen: growth(seen) for seen in places} == places
    assert Growth(levels=1)(10**9) == (0, 1.0)


def test_the_critic_learns_to_tell_real_from_generated():
    torch.manual_seed(0)
    networks = {
        "generator": ProgressiveGenerator(1, latent=4, width=lambda level: 8),
        "discriminator": ProgressiveDiscriminator(1, width=lambda level: 8),
    }
    optimizers = {
        name: torch.optim.Adam(network.parameters(), 1e-3 * (name == "discriminator"), betas=(0.0, 0.99))
        for name, network in networks.items()
    }
    real = torch.full((8, 3, 4, 4), 0.8)
    gaps = []
    for _ in range(60):
        losses = progressive_step(networks, optimizers, real, (torch.randn(8, 4), torch.randn(8, 4)), 0, 1.0)
        gaps.append(float(losses["disc"]))
    assert np.mean(gaps[-10:]) < np.mean(gaps[:10]) - 0.2
