"""How many frames of synthetic heads a second are rendered, and what takes the time.

    python -m benchmarks.synthetic                      # 64, 128 and 256 pixels, about two minutes
    python -m benchmarks.synthetic --sizes 128 --jobs 4

The first table is one process, step by step; the second `synthesize` as a whole, videos written, with one
and with several processes. Mesa renders on the processor (llvmpipe); a GPU with EGL is used if there is one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean

os.environ.setdefault("LP_NUM_THREADS", "0")  # one drawing thread a process, to compare numbers of processes

from benchmarks.harness import Table, parser, timed
from fomm_lib.synthetic.clip import SyntheticClip
from fomm_lib.synthetic.folder import synthesize
from fomm_lib.synthetic.posture import pose
from fomm_lib.synthetic.surfaces import load_surfaces


def milliseconds(work: Callable[[], object], times: int = 8) -> float:
    """Processor time of one call, in ms; the first call is not counted."""
    work()
    return 1000 * timed(lambda: [work() for _ in range(times)]).processor / times


def steps(clip: SyntheticClip) -> list[float]:
    """Milliseconds a frame of the steps: pose, draw, develop, true motion."""
    renderer, body, posture = clip.renderer(), clip.person.body, clip.motion[3]
    positions, normals = pose(body, posture)
    drawn = renderer.draw(positions, normals, clip.uniforms)
    return [
        milliseconds(lambda: pose(body, posture)),
        milliseconds(lambda: renderer.draw(positions, normals, clip.uniforms)),
        milliseconds(lambda: clip.scene.develop(drawn, 3)),
        milliseconds(lambda: clip.true_motion(0, 3)),
    ]


def main() -> None:
    """Print both tables."""
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    options.add_argument(
        "--jobs", type=int, default=2, help="processes of every second row of the second table"
    )
    options.add_argument("--clips", type=int, default=12)
    options.add_argument("--frames", type=int, default=24)
    arguments = options.parse_args()

    print(f"reading the anatomy: {timed(load_surfaces).seconds:.1f} s, once in a process")
    SyntheticClip(0, 0, 1, 16).frame(0)
    made = timed(lambda: [SyntheticClip(0, number, arguments.frames, 16) for number in range(50)])
    print(f"a new person with motion and scene: {20 * made.seconds:.0f} ms\n")

    print("processor time in ms a frame")
    table = Table({"size": "d", "pose": ".1f", "draw": ".1f", "develop": ".1f", "true motion": ".1f"})
    for size in arguments.sizes:
        people = [steps(SyntheticClip(0, number, 8, size)) for number in range(4)]
        table.row(size, *map(mean, zip(*people, strict=True)))

    total = arguments.clips * arguments.frames
    print(f"\n{arguments.clips} clips of {arguments.frames} frames, written as mp4")
    table = Table({"size": "d", "processes": "d", "frames/s": ".1f", "bytes/frame": ".0f"})
    for size in arguments.sizes:
        for jobs in (1, arguments.jobs):
            with tempfile.TemporaryDirectory() as folder:
                settings = {"size": size, "jobs": jobs, "progress": False}
                clips = arguments.clips, arguments.frames
                run = timed(lambda: synthesize(Path(folder) / "heads", *clips, **settings))  # noqa: B023
                stored = sum(path.stat().st_size for path in run.result)
                table.row(size, jobs, total / run.seconds, stored / total)


if __name__ == "__main__":
    main()
