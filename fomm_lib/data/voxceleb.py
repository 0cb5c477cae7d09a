"""VoxCeleb from its published list: fetch, cut, crop, resize and check the clips, and keep a ledger.

The data set of the paper is a list, not a package: 20,075 rows, each of which names a video on YouTube, the
first and last frame, and the box around the head. Many of the videos no longer exist. A run takes days, so it
can be stopped at any moment and continues when it is started again; a missing video is one row in the ledger,
not the end of the run.

    fetch_voxceleb("vox-metadata.csv", "data/vox", partition="test")

gives `data/vox/test/person#video#start#end.mp4` (what `FramePairs` reads) and `data/vox/ledger.csv`.

The list: columns video_id, start, end (frame numbers at `fps`, the end not included), bbox "x0-y0-x1-y1"
(pixels of a video of `width` x `height`), fps, width, height, partition ("train" or "test"), person_id.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from joblib import delayed
from PIL import Image
from tqdm.auto import tqdm

from fomm_lib.data.cleaning import STILL_CHANGE, check_file, largest_change
from fomm_lib.data.clips import FolderClip
from fomm_lib.data.report import as_completed
from fomm_lib.data.tables import Table, read_cells
from fomm_lib.errors import InputError, check_integer, printable
from fomm_lib.files import atomic_folder, atomic_output, make_folder, only_writer, remove_leftovers
from fomm_lib.media.decoding import ToRgb, decoded_frames, open_video
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.sandbox import CallStopped, guarded_call
from fomm_lib.media.tensors import resize_array
from fomm_lib.releases import require_module

log = logging.getLogger(__name__)

YOUTUBE = "https://www.youtube.com/watch?v={video_id}"
FORMATS = ("mp4", "png", "jpg")
DONE, FAILED, TO_DO = "done", "failed", "to do"

KEYFRAME_EVERY = 12  # training jumps to single frames; see benchmarks/datasets.py
CUT_SECONDS = 600.0  # a clip has at most a thousand frames: a decoder that takes longer hangs
PATIENCE = 10  # if this many videos in a row cannot be reached, the network is down

# Of the numbers in the list. Times are start / fps and end / fps: a video's clock must be able to count them.
_BOUNDS = {**dict.fromkeys(("start", "end"), (0, 10**8)), "fps": (1, 1000)}
_BOUNDS |= dict.fromkeys(("width", "height"), (2, 65536))
LARGEST_SIZE = 4096  # width and height of a clip; the videos have at most 1080 lines

COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height", "partition", "person_id")
"""The columns of the published list."""


@dataclass(frozen=True)
class VoxClip:
    """One row of the list: a stretch of a video and a box in it.

    `start` and `end` are seconds; `box` is (x0, y0, x1, y1) as fractions of the image's width and height,
    because the resolution that is offered today may be another one.
    """

    name: str
    video_id: str
    partition: str
    start: Fraction
    end: Fraction
    box: tuple[float, float, float, float]


def read_metadata(path: str | os.PathLike, partition: str | None = None) -> list[VoxClip]:
    """The rows of a list such as `vox-metadata.csv`.

    Args:
        path: the CSV file. Without a column `person_id`, a `video_id` must have the form `video#person`.
        partition: "train" or "test" to take only those, None for all.

    Raises:
        InputError: no such file, a missing column, an invalid row (with its line), or no row is left.

    Example:
        >>> read_metadata("vox-metadata.csv", "test")[0].name                   # doctest: +SKIP
        'id10280#NXjT3732Ekg#001093#001192.mp4'
    """
    if partition not in ("train", "test", None):
        raise InputError(f"partition {partition!r}: choose train or test, or leave it out for both")
    rows = read_cells(path, "a CSV file; give vox-metadata.csv")
    missing = [name for name in COLUMNS[:-1] if rows and name not in rows[0][1]]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; give the published vox-metadata.csv")
    clips = {clip.name: clip for clip in (_clip(row, path, line) for line, row in rows)}
    chosen = [clip for clip in clips.values() if partition in (None, clip.partition)]
    if not chosen:
        raise InputError(f"{path}: no clips in it" + (f" of the partition {partition}" if partition else ""))
    return chosen


def _clip(row: dict[str, str], path: str | os.PathLike, line: int) -> VoxClip:
    try:
        video_id, _, person = row["video_id"].partition("#")
        person = row.get("person_id") or person
        for part in (video_id, person):
            # They become file names, which must not lead out of the folder.
            if not re.fullmatch(r"[\w-]{1,64}", part, re.ASCII):
                raise ValueError(f"{part!r} is no name of a video or a person")
        if row["partition"] not in ("train", "test"):
            raise ValueError(f"partition {row['partition']!r} is neither train nor test")
        start, end = (_number(row, key) for key in ("start", "end"))
        fps, width, height = (_number(row, key) for key in ("fps", "width", "height"))
        box = re.fullmatch(r"(\d{1,5})-(\d{1,5})-(\d{1,5})-(\d{1,5})", row["bbox"], re.ASCII)
        if not box:
            raise ValueError(f"bbox {row['bbox']!r} is not x0-y0-x1-y1")
        x0, y0, x1, y1 = map(int, box.groups())
        if not (start < end and x0 < x1 and y0 < y1):
            raise ValueError("the end is not after the start, or the box is empty")
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}, line {line}: {error}; correct or remove the line") from error
    return VoxClip(
        name=f"{person}#{video_id}#{int(start):06d}#{int(end):06d}.mp4",
        video_id=video_id,
        partition=row["partition"],
        start=start / fps,
        end=end / fps,
        box=(float(x0 / width), float(y0 / height), float(x1 / width), float(y1 / height)),
    )


def _number(row: dict[str, str], key: str) -> Fraction:
    """A number of the list, e.g. 25, 29.97 or 30000/1001; exponents would make it as large as one likes."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9}|/0*[1-9]\d{0,8})?", row[key].strip(), re.ASCII):
        raise ValueError(f"{key} {row[key]!r} is not a number such as 25, 29.97 or 30000/1001")
    number, (least, most) = Fraction(row[key].strip()), _BOUNDS[key]
    if key in ("start", "end") and number.denominator != 1:
        raise ValueError(f"{key} {row[key]!r} is not the number of a frame")
    if not least <= number <= most:
        raise ValueError(f"{key} {row[key]!r} is not between {least} and {most}")
    return number


@dataclass
class LedgerRow:
    """The state of a clip: "done", "failed" or "to do"; `reason` says why it is not done."""

    clip: str
    partition: str
    video_id: str
    state: str = TO_DO
    frames: int | None = None
    reason: str = ""


_LEDGER = Table(LedgerRow, "is not a ledger of VoxCeleb; choose another folder")


class Ledger:
    """The state of every clip, in a CSV file that is whole at any moment."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        rows = _LEDGER.read(self.path) if self.path.exists() else []
        self.rows = {row.clip: row for row in rows}

    def write(self) -> None:
        """Replace the file by one with the current rows."""
        _LEDGER.write(self.path, self.rows.values())

    def summary(self) -> str:
        """One line, e.g. "525 clips: 301 done, 220 failed, 4 to do"."""
        counts = Counter(row.state for row in self.rows.values())
        return f"{len(self.rows)} clips: " + ", ".join(
            f"{counts[name]} {name}" for name in (DONE, FAILED, TO_DO)
        )


def fetch_voxceleb(
    metadata: str | os.PathLike,
    out: str | os.PathLike,
    partition: str | None = None,
    size: int = 256,
    form: str = "mp4",
    url: str = YOUTUBE,
    jobs: int = 1,
    limit: int | None = None,
    retry: bool = False,
    keep_videos: bool = False,
    ytdlp: dict | None = None,
) -> Ledger:
    """Make the VoxCeleb data set, or continue to.

    For every video: fetch it with yt-dlp; for every clip of it: cut, crop, resize, write, check that it
    moves. After every video the ledger is on disk. Started again, it continues with what is still "to do",
    and with `retry` also with what failed. The clips of a video that no longer exists are "failed"; those of
    a video that cannot be reached now (no network, too many requests) stay "to do", with the reason.

    Args:
        metadata: the published list, see `read_metadata`.
        out: the folder to fill: `train/`, `test/`, `ledger.csv`, and `videos/` for videos in progress.
        partition: "train" or "test", None for both.
        size: width and height of the clips.
        form: "mp4" (a file a clip), or "png" or "jpg" (a folder of frames a clip).
        url: the address of a video, with `{video_id}` in it.
        jobs: videos at a time.
        limit: stop after this many videos; None takes all.
        retry: try again what failed before.
        keep_videos: keep the fetched videos; else each is removed when its clips are made.
        ytdlp: more options for `yt_dlp.YoutubeDL`, e.g. `{"cookiesfrombrowser": ("firefox",)}`.

    Returns:
        The ledger; `ledger.summary()` says it in one line.

    Raises:
        InputError: a bad argument or list, no yt-dlp, ten videos in a row out of reach, the disk is full.

    Example:
        >>> fetch_voxceleb("vox-metadata.csv", "data/vox", "test").summary()    # doctest: +SKIP
        '525 clips: 301 done, 220 failed, 4 to do'
    """
    _check_arguments(size, form, url, jobs, limit)
    clips = read_metadata(metadata, partition)
    require_module("yt_dlp", "fomm voxceleb needs yt-dlp", "voxceleb")
    out = Path(out).absolute()  # another process writes there
    for folder in ("videos", *sorted({clip.partition for clip in clips})):
        make_folder(out / folder)

    with only_writer(out):
        remove_leftovers(out, *{out / clip.partition for clip in clips})
        ledger = Ledger(out / "ledger.csv")
        videos: dict[str, list[VoxClip]] = {}
        for clip in _still_to_do(clips, ledger, out, retry):
            videos.setdefault(clip.video_id, []).append(clip)
        ledger.write()

        work = [
            delayed(_fetch_video)(video_id, of_video, out, size, form, url, keep_videos, ytdlp or {})
            for video_id, of_video in list(videos.items())[:limit]
        ]
        out_of_reach = 0
        with tqdm(total=len(work), desc="VoxCeleb", unit="video", disable=None) as bar:
            for rows in as_completed(work, jobs):
                ledger.rows.update((row.clip, row) for row in rows)
                ledger.write()
                bar.update()
                out_of_reach = out_of_reach + 1 if all(row.state == TO_DO for row in rows) else 0
                if out_of_reach == PATIENCE:
                    raise InputError(
                        f"{PATIENCE} videos in a row were out of reach, the last with: {rows[0].reason}; "
                        "check the network, then start again: it continues from here"
                    )
        return ledger


def _check_arguments(size: int, form: str, url: str, jobs: int, limit: int | None) -> None:
    if not isinstance(size, int) or not 2 <= size <= LARGEST_SIZE or size % 2:
        raise InputError(f"size={size!r}; must be an even number of pixels from 2 to {LARGEST_SIZE}")
    if limit is not None:
        check_integer("limit", limit, 0)
    if form not in FORMATS:
        raise InputError(f"format {form!r}: choose {', '.join(FORMATS)}")
    if "{video_id}" not in url:
        raise InputError(f"url {url!r}: must contain {{video_id}}")
    check_integer("jobs", jobs, 1)


def _still_to_do(clips: list[VoxClip], ledger: Ledger, out: Path, retry: bool) -> Iterator[VoxClip]:
    """The clips that need work. Also brings the ledger up to date: all clips, and which of them are there."""
    for clip in clips:
        row = ledger.rows.setdefault(clip.name, LedgerRow(clip.name, clip.partition, clip.video_id))
        if _place(clip, out).exists():
            # Files appear whole or not at all, so this one is done, even if a run was killed before it wrote
            # the ledger.
            row.state, row.reason = DONE, ""
        elif row.state != FAILED or retry:
            row.state = TO_DO
            yield clip


def _place(clip: VoxClip, out: Path) -> Path:
    """The file of a clip, or its folder of frames, which has the same published name, `.mp4` included."""
    return out / clip.partition / clip.name


def _fetch_video(
    video_id: str,
    clips: list[VoxClip],
    out: Path,
    size: int,
    form: str,
    url: str,
    keep_video: bool,
    ytdlp: dict,
) -> list[LedgerRow]:
    """Fetch one video and make its clips; one row of the ledger for each."""
    rows = [LedgerRow(clip.name, clip.partition, video_id) for clip in clips]
    try:
        video = download(video_id, out / "videos", url, ytdlp)
    except DownloadFailed as error:
        for row in rows:
            row.state, row.reason = TO_DO if error.may_pass else FAILED, str(error)
        return rows
    for clip, row in zip(clips, rows, strict=True):
        try:
            # The video is of unknown origin: its decoder may hang or crash, so it runs in another process.
            arguments = video, clip, _place(clip, out), size, form
            frames, row.reason = guarded_call(make_clip, *arguments, seconds=CUT_SECONDS)
        except CallStopped as stop:
            frames, row.reason = 0, str(stop)
        except OSError as error:
            text = f"cannot be written ({error.strerror}); make room, then start again"
            raise InputError(f"{out}: {text}") from error
        row.state, row.frames = (DONE, frames) if frames else (FAILED, None)
    if not keep_video:
        video.unlink()
    return rows


class DownloadFailed(Exception):
    """A video cannot be fetched; `may_pass` says whether another try later may succeed."""

    def __init__(self, reason: str, may_pass: bool):
        super().__init__(reason)
        self.may_pass = may_pass


def download(video_id: str, folder: Path, url: str = YOUTUBE, options: dict | None = None) -> Path:
    """Fetch one video with yt-dlp, without audio; continue an interrupted download.

    Args:
        video_id: replaces `{video_id}` in `url`.
        folder: where the file goes, under the name of the video.
        options: for `yt_dlp.YoutubeDL`; they override those chosen here.

    Returns:
        The file.

    Raises:
        DownloadFailed: with the reason in one line.
        InputError: yt-dlp is not installed, or the disk is full.
    """
    import yt_dlp

    there = [path for path in folder.glob(f"{video_id}.*") if path.suffix not in (".part", ".ytdl", ".temp")]
    if there:
        return there[0]
    settings = {
        # 256 pixels of a head need at most 1080 lines; with `?`, a format of unknown height is allowed too.
        "format": "bv*[height<=?1080][ext=mp4]/bv*[height<=?1080]/b",
        "paths": {"home": str(folder)},
        "outtmpl": {"default": f"{video_id}.%(ext)s"},
        "noplaylist": True,
        "socket_timeout": 30,
        "quiet": True,
        "noprogress": True,
        "logger": log.getChild("yt_dlp"),
        "color": "no_color",
        **(options or {}),
    }
    try:
        with yt_dlp.YoutubeDL(settings) as fetcher:
            info = fetcher.extract_info(url.replace("{video_id}", video_id))
            return Path(info["requested_downloads"][0]["filepath"])
    except yt_dlp.utils.YoutubeDLError as error:
        if f"[Errno {errno.ENOSPC}]" in str(error):
            raise InputError(f"{folder}: the disk is full; make room, then start again") from error
        raise DownloadFailed(_reason(error), _may_pass(error)) from error


def _reason(error: Exception) -> str:
    """The message of yt-dlp in one line, without colours and its request to report the error."""
    text = printable(re.sub(r"\x1b\[[0-9;]*m", "", str(error))).removeprefix("ERROR: ")
    return text.split("; please report this")[0][:300]


def _may_pass(error: Exception) -> bool:
    """Whether the cause is the network or the number of requests, not the video."""
    from yt_dlp.networking.exceptions import HTTPError, TransportError

    for cause in _causes(error):
        if isinstance(cause, HTTPError):
            return cause.status in (403, 408, 425, 429) or cause.status >= 500
        if isinstance(cause, TransportError):
            return True
    text = str(error).lower()
    return any(words in text for words in ("not a bot", "rate-limit", "too many requests", "try again later"))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error of yt-dlp and the errors that caused it, which it keeps in three places."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        error = waiting.pop(0)
        if not isinstance(error, BaseException) or error in seen:
            continue
        seen.append(error)
        yield error
        waiting += [(getattr(error, "exc_info", None) or (None, None))[1], getattr(error, "cause", None)]
        waiting += [error.__cause__, error.__context__]


def make_clip(video: Path, clip: VoxClip, place: Path, size: int, form: str) -> tuple[int, str]:
    """Cut one clip out of a video, and write it if it is fit to train on.

    Args:
        video: the file that was fetched.
        clip: what to cut.
        place: the file (mp4) or the folder (png, jpg) to write; it appears whole or not at all.
        size: width and height.
        form: "mp4", "png" or "jpg".

    Returns:
        The number of its frames, and a note; 0 and the reason if there is no clip.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    try:
        moments = cut(video, clip, size)
        fps, first = next(moments, (None, None))
        if first is None:
            raise _Unfit("the video ends before this clip begins")
        frames = chain([first], (frame for _, frame in moments))
        count = _write_mp4(frames, place, fps, size) if form == "mp4" else _write_folder(frames, place, form)
    except _Unfit as error:
        return 0, str(error)
    except (av.FFmpegError, InputError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        full_or_closed = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}
        if isinstance(cause, OSError) and cause.errno in full_or_closed:
            raise OSError(cause.errno, cause.strerror) from error
        return 0, " ".join(str(error).split())
    announced = round((clip.end - clip.start) * fps)
    short = f"short: the video ends after {count} of {announced} frames"
    return count, short if count < 0.9 * announced else ""


class _Unfit(Exception):
    """A clip that must not become part of the data set."""


def _write_mp4(frames: Iterable[np.ndarray], place: Path, fps: Fraction, size: int) -> int:
    with atomic_output(place) as temporary:
        options = {"overwrite": True, "keyframe_every": KEYFRAME_EVERY}
        with VideoWriter(temporary, fps, (size, size), **options) as writer:
            for frame in frames:
                writer.write(frame)
        report = check_file(temporary)
        if report.verdict != "fit":
            raise _Unfit(f"{report.verdict}: {report.reason}")
    return writer.frames


def _write_folder(frames: Iterable[np.ndarray], place: Path, form: str) -> int:
    with atomic_folder(place) as temporary:
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(temporary / f"{number:07d}.{form}", quality=95)
        clip = FolderClip(temporary)
        if len(clip) < 2:
            raise _Unfit("single_frame: one frame only")
        most = largest_change(clip)
        if most <= STILL_CHANGE:
            raise _Unfit(f"frozen: nothing moves (no part by more than {most} grey levels)")
    return len(clip)


def cut(video: Path, clip: VoxClip, size: int) -> Iterator[tuple[Fraction, np.ndarray]]:
    """The frames of a clip, one at a time, cropped and resized, each with the frame rate of the video.

    Decodes from the key frame before the clip, not from the beginning. A frame belongs to the clip if its
    time is in [start, end), with a tolerance of a millisecond, because some containers round to it.
    """
    tolerance = Fraction(1, 1000)
    with open_video(video) as stream:
        if stream is None:
            raise _Unfit("is an image, not a video")
        to_rgb = ToRgb(stream)
        fps = Fraction(stream.average_rate or 25)
        zero = stream.start_time or 0
        stream.container.seek(zero + int(clip.start / stream.time_base), stream=stream)
        for frame in decoded_frames(stream):
            if frame.pts is None:
                raise _Unfit("the video has no time stamps")
            seconds = (frame.pts - zero) * stream.time_base + tolerance
            if seconds >= clip.end:
                return
            if seconds >= clip.start:
                yield fps, _crop(to_rgb(frame), clip, size)


def _crop(frame: np.ndarray, clip: VoxClip, size: int) -> np.ndarray:
    height, width = frame.shape[:2]
    x0, x1 = (min(max(int(part * width), 0), width) for part in clip.box[::2])
    y0, y1 = (min(max(int(part * height), 0), height) for part in clip.box[1::2])
    if x1 - x0 < 2 or y1 - y0 < 2:
        raise _Unfit(f"the box lies outside the image of {width}x{height}")
    return resize_array(frame[y0:y1, x0:x1], (size, size))
