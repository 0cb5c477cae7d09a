"""Verbs that use a trained model: `animate`, `live`, `export` and `augment`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from fomm_lib.cli.app import app, say
from fomm_lib.cli.options import (
    AlignCorners,
    Backend,
    BestFrame,
    Compile,
    ConfigOfWeights,
    Device,
    Fast,
    Jobs,
    Overwrite,
    Precision,
    Size,
    Smooth,
    Strength,
    Threads,
    Watermark,
    Weights,
    number_of_frame,
    square,
    true_or_false,
)
from fomm_lib.errors import InputError
from fomm_lib.files import DEFAULT_WEIGHTS, data_path, free_name

Source = Annotated[Path | None, typer.Option(help="The portrait; a public-domain one by default.")]
Driving = Annotated[
    Path | None, typer.Option(help="The driving video, or a folder of frames; a synthetic video by default.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        help="What to write: .mp4, .webm, .gif or .apng, or a name without an ending for a folder of frames. "
        "By default out.mp4, or if it exists out-2.mp4, ..."
    ),
]
Crop = Annotated[
    str | None,
    typer.Option(
        metavar="auto|X,Y,SIZE",
        help="The square of the portrait to use; auto finds the face, in the driving video too (extra "
        "'faces'). By default the middle.",
    ),
]
DrivingCrop = Annotated[
    str | None,
    typer.Option(metavar="auto|middle|X,Y,SIZE", help="The square of the driving video to use."),
]
Relative = Annotated[
    bool,
    typer.Option(
        "--relative/--absolute",
        help="Move as the video moves away from its first frame, or take over its pose.",
    ),
]
AdaptScale = Annotated[
    bool, typer.Option("--adapt-scale", help="Scale the movement by the size of the two heads.")
]
Detail = Annotated[
    bool | None,
    typer.Option(
        "--detail/--no-detail",
        help="Add the detail of the portrait that generating loses. By default where the result is larger "
        "than the model's size.",
    ),
]
PasteBack = Annotated[bool, typer.Option("--paste-back", help="Put the result back into the whole portrait.")]
Compare = Annotated[bool, typer.Option("--compare", help="Write source | driving | result side by side.")]
Zoom = Annotated[
    int,
    typer.Option(help="Enlarge the result by this factor, to inspect it; 0 does so with a small --size."),
]
SuperResolve = Annotated[
    int | None,
    typer.Option(
        metavar="2|4",
        help="Make the result so many times as large by a small SRGAN: sharper than bicubic enlargement, "
        "with less exact colours.",
    ),
]
SignedBy = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--credentials",
        metavar="CERT KEY",
        help="Sign the result: content credentials (C2PA) that say how it was made; a chain of certificates "
        "and its private key, as PEM (extra 'credentials').",
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check", help="Say first what will probably go wrong, a line a problem, and animate all the same."
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(help="Driving frames per batch; by default 4 on a CPU, 32 on a GPU.")
]


@app.command(epilog="Example: fomm animate --source me.jpg --driving clip.mp4 --output moving.mp4 --compare")
def animate(
    source: Source = None,
    driving: Driving = None,
    weights: Weights = DEFAULT_WEIGHTS,
    config: ConfigOfWeights = None,
    output: Output = None,
    crop: Crop = None,
    driving_crop: DrivingCrop = None,
    relative: Relative = True,
    adapt_scale: AdaptScale = False,
    best_frame: BestFrame = None,
    strength: Strength = 1.0,
    smooth: Smooth = 0.0,
    size: Size = None,
    fast: Fast = False,
    detail: Detail = None,
    paste_back: PasteBack = False,
    watermark: Watermark = False,
    compare: Compare = False,
    zoom: Zoom = 0,
    super_resolve: SuperResolve = None,
    batch_size: BatchSize = None,
    device: Device = None,
    backend: Backend = "torch",
    precision: Precision = "auto",
    compile: Compile = False,
    align_corners: AlignCorners = None,
    credentials: SignedBy = None,
    check: Check = False,
    overwrite: Overwrite = False,
) -> None:
    """Animate a portrait by a driving video."""
    options = dict(locals())
    from fomm_lib.animation.animate import animate as animate_file
    from fomm_lib.animation.options import AnimateOptions
    from fomm_lib.media.credentials import Credentials
    from fomm_lib.media.outputs import VIEWING_SIZE

    signed_by = None if credentials is None else Credentials(*credentials)

    enlarge = None
    if super_resolve is not None:
        from fomm_lib.family.apply import super_resolution

        enlarge = super_resolution(super_resolve, device=device)
    if not zoom:
        zoom = 1 if paste_back or enlarge or not size else max(1, VIEWING_SIZE // size)
    source, driving = _inputs(source, driving)
    corners = true_or_false(align_corners)
    model = _model(weights, config, device, backend, precision, source, driving, compile, corners)
    options |= {"best_frame": number_of_frame(best_frame), "zoom": zoom, "enlarge": enlarge}
    options |= {"crop": square(crop, "--crop"), "driving_crop": square(driving_crop, "--driving-crop")}
    chosen = {field.name: options[field.name] for field in fields(AnimateOptions)}
    if check:
        _say_trouble(model, source, driving, chosen)
    result = animate_file(
        model,
        source,
        driving,
        output or free_name(Path("out.mp4")),
        overwrite=overwrite,
        credentials=signed_by,
        **chosen,
    )
    width, height = result.size
    noun = "frame" if result.frames == 1 else "frames"
    say(f"{source} moves like {driving}, by {weights}:")
    if best_frame == "auto":
        say(f"Movement counts from frame {result.best_frame}.")
    say(
        f"{result.path}: {result.frames} {noun} of {width}x{height} at {float(result.fps):g} a second, "
        f"{result.frames / result.seconds:.1f} made a second in {model.precision}"
    )


@app.command(epilog="Example: fomm live --source me.jpg")
def live(
    source: Annotated[
        Path | None, typer.Option(help="The portrait; a public-domain one by default. The page takes others.")
    ] = None,
    weights: Weights = DEFAULT_WEIGHTS,
    config: ConfigOfWeights = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="auto|middle",
            help="auto finds the faces, in the portrait and in front of the camera; middle uses the middle. "
            "By default auto if the extra 'faces' is installed.",
        ),
    ] = None,
    strength: Strength = 1.0,
    smooth: Smooth = 0.0,
    watermark: Annotated[
        bool, typer.Option("--watermark/--no-watermark", help="Write 'AI-generated' into every image.")
    ] = True,
    port: Annotated[int, typer.Option(help="Port of this computer; 0 takes any free one.")] = 7860,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    device: Device = None,
    backend: Backend = "torch",
    precision: Precision = "auto",
    threads: Threads = None,
) -> None:
    """Let a portrait follow the camera, live, on a page in the browser (extra 'live').

    The page is for this computer only. To see the results of another computer, forward its port with ssh:
    ssh -L 7860:127.0.0.1:7860 NAME, and open http://127.0.0.1:7860.
    """
    from fomm_lib.releases import require_module

    require_module("tornado", "fomm live needs tornado", "live")
    if crop not in (None, "auto", "middle"):
        raise InputError(f"--crop {crop}: should be auto or middle")
    from fomm_lib.animation.live_server import serve

    source, driving = _inputs(source, None)
    settings = {"strength": strength, "smooth": smooth, "watermark": watermark}
    if crop is not None:
        settings["find_faces"] = crop == "auto"
    model = _model(weights, config, device, backend, precision, source, driving)
    serve(model, source, port=port, browser=browser, **settings)


@app.command(epilog="Example: fomm export --weights heads-128 --out heads-128-onnx --int8")
def export(
    out: Annotated[Path, typer.Option(help="The folder for the files.")],
    weights: Weights = DEFAULT_WEIGHTS,
    config: ConfigOfWeights = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Also a generator in 8 bits, calibrated on --source and --driving."),
    ] = False,
    source: Source = None,
    driving: Driving = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a model as ONNX files, for onnxruntime, OpenVINO and other programs (extra 'export')."""
    from fomm_lib.animation.export import calibration_images, export_model
    from fomm_lib.model import load_model

    model = load_model(weights, config=config, device="cpu")
    calibration = calibration_images(*_inputs(source, driving), model.size) if int8 else None
    for file in export_model(model, out, calibration=calibration, overwrite=overwrite):
        say(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    say(f"to use it: fomm animate --backend onnxruntime --weights {out}")


@app.command(epilog="Example: fomm augment --sources faces --drivings clips --out grown --crop auto --jobs 2")
def augment(
    sources: Annotated[Path, typer.Option(help="A folder of portraits.")],
    drivings: Annotated[Path, typer.Option(help="A folder of driving videos.")],
    out: Annotated[
        Path, typer.Option(help="The folder for videos and manifest.csv; run again, it continues.")
    ],
    weights: Weights = DEFAULT_WEIGHTS,
    config: ConfigOfWeights = None,
    crop: Annotated[
        str | None, typer.Option(metavar="auto", help="auto finds the faces; by default the middle.")
    ] = None,
    best_frame: BestFrame = None,
    strength: Strength = 1.0,
    smooth: Smooth = 0.0,
    size: Size = None,
    fast: Fast = False,
    watermark: Watermark = False,
    jobs: Jobs = 1,
    limit: Annotated[int | None, typer.Option(help="Make at most this many pairs.")] = None,
    device: Device = None,
) -> None:
    """Animate every portrait of a folder by every video of another, to grow a data set."""
    options = dict(locals())
    from fomm_lib.animation.augment import augment as augment_folders
    from fomm_lib.animation.augment import summary

    options |= {"crop": square(crop, "--crop"), "best_frame": number_of_frame(best_frame)}
    say(summary(augment_folders(**options)))
    say(f"the manifest: {out / 'manifest.csv'}")


def _say_trouble(model, source: Path, driving: Path, options: dict) -> None:
    """A line for every likely problem, and for what is not checked."""
    from fomm_lib.evaluation.trouble import trouble
    from fomm_lib.media.faces import has_detector

    found = trouble(model, source, driving, **options)
    for one in found:
        say(f"check: {one.line}")
    if not found:
        say("check: no likely problem is found")
    if not has_detector():
        say("check: faces are not looked for (none, several, cut off); pip install 'fomm-lib[faces]'")


def _inputs(source: Path | None, driving: Path | None) -> tuple[Path, Path]:
    """The portrait and the driving video, or those of the course."""
    return source or data_path("portrait.jpg"), driving or data_path("driving.mp4")


def _model(
    weights: str,
    config: str | None,
    device: str | None,
    backend: str,
    precision: str,
    source: Path,
    driving: Path,
    compile: bool = False,
    align_corners: bool | None = None,
):
    """The model for a backend; it is exported first unless `weights` is a folder of exported files."""
    from fomm_lib.model import load_model

    if backend == "torch":
        from fomm_lib.animation.fast import FastModel

        model = load_model(weights, config=config, device=device, align_corners=align_corners)
        return FastModel(model, precision=precision, compile=compile)

    from fomm_lib.animation.export import ExportedModel, calibration_images, check_backend, exported_copy

    if compile:
        raise InputError(f"--compile is for the backend torch; leave it out with {backend}")
    check_backend(backend, precision, device or "cpu")
    if Path(weights, "generate.onnx").is_file():
        if align_corners is not None:
            raise InputError(
                f"--align-corners: {weights} was exported with its own; give the weights instead"
            )
        return ExportedModel(weights, backend=backend, precision=precision)
    model = load_model(weights, config=config, device="cpu", align_corners=align_corners)
    calibration = calibration_images(source, driving, model.size) if precision == "int8" else None
    return exported_copy(model, backend=backend, precision=precision, calibration=calibration)
