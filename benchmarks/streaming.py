"""Memory does not grow with the length of a video, and reading, computing and writing overlap.

    python benchmarks/streaming.py                          # heads-64, 300 and 9,000 frames with sound
    python benchmarks/streaming.py --frames 300 --overlap   # the same work with and without overlap

Every row is a process of its own, so that its peak of memory is its own. All rows look for the best frame,
which reads the video twice, and smooth. "without overlap" takes each step after the other in one thread; what
overlap gains depends on what else the processor has to do, and is most on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

SIZE = 128  # of the driving video


def main() -> None:
    """Print a row for every length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", default="heads-64", help="a name in data/weights, or a file")
    parser.add_argument("--frames", type=int, nargs="+", default=[300, 9000])
    parser.add_argument("--overlap", action="store_true", help="compare with steps that do not overlap")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a row, asked for by the process that prints
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments, **json.loads(arguments.one))))
        return
    print(f"{arguments.weights}; {arguments.device}, {arguments.threads} threads; {SIZE}x{SIZE}, with sound")
    print(f"{'frames':>7} {'steps':>16} {'frames/s':>9} {'before MiB':>11} {'peak MiB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.frames:
            driving = Path(folder, f"{count}.mp4")
            make(driving, count)
            for overlap in (False, True) if arguments.overlap else (True,):
                one = ["--one", json.dumps({"driving": str(driving), "overlap": overlap})]
                command = [sys.executable, __file__, *sys.argv[1:], *one]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                row = json.loads(done.stdout.splitlines()[-1])
                steps = "overlapping" if overlap else "one by one"
                print(
                    f"{count:7} {steps:>16} {row['rate']:9.2f} {row['before']:11.0f} {row['peak']:9.0f}",
                    flush=True,
                )


def make(path: Path, count: int) -> None:
    """A driving video in which something moves, with a tone as long, through the ffmpeg of imageio-ffmpeg."""
    import imageio_ffmpeg

    seconds = count / 25
    film = f"testsrc2=size={SIZE}x{SIZE}:rate=25:duration={seconds}"
    tone = f"sine=frequency=440:duration={seconds}"
    inputs = ["-f", "lavfi", "-i", film, "-f", "lavfi", "-i", tone]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *inputs, "-pix_fmt", "yuv420p"]
    subprocess.run([*command, str(path)], check=True, stdin=subprocess.DEVNULL)


def measure(arguments: argparse.Namespace, driving: str, overlap: bool) -> dict[str, float]:
    """Animate one video in this process."""
    import torch

    from fomm_lib import animation
    from fomm_lib.files import data_path
    from fomm_lib.model import load_model

    warnings.simplefilter("ignore")  # about the face that a test picture has not
    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.weights, device=arguments.device)
    if not overlap:
        animation.ahead = lambda items, depth: items
        animation.Behind = _OneByOne
    output = Path(driving).with_suffix(".out.mp4")
    before = peak()
    settings = {"best_frame": "auto", "smooth": 1.0, "overwrite": True, "progress": False}
    result = animation.animate(model, data_path("portrait.jpg"), driving, output, **settings)
    return {"rate": result.frames / result.seconds, "before": before, "peak": peak()}


def peak() -> float:
    """MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 if sys.platform != "darwin" else 1024**2)


class _OneByOne:
    """`overlap.Behind`, with nothing behind."""

    def __init__(self, depth: int):
        pass

    def __enter__(self) -> _OneByOne:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def call(self, function, *arguments) -> None:
        function(*arguments)


if __name__ == "__main__":
    main()
