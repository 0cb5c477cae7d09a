"""`discriminator`: patches, features, spectral normalisation, keypoints."""

from __future__ import annotations

import pytest
import torch

from fomm_lib.discriminator import Discriminator, MultiScaleDiscriminator
from fomm_lib.geometry import gaussian_heatmaps
from fomm_lib.keypoints import Keypoints

SMALL = {"block_expansion": 4, "max_features": 16, "num_blocks": 2}


def test_published_maps():
    with torch.device("meta"):
        features, prediction = Discriminator(block_expansion=32)(torch.rand(1, 3, 256, 256))
    sizes = [(64, 126, 126), (128, 61, 61), (256, 29, 29), (512, 26, 26)]
    assert [tuple(feature.shape[1:]) for feature in features] == sizes
    assert prediction.shape == (1, 1, 26, 26)


def test_parts_of_the_blocks():
    blocks = Discriminator(**{**SMALL, "num_blocks": 3}).down_blocks
    assert [block.norm is not None for block in blocks] == [False, True, True]
    assert [block.pool for block in blocks] == [True, True, False]
    assert all(block.conv.kernel_size == (4, 4) and block.conv.padding == (0, 0) for block in blocks)
    assert all(block.norm.affine for block in blocks if block.norm is not None)


def test_the_first_block_by_hand():
    block = Discriminator(**SMALL).down_blocks[0]
    image = torch.rand(1, 3, 9, 9)
    windows = image.unfold(2, 4, 1).unfold(3, 4, 1)  # (1, 3, 6, 6, 4, 4)
    expected = torch.einsum("bchwij,ocij->bohw", windows, block.conv.weight) + block.conv.bias[:, None, None]
    expected = torch.where(expected > 0, expected, 0.2 * expected)
    expected = expected.unflatten(3, (3, 2)).unflatten(2, (3, 2)).mean(dim=(3, 5))
    torch.testing.assert_close(block(image), expected)


def test_a_patch_is_judged_by_what_it_shows():
    # Without instance norm, which looks at the whole image, patch j sees the pixels 2 j to 2 j + 10.
    discriminator = Discriminator(**SMALL)
    discriminator.down_blocks[1].norm = None
    image = torch.rand(1, 3, 32, 32)
    changed = image.clone()
    changed[..., 24:] = 0
    before, after = discriminator(image)[1], discriminator(changed)[1]
    assert torch.equal(before[..., :7], after[..., :7])
    assert (before[..., 7:] != after[..., 7:]).all()


def test_spectral_normalisation_bounds_the_largest_singular_value():
    discriminator = Discriminator(**SMALL, sn=True)
    image = torch.rand(1, 3, 32, 32)
    for _ in range(50):  # a step of power iteration each
        discriminator(image)
    for module in [*(block.conv for block in discriminator.down_blocks), discriminator.conv]:
        before, after = (
            torch.linalg.matrix_norm(w.flatten(1), 2) for w in (module.weight_orig, module.weight)
        )
        assert after.item() == pytest.approx(1, abs=1e-3)
        assert before.item() != pytest.approx(1, abs=1e-2)


def test_spectral_normalisation_is_off_by_default():
    assert not any("weight_orig" in name for name in Discriminator(**SMALL).state_dict())


def test_keypoints_are_seen_as_gaussians():
    discriminator = Discriminator(**SMALL, use_kp=True, num_kp=2)
    image = torch.rand(1, 3, 32, 32)
    keypoints = Keypoints(torch.tensor([[[0.0, 0.5], [-0.5, 0.2]]]))
    seen = {}
    discriminator.down_blocks[0].register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    discriminator(image, keypoints)
    assert torch.equal(seen["x"][:, :3], image)
    assert torch.equal(seen["x"][:, 3:], gaussian_heatmaps(keypoints.value, 32, 32))


def test_keypoints_must_be_given():
    discriminator = Discriminator(**SMALL, use_kp=True)
    with pytest.raises(ValueError, match=r"needs keypoints \(use_kp\): pass kp=driving keypoints"):
        discriminator(torch.rand(1, 3, 32, 32))


def test_keypoints_are_ignored_by_one_that_does_not_look():
    discriminator = Discriminator(**SMALL)
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(discriminator(image, Keypoints(torch.zeros(1, 10, 2)))[1], discriminator(image)[1])


def test_one_discriminator_a_scale():
    discriminator = MultiScaleDiscriminator(scales=[1, 0.5], **SMALL)
    assert {name.split(".")[1] for name in discriminator.state_dict()} == {"1", "0-5"}
    pyramid = {1: torch.rand(2, 3, 32, 32), 0.5: torch.rand(2, 3, 16, 16), 0.25: torch.rand(2, 3, 8, 8)}
    predicted = discriminator(pyramid)
    assert list(predicted) == [1, 0.5], "scales of the pyramid that it does not look at are left out"
    for scale, (features, prediction) in predicted.items():
        alone_features, alone = discriminator.discs[{1: "1", 0.5: "0-5"}[scale]](pyramid[scale])
        assert torch.equal(prediction, alone)
        assert len(features) == 2 and all(map(torch.equal, features, alone_features))
