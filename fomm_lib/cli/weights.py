"""Verbs about files of weights: `convert` and `info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fomm_lib.cli.app import app
from fomm_lib.cli.options import ConfigOfWeights, Overwrite


@app.command(epilog="Example: fomm convert vox-adv-cpk.pth.tar vox-adv-256.safetensors --config vox-adv-256")
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A published .pth.tar, or a .safetensors.")],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="The .safetensors to write, with the config inside.")
    ],
    config: ConfigOfWeights = None,
    full: Annotated[bool, typer.Option("--float32", help="Keep full precision instead of half.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert weights to .safetensors, a format that holds no code."""
    from fomm_lib.checkpoints import convert as convert_file
    from fomm_lib.checkpoints import describe

    print(describe(convert_file(source, output, config, half=not full, overwrite=overwrite)))


@app.command(epilog="Example: fomm info heads-64")
def info(file: Annotated[str, typer.Argument(help="A file of weights, or a name in data/weights.")]) -> None:
    """Print what a file of weights contains."""
    from fomm_lib.checkpoints import describe

    print(describe(file))
