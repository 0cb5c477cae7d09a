"""Animation: whole videos through a small model."""

from __future__ import annotations

import errno
import itertools
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.animation.animate import GENERATED_NOTICE, animate, animate_frames
from fomm_lib.animation.animator import Animator
from fomm_lib.animation.fast import FastModel
from fomm_lib.animation.options import AnimateOptions
from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from fomm_lib.media.decoding import ToRgb
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.faces import _detector, has_detector
from fomm_lib.media.outputs import FrameFolder
from fomm_lib.media.tensors import resize_bicubic, to_tensor
from fomm_lib.media.video import VideoReader, read_image
from tests.support.odd_files import encode, make, moving_frames, portrait
from tests.support.small_model import small_model

needs_detector = pytest.mark.skipif(
    not has_detector(), reason="needs the extra: pip install 'fomm-lib[faces]'"
)


def vivid_model(changes=None):
    """A small model whose images are not all but grey, so that they can differ."""
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
    return encode(path, moving_frames(11, (64, 48)), audio="aac")


def test_the_source_is_encoded_once(model, source, driving, monkeypatch):
    calls = []
    encode_source = model.generator.encode
    monkeypatch.setattr(model.generator, "encode", lambda image: calls.append(1) or encode_source(image))
    list(animate_frames(model, source, driving, batch_size=2, fast=True))
    assert len(calls) == 1
    list(animate_frames(model, source, driving, batch_size=2))
    assert len(calls) == 3  # for the motion at the model's size, and finer for the image


def waits(monkeypatch, *names):
    """Counts what makes a program wait for a GPU, by name, on a machine that has none."""
    counts = dict.fromkeys(names, 0)

    def counted(name, original):
        def call(*arguments, **keywords):
            counts[name] += 1
            return original(*arguments, **keywords)

        return call

    for name in names:
        monkeypatch.setattr(torch.Tensor, name, counted(name, getattr(torch.Tensor, name)))
    return counts


def test_a_batch_waits_for_its_device_once(model, source, monkeypatch):
    """When its images come down; and nothing else, though everything that changes a movement is on."""
    settings = {"adapt_scale": True, "strength": 1.2, "smooth": 1.0, "batch_size": 4}
    frames = moving_frames(24, (48, 48))
    counts = waits(monkeypatch, "cpu", "numpy", "item", "tolist", "__bool__", "__float__", "__int__")
    before = {}
    for count in (8, 24):
        counts.update(dict.fromkeys(counts, 0))
        assert len(list(animate_frames(model, source, frames[:count], **settings))) == count
        more = {name: counts[name] - before.get(name, 0) for name in counts}
        before = dict(counts)
    batches = (24 - 8) // 4
    assert more == dict.fromkeys(counts, 0) | {"cpu": batches, "numpy": batches}


def test_a_batch_fits_the_device(model, source, driving, monkeypatch):
    options = AnimateOptions()
    assert [options.batch_on(torch.device(name)) for name in ("cpu", "cuda")] == [4, 32]
    assert AnimateOptions(batch_size=7).batch_on(torch.device("cuda")) == 7
    sizes = []
    detect = FastModel.detect
    monkeypatch.setattr(
        FastModel, "detect", lambda self, image: sizes.append(len(image)) or detect(self, image)
    )
    list(animate_frames(model, source, driving, fast=True))
    assert sizes == [1, 4, 4, 3]  # the portrait, then the driving video


# --- whole videos ---------------------------------------------------------------------------------------


def test_a_video_has_the_frames_times_and_audio_of_the_driving_video(model, source, driving, tmp_path):
    result = animate(model, source, driving, tmp_path / "out.mp4", progress=False)
    video, original = VideoReader(tmp_path / "out.mp4"), VideoReader(driving)
    assert (result.path, result.frames, result.fps) == (tmp_path / "out.mp4", 11, 25)
    assert result.size == video.size == (256, 256)
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
    assert array.shape == (11, 256, 256, 3) and array.dtype == np.uint8
    for batch_size in (1, 3, 20):
        frames = np.stack(list(animate_frames(model, source, driving, batch_size=batch_size)))
        assert np.abs(frames.astype(int) - array).max() <= 1
    animate(model, source, driving, tmp_path / "out.mp4", progress=False)
    written = np.stack(list(VideoReader(tmp_path / "out.mp4")))
    # By luma, of BT.709: H.264 keeps a quarter of the colours, and these images are all noise.
    luma = [0.2126, 0.7152, 0.0722]
    assert np.corrcoef((written @ luma).ravel(), (array @ luma).ravel())[0, 1] > 0.98


def test_absolute_and_relative_differ(model, source, driving):
    relative = animate(model, source, driving, progress=False).astype(int)
    absolute = animate(model, source, driving, relative=False, progress=False).astype(int)
    assert np.abs(relative - absolute).max() > 20


def test_compare_shows_source_driving_and_result(model, source, driving):
    alone = animate(model, source, driving, size=32, zoom=2, progress=False)
    beside = animate(model, source, driving, size=32, zoom=2, compare=True, progress=False)
    assert beside.shape == (11, 64, 192, 3)
    assert np.array_equal(beside[:, :, 128:], alone)
    assert (beside[:, :, :64] == beside[0, :, :64]).all()
    square = moving_frames(11, (64, 48))[5][:, 8:56]
    shown = np.asarray(Image.fromarray(square).resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(beside[5, :, 64:128] - shown).mean() < 6


def test_crops(model, source, driving):
    """The default is the square in the middle of both; another crop is another image."""
    middle = animate(model, source, driving, progress=False)
    same = animate(model, source, driving, crop=(0, 8, 80), driving_crop=(8, 0, 48), progress=False)
    other = animate(model, source, driving, crop=(0, 0, 40), progress=False)
    assert np.array_equal(middle, same)
    assert np.abs(other.astype(int) - middle).max() > 20


def test_images_as_arrays(model, source, driving):
    image = np.asarray(Image.open(source))
    assert np.array_equal(
        animate(model, image, driving, progress=False), animate(model, source, driving, progress=False)
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
        assert next(results).shape == (256, 256, 3)
    assert len(read) == 6


def test_zeroth_order_model(source, driving):
    zeroth = vivid_model({"model_params.common_params.estimate_jacobian": False})
    assert len(animate(zeroth, source, driving, progress=False)) == 11


# --- how it moves --------------------------------------------------------------------------------------


def frames_of(*arguments, **settings):
    return animate(*arguments, progress=False, **settings).astype(int)


def test_strength(model, source, driving):
    """Nothing moves at 0; at 1 nothing changes; at 2 it is another video."""
    plain = frames_of(model, source, driving)
    assert np.abs(frames_of(model, source, driving, strength=1.0) - plain).max() == 0
    still = frames_of(model, source, driving, strength=0.0)
    assert np.abs(still - still[:1]).max() <= 1 and np.abs(still[0] - plain[0]).max() <= 1
    assert np.abs(frames_of(model, source, driving, strength=2.0) - plain).max() > 20


def test_smoothing_keeps_every_frame_in_its_place(model, source, driving):
    plain = frames_of(model, source, driving)
    barely = frames_of(model, source, driving, smooth=0.1)  # a Gaussian of one frame is that frame
    assert np.abs(barely - plain).max() <= 1
    smooth = frames_of(model, source, driving, smooth=2.0)
    assert smooth.shape == plain.shape and np.abs(smooth - plain).max() > 3
    frames = list(animate_frames(model, source, driving, smooth=2.0, batch_size=3))
    assert np.abs(np.stack(frames) - smooth).max() <= 1


def test_smoothing_takes_jitter_away(model, source):
    """Frames that tremble about one image come closer to the one that does not."""
    rng = np.random.default_rng(0)
    base = moving_frames(2, (32, 32))[1].astype(int)
    camera = [(base + rng.integers(-30, 31, base.shape)).clip(0, 255).astype(np.uint8) for _ in range(24)]
    jitter = {}
    for smooth in (0.0, 2.0):
        video = np.stack(list(animate_frames(model, source, camera, relative=False, smooth=smooth)))
        jitter[smooth] = np.abs(np.diff(video.astype(float), axis=0))[6:-6].mean()
    assert jitter[2.0] < 0.5 * jitter[0.0]


def test_a_reference_frame_by_number(model, source, driving):
    """That frame shows the source as it is, and any other reference gives another video."""
    still = frames_of(model, source, driving)[0]
    for number in (0, 4, 10):
        video = frames_of(model, source, driving, best_frame=number)
        assert np.abs(video[number] - still).max() <= 1
    assert np.abs(video[0] - still).max() > 3
    with pytest.raises(InputError, match="frame 11 was asked for, but it has frames 0 to 10"):
        animate(model, source, driving, best_frame=11, progress=False)


def test_the_best_frame_is_the_one_like_the_source(model, driving, tmp_path):
    """The source is the seventh driving frame itself, so that one is nearest."""
    seventh = list(VideoReader(driving))[7][:, 8:56]
    result = animate(model, seventh, driving, tmp_path / "a.mp4", best_frame="auto", progress=False)
    assert result.best_frame == 7
    assert animate(model, seventh, driving, tmp_path / "b.mp4", progress=False).best_frame == 0
    absolute = animate(model, seventh, driving, tmp_path / "c.mp4", relative=False, progress=False)
    assert absolute.best_frame is None
    # From there on relative and absolute are one and the same.
    a, c = (np.stack(list(VideoReader(tmp_path / name))).astype(int) for name in ("a.mp4", "c.mp4"))
    assert np.abs(a - c).mean() < 2


def test_a_camera_has_no_best_frame(model, source):
    with pytest.raises(InputError, match="best_frame needs a video file"):
        next(animate_frames(model, source, moving_frames(3), best_frame="auto"))
    assert list(animate_frames(model, source, [])) == []


# --- how it looks --------------------------------------------------------------------------------------


def test_what_the_sizes_give(model, source, driving):
    """By default about 256 pixels, with the portrait's detail; else the size that was asked for."""
    small = frames_of(model, source, driving, size=32)
    assert small.shape == (11, 32, 32, 3)
    plain = np.stack([resize_bicubic(frame.astype(np.uint8), (256, 256)) for frame in small])
    fast = frames_of(model, source, driving, fast=True, detail=False)
    assert np.abs(fast - plain).max() <= 2  # enlarged before it is rounded, not after
    detailed = frames_of(model, source, driving, fast=True)
    finer = frames_of(model, source, driving)
    assert detailed.shape == finer.shape == (11, 256, 256, 3)
    assert np.abs(detailed - fast).mean() > 0.5 and np.abs(detailed - finer).mean() > 0.5
    assert np.array_equal(frames_of(model, source, driving, fast=True, detail=True), detailed)
    assert frames_of(model, source, driving, fast=True, size=50).shape == (11, 50, 50, 3)


def test_a_larger_size_is_the_same_movement(model, source, driving):
    """Generated at the size asked for: an image twice as large, and no detail of it is enlarged."""
    large = frames_of(model, source, driving, size=64)
    assert large.shape == (11, 64, 64, 3)
    zoomed = frames_of(model, source, driving, size=64, zoom=2)
    assert zoomed.shape == (11, 128, 128, 3)
    frame = next(animate_frames(model, source, driving, size=64))
    assert np.abs(frame.astype(int) - large[0]).max() <= 1


@pytest.mark.parametrize("size", [0, -4, 30, 8192])
def test_sizes_that_cannot_be(model, source, driving, size, tmp_path):
    with pytest.raises(InputError, match=f"size = {size}: should be a multiple of 4, at most 4096"):
        animate(model, source, driving, tmp_path / "a.mp4", size=size, progress=False)
    if not 0 < size <= 4096:
        with pytest.raises(InputError, match=f"size = {size}: should be from 1 to 4096"):
            animate(model, source, driving, tmp_path / "a.mp4", size=size, fast=True, progress=False)


def test_the_result_in_the_whole_portrait(model, source, driving):
    whole = np.asarray(Image.open(source)).astype(int)
    video = frames_of(model, source, driving, crop=(10, 20, 40), paste_back=True)
    assert video.shape == (11, 96, 80, 3)
    outside = np.ones((96, 80), bool)
    outside[20:60, 10:50] = False
    assert (video[:, outside] == whole[outside]).all()
    inside = frames_of(model, source, driving, crop=(10, 20, 40), size=32)
    assert np.abs(video[5, 30:50, 20:40] - whole[30:50, 20:40]).mean() > 5
    assert video[:, 30:50, 20:40].std(axis=0).mean() > 0.3 * inside[:, 8:24, 8:24].std(axis=0).mean()


class Doubled:
    """An enlarger that can be computed by hand: every pixel becomes a square, in negative."""

    scale = 2

    def __call__(self, image):
        return 255 - image.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize("more", [{}, {"paste_back": True}, {"compare": True}])
def test_an_enlarger_makes_the_result_larger_wherever_it_is_shown(model, source, driving, more):
    plain = frames_of(model, source, driving, size=32)
    large = frames_of(model, source, driving, size=32, enlarge=Doubled(), **more)
    if not more:
        assert large.shape[1:3] == (64, 64)
        by_hand = np.stack([Doubled()(frame.astype(np.uint8)) for frame in plain])
        assert np.abs(large.astype(int) - by_hand).max() == 0
    elif "compare" in more:
        assert large.shape[1:3] == (64, 192)
        assert np.array_equal(
            large[:, :, 128:], frames_of(model, source, driving, size=32, enlarge=Doubled())
        )
    else:
        other = frames_of(model, source, driving, size=32, paste_back=True)
        assert large.shape == other.shape and np.abs(large.astype(int) - other).max() > 60


def test_a_huge_portrait_is_made_smaller_first(model, driving, monkeypatch):
    monkeypatch.setattr("fomm_lib.animation.animate.LARGEST_PASTED", 192)
    video = frames_of(model, portrait(64).repeat(40, 0).repeat(35, 1), driving, paste_back=True)
    assert video.shape == (11, 192, 168, 3)
    whole = portrait(64).repeat(40, 0).repeat(35, 1)  # a crop counts its pixels, not those that are left
    cropped = frames_of(model, whole, driving, paste_back=True, crop=(1120, 1280, 1120))
    small = resize_bicubic(whole, (192, 168))
    assert np.array_equal(cropped, frames_of(model, small, driving, paste_back=True, crop=(84, 96, 84)))
    with pytest.raises(InputError, match="which is 2240x2560 pixels"):
        frames_of(model, whole, driving, paste_back=True, crop=(1121, 1280, 1120))
    strip = np.zeros((2, 2000, 3), np.uint8)  # which would be made smaller than a pixel
    assert frames_of(model, strip, driving, paste_back=True).shape == (11, 1, 192, 3)


@pytest.mark.parametrize("other", [{"compare": True}, {"zoom": 2}])
def test_what_paste_back_excludes(model, source, driving, other):
    with pytest.raises(InputError, match="leave out compare and zoom"):
        animate(model, source, driving, paste_back=True, progress=False, **other)


def test_the_mark(model, source, driving):
    plain = frames_of(model, source, driving, zoom=4)
    marked = frames_of(model, source, driving, zoom=4, watermark=True)
    changed = np.abs(marked - plain).max(axis=(0, 3)) > 0
    assert changed[-8:, :50].mean() > 0.9 and not changed[:90].any()


@pytest.mark.parametrize("name", ["a.webm", "a.gif", "a.apng"])
def test_other_kinds_of_output(name, model, source, driving, tmp_path):
    result = animate(model, source, driving, tmp_path / name, progress=False)
    video = VideoReader(tmp_path / name)
    assert result.frames == len(list(video)) == 11
    assert float(video.end) == pytest.approx(0.44, abs=0.001)
    assert video.has_audio == (name == "a.webm")
    data = (tmp_path / name).read_bytes()
    assert b"AI-generated" in data and b"First Order Motion Model" in data


def test_a_folder_of_frames(model, source, driving, tmp_path):
    result = animate(model, source, driving, tmp_path / "frames", progress=False)
    assert result.frames == 11 and len(list((tmp_path / "frames").glob("*.png"))) == 11
    with Image.open(tmp_path / "frames" / "000003.png") as frame:
        assert frame.text["Comment"] == GENERATED_NOTICE
        assert np.array_equal(np.asarray(frame), animate(model, source, driving, progress=False)[3])


# --- faces ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """The course's portrait far right in a wide image, its driving head far left in a wide video."""
    folder = tmp_path_factory.mktemp("faces")
    wide = np.full((256, 700, 3), 128, np.uint8)
    wide[:, 400:656] = read_image(data_path("portrait.jpg"))
    Image.fromarray(wide).save(folder / "wide.png")
    frames = [np.full((256, 700, 3), 128, np.uint8) for _ in range(10)]
    for frame, head in zip(frames, VideoReader(data_path("driving.mp4")), strict=False):
        frame[:, 30:286] = head
    return folder / "wide.png", encode(folder / "wide.mp4", frames)


@needs_detector
def test_the_faces_are_found(model, faces, tmp_path):
    result = animate(model, *faces, tmp_path / "a.mp4", crop="auto", progress=False)
    for square, left in ((result.crop, 400), (result.driving_crop, 30)):
        x, y, side = square
        assert left - 40 < x < x + side < left + 256 + 60 and 100 < side <= 256 and y >= 0
    same = animate(model, *faces, tmp_path / "b.mp4", crop="auto", driving_crop="middle", progress=False)
    assert same.crop == result.crop and same.driving_crop == (222, 0, 256)
    frame = next(animate_frames(model, faces[0], VideoReader(faces[1]), crop="auto"))
    assert frame.shape == (256, 256, 3)


@needs_detector
def test_no_face_is_said(model, source, driving, faces, tmp_path):
    with pytest.warns(UserWarning, match="no face is found in the portrait; the square in its middle") as one:
        result = animate(model, source, faces[1], tmp_path / "a.mp4", crop="auto", progress=False)
    assert result.crop == (0, 8, 80)
    with pytest.warns(UserWarning, match="a face is found in the portrait and none in the driving") as two:
        animate(model, data_path("portrait.jpg"), driving, progress=False)
    with pytest.warns(UserWarning, match="no face is found in the portrait") as three:
        next(animate_frames(model, source, faces[1], crop="auto"))
    assert {warning.filename for warning in [*one, *two, *three]} == {__file__}  # the line that calls


@needs_detector
def test_landmarks_choose_the_best_frame_where_there_are_faces(model, tmp_path):
    """The portrait is a frame of the video at another size."""
    heads = list(VideoReader(data_path("driving.mp4")))[:75:5]
    video = encode(tmp_path / "video.mp4", heads, options={"crf": "10"})
    source = np.asarray(Image.fromarray(heads[9]).resize((300, 300)))
    settings = {"best_frame": "auto", "progress": False}
    assert animate(model, source, video, tmp_path / "a.mp4", **settings).best_frame == 9
    blind = np.full((64, 64, 3), 90, np.uint8)  # no face: keypoints it is, and a warning of course
    with pytest.warns(UserWarning, match="none in the portrait"):
        assert animate(model, blind, video, tmp_path / "b.mp4", **settings).best_frame in range(15)


def test_faces_without_the_detector(model, faces, monkeypatch):
    monkeypatch.setattr("fomm_lib.media.faces._missing_packages", lambda: ["dlib-bin"])
    monkeypatch.setattr("fomm_lib.media.faces._detector", _detector.__wrapped__)
    with pytest.raises(InputError, match="finding faces needs dlib-bin; run: pip install dlib-bin"):
        animate(model, *faces, crop="auto", progress=False)
    assert len(animate(model, *faces, progress=False)) == 10  # without a word


# --- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crop", [(0, 0, 81), (-1, 0, 10), (0, 90, 10), (0, 0, 0)])
def test_crop_outside_the_image(model, source, driving, tmp_path, crop):
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


@pytest.mark.parametrize("moment", ["reading", "computing", "writing"])
def test_an_interruption_leaves_nothing(moment, model, source, driving, tmp_path, monkeypatch):
    """Ctrl-C, whatever it meets: no file, no thread, and the model works on."""
    calls = itertools.count()

    def interrupted(original):
        def call(*arguments, **keywords):
            if next(calls) == 3:
                raise KeyboardInterrupt
            return original(*arguments, **keywords)

        return call

    where = {
        "reading": ("fomm_lib.media.decoding.ToRgb.__call__", ToRgb.__call__),
        "computing": ("fomm_lib.animation.animator.Animator.generate", Animator.generate),
        "writing": ("fomm_lib.media.encoding.VideoWriter.write", VideoWriter.write),
    }
    threads = threading.active_count()
    with monkeypatch.context() as patch:
        name, original = where[moment]
        patch.setattr(name, interrupted(original))
        with pytest.raises(KeyboardInterrupt):
            animate(model, source, driving, tmp_path / "a.mp4", batch_size=1, progress=False)
    assert list(tmp_path.iterdir()) == [] and threading.active_count() == threads
    assert animate(model, source, driving, tmp_path / "a.mp4", progress=False).frames == 11


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "frames"])
def test_a_full_disk_leaves_nothing(name, model, source, driving, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    for writer in (VideoWriter, FrameFolder):
        monkeypatch.setattr(writer, "write", full)
    with pytest.raises(InputError, match="No space left"):
        animate(model, source, driving, tmp_path / name, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_driving_video_of_one_frame(model, source, tmp_path):
    driving = make("one_frame.mp4", tmp_path)
    with pytest.warns(UserWarning, match="has one frame, so nothing moves"):
        result = animate(model, source, driving, tmp_path / "a.mp4", best_frame="auto", progress=False)
    assert (result.frames, result.best_frame) == (1, 0)
    assert len(list(VideoReader(tmp_path / "a.mp4"))) == 1


def test_bad_places_are_told_before_any_work(model, source, driving, tmp_path, monkeypatch):
    monkeypatch.setattr("fomm_lib.animation.animate._squares", lambda *_: pytest.fail("worked"))
    for output in (tmp_path / "none" / "a.mp4", tmp_path / "a.xyz", tmp_path / "none" / "frames"):
        with pytest.raises(InputError):
            animate(model, source, driving, output, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_never_written_over(model, tmp_path):
    """Not even with overwrite: who asks for it means an earlier result."""
    clip, folder = tmp_path / "clip.mp4", tmp_path / "frames"
    encode(clip, moving_frames(3, (32, 32)))
    folder.mkdir()
    still = folder / "000000.png"
    Image.fromarray(portrait(32)).save(still)
    (tmp_path / "link.mp4").symlink_to(clip)
    before = clip.read_bytes(), still.read_bytes()
    for output in (clip, tmp_path / "link.mp4", folder, folder / ".." / "clip.mp4"):
        what = "portrait" if output == folder else "driving video"
        with pytest.raises(InputError, match=f"the {what} is read from there; choose another name"):
            animate(model, still, clip, output, overwrite=True, progress=False)
    assert (clip.read_bytes(), still.read_bytes()) == before


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
    "image", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)]
)
def test_arrays_that_are_no_images(model, source, driving, image):
    with pytest.raises(InputError, match=r"the portrait is .*; it must be uint8 \(H, W, 3\), RGB"):
        animate(model, image, driving)
    with pytest.raises(InputError, match="the driving video is"):
        next(animate_frames(model, source, [image]))


def test_a_model_in_training_is_refused(source, driving):
    with pytest.raises(InputError, match=r"in training mode.*; call model.eval\(\) first"):
        animate(small_model().train(), source, driving, progress=False)


# --- a model whose images are not square -----------------------------------------------------------------


@pytest.fixture(scope="module")
def wide_model():
    """Of 32 x 48: height and width."""
    return vivid_model({"dataset_params.frame_shape": [32, 48, 3]})


def test_a_rectangle_of_the_models_shape_is_cut_out_of_both(wide_model, source, driving, tmp_path):
    """As if both had been cut to 2 : 3 before: 80 x 53 of the portrait, 64 x 43 of the video."""
    result = animate(wide_model, source, driving, tmp_path / "a.mp4", size=32, progress=False)
    assert (result.size, result.crop, result.driving_crop) == ((48, 32), (0, 21, 80), (0, 2, 64))
    image = np.asarray(Image.open(source))[21:74]
    frames = [frame[2:45] for frame in VideoReader(driving)]
    expected = np.stack(list(animate_frames(wide_model, image, frames, size=32)))
    assert expected.shape == (11, 32, 48, 3)
    for crops in ({}, {"crop": (0, 21, 80), "driving_crop": (0, 2, 64)}):
        made = animate(wide_model, source, driving, size=32, **crops, progress=False)
        assert np.abs(made.astype(int) - expected).max() <= 1
    array = np.asarray(Image.open(source))  # the animator takes the same part of an image
    assert np.array_equal(
        Animator(wide_model, array).encoded.image, Animator(wide_model, image).encoded.image
    )


def test_a_size_is_that_of_the_shorter_side(wide_model, source, driving, tmp_path):
    assert animate(wide_model, source, driving, size=64, progress=False).shape == (11, 64, 96, 3)
    assert animate(wide_model, source, driving, size=32, zoom=2, progress=False).shape == (11, 64, 96, 3)
    beside = animate(wide_model, source, driving, size=32, compare=True, progress=False)
    assert beside.shape == (11, 32, 144, 3)
    assert animate(wide_model, source, driving, progress=False).shape == (11, 160, 240, 3)
    with pytest.raises(InputError, match="size = 36: should be a multiple of 8, at most 2728"):
        animate(wide_model, source, driving, size=36, progress=False)


def test_a_rectangle_is_put_back_into_its_place(wide_model, source, driving):
    whole = animate(wide_model, source, driving, crop=(10, 20, 60), paste_back=True, progress=False)
    image = np.asarray(Image.open(source))
    assert whole.shape == (11, *image.shape)
    changed = np.abs(whole.astype(int) - image).max(axis=(0, 3)) > 0
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert rows[0] >= 20 and rows[-1] < 60 and columns[0] >= 10 and columns[-1] < 70
    assert len(rows) > 30 and len(columns) > 50


def test_a_rectangle_outside_the_image(wide_model, source, driving):
    with pytest.raises(InputError, match=r"crop 0,50,80 \(80x53 pixels, the shape of this model's images\)"):
        animate(wide_model, source, driving, crop=(0, 50, 80), progress=False)


# --- other inputs ----------------------------------------------------------------------------------------


def test_a_folder_of_frames_that_animate_has_written_drives(model, source, driving, tmp_path):
    animate(model, source, driving, tmp_path / "frames", progress=False)
    original = VideoReader(driving)
    result = animate(model, source, tmp_path / "frames", tmp_path / "out.mp4", best_frame=2, progress=False)
    assert (result.frames, result.best_frame) == (11, 2)
    video = VideoReader(tmp_path / "out.mp4")
    assert video.times == original.times and not video.has_audio
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "frames").glob("*.png"))]
    expected = np.stack(list(animate_frames(model, source, frames)))
    assert np.array_equal(animate(model, source, tmp_path / "frames", progress=False), expected)
    with pytest.raises(InputError, match="the driving video is read from there"):
        animate(model, source, tmp_path / "frames", tmp_path / "frames", overwrite=True, progress=False)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="is a folder without images"):
        animate(model, source, tmp_path / "none", progress=False)


@pytest.mark.parametrize("name", ["good.mp4", "moving.gif", "moving.webp"])
def test_a_video_as_portrait_is_said_to_give_its_first_frame(name, model, driving, tmp_path):
    path = make(name, tmp_path)
    with pytest.warns(UserWarning, match=f"{name}: is a video; its first frame is the portrait") as caught:
        result = animate(model, path, driving, progress=False)
    assert [warning.filename for warning in caught if "portrait" in str(warning.message)] == [__file__]
    assert np.array_equal(result, animate(model, read_image(path), driving, progress=False))


@needs_detector
def test_one_of_two_people_is_followed(model, source, tmp_path):
    """The one who is larger in the first frame, also when the other comes nearer; a line says so."""
    frames = []
    for number, head in enumerate(itertools.islice(VideoReader(data_path("driving.mp4")), 0, 60, 6)):
        frame = np.full((400, 1000, 3), 128, np.uint8)
        for left, side in ((30, 300), (560, 240 if number < 4 else 380)):
            frame[10 : 10 + side, left : left + side] = np.asarray(Image.fromarray(head).resize((side, side)))
        frames.append(frame)
    path = encode(tmp_path / "two.mp4", frames)
    with pytest.warns(UserWarning, match="more than one face is found in the driving video; the person with"):
        result = animate(model, source, path, tmp_path / "a.mp4", driving_crop="auto", progress=False)
    x, _, side = result.driving_crop
    assert x + side < 400 and 150 < side < 330


# --- sources in memory, and squares that are given ---------------------------------------------------------


def test_an_image_in_memory_is_as_good_as_its_file(model, source, driving):
    array = read_image(source)
    expected = animate(model, source, driving, progress=False)
    for image in (array, Image.open(source), Image.open(source).convert("RGBA"), to_tensor(array)):
        np.testing.assert_array_equal(animate(model, image, driving, progress=False), expected)
        np.testing.assert_array_equal(next(animate_frames(model, image, driving)), expected[0])


@pytest.mark.parametrize("thing", [None, 3, b"me.jpg", [0], object(), torch.zeros(5)])
def test_what_is_no_source(thing, model, driving, tmp_path):
    with pytest.raises(InputError, match=r"^the portrait is a "):
        animate(model, thing, driving, tmp_path / "a.mp4", progress=False)
    with pytest.raises(InputError, match=r"^the portrait is a "):
        next(animate_frames(model, thing, driving))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("thing", [None, 3, np.zeros((2, 4, 4, 3), np.uint8)])
def test_what_is_no_driving_video(thing, model, source, tmp_path):
    with pytest.raises(InputError, match="was given; give the name of a file"):
        animate(model, source, thing, tmp_path / "a.mp4", progress=False)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({}, "the middle"),
        ({"driving_crop": "middle"}, "the middle"),
        ({"driving_crop": (0, 0, 32)}, "the given square"),
        ({"crop": (0, 0, 32)}, "the middle"),
    ],
)
def test_a_square_without_a_face_is_named_as_it_was_chosen(
    options, part, model, source, driving, monkeypatch
):
    """A face is found in the portrait only; the warning is about the driving video."""
    answers = iter([[object()], []])
    monkeypatch.setattr("fomm_lib.animation.animate.has_detector", lambda: True)
    monkeypatch.setattr("fomm_lib.animation.animate.find_faces", lambda image: next(answers))
    with pytest.warns(UserWarning, match=f"none in the driving video, of which {part} is used; give another"):
        animate(model, source, driving, progress=False, **options)
