"""States of a training on disk, each written as a whole file, and the random states in them.

A state is everything that the next step depends on. A run that is killed at any moment and continues from its
last state computes bit by bit what it would have computed without the kill.
"""

from __future__ import annotations

import math
import os
import platform
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError
from torch import Tensor, nn
from torch.optim import Optimizer

from fomm_lib.checkpoints import check_tensors, load_network, read_tensors
from fomm_lib.documents import check_extent, shown
from fomm_lib.errors import InputError, error_text
from fomm_lib.files import atomic_output
from fomm_lib.version import __version__

_NAME = re.compile(r"step-(\d{7,12})\.pt")


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

    @staticmethod
    def step_of(path: Path) -> int:
        """The step of a state, by its name.

        Example:
            >>> StateFolder.step_of(Path("states/step-0001000.pt"))
            1000
        """
        return int(_NAME.fullmatch(path.name)[1])

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
        return read_tensors(path)
    except InputError as error:
        raise InputError(f"{error}; delete it to go on from the state before it") from error


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turn any error on writing a file of a training into one line, which says that nothing is lost.

    PyTorch raises its own errors when a disk is full.

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
    except (InputError, OSError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, InputError) else error
        if not isinstance(cause, (OSError, RuntimeError)):
            raise
        raise InputError(
            f"{path}: could not be written ({error_text(cause)[:200]}); all that was saved before is whole: "
            "make room, then go on with resume"
        ) from cause


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


# --- whether a state is one: structure, types and ranges ----------------------------------------------------

Steps = Annotated[int, Field(ge=0, lt=10**12, strict=True)]


class _Log(BaseModel):
    sums: dict[str, FiniteFloat]
    counts: dict[str, Annotated[int, Field(ge=1, lt=10**12)]]
    seconds: Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]


class State(BaseModel):
    """What `Run` keeps in a state, beside what the networks and optimizers of a training are.

    Attributes:
        step: how many are done.
        training: see the `state` of the training that it is of.
        transforms, random: of the random number generators, see `random_states`.
        log: see `log.LossLog.state`.
        best: step and measure of the best weights.
        origin: name of the weights that the training started from.
        verb, config, settings, seed, pairs, versions: of the run.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    step: Steps
    training: dict[str, Any]
    transforms: Tensor
    random: dict[str, Any]
    log: _Log
    best: dict[str, int | FiniteFloat] | None
    origin: str | None
    verb: str = "train"  # states of earlier versions are all of `train`
    config: dict[str, JsonValue]
    settings: dict[str, JsonValue] = {}
    seed: Annotated[int, Field(strict=True)]
    pairs: Annotated[int, Field(ge=1, strict=True)]


def checked_state(state: Mapping[str, Any], step: int) -> State:
    """The content of a state, if its structure, types and ranges are those of one that `Run` wrote.

    Args:
        step: that of its name.

    Raises:
        InputError: they are not.
    """
    for name in ("config", "settings"):
        check_extent(state.get(name), name)
    try:
        found = State.model_validate(state)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None
    if found.step != step:
        raise InputError(f"it is of step {found.step}, its name says {step}")
    if found.log.sums.keys() != found.log.counts.keys():
        raise InputError("log: sums and counts have other names")
    if found.best is not None and found.best.get("step", -1) not in range(found.step + 1):
        raise InputError(f"best: {shown(found.best)} is of no step up to {found.step}")
    _check_random_states({**found.random, "transforms": found.transforms})
    return found


def _check_random_states(states: Mapping[str, Any]) -> None:
    """Set generators that nobody uses: what fails, fails here."""
    of_numpy, of_python = np.random.RandomState(), random.Random()
    try:
        torch.Generator().set_state(states["transforms"])
        torch.Generator().set_state(states["torch"])
        of_cuda = states["cuda"]
        alike = isinstance(of_cuda, list) and all(isinstance(one, Tensor) for one in of_cuda)
        if not alike or any(one.dtype != torch.uint8 or one.ndim != 1 for one in of_cuda):
            raise ValueError("cuda")
        kind, key, position, *rest = states["numpy"]
        if not 0 <= position <= 624:  # NumPy would read beyond the end of its state
            raise ValueError("numpy")
        of_numpy.set_state((kind, key.numpy().astype(np.uint32), position, *rest))
        version, numbers, gauss = states["python"]
        of_python.setstate((version, tuple(numbers), gauss))
        of_python.gauss(0, 1)
    except Exception as error:  # the generators raise many types
        raise InputError(f"random: is no state of random numbers ({error_text(error)})") from None


def load_networks(networks: Mapping[str, nn.Module], states: Any) -> None:
    """Load the networks of a state.

    Args:
        networks: by name.
        states: {network: state_dict}.
    Raises:
        InputError: `states` has other networks, or entries that do not fit or are not finite.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> load_networks({"layer": layer}, {"layer": layer.state_dict()})
    """
    if not isinstance(states, dict) or states.keys() != networks.keys():
        raise InputError(f"networks: there should be {', '.join(networks)}")
    for name, network in networks.items():
        entries, wanted = states[name], network.state_dict()
        check_tensors("networks", name, entries)
        load_network(network, entries, name)  # says which entries are missing or too many
        for entry, tensor in entries.items():
            if tensor.dtype != wanted[entry].dtype or not tensor.isfinite().all():
                raise InputError(f"networks: {name}.{entry} has another type, or numbers that are not finite")


def load_optimizers(optimizers: Mapping[str, Optimizer], states: Any) -> None:
    """Load the optimizers of a state, as `load_networks` loads networks.

    Raises:
        InputError: `states` has other optimizers, of other parameters, or numbers out of range.
    """
    if not isinstance(states, dict) or states.keys() != optimizers.keys():
        raise InputError(f"optimizers: there should be {', '.join(optimizers)}")
    for name, optimizer in optimizers.items():
        try:
            _check_optimizer(optimizer, states[name])
            optimizer.load_state_dict(states[name])
        except InputError as error:
            raise InputError(f"optimizers: {name}: {error}") from None
        except Exception as error:  # KeyError, TypeError, ...: it is built in another way
            raise InputError(f"optimizers: {name} is no state of one ({error_text(error)})") from None


def _check_optimizer(optimizer: Optimizer, state: dict) -> None:
    own = optimizer.state_dict()
    if [group["params"] for group in state["param_groups"]] != [g["params"] for g in own["param_groups"]]:
        raise InputError("it is of other parameters")
    for group, mine in zip(state["param_groups"], own["param_groups"], strict=True):
        for key, value in mine.items():  # PyTorch itself fills in what an earlier release did not have
            if (key in group or key in _OF_ADAM) and not _alike(group[key], value):
                raise InputError(f"{key} = {shown(group[key])}: should be like {shown(value)}")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, entries in state["state"].items():
        if number not in range(len(parameters)) or entries.keys() < _MOMENTS:
            raise InputError(f"it has no moments of parameter {shown(number)}")
        check_tensors("moments", str(number), {k: t for k, t in entries.items() if isinstance(t, Tensor)})
        for key, value in entries.items():
            shape = () if key == "step" else parameters[number].shape
            least = -math.inf if key == "exp_avg" else 0
            numbers = torch.as_tensor(value)
            if numbers.shape != shape or not numbers.isfinite().all() or not (numbers >= least).all():
                raise InputError(f"{shown(key)} of parameter {number} does not fit it, or is out of range")


_OF_ADAM = ("lr", "betas", "eps", "weight_decay")
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}


def _alike(value: Any, like: Any) -> bool:
    """Whether a setting of an optimizer is one, by another setting of the same name."""
    if isinstance(like, (tuple, list)):
        alike = isinstance(value, (tuple, list)) and len(value) == len(like)
        return alike and all(map(_alike, value, like))
    if isinstance(like, float):
        return type(value) in (int, float) and 0 <= value <= 1e6
    return type(value) is type(like)
