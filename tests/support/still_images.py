"""Makers of still images that no library here writes: colour profiles, PNG with a transparent value, TIFF.

path.write_bytes(png([b"\\0\\1\\2"], bits=8, transparent=b"\\0\\1"))
path.write_bytes(tiff([page(pixels), page(pixels, {254: 1})]))
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

import numpy as np

# Columns of sRGB's matrix, adapted to D50 (ICC specification, annex F).
_PRIMARIES = {"r": (0.4361, 0.2225, 0.0139), "g": (0.3851, 0.7169, 0.0971), "b": (0.1431, 0.0606, 0.7141)}


def profile(space: str, gamma: float = 2.2, order: str = "rgb") -> bytes:
    """An ICC profile: "GRAY" with a gamma, or "RGB " with sRGB's primaries, in another order if asked for.

    "bgr" means that the first number of a pixel is blue.
    """
    white = b"XYZ \0\0\0\0" + _fixed(0.9642, 1.0, 0.8249)
    curve = b"curv\0\0\0\0" + struct.pack(">IH2x", 1, round(gamma * 256))
    tags = {b"wtpt": white, b"kTRC": curve}
    if space == "RGB ":
        tags = {b"wtpt": white}
        for channel, primary in zip("rgb", order, strict=True):
            tags[f"{channel}XYZ".encode()] = b"XYZ \0\0\0\0" + _fixed(*_PRIMARIES[primary])
            tags[f"{channel}TRC".encode()] = curve
    table, content, place = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, place + len(content), len(value))
        content += value
    size = place + len(content)
    head = struct.pack(">I4sI4s4s4s", size, b"\0" * 4, 0x02400000, b"mntr", space.encode(), b"XYZ ")
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + _fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + content


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    """A chunk of PNG; `length` is stated instead of its own."""
    checked = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content) if length is None else length) + kind + content + checked


def png(rows: list[bytes], bits: int, width: int, colour: int = 0, transparent: bytes | None = None) -> bytes:
    """A PNG of packed rows; colour 0 is grey, 2 is RGB."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0))
    key = b"" if transparent is None else chunk(b"tRNS", transparent)
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + key + data + chunk(b"IEND", b"")


@dataclass
class Page:
    """A page of a TIFF: tag to numbers (ints of 4 bytes, or bytes), its pixels, and the pages below it."""

    tags: dict[int, int | bytes]
    pixels: bytes
    below: list[Page] = field(default_factory=list)


def page(pixels: np.ndarray, more: dict[int, int | bytes] | None = None, below: list[Page] = ()) -> Page:
    """A page of uint8, uint16 or float32 (H, W), or (H, W, 3), uncompressed; `more` replaces its tags."""
    height, width, *channels = pixels.shape
    bits, samples = 8 * pixels.itemsize, channels[0] if channels else 1
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 2 if channels else 1, 277: samples, 278: height}
    tags |= {279: pixels.nbytes, 339: 3 if pixels.dtype.kind == "f" else 1}
    return Page(tags | dict(more or {}), pixels.tobytes(), list(below))


def tiff(pages: list[Page], order: str = "<", last: int = 0) -> bytes:
    """A TIFF of pages; the last one points to `last`, where 0 is the end."""
    file = bytearray((b"II*\0" if order == "<" else b"MM\0*") + b"\0\0\0\0")
    pointer = 4
    for one in pages:
        place, pointer_after = _add_page(file, one, order)
        struct.pack_into(f"{order}I", file, pointer, place)
        pointer = pointer_after
    struct.pack_into(f"{order}I", file, pointer, last)
    return bytes(file)


def _add_page(file: bytearray, one: Page, order: str) -> tuple[int, int]:
    """Append a page; gives the places of it and of its pointer to the next."""
    tags = dict(one.tags)
    if one.below:
        tags[330] = struct.pack(
            f"{order}{len(one.below)}I", *(_add_page(file, p, order)[0] for p in one.below)
        )
    tags[273] = len(file)
    file += one.pixels + b"\0" * (len(one.pixels) % 2)
    entries = b""
    for tag, value in sorted(tags.items()):
        kind, count = (4, 1) if isinstance(value, int) else (1, len(value))
        if tag == 330:
            kind, count = 4, len(value) // 4
        raw = struct.pack(f"{order}I", value) if isinstance(value, int) else value
        if len(raw) > 4:
            raw, content = struct.pack(f"{order}I", len(file)), raw
            file += content + b"\0" * (len(content) % 2)
        entries += struct.pack(f"{order}HHI", tag, kind, count) + raw.ljust(4, b"\0")
    place = len(file)
    file += struct.pack(f"{order}H", len(tags)) + entries + b"\0\0\0\0"
    return place, len(file) - 4
