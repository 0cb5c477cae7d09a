"""How many files and frames a second can be checked; and how much of what was damaged on purpose is found.

    python benchmarks/cleaning.py                       # clips made on the spot, 256x256, about two minutes
    python benchmarks/cleaning.py --videos FOLDER       # your own clips (they are read, never changed)
    python benchmarks/cleaning.py --damage              # cuts and flips bits in copies of them instead

Speed: one and two processes, with ffprobe as the first check and with PyAV, against the check in this process
without a guard and against decoding alone. Every way checks the same files, three times; the fastest counts.
The processor's time, of all processes together, hardly depends on what else the machine is doing.
"""

import argparse
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageFilter

from fomm_lib.cleaning import check_file, clean
from fomm_lib.guard import close_idle
from fomm_lib.video import VideoWriter


def make_clip(path: Path, frames: int, size: int, seed: int) -> None:
    """A camera with a little noise wanders over a picture with detail of several sizes."""
    rng = np.random.default_rng(seed)
    canvas = np.full((size * 2, size * 2, 3), 127.5)
    for radius in (2, 8, 40):
        noise = Image.fromarray(rng.integers(0, 256, canvas.shape, dtype=np.uint8))
        layer = np.asarray(noise.filter(ImageFilter.GaussianBlur(radius)), float) - 127.5
        canvas += layer * 20 / layer.std()
    with VideoWriter(path, 25, (size, size)) as writer:
        for angle in np.linspace(0, 2 * np.pi, frames):
            top, left = (size * (0.5 + 0.3 * np.sin([angle, 2 * angle]))).astype(int)
            window = canvas[top : top + size, left : left + size] + rng.normal(0, 2, (size, size, 3))
            writer.write(np.clip(window, 0, 255).astype(np.uint8))


def decode_only(folder: Path) -> int:
    frames = 0
    for path in sorted(folder.iterdir()):
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            frames += sum(1 for _ in container.decode(video=0))
    return frames


def fastest(work, times: int) -> tuple[float, float]:
    """Least seconds and least processor time of several runs, children included."""
    seconds, processor = [], []
    for _ in range(times):
        started, before = time.perf_counter(), sum(os.times()[:4])
        work()
        seconds.append(time.perf_counter() - started)
        processor.append(sum(os.times()[:4]) - before)
    return min(seconds), min(processor)


def speed(folder: Path, place: Path, times: int) -> None:
    frames, files = decode_only(folder), len(list(folder.iterdir()))
    report = place / "report.csv"

    def guarded(probe: str, jobs: int):
        def work():
            report.unlink(missing_ok=True)
            rows = clean(folder, report, jobs=jobs, probe=probe, progress=False)
            assert sum(row.frames for row in rows) == frames

        return work

    ways = {
        "decoding alone": lambda: decode_only(folder),
        "check_file, no guard, pyav": lambda: [check_file(path, "pyav") for path in folder.iterdir()],
        "clean, pyav, 1 process": guarded("pyav", 1),
        "clean, pyav, 2 processes": guarded("pyav", 2),
    }
    if shutil.which("ffprobe"):
        ways["clean, ffprobe, 1 process"] = guarded("ffprobe", 1)
        ways["clean, ffprobe, 2 processes"] = guarded("ffprobe", 2)
    else:
        print("(ffprobe is not installed)")

    print(f"{files} files, {frames} frames, fastest of {times} runs\n")
    print("| way | seconds | files/s | frames/s | to one process, pyav | processor, ms a file |")
    print("|---|---|---|---|---|---|")
    taken = {name: fastest(work, times) for name, work in ways.items()}
    one, _ = taken["clean, pyav, 1 process"]
    for name, (seconds, processor) in taken.items():
        rates = f"{files / seconds:.1f} | {frames / seconds:.0f} | {one / seconds:.2f}"
        print(f"| {name} | {seconds:.2f} | {rates} | {1000 * processor / files:.0f} |")


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) // 10, len(data))]


def flip(count: int):
    def flipped(data: bytes, rng: random.Random) -> bytes:
        broken = bytearray(data)
        for _ in range(count):
            broken[rng.randrange(len(data) // 10, len(data) * 9 // 10)] ^= 1 << rng.randrange(8)
        return bytes(broken)

    return flipped


def small_frames(path: Path) -> list[np.ndarray]:
    """What can be seen: every frame that decodes, 64x64, grey."""
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


def damage(folder: Path, place: Path, trials: int) -> None:
    """Damage counts as visible if a frame is missing, or differs by more than a grey level on average."""
    rng = random.Random(0)
    paths = sorted(folder.iterdir())
    whole = {path: small_frames(path) for path in paths}
    print(f"{trials} damaged copies of each of {len(paths)} files\n")
    print("| damage | copies | visible | found of these | found in all |")
    print("|---|---|---|---|---|")
    ways = {"cut off": cut, "1 bit flipped": flip(1), "3 bits flipped": flip(3), "30 bits flipped": flip(30)}
    for name, break_ in ways.items():
        copies = visible = found = found_visible = 0
        for path in paths:
            for _ in range(trials):
                broken = place / f"broken{path.suffix}"
                broken.write_bytes(break_(path.read_bytes(), rng))
                bad = check_file(broken, "pyav").verdict != "fit"
                frames = small_frames(broken)
                pairs = zip(frames, whole[path], strict=False)
                seen = len(frames) != len(whole[path]) or any(
                    np.abs(a.astype(float) - b).mean() > 1 for a, b in pairs
                )
                copies, visible, found = copies + 1, visible + seen, found + bad
                found_visible += bad and seen
        print(f"| {name} | {copies} | {visible} | {found_visible} | {found} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=Path, help="a folder of clips")
    parser.add_argument("--clips", type=int, default=24, help="how many are made, or taken of yours")
    parser.add_argument("--frames", type=int, default=150, help="frames of a clip that is made")
    parser.add_argument("--size", type=int, default=256, help="its width and height")
    parser.add_argument("--times", type=int, default=3, help="runs, of which the fastest counts")
    parser.add_argument("--damage", action="store_true", help="measure what is found, not how fast")
    parser.add_argument("--trials", type=int, default=6, help="damaged copies of each file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "clips"
        folder.mkdir()
        if arguments.videos:
            for path in sorted(arguments.videos.iterdir())[: arguments.clips]:
                shutil.copy(path, folder)
        else:
            for number in range(arguments.clips):
                make_clip(folder / f"{number:03}.mp4", arguments.frames, arguments.size, number)
        if arguments.damage:
            damage(folder, Path(place), arguments.trials)
        else:
            speed(folder, Path(place), arguments.times)
    close_idle()


if __name__ == "__main__":
    main()
