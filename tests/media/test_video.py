"""Images and videos, in and out. Odd files are made on the spot by `odd_files`."""

import os
import pickle
import sys
from fractions import Fraction

import numpy as np
import pytest

from fomm_lib.errors import InputError, VideoError
from fomm_lib.media import containers, decoding
from fomm_lib.media.video import VideoReader, read_frames, read_image
from tests.support.odd_files import encode, make, moving_frames

pytestmark = pytest.mark.quick


# --- where there is no file ----------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other names and no such files")
@pytest.mark.parametrize("read", [read_image, VideoReader])
def test_paths_that_are_no_files(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in [
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is not a regular file"),
        ("http://127.0.0.1:9/x.mp4", "http://127.0.0.1:9/x.mp4: is an address; download it first"),
        ("/dev/zero", "is not a regular file"),
        ("a\0b", "no such file|cannot be read|is no name of a file"),
        ("x" * 5000, "is longer than a name can be"),
    ]:
        with pytest.raises(InputError, match=words):
            read(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other names and no such files")
def test_names_with_odd_characters(tmp_path):
    for name in ("ü ñ 漢.mp4", "a:b.mp4", "frame%03d.mp4", "-i.mp4", "a|b.mp4"):
        path = encode(tmp_path / "plain.mp4", moving_frames(3)).rename(tmp_path / name)
        assert len(list(VideoReader(path))) == 3
        assert len(read_frames(path, [2])) == 1


def test_attributes(odd_folder):
    video = VideoReader(make("good.mp4", odd_folder))
    assert (video.size, video.fps, video.frames, video.duration) == ((64, 64), 25, 25, 1.0)
    assert (video.rotation, video.has_audio, video.codec) == (0, True, "h264")
    list(video)
    assert video.end == 1


def test_every_loop_starts_again(odd_folder):
    video = VideoReader(make("good.mp4", odd_folder))
    first, second = iter(video), iter(video)
    next(first)
    assert np.array_equal(next(first), [*second][1])
    assert np.array_equal(video.first_frame(), next(iter(video)))


def test_variable_frame_times_are_kept(odd_folder):
    video = VideoReader(make("variable.mp4", odd_folder))
    assert [round(seconds * 1000) for _, seconds in video.timed()] == [0, 40, 80, 200, 240, 600, 601, 900]


def test_late_start_is_time_zero(odd_folder):
    video = VideoReader(make("late_start.mkv", odd_folder))
    assert [seconds for _, seconds in video.timed()][:2] == [0, Fraction(1, 25)]
    assert video.frames in range(25, 29)


def test_damage_tells_the_good_frames(odd_folder):
    path = make("cut_between_frames.mp4", odd_folder)
    with pytest.raises(
        VideoError, match=r"is damaged after 12 good frames, 0\.44 s \(the file ends \d+ bytes"
    ) as caught:
        list(VideoReader(path))
    assert caught.value.frames == 12


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("audio.mp4", "there is only audio in this file; give a video"),
        ("cover_art.m4a", "there is only cover art in this file; give a video"),
        ("colour.jpg", "is a still image; give a video"),
        ("encrypted.mp4", "this video is encrypted (DRM); give one that is not"),
        ("notes.txt", "is a text file; give a video"),
        ("noise.mp4", "is not a video that can be read (Invalid data found when processing input)"),
        ("truncated.png", "is a still image"),
    ],
)
def test_video_errors(name, words, odd_folder):
    with pytest.raises(VideoError) as caught:
        VideoReader(make(name, odd_folder))
    assert words in str(caught.value)


def test_errors_survive_a_worker_process(odd_folder):
    with pytest.raises(VideoError) as caught:
        list(VideoReader(make("cut_short.mp4", odd_folder)))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.reason, copy.frames) == (str(caught.value), "corrupt", caught.value.frames)


# --- opened and checked once ---------------------------------------------------------------------------


def test_a_reading_opens_its_file_once(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", moving_frames(5), audio="aac")
    opened, checked = [], []
    open_input, marks = decoding.open_input, containers.encryption_marks
    monkeypatch.setattr(decoding, "open_input", lambda *a, **k: opened.append(a) or open_input(*a, **k))
    monkeypatch.setattr(decoding, "encryption_marks", lambda path: checked.append(path) or marks(path))
    video = VideoReader(path)
    assert (len(opened), len(checked)) == (1, 1)
    assert len(list(video)) == 5
    assert (len(opened), len(checked)) == (2, 1)
    read_frames(path, [3])  # once for the index, once for the frame
    assert (len(opened), len(checked)) == (4, 1)
    read_frames(path, [2, 4])
    assert (len(opened), len(checked), len(video.times)) == (5, 1, 5)
    encode(path, moving_frames(3))
    VideoReader(path)
    assert (len(opened), len(checked)) == (6, 2), "a changed file is checked again"


def test_the_end_of_the_first_frame_is_known_before_the_video_is_read(odd_folder):
    assert VideoReader(make("good.mp4", odd_folder)).end == Fraction(1, 25)
    assert VideoReader(make("moving.gif", odd_folder)).end == Fraction(40, 1000)
