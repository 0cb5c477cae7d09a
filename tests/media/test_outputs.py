"""Outputs: every kind of file by its name, its times, audio, texts; folders of frames."""

from __future__ import annotations

import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.outputs import TIMES, FrameFolder, open_output
from fomm_lib.media.video import VideoReader, read_image
from tests.support.odd_files import encode, moving_frames

pytestmark = pytest.mark.quick

NOTICE = {"title": "A test", "comment": "AI-generated, Ñ", "description": "AI-generated, Ñ"}
MILLISECONDS = [0, 40, 80, 200, 240, 600, 640, 900]
SIZE = (63, 47)


def write(path, end=Fraction(950, 1000), size=SIZE, **arguments):
    """Eight frames at odd times, the last of them shown for 50 ms."""
    with open_output(path, 25, size, time_base=Fraction(1, 1000), metadata=NOTICE, **arguments) as writer:
        for frame, milliseconds in zip(moving_frames(8, size), MILLISECONDS, strict=True):
            writer.write(frame, Fraction(milliseconds, 1000))
        writer.end = end
    return path


def texts(path):
    if path.suffix in {".gif", ".apng", ".png"}:
        with Image.open(path) as image:
            found = {**image.info, **getattr(image, "text", {})}
    else:
        with av.open(str(path)) as container:
            found = container.metadata
    return {key.lower(): text for key, text in found.items()}


KINDS = [".mp4", ".m4v", ".mov", ".webm", ".gif", ".apng", ".png"]


@pytest.mark.parametrize("suffix", KINDS)
def test_every_kind_has_the_frames_at_their_times(suffix, tmp_path):
    path = write(tmp_path / f"a{suffix}")
    video = VideoReader(path)
    timed = list(video.timed())
    assert [round(seconds * 1000) for _, seconds in timed] == MILLISECONDS
    assert video.end == Fraction(950, 1000)
    expected = moving_frames(8, SIZE)
    for (frame, _), original in zip(timed, expected, strict=True):
        error = np.abs(frame[: SIZE[1], : SIZE[0]].astype(int) - original)
        assert error.mean() < {".gif": 5, ".apng": 1e-9, ".png": 1e-9}.get(suffix, 2.5)
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", KINDS)
def test_every_kind_says_what_it_is(suffix, tmp_path):
    found = texts(write(tmp_path / f"a{suffix}"))
    if suffix == ".gif":
        assert found["comment"] == b"A test\nAI-generated, ?"  # a GIF speaks ASCII
    else:
        assert (found["title"], found["comment"]) == ("A test", "AI-generated, Ñ")


@pytest.mark.parametrize(
    ("suffix", "codec", "expected"),
    [
        (".webm", "libopus", "opus"),
        (".webm", "aac", "opus"),
        (".webm", "pcm_s16le", "opus"),
        (".mov", "pcm_s16le", "pcm_s16le"),
        (".mp4", "libopus", "opus"),
    ],
)
def test_audio_of_every_kind(suffix, codec, expected, tmp_path):
    source = encode(tmp_path / "in.mkv", moving_frames(25), audio=codec)
    with open_output(tmp_path / f"a{suffix}", 25, (64, 64), audio_from=source) as writer:
        for frame in moving_frames(25):
            writer.write(frame)
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == expected
        samples = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert samples == pytest.approx(1.0, abs=0.07)


@pytest.mark.parametrize("suffix", [".gif", ".apng"])
def test_animated_images_have_no_audio(suffix, tmp_path):
    source = encode(tmp_path / "in.mkv", moving_frames(25), audio="aac")
    assert not VideoReader(write(tmp_path / f"a{suffix}", audio_from=source)).has_audio


def test_animated_images_of_many_frames_a_second(tmp_path):
    """A GIF or APNG shows every second of a hundred frames a second; both last as long as they should."""
    for name, frames in (("a.gif", 50), ("a.apng", 50)):
        with open_output(tmp_path / name, 100, (16, 16)) as writer:
            for frame in moving_frames(100, (16, 16)):
                writer.write(frame)
            writer.end = Fraction(1)
        video = VideoReader(tmp_path / name)
        assert (writer.frames, len(list(video)), video.end) == (frames, frames, 1)


def test_animated_images_of_one_frame(tmp_path):
    for name in ("a.gif", "a.apng"):
        with open_output(tmp_path / name, 25, (16, 16), metadata=NOTICE) as writer:
            writer.write(np.full((16, 16, 3), 99, np.uint8))
            writer.end = Fraction(1, 25)
        assert np.array_equal(read_image(tmp_path / name), np.full((16, 16, 3), 99))


def test_colours_of_a_gif_are_good(tmp_path):
    """Each frame has a palette of its own: one for all would miss the colours of the last."""
    frames = [np.zeros((32, 32, 3), np.uint8) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame[..., number] = np.linspace(0, 255, 32)
    with open_output(tmp_path / "a.gif", 25, (32, 32)) as writer:
        for frame in frames:
            writer.write(frame)
    for frame, original in zip(VideoReader(tmp_path / "a.gif"), frames, strict=True):
        assert np.abs(frame.astype(int) - original).mean() < 2


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_an_unfinished_one(suffix, error, tmp_path):
    with pytest.raises(error), open_output(tmp_path / f"a{suffix}", 25, (64, 64)) as writer:
        for frame in moving_frames(20):
            writer.write(frame)
        raise error
    assert list(tmp_path.iterdir()) == []


def test_names_that_say_nothing(tmp_path):
    with pytest.raises(InputError, match=r"videos are written as .*\.webm, \.gif, \.apng"):
        open_output(tmp_path / "a.xyz", 25, SIZE)
    assert isinstance(open_output(tmp_path / "a.mp4", 25, SIZE), VideoWriter)
    assert isinstance(open_output(tmp_path / "a", 25, SIZE), FrameFolder)
    assert isinstance(open_output(f"{tmp_path}/v1.5/", 25, SIZE), FrameFolder)


# --- folders of frames ---------------------------------------------------------------------------------


def test_a_folder_of_frames(tmp_path):
    folder = write(tmp_path / "frames")
    names = [f"{number:06}.png" for number in range(8)]
    assert sorted(path.name for path in folder.iterdir()) == [*names, TIMES]
    for name, frame in zip(names, moving_frames(8, SIZE), strict=True):
        assert np.array_equal(read_image(folder / name), frame)
        assert texts(folder / name)["comment"] == "AI-generated, Ñ"
    lines = (folder / TIMES).read_text().splitlines()
    assert lines[:3] == ["frame,seconds", "000000.png,0.000000", "000001.png,0.040000"]
    assert list(tmp_path.iterdir()) == [folder]


def test_frames_without_times_come_one_after_the_other(tmp_path):
    with open_output(tmp_path / "frames", Fraction(25, 2), (16, 16)) as writer:
        for frame in moving_frames(3, (16, 16)):
            writer.write(frame)
    assert (tmp_path / "frames" / TIMES).read_text().splitlines()[-1] == "000002.png,0.160000"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_others_may_look_into_the_folder(tmp_path):
    (tmp_path / "plain").mkdir()
    assert write(tmp_path / "frames").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_unfinished_folder_does_not_appear(tmp_path):
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), FrameFolder(tmp_path / "frames", 25, (64, 64)) as writer:
            writer.write(moving_frames(1)[0])
            raise error
    with pytest.raises(InputError, match="no frame was written"), FrameFolder(tmp_path / "f", 25, (64, 64)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_only_frames_are_replaced(tmp_path):
    folder = write(tmp_path / "frames")
    with pytest.raises(InputError, match="exists already"):
        write(folder)
    with open_output(folder, 25, (16, 16), overwrite=True) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    assert sorted(path.name for path in folder.iterdir()) == ["000000.png", TIMES]
    assert list(tmp_path.iterdir()) == [folder]
    (folder / "thesis.doc").write_text("precious")
    with pytest.raises(InputError, match="holds more than an earlier result, and is left as it is"):
        write(folder, overwrite=True)
    assert (folder / "thesis.doc").read_text() == "precious"


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "frames").mkdir()
    assert len(list(write(tmp_path / "frames").iterdir())) == 9


def test_places_that_are_none(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="is a file; a name without an ending asks for a folder"):
        write(tmp_path / "file", overwrite=True)
    with pytest.raises(InputError, match="does not exist; make it first"):
        write(tmp_path / "none" / "frames")
    with (
        pytest.raises(InputError, match=r"announced was uint8 \(16, 16, 3\)"),
        FrameFolder(tmp_path / "f", 25, (16, 16)) as writer,
    ):
        writer.write(np.zeros((16, 8, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
