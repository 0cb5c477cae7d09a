"""How fast a model makes frames, in every way there is, and how far from the plain model's they are.

    python benchmarks/inference.py                              # vox-256 with random weights
    python benchmarks/inference.py --weights heads-64
    python benchmarks/inference.py --threads 1 --rounds 9       # on a machine that has other work

The first row is the published order of work: one driving frame at a time, each through the whole generator,
the source's encoder and the pictures for people included. Every row is a process of its own, so that its peak
of memory is its own; the rows take turns, four frames each, and a ratio is the median over the rounds of two
times of the same round, so that what else the machine does hits all alike; "CPU s" are processor seconds a
frame, which hardly depend on what else the machine does. PSNR and the largest difference
compare with the first row, pictures in [0, 1]. "ready" is the time from the start of Python to the first four
frames. Rows whose packages are not installed are left out. Decoding and encoding of videos are not in here;
`benchmarks/animate.py` has them.

Random weights cost the same time as trained ones. So that their pictures say something about rounding, each
batch norm divides by the size of what it gets, keypoints move about as far as those of trained weights, and
the picture has the contrast of a photograph. They still make more of a rounding error than trained ones, so
read PSNR from both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

STARTED = time.monotonic()
BATCH = 4
FRAMES = 2 * BATCH  # compared; the times are those of the first batch
VARIANTS = {  # name: what runs it, and how
    "published order, batch 1": ("plain", "published"),
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


def main() -> None:
    """Print a row for every variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--weights", help="a name in data/weights, or a file; otherwise random weights")
    what.add_argument("--config", default="vox-256", help="the model of random weights")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", help="variants whose names contain one of these words")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a row, asked for by the process that prints
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one == "prepare":
        prepare(arguments)
    elif arguments.one:
        work(arguments)
    else:
        table(arguments)


def table(arguments: argparse.Namespace) -> None:
    """Start the workers, let them take turns, compare."""
    import numpy as np

    first, *others = VARIANTS
    others = [name for name in others if not arguments.only or any(w in name for w in arguments.only)]
    others = [
        name for name in others if VARIANTS[name][0] in ("plain", "torch") or _exportable(name, arguments)
    ]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *sys.argv[1:], "--folder", folder]
        kinds = {VARIANTS[name][0] for name in others}
        prepared = ["--only", "export"] if kinds & {"onnxruntime", "openvino"} else []
        subprocess.run([*command, *prepared, "--one", "prepare"], check=True)
        workers, ready = {}, {}
        for name in (first, *others):  # one after the other: a start is measured, too
            workers[name] = Worker([*command, "--one", name])
            ready[name] = workers[name].answer()["ready"]
        times = {name: [] for name in workers}
        for _ in range(arguments.rounds):
            for name, worker in workers.items():
                times[name].append(worker.ask("time"))
        peaks = {name: worker.ask("frames")["peak"] for name, worker in workers.items()}
        frames = {name: np.load(Path(folder, f"{name}.npy")).astype(np.float64) for name in workers}

    print(f"{arguments.weights or arguments.config + ', random weights'}; {arguments.device}, ", end="")
    print(f"{arguments.threads} threads; median of {arguments.rounds} rounds of {BATCH} frames")
    head = ("frames/s", "ratio", "CPU s", "PSNR dB", "largest", "MiB", "ready s")
    print(f"{'':29} {head[0]:>8} " + " ".join(f"{word:>7}" for word in head[1:]))
    for name in workers:
        rate = BATCH / statistics.median(time["seconds"] for time in times[name])
        rounds = zip(times[first], times[name], strict=True)
        ratio = statistics.median(plain["seconds"] / this["seconds"] for plain, this in rounds)
        processor = statistics.median(time["processor"] for time in times[name]) / BATCH
        difference = np.abs(frames[name] - frames[first])
        error = (difference**2).mean()
        apart = f"{-10 * np.log10(error):7.1f} {difference.max():7.5f}" if error else f"{'':7} {'':7}"
        row = f"{rate:8.2f} {ratio:7.2f} {processor:7.4f} {apart} {peaks[name]:7.0f} {ready[name]:7.1f}"
        print(f"{name:29} {row}")


def _exportable(name: str, arguments: argparse.Namespace) -> bool:
    packages = ("onnx", "onnxruntime", VARIANTS[name][0])
    return arguments.device == "cpu" and all(find_spec(package) for package in packages)


class Worker:
    """A process that answers each line with a line of JSON."""

    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def answer(self) -> dict[str, float]:
        for line in self.process.stdout:
            if line.startswith("{"):  # libraries may have something to say, too
                return json.loads(line)
        raise SystemExit(f"a worker ended: {' '.join(self.process.args[-2:])}")

    def ask(self, question: str) -> dict[str, float]:
        print(question, file=self.process.stdin, flush=True)
        return self.answer()


def prepare(arguments: argparse.Namespace) -> None:
    """Write the weights, pictures and exported files that the workers read."""
    import torch

    from fomm_lib.export import export_model
    from fomm_lib.model import load_model

    weights = arguments.weights
    if weights is None:
        weights = arguments.folder / "random.safetensors"
        write_random_weights(arguments.config, weights)
    model = load_model(weights, device="cpu")
    source, driving = pictures(model.size)
    torch.save((source, driving), arguments.folder / "pictures.pt")
    if arguments.only == ["export"]:
        export_model(model, arguments.folder / "onnx", calibration=(source, driving[::2]))


def write_random_weights(config: str, path: Path) -> None:
    """See the top of this file."""
    import torch

    from fomm_lib.checkpoints import write_weights
    from fomm_lib.model import FirstOrderMotionModel

    torch.manual_seed(0)
    model = FirstOrderMotionModel(config).eval()
    source, driving = pictures(model.size)

    def settle(norm: torch.nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        norm.running_var.copy_(inputs[0].square().mean(dim=(0, 2, 3)))

    hooks = [
        module.register_forward_pre_hook(settle)
        for module in model.modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    ]
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


def pictures(size: tuple[int, int]):
    """The portrait and FRAMES driving frames that the repository carries, as tensors."""
    import torch

    from fomm_lib.datasets import to_tensor
    from fomm_lib.files import data_path
    from fomm_lib.video import VideoReader, read_picture

    portrait = read_picture(data_path("portrait.jpg"))
    side = min(portrait.shape[:2])
    frames = list(VideoReader(data_path("driving.mp4")))
    chosen = [frames[i * len(frames) // FRAMES] for i in range(FRAMES)]
    return to_tensor(portrait[:side, :side], size)[None], torch.stack([to_tensor(f, size) for f in chosen])


def work(arguments: argparse.Namespace) -> None:
    """A worker: say when ready, then answer questions."""
    import numpy as np
    import torch

    torch.set_num_threads(arguments.threads)
    run, driving = runner(arguments)
    run(driving[:BATCH])
    print(json.dumps({"ready": time.monotonic() - STARTED}), flush=True)
    for question in sys.stdin:
        if question.strip() == "time":
            begin, processor = time.perf_counter(), time.process_time()
            run(driving[:BATCH])
            seconds, processor = time.perf_counter() - begin, time.process_time() - processor
            print(json.dumps({"seconds": seconds, "processor": processor}), flush=True)
        else:
            frames = torch.cat([run(part) for part in driving.split(BATCH)])
            np.save(arguments.folder / f"{arguments.one}.npy", frames.numpy())
            print(json.dumps({"peak": peak()}), flush=True)


def peak() -> float:
    """The largest memory of this process, in MiB, on the GPU if it has used one."""
    import resource

    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)


def runner(arguments: argparse.Namespace):
    """A function from driving frames to pictures on the CPU; and the driving frames."""
    import torch

    from fomm_lib.export import ExportedModel
    from fomm_lib.inference import Animator, FastModel, relative_motion
    from fomm_lib.model import load_model

    backend, how = VARIANTS[arguments.one]
    if backend in ("onnxruntime", "openvino"):
        model = ExportedModel(
            arguments.folder / "onnx", backend=backend, precision=how, threads=arguments.threads
        )
    else:
        weights = arguments.weights or arguments.folder / "random.safetensors"
        model = load_model(weights, device=arguments.device)
    source, driving = torch.load(arguments.folder / "pictures.pt", map_location=arguments.device)
    if backend == "torch":
        model = FastModel(
            model, precision="bfloat16" if how == "bfloat16" else "float32", compile=how == "compiled"
        )
    if backend != "plain":
        animator = Animator(model, source)
        animator.kp_initial = model.detect(driving[:1])
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
            made.append(model.generate(start, *kps, for_people=how == "published").prediction.cpu())
        return torch.cat(made)

    return plain, driving


if __name__ == "__main__":
    main()
