"""Files of weights: what a training leaves can be loaded, and anything else is refused in one line."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from fomm_lib.checkpoints import read_checkpoint, read_safetensors, shipped_weights, write_weights
from fomm_lib.errors import InputError
from fomm_lib.family.config import SYSTEMS, family_config
from fomm_lib.family.systems import make_system
from fomm_lib.family.weights import load_family, read_family
from fomm_lib.files import data_path
from tests.family.tiny import tiny, write_tiny

SHIPPED = [name for name in SYSTEMS if data_path("weights", "family", f"{name}.safetensors").is_file()]


@pytest.mark.parametrize("system", SYSTEMS)
def test_weights_are_read_as_they_were_written(system, tmp_path):
    path = write_tiny(tmp_path, system)
    torch.manual_seed(0)
    written = make_system(tiny(system)).weights()
    model = load_family(path, "cpu")
    assert model.config == tiny(system) and model.notes == {"steps": "0"} and model.path == path
    assert set(model.networks) == set(written) and model.device.type == "cpu"
    for name, network in model.networks.items():
        assert not network.training
        for key, value in network.state_dict().items():
            torch.testing.assert_close(value, written[name][key], atol=1e-3, rtol=1e-3)
            assert value.dtype == written[name][key].dtype


@pytest.mark.parametrize("system", SHIPPED)
def test_weights_of_the_course(system):
    model = load_family(system, "cpu")
    assert model.config.system == system
    small = family_config(system, steps=model.config.steps)
    assert model.config == small, "the card's command would train another network"
    networks, _ = read_safetensors(model.path)
    floats = [t for entries in networks.values() for t in entries.values() if t.is_floating_point()]
    assert {t.dtype for t in floats} == {torch.float16}
    assert model.notes.keys() >= {"steps", "seed", "seconds"}


def test_weights_of_the_course_are_small_and_have_cards():
    files = list(data_path("weights", "family").glob("*.safetensors"))
    assert sum(path.stat().st_size for path in files) <= 14e6
    cards = data_path("weights", "family", "README.md").read_text(encoding="utf-8")
    for path in files:
        assert f"## {path.stem}\n" in cards and f"fomm family train {path.stem} " in cards
    assert not set(shipped_weights()) & set(SYSTEMS), "fomm animate must not offer them"


def test_the_two_kinds_of_weights_are_told_apart(tmp_path):
    with pytest.raises(InputError, match=r"heads-64\.safetensors: names no system of the family"):
        load_family(data_path("weights", "heads-64.safetensors"))
    with pytest.raises(InputError, match="it is of srgan; see fomm family --help"):
        read_checkpoint(write_tiny(tmp_path, "srgan"))


def test_files_that_do_not_fit(tmp_path, monkeypatch):
    monkeypatch.setenv("FOMM_DATA", str(tmp_path))
    with pytest.raises(InputError, match="srgan: the course has no weights of it; train: fomm family train"):
        load_family("srgan")
    with pytest.raises(InputError, match="stylegan: no such file of weights; shipped ones by name: pix2pix"):
        load_family("stylegan")
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(InputError, match="is damaged, or not a safetensors file"):
        load_family(path)
    save_file({"generator.x": torch.zeros(1)}, path, metadata={"config": "no json"})
    with pytest.raises(InputError, match=r"a\.safetensors: is no JSON \(Expecting value"):
        load_family(path)
    save_file({"generator.x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"a\.safetensors: names no system of the family"):
        load_family(path)
    save_file({"generator.x": torch.zeros(1)}, path, metadata={"config": json.dumps({"system": "srgan"})})
    with pytest.raises(InputError, match=r"do not fit the config; .* missing.*1 unexpected: x"):
        load_family(path)
    weights = make_system(tiny("srgan")).weights()
    write_weights(path, {"critic": weights["generator"]}, tiny("srgan"), overwrite=True)
    with pytest.raises(InputError, match="has a network critic, which srgan has not"):
        load_family(path)


def test_a_folder_of_a_training(tmp_path):
    write_tiny(tmp_path, "srgan").rename(tmp_path / "weights.safetensors")
    config, networks, notes, path = read_family(tmp_path)
    assert config.system == "srgan" and list(networks) == ["generator"] and notes == {"steps": "0"}
    assert path.name == "weights.safetensors"
