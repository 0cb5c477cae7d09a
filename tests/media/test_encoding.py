"""Writing videos: frames, times, sizes, metadata, whole or not at all."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from fomm_lib.errors import InputError
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.video import VideoReader
from tests.support.odd_files import SIZE, difference, encode, make, moving_frames

pytestmark = pytest.mark.quick


def test_written_frames_come_back(tmp_path):
    frames = moving_frames(10)
    with VideoWriter(tmp_path / "a.mp4", 25, (SIZE, SIZE), crf=5) as writer:
        for frame in frames:
            writer.write(frame)
    back = np.stack(list(VideoReader(tmp_path / "a.mp4")))
    assert back.shape == frames.shape
    assert difference(back, frames).mean() < 1.5
    assert (back.astype(float).mean((0, 1, 2)) - frames.mean((0, 1, 2))) == pytest.approx([0, 0, 0], abs=0.5)


@pytest.mark.parametrize("fps", [25, Fraction(30000, 1001), Fraction(174400, 7093), Fraction(1, 2), 1000])
def test_frame_rates_are_exact(fps, tmp_path):
    count = 25
    with VideoWriter(tmp_path / "a.mp4", fps, (16, 16)) as writer:
        for frame in moving_frames(count, (16, 16)):
            writer.write(frame)
    video = VideoReader(tmp_path / "a.mp4")
    assert video.times == [i / Fraction(fps) for i in range(count)]
    assert video.duration == pytest.approx(float(count / Fraction(fps)), rel=1e-6)


def test_frame_times_are_kept(odd_folder, tmp_path):
    for name in ("variable.mp4", "long_gap.mp4", "moving.gif", "late_start.mkv", "mpeg2.ts"):
        source = VideoReader(make(name, odd_folder))
        with VideoWriter(
            tmp_path / f"{name}.mp4", source.fps, source.size, time_base=source.time_base
        ) as writer:
            for frame, seconds in source.timed():
                writer.write(frame, seconds)
            writer.end = source.end
        copy = VideoReader(tmp_path / f"{name}.mp4")
        assert copy.times == source.times
        list(copy)
        assert copy.end == source.end


@pytest.mark.parametrize("size", [(61, 47), (64, 47), (1, 1), (2, 2)])
def test_odd_sizes_are_padded_to_even(size, tmp_path):
    frames = moving_frames(3, size)
    with VideoWriter(tmp_path / "a.mp4", 25, size, crf=1) as writer:
        for frame in frames:
            writer.write(frame)
    frame = VideoReader(tmp_path / "a.mp4").first_frame()
    assert frame.shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)
    if min(size) > 2:  # below, four pixels share one colour
        assert difference(frame[: size[1], : size[0]], frames[0]).mean() < 4


def test_key_frames_as_asked(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25, (SIZE, SIZE), keyframe_every=5) as writer:
        for frame in moving_frames(20):
            writer.write(frame)
    with av.open(str(tmp_path / "a.mp4")) as container:
        keys = [packet.pts for packet in container.demux(video=0) if packet.size and packet.is_keyframe]
    assert len(keys) == 4


def test_metadata_is_readable(tmp_path):
    notice = {"comment": "AI-generated video", "description": "made with ä portrait", "title": "Test"}
    with VideoWriter(tmp_path / "a.mp4", 25, (16, 16), metadata=notice) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert notice.items() <= container.metadata.items()


@pytest.mark.needs_system
def test_metadata_is_readable_with_ffprobe(tmp_path):
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not installed")
    with VideoWriter(tmp_path / "a.mp4", 25, (16, 16), metadata={"comment": "AI-generated"}) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags=comment", str(tmp_path / "a.mp4")]
    assert "AI-generated" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_overwritten_unasked(tmp_path):
    (tmp_path / "a.mp4").write_text("precious")
    with pytest.raises(InputError, match="exists already"), VideoWriter(tmp_path / "a.mp4", 25, (16, 16)):
        pass
    assert (tmp_path / "a.mp4").read_text() == "precious" and left_in(tmp_path) == ["a.mp4"]
    with VideoWriter(tmp_path / "a.mp4", 25, (16, 16), overwrite=True) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    assert len(list(VideoReader(tmp_path / "a.mp4"))) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_an_unfinished_video(error, tmp_path):
    with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", 25, (SIZE, SIZE)) as writer:
        for frame in moving_frames(60):
            writer.write(frame)
        raise error
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"path": "a.xyz"}, "videos are written as .mp4, .m4v, .mov, .webm, .gif, .apng, .png; give"),
        ({"path": "a"}, "videos are written as"),
        ({"fps": 0}, "cannot be written with 0 frames a second"),
        ({"fps": 1e-9}, "cannot be written with 1e-09 frames a second"),
        ({"fps": float("nan")}, "cannot be written with nan frames a second"),
        ({"size": (0, 16)}, "frames of 0 x 16 pixels cannot be written"),
        ({"path": "none/a.mp4"}, "does not exist; make it first"),
        ({"audio_from": "none.mp3"}, "none.mp3: no such file"),
    ],
)
def test_writer_errors(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(InputError) as caught,
        VideoWriter(**{"path": "a.mp4", "fps": 25, "size": (16, 16)} | arguments),
    ):
        pass
    assert words in str(caught.value)
    assert left_in(tmp_path) == []


def test_wrong_frames_are_refused(tmp_path):
    for frame in (
        np.zeros((16, 8, 3), np.uint8),
        np.zeros((16, 16, 3), np.float32),
        np.zeros((16, 16), np.uint8),
    ):
        with (
            pytest.raises(InputError, match=r"announced was uint8 \(16, 16, 3\)"),
            VideoWriter(tmp_path / "a.mp4", 25, (16, 16)) as writer,
        ):
            writer.write(frame)
    with (
        pytest.raises(InputError, match="no frame was written"),
        VideoWriter(tmp_path / "a.mp4", 25, (16, 16)),
    ):
        pass
    assert left_in(tmp_path) == []


# --- clocks --------------------------------------------------------------------------------------------

CLOCKS = [
    Fraction(1, 10_000_000),
    Fraction(1, 705_600_000),
    Fraction(1, 1_000_000_000),
    Fraction(1, 2_147_483_647),
    Fraction(1, 1_234_567),
    Fraction(1001, 24_000_000),
    Fraction(1, 3),
]
SECONDS = [0, 0.04, 0.08, 0.2, 0.24, 0.6, 0.64, 0.9]


@pytest.mark.parametrize(
    ("suffix", "tolerance"),
    [(".mp4", 1e-6), (".mov", 1e-6), (".webm", 6e-4), (".gif", 6e-3), (".apng", 1e-6), (".png", 1e-6)],
)
@pytest.mark.parametrize("clock", CLOCKS, ids=str)
def test_any_clock_keeps_its_times(clock, suffix, tolerance, tmp_path):
    """Of an array of frames, and of a file that has this clock."""
    frames = moving_frames(len(SECONDS), (32, 32))
    times = [round(seconds / clock) * clock for seconds in SECONDS]
    if clock == Fraction(1, 3):
        times = [k * clock for k in range(len(frames))]
    last = max(clock, Fraction(1, 10))
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, 25, (32, 32), time_base=clock) as writer:
        for frame, seconds in zip(frames, times, strict=True):
            writer.write(frame, seconds)
        writer.end = times[-1] + last
    video = VideoReader(path)
    assert len(list(video)) == len(frames)
    assert [float(t) for t in video.times] == pytest.approx([float(t) for t in times], abs=tolerance)
    assert float(video.end) == pytest.approx(float(times[-1] + last), abs=2 * tolerance)


@pytest.mark.parametrize("clock", CLOCKS[:5], ids=str)
def test_a_file_with_a_fine_clock_is_copied(clock, tmp_path):
    ticks = [round(seconds / clock) for seconds in SECONDS]
    frames = moving_frames(len(ticks), (32, 32))
    source = VideoReader(
        encode(tmp_path / "a.mp4", frames, times=ticks, time_base=clock, options={"bf": "0"})
    )
    assert source.time_base == clock
    for name in ("b.mp4", "b.gif"):
        with VideoWriter(tmp_path / name, source.fps, source.size, time_base=source.time_base) as writer:
            for frame, seconds in source.timed():
                writer.write(frame, seconds)
            writer.end = source.end
        copy = VideoReader(tmp_path / name)
        assert [float(t) for t in copy.times] == pytest.approx(SECONDS, abs=1e-5)


@pytest.mark.parametrize("suffix", [".gif", ".apng"])
def test_a_video_of_some_milliseconds_moves_in_an_animated_image(suffix, tmp_path):
    """Players show no frame for less than 20 ms: the last is kept, and not only the first."""
    frames = moving_frames(9, (32, 32))
    with VideoWriter(tmp_path / f"a{suffix}", 25, (32, 32), time_base=Fraction(1, 10_000_000)) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, Fraction(number, 10_000_000))
    first, last = VideoReader(tmp_path / f"a{suffix}")
    assert difference(first, frames[0]).mean() < 8 and difference(last, frames[-1]).mean() < 8


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
def test_a_gap_longer_than_the_format_can_say(suffix, tmp_path):
    """In ticks of a microsecond MP4 ends at 36 minutes: one frame comes early, the next is right again."""
    with VideoWriter(tmp_path / f"a{suffix}", 25, (32, 32), time_base=Fraction(1, 10**9)) as writer:
        for frame, seconds in zip(moving_frames(4, (32, 32)), (0, 1, 3000, 3001), strict=True):
            writer.write(frame, seconds)
    times = [float(t) for t in VideoReader(tmp_path / f"a{suffix}").times]
    assert times == pytest.approx([0, 1, 3000 if suffix == ".webm" else 1 + (2**31 - 2) / 1e6, 3001])


# --- the same file again -------------------------------------------------------------------------------

WRITE = """
import os, sys
if sys.argv[2] == "one":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from fomm_lib.media.encoding import VideoWriter
from tests.support.odd_files import moving_frames
with VideoWriter(sys.argv[1], 25, (160, 96), keyframe_every=12, repeatable=True) as writer:
    for frame in moving_frames(40, (160, 96)):
        writer.write(frame)
"""


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system does not bind a process to a core"
)
def test_a_repeatable_file_does_not_depend_on_the_number_of_cores(tmp_path):
    for name in ("one", "all"):
        subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / f"{name}.mp4"), name], check=True)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "all.mp4").read_bytes()


def test_a_repeatable_file_is_encoded_without_code_for_special_processors(tmp_path):
    """Such code rounds otherwise on other processors."""
    packets = []
    for repeatable in (True, False):
        writer = VideoWriter(tmp_path / f"{repeatable}.mp4", 25, (160, 96), repeatable=repeatable)
        if not repeatable:  # the same, asked for in the encoder's own words
            asked = {"x264-params": "asm=0:threads=1:lookahead-threads=1"}
            writer.format = replace(writer.format, options=writer.format.options | asked)
        with writer:
            for frame in moving_frames(24, (160, 96)):
                writer.write(frame)
        with av.open(str(writer.path)) as container:
            packets.append([bytes(packet) for packet in container.demux(video=0)])
    assert b" threads=1 " in packets[0][0]
    assert packets[0] == packets[1]
