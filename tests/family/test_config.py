"""Settings of the systems: presets, changes, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.family.config import CONFIGS, SYSTEMS, family_config, read_config
from fomm_lib.family.systems import build_networks
from tests.family.golden import parameters


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_config_is_the_same_after_json(system):
    for preset in ("small", "published"):
        config = family_config(system, preset)
        assert read_config(json.loads(config.model_dump_json()), "here") == config
        assert config.system == system and isinstance(config, CONFIGS[system])


def test_changes_that_are_none_change_nothing():
    assert family_config("srgan", steps=None) == family_config("srgan")
    assert family_config("srgan", steps=3, batch_size=2).steps == 3


def test_published_networks_have_the_published_sizes():
    with torch.device("meta"):
        unet = build_networks(family_config("pix2pix", "published"))
        cycle = build_networks(family_config("cyclegan", "published"))
        grown = build_networks(family_config("progressive", "published"))
    assert parameters(unet["generator"]) == 54_413_955 and parameters(unet["discriminator"]) == 2_768_705
    assert parameters(cycle["ab"]) == 11_378_179 and parameters(cycle["a"]) == 2_764_737
    assert len(grown["generator"].to_rgb) == 9


def test_small_networks_fit_the_budget_of_the_course():
    total = 0
    for system in SYSTEMS:
        networks = build_networks(family_config(system))
        names = {"cyclegan": ("ab", "ba"), "monkeynet": ("model",)}.get(system, ("generator",))
        size = sum(2 * parameters(networks[name]) for name in names)
        assert size <= (3.7e6 if system in ("pix2pix", "monkeynet") else 1.2e6)
        total += size
    assert total <= 14e6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"system": "stylegan"}, "here: names no system of the family"),
        ({}, "here: names no system of the family"),
        ({"system": "srgan", "steps": 0}, "here: steps = 0: input should be greater than or equal to 1"),
        ({"system": "srgan", "depth": 3}, "here: depth = 3: extra inputs are not permitted"),
    ],
)
def test_what_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        read_config(values, "here")


def test_unknown_names():
    with pytest.raises(InputError, match="stylegan: no system of the family; choose pix2pix, cyclegan"):
        family_config("stylegan")
    with pytest.raises(InputError, match="preset 'large': choose small or published"):
        family_config("srgan", "large")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 10**12}, "steps = 1000000000000: "),
        ({"size": 10**6}, "size = 1000000: "),
        ({"learning_rate": float("inf")}, "learning_rate = inf: "),
        ({"betas": (0.5, 1.5)}, r"betas\.1 = 1\.5: "),
        ({"networks": {"generator": {"halvings": 10**7}}}, "halvings should be from 0 to 100"),
        ({"networks": {"generator": {"width": 10**7}}}, "width should be from 0 to 8192"),
        ({"networks": {"generator": {"width": [1] * 101}}}, "width should be a number, a word or a list"),
        ({"networks": {"generator": {"width": [[[1]]]}}}, "width should be a number, a word or a list"),
        ({"networks": {"generator": {"inner": {"num_blocks": 10**7}}}}, "num_blocks should be from 0 to 100"),
        ({"networks": {"generator": {"width": float("nan")}}}, "width should be from 0 to 8192"),
    ],
)
def test_every_number_has_a_largest_value(changes, message):
    with pytest.raises(InputError, match=message):
        family_config("pix2pix", **changes)


@pytest.mark.parametrize("width", ["wide", None, 2.5])
def test_arguments_that_no_network_takes_are_one_line(width):
    config = family_config("pix2pix", networks={"generator": {"width": width}})
    with pytest.raises(InputError, match="pix2pix: the networks' arguments do not fit") as error:
        build_networks(config)
    assert "\n" not in str(error.value)
