"""Writing videos: frames, times, sizes, metadata, whole or not at all."""

import shutil
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest

from fomm_lib.errors import InputError
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.video import VideoReader
from tests.support.odd_files import SIZE, difference, make, moving_frames

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
