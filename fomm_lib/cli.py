"""The command line: `fomm VERB`, one verb a job."""

from __future__ import annotations

import errno
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from fomm_lib import __version__
from fomm_lib.cli_options import (
    Backend,
    BestFrame,
    Bf16,
    ConfigOfWeights,
    ConfigToTrain,
    Device,
    Init,
    Jobs,
    Overwrite,
    Precision,
    Seed,
    Size,
    Smooth,
    Strength,
    Threads,
    Watermark,
    Weights,
    free_name,
    number_of_frame,
    square,
)
from fomm_lib.files import DEFAULT_WEIGHTS, InputError, data_path
from fomm_lib.releases import check_release, newer_than_tested

# What Ctrl-C leaves of long work, by command; the others start over.
AFTER_STOP = {
    **dict.fromkeys(
        ("augment", "clean", "evaluate", "synthesize", "voxceleb"), "the same command goes on from here"
    ),
    "train": "the same command with --resume goes on from here",
}
# Verbs import what they need when they run: `fomm --help` shall not wait for PyTorch.
app = typer.Typer(
    help="The First Order Motion Model: a portrait and a driving video go in, a moving portrait comes out.",
    epilog="--debug, anywhere, shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

OUT_OF_MEMORY = "out of memory; try a smaller picture, video or --batch-size"


@app.command(epilog="Example: fomm animate --source me.jpg --driving clip.mp4 --output moving.mp4 --compare")
def animate(
    source: Annotated[Path | None, typer.Option(help="The portrait; a public-domain one by default.")] = None,
    driving: Annotated[
        Path | None, typer.Option(help="The driving video; a synthetic one by default.")
    ] = None,
    weights: Weights = DEFAULT_WEIGHTS,
    config: ConfigOfWeights = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="What to write: .mp4, .webm, .gif or .apng, or a name without an ending for a folder of "
            "frames. By default out.mp4, or out-2.mp4, ... where it exists."
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="auto|X,Y,SIZE",
            help="The square of the portrait to use; auto finds the face, in the driving video too (extra "
            "'faces'). By default the middle.",
        ),
    ] = None,
    driving_crop: Annotated[
        str | None,
        typer.Option(metavar="auto|middle|X,Y,SIZE", help="The square of the driving video to use."),
    ] = None,
    relative: Annotated[
        bool,
        typer.Option(
            "--relative/--absolute",
            help="Move as the video moves away from its first frame, or take over its pose.",
        ),
    ] = True,
    adapt_scale: Annotated[
        bool, typer.Option("--adapt-scale", help="Scale the movement by the size of the two heads.")
    ] = False,
    best_frame: BestFrame = None,
    strength: Strength = 1.0,
    smooth: Smooth = 0.0,
    size: Size = None,
    paste_back: Annotated[
        bool, typer.Option("--paste-back", help="Put the result back into the whole portrait.")
    ] = False,
    watermark: Watermark = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Write source | driving | result side by side.")
    ] = False,
    zoom: Annotated[
        int,
        typer.Option(
            help="Enlarge the result so many times; 0 chooses, so that small ones can be looked at."
        ),
    ] = 0,
    batch_size: Annotated[int, typer.Option(help="Driving frames at a time.")] = 4,
    device: Device = None,
    backend: Backend = "torch",
    precision: Precision = None,
    overwrite: Overwrite = False,
) -> None:
    """Animate a portrait by a driving video."""
    from fomm_lib.animation import animate as animate_file
    from fomm_lib.outputs import VIEWING_SIZE

    source, driving = source or data_path("portrait.jpg"), driving or data_path("driving.mp4")
    output = output or free_name(Path("out.mp4"))
    model = _model(weights, config, device, backend, precision, source, driving)
    result = animate_file(
        model,
        source,
        driving,
        output,
        relative=relative,
        adapt_scale=adapt_scale,
        best_frame=number_of_frame(best_frame),
        strength=strength,
        smooth=smooth,
        crop=square(crop, "--crop"),
        driving_crop=square(driving_crop, "--driving-crop"),
        size=size,
        paste_back=paste_back,
        compare=compare,
        zoom=zoom or (1 if paste_back else max(1, VIEWING_SIZE // max(size or 1, *model.size))),
        watermark=watermark,
        batch_size=batch_size,
        overwrite=overwrite,
    )
    width, height = result.size
    rate = result.frames / result.seconds
    noun = "frame" if result.frames == 1 else "frames"
    print(f"{source} moves like {driving}, by {weights}:")
    if best_frame == "auto":
        print(f"Movement counts from frame {result.best_frame}.")
    print(
        f"{result.path}: {result.frames} {noun} of {width}x{height} at {float(result.fps):g} a second, "
        f"{rate:.1f} made a second"
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
            help="auto finds the faces, in the portrait and before the camera; middle takes the middle. By "
            "default auto where the extra 'faces' is installed.",
        ),
    ] = None,
    strength: Strength = 1.0,
    smooth: Smooth = 0.0,
    watermark: Annotated[
        bool, typer.Option("--watermark/--no-watermark", help="Write 'AI-generated' into every picture.")
    ] = True,
    port: Annotated[int, typer.Option(help="Of this computer; 0 takes any that is free.")] = 7860,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    device: Device = None,
    backend: Backend = "torch",
    precision: Precision = None,
    threads: Threads = None,
) -> None:
    """Let a portrait follow the camera, live, on a page in the browser (extra 'live').

    The page is for this computer alone. To see the results of another one, lead its port here with ssh, e.g.
    ssh -L 7860:127.0.0.1:7860 NAME, and open http://127.0.0.1:7860.
    """
    if find_spec("tornado") is None:
        raise InputError("fomm live needs tornado; run: pip install tornado, or pip install 'fomm-lib[live]'")
    if crop not in (None, "auto", "middle"):
        raise InputError(f"--crop {crop}: should be auto or middle")
    import torch

    from fomm_lib.live_server import serve

    if threads is not None:
        torch.set_num_threads(threads)
    source = source or data_path("portrait.jpg")
    settings = {"strength": strength, "smooth": smooth, "watermark": watermark}
    if crop is not None:
        settings["find_faces"] = crop == "auto"
    model = _model(weights, config, device, backend, precision, source, data_path("driving.mp4"))
    serve(model, source, port=port, browser=browser, **settings)


@app.command(epilog="Example: fomm export --weights heads-128 --out heads-128-onnx --int8")
def export(
    out: Annotated[Path, typer.Option(help="The folder for the files.")],
    weights: Weights = DEFAULT_WEIGHTS,
    config: ConfigOfWeights = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="A generator in 8 bits too, calibrated on a portrait and a video.")
    ] = False,
    source: Annotated[
        Path | None, typer.Option(help="That portrait; a public-domain one by default.")
    ] = None,
    driving: Annotated[Path | None, typer.Option(help="That video; a synthetic one by default.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a model as ONNX files, for onnxruntime, OpenVINO and other programs (extra 'export')."""
    from fomm_lib.export import calibration_pictures, export_model
    from fomm_lib.model import load_model

    model = load_model(weights, config=config, device="cpu")
    source, driving = source or data_path("portrait.jpg"), driving or data_path("driving.mp4")
    calibration = calibration_pictures(source, driving, model.size) if int8 else None
    for file in export_model(model, out, calibration=calibration, overwrite=overwrite):
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    print(f"to use it: fomm animate --backend onnxruntime --weights {out}")


@app.command(epilog="Example: fomm augment --sources faces --drivings clips --out grown --crop auto --jobs 2")
def augment(
    sources: Annotated[Path, typer.Option(help="A folder of portraits.")],
    drivings: Annotated[Path, typer.Option(help="A folder of driving videos.")],
    out: Annotated[
        Path, typer.Option(help="The folder for videos and manifest.csv; started again, it goes on.")
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
    watermark: Watermark = False,
    jobs: Jobs = 1,
    limit: Annotated[int | None, typer.Option(help="Make so many pairs at most.")] = None,
    device: Device = None,
) -> None:
    """Animate every portrait of a folder by every video of another, to grow a data set."""
    from fomm_lib.augment import augment as augment_folders
    from fomm_lib.augment import summary

    settings = {
        "crop": square(crop, "--crop"),
        "best_frame": number_of_frame(best_frame),
        "strength": strength,
        "smooth": smooth,
        "size": size,
        "watermark": watermark,
    }
    rows = augment_folders(
        sources,
        drivings,
        out,
        weights=weights,
        config=config,
        device=device,
        jobs=jobs,
        limit=limit,
        **settings,
    )
    print(summary(rows))
    print(f"the manifest: {out / 'manifest.csv'}")


@app.command(epilog="Example: fomm train --config heads-64 --data data/heads --out runs/first --steps 200")
def train(
    config: ConfigToTrain,
    data: Annotated[Path, typer.Option(help="A folder of clips, with train/ and test/ in it.")],
    out: Annotated[Path, typer.Option(help="A new folder for weights, losses and samples.")],
    steps: Annotated[int | None, typer.Option(help="By default the epochs of the config.")] = None,
    seed: Seed = 0,
    init: Init = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the training in --out stopped, if there is one.")
    ] = False,
    perceptual: Annotated[
        str | None,
        typer.Option(
            help="vgg19, or vgg16-lpips where VGG-19 cannot be downloaded; by default what the config says."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Pairs a step; by default what the config says.")
    ] = None,
    device: Device = None,
    bf16: Bf16 = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Run them in float16, for GPUs without bfloat16.")
    ] = False,
    accumulate: Annotated[
        int | None, typer.Option(help="Compute each batch in so many parts, for less memory.")
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Let torch.compile translate the networks.")
    ] = False,
    cache: Annotated[Path | None, typer.Option(help="A folder to keep decoded frames in.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that read ahead.")] = 0,
    log_every: Annotated[int, typer.Option(help="Steps between rows of losses.csv.")] = 10,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between states on disk.")] = 1000,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard/--no-tensorboard", help="Write curves for TensorBoard.")
    ] = True,
    threads: Threads = None,
) -> None:
    """Train a model on a folder of clips."""
    import torch
    from accelerate import PartialState

    from fomm_lib.training import train as train_model

    if bf16 and fp16:
        raise InputError("--bf16 and --fp16: choose one")
    if threads is not None:
        torch.set_num_threads(threads)
    weights = train_model(
        config,
        data,
        out,
        steps,
        seed=seed,
        init=init,
        resume=resume,
        perceptual=perceptual,
        batch_size=batch_size,
        device=device,
        precision="bf16" if bf16 else "fp16" if fp16 else None,
        accumulate=accumulate,
        compile=compile,
        cache=cache,
        workers=workers,
        log_every=log_every,
        checkpoint_every=checkpoint_every,
        tensorboard=tensorboard,
    )
    if PartialState().is_main_process:  # of several, each runs this verb
        print(f"{weights}: to use it, fomm animate --weights {weights}")


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
    device: Device = None,
    bf16: Bf16 = False,
    threads: Threads = None,
) -> None:
    """Teach keypoints and dense motion the true motion of synthetic heads, before training without labels."""
    import torch

    from fomm_lib.pretraining import pretrain as pretrain_model

    if threads is not None:
        torch.set_num_threads(threads)
    weights = pretrain_model(
        config,
        data,
        out,
        steps,
        batch_size=batch_size,
        seed=seed,
        init=init,
        device=device,
        bf16=bf16,
    )
    print(f"{weights}: to go on from it, fomm train --init {weights} ...")


@app.command(epilog="Example: fomm evaluate --weights heads-64 --data data/heads --report out.csv --jobs 2")
def evaluate(
    data: Annotated[Path, typer.Option(help="A folder of clips, or one with a test/ in it.")],
    report: Annotated[Path, typer.Option(help="The CSV to write, one row a method and frame.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(help=f"As for animate; repeat it to compare several. {DEFAULT_WEIGHTS} by default."),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="reconstruction (the truth is known) or animation (of another head).")
    ] = "reconstruction",
    protocol: Annotated[
        Path | None, typer.Option(help="Which frames of which clips; by default some of every clip.")
    ] = None,
    save_protocol: Annotated[Path | None, typer.Option(help="Keep which frames were taken.")] = None,
    table: Annotated[Path | None, typer.Option(help="Write the table to this .md too.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="A .jpg to write: best, median and worst frames of each metric.")
    ] = None,
    split: Annotated[str, typer.Option(help="train or test; - for the folder as it is.")] = "test",
    size: Annotated[
        int | None, typer.Option(help="Compare at so many pixels; by default those of the largest model.")
    ] = None,
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
    from fomm_lib.evaluation import evaluate_to_files
    from fomm_lib.evaluation_page import write_picture_page

    if pictures is not None and pictures.exists() and not overwrite:
        raise InputError(f"{pictures}: exists already; choose another name, or --overwrite")
    result = evaluate_to_files(
        weights or [DEFAULT_WEIGHTS],
        data,
        report,
        table=table,
        save_protocol=save_protocol,
        overwrite=overwrite,
        mode=mode,
        split=None if split == "-" else split,
        protocol=protocol,
        size=size,
        config=config,
        cache=cache,
        jobs=jobs,
        device=device,
    )
    if pictures is not None:
        write_picture_page(result, pictures, overwrite=overwrite)
    print(result.markdown())
    print(f"the report: {report}")


@app.command(epilog="Example: fomm synthesize --out heads/train --clips 200 --frames 24 --size 64 --seed 0")
def synthesize(
    out: Annotated[Path, typer.Option(help="The folder; clips that are in it already are kept.")],
    clips: Annotated[int, typer.Option(help="How many.")],
    frames: Annotated[int, typer.Option(help="Of each clip.")] = 48,
    size: Annotated[int, typer.Option(help="Width and height, in pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Other seeds give other people.")] = 0,
    fps: Annotated[
        float, typer.Option(help="Frames a second; few spread the frames of a clip over a long time.")
    ] = 25,
    format: Annotated[str, typer.Option(help="mp4, or png for folders of pictures.")] = "mp4",
    backgrounds: Annotated[
        Path | None, typer.Option(help="A folder of pictures to stand behind half of the heads.")
    ] = None,
    truth: Annotated[
        int, typer.Option(help="Write the true motion of so many pairs of frames beside every clip.")
    ] = 0,
    jobs: Jobs = 1,
) -> None:
    """Render clips of synthetic talking heads."""
    from fomm_lib.synthetic import synthesize as render

    paths = render(
        out,
        clips,
        frames,
        size,
        seed,
        fps=fps,
        format=format,
        backgrounds=backgrounds,
        truth=truth,
        jobs=jobs,
    )
    print(f"{out}: {len(paths)} clips of {frames} frames")


@app.command(epilog="Example: fomm clean clips --report report.csv --quarantine unfit --jobs 2")
def clean(
    folder: Annotated[Path, typer.Argument(help="Where the videos are.")],
    report: Annotated[Path, typer.Option(help="The CSV to write, or to continue; one row a file.")],
    quarantine: Annotated[
        Path | None, typer.Option(help="A folder to move unfit videos into; without it nothing is moved.")
    ] = None,
    jobs: Jobs = 1,
    probe: Annotated[
        str,
        typer.Option(metavar="auto|ffprobe|pyav", help="Who opens a file first; auto is ffprobe if there."),
    ] = "auto",
    still_change: Annotated[
        int, typer.Option(help="Frozen is what changes no more than this, in grey levels from 0 to 255.")
    ] = 5,
    seconds: Annotated[
        float, typer.Option(help="A file that takes longer is stopped, and is unreadable.")
    ] = 600.0,
) -> None:
    """Find encrypted, corrupt, empty and frozen videos in a folder.

    Every file gets a verdict, and the reason for it. fit: it decodes, and moves; unreadable: it cannot be
    opened; encrypted: it is marked so; no_video: sound only; single_frame: a still picture; frozen: nothing
    moves; corrupt: damaged, or cut short. Started again, it goes on: files that have a row are not checked
    anew.
    """
    from fomm_lib.cleaning import clean as clean_folder
    from fomm_lib.cleaning import summary

    print(
        summary(
            clean_folder(
                folder, report, quarantine, jobs, probe=probe, still_change=still_change, seconds=seconds
            )
        )
    )
    print(f"the report: {report}")


@app.command(epilog="Example: fomm voxceleb --metadata vox-metadata.csv --out vox --partition test")
def voxceleb(
    metadata: Annotated[Path, typer.Option(help="The published list of clips, vox-metadata.csv.")],
    out: Annotated[Path, typer.Option(help="The folder for clips and ledger; started again, it goes on.")],
    partition: Annotated[str | None, typer.Option(help="train or test; both by default.")] = None,
    size: Annotated[int, typer.Option(help="Width and height of the clips, in pixels.")] = 256,
    form: Annotated[str, typer.Option(help="mp4, or png or jpg for folders of frames.")] = "mp4",
    jobs: Annotated[int, typer.Option(help="Videos at a time.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Stop after so many videos.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try those that failed once more.")] = False,
) -> None:
    """Fetch VoxCeleb: download, cut, crop and check the clips of the published list.

    The list is a CSV file with the columns video_id, start and end (frame numbers), bbox (x0-y0-x1-y1), fps,
    width, height, partition (train or test) and person_id (or video_id is VIDEO#PERSON).
    """
    from fomm_lib.voxceleb import fetch_voxceleb

    ledger = fetch_voxceleb(
        metadata, out, partition, size=size, form=form, jobs=jobs, limit=limit, retry=retry
    )
    print(ledger.summary())


@app.command(epilog="Example: fomm convert vox-adv-cpk.pth.tar vox-adv-256.safetensors --config vox-adv-256")
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A published .pth.tar, or a .safetensors.")],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="The .safetensors to write, with the config inside.")
    ],
    config: Annotated[
        str | None,
        typer.Option(help="A YAML file, or a name such as vox-adv-256; published files need it."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--float32", help="Keep full precision; half is the default.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Rewrite weights as .safetensors, which hold no code."""
    from fomm_lib.checkpoints import convert as convert_file
    from fomm_lib.checkpoints import describe

    print(describe(convert_file(source, output, config, half=not full, overwrite=overwrite)))


@app.command(epilog="Example: fomm info heads-64")
def info(file: Annotated[str, typer.Argument(help="A file of weights, or a name in data/weights.")]) -> None:
    """Say what a file of weights holds."""
    from fomm_lib.checkpoints import describe

    print(describe(file))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main(arguments: list[str] | None = None) -> None:
    """Run `fomm`: one line on stderr and exit code 2 for bad input, 130 for Ctrl-C; `--debug` shows
    tracebacks.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not debug:
        warnings.formatwarning = lambda message, *_: f"fomm: {' '.join(str(message).split())}\n"
    try:
        check_release("typer")
        app(arguments, prog_name="fomm")  # tells of wrong options itself, and ends with 2
    except SystemExit as end:
        if end.code == 130:
            _say_how_to_go_on(arguments)
        raise
    except ImportError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        _say_how_to_go_on(arguments)  # Ctrl-C, while a library in C++ was starting
        sys.exit(130)
    except InputError as error:
        _stop(" ".join(str(error).split()), debug)
    except MemoryError:
        _stop(OUT_OF_MEMORY, debug)
    except RuntimeError as error:  # PyTorch has no other for this, on CPUs
        if "out of memory" not in str(error) and "allocate memory" not in str(error):
            raise
        _stop(OUT_OF_MEMORY, debug)
    except OSError as error:
        _stop("the disk is full" if error.errno == errno.ENOSPC else str(error), debug)
    except (AttributeError, TypeError):  # what a release brings that has changed what it takes or has
        _name_untested_releases()
        raise


def _name_untested_releases() -> None:
    newer = newer_than_tested()
    if newer:
        print(f"fomm: installed and never tested with this: {'; '.join(newer)}", file=sys.stderr)
        print("fomm: if the error below comes from there, install the tested releases:", file=sys.stderr)
        print("fomm:   pip install -c constraints.txt -e .", file=sys.stderr)


def _say_how_to_go_on(arguments: list[str]) -> None:
    command = arguments[0] if arguments else ""
    if command in AFTER_STOP:
        print(f"fomm: stopped; {AFTER_STOP[command]}", file=sys.stderr)


def _stop(line: str, debug: bool) -> None:
    """End with one line, or with the traceback of the error at hand."""
    if debug:
        raise
    print(f"fomm: {line}", file=sys.stderr)
    sys.exit(2)


def _model(
    weights: str,
    config: str | None,
    device: str | None,
    backend: str,
    precision: str | None,
    source: Path,
    driving: Path,
):
    """The model that a backend runs; exported for it first, unless it is."""
    from fomm_lib.model import load_model

    if backend == "torch":
        from fomm_lib.inference import FastModel

        return FastModel(load_model(weights, config=config, device=device), precision=precision)

    from fomm_lib.export import ExportedModel, calibration_pictures, check_backend, exported_copy

    precision = precision or "float32"
    check_backend(backend, precision, device or "cpu")
    if Path(weights, "generate.onnx").is_file():
        return ExportedModel(weights, backend=backend, precision=precision)
    model = load_model(weights, config=config, device="cpu")
    calibration = calibration_pictures(source, driving, model.size) if precision == "int8" else None
    return exported_copy(model, backend=backend, precision=precision, calibration=calibration)
