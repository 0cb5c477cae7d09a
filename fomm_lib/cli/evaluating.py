"""The verb that measures models: `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fomm_lib.cli.app import app, say
from fomm_lib.cli.options import ConfigOfWeights, Device, Fast, Jobs, Overwrite, course_folder
from fomm_lib.files import DEFAULT_WEIGHTS


@app.command(epilog="Example: fomm evaluate --weights heads-64 --data data/heads --report out.csv --jobs 2")
def evaluate(
    data: Annotated[
        Path, typer.Option(help="A folder of clips, or one with a test/ in it; data/heads is the course's.")
    ],
    report: Annotated[Path, typer.Option(help="The CSV to write, one row a method and frame.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(help=f"As for animate; repeat it to compare several. {DEFAULT_WEIGHTS} by default."),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="reconstruction (the truth is known) or animation (of another head).")
    ] = "reconstruction",
    portraits: Annotated[
        Path | None,
        typer.Option(help="A folder of images to move, with --mode animation, or for --strips."),
    ] = None,
    protocol: Annotated[
        Path | None, typer.Option(help="Which frames of which clips; by default some of every clip.")
    ] = None,
    save_protocol: Annotated[Path | None, typer.Option(help="Keep which frames were taken.")] = None,
    table: Annotated[Path | None, typer.Option(help="Write the table to this .md too.")] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", "--pictures", help="A .jpg to write: best, median and worst frames of each metric."
        ),
    ] = None,
    strips: Annotated[
        Path | None,
        typer.Option(
            help="A .jpg to write: eight people moved by three drivers, and the best, median, worst."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train or test; - for the folder as it is.")] = "test",
    size: Annotated[
        int | None,
        typer.Option(
            help="Compare at so many pixels; by default those of the largest model. 256 measures what fomm "
            "animate shows."
        ),
    ] = None,
    fast: Fast = False,
    config: ConfigOfWeights = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Keep what was measured here; by default beside the report, until that is whole."),
    ] = None,
    jobs: Jobs = 1,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure how good a model is, against the repeated frame; started again, it goes on where it stopped."""
    options = dict(locals())
    from fomm_lib.evaluation.evaluate import evaluate_to_files
    from fomm_lib.evaluation.page import check_page_path, write_image_page
    from fomm_lib.evaluation.strips import write_strips

    for page in (options.pop("images"), options.pop("strips")):
        if page is not None:
            check_page_path(page, overwrite)
    options |= {"weights": weights or [DEFAULT_WEIGHTS], "data": course_folder(data)}
    result = evaluate_to_files(**options | {"split": None if split == "-" else split})
    if images is not None:
        write_image_page(result, images, overwrite=overwrite)
    if strips is not None:
        write_strips(result, strips, overwrite=overwrite)
    print(result.markdown())
    say(f"the report: {report}")
