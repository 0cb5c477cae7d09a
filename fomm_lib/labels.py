"""Texts in the headers of GIF and PNG files, and how long their last frame stays: what FFmpeg leaves out.

Both formats are a row of labelled blocks. A text is one more block near the beginning; how long the last
frame is shown stands in a block before it.

Sources: GIF89a specification, sections 19, 23, 24 and 26; W3C, Portable Network Graphics, third edition,
sections 5 and 11.3.
"""

from __future__ import annotations

import os
import shutil
import zlib
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

_GIF_HEAD = 13  # signature and logical screen
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def label_gif(path: str | os.PathLike, text: str, last: Fraction | None = None) -> None:
    """Put a comment into a GIF, and set how long its last frame stays, in seconds (None: as it is).

    Example:
        >>> label_gif("moving.gif", "AI-generated", last=Fraction(4, 100))
    """
    path = Path(path)
    with path.open("r+b") as file:
        head = file.read(_GIF_HEAD)
        start = _GIF_HEAD + _palette(head[10])
        control = _last_control(file, start)
        if last is not None and control is not None:
            file.seek(control)
            file.write(min(65535, max(2, round(100 * last))).to_bytes(2, "little"))
    raw = text.encode("ascii", "replace")  # a comment is 7-bit ASCII
    parts = [raw[i : i + 255] for i in range(0, len(raw), 255)]
    comment = b"\x21\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
    _insert(path, start, comment)


def _palette(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _last_control(file: BinaryIO, place: int) -> int | None:
    """Where the delay of the last frame stands: in the last graphic control extension (0x21 0xf9)."""
    found = None
    while True:
        file.seek(place)
        kind = file.read(2)
        if kind[:1] == b"\x21":
            if kind == b"\x21\xf9":
                found = place + 4
            place += 2
        elif kind[:1] == b"\x2c":  # a picture: nine bytes, perhaps a palette, and the size of its codes
            file.seek(place + 9)
            place += 10 + _palette(file.read(1)[0]) + 1
        else:  # the end, or no GIF any more
            return found
        file.seek(place)
        while length := (file.read(1) or b"\0")[0]:
            place += 1 + length
            file.seek(place)
        place += 1


def label_png(path: str | os.PathLike, texts: dict[str, str], last: Fraction | None = None) -> None:
    """Put texts into a PNG, still or animated, and set how long its last frame stays, in seconds.

    Args:
        texts: keyword to text; the keywords of the standard are Title, Description, Comment, ...

    Example:
        >>> label_png("moving.apng", {"Comment": "AI-generated"}, last=Fraction(1, 25))
    """
    path = Path(path)
    with path.open("r+b") as file:
        place, control = len(_PNG_SIGNATURE), None
        start = place + 25  # behind the header
        while len(head := _read(file, place, 8)) == 8:
            if head[4:] == b"fcTL":
                control = place + 8
            place += 12 + int.from_bytes(head[:4], "big")
        if last is not None and control is not None:
            delay = last.limit_denominator(1000)
            whole = bytearray(_read(file, control, 26))
            whole[20:22] = min(65535, delay.numerator).to_bytes(2, "big")
            whole[22:24] = delay.denominator.to_bytes(2, "big")
            file.seek(control)
            file.write(whole + zlib.crc32(b"fcTL" + whole).to_bytes(4, "big"))
    chunks = [_png_chunk(b"iTXt", _international(key, text)) for key, text in texts.items()]
    _insert(path, start, b"".join(chunks))


def _international(keyword: str, text: str) -> bytes:
    """A text in UTF-8, not compressed, in no particular language."""
    return keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8")


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _insert(path: Path, place: int, content: bytes) -> None:
    """Put bytes into the middle of a file."""
    longer = path.with_name(path.name + ".labelled")
    try:
        with path.open("rb") as old, longer.open("wb") as new:
            new.write(old.read(place) + content)
            shutil.copyfileobj(old, new)
        os.replace(longer, path)
    finally:
        longer.unlink(missing_ok=True)
