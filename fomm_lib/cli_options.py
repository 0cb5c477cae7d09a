"""What the options of `fomm` say where several verbs have the same, and how their texts become values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fomm_lib.files import InputError

Weights = Annotated[
    str, typer.Option(help="A name in data/weights, a .safetensors, or a published .pth.tar.")
]
ConfigOfWeights = Annotated[
    str | None, typer.Option(help="For published weights: a YAML file, or a name such as vox-adv-256.")
]
ConfigToTrain = Annotated[str, typer.Option(help="A YAML file, or the name of one in data/configs.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, mps; by default the GPU where there is one.")]
Backend = Annotated[
    str,
    typer.Option(
        help="What runs the model: torch; or onnxruntime or openvino (extra 'export'), on the CPU. With "
        "these two --weights may be a folder that fomm export has written."
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="float32; bfloat16, with torch and openvino; int8, with onnxruntime and openvino: faster, "
        "and not quite the same."
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="CPU threads; one is often fastest for small models on busy machines.")
]
Bf16 = Annotated[bool, typer.Option("--bf16", help="Run the networks in bfloat16.")]
Init = Annotated[str | None, typer.Option(help="Weights to start from.")]
Jobs = Annotated[int, typer.Option(help="Processes at a time; -1 is one a core.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Seed = Annotated[int, typer.Option(help="Of networks, pairs and transforms.")]

BestFrame = Annotated[
    str | None,
    typer.Option(
        metavar="auto|N",
        help="The driving frame from which movement counts; auto is the one whose pose is nearest to the "
        "portrait's. By default the first.",
    ),
]
Strength = Annotated[float, typer.Option(help="Of the movement: 0 is none, 1 as the video, 2 twice as far.")]
Smooth = Annotated[float, typer.Option(help="Average jitter over so many frames; 0 is off.")]
Size = Annotated[
    int | None,
    typer.Option(
        help="Generate pictures of this height and width, finer than the model was trained for; slower."
    ),
]
Watermark = Annotated[bool, typer.Option("--watermark", help="Write 'AI-generated' into every frame.")]


def number_of_frame(text: str | None) -> int | str | None:
    """The number of a frame, or auto."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal():
        raise InputError(f"--best-frame {text}: should be auto, or the number of a frame from 0 on")
    return int(text)


def square(text: str | None, option: str) -> tuple[int, int, int] | str | None:
    """`X,Y,SIZE` as numbers, auto or middle."""
    if text in (None, "auto", "middle"):
        return text
    try:
        x, y, side = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"{option} {text}: should be auto, or three whole numbers X,Y,SIZE, e.g. {option} 120,40,600"
        ) from None
    return x, y, side


def free_name(path: Path) -> Path:
    """The path, or the first of out-2.mp4, out-3.mp4, ... that is not taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
