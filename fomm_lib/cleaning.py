"""Which files of a folder are videos one can train on? A verdict for every file, and the reason for it.

| verdict | the file |
|---|---|
| `fit` | decodes from the first frame to the last, and something moves |
| `unreadable` | cannot be opened, or opens and gives not one frame, or had to be stopped |
| `encrypted` | is marked as encrypted in its container, whether or not it decodes |
| `no_video` | has no video track: sound only, sound with a cover picture, an empty container |
| `single_frame` | has one frame: a still picture, or a video of one frame |
| `frozen` | has frames, and nothing moves in them |
| `corrupt` | has decode errors, damaged frames, or ends before its end |

Two checks stand behind it. The first is ffprobe: a non-zero exit code means unreadable (without ffprobe, the
same question is asked of PyAV, and the report says which answered). Exit code 0 proves nothing, since ffprobe
reads labels; so the second check decodes every frame, one at a time, and measures the mean squared error
(MSE) between successive frames. It is 0 throughout where a picture stands still, but only as long as nobody
encodes it: an encoder adds noise, and refreshes the picture now and then. What it does not do is to move
anything, and that is what `largest_change` measures.
"""

from __future__ import annotations

import contextlib
import csv
import filecmp
import io
import math
import mimetypes
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend
from PIL import Image, ImageSequence
from tqdm.auto import tqdm

from fomm_lib.containers import encryption_marks, missing_end
from fomm_lib.decoding import open_input
from fomm_lib.files import InputError, atomic_output
from fomm_lib.guard import CallStopped, close_idle, guarded_call

VERDICTS = ("fit", "unreadable", "encrypted", "no_video", "single_frame", "frozen", "corrupt")

STILL_CHANGE = 5
"""Nothing moves where `largest_change` is not above this many of 255 grey levels. Of 88 videos of one
picture (11 encoders, 8 pictures), 80 stay within 5 and all within 8; in ten clips of talking heads it is
33 to 204."""

_COVER = 0x400 | 0x800  # AV_DISPOSITION_ATTACHED_PIC and _TIMED_THUMBNAILS of FFmpeg
_FFPROBE_SECONDS = 60  # a healthy file takes a tenth of a second
_ROW_PIXELS = 1 << 20  # so many at a time, when two frames are compared: an 8K frame is 100 MB as it is


@dataclass
class FileReport:
    """One row of the report.

    Args:
        file: its path inside the folder that was cleaned.
        verdict: one of `VERDICTS`.
        reason: why, in one line.
        codec: of the video, e.g. "h264".
        size: width x height of the first frame, as stored (before any rotation), e.g. "256x256".
        fps: frames a second, as announced.
        frames: how many frames decode.
        duration: seconds from the first frame to the end of the last, by the time stamps of what decodes.
        sound: codec of the sound, e.g. "aac"; empty where there is none.
        mse_min, mse_mean, mse_max: between successive frames, in grey levels squared.
        change: the `largest_change`, in grey levels.
        probe: who did the first check, "ffprobe" or "pyav".
        bytes, modified: size of the file, and when it was last changed (nanoseconds since 1970).
        moved_to: where it was moved to, if a quarantine was asked for.
        seconds: spent on the check.
    """

    file: str
    verdict: str = ""
    reason: str = ""
    codec: str = ""
    size: str = ""
    fps: float | None = None
    frames: int | None = None
    duration: float | None = None
    sound: str = ""
    mse_min: float | None = None
    mse_mean: float | None = None
    mse_max: float | None = None
    change: int | None = None
    probe: str = ""
    bytes: int | None = None
    modified: int | None = None
    moved_to: str = ""
    seconds: float | None = None


_COLUMNS = [column.name for column in fields(FileReport)]
_NUMBERS = {"frames": int, "bytes": int, "modified": int, "change": int} | dict.fromkeys(
    ["fps", "duration", "mse_min", "mse_mean", "mse_max", "seconds"], float
)


# --- one video -----------------------------------------------------------------------------------------


def frame_mse(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error of two frames: the mean over pixels and channels of (a - b)^2.

    Args:
        a, b: uint8 pictures of one shape, e.g. (H, W, 3).

    Returns:
        Grey levels squared, 0 (the same) to 65025 (black and white).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> frame_mse(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 3, np.uint8))
        9.0
    """
    if a.shape != b.shape:
        raise ValueError(f"frames of different shapes, {a.shape} and {b.shape}: no MSE")
    rows = max(1, _ROW_PIXELS // max(1, a[0].size))
    total = 0.0
    for top in range(0, len(a), rows):
        difference = a[top : top + rows].astype(np.float32) - b[top : top + rows]
        total += float(np.vdot(difference, difference))
    return total / a.size


def successive_mse(frames: Iterable[np.ndarray]) -> Iterator[float]:
    """The MSE of every frame to the one before it, as the frames come; it keeps two frames, not the video.

    Args:
        frames: N uint8 pictures (H, W, 3).

    Returns:
        N - 1 numbers, see `frame_mse`; nan where the size of the picture changes.

    Example:
        >>> list(successive_mse([np.zeros((2, 2, 3), np.uint8)] * 3))
        [0.0, 0.0]
    """
    before = None
    for frame in frames:
        if before is not None:
            yield frame_mse(before, frame) if before.shape == frame.shape else math.nan
        before = frame


def largest_change(frames: Iterable[np.ndarray]) -> int:
    """How far any part of the picture moves away from the first frame.

    Formula: the maximum, over frames t, blocks B of 16x16 pixels and channels, of |mean_B x_t - mean_B x_0|.
    The noise of an encoder averages out in a block, and a face that moves does not. Comparing with the first
    frame, not with the one before, also finds what moves slowly.

    Args:
        frames: uint8 pictures (H, W, 3); where their size changes, the comparison begins anew.

    Returns:
        Grey levels, 0 to 255.

    Example:
        >>> largest_change([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 7, np.uint8)])
        7
    """
    first, largest = None, 0
    for frame in frames:
        first, change = _change(first, frame)
        largest = max(largest, change)
    return largest


def _change(first: np.ndarray | None, frame: np.ndarray) -> tuple[np.ndarray, int]:
    """The block means of the first frame (of this one, if it is the first), and how far away this one is."""
    means = np.asarray(Image.fromarray(frame).reduce(16)).astype(np.int16)
    if first is None or first.shape != means.shape:
        return means, 0
    return first, int(np.abs(means - first).max())


def check_file(path: str | os.PathLike, probe: str = "auto", still_change: int = STILL_CHANGE) -> FileReport:
    """Check one file, in this process. For files of unknown origin, `check_file_guarded` is the safe way.

    Args:
        path: the file.
        probe: who does the first check: "ffprobe", "pyav", or "auto" (ffprobe where it is installed).
        still_change: a video whose `largest_change` is not above this is frozen.

    Raises:
        InputError: the probe is none of the three, or ffprobe is not installed.

    Example:
        >>> check_file("clip.mp4").verdict
        'fit'
    """
    started = time.perf_counter()
    report = FileReport(str(path), probe=_resolve_probe(probe))
    try:
        report.bytes, report.modified = os.path.getsize(path), os.stat(path).st_mtime_ns
        report.verdict, report.reason = _judge(str(path), report, still_change)
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, MemoryError):  # PyAV has one that is both
            raise
        report.verdict, report.reason = "unreadable", _in_words(error)
    report.seconds = round(time.perf_counter() - started, 4)
    return report


def _resolve_probe(probe: str) -> str:
    if probe not in ("auto", "ffprobe", "pyav"):
        raise InputError(f"probe {probe!r}: choose auto, ffprobe or pyav")
    installed = shutil.which("ffprobe") is not None
    if probe == "ffprobe" and not installed:
        raise InputError("ffprobe is not installed; install ffmpeg, or ask for the probe pyav")
    return "ffprobe" if probe != "pyav" and installed else "pyav"


def _in_words(error: Exception) -> str:
    """An error as one line, without the path (the report has it already)."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(words.split())


def _ffprobe_complaint(path: str) -> str | None:
    """What ffprobe has against the file, or None where its exit code is 0."""
    command = ["ffprobe", "-v", "error", "-protocol_whitelist", "file", "-show_entries", "format=format_name"]
    command += ["-i", f"file:{path}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_FFPROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"ffprobe was not done after {_FFPROBE_SECONDS} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode(errors="replace").replace(f"file:{path}: ", "").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"ffprobe ends with exit code {done.returncode}" + (f": {last}" if last else "")


def _judge(path: str, report: FileReport, still_change: int) -> tuple[str, str]:
    """The verdict and its reason; on the way the other columns of the report are filled in."""
    complaint = _ffprobe_complaint(path) if report.probe == "ffprobe" else None
    if complaint:
        return "unreadable", complaint

    marks = ", ".join(encryption_marks(path))
    try:
        container = open_input(path)
    except av.FFmpegError as error:
        if marks:
            return "encrypted", marks
        return "unreadable", f"cannot open it: {_in_words(error)}"
    with container:
        covers = [stream for stream in container.streams.video if _is_cover(stream)]
        videos = [stream for stream in container.streams.video if stream not in covers]
        report.sound = ", ".join(_codec(stream) for stream in container.streams.audio)
        if videos:
            report.codec = _codec(videos[0])
            report.size = _size(videos[0])
            report.fps = round(float(videos[0].average_rate), 3) if videos[0].average_rate else None
        if marks:
            return "encrypted", marks
        if container.format.name == "tty":  # libav draws a text as a film of a terminal
            report.codec = ""
            return "unreadable", "a text, not a video"
        if not videos:
            if covers:
                return "no_video", "only a cover picture, no video"
            return (
                "no_video",
                f"sound only ({report.sound})" if report.sound else "neither pictures nor sound",
            )

        log = _Decoding()
        if container.format.name == "webp_pipe":  # libav does not know that WebP can move, Pillow does
            frames = _decode_with_pillow(path, log)
        else:
            frames = _decode(container, videos[0], log)
        mses = np.array([mse for mse in successive_mse(frames) if not math.isnan(mse)])

    report.frames = log.frames
    report.size = log.sizes[0] if log.sizes else report.size
    report.duration = log.duration()
    if mses.size:
        report.change = log.change
        report.mse_min, report.mse_mean, report.mse_max = (
            float(f"{value:.6g}") for value in (mses.min(), mses.mean(), mses.max())
        )
    return _verdict(path, log, mses, missing_end(path), still_change)


def _verdict(
    path: str, log: _Decoding, mses: np.ndarray, cut: str | None, still_change: int
) -> tuple[str, str]:
    """What the decoding of a file means."""
    if log.frames == 0:
        why = log.troubles[0] if log.troubles else "the track is empty"
        return "unreadable", f"not one frame decodes: {why}"
    if log.troubles or cut:
        told = log.troubles[:1]
        if len(log.troubles) > 1:
            told.append(f"{len(log.troubles)} such in all")
        if cut:
            told.append(cut)
        return "corrupt", "; ".join([*told, f"{log.frames} frames decode"])
    if log.frames == 1:
        return "single_frame", "one frame only" if is_video_name(path) else "a still picture"
    if log.change <= still_change and len(log.sizes) == 1:
        return "frozen", f"nothing moves: the largest change is {log.change} of 255 grey levels"
    notes = [f"{log.frames} frames, and they move"]
    if len(log.sizes) > 1:
        notes.append(f"the size changes: {', '.join(log.sizes)}")
    repeats = int((mses == 0).sum())
    if repeats:
        notes.append(f"{repeats} repeat the one before")
    return "fit", "; ".join(notes)


@dataclass
class _Decoding:
    """What was seen while a video was decoded."""

    frames: int = 0
    times: list[float] = field(default_factory=list)  # of the first and the last frame
    sizes: list[str] = field(default_factory=list)  # every size once
    troubles: list[str] = field(default_factory=list)
    first: np.ndarray | None = None  # its block means
    change: int = 0

    def see(self, picture: np.ndarray, when: float | None) -> None:
        self.frames += 1
        size = f"{picture.shape[1]}x{picture.shape[0]}"
        if size not in self.sizes:
            self.sizes.append(size)
        if when is not None:
            self.times[1:] = [when]
        self.first, change = _change(self.first, picture)
        self.change = max(self.change, change)

    def duration(self) -> float | None:
        """From the first frame to the end of the last, which is shown as long as the others on average."""
        if self.frames < 2 or len(self.times) < 2:
            return None
        return round((self.times[-1] - self.times[0]) * self.frames / (self.frames - 1), 3)


def _decode(container, stream, log: _Decoding) -> Iterator[np.ndarray]:
    """Every frame that decodes, as RGB; what does not goes into the log, and decoding goes on behind it."""
    if stream.codec_context is None:
        log.troubles.append("no decoder for its codec")
        return
    stream.codec_context.thread_count = 1  # errors come in order, and jobs share the cores between them
    to_rgb = VideoReformatter()  # one for all frames: it keeps its tables
    packets = container.demux(stream)
    # In a transport stream a joint of two recordings sets the mark too; a real loss shows in the frames.
    marked = container.format.name != "mpegts"
    while True:
        try:
            packet = next(packets)
            if packet.is_corrupt and marked:
                log.troubles.append(f"a packet is incomplete after frame {log.frames}")
            frames = packet.decode()
        except StopIteration:
            return
        except MemoryError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            log.troubles.append(f"decode error after frame {log.frames}: {_in_words(error)}")
            continue
        for frame in frames:
            picture = to_rgb.reformat(frame, format="rgb24").to_ndarray()
            log.see(picture, frame.time)
            if frame.is_corrupt:
                log.troubles.append(f"frame {log.frames} is damaged")
            yield picture


def _decode_with_pillow(path: str, log: _Decoding) -> Iterator[np.ndarray]:
    try:
        with Image.open(path) as picture:
            when = 0.0
            for frame in ImageSequence.Iterator(picture):
                pixels = np.asarray(frame.convert("RGB"))
                log.see(pixels, when)
                when += frame.info.get("duration", 0) / 1000
                yield pixels
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise whatever comes to hand
        log.troubles.append(f"decode error after frame {log.frames}: {_in_words(error)}")


def _codec(stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"


def _size(stream) -> str:
    context = stream.codec_context
    return f"{context.width}x{context.height}" if context and context.width and context.height else ""


def _is_cover(stream) -> bool:
    return bool(stream.disposition.value & _COVER)


# --- one file, in a process that may be killed ---------------------------------------------------------


def check_file_guarded(
    path: str | os.PathLike,
    probe: str = "auto",
    still_change: int = STILL_CHANGE,
    seconds: float = 600.0,
    memory: int = 2 << 30,
) -> FileReport:
    """Check one file in a process of its own; a file that had to be stopped is `unreadable`, with the reason.

    Args:
        path, probe, still_change: as in `check_file`.
        seconds, memory: the limits, see `guard.guarded_call`.

    Raises:
        InputError: as in `check_file`.

    Example:
        >>> check_file_guarded("two_hours.mp4", seconds=1.0).reason
        'stopped: not done after 1 s'
    """
    started = time.perf_counter()
    probe = _resolve_probe(probe)
    try:
        arguments = os.path.abspath(path), probe, still_change
        report = guarded_call(check_file, *arguments, seconds=seconds, memory=memory)
    except CallStopped as stop:
        report = FileReport("", "unreadable", str(stop), probe=probe)
        with contextlib.suppress(OSError):
            report.bytes, report.modified = os.path.getsize(path), os.stat(path).st_mtime_ns
        report.seconds = round(time.perf_counter() - started, 4)
    report.file = str(path)
    return report


# --- the report ----------------------------------------------------------------------------------------


def read_report(path: str | os.PathLike) -> list[FileReport]:
    """The rows of a report; a last line that was being written when a run was killed is left out.

    Raises:
        InputError: there is no such file, or it is no report of `clean`.

    Example:
        >>> [row.file for row in read_report("report.csv") if row.verdict == "frozen"]
        ['black.mp4']
    """
    return _read_report(Path(path))[0]


def _read_report(path: Path) -> tuple[list[FileReport], bool]:
    """The rows, and whether the file holds them and nothing else."""
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read this report ({_in_words(error)})") from error
    data = stored.rstrip(b"\0")  # a power cut may leave zeros where a line should have been
    header = ",".join(_COLUMNS) + "\n"
    if header.encode().startswith(data):  # killed before the first row
        return [], len(stored) == len(header)
    if not data.startswith(header.encode()):
        raise InputError(f"{path}: exists, and is no report of `fomm clean`; choose another name")
    text = data.decode("utf-8", "surrogateescape")
    records = list(csv.reader(io.StringIO(text, newline="")))[1:]
    if not text.endswith("\n") or len(records[-1]) != len(_COLUMNS):
        records.pop()
        data = b""
    return [_row(record, path) for record in records], data == stored


def _row(record: list[str], path: Path) -> FileReport:
    try:
        values = dict(zip(_COLUMNS, record, strict=True))
        for name, number in _NUMBERS.items():
            values[name] = number(values[name]) if values[name] else None
        return FileReport(**values)
    except ValueError as error:
        raise InputError(f"{path}: a row was changed and cannot be read: {','.join(record)}") from error


def _write_row(file, row: FileReport) -> None:
    values = asdict(row)
    csv.writer(file, lineterminator="\n").writerow(
        "" if values[name] is None else values[name] for name in _COLUMNS
    )


def _to_disk(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _open_report(path: Path, mode: str):
    return open(path, mode, encoding="utf-8", errors="surrogateescape", newline="")


def _write_report(path: Path, rows: Iterable[FileReport]) -> None:
    """The whole report anew, or the old one."""
    with atomic_output(path, overwrite=True) as temporary, _open_report(temporary, "w") as file:
        csv.writer(file, lineterminator="\n").writerow(_COLUMNS)
        for row in rows:
            _write_row(file, row)
        _to_disk(file)


# --- a folder ------------------------------------------------------------------------------------------


def clean(
    folder: str | os.PathLike,
    report: str | os.PathLike,
    quarantine: str | os.PathLike | None = None,
    jobs: int | None = None,
    *,
    seconds: float = 600.0,
    memory: int = 2 << 30,
    probe: str = "auto",
    still_change: int = STILL_CHANGE,
    progress: bool = True,
) -> list[FileReport]:
    """Check every file of a folder and of the folders in it, and write a report as it goes.

    Killed at any moment and called again, it continues: a file that has its row, and was not changed since,
    is not checked again. Hidden files (`.name`), the report and the quarantine are left out. Nothing is moved
    unless a quarantine is given; nothing is ever deleted. Into the quarantine go files that are not `fit` and
    have the name of a video or a sound. Pictures stay where they are, whatever the report says about them:
    they may be the frames of a folder of frames.

    Many machines: `with joblib.parallel_config(backend="dask"): clean(...)` (or "ray", or "loky") sends the
    checks there, the report stays here. All of them must see the folder under the same path.

    Args:
        folder: where the files are.
        report: the CSV file to write, or to continue; one row a file, see `FileReport`.
        quarantine: the folder to move unfit videos into, under their path inside `folder`.
        jobs: how many files at a time; -1 is one a core, None is one, or what `joblib.parallel_config` says.
        seconds, memory: limits for each file, see `check_file_guarded`.
        probe, still_change: as in `check_file`.
        progress: show a bar.

    Returns:
        Rows of all files that are there, or were moved, sorted by file. Of a file that is gone, or was in
        another folder, the report itself keeps the row.

    Raises:
        InputError: there is no such folder; the report cannot be written, or is something else; the
            quarantine is the folder itself or above it; a number is out of range.

    Example:
        >>> rows = clean("clips", "report.csv", quarantine="unfit", jobs=2)
        >>> summary(rows)
        '40 files: 37 fit, 1 frozen, 2 unreadable'
    """
    folder, report = Path(folder), Path(report)
    quarantine = Path(quarantine) if quarantine is not None else None
    _check_arguments(folder, report, quarantine, jobs, seconds, memory)
    _resolve_probe(probe)
    folder = folder.absolute()  # the checks may be done elsewhere

    files = _files(folder, report, quarantine)
    rows = _begin_report(report, folder, files)
    known = {row.file for row in rows if _is_about_the_file_there(row, folder)}
    waiting = [name for name in files if name not in known]

    check = delayed(check_file_guarded)
    results = _as_they_come(
        [check(str(folder / name), probe, still_change, seconds, memory) for name in waiting], jobs
    )
    bar = tqdm(total=len(files), initial=len(known), unit="file", disable=not progress)
    try:
        with bar, _open_report(report, "a") as file:
            for row in results:
                row.file = Path(row.file).relative_to(folder).as_posix()
                _write_row(file, row)
                _to_disk(file)
                rows.append(row)
                bar.update()
    finally:
        close_idle()

    if quarantine is not None:
        _move_unfit(rows, folder, report, quarantine)
    there = {row.file for row in rows if row.moved_to} | set(files)
    return sorted((row for row in rows if row.file in there), key=lambda row: row.file)


def _as_they_come(calls: list, jobs: int | None) -> Iterator[FileReport]:
    """The results of joblib's calls, each as soon as it is there."""
    # The work is done in child processes, so threads are enough to wait for them.
    settings = {"n_jobs": jobs, "prefer": "threads", "batch_size": 1}
    backend, _ = get_active_backend(prefer="threads")
    if backend.supports_return_generator:
        yield from Parallel(**settings, return_as="generator_unordered")(calls)
        return
    # Ray and multiprocessing return when all is done: small portions, so that little is lost.
    with Parallel(**settings) as parallel:
        portion = 4 * effective_n_jobs(jobs)
        for start in range(0, len(calls), portion):
            yield from parallel(calls[start : start + portion])


def summary(rows: Iterable[FileReport]) -> str:
    """One line: how many files, and how many of each verdict. Notes and tables that lie among the videos are
    unreadable as videos, but no damage: they are counted apart.

    Example:
        >>> summary([FileReport("a.mp4", "fit"), FileReport("b.mp4", "frozen")])
        '2 files: 1 fit, 1 frozen'
        >>> summary([FileReport("a.mp4", "fit"), FileReport("labels.csv", "unreadable")])
        '2 files: 1 fit, 1 not a video (labels.csv)'
    """
    rows = list(rows)
    strangers = [row.file for row in rows if row.verdict == "unreadable" and not _is_media_name(row.file)]
    counts = Counter(row.verdict for row in rows)
    counts["unreadable"] -= len(strangers)
    told = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
    if strangers:
        examples = ", ".join(strangers[:2]) + (", ..." if len(strangers) > 2 else "")
        told.append(f"{len(strangers)} not a video ({examples})")
    return f"{len(rows)} files" + (": " + ", ".join(told) if told else "")


def _is_media_name(path: str) -> bool:
    kind, _ = mimetypes.guess_type(path)
    return is_video_name(path) or (kind or "").startswith(("image/", "video/", "audio/"))


def is_video_name(path: str | os.PathLike) -> bool:
    """Whether a file's name ends like that of a video or a sound, not like that of a picture or a text.

    Example:
        >>> is_video_name("clip.mp4"), is_video_name("frame_0001.png"), is_video_name("labels.csv")
        (True, False, False)
    """
    return Path(path).suffix.lower() in _VIDEO_SUFFIXES.split()


# GIF and APNG are here, since they are made to move; WebP and AVIF are not, since most of them do not.
_VIDEO_SUFFIXES = """
    .3g2 .3gp .aac .ac3 .apng .asf .avi .dv .f4v .flac .flv .gif .h264 .h265 .hevc .ivf .m2ts .m2v .m4a .m4s
    .m4v .mka .mkv .mov .mp3 .mp4 .mpeg .mpg .mts .mxf .obu .oga .ogg .ogv .opus .qt .rm .rmvb .ts .vob .wav
    .webm .wma .wmv .y4m
"""


def _check_arguments(folder, report, quarantine, jobs, seconds, memory) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that holds the videos")
    if report.is_dir():
        raise InputError(f"{report}: is a folder; give the name of a CSV file for the report")
    if not report.parent.is_dir():
        raise InputError(f"{report}: the folder {report.parent} does not exist; make it first")
    if report.exists() and not os.access(report, os.W_OK):
        raise InputError(f"{report}: may not be written to; choose another name")
    if quarantine is not None:
        if quarantine.exists() and not quarantine.is_dir():
            raise InputError(f"{quarantine}: is a file; give a folder for the quarantine")
        if folder.resolve().is_relative_to(quarantine.resolve()):
            raise InputError(
                f"{quarantine}: the quarantine cannot be the folder that is cleaned, nor above it"
            )
    if jobs == 0:
        raise InputError("0 jobs check nothing; give 1 or more, or -1 for one a core")
    if seconds <= 0 or memory <= 0:
        raise InputError("the limits of time and memory must be above 0")


def _files(folder: Path, report: Path, quarantine: Path | None) -> list[str]:
    """The files to check, as paths inside the folder."""
    left_out = {path.resolve() for path in (report, quarantine) if path is not None}
    found = []
    for place, folders, names in os.walk(folder):
        kept = [
            name
            for name in folders
            if not name.startswith(".") and (Path(place, name)).resolve() not in left_out
        ]
        folders[:] = kept
        paths = [Path(place, name) for name in names if not name.startswith(".")]
        # A pipe or a device would wait for ever; a link into nowhere gets its verdict.
        paths = [path for path in paths if path.is_file() or path.is_symlink()]
        found += [path.relative_to(folder).as_posix() for path in paths if path.resolve() not in left_out]
    return sorted(found)


def _begin_report(report: Path, folder: Path, files: list[str]) -> list[FileReport]:
    """Rows that still hold; afterwards the report is on disk and holds them and nothing else."""
    if not report.exists():
        _write_report(report, [])
        return []
    rows, whole = _read_report(report)
    there = set(files)
    kept = [
        row for row in rows if row.file not in there or row.moved_to or _is_about_the_file_there(row, folder)
    ]
    if not whole or len(kept) < len(rows):
        _write_report(report, kept)
    return kept


def _is_about_the_file_there(row: FileReport, folder: Path) -> bool:
    """Whether a row tells about the file that lies under its name now, not one that lay there before."""
    try:
        there = os.stat(folder / row.file)
        if (row.bytes, row.modified) != (there.st_size, there.st_mtime_ns):
            return False
        # It was moved, and yet here it is: a move that was cut short, or a new file under the old name.
        return not os.path.lexists(row.moved_to) or filecmp.cmp(
            folder / row.file, row.moved_to, shallow=False
        )
    except OSError:
        return False


# --- the quarantine ------------------------------------------------------------------------------------


def _move_unfit(rows: list[FileReport], folder: Path, report: Path, quarantine: Path) -> None:
    """First the plan goes into the report, then the files are moved: what was cut short can be finished."""
    taken = {row.moved_to for row in rows}
    for row in rows:
        unfit = row.verdict != "fit" and not row.moved_to and is_video_name(row.file)
        if unfit and _is_about_the_file_there(row, folder):
            row.moved_to = _free_name(quarantine.absolute() / row.file, taken)
            taken.add(row.moved_to)
    _write_report(report, rows)
    for row in rows:
        if row.moved_to and _is_about_the_file_there(row, folder):
            _move(folder / row.file, Path(row.moved_to))


def _free_name(path: Path, taken: set[str]) -> str:
    """The path, or `name-2.mp4`, `name-3.mp4`, ... where something has that name already."""
    name, number = path, 1
    while os.path.lexists(name) or str(name) in taken:
        number += 1
        name = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return str(name)


def _move(source: Path, target: Path) -> None:
    """Move a file, never onto another; cut short at any moment, the file is whole in one place at least."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(target):  # else only the removal was missing
        try:
            if source.is_symlink():  # a link may lead on from where it stood
                target.symlink_to(source.resolve())
            else:
                os.link(source, target)
        except OSError:  # another file system, or one without links
            with atomic_output(target) as temporary:
                shutil.copy2(source, temporary)
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
    source.unlink()
