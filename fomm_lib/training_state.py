"""What keeps a training from being lost: states on disk, written whole or not at all, and a polite stop.

A state is everything that the next step depends on. A run that is killed at any moment and goes on from its
last state computes what it would have computed without the kill, to the last digit.
"""

from __future__ import annotations

import os
import pickle
import platform
import random
import re
import signal
import threading
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from fomm_lib import __version__
from fomm_lib.files import InputError, atomic_output

_NAME = re.compile(r"step-(\d{7,})\.pt")


class StateFolder:
    """The states of one training, `step-0001000.pt` and so on: the newest ones, and the best.

    Args:
        folder: where they lie; it is made when the first is written.
        keep: how many of the newest to keep; the best is kept besides.

    Raises:
        InputError: `keep` is below 1.

    Example:
        >>> states = StateFolder("runs/first/states", keep=2)  # doctest: +SKIP
        >>> states.write(1000, {"networks": ...}, score=0.031)  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 2):
        if keep < 1:
            raise InputError(f"keep = {keep}: at least one state must be kept, or nothing could go on")
        self.folder, self.keep = Path(folder), keep

    def paths(self) -> dict[int, Path]:
        """The states that there are, by step, oldest first."""
        found = {}
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                match = _NAME.fullmatch(path.name)
                if match:
                    found[int(match[1])] = path
        return dict(sorted(found.items()))

    def newest(self) -> Path | None:
        """The state to go on from, or None."""
        return next(reversed(self.paths().values()), None)

    def write(self, step: int, state: dict, best: int | None = None) -> Path:
        """Write a state, then delete what is older than the newest ones, but for step `best`.

        Raises:
            InputError: it could not be written (the disk is full, say); those written before are whole.
        """
        path = self.folder / f"step-{step:07d}.pt"
        with writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_output(path, overwrite=True) as temporary, open(temporary, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())  # on the disk, and not in a buffer that a power cut would take along
        paths = self.paths()
        for old in list(paths)[: -self.keep]:
            if old != best:
                paths[old].unlink()
        return path


def read_state(path: str | os.PathLike) -> dict:
    """A state, on the CPU. Nothing in the file is ever executed.

    Raises:
        InputError: it is damaged, or no such file.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); "
            "delete it to go on from the state before it"
        ) from error


class writing:
    """Say in one line that a file of a training could not be written, and that nothing is lost.

    PyTorch and safetensors have errors of their own for a full disk; this makes one of all of them.

    Example:
        >>> with writing("runs/first/losses.csv"):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
        ...
        fomm_lib.files.InputError: runs/first/losses.csv: could not be written (No space left on device); ...
    """

    def __init__(self, path: str | os.PathLike):
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, InputError):
            return
        if isinstance(error, (OSError, RuntimeError, SafetensorError)):
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.path}: could not be written ({reason}); all that was saved before is whole: "
                "make room, then go on with resume"
            ) from error


# --- Random numbers, and what made them ---------------------------------------------------------------------


def random_states() -> dict:
    """Where all generators of random numbers stand, in a form that `torch.load` reads without code."""
    kind, key, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(key.astype(np.int64)), *rest],
        "python": random.getstate(),
    }


def set_random_states(states: dict) -> None:
    """Put all generators where `random_states` found them."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    kind, key, *rest = states["numpy"]
    np.random.set_state((kind, key.numpy().astype(np.uint32), *rest))
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))


def versions() -> dict[str, str]:
    """Of what a training ran on."""
    return {
        "fomm_lib": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


# --- Stopping -----------------------------------------------------------------------------------------------


class StopRequest:
    """Notes Ctrl-C and SIGTERM instead of breaking off in the middle of a step.

    The second Ctrl-C breaks off at once. Outside of the main thread, where Python does not allow it, signals
    stay as they are.

    Attributes:
        signal: the number of the signal that came, 0 while none has.

    Example:
        >>> with StopRequest() as stop:
        ...     bool(stop)
        False
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.signal = 0
        self._before = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame) -> None:
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = number

    def __bool__(self) -> bool:
        return self.signal != 0

    def finish(self) -> None:
        """End as the signal asked: KeyboardInterrupt, or exit code 143.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            SystemExit: after SIGTERM.
        """
        if self.signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt
