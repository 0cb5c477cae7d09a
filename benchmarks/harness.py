"""What all benchmarks share: clocks, the peak of memory, variants that take turns, tables, made-up videos.

Benchmarks are modules, run from the root of the repository: `python -m benchmarks.training --help`. They only
measure time and memory; what makes figures and tables of the course is in `experiments/`.

Wall-clock time depends on what else the machine does. Therefore variants are compared within one run: each is
a process of its own, so that its peak of memory is its own, and they take turns, one step each, so that other
work slows all of them alike. Processor time hardly depends on other work.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter


def parser(description: str) -> argparse.ArgumentParser:
    """A parser of options that shows a module's docstring as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def processor_seconds() -> float:
    """Processor time of this process (all threads) and of its children that have ended."""
    return time.process_time() + sum(os.times()[2:4])  # os.times() has steps of 10 ms


def peak_mib() -> float:
    """The most memory this process has held so far, in MiB; on the GPU if it has used one."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss is no use: a new process inherits that of its parent
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 2**20)


@dataclass(frozen=True)
class Timing:
    """One call: wall-clock seconds, processor seconds, and what it returned."""

    seconds: float
    processor: float
    result: Any = None


def timed(work: Callable[[], Any]) -> Timing:
    """Call a function once. On a GPU it must wait until the device has finished."""
    started, before = time.perf_counter(), processor_seconds()
    result = work()
    return Timing(time.perf_counter() - started, processor_seconds() - before, result)


def fastest(work: Callable[[], Any], times: int) -> Timing:
    """The least wall-clock time and the least processor time of several calls."""
    timings = [timed(work) for _ in range(times)]
    return Timing(min(t.seconds for t in timings), min(t.processor for t in timings), timings[0].result)


@dataclass
class Run:
    """What `take_turns` measured of one variant.

    Attributes:
        ready: seconds from the start of the process until its step was built.
        before, peak: the most memory up to then, and up to the end, in MiB.
        first: the first step, a warm-up.
        timings: the steps of all rounds.
    """

    ready: float
    before: float
    peak: float
    first: Timing
    timings: list[Timing]

    def median(self, clock: str = "seconds") -> float:
        """Median over the rounds of "seconds" or "processor"."""
        return statistics.median(getattr(timing, clock) for timing in self.timings)

    def ratio(self, base: Run, clock: str = "seconds") -> float:
        """How many times faster than `base`: median over the rounds of the ratio within a round."""
        pairs = zip(base.timings, self.timings, strict=True)
        return statistics.median(getattr(b, clock) / getattr(own, clock) for b, own in pairs)


class _Process:
    """One variant in a process of its own, and what was measured of it so far, `run`."""

    def __init__(self, name: str, build: Callable[[], Callable[[], Any]]):
        context = multiprocessing.get_context("spawn")
        started = time.perf_counter()
        self.name = name
        self.pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(build, theirs), daemon=True).start()
        theirs.close()
        before = self._answer()
        ready = time.perf_counter() - started
        first, peak = self._answer()
        self.run = Run(ready, before, peak, first, [])

    def step(self) -> None:
        """Time one more step."""
        self.pipe.send(True)
        timing, self.run.peak = self._answer()
        self.run.timings.append(timing)

    def end(self) -> None:
        """Let the process end."""
        self.pipe.send(False)

    def _answer(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            raise SystemExit(f"{self.name}: its process ended") from None


def take_turns(variants: Mapping[str, Callable[[], Callable[[], Any]]], rounds: int) -> dict[str, Run]:
    """Run variants in processes of their own, which take turns.

    Args:
        variants: name -> a function that builds the variant's step, a function without arguments. It is
            called in the new process, so it must be picklable: a function of a module, or a `partial` of one.
        rounds: timed steps of each, after a warm-up.
    """
    # One after the other, since the start is measured.
    processes = [_Process(name, build) for name, build in variants.items()]
    for _ in range(rounds):
        for process in processes:
            process.step()
    for process in processes:
        process.end()
    return {process.name: process.run for process in processes}


def against_first(
    variants: Mapping[str, Callable[[], Callable[[], Any]]], rounds: int
) -> Iterator[tuple[str, Run, Run]]:
    """The same, but each variant takes turns with the first one alone, and is given when it has finished:
    there are results early, and no more than two processes at a time.

    Args:
        variants, rounds: as for `take_turns`; the first variant has as many rounds with each of the others.
    Yields:
        Name, run, and what was measured of the first variant in the same rounds. The first one comes first,
        by itself.
    """
    (first, build), *others = variants.items()
    base = _Process(first, build)
    for _ in range(rounds):
        base.step()
    yield first, base.run, base.run
    for name, build in others:
        process = _Process(name, build)
        for _ in range(rounds):
            base.step()
            process.step()
        process.end()
        yield name, process.run, replace(base.run, timings=base.run.timings[-rounds:])
    base.end()


def _serve(build: Callable[[], Callable[[], Any]], pipe: Connection) -> None:
    """The process of one variant."""
    step = build()
    pipe.send(peak_mib())
    more = True
    while more:
        timing = timed(step)
        pipe.send((timing, peak_mib()))
        more = pipe.recv()


class Table:
    """Prints rows as they come, in aligned columns.

    Args:
        columns: heading -> format of the values, as for `format`.
        width: of the first column.

    Example:
        >>> table = Table({"frames": "d", "frames/s": ".2f"})
           frames  frames/s
        >>> table.row(300, 2.345)
              300      2.35
    """

    def __init__(self, columns: Mapping[str, str], width: int = 0):
        self.formats = list(columns.values())
        self.widths = [max(len(name), 9) for name in columns]
        self.widths[0] = max(self.widths[0], width)
        self._print(columns)

    def row(self, *values: Any) -> None:
        """Print one row; None is an empty cell."""
        self._print("" if v is None else format(v, f) for v, f in zip(values, self.formats, strict=True))

    def _print(self, cells) -> None:
        cells = list(cells)
        first = cells[0].ljust(self.widths[0]) if self.formats[0] == "" else cells[0].rjust(self.widths[0])
        rest = (cell.rjust(width) for cell, width in zip(cells[1:], self.widths[1:], strict=True))
        print(" ".join([first, *rest]).rstrip(), flush=True)


def moving_texture(size: int, frames: int, seed: int) -> np.ndarray:
    """Uint8 (T, H, W, 3): an image with detail of all sizes moves before a camera with a little noise."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros((size * 2, size * 2, 3))
    for radius in (2, 6, 18, 50):
        noise = Image.fromarray(rng.integers(0, 256, canvas.shape, dtype=np.uint8))
        layer = np.asarray(noise.filter(ImageFilter.GaussianBlur(radius)), float) - 127.5
        canvas += layer * 35 / layer.std() * (radius / 50) ** 0.5
    canvas = np.clip(canvas + 127.5, 0, 255)
    angle = np.linspace(0, 2 * np.pi, frames)
    lefts = (size / 2 + size / 5 * np.sin(angle)).astype(int)
    tops = (size / 2 + size / 8 * np.sin(2 * angle)).astype(int)
    windows = [canvas[top : top + size, left : left + size] for top, left in zip(tops, lefts, strict=True)]
    return np.clip(np.stack(windows) + rng.normal(0, 2, (frames, size, size, 3)), 0, 255).astype(np.uint8)
