"""Verbs that train a model: `train` and `pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fomm_lib.cli.app import app, say
from fomm_lib.cli.options import Bf16, ConfigToTrain, Device, Init, Resume, Seed, Threads, course_folder
from fomm_lib.errors import InputError


@app.command(epilog="Example: fomm train --config heads-64 --data data/heads --out runs/first --steps 200")
def train(
    config: ConfigToTrain,
    data: Annotated[
        Path, typer.Option(help="A folder of clips, with train/ and test/ in it; data/heads is the course's.")
    ],
    out: Annotated[Path, typer.Option(help="A new folder for weights, losses and samples.")],
    steps: Annotated[int | None, typer.Option(help="By default the epochs of the config.")] = None,
    seed: Seed = 0,
    init: Init = None,
    resume: Resume = False,
    perceptual: Annotated[
        str | None,
        typer.Option(
            help="vgg19, or vgg16-lpips if VGG-19 cannot be downloaded; by default that of the config."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Pairs a step; by default that of the config.")
    ] = None,
    device: Device = None,
    bf16: Bf16 = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Run them in float16, for GPUs without bfloat16.")
    ] = False,
    accumulate: Annotated[
        int | None, typer.Option(help="Compute each batch in this many parts, for less memory.")
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the networks by torch.compile.")
    ] = False,
    cache: Annotated[Path | None, typer.Option(help="A folder to keep decoded frames in.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that read ahead; by default one a core for a GPU, none on a CPU."),
    ] = None,
    log_every: Annotated[int, typer.Option(help="Steps between rows of losses.csv.")] = 10,
    sample_every: Annotated[int, typer.Option(help="Steps between images in OUT/samples.")] = 500,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between states on disk.")] = 1000,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard/--no-tensorboard", help="Write curves for TensorBoard.")
    ] = True,
    threads: Threads = None,
) -> None:
    """Train a model on a folder of clips."""
    options = dict(locals())
    from accelerate import PartialState

    from fomm_lib.training.loop import train as train_model

    if bf16 and fp16:
        raise InputError("--bf16 and --fp16: choose one")
    del options["fp16"], options["threads"]
    options |= {"data": course_folder(data), "precision": "fp16" if fp16 else None}
    weights = train_model(**options)
    if PartialState().is_main_process:  # of several, each runs this verb
        say(f"{weights}: to use it, fomm animate --weights {weights}")


@app.command(epilog="Example: fomm pretrain --config heads-128-motion --data heads --out runs/motion --bf16")
def pretrain(
    config: ConfigToTrain,
    data: Annotated[
        Path, typer.Option(help="A folder with train/ and test/, made by fomm synthesize --truth.")
    ],
    out: Annotated[Path, typer.Option(help="A new folder for weights, losses and errors.")],
    steps: Annotated[int, typer.Option(help="How many; the learning rate falls over them.")] = 4000,
    batch_size: Annotated[int, typer.Option(help="Pairs a step.")] = 16,
    seed: Seed = 0,
    init: Init = None,
    resume: Resume = False,
    device: Device = None,
    bf16: Bf16 = False,
    threads: Threads = None,
) -> None:
    """Teach keypoints and dense motion the true motion of synthetic heads, before training without labels."""
    options = dict(locals())
    from fomm_lib.training.pretraining import pretrain as pretrain_model

    del options["threads"]
    weights = pretrain_model(**options | {"data": course_folder(data)})
    say(f"{weights}: to go on from it, fomm train --init {weights} ...")
