"""The protocol of an evaluation: which frames of which clips.

Two evaluations are comparable only if they used the same images. A protocol is a small JSON file, made once
and kept:

    protocol = make_protocol({"anna.mp4": 48, "ben.mp4": 48}, "reconstruction")
    protocol.write("protocol.json")
    read_protocol("protocol.json") == protocol

Driving frames come in runs of three consecutive ones (which `faces.jitter` needs), spread over the clip.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fomm_lib.errors import InputError, check_integer
from fomm_lib.files import atomic_output

MODES = ("reconstruction", "animation")


@dataclass(frozen=True)
class Task:
    """One animation to evaluate.

    Attributes:
        clip: file name of the driving clip.
        driving: its frame numbers, ascending.
        source_clip: file name of the clip that the source is a frame of; the same clip in reconstruction.
        source: the source's frame number.
    """

    clip: str
    driving: tuple[int, ...]
    source_clip: str
    source: int


@dataclass(frozen=True)
class Protocol:
    """What is evaluated.

    Attributes:
        mode: "reconstruction": a clip is redrawn from one of its frames, so the truth is known; "animation":
            the source is of another clip, and there is no truth.
        tasks: one a driving clip.
    Raises:
        InputError: an unknown mode, no task, or frame numbers that are negative or not ascending.

    Example:
        >>> Protocol("reconstruction", (Task("anna.mp4", (1, 2, 3), "anna.mp4", 0),)).tasks[0].source
        0
    """

    mode: str
    tasks: tuple[Task, ...]

    def __post_init__(self):
        if self.mode not in MODES:
            raise InputError(f"mode={self.mode!r}: choose 'reconstruction' or 'animation'")
        if not self.tasks:
            raise InputError("a protocol needs at least one task")
        for task in self.tasks:
            numbers = task.driving
            if not numbers or list(numbers) != sorted(set(numbers)) or min(*numbers, task.source, 0) < 0:
                raise InputError(
                    f"{task.clip}: driving frames must be different whole numbers from 0 on, ascending, "
                    f"and the source one too; they are {list(numbers)} and {task.source}"
                )

    def write(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Write it as JSON, a line a task.

        Raises:
            InputError: the file exists already, or cannot be written.
        """
        lines = ",\n  ".join(json.dumps(asdict(task)) for task in self.tasks)
        with atomic_output(path, overwrite) as temporary:
            temporary.write_text(f'{{"mode": "{self.mode}", "tasks": [\n  {lines}\n]}}\n', encoding="utf-8")


def read_protocol(path: str | os.PathLike) -> Protocol:
    """Read a file of `Protocol.write`.

    Raises:
        InputError: no such file, or it is no protocol.

    Example:
        >>> read_protocol(data_path("evaluation", "animation.json")).mode
        'animation'
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        tasks = tuple(
            Task(str(t["clip"]), tuple(map(int, t["driving"])), str(t["source_clip"]), int(t["source"]))
            for t in content["tasks"]
        )
        return Protocol(content["mode"], tasks)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no protocol; make one with `fomm evaluate --save-protocol`") from error


def make_protocol(
    lengths: Mapping[str, int],
    mode: str = "reconstruction",
    runs: int = 6,
    portraits: Sequence[str] = (),
) -> Protocol:
    """A protocol for some clips: the first frame is the source, driving frames are spread evenly.

    In reconstruction the source is no driving frame, because redrawing it from itself measures nothing. In
    animation the first driving frame is the first of the clip, from which movement is measured; every clip
    drives the first frame of the next clip of another identity (the part of its name before the first `#`),
    or, if there are portraits, one of these in turn.

    Args:
        lengths: name of a clip -> number of its frames. Clips of fewer than two frames are left out.
        mode: "reconstruction" or "animation".
        runs: how many runs of three frames a clip; of a short clip all frames are taken.
        portraits: names of images to animate.
    Raises:
        InputError: no clip has two frames, an unknown mode, or a single clip (or identity) to animate.

    Example:
        >>> make_protocol({"anna.mp4": 48}, runs=3).tasks[0].driving
        (1, 2, 3, 23, 24, 25, 45, 46, 47)
    """
    check_integer("runs", runs, 1)
    names = [name for name, length in lengths.items() if length >= 2]
    if not names:
        raise InputError("no clip has two frames or more, and a clip of one frame has nothing to redraw")
    tasks = []
    for number, name in enumerate(names):
        source_clip = name
        if mode == "animation" and portraits:
            source_clip = portraits[number % len(portraits)]
        elif mode == "animation":
            following = names[number + 1 :] + names[:number]
            others = [other for other in following if other.split("#")[0] != name.split("#")[0]]
            if not others:
                raise InputError("animation needs clips of at least two identities; give more clips")
            source_clip = others[0]
        first = 0 if mode == "animation" else 1
        tasks.append(Task(name, _spread(first, lengths[name], runs), source_clip, 0))
    return Protocol(mode, tuple(tasks))


def _spread(first: int, length: int, runs: int) -> tuple[int, ...]:
    """Numbers of frames from `first` on, in runs of three."""
    if length - first <= 3 * runs:
        return tuple(range(first, length))
    starts = np.linspace(first, length - 3, runs).astype(int)
    return tuple(int(start) + k for start in starts for k in range(3))
