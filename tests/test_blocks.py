"""`blocks`: shapes, closed forms, and the anti-alias filter."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

from fomm_lib.blocks import (
    AntiAliasDownsample,
    Decoder,
    DownBlock,
    Encoder,
    Hourglass,
    ImagePyramid,
    ResidualBlock,
    SameBlock,
    UpBlock,
    scale_name,
)
from fomm_lib.errors import InputError


@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (DownBlock(3, 5), (2, 5, 4, 6)),
        (UpBlock(3, 5), (2, 5, 16, 24)),
        (SameBlock(3, 5, kernel_size=7), (2, 5, 8, 12)),
        (SameBlock(3, 5, kernel_size=3), (2, 5, 8, 12)),
        (ResidualBlock(3), (2, 3, 8, 12)),
    ],
)
def test_shapes_of_blocks(block, shape):
    result = block(torch.rand(2, 3, 8, 12))
    assert result.shape == shape
    if not isinstance(block, ResidualBlock):
        assert (result >= 0).all(), "they end in a ReLU"


@torch.no_grad()
def copies_its_input(block):
    """Make a block of 3 channels pass on what it gets: a convolution with 1 in the middle, a fresh norm."""
    block.conv.weight.zero_()
    block.conv.bias.zero_()
    middle = block.conv.weight.shape[-1] // 2
    for channel in range(3):
        block.conv.weight[channel, channel, middle, middle] = 1
    return block.eval()


def test_down_block_averages_and_up_block_repeats():
    image = torch.rand(1, 3, 8, 8)
    down = copies_its_input(DownBlock(3, 3))(image)
    up = copies_its_input(UpBlock(3, 3))(image)
    means = image.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean(dim=(3, 5))
    torch.testing.assert_close(down, means, rtol=1e-4, atol=1e-5)  # batch norm adds 1e-5 to the variance
    repeated = image.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(up, repeated, rtol=1e-4, atol=1e-5)


def test_residual_block_whose_last_convolution_is_zero_is_the_identity():
    block = ResidualBlock(4)
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.zeros_(block.conv2.bias)
    image = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(image), image)


# --- hourglass ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expansion", "channels", "blocks", "most"), [(4, 3, 2, 16), (8, 44, 3, 16), (2, 1, 1, 64)]
)
def test_hourglass_keeps_the_size(expansion, channels, blocks, most):
    hourglass = Hourglass(expansion, channels, blocks, most)
    image = torch.rand(2, channels, 16, 24)
    result = hourglass(image)
    assert result.shape == (2, expansion + channels, 16, 24)
    assert hourglass.out_features == expansion + channels
    assert torch.equal(result[:, expansion:], image), "the last skip is the raw input"


def test_every_level_of_the_encoder_is_kept():
    levels = Encoder(4, 3, 3, 16)(torch.rand(1, 3, 16, 16))
    assert [tuple(level.shape[1:]) for level in levels] == [(3, 16, 16), (8, 8, 8), (16, 4, 4), (16, 2, 2)]
    assert Decoder(4, 3, 3, 16)(levels).shape == (1, 7, 16, 16)


def test_widths_of_the_published_hourglass():
    with torch.device("meta"):
        hourglass = Hourglass(32, 3, 5, 1024)
    down = [(block.conv.in_channels, block.conv.out_channels) for block in hourglass.encoder.down_blocks]
    up = [(block.conv.in_channels, block.conv.out_channels) for block in hourglass.decoder.up_blocks]
    assert down == [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
    assert up == [(1024, 512), (1024, 256), (512, 128), (256, 64), (128, 32)]


def test_hourglass_refuses_sides_it_cannot_halve():
    message = "an hourglass of 3 blocks takes sides that are multiples of 8, not 16x20"
    with pytest.raises(InputError, match=message):
        Hourglass(4, 3, 3, 16)(torch.rand(1, 3, 16, 20))


# --- anti-aliasing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "size"), [(0.25, 13), (0.5, 5), (0.125, 29)])
def test_kernel(scale, size):
    weight = AntiAliasDownsample(3, scale).weight
    assert weight.shape == (3, 1, size, size)
    torch.testing.assert_close(weight.sum(dim=(1, 2, 3)), torch.ones(3))
    assert torch.equal(weight, weight.flip(-1)) and torch.equal(weight, weight.transpose(-1, -2))
    sigma = (1 / scale - 1) / 2
    row = weight[0, 0, size // 2] / weight[0, 0, size // 2, size // 2]
    assert row[size // 2 + 2].item() == pytest.approx(math.exp(-2 / sigma**2), rel=1e-5)


@pytest.mark.parametrize("scale", [1, 1.0])
def test_scale_1_does_nothing(scale):
    down = AntiAliasDownsample(3, scale)
    image = torch.rand(1, 3, 8, 8)
    assert down(image) is image
    assert list(down.state_dict()) == []


@pytest.mark.parametrize(("scale", "radius"), [(0.5, 2), (0.25, 6), (0.125, 14)])
def test_it_is_a_gaussian_blur_and_every_nth_pixel(scale, radius):
    image = torch.rand(2, 3, 64, 96)
    step = round(1 / scale)
    sigma = (step - 1) / 2
    blurred = transforms.gaussian_blur(image, [2 * radius + 1] * 2, [sigma] * 2)
    result = AntiAliasDownsample(3, scale)(image)
    assert result.shape == (2, 3, 64 // step, 96 // step)
    inside = slice(math.ceil(radius / step), -math.ceil(radius / step))  # at the border the paddings differ
    expected = blurred[..., ::step, ::step][..., inside, inside]
    torch.testing.assert_close(result[..., inside, inside], expected, rtol=0, atol=1e-5)


def test_a_constant_image_stays_constant_inside_and_darkens_at_the_border():
    result = AntiAliasDownsample(1, 0.25)(torch.full((1, 1, 64, 64), 0.7))[0, 0]
    torch.testing.assert_close(result[2:-1, 2:-1], torch.full((13, 13), 0.7))
    # The kernel's middle row and column stay inside, so a corner keeps a little more than a quarter.
    assert 0.25 * 0.7 < result[0, 0] < 0.5 * 0.7 and result[0, 8] < result[1, 8] < 0.7


@pytest.mark.parametrize("scale", [0.3, 0, -0.5, 2, 0.75])
def test_scales_that_are_no_fraction(scale):
    message = rf"scale must be 1 divided by a whole number \(1, 0\.5, 0\.25, \.\.\.\), not {scale}"
    with pytest.raises(InputError, match=message):
        AntiAliasDownsample(3, scale)


def test_pyramid():
    scales = [1, 0.5, 0.25, 0.125]
    pyramid = ImagePyramid(3, scales)
    image = torch.rand(2, 3, 64, 32)
    levels = pyramid(image)
    assert list(levels) == scales
    assert [tuple(level.shape[2:]) for level in levels.values()] == [(64, 32), (32, 16), (16, 8), (8, 4)]
    assert levels[1] is image
    assert torch.equal(levels[0.25], AntiAliasDownsample(3, 0.25)(image))
    assert list(pyramid.parameters()) == []


@pytest.mark.parametrize(("scale", "name"), [(1, "1"), (1.0, "1"), (0.5, "0-5"), (0.125, "0-125")])
def test_names_of_scales(scale, name):
    assert scale_name(scale) == name
