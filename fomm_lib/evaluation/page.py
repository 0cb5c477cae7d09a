"""A page of images for a report: the best, the median and the worst frame of each metric.

A mean hides single failures, and a metric can be wrong itself: look at the frames that it ranks worst.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fomm_lib.errors import InputError
from fomm_lib.evaluation.report import Report
from fomm_lib.files import atomic_output, check_new

_SIDE, _MARGIN, _LEFT, _LINE = 96, 8, 96, 16


def image_page(report: Report, methods: Sequence[str] | None = None) -> np.ndarray:
    """A block a method, a row a metric: best, median and worst frame, each as source, driving frame, result.

    Args:
        report: of `evaluate`; a report that was read from a file has no images.
        methods: by default all models.
    Returns:
        uint8 (H, W, 3).
    Raises:
        InputError: a method that was not evaluated, or that has no images.

    Example:
        >>> report = evaluate("heads-64", "data/heads")                 # doctest: +SKIP
        >>> Image.fromarray(image_page(report)).save("page.png")        # doctest: +SKIP
    """
    methods = list(report.models) if methods is None else list(methods)
    if not methods:
        raise InputError("there is no model whose images could be shown")
    return np.concatenate([_block(report, method) for method in methods])


def write_image_page(report: Report, path: str | os.PathLike, overwrite: bool = False) -> None:
    """`image_page` as a .jpg or .png file.

    Raises:
        InputError: as `image_page`, or the file exists already or cannot be written.
    """
    write_page(image_page(report), path, overwrite)


def check_page_path(path: str | os.PathLike, overwrite: bool = False) -> None:
    """Refuse, before the work, a file that `write_page` would refuse after it.

    Raises:
        InputError: another ending than .jpg, .jpeg or .png, no such folder, or the file exists already.

    Example:
        >>> check_page_path("page.png")
    """
    if Path(path).suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise InputError(f"{path}: end it with .jpg or .png")
    check_new(path, overwrite)


def write_page(page: np.ndarray, path: str | os.PathLike, overwrite: bool = False) -> None:
    """An image, uint8 (H, W, 3), as a .jpg or .png file.

    Raises:
        InputError: as `check_page_path`, or the file cannot be written.

    Example:
        >>> write_page(np.zeros((8, 8, 3), np.uint8), "page.png")
    """
    check_page_path(path, overwrite)
    with atomic_output(path, overwrite) as temporary:
        Image.fromarray(page).save(temporary, quality=88)


def _block(report: Report, method: str) -> np.ndarray:
    """The part of the page for one method."""
    metrics = [
        name for name in report.metrics if len(report.frames(method, name)) and report.metrics[name].better
    ]
    cell = 3 * _SIDE + _MARGIN
    page = Image.new("RGB", (_LEFT + 3 * cell, 2 * _LINE + len(metrics) * (_SIDE + _LINE + _MARGIN)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=11)
    draw.text((_MARGIN, 2), method, "black", font)
    for i, rank in enumerate(("best", "median", "worst")):
        draw.text((_LEFT + i * cell, 2 + _LINE), f"{rank}: source, driving frame, result", "black", font)
    for j, name in enumerate(metrics):
        metric, top = report.metrics[name], 2 * _LINE + j * (_SIDE + _LINE + _MARGIN)
        draw.text((_MARGIN, top + _SIDE / 2), metric.title, "black", font)
        for i, row in enumerate(report.extremes(method, name).values()):
            for k, image in enumerate(report.images(method, row)):
                resized = Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
                page.paste(resized, (_LEFT + i * cell + k * _SIDE, top))
            text = f"{row[name]:.{metric.digits}f}   {row['clip'].split('#')[0][:24]}, frame {row['frame']}"
            draw.text((_LEFT + i * cell, top + _SIDE), text, "black", font)
    return np.asarray(page)
