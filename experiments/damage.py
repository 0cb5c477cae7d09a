"""How much damage in videos does `check_file` find? Copies are cut and their bits flipped on purpose.

    python -m experiments.damage                        # of clips made on the spot, 256x256
    python -m experiments.damage --videos FOLDER        # of your own clips (they are read, never changed)

Damage is visible if a frame is missing, or if one differs from the original by more than one grey level on
average. Prints a row for each kind of damage: copies, how many have visible damage, how many of these were
found, and how many copies were found in all.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from benchmarks.cleaning import fill
from benchmarks.harness import Table, parser
from fomm_lib.data.cleaning import check_file

Damage = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, rng: random.Random) -> bytes:
    """Drop the end of a file, up to 90 % of it."""
    return data[: rng.randrange(len(data) // 10, len(data))]


def flip(count: int) -> Damage:
    """Flip bits in the middle 80 % of a file."""

    def flipped(data: bytes, rng: random.Random) -> bytes:
        broken = bytearray(data)
        for _ in range(count):
            broken[rng.randrange(len(data) // 10, len(data) * 9 // 10)] ^= 1 << rng.randrange(8)
        return bytes(broken)

    return flipped


DAMAGES = {"cut off": cut, **{f"{count} bits flipped": flip(count) for count in (1, 3, 30)}}


def small_frames(path: Path) -> list[np.ndarray]:
    """Every frame that can be decoded, 64x64, grey."""
    frames = []
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                try:
                    decoded = packet.decode()
                except av.FFmpegError:
                    continue
                frames += [frame.to_ndarray(width=64, height=64, format="gray") for frame in decoded]
    except av.FFmpegError:
        pass
    return frames


def differ(frames: list[np.ndarray], whole: list[np.ndarray]) -> bool:
    """Whether the damage is visible."""
    pairs = zip(frames, whole, strict=False)
    return len(frames) != len(whole) or any(np.abs(a.astype(float) - b).mean() > 1 for a, b in pairs)


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--videos", type=Path, help="a folder of clips")
    options.add_argument("--clips", type=int, default=24, help="how many are made, or taken of yours")
    options.add_argument("--frames", type=int, default=150, help="frames of a clip that is made")
    options.add_argument("--size", type=int, default=256, help="its width and height")
    options.add_argument("--trials", type=int, default=6, help="damaged copies of each file")
    arguments = options.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clips"
        folder.mkdir()
        fill(folder, arguments.videos, arguments.clips, arguments.frames, arguments.size)
        whole = {path: small_frames(path) for path in sorted(folder.iterdir())}
        print(f"{arguments.trials} damaged copies of each of {len(whole)} files")
        columns = {"damage": "", "copies": "d", "visible": "d", "found of these": "d", "found in all": "d"}
        table = Table(columns, width=16)
        for name, damage in DAMAGES.items():
            rows = []  # (visible, found) of every copy
            for path, frames in whole.items():
                for _ in range(arguments.trials):
                    broken = Path(temporary) / f"broken{path.suffix}"
                    broken.write_bytes(damage(path.read_bytes(), rng))
                    found = check_file(broken, "pyav").verdict != "fit"
                    rows.append((differ(small_frames(broken), frames), found))
            visible, found = np.array(rows).T
            table.row(name, len(rows), int(visible.sum()), int((visible & found).sum()), int(found.sum()))


if __name__ == "__main__":
    main()
