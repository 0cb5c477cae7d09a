"""How many frames of synthetic heads a second are rendered, and where the time goes.

    python benchmarks/synthetic.py                      # 64, 128 and 256 pixels, about two minutes
    python benchmarks/synthetic.py --sizes 128 --jobs 4

The first table is one process, step by step; the second `synthesize` as a whole, videos written, with one
and with several processes. Processor time hardly depends on what else the machine is doing; the frames a
second do. Mesa renders on the processor (llvmpipe); a GPU with EGL takes over by itself where there is one.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault(
    "LP_NUM_THREADS", "0"
)  # one drawing thread a process, so that processes can be compared

from fomm_lib.synthetic import SyntheticClip, synthesize
from fomm_lib.synthetic_anatomy import load_surfaces, pose


def processor() -> float:
    """Seconds of processor time of this process and the children that have ended."""
    return sum(os.times()[:4])


def milliseconds(work, times: int) -> float:
    """Processor time of one call, in ms; the first call is not counted."""
    work()
    before = processor()
    for _ in range(times):
        work()
    return 1000 * (processor() - before) / times


def steps(clip: SyntheticClip) -> dict[str, float]:
    """Milliseconds a frame, step by step."""
    renderer, body, posture = clip._renderer(), clip.person.body, clip.motion[3]
    positions, normals = pose(body, posture)
    drawn = renderer.draw(positions, normals, clip._uniforms)
    return {
        "pose": milliseconds(lambda: pose(body, posture), 8),
        "draw": milliseconds(lambda: renderer.draw(positions, normals, clip._uniforms), 8),
        "develop": milliseconds(lambda: clip.scene.develop(drawn, 3), 8),
        "true motion": milliseconds(lambda: clip.true_motion(0, 3), 8),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--jobs", type=int, default=2, help="processes of the second row of the second table")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--frames", type=int, default=24)
    arguments = parser.parse_args()

    started = time.perf_counter()
    load_surfaces()
    print(f"reading the anatomy: {time.perf_counter() - started:.1f} s, once in a process")
    SyntheticClip(0, 0, 1, 16).frame(0)
    started = time.perf_counter()
    for number in range(50):
        SyntheticClip(0, number, arguments.frames, 16)
    print(f"a new person with motion and scene: {20 * (time.perf_counter() - started):.0f} ms\n")

    print("processor time in ms a frame")
    print(f"{'size':>6}{'pose':>10}{'draw':>10}{'develop':>10}{'true motion':>14}")
    for size in arguments.sizes:
        people = [steps(SyntheticClip(0, number, 8, size)) for number in range(4)]
        row = {name: sum(person[name] for person in people) / len(people) for name in people[0]}
        print(
            f"{size:6}{row['pose']:10.1f}{row['draw']:10.1f}{row['develop']:10.1f}{row['true motion']:14.1f}"
        )

    print(f"\n{arguments.clips} clips of {arguments.frames} frames, written as mp4")
    print(f"{'size':>6}{'processes':>11}{'frames/s':>10}{'bytes a frame':>15}")
    for size in arguments.sizes:
        for jobs in (1, arguments.jobs):
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                settings = {"size": size, "jobs": jobs, "progress": False}
                paths = synthesize(Path(folder) / "heads", arguments.clips, arguments.frames, **settings)
                seconds = time.perf_counter() - started
                total = arguments.clips * arguments.frames
                bytes_each = sum(path.stat().st_size for path in paths) / total
                print(f"{size:6}{jobs:11}{total / seconds:10.1f}{bytes_each:15.0f}")


if __name__ == "__main__":
    main()
