"""Verdicts on odd files, and the measures they rest on."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fomm_lib.data import cleaning
from fomm_lib.data.cleaning import (
    check_file,
    check_file_guarded,
    frame_mse,
    largest_change,
    successive_mse,
)
from fomm_lib.errors import InputError, Reason, VideoError
from fomm_lib.media import sandbox
from fomm_lib.media.containers import encryption_marks
from fomm_lib.media.video import VideoReader
from tests.media.test_containers import encrypted_webm
from tests.support.odd_files import ODD_FILES, encode, ffmpeg, make, moving_frames

posix = pytest.mark.skipif(os.name == "nt", reason="shell scripts and signals are POSIX")


# --- MSE -----------------------------------------------------------------------------------------------


def test_mse_of_a_frame_and_itself_is_zero():
    frame = moving_frames(1)[0]
    assert frame_mse(frame, frame.copy()) == 0.0


def test_mse_closed_forms():
    black = np.zeros((6, 5, 3), np.uint8)
    assert frame_mse(black, black + 3) == 9.0
    assert frame_mse(black, black + 255) == frame_mse(black + 255, black) == 65025.0
    one = black.copy()
    one[2, 3, 1] = 30
    assert frame_mse(black, one) == 900 / 90


def test_mse_against_float64(monkeypatch):
    a, b = np.random.default_rng(0).integers(0, 256, (2, 37, 53, 3), dtype=np.uint8)
    expected = np.mean((a.astype(np.float64) - b) ** 2)
    assert frame_mse(a, b) == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr(cleaning, "_ROW_PIXELS", 500)  # three rows at a time
    assert frame_mse(a, b) == pytest.approx(expected, rel=1e-6)


def test_mse_of_different_shapes():
    with pytest.raises(ValueError, match=r"different shapes, \(2, 2, 3\) and \(2, 3, 3\)"):
        frame_mse(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8))


def test_successive_mse_comes_frame_by_frame():
    def frames():
        for value in (0, 3, 3, 1):
            seen.append(value)
            yield np.full((4, 4, 3), value, np.uint8)

    seen = []
    curve = successive_mse(frames())
    assert next(curve) == 9.0 and seen == [0, 3]
    assert list(curve) == [0.0, 4.0]
    assert list(successive_mse([])) == list(successive_mse(moving_frames(1))) == []


def test_successive_mse_where_the_size_changes():
    frames = [np.zeros((4, 4, 3), np.uint8)] * 2 + [np.ones((2, 2, 3), np.uint8)] * 2
    np.testing.assert_array_equal(list(successive_mse(frames)), [0, np.nan, 0])


def test_largest_change_closed_forms():
    black = np.zeros((40, 33, 3), np.uint8)
    assert largest_change([]) == largest_change([black]) == largest_change([black, black]) == 0
    assert largest_change([black, black + 7, black + 3]) == 7
    assert largest_change([black + 20, black + 23, black + 9]) == 11  # darker counts too
    corner = black.copy()
    corner[:4, :8, 2] = 160  # an eighth of one block, in one channel
    assert largest_change([black, corner]) == 20
    assert largest_change([black, (black + 9)[:20], (black + 11)[:20]]) == 2  # another size: begins anew


def test_noise_is_no_change_and_a_slow_motion_is():
    rng = np.random.default_rng(0)
    noisy = [np.clip(rng.normal(120, 3, (64, 64, 3)), 0, 255).astype(np.uint8) for _ in range(20)]
    assert min(successive_mse(noisy)) > 15 and largest_change(noisy) <= 2
    fading = [np.full((64, 64, 3), level, np.uint8) for level in range(50)]
    assert max(successive_mse(fading)) == 1 and largest_change(fading) == 49


# --- one file ------------------------------------------------------------------------------------------

# A JPEG cut in half decodes, and its lower half is grey: libav does not say so.
EXPECTED = {odd.name: odd.verdict for odd in ODD_FILES} | {"truncated.jpg": "single_frame"}


@pytest.mark.parametrize("name", EXPECTED)
def test_verdict(name, tmp_path):
    report = check_file(make(name, tmp_path), probe="pyav")
    assert report.verdict == EXPECTED[name], report
    assert report.reason and "\n" not in report.reason
    assert report.probe == "pyav"


@pytest.mark.needs_system
@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed (package ffmpeg)")
@pytest.mark.parametrize(
    "name",
    ["good.mp4", "no_index.mp4", "empty.mp4", "encrypted.mp4", "audio.mp4", "cut_short.mp4", "frozen.mp4"],
)
def test_verdict_with_ffprobe(name, tmp_path):
    report = check_file(make(name, tmp_path))
    assert report.verdict == EXPECTED[name], report
    assert report.probe == "ffprobe"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("good.mp4", "25 frames, and they move"),
        ("encrypted.mp4", "encv (the images, scheme cenc), enca (the audio, scheme cenc)"),
        ("cover_art.m4a", "only a cover image, no video"),
        ("audio.mp4", "audio only (aac)"),
        ("no_samples.mp4", "neither images nor audio"),
        ("one_frame.mp4", "one frame only"),
        ("colour.jpg", "a still image"),
        ("notes.txt", "a text, not a video"),
        ("noise.mp4", "cannot open it: Invalid data found when processing input"),
        ("size_changes.ts", "24 frames, and they move; the size changes: 64x64, 32x32"),
    ],
)
def test_reason(name, reason, tmp_path):
    assert check_file(make(name, tmp_path), probe="pyav").reason == reason


def test_the_columns_of_a_report(tmp_path):
    path = make("good.mp4", tmp_path)
    report = check_file(path, probe="pyav")
    with av.open(str(path)) as container:
        frames = np.array(
            [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], np.float64
        )
    mse = ((frames[1:] - frames[:-1]) ** 2).mean(axis=(1, 2, 3))

    assert report.file == str(path) and report.bytes == path.stat().st_size
    assert (report.codec, report.size, report.audio) == ("h264", "64x64", "aac")
    assert (report.fps, report.frames, report.duration) == (25.0, 25, 1.0)
    assert [report.mse_min, report.mse_mean, report.mse_max] == pytest.approx(
        [mse.min(), mse.mean(), mse.max()], rel=1e-4
    )
    assert report.change == largest_change(frames.astype(np.uint8)) > 50
    assert report.moved_to == "" and 0 < report.seconds < 10


def test_codecs_have_their_own_names_not_those_of_decoders(tmp_path):
    # In a process of its own: run as root, this encoder gives the thread that calls it real-time priority.
    path = sandbox.guarded_call(partial(encode, codec="libsvtav1"), tmp_path / "a.mp4", moving_frames(3))
    sandbox.close_idle()
    assert check_file(path, probe="pyav").codec == "av1"


def test_duration_does_not_count_a_late_start(tmp_path):
    assert check_file(make("late_start.mkv", tmp_path), probe="pyav").duration == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("fps", [Fraction(1, 2), 30, 1000])
def test_frame_rate_and_duration(fps, tmp_path):
    report = check_file(encode(tmp_path / "a.mp4", moving_frames(5), fps=fps), probe="pyav")
    assert report.fps == pytest.approx(float(fps)) and report.duration == pytest.approx(5 / fps, abs=1e-3)


def test_an_encrypted_webm(tmp_path):
    report = check_file(encrypted_webm(tmp_path), probe="pyav")
    assert (report.verdict, report.reason) == ("encrypted", "ContentEncryption (the images)")
    assert (report.codec, report.size, report.frames) == ("vp9", "64x64", None)


def test_frozen_means_equal_frames(tmp_path):
    path = encode(tmp_path / "a.mkv", moving_frames(5, still=True), codec="ffv1", pix_fmt="bgr0")
    report = check_file(path, probe="pyav", still_change=0)
    assert (report.verdict, report.mse_max, report.change) == ("frozen", 0, 0)
    assert report.reason == "nothing moves: the largest change is 0 of 255 grey levels"


def test_frozen_is_also_what_only_the_encoder_changed(tmp_path):
    """Grain, and a key frame every ten: the MSE jumps, and yet nothing moves."""
    grain = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
    path = encode(tmp_path / "a.mp4", np.repeat(grain, 30, 0), options={"g": "10", "preset": "ultrafast"})
    report = check_file(path, probe="pyav")
    assert report.verdict == "frozen" and report.mse_max > 4 and 0 < report.change <= cleaning.STILL_CHANGE
    assert check_file(path, probe="pyav", still_change=0).verdict == "fit"


def test_what_moves_slowly_is_not_frozen(tmp_path):
    frames = moving_frames(20, still=True) // 2 + np.arange(20, dtype=np.uint8)[:, None, None, None]
    report = check_file(encode(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt="bgr0"), probe="pyav")
    assert (report.verdict, report.mse_max, report.change) == ("fit", 1.0, 19)


def test_one_frame_that_differs_is_enough_to_be_fit(tmp_path):
    frames = moving_frames(20, still=True)
    frames[12:, 20:24, 20:24] = 255
    path = encode(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt="bgr0")
    report = check_file(path, probe="pyav")
    assert (report.verdict, report.reason) == ("fit", "20 frames, and they move; 18 repeat the one before")


def test_a_codec_nobody_knows(tmp_path):
    data = make("good.mp4", tmp_path).read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"free")
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    assert check_file(path, probe="pyav").verdict == "unreadable"


def test_packets_that_are_encrypted(tmp_path):
    """Without a mark that the parser of containers finds: each packet says it."""
    path = tmp_path / "a.mp4"
    whole = make("encrypted.mp4", tmp_path).read_bytes()
    assert whole[4:8] == b"ftyp"
    path.write_bytes(whole[:4] + b"none" + whole[8:])
    assert encryption_marks(path) == []
    for check in (check_file, check_file_guarded):
        report = check(path, probe="pyav")
        assert report.verdict == "encrypted"
        assert report.reason == "this video is encrypted (DRM); give one that is not"
    with pytest.raises(VideoError) as caught:
        list(VideoReader(path))
    assert caught.value.reason == Reason.ENCRYPTED


PROBES = ["pyav"] if shutil.which("ffprobe") is None else ["pyav", "ffprobe"]


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile '{}'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/{}\n",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\nlist.m3u8\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    ],
)
@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.sdp"])
def test_a_playlist_is_no_video_and_opens_nothing(probe, text, name, tmp_path, monkeypatch):
    encode(tmp_path / "good.mp4")
    (tmp_path / name).write_text(text.format("good.mp4"))
    monkeypatch.chdir(tmp_path)
    report = check_file(name, probe=probe)
    assert (report.verdict, report.frames, report.codec) == ("unreadable", None, ""), report
    assert report.reason and "\n" not in report.reason


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("name", ["a%03d.png", "a%d.jpg", "a*.bmp", "a.tga", "a%02d.tif"])
def test_one_image_with_any_name_is_one_image(probe, name, tmp_path):
    for number in range(3):
        Image.fromarray(moving_frames(1)[0]).save(tmp_path / f"a{number:03}{Path(name).suffix}")
    Image.fromarray(moving_frames(1)[0]).save(tmp_path / name)
    report = check_file(tmp_path / name, probe=probe)
    assert (report.verdict, report.reason, report.frames) == ("single_frame", "a still image", 1)


def test_the_best_video_is_checked(tmp_path):
    encode(tmp_path / "still.mp4", moving_frames(25, (16, 16), still=True))
    encode(tmp_path / "moving.mp4", moving_frames(25, (96, 96)))
    inputs = ["-i", tmp_path / "still.mp4", "-i", tmp_path / "moving.mp4"]
    ffmpeg(*inputs, "-map", "0", "-map", "1", "-c", "copy", tmp_path / "a.mkv")
    report = check_file(tmp_path / "a.mkv", probe="pyav")
    assert (report.verdict, report.size) == ("fit", "96x96")


def test_a_file_that_is_not_there(tmp_path):
    report = check_file(tmp_path / "none.mp4", probe="pyav")
    assert (report.verdict, report.reason, report.bytes) == ("unreadable", "No such file or directory", None)


def test_a_probe_that_does_not_exist(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="probe 'mediainfo': choose auto, ffprobe or pyav"):
        check_file(tmp_path, probe="mediainfo")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="ffprobe is not installed; install ffmpeg"):
        check_file(tmp_path, probe="ffprobe")


def test_without_ffprobe_pyav_answers_and_the_report_says_so(tmp_path, monkeypatch):
    path = make("good.mp4", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = check_file(path)
    assert (report.verdict, report.probe) == ("fit", "pyav")


def stub_ffprobe(folder: Path, script: str, monkeypatch) -> None:
    folder.mkdir()
    (folder / "ffprobe").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "ffprobe").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@posix
def test_a_non_zero_exit_of_ffprobe_means_unreadable(tmp_path, monkeypatch):
    path = make("good.mp4", tmp_path)
    stub_ffprobe(
        tmp_path / "bin", 'for a; do last="$a"; done; echo "$last: no good" >&2; exit 3', monkeypatch
    )
    report = check_file(path)
    assert (report.verdict, report.reason) == ("unreadable", "ffprobe ends with exit code 3: no good")
    assert report.probe == "ffprobe" and report.frames is None


@posix
def test_a_zero_exit_of_ffprobe_proves_nothing(tmp_path, monkeypatch):
    stub_ffprobe(tmp_path / "bin", "exit 0", monkeypatch)
    for name in ("no_index.mp4", "encrypted.mp4", "audio.mp4", "flipped_bits.mp4"):
        assert check_file(make(name, tmp_path)).verdict == EXPECTED[name]


@posix
def test_an_ffprobe_that_hangs(tmp_path, monkeypatch):
    path = make("good.mp4", tmp_path)
    stub_ffprobe(tmp_path / "bin", "exec sleep 60", monkeypatch)
    report = check_file_guarded(path, seconds=0.5)
    assert (report.verdict, report.reason) == ("unreadable", "stopped: not done after 0.5 s")
    monkeypatch.setattr(cleaning, "_FFPROBE_SECONDS", 0.2)
    assert check_file(path).reason == "ffprobe was not done after 0.2 s"


# --- one file, guarded ---------------------------------------------------------------------------------


def test_a_guarded_check_says_the_same(tmp_path):
    path = make("good.mp4", tmp_path)
    here, there = check_file(path, probe="pyav"), check_file_guarded(path, probe="pyav")
    here.seconds = there.seconds = None
    assert here == there


def test_a_file_that_takes_too_long(tmp_path):
    path = tmp_path / "long.mp4"
    ffmpeg("-stream_loop", "400", "-i", make("good.mp4", tmp_path), "-c", "copy", path)
    report = check_file_guarded(path, probe="pyav", seconds=0.05)
    assert (report.verdict, report.reason) == ("unreadable", "stopped: not done after 0.05 s")
    assert report.bytes == path.stat().st_size and report.probe == "pyav" and 0.05 <= report.seconds < 5


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="a memory limit needs Linux")
def test_a_file_that_takes_too_much_memory(tmp_path):
    path = encode(tmp_path / "large.mp4", moving_frames(2, (2560, 1440)), options={"preset": "ultrafast"})
    assert check_file_guarded(path, probe="pyav").verdict == "fit"
    sandbox.close_idle()  # that process holds the memory it needed before
    small = make("good.mp4", tmp_path)
    assert check_file_guarded(small, probe="pyav").verdict == "fit"  # a new one, its libraries loaded
    report = check_file_guarded(path, probe="pyav", memory=16 << 20)
    assert (report.verdict, report.reason) == ("unreadable", "stopped: needs more than 16 MiB of memory")


def test_a_fault_of_our_own_is_no_verdict(tmp_path, monkeypatch):
    """Else one bug would send a whole data set into quarantine."""
    monkeypatch.setattr(cleaning, "missing_end", lambda path: path.no_such_attribute)
    with pytest.raises(AttributeError):
        check_file(make("good.mp4", tmp_path), probe="pyav")
