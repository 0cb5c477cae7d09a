"""A run: one training in its folder, new or resumed. `train`, `pretrain` and `family.training` share it.

    run = Run(out, config, data, processes, resume=True) refuses a folder that holds another training
    run.start(step, steps, pairs=len(data))             # continues from the newest state, if there is one
    with run:                                           # Ctrl-C and SIGTERM are noted from here on
        while run.step < steps:
            transform = run.draw_transform(batch_size)
            with run.bad_batch(batch, transform, ...):  # keeps the batch if a number is not finite
                losses = step(batch, transform)
            run.advance(losses, epoch)                  # counts the step, and logs its losses
            run.checkpoint(save)                        # saves if it is time, and stops after a signal

`save` is a function that measures the networks and gives the numbers to `run.save`.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch
import yaml
from pydantic import BaseModel, ValidationError
from torch import Tensor
from tqdm.auto import tqdm

from fomm_lib.checkpoints import write_weights
from fomm_lib.errors import InputError, error_text, printable
from fomm_lib.files import only_writer, remove_leftovers
from fomm_lib.losses import RandomTransform
from fomm_lib.training.distributed import Processes
from fomm_lib.training.log import TRAINING_COLUMNS, LossLog, append_row
from fomm_lib.training.state import (
    State,
    StateFolder,
    checked_state,
    random_states,
    read_state,
    set_random_states,
    versions,
    whole_file,
    writing,
)
from fomm_lib.training.step import NotFinite

# What must not change when a training is resumed: the networks, and the order of the data.
_FIXED = (
    *("model_params", "dataset_params", "train_params.batch_size", "train_params.num_repeats"),
    *("steps", "batch_size"),
    *("system", "networks", "size"),  # of the GAN family
)


class Run:
    """One training in its folder: config, losses, states, weights, and stopping on signals.

    Args:
        out: a new folder, or one without a training in it; with `resume`, that of the training to continue.
        config: of the networks; written to `config.yaml`.
        data: the folder of clips; noted in `config.yaml`, as `dataset_params.root_dir` or as `data`.
        processes: of several, only the main one writes files.
        verb: "train", "pretrain" or "family train", whose states differ.
        settings: further numbers that a state depends on. `steps` and `batch_size` must be the same when the
            run is resumed; others may change, which is reported.
        seed: of the networks and the random numbers.
        resume: continue from the newest state, if there is one.
        keep: how many states to keep; see `StateFolder`.
        columns: of `losses.csv`.
        log_every, save_every: in steps.
        progress: whether to show a progress bar.
        dtype: of the written weights; None keeps theirs. States always keep theirs.

    Attributes:
        step, steps: how many are done, and how many there are.
        resumed: whether there is a state to continue from.
        weights: the path of the weights.
        generator: of the random numbers that a step draws.
        stop: whether a signal asks to stop; inside `with`.

    Raises:
        InputError: `out` holds a training that cannot be resumed, or `keep` is below 1.
    """

    def __init__(
        self,
        out: str | os.PathLike,
        config: BaseModel,
        data: str | os.PathLike,
        processes: Processes,
        *,
        verb: str = "train",
        settings: Mapping[str, object] | None = None,
        seed: int = 0,
        resume: bool = False,
        keep: int = 2,
        columns: tuple[str, ...] = TRAINING_COLUMNS,
        log_every: int = 10,
        save_every: int = 1000,
        progress: bool = True,
        dtype: torch.dtype | None = None,
    ):
        self.out, self.config, self.data, self.processes = Path(out), config, data, processes
        self.verb, self.settings, self.seed, self.columns = verb, dict(settings or {}), seed, columns
        self.log_every, self.save_every, self.progress = log_every, save_every, progress
        self.dtype = dtype
        self.weights, losses = self.out / "weights.safetensors", self.out / "losses.csv"
        self.states = StateFolder(self.out / "states", keep)
        self._newest = self.states.newest() if resume else None
        self.resumed = self._newest is not None
        self.generator = torch.Generator().manual_seed(seed)
        self.step, self.best, self.origin = 0, None, None
        self._new: list[Path] = []  # files and folders that this run makes at its start
        self._open = ExitStack()  # what ends with the run
        begun = losses.exists() and len(losses.read_bytes().splitlines()) > 1
        if not self.resumed and (self.weights.exists() or (begun and not resume)):
            other = "start from its weights: init (--init)" if resume else "go on with it: resume (--resume)"
            raise InputError(f"{out}: holds a training already; choose another folder, or {other}")

    def start(self, training, steps: int, pairs: int, init: str | os.PathLike | None = None) -> None:
        """Continue from the newest state if there is one; make the folder, and write its config.

        Args:
            training: what a step changes, with methods `state` and `load_state`.
            steps: how many there are.
            pairs: how many an epoch has.
            init: the weights that the networks started from.
        Raises:
            InputError: the state is damaged, or of a training with other settings, or the folder cannot be
                written.
        """
        self.training, self.steps, self.pairs = training, steps, pairs
        self.origin = None if init is None else Path(init).name
        try:
            self._start()
        except BaseException:
            self._open.close()
            raise

    def _start(self) -> None:
        if self.processes.main:
            # Without its first step a run leaves nothing: it would stand in the way of the next.
            files = [self.out / name for name in ("config.yaml", "losses.csv", "tensorboard")]
            self._new = [path for path in (*files, self.out, *self.out.parents) if not path.exists()]
            self._claim()
        state = self._load() if self.resumed else None
        if self.processes.main:
            noted = self.config.model_dump(mode="json")
            if "dataset_params" in noted:
                noted["dataset_params"]["root_dir"] = str(self.data)
            else:
                noted["data"] = str(self.data)
            with whole_file(self.out / "config.yaml") as temporary:
                temporary.write_text(yaml.safe_dump(noted, sort_keys=False), encoding="utf-8")
        losses = self.out / "losses.csv" if self.processes.main else None
        self.log = LossLog(losses, keep=self.step, names=self.columns)
        if state is not None:
            self.log.load_state(state.log.model_dump())

    def _claim(self) -> None:
        """Make the folder, with nobody else writing in it, and remove what killed runs left there."""
        with writing(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        self._open.enter_context(only_writer(self.out))
        remove_leftovers(self.out, self.states.folder, self.out / "samples")
        if self.resumed and self.states.newest() != self._newest:
            raise InputError(f"{self.out}: another process went on with this training; start again")

    def _load(self) -> State:
        """The newest state, which the training has taken over on return."""
        try:
            state = checked_state(read_state(self._newest), self.states.step_of(self._newest))
            self._check(state)
            self.training.load_state(state.training)
            self.generator.set_state(state.transforms)
            set_random_states(state.random)
        except Exception as error:  # what is built in another way raises many types
            text = (
                error
                if isinstance(error, InputError)
                else f"is no state of this training ({error_text(error)})"
            )
            path = "" if str(self._newest) in str(text) else f"{self._newest}: "
            raise InputError(f"{path}{text}") from error
        self.step, self.best, self.origin = state.step, state.best, state.origin
        return state

    def __enter__(self) -> Run:
        self.stop = self._open.enter_context(StopRequest())
        hidden = not (self.progress and self.processes.main)
        bar = tqdm(total=self.steps, initial=self.step, disable=hidden, unit="step")
        self.bar = self._open.enter_context(bar)
        return self

    def __exit__(self, *error) -> None:
        self._open.__exit__(*error)
        if self.step == 0:
            for path in self._new:
                _remove(path)

    def draw_transform(self, batch_size: int) -> RandomTransform:
        """Random deformations for this process's share of a batch, for the equivariance losses."""
        params = self.config.train_params.transform_params.model_dump()
        device = self.processes.device
        whole = RandomTransform.sample(batch_size, **params, generator=self.generator, device=device)
        return self.processes.share(whole)

    @contextmanager
    def bad_batch(self, batch: Mapping, transform: RandomTransform | None, advice: str) -> Iterator[None]:
        """Save the batch of a step that raises `NotFinite`, and say so.

        Args:
            batch: the images and the rest of the batch; `name`, if there is one, has the names of its clips.
            transform: that of the step, if it has one.
            advice: what to try.
        Raises:
            InputError: instead of `NotFinite`, with the name of the file.
        """
        try:
            yield
        except NotFinite as error:
            step = self.step + 1
            path = self.out / f"not_finite-{step:07d}{self.processes.suffix}.pt"
            found = {"step": step, "not_finite": error.names, **batch}
            if transform is not None:
                control = transform.control_params
                found["theta"] = transform.theta.cpu()
                found["control_params"] = None if control is None else control.cpu()
            with whole_file(path) as temporary:
                torch.save(found, temporary)
            clips = f", on {', '.join(batch['name'])}" if "name" in batch else ""
            raise InputError(
                f"step {step}: {error}{clips}; the batch is in {path}. Try {advice}, "
                "and go on from the last state: resume (--resume)"
            ) from error

    def advance(
        self, losses: dict[str, float], epoch: int, extras: Mapping | None = None, samples: int = 0
    ) -> dict[str, float]:
        """Count a step that was taken, and log it; gives the means of the row that was written, if any.

        Args:
            losses: by name; the progress bar shows their means.
            epoch: from 0.
            extras: further numbers for the row.
            samples: how many pairs the step saw.
        """
        self.step += 1
        self.log.add({**losses, **(extras or {})}, samples)
        self.bar.update()
        if not self.due(self.log_every):
            return {}
        means = self.log.write(self.step, epoch)
        self.bar.set_postfix({name: f"{means[name]:.3g}" for name in losses})
        return means

    def due(self, every: int) -> bool:
        """Whether it is time for what is done every so many steps, and at the end."""
        return self.step % every == 0 or self.step >= self.steps

    def checkpoint(self, save: Callable[[], None]) -> None:
        """Save if it is time or a signal came; after a signal, end.

        Raises:
            KeyboardInterrupt, SystemExit: see `StopRequest.finish`.
        """
        stopping = self.processes.any(bool(self.stop))
        if self.due(self.save_every) or stopping:
            save()
        if stopping and self.step < self.steps:
            self.processes.accelerator.wait_for_everyone()  # the launcher may kill the others when one ends
            tqdm.write(
                f"{printable(self.out)}: stopped after step {self.step} of {self.steps}; to go on, resume"
            )
            self.stop.finish()

    def save(
        self,
        networks: dict[str, dict[str, Tensor]],
        numbers: dict[str, float],
        *,
        table: str,
        best_by: str | None = None,
        notes: dict[str, str] | None = None,
    ) -> None:
        """Write a row of measures, a state, and the weights, in an order in which a kill loses nothing.

        Args:
            networks: {network: state_dict}.
            numbers: how good the networks are; empty if that was not measured.
            table: the CSV that `numbers` are appended to.
            best_by: the number whose lowest value so far marks the weights for `best.safetensors`.
            notes: further text to write into the weights.
        Raises:
            InputError: a file could not be written.
        """
        if not self.processes.main:
            return
        notes = {
            "steps": str(self.step),
            "seed": str(self.seed),
            "seconds": f"{self.log.seconds:.0f}",
            **({"started from": self.origin} if self.origin else {}),
            **(notes or {}),
        }
        if best_by in numbers and (self.best is None or numbers[best_by] < self.best[best_by]):
            self.best = {"step": self.step, best_by: numbers[best_by]}
            self._write_weights(self.out / "best.safetensors", networks, notes)
        if numbers:
            append_row(self.out / table, {"step": self.step, **numbers}, keep=self.step - 1)
        state = {
            "step": self.step,
            "training": self.training.state(),
            "transforms": self.generator.get_state(),
            "random": random_states(),
            "log": self.log.state(),
            "best": self.best,
            "origin": self.origin,
            "verb": self.verb,
            "config": self.config.model_dump(mode="json"),
            "settings": self.settings,
            "seed": self.seed,
            "pairs": self.pairs,
            "versions": versions(),
        }
        self.states.write(self.step, state, best=self.best and self.best["step"])
        self._write_weights(self.weights, networks, notes)

    def _write_weights(self, path: Path, networks: dict, notes: dict[str, str]) -> None:
        with writing(path):
            write_weights(path, networks, self.config, dtype=self.dtype, notes=notes, overwrite=True)

    def _check(self, state: State) -> None:
        """The state fits the arguments, or an error says what does not."""
        path = self._newest
        if state.verb != self.verb:
            verb = printable(state.verb, 50)
            raise InputError(f"{path}: is a state of fomm {verb}; go on with that, or choose another folder")
        if state.seed != self.seed:
            raise InputError(
                f"{path}: the training began with seed {state.seed}, not {self.seed}; give that one"
            )
        if state.pairs != self.pairs:
            raise InputError(
                f"{path}: an epoch had {state.pairs} pairs, now it has {self.pairs}: the data have "
                "changed; start another training from its weights: init (--init)"
            )
        before = _flat(state.config) | state.settings
        now = _flat(self.config.model_dump(mode="json")) | self.settings
        changed = [key for key in now if before.get(key, now[key]) != now[key]]
        for key in changed:
            if key.startswith(_FIXED) and key != "dataset_params.root_dir":
                began = printable(before[key], 100)
                raise InputError(
                    f"{key} = {now[key]}: the training began with {began}; go on with that, "
                    "or start another training from its weights: init (--init)"
                )
        try:
            type(self.config).model_validate(state.config)
        except ValidationError as error:
            raise InputError(f"config: {error.errors(include_input=False)[0]['msg'].lower()}") from None
        for key in changed:
            said = f"{key}: {before[key]} until step {state.step}, {now[key]} from now on"
            tqdm.write(printable(said, 500))


def _remove(path: Path) -> None:
    """Remove a file, the folder of TensorBoard, or another folder if it is empty."""
    with suppress(OSError):  # it holds something else, such as a batch that was not finite
        if path.name == "tensorboard":
            shutil.rmtree(path)
        elif path.is_dir():
            path.rmdir()
        else:
            path.unlink()


def _flat(section: dict, above: str = "") -> dict:
    """A config by full keys: {"train_params.batch_size": 8}."""
    flat = {}
    for key, value in section.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return flat


class StopRequest:
    """Ctrl-C and SIGTERM are noted inside `with`, instead of interrupting a step.

    The second Ctrl-C interrupts at once. Outside the main thread, where Python does not allow it, signals are
    handled as before.

    Attributes:
        signal: the number of the signal, 0 if none has arrived.

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
