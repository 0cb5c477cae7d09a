"""pix2pix: the published networks and two training steps, patch sizes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.family.pix2pix import (
    PatchDiscriminator,
    UNetGenerator,
    init_weights,
    linear_decay,
    pix2pix_step,
    to_signed,
    to_unsigned,
)
from tests.family.golden import check_network, fill_in_order, grad_norms, load, named, parameters, signed

BATCH_NORM = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


@pytest.mark.parametrize(
    ("name", "network", "channels", "seed", "size"),
    [
        ("unet_64_ngf16_batch", lambda: UNetGenerator(halvings=6, width=16, dropout=False), 3, 112, 64),
        ("unet_128_ngf8_batch", lambda: UNetGenerator(halvings=7, width=8, dropout=False), 3, 110, 128),
        ("nlayer3_ndf8_batch", lambda: PatchDiscriminator(6, 8), 6, 114, 128),
        ("nlayer3_ndf8_instance", lambda: PatchDiscriminator(3, 8, norm="instance"), 3, 115, 128),
        ("pixel_ndf8_batch", lambda: PatchDiscriminator(6, 8, layers=0), 6, 117, 64),
    ],
)
def test_published_networks(name, network, channels, seed, size):
    check_network(load(name), network, signed(seed, size, 2, channels))


def test_parameters_of_the_full_size():
    with torch.device("meta"):
        assert parameters(UNetGenerator()) == 54_413_955
        assert parameters(UNetGenerator(halvings=7)) == 41_828_995
        assert parameters(PatchDiscriminator()) == 2_768_705


@pytest.mark.parametrize(("layers", "patch"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_a_logit_depends_on_its_patch_and_on_nothing_else(layers, patch):
    torch.manual_seed(0)
    network = PatchDiscriminator(3, 1, layers).eval().double()
    size = 2 * patch + 32
    image = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    out = network(image)
    middle = out.shape[-1] // 2
    out[0, 0, middle, middle].backward()
    rows = image.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 == patch


def test_dropout_acts_in_the_middle_levels_and_at_test_too():
    torch.manual_seed(0)
    network = UNetGenerator(halvings=7, width=4).eval()
    levels, level = [], network.levels
    while isinstance(level, torch.nn.Module) and hasattr(level, "dropout"):
        levels.append(level.dropout)
        level = level.deeper
    assert levels == [False] * 4 + [True] * 2 + [False]
    image = torch.rand(1, 3, 128, 128)
    assert not torch.equal(network(image), network(image))
    plain = UNetGenerator(halvings=5, width=4).eval()  # no middle levels
    assert torch.equal(plain(image), plain(image))


def test_two_training_steps_as_published():
    golden = load("pix2pix_cyclegan_steps")
    generator = UNetGenerator(halvings=6, width=16, dropout=False)
    fill_in_order(generator, load("unet_64_ngf16_batch")["names"], 100)
    discriminator = PatchDiscriminator(6, 16, layers=2)
    published = ["model.0.weight", "model.0.bias", "model.2.weight", *(f"model.3.{n}" for n in BATCH_NORM)]
    published += ["model.5.weight", *(f"model.6.{n}" for n in BATCH_NORM), "model.8.weight", "model.8.bias"]
    fill_in_order(discriminator, named(discriminator, published), 102)
    optimizers = {
        name: torch.optim.Adam(network.parameters(), 2e-4, betas=(0.5, 0.999))
        for name, network in (("generator", generator), ("discriminator", discriminator))
    }
    pairs = {"disc_fake": "D_fake", "disc_real": "D_real", "gen_gan": "G_GAN", "gen_l1": "G_L1"}
    for step, rel in ((0, 1e-3), (1, 1e-2)):
        losses = pix2pix_step(
            generator, discriminator, optimizers, signed(120 + step, 64), signed(130 + step, 64)
        )
        for ours, theirs in pairs.items():
            assert float(losses[ours]) == pytest.approx(
                float(golden[f"pix2pix/step{step}/{theirs}"]), rel=rel
            )
        if step == 0:
            norms = [float(golden[key]) for key in golden if key.startswith("pix2pix/grad_norm/G/")]
            found = grad_norms(generator)
            np.testing.assert_allclose(found, norms, rtol=2e-2, atol=1e-5)
    for kind, network in (("G", generator), ("D", discriminator)):
        wanted = [golden[key] for key in golden if key.startswith(f"pix2pix/after2/{kind}/")]
        state = [t for t in network.state_dict().values() if t.is_floating_point()]
        assert len(wanted) == len(state)
        for tensor, (_, norm) in zip(state, wanted, strict=True):
            assert float(tensor.double().norm()) == pytest.approx(float(norm), rel=5e-3)


def test_weights_of_zero_leave_a_network_alone():
    torch.manual_seed(0)
    generator, discriminator = UNetGenerator(halvings=5, width=2, dropout=False), PatchDiscriminator(6, 2, 1)
    before = [p.clone() for p in discriminator.parameters()]
    optimizers = {
        name: torch.optim.Adam(network.parameters(), 2e-4)
        for name, network in (("generator", generator), ("discriminator", discriminator))
    }
    images = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    assert list(pix2pix_step(generator, discriminator, optimizers, *images, gan_weight=0)) == ["gen_l1"]
    assert all(torch.equal(a, b) for a, b in zip(before, discriminator.parameters(), strict=True))
    losses = pix2pix_step(generator, discriminator, optimizers, *images, l1_weight=0)
    assert list(losses) == ["disc_fake", "disc_real", "gen_gan"]
    assert not all(torch.equal(a, b) for a, b in zip(before, discriminator.parameters(), strict=True))


def test_the_generator_update_leaves_no_gradient_in_the_discriminator():
    torch.manual_seed(0)
    generator, discriminator = UNetGenerator(halvings=5, width=2, dropout=False), PatchDiscriminator(6, 2, 1)
    optimizers = {
        name: torch.optim.SGD(network.parameters(), 0.0)
        for name, network in (("generator", generator), ("discriminator", discriminator))
    }
    images = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    pix2pix_step(generator, discriminator, optimizers, *images)
    after = [p.grad.clone() for p in discriminator.parameters()]
    fake = generator(images[0]).detach()
    discriminator.zero_grad()
    on_fake = discriminator(torch.cat([images[0], fake], 1))
    on_real = discriminator(torch.cat([images[0], images[1]], 1))
    softplus = torch.nn.functional.softplus
    ((softplus(on_fake).mean() + softplus(-on_real).mean()) / 2).backward()
    for a, b in zip(after, discriminator.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad, rtol=1e-4, atol=1e-6)


def test_initial_weights():
    torch.manual_seed(0)
    network = init_weights(PatchDiscriminator(6, 32))
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    weights = torch.cat([m.weight.flatten() for m in convolutions])
    assert float(weights.detach().mean()) == pytest.approx(0, abs=1e-4)
    assert float(weights.detach().std()) == pytest.approx(0.02, rel=1e-2)
    assert all(float(m.bias.abs().sum()) == 0 for m in convolutions if m.bias is not None)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    scales = torch.cat([m.weight for m in norms])
    assert float(scales.detach().mean()) == pytest.approx(1, abs=5e-3) and float(scales.detach().std()) < 0.03


def test_the_learning_rate_falls_to_zero():
    factors = [linear_decay(epoch, 100, 100) for epoch in range(202)]
    assert factors[:101] == [1.0] * 101 and factors[150] == 0.5 and factors[200:] == [0.0, 0.0]


def test_ranges():
    image = torch.tensor([0.0, 0.25, 1.0])
    assert to_signed(image).tolist() == [-1.0, -0.5, 1.0]
    assert torch.equal(to_unsigned(to_signed(image)), image)


def test_what_is_refused():
    with pytest.raises(InputError, match="halvings = 4: a U-Net of pix2pix has at least 5"):
        UNetGenerator(halvings=4)
    with pytest.raises(InputError, match="multiples of 64, not 96x64"):
        UNetGenerator(halvings=6, width=2)(torch.zeros(1, 3, 96, 64))
    with pytest.raises(InputError, match="norm = 'layer': choose batch or instance"):
        PatchDiscriminator(norm="layer")
