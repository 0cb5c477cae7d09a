"""Inference: closed forms of relative motion, golden numbers, and the animator against the plain model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_recipe import fill, picture
from small_model import small_model

from fomm_lib.files import InputError
from fomm_lib.inference import Animator, FastModel, hull_area, movement_scale, relative_motion
from fomm_lib.keypoints import Keypoints
from fomm_lib.model import FirstOrderMotionModel, load_model

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def model():
    """A small model whose pictures are not all but grey, so that they can differ."""
    model = small_model()
    with torch.no_grad():
        model.generator.final.weight.mul_(100)
    return model


def keypoints(batch, count=5, seed=0, jacobian=True):
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(batch, count, 2, generator=generator) * 2 - 1
    if not jacobian:
        return Keypoints(value)
    noise = torch.randn(batch, count, 2, 2, generator=generator)
    return Keypoints(value, torch.eye(2) + 0.3 * noise)


# --- the hull ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([[0, 0], [1, 0], [0, 1], [0.2, 0.2]], 0.5),
        ([[-1, -1], [1, -1], [1, 1], [-1, 1], [0, 0]], 4.0),
        ([[0, 0], [1, 1], [2, 2], [0.5, 0.5]], 0.0),  # on a line
        ([[1, 1], [1, 1], [1, 1]], 0.0),
        ([[0, 0], [1, 1]], 0.0),
        ([[0, 0], [float("nan"), 1], [1, 0]], 0.0),
    ],
)
def test_hull_area(points, area):
    assert hull_area(torch.tensor(points, dtype=torch.float32)) == pytest.approx(area)


def test_hull_area_of_a_circle():
    angles = torch.linspace(0, 2 * torch.pi, 1001)[:-1]
    assert hull_area(torch.stack([angles.cos(), angles.sin()], 1)) == pytest.approx(torch.pi, rel=1e-4)


def test_movement_scale():
    kp = keypoints(1)
    doubled = Keypoints(2 * kp.value, kp.jacobian)
    assert movement_scale(doubled, kp) == pytest.approx(2)
    assert movement_scale(kp, doubled) == pytest.approx(0.5)
    line = Keypoints(torch.linspace(-1, 1, 5)[None, :, None].expand(1, 5, 2))
    assert movement_scale(line, kp) == movement_scale(kp, line) == 1


# --- relative motion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("adapt_scale", [False, True])
def test_no_movement_leaves_the_source(adapt_scale):
    kp_source, kp_driving = keypoints(1, seed=1), keypoints(1, seed=2)
    moved = relative_motion(kp_source, kp_driving, kp_driving, adapt_scale=adapt_scale)
    torch.testing.assert_close(moved.value, kp_source.value)
    torch.testing.assert_close(moved.jacobian, kp_source.jacobian, atol=1e-5, rtol=1e-5)


def test_a_driving_head_that_is_the_source_is_followed():
    kp_source, kp_driving = keypoints(1, seed=1), keypoints(3, seed=2)
    moved = relative_motion(kp_source, kp_driving, kp_source)
    torch.testing.assert_close(moved.value, kp_driving.value)
    torch.testing.assert_close(moved.jacobian, kp_driving.jacobian, atol=1e-5, rtol=1e-5)


def test_a_shift_is_a_shift_and_scales_with_the_head():
    kp_source, kp_initial = keypoints(1, seed=1), keypoints(1, seed=2)
    kp_driving = Keypoints(kp_initial.value + torch.tensor([0.2, -0.1]), kp_initial.jacobian)
    moved = relative_motion(kp_source, kp_driving, kp_initial)
    torch.testing.assert_close(moved.value - kp_source.value, torch.tensor([0.2, -0.1]).expand(1, 5, 2))
    small = Keypoints(kp_initial.value * 0.5, kp_initial.jacobian)
    moved = relative_motion(small, kp_driving, kp_initial, adapt_scale=True)
    torch.testing.assert_close(moved.value - small.value, torch.tensor([0.1, -0.05]).expand(1, 5, 2))


def test_the_order_of_jacobians():
    """J = J_driving J_initial^-1 J_source, and no other order: matrices do not commute."""
    kp = [keypoints(1, seed=seed) for seed in range(3)]
    expected = kp[1].jacobian @ torch.linalg.inv(kp[2].jacobian) @ kp[0].jacobian
    moved = relative_motion(kp[0], kp[1], kp[2])
    torch.testing.assert_close(moved.jacobian, expected, atol=1e-4, rtol=1e-4)


def test_zeroth_order_has_no_jacobian():
    kp = [keypoints(1, seed=seed, jacobian=False) for seed in range(3)]
    assert relative_motion(*kp).jacobian is None


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("adapt", [0, 1])
def test_golden_relative_motion(align, adapt):
    golden = np.load(GOLDEN / f"eval_vox-adv-256_align{align}.npz")
    tensors = {key: torch.from_numpy(golden[key]) for key in golden.files if golden[key].dtype.kind == "f"}
    kp_source = Keypoints(tensors["kp_source"], tensors["jacobian_source"])[:1]
    kp_driving = Keypoints(tensors["kp_driving"], tensors["jacobian_driving"])
    moved = relative_motion(kp_source, kp_driving[1:], kp_driving[:1], adapt_scale=bool(adapt))
    torch.testing.assert_close(moved.value, tensors[f"relative_value_adapt{adapt}"], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        moved.jacobian, tensors[f"relative_jacobian_adapt{adapt}"], atol=1e-4, rtol=1e-4
    )


# --- the animator --------------------------------------------------------------------------------------


def test_the_animator_is_the_model_frame_by_frame(model):
    """Encoding the source once and working in batches changes nothing."""
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(5, 3, 32, 32)
    with torch.inference_mode():
        expected = torch.cat([model(source, frame[None]).prediction for frame in driving])
    animator = Animator(model, source, relative=False)
    got = torch.cat([animator(driving[:3]).prediction, animator(driving[3:]).prediction])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_the_first_frame_of_a_relative_animation_reconstructs_the_source(model):
    source, driving = torch.rand(1, 3, 32, 32), torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        still = model(source, source).prediction
    animator = Animator(model, source)
    torch.testing.assert_close(animator(driving[:1]).prediction, still, atol=1e-4, rtol=1e-4)
    moved = animator(driving[1:]).prediction  # and that frame stays the reference
    again = Animator(model, source)(driving).prediction[1:]
    torch.testing.assert_close(moved, again, atol=1e-5, rtol=1e-5)


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
        model.generator.encode(source).expand(3), kp_source.expand(3), kp, for_people=True
    )
    generated = fast.generate(fast.encode(source).expand(3), found_source.expand(3), found, for_people=True)
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
    source, driving = picture(1, 64, 1), picture(2, 64, 4)
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
    source, driving = picture(1, 64, 1), picture(2, 64, 2)
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
    kp_source, kp_driving = (fast.detect(picture(seed + which, 256, 2)) for which in (10, 20))
    generated = fast.generate(fast.encode(picture(seed + 10, 256, 2)), kp_source, kp_driving)
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


def test_what_a_fast_model_is_not_made_of(model):
    with pytest.raises(InputError, match=r"in training mode.*; call model.eval\(\) first"):
        FastModel(small_model().train())
    with pytest.raises(InputError, match="precision float8: there are float32 and bfloat16"):
        FastModel(model, precision="float8")
