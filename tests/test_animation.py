"""Animation: closed forms of relative motion, the golden numbers, and whole films through a small model."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from odd_files import encode, make, moving_frames, portrait
from PIL import Image
from small_model import small_model

from fomm_lib.animation import (
    GENERATED_NOTICE,
    Animator,
    animate,
    animate_frames,
    hull_area,
    movement_scale,
    relative_motion,
)
from fomm_lib.files import InputError
from fomm_lib.keypoints import Keypoints
from fomm_lib.video import VideoReader

GOLDEN = Path(__file__).parent / "golden"


def vivid_model(changes=None):
    """A small model whose pictures are not all but grey, so that they can differ."""
    model = small_model(changes)
    with torch.no_grad():
        model.generator.final.weight.mul_(100)
    return model


@pytest.fixture(scope="module")
def model():
    return vivid_model()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "portrait.png"
    Image.fromarray(portrait(96)[:, 10:90]).save(path)  # 80 x 96: not square
    return path


@pytest.fixture(scope="module")
def driving(tmp_path_factory):
    path = tmp_path_factory.mktemp("driving") / "clip.mp4"
    return encode(path, moving_frames(11, (64, 48)), sound="aac")


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


def test_the_source_is_encoded_once(model, source, driving, monkeypatch):
    calls = []
    encode_source = model.generator.encode
    monkeypatch.setattr(model.generator, "encode", lambda picture: calls.append(1) or encode_source(picture))
    list(animate_frames(model, source, driving, batch_size=2))
    assert len(calls) == 1


# --- whole films ---------------------------------------------------------------------------------------


def test_a_film_has_the_frames_times_and_sound_of_the_driving_video(model, source, driving, tmp_path):
    result = animate(model, source, driving, tmp_path / "out.mp4", progress=False)
    video, original = VideoReader(tmp_path / "out.mp4"), VideoReader(driving)
    assert (result.path, result.frames, result.fps) == (tmp_path / "out.mp4", 11, 25)
    assert result.size == video.size == (32, 32)
    assert result.seconds > 0
    assert video.times == original.times
    assert video.duration == original.duration
    assert video.has_audio


def test_variable_frame_times_are_kept(model, source, tmp_path):
    driving = make("variable.mp4", tmp_path)
    result = animate(model, source, driving, tmp_path / "out.mp4", progress=False)
    assert result.frames == 8
    assert VideoReader(tmp_path / "out.mp4").times == VideoReader(driving).times


def test_the_file_says_that_it_is_generated(model, source, driving, tmp_path):
    animate(model, source, driving, tmp_path / "out.mp4", progress=False)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["comment"] == container.metadata["description"] == GENERATED_NOTICE
    assert "AI-generated" in GENERATED_NOTICE


def test_array_file_and_iterator_agree(model, source, driving, tmp_path):
    array = animate(model, source, driving, progress=False)
    assert array.shape == (11, 32, 32, 3) and array.dtype == np.uint8
    for batch_size in (1, 3, 20):
        frames = np.stack(list(animate_frames(model, source, driving, batch_size=batch_size)))
        assert np.abs(frames.astype(int) - array).max() <= 1
    animate(model, source, driving, tmp_path / "out.mp4", progress=False)
    written = np.stack(list(VideoReader(tmp_path / "out.mp4")))
    # By luma, of BT.709: H.264 keeps a quarter of the colours, and these pictures are all noise.
    luma = [0.2126, 0.7152, 0.0722]
    assert np.corrcoef((written @ luma).ravel(), (array @ luma).ravel())[0, 1] > 0.98


def test_absolute_and_relative_differ(model, source, driving):
    relative = animate(model, source, driving, progress=False).astype(int)
    absolute = animate(model, source, driving, relative=False, progress=False).astype(int)
    assert np.abs(relative - absolute).max() > 20


def test_compare_shows_source_driving_and_result(model, source, driving):
    alone = animate(model, source, driving, zoom=2, progress=False)
    beside = animate(model, source, driving, zoom=2, compare=True, progress=False)
    assert beside.shape == (11, 64, 192, 3)
    assert np.array_equal(beside[:, :, 128:], alone)
    assert (beside[:, :, :64] == beside[0, :, :64]).all()
    square = moving_frames(11, (64, 48))[5][:, 8:56]
    shown = np.asarray(Image.fromarray(square).resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(beside[5, :, 64:128] - shown).mean() < 6


def test_crops(model, source, driving):
    """The default is the square in the middle of both; another crop is another picture."""
    middle = animate(model, source, driving, progress=False)
    same = animate(model, source, driving, crop=(0, 8, 80), driving_crop=(8, 0, 48), progress=False)
    other = animate(model, source, driving, crop=(0, 0, 40), progress=False)
    assert np.array_equal(middle, same)
    assert np.abs(other.astype(int) - middle).max() > 20


def test_pictures_as_arrays(model, source, driving):
    picture = np.asarray(Image.open(source))
    assert np.array_equal(
        animate(model, picture, driving, progress=False), animate(model, source, driving, progress=False)
    )


def test_the_iterator_reads_no_further_than_it_must(model, source):
    """A camera never ends: the frames of a batch are read, and no more."""
    read = []

    def camera():
        for number in itertools.count():
            read.append(number)
            yield moving_frames(1)[0]

    results = animate_frames(model, source, camera(), batch_size=3)
    for _ in range(4):
        assert next(results).shape == (32, 32, 3)
    assert len(read) == 6


def test_zeroth_order_model(source, driving):
    zeroth = vivid_model({"model_params.common_params.estimate_jacobian": False})
    assert len(animate(zeroth, source, driving, progress=False)) == 11


# --- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crop", [(0, 0, 81), (-1, 0, 10), (0, 90, 10), (0, 0, 0)])
def test_crop_outside_the_picture(model, source, driving, tmp_path, crop):
    with pytest.raises(InputError, match="does not lie inside the portrait, which is 80x96 pixels"):
        animate(model, source, driving, tmp_path / "out.mp4", crop=crop)
    assert list(tmp_path.iterdir()) == []


def test_driving_crop_outside_the_video(model, source, driving, tmp_path):
    with pytest.raises(InputError, match="does not lie inside the driving video, which is 64x48 pixels"):
        animate(model, source, driving, tmp_path / "out.mp4", driving_crop=(0, 0, 64), progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_breaks_leaves_nothing(model, source, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    with pytest.raises(InputError, match="is damaged after 12 good frames"):
        animate(model, source, make("cut_between_frames.mp4", tmp_path), folder / "a.mp4", progress=False)
    assert list(folder.iterdir()) == []


def test_an_existing_file_is_kept(model, source, driving, tmp_path):
    (tmp_path / "out.mp4").write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        animate(model, source, driving, tmp_path / "out.mp4", progress=False)
    assert (tmp_path / "out.mp4").read_text() == "precious"
    result = animate(model, source, driving, tmp_path / "out.mp4", overwrite=True, progress=False)
    assert result.fps == Fraction(25) and len(VideoReader(tmp_path / "out.mp4").times) == 11


@pytest.mark.parametrize(("name", "value"), [("batch_size", 0), ("zoom", 0)])
def test_numbers_below_one(model, source, driving, name, value):
    with pytest.raises(InputError, match=f"{name} = {value}: must be at least 1"):
        animate(model, source, driving, **{name: value})
    if name == "batch_size":
        with pytest.raises(InputError, match="batch_size = 0"):
            next(animate_frames(model, source, driving, batch_size=0))


@pytest.mark.parametrize(
    "picture", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)]
)
def test_arrays_that_are_no_pictures(model, source, driving, picture):
    with pytest.raises(InputError, match=r"the portrait is .*; it must be uint8 \(H, W, 3\), RGB"):
        animate(model, picture, driving)
    with pytest.raises(InputError, match="the driving video is"):
        next(animate_frames(model, source, [picture]))


def test_a_model_in_training_is_refused(source, driving):
    with pytest.raises(InputError, match=r"in training mode.*; call model.eval\(\) first"):
        animate(small_model().train(), source, driving, progress=False)
