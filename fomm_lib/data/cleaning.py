"""Is this file a video one can train on? The verdict, the reason for it, and the measures.

| verdict | the file |
|---|---|
| `fit` | decodes from the first frame to the last, and something moves |
| `unreadable` | cannot be opened, or gives not one frame, or had to be stopped |
| `encrypted` | is marked as encrypted in its container, whether or not it decodes |
| `no_video` | has no video track: audio only, audio with a cover image, an empty container |
| `single_frame` | has one frame: a still image, or a video of one frame |
| `frozen` | has frames, and nothing moves in them |
| `corrupt` | has decode errors, damaged frames, or ends before its end |

There are two checks. The first is ffprobe: a non-zero exit code means unreadable. (Without ffprobe, PyAV
opens the file instead, and the report says which of them did.) Exit code 0 does not prove that a file is
good, because ffprobe reads headers only. So the second check decodes every frame, one at a time, and measures
the mean squared error (MSE) between successive frames.

Before encoding, the MSE of a still image is 0 throughout. After encoding it is not: an encoder adds noise,
and refreshes the image from time to time. But an encoder does not move anything, and movement is what
`largest_change` measures.

`fomm_lib.data.report` checks all files of a folder.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageSequence

from fomm_lib.errors import InputError, Reason, VideoError, error_text
from fomm_lib.media.containers import encryption_marks, missing_end
from fomm_lib.media.decoding import INPUT_OPTIONS, decoded_frames, image_pipe, is_text, open_input
from fomm_lib.media.formats import COVER_DISPOSITIONS, is_video_name
from fomm_lib.media.images import image_format, open_image
from fomm_lib.media.sandbox import CallStopped, guarded_call
from fomm_lib.media.tracks import videos

VERDICTS = ("fit", "unreadable", "encrypted", "no_video", "single_frame", "frozen", "corrupt")

STILL_CHANGE = 5
"""A video is frozen if its `largest_change` is at most this many of 255 grey levels. Of 88 videos of a still
image (11 encoders, 8 images), 80 stay within 5 and all within 8; in ten clips of talking heads it is 33 to
204."""

_FFPROBE_SECONDS = 60  # a healthy file takes a tenth of a second
_ROW_PIXELS = 1 << 20  # values compared at a time: an 8K frame is 100 MB as uint8, and 400 MB as float32


@dataclass
class FileReport:
    """One row of the report.

    Args:
        file: its path, relative to the folder that was cleaned.
        verdict: one of `VERDICTS`.
        reason: why, in one line.
        codec: of the video, e.g. "h264".
        size: width x height of the first frame, as stored (before any rotation), e.g. "256x256".
        fps: frames a second, as the header says.
        frames: number of frames that decode.
        duration: seconds from the first frame to the end of the last, from the time stamps of these frames.
        audio: codec of the audio, e.g. "aac"; empty if there is none.
        mse_min, mse_mean, mse_max: between successive frames, in grey levels squared.
        change: the `largest_change`, in grey levels.
        probe: what did the first check, "ffprobe" or "pyav".
        bytes, modified: size of the file, and when it was last changed (nanoseconds since 1970).
        moved_to: where it was moved to, if a quarantine was asked for.
        seconds: how long the check took.
    """

    file: str
    verdict: str = ""
    reason: str = ""
    codec: str = ""
    size: str = ""
    fps: float | None = None
    frames: int | None = None
    duration: float | None = None
    # The CSV file is a published format: there the column keeps its first name.
    audio: str = field(default="", metadata={"column": "sound"})
    mse_min: float | None = None
    mse_mean: float | None = None
    mse_max: float | None = None
    change: int | None = None
    probe: str = ""
    bytes: int | None = None
    modified: int | None = None
    moved_to: str = ""
    seconds: float | None = None


def frame_mse(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error of two frames: the mean over pixels and channels of (a - b)^2.

    Args:
        a, b: uint8 images of one shape, e.g. (H, W, 3).

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
    """The MSE of every frame to the frame before it. A generator: it keeps two frames, not the video.

    Args:
        frames: N uint8 images (H, W, 3).

    Yields:
        N - 1 numbers, see `frame_mse`; nan where the size of the image changes.

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
    """The largest change of any part of the image since the first frame.

    Formula: the maximum, over frames t, blocks B of 16x16 pixels and channels, of |mean_B x_t - mean_B x_0|.
    The noise of an encoder averages out in a block; a moving face does not. Comparing with the first frame,
    not with the frame before, also finds slow movement.

    Args:
        frames: uint8 images (H, W, 3); where their size changes, the comparison starts again.

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
    """The block means of the first frame (of this one, if it is the first), and the change since then."""
    means = np.asarray(Image.fromarray(frame).reduce(16)).astype(np.int16)
    if first is None or first.shape != means.shape:
        return means, 0
    return first, int(np.abs(means - first).max())


def check_file(path: str | os.PathLike, probe: str = "auto", still_change: int = STILL_CHANGE) -> FileReport:
    """Check one file, in this process. For files of unknown origin `check_file_guarded` is safer.

    Args:
        path: the file.
        probe: what does the first check: "ffprobe", "pyav", or "auto" (ffprobe if it is installed).
        still_change: a video is frozen if its `largest_change` is at most this.

    Raises:
        InputError: the probe is none of the three, or ffprobe is not installed.

    Example:
        >>> check_file("clip.mp4").verdict
        'fit'
    """
    started = time.perf_counter()
    report = FileReport(str(path), probe=resolve_probe(probe))
    try:
        report.bytes, report.modified = os.path.getsize(path), os.stat(path).st_mtime_ns
        if not os.path.isfile(path):
            raise OSError("is no regular file")  # opening a pipe would block
        report.verdict, report.reason = _examine(str(path), report, still_change)
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, MemoryError):  # PyAV has one that is both
            raise
        is_encrypted = isinstance(error, VideoError) and error.reason == Reason.ENCRYPTED  # by its packets
        report.verdict = "encrypted" if is_encrypted else "unreadable"
        report.reason = error_text(error).removeprefix(f"{path}: ")
    report.seconds = round(time.perf_counter() - started, 4)
    return report


def resolve_probe(probe: str) -> str:
    """What a probe stands for on this machine: "auto" is "ffprobe" if it is installed, else "pyav".

    Args:
        probe: "auto", "ffprobe" or "pyav".

    Raises:
        InputError: another name, or ffprobe is asked for and not installed.
    """
    if probe not in ("auto", "ffprobe", "pyav"):
        raise InputError(f"probe {probe!r}: choose auto, ffprobe or pyav")
    installed = shutil.which("ffprobe") is not None
    if probe == "ffprobe" and not installed:
        raise InputError("ffprobe is not installed; install ffmpeg, or ask for the probe pyav")
    return "ffprobe" if probe != "pyav" and installed else "pyav"


def _ffprobe_complaint(path: str, image: str | None = None) -> str | None:
    """The error ffprobe reports, or None if its exit code is 0; `image` is FFmpeg's format for one image."""
    command = ["ffprobe", "-v", "error", "-show_entries", "format=format_name"]
    for name, value in INPUT_OPTIONS.items():
        command += [f"-{name}", value]
    command += ["-f", image] * bool(image) + ["-i", f"file:{path}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_FFPROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"ffprobe was not done after {_FFPROBE_SECONDS} s"
    if done.returncode == 0:
        return None
    if image is None and (image := image_pipe(path)) is not None:
        return _ffprobe_complaint(path, image)
    lines = done.stderr.decode(errors="replace").replace(f"file:{path}: ", "").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"ffprobe ends with exit code {done.returncode}" + (f": {last}" if last else "")


def _examine(path: str, report: FileReport, still_change: int) -> tuple[str, str]:
    """The verdict and its reason; fills in the other columns of the report."""
    complaint = _ffprobe_complaint(path) if report.probe == "ffprobe" else None
    marks = ", ".join(encryption_marks(path))
    log = _Decoding()
    with contextlib.ExitStack() as stack:
        try:
            container = stack.enter_context(open_input(path))
        except av.FFmpegError as error:
            if marks and not complaint:
                return "encrypted", marks
            return "unreadable", complaint or f"cannot open it: {error_text(error)}"
        except VideoError:  # a format that FFmpeg may not open, or an image that it does not know
            if image_format(Path(path)) is None:
                raise
            frames = _decode_with_pillow(path, log)
        else:
            if complaint:
                return "unreadable", complaint
            video = _best_video(container, report)
            if marks:
                return "encrypted", marks
            if is_text(container):
                report.codec = ""
                return "unreadable", "a text, not a video"
            if video is None:
                reason = f"audio only ({report.audio})" if report.audio else "neither images nor audio"
                return "no_video", "only a cover image, no video" if container.streams.video else reason
            by_pillow = container.format.name == "webp_pipe"  # FFmpeg reads no animated WebP
            frames = _decode_with_pillow(path, log) if by_pillow else _decode(video, log)
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


def _best_video(container, report: FileReport):
    """The video track that is checked, or None; fills in the columns that the header knows.

    Unlike in `animate`, the image of a HEIC or AVIF file counts: its verdict is single_frame.
    """
    stills = (one for one in container.streams.video if not one.disposition.value & COVER_DISPOSITIONS)
    video = next(iter([*videos(container), *stills]), None)
    report.audio = ", ".join(_codec(stream) for stream in container.streams.audio)
    if video is not None:
        report.codec, report.size = _codec(video), _size(video)
        report.fps = round(float(video.average_rate), 3) if video.average_rate else None
    return video


def _verdict(
    path: str, log: _Decoding, mses: np.ndarray, cut: str | None, still_change: int
) -> tuple[str, str]:
    """The verdict on a file that was decoded, and its reason."""
    if log.frames == 0:
        why = log.troubles[0] if log.troubles else "the track is empty"
        return "unreadable", f"not one frame decodes: {why}"
    if log.troubles or cut:
        reasons = log.troubles[:1]
        if len(log.troubles) > 1:
            reasons.append(f"{len(log.troubles)} such in all")
        if cut:
            reasons.append(cut)
        return "corrupt", "; ".join([*reasons, f"{log.frames} frames decode"])
    if log.frames == 1:
        return "single_frame", "one frame only" if is_video_name(path) else "a still image"
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
    """Statistics of a video, updated with every frame."""

    frames: int = 0
    times: list[float] = field(default_factory=list)  # of the first and the last frame
    sizes: list[str] = field(default_factory=list)  # every size once
    troubles: list[str] = field(default_factory=list)
    first: np.ndarray | None = None  # block means of the first frame
    change: int = 0

    def add(self, image: np.ndarray, when: float | None) -> None:
        self.frames += 1
        size = f"{image.shape[1]}x{image.shape[0]}"
        if size not in self.sizes:
            self.sizes.append(size)
        if when is not None:
            self.times[1:] = [when]
        self.first, change = _change(self.first, image)
        self.change = max(self.change, change)

    def duration(self) -> float | None:
        """From the first frame to the end of the last, which is shown as long as the others on average."""
        if self.frames < 2 or len(self.times) < 2:
            return None
        return round((self.times[-1] - self.times[0]) * self.frames / (self.frames - 1), 3)


def _decode(stream, log: _Decoding) -> Iterator[np.ndarray]:
    """Every frame that decodes, as RGB. An error goes into the log, and decoding goes on after it."""
    if stream.codec_context is None:
        log.troubles.append("no decoder for its codec")
        return
    stream.codec_context.thread_count = 1  # errors come in order, and jobs share the cores between them
    to_rgb = VideoReformatter()  # one for all frames: it keeps its tables

    def note(fault: Exception | None) -> None:
        what = "a packet is incomplete" if fault is None else "decode error"
        why = "" if fault is None else f": {error_text(fault)}"
        log.troubles.append(f"{what} after frame {log.frames}{why}")

    for frame in decoded_frames(stream, on_fault=note):
        image = to_rgb.reformat(frame, format="rgb24").to_ndarray()
        log.add(image, frame.time)
        if frame.is_corrupt:
            log.troubles.append(f"frame {log.frames} is damaged")
        yield image


def _decode_with_pillow(path: str, log: _Decoding) -> Iterator[np.ndarray]:
    try:
        with open_image(Path(path)) as image:
            when = 0.0
            for frame in ImageSequence.Iterator(image):
                pixels = np.asarray(frame.convert("RGB"))
                log.add(pixels, when)
                when += frame.info.get("duration", 0) / 1000
                yield pixels
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise many unrelated types for a bad file
        log.troubles.append(f"decode error after frame {log.frames}: {error_text(error)}")


def _codec(stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"


def _size(stream) -> str:
    context = stream.codec_context
    return f"{context.width}x{context.height}" if context and context.width and context.height else ""


def check_file_guarded(
    path: str | os.PathLike,
    probe: str = "auto",
    still_change: int = STILL_CHANGE,
    seconds: float = 600.0,
    memory: int = 2 << 30,
) -> FileReport:
    """Check one file in another process, which can be stopped: then it is `unreadable`, with the reason.

    Args:
        path, probe, still_change: as in `check_file`.
        seconds, memory: the limits, see `sandbox.guarded_call`.

    Raises:
        InputError: as in `check_file`.

    Example:
        >>> check_file_guarded("two_hours.mp4", seconds=1.0).reason  # doctest: +SKIP
        'stopped: not done after 1 s'
    """
    started = time.perf_counter()
    probe = resolve_probe(probe)
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
