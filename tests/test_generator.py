"""`generator`: warp features, mask what a warp cannot know, paint the rest."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch.nn import functional as F

from fomm_lib import generator as module
from fomm_lib.generator import EncodedSource, Generated, OcclusionAwareGenerator
from fomm_lib.geometry import coordinate_grid, resize_flow, warp
from fomm_lib.keypoints import Keypoints
from fomm_lib.model import grown
from fomm_lib.motion import DenseMotion, heatmap_difference, opening_maps
from tests.support.small_model import EXTENSIONS, small_model

SOURCE = Keypoints(torch.tensor([[[0.1, 0.2], [-0.5, 0.3], [0.4, -0.6]]]), torch.eye(2).expand(1, 3, 2, 2))
DRIVING = Keypoints(SOURCE.value + 0.3, 1.2 * SOURCE.jacobian)
IMAGE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def network(**changes) -> OcclusionAwareGenerator:
    return small_model(
        {f"model_params.generator_params.{key}": value for key, value in changes.items()}
    ).generator


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


# --- what it gives ------------------------------------------------------------------------------------------


def test_shapes():
    generated = network()(IMAGE, SOURCE, DRIVING, with_visuals=True)
    shapes = {field.name: tuple(getattr(generated, field.name).shape) for field in fields(Generated)}
    assert shapes == {
        "prediction": (1, 3, 32, 32),
        "mask": (1, 4, 16, 16),
        "deformation": (1, 16, 16, 2),
        "occlusion_map": (1, 1, 16, 16),
        "sparse_deformed": (1, 4, 3, 16, 16),
        "deformed": (1, 3, 32, 32),
    }
    assert ((generated.prediction > 0) & (generated.prediction < 1)).all()


def test_the_image_is_a_sigmoid_of_the_last_convolution():
    model = network()
    last = {}
    model.final.register_forward_hook(lambda _, __, result: last.update(result=result))
    prediction = model(IMAGE, SOURCE, DRIVING).prediction
    assert torch.equal(prediction, torch.sigmoid(last["result"]))


def test_the_deformed_source_is_the_source_warped_by_the_flow():
    generated = network()(IMAGE, SOURCE, DRIVING, with_visuals=True)
    expected = warp(IMAGE, resize_flow(generated.deformation, 32, 32))
    torch.testing.assert_close(generated.deformed, expected)


def test_images_for_people_are_not_made_for_nobody(monkeypatch):
    sizes = []

    def counted(image, flow, **options):
        sizes.append(tuple(flow.shape[1:3]))
        return warp(image, flow, **options)

    monkeypatch.setattr(module, "warp", counted)
    model = network()
    plain = model(IMAGE, SOURCE, DRIVING)
    assert plain.deformed is None and plain.sparse_deformed is None
    assert sizes == [(8, 8)], "the features only"
    with_visuals = model(IMAGE, SOURCE, DRIVING, with_visuals=True)
    assert sizes == [(8, 8), (8, 8), (32, 32)]
    assert torch.equal(plain.prediction, with_visuals.prediction)


def test_other_motion_gives_another_image():
    model = network()
    still, moved = (model(IMAGE, SOURCE, kp).prediction for kp in (SOURCE, DRIVING))
    assert (still - moved).abs().max() > 1e-4


# --- warp and mask ------------------------------------------------------------------------------------------


def motion(occlusion: torch.Tensor | None, flow: torch.Tensor | None = None) -> DenseMotion:
    flow = coordinate_grid(8, 8)[None] if flow is None else flow
    return DenseMotion(flow, mask=None, occlusion=occlusion, sparse_motions=None, sparse_deformed=None)


FEATURES = torch.rand(1, 5, 8, 8, generator=torch.Generator().manual_seed(4))


def test_no_motion_and_no_occlusion_leaves_the_features():
    for occlusion in (None, torch.ones(1, 1, 8, 8)):
        torch.testing.assert_close(network().deform(FEATURES, motion(occlusion)), FEATURES, rtol=0, atol=1e-5)


def test_where_the_occlusion_map_is_0_nothing_is_left():
    occlusion = torch.ones(1, 1, 8, 8)
    occlusion[..., :4] = 0
    result = network().deform(FEATURES, motion(occlusion))
    assert (result[..., :4] == 0).all()
    torch.testing.assert_close(result[..., 4:], FEATURES[..., 4:], rtol=0, atol=1e-5)


def test_flow_and_occlusion_of_another_size_are_resized_bilinearly():
    flow, occlusion = coordinate_grid(16, 16)[None] * 0.8, torch.rand(1, 1, 16, 16)

    def halve(x):
        return F.interpolate(x, size=(8, 8), mode="bilinear", align_corners=False)

    small_flow = halve(flow.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    expected = F.grid_sample(FEATURES, small_flow, align_corners=True) * halve(occlusion)
    torch.testing.assert_close(network().deform(FEATURES, motion(occlusion, flow)), expected)


def test_align_corners_reaches_every_warp(monkeypatch):
    seen = []

    def noted(image, flow, *, align_corners):
        seen.append(align_corners)
        return warp(image, flow, align_corners=align_corners)

    monkeypatch.setattr(module, "warp", noted)
    monkeypatch.setattr("fomm_lib.motion.warp", noted)
    for align_corners in (True, False):
        seen.clear()
        model = small_model({"model_params.align_corners": align_corners}).generator
        model(IMAGE, SOURCE, DRIVING, with_visuals=True)
        assert seen == [align_corners] * 3


# --- one source, many frames --------------------------------------------------------------------------------


def test_a_source_encoded_once_gives_the_same():
    model = network()
    direct = model(IMAGE, SOURCE, DRIVING, with_visuals=True)
    encoded = model(model.encode(IMAGE), SOURCE, DRIVING, with_visuals=True)
    for field in fields(Generated):
        assert torch.equal(getattr(direct, field.name), getattr(encoded, field.name)), field.name


def test_one_source_for_many_frames():
    model = network()
    encoded = model.encode(IMAGE)
    many = encoded.expand(5)
    assert many.image.shape[0] == many.features.shape[0] == many.small.shape[0] == 5
    assert many.features.data_ptr() == encoded.features.data_ptr(), "not copied"
    offsets = torch.linspace(0, 0.4, 5)[:, None, None]
    driving = Keypoints(DRIVING.value + offsets, DRIVING.jacobian.expand(5, -1, -1, -1))
    together = model(many, SOURCE, driving).prediction
    one_by_one = [model(IMAGE, SOURCE, driving[i : i + 1]).prediction for i in range(5)]
    torch.testing.assert_close(together, torch.cat(one_by_one), rtol=0, atol=1e-5)


def test_several_sources_cannot_be_expanded():
    several = network().encode(IMAGE.expand(2, -1, -1, -1))
    with pytest.raises(RuntimeError, match="expand"):
        several.expand(5)


# --- without some of its parts ------------------------------------------------------------------------------


def test_without_occlusion_map():
    model = network(estimate_occlusion_map=False)
    generated = model(IMAGE, SOURCE, DRIVING)
    assert generated.occlusion_map is None and generated.deformation is not None
    assert generated.prediction.shape == (1, 3, 32, 32)


def test_without_dense_motion_it_is_an_auto_encoder():
    model = network(dense_motion_params=None)
    assert not any("dense_motion" in name for name in model.state_dict())
    assert model.encode(IMAGE).small is None
    assert model.encode(IMAGE).expand(3).small is None
    generated = model(IMAGE, SOURCE, DRIVING, with_visuals=True)
    assert generated.prediction.shape == (1, 3, 32, 32)
    others = [field.name for field in fields(Generated) if field.name != "prediction"]
    assert [name for name in others if getattr(generated, name) is not None] == []
    assert torch.equal(generated.prediction, model(IMAGE, SOURCE, SOURCE).prediction), (
        "keypoints are not used"
    )
    assert isinstance(model.encode(IMAGE), EncodedSource)


def test_without_down_blocks_and_bottleneck():
    model = network(num_down_blocks=0, num_bottleneck_blocks=0)
    assert model(IMAGE, SOURCE, DRIVING).prediction.shape == (1, 3, 32, 32)


def test_widths():
    with torch.device("meta"):
        model = OcclusionAwareGenerator(dense_motion_params={})
    down = [(block.conv.in_channels, block.conv.out_channels) for block in model.down_blocks]
    up = [(block.conv.in_channels, block.conv.out_channels) for block in model.up_blocks]
    assert (down, up) == ([(64, 128), (128, 256)], [(256, 128), (128, 64)])
    assert [name for name, _ in model.bottleneck.named_children()] == [f"r{i}" for i in range(6)]
    assert (model.final.in_channels, model.final.out_channels) == (64, 3)


# --- half precision -----------------------------------------------------------------------------------------


def test_autocast_and_bfloat16_weights_give_nearly_the_same():
    model = network()
    exact = model(IMAGE, SOURCE, DRIVING)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = model(IMAGE, SOURCE, DRIVING)
    halved = model.bfloat16()(IMAGE.bfloat16(), SOURCE, DRIVING)
    for rough in (cast, halved):
        assert rough.prediction.dtype == torch.bfloat16
        assert rough.deformation.dtype == torch.float32
        assert (rough.prediction - exact.prediction).abs().max() < 0.02


# --- beyond the paper ---------------------------------------------------------------------------------------


def extended(**changes) -> OcclusionAwareGenerator:
    return small_model({"model_params.extension_params": {**EXTENSIONS, **changes}}).generator


def test_a_source_with_skips_is_encoded_at_every_size():
    encoded = extended().encode(IMAGE)
    assert [tuple(skip.shape) for skip in encoded.skips] == [(1, 8, 16, 16), (1, 3, 32, 32)]
    assert torch.equal(encoded.skips[-1], IMAGE)
    assert [len(skip) for skip in encoded.expand(3).skips] == [3, 3]
    assert network().encode(IMAGE).skips == ()


WITHOUT = {  # what needs an extension goes with it
    "nothing": {},
    "skips": {"skips": False, "fill": False},
    "inpainting_blocks": {"inpainting_blocks": 0, "keypoint_maps": False, "opening_maps": []},
    "keypoint_maps": {"keypoint_maps": False},
    "opening_maps": {"opening_maps": []},
    "fill": {"fill": False},
}


@pytest.mark.parametrize("missing", WITHOUT)
def test_every_extension_may_be_absent(missing):
    model = extended(**WITHOUT[missing])
    generated = model(IMAGE, SOURCE, DRIVING)
    assert generated.prediction.shape == IMAGE.shape
    assert ((generated.prediction > 0) & (generated.prediction < 1)).all()
    assert (model.decoder is None) == (missing == "skips")
    assert (model.inpainter is None) == (missing == "inpainting_blocks")
    torch.testing.assert_close(model(model.encode(IMAGE), SOURCE, DRIVING).prediction, generated.prediction)


def test_at_rest_skips_are_what_they_were():
    """Where the flow is the identity, the warped source is the source, up to the border."""
    model, flow = extended(), coordinate_grid(16, 16)[None]
    encoded = model.encode(IMAGE)
    occlusion, skip, warped = model.deform_skips(encoded.skips, motion(torch.ones(1, 1, 16, 16), flow))
    assert occlusion.shape == (1, 1, 32, 32) and (occlusion == 1).all()
    torch.testing.assert_close(skip, encoded.skips[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(warped, IMAGE, rtol=0, atol=1e-5)
    assert network().deform_skips((), motion(None, flow)) == ()


def test_features_are_masked_and_the_source_is_not():
    model, flow = extended(), coordinate_grid(16, 16)[None]
    encoded = model.encode(IMAGE)
    hidden = motion(torch.full((1, 1, 16, 16), 0.25), flow)
    _, skip, warped = model.deform_skips(encoded.skips, hidden)
    torch.testing.assert_close(skip, 0.25 * encoded.skips[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(warped, IMAGE, rtol=0, atol=1e-5)


def test_the_inpainter_is_told_the_mask_and_how_keypoints_move():
    model = extended()
    features = torch.zeros(1, 16, 8, 8)
    mask = motion(torch.rand(1, 1, 8, 8), coordinate_grid(16, 16)[None])
    hints = model.hints(mask, SOURCE, DRIVING, features)
    assert torch.equal(hints[:, :1], mask.occlusion)
    assert torch.equal(hints[:, 1:4], heatmap_difference(SOURCE, DRIVING, 8, 8)[:, 1:])
    assert torch.equal(hints[:, 4:], opening_maps(SOURCE, DRIVING, [(0, 1)], 8, 8))
    at_rest = model.hints(mask, SOURCE, SOURCE, features)
    assert not at_rest[:, 1:4].any() and at_rest[:, 4].any() and not at_rest[:, 5].any()
    without = extended(keypoint_maps=False, opening_maps=[])
    assert torch.equal(without.hints(mask, SOURCE, DRIVING, features), mask.occlusion)


def test_opening_maps_can_be_added_to_a_trained_generator():
    """`model.grown` gives what is new the weight 0: the images stay as they were."""
    before, after = extended(opening_maps=[]), extended()
    after.load_state_dict(grown(before.state_dict(), after))
    images = [one(IMAGE, SOURCE, DRIVING).prediction for one in (before, after)]
    torch.testing.assert_close(*images, rtol=0, atol=1e-6)


def test_a_hole_hides_the_source():
    """What is in it cannot be told from the image; elsewhere the image stays."""
    model = extended(**WITHOUT["inpainting_blocks"])
    still = Keypoints(torch.zeros(1, 3, 2), torch.eye(2).expand(1, 3, 2, 2))
    hole = torch.zeros(1, 1, 32, 32)
    hole[..., 8:24, 8:24] = 1
    with_hole = model(IMAGE, still, still, hole=hole)
    assert (with_hole.occlusion_map[..., 5:11, 5:11] == 0).all()
    kept = model.deform_skips(
        model.encode(IMAGE).skips,
        DenseMotion(with_hole.deformation, None, with_hole.occlusion_map, None, None),
        hole,
    )
    assert not kept[-1][..., 8:24, 8:24].any() and kept[-1][..., :8].any()
    plain = model(IMAGE, still, still, hole=torch.zeros_like(hole)).prediction
    assert torch.equal(plain, model(IMAGE, still, still).prediction)
    assert not torch.equal(plain, with_hole.prediction)
