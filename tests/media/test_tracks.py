"""The track that is used, and a clock that does not jump."""

import av
import numpy as np
import pytest

from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.tracks import audios, may_jump, steady_packets, videos
from fomm_lib.media.video import VideoReader, read_frames
from tests.support.odd_files import encode, encode_audio, ffmpeg, moving_frames
from tests.support.recordings import beeping, heard_at, joined, later

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Two videos of different size, and two tones."""
    folder = tmp_path_factory.mktemp("material")
    encode(folder / "preview.mp4", moving_frames(10, (16, 16)))
    encode(folder / "small.mp4", moving_frames(10, (32, 32)))
    encode(folder / "large.mp4", moving_frames(10, (96, 64)))
    encode_audio(folder / "low.m4a", seconds=0.5)
    encode_audio(folder / "high.m4a", seconds=2)
    return folder


def muxed(material, path, *names, default=None, **dispositions):
    """Tracks of several files in one; the track of the number `default` has that mark."""
    inputs = [part for name in names for part in ("-i", material / name)]
    maps = [part for number in range(len(names)) for part in ("-map", str(number))]
    marks = ["-disposition", "0"]
    if default is not None:
        marks += [f"-disposition:{default}", "default"]
    for track, mark in dispositions.items():
        marks += [f"-disposition:{track[1:]}", mark]
    ffmpeg(*inputs, *maps, "-c", "copy", *marks, path)
    return path


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize("default", [None, 0])
def test_a_preview_before_the_video(material, tmp_path, suffix, default):
    """FFmpeg marks the first track as default, if it writes MP4."""
    path = muxed(material, tmp_path / f"a.{suffix}", "preview.mp4", "large.mp4", default=default)
    assert VideoReader(path).size == (96, 64)
    assert len(list(VideoReader(path))) == len(VideoReader(path).times) == 10
    assert np.array_equal(read_frames(path, [7])[0], list(VideoReader(material / "large.mp4"))[7])


def test_the_video_with_the_most_pixels(material, tmp_path):
    assert VideoReader(muxed(material, tmp_path / "a.mkv", "small.mp4", "large.mp4")).size == (96, 64)


def test_the_default_video_before_the_larger_one(material, tmp_path):
    path = muxed(material, tmp_path / "a.mkv", "large.mp4", "small.mp4", default=1)
    assert VideoReader(path).size == (32, 32)


def test_a_video_without_a_decoder_is_passed_over(material, tmp_path):
    path = muxed(material, tmp_path / "a.mkv", "large.mp4", "small.mp4", default=0)
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/AVC", 1))
    assert VideoReader(path).size == (32, 32)


@pytest.mark.parametrize(
    ("suffix", "marks", "best"),
    [
        ("mkv", {"default": 2}, 2),
        ("mkv", {"default": 1}, 1),
        ("mp4", {"default": 2}, 2),
        ("mkv", {}, 1),
        ("mkv", {"_1": "comment"}, 2),
        ("mkv", {"_1": "visual_impaired"}, 2),
        ("mkv", {"_1": "comment", "default": 1}, 2),
    ],
)
def test_the_audio_that_is_marked(material, tmp_path, suffix, marks, best):
    if {"_1", "default"} <= marks.keys():
        marks = {"_1": "comment+default", "_2": "default"}
    path = muxed(material, tmp_path / f"a.{suffix}", "small.mp4", "low.m4a", "high.m4a", **marks)
    with av.open(str(path)) as container:
        assert audios(container)[0].index == best
        assert [track.index for track in videos(container)] == [0]
    with VideoWriter(tmp_path / "out.mp4", 25, (32, 32), audio_from=path) as writer:
        for frame in moving_frames(50, (32, 32)):
            writer.write(frame)
    with av.open(str(tmp_path / "out.mp4")) as container:
        (track,) = container.streams.audio
        assert float(track.duration * track.time_base) == pytest.approx({1: 0.5, 2: 2.0}[best], abs=0.1)


def test_audio_without_a_decoder_is_passed_over(material, tmp_path):
    path = muxed(material, tmp_path / "a.mkv", "small.mp4", "low.m4a", "high.m4a", default=1)
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ", 1))
    with av.open(str(path)) as container:
        assert [track.index for track in audios(container)] == [2]
    assert VideoReader(path).has_audio
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    with av.open(str(path)) as container:
        assert audios(container) == []
    assert not VideoReader(path).has_audio


# --- the clock -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The same two seconds on three clocks, for each kind of stream."""
    folder, kinds = tmp_path_factory.mktemp("parts"), {}
    for suffix, codec, audio in (("ts", "libx264", "aac"), ("mpg", "mpeg2video", "mp2")):
        first = beeping(folder / f"a.{suffix}", 2.0, 0.5, c_v=codec, c_a=audio)
        after = later(first, folder / f"b.{suffix}", 7200)
        kinds[suffix] = {"now": first, "later": after, "soon": later(first, folder / f"c.{suffix}", 60)}
    return kinds


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
@pytest.mark.parametrize(
    "order", [["now", "later"], ["later", "now"], ["now", "now"], ["now", "later", "soon", "now"]]
)
def test_recordings_that_are_joined_play_one_after_the_other(parts, tmp_path, suffix, order):
    path = joined([parts[suffix][name] for name in order], tmp_path / f"a.{suffix}")
    video = VideoReader(path)
    frames = list(video.timed())
    assert video.fps == 25 and len(frames) == video.frames == 50 * len(order)
    assert video.duration == pytest.approx(2 * len(order), abs=0.2)
    times = [float(seconds) for _, seconds in frames]
    assert min(np.diff(times)) > 0.03 and max(np.diff(times)) < 0.2
    assert video.times == [seconds for _, seconds in frames]
    assert float(video.end) == pytest.approx(2 * len(order), abs=0.2)


@pytest.mark.parametrize("output", ["out.mp4", "out.webm"])
def test_audio_is_shifted_with_its_video(parts, tmp_path, output):
    path = joined([parts["ts"]["later"], parts["ts"]["now"]], tmp_path / "a.ts")
    video = VideoReader(path)
    with VideoWriter(
        tmp_path / output, video.fps, video.size, audio_from=path, time_base=video.time_base
    ) as writer:
        for frame, seconds in video.timed():
            writer.write(frame, seconds)
    assert heard_at(tmp_path / output) == pytest.approx(0.5, abs=0.07)
    with av.open(str(tmp_path / output)) as container:
        assert container.duration / av.time_base == pytest.approx(4, abs=0.2)
        last = [frame for frame in container.decode(audio=0) if np.abs(frame.to_ndarray()).max() > 0.02][-1]
    assert last.time == pytest.approx(2.7, abs=0.15)


def test_a_clock_that_does_not_jump_is_left_alone(parts, material):
    for path, jumps in ((parts["ts"]["later"], True), (material / "large.mp4", False)):
        with av.open(str(path)) as container, av.open(str(path)) as again:
            assert may_jump(container) == jumps
            expected = [(packet.pts, packet.dts) for packet in container.demux(container.streams.video[0])]
            got = [(packet.pts, packet.dts) for packet in steady_packets(again, again.streams.video[0])]
            assert got == expected
