"""What the container of a video says before anything is decoded: is it encrypted, is its end missing?

A container (MP4, Matroska, AVI, ...) is a tree of labelled, length-prefixed boxes. ffprobe opens a file and
returns 0 although its images are encrypted, because its boxes are valid; the label of a box shows the
encryption. The parsers below read labels and lengths only, never the images, and trust neither: a length may
be wrong.

Sources: ISO/IEC 14496-12 (boxes), ISO/IEC 23001-7 (common encryption), RFC 8794 (EBML), RFC 9559 (Matroska).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# Boxes of MP4 that hold only other boxes, on the path to the sample descriptions.
_MP4_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}
_MP4_TOP_LEVEL = {*_MP4_PARENTS, *b"ftyp styp sidx free skip wide mdat pnot uuid".split()}
_MP4_ENCRYPTED = {b"encv": "the images", b"enca": "the audio", b"encs": "the subtitles", b"enct": "the text"}
_MP4_ENCRYPTED |= {b"drmi": "the images", b"drms": "the audio"}
_DRM_SYSTEMS = {
    "1077efec-c0b2-4d02-ace3-3c1e52e2fb4b": "W3C common",
    "e2719d58-a985-b3c9-781a-b030af78d30e": "ClearKey",
    "edef8ba9-79d6-4ace-a3c8-27dcd51d21ed": "Widevine",
    "9a04f079-9840-4286-ab92-e65be0885f95": "PlayReady",
    "94ce86fb-07ff-4f43-adb8-93d2fa968ca2": "FairPlay",
}
_DEEPEST = 8  # levels of parents; real files have six, a hostile file may have any number
_LONGEST_DESCRIPTION = 1 << 20  # bytes of one sample description that are searched

_EBML = 0x1A45DFA3
_SEGMENT = 0x18538067
_CLUSTER = 0x1F43B675
_TRACKS, _TRACK_ENTRY, _TRACK_TYPE = 0x1654AE6B, 0xAE, 0x83
_CONTENT_ENCODINGS, _CONTENT_ENCODING, _CONTENT_ENCRYPTION = 0x6D80, 0x6240, 0x5035
_MATROSKA_PARENTS = {_TRACKS, _CONTENT_ENCODINGS, _CONTENT_ENCODING}
_MATROSKA_TRACK_TYPES = {1: "the images", 2: "the audio", 17: "the subtitles"}


class _Box(NamedTuple):
    """A labelled part of a file. Its payload is file[start:end], if the file is as long as the box says."""

    kind: bytes | int
    start: int
    end: int


def encryption_marks(path: str | os.PathLike) -> list[str]:
    """Every mark in the container that its contents are encrypted; an empty list if there is none.

    Found in MP4/MOV (sample descriptions `encv`, `enca`, `encs`, `enct`, `drmi`, `drms`, any description
    with a `sinf` box, and `pssh` boxes, also in fragments) and Matroska/WebM (`ContentEncryption`). A file
    encrypted as a whole has no readable container, and one encrypted without a mark does not decode.

    Args:
        path: the file.

    Returns:
        One text per mark, e.g. `"encv (the images, scheme cenc)"`.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> encryption_marks("clip.mp4")
        []
    """
    with open(path, "rb") as file:
        size = _size(file)
        if _is_matroska(file):
            marks = _matroska_marks(file, size)
        elif _is_mp4(file):
            marks = _mp4_marks(file, 0, size)
        else:
            marks = iter(())
        return list(dict.fromkeys(marks))  # a mark repeated in every fragment is one mark


def missing_end(path: str | os.PathLike) -> str | None:
    """Why the file cannot be whole: it ends before the length it states, or without its end mark; else None.

    Checks MP4/MOV, Matroska/WebM, RIFF (AVI, WebP) and GIF. None does not prove that a file is whole: a
    transport stream cut between two packets, or a recording whose length was never written, show no sign.

    Args:
        path: the file.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> _ = Path("half.mp4").write_bytes(Path("clip.mp4").read_bytes()[:-1000])
        >>> missing_end("half.mp4")
        'the file ends 1000 bytes early'
    """
    with open(path, "rb") as file:
        size = _size(file)
        if _is_matroska(file):
            announced = max(
                (box.end for box in _ebml_elements(file, 0, size) if box.kind == _SEGMENT), default=0
            )
        elif _is_mp4(file):
            boxes = _mp4_boxes(file, 0, size)
            announced = max((box.end for box in boxes if box.kind in _MP4_TOP_LEVEL), default=0)
        elif _head(file, 4) == b"RIFF":
            announced = 8 + int.from_bytes(_head(file, 8)[4:], "little")
            # Some writers include the eight bytes of the header.
            announced = announced if announced - size > 8 else 0
        elif _head(file, 4) == b"GIF8":
            file.seek(max(0, size - 64))
            return None if b"\0;" in file.read() else "the file ends without the end mark of a GIF"
        else:
            announced = 0
        return f"the file ends {announced - size} bytes early" if announced > size else None


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _head(file: BinaryIO, count: int) -> bytes:
    file.seek(0)
    return file.read(count)


# MP4 and MOV


def _is_mp4(file: BinaryIO) -> bool:
    return _head(file, 8)[4:] in _MP4_TOP_LEVEL


def _mp4_boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """The sibling boxes in file[start:end]: 4 bytes length, 4 bytes kind, payload."""
    while start + 8 <= end:
        file.seek(start)
        length, kind, header = int.from_bytes(file.read(4), "big"), file.read(4), 8
        if length == 1:  # the length did not fit into 4 bytes
            length, header = int.from_bytes(file.read(8), "big"), 16
        elif length == 0:  # up to the end
            length = end - start
        if length < header:
            return
        yield _Box(kind, start + header, start + length)
        start += length


def _mp4_marks(file: BinaryIO, start: int, end: int, depth: int = 0) -> Iterator[str]:
    for box in _mp4_boxes(file, start, end):
        inside = box.start, min(box.end, end)
        if box.kind in _MP4_PARENTS and depth < _DEEPEST:
            yield from _mp4_marks(file, *inside, depth + 1)
        elif box.kind == b"stsd":  # 8 bytes of version and count, then one box for each kind of sample
            for entry in _mp4_boxes(file, inside[0] + 8, inside[1]):
                yield from _description_marks(file, entry)
        elif box.kind == b"pssh":
            file.seek(box.start + 4)
            system = file.read(16)
            name = str(uuid.UUID(bytes=system)) if len(system) == 16 else "cut off"
            yield f"pssh ({_DRM_SYSTEMS.get(name, name)})"


def _description_marks(file: BinaryIO, entry: _Box) -> Iterator[str]:
    file.seek(entry.start)
    payload = file.read(min(entry.end - entry.start, _LONGEST_DESCRIPTION))
    protected = payload.find(b"sinf")
    if entry.kind not in _MP4_ENCRYPTED and protected < 0:
        return
    kind = entry.kind.decode("latin-1")
    what = _MP4_ENCRYPTED.get(entry.kind, "a track")
    scheme = payload.find(b"schm", max(protected, 0))  # 4 bytes of version and flags, then the scheme
    named = payload[scheme + 8 : scheme + 12].decode("latin-1") if scheme >= 0 else ""
    yield f"{kind} ({what}, scheme {named})" if named.isalnum() else f"{kind} ({what})"


# Matroska and WebM


def _is_matroska(file: BinaryIO) -> bool:
    return int.from_bytes(_head(file, 4), "big") == _EBML


def _ebml_number(file: BinaryIO, keep_marker: bool) -> int | None:
    """A number of 1 to 8 bytes: the number of leading zero bits gives the length, then a one, then the value.

    An identifier keeps the leading one, a length drops it. None for a length of only ones, which stands for
    "unknown", and at the end of the file.
    """
    first = file.read(1)
    if not first or first == b"\0":
        return None
    count = 9 - first[0].bit_length()
    rest = file.read(count - 1)
    if len(rest) < count - 1:
        return None
    value = int.from_bytes(first + rest, "big")
    if keep_marker:
        return value
    value -= 1 << 7 * count
    return None if value == (1 << 7 * count) - 1 else value


def _ebml_elements(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    while start < end:
        file.seek(start)
        kind = _ebml_number(file, keep_marker=True)
        length = _ebml_number(file, keep_marker=False)
        if kind is None:
            return
        payload = file.tell()
        if length is None:  # a live recording: up to the end
            length = end - payload
        yield _Box(kind, payload, payload + length)
        start = payload + length


def _matroska_marks(file: BinaryIO, size: int) -> Iterator[str]:
    for segment in _ebml_elements(file, 0, size):
        if segment.kind != _SEGMENT:
            continue
        for element in _ebml_elements(file, segment.start, min(segment.end, size)):
            if element.kind == _CLUSTER:  # images and audio begin; the tracks are described before them
                return
            if element.kind == _TRACKS:
                for track in _ebml_elements(file, element.start, min(element.end, size)):
                    if track.kind == _TRACK_ENTRY:
                        yield from _track_marks(file, track, size)


def _track_marks(file: BinaryIO, track: _Box, size: int) -> Iterator[str]:
    what, encrypted = "a track", False
    parts = list(_ebml_elements(file, track.start, min(track.end, size)))
    while parts:
        part = parts.pop()
        if part.kind == _TRACK_TYPE:
            file.seek(part.start)
            what = _MATROSKA_TRACK_TYPES.get(int.from_bytes(file.read(1), "big"), what)
        elif part.kind in _MATROSKA_PARENTS:
            parts += _ebml_elements(file, part.start, min(part.end, size))
        elif part.kind == _CONTENT_ENCRYPTION:
            encrypted = True
    if encrypted:
        yield f"ContentEncryption ({what})"
