"""The audio of written videos: copied or encoded, with its frames, and never at the cost of the video."""

import errno
import warnings

import av
import numpy as np
import pytest

from fomm_lib.errors import InputError
from fomm_lib.media.audio import AudioTrack
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.video import VideoReader
from tests.support.odd_files import SIZE, encode, encode_audio, make, moving_frames

pytestmark = pytest.mark.quick


def loudness(path, start=0.0, end=1e9):
    """Root mean square of the audio whose time, measured from the first frame, lies between start and end."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        zero = video.start_time * video.time_base
        total, count = 0.0, 0
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().astype(np.float64)
            samples /= 32768 if frame.format.name.startswith("s16") else 1
            if not frame.format.is_planar:
                samples = samples.reshape(-1, len(frame.layout.channels)).T
            times = float(frame.time - zero) + np.arange(samples.shape[1]) / frame.sample_rate
            part = samples[0, (times >= start) & (times < end)]
            total, count = total + (part**2).sum(), count + len(part)
    return np.sqrt(total / max(count, 1)), count


@pytest.mark.parametrize(
    ("suffix", "codec", "video", "expected"),
    [
        ("mp4", "aac", "libx264", "aac"),
        ("mkv", "flac", "libx264", "flac"),
        ("mkv", "libmp3lame", "libx264", "mp3"),
        ("webm", "libopus", "libvpx-vp9", "opus"),
        ("mkv", "pcm_f32le", "libx264", "aac"),
        ("avi", "pcm_s16le", "mpeg4", "aac"),
        ("ts", "mp2", "mpeg2video", "aac"),
        ("ts", "aac", "libx264", "aac"),
    ],
)
def test_audio_is_kept(suffix, codec, video, expected, tmp_path):
    """Copied where MP4 can hold it, encoded anew where not; as long and as loud as it was."""
    source = encode(tmp_path / f"in.{suffix}", moving_frames(50), codec=video, audio=codec)
    with VideoWriter(tmp_path / "out.mp4", 25, (SIZE, SIZE), audio_from=source) as writer:
        for frame in moving_frames(50):
            writer.write(frame)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == expected
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.09)
    (loud, samples), (loud_in, samples_in) = loudness(tmp_path / "out.mp4", 0, 2), loudness(source, 0, 2)
    assert loud == pytest.approx(loud_in, rel=0.1)
    with av.open(str(source)) as a, av.open(str(tmp_path / "out.mp4")) as b:
        ratio = b.streams.audio[0].rate / a.streams.audio[0].rate
    assert samples == pytest.approx(samples_in * ratio, rel=0.05)


@pytest.mark.parametrize(("codec", "suffix"), [("aac", "mkv"), ("pcm_s16le", "mkv")])
def test_audio_stays_with_its_frames(codec, suffix, tmp_path):
    """A tone that starts with the video at 3600 s is heard from 0 on, and not before or after."""
    source = encode(tmp_path / f"in.{suffix}", moving_frames(50), audio=codec, start=3600)
    video = VideoReader(source)
    with VideoWriter(tmp_path / "out.mp4", video.fps, video.size, audio_from=source) as writer:
        for frame in video:
            writer.write(frame)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.09)
    assert loudness(tmp_path / "out.mp4", 0.05, 0.3)[0] == pytest.approx(8000 / 32768 / np.sqrt(2), rel=0.1)


def test_audio_only_and_silent_sources(tmp_path, odd_folder):
    audio = encode_audio(tmp_path / "tone.m4a", seconds=1)
    for source, tracks in ((audio, 1), (make("frozen.mp4", odd_folder), 0)):
        with VideoWriter(tmp_path / "out.mp4", 25, (SIZE, SIZE), audio_from=source, overwrite=True) as writer:
            for frame in moving_frames(25):
                writer.write(frame)
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert len(container.streams.audio) == tracks
            assert container.duration / av.time_base == pytest.approx(1.0, abs=0.07)


def test_damaged_audio_does_not_spoil_the_video(tmp_path):
    source = encode(tmp_path / "in.mkv", moving_frames(50), audio="mp2")
    data = bytearray(source.read_bytes())
    for place in np.random.default_rng(0).integers(len(data) // 3, len(data) - 300, 200):
        data[place] ^= 0xFF
    source.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with VideoWriter(tmp_path / "out.mp4", 25, (SIZE, SIZE), audio_from=source) as writer:
            for frame in moving_frames(50):
                writer.write(frame)
    assert len(list(VideoReader(tmp_path / "out.mp4"))) == 50


@pytest.mark.parametrize("fault", ["header", "trailer"])
def test_audio_that_cannot_be_copied(fault, tmp_path):
    """A header that MP4 refuses, at its beginning or only at its end, costs the audio at most."""
    if fault == "header":  # a broadcast cut before any audio: there is a track, but nobody knows its rate
        source = encode(tmp_path / "in.ts", moving_frames(25), audio="aac")
        source.write_bytes(source.read_bytes()[:1200])
    else:  # the header of Opus, of which MP4 makes a part of its index, has lost its name
        source = encode(tmp_path / "in.webm", moving_frames(25), codec="libvpx", audio="libopus")
        data = source.read_bytes()
        assert data.count(b"\x63\xa2") == 1  # the label of what a codec wants to be told
        source.write_bytes(data.replace(b"\x63\xa2", b"\x63\xa3"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with VideoWriter(tmp_path / "out.mp4", 25, (SIZE, SIZE), audio_from=source) as writer:
            for frame in moving_frames(5):
                writer.write(frame)
    assert len(list(VideoReader(tmp_path / "out.mp4"))) == 5


def test_a_full_disk_is_not_blamed_on_the_audio(tmp_path, monkeypatch):
    source = encode(tmp_path / "in.mp4", moving_frames(25), audio="aac")

    def full(*arguments):
        raise av.error.OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(AudioTrack, "_copy", full)
    with (
        pytest.raises(InputError, match="No space left"),
        VideoWriter(folder / "out.mp4", 25, (SIZE, SIZE), audio_from=source) as writer,
    ):
        for frame in moving_frames(5):
            writer.write(frame)
    assert list(folder.iterdir()) == []
