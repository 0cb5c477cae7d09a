"""CycleGAN: the published generator, the pool of images, two training steps."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.family.cyclegan import ImagePool, ResNetGenerator, cyclegan_step
from fomm_lib.family.pix2pix import PatchDiscriminator
from tests.family.golden import check_network, fill_in_order, grad_norms, load, named, parameters, signed


def test_published_network():
    golden = load("resnet_6blocks_ngf8_instance")
    check_network(golden, lambda: ResNetGenerator(width=8, blocks=6), signed(113, 64))


def test_parameters_of_the_full_size():
    with torch.device("meta"):
        assert parameters(ResNetGenerator()) == 11_378_179
        assert parameters(ResNetGenerator(blocks=6)) == 7_837_699
        assert parameters(PatchDiscriminator(3, norm="instance")) == 2_764_737


def query(pool: ImagePool, numbers) -> list[int]:
    return [int(pool.query(torch.full((1, 1, 1, 1), float(number)))) for number in numbers]


def test_the_pool_gives_back_what_the_published_one_does():
    assert query(ImagePool(50, random.Random(0)), range(1000)) == load("image_pool")["returned"].tolist()


def test_properties_of_the_pool():
    pool = ImagePool(50, random.Random(1))
    assert query(pool, range(50)) == list(range(50))
    returned = query(pool, range(50, 20_050))
    at_once = sum(number == k for k, number in enumerate(returned, 50))
    assert at_once / len(returned) == pytest.approx(0.5, abs=0.02)
    old = [k - number for k, number in enumerate(returned, 50) if number != k]
    assert np.mean(old) == pytest.approx(50 / 0.5, rel=0.05)
    counts = np.bincount(returned, minlength=20_050)
    assert counts[:50].max() == 1 and counts[50:].max() == 1  # each goes in once, and comes out once
    assert query(ImagePool(0), range(5)) == list(range(5))


def test_the_pool_keeps_copies():
    pool, image = ImagePool(1, random.Random(0)), torch.zeros(1, 1, 1, 1, requires_grad=True)
    assert not pool.query(image).requires_grad
    with torch.no_grad():
        image.fill_(9)
    assert float(pool.images[0]) == 0


def filled():
    """The networks of the golden steps: 3 residual blocks, width 8; discriminators of 2 layers."""
    convolutions = ["model.1", "model.4", "model.7"]
    convolutions += [f"model.{block}.conv_block.{part}" for block in (10, 11, 12) for part in (1, 5)]
    convolutions += ["model.13", "model.16", "model.20"]
    networks = {}
    for kind, seed in (("ab", 200), ("ba", 201)):
        network = ResNetGenerator(width=8, blocks=3)
        published = [f"{name}.{part}" for name in convolutions for part in ("weight", "bias")]
        networks[kind] = fill_in_order(network, named(network, published), seed)
    for kind, seed in (("b", 202), ("a", 203)):  # the published D_A sees images of kind B
        network = PatchDiscriminator(3, 8, layers=2, norm="instance")
        published = [f"model.{place}.{part}" for place in (0, 2, 5, 8) for part in ("weight", "bias")]
        networks[kind] = fill_in_order(network, named(network, published), seed)
    return networks


def optimizers_of(networks):
    groups = {"generators": ("ab", "ba"), "discriminators": ("a", "b")}
    return {
        name: torch.optim.Adam([p for kind in kinds for p in networks[kind].parameters()], 2e-4, (0.5, 0.999))
        for name, kinds in groups.items()
    }


def test_two_training_steps_as_published():
    golden = load("pix2pix_cyclegan_steps")
    networks = filled()
    optimizers, pools = optimizers_of(networks), {"a": ImagePool(), "b": ImagePool()}
    pairs = {"gen_ab": "G_A", "gen_ba": "G_B", "cycle_a": "cycle_A", "cycle_b": "cycle_B"}
    pairs |= {"identity_b": "idt_A", "identity_a": "idt_B", "disc_b": "D_A", "disc_a": "D_B"}
    for step, rel in ((0, 1e-3), (1, 1e-2)):
        real = signed(140 + step, 64, 1), signed(150 + step, 64, 1)
        losses = cyclegan_step(networks, optimizers, pools, *real)
        assert set(losses) == set(pairs)
        for ours, theirs in pairs.items():
            assert float(losses[ours]) == pytest.approx(float(golden[f"cycle/step{step}/{theirs}"]), rel=rel)
        if step == 0:
            for kind, name in (("ab", "G_A"), ("ba", "G_B")):
                norms = [float(golden[key]) for key in golden if key.startswith(f"cycle/grad_norm/{name}/")]
                if norms:
                    found = grad_norms(networks[kind])
                    np.testing.assert_allclose(found, norms, rtol=2e-2, atol=1e-5)


def test_losses_of_weight_zero_are_left_out():
    networks = filled()
    pools = {"a": ImagePool(), "b": ImagePool()}
    real = signed(140, 16, 1), signed(150, 16, 1)
    losses = cyclegan_step(networks, optimizers_of(networks), pools, *real, cycle_weight=0)
    assert set(losses) == {"gen_ab", "gen_ba", "disc_a", "disc_b"}
    losses = cyclegan_step(networks, optimizers_of(networks), pools, *real, identity_weight=0)
    assert set(losses) == {"gen_ab", "gen_ba", "cycle_a", "cycle_b", "disc_a", "disc_b"}


def test_the_cycle_loss_of_inverse_generators_is_zero():
    class Shift(torch.nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by, self.unused = by, torch.nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return x + self.by + self.unused

    networks = {"ab": Shift(0.25), "ba": Shift(-0.25), "a": filled()["a"], "b": filled()["b"]}
    pools = {"a": ImagePool(), "b": ImagePool()}
    real = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    losses = cyclegan_step(networks, optimizers_of(networks), pools, *real)
    assert float(losses["cycle_a"]) == 0 and float(losses["cycle_b"]) == 0
    assert float(losses["identity_a"]) == pytest.approx(10 * 0.5 * 0.25)


def test_what_is_refused():
    with pytest.raises(InputError, match="a ResNet generator takes sides that are multiples of 4, not 18x16"):
        ResNetGenerator(width=2, blocks=1)(torch.zeros(1, 3, 18, 16))
