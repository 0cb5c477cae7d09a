"""Clips: what is found under a folder, and how each kind is read."""

import shutil

import numpy as np
import pytest
from PIL import Image

from fomm_lib.data.clips import Clip, find_clips
from fomm_lib.data.datasets import FramePairs
from fomm_lib.errors import InputError
from tests.support.small_clips import SIZE, image, write_folder, write_strip, write_video


def test_all_kinds_of_clips_are_found_and_read(tmp_path):
    write_folder(tmp_path / "folder", frames=12, clip=1)
    write_strip(tmp_path / "strip.png", frames=6, clip=2)
    write_video(tmp_path / "video.mp4", frames=30, clip=3)
    (tmp_path / "notes.txt").write_text("not a clip")
    (tmp_path / ".hidden.mp4").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    clips = find_clips(tmp_path)
    assert [clip.name for clip in clips] == ["folder", "strip.png", "video.mp4"]
    assert [len(clip) for clip in clips] == [12, 6, 30]
    for number, clip in enumerate(clips, start=1):
        streamed = list(clip)
        assert len(streamed) == len(clip)
        for index, frame in zip((0, 5), clip.read([0, 5]), strict=True):
            np.testing.assert_array_equal(frame, streamed[index])
            expected = image(index, number, len(frame))
            tolerance = 12 if clip.name == "video.mp4" else 0  # the video is compressed
            np.testing.assert_allclose(frame.astype(int)[..., :2], expected[..., :2], atol=tolerance)


def test_two_equal_numbers_give_the_frame_twice(tmp_path):
    write_video(tmp_path / "a.mp4")
    (clip,) = find_clips(tmp_path)
    first, second = clip.read([7, 7])
    np.testing.assert_array_equal(first, second)


def test_frame_folders_are_in_natural_order(tmp_path):
    for number in (1, 2, 10):
        (tmp_path / "clip").mkdir(exist_ok=True)
        Image.fromarray(image(number)).save(tmp_path / "clip" / f"frame{number}.png")
    (clip,) = find_clips(tmp_path)
    assert [int(frame[0, 0, 0]) // 10 for frame in clip] == [1, 2, 10]


def test_strip_frames_may_be_wider_than_high(tmp_path):
    frames = [np.full((8, 12, 3), 40 * number, np.uint8) for number in range(5)]
    Image.fromarray(np.concatenate(frames, axis=1)).save(tmp_path / "strip.png")
    (clip,) = find_clips(tmp_path, aspect=1.5)
    assert len(clip) == 5
    np.testing.assert_array_equal(np.stack(list(clip)), np.stack(frames))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA"])
def test_images_of_any_kind_become_rgb(tmp_path, mode):
    (tmp_path / "clip").mkdir()
    for number in range(2):
        Image.fromarray(image(number)).convert(mode).save(tmp_path / "clip" / f"{number}.png")
    (clip,) = find_clips(tmp_path)
    assert clip.read([0])[0].shape == (SIZE, SIZE, 3)


def test_train_and_test_folders(tmp_path):
    write_folder(tmp_path / "train" / "a")
    write_folder(tmp_path / "test" / "b")
    assert [clip.name for clip in find_clips(tmp_path, "train")] == ["a"]
    assert [clip.name for clip in find_clips(tmp_path, "test")] == ["b"]
    assert [clip.name for clip in find_clips(tmp_path / "train")] == ["a"]
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(InputError, match="has train/ but no test/; add it"):
        find_clips(tmp_path, "test")


def test_bad_roots(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        find_clips(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no clips in it; expected videos \(\.avi \.gif"):
        FramePairs(tmp_path)
    with pytest.raises(InputError, match="split='validation': choose"):
        find_clips(tmp_path, "validation")


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("id1#video#000#100.mp4", "id1"),
        ("id1.mp4", "id1"),
        ("v1.2", "v1.2"),
        ("id1#a.b#0", "id1"),
        ("cat.gif", "cat"),
    ],
)
def test_identity_is_the_name_before_the_hash(name, identity):
    assert Clip(name).identity == identity
