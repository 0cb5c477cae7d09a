"""Options that several verbs share, and how the texts of options become values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fomm_lib.errors import InputError
from fomm_lib.files import data_path

Weights = Annotated[str, typer.Option(help="A name in data/weights, a .safetensors, a published .pth.tar.")]
ConfigOfWeights = Annotated[
    str | None, typer.Option(help="For published weights: a YAML file or a name, e.g. vox-adv-256.")
]
AlignCorners = Annotated[
    str | None,
    typer.Option(
        metavar="true|false",
        help="How warps sample: false as the published code does on current PyTorch, to compare with it; by "
        "default as the config says, where true is the default and what published weights were trained with.",
    ),
]
ConfigToTrain = Annotated[str, typer.Option(help="A YAML file, or the name of one in data/configs.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or mps; by default the GPU if there is one.")]
Backend = Annotated[
    str,
    typer.Option(
        help="What runs the model: torch; or onnxruntime or openvino (extra 'export'), on the CPU. For "
        "these two --weights may be a folder written by fomm export."
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="float32; bfloat16, with torch and openvino; int8, with onnxruntime and openvino. The last two "
        "are faster and less exact. auto takes bfloat16 where the processor multiplies it (the images differ "
        "by about one grey level), else float32."
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the model by torch.compile: slow at the first frames, faster then; for long videos. On "
        "a CPU it needs a C++ compiler.",
    ),
]


def _set_threads(count: int | None) -> int | None:
    if count is not None:
        import torch

        torch.set_num_threads(count)
    return count


Threads = Annotated[
    int | None,
    typer.Option(help="CPU threads; one is often fastest for small models.", callback=_set_threads),
]
"""Takes effect by itself: no verb has to use its value."""
Bf16 = Annotated[bool, typer.Option("--bf16", help="Run the networks in bfloat16.")]
Init = Annotated[str | None, typer.Option(help="Weights to start from.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the training in --out from its last state, if there is one."),
]
Jobs = Annotated[int, typer.Option(help="Number of processes; -1 means one per core.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Seed = Annotated[int, typer.Option(help="Random seed of networks, pairs and transforms.")]

BestFrame = Annotated[
    str | None,
    typer.Option(
        metavar="auto|N",
        help="The driving frame that movement is measured from; auto takes the one whose pose is nearest to "
        "the portrait's. By default the first.",
    ),
]
Strength = Annotated[
    float, typer.Option(help="Of the movement: 0 is none, 1 as in the video, 2 twice as far.")
]
Smooth = Annotated[float, typer.Option(help="Smooth jitter over this many frames; 0 is off.")]
Size = Annotated[
    int | None,
    typer.Option(
        help="Height and width of the result, at which it is generated. By default about 256, generated at "
        "up to twice the size that the model was trained for."
    ),
]
Fast = Annotated[
    bool,
    typer.Option("--fast", help="Generate at the model's own size and only enlarge that; less sharp."),
]
Watermark = Annotated[bool, typer.Option("--watermark", help="Write 'AI-generated' into every frame.")]


def number_of_frame(text: str | None) -> int | str | None:
    """The value of `--best-frame`: a frame number, or auto.

    Raises:
        InputError: it is neither.

    Example:
        >>> number_of_frame("12")
        12
    """
    if text is None or text == "auto":
        return text
    if not text.isdecimal():
        raise InputError(f"--best-frame {text}: should be auto, or the number of a frame from 0 on")
    return int(text)


def true_or_false(text: str | None, option: str = "--align-corners") -> bool | None:
    """The value of an option that is true, false or not given.

    Raises:
        InputError: it is something else.

    Example:
        >>> true_or_false("false")
        False
    """
    values = {None: None, "true": True, "false": False}
    if text not in values:
        raise InputError(f"{option} {text}: should be true or false")
    return values[text]


def square(text: str | None, option: str) -> tuple[int, int, int] | str | None:
    """The value of `--crop` and the like: `X,Y,SIZE` as numbers, auto or middle.

    Raises:
        InputError: it is none of them.

    Example:
        >>> square("120,40,600", "--crop")
        (120, 40, 600)
    """
    if text in (None, "auto", "middle"):
        return text
    try:
        x, y, side = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"{option} {text}: should be auto, or three whole numbers X,Y,SIZE, e.g. {option} 120,40,600"
        ) from None
    return x, y, side


def course_folder(path: Path) -> Path:
    """The folder; or if there is none, that of the course: `data/heads` comes with an installed wheel too.

    Example:
        >>> course_folder(Path("data/heads")).is_dir()
        True
    """
    inside = path.parts[:1] == ("data",) and not path.exists()
    shipped = data_path(*path.parts[1:])
    return shipped if inside and shipped.is_dir() else path
