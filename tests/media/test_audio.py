"""The audio of written videos: copied or encoded, with its frames, and never at the cost of the video."""

import errno
import subprocess
import sys
import warnings

import av
import numpy as np
import pytest

from fomm_lib.errors import InputError
from fomm_lib.media import audio
from fomm_lib.media.audio import AudioTrack
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.video import VideoReader
from tests.support.odd_files import SIZE, encode, encode_audio, ffmpeg, make, moving_frames
from tests.support.recordings import beeping, heard_at, without_first

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


def with_audio_of(source, path):
    """A copy of a video with its audio, through the library."""
    video = VideoReader(source)
    with VideoWriter(path, video.fps, video.size, audio_from=source, time_base=video.time_base) as writer:
        for frame, seconds in video.timed():
            writer.write(frame, seconds)
        writer.end = video.end
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.ts", {"c_v": "libx264", "bf": "2", "c_a": "aac"}),
        ("a.mkv", {"c_v": "libx264", "bf": "0", "c_a": "aac"}),
        ("a.mpg", {"c_v": "mpeg2video", "bf": "2", "c_a": "mp2"}),
        ("a.webm", {"c_v": "libvpx", "c_a": "libopus"}),
    ],
)
@pytest.mark.parametrize("output", ["out.mp4", "out.webm"])
def test_audio_of_a_recording_that_begins_between_key_frames(name, options, output, tmp_path):
    """The second key frame is at 1 s, the tone at 2 s: from the first frame that is shown it is 1 s."""
    whole = beeping(tmp_path / f"whole.{name}", 4, 2, g="25", **options)
    path = without_first(whole, tmp_path / name, 10)
    assert heard_at(path) == pytest.approx(1, abs=0.12)
    assert heard_at(with_audio_of(path, tmp_path / output)) == pytest.approx(heard_at(path), abs=0.03)


@pytest.mark.parametrize(("codec", "delay"), [("mpeg4", 1), ("libx264", 2)])
def test_audio_of_an_avi_with_b_frames(codec, delay, tmp_path):
    """The delay of the first frame counts, in frames of the 25 a second: as in FFmpeg 8 and later."""
    path = beeping(tmp_path / "a.avi", 2, 1, c_v=codec, bf="2", c_a="pcm_s16le")
    heard = heard_at(with_audio_of(path, tmp_path / "out.mp4"))
    assert heard == pytest.approx(1 - delay / 25, abs=0.03)


LAYOUTS = ["quad", "5.1(side)", "7.1", "7.1(wide)", "hexagonal", "octagonal"]
TRACKS = [
    *((layout, "a.mov", "pcm_s16le") for layout in LAYOUTS),
    *((layout, "a.mov", "alac") for layout in ("5.1(side)", "7.1", "7.1(wide)")),  # it knows no others
    *((layout, "a.mkv", "flac") for layout in LAYOUTS),
]


@pytest.mark.parametrize(("layout", "name", "codec"), TRACKS)
def test_channels_in_any_layout_become_stereo(layout, name, codec, tmp_path):
    """In another process, since a wrong one ends its process: PyAV frees unnamed layouts more than once."""
    source = encode(tmp_path / "video.mp4", moving_frames(25))
    tone = f"sine=f=440:d=1,aformat=channel_layouts={layout}"
    form = ["-sample_fmt", "s16p"] if codec == "alac" else []
    path = tmp_path / name
    if codec == "alac":
        tone = tone.replace(layout, {"5.1(side)": "5.1", "7.1": "7.1(wide)"}.get(layout, layout))
    ffmpeg("-i", source, "-f", "lavfi", "-i", tone, "-c:v", "copy", "-c:a", codec, *form, path)
    script = (
        "import numpy as np, sys\n"
        "from fomm_lib.media.encoding import VideoWriter\n"
        "with VideoWriter(sys.argv[2], 5, (32, 32), audio_from=sys.argv[1]) as writer:\n"
        "    for level in range(5):\n"
        "        writer.write(np.full((32, 32, 3), 9 * level, np.uint8))\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(path), str(tmp_path / "out.webm")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "out.webm")) as container:
        (track,) = container.streams.audio
        assert track.codec_context.channels == 2
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(track)])
    assert len(samples) == pytest.approx(track.rate, rel=0.05) and np.abs(samples).max() > 0.005


def crash(*arguments):
    """A decoder that ends its process."""
    import os

    os.abort()


def test_a_decoder_that_crashes_costs_the_audio_and_no_more(tmp_path, monkeypatch):
    source = encode(tmp_path / "in.mkv", moving_frames(25), audio="pcm_s16le")
    monkeypatch.setattr(audio, "encode_audio", crash)
    with pytest.warns(UserWarning, match=r"its audio cannot be decoded, and is left out \(crashed") as caught:
        with_audio_of(source, tmp_path / "out.mp4")
    assert len(caught) == 1
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio
    assert len(list(VideoReader(tmp_path / "out.mp4"))) == 25


def test_audio_in_an_unknown_format_is_named(tmp_path):
    source = encode(tmp_path / "in.mkv", moving_frames(25), audio="aac")
    source.write_bytes(source.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    with pytest.warns(UserWarning, match="its audio is in a format that is not known here, and is left out"):
        with_audio_of(source, tmp_path / "out.mp4")
    assert not VideoReader(tmp_path / "out.mp4").has_audio
