"""Folders of synthetic clips to train on: `synthesize`, what `fomm synthesize` does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from fomm_lib.errors import InputError
from fomm_lib.files import atomic_folder, atomic_output, make_folder, remove_leftovers
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.folders import files_in
from fomm_lib.media.formats import IMAGE_SUFFIXES
from fomm_lib.media.video import read_image
from fomm_lib.synthetic.anatomy import data_folder
from fomm_lib.synthetic.categories.clip import CLIP_PREFIX, check_category, open_clip
from fomm_lib.synthetic.clip import RenderedClip, check_clip, check_integer
from fomm_lib.synthetic.labels import clip_labels, label_image, labels_folder
from fomm_lib.synthetic.truth import SETTINGS, TRUTH_SIZE, truth_path, write_truth


def synthesize(
    out: str | os.PathLike,
    clips: int,
    frames: int = 48,
    size: int = 128,
    seed: int = 0,
    *,
    jobs: int = 1,
    format: str = "mp4",
    fps: float = 25,
    first: int = 0,
    clips_per_person: int = 1,
    crf: int = 18,
    backgrounds: str | os.PathLike | None = None,
    truth: int = 0,
    labels: bool = False,
    category: str = "heads",
    progress: bool = True,
) -> list[Path]:
    """Render clips of synthetic heads, or of another category, into a folder that `FramePairs` trains on.

    Clips are named `synth<seed>-<person>#<clip>#<start>#<end>`, in other categories `animals<seed>-...`; the
    part before the first `#` is the identity of the person or thing. A clip appears whole or not at all; an
    existing clip is kept, so that an interrupted run can be resumed. Clip k does not depend on the other
    clips, nor on the number of jobs.

    Args:
        out: the folder; made if it does not exist.
        clips: how many.
        frames: of each clip.
        size: width and height in pixels.
        seed: other seeds give other people.
        jobs: processes at a time; -1 for one per core.
        format: "mp4", or "png" for folders of images.
        fps: frames a second; a low number spreads few frames over a long time, so that poses differ.
        first: number of the first clip, to share the work among machines.
        clips_per_person: how many clips in a row show the same person, in other light and motion.
        crf: quality of the mp4, 0 (lossless) to 51.
        backgrounds: a folder of images (.jpg, .png); about half of the clips get one of them behind the
            person, see `SyntheticClip`. By default all backgrounds are drawn.
        truth: number of frame pairs a clip whose true motion is written beside it; see `read_truth`.
        labels: write which part of the person every pixel shows, a PNG a frame, into `labels/<clip>/`; see
            `synthetic.labels`; of heads only.
        category: "heads", "bodies", "animals" or "vehicles"; see `categories.clip`.
        progress: whether to show a bar.

    Returns:
        The paths of all requested clips.

    Raises:
        InputError: a number out of range, another category, labels of other than heads, a folder made with
            other settings or one that cannot be written, no image in `backgrounds` or one that cannot be
            read; `anny`, `moderngl` or EGL is missing.

    Example:
        >>> synthesize("heads", clips=200, frames=24, size=64, seed=0, jobs=2)  # doctest: +SKIP
    """
    check_folder(clips, first, seed, frames, size, fps, format, crf, truth, jobs)
    check_integer("clips_per_person", clips_per_person, 1, 10**6)
    images = [] if backgrounds is None else _images(backgrounds)
    check_category(category)
    if labels and category != "heads":
        raise InputError(f"labels: only heads have part labels, not {category}; leave them out")
    if category == "heads":
        data_folder()  # this and the frame report what is missing before a folder is made
    open_clip(category, seed, first, frames, size, fps).frame(0)
    out = Path(out)
    settings = {"seed": seed, "frames": frames, "size": size, "fps": fps, "format": format}
    settings |= {"clips_per_person": clips_per_person, "crf": crf}
    if truth:
        settings["truth"] = truth
    if labels:
        settings["labels"] = True
    if category != "heads":
        settings["category"] = category
    if images:
        settings["backgrounds"] = hashlib.sha256(b"".join(path.read_bytes() for path in images)).hexdigest()
    note_settings(out, settings)
    tasks = []
    for number in range(first, first + clips):
        person = number // clips_per_person
        path = clip_path(out, f"{CLIP_PREFIX[category]}{seed}-{person:05d}#{number:05d}#0#{frames}", format)
        tasks.append((path, number, person))
    write_missing(
        partial(_write_clip, settings=settings, images=images), tasks, jobs, progress, "synthesizing"
    )
    return [path for path, _, _ in tasks]


def check_folder(
    clips: int,
    first: int,
    seed: int,
    frames: int,
    size: int,
    fps: float,
    format: str,
    crf: int,
    truth: int,
    jobs: int,
) -> None:
    """The arguments that all folders of clips have, of rendered heads and of photographs; see `synthesize`.

    Raises:
        InputError: a number is out of its range, the format is another, or an mp4 would have odd sides.

    Example:
        >>> check_folder(8, 0, seed=0, frames=24, size=64, fps=25, format="mp4", crf=18, truth=0, jobs=1)
    """
    check_integer("clips", clips, 1, 10**6)
    check_integer("first", first, 0, 10**6)
    check_clip(seed, first, frames, size, fps)
    check_integer("crf", crf, 0, 51)
    check_integer("truth", truth, 0, 10**4)
    if truth and frames < 2:
        raise InputError(f"truth={truth}: a motion is between two frames; give 2 frames or more")
    if format not in ("mp4", "png"):
        raise InputError(f"format={format!r}: choose 'mp4' or 'png'")
    if format == "mp4" and size % 2:
        raise InputError(f"size={size}: an mp4 has even sides; give {size + 1}, or the format png")
    if jobs != -1:
        check_integer("jobs", jobs, 1, 1024)


def clip_path(folder: Path, name: str, format: str) -> Path:
    """The file of a clip, or its folder of images.

    Example:
        >>> clip_path(Path("heads"), "synth0-00003#00003#0#24", "mp4").as_posix()
        'heads/synth0-00003#00003#0#24.mp4'
    """
    return folder / (f"{name}.mp4" if format == "mp4" else name)


def write_missing(
    write: Callable[..., None], tasks: list[tuple], jobs: int, progress: bool, description: str
) -> None:
    """Call `write(*task)` for every task whose path does not exist, in `jobs` processes.

    Args:
        write: a function that can be pickled.
        tasks: tuples that begin with the path of a clip. What killed runs left beside it, its truth and its
            labels is removed.
        description: of the progress bar.
    """
    folders = {place.parent for path, *_ in tasks for place in (path, labels_folder(path))}
    remove_leftovers(*folders)
    in_processes(write, [task for task in tasks if not task[0].exists()], jobs, progress, description)


def in_processes(
    function: Callable[..., None],
    tasks: list[tuple],
    jobs: int,
    progress: bool,
    description: str,
    unit: str = "clip",
) -> None:
    """Call `function(*task)`, which draws, for every task in `jobs` processes, with a progress bar."""
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
    done = parallel(joblib.delayed(_call)(function, task, jobs == 1) for task in tasks)
    for _ in tqdm(done, total=len(tasks), desc=description, unit=unit, disable=not progress):
        pass


def _call(function: Callable[..., None], task: tuple, alone: bool) -> None:
    if not alone:  # one drawing thread a process; Mesa reads this when the first context is made
        os.environ.setdefault("LP_NUM_THREADS", "0")
    function(*task)


def _images(folder: str | os.PathLike) -> list[Path]:
    """The images of a folder, by name; each can be read."""
    found = files_in(folder, IMAGE_SUFFIXES, "images for backgrounds")
    for path in found:
        read_image(path)
    return found


def note_settings(out: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a folder, or compare them with those it has.

    Raises:
        InputError: it has others, its file is damaged, or the folder cannot be made.
    """
    note = out / SETTINGS
    if note.exists():
        try:
            there = json.loads(note.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{note}: is damaged; delete it, or choose another folder") from error
        for name in sorted({*settings, "backgrounds", "category", "labels", "truth"}):
            if there.get(name) != settings.get(name):
                was = f"{name}={there.get(name)}, not {settings.get(name)}"
                raise InputError(f"{out}: holds clips made with {was}; choose another folder")
        return
    make_folder(out)
    with atomic_output(note) as temporary:
        temporary.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _background(rng: np.random.Generator, images: list[Path]) -> np.ndarray | None:
    """One of the images for about half of the clips, else none."""
    if not images or rng.uniform() < 0.5:
        return None
    return read_image(images[rng.integers(len(images))])


def _write_clip(
    path: Path, number: int, person: int, *, settings: dict[str, Any], images: list[Path]
) -> None:
    """Render one clip and its truth into files or a folder that appear when they are whole."""
    seed, size, fps = settings["seed"], settings["size"], settings["fps"]
    category = settings.get("category", "heads")
    make = partial(open_clip, category, seed, number, settings["frames"], fps=fps, person_number=person)
    clip = make(size, background=_background(np.random.default_rng([seed, number, 4]), images))
    if "truth" in settings:  # before the clip: every clip that exists has its truth
        write_truth(truth_path(path), make(min(size, TRUTH_SIZE)), settings["truth"])
    if "labels" in settings:
        _write_labels(labels_folder(path), make(size))
    shown = "synthetic head, no real person" if category == "heads" else f"synthetic, one of {category}"
    write_clip(path, clip, settings, f"{shown}; fomm-lib, seed {seed}, clip {number}")


def write_clip(path: Path, clip: Iterable[np.ndarray], settings: dict[str, Any], comment: str) -> None:
    """Write a clip into a file or folder that appears when it is whole.

    Args:
        clip: its images, uint8 (size, size, 3).
        settings: of the folder: format, size, fps, crf.
        comment: for the metadata of an mp4.
    """
    if settings["format"] == "mp4":
        side = settings["size"]
        with VideoWriter(
            path,
            settings["fps"],
            (side, side),
            crf=settings["crf"],
            keyframe_every=12,
            metadata={"comment": comment},
            repeatable=True,
        ) as writer:
            for frame in clip:
                writer.write(frame)
        return
    with atomic_folder(path) as temporary:
        for k, frame in enumerate(clip):
            Image.fromarray(frame).save(temporary / f"{k:04d}.png")


def _write_labels(folder: Path, clip: RenderedClip) -> None:
    """The labels of every frame as 0000.png, 0001.png, ... into a folder that appears when it is whole."""
    folder.parent.mkdir(exist_ok=True)
    with atomic_folder(folder, overwrite=True, replaceable=r"\d+\.png") as temporary:
        for k in range(len(clip)):
            label_image(clip_labels(clip, k)).save(temporary / f"{k:04d}.png", optimize=True)
