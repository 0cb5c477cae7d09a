"""Verbs about data: `synthesize`, `photographs`, `clean` and `voxceleb`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fomm_lib.cli.app import app, say
from fomm_lib.cli.options import Jobs


@app.command(epilog="Example: fomm synthesize --out heads/train --clips 200 --frames 24 --size 64 --seed 0")
def synthesize(
    out: Annotated[Path, typer.Option(help="The folder to write; clips already in it are kept.")],
    clips: Annotated[int, typer.Option(help="Number of clips.")],
    frames: Annotated[int, typer.Option(help="Number of frames per clip.")] = 48,
    size: Annotated[int, typer.Option(help="Width and height, in pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Random seed; another seed gives other people.")] = 0,
    fps: Annotated[float, typer.Option(help="Frames per second; fewer cover a longer time.")] = 25,
    format: Annotated[str, typer.Option(help="mp4, or png for folders of images.")] = "mp4",
    backgrounds: Annotated[
        Path | None, typer.Option(help="A folder of images behind half of the heads.")
    ] = None,
    truth: Annotated[int, typer.Option(help="Write the true motion of this many frame pairs per clip.")] = 0,
    labels: Annotated[
        bool, typer.Option("--labels", help="Write which part every pixel shows: labels/CLIP/0000.png, ...")
    ] = False,
    category: Annotated[
        str, typer.Option(metavar="heads|bodies|animals|vehicles", help="What is shown.")
    ] = "heads",
    jobs: Jobs = 1,
) -> None:
    """Render clips of synthetic talking heads, or of whole bodies, animals, vehicles."""
    options = dict(locals())
    from fomm_lib.synthetic.folder import synthesize as render

    paths = render(**options)
    say(f"{out}: {len(paths)} clips of {frames} frames")


@app.command(
    epilog="Example: fomm photographs --portraits portraits --out photo --clips 100 --truth 10 --held-out 8"
)
def photographs(
    portraits: Annotated[Path, typer.Option(help="A folder of photographs of one person each.")],
    out: Annotated[Path, typer.Option(help="The folder to write; clips already in it are kept.")],
    clips: Annotated[int, typer.Option(help="Number of clips.")],
    frames: Annotated[int, typer.Option(help="Number of frames per clip; the first is the photograph.")] = 24,
    size: Annotated[int, typer.Option(help="Width and height, in pixels.")] = 256,
    truth: Annotated[int, typer.Option(help="Write the true motion of this many frame pairs per clip.")] = 0,
    seed: Annotated[int, typer.Option(help="Random seed of motion, framing and backgrounds.")] = 0,
    fps: Annotated[float, typer.Option(help="Frames per second; fewer cover a longer time.")] = 2,
    format: Annotated[str, typer.Option(help="png for folders of images, or mp4.")] = "png",
    held_out: Annotated[
        str | None,
        typer.Option(
            metavar="N|FILE",
            help="People whose clips go to test/: how many, or a file with a name of a portrait per line.",
        ),
    ] = None,
    fits: Annotated[
        Path | None, typer.Option(help="Where fits are kept, to share them; OUT/fits by default.")
    ] = None,
    jobs: Jobs = 1,
) -> None:
    """Make clips of photographs that move, with their true motion.

    OUT/portraits.csv says of every portrait whether it is used, and why not; OUT/sheet.jpg shows some. The
    clips show real people: do not publish them.
    """
    options = dict(locals())
    from fomm_lib.synthetic.photographs.folder import LIST
    from fomm_lib.synthetic.photographs.folder import photographs as animate_all
    from fomm_lib.synthetic.photographs.portraits import TABLE

    if held_out and held_out.isdigit():
        options["held_out"] = int(held_out)
    paths = animate_all(**options)
    rows = TABLE.read(out / LIST)
    used = sum(row.used for row in rows)
    say(f"{out}: {len(paths)} clips of {frames} frames, from {used} of {len(rows)} portraits")


@app.command(epilog="Example: fomm clean clips --report report.csv --quarantine unfit --jobs 2")
def clean(
    folder: Annotated[Path, typer.Argument(help="The folder of videos.")],
    report: Annotated[Path, typer.Option(help="The CSV to write, or to continue; one row per file.")],
    quarantine: Annotated[
        Path | None, typer.Option(help="A folder to move unfit videos to; by default none is moved.")
    ] = None,
    jobs: Jobs = 1,
    probe: Annotated[
        str,
        typer.Option(metavar="auto|ffprobe|pyav", help="What opens a file first; auto: ffprobe if there."),
    ] = "auto",
    still_change: Annotated[
        int, typer.Option(help="Up to this change, in grey levels from 0 to 255, a video is frozen.")
    ] = 5,
    seconds: Annotated[float, typer.Option(help="A file that takes longer counts as unreadable.")] = 600.0,
) -> None:
    """Find encrypted, corrupt, empty and frozen videos in a folder.

    Every file gets a verdict and a reason. fit: it decodes and something moves; unreadable: it cannot be
    opened; encrypted: it is marked as such; no_video: audio only; single_frame: a still image; frozen:
    nothing moves; corrupt: damaged or cut short. Run again, it skips files that already have a row.
    """
    options = dict(locals())
    from fomm_lib.data.report import clean as clean_folder
    from fomm_lib.data.report import summary

    rows = clean_folder(**options)
    say(summary(rows))
    say(f"the report: {report}")


@app.command(epilog="Example: fomm voxceleb --metadata vox-metadata.csv --out vox --partition test")
def voxceleb(
    metadata: Annotated[Path, typer.Option(help="The published list of clips, vox-metadata.csv.")],
    out: Annotated[Path, typer.Option(help="The folder for clips and ledger; run again, it continues.")],
    partition: Annotated[str | None, typer.Option(help="train or test; both by default.")] = None,
    size: Annotated[int, typer.Option(help="Width and height of the clips, in pixels.")] = 256,
    form: Annotated[str, typer.Option(help="mp4, or png or jpg for folders of frames.")] = "mp4",
    jobs: Annotated[int, typer.Option(help="Number of videos at a time.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Stop after this many videos.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try again the videos that failed.")] = False,
) -> None:
    """Download VoxCeleb, and cut, crop and check the clips of the published list.

    The list is a CSV file with the columns video_id, start and end (frame numbers), bbox (x0-y0-x1-y1), fps,
    width, height, partition (train or test) and person_id (or video_id is VIDEO#PERSON).
    """
    options = dict(locals())
    from fomm_lib.data.voxceleb import fetch_voxceleb

    say(fetch_voxceleb(**options).summary())
