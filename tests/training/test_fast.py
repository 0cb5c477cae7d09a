"""Layers for training compute the same as those they replace, and so do their gradients."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from fomm_lib.blocks import UpBlock
from fomm_lib.config import load_config
from fomm_lib.keypoints import Keypoints
from fomm_lib.model import build_discriminator
from fomm_lib.training import fast
from tests.support.tiny_training import TINY, spectral


def test_a_fused_upsampling_computes_the_same():
    torch.manual_seed(0)
    block = UpBlock(6, 4)
    other = fast.fuse_upsampling(copy.deepcopy(block))
    assert type(other) is fast.FusedUpBlock
    assert other.state_dict().keys() == block.state_dict().keys()
    x = torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(other(x), block(x), rtol=1e-4, atol=1e-5)
    ahead = torch.randn(2, 4, 10, 14)
    for one in (block, other):
        (one(x) * ahead).sum().backward()
    for (name, ours), theirs in zip(other.named_parameters(), block.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4, msg=name)
    assert type(fast.fuse_upsampling(UpBlock(300, 2))) is UpBlock  # where it would not pay


def test_modules_inside_are_replaced_and_their_names_stay():
    network = nn.Sequential(UpBlock(3, 4), nn.Sequential(UpBlock(4, 5)))
    names = list(network.state_dict())
    parameters = list(network.parameters())
    assert fast.fuse_upsampling(network) is network
    assert type(network[0]) is type(network[1][0]) is fast.FusedUpBlock
    assert list(network.state_dict()) == names
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))


@pytest.mark.parametrize(
    ("size", "padding", "sides"),
    [
        (3, 1, (32, 32)),
        (3, 1, (30, 37)),
        (3, 0, (34, 31)),
        (3, (2, 1), (33, 33)),
        (4, 0, (30, 29)),
        (4, 1, (28, 31)),
    ],
)
def test_winograd_computes_the_same(size, padding, sides):
    torch.manual_seed(0)
    plain = nn.Conv2d(130, 5, size, padding=padding)
    frozen = copy.deepcopy(plain).requires_grad_(False)
    for start in (copy.deepcopy(plain), frozen):
        other = fast.by_winograd(start)
        assert type(other) is fast.WinogradConv2d
        assert other.state_dict().keys() == plain.state_dict().keys()
        images = [torch.randn(2, 130, *sides).requires_grad_()]
        images.append(images[0].detach().clone().requires_grad_())
        plain.zero_grad()
        results = [convolution(x) for convolution, x in zip((plain, other), images, strict=True)]
        assert not torch.equal(*results)  # not in the same way
        torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)
        ahead = torch.randn_like(results[0])
        for y in results:
            (y * ahead).sum().backward()
        torch.testing.assert_close(images[1].grad, images[0].grad, rtol=1e-4, atol=1e-5)
        if start is not frozen:
            torch.testing.assert_close(other.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-3)
            torch.testing.assert_close(other.bias.grad, plain.bias.grad, rtol=1e-4, atol=1e-3)


def test_winograd_gradients_of_gradients(monkeypatch):
    monkeypatch.setattr(fast, "WINOGRAD_CHANNELS", {True: 1, False: 1})
    monkeypatch.setattr(fast, "WINOGRAD_TILES", {True: 1, False: 1})
    torch.manual_seed(0)
    for size in (3, 4):
        convolution = fast.by_winograd(nn.Conv2d(1, 2, size, padding=1).double())
        x = torch.randn(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)

        def of_all(x, weight, bias, convolution=convolution):
            entries = {"weight": weight, "bias": bias}
            return torch.func.functional_call(convolution, entries, (x,))

        inputs = (x, convolution.weight, convolution.bias)
        assert torch.autograd.gradcheck(of_all, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(of_all, inputs, fast_mode=True)


def test_winograd_stays_away_where_it_does_not_pay():
    for other in (
        nn.Conv2d(60, 4, 3),  # few channels
        nn.Conv2d(64, 4, 3).requires_grad_(False),
        nn.Conv2d(256, 4, 1),
        nn.Conv2d(256, 4, 7),
        nn.Conv2d(256, 4, 3, stride=2),
        nn.Conv2d(256, 4, 3, dilation=2),
        nn.Conv2d(256, 4, 3, groups=2),
        nn.Conv2d(256, 4, 3, padding="same"),
        nn.Conv2d(256, 4, 3, padding=1, padding_mode="reflect"),
    ):
        assert type(fast.by_winograd(other)) is nn.Conv2d
    convolution, x = nn.Conv2d(128, 4, 3, padding=1), torch.randn(1, 128, 32, 32)
    other = fast.by_winograd(copy.deepcopy(convolution))
    assert not torch.equal(other(x), convolution(x))
    few = x[:, :, :16, :16]  # 16 tiles
    assert torch.equal(other(few), convolution(few))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(other(x), convolution(x))


# Hooks that compute the kernel before every call, and properties that compute it when it is read.
PARAMETRIZATIONS = [
    nn.utils.spectral_norm,
    nn.utils.weight_norm,
    nn.utils.parametrizations.spectral_norm,
    nn.utils.parametrizations.weight_norm,
]


@pytest.fixture
def everywhere(monkeypatch):
    """Winograd's tiles are used for all sizes."""
    monkeypatch.setattr(fast, "WINOGRAD_CHANNELS", {True: 1, False: 1})
    monkeypatch.setattr(fast, "WINOGRAD_TILES", {True: 1, False: 1})


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("parametrize", PARAMETRIZATIONS, ids=lambda one: f"{one.__module__}.{one.__name__}")
@pytest.mark.parametrize("build", ["before", "after", "frozen before"])
@pytest.mark.parametrize("block", [nn.Conv2d, UpBlock])
def test_faster_layers_learn_under_parametrizations_of_any_kind(everywhere, parametrize, build, block):
    """A computed kernel is no constant, whether it is computed before or after the layer was replaced."""

    def parametrized(network):
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                parametrize(module)
                break
        return network

    torch.manual_seed(0)
    plain = block(4, 3, 3, padding=1) if block is nn.Conv2d else block(4, 3)
    plain.requires_grad_(build != "frozen before")
    other = copy.deepcopy(plain)
    torch.manual_seed(1)  # of the vectors of the spectral norm
    plain = parametrized(plain)
    torch.manual_seed(1)
    if build == "before":
        other = fast.by_winograd(fast.fuse_upsampling(parametrized(other)))
    else:
        other = parametrized(fast.by_winograd(fast.fuse_upsampling(other)))
    for one in (plain, other):
        one.requires_grad_()
    assert other.state_dict().keys() == plain.state_dict().keys()
    x = torch.rand(2, 4, 8, 8)
    optimizers = [torch.optim.SGD(one.parameters(), 0.1) for one in (plain, other)]
    before = [parameter.detach().clone() for parameter in other.parameters()]
    for _ in range(2):  # the second step sees what the first has changed
        for one, optimizer in zip((plain, other), optimizers, strict=True):
            optimizer.zero_grad()
            one(x).sin().square().mean().backward()
            optimizer.step()
        for (name, ours), theirs in zip(other.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6, msg=name)
    assert not any(torch.equal(*pair) for pair in zip(other.parameters(), before, strict=True))


def test_a_whole_discriminator_learns_by_winograd(everywhere):
    """With the spectral norm that the published configs ask for, keypoints and several scales."""
    torch.manual_seed(0)
    plain = build_discriminator(load_config(spectral(TINY, scales=[1, 0.5]))).train()
    other = fast.by_winograd(copy.deepcopy(plain))
    assert any(isinstance(module, fast.WinogradConv2d) for module in other.modules())
    assert other.state_dict().keys() == plain.state_dict().keys()
    pyramid, kp = {1: torch.rand(2, 3, 32, 32), 0.5: torch.rand(2, 3, 16, 16)}, Keypoints(torch.rand(2, 3, 2))
    optimizers = [torch.optim.SGD(one.parameters(), 0.1) for one in (plain, other)]
    for _ in range(2):
        for one, optimizer in zip((plain, other), optimizers, strict=True):
            optimizer.zero_grad()
            sum(prediction.square().mean() for _, prediction in one(pyramid, kp).values()).backward()
            optimizer.step()
        for (name, ours), theirs in zip(other.named_parameters(), plain.parameters(), strict=True):
            if name.endswith("weight_orig"):
                assert ours.grad.any(), name
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=name)


def test_a_kernel_without_gradient_is_transformed_again_when_it_changes(everywhere):
    torch.manual_seed(0)
    first, second = (nn.Conv2d(4, 3, 3, padding=1) for _ in range(2))
    x = torch.rand(1, 4, 8, 8)
    tiles = fast.by_winograd(copy.deepcopy(first).requires_grad_(False))
    kept = tiles.fixed
    torch.testing.assert_close(tiles(x), first(x), rtol=1e-4, atol=1e-5)
    assert tiles.fixed is kept  # once
    tiles.load_state_dict(second.state_dict())
    torch.testing.assert_close(tiles(x), second(x), rtol=1e-4, atol=1e-5)
    tiles.requires_grad_()  # it begins to learn
    with torch.no_grad():
        tiles.weight.copy_(first.weight)
        tiles.bias.copy_(first.bias)
    torch.testing.assert_close(tiles(x), first(x), rtol=1e-4, atol=1e-5)
    tiles(x).sum().backward()
    assert tiles.weight.grad.any()


def test_kept_memory_is_not_asked_for_again():
    program = """
import resource, torch
from fomm_lib.training.fast import keep_memory
if not keep_memory():
    print("this system has no mallopt")
for _ in range(20):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    if "mallopt" in said:
        pytest.skip(said.splitlines()[0])
    assert int(said) < 50_000  # pages, where ten times 64 MiB have 163840
