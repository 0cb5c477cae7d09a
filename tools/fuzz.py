"""Damage small files in hundreds of ways, and check that the readers handle them.

    python -m tools.fuzz                          # 500 mutations of media; prints a table
    python -m tools.fuzz --count 20000 --seed 7 --keep bad    # and keeps the files that caused a fault
    python -m tools.fuzz --family all --count 200 --seed today

It makes small images and videos, changes each in one of the ways that disks, networks and attackers do
(flipped bits, a missing end, zeroed, repeated, deleted and swapped parts, swapped boxes, absurd lengths),
and gives it to every reader in a process of its own. `fuzz_families` does the same with playlists, clocks,
weights, configs, states and names. A reader may return something, or raise an `InputError` of one line. A
crash, a hang, another exception, and files or memory that stay in use are faults: they are listed, and the
exit code is 1. The same seed makes the same mutations; `today` is a new one every day.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from fomm_lib.errors import MESSAGE_LENGTH, InputError
from fomm_lib.media.containers import encryption_marks, missing_end
from fomm_lib.media.outputs import open_output
from fomm_lib.media.sandbox import CallStopped, close_idle, guarded_call
from fomm_lib.media.video import VideoReader, read_frames, read_image

SECONDS = 30  # limit for reading one small file in all ways; a good file takes 0.1 s
MEMORY = 1 << 30  # limit in bytes, on top of the memory of the process
MOST_FRAMES = 500
LEAK = 64 << 20  # largest growth of a process in bytes, from its tenth call to its last
SIZE = 48


# --- the files -----------------------------------------------------------------------------------------


def make_files(folder: Path) -> list[Path]:
    """Small good files of many formats."""
    frames = [_frame(number) for number in range(10)]
    paths = []
    for name in ("a.mp4", "a.webm", "a.mov", "a.gif", "a.apng"):
        audio = _audio(folder / "tone.wav") if name in {"a.mp4", "a.webm"} else None
        with open_output(
            folder / name, 25, (SIZE, SIZE), audio_from=audio, metadata={"comment": "fuzz"}
        ) as writer:
            for frame in frames:
                writer.write(frame)
        paths.append(folder / name)
    for name, codec in (("b.mkv", "libx264"), ("b.ts", "mpeg2video"), ("b.avi", "mpeg4")):
        paths.append(_encode(folder / name, codec, frames))
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save(folder / "c.webp", save_all=True, append_images=others, duration=40)
    for name in ("d.png", "d.jpg", "d.bmp", "d.tiff", "d.webp"):
        first.save(folder / name)
        paths.append(folder / name)
    first.convert("P").save(folder / "e.png")
    return [*paths, folder / "c.webp", folder / "e.png"]


def _frame(number: int) -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    return (
        np.stack([4 * x + 5 * number, 5 * y, 3 * (x + y) - 4 * number], axis=-1).clip(0, 255).astype(np.uint8)
    )


def _audio(path: Path) -> Path:
    if not path.exists():
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
            wave = (8000 * np.sin(np.arange(6400) / 6)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def _encode(path: Path, codec: str, frames: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


# --- the mutations -------------------------------------------------------------------------------------


def flip_bits(data: bytearray, rng: np.random.Generator) -> bytearray:
    """One to a hundred bits."""
    for place in rng.integers(0, len(data), int(10 ** rng.uniform(0, 2))):
        data[place] ^= 1 << rng.integers(8)
    return data


def truncate(data: bytearray, rng: np.random.Generator) -> bytearray:
    """The end is missing."""
    return data[: rng.integers(1, max(2, len(data)))]


def overwrite(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A part is all zeros, all ones, or noise."""
    start, end = _stretch(data, rng)
    fill = [bytes(end - start), b"\xff" * (end - start), rng.bytes(end - start)][rng.integers(3)]
    data[start:end] = fill
    return data


def delete(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A part is missing."""
    start, end = _stretch(data, rng)
    del data[start:end]
    return data


def repeat(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A part is repeated."""
    start, end = _stretch(data, rng)
    data[end:end] = data[start:end]
    return data


def swap(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Two parts of the same length are swapped."""
    length = int(rng.integers(1, max(2, len(data) // 4)))
    a, b = sorted(rng.integers(0, len(data) - length + 1, 2))
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]
    return data


def swap_boxes(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Two labels of four letters are swapped: boxes of MP4, chunks of PNG, AVI and WebP."""
    labels = [i for i in range(len(data) - 3) if bytes(data[i : i + 4]).isalpha()]
    if len(labels) < 2:
        return swap(data, rng)
    a, b = rng.choice(labels, 2, replace=False)
    data[a : a + 4], data[b : b + 4] = data[b : b + 4], data[a : a + 4]
    return data


def absurd_number(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A number of two, four or eight bytes becomes 0, 1 or the largest; most often near the beginning."""
    width = int(rng.choice([2, 4, 8]))
    place = int((len(data) - width) * rng.random() ** 2) if len(data) > width else 0
    value = [0, 1, (1 << (8 * width - 1)) - 1, (1 << (8 * width)) - 1][rng.integers(4)]
    data[place : place + width] = value.to_bytes(width, ["big", "little"][rng.integers(2)])
    return data


def _stretch(data: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    length = max(1, int(len(data) * 10 ** rng.uniform(-4, -0.3)))
    start = int(rng.integers(0, max(1, len(data) - length)))
    return start, start + length


MUTATIONS: list[Callable[[bytearray, np.random.Generator], bytearray]] = [
    flip_bits,
    truncate,
    overwrite,
    delete,
    repeat,
    swap,
    swap_boxes,
    absurd_number,
]


# --- reading, in a process of its own ------------------------------------------------------------------


@dataclass
class Reading:
    """The result of reading one file, and the state of the process that read it.

    Attributes:
        results: reader to its result: "frames", "error", or the text of a fault.
        process: its id.
        files: number of files that are open afterwards.
        memory: bytes in use afterwards.
    """

    results: dict[str, str]
    process: int
    files: int
    memory: int


def read_in_all_ways(path: str, readers: dict[str, Callable[[str], object]] | None = None) -> Reading:
    """Give a file to every reader; by default to those of media."""
    results = {name: _outcome(read, path) for name, read in (readers or READERS).items()}
    return Reading(results, os.getpid(), *_in_use())


def _read_all(path: str) -> int:
    return sum(1 for _ in islice(VideoReader(path), MOST_FRAMES))


def _read_some(path: str) -> int:
    return len(read_frames(path, [0, 3]))


def _audio_of(path: str) -> int:
    """Copy its audio into another video."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_output(Path(folder, "a.mp4"), 25, (16, 16), audio_from=path) as writer,
    ):
        for _ in range(5):
            writer.write(np.zeros((16, 16, 3), np.uint8))
    return 5


READERS: dict[str, Callable[[str], object]] = {
    "image": read_image,
    "video": _read_all,
    "some frames": _read_some,
    "times": lambda path: VideoReader(path).times,
    "container": lambda path: (encryption_marks(path), missing_end(path)),
    "audio": _audio_of,
}


def _outcome(read: Callable[[str], object], path: str) -> str:
    try:
        read(path)
        return "read"
    except InputError as error:
        text = str(error)
        return "error" if text.isprintable() and len(text) <= MESSAGE_LENGTH else f"a bad line: {text!r}"
    except MemoryError:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _in_use() -> tuple[int, int]:
    """(number of open files, bytes of memory); zeros if there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0, 0


# --- all of it -----------------------------------------------------------------------------------------


def mutants(files: list[Path], count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """(file, mutation, content): every file and every mutation in turn."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        path, mutate = files[number % len(files)], MUTATIONS[number // len(files) % len(MUTATIONS)]
        yield path.name, mutate.__name__, bytes(mutate(bytearray(path.read_bytes()), rng))


def fuzz(count: int, seed: int = 0, keep: Path | None = None, progress: bool = True) -> Report:
    """Read `count` mutations of media; files that caused a fault are written into the folder `keep`."""
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder))
        for path in files:  # first check that all can be read before they are damaged
            results = read_in_all_ways(str(path)).results
            if "read" not in (results["image"], results["video"]):
                raise RuntimeError(f"{path.name} cannot be read before it is damaged: {results}")
        cases = tqdm(mutants(files, count, seed), total=count, unit="file", disable=not progress)
        return read_cases(cases, Path(folder), None, None if keep is None else keep / str(seed))


def read_cases(
    cases: Iterable[tuple[str, str, bytes]],
    folder: Path,
    readers: dict[str, Callable[[str], object]] | None = None,
    keep: Path | None = None,
) -> Report:
    """Read cases, each as a file in `folder` in a process that can be stopped.

    Args:
        cases: name, mutation and content of each.
        readers: functions that another process can import; those of media by default.
        keep: a folder for the files that caused a fault.
    """
    report = Report()
    seconds = SECONDS if readers is None else 4 * SECONDS  # the first call in a process imports PyTorch
    for number, (name, mutation, content) in enumerate(cases):
        path = folder / f"mutant{''.join(Path(name).suffixes)}"
        path.write_bytes(content)
        began = time.monotonic()
        try:
            reading = guarded_call(read_in_all_ways, str(path), readers, seconds=seconds, memory=MEMORY)
            faults = report.add(name, mutation, reading)
        except CallStopped as stopped:
            faults = report.stop(name, mutation, str(stopped))
        report.longest = max(report.longest, time.monotonic() - began)
        if faults and keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{number}-{mutation}-{name}").write_bytes(content)
    close_idle()
    report.look_for_leaks()
    return report


class Report:
    """The results of all mutations.

    Attributes:
        table: (mutation, result) to its number.
        faults: one line each.
        longest: seconds of the slowest file.
    """

    def __init__(self):
        self.table: Counter = Counter()
        self.faults: list[str] = []
        self.longest = 0.0
        self._use: dict[int, list[tuple[int, int]]] = {}

    def add(self, name: str, mutation: str, reading: Reading) -> bool:
        """Add the result of a file; returns whether it is a fault."""
        bad = {key: text for key, text in reading.results.items() if text not in ("read", "error")}
        self.faults += [f"{mutation} {name}: {key}: {text}" for key, text in bad.items()]
        # Of media a container or an index may be whole, but only images are a result.
        found = [reading.results.get(key) for key in ("image", "video")]
        readable = "read" in (found if any(found) else reading.results.values())
        self.table[mutation, "fault" if bad else "read" if readable else "error"] += 1
        self._use.setdefault(reading.process, []).append((reading.files, reading.memory))
        return bool(bad)

    def stop(self, name: str, mutation: str, why: str) -> bool:
        """Add a file that had to be stopped; too much memory is no fault, since the limit refused it."""
        harmless = "of memory" in why
        self.table[mutation, "memory" if harmless else "fault"] += 1
        if not harmless:
            self.faults.append(f"{mutation} {name}: {why}")
        return not harmless

    def look_for_leaks(self) -> None:
        """Compare each process at its last call with its tenth, at which all libraries are loaded."""
        for use in self._use.values():
            for what, allowed, (first, last) in zip(
                ("files", "bytes of memory"),
                (0, LEAK),
                zip(use[min(9, len(use) - 1)], use[-1], strict=True),
                strict=True,
            ):
                if last - first > allowed:
                    self.faults.append(f"leak: {last - first} {what} after {len(use)} calls")

    def __str__(self) -> str:
        columns = ("read", "error", "memory", "fault")
        lines = [f"{'mutation':16}" + "".join(f"{column:>9}" for column in columns)]
        for mutation in dict.fromkeys(mutation for mutation, _ in self.table):
            lines.append(f"{mutation:16}" + "".join(f"{self.table[mutation, c]:9}" for c in columns))
        lines.append(f"{'all':16}" + "".join(f"{sum_of(self.table, c):9}" for c in columns))
        lines.append(f"longest: {self.longest:.1f} s; processes: {len(self._use)}")
        return "\n".join([*lines, *self.faults])


def sum_of(table: Counter, column: str) -> int:
    """The number of one result over all mutations."""
    return sum(count for (_, what), count in table.items() if what == column)


def main(arguments: Iterable[str] | None = None) -> int:
    """Print the table; 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="how many mutations")
    parser.add_argument("--seed", type=_seed, default=0, help="of the mutations: a number, or today")
    parser.add_argument("--family", default="media", help="media, another of fuzz_families, or all")
    parser.add_argument("--keep", type=Path, help="a folder for the files that caused a fault")
    from tools import fuzz_families  # which imports this module

    options = parser.parse_args(None if arguments is None else list(arguments))
    print(f"seed {options.seed}")
    reports = fuzz_families.fuzz_all(options.family, options.count, options.seed, options.keep)
    for family, report in reports.items():
        print(f"\n{family}\n{report}")
    return int(any(report.faults for report in reports.values()))


def _seed(text: str) -> int:
    return int(datetime.date.today().strftime("%Y%m%d") if text == "today" else text)


if __name__ == "__main__":
    from tools.fuzz import main as importable  # so that another process finds the functions by name

    sys.exit(importable())
