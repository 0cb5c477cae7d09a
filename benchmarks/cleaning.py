"""How many files and frames a second `clean` can check.

    python -m benchmarks.cleaning                       # clips made on the spot, 256x256, about two minutes
    python -m benchmarks.cleaning --videos FOLDER       # your own clips (they are read, never changed)

One and two processes, with ffprobe as the first check and with PyAV, against the check in this process
without a sandbox and against decoding alone. Every way checks the same files several times; the fastest run
counts. What the checks find is measured by `experiments.damage`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import av

from benchmarks.harness import Table, fastest, moving_texture, parser
from fomm_lib.data.cleaning import check_file
from fomm_lib.data.report import clean
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.sandbox import close_idle


def decode_only(folder: Path) -> int:
    """Decode all videos of a folder in one thread; gives the number of frames."""
    frames = 0
    for path in sorted(folder.iterdir()):
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            frames += sum(1 for _ in container.decode(video=0))
    return frames


def speed(folder: Path, report: Path, times: int) -> None:
    """Print a row for every way of checking."""
    frames, files = decode_only(folder), len(list(folder.iterdir()))

    def cleaning(probe: str, jobs: int) -> Callable[[], None]:
        def work() -> None:
            report.unlink(missing_ok=True)
            rows = clean(folder, report, jobs=jobs, probe=probe, progress=False)
            assert sum(row.frames for row in rows) == frames

        return work

    ways = {
        "clean, pyav, 1 process": cleaning("pyav", 1),
        "clean, pyav, 2 processes": cleaning("pyav", 2),
        "decoding alone": lambda: decode_only(folder),
        "check_file, no sandbox, pyav": lambda: [check_file(path, "pyav") for path in folder.iterdir()],
    }
    if shutil.which("ffprobe"):
        ways["clean, ffprobe, 1 process"] = cleaning("ffprobe", 1)
        ways["clean, ffprobe, 2 processes"] = cleaning("ffprobe", 2)
    else:
        print("(ffprobe is not installed)")

    print(f"{files} files, {frames} frames, fastest of {times} runs; ratio to the first row")
    columns = {"way": "", "seconds": ".2f", "files/s": ".1f", "frames/s": ".0f", "ratio": ".2f"}
    table = Table({**columns, "CPU ms/file": ".0f"}, width=28)
    first = None
    for name, work in ways.items():
        run = fastest(work, times)
        first = first or run.seconds
        rates = files / run.seconds, frames / run.seconds, first / run.seconds
        table.row(name, run.seconds, *rates, 1000 * run.processor / files)


def main() -> None:
    """Make or copy the clips, and measure."""
    options = parser(__doc__)
    options.add_argument("--videos", type=Path, help="a folder of clips")
    options.add_argument("--clips", type=int, default=24, help="how many are made, or taken of yours")
    options.add_argument("--frames", type=int, default=150, help="frames of a clip that is made")
    options.add_argument("--size", type=int, default=256, help="its width and height")
    options.add_argument("--times", type=int, default=3, help="runs, of which the fastest counts")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "clips"
        folder.mkdir()
        fill(folder, arguments.videos, arguments.clips, arguments.frames, arguments.size)
        speed(folder, Path(temporary) / "report.csv", arguments.times)
    close_idle()


def fill(folder: Path, videos: Path | None, clips: int, frames: int, size: int) -> None:
    """Copy clips of `videos` into a folder, or make some."""
    if videos:
        for path in sorted(videos.iterdir())[:clips]:
            shutil.copy(path, folder)
        return
    for number in range(clips):
        with VideoWriter(folder / f"{number:03}.mp4", 25, (size, size)) as writer:
            for frame in moving_texture(size, frames, number):
                writer.write(frame)


if __name__ == "__main__":
    main()
