"""The group `fomm family`: train, apply and sample the works that the course builds on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fomm_lib.cli.app import app, say
from fomm_lib.cli.options import Device, Init, Overwrite, Resume, Threads, course_folder

Name = Annotated[str, typer.Argument(help="pix2pix, cyclegan, progressive, srgan or monkeynet.")]
FamilyWeights = Annotated[
    str | None,
    typer.Option(help="A .safetensors or the folder of a training; by default those of the course."),
]

family = typer.Typer(
    help="pix2pix, CycleGAN, progressive growing, SRGAN and Monkey-Net: train, apply, sample.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(family, name="family")


@family.command(epilog="Example: fomm family train pix2pix --out runs/pix2pix --threads 1")
def train(
    name: Name,
    out: Annotated[Path, typer.Option(help="A new folder for weights, losses and samples.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="pix2pix: a folder with images/ and labels/; cyclegan: A/ and B/; progressive, srgan: "
            "images; monkeynet: clips; or what fomm synthesize --labels writes. By default the course's."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="By default those of the preset.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed of networks, batches and noise.")] = 0,
    init: Init = None,
    resume: Resume = False,
    preset: Annotated[
        str, typer.Option(metavar="small|published", help="Networks and schedule: for a CPU, or the paper's.")
    ] = "small",
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    size: Annotated[int | None, typer.Option(help="Height and width of the images.")] = None,
    log_every: Annotated[int, typer.Option(help="Steps between rows of losses.csv.")] = 10,
    sample_every: Annotated[int, typer.Option(help="Steps between images in samples/.")] = 500,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between states on disk.")] = 1000,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Train one of the systems."""
    options = dict(locals())
    from fomm_lib.family.apply import APPLICABLE
    from fomm_lib.family.training import train_family

    del options["name"], options["threads"]
    weights = train_family(name, **options | {"data": data and course_folder(data)})
    verb = "apply" if name in APPLICABLE else "sample" if name == "progressive" else None
    say(f"{weights}" + (f": to use it, fomm family {verb} {name} --weights {weights} ..." if verb else ""))


@family.command(epilog="Example: fomm family apply srgan small.png large.png")
def apply(
    name: Annotated[str, typer.Argument(help="pix2pix, cyclegan or srgan.")],
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image or a video.")],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="For an image .png, .jpg or .webp; for a video .mp4, ...")
    ],
    weights: FamilyWeights = None,
    direction: Annotated[
        str,
        typer.Option(metavar="ab|ba", help="Of cyclegan; with the course's weights ab: head to labels."),
    ] = "ab",
    tile: Annotated[
        int | None,
        typer.Option(help="srgan: compute squares of so many pixels; 0 for the whole image at once."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise of pix2pix.")] = 0,
    device: Device = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Translate an image or a video (pix2pix, cyclegan), or make it four times as large (srgan)."""
    from fomm_lib.family.apply import apply_family

    model = _model(name, weights, device)
    options = {"direction": direction, "tile": tile, "seed": seed, "overwrite": overwrite}
    result = apply_family(model, source, output, **options)
    noun = "image" if result.frames == 1 else "frames"
    width, height = result.size
    say(f"{result.path}: {result.frames} {noun} of {width}x{height}, {source} by {name}")


@family.command(epilog="Example: fomm family sample progressive heads.png --count 16 --seed 1 --zoom 4")
def sample(
    name: Annotated[str, typer.Argument(help="progressive.")],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="A sheet (.png, .jpg, .webp), or a folder for images.")
    ],
    count: Annotated[int, typer.Option(help="How many images.")] = 16,
    seed: Annotated[int, typer.Option(help="Random seed of the noise.")] = 0,
    zoom: Annotated[int, typer.Option(help="Enlarge every pixel to a square of this side.")] = 1,
    weights: FamilyWeights = None,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Make new images from noise."""
    from fomm_lib.family.apply import sample_family

    model = _model(name, weights, device)
    result = sample_family(model, output, count, seed=seed, zoom=zoom, overwrite=overwrite)
    say(f"{result.path}: {result.frames} images of {result.size[0]}x{result.size[1]}")


def _model(name: str, weights: str | None, device: str | None):
    """The model of a system, which the weights must be of."""
    from fomm_lib.errors import InputError
    from fomm_lib.family.config import family_config
    from fomm_lib.family.weights import load_family

    family_config(name)  # raises an error for the name of no system
    model = load_family(weights or name, device)
    if model.config.system != name:
        raise InputError(f"{weights}: weights of {model.config.system}, not of {name}")
    return model
