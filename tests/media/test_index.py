"""Random access: the same frames and times as in one pass, without decoding all of it."""

import av
import numpy as np
import pytest

from fomm_lib.errors import InputError, VideoError
from fomm_lib.media import index
from fomm_lib.media.video import VideoReader, read_frames
from tests.support.odd_files import ODD_FILES, encode, make, moving_frames

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
