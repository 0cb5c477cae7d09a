"""States of a training on disk, each written as a whole file, and the random states in them.

A state is everything that the next step depends on. A run that is killed at any moment and continues from its
last state computes bit by bit what it would have computed without the kill.
"""

from __future__ import annotations

import os
import pickle
import platform
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from fomm_lib.errors import InputError, error_text
from fomm_lib.files import atomic_output
from fomm_lib.version import __version__

_NAME = re.compile(r"step-(\d{7,})\.pt")


class StateFolder:
    """The states of one training, `step-0001000.pt` and so on: the newest ones, and the best.

    Args:
        folder: it is made when the first state is written.
        keep: how many of the newest to keep; the best is kept in addition.

    Raises:
        InputError: `keep` is below 1.

    Example:
        >>> states = StateFolder("runs/first/states", keep=2)  # doctest: +SKIP
        >>> states.write(1000, {"networks": ...}, best=1000)  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 2):
        if keep < 1:
            raise InputError(f"keep = {keep}: at least one state must be kept to resume from")
        self.folder, self.keep = Path(folder), keep

    def paths(self) -> dict[int, Path]:
        """The existing states by step, oldest first."""
        names = ((_NAME.fullmatch(path.name), path) for path in self.folder.glob("step-*.pt"))
        return dict(sorted((int(name[1]), path) for name, path in names if name))

    def newest(self) -> Path | None:
        """The state to resume from, or None."""
        return next(reversed(self.paths().values()), None)

    def write(self, step: int, state: dict, best: int | None = None) -> Path:
        """Write a state, then delete all but the newest ones and that of step `best`.

        Raises:
            InputError: it could not be written (the disk is full, for example); earlier states are whole.
        """
        path = self.folder / f"step-{step:07d}.pt"
        with writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_output(path, overwrite=True) as temporary, open(temporary, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())  # on disk, not in a buffer that a power cut would lose
        paths = self.paths()
        for old in list(paths)[: -self.keep]:
            if old != best:
                paths[old].unlink()
        return path


def read_state(path: str | os.PathLike) -> dict:
    """A state, on the CPU. No code in the file is executed.

    Raises:
        InputError: it is damaged, or there is no such file.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error_text(error)[:200]}); delete it to go on from the state before it"
        ) from error


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turn any error on writing a file of a training into one line, which says that nothing is lost.

    PyTorch and safetensors raise their own errors when a disk is full.

    Raises:
        InputError: the file could not be written.

    Example:
        >>> with writing("runs/first/losses.csv"):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
        ...
        fomm_lib.errors.InputError: runs/first/losses.csv: could not be written (No space left on device); ...
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{path}: could not be written ({error_text(error)[:200]}); all that was saved before is whole: "
            "make room, then go on with resume"
        ) from error


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """`files.atomic_output` that replaces the old file, with the errors of `writing`."""
    with writing(path), atomic_output(path, overwrite=True) as temporary:
        yield temporary


def random_states() -> dict:
    """The states of all random number generators, in a form that `torch.load` reads without code."""
    kind, key, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(key.astype(np.int64)), *rest],
        "python": random.getstate(),
    }


def set_random_states(states: dict) -> None:
    """Set all random number generators to the result of `random_states`."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    kind, key, *rest = states["numpy"]
    np.random.set_state((kind, key.numpy().astype(np.uint32), *rest))
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))


def versions() -> dict[str, str]:
    """The versions of this library, PyTorch, NumPy and Python, for the record in a state."""
    return {
        "fomm_lib": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
