"""A page of strips: people who are moved by others, to look at.

A strip is one animation: the portrait, then the result at some frames; above it the driving frames. The page
shows, for each model, the best, the median and the worst strip by movement error, then every driver with all
people below. A table of means does not show a halo, a swollen mouth or eyes that never close.

    report = evaluate("heads-64", "data/heads", mode="animation", size=256)
    write_strips(report, "strips.jpg")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from fomm_lib.data.clips import StillClip
from fomm_lib.errors import InputError, printable
from fomm_lib.evaluation.faces import movement_error
from fomm_lib.evaluation.page import write_page
from fomm_lib.evaluation.report import Report, redraw
from fomm_lib.media.faces import has_detector, read_faces
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import resize_array, to_tensor, to_uint8

_LINE, _MARGIN = 18, 6
_LARGEST = 256  # pixels of an image on the page


@dataclass(frozen=True)
class Strip:
    """One animation at some frames.

    Attributes:
        driver, person: names of the clips; the portrait is the first frame of the person's.
        driving: (T, H, W, 3) uint8, frames of the driver.
        portrait: (H, W, 3) uint8.
        result: (T, H, W, 3) uint8.
        error: `faces.movement_error`, mean over frames; infinite if no face is found in the result, NaN if
            none is in the driver's frames, or the extra `faces` is not installed.
    """

    driver: str
    person: str
    driving: np.ndarray
    portrait: np.ndarray
    result: np.ndarray
    error: float


def make_strips(
    report: Report, method: str, *, people: int = 8, drivers: int = 3, frames: int = 6
) -> list[Strip]:
    """Animations of several people by several drivers, with relative motion.

    Args:
        report: of `evaluate`, in either mode. Drivers are some of its clips, evenly spread; people are its
            portraits, or else the first frames of its clips, first those of other identities than drivers.
        method: a model of the report.
        people, drivers, frames: how many; fewer where there are no more. Frames are evenly spread, from the
            first on.
    Returns:
        A strip for each pair, driver by driver.
    Raises:
        InputError: not a model of the report; a report that was read from a file; or no pair of a driver
            and another person.

    Example:
        >>> strips = make_strips(report, "heads-64")            # doctest: +SKIP
        >>> len(strips)                                         # doctest: +SKIP
        24
    """
    if method not in report.models:
        raise InputError(
            f"{method!r} is no model of this report; there are {', '.join(report.models) or 'none'}"
        )
    if min(people, drivers, frames) < 1:
        raise InputError("people, drivers and frames must be at least 1")
    model, size = report.models[method].load(), report.size
    moving, portraits = _cast(report, people, drivers, frames)
    strips = []
    for driver, read in moving.items():
        frames_cut = [cut_middle(frame, size) for frame in read]
        driving = np.stack([resize_array(frame, size) for frame in frames_cut])
        for person in (person for person in portraits if person != driver):
            portrait = cut_middle(portraits[person], size)
            result = redraw(model, portrait, frames_cut, relative=True, size=size, fast=report.fast)
            error = _error(driving, result)
            strips.append(
                Strip(driver, person, driving, resize_array(portrait, size), to_uint8(result), error)
            )
    if not strips:
        raise InputError(
            "strips need a driver and a portrait of somebody else; give more clips, or portraits"
        )
    return strips


def ranked(strips: Sequence[Strip]) -> dict[str, Strip]:
    """The best, the median and the worst strip by movement error; empty where no error is known.

    Example:
        >>> ranked([])
        {}
    """
    known = sorted((s for s in strips if not np.isnan(s.error)), key=lambda strip: strip.error)
    return {"best": known[0], "median": known[len(known) // 2], "worst": known[-1]} if known else {}


def strips_page(strips: Sequence[Strip], title: str = "") -> np.ndarray:
    """The page of one model, see the module: uint8 (H, W, 3).

    Raises:
        InputError: there is no strip.
    """
    if not strips:
        raise InputError("there is no strip to show")
    rows = [_text_row(title, strips[0])] if title else []
    for rank, strip in ranked(strips).items():
        rows.append(_text_row(f"{rank}: {strip.person} moved by {strip.driver}, {_words(strip)}", strip))
        rows += [_row(None, strip.driving), _row(strip.portrait, strip.result)]
    for driver in dict.fromkeys(strip.driver for strip in strips):
        of_driver = [strip for strip in strips if strip.driver == driver]
        rows += [_text_row(f"driver: {driver}", strips[0]), _row(None, of_driver[0].driving)]
        for strip in of_driver:
            rows += [_row(strip.portrait, strip.result), _text_row(f"{strip.person}, {_words(strip)}", strip)]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows]
    return np.concatenate(padded)


def write_strips(report: Report, path: str | os.PathLike, overwrite: bool = False) -> None:
    """The pages of some models, one below the other, as a .jpg or .png file.

    Args:
        report: of `evaluate`.
        path: of the file.
        methods: by default all models.
        overwrite: whether an existing file may be replaced.
    Raises:
        InputError: as `make_strips` and `page.write_page`.

    Example:
        >>> write_strips(evaluate("heads-64", "data/heads"), "strips.jpg")     # doctest: +SKIP
    """
    if not report.models:
        raise InputError("there is no model whose strips could be shown")
    pages = [strips_page(make_strips(report, method), method) for method in report.models]
    write_page(np.concatenate(pages), path, overwrite)


def _cast(
    report: Report, people: int, drivers: int, frames: int
) -> tuple[dict[str, list[np.ndarray]], dict[str, np.ndarray]]:
    """Name -> frames of the drivers, and name -> portrait of the people, of clips that could be read."""
    clips, tasks = report.clips_read, {task.clip: task for task in report.protocol.tasks}
    chosen = [report.clips[k] for k in _spread(len(report.clips), drivers)]
    moving = {}
    for name in chosen:
        numbers = tasks[name].driving
        moving[name] = clips[name].read([numbers[k] for k in _spread(len(numbers), frames)])
    stills = [name for name, clip in clips.items() if isinstance(clip, StillClip)]
    known = {clips[name].identity for name in chosen}
    others = [name for name in report.clips if clips[name].identity not in known]
    shown = (stills or [*others, *chosen])[:people]
    return moving, {name: clips[name].read([0])[0] for name in shown}


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spread, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).astype(int).tolist()))


def _error(driving: np.ndarray, result: torch.Tensor) -> float:
    """The mean movement error of a strip, see `Strip`."""
    if not has_detector():
        return np.nan
    driver = read_faces(torch.stack([to_tensor(frame) for frame in driving])).landmarks
    found = read_faces(result).landmarks
    errors = movement_error(found, driver)
    if np.isfinite(errors).any():
        return float(np.nanmean(errors))
    return np.inf if np.isfinite(movement_error(driver, driver)).any() else np.nan


def _words(strip: Strip) -> str:
    if np.isnan(strip.error):
        return "not ranked"
    return "no face found" if np.isinf(strip.error) else f"movement error {strip.error:.1f} px of 256"


def _row(portrait: np.ndarray | None, images: np.ndarray) -> np.ndarray:
    """Images side by side, with the portrait, or its empty place, in front."""
    height, width = images.shape[1:3]
    scale = min(1, _LARGEST / max(height, width))
    size = round(height * scale), round(width * scale)
    shown = [np.full((*size, 3), 255, np.uint8) if portrait is None else resize_array(portrait, size)]
    gap = np.full((size[0], _MARGIN, 3), 255, np.uint8)
    return np.concatenate([*shown, gap, *(resize_array(image, size) for image in images)], axis=1)


def _text_row(text: str, strip: Strip) -> np.ndarray:
    """A line of text, as wide as the row of a strip."""
    width = _row(strip.portrait, strip.result).shape[1]
    image = Image.new("RGB", (width, _LINE), "white")
    ImageDraw.Draw(image).text((_MARGIN, 2), printable(text), "black", ImageFont.load_default(size=12))
    return np.asarray(image)
