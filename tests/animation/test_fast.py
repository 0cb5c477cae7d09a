"""Rearranged networks: each one against the convolution it replaces, in float64, then whole models."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fomm_lib.animation import fast
from fomm_lib.animation.animator import Animator
from fomm_lib.animation.fast import (
    FastModel,
    FewChannels,
    FusedUpsampling,
    PixelUpsampling,
    faster,
    folded,
    multiplies_bfloat16,
)
from fomm_lib.animation.movement import relative_motion
from fomm_lib.animation.winograd import Winograd
from fomm_lib.blocks import DownBlock, Hourglass, ResidualBlock, SameBlock, UpBlock
from fomm_lib.errors import InputError
from fomm_lib.model import FirstOrderMotionModel, load_model
from tests.support.golden_recipe import fill, image
from tests.support.paths import GOLDEN
from tests.support.small_model import EXTENSIONS, small_model


@pytest.fixture(scope="module")
def model():
    """A small model whose images are not all but grey, so that they can differ."""
    model = small_model()
    with torch.no_grad():
        model.generator.final.weight.mul_(100)
    return model


def double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- folding -------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_a_batch_norm_goes_into_the_convolution():
    conv, norm = nn.Conv2d(3, 4, 3, padding=1).double(), nn.BatchNorm2d(4).double().eval()
    fill(norm, 1)
    weight, bias = folded(conv, norm)
    x = double(2, 3, 6, 5)
    torch.testing.assert_close(F.conv2d(x, weight, bias, padding=1), norm(conv(x)))
    assert not torch.allclose(weight, conv.weight)


# --- rearrangements ------------------------------------------------------------------------------------


@pytest.mark.parametrize("doubling", [FusedUpsampling, PixelUpsampling])
@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
@torch.inference_mode()
def test_doubling_is_doubling_and_then_a_convolution(size, doubling):
    x, weight, bias = double(2, 3, *size), double(4, 3, 3, 3, seed=1), double(4, seed=2)
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)
    torch.testing.assert_close(doubling(weight, bias, torch.float64)(x), expected)


@pytest.mark.parametrize(("kernel", "padding"), [(7, 3), (7, 0), (3, 1)])
@torch.inference_mode()
def test_few_channels_are_a_convolution(kernel, padding):
    x, weight, bias = double(2, 5, 8, 12), double(3, 5, kernel, kernel, seed=1), double(3, seed=2)
    expected = F.conv2d(x, weight, bias, padding=padding)
    torch.testing.assert_close(FewChannels(weight, bias, torch.float64, padding)(x), expected)


# --- whole networks ------------------------------------------------------------------------------------

BLOCKS = {
    "down": lambda: DownBlock(3, 4),
    "up": lambda: UpBlock(3, 4),
    "same": lambda: SameBlock(3, 4, kernel_size=7),
    "residual": lambda: ResidualBlock(3),
    "wide residual": lambda: ResidualBlock(fast.WINOGRAD_CHANNELS),
    "hourglass": lambda: Hourglass(4, 3, num_blocks=2, max_features=16),
}


@pytest.mark.parametrize("settings", [{"rearrange": False}, {}, {"exported": True}])
@pytest.mark.parametrize("name", BLOCKS)
@torch.inference_mode()
def test_every_block(name, settings):
    block = BLOCKS[name]().eval()
    fill(block, 1)
    block = block.double()
    quick = faster(block, dtype=torch.float64, **settings)
    x = double(2, fast.WINOGRAD_CHANNELS if name == "wide residual" else 3, 8, 8)
    torch.testing.assert_close(quick(x), block(x))


def test_only_wide_convolutions_go_through_winograd():
    def kinds(block, **settings):
        return {type(module) for module in faster(block.eval(), **settings).modules()}

    wide, narrow = ResidualBlock(fast.WINOGRAD_CHANNELS), ResidualBlock(fast.WINOGRAD_CHANNELS - 1)
    assert Winograd in kinds(wide) and Winograd not in kinds(narrow)
    assert Winograd not in kinds(wide, rearrange=False) and Winograd not in kinds(wide, dtype=torch.bfloat16)
    deep, shallow = UpBlock(2, fast.FUSED_OUT_CHANNELS + 1), UpBlock(2, fast.FUSED_OUT_CHANNELS)
    assert FusedUpsampling in kinds(shallow) and FusedUpsampling not in kinds(deep)
    assert FusedUpsampling not in kinds(shallow, rearrange=False)
    exported = kinds(shallow, exported=True) | kinds(wide, exported=True)
    assert PixelUpsampling in exported and not exported & {FusedUpsampling, Winograd}


@torch.inference_mode()
def test_residual_blocks_add_up_in_float32():
    """Blocks that add next to nothing hand on what they got: bfloat16 would round it, and lose the sum."""
    blocks = nn.Sequential(*(ResidualBlock(4) for _ in range(8))).eval()
    for block in blocks:
        block.conv2.weight.zero_()
        block.conv2.bias.fill_(2**-12)
    x = 1 + torch.rand(1, 4, 8, 8) / 2
    quick = faster(blocks, dtype=torch.bfloat16)(x)
    assert quick.dtype == torch.float32
    assert torch.equal(quick, x + 8 * 2**-12)


@torch.inference_mode()
def test_the_network_itself_is_left_as_it_is():
    model = small_model()
    state = {name: entry.clone() for name, entry in model.state_dict().items()}
    image = torch.rand(1, 3, 32, 32)
    before = model(image, image.flip(-1)).prediction
    quick = faster(model, dtype=torch.bfloat16)
    quick(image, image.flip(-1))
    quick.to(torch.float64)  # in place, and yet of the copy alone
    assert all(torch.equal(model.state_dict()[name], entry) for name, entry in state.items())
    assert torch.equal(model(image, image.flip(-1)).prediction, before)


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="a network in training mode cannot be rearranged"):
        faster(DownBlock(3, 4))


# --- the fast model ------------------------------------------------------------------------------------

VARIANTS = {
    "as published": {},
    "no occlusion map": {"model_params.generator_params.estimate_occlusion_map": False},
    "zeroth order": {"model_params.common_params.estimate_jacobian": False},
    "one set of Jacobian maps": {"model_params.kp_detector_params.single_jacobian_map": True},
    "no dense motion": {"model_params.generator_params.dense_motion_params": None},
    "no down blocks": {"model_params.generator_params.num_down_blocks": 0},
    "align_corners false": {"model_params.align_corners": False},
    "wide enough for Winograd": {
        "model_params.generator_params.max_features": 128,
        "model_params.generator_params.block_expansion": 64,
    },
}


def decibels(found, expected):
    return -10 * torch.log10((found - expected).double().square().mean()).item()


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_the_fast_model_is_the_model(name):
    model = small_model(VARIANTS[name])
    with torch.no_grad():
        model.generator.final.weight.mul_(30)
    fast = FastModel(model)
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(3, 3, 32, 32)
    kp_source, kp = model.detect(source), model.detect(driving)
    found_source, found = fast.detect(source), fast.detect(driving)
    for part in ("value", "jacobian"):
        if getattr(kp, part) is None:
            assert getattr(found, part) is None
        else:
            torch.testing.assert_close(getattr(found, part), getattr(kp, part), atol=1e-5, rtol=1e-5)

    expected = model.generate(
        model.generator.encode(source).expand(3), kp_source.expand(3), kp, with_visuals=True
    )
    generated = fast.generate(fast.encode(source).expand(3), found_source.expand(3), found, with_visuals=True)
    assert decibels(generated.prediction, expected.prediction) > 100
    for part in ("mask", "deformation", "occlusion_map", "sparse_deformed", "deformed"):
        if getattr(expected, part) is None:
            assert getattr(generated, part) is None
        else:
            torch.testing.assert_close(
                getattr(generated, part), getattr(expected, part), atol=1e-4, rtol=1e-4
            )
    plain = fast.generate(fast.encode(source).expand(3), found_source.expand(3), found)
    assert plain.deformed is None and plain.sparse_deformed is None


@pytest.mark.parametrize(("precision", "least"), [("float32", 110), ("bfloat16", 60)])
@torch.inference_mode()
def test_trained_weights(precision, least):
    model = load_model("heads-64", device="cpu")
    source, driving = image(1, 64, 1), image(2, 64, 4)
    expected = Animator(model, source)(driving).prediction
    kp = [model.detect(x) for x in (source, driving)]
    moved = relative_motion(kp[0], kp[1], kp[1][:1])
    plain = model.generate(model.generator.encode(source).expand(4), kp[0].expand(4), moved).prediction
    found = Animator(FastModel(model, precision=precision), source)(driving).prediction
    assert found.dtype == torch.float32
    assert decibels(found, plain) > least
    assert decibels(expected, plain) > 110
    assert (found - plain).abs().max() < 1 / 255


@torch.inference_mode()
def test_bfloat16_moves_exactly_as_float32_does():
    """What says where things are has all its digits; only what paints has fewer."""
    model = load_model("heads-64", device="cpu")
    source, driving = image(1, 64, 1), image(2, 64, 2)
    exact, rough = (Animator(FastModel(model, precision=p), source) for p in ("float32", "bfloat16"))
    assert torch.equal(rough.encoded.features, exact.encoded.features)
    exact, rough = exact(driving), rough(driving)
    for part in ("mask", "deformation", "occlusion_map"):
        assert torch.equal(getattr(rough, part), getattr(exact, part)), part
    assert not torch.equal(rough.prediction, exact.prediction)


@torch.inference_mode()
def test_published_numbers():
    with np.load(GOLDEN / "eval_vox-adv-256_align1.npz") as numbers:
        golden = dict(numbers)
    seed = int(golden["seed"])
    model = FirstOrderMotionModel(json.loads(str(golden["config"]))).eval()
    fill(model.generator, seed + 1)
    fill(model.kp_detector, seed + 2)
    fast = FastModel(model)
    kp_source, kp_driving = (fast.detect(image(seed + which, 256, 2)) for which in (10, 20))
    generated = fast.generate(fast.encode(image(seed + 10, 256, 2)), kp_source, kp_driving)
    for found, name in [
        (kp_driving.value, "kp_driving"),
        (kp_driving.jacobian, "jacobian_driving"),
        (generated.prediction[..., ::16, ::16], "prediction"),
        (generated.mask[..., ::4, ::4], "mask"),
        (generated.occlusion_map[..., ::4, ::4], "occlusion_map"),
    ]:
        assert np.abs(found.numpy() - golden[name]).max() < 1e-4, name


def test_weights_are_those_of_the_moment(model):
    """A fast model does not follow a training, and does not disturb it."""
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(2, 3, 32, 32)
    trained = small_model(seed=3)
    fast = FastModel(trained)
    before = Animator(fast, source)(driving).prediction
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1)
    assert torch.equal(Animator(fast, source)(driving).prediction, before)
    assert not torch.equal(Animator(trained, source)(driving).prediction, before)
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_a_model_in_double_precision_stays_in_it(model):
    fast = FastModel(small_model().double())
    source = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    assert Animator(fast, source)(source).prediction.dtype == torch.float64


def test_compiled():
    if shutil.which("c++") is None and shutil.which("cl") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    shallow = {
        "model_params.kp_detector_params.num_blocks": 1,
        "model_params.generator_params.num_down_blocks": 1,
        "model_params.generator_params.num_bottleneck_blocks": 0,
        "model_params.generator_params.dense_motion_params.num_blocks": 1,
    }
    model = small_model(shallow)  # as compiling takes seconds a layer
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(2, 3, 32, 32)
    found = Animator(FastModel(model, compile=True), source)(driving).prediction
    torch.testing.assert_close(found, Animator(model, source)(driving).prediction, atol=1e-5, rtol=1e-5)


@pytest.mark.needs_gpu
@pytest.mark.parametrize("compile", [False, "reduce-overhead"])
def test_on_a_gpu(model, compile):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(3, 3, 32, 32)
    expected = Animator(model, source)(driving).prediction
    animator = Animator(FastModel(small_model().cuda(), compile=compile), source.cuda())
    for _ in range(3):
        found = animator(driving.cuda()).prediction.cpu()
    assert found.shape == expected.shape and animator.kp_initial.value.is_cuda


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("vendor_id : AuthenticAMD\nflags : avx512_bf16 sse2", "bfloat16"),
        ("vendor_id : GenuineIntel\nflags : avx512_bf16 amx_bf16", "bfloat16"),
        ("vendor_id : GenuineIntel\nflags : avx512_bf16 sse2", "float32"),
        ("Features : fp bf16", "bfloat16"),
        ("fma avx2", "float32"),
    ],
)
def test_auto_takes_what_the_processor_multiplies(flags, precision, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(flags + "\n")
    monkeypatch.setattr(fast, "CPU_INFO", tmp_path / "cpuinfo")
    assert FastModel(small_model(), precision="auto").precision == precision
    assert FastModel(small_model()).precision == "float32"  # exact unless asked


def test_where_nobody_tells_the_processor_auto_is_exact(tmp_path, monkeypatch):
    monkeypatch.setattr(fast, "CPU_INFO", tmp_path / "none")
    assert FastModel(small_model(), precision="auto").precision == "float32"
    assert not multiplies_bfloat16(torch.device("mps"))


def test_what_a_fast_model_is_not_made_of(model):
    with pytest.raises(InputError, match=r"in training mode.*; call model.eval\(\) first"):
        FastModel(small_model().train())
    with pytest.raises(InputError, match="precision float8: there are auto, float32 and bfloat16"):
        FastModel(model, precision="float8")


def test_each_constant_is_made_once(monkeypatch):
    """A transform of wide layers takes time: as many convolutions are made as the network has."""
    made = []
    for kind in (fast._Convolution, Winograd):
        monkeypatch.setattr(kind, "__init__", _counted(kind.__init__, made))
    for changes in ({}, {"model_params.extension_params": EXTENSIONS}, VARIANTS["wide enough for Winograd"]):
        model = small_model(changes)
        made.clear()
        FastModel(model)
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        assert len(made) == len(convolutions) > 20


def _counted(function, made):
    def counted(self, *arguments, **options):
        made.append(self)
        function(self, *arguments, **options)

    return counted


# --- beyond the paper ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fill": False},
        {"skips": False, "fill": False},
        {"keypoint_maps": False},
        {"opening_maps": []},
        {"inpainting_blocks": 0, "keypoint_maps": False, "opening_maps": []},
    ],
)
@pytest.mark.parametrize("size", [32, 64])
@torch.inference_mode()
def test_extensions_are_rearranged_too(changes, size):
    model = small_model({"model_params.extension_params": {**EXTENSIONS, **changes}})
    quick = FastModel(model)
    generator = torch.Generator().manual_seed(1)
    source, driving = (torch.rand(count, 3, 32, 32, generator=generator) for count in (1, 3))
    images = [
        Animator(one, source, size=size, relative=False).generate(model.detect(driving)).prediction
        for one in (model, quick)
    ]
    plain = model.generate(model.encode(source), model.detect(source), model.detect(driving[:1])).prediction
    assert images[0].shape == (3, 3, size, size)
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=1e-5)
    if size == 32:
        torch.testing.assert_close(images[1][:1], plain, rtol=0, atol=1e-5)
    assert (images[0][0] - images[0][1]).abs().max() > 1e-3
    rough = Animator(FastModel(model, precision="bfloat16"), source, size=size, relative=False)
    torch.testing.assert_close(rough.generate(model.detect(driving)).prediction, images[0], rtol=0, atol=0.05)
