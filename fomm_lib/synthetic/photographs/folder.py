"""Folders of clips of photographs to train on: `photographs`, what `fomm photographs` does."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fomm_lib.errors import InputError, error_text
from fomm_lib.files import make_folder, remove_leftovers
from fomm_lib.synthetic.clip import check_integer
from fomm_lib.synthetic.folder import check_folder, clip_path, note_settings, write_clip, write_missing
from fomm_lib.synthetic.photographs.clip import PhotographClip
from fomm_lib.synthetic.photographs.portraits import (
    TABLE,
    Row,
    check_installed,
    find_portraits,
    identity_of,
    load_photograph,
    survey,
)
from fomm_lib.synthetic.photographs.sheet import PORTRAITS, write_sheet
from fomm_lib.synthetic.truth import TRUTH_SIZE, truth_path, write_truth

LIST, SHEET, FITS = "portraits.csv", "sheet.jpg", "fits"
"""Names in the folder: what became of every portrait, an image of the first used ones, the kept fits."""


def photographs(
    portraits: str | os.PathLike,
    out: str | os.PathLike,
    clips: int,
    frames: int = 24,
    size: int = 256,
    seed: int = 0,
    *,
    truth: int = 0,
    jobs: int = 1,
    format: str = "png",
    fps: float = 2,
    first: int = 0,
    held_out: int | str | os.PathLike | None = None,
    fits: str | os.PathLike | None = None,
    crf: int = 18,
    progress: bool = True,
) -> list[Path]:
    """Make clips of photographs that move, into a folder that `FramePairs` and `pretrain` train on.

    Clips are in `out/train`, those of held-out people in `out/test`, named
    `photo<seed>-<portrait>#<clip>#0#<frames>`; the part before the first `#` is the person's identity. Used
    portraits take turns, in an order that depends on the seed. A clip appears whole or not at all; an
    existing clip is kept, so that an interrupted run can be resumed. Clip k depends on the portraits, but not
    on the number of jobs.

    `out/portraits.csv` says of every portrait whether it is used, why not, and what was measured;
    `out/sheet.jpg` shows the first used ones in some poses; `out/fits` keeps the fits.

    Args:
        portraits: a folder of photographs of one person each (.jpg, .png), from the front, before a plain
            background, with at least 30 pixels between the eyes.
        out: the folder; made if it does not exist.
        clips: how many, in train and test together.
        frames: of each clip; the first is the photograph as it is.
        size: width and height in pixels.
        seed: other seeds give other motion, framing and backgrounds.
        truth: number of frame pairs a clip whose true motion is written beside it; see `read_truth`. Lids and
            lips move more in them than by chance, see `PhotographClip.truth_pairs`.
        jobs: processes at a time; -1 for one per core.
        format: "png" for folders of images, or "mp4".
        fps: frames a second; a low number spreads few frames over a long time, so that poses differ.
        first: number of the first clip, to share the work among machines.
        held_out: people for `out/test`: how many (chosen by a hash of their names, the same for all seeds),
            or a text file with a name of a portrait, without its suffix, a line. By default nobody.
        fits: where fits are kept, to share them among folders; `out/fits` by default.
        crf: quality of the mp4, 0 (lossless) to 51.
        progress: whether to show bars.

    Returns:
        The paths of all requested clips.

    Raises:
        InputError: a number out of range, no portrait that can be used, a name in `held_out` that is none, a
            folder made with other settings or one that cannot be written; the extras `synthetic` and `faces`
            or EGL are missing.

    Example:
        >>> photographs("portraits", "photo", clips=100, truth=10, held_out=8, jobs=2)  # doctest: +SKIP
    """
    check_folder(clips, first, seed, frames, size, fps, format, crf, truth, jobs)
    paths, out = find_portraits(portraits), Path(out)
    held_out = _held_out_names(held_out, paths)
    check_installed()  # before a folder is made
    kept = out / FITS if fits is None else Path(fits)
    make_folder(out)
    make_folder(kept)
    remove_leftovers(out, kept)
    rows = _with_splits(survey(paths, kept, jobs, progress), held_out)
    TABLE.write(out / LIST, rows)
    used = [path for path, row in zip(paths, rows, strict=True) if row.used]
    if not used:
        raise InputError(f"{portraits}: none of {len(paths)} portraits can be used; see {out / LIST}")
    settings = {"photographs": _digest(used), "seed": seed, "frames": frames, "size": size, "fps": fps}
    settings |= {
        "format": format,
        "crf": crf,
        "held_out": _digest(sorted(r.identity for r in rows if r.split == "test")),
    }
    settings |= {"truth": truth} if truth else {}
    for split in sorted({row.split for row in rows if row.used}):
        note_settings(out / split, settings)
    if not (out / SHEET).exists():
        write_sheet(out / SHEET, (load_photograph(path, kept) for path in used[:PORTRAITS]))
    splits = {row.portrait: row.split for row in rows}
    order, tasks = np.random.default_rng([seed, 5]).permutation(len(used)), []
    for number in range(first, first + clips):
        path = used[order[number % len(used)]]
        name = f"photo{seed}-{identity_of(path)}#{number:05d}#0#{frames}"
        tasks.append((clip_path(out / splits[path.name], name, format), path, number))
    write_missing(partial(_write, fits=kept, settings=settings), tasks, jobs, progress, "animating")
    return [place for place, _, _ in tasks]


def _held_out_names(held_out: int | str | os.PathLike | None, paths: list[Path]) -> set[str] | int:
    """The identities that a file names, or the number of people as it is."""
    if held_out is None:
        return 0
    if isinstance(held_out, (int, np.integer)):
        check_integer("held_out", held_out, 0, 10**6)
        return int(held_out)
    try:
        lines = Path(held_out).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{held_out}: cannot be read as a list of names ({error_text(error)})") from error
    names = {line.strip() for line in lines if line.strip()}
    for name in sorted(names - {identity_of(path) for path in paths}):
        raise InputError(f"{held_out}: {name!r} is the name of no portrait; correct or remove it")
    return names


def _with_splits(rows: list[Row], held_out: set[str] | int) -> list[Row]:
    """Put the used portraits into train or test: a hash of the names says which are held out."""
    if isinstance(held_out, int):
        used = [row.identity for row in rows if row.used]
        used.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        held_out = set(used[:held_out])
    return [
        replace(row, split=("test" if row.identity in held_out else "train") if row.used else "")
        for row in rows
    ]


def _digest(items: list[Any]) -> str:
    """Of files, their names and content; of names, the names."""
    parts = [
        f"{p.name}\n".encode() + p.read_bytes() if isinstance(p, Path) else str(p).encode() for p in items
    ]
    return hashlib.sha256(b"\n".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _write(place: Path, path: Path, number: int, *, fits: Path, settings: dict[str, Any]) -> None:
    """Draw one clip and its truth into files or a folder that appear when they are whole."""
    seed, size = settings["seed"], settings["size"]
    photograph = load_photograph(path, fits)
    clip = PhotographClip(photograph, seed, number, settings["frames"], size, settings["fps"])
    if "truth" in settings:  # before the clip: every clip that exists has its truth
        small, count = clip.at_size(min(size, TRUTH_SIZE)), settings["truth"]
        write_truth(truth_path(place), small, count, small.truth_pairs(count))
    write_clip(place, clip, settings, f"a photograph, animated; fomm-lib, seed {seed}, clip {number}")
