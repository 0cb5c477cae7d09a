"""What becomes of the marks of a generated video when it is passed on; the table of docs/animating.md.

    python -m experiments.provenance CERT KEY [--out FILE.csv]

A clip is written with the notice in its metadata and content credentials (extra `credentials`), and then
copied, changed in one byte, put into a new file without encoding it anew, encoded anew, shrunk, and
photographed from a screen (one frame as a PNG), by FFmpeg (imageio-ffmpeg) as people would. Columns:
`credentials`, as `fomm info` reads them; `notice`, whether the metadata still say that it is generated.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg

from fomm_lib.animation.animate import GENERATED_NOTICE
from fomm_lib.data.tables import write_cells
from fomm_lib.files import data_path
from fomm_lib.media.credentials import Credentials, read_credentials
from fomm_lib.media.describe import read_notes
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.video import VideoReader

FRAMES = 25


def ffmpeg(*options: str) -> Callable[[Path, Path], None]:
    """A way to pass a video on."""

    def run(source: Path, target: Path) -> None:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", source, *options, target]
        subprocess.run(command, check=True)

    return run


def change_one_byte(source: Path, target: Path) -> None:
    """In the middle of the images."""
    content = bytearray(source.read_bytes())
    content[content.rindex(b"mdat") + 1000] ^= 1
    target.write_bytes(content)


WAYS: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "copied": (".mp4", shutil.copy),
    "one byte changed": (".mp4", change_one_byte),
    "new container, not encoded anew": (".mov", ffmpeg("-c", "copy")),
    "encoded anew": (".mp4", ffmpeg("-crf", "28")),
    "encoded anew, shrunk, metadata removed": (".mp4", ffmpeg("-vf", "scale=128:-2", "-map_metadata", "-1")),
    "screenshot": (".png", ffmpeg("-frames:v", "1", "-map_metadata", "-1")),
}


def measure(credentials: Credentials) -> list[list[str]]:
    """A row for every way."""
    video = VideoReader(data_path("driving.mp4"))
    rows = [["way", "credentials", "notice"]]
    with tempfile.TemporaryDirectory() as name:
        signed, notes = Path(name, "signed.mp4"), {"comment": GENERATED_NOTICE}
        finish = lambda path: credentials.sign(path, signed.name, [video.path])  # noqa: E731
        with VideoWriter(signed, video.fps, video.size, metadata=notes, finish=finish) as writer:
            for _, frame in zip(range(FRAMES), video, strict=False):
                writer.write(frame)
        for way, (ending, pass_on) in WAYS.items():
            target = Path(name, f"{way.replace(' ', '-')}{ending}")
            pass_on(signed, target)
            found = read_credentials(target)
            notice = any(text.startswith("AI-generated") for text in read_notes(target).values())
            rows.append([way, "none" if found is None else found["state"], "yes" if notice else "no"])
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("certificates", type=Path)
    parser.add_argument("key", type=Path)
    parser.add_argument("--out", type=Path, help="a CSV")
    options = parser.parse_args()
    rows = measure(Credentials(options.certificates, options.key))
    print("\n".join(f"{way:40}{credentials:12}{notice}" for way, credentials, notice in rows))
    if options.out is not None:
        write_cells(options.out, rows, overwrite=True)


if __name__ == "__main__":
    main()
