"""What the first bytes of an image file say: camera raw, HEIC, AVIF.

No reader is asked, since some take a file for what it is not: Pillow opens a camera's raw file as the
thumbnail on its first page, FFmpeg opens a HEIC image as one of its tiles.

Sources: TIFF 6.0; Adobe, Digital Negative 1.7; ISO/IEC 23008-12 (HEIF); libraw's list of formats.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

_SEQUENCES = {b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis"} | _SEQUENCES
AVIF_BRANDS = {b"avif", b"avis"}
_EITHER = {b"mif1", b"msf1"}  # HEIF of any codec, which another brand names
_RAW_BRANDS = {b"crx "}  # Canon's CR3

# (place, bytes) of files that hold what a sensor saw, and are no TIFF.
_RAW_STARTS = (
    (0, b"FUJIFILMCCD-RAW"),
    (0, b"\0MRM"),  # Minolta
    (0, b"FOVb"),  # Sigma
    (0, b"IIRO"),  # Olympus, this and the next two
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"IIU\0"),  # Panasonic
    (6, b"HEAPCCDR"),  # Canon's CRW
    (8, b"CR\x02"),  # Canon's CR2, otherwise a TIFF
)
_PHOTOMETRIC, _SUB_IFDS, _DNG_VERSION = 262, 330, 50706
_SENSOR = {32803, 34892}  # values of _PHOTOMETRIC: a mosaic of colour filters, and linear raw
_MOST_PAGES = 64  # of a TIFF that are looked at; they may point to one another
_MOST_SUB_IFDS = 16


def is_camera_raw(path: str | os.PathLike) -> bool:
    """Whether a file is what a camera's sensor saw (DNG, CR2, NEF, ARW, RAF, ...), not an image yet.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> is_camera_raw(data_path("portrait.jpg"))
        False
    """
    with open(path, "rb") as file:
        head = file.read(16)
        if any(head[place:].startswith(start) for place, start in _RAW_STARTS):
            return True
        if head[4:8] == b"ftyp":
            return head[8:12] in _RAW_BRANDS
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
        return order is not None and any(_is_raw_page(tags) for tags in _pages(file, order))


def _is_raw_page(tags: dict[int, list[int]]) -> bool:
    return _DNG_VERSION in tags or not _SENSOR.isdisjoint(tags.get(_PHOTOMETRIC, ()))


def _pages(file: BinaryIO, order: str) -> Iterator[dict[int, list[int]]]:
    """The tags of every page of a TIFF (an IFD) and of the pages below it: tag to numbers."""
    file.seek(4)
    waiting, seen = list(struct.unpack(f"{order}I", file.read(4))), set()
    while waiting and len(seen) < _MOST_PAGES:
        place = waiting.pop(0)
        if place in seen or place == 0:
            continue
        seen.add(place)
        file.seek(place)
        count = int.from_bytes(file.read(2), "little" if order == "<" else "big")
        entries = file.read(12 * count + 4)
        tags = {}
        for start in range(0, len(entries) - 11, 12):
            tag, kind, amount = struct.unpack_from(f"{order}HHI", entries, start)
            if tag == _DNG_VERSION:
                tags[tag] = []
            elif tag in (_PHOTOMETRIC, _SUB_IFDS):
                tags[tag] = _numbers(file, order, kind, amount, entries[start + 8 : start + 12])
        yield tags
        waiting += tags.get(_SUB_IFDS, [])
        if len(entries) == 12 * count + 4:
            waiting += struct.unpack_from(f"{order}I", entries, 12 * count)


def _numbers(file: BinaryIO, order: str, kind: int, amount: int, value: bytes) -> list[int]:
    """The numbers of an entry: its last four bytes, or what these point to."""
    letter = {3: "H", 4: "I", 13: "I"}.get(kind)  # SHORT, LONG, IFD
    if letter is None:
        return []
    amount = min(amount, _MOST_SUB_IFDS)
    size = struct.calcsize(f"{order}{amount}{letter}")
    if size > 4:
        file.seek(*struct.unpack(f"{order}I", value))
        value = file.read(size)
    return list(struct.unpack(f"{order}{amount}{letter}", value[:size])) if len(value) >= size else []


def heif_kind(path: str | os.PathLike) -> str | None:
    """The kind of an image or sequence of images, "HEIC" or "AVIF"; None for all other files.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> heif_kind(data_path("portrait.jpg")) is None
        True
    """
    major, others = _brands(path)
    brands = {major} | (others if major in _EITHER else set())
    if brands & AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & (HEIC_BRANDS | _EITHER) else None


def is_only_still(path: str | os.PathLike) -> bool:
    """Whether a file can be no video: camera raw, or a HEIC image and not a sequence of them.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> is_only_still(data_path("driving.mp4"))
        False
    """
    still = heif_kind(path) == "HEIC" and _brands(path)[0] not in _SEQUENCES
    return still or is_camera_raw(path)


def _brands(path: str | os.PathLike) -> tuple[bytes, set[bytes]]:
    """The major brand of an MP4-like file, and the others; none of other files."""
    with open(path, "rb") as file:
        head = file.read(8)
        length = int.from_bytes(head[:4], "big") if head[4:] == b"ftyp" else 0
        content = file.read(min(max(0, length - 8), 512))
    return content[:4], {content[i : i + 4] for i in range(8, len(content), 4)}
