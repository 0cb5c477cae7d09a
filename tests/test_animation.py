"""Animation: whole films through a small model."""

from __future__ import annotations

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from odd_files import encode, make, moving_frames, portrait
from PIL import Image
from small_model import small_model

from fomm_lib.animation import (
    GENERATED_NOTICE,
    animate,
    animate_frames,
)
from fomm_lib.files import InputError
from fomm_lib.video import VideoReader


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
