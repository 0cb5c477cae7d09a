"""How fast a model makes frames, in every way there is, and how far from the plain model's they are.

    python -m benchmarks.inference                              # vox-256 with random weights
    python -m benchmarks.inference --weights heads-128 --size 256
    python -m benchmarks.inference --threads 1 --rounds 9       # on a machine that has other work
    python -m benchmarks.inference --rounds 2 --paths default bfloat16 int8     # a few minutes

The first row is the published order of work: one driving frame at a time, each through the whole generator,
including the source's encoder and the images for display. Each other row takes turns with it, four frames
each, and is printed when it has finished; a ratio is the median over these rounds, of seconds and, "CPU
ratio", of processor seconds, which hardly depend on other work. "CPU s" are processor seconds a frame. PSNR
and the largest difference compare eight frames with those of the first row, images in [0, 1]. "ready" is the
time from the start of Python to the first four frames. Rows whose packages are not installed are left out.
Decoding and encoding of videos are not included; `benchmarks.animate` has them. "corners unaligned" is what
the published code does on today's PyTorch, with weights that were trained the other way.

int8 is calibrated as `fomm animate` does it, with the repository's portrait and every eighth frame of its
driving video. The eight frames compared are others of that video; with `--clip` they are of that clip, and
its first frame is the source: another person, of whom the calibration knows nothing.

Random weights cost the same time as trained ones. So that their images say something about rounding, each
batch norm divides by the size of its inputs, keypoints move about as far as those of trained weights, and the
image has the contrast of a photograph. They still make more of a rounding error than trained ones, so read
PSNR from both.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Table, against_first, parser
from fomm_lib.animation.animator import Animator
from fomm_lib.animation.export import ExportedModel, calibration_images, export_model
from fomm_lib.animation.fast import FastModel
from fomm_lib.animation.movement import relative_motion
from fomm_lib.checkpoints import write_weights
from fomm_lib.files import data_path
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import VideoReader, read_image
from fomm_lib.model import FirstOrderMotionModel, load_model

BATCH = 4
FRAMES = 2 * BATCH
VARIANTS = {  # name: what runs it, and how
    "published order, batch 1": ("plain", "published"),
    "published, corners unaligned": ("plain", "unaligned"),
    "source encoded once, batch 1": ("plain", "1"),
    "source encoded once, batch 4": ("plain", "4"),
    "fomm default (torch float32)": ("torch", "float32"),
    "torch bfloat16": ("torch", "bfloat16"),
    "torch float32, compiled": ("torch", "compiled"),
    "onnxruntime float32": ("onnxruntime", "float32"),
    "onnxruntime int8": ("onnxruntime", "int8"),
    "openvino float32": ("openvino", "float32"),
    "openvino bfloat16": ("openvino", "bfloat16"),
    "openvino int8": ("openvino", "int8"),
}


def model_parser(description: str) -> argparse.ArgumentParser:
    """The options that `prepare` reads."""
    options = parser(description)
    what = options.add_mutually_exclusive_group()
    what.add_argument("--weights", help="a name in data/weights, or a file; otherwise random weights")
    what.add_argument("--config", default="vox-256", help="the model of random weights")
    options.add_argument("--size", type=int, help="of the images; by default that of the model")
    options.add_argument("--clip", help="a video to compare frames of, instead of the repository's")
    return options


def main() -> None:
    """Print a row for every variant."""
    options = model_parser(__doc__)
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--device", default="cpu")
    options.add_argument("--rounds", type=int, default=7, help="timed batches of each, at least 1")
    options.add_argument("--paths", nargs="+", help="only rows whose names contain one of these words")
    arguments = options.parse_args()
    first, *others = VARIANTS
    others = [name for name in others if not arguments.paths or any(w in name for w in arguments.paths)]
    names = [first, *(name for name in others if can_run(name, arguments.device))]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(arguments, folder, export={"onnxruntime", "openvino"} & {VARIANTS[name][0] for name in names})
        variants = {name: partial(build_step, name, arguments, folder) for name in names}
        print(f"{arguments.weights or arguments.config + ', random weights'}; {arguments.device}, ", end="")
        print(f"{arguments.threads} threads; median of {arguments.rounds} rounds of {BATCH} frames")
        columns = {"variant": "", "frames/s": ".2f", "ratio": ".2f", "CPU s": ".4f", "CPU ratio": ".2f"}
        columns |= {"PSNR dB": ".1f", "largest": ".5f", "peak MiB": ".0f", "ready s": ".1f"}
        table, expected = Table(columns, width=29), None
        for name, run, base in against_first(variants, max(1, arguments.rounds)):
            frames = np.concatenate([run.first.result, run.timings[0].result])
            expected = frames if expected is None else expected
            rates = BATCH / run.median(), run.ratio(base)
            rates += run.median("processor") / BATCH, run.ratio(base, "processor")
            table.row(name, *rates, *apart(frames, expected), run.peak, run.ready + run.first.seconds)


def apart(frames: np.ndarray, expected: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """PSNR in dB, and the largest difference; nothing for equal frames."""
    difference = np.abs(frames.astype(np.float64) - expected)
    error = (difference**2).mean()
    return (-10 * np.log10(error), difference.max()) if error else (None, None)


def can_run(name: str, device: str) -> bool:
    """Whether the packages of a variant are installed; exported models run on the CPU only."""
    backend, _ = VARIANTS[name]
    packages = ("onnx", "onnxruntime", backend)
    return backend in ("plain", "torch") or (device == "cpu" and all(map(find_spec, packages)))


def prepare(arguments: argparse.Namespace, folder: Path, export: bool) -> None:
    """Write the weights, images and exported files that the variants read."""
    weights = arguments.weights
    if weights is None:
        weights = folder / "random.safetensors"
        write_random_weights(arguments.config, weights)
    model = load(weights, "cpu", arguments.size)
    torch.save(images(model.size, arguments.clip), folder / "images.pt")
    if export:
        calibration = calibration_images(data_path("portrait.jpg"), data_path("driving.mp4"), model.size)
        export_model(model, folder / "onnx", calibration=calibration)


def load(
    weights: str | Path, device: str, size: int | None, align_corners: bool | None = None
) -> FirstOrderMotionModel:
    """A model, for images of another size than its config says."""
    model = load_model(weights, device=device, align_corners=align_corners)
    model.size = (size, size) if size else model.size
    return model


def write_random_weights(config: str, path: Path) -> None:
    """Random weights whose images say something about rounding: see the top of this file."""
    torch.manual_seed(0)
    model = FirstOrderMotionModel(config).eval()
    source, driving = images(model.size)

    def settle(norm: torch.nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        norm.running_var.copy_(inputs[0].square().mean(dim=(0, 2, 3)))

    norms = (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    with torch.no_grad():
        model.kp_detector.kp.weight.mul_(0.1)
        prediction = model(source, driving[:1]).prediction
        logits = prediction.logit()
        model.generator.final.weight.div_(logits.std())
        model.generator.final.bias.sub_(logits.mean(dim=(0, 2, 3))).div_(logits.std())
    for hook in hooks:
        hook.remove()
    networks = {name: getattr(model, name).state_dict() for name in ("generator", "kp_detector")}
    write_weights(path, networks, model.config, dtype=None)


def images(size: tuple[int, int], clip: str | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The repository's portrait and FRAMES of its driving frames; or the first frame and FRAMES of a clip.

    The frames have odd numbers, and those of `calibration_images` even ones.
    """
    frames = list(VideoReader(clip or data_path("driving.mp4")))
    portrait = frames[0] if clip else read_image(data_path("portrait.jpg"))
    chosen = [portrait, *(frames[i * len(frames) // (2 * FRAMES) * 2 + 1] for i in range(FRAMES))]
    source, *driving = (to_tensor(cut_middle(image, size), size) for image in chosen)
    return source[None], torch.stack(driving)


def build_step(name: str, arguments: argparse.Namespace, folder: Path) -> Callable[[], np.ndarray]:
    """The step of a variant: BATCH frames, (BATCH, 3, H, W), in turn those of either half."""
    torch.set_num_threads(arguments.threads)
    run, driving = build_runner(name, arguments, folder)
    batches = itertools.cycle(driving.split(BATCH))
    return lambda: run(next(batches)).numpy()


def build_runner(name: str, arguments: argparse.Namespace, folder: Path):
    """A function from driving frames to images on the CPU; and the driving frames."""
    backend, how = VARIANTS[name]
    if backend in ("onnxruntime", "openvino"):
        model = ExportedModel(folder / "onnx", backend=backend, precision=how, threads=arguments.threads)
    else:
        weights, aligned = arguments.weights or folder / "random.safetensors", None
        if how == "unaligned":
            how, aligned = "published", False
        model = load(weights, arguments.device, arguments.size, aligned)
    source, driving = torch.load(folder / "images.pt", map_location=arguments.device)
    if backend == "torch":
        precision = "bfloat16" if how == "bfloat16" else "float32"
        model = FastModel(model, precision=precision, compile=how == "compiled")
    if backend != "plain":
        animator = Animator(model, source)
        animator.set_reference(model.detect(driving[:1]))
        return (lambda frames: animator(frames).prediction.cpu()), driving

    with torch.inference_mode():
        kp_source, kp_initial = model.detect(source), model.detect(driving[:1])
        encoded = model.generator.encode(source)

    @torch.inference_mode()
    def plain(frames: torch.Tensor) -> torch.Tensor:
        made = []
        for part in frames.split(BATCH if how == "4" else 1):
            kp = relative_motion(kp_source, model.detect(part), kp_initial)
            start = source if how == "published" else encoded.expand(len(part))
            kps = kp_source.expand(len(part)), kp
            made.append(model.generate(start, *kps, with_visuals=how == "published").prediction.cpu())
        return torch.cat(made)

    return plain, driving


if __name__ == "__main__":
    main()
