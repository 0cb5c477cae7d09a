"""Every portrait moves like every video: a data set of expressions grown from a few images and clips.

    fomm augment --sources faces --drivings clips --out grown --jobs 4

Each pair becomes one video and one row of `manifest.csv`, which says from what it was made, how, and with
what result. A pair that cannot be made is a row too, and the others continue. Started again, `augment` makes
the missing pairs, and tries those that failed again.

The names are `portrait#clip.mp4`, so that training knows the persons: the part before the first `#` is one
person (`data.datasets`, `id_sampling`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from tqdm.auto import tqdm

from fomm_lib.animation.animate import Animation, animate
from fomm_lib.animation.animator import sizes_of
from fomm_lib.animation.fast import FastModel
from fomm_lib.animation.options import AnimateOptions, show_options
from fomm_lib.checkpoints import weights_path
from fomm_lib.data.tables import Table
from fomm_lib.errors import InputError, check_integer, printable
from fomm_lib.files import DEFAULT_WEIGHTS, disk_is_full, make_folder, only_writer, remove_leftovers
from fomm_lib.media.faces import has_detector, read_faces
from fomm_lib.media.folders import files_in
from fomm_lib.media.formats import PORTRAIT_SUFFIXES, VIDEO_SUFFIXES
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import VideoReader, read_image
from fomm_lib.model import load_model

MANIFEST = "manifest.csv"
WRITTEN_EVERY = 5.0  # seconds; pairs made since then are made again if the process is killed
MEASURED_FRAMES = 16  # of a result, evenly spread, in which faces are read
NOT_FOR_DATA = ("compare", "zoom", "enlarge")  # options of `animate` that only help to inspect a result


@dataclass
class Pair:
    """One row of the manifest.

    Attributes:
        file: the video made, in the folder of the manifest.
        source, driving: portrait and driving video, in their folders.
        verdict: `made`, or `failed`.
        reason: why it failed, or the warnings, in one line.
        frames, fps, size: of the video.
        crop, driving_crop: the squares used, `x,y,side`.
        best_frame: the reference frame.
        movement: mean absolute difference of successive frames, in grey levels: 0 is a still image.
        faces: fraction of frames in which a face is found; empty without the extra `faces`, as the next.
        identity: mean distance of dlib's embeddings of the frames and of the portrait: two images of one
            person are mostly less than 0.6 apart. Empty if no face is found.
        settings: the options of `animate`, as JSON.
        weights, weights_sha256: of the model.
        seconds: how long it took.
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


_TABLE = Table(Pair, "is no manifest of this program; choose another folder")


@show_options(*NOT_FOR_DATA)
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
        out: the folder for the videos and the manifest; it is made, or continued if it exists.
        weights, config, device: see `model.load_model`.
        jobs: number of processes; -1 is one per core. The cores are shared among them.
        limit: the largest number of pairs to make now; the others are left for the next time.
        progress: show a bar.
        settings: as for `animate`, e.g. `crop="auto"`, `best_frame="auto"`, `size=256`; see
            `options.AnimateOptions`.
    Returns:
        The rows of the manifest: every pair made or tried so far, sorted by name.
    Raises:
        InputError: a folder without files, a setting with which no pair could be made, an `out` that was
            made with other settings or weights, or into which another process writes; or the disk is full.
            Pairs made before are kept.

    Example:
        >>> rows = augment("faces", "clips", "grown", crop="auto", jobs=4)   # doctest: +SKIP
        >>> sum(row.verdict == "made" for row in rows)                      # doctest: +SKIP
        24
    """
    options = AnimateOptions.of(settings, without=NOT_FOR_DATA)
    if jobs != -1 and jobs < 1:
        raise InputError(f"jobs={jobs}: must be at least 1, or -1 for one per core")
    if limit is not None:
        check_integer("limit", limit, 1)
    images = files_in(sources, PORTRAIT_SUFFIXES, "portraits")
    videos = files_in(drivings, VIDEO_SUFFIXES, "videos")
    path = weights_path(weights)
    model = FastModel(load_model(path, None if config is None else str(config), device))
    _, result = sizes_of(model, options.size, options.fast)  # an error of the model is raised once, here
    how = {"size": max(result), **settings} | ({"config": str(config)} if config else {})
    alike = {
        "settings": json.dumps(how, sort_keys=True),
        "weights": str(weights),
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give the name of a folder")
    found = [path.name for path in out.iterdir() if path.name[0] != "."] if out.is_dir() else []
    if found and MANIFEST not in found:
        raise InputError(f"{out}: holds files, but no {MANIFEST} to continue; choose another folder")
    make_folder(out)
    pairs = [Pair(_name(a, b, images, videos), a.name, b.name, **alike) for a in images for b in videos]
    with only_writer(out):
        remove_leftovers(out)
        rows = {row.file: row for row in read_manifest(out)}
        _check_continues(out, rows.values(), alike)
        missing = [
            pair
            for pair in pairs
            if rows.get(pair.file, pair).verdict != "made" or not (out / pair.file).is_file()
        ][:limit]
        here = Path(sources), Path(drivings), out
        _make_all(missing, rows, here, model, jobs, settings, progress)
    return [rows[file] for file in sorted(rows)]


def _make_all(
    missing: list[Pair],
    rows: dict[str, Pair],
    here: tuple[Path, Path, Path],
    model: FastModel,
    jobs: int,
    settings: dict[str, Any],
    progress: bool,
) -> None:
    """Make the missing pairs; their rows are added to `rows`, and to the manifest."""
    *_, out = here
    _write_manifest(out, rows.values())  # now, as a folder without one is not continued
    threads = max(1, torch.get_num_threads() // effective_n_jobs(jobs))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shared = Path(folder) / "model.pt"
        torch.save(model, shared)
        work = Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(_make)(pair, here, shared, threads, settings) for pair in missing
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


def read_manifest(out: str | os.PathLike) -> list[Pair]:
    """The rows of the manifest in a folder; none if there is no manifest.

    Raises:
        InputError: the file is not such a manifest.

    Example:
        >>> read_manifest("no-such-folder")
        []
    """
    path = Path(out) / MANIFEST
    return _TABLE.read(path) if path.is_file() else []


def _write_manifest(out: Path, rows: Iterable[Pair]) -> None:
    _TABLE.write(out / MANIFEST, sorted(rows, key=lambda row: row.file))


# --- what to make --------------------------------------------------------------------------------------


def _name(source: Path, driving: Path, images: list[Path], videos: list[Path]) -> str:
    """`portrait#clip.mp4`; files whose names differ in their suffixes only keep these: `ann.png#...`."""
    parts = []
    for path, others in ((source, images), (driving, videos)):
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
def _model(shared: Path) -> FastModel:
    """The model as `augment` has rearranged it, once for all pairs.

    On a CPU the processes map the same file into memory, which holds the weights only once. It is a pickle,
    and safe: this program has just written it, into a folder that nobody else may open.
    """
    try:
        return torch.load(shared, mmap=True, weights_only=False)
    except RuntimeError:  # memory of a GPU cannot be mapped
        return torch.load(shared, weights_only=False)


def _make(
    pair: Pair,
    here: tuple[Path, Path, Path],
    shared: Path,
    threads: int,
    settings: dict[str, Any],
) -> Pair:
    """Make one pair; any error becomes the verdict of its row."""
    started = time.monotonic()
    sources, drivings, out = here
    torch.set_num_threads(threads)
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", UserWarning)
            source, driving, output = sources / pair.source, drivings / pair.driving, out / pair.file
            result = animate(
                _model(shared), source, driving, output, overwrite=True, progress=False, **settings
            )
        said = [str(warning.message) for warning in heard if warning.category is UserWarning]
        pair.verdict, pair.reason = "made", printable("; ".join(dict.fromkeys(said)))
        pair.frames, pair.fps = result.frames, round(float(result.fps), 4)
        pair.size = "{}x{}".format(*result.size)
        pair.crop = ",".join(map(str, result.crop))
        pair.driving_crop = ",".join(map(str, result.driving_crop))
        pair.best_frame = result.best_frame
        _measure(pair, source, result)
    except Exception as error:  # one bad pair must not stop the others
        if disk_is_full(error):
            raise  # none of the others could be written
        pair.verdict, pair.reason = "failed", printable(error) or type(error).__name__
    pair.seconds = round(time.monotonic() - started, 2)
    return pair


def _measure(pair: Pair, source: Path, result: Animation) -> None:
    """Read the result again, frame by frame, and measure movement, faces and identity."""
    step = max(1, result.frames // MEASURED_FRAMES)
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
    portrait = to_tensor(read_image(source))[None]
    shown, before = read_faces(torch.stack([to_tensor(frame) for frame in kept])), read_faces(portrait)
    pair.faces = round(float(shown.found.mean()), 3)
    distance = np.linalg.norm(shown.identity - before.identity, axis=1)
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
