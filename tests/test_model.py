"""`model`: the parts together, the published numbers of entries and parameters, and loading."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings

import pytest
import torch

from fomm_lib.checkpoints import write_weights
from fomm_lib.config import load_config
from fomm_lib.errors import InputError
from fomm_lib.geometry import coordinate_grid
from fomm_lib.keypoints import Keypoints
from fomm_lib.model import (
    NEW_MOTION_BIAS,
    FirstOrderMotionModel,
    build_discriminator,
    choose_device,
    grown,
    load_model,
    start_from,
)
from fomm_lib.motion import DenseMotionNetwork
from tests.support.small_model import EXTENSIONS, small_config, small_model

SOURCE, DRIVING = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


# --- published sizes and names ------------------------------------------------------------------------------


def on_paper(config):
    """A model and its discriminator without memory for their numbers."""
    with torch.device("meta"):
        return FirstOrderMotionModel(config), build_discriminator(load_config(config))


def size(network: torch.nn.Module) -> tuple[int, int]:
    """Parameters, and entries of the state_dict."""
    return sum(parameter.numel() for parameter in network.parameters()), len(network.state_dict())


def test_published_sizes_of_vox():
    model, discriminator = on_paper("vox-256")
    assert size(model.kp_detector) == (14_215_368, 75)
    assert size(model.generator) == (45_575_391, 196)
    assert size(model.generator.dense_motion_network) == (37_730_268, 75)
    assert size(discriminator) == (2_758_849, 26)


def test_published_size_of_the_discriminator_of_vox_adv():
    model, discriminator = on_paper("vox-adv-256")
    assert size(discriminator) == (2_769_089, 16)
    assert size(model.generator) == (45_575_391, 196)


def block(prefix: str) -> set[str]:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{prefix}.conv.weight", f"{prefix}.conv.bias", *(f"{prefix}.norm.{name}" for name in norm)}


def hourglass(prefix: str) -> set[str]:
    parts = ("encoder.down_blocks", "decoder.up_blocks")
    return set().union(*(block(f"{prefix}.{part}.{i}") for part in parts for i in range(5)))


def plain(*names: str) -> set[str]:
    return {f"{name}.{part}" for name in names for part in ("weight", "bias")}


def test_published_names_of_entries():
    model, discriminator = on_paper("vox-256")
    assert set(model.kp_detector.state_dict()) == {
        *hourglass("predictor"),
        *plain("kp", "jacobian"),
        "down.weight",
    }
    dense = "dense_motion_network"
    residual = set()
    for i in range(6):
        for n in (1, 2):
            names = block("x")
            residual |= {
                name.replace("x.conv", f"bottleneck.r{i}.conv{n}") for name in names if "conv" in name
            }
            residual |= {
                name.replace("x.norm", f"bottleneck.r{i}.norm{n}") for name in names if "norm" in name
            }
    assert set(model.generator.state_dict()) == {
        *hourglass(f"{dense}.hourglass"),
        *plain(f"{dense}.mask", f"{dense}.occlusion", "final"),
        f"{dense}.down.weight",
        *block("first"),
        *(name for part in ("down_blocks", "up_blocks") for i in range(2) for name in block(f"{part}.{i}")),
        *residual,
    }
    normalised = ("weight_orig", "weight_u", "weight_v", "bias")
    assert set(discriminator.state_dict()) == {
        *(f"discs.1.down_blocks.{i}.conv.{name}" for i in range(4) for name in normalised),
        *plain(*(f"discs.1.down_blocks.{i}.norm" for i in (1, 2, 3))),
        *(f"discs.1.conv.{name}" for name in normalised),
    }


def test_published_names_without_spectral_normalisation():
    _, discriminator = on_paper("vox-adv-256")
    assert set(discriminator.state_dict()) == plain(
        *(f"discs.1.down_blocks.{i}.conv" for i in range(4)),
        *(f"discs.1.down_blocks.{i}.norm" for i in (1, 2, 3)),
        "discs.1.conv",
    )


def test_published_entries_load_strictly():
    for name in ("vox-256", "vox-adv-256", "mgif-256"):
        for network, copy in zip(on_paper(name), on_paper(name), strict=True):
            network.load_state_dict(copy.state_dict(), strict=True, assign=True)


def test_the_seven_other_published_models():
    vox, _ = on_paper("vox-256")
    for name in ("taichi-256", "taichi-adv-256", "fashion-256", "nemo-256", "bair-256"):
        model, _ = on_paper(name)
        assert size(model) == size(vox)
    mgif, _ = on_paper("mgif-256")
    assert mgif.kp_detector.jacobian.out_channels == 4, "one set of maps for all keypoints"
    assert size(mgif.generator) == size(vox.generator)


def test_sizes_of_the_zeroth_order_model_without_occlusion():
    config = load_config("vox-256").model_dump()
    config["model_params"]["common_params"]["estimate_jacobian"] = False
    config["model_params"]["generator_params"]["estimate_occlusion_map"] = False
    model, _ = on_paper(config)
    assert len(model.kp_detector.state_dict()) == 75 - 2
    assert len(model.generator.state_dict()) == 196 - 2


# --- the parts together -------------------------------------------------------------------------------------


def test_a_model_is_its_parts_in_a_row():
    model = small_model()
    kp_source, kp_driving = model.detect(SOURCE), model.detect(DRIVING)
    motion = model.dense_motion(SOURCE, kp_source, kp_driving)
    by_parts = model.generate(SOURCE, kp_source, kp_driving)
    at_once = model(SOURCE, DRIVING)
    assert torch.equal(at_once.prediction, by_parts.prediction)
    assert torch.equal(at_once.deformation, motion.deformation)
    assert torch.equal(at_once.occlusion_map, motion.occlusion)
    assert at_once.deformed is None
    assert model(SOURCE, DRIVING, with_visuals=True).deformed.shape == (2, 3, 32, 32)


def test_an_image_driven_by_itself_does_not_move():
    ramp = torch.arange(32.0).expand(1, 3, 32, 32) / 31
    generated = small_model()(ramp, ramp, with_visuals=True)
    identity = coordinate_grid(16, 16)[None]
    torch.testing.assert_close(generated.deformation, identity, rtol=0, atol=1e-4)
    # The flow is resized with align_corners=False, as published, which is wrong by up to half a pixel.
    error = (generated.deformed - ramp).abs().max() * 31
    assert 0.3 < error < 0.6


def test_an_encoded_source_gives_the_same():
    model = small_model()
    kp_source, kp_driving = model.detect(SOURCE), model.detect(DRIVING)
    encoded = model.generator.encode(SOURCE)
    direct = model.generate(SOURCE, kp_source, kp_driving).prediction
    assert torch.equal(model.generate(encoded, kp_source, kp_driving).prediction, direct)


def test_images_of_a_batch_do_not_mix():
    model = small_model()
    together = model(SOURCE, DRIVING).prediction
    apart = torch.cat([model(SOURCE[i : i + 1], DRIVING[i : i + 1]).prediction for i in range(2)])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)


@pytest.mark.parametrize("align_corners", [True, False])
def test_align_corners_is_one_setting_of_the_config(align_corners):
    model = small_model({"model_params.align_corners": align_corners})
    dense = model.generator.dense_motion_network
    assert model.align_corners is model.generator.align_corners is dense.align_corners is align_corners
    keypoints = model.detect(SOURCE)
    direct = model.generator(SOURCE, keypoints, keypoints)
    assert torch.equal(model.generate(SOURCE, keypoints, keypoints).prediction, direct.prediction)
    motion = dense(dense.downsample(SOURCE), keypoints, keypoints)
    assert torch.equal(model.dense_motion(SOURCE, keypoints, keypoints).mask, motion.mask)


def test_the_zeroth_order_model():
    model = small_model({"model_params.common_params.estimate_jacobian": False})
    assert model.detect(SOURCE).jacobian is None
    generated = model(SOURCE, DRIVING)
    assert generated.prediction.shape == (2, 3, 32, 32)
    shift = model.detect(SOURCE).value - model.detect(DRIVING).value
    motions = model.dense_motion(SOURCE, model.detect(SOURCE), model.detect(DRIVING)).sparse_motions[:, 1:]
    expected = coordinate_grid(16, 16) + shift[:, :, None, None]
    torch.testing.assert_close(motions, expected, rtol=0, atol=1e-5)


def test_a_model_without_occlusion_map():
    model = small_model({"model_params.generator_params.estimate_occlusion_map": False})
    generated = model(SOURCE, DRIVING)
    assert generated.occlusion_map is None and generated.mask is not None


def test_a_model_without_dense_motion():
    model = small_model({"model_params.generator_params.dense_motion_params": None})
    assert model(SOURCE, DRIVING).prediction.shape == (2, 3, 32, 32)
    keypoints = Keypoints(torch.zeros(2, 3, 2))
    message = r"this model has no dense motion network \(dense_motion_params is not set in its config\)"
    with pytest.raises(InputError, match=message):
        model.dense_motion(SOURCE, keypoints, keypoints)


def test_other_numbers_of_channels_and_keypoints():
    model = small_model(
        {"model_params.common_params.num_channels": 1, "model_params.common_params.num_kp": 7}
    )
    generated = model(SOURCE[:, :1], DRIVING[:, :1])
    assert generated.prediction.shape == (2, 1, 32, 32) and generated.mask.shape[1] == 8
    discriminator = build_discriminator(model.config)
    assert discriminator.discs["1"].down_blocks[0].conv.in_channels == 1


def test_discriminator_as_configured():
    config = small_config(
        {
            "model_params.discriminator_params.use_kp": True,
            "model_params.discriminator_params.sn": True,
            "model_params.discriminator_params.scales": [1, 0.5],
        }
    )
    discriminator = build_discriminator(config)
    assert list(discriminator.discs) == ["1", "0-5"]
    assert discriminator.discs["1"].down_blocks[0].conv.in_channels == 3 + 3
    assert "discs.0-5.conv.weight_orig" in discriminator.state_dict()


def test_size_of_the_images():
    assert small_model({"dataset_params.frame_shape": [32, 64, 3]}).size == (32, 64)


def test_gradients_reach_every_parameter():
    with torch.enable_grad():
        model = small_model().train()
        generated = model(SOURCE, DRIVING)
        (generated.prediction**2).mean().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert model.kp_detector.kp.weight.grad.abs().sum() > 0
    assert model.generator.dense_motion_network.occlusion.weight.grad.abs().sum() > 0


def test_half_precision():
    model = small_model()
    exact = model(SOURCE, DRIVING)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(SOURCE, DRIVING)
    assert rough.deformation.dtype == torch.float32
    assert (rough.prediction.float() - exact.prediction).abs().max() < 0.02
    assert (rough.deformation - exact.deformation).abs().mean() < 0.02


def test_nothing_warns(recwarn):
    # Deprecations of newer releases, for one: seen here first, not by a learner.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = small_model({"model_params.discriminator_params.sn": True})
        build_discriminator(model.config)({1: SOURCE})
        model(SOURCE, DRIVING, with_visuals=True)
    assert [str(warning.message) for warning in recwarn] == []


def test_importing_warns_of_nothing():
    # Only of this package: what others warn about when they are imported is not ours to mend.
    script = """
import warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import fomm_lib.model, fomm_lib.losses, fomm_lib.perceptual
print([str(w.message) for w in seen if "fomm" in w.filename or "pydantic" in w.filename])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- loading ------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder with the weights of a small model, called "tiny"; and that model."""
    model = small_model(seed=5)
    networks = {"generator": model.generator.state_dict(), "kp_detector": model.kp_detector.state_dict()}
    (tmp_path / "weights").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.yaml").write_text(model.config.model_dump_json())
    write_weights(tmp_path / "weights" / "tiny.safetensors", networks, model.config, dtype=None)
    torch.save(networks, tmp_path / "tiny-cpk.pth.tar")
    monkeypatch.setenv("FOMM_DATA", str(tmp_path))
    return tmp_path, model


def same(ours: FirstOrderMotionModel, theirs: FirstOrderMotionModel) -> bool:
    return torch.equal(ours(SOURCE, DRIVING).prediction, theirs(SOURCE, DRIVING).prediction)


def test_load_by_name_path_and_folder(data):
    folder, model = data
    weights = folder / "weights" / "tiny.safetensors"
    for name in ("tiny", "tiny.safetensors", weights, str(weights), folder / "weights"):
        loaded = load_model(name, device="cpu")
        assert not loaded.training
        assert loaded.config == model.config
        assert same(loaded, model)


def test_load_a_published_file(data):
    folder, model = data
    path = folder / "tiny-cpk.pth.tar"
    for config in (
        "tiny",
        "tiny.yaml",
        folder / "configs" / "tiny.yaml",
        model.config,
        model.config.model_dump(),
    ):
        assert same(load_model(path, config, device="cpu"), model)


def test_half_precision_weights_give_a_float32_model(data):
    folder, model = data
    networks = {"generator": model.generator.state_dict(), "kp_detector": model.kp_detector.state_dict()}
    path = write_weights(folder / "half.safetensors", networks, model.config)
    loaded = load_model(path, device="cpu")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    difference = loaded(SOURCE, DRIVING).prediction - model(SOURCE, DRIVING).prediction
    assert 0 < difference.abs().max() < 0.01


def test_a_config_given_comes_before_the_one_inside(data):
    _, model = data
    other = model.config.model_copy(deep=True)
    other.model_params.align_corners = False
    assert load_model("tiny", other, device="cpu").align_corners is False
    assert load_model("tiny", device="cpu").align_corners is True


def test_a_published_file_needs_a_config(data):
    folder, _ = data
    message = (
        r"tiny-cpk\.pth\.tar: has no config inside; name the one it was trained with, e\.g\. config vox-adv"
    )
    with pytest.raises(InputError, match=message):
        load_model(folder / "tiny-cpk.pth.tar")


def test_a_config_that_does_not_fit(data):
    folder, _ = data
    message = "the weights of kp_detector do not fit the config; 2 unexpected: jacobian.weight, jacobian.bias"
    config = small_config({"model_params.common_params.estimate_jacobian": False})
    with pytest.raises(InputError, match=f"{message}; give the config they were trained with"):
        load_model(folder / "tiny-cpk.pth.tar", config)
    with pytest.raises(InputError, match=r"tiny: .* leave out config: the file has its own inside"):
        load_model("tiny", config)


def test_how_little_fits_is_one_readable_line(data):
    """Hundreds of entries of another width are counted, not listed."""
    deeper = small_config({"model_params.kp_detector_params.num_blocks": 3})
    with pytest.raises(InputError) as error:
        load_model("tiny", deeper)
    text = str(error.value)
    assert len(text) < 500 and "\n" not in text
    assert re.search(r"missing: \S+, \S+ and \d+ more", text)


def test_an_unknown_name(data):
    with pytest.raises(InputError, match="tinny: no such file of weights; shipped ones by name: tiny"):
        load_model("tinny")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "meta:x", "nonsense", "lazy", "vulkan", "a:b"])
def test_a_device_that_is_not_there(data, device):
    """One line, without the names of twenty kinds of device."""
    with pytest.raises(InputError, match=f"^device {device}: cannot be used here.*; choose cpu") as error:
        load_model("tiny", device=device)
    assert "\n" not in str(error.value)


def test_the_default_device(data, monkeypatch):
    asked = []
    monkeypatch.setattr(FirstOrderMotionModel, "to", lambda self, device: asked.append(device) or self)
    for there, device in [(False, "cpu"), (True, "cuda")]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        load_model("tiny")
        assert asked.pop() == torch.device(device)


def test_weights_go_on_at_another_scale(data):
    """The fixed kernel that makes images smaller is not learned: each model keeps its own, unwarned."""
    scale = {"model_params.kp_detector_params.scale_factor": 0.25}
    scale["model_params.generator_params.dense_motion_params.scale_factor"] = 1
    model, discriminator = FirstOrderMotionModel(small_config(scale)), build_discriminator(small_config())
    kernel = model.kp_detector.down.weight.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start_from("tiny", model, discriminator)
    assert torch.equal(model.kp_detector.down.weight, kernel)
    taken = load_model("tiny")
    for name, tensor in taken.state_dict().items():
        if not name.endswith("down.weight"):
            assert torch.equal(model.state_dict()[name].float(), tensor.float()), name


@pytest.mark.parametrize("order", ["zeroth from first", "first from zeroth"])
def test_weights_go_on_with_and_without_jacobians(order, data, tmp_path):
    """All but the layer of Jacobians is taken, unwarned, and a new layer says the identity."""
    zeroth = small_config({"model_params.common_params.estimate_jacobian": False})
    config, from_config = (zeroth, small_config()) if order.startswith("zeroth") else (small_config(), zeroth)
    torch.manual_seed(0)
    taken, model = FirstOrderMotionModel(from_config), FirstOrderMotionModel(config)
    if from_config is not zeroth:
        torch.nn.init.normal_(taken.kp_detector.jacobian.weight)
    networks = {"generator": taken.generator.state_dict(), "kp_detector": taken.kp_detector.state_dict()}
    write_weights(tmp_path / "other.safetensors", networks, from_config, dtype=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start_from(tmp_path / "other.safetensors", model)
    image = torch.rand(1, 3, 64, 64)
    expected, found = taken.eval().detect(image), model.eval().detect(image)
    assert torch.equal(found.value, expected.value)
    if config is zeroth:
        assert found.jacobian is None
    else:
        torch.testing.assert_close(found.jacobian, torch.eye(2).expand(found.jacobian.shape))


GROWN = {
    "model_params.common_params.num_kp": 5,
    "model_params.kp_detector_params.pad": 3,
    "model_params.extension_params": EXTENSIONS,
}


def test_weights_go_on_with_more_keypoints(tmp_path):
    """What was learned stays: the keypoints, and the dense motion up to a little weight of the new ones."""
    few = small_model({"model_params.kp_detector_params.pad": 3})
    networks = {"generator": few.generator.state_dict(), "kp_detector": few.kp_detector.state_dict()}
    write_weights(tmp_path / "few.safetensors", networks, few.config, dtype=None)
    model = FirstOrderMotionModel(small_config(GROWN)).eval()
    with pytest.warns(UserWarning, match="generator starts anew") as warned:  # its decoder is another
        start_from(tmp_path / "few.safetensors", model)
    assert len(warned) == 1, "detector and dense motion fit"
    old, new = few.detect(SOURCE), model.detect(SOURCE)
    torch.testing.assert_close(new.value[:, :3], old.value, rtol=0, atol=1e-5)
    torch.testing.assert_close(new.jacobian[:, :3], old.jacobian, rtol=0, atol=1e-4)
    torch.testing.assert_close(new.jacobian[:, 3:], torch.eye(2).expand(len(SOURCE), 2, 2, 2))
    kp, driving = (few.detect(image) for image in (SOURCE, DRIVING))
    before = few.dense_motion(SOURCE, kp, driving)
    after = model.dense_motion(SOURCE, model.detect(SOURCE), model.detect(DRIVING))
    torch.testing.assert_close(after.occlusion, before.occlusion, rtol=0, atol=1e-5)
    known = after.mask[:, :4] / after.mask[:, :4].sum(1, keepdim=True)
    torch.testing.assert_close(known, before.mask, rtol=0, atol=1e-5)
    logits = before.mask.log().detach()
    assert torch.equal(after.mask[:, 4], after.mask[:, 5]) and logits.isfinite().all()


def test_new_keypoints_have_a_small_weight_at_first():
    few, many = DenseMotionNetwork(2, block_expansion=4), DenseMotionNetwork(3, block_expansion=4)
    for parameter in few.mask.parameters():
        torch.nn.init.zeros_(parameter)
    many.load_state_dict(grown(few.state_dict(), many))
    zeros = Keypoints(torch.zeros(1, 3, 2))
    mask = many.eval()(torch.rand(1, 3, 32, 32), zeros, zeros).mask[0, :, 5, 5]
    torch.testing.assert_close(mask, torch.tensor([0.0, 0.0, 0.0, NEW_MOTION_BIAS]).softmax(0))


def test_weights_do_not_shrink(tmp_path):
    """Fewer keypoints than the weights have: which should go?"""
    many = FirstOrderMotionModel(small_config({"model_params.common_params.num_kp": 5}))
    networks = {"generator": many.generator.state_dict(), "kp_detector": many.kp_detector.state_dict()}
    write_weights(tmp_path / "many.safetensors", networks, many.config, dtype=None)
    model = FirstOrderMotionModel(small_config())
    with pytest.warns(UserWarning) as warned:
        start_from(tmp_path / "many.safetensors", model)  # the rest of the generator fits
    anew = [re.search(r": ([\w ]+) starts anew: .* should be", str(warning.message))[1] for warning in warned]
    assert sorted(anew) == ["dense motion", "kp_detector"]


def test_extensions_are_switched_on_by_the_config():
    model = small_model({"model_params.extension_params": EXTENSIONS})
    assert model.size_multiple == 16  # two blocks down, two more of the inpainter
    assert model(SOURCE, DRIVING, with_visuals=True).prediction.shape == SOURCE.shape
    kp = [model.detect(image) for image in (SOURCE, DRIVING)]
    encoded = model.encode(SOURCE)
    torch.testing.assert_close(model.generate(encoded, *kp).prediction, model(SOURCE, DRIVING).prediction)
    plain = {name for name, _ in small_model().named_parameters()}
    added = {name.split(".")[1] for name, _ in model.named_parameters() if name not in plain}
    assert added == {"detail", "inpainter", "decoder"}
    with torch.enable_grad():
        model.train()(SOURCE, DRIVING).prediction.square().mean().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_no_part_that_fits(data):
    changes = {"model_params.common_params.num_kp": 2}  # more would be possible
    changes["model_params.generator_params.block_expansion"] = 6
    model = FirstOrderMotionModel(small_config(changes))
    with pytest.warns(UserWarning, match="anew"), pytest.raises(InputError, match="no part of it fits"):
        start_from("tiny", model)


def test_devices_that_are_there():
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")
    assert choose_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("channels", [1, 4])
def test_weights_for_images_of_other_colours(channels, data):
    """Every image here is RGB; without this line the first of them fails in a convolution."""
    config = small_config({"model_params.common_params.num_channels": channels})
    with pytest.raises(InputError, match=f"num_channels = {channels}: should be 3, as all images"):
        load_model("tiny", config, device="cpu")
