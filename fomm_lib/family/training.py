"""Training of the five systems: `fit` for a notebook, `train_family` for a folder that can be resumed.

`fit` is the whole idea: draw a batch, take a step, keep the losses. `train_family` does the same and also
writes weights, losses and samples, stops on signals, and continues from where it stopped.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from fomm_lib.checkpoints import load_network
from fomm_lib.errors import InputError, printable
from fomm_lib.family.config import FamilyConfig, family_config
from fomm_lib.family.data import FamilyData, open_data
from fomm_lib.family.systems import System, make_system, sampling
from fomm_lib.family.weights import read_family
from fomm_lib.files import data_path
from fomm_lib.training.distributed import Processes
from fomm_lib.training.loop import write_sample
from fomm_lib.training.run import Run
from fomm_lib.training.step import NotFinite
from fomm_lib.training.validation import grid_of_columns

ADVICE = "a lower learning rate"


def fit(
    step: Callable[..., dict[str, Tensor]], batches: Iterable[Sequence[Tensor]], steps: int
) -> dict[str, list[float]]:
    """Take `steps` steps; gives the curve of every loss.

    Args:
        step: one update of all networks, called with the tensors of a batch; gives the losses by name.
        batches: e.g. `draws(data, 4)`.
        steps: how many.

    Example:
        >>> weight = torch.zeros(1, requires_grad=True)
        >>> optimizer = torch.optim.SGD([weight], 0.25)
        >>> def step(target):
        ...     optimizer.zero_grad()
        ...     loss = (weight - target).square().mean()
        ...     loss.backward()
        ...     optimizer.step()
        ...     return {"loss": loss.detach()}
        >>> fit(step, itertools.repeat([torch.ones(1)]), 3)
        {'loss': [1.0, 0.25, 0.0625]}
    """
    curves: dict[str, list[float]] = {}
    for batch in itertools.islice(batches, steps):
        for name, loss in numbers(step(*batch)).items():
            curves.setdefault(name, []).append(loss)
    return curves


def draws(data: FamilyData, batch_size: int, seed: int = 0) -> Iterator[tuple[Tensor, ...]]:
    """Random batches without end.

    Example:
        >>> data = ImageSets(torch.zeros(5, 3, 8, 8, dtype=torch.uint8))
        >>> next(draws(data, 2))[0].shape
        torch.Size([2, 3, 8, 8])
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield data.draw(batch_size, generator)


def train_family(
    system: str | FamilyConfig,
    data: str | os.PathLike | None,
    out: str | os.PathLike,
    *,
    steps: int | None = None,
    seed: int = 0,
    init: str | os.PathLike | None = None,
    resume: bool = False,
    preset: str = "small",
    batch_size: int | None = None,
    size: int | None = None,
    device: str | None = None,
    log_every: int = 10,
    sample_every: int = 500,
    checkpoint_every: int = 1000,
    keep: int = 2,
    progress: bool = True,
) -> Path:
    """Train one of the five systems; all results are written into a folder.

    `out` gets `config.yaml`; `losses.csv`, a row every `log_every` steps with the means since the last;
    `samples/<step>.png`; and every `checkpoint_every` steps, at the end, and when stopped: `states/`, from
    which `resume` continues, and `weights.safetensors`, the networks that make images, in half precision.

    Ctrl-C and SIGTERM finish the step, save, and stop. A run that was killed at any moment and is resumed
    computes what it would have computed without that; on one CPU thread bit by bit.

    Args:
        system: one of `config.SYSTEMS`, or a config.
        data: a folder; see `data`. None for the heads of the course.
        out: a new folder, or one without a training in it; with `resume`, that of the training to continue.
        steps: by default those of the config. Schedules depend on it, so a resumed training has the same.
        seed: of networks, batches and noise.
        init: weights to start from, as `load_family` takes them; discriminators start anew.
        resume: continue from the newest state in `out`; begin if there is none yet.
        preset: "small", or "published" for the networks and optimizers of the paper.
        batch_size, size: images a step, and their height and width, if not those of the config.
        device: by default the GPU if there is one.
        log_every, sample_every, checkpoint_every: in steps.
        keep: how many of the newest states to keep.
        progress: whether to show a progress bar.
    Returns:
        The path of the weights, for `load_family` and `fomm family apply`.
    Raises:
        InputError: bad config or data, an `out` with a training in it, weights or a state that do not fit, a
            full disk, several processes, or a loss that is not finite: then `not_finite-<step>.pt` holds the
            batch.

    Example:
        >>> train_family("pix2pix", None, "runs/pix2pix")  # doctest: +SKIP
    """
    config = system
    if not isinstance(config, FamilyConfig):
        config = family_config(str(system), preset, steps=steps, batch_size=batch_size, size=size)
    processes = Processes(device)
    if processes.count > 1:
        raise InputError(f"this trains in one process, not in {processes.count}; leave out the launcher")
    opened = open_data(config.system, data, config.size)
    torch.manual_seed(seed)
    training = make_system(config, processes.device)
    run = Run(
        out,
        config,
        data or data_path("heads" if config.system == "monkeynet" else "family"),
        processes,
        verb="family train",
        settings=training.notes,
        seed=seed,
        resume=resume,
        keep=keep,
        columns=(*training.columns, "samples_per_second"),
        log_every=log_every,
        save_every=checkpoint_every,
        progress=progress,
        dtype=torch.float16,
    )
    if init is not None and not run.resumed:
        start_from(init, training)
    shown = open_data(config.system, data, config.size, "test").examples(4)
    run.start(training, config.steps, len(opened), init)

    def save() -> None:
        run.save(training.weights(), {}, table="", notes=training.notes)

    with run:
        for name, note in training.notes.items():
            tqdm.write(printable(f"{name}: {note}"))
        if run.step >= run.steps:
            save()  # the state is complete already, but the weights may not be
        while run.step < run.steps:
            batch = opened.draw(config.batch_size, run.generator)
            with run.bad_batch({f"images_{i}": images for i, images in enumerate(batch)}, None, ADVICE):
                losses = finite_step(training, batch, run.step, run.generator)
            epoch = run.step * config.batch_size // len(opened)
            run.advance(losses, epoch, samples=config.batch_size)
            if run.due(sample_every):
                write_sample(run.out, run.step, sample_images(training, shown))
            run.checkpoint(save)
    return run.weights


def finite_step(
    training: System, batch: Sequence[Tensor], done: int, generator: torch.Generator
) -> dict[str, float]:
    """One step; gives the losses as numbers.

    Raises:
        NotFinite: one of them is not finite. The step has been taken: go on from the last state.
    """
    losses = training.step([images.to(training.device) for images in batch], done, generator)
    values = numbers(losses)
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise NotFinite(bad)
    return values


def numbers(losses: dict[str, Tensor]) -> dict[str, float]:
    """Losses as numbers, which a GPU is waited for once.

    Example:
        >>> numbers({"a": torch.tensor(1.5), "b": torch.tensor(2)})
        {'a': 1.5, 'b': 2.0}
    """
    return dict(zip(losses, torch.stack([loss.float() for loss in losses.values()]).tolist(), strict=True))


def start_from(init: str | os.PathLike, training: System) -> None:
    """Load weights into the networks that make images.

    Raises:
        InputError: weights of another system, or of networks of another size.
    """
    config, networks, _, path = read_family(init)
    if config.system != training.config.system:
        raise InputError(f"{path}: weights of {config.system}, not of {training.config.system}")
    for name, entries in networks.items():
        load_network(training.networks[name], entries, f"{path}, {name},")


def sample_images(training: System, examples: Sequence[Tensor]):
    """A grid of samples, uint8 (H, W, 3): a row an example."""
    with sampling():
        columns = training.samples([images.to(training.device) for images in examples])
    return grid_of_columns([(column.clamp(0, 1) * 255).round().byte().cpu() for column in columns])
