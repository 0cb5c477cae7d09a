"""Rearranged networks: each trick against the convolution it replaces, in float64, then whole networks."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from golden_recipe import fill
from small_model import small_model
from torch import nn
from torch.nn import functional as F

from fomm_lib import fast
from fomm_lib.blocks import DownBlock, Hourglass, ResidualBlock, SameBlock, UpBlock
from fomm_lib.fast import Doubling, FewChannels, Winograd, faster, folded, winograd_matrices


def double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def relative_error(found, expected):
    return ((found - expected).square().mean().sqrt() / expected.std()).item()


# --- folding -------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_a_batch_norm_goes_into_the_convolution():
    conv, norm = nn.Conv2d(3, 4, 3, padding=1).double(), nn.BatchNorm2d(4).double().eval()
    fill(norm, 1)
    weight, bias = folded(conv, norm)
    x = double(2, 3, 6, 5)
    torch.testing.assert_close(F.conv2d(x, weight, bias, padding=1), norm(conv(x)))
    assert not torch.allclose(weight, conv.weight)


# --- Winograd ------------------------------------------------------------------------------------------


def test_the_smallest_case_by_hand():
    """F(2, 3) with the points 0, 1, -1, as in every text: 4 multiplications for 2 sums of 3."""
    bt, g, at = winograd_matrices((0.0, 1.0, -1.0))
    assert bt.tolist() == [[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]
    assert g.tolist() == [[-1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]
    assert at.tolist() == [[1, 1, 1, 0], [0, 1, -1, 1]]


@pytest.mark.parametrize("points", [(0.0, 1.0, -1.0), (0.0, 1.0, -1.0, 2.0, -2.0), Winograd.POINTS])
def test_the_matrices_give_a_correlation_exactly(points):
    """In rational arithmetic: A^T [(G g) * (B^T d)] = [sum_k g_k d_(i+k)] for every g and d."""
    bt, g, at = (
        [[Fraction(x).limit_denominator(1000) for x in row] for row in matrix.tolist()]
        for matrix in winograd_matrices(points)
    )
    size, taps = len(bt), 3
    for k in range(taps):
        for j in range(size):
            products = [g[a][k] * bt[a][j] for a in range(size)]  # for unit vectors g = e_k, d = e_j
            y = [sum(row[a] * products[a] for a in range(size)) for row in at]
            assert y == [int(j == i + k) for i in range(size - taps + 1)]


@pytest.mark.parametrize("size", [(8, 8), (4, 12), (5, 7), (1, 1)])
@torch.inference_mode()
def test_winograd_is_the_convolution(size):
    x, weight, bias = double(3, 5, *size), double(7, 5, 3, 3, seed=1), double(7, seed=2)
    found = Winograd(weight, bias, torch.float64)(x)
    torch.testing.assert_close(found, F.conv2d(x, weight, bias, padding=1), atol=1e-12, rtol=1e-12)


@torch.inference_mode()
def test_portions_do_not_change_it(monkeypatch):
    x, weight, bias = double(5, 4, 8, 8), double(4, 4, 3, 3, seed=1), double(4, seed=2)
    layer = Winograd(weight, bias, torch.float64)
    whole = layer(x)
    monkeypatch.setattr(fast, "WINOGRAD_PORTION", 1)
    torch.testing.assert_close(layer(x), whole, atol=1e-13, rtol=0)


@torch.inference_mode()
def test_the_rounding_of_winograd():
    """Against float64, as a share of the result's deviation: a few millionths; but in bfloat16 four times
    that of a plain convolution, which is why it is left out there.
    """
    x, weight, bias = double(1, 64, 16, 16).relu(), double(64, 64, 3, 3, seed=1) / 24, double(64, seed=2)
    exact = F.conv2d(x, weight, bias, padding=1)
    assert relative_error(Winograd(weight, bias, torch.float32)(x).double(), exact) < 3e-6
    by_winograd = relative_error(Winograd(weight, bias, torch.bfloat16)(x).double(), exact)
    plain = relative_error(F.conv2d(*(t.bfloat16() for t in (x, weight, bias)), padding=1).double(), exact)
    assert plain < 0.003 and by_winograd > 4 * plain


# --- other rearrangements ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
@torch.inference_mode()
def test_doubling_is_doubling_and_then_a_convolution(size):
    x, weight, bias = double(2, 3, *size), double(4, 3, 3, 3, seed=1), double(4, seed=2)
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)
    torch.testing.assert_close(Doubling(weight, bias, torch.float64)(x), expected)


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


@pytest.mark.parametrize("rearrange", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
@torch.inference_mode()
def test_every_block(name, rearrange):
    block = BLOCKS[name]().eval()
    fill(block, 1)
    block = block.double()
    quick = faster(block, dtype=torch.float64, rearrange=rearrange)
    x = double(2, fast.WINOGRAD_CHANNELS if name == "wide residual" else 3, 8, 8)
    torch.testing.assert_close(quick(x), block(x))


def test_only_wide_convolutions_go_through_winograd():
    def kinds(block, **settings):
        return {type(module) for module in faster(block.eval(), **settings).modules()}

    wide, narrow = ResidualBlock(fast.WINOGRAD_CHANNELS), ResidualBlock(fast.WINOGRAD_CHANNELS - 1)
    assert Winograd in kinds(wide) and Winograd not in kinds(narrow)
    assert Winograd not in kinds(wide, rearrange=False) and Winograd not in kinds(wide, dtype=torch.bfloat16)
    deep, shallow = UpBlock(2, fast.DOUBLING_CHANNELS + 1), UpBlock(2, fast.DOUBLING_CHANNELS)
    assert Doubling in kinds(shallow) and Doubling not in kinds(deep)
    assert Doubling not in kinds(shallow, rearrange=False)


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
    picture = torch.rand(1, 3, 32, 32)
    before = model(picture, picture.flip(-1)).prediction
    quick = faster(model, dtype=torch.bfloat16)
    quick(picture, picture.flip(-1))
    quick.to(torch.float64)  # in place, and yet of the copy alone
    assert all(torch.equal(model.state_dict()[name], entry) for name, entry in state.items())
    assert torch.equal(model(picture, picture.flip(-1)).prediction, before)


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="a network in training mode cannot be rearranged"):
        faster(DownBlock(3, 4))
