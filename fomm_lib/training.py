"""Training: draw pairs, take a step, write down what comes of it; on one processor or on many machines.

    draw a batch -> deform it -> `training_step.TrainingStep` -> log, look, save -> the next

Alone, nothing needs to be launched. With several processes, on one machine or on many, every one runs this
file under `accelerate launch`, and sees its share of every batch; they exchange gradients, statistics of
batch norm, and nothing else, so that they compute what one process with the whole batch would:

    accelerate launch --multi_gpu --num_processes 4 -m fomm_lib train --config vox-256 --data vox --out run

Source: FOMM, section 4 and supplementary A.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator, DistributedDataParallelKwargs
from PIL import Image
from tqdm.auto import tqdm

from fomm_lib.checkpoints import write_weights
from fomm_lib.config import Config, load_config
from fomm_lib.datasets import FramePairs, PairLoader, pair_loader
from fomm_lib.files import InputError, atomic_output
from fomm_lib.losses import RandomTransform
from fomm_lib.model import FirstOrderMotionModel, build_discriminator, start_from
from fomm_lib.perceptual import perceptual_network
from fomm_lib.training_blocks import by_winograd, double_at_once, keep_memory, synchronize_batch_norm
from fomm_lib.training_log import LOSSES, Board, LossLog, append_row
from fomm_lib.training_state import (
    StateFolder,
    StopRequest,
    random_states,
    read_state,
    set_random_states,
    versions,
    writing,
)
from fomm_lib.training_step import NotFinite, TrainingStep
from fomm_lib.validation import Validation, examples, sample_grid

LAYOUT = torch.channels_last  # what convolutions of CPUs and of tensor cores like best


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
    workers: int = 0,
    log_every: int = 10,
    sample_every: int = 500,
    checkpoint_every: int = 1000,
    keep: int = 2,
    validation_pairs: int = 48,
    tensorboard: bool = True,
    progress: bool = True,
) -> Path:
    """Train a model and write all that comes of it into a folder.

    `out` gets

    - `config.yaml`;
    - `losses.csv`, a row every `log_every` steps with the means since the last (see `training_log.LossLog`),
      and the same for TensorBoard in `tensorboard/`;
    - `samples/<step>.png`, rows of source, driving, keypoints, deformed, occlusion, prediction;
    - every `checkpoint_every` steps, at the end, and when stopped: `states/`, from which `resume` goes on;
      `weights.safetensors`, to be used; `validation.csv`, numbers of the test split where there is one; and
      `best.safetensors`, the weights with the lowest L1 there.

    Ctrl-C and SIGTERM finish the step, save, and stop. A run that was killed at any moment, and is resumed,
    computes what it would have computed; on one CPU thread to the last digit.

    Args:
        config: see `load_config`. Its batch size is that of all processes together.
        data: a folder of clips; see `FramePairs`.
        out: a new folder, or one without a training in it; with `resume`, that of the training to go on with.
        steps: how many; by default what num_epochs and num_repeats of the config make of the data. An epoch,
            at whose milestones the learning rates drop, is the same in both cases.
        seed: of the networks, the pairs and the transforms.
        init: weights to start from: a name, a `.safetensors`, or a published `.pth.tar`. The detector, the
            dense motion network, the rest of the generator and the discriminator are each taken over where
            they fit the config, and start anew where they do not; a line says so.
        resume: go on from the newest state in `out`; begin anew where there is none yet. Learning rates and
            loss weights may differ from before, which is said; what would change the networks, or the order
            of the data, may not.
        perceptual: overrides `train_params.perceptual_network`.
        batch_size: overrides `train_params.batch_size`.
        device: by default the GPU where there is one. Of several processes, each has its own.
        bf16: short for `precision="bf16"`.
        precision: "no" (float32), "bf16", or "fp16" (GPUs only); by default what `accelerate launch` says,
            else "no". bf16 is about 1.3 times faster on CPUs that have it.
        accumulate: compute each batch in so many parts, for less memory; see `TrainingStep`.
        compile: let torch.compile translate the networks.
        cache: a folder for the decoded frames; see `FramePairs`.
        workers: processes that read ahead.
        log_every, sample_every, checkpoint_every: in steps.
        keep: how many of the newest states to keep, besides that of the best weights.
        validation_pairs: how many of the test split; 0 for no validation.
        tensorboard, progress: whether to write those files, and to show a bar.
    Returns:
        The path of the weights.
    Raises:
        InputError: bad config or data, an `out` with a training in it, weights or a state that do not fit, a
            full disk, or a loss that is not finite: then `not_finite-<step>.pt` holds the batch.

    Example:
        >>> train("heads-64", data="data/heads", out="runs/first", steps=100)  # doctest: +SKIP
    """
    config = _config_of(config, perceptual_network=perceptual, batch_size=batch_size)
    params = config.train_params
    if steps is not None and steps < 1:
        raise InputError(f"steps = {steps}: must be at least 1")
    out, weights_file = Path(out), Path(out) / "weights.safetensors"
    states = StateFolder(out / "states", keep)
    newest = states.newest() if resume else None
    if newest is None and (weights_file.exists() or ((out / "losses.csv").exists() and not resume)):
        raise InputError(
            f"{out}: holds a training already; choose another folder"
            + (
                ", or start from its weights: init (--init)"
                if resume
                else ", or go on with it: resume (--resume)"
            )
        )

    # Where, and with whom.
    accelerator = _accelerator()
    main, rank, processes = accelerator.is_main_process, accelerator.process_index, accelerator.num_processes
    device = _device(device, accelerator)
    precision = precision or ("bf16" if bf16 else accelerator.mixed_precision)
    accumulate = accumulate or accelerator.gradient_accumulation_steps
    if params.batch_size % (processes * accumulate):
        raise InputError(
            f"train_params.batch_size = {params.batch_size}: is not a multiple of {processes} processes x "
            f"{accumulate} parts; choose one that is"
        )

    # What: pairs, networks, their step.
    with accelerator.main_process_first():  # one makes the cache, the others open it
        dataset = FramePairs(
            data,
            "train",
            size=config.dataset_params.frame_shape[:2],
            id_sampling=config.dataset_params.id_sampling,
            augmentation=config.dataset_params.augmentation_params,
            repeats=params.num_repeats,
            seed=seed,
            cache=cache,
        )
    loader = pair_loader(dataset, params.batch_size // processes, workers, rank=rank, world_size=processes)
    epoch_length = loader.batch_sampler.batches_per_epoch
    steps = steps or params.num_epochs * epoch_length

    torch.manual_seed(seed)
    model, discriminator = FirstOrderMotionModel(config), build_discriminator(config)
    if init is not None and newest is None:
        start_from(init, model, discriminator)
    model = double_at_once(model).to(device, memory_format=LAYOUT).train()
    discriminator = discriminator.to(device, memory_format=LAYOUT).train()
    if processes > 1:
        model = synchronize_batch_norm(model)
    network = None
    if sum(params.loss_weights.perceptual):
        with accelerator.main_process_first():
            network = perceptual_network(params.perceptual_network).to(device, memory_format=LAYOUT)
    if device.type == "cpu":  # GPUs' libraries have such ways of their own
        keep_memory()
        if precision == "no":
            for part in filter(None, (model, discriminator, network)):
                by_winograd(part)
    step_of_training = TrainingStep(
        model,
        discriminator,
        network,
        config,
        accelerator=accelerator,
        precision=precision,
        accumulate=accumulate,
        compile=compile,
    )
    transforms = torch.Generator().manual_seed(seed)

    # From where: the beginning, or a state.
    step, best, log_state = 0, None, None
    origin = None if init is None else Path(init).name
    if newest is not None:
        state = read_state(newest)
        _check_state(state, newest, config, seed, len(dataset))
        step_of_training.load_state(state["training"])
        transforms.set_state(state["transforms"])
        set_random_states(state["random"])
        step, best, origin, log_state = state["step"], state["best"], state["origin"], state["log"]

    validation = Validation(data, model.size, validation_pairs, params.batch_size) if main else None
    shown = examples(data, model.size) if main else ()
    if main:
        with writing(out):
            (out / "samples").mkdir(parents=True, exist_ok=True)
            with atomic_output(out / "config.yaml", overwrite=True) as temporary:
                noted = config.model_dump(mode="json")
                noted["dataset_params"]["root_dir"] = str(data)  # what it was trained on
                temporary.write_text(yaml.safe_dump(noted, sort_keys=False))

    log = LossLog(out / "losses.csv" if main else None, keep=step)
    board = Board(out / "tensorboard" if main and tensorboard else None, first_step=step + 1)
    bar = tqdm(total=steps, initial=step, disable=not (progress and main), unit="step")

    def save() -> None:
        """Validate, and write weights and a state. A kill in between leaves nothing that cannot go on."""
        nonlocal best
        if not main:
            return
        result = step_of_training.result
        networks = {
            "generator": result.generator.state_dict(),
            "kp_detector": result.kp_detector.state_dict(),
            "discriminator": discriminator.state_dict(),
        }
        notes = {"steps": str(step), "seed": str(seed), "seconds": f"{log.seconds:.0f}"}
        notes |= {"started from": origin} if origin else {}
        numbers = validation(result)
        if numbers and (best is None or numbers["l1"] < best["l1"]):
            best = {"step": step, "l1": numbers["l1"]}
            _write(out / "best.safetensors", networks, config, notes)
        states.write(
            step,
            {
                "step": step,
                "training": step_of_training.state(),
                "transforms": transforms.get_state(),
                "random": random_states(),
                "log": log.state(),
                "best": best,
                "origin": origin,
                "config": config.model_dump(mode="json"),
                "seed": seed,
                "pairs": len(dataset),
                "versions": versions(),
            },
            best=best and best["step"],
        )
        _write(weights_file, networks, config, notes)
        if numbers:
            append_row(out / "validation.csv", {"step": step, **numbers}, keep=step - 1)
            board.validation(step, numbers)

    with StopRequest() as stop, log, bar, board:
        if log_state is not None:
            log.load_state(log_state)
        if step >= steps:
            save()  # the training was whole already; its weights may not be
        for epoch, batch in _batches(loader, step, steps):
            step += 1
            rate = learning_rate_factor(step, epoch, params)
            step_of_training.set_learning_rates(rate)
            source = batch["source"].to(device, memory_format=LAYOUT)
            driving = batch["driving"].to(device, memory_format=LAYOUT)
            transform = _draw_transform(params, transforms, rank, processes, device)
            try:
                losses = step_of_training(source, driving, transform)
            except NotFinite as error:
                raise InputError(_not_finite(error, step, batch, transform, out, rank, processes)) from error

            gradients = {f"gradient_{name}": n for name, n in step_of_training.gradient_norms.items()}
            finite = {name: norm for name, norm in gradients.items() if math.isfinite(norm)}
            log.add({**losses, **finite, "learning_rate": rate * params.lr_generator}, params.batch_size)
            bar.update()
            last = step == steps
            stopping = _any(bool(stop), accelerator, device)
            if step % log_every == 0 or last:
                means = log.write(step, epoch)
                board.scalars(step, means)
                bar.set_postfix({name: f"{means[name]:.3f}" for name in LOSSES if name in means})
            if main and (step % sample_every == 0 or last):
                grid = sample_grid(step_of_training.result, *shown)
                _write_picture(out / "samples" / f"{step:07d}.png", grid)
                board.picture(step, grid)
            if step % checkpoint_every == 0 or last or stopping:
                save()
            if stopping and not last:
                accelerator.wait_for_everyone()  # who leaves early may have the others killed by the launcher
                tqdm.write(f"{out}: stopped after step {step} of {steps}; to go on, resume")
                stop.finish()
    return weights_file


def learning_rate_factor(step: int, epoch: int, params) -> float:
    """By what to multiply the learning rates of the config: 0.1 for every milestone passed, and a ramp first.

    It follows from step and epoch alone, so that a resumed training cannot get it wrong.

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


def _config_of(config: Config | dict | str | os.PathLike, **train_params: object) -> Config:
    """The config, with those `train_params` changed that are not None."""
    config = load_config(config)
    changes = {name: value for name, value in train_params.items() if value is not None}
    if changes:
        changed = config.model_dump()
        changed["train_params"] |= changes
        config = load_config(changed)
    return config


def _accelerator() -> Accelerator:
    """Where this process stands among others. Buffers of networks are the same in all: none are sent."""
    try:
        return Accelerator(
            device_placement=False, kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)]
        )
    except ValueError as error:  # fp16 asked for by the launcher, and no GPU
        raise InputError(" ".join(str(error).split())) from error


def _device(asked: str | None, accelerator: Accelerator) -> torch.device:
    if accelerator.num_processes > 1:
        if asked and torch.device(asked).type != accelerator.device.type:
            raise InputError(
                f"device = {asked}: the processes were launched for {accelerator.device.type}; "
                "leave it away, or set ACCELERATE_USE_CPU=true for them"
            )
        return accelerator.device
    return torch.device(asked or ("cuda" if torch.cuda.is_available() else "cpu"))


def _batches(loader: PairLoader, done: int, steps: int) -> Iterator[tuple[int, dict]]:
    """(epoch, batch) for every step after `done`, up to `steps`."""
    length = loader.batch_sampler.batches_per_epoch
    while done < steps:
        epoch = done // length
        loader.set_epoch(epoch, start_batch=done % length)
        for batch in itertools.islice(loader, steps - done):
            done += 1
            yield epoch, batch


def _draw_transform(
    params, generator: torch.Generator, rank: int, processes: int, device: torch.device
) -> RandomTransform:
    """Drawn for the whole batch by every process alike; each takes its share."""
    whole = RandomTransform.sample(
        params.batch_size, **params.transform_params.model_dump(), generator=generator, device=device
    )
    theta, control = whole.theta.chunk(processes)[rank], whole.control_params
    return RandomTransform(theta, None if control is None else control.chunk(processes)[rank], whole.textbook)


def _any(flag: bool, accelerator: Accelerator, device: torch.device) -> bool:
    """Whether the flag is up in any process: they must stop after the same step."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=device), "sum"))


def _write(path: Path, networks: dict, config: Config, notes: dict[str, str]) -> None:
    with writing(path):
        write_weights(path, networks, config, dtype=None, notes=notes, overwrite=True)


def _write_picture(path: Path, pixels) -> None:
    with writing(path), atomic_output(path, overwrite=True) as temporary:
        Image.fromarray(pixels).save(temporary)


def _check_state(state: dict, path: Path, config: Config, seed: int, pairs: int) -> None:
    """A state fits the arguments, or an error says what does not."""
    if state["seed"] != seed:
        raise InputError(f"{path}: the training began with seed {state['seed']}, not {seed}; give that one")
    if state["pairs"] != pairs:
        raise InputError(
            f"{path}: an epoch had {state['pairs']} pairs, now it has {pairs}: the data have changed; "
            "start another training from its weights: init (--init)"
        )
    before, now = _flat(state["config"]), _flat(config.model_dump(mode="json"))
    changed = [key for key in now if before.get(key, now[key]) != now[key]]
    fixed = ("model_params", "dataset_params", "train_params.batch_size", "train_params.num_repeats")
    for key in changed:
        if key.startswith(fixed) and key != "dataset_params.root_dir":
            raise InputError(
                f"{key} = {now[key]}: the training began with {before[key]}; go on with that, "
                "or start another training from its weights: init (--init)"
            )
        tqdm.write(f"{key}: {before[key]} until step {state['step']}, {now[key]} from now on")


def _flat(section: dict, above: str = "") -> dict:
    """A config by full keys: {"train_params.batch_size": 8}."""
    flat = {}
    for key, value in section.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return flat


def _not_finite(
    error: NotFinite, step: int, batch: dict, transform: RandomTransform, out: Path, rank: int, processes: int
) -> str:
    """Keep the batch that did it; gives the line that says so, and what to try."""
    path = out / (f"not_finite-{step:07d}" + (f"-process{rank}" if processes > 1 else "") + ".pt")
    deformed = {"theta": transform.theta.cpu(), "control_params": transform.control_params}
    if transform.control_params is not None:
        deformed["control_params"] = transform.control_params.cpu()
    with writing(path), atomic_output(path, overwrite=True) as temporary:
        torch.save({"step": step, "not_finite": error.names, **batch, **deformed}, temporary)
    return (
        f"step {step}: {error}, on {', '.join(batch['name'])}; the batch is in {path}. "
        "Try a lower learning rate, warmup_steps, clip_grad_norm, or float32 instead of bf16 or fp16, "
        "and go on from the last state: resume (--resume)"
    )
