"""Folders of images that are the frames of a video, and the file that says when each is shown."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Collection
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

from fomm_lib.errors import InputError, one_line
from fomm_lib.files import check_name
from fomm_lib.media.formats import IMAGE_SUFFIXES

TIMES = "times.csv"
"""The name of the file: a CSV with the columns `frame` (the name of an image) and `seconds`."""
_LONGEST_ROW = 1000  # bytes; file systems allow names of 255 characters


def is_image_name(name: str) -> bool:
    """Whether a file of this name is a frame, where a folder is a video.

    Example:
        >>> is_image_name("000000.png"), is_image_name(".hidden.png"), is_image_name(TIMES)
        (True, False, False)
    """
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def image_names(folder: str | os.PathLike) -> list[str]:
    """The names of the frames in a folder, in natural order (2.png before 10.png).

    Example:
        >>> Path("frames").mkdir()
        >>> for name in ("10.png", "2.png", "notes.txt"):
        ...     Path("frames", name).touch()
        >>> image_names("frames")
        ['2.png', '10.png']
    """
    return sorted((entry.name for entry in os.scandir(folder) if is_image_name(entry.name)), key=_natural)


def _natural(name: str) -> list:
    return [int(part) if number % 2 else part for number, part in enumerate(re.split(r"([0-9]+)", name))]


def files_in(folder: str | os.PathLike, suffixes: Collection[str], what: str) -> list[Path]:
    """The files directly in a folder whose names end so, sorted by name.

    Hidden files are left out: they are metadata of macOS, or parts of a file that is still written.

    Args:
        what: what they are, for errors: "portraits", "videos".

    Raises:
        InputError: no such folder, or no such file in it.

    Example:
        >>> [path.name for path in files_in("data", {".jpg"}, "portraits")]            # doctest: +SKIP
        ['portrait.jpg']
    """
    if not isinstance(folder, (str, os.PathLike)):
        raise InputError(f"a {type(folder).__name__} was given; give a folder of {what}")
    check_name(folder)
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(one_line(folder, f"no such folder; give one that holds {what}"))
    paths = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes)
    found = [path for path in paths if path.is_file() and not path.name.startswith(".")]
    if not found:
        text = f"no {what} in it; expected names that end in {' '.join(sorted(suffixes))}"
        raise InputError(one_line(folder, text))
    return found


def frame_durations_in(folder: Path, names: list[str]) -> list[Fraction]:
    """Seconds of every frame: from `times.csv`, where there is one (the last gets the mean), else 1/25.

    Raises:
        InputError: `times.csv` does not give a time to every image, or the times do not grow.
    """
    path = folder / TIMES
    if not path.is_file():
        return [Fraction(1, 25)] * len(names)
    try:
        if path.stat().st_size > _LONGEST_ROW * (1 + len(names)):
            raise ValueError("more than a name and a number in each row")
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = islice(csv.DictReader(file), len(names) + 1)
            found = {row["frame"]: _seconds(row["seconds"]) for row in rows}
        times = [found[name] for name in names]
    except (OSError, csv.Error, KeyError, TypeError, ValueError):
        times = None
    if not times or len(found) > len(times) or not _grow(times):
        text = "should give each image of its folder a time in seconds, growing; correct it, or delete it"
        raise InputError(one_line(path, f"{text} (25 frames a second)"))
    durations = [after - before for before, after in pairwise(times)]
    return [*durations, sum(durations) / len(durations) if durations else Fraction(1, 25)]


def _seconds(text: str) -> Fraction:
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,12})?", text) is None:  # 1e999999999 would fill the memory
        raise ValueError(f"no time in seconds: {text[:40]}")
    return Fraction(text)


def _grow(times: list[Fraction]) -> bool:
    return all(before < after for before, after in pairwise(times))
