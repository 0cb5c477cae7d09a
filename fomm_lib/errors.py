"""The errors of the project: an input that cannot be used, in one line."""

from __future__ import annotations

import os
from enum import Enum


class InputError(ValueError):
    """An input cannot be used; the message is one line: what is wrong, and what to do.

    Library functions raise it; the command line prints it and ends with exit code 2.

    Example:
        >>> raise InputError("portrait.jpg: no such file; check the path")
        Traceback (most recent call last):
        ...
        fomm_lib.errors.InputError: portrait.jpg: no such file; check the path
    """


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


def one_line(path: str | os.PathLike, text: str) -> str:
    """`path: text` in one line, whatever characters the file name or its content contains.

    Example:
        >>> one_line("a.mp4", "is no\\nvideo")
        'a.mp4: is no video'
    """
    return " ".join(f"{path}: {text}".split())


def error_text(error: BaseException) -> str:
    """What an error says, in one line: the message of the operating system or FFmpeg, its text, or its type.

    Example:
        >>> error_text(FileNotFoundError(2, "No such file or directory", "a.mp4")), error_text(KeyError())
        ('No such file or directory', 'KeyError')
    """
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
