"""What `fomm info` says of an image or a video: its frames, the texts in its header, its credentials."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from fomm_lib.errors import printable
from fomm_lib.files import existing_file
from fomm_lib.media.credentials import describe_credentials
from fomm_lib.media.decoding import open_video
from fomm_lib.media.images import open_image
from fomm_lib.media.video import VideoReader, has_frames, read_image

NOTES = ("title", "comment", "description")  # the texts that `animate` writes


def describe_media(path: str | os.PathLike, anchors: str | os.PathLike | None = None) -> str:
    """A readable summary of an image or a video, in a few lines.

    Args:
        path: the file.
        anchors: certificates that are trusted, see `credentials.read_credentials`.

    Raises:
        InputError: it cannot be read, or its credentials are damaged.

    Example:
        >>> print(describe_media(data_path("driving.mp4")).splitlines()[0].rpartition(": ")[2])
        125 frames of 256x256 at 25 a second
    """
    path = existing_file(path)
    if has_frames(path):
        video = VideoReader(path)
        what = f"{video.size[0]}x{video.size[1]} at {float(video.fps):g} a second"
        what = f"frames of {what}" if video.frames is None else f"{video.frames} frames of {what}"
    else:
        height, width = read_image(path).shape[:2]
        what = f"an image of {width}x{height}"
    lines = [f"{printable(path)}: {what}"]
    lines += [f"  {name}: {printable(text, 300)}" for name, text in read_notes(path).items()]
    if find_spec("c2pa") is None and anchors is None:
        lines.append("  content credentials: not read; pip install 'fomm-lib[credentials]' reads them")
    else:
        lines.append(describe_credentials(path, anchors))
    return "\n".join(lines)


def read_notes(path: str | os.PathLike) -> dict[str, str]:
    """Title, comment and description in the header of an image or a video, without repetitions."""
    path = Path(path)
    with open_video(path) as stream:
        found = None if stream is None else dict(stream.container.metadata)
    if found is None:
        with open_image(path) as image:
            found = {key: text for key, text in image.info.items() if isinstance(key, str)}
    notes: dict[str, str] = {}
    for key, text in found.items():
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        if key.lower() in NOTES and isinstance(text, str) and text not in notes.values():
            notes[key.lower()] = text
    return notes
