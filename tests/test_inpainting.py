"""`inpainting`: what is hidden is filled from afar, and what is visible keeps its detail."""

from __future__ import annotations

import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.inpainting import Inpainter, SkipDecoder, fill_hidden
from fomm_lib.model import grown
from tests.support.golden_recipe import fill


def filled(network, seed=1):
    fill(network.eval(), seed)
    return network


def test_a_new_inpainter_changes_nothing():
    inpainter = Inpainter(8, hints=3, num_blocks=2, max_features=16)
    features, hints = torch.rand(2, 8, 16, 12), torch.rand(2, 3, 16, 12)
    assert torch.equal(inpainter(features, hints), features)
    assert not torch.equal(filled(inpainter)(features, hints), features)


def test_an_inpainter_is_its_layers_in_a_row():
    inpainter = filled(Inpainter(8, hints=3, num_blocks=2, max_features=16))
    features, hints = torch.rand(1, 8, 16, 16), torch.rand(1, 3, 16, 16)
    x = features + inpainter.hint(hints)
    expected = x + inpainter.project(inpainter.hourglass(x))
    torch.testing.assert_close(inpainter(features, hints), expected)
    widths = [block.conv.out_channels for block in inpainter.hourglass.encoder.down_blocks]
    assert widths == [16, 16]
    narrow = filled(Inpainter(8, hints=3, num_blocks=2, max_features=4))
    assert narrow(features, hints).shape == features.shape


def test_how_far_an_inpainter_sees():
    """A block halves the map, and each of its two convolutions of 3x3 sees a pixel more of its own size."""

    def reach(num_blocks: int) -> int:
        inpainter = filled(Inpainter(4, hints=1, num_blocks=num_blocks, max_features=8)).double()
        features = torch.rand(1, 4, 64, 64, dtype=torch.float64, requires_grad=True)
        inpainter(features, torch.ones(1, 1, 64, 64, dtype=torch.float64))[0, :, 32, 32].sum().backward()
        columns = features.grad[0].abs().sum(dim=(0, 1)).nonzero()
        return int(columns.max()) - 32

    assert [reach(n) for n in (1, 2, 3)] == [2, 6, 14]


def test_an_inpainter_needs_sides_that_can_be_halved():
    inpainter = Inpainter(4, hints=1, num_blocks=3, max_features=8)
    with pytest.raises(InputError, match="takes sides that are multiples of 8, not 12x16"):
        inpainter(torch.rand(1, 4, 12, 16), torch.rand(1, 1, 12, 16))


def parts(size=16):
    generator = torch.Generator().manual_seed(4)
    features, skip = (
        torch.rand(1, n, s, s, generator=generator) for n, s in ((16, size // 4), (8, size // 2))
    )
    return features, skip, torch.rand(1, 3, size, size, generator=generator)


def test_a_decoder_takes_a_skip_of_every_size():
    decoder = SkipDecoder([4, 8, 16], num_channels=3)
    channels = [(block.conv.in_channels, block.conv.out_channels) for block in decoder.up_blocks]
    assert channels == [(16, 8), (16, 4)]
    assert (decoder.final.in_channels, decoder.final.out_channels) == (7, 4)
    features, skip, warped = parts()
    assert decoder(features, torch.ones(1, 1, 16, 16), skip, warped).shape == (1, 3, 16, 16)


def test_every_skip_counts():
    decoder = filled(SkipDecoder([4, 8, 16], num_channels=3))
    features, skip, warped = parts()
    occlusion = torch.full((1, 1, 16, 16), 0.5)
    before = decoder(features, occlusion, skip, warped)
    for other in ((features + 1, skip, warped), (features, skip + 1, warped), (features, skip, 1 - warped)):
        assert (decoder(other[0], occlusion, *other[1:]) - before).abs().max() > 1e-6


@pytest.mark.parametrize("change", [0.0, -3.0, 3.0])
@pytest.mark.parametrize("occlusion", [0.0, 0.25, 1.0])
def test_the_image_is_a_mean_of_painted_and_warped(change, occlusion):
    """Closed form: without weights the colours are the sigmoid of the bias, and `keep` that of two logits."""
    decoder = SkipDecoder([4, 8, 16], num_channels=3).eval()
    torch.nn.init.zeros_(decoder.final.weight)
    with torch.no_grad():
        decoder.final.bias.copy_(torch.tensor([-1.0, 0.0, 2.0, change]))
    features, skip, warped = parts()
    image = decoder(features, torch.full((1, 1, 16, 16), occlusion), skip, warped)
    shown = torch.tensor(min(max(occlusion, 1e-3), 1 - 1e-3))
    keep = torch.sigmoid(torch.logit(shown) + change)
    colours = torch.sigmoid(torch.tensor([-1.0, 0.0, 2.0]))[None, :, None, None]
    torch.testing.assert_close(image, keep * warped + (1 - keep) * colours)


def test_what_is_hidden_does_not_show_in_the_colours():
    """Under a mask of 0 the warped source reaches the image through `keep` alone, a thousandth at first."""
    decoder = filled(SkipDecoder([4, 8, 16], num_channels=3))
    features, skip, warped = parts()
    hidden = torch.zeros(1, 1, 16, 16)
    difference = decoder(features, hidden, skip, warped) - decoder(features, hidden, skip, 1 - warped)
    assert difference.abs().max() < 0.01
    seen = torch.ones(1, 1, 16, 16)
    difference = decoder(features, seen, skip, warped) - decoder(features, seen, skip, 1 - warped)
    assert difference.abs().max() > 0.5


def test_what_is_visible_is_not_filled():
    """There the colours around are the warped source: with them, what should be painted would stay."""
    decoder = filled(SkipDecoder([4, 8, 16], num_channels=3, fill=True))
    features, skip, warped = parts()
    seen, hidden = torch.ones(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    with torch.no_grad():
        decoder.final.bias[3:] = torch.tensor([-50.0, 50.0])  # keep nothing; take all from around
        images = [decoder(features, mask, skip, warped) for mask in (seen, hidden)]
        decoder.final.bias[:3] += 50.0  # paint white
        white = [decoder(features, mask, skip, warped) for mask in (seen, hidden)]
    assert (white[0] > 0.99).all() and not torch.allclose(white[0], images[0], atol=1e-3)
    torch.testing.assert_close(white[1], images[1], rtol=0, atol=1e-4)


def test_gradients_at_the_ends_of_the_occlusion_map():
    """Its logit is infinite at 0 and 1; what is learned from it must not be."""
    decoder = SkipDecoder([2, 4], num_channels=3).eval()
    for value in (0.0, 0.4, 1.0):
        occlusion = torch.full((1, 1, 4, 4), value, requires_grad=True)
        decoder(torch.rand(1, 4, 2, 2), occlusion, torch.rand(1, 3, 4, 4)).sum().backward()
        gradients = [occlusion.grad, *(parameter.grad for parameter in decoder.parameters())]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
    decoder = decoder.double()
    inputs = [torch.rand(1, n, s, s, dtype=torch.float64) for n, s in ((4, 2), (1, 4), (3, 4))]
    inputs[1] = 0.2 + 0.6 * inputs[1]
    torch.autograd.gradcheck(decoder, [tensor.requires_grad_() for tensor in inputs])


def test_filling_keeps_what_is_visible_and_is_a_mean_of_it_elsewhere():
    image = torch.rand(2, 3, 24, 40)  # 24 = 3 * 2^3: the smallest image has odd sides
    visible = (torch.rand(2, 1, 24, 40) < 0.3).float()
    filled_in = fill_hidden(image, visible)
    assert torch.allclose(filled_in * visible, image * visible, atol=1e-6)
    other = fill_hidden(torch.where(visible > 0, image, torch.rand_like(image)), visible)
    assert torch.allclose(filled_in, other, atol=1e-6)  # what is hidden does not show
    assert filled_in.min() >= 0 and filled_in.max() <= 1
    assert torch.allclose(fill_hidden(image, torch.ones_like(visible)), image, atol=1e-6)
    assert fill_hidden(image, torch.zeros_like(visible)).abs().max() < 1e-6


@pytest.mark.parametrize("side", [8, 48, 128])
def test_filling_continues_one_colour_exactly_and_a_gradient_nearly(side):
    visible = torch.ones(1, 1, 256, 256)
    start = 128 - side // 2
    visible[..., start : start + side, start : start + side] = 0
    colour = torch.tensor([0.9, 0.2, 0.5]).view(1, 3, 1, 1).expand(1, 3, 256, 256)
    assert (fill_hidden(colour * visible, visible) - colour).abs().max() < 1e-5
    gradient = torch.linspace(0, 1, 256).expand(1, 1, 256, 256)
    error = (fill_hidden(gradient, visible) - gradient).abs().max()
    assert error < 0.6 * side / 256  # less than the change over half of the square, and a little


def test_gradients_of_filling():
    image, visible = (torch.rand(1, c, 6, 4, dtype=torch.float64, requires_grad=True) for c in (2, 1))
    assert torch.autograd.gradcheck(fill_hidden, (image, 0.1 + 0.2 * visible))


def test_a_decoder_with_fill_paints_a_mixture_of_its_colours_and_those_around():
    plain, filling = (SkipDecoder([4, 8], num_channels=3, fill=fill) for fill in (False, True))
    torch.nn.init.zeros_(filling.final.weight)
    with torch.no_grad():
        filling.final.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 100.0]))  # grey, and a share of 1
    occlusion = torch.ones(1, 1, 16, 16)
    occlusion[..., 4:10, 6:12] = 0
    wall = torch.full((1, 3, 16, 16), 0.9)
    features = torch.rand(1, 8, 8, 8)
    assert torch.allclose(filling(features, occlusion, wall), wall, atol=2e-3)
    with torch.no_grad():
        filling.final.bias[4] = -100
    assert filling(features, occlusion, wall)[0, 0, 6, 8].item() == pytest.approx(0.5, abs=2e-3)
    assert plain.final.out_channels == 4
    smaller = {f"decoder.{name}": tensor for name, tensor in plain.state_dict().items()}
    with_fill = torch.nn.ModuleDict({"decoder": filling})
    with_fill.load_state_dict(grown(smaller, with_fill))  # training goes on from weights without it
    assert torch.equal(filling.final.weight[:4], plain.final.weight)
