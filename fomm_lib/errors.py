"""The errors of the project: an input that cannot be used, in one line."""

from __future__ import annotations

import os
from enum import Enum
from numbers import Integral

MESSAGE_LENGTH = 1500  # characters of the longest message


class InputError(ValueError):
    """An input cannot be used; the message is one line: what is wrong, and what to do.

    Library functions raise it; the command line prints it and ends with exit code 2. Whatever names and
    values out of files the message contains, it is `printable`.

    Example:
        >>> raise InputError("portrait.jpg: no such file; check the path")
        Traceback (most recent call last):
        ...
        fomm_lib.errors.InputError: portrait.jpg: no such file; check the path
    """

    def __str__(self) -> str:
        return printable(super().__str__(), MESSAGE_LENGTH)


class Reason(str, Enum):
    """Why a video or image cannot be used. Each is also its text: `Reason.STILL == "still"`."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    ENCRYPTED = "encrypted"
    NO_VIDEO = "no_video"  # only audio
    NO_FRAMES = "no_frames"
    CORRUPT = "corrupt"  # breaks after some good frames
    STILL = "still"  # an image where a video is needed
    TOO_LARGE = "too_large"

    __str__ = str.__str__


class VideoError(InputError):
    """A video or image cannot be used.

    Attributes:
        reason: a `Reason`.
        frames: number of good frames before the fault.

    Example:
        >>> VideoError("a.mp4", Reason.STILL, "is a still image; give a video")
        VideoError('a.mp4', <Reason.STILL: 'still'>, 'is a still image; give a video', 0)
    """

    def __init__(self, path: str | os.PathLike, reason: Reason, text: str, frames: int = 0):
        super().__init__(str(path), reason, text, frames)  # pickle calls `__init__` with these
        self.reason, self.frames = Reason(reason), frames

    def __str__(self) -> str:
        path, _, text, _ = self.args
        return one_line(path, text)


def check_integer(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise an error if the value of a setting is no whole number in its range; True counts as none.

    Raises:
        InputError: it is not.

    Example:
        >>> check_integer("frames", 24, 1, 10**6)
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        limits = f", at least {least}" if most is None else f" from {least} to {most}"
        raise InputError(f"{name}={value!r}: give a whole number{limits}")


def printable(text: object, length: int | None = None) -> str:
    """A text out of a file or its name, in one line that does nothing to a terminal but show it.

    Line breaks become spaces. Escape sequences, marks that change the direction of reading, and bytes that
    are no UTF-8 become their codes, e.g. `\\x1b`.

    Args:
        text: the text, or an object whose `str` it is.
        length: the largest number of characters; of a longer text the middle is left out.

    Example:
        >>> printable("a\\x1b[31m.mp4\\n")
        'a\\\\x1b[31m.mp4'
        >>> printable("0123456789" * 9, 12)
        '01234 ... 9'
    """
    text = _shortened(str(text), length)
    return _shortened(" ".join("".join(map(_shown, text)).split()), length)


def _shortened(text: str, length: int | None) -> str:
    if length is None or len(text) <= length:
        return text
    return f"{text[: length * 3 // 5 - 2]} ... {text[3 - length * 2 // 5 :]}"


def _shown(character: str) -> str:
    if character.isprintable() or character.isspace() or character in _JOINERS:
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


_JOINERS = "\u200c\u200d"  # within words of Persian and within emojis


def one_line(path: str | os.PathLike, text: str) -> str:
    """`path: text` in one line, whatever characters the file name or its content contains.

    Example:
        >>> one_line("a.mp4", "is no\\nvideo")
        'a.mp4: is no video'
    """
    return printable(f"{path}: {text}", MESSAGE_LENGTH)


def error_text(error: BaseException) -> str:
    """What an error says, in one line: the message of the operating system or FFmpeg, its text, or its type.

    Example:
        >>> error_text(FileNotFoundError(2, "No such file or directory", "a.mp4")), error_text(KeyError())
        ('No such file or directory', 'KeyError')
    """
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)
