"""`motion`: from keypoints to a dense backward flow."""

from __future__ import annotations

import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.geometry import coordinate_grid, gaussian_heatmaps, warp
from fomm_lib.keypoints import Keypoints
from fomm_lib.motion import OPENING, DenseMotionNetwork, heatmap_difference, opening_maps, sparse_motions
from tests.support.small_model import small_model

GRID = coordinate_grid(16, 16)


def random_keypoints(seed: int, jacobian: bool = True) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(2, 3, 2, generator=generator) * 1.6 - 0.8
    if not jacobian:
        return Keypoints(value)
    return Keypoints(value, torch.eye(2) + 0.2 * torch.randn(2, 3, 2, 2, generator=generator))


SOURCE, DRIVING = random_keypoints(1), random_keypoints(2)
IMAGE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def network(**changes) -> DenseMotionNetwork:
    sections = "model_params.generator_params."
    return small_model(
        {sections + name: value for name, value in changes.items()}
    ).generator.dense_motion_network


@torch.no_grad()
def estimate(network, source=SOURCE, driving=DRIVING):
    return network(network.downsample(IMAGE), source, driving)


# --- what the network sees ----------------------------------------------------------------------------------


def test_heatmaps_say_where_keypoints_went_to_and_came_from():
    difference = heatmap_difference(SOURCE, DRIVING, 16, 16)
    assert difference.shape == (2, 4, 16, 16)
    assert (difference[:, 0] == 0).all(), "the background"
    expected = gaussian_heatmaps(DRIVING.value, 16, 16) - gaussian_heatmaps(SOURCE.value, 16, 16)
    torch.testing.assert_close(difference[:, 1:], expected)
    torch.testing.assert_close(heatmap_difference(DRIVING, SOURCE, 16, 16), -difference)
    assert (heatmap_difference(SOURCE, SOURCE, 16, 16) == 0).all()


def test_opening_maps_are_distances_at_the_middle_of_a_pair():
    """An eye that closes to a half: 1/2 and -1/2 at its middle in the driving frame; nothing far from it."""
    middle = GRID[4, 6]
    lids = torch.tensor([[0.0, -OPENING / 2], [0.0, OPENING / 2]])
    elsewhere = torch.tensor([[0.9, 0.9]])
    source = Keypoints(torch.cat([middle + 0.3 + lids, elsewhere])[None])
    driving = Keypoints(torch.cat([middle + lids / 2, elsewhere])[None])
    now, change = opening_maps(source, driving, [(0, 1)], 16, 16)[0]
    heatmap = gaussian_heatmaps(middle, 16, 16)
    torch.testing.assert_close(now, heatmap / 2)
    torch.testing.assert_close(change, -heatmap / 2)
    assert now.max() == now[4, 6] and now[-1, -1] < 1e-6
    pairs = opening_maps(SOURCE, DRIVING, [(0, 1), (1, 2)], 16, 16)
    assert pairs.shape == (2, 4, 16, 16)
    torch.testing.assert_close(pairs[:, [1, 3]], opening_maps(SOURCE, DRIVING, [(1, 2)], 16, 16))


def test_opening_maps_do_not_depend_on_the_roll_of_the_head_and_have_gradients():
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    turned = [Keypoints(kp.value @ turn.T) for kp in (SOURCE, DRIVING)]
    torch.testing.assert_close(
        opening_maps(*turned, [(0, 2)], 9, 9).sum((2, 3)) / gaussian_sum(turned[1], 9),
        opening_maps(SOURCE, DRIVING, [(0, 2)], 9, 9).sum((2, 3)) / gaussian_sum(DRIVING, 9),
    )
    points = [kp.value.double().requires_grad_() for kp in (SOURCE, DRIVING)]
    torch.autograd.gradcheck(lambda a, b: opening_maps(Keypoints(a), Keypoints(b), [(0, 2)], 5, 5), points)


def gaussian_sum(kp: Keypoints, side: int) -> torch.Tensor:
    return gaussian_heatmaps(kp.value[:, [0, 2]].mean(1, keepdim=True), side, side).sum((2, 3))


def test_sparse_motions_begin_with_the_identity():
    motions = sparse_motions(SOURCE, DRIVING, 16, 16)
    assert motions.shape == (2, 4, 16, 16, 2)
    assert torch.equal(motions[:, 0], GRID.expand(2, 16, 16, 2))


def test_input_of_the_hourglass_is_interleaved():
    dense = network()
    seen = {}
    dense.hourglass.register_forward_pre_hook(lambda _, inputs: seen.update(features=inputs[0]))
    motion = estimate(dense)
    heatmaps = heatmap_difference(SOURCE, DRIVING, 16, 16)
    assert seen["features"].shape == (2, 4 * (1 + 3), 16, 16)
    for k in range(4):
        heatmap, colours = seen["features"][:, 4 * k], seen["features"][:, 4 * k + 1 : 4 * k + 4]
        assert torch.equal(heatmap, heatmaps[:, k])
        assert torch.equal(colours, motion.sparse_deformed[:, k])


def test_sparse_deformed_is_the_small_source_warped_by_each_motion():
    dense = network()
    motion = estimate(dense)
    small = dense.downsample(IMAGE)
    for k in range(4):
        expected = warp(small, motion.sparse_motions[:, k])
        torch.testing.assert_close(motion.sparse_deformed[:, k], expected)
    torch.testing.assert_close(motion.sparse_deformed[:, 0], small, rtol=0, atol=1e-5)


# --- what it gives ------------------------------------------------------------------------------------------


def test_the_flow_is_the_motions_mixed_by_the_masks():
    motion = estimate(network())
    assert motion.deformation.shape == (2, 16, 16, 2)
    assert motion.mask.shape == (2, 4, 16, 16)
    assert (motion.mask > 0).all()
    torch.testing.assert_close(motion.mask.sum(dim=1), torch.ones(2, 16, 16))
    expected = torch.einsum("bkhw,bkhwc->bhwc", motion.mask, motion.sparse_motions)
    torch.testing.assert_close(motion.deformation, expected)


def test_equal_keypoints_give_the_identity():
    motion = estimate(network(), SOURCE, SOURCE)
    torch.testing.assert_close(motion.deformation, GRID.expand(2, 16, 16, 2), rtol=0, atol=1e-5)


def test_when_all_keypoints_move_alike_so_does_the_flow():
    shift = torch.tensor([0.25, -0.5])
    moved = Keypoints(SOURCE.value + shift, SOURCE.jacobian)
    motion = estimate(network(), SOURCE, moved)
    local = motion.sparse_motions[:, 1:]
    torch.testing.assert_close(local, (GRID - shift).expand(2, 3, 16, 16, 2), rtol=0, atol=1e-5)
    # The flow moves as much as the masks do not give to the background, which stays.
    expected = GRID - (1 - motion.mask[:, 0, ..., None]) * shift
    torch.testing.assert_close(motion.deformation, expected, rtol=0, atol=1e-5)


def test_zeroth_order_equals_identity_jacobians():
    identity = torch.eye(2).expand(2, 3, 2, 2)
    dense = network()
    zeroth = estimate(dense, Keypoints(SOURCE.value), Keypoints(DRIVING.value))
    first = estimate(dense, Keypoints(SOURCE.value, identity), Keypoints(DRIVING.value, identity))
    torch.testing.assert_close(zeroth.deformation, first.deformation)
    torch.testing.assert_close(zeroth.mask, first.mask)


def test_motions_do_not_mix_keypoints():
    # Each motion depends on its own pair of keypoints alone.
    order = [2, 0, 1]
    motions = sparse_motions(SOURCE, DRIVING, 16, 16)
    exchanged = [Keypoints(kp.value[:, order], kp.jacobian[:, order]) for kp in (SOURCE, DRIVING)]
    torch.testing.assert_close(sparse_motions(*exchanged, 16, 16)[:, 1:], motions[:, 1:][:, order])


def test_occlusion_map():
    motion = estimate(network())
    assert motion.occlusion.shape == (2, 1, 16, 16)
    assert ((motion.occlusion > 0) & (motion.occlusion < 1)).all()


def test_without_occlusion_map():
    dense = network(estimate_occlusion_map=False)
    assert estimate(dense).occlusion is None
    assert not any("occlusion" in name for name in dense.state_dict())


def test_without_shrinking():
    dense = network(**{"dense_motion_params.scale_factor": 1})
    assert dense.downsample(IMAGE) is IMAGE
    assert "down.weight" not in dense.state_dict()
    assert estimate(dense).deformation.shape == (2, 32, 32, 2)


def test_align_corners_reaches_the_warp():
    dense = small_model({"model_params.align_corners": False}).generator.dense_motion_network
    small = dense.downsample(IMAGE)
    deformed = estimate(dense).sparse_deformed[:, 0]
    torch.testing.assert_close(deformed, warp(small, GRID.expand(2, -1, -1, -1), align_corners=False))
    assert (deformed - small).abs().mean() > 0.01, "the identity of the other convention"


def test_half_precision_gives_flows_in_float32():
    dense = network()
    exact = estimate(dense)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = estimate(dense)
    assert rough.deformation.dtype == rough.mask.dtype == torch.float32
    assert not torch.equal(rough.mask, exact.mask), "the hourglass did run in bfloat16"
    assert (rough.deformation - exact.deformation).abs().max() < 0.1
    # What does not come from the hourglass is exact.
    assert torch.equal(rough.sparse_motions, exact.sparse_motions)


def test_an_image_that_does_not_fit():
    dense = network()
    with pytest.raises(InputError, match="multiples of 4, not 18x16"):
        dense(torch.rand(2, 3, 18, 16), SOURCE, DRIVING)
