"""8 bits: balanced networks compute the same, and their channels are equally large."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from fomm_lib.animation import eight_bits, export
from fomm_lib.animation.animator import Animator
from fomm_lib.animation.eight_bits import balance
from fomm_lib.animation.export import ExportedModel, export_model
from fomm_lib.animation.fast import faster
from fomm_lib.generator import EncodedSource
from tests.support.small_model import small_model

VARIANTS = {
    "as published": {},
    "no bottleneck": {"model_params.generator_params.num_bottleneck_blocks": 0},
    "one doubling": {"model_params.generator_params.num_down_blocks": 1},
}


def uneven(changes=None):
    """A model whose channels differ in size by up to a hundred."""
    model = small_model(changes)
    with torch.no_grad():
        for block in model.generator.bottleneck:
            block.norm1.weight.mul_(torch.logspace(0, 2, len(block.norm1.weight)))
            block.norm2.weight.mul_(torch.logspace(1, 0, len(block.norm2.weight)))
            block.conv1.weight.div_(torch.logspace(0, 2, block.conv1.in_channels)[:, None, None])
            block.conv2.weight.div_(torch.logspace(1, 0, block.conv2.in_channels)[:, None, None])
        model.generator.final.weight.mul_(30)
    return model


def images(frames=4):
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1 + frames, 3, 8, 8, generator=generator)
    pixels = nn.functional.interpolate(small, size=32, mode="bilinear")
    return pixels[:1], pixels[1:]


def generator_and_calls(model, dtype=torch.float64):
    """The generator of an exported model, and calls of it, in a function since balancing changes it."""
    source, driving = images()
    model = copy.deepcopy(model).to(dtype)
    animator = Animator(model, source.to(dtype))
    generator = faster(model.generator, dtype=dtype, exported=True)
    keypoints = [animator.detect(frame) for frame in driving.to(dtype).split(1)]
    encoded = EncodedSource(None, animator.encoded.features, animator.encoded.small)
    return generator, [partial(generator, encoded, animator.kp_source, kp) for kp in keypoints]


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_a_balanced_network_computes_the_same(name):
    generator, calls = generator_and_calls(uneven(VARIANTS[name]))
    before = [call().prediction for call in calls]
    weights = [tensor.clone() for tensor in generator.buffers()]
    balance(generator, calls)
    for call, expected in zip(calls, before, strict=True):
        torch.testing.assert_close(call().prediction, expected, rtol=0, atol=1e-11)
    changed = [not torch.equal(a, b) for a, b in zip(weights, generator.buffers(), strict=False)]
    assert any(changed)


@torch.no_grad()
def test_channels_are_as_large_as_the_weights_that_read_them():
    """After it the largest number of a channel and of its weights have the same ratio for all channels, but
    for those that are nearly always 0.
    """
    generator, calls = generator_and_calls(uneven())
    seen = {}

    def ratios():
        convolutions = [
            c for block in generator.bottleneck if hasattr(block, "conv1") for c in (block.conv1, block.conv2)
        ]
        hooks = [
            c.register_forward_pre_hook(lambda c, inputs: seen.setdefault(c, []).append(inputs[0]))
            for c in (*convolutions, generator.final)
        ]
        seen.clear()
        for call in calls:
            call()
        for hook in hooks:
            hook.remove()
        found = []
        for convolution, inputs in seen.items():
            largest = torch.cat(inputs).abs().amax(dim=(0, 2, 3))
            both = largest / convolution.weight.abs().amax(dim=(0, 2, 3))
            found.append((both[largest > 0].max() / both[largest > 0].min()).item())
        return found

    assert max(ratios()) > 100
    balance(generator, calls)
    assert sorted(ratios())[len(ratios()) // 2] < 1.001
    assert max(ratios()) < 50


def test_factors_in_closed_form():
    """sqrt(a / w) over its geometric mean; a channel of 0 counts as a thousandth of the largest."""
    weight = torch.tensor([1.0, -4.0, 1.0])[:, None, None].expand(2, 3, 1, 1)
    found = eight_bits._factors(torch.tensor([9.0, 4.0, 0.0]), weight)
    expected = torch.tensor([3.0, 1.0, 0.009**0.5])
    torch.testing.assert_close(found, expected / expected.log().mean().exp())


@torch.no_grad()
def test_a_channel_that_is_always_zero():
    model = small_model()
    block = model.generator.bottleneck[0]
    block.norm1.weight[0] = 0
    block.norm1.bias[0] = -1  # and then a ReLU
    generator, calls = generator_and_calls(model)
    before = calls[0]().prediction
    balance(generator, calls)
    torch.testing.assert_close(calls[0]().prediction, before, rtol=0, atol=1e-11)


def test_balance_pays(tmp_path, monkeypatch):
    """The same graph in 8 bits with and without."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model, (source, driving) = uneven(), images()
    expected = Animator(model, source)(driving).prediction
    found = {}
    for name, function in {"balanced": balance, "as it was": lambda *_: None}.items():
        monkeypatch.setattr(export, "balance", function)
        export_model(model, tmp_path / name, calibration=(source, driving))
        made = Animator(ExportedModel(tmp_path / name, precision="int8"), source)(driving).prediction
        found[name] = -10 * torch.log10((made - expected).square().mean()).item()
    assert found["balanced"] > found["as it was"] + 3, found


def test_only_convolutions_of_the_motion_read_rounded_numbers(tmp_path):
    """Not the skips of its hourglass, nor anything after its convolutions; else the flow is rounded, too."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    export_model(small_model(), tmp_path / "model", calibration=images())
    plain, rounded = (onnx.load(tmp_path / f"model/generate{kind}.onnx") for kind in ("", ".int8"))
    onnx.checker.check_model(rounded)
    before, exact = eight_bits.before_rounding(rounded), eight_bits.sensitive(plain)
    readers = {node.name for node in rounded.graph.node if before.keys() & set(node.input)}
    convolutions = {node.name for node in plain.graph.node if node.op_type == "Conv"} - set(exact)
    of_motion = {name for name in readers if "dense_motion_network/" in name}
    assert of_motion == {name for name in convolutions if "dense_motion_network/" in name}
    assert len(of_motion) >= 2 and convolutions < readers  # after the warp others may read them


def test_it_prints_nothing(tmp_path, capfd):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    export_model(small_model(), tmp_path / "model", calibration=images())
    assert capfd.readouterr().out == ""


def test_what_stays_exact():
    onnx = pytest.importorskip("onnx")
    names = [
        "/network/dense_motion_network/hourglass/encoder/down_blocks.0/Conv",
        "/network/dense_motion_network/hourglass/encoder/down_blocks.1/Conv",
        "/network/dense_motion_network/hourglass/decoder/up_blocks.9/Conv",
        "/network/dense_motion_network/hourglass/decoder/up_blocks.10/Conv",
        "/network/dense_motion_network/mask/Conv",
        "/network/bottleneck/r0/conv1/Conv",
        "/network/up_blocks.0/Conv",
        "/network/final/Conv",
    ]
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["y"], name=name) for name in names]
    graph = onnx.helper.make_graph(nodes, "graph", [], [])
    exact = eight_bits.sensitive(onnx.helper.make_model(graph))
    assert sorted(exact) == sorted(names[i] for i in (0, 3, 4, 7))
