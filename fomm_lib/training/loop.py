"""Training: draw a batch, take a step, log, validate and save; in one process or in several.

    draw a batch -> deform it -> `training.step.TrainingStep` -> log, look, save -> the next

One process needs no launcher. With several, on one machine or on many, each runs this file under
`accelerate launch`, and gets its share of every batch; they exchange gradients and statistics of batch norm,
and nothing else, so that they compute what one process with the entire batch would:

    accelerate launch --multi_gpu --num_processes 4 -m fomm_lib train --config vox-256 --data vox --out run

Source: FOMM, section 4 and supplementary A.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from fomm_lib.config import Config, load_config
from fomm_lib.data.datasets import FramePairs, PairLoader, pair_loader
from fomm_lib.errors import InputError, check_integer
from fomm_lib.media.tensors import from_uint8
from fomm_lib.model import FirstOrderMotionModel, build_discriminator, check_colours, start_from
from fomm_lib.perceptual import perceptual_network
from fomm_lib.training.distributed import Processes, synchronize_batch_norm
from fomm_lib.training.fast import by_winograd, fuse_upsampling, keep_memory
from fomm_lib.training.log import Board
from fomm_lib.training.run import Run
from fomm_lib.training.state import whole_file
from fomm_lib.training.step import TrainingStep
from fomm_lib.training.validation import Validation, examples, sample_grid

LAYOUT = torch.channels_last  # the fastest layout for convolutions on CPUs and on tensor cores
ADVICE = "a lower learning rate, warmup_steps, clip_grad_norm, or float32 instead of bf16 or fp16"


def train(
    config: Config | dict | str | os.PathLike,
    data: str | os.PathLike,
    out: str | os.PathLike,
    steps: int | None = None,
    *,
    seed: int = 0,
    init: str | os.PathLike | None = None,
    resume: bool = False,
    perceptual: str | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    bf16: bool = False,
    precision: str | None = None,
    accumulate: int | None = None,
    compile: bool = False,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
    log_every: int = 10,
    sample_every: int = 500,
    checkpoint_every: int = 1000,
    keep: int = 2,
    validation_pairs: int = 48,
    tensorboard: bool = True,
    progress: bool = True,
) -> Path:
    """Train a model; all results are written into a folder.

    `out` gets

    - `config.yaml`;
    - `losses.csv`, a row every `log_every` steps with the means since the last (see `training.log.LossLog`),
      and the same for TensorBoard in `tensorboard/`;
    - `samples/<step>.png`, rows of source, driving, keypoints, deformed, occlusion, prediction;
    - every `checkpoint_every` steps, at the end, and when stopped: `states/`, from which `resume` continues;
      `weights.safetensors`, for use; `validation.csv`, measures of the test split if there is one; and
      `best.safetensors`, the weights with the lowest L1 there.

    Ctrl-C and SIGTERM finish the step, save, and stop. A run that was killed at any moment and is resumed
    computes what it would have computed without that; on one CPU thread bit by bit.

    Args:
        config: see `load_config`. Its batch size is that of all processes together.
        data: a folder of clips; see `FramePairs`.
        out: a new folder, or one without a training in it; with `resume`, that of the training to continue.
        steps: by default num_epochs and num_repeats of the config decide. An epoch, at whose milestones the
            learning rates drop, is the same in both cases.
        seed: of the networks, the pairs and the transforms.
        init: weights to start from: a name, a `.safetensors`, or a published `.pth.tar`. The detector, the
            dense motion network, the rest of the generator and the discriminator are each taken over if they
            fit the config, and start anew otherwise, with a warning.
        resume: continue from the newest state in `out`; begin if there is none yet. Learning rates and loss
            weights may differ from before, which is reported; what would change the networks, or the order
            of the data, may not.
        perceptual: overrides `train_params.perceptual_network`.
        batch_size: overrides `train_params.batch_size`.
        device: by default the GPU if there is one. With several processes, each has its own.
        bf16: short for `precision="bf16"`.
        precision: "no" (float32), "bf16", or "fp16" (GPUs only); by default that of `accelerate launch`,
            else "no". bf16 is about 1.3 times faster on CPUs that support it. On a GPU PyTorch computes the
            convolutions of float32 in TF32, with 10 bits after the point in place of 23, unless you set
            `torch.backends.cudnn.allow_tf32 = False`.
        accumulate: compute each batch in this many parts, for less memory; see `TrainingStep`.
        compile: compile the networks by torch.compile.
        cache: a folder for the decoded frames; see `FramePairs`.
        workers: processes that read ahead; by default one a core for a GPU, and none on a CPU, whose cores
            are busy with the networks. See `default_workers`.
        log_every, sample_every, checkpoint_every: in steps.
        keep: how many of the newest states to keep, in addition to that of the best weights.
        validation_pairs: how many of the test split; 0 for no validation.
        tensorboard, progress: whether to write those files, and to show a progress bar.
    Returns:
        The path of the weights.
    Raises:
        InputError: bad config or data, an `out` with a training in it, weights or a state that do not fit, a
            full disk, or a loss that is not finite: then `not_finite-<step>.pt` holds the batch.

    Example:
        >>> train("heads-64", data="data/heads", out="runs/first", steps=100)  # doctest: +SKIP
    """
    config = with_train_params(config, perceptual_network=perceptual, batch_size=batch_size)
    check_colours(config)
    params = config.train_params
    for name, number in (("steps", steps), ("sample_every", sample_every)):
        if number is not None:
            check_integer(name, number, 1)
    processes = Processes(device)
    every = {"log_every": log_every, "save_every": checkpoint_every}
    run = Run(out, config, data, processes, seed=seed, resume=resume, keep=keep, progress=progress, **every)

    accumulate = accumulate or processes.accelerator.gradient_accumulation_steps
    loader = open_pairs(config, data, processes, seed, accumulate, cache, workers)
    steps = steps or params.num_epochs * loader.batch_sampler.batches_per_epoch
    precision = precision or ("bf16" if bf16 else processes.accelerator.mixed_precision)
    init = None if run.resumed else init
    training = build_step(config, processes, seed, init, precision, accumulate, compile)
    main, size = processes.main, training.model.size
    validation = Validation(data, size, validation_pairs if main else 0, params.batch_size)
    shown = examples(data, size) if main else ()
    run.start(training, steps, len(loader.dataset), init)

    def save() -> None:
        numbers = validation(training.result)
        run.save(training.networks(), numbers, table="validation.csv", best_by="l1")
        board.validation(run.step, numbers)

    curves = run.out / "tensorboard" if main and tensorboard else None
    with run, Board(curves, run.step + 1) as board:  # in here, Ctrl-C and SIGTERM do not interrupt a step
        if run.step >= steps:
            save()  # the state is complete already, but the weights may not be
        for epoch, batch in batches(loader, run.step, steps):
            rate = learning_rate_factor(run.step + 1, epoch, params)
            training.set_learning_rates(rate)
            source, driving = (images_on(processes.device, batch[name]) for name in ("source", "driving"))
            transform = run.draw_transform(params.batch_size)
            with run.bad_batch(batch, transform, ADVICE):
                losses = training(source, driving, transform)

            extras = {f"gradient_{name}": norm for name, norm in training.gradient_norms.items()}
            extras["learning_rate"] = rate * params.lr_generator
            means = run.advance(losses, epoch, extras, params.batch_size)
            board.scalars(run.step, means)
            if main and run.due(sample_every):
                grid = sample_grid(training.result, *shown)
                write_sample(run.out, run.step, grid)
                board.image(run.step, grid)
            run.checkpoint(save)  # after Ctrl-C or SIGTERM it saves, and ends the training by an exception
    return run.weights


def learning_rate_factor(step: int, epoch: int, params) -> float:
    """The factor of all learning rates of the config: a warm-up, then 0.1 for every milestone passed.

    It follows from step and epoch alone, so a resumed training has the right one.

    Args:
        step: from 1.
        epoch: from 0; with milestones [60, 90], epochs 60 to 89 have a tenth.
        params: `train_params` of a config.

    Example:
        >>> params = load_config("vox-256").train_params
        >>> [round(learning_rate_factor(1, epoch, params), 3) for epoch in (0, 59, 60, 90)]
        [1.0, 1.0, 0.1, 0.01]
    """
    passed = sum(milestone <= epoch for milestone in params.epoch_milestones)
    ramp = min(1.0, step / params.warmup_steps) if params.warmup_steps else 1.0
    return 0.1**passed * ramp


def images_on(device: torch.device, images: Tensor) -> Tensor:
    """A batch from the loader, uint8 or float, as float32 in [0, 1] on the device, channels last in memory.

    Bytes go over the bus and become numbers there. The copy does not keep this process waiting, because the
    loader holds batches for a GPU in pinned memory.

    Example:
        >>> images_on(torch.device("cpu"), torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)).max()
        tensor(1.)
    """
    return from_uint8(images.to(device, non_blocking=True).contiguous(memory_format=LAYOUT))


def default_workers(device: torch.device, processes_here: int = 1) -> int:
    """How many processes read ahead by default: for a GPU this process's share of the cores, else none.

    Example:
        >>> default_workers(torch.device("cpu"))
        0
    """
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // processes_here)


def with_train_params(config: Config | dict | str | os.PathLike, **train_params: object) -> Config:
    """The config, with those `train_params` changed that are not None.

    Raises:
        InputError: see `load_config`.

    Example:
        >>> with_train_params("heads-64", batch_size=3, perceptual_network=None).train_params.batch_size
        3
    """
    config = load_config(config)
    changes = {name: value for name, value in train_params.items() if value is not None}
    if changes:
        changed = config.model_dump()
        changed["train_params"] |= changes
        config = load_config(changed)
    return config


def open_pairs(
    config: Config,
    data: str | os.PathLike,
    processes: Processes,
    seed: int,
    accumulate: int,
    cache,
    workers: int | None,
) -> PairLoader:
    """The training pairs, of which each process loads its share of every batch; see `train`.

    Raises:
        InputError: bad data, or a batch that cannot be divided among processes and parts.
    """
    params, dataset_params = config.train_params, config.dataset_params
    if params.batch_size % (processes.count * accumulate):
        raise InputError(
            f"train_params.batch_size = {params.batch_size}: is not a multiple of {processes.count} "
            f"processes x {accumulate} parts; choose one that is"
        )
    with processes.accelerator.main_process_first():  # one makes the cache, the others open it
        dataset = FramePairs(
            data,
            "train",
            size=dataset_params.frame_shape[:2],
            id_sampling=dataset_params.id_sampling,
            augmentation=dataset_params.augmentation_params,
            repeats=params.num_repeats,
            seed=seed,
            cache=cache,
            as_uint8=True,
        )
    share = params.batch_size // processes.count
    if workers is None:
        workers = default_workers(processes.device, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    return pair_loader(dataset, share, workers, rank=processes.rank, world_size=processes.count)


def build_step(
    config: Config, processes: Processes, seed: int, init, precision: str, accumulate: int, compile: bool
) -> TrainingStep:
    """The networks in their fastest form for the device, and the step that trains them; see `train`."""
    params, device = config.train_params, processes.device
    torch.manual_seed(seed)
    model, discriminator = FirstOrderMotionModel(config), build_discriminator(config)
    if init is not None:
        start_from(init, model, discriminator)
    model = fuse_upsampling(model).to(device, memory_format=LAYOUT).train()
    discriminator = discriminator.to(device, memory_format=LAYOUT).train()
    if processes.count > 1:
        model = synchronize_batch_norm(model)
    network = None
    if sum(params.loss_weights.perceptual):
        with processes.accelerator.main_process_first():
            network = perceptual_network(params.perceptual_network).to(device, memory_format=LAYOUT)
    if device.type == "cpu":  # the libraries of GPUs do both by themselves
        keep_memory()
        if precision == "no":
            for part in filter(None, (model, discriminator, network)):
                by_winograd(part)
    options = {"precision": precision, "accumulate": accumulate, "compile": compile}
    return TrainingStep(model, discriminator, network, config, accelerator=processes.accelerator, **options)


def batches(loader: PairLoader, done: int, steps: int) -> Iterator[tuple[int, dict]]:
    """(epoch, batch) for every step after `done`, up to `steps`."""
    length = loader.batch_sampler.batches_per_epoch
    while done < steps:
        epoch = done // length
        loader.set_epoch(epoch, start_batch=done % length)
        for batch in itertools.islice(loader, steps - done):
            done += 1
            yield epoch, batch


def write_sample(out: Path, step: int, pixels) -> None:
    """Write an image of uint8 (H, W, 3) as `samples/<step>.png`."""
    (out / "samples").mkdir(exist_ok=True)
    with whole_file(out / "samples" / f"{step:07d}.png") as temporary:
        Image.fromarray(pixels).save(temporary)
