"""A step is the published one on every path that users get, and in each of them everything learns.

A path is what makes a step fast: memory layout, fused doubling, Winograd's tiles, precision, compilation. The
networks are small, so the limits from which a path pays are lowered to let them take it. They compute in
float64, where nothing but an error makes a difference; bf16 has tolerances of its own.
"""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from benchmarks.training import PublishedStep
from fomm_lib.blocks import UpBlock
from fomm_lib.config import config_names, load_config
from fomm_lib.losses import RandomTransform
from fomm_lib.model import FirstOrderMotionModel, build_discriminator
from fomm_lib.perceptual import VggFeatures
from fomm_lib.training import fast, loop
from fomm_lib.training.distributed import Processes
from fomm_lib.training.state import StateFolder, read_state
from fomm_lib.training.step import TrainingStep
from tests.support.tiny_training import run, with_weights

ADVERSARIAL = with_weights(generator_gan=1, feature_matching=[10, 5], discriminator_gan=0.5)
DISCRIMINATORS = {
    "plain": {},
    "spectral norm": {"sn": True},
    "keypoints": {"use_kp": True},
    "two scales": {"scales": [1, 0.5]},
    "spectral norm, keypoints, two scales": {"sn": True, "use_kp": True, "scales": [1, 0.5]},
}
PATHS = {
    "plain": {},
    "channels last": {"layout": torch.channels_last},
    "doubling": {"rearrange": [fast.fuse_upsampling]},
    "Winograd": {"rearrange": [fast.by_winograd]},
    "doubling and Winograd, channels last": {
        "layout": torch.channels_last,
        "rearrange": [fast.fuse_upsampling, fast.by_winograd],
    },
    "compiled": {"compile": True},
    "bf16": {"precision": "bf16"},
    "bf16, doubling, channels last": {
        "layout": torch.channels_last,
        "rearrange": [fast.fuse_upsampling],
        "precision": "bf16",
    },
}
FIRST, *_, LAST = DISCRIMINATORS
USUAL = "doubling and Winograd, channels last"
# Relative: of losses, which are given in float32, or of their sum; and of what two steps change in kernels.
TOLERANCES = {"no": (1e-6, 1e-3), "bf16": (0.03, 1.0)}


class SmallFeatures(VggFeatures):
    """A perceptual network of 4 channels."""

    layers = (4, 4, "M", 4, 4, "M", 4, 4, 4, "M", 4, 4, 4, "M", 4)


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    """Winograd's tiles are used for all sizes; compiling stops before the compiler, which takes minutes."""
    monkeypatch.setattr(fast, "WINOGRAD_CHANNELS", {True: 1, False: 1})
    monkeypatch.setattr(fast, "WINOGRAD_TILES", {True: 1, False: 1})
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


def with_discriminator(config: dict, **params) -> dict:
    model_params = copy.deepcopy(config["model_params"])
    model_params["discriminator_params"] |= params
    return {**config, "model_params": model_params}


def step_and_batch(config: dict, layout=torch.contiguous_format, rearrange=(), **options):
    """A seeded step, its networks rearranged; the step in the published order, of copies; and a batch."""
    torch.manual_seed(0)
    config = load_config(config)
    model, discriminator = FirstOrderMotionModel(config).train(), build_discriminator(config).train()
    dtype = torch.float32 if "precision" in options else torch.float64
    networks = [network.to(dtype) for network in (model, discriminator, SmallFeatures())]
    published = PublishedStep(*copy.deepcopy(networks), config)
    published.pyramid.to(dtype)
    for change in rearrange:
        networks = [change(network) for network in networks]
    networks = [network.to(memory_format=layout) for network in networks]
    images = [image.contiguous(memory_format=layout) for image in torch.rand(2, 4, 3, 32, 32).to(dtype)]
    transform = RandomTransform.sample(4, generator=torch.Generator().manual_seed(0))
    transform = RandomTransform(transform.theta.to(dtype), transform.control_params.to(dtype))
    step = TrainingStep(*networks, config, **options)
    step.pyramid.to(dtype)
    return step, published, (*images, transform)


def kernels(step: TrainingStep) -> torch.Tensor:
    """All kernels of generator, detector and discriminator; biases before a norm move by rounding alone."""
    found = [
        tensor.detach().flatten()
        for network in (step.model, step.discriminator)
        for name, tensor in network.named_parameters()
        if tensor.ndim == 4
    ]
    return torch.cat(found).clone()


# Every path with the first and the last discriminator (compiled, which is slow, with the last alone), and all
# of them on the path of `fomm train` on a CPU.
CASES = [
    (path, name)
    for path in PATHS
    for name in DISCRIMINATORS
    if name == LAST or path == USUAL or (name == FIRST and path != "compiled")
]


@pytest.mark.parametrize(("path", "discriminator"), CASES)
def test_a_step_is_the_published_one(path, discriminator):
    config = with_discriminator(ADVERSARIAL, **DISCRIMINATORS[discriminator])
    step, published, batch = step_and_batch(config, **PATHS[path])
    before = kernels(published)
    tolerance, away = TOLERANCES[PATHS[path].get("precision", "no")]
    for _ in range(2):
        ours, theirs = step(*batch), published(*batch)
        assert ours.keys() == theirs.keys() and len(ours) == 6
        if step.dtype is not None:  # single losses are small, and their rounding errors are not
            ours, theirs = ({"sum": sum(losses.values())} for losses in (ours, theirs))
        for name, loss in theirs.items():
            assert ours[name] == pytest.approx(loss, rel=tolerance), name
    moved, should = kernels(step) - before, kernels(published) - before
    assert (moved - should).norm() < away * should.norm()
    vectors = dict(published.discriminator.named_buffers())
    for name, vector in step.discriminator.named_buffers():  # of the spectral norm
        if name in vectors:
            torch.testing.assert_close(vector, vectors[name], rtol=0, atol=away / 10)


@pytest.mark.parametrize("path", ["doubling", "Winograd"])
def test_a_path_is_taken(path):
    step, *_ = step_and_batch(ADVERSARIAL, **PATHS[path])
    kind, plain = {"doubling": (fast.FusedUpBlock, UpBlock), "Winograd": (fast.WinogradConv2d, nn.Conv2d)}[
        path
    ]
    for network in (step.model,) if path == "doubling" else (step.model, step.discriminator, step.network):
        modules = [type(module) for module in network.modules()]
        assert kind in modules
        assert path == "Winograd" or plain not in modules


@pytest.mark.parametrize("sn", [False, True])
def test_the_discriminator_judges_generated_images_first(sn):
    """With spectral norm every call improves the estimate of the norms, so the order changes all numbers."""
    step, _, batch = step_and_batch(with_discriminator(ADVERSARIAL, sn=sn))
    seen, outputs = [], []
    fresh = copy.deepcopy(step.discriminator)
    step.discriminator.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    losses = step(*batch)
    kinds = ["real" if torch.equal(images[1], batch[1]) else "generated" for images in seen]
    assert kinds == ["generated", "real"] * (2 if sn else 1)
    with torch.no_grad():
        outputs = [fresh(images)[1][1] for images in seen]
    adversarial = (1 - outputs[0]).square().mean()
    discriminating = (1 - outputs[-1]).square().mean() + outputs[-2].square().mean()
    assert losses["gen_gan"] == pytest.approx(adversarial.item(), rel=1e-6)
    assert losses["disc_gan"] == pytest.approx(0.5 * discriminating.item(), rel=1e-6)


# --- everything learns ---------------------------------------------------------------------------------


def small(name: str) -> dict:
    """A config of the project with narrow networks for images of 32x32; all its switches stay."""
    config = load_config(name).model_dump(mode="json")
    narrow = {"block_expansion": 4, "max_features": 8, "num_blocks": 2}
    config["dataset_params"]["frame_shape"] = [32, 32, 3]
    params = config["model_params"]
    detail = (params["extension_params"] or {}).get("detail_features")  # of what averaging loses
    params["kp_detector_params"] |= {**narrow, "scale_factor": 0.5 if detail else 1}
    params["generator_params"] |= {"block_expansion": 4, "max_features": 8, "num_bottleneck_blocks": 1}
    params["generator_params"]["dense_motion_params"] |= {**narrow, "scale_factor": 1}
    params["discriminator_params"] |= narrow
    train_params = config["train_params"]
    train_params |= {"batch_size": 4, "warmup_steps": 0, "num_repeats": 2}
    train_params["loss_weights"]["feature_matching"] = train_params["loss_weights"]["feature_matching"][:2]
    train_params["loss_weights"]["perceptual"] = train_params["loss_weights"]["perceptual"][:2]
    return config


def frozen(config: dict) -> tuple[str, ...]:
    """The beginnings of the names of what a config freezes, or does not use."""
    names = []
    if config["train_params"]["freeze_motion"]:
        names += ["kp_detector.", "generator.dense_motion_network."]
    if not config["train_params"]["lr_kp_detector"]:  # as published for taichi-adv
        names.append("kp_detector.")
    if not config["train_params"]["loss_weights"]["generator_gan"]:
        names.append("discriminator.")
    return tuple(names)


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "no") for name in config_names()), ("heads-64-adv", "bf16")]
)
def test_everything_learns_in_two_steps_of_fomm_train(name, precision, data, tmp_path):
    config = small(name)
    start = loop.build_step(load_config(config), Processes("cpu"), 0, None, precision, 1, False).networks()
    options = {"steps": 2, "precision": precision, "validation_pairs": 0, "sample_every": 100}
    run(data, tmp_path / "run", config=config, **options)
    end = read_state(StateFolder(tmp_path / "run" / "states", 1).newest())["training"]["networks"]
    stayed = [
        f"{network}.{entry}"
        for network, entries in start.items()
        for entry, before in entries.items()
        if entry.endswith((".weight", ".bias", ".weight_orig")) and not entry.endswith("down.weight")
        if torch.equal(end[network][entry], before)
    ]
    assert [entry for entry in stayed if not entry.startswith(frozen(config))] == []
    for beginning in frozen(config):
        assert any(entry.startswith(beginning) for entry in stayed)
