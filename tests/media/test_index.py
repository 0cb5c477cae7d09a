"""Random access: the same frames and times as in one pass, without decoding all of it."""

from pathlib import Path

import av
import numpy as np
import pytest

from fomm_lib.errors import InputError, VideoError
from fomm_lib.media import index
from fomm_lib.media.video import VideoReader, read_frames
from tests.support.odd_files import ODD_FILES, difference, encode, ffmpeg, make, moving_frames
from tests.support.recordings import without_first

pytestmark = pytest.mark.quick

GOOD = [odd.name for odd in ODD_FILES if isinstance(odd.as_video, int)]


@pytest.mark.parametrize("name", GOOD)
def test_times_need_no_decoding(name, odd_folder):
    video = VideoReader(make(name, odd_folder))
    assert len(video.times) == len(list(video))
    if name != "size_changes.ts":  # whose clock starts again in the middle
        assert video.times == [seconds for _, seconds in video.timed()]


@pytest.mark.parametrize("name", GOOD)
def test_read_frames_gives_the_frames_of_the_reader(name, odd_folder):
    path = make(name, odd_folder)
    frames = list(VideoReader(path))
    wanted = [len(frames) - 1, 0, len(frames) // 2, 0]
    assert np.array_equal(read_frames(path, wanted), np.stack([frames[i] for i in wanted]))


def test_read_frames_decodes_only_what_it_must(tmp_path, monkeypatch):
    path = encode(tmp_path / "long.mp4", moving_frames(200, (32, 32)), options={"g": "10"})
    frames = list(VideoReader(path))
    decoded = []
    convert = av.packet.Packet.decode

    def counting(*arguments):
        for frame in original(*arguments):
            decoded.append(frame.pts)
            yield frame

    original = index.decoded_frames
    monkeypatch.setattr(index, "decoded_frames", counting)
    rng = np.random.default_rng(0)
    for _ in range(5):
        wanted = rng.integers(0, 200, 2)
        assert np.array_equal(read_frames(path, wanted), np.stack([frames[i] for i in wanted]))
    assert len(decoded) <= 5 * 2 * 10
    assert convert is av.packet.Packet.decode


def test_read_frames_of_a_changed_file(tmp_path):
    path = encode(tmp_path / "a.mp4", moving_frames(5))
    read_frames(path, [4])
    encode(path, moving_frames(3))
    with pytest.raises(InputError, match="frame 4 was asked for, but it has frames 0 to 2"):
        read_frames(path, [4])


def test_read_frames_errors(odd_folder):
    for name in ("good.mp4", "mpeg4.avi"):
        path = make(name, odd_folder)
        with pytest.raises(InputError, match="no frame was asked for"):
            read_frames(path, [])
        with pytest.raises(InputError, match="frame -1 was asked for"):
            read_frames(path, [-1])
        with pytest.raises(InputError, match="frame 25 was asked for, but it has frames 0 to 24"):
            read_frames(path, [3, 25])
    with pytest.raises(VideoError, match="is damaged after"):
        read_frames(make("flipped_bits.mp4", odd_folder), [24])


# --- packets that give no frame ------------------------------------------------------------------------

BEGINS_LATE = [
    ("a.ts", "libx264", {"g": "20", "bf": "2"}),
    ("a.mkv", "libx264", {"g": "20", "bf": "2"}),
    ("a.mp4", "libx264", {"g": "20", "bf": "0"}),
    ("a.mpg", "mpeg2video", {"g": "20", "bf": "2"}),
    ("a.ts", "mpeg2video", {"g": "20", "bf": "0"}),
    ("a.webm", "libvpx", {"g": "20"}),
    ("a.webm", "libvpx-vp9", {"g": "20", "lag-in-frames": "0"}),
    ("a.ts", "libx265", {"x265-params": "keyint=20:bframes=2:log-level=none"}),
]


@pytest.mark.parametrize(("name", "codec", "options"), BEGINS_LATE)
def test_a_recording_that_begins_between_key_frames(name, codec, options, tmp_path):
    """Frame n is the n-th of the reader, time 0 that of the first, and there are as many as it gives."""
    shown = moving_frames(60)
    whole = encode(tmp_path / f"whole{Path(name).suffix}", shown, codec=codec, options=options)
    path = without_first(whole, tmp_path / name, 8)
    video = VideoReader(path)
    frames = list(video.timed())
    assert 35 <= len(frames) <= 41, "those from the second key frame on"
    assert difference(frames[-1][0], shown[-1]).mean() < 6
    assert video.times == [seconds for _, seconds in frames]
    assert np.allclose(np.diff(np.array(video.times, float)), 0.04, atol=0.002)
    assert float(video.end) == pytest.approx(len(frames) / 25, abs=0.09)
    wanted = [len(frames) - 1, 0, 17]
    assert np.array_equal(read_frames(path, wanted), np.stack([frames[i][0] for i in wanted]))
    with pytest.raises(InputError, match=f"but it has frames 0 to {len(frames) - 1}"):
        read_frames(path, [len(frames)])


def test_an_avi_with_b_frames(tmp_path):
    """AVI has no time stamps: FFmpeg makes them of the order of decoding."""
    path = encode(tmp_path / "a.avi", moving_frames(40), codec="mpeg4", options={"bf": "2", "g": "10"})
    h264 = tmp_path / "b.avi"
    ffmpeg("-i", path, "-c:v", "libx264", "-bf", "3", "-g", "10", h264)
    for each in (path, h264):
        video = VideoReader(each)
        frames = list(video.timed())
        assert [seconds for _, seconds in frames] == video.times == [k / video.fps for k in range(40)]
        assert video.end == 40 / video.fps
        assert np.array_equal(read_frames(each, [23])[0], frames[23][0])
        assert difference(frames[23][0], moving_frames(40)[23]).mean() < 6


def test_a_healthy_video_is_not_decoded_for_its_index(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", moving_frames(200, (32, 32)), options={"g": "10"})
    monkeypatch.setattr(index, "_index_of_frames", None)
    assert len(VideoReader(path).times) == 200
