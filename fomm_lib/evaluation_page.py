"""A page of pictures beside a table of numbers: the best, the median and the worst frame of each metric.

A mean hides what went wrong, and a metric can be wrong itself: look at the frames that it calls worst.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fomm_lib.evaluation_report import Report
from fomm_lib.files import InputError, atomic_output

_SIDE, _MARGIN, _LEFT, _LINE = 96, 8, 96, 16


def picture_page(report: Report, methods: Sequence[str] | None = None) -> np.ndarray:
    """For each method a block, for each metric a row: best, median, worst; source, driving frame, result.

    Args:
        report: of `evaluate`; one that was read from a file does not know its pictures.
        methods: by default all models.
    Returns:
        uint8 (H, W, 3).
    Raises:
        InputError: a method that was not evaluated, or that has no pictures.

    Example:
        >>> Image.fromarray(picture_page(evaluate("heads-64", "data/heads"))).save("page.png")
    """
    methods = list(report.models) if methods is None else list(methods)
    if not methods:
        raise InputError("there is no model whose pictures could be shown")
    return np.concatenate([_block(report, method) for method in methods])


def write_picture_page(
    report: Report,
    path: str | os.PathLike,
    methods: Sequence[str] | None = None,
    overwrite: bool = False,
) -> None:
    """`picture_page` into a .jpg or .png.

    Raises:
        InputError: as `picture_page`, or the file exists already or cannot be written.
    """
    page = Image.fromarray(picture_page(report, methods))
    with atomic_output(path, overwrite) as temporary:
        try:
            page.save(temporary, quality=88)
        except ValueError as error:  # Pillow does not know the ending
            raise InputError(f"{path}: end it with .jpg or .png") from error


def _block(report: Report, method: str) -> np.ndarray:
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
            for k, picture in enumerate(report.pictures(method, row)):
                resized = Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
                page.paste(resized, (_LEFT + i * cell + k * _SIDE, top))
            words = f"{row[name]:.{metric.digits}f}   {row['clip'].split('#')[0][:24]}, frame {row['frame']}"
            draw.text((_LEFT + i * cell, top + _SIDE), words, "black", font)
    return np.asarray(page)
