"""SRGAN: networks and losses as in a public port, pixel shuffle by hand, the two stages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.family.srgan import (
    PixelShuffleUp,
    SRDiscriminator,
    SRResNet,
    content_loss,
    srgan_step,
    srresnet_step,
)
from fomm_lib.gan import binary_cross_entropy
from tests.family.golden import every, fill_in_order, grad_norms, load, parameters
from tests.support.golden_recipe import image


@pytest.fixture(scope="module")
def golden():
    return load("srresnet_leftthomas_x4")


def networks(golden):
    generator = fill_in_order(SRResNet(blocks=5), golden["names_G"], 300)
    discriminator = fill_in_order(SRDiscriminator(), golden["names_D"], 301)
    return generator.train(), discriminator.train()


def test_published_networks(golden):
    small, large = image(310, 16, 2).double(), image(311, 64, 2).double()
    for mode in ("train", "eval"):
        generator, discriminator = (network.double() for network in networks(golden))  # see golden.py
        assert parameters(generator) == golden["params_G"] and parameters(discriminator) == golden["params_D"]
        with torch.no_grad():
            made = generator.train(mode == "train")(small)
            discriminator.train(mode == "train")
            on_real, on_fake = discriminator(large), discriminator(made)
        np.testing.assert_allclose(every(made).numpy(), golden[f"G_{mode}"], atol=1e-4)
        np.testing.assert_allclose(on_real.sigmoid().numpy(), golden[f"D_real_{mode}"], atol=1e-4)
        np.testing.assert_allclose(on_fake.sigmoid().numpy(), golden[f"D_fake_{mode}"], atol=1e-4)


def test_published_losses(golden):
    small, large = image(310, 16, 2), image(311, 64, 2)
    generator, discriminator = networks(golden)
    made = generator(small)
    loss = content_loss(None, made, large)
    assert float(loss.detach()) == pytest.approx(float(golden["mse"]), rel=1e-3)
    loss.backward()
    norms = [float(golden[key]) for key in golden if "grad_norm" in key]
    found = grad_norms(generator)
    np.testing.assert_allclose(found, norms, rtol=2e-2, atol=1e-6)
    on_real, on_fake = discriminator(large), discriminator(made.detach())
    np.testing.assert_allclose(on_real.detach().numpy(), golden["logit_real"], atol=1e-4)
    np.testing.assert_allclose(on_fake.detach().numpy(), golden["logit_fake"], atol=1e-4)
    disc = binary_cross_entropy(on_real, 1.0, True) + binary_cross_entropy(on_fake, 0.0, True)
    assert float(disc.detach()) == pytest.approx(float(golden["bce_D"]), rel=1e-3)
    gen = binary_cross_entropy(on_fake, 1.0, True)
    assert float(gen.detach()) == pytest.approx(float(golden["bce_G"]), rel=1e-3)


def test_sixteen_blocks_as_in_the_paper():
    with torch.device("meta"):
        more = parameters(SRResNet()) - parameters(SRResNet(blocks=5))
    assert more == 11 * (2 * (64 * 64 * 9 + 64) + 2 * 2 * 64 + 1)


def test_pixel_shuffle_by_hand(golden):
    up = PixelShuffleUp(1)
    with torch.no_grad():
        up.conv.weight.zero_()
        up.conv.weight[:, 0, 1, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
        up.conv.bias.zero_()
        made = up(torch.tensor([[[[1.0, 10.0]]]]))
    assert made.tolist() == [[[[1.0, 2.0, 10.0, 20.0], [3.0, 4.0, 30.0, 40.0]]]]
    shuffled = torch.nn.functional.pixel_shuffle(torch.from_numpy(golden["pixel_shuffle_in"]), 2)
    assert np.array_equal(shuffled.numpy(), golden["pixel_shuffle_out"])


def test_the_first_stage_learns():
    torch.manual_seed(0)
    generator = SRResNet(scale=2, blocks=1, width=8)
    optimizer = torch.optim.Adam(generator.parameters(), 1e-2)
    large = image(1, 16, 4)
    small = torch.nn.functional.avg_pool2d(large, 2)
    losses = [float(srresnet_step(generator, optimizer, small, large)["mse"]) for _ in range(150)]
    assert losses[-1] < losses[0] / 2


def test_the_second_stage_updates_both_with_their_own_losses():
    torch.manual_seed(0)
    generator, discriminator = SRResNet(scale=2, blocks=1, width=4), SRDiscriminator(2)
    rate = 0.5
    optimizers = {
        name: torch.optim.SGD(network.parameters(), rate)
        for name, network in (("generator", generator), ("discriminator", discriminator))
    }
    large = image(1, 32, 2)
    small = torch.nn.functional.avg_pool2d(large, 2)
    before = [p.detach().clone() for p in generator.parameters()]
    losses = srgan_step(generator, discriminator, optimizers, small, large, adversarial_weight=0.1)
    assert set(losses) == {"disc", "content", "gen_gan"}
    assert not torch.equal(before[0], next(generator.parameters()))
    assert all(p.requires_grad for p in discriminator.parameters())

    torch.manual_seed(0)
    other, critic = SRResNet(scale=2, blocks=1, width=4), SRDiscriminator(2)
    made = other(small)
    step = torch.optim.SGD(critic.parameters(), rate)
    disc = binary_cross_entropy(critic(large), 1.0, True) + binary_cross_entropy(
        critic(made.detach()), 0.0, True
    )
    disc.backward()
    step.step()
    loss = (made - large).square().mean() + 0.1 * binary_cross_entropy(critic(made), 1.0, True)
    grads = torch.autograd.grad(loss, list(other.parameters()))
    for old, grad, new in zip(before, grads, generator.parameters(), strict=True):
        torch.testing.assert_close(old - rate * grad, new, rtol=1e-4, atol=1e-6)


def test_features_are_compared_and_weighted():
    true = torch.rand(2, 3, 4, 4)
    made = true + 0.5
    assert float(content_loss(lambda x: 2 * x, made, true)) == pytest.approx(0.006 * 1.0, rel=1e-5)


def test_what_is_refused():
    for scale in (1, 3, 6):
        with pytest.raises(InputError, match=f"scale = {scale}: choose 2, 4, 8"):
            SRResNet(scale=scale)
