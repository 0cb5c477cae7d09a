"""Folders of frames: their order, their times, and that what `animate` writes can be read again."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from fomm_lib.errors import InputError, VideoError
from fomm_lib.media.folders import TIMES, frame_durations_in, image_names
from fomm_lib.media.outputs import FrameFolder, open_output
from fomm_lib.media.video import VideoReader, read_frames
from tests.support.odd_files import moving_frames

pytestmark = pytest.mark.quick


def written(folder, frames, times):
    with FrameFolder(folder, 25, frames[0].shape[1::-1]) as writer:
        for frame, seconds in zip(frames, times, strict=True):
            writer.write(frame, seconds)
    return folder


def test_a_folder_that_was_written_is_the_same_video(tmp_path):
    frames, times = moving_frames(6, (48, 32)), [Fraction(n, 100) for n in (0, 4, 8, 20, 24, 60)]
    video = VideoReader(written(tmp_path / "frames", frames, times))
    assert (video.size, video.frames, video.fps, video.codec) == ((48, 32), 6, Fraction(100, 12), "png")
    assert not video.has_audio and video.rotation == 0 and video.duration == pytest.approx(0.72)
    for _ in range(2):  # every loop starts again
        got = list(video.timed())
        assert np.array_equal(np.stack([frame for frame, _ in got]), frames)
        assert [seconds for _, seconds in got] == video.times == times
        assert video.end == Fraction(72, 100)
    assert np.array_equal(video.first_frame(), frames[0])
    assert np.array_equal(read_frames(tmp_path / "frames", [4, 0, 4]), frames[[4, 0, 4]])
    with open_output(tmp_path / "out.mp4", video.fps, video.size, time_base=video.time_base) as writer:
        for frame, seconds in video.timed():
            writer.write(frame, seconds)
        writer.end = video.end
    copy = VideoReader(tmp_path / "out.mp4")
    assert copy.times == times
    list(copy)
    assert copy.end == video.end


def test_images_of_any_origin_in_natural_order(tmp_path):
    frames = moving_frames(11, (32, 32))
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"shot {number}.png")
    Image.fromarray(frames[0]).resize((64, 16)).save(tmp_path / "shot 11.JPG")
    for name in ("notes.txt", ".hidden.png", "a.gif"):
        (tmp_path / name).write_bytes(b"x")
    assert image_names(tmp_path) == [*(f"shot {number}.png" for number in range(11)), "shot 11.JPG"]
    video = VideoReader(tmp_path)
    got = list(video)
    assert np.array_equal(np.stack(got[:11]), frames) and got[11].shape == (32, 32, 3)
    assert (video.fps, video.times[-1], video.end) == (25, Fraction(11, 25), Fraction(12, 25))
    for name in ("\N{SUPERSCRIPT TWO}.png", "\N{ARABIC-INDIC DIGIT THREE}.png"):
        (tmp_path / name).touch()
    assert len(image_names(tmp_path)) == 14  # digits that are not 0 to 9 are letters


def test_one_image_is_a_video_of_one_frame(tmp_path):
    video = VideoReader(written(tmp_path / "one", moving_frames(1), [0]))
    assert (len(list(video)), video.times, video.end) == (1, [0], Fraction(1, 25))


@pytest.mark.parametrize(
    "rows",
    [
        "",
        "frame,seconds\n",
        "frame,seconds\n000000.png,0\n",
        "frame,seconds\n000000.png,0\n000001.png,0\n",
        "frame,seconds\n000000.png,1\n000001.png,0\n",
        "frame,seconds\n000000.png,0\n000001.png,nan\n",
        "frame,seconds\n000000.png,0\n000001.png,1e999999999\n",
        "frame,seconds\n000000.png,-1\n000001.png,1\n",
        "frame,seconds\n000000.png,0\n000001.png,1/0\n",
        "frame,seconds\n000000.png,0\n000001.png\n",
        "frame,seconds\n000000.png,0\n000001.png,1\n000002.png,2\n",
        "number,time\n0,0\n1,1\n",
        "\0\0\0",
        "frame,seconds\n000000.png," + "9" * 200_000 + "\n",
    ],
)
def test_times_that_do_not_fit(rows, tmp_path):
    written(tmp_path / "frames", moving_frames(2), [0, 1])
    (tmp_path / "frames" / TIMES).write_text(rows)
    with pytest.raises(InputError, match=f"{TIMES}: should give each image of its folder a time") as caught:
        frame_durations_in(tmp_path / "frames", ["000000.png", "000001.png"])
    assert len(str(caught.value)) < 300
    with pytest.raises(InputError, match="should give each image"):
        VideoReader(tmp_path / "frames")


def test_folders_that_are_no_video(tmp_path):
    with pytest.raises(
        VideoError, match=r"is a folder without images \(.png, .jpg\); give a video"
    ) as caught:
        VideoReader(tmp_path)
    assert caught.value.reason == "missing"
    written(tmp_path / "frames", moving_frames(3), [0, 1, 2])
    with pytest.raises(InputError, match="frame 3 was asked for, but it has frames 0 to 2"):
        read_frames(tmp_path / "frames", [3])
    (tmp_path / "frames" / "000001.png").write_bytes(b"x" * 99)
    with pytest.raises(InputError, match=r"000001\.png"):
        list(VideoReader(tmp_path / "frames"))
