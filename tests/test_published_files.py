"""Weights in the form of the authors' code: names, types, the YAML beside them; and how warps sample."""

from __future__ import annotations

import re

import pytest
import torch
import yaml

from fomm_lib.checkpoints import convert, write_weights
from fomm_lib.config import load_config, published_content
from fomm_lib.errors import InputError
from fomm_lib.model import build_discriminator, load_model
from tests.support.small_model import small_model

TWO, THREE = ("generator", "kp_detector"), ("generator", "kp_detector", "discriminator")
# Names in the authors' files: no prefixes of modules.
UNIT = r"(conv\.(weight|bias)|norm\.(weight|bias|running_mean|running_var|num_batches_tracked))"
HOURGLASS = rf"(encoder\.down_blocks|decoder\.up_blocks)\.\d\.{UNIT}"
SIMPLE = r"\.(weight|bias)"
RESIDUAL = r"(conv[12]\.(weight|bias)|norm[12]\.(weight|bias|running_mean|running_var|num_batches_tracked))"
MOTION = rf"dense_motion_network\.(hourglass\.{HOURGLASS}|mask{SIMPLE}|occlusion{SIMPLE}|down\.weight)"
SPECTRAL = r"conv\.(weight_orig|weight_u|weight_v|bias)"
PUBLISHED_NAMES = {
    "kp_detector": rf"predictor\.{HOURGLASS}|kp{SIMPLE}|jacobian{SIMPLE}|down\.weight",
    "generator": rf"{MOTION}|(first|(down|up)_blocks\.\d)\.{UNIT}|bottleneck\.r\d\.{RESIDUAL}|final{SIMPLE}",
    "discriminator": rf"discs\.(1|0-5)\.(down_blocks\.\d\.({SPECTRAL}|norm{SIMPLE})|{SPECTRAL})",
}


@pytest.mark.parametrize("jacobian", [True, False])
def test_weights_are_written_as_the_published_code_reads_them(tmp_path, jacobian):
    discriminator_params = {"sn": True, "scales": [1, 0.5], "block_expansion": 4, "max_features": 8}
    changes = {
        "model_params.common_params.estimate_jacobian": jacobian,
        "model_params.discriminator_params": {**discriminator_params, "num_blocks": 2},
        "model_params.align_corners": False,
    }
    model = small_model(changes)
    discriminator = build_discriminator(model.config)
    networks = {name: getattr(model, name).state_dict() for name in TWO}
    networks["discriminator"] = discriminator.state_dict()
    ours = write_weights(tmp_path / "ours.safetensors", networks, model.config)
    theirs = convert(ours, tmp_path / "theirs.pth.tar")

    content = torch.load(theirs, weights_only=True)
    assert theirs.read_bytes()[:2] != b"PK"  # what PyTorch 1.0 can read, too
    assert set(content) == {*THREE, "epoch"} and content["epoch"] == 0
    for network, pattern in PUBLISHED_NAMES.items():
        assert {name for name in content[network] if not re.fullmatch(pattern, name)} == set()
        assert set(content[network]) == set(networks[network])
        for name, tensor in content[network].items():
            assert tensor.dtype in (torch.float32, torch.int64)
            torch.testing.assert_close(tensor, networks[network][name], rtol=1e-3, atol=1e-6)
    assert ("jacobian.weight" in content["kp_detector"]) is jacobian

    written = yaml.safe_load((tmp_path / "theirs.yaml").read_text())
    assert written["model_params"]["discriminator_params"]["scales"] == [1, 0.5]
    assert [type(scale) for scale in written["train_params"]["scales"]] == [int, float]  # they become names
    sections = {"dataset_params", "model_params", "train_params"}
    assert set(written) == {*sections, "reconstruction_params", "animate_params", "visualizer_params"}
    assert load_config(tmp_path / "theirs.yaml") == model.config
    back = load_model(theirs, tmp_path / "theirs.yaml", device="cpu")
    image = torch.rand(2, 1, 3, 32, 32)
    expected = load_model(ours, device="cpu")(*image).prediction
    assert torch.equal(back(*image).prediction, expected)

    for name in ("theirs.pth.tar", "theirs.yaml"):  # neither is replaced unasked, and nothing is left
        (tmp_path / name).unlink()
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(InputError, match="exists already"):
            convert(ours, theirs)
        assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        convert(ours, theirs, overwrite=True)


def test_epoch_and_optimizers_of_a_published_file_stay(tmp_path):
    model = small_model()
    networks = {name: getattr(model, name).state_dict() for name in TWO}
    optimizer = torch.optim.Adam(model.generator.parameters()).state_dict()
    path = tmp_path / "a.pth.tar"
    torch.save({**networks, "optimizer_generator": optimizer, "epoch": 99}, path)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(published_content(model.config)))
    content = torch.load(convert(path, tmp_path / "b.pth.tar", tmp_path / "a.yaml"), weights_only=True)
    assert content["epoch"] == 99 and content["optimizer_generator"]["param_groups"]


@pytest.mark.parametrize("value", [True, False])
def test_how_warps_sample_can_be_chosen(tmp_path, value):
    model = small_model()
    networks = {name: getattr(model, name).state_dict() for name in TWO}
    ours = write_weights(tmp_path / "ours.safetensors", networks, model.config, dtype=None)
    other = load_model(ours, device="cpu", align_corners=value)
    images = torch.rand(2, 1, 3, 32, 32)
    plain = model(*images).prediction
    assert torch.equal(other(*images).prediction, plain) is value  # its own config says True
    converted = load_model(convert(ours, tmp_path / "b.safetensors", half=False, align_corners=value))
    assert torch.equal(converted.cpu()(*images).prediction, other(*images).prediction)
    assert model.config.model_params.align_corners is True
