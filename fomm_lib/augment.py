"""Every portrait moves like every video: a data set of expressions grown from a few pictures and clips.

    fomm augment --sources faces --drivings clips --out grown --jobs 4

Each pair becomes one video and one row of `manifest.csv`, which says of what it was made and how, and how it
came out. A pair that cannot be made is a row too, and the others go on. Started again, it makes what is
missing, and those that failed once more.

The names are `portrait#clip.mp4`, so that training knows who is who: what stands before the first `#` is one
person (`datasets`, `id_sampling`).
"""

from __future__ import annotations

import csv
import errno
import functools
import io
import json
import os
import time
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import torch
from joblib import Parallel, delayed, effective_n_jobs
from tqdm.auto import tqdm

from fomm_lib.animation import Animation, animate, check_size
from fomm_lib.checkpoints import weights_path
from fomm_lib.datasets import PICTURE_SUFFIXES, VIDEO_SUFFIXES, to_tensor
from fomm_lib.face_metrics import average_euclidean_distance, read_faces
from fomm_lib.faces import has_detector
from fomm_lib.files import DEFAULT_WEIGHTS, InputError, atomic_output
from fomm_lib.model import FirstOrderMotionModel, load_model
from fomm_lib.movement import Movement
from fomm_lib.video import VideoReader, read_picture

MANIFEST = "manifest.csv"
WRITTEN_EVERY = 5.0  # seconds; what was made since then is made again should the process be killed
LOOKED_AT = 16  # frames of a result, evenly spread, by which it is judged
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_PICTURES = PICTURE_SUFFIXES | {".webp", ".bmp", ".tif", ".tiff", ".avif"}


@dataclass
class Pair:
    """One row of the manifest.

    Attributes:
        file: the video made, in the folder of the manifest.
        source, driving: portrait and driving video, in their folders.
        verdict: `made`, or `failed`.
        reason: why it failed, or what was warned of, in one line.
        frames, fps, size: of the video.
        crop, driving_crop: the squares used, `x,y,side`.
        best_frame: the reference frame.
        movement: mean absolute difference of successive frames, in grey levels: 0 is a still picture.
        faces: share of frames in which a face is found; empty without the extra `faces`, as the next.
        identity: mean distance of dlib's embeddings of the frames and of the portrait: two pictures of one
            person are mostly below 0.6 apart. Empty where no face is found.
        settings: all that `animate` was told, as JSON.
        weights, weights_sha256: of the model.
        seconds: it took.
    """

    file: str
    source: str
    driving: str
    verdict: str = ""
    reason: str = ""
    frames: int | None = None
    fps: float | None = None
    size: str = ""
    crop: str = ""
    driving_crop: str = ""
    best_frame: int | None = None
    movement: float | None = None
    faces: float | None = None
    identity: float | None = None
    settings: str = ""
    weights: str = ""
    weights_sha256: str = ""
    seconds: float | None = None


_COLUMNS = [column.name for column in fields(Pair)]


def augment(
    sources: str | os.PathLike,
    drivings: str | os.PathLike,
    out: str | os.PathLike,
    *,
    weights: str | os.PathLike = DEFAULT_WEIGHTS,
    config: str | os.PathLike | None = None,
    device: str | None = None,
    jobs: int = 1,
    limit: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> list[Pair]:
    """Animate every portrait of a folder by every video of another.

    Args:
        sources: a folder of portraits.
        drivings: a folder of videos.
        out: the folder for the videos and the manifest; it is made, and continued where it is there.
        weights, config, device: see `model.load_model`.
        jobs: processes at a time; -1 is one a core. The cores are shared among them.
        limit: make so many pairs at most, the others the next time.
        progress: show a bar.
        settings: of `animation.animate`, e.g. `crop="auto"`, `best_frame="auto"`, `size=256`.
    Returns:
        The rows of the manifest: every pair made or tried so far, in order of their names.
    Raises:
        InputError: a folder without files, a setting that no pair could be made with, or an `out` that was
            made with other settings or weights.
        OSError: the disk is full; what was made before is kept.

    Example:
        >>> rows = augment("faces", "clips", "grown", crop="auto", jobs=4)   # doctest: +SKIP
        >>> sum(row.verdict == "made" for row in rows)                      # doctest: +SKIP
        24
    """
    _check(settings)
    if jobs != -1 and jobs < 1:
        raise InputError(f"jobs={jobs}: must be at least 1, or -1 for one a core")
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit}: must be at least 1")
    pictures = _files(sources, _PICTURES, "portraits (JPEG, PNG, ...)")
    videos = _files(drivings, VIDEO_SUFFIXES, "videos (mp4, mov, webm, ...)")
    path = weights_path(weights)
    model = str(path), None if config is None else str(config), device
    check_size(_model(*model), settings.get("size"))  # what is wrong with the model is said once, here
    alike = {
        "settings": json.dumps({**settings, **({"config": str(config)} if config else {})}, sort_keys=True),
        "weights": str(weights),
        "weights_sha256": pooch.file_hash(str(path), alg="sha256"),
    }
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give the name of a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise InputError(f"{out}: holds files, but no {MANIFEST} to continue; choose another folder")
    rows = {row.file: row for row in read_manifest(out)}
    _check_continues(out, rows.values(), alike)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: this folder cannot be made ({error.strerror})") from error
    pairs = [Pair(_name(a, b, pictures, videos), a.name, b.name, **alike) for a in pictures for b in videos]
    missing = [
        pair
        for pair in pairs
        if rows.get(pair.file, pair).verdict != "made" or not (out / pair.file).is_file()
    ][:limit]
    threads = max(1, torch.get_num_threads() // effective_n_jobs(jobs))
    here = Path(sources), Path(drivings), out
    work = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(_make)(pair, here, model, threads, settings) for pair in missing
    )
    written = time.monotonic()
    try:
        for row in tqdm(work, total=len(missing), unit="pair", disable=not progress):
            rows[row.file] = row
            if time.monotonic() - written > WRITTEN_EVERY:
                _write_manifest(out, rows.values())
                written = time.monotonic()
    finally:  # Ctrl-C too
        _write_manifest(out, rows.values())
    return [rows[file] for file in sorted(rows)]


def read_manifest(out: str | os.PathLike) -> list[Pair]:
    """The rows of the manifest in a folder; none where there is none.

    Raises:
        InputError: it is no manifest of this kind.
    """
    path = Path(out) / MANIFEST
    if not path.is_file():
        return []
    numbers = {"frames": int, "best_frame": int} | dict.fromkeys(
        ["fps", "movement", "faces", "identity", "seconds"], float
    )
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            if reader.fieldnames != _COLUMNS:
                raise ValueError("it has other columns")
            rows = list(reader)
        for row in rows:
            if len(row) != len(_COLUMNS) or None in row.values():
                raise ValueError("a row is shorter or longer than the others")
            for name, kind in numbers.items():
                row[name] = kind(row[name]) if row[name] else None
        return [Pair(**row) for row in rows]
    except (ValueError, TypeError, csv.Error) as error:  # no text, no table, or no numbers
        raise InputError(f"{path}: is no manifest of this program; choose another folder") from error


def _write_manifest(out: Path, rows: Iterable[Pair]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in sorted(rows, key=lambda row: row.file))
    with atomic_output(out / MANIFEST, overwrite=True) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


# --- what to make --------------------------------------------------------------------------------------


def _check(settings: dict[str, Any]) -> None:
    known = {
        "relative",
        "adapt_scale",
        "strength",
        "smooth",
        "best_frame",
        "crop",
        "driving_crop",
        "size",
        "paste_back",
        "watermark",
        "batch_size",
    }
    for name in settings:
        if name not in known:
            raise InputError(f"{name}: there is no such setting; there are {', '.join(sorted(known))}")
    of_movement = [name for name in (field.name for field in fields(Movement)) if name in settings]
    Movement(**{name: settings[name] for name in of_movement})
    if settings.get("batch_size", 1) < 1:
        raise InputError(f"batch_size = {settings['batch_size']}: must be at least 1")


def _files(folder: str | os.PathLike, suffixes: set[str], what: str) -> list[Path]:
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the path")
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith(".")
    ]  # hidden ones are notes of macOS, or parts of something that is still written
    if not found:
        raise InputError(f"{folder}: there are no {what} in it")
    return found


def _name(source: Path, driving: Path, pictures: list[Path], videos: list[Path]) -> str:
    """`portrait#clip.mp4`; two files whose names differ in their endings only keep them: `ann.png#...`."""
    parts = []
    for path, others in ((source, pictures), (driving, videos)):
        alone = sum(other.stem == path.stem for other in others) == 1
        parts.append((path.stem if alone else path.name).replace("#", "-"))
    return f"{parts[0]}#{parts[1]}.mp4"


def _check_continues(out: Path, rows: Iterable[Pair], alike: dict[str, str]) -> None:
    for row in rows:
        for name in ("settings", "weights_sha256"):
            if getattr(row, name) != alike[name]:
                text = f"was made with other {name.split('_')[0]} ({getattr(row, name)})"
                raise InputError(f"{out}: {text}; choose another folder, or delete this one")


# --- in each process -----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _model(weights: str, config: str | None, device: str | None) -> FirstOrderMotionModel:
    return load_model(weights, config, device)


def _make(
    pair: Pair,
    here: tuple[Path, Path, Path],
    model: tuple[str, str | None, str | None],
    threads: int,
    settings: dict[str, Any],
) -> Pair:
    """Make one pair; whatever goes wrong with it is its row's verdict."""
    started = time.monotonic()
    sources, drivings, out = here
    torch.set_num_threads(threads)
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", UserWarning)
            source, output = sources / pair.source, out / pair.file
            result = animate(
                _model(*model),
                source,
                drivings / pair.driving,
                output,
                overwrite=True,
                progress=False,
                **settings,
            )
        said = [str(warning.message) for warning in heard if warning.category is UserWarning]
        pair.verdict, pair.reason = "made", " ".join("; ".join(dict.fromkeys(said)).split())
        _describe(pair, result)
        _judge(pair, source, result)
    except Exception as error:  # one bad pair must not stop a thousand good ones
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise  # none of the thousand could be written
        pair.verdict, pair.reason = "failed", " ".join(f"{error}".split()) or type(error).__name__
    pair.seconds = round(time.monotonic() - started, 2)
    return pair


def _describe(pair: Pair, result: Animation) -> None:
    pair.frames, pair.fps = result.frames, round(float(result.fps), 4)
    pair.size = "{}x{}".format(*result.size)
    pair.crop = ",".join(map(str, result.crop))
    pair.driving_crop = ",".join(map(str, result.driving_crop))
    pair.best_frame = result.best_frame


def _judge(pair: Pair, source: Path, result: Animation) -> None:
    """Read the result again, a frame at a time, and measure it."""
    step = max(1, result.frames // LOOKED_AT)
    kept, changes, last = [], [], None
    for number, frame in enumerate(VideoReader(result.path)):
        if last is not None:
            changes.append(np.abs(frame.astype(np.int16) - last).mean())
        last = frame.astype(np.int16)
        if number % step == 0:
            kept.append(frame)
    pair.movement = round(float(np.mean(changes)), 3) if changes else 0.0
    if not has_detector():
        return
    portrait = to_tensor(read_picture(source))[None]
    shown, before = read_faces(torch.stack([to_tensor(frame) for frame in kept])), read_faces(portrait)
    pair.faces = round(float(shown.found.mean()), 3)
    distance = average_euclidean_distance(shown.identity, np.repeat(before.identity, len(kept), axis=0))
    if np.isfinite(distance).any():
        pair.identity = round(float(np.nanmean(distance)), 3)


def summary(rows: Iterable[Pair]) -> str:
    """One line: how many were made, how many failed, and the first reason.

    Example:
        >>> summary([Pair("a#b.mp4", "a.png", "b.mp4", verdict="made")])
        '1 pair: 1 made'
    """
    rows = list(rows)
    failed = [row for row in rows if row.verdict == "failed"]
    made = len(rows) - len(failed)
    text = f"{len(rows)} pair{'s' * (len(rows) != 1)}: {made} made"
    return text + (f", {len(failed)} failed (the first: {failed[0].reason})" if failed else "")
