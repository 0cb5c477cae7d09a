"""Texts in the headers of GIF and PNG files, and the delay of their last frame, which FFmpeg leaves out.

Both formats are a sequence of labelled blocks. A text is one more block near the beginning; the delay of the
last frame is in a block before that frame.

Sources: GIF89a specification, sections 19, 23, 24 and 26; W3C, Portable Network Graphics, third edition,
sections 5 and 11.3.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from PIL.PngImagePlugin import PngInfo, putchunk

_GIF_HEAD = 13  # bytes of signature and logical screen
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def label_gif(path: str | os.PathLike, text: str, last: Fraction | None = None) -> None:
    """Insert a comment into a GIF, and set the delay of its last frame in seconds (None: unchanged).

    Example:
        >>> label_gif("moving.gif", "AI-generated", last=Fraction(4, 100))  # doctest: +SKIP
    """
    path = Path(path)
    with path.open("r+b") as file:
        start = _GIF_HEAD + _palette_size(file.read(_GIF_HEAD)[10])
        control = _last_control(file, start)
        if last is not None and control is not None:
            file.seek(control)
            file.write(min(65535, max(2, round(100 * last))).to_bytes(2, "little"))
    raw = text.encode("ascii", "replace")  # a comment is 7-bit ASCII
    parts = [raw[i : i + 255] for i in range(0, len(raw), 255)]
    comment = b"\x21\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
    _insert(path, start, comment)


def _palette_size(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _last_control(file: BinaryIO, place: int) -> int | None:
    """Position of the delay of the last frame: in the last graphic control extension (0x21 0xf9)."""
    found = None
    while True:
        file.seek(place)
        kind = file.read(2)
        if kind[:1] == b"\x21":
            if kind == b"\x21\xf9":
                found = place + 4
            place += 2
        elif kind[:1] == b"\x2c":  # an image: nine bytes, an optional palette, the size of its codes
            file.seek(place + 9)
            place += 10 + _palette_size(file.read(1)[0]) + 1
        else:  # the end, or not a GIF
            return found
        file.seek(place)
        while length := (file.read(1) or b"\0")[0]:
            place += 1 + length
            file.seek(place)
        place += 1


def label_png(path: str | os.PathLike, texts: dict[str, str], last: Fraction | None = None) -> None:
    """Insert texts into a PNG, still or animated, and set the delay of its last frame in seconds.

    Args:
        path: the file.
        texts: keyword to text; the keywords of the standard are Title, Description, Comment, ...
        last: the delay; None leaves it unchanged.

    Example:
        >>> label_png("moving.apng", {"Comment": "AI-generated"}, last=Fraction(1, 25))  # doctest: +SKIP
    """
    path = Path(path)
    with path.open("r+b") as file:
        place, control = len(_PNG_SIGNATURE), None
        start = place + 25  # after the header
        while len(head := _read(file, place, 8)) == 8:
            if head[4:] == b"fcTL":
                control = place
            place += 12 + int.from_bytes(head[:4], "big")
        if last is not None and control is not None:
            delay = last.limit_denominator(1000)
            content = bytearray(_read(file, control + 8, 26))
            content[20:22] = min(65535, delay.numerator).to_bytes(2, "big")
            content[22:24] = delay.denominator.to_bytes(2, "big")
            file.seek(control)
            putchunk(file, b"fcTL", bytes(content))
    info, chunks = PngInfo(), io.BytesIO()
    for keyword, text in texts.items():
        info.add_itxt(keyword, text)
    for kind, content, *_ in info.chunks:
        putchunk(chunks, kind, content)
    _insert(path, start, chunks.getvalue())


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _insert(path: Path, place: int, content: bytes) -> None:
    """Insert bytes into a file."""
    handle, longer = tempfile.mkstemp(suffix=".labelled", dir=path.parent)
    try:
        with path.open("rb") as old, open(handle, "wb") as new:
            new.write(old.read(place) + content)
            shutil.copyfileobj(old, new)
        os.replace(longer, path)
    finally:
        Path(longer).unlink(missing_ok=True)
