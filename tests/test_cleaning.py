"""Verdicts on odd files, reports that survive being killed, quarantines that lose nothing."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import joblib
import numpy as np
import pytest
from joblib.parallel import ThreadingBackend
from odd_files import ODD_FILES, encode, ffmpeg, make, moving_frames
from test_containers import encrypted_webm

from fomm_lib import cleaning, guard
from fomm_lib.cleaning import (
    VERDICTS,
    FileReport,
    check_file,
    check_file_guarded,
    clean,
    frame_mse,
    largest_change,
    read_report,
    successive_mse,
    summary,
)
from fomm_lib.files import InputError

posix = pytest.mark.skipif(os.name == "nt", reason="shell scripts and signals are POSIX")


@pytest.fixture(autouse=True)
def _no_process_left():
    yield
    guard.close_idle()


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
    ["good.mp4", "no_index.mp4", "empty.mp4", "encrypted.mp4", "sound.mp4", "cut_short.mp4", "frozen.mp4"],
)
def test_verdict_with_ffprobe(name, tmp_path):
    report = check_file(make(name, tmp_path))
    assert report.verdict == EXPECTED[name], report
    assert report.probe == "ffprobe"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("good.mp4", "25 frames, and they move"),
        ("encrypted.mp4", "encv (the pictures, scheme cenc), enca (the sound, scheme cenc)"),
        ("cover_art.m4a", "only a cover picture, no video"),
        ("sound.mp4", "sound only (aac)"),
        ("no_samples.mp4", "neither pictures nor sound"),
        ("one_frame.mp4", "one frame only"),
        ("colour.jpg", "a still picture"),
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
    assert (report.codec, report.size, report.sound) == ("h264", "64x64", "aac")
    assert (report.fps, report.frames, report.duration) == (25.0, 25, 1.0)
    assert [report.mse_min, report.mse_mean, report.mse_max] == pytest.approx(
        [mse.min(), mse.mean(), mse.max()], rel=1e-4
    )
    assert report.change == largest_change(frames.astype(np.uint8)) > 50
    assert report.moved_to == "" and 0 < report.seconds < 10


def test_codecs_have_their_own_names_not_those_of_decoders(tmp_path):
    # In a process of its own: run as root, this encoder gives the thread that calls it real-time priority.
    path = guard.guarded_call(partial(encode, codec="libsvtav1"), tmp_path / "a.mp4", moving_frames(3))
    guard.close_idle()
    assert check_file(path, probe="pyav").codec == "av1"


def test_duration_does_not_count_a_late_start(tmp_path):
    assert check_file(make("late_start.mkv", tmp_path), probe="pyav").duration == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("fps", [Fraction(1, 2), 30, 1000])
def test_frame_rate_and_duration(fps, tmp_path):
    report = check_file(encode(tmp_path / "a.mp4", moving_frames(5), fps=fps), probe="pyav")
    assert report.fps == pytest.approx(float(fps)) and report.duration == pytest.approx(5 / fps, abs=1e-3)


def test_an_encrypted_webm(tmp_path):
    report = check_file(encrypted_webm(tmp_path), probe="pyav")
    assert (report.verdict, report.reason) == ("encrypted", "ContentEncryption (the pictures)")
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


def test_a_playlist_is_no_video_and_opens_nothing(tmp_path):
    path = make("good.mp4", tmp_path)
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/{path.name}\n")
    assert check_file(playlist, probe="pyav").verdict == "unreadable"


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
    for name in ("no_index.mp4", "encrypted.mp4", "sound.mp4", "flipped_bits.mp4"):
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
    guard.close_idle()  # that process holds the memory it needed before
    small = make("good.mp4", tmp_path)
    assert check_file_guarded(small, probe="pyav").verdict == "fit"  # a new one, its libraries loaded
    report = check_file_guarded(path, probe="pyav", memory=16 << 20)
    assert (report.verdict, report.reason) == ("unreadable", "stopped: needs more than 16 MiB of memory")


def test_a_fault_of_our_own_is_no_verdict(tmp_path, monkeypatch):
    """Else one bug would send a whole data set into quarantine."""
    monkeypatch.setattr(cleaning, "missing_end", lambda path: path.no_such_attribute)
    with pytest.raises(AttributeError):
        check_file(make("good.mp4", tmp_path), probe="pyav")


# --- a folder ------------------------------------------------------------------------------------------

MIXED = [
    "good.mp4",
    "vp9.webm",
    "frozen.mp4",
    "noise.mp4",
    "sound.mp4",
    "cut_short.mp4",
    "colour.jpg",
    "notes.txt",
]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """A folder of eight files, one of them deeper; do not change it, copy it."""
    folder = tmp_path_factory.mktemp("mixed")
    made = tmp_path_factory.mktemp("made")
    for name in MIXED:
        place = folder / "deep" / "er" if name == "frozen.mp4" else folder
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(make(name, made), place / name)
    return folder


@pytest.fixture
def folder(mixed, tmp_path) -> Path:
    return Path(shutil.copytree(mixed, tmp_path / "videos"))


def run(folder, report, quarantine=None, **arguments) -> list[FileReport]:
    return clean(folder, report, quarantine, probe="pyav", progress=False, **arguments)


def timeless(rows) -> list[tuple]:
    """Rows that can be compared: all but the time they took, and where the quarantine lies."""
    return sorted(
        (*[getattr(row, name) for name in cleaning._COLUMNS[:-2]], Path(row.moved_to).name) for row in rows
    )


def contents(*folders: Path) -> list[bytes]:
    return sorted(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def test_every_file_has_one_row(folder, tmp_path):
    rows = run(folder, tmp_path / "report.csv")
    found = {row.file: row.verdict for row in rows}
    assert found == {("deep/er/" if name == "frozen.mp4" else "") + name: EXPECTED[name] for name in MIXED}
    assert timeless(rows) == timeless(read_report(tmp_path / "report.csv"))
    assert [row.file for row in rows] == sorted(found)
    with open(tmp_path / "report.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(MIXED) and set(table[0]) == set(cleaning._COLUMNS)


def test_several_jobs_say_the_same(folder, tmp_path):
    one, two = run(folder, tmp_path / "1.csv", jobs=1), run(folder, tmp_path / "2.csv", jobs=2)
    assert timeless(one) == timeless(two)


class LikeRay(ThreadingBackend):
    """A backend that gives its results when all are there; Ray's is one."""

    supports_return_generator = False


joblib.register_parallel_backend("like_ray", LikeRay)


@pytest.mark.parametrize("backend", ["loky", "threading", "like_ray"])
def test_joblib_backends(folder, tmp_path, backend):
    with joblib.parallel_config(backend=backend, n_jobs=2):
        rows = run(folder, tmp_path / "report.csv")
    assert timeless(rows) == timeless(run(folder, tmp_path / "1.csv"))


def test_a_dask_cluster(folder, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        monkeypatch.setattr(guard, "_Process", None)  # nothing may be checked on this side
        rows = run(folder, tmp_path / "report.csv")
    monkeypatch.undo()
    assert timeless(rows) == timeless(run(folder, tmp_path / "1.csv"))


def test_what_is_left_out(folder, tmp_path):
    (folder / ".hidden.mp4").write_bytes(b"")
    (folder / ".git").mkdir()
    (folder / ".git" / "a.mp4").write_bytes(b"")
    (folder / "quarantine").mkdir()
    (folder / "quarantine" / "a.mp4").write_bytes(b"")
    rows = run(folder, folder / "report.csv", folder / "quarantine")
    assert len(rows) == len(run(folder, folder / "report.csv", folder / "quarantine")) == len(MIXED)


@posix
def test_pipes_are_left_out_and_dead_links_have_a_verdict(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "nothing")
    rows = run(tmp_path, tmp_path / "report.csv", tmp_path / "quarantine")
    assert [(row.file, row.verdict) for row in rows] == [("dead.mp4", "unreadable")]
    assert len(run(tmp_path, tmp_path / "report.csv", tmp_path / "quarantine")) == 1


@posix
def test_names_of_all_kinds(tmp_path):
    good = encode(tmp_path / "good.mp4", moving_frames(2))
    names = [
        'quo"te,.mp4',
        "new\nline.mp4",
        "%d.mp4",
        "-rf.mp4",
        "file:x.mp4",
        "ü ñ 日本.mp4",
        os.fsdecode(b"\xff\xfe.mp4"),
    ]
    place = tmp_path / "videos"
    place.mkdir()
    for name in names:
        shutil.copy(good, place / name)
    rows = run(place, tmp_path / "report.csv")
    assert {row.file: row.verdict for row in rows} == dict.fromkeys(names, "fit")
    assert timeless(read_report(tmp_path / "report.csv")) == timeless(rows)
    before = (tmp_path / "report.csv").read_bytes()
    run(place, tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_bytes() == before


def test_an_empty_folder(tmp_path):
    (tmp_path / "none").mkdir()
    assert run(tmp_path / "none", tmp_path / "report.csv") == []
    assert read_report(tmp_path / "report.csv") == []


def test_progress(folder, tmp_path, capsys):
    clean(folder, tmp_path / "a.csv", probe="pyav")
    assert "8/8" in capsys.readouterr().err
    clean(folder, tmp_path / "b.csv", probe="pyav", progress=False)
    assert capsys.readouterr().err == ""


def test_summary():
    verdicts = [*VERDICTS, "fit", "frozen"]
    rows = [FileReport(f"{number}.mp4", verdict) for number, verdict in enumerate(verdicts)]
    expected = "9 files: 2 fit, 1 unreadable, 1 encrypted, 1 no_video, 1 single_frame, 2 frozen, 1 corrupt"
    assert summary(rows) == expected
    assert summary([]) == "0 files"


def test_summary_counts_notes_and_tables_apart():
    rows = [
        FileReport("a.mp4", "fit"),
        FileReport("cut.mp4", "unreadable"),
        FileReport("b.png", "unreadable"),
    ]
    strangers = [FileReport(name, "unreadable") for name in ("labels.csv", "notes", "todo.txt")]
    assert summary(rows + strangers[:1]) == "4 files: 1 fit, 2 unreadable, 1 not a video (labels.csv)"
    assert summary(strangers) == "3 files: 3 not a video (labels.csv, notes, ...)"
    read = [FileReport("clip", "fit"), FileReport("film.bin", "frozen")]  # whatever they are called
    assert summary(read) == "2 files: 1 fit, 1 frozen"


def test_bad_arguments(folder, tmp_path):
    report = tmp_path / "report.csv"
    file = folder / "good.mp4"
    for arguments, message in [
        ((tmp_path / "none", report), "none: no such folder; give the folder that holds the videos"),
        ((file, report), "good.mp4: no such folder"),
        ((folder, folder), "videos: is a folder; give the name of a CSV file for the report"),
        ((folder, tmp_path / "no" / "report.csv"), "the folder .*no does not exist; make it first"),
        ((folder, report, file), "good.mp4: is a file; give a folder for the quarantine"),
        ((folder, report, folder), "the quarantine cannot be the folder that is cleaned"),
        ((folder, report, tmp_path), "the quarantine cannot be the folder that is cleaned, nor above it"),
        ((folder, report, None, 0), "0 jobs check nothing"),
    ]:
        with pytest.raises(InputError, match=message):
            clean(*arguments)
    for limits in ({"seconds": 0}, {"memory": -1}):
        with pytest.raises(InputError, match="limits of time and memory must be above 0"):
            clean(folder, report, **limits)
    with pytest.raises(InputError, match="choose auto, ffprobe or pyav"):
        clean(folder, report, probe="x")
    assert not report.exists()


def test_a_file_that_is_no_report_stays_as_it_is(folder, tmp_path):
    notes = tmp_path / "notes.csv"
    notes.write_text("file,label\na.mp4,cat\n")
    with pytest.raises(
        InputError, match=r"notes.csv: exists, and is no report of `fomm clean`; choose another name"
    ):
        run(folder, notes)
    assert notes.read_text() == "file,label\na.mp4,cat\n"
    with pytest.raises(InputError, match="cannot read this report"):
        read_report(tmp_path / "none.csv")


def test_a_row_that_was_edited(folder, tmp_path):
    report = tmp_path / "report.csv"
    run(folder, report)
    report.write_text(report.read_text().replace(",25,1.0,", ",many,1.0,", 1))
    with pytest.raises(InputError, match="a row was changed and cannot be read: "):
        run(folder, report)


# --- again, and after being killed ---------------------------------------------------------------------


def test_a_second_run_checks_nothing(folder, tmp_path, monkeypatch):
    rows = run(folder, tmp_path / "report.csv")
    before = (tmp_path / "report.csv").read_bytes()
    monkeypatch.setattr(guard, "_Process", None)
    assert timeless(run(folder, tmp_path / "report.csv")) == timeless(rows)
    assert (tmp_path / "report.csv").read_bytes() == before


def test_new_and_changed_files_are_checked_vanished_ones_stay(folder, tmp_path):
    report = tmp_path / "report.csv"
    run(folder, report)
    shutil.copy(folder / "vp9.webm", folder / "new.webm")
    shutil.copy(folder / "good.mp4", folder / "noise.mp4")
    (folder / "notes.txt").unlink()
    verdicts = {row.file: row.verdict for row in run(folder, report)}
    assert verdicts["new.webm"] == verdicts["noise.mp4"] == "fit"
    assert "notes.txt" not in verdicts and len(verdicts) == len(MIXED)
    kept = {row.file: row.verdict for row in read_report(report)}
    assert kept == verdicts | {"notes.txt": "unreadable"}


def test_a_report_that_ends_anywhere(folder, tmp_path):
    """Killed after any byte: whole rows are read, and the run that follows ends with all of them."""
    report = tmp_path / "report.csv"
    rows = run(folder, report)
    data = report.read_bytes()
    ends = [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    for cut in range(len(data) + 1):
        report.write_bytes(data[:cut])
        assert len(read_report(report)) == max(0, sum(end <= cut for end in ends) - 1), cut
    for cut in (0, 20, ends[0], ends[2] - 1, ends[2], ends[2] + 1, len(data) - 1):
        for tail in (b"", b"\0" * 40):
            report.write_bytes(data[:cut] + tail)
            assert timeless(run(folder, report)) == timeless(rows)
            assert timeless(read_report(report)) == timeless(rows)


SCRIPT = """
import sys
from fomm_lib.cleaning import clean
folder, report, quarantine, jobs = sys.argv[1:]
clean(folder, report, quarantine or None, int(jobs), probe="pyav", progress=False)
"""


def start(folder, report, quarantine="", jobs=2, script=SCRIPT) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, (folder, report, quarantine, jobs))])


@posix
def test_killed_many_times_the_report_is_that_of_an_undisturbed_run(tmp_path, mixed):
    folder = tmp_path / "videos"
    for copy in range(4):
        shutil.copytree(mixed, folder / str(copy))
    undisturbed = run(folder, tmp_path / "undisturbed.csv")
    report = tmp_path / "report.csv"

    kills = 0
    while True:
        rows = len(read_report(report)) if report.exists() else 0
        process = start(folder, report)
        # Kill it as soon as it has written a few more rows.
        while process.poll() is None and not (report.exists() and len(read_report(report)) >= rows + 6):
            time.sleep(0.002)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        assert len(read_report(report)) >= rows + 6
    assert process.returncode == 0
    assert 1 <= kills <= 5  # how often depends on how soon this process gets to look
    assert timeless(read_report(report)) == timeless(undisturbed)
    assert len(undisturbed) == 4 * len(MIXED)


# --- the quarantine ------------------------------------------------------------------------------------

UNFIT = ["cut_short.mp4", "deep/er/frozen.mp4", "noise.mp4", "sound.mp4"]


def test_nothing_moves_unless_asked(folder, tmp_path):
    before = contents(folder)
    rows = run(folder, tmp_path / "report.csv")
    assert contents(folder) == before and not any(row.moved_to for row in rows)


def test_the_quarantine(folder, tmp_path):
    before, quarantine = contents(folder), tmp_path / "unfit"
    rows = run(folder, tmp_path / "report.csv", quarantine)
    moved = {row.file: row.moved_to for row in rows if row.moved_to}
    assert moved == {name: str(quarantine / name) for name in UNFIT}
    assert all(Path(target).is_file() and not (folder / name).exists() for name, target in moved.items())
    assert contents(folder, quarantine) == before
    assert {row.file: row.moved_to for row in read_report(tmp_path / "report.csv") if row.moved_to} == moved
    # Pictures and texts stay, whatever they are.
    assert (folder / "colour.jpg").exists() and (folder / "notes.txt").exists()
    assert timeless(run(folder, tmp_path / "report.csv", quarantine)) == timeless(rows)


def test_a_quarantine_asked_for_later(folder, tmp_path, monkeypatch):
    run(folder, tmp_path / "report.csv")
    monkeypatch.setattr(guard, "_Process", None)  # nothing is checked again
    rows = run(folder, tmp_path / "report.csv", tmp_path / "unfit")
    assert [row.file for row in rows if row.moved_to] == UNFIT


def test_nothing_in_the_quarantine_is_overwritten(folder, tmp_path):
    quarantine = tmp_path / "unfit"
    quarantine.mkdir()
    (quarantine / "noise.mp4").write_bytes(b"was here")
    (quarantine / "noise-2.mp4").write_bytes(b"was here too")
    before = contents(folder, quarantine)
    rows = run(folder, tmp_path / "report.csv", quarantine)
    assert next(row.moved_to for row in rows if row.file == "noise.mp4") == str(quarantine / "noise-3.mp4")
    assert contents(folder, quarantine) == before


def test_a_new_file_under_a_name_that_was_moved(folder, tmp_path):
    report, quarantine = tmp_path / "report.csv", tmp_path / "unfit"
    run(folder, report, quarantine)
    shutil.copy(folder / "good.mp4", folder / "noise.mp4")
    rows = [row for row in run(folder, report, quarantine) if row.file == "noise.mp4"]
    assert sorted((row.verdict, row.moved_to) for row in rows) == [
        ("fit", ""),
        ("unreadable", str(quarantine / "noise.mp4")),
    ]
    (folder / "noise.mp4").write_bytes(b"broken once more")
    run(folder, report, quarantine)
    assert (quarantine / "noise-2.mp4").read_bytes() == b"broken once more"
    assert len([row for row in read_report(report) if row.file == "noise.mp4"]) == 2


def test_a_quarantine_on_another_file_system(folder, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(18, "Invalid cross-device link")

    before = contents(folder)
    monkeypatch.setattr(cleaning.os, "link", no_links)
    rows = run(folder, tmp_path / "report.csv", tmp_path / "unfit")
    assert [row.file for row in rows if row.moved_to] == UNFIT
    assert contents(folder, tmp_path / "unfit") == before


@posix
def test_links_are_moved_as_links(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.mp4").write_bytes(b"broken")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").symlink_to("../store/a.mp4")
    run(tmp_path / "videos", tmp_path / "report.csv", tmp_path / "deep" / "unfit")
    moved = tmp_path / "deep" / "unfit" / "a.mp4"
    assert moved.is_symlink() and moved.read_bytes() == b"broken"
    assert (tmp_path / "store" / "a.mp4").exists() and not (tmp_path / "videos" / "a.mp4").is_symlink()


KILLED_WHILE_MOVING = textwrap.dedent(
    """
    import os, shutil, signal
    from pathlib import Path
    calls = 0
    def dying(function, before):
        def call(*arguments, **keywords):
            global calls
            calls += 1
            die = calls == DIES_AT
            if die and before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **keywords)
            if die:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return call
    def no_link(*_):
        raise OSError("another file system")
    if COPIES:
        os.link = no_link
        shutil.copy2 = dying(shutil.copy2, BEFORE)
    else:
        os.link = dying(os.link, BEFORE)
    """
)


@posix
@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("dies_at", [1, 3])
def test_killed_while_moving_nothing_is_lost(folder, tmp_path, copies, before, dies_at):
    everything, report, quarantine = contents(folder), tmp_path / "report.csv", tmp_path / "unfit"
    undisturbed = run(
        Path(shutil.copytree(folder, tmp_path / "other")), tmp_path / "o.csv", tmp_path / "unfit-o"
    )
    settings = f"DIES_AT, COPIES, BEFORE = {dies_at}, {copies}, {before}"
    assert (
        start(folder, report, quarantine, 1, settings + KILLED_WHILE_MOVING + SCRIPT).wait()
        == -signal.SIGKILL
    )
    assert set(contents(folder, quarantine)) >= set(everything)
    rows = run(folder, report, quarantine)
    assert timeless(rows) == timeless(read_report(report)) == timeless(undisturbed)
    left = [
        path.name for path in quarantine.rglob(".*.partial*")
    ]  # half a copy, hidden; never under a real name
    assert len(left) <= int(copies)
    for path in quarantine.rglob(".*.partial*"):
        path.unlink()
    assert contents(folder, quarantine) == everything


# --- what changes between two runs ---------------------------------------------------------------------


def test_a_file_that_changed_but_kept_its_size_is_checked_again(tmp_path):
    (tmp_path / "videos").mkdir()
    path = make("good.mp4", tmp_path / "videos")
    assert run(tmp_path / "videos", tmp_path / "report.csv")[0].verdict == "fit"
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))
    assert run(tmp_path / "videos", tmp_path / "report.csv")[0].verdict == "unreadable"


def test_what_is_gone_is_not_counted_and_its_row_stays(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "videos" / name).write_text("no film")
    assert len(run(tmp_path / "videos", tmp_path / "report.csv")) == 2
    (tmp_path / "videos" / "a.txt").unlink()
    assert [row.file for row in run(tmp_path / "videos", tmp_path / "report.csv")] == ["b.txt"]
    assert [row.file for row in read_report(tmp_path / "report.csv")] == ["a.txt", "b.txt"]
