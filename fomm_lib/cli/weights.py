"""Verbs about files of weights: `convert` and `info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fomm_lib.cli.app import app
from fomm_lib.cli.options import AlignCorners, ConfigOfWeights, Overwrite, true_or_false
from fomm_lib.errors import InputError
from fomm_lib.media.formats import is_media_name


@app.command(epilog="Example: fomm convert vox-adv-cpk.pth.tar vox-adv-256.safetensors --config vox-adv-256")
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A published .pth.tar, or a .safetensors.")],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="The .safetensors to write, with the config inside; or a .pth.tar, for the published code: "
            "its config is written beside it, as .yaml.",
        ),
    ],
    config: ConfigOfWeights = None,
    full: Annotated[
        bool, typer.Option("--float32", help="Keep full precision instead of half; a .pth.tar has it always.")
    ] = False,
    align_corners: AlignCorners = None,
    overwrite: Overwrite = False,
) -> None:
    """Convert weights to .safetensors, a format that holds no code, or to the published .pth.tar."""
    from fomm_lib.checkpoints import convert as convert_file
    from fomm_lib.checkpoints import describe

    options = {"half": not full, "align_corners": true_or_false(align_corners), "overwrite": overwrite}
    print(describe(convert_file(source, output, config, **options)))


@app.command(epilog="Example: fomm info heads-64")
def info(
    file: Annotated[
        str, typer.Argument(help="A file of weights, a name in data/weights, a video or an image.")
    ],
    anchors: Annotated[
        Path | None,
        typer.Option(help="Certificates, as PEM, that you trust to vouch for who signed a video."),
    ] = None,
) -> None:
    """Print what a file of weights contains; of a video or an image, also who signed it."""
    if is_media_name(file):
        from fomm_lib.media.describe import describe_media

        print(describe_media(file, anchors))
        return
    if anchors is not None:
        raise InputError(f"--anchors is for videos and images; {file} is none by its ending")
    from fomm_lib.checkpoints import describe

    print(describe(file))
