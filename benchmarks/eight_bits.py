"""int8 in OpenVINO, part by part: which convolutions lose what, and which operations take the time.

    python -m benchmarks.eight_bits --weights heads-128 --size 256
    python -m benchmarks.eight_bits --rounds 5               # vox-256 with random weights

The model is exported and calibrated, and its frames chosen, as in `benchmarks.inference`. The first table
compares eight frames with those of the same graph in float32: PSNR with the convolutions of one part alone in
8 bits, and with those of all other parts. The last convolution, and the first and last ones of the dense
motion, are never in 8 bits (`fomm_lib.animation.eight_bits`).

The second table says where the time of detector and generator goes, by OpenVINO's counters, four frames at a
time: of each operation the least of the rounds, as a share of the sum. An operation that OpenVINO fused with
another counts as that one.
"""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Table
from benchmarks.inference import BATCH, apart, model_parser, prepare
from fomm_lib.animation.animator import Animator
from fomm_lib.animation.eight_bits import before_rounding, sensitive
from fomm_lib.animation.export import ExportedModel

PART = r"network/((?:dense_motion_network/hourglass/)?[a-z_]+)"


def main() -> None:
    """Print both tables."""
    options = model_parser(__doc__)
    options.add_argument("--rounds", type=int, default=9, help="of the counted operations")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(arguments, folder, export=True)
        images = torch.load(folder / "images.pt")
        print_losses(folder / "onnx", images)
        print_times(folder / "onnx", images, arguments.rounds)


def print_losses(folder: Path, images: tuple[Tensor, Tensor]) -> None:
    """A row for every part of the generator."""
    import onnx

    plain, rounded = (onnx.load(folder / f"generate{kind}.onnx") for kind in ("", ".int8"))
    exact = sensitive(plain)
    names = [node.name for node in plain.graph.node if node.op_type == "Conv" and node.name not in exact]
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(re.search(PART, name)[1], []).append(name)
    expected = frames(ExportedModel(folder, backend="openvino", threads=1), images)

    def psnr(in_float: Collection[str]) -> float:
        with tempfile.TemporaryDirectory() as changed:
            for part in ("encode", "detect"):
                shutil.copy(folder / f"{part}.onnx", changed)
            onnx.save(partly(rounded, plain, in_float), Path(changed, "generate.int8.onnx"))
            model = ExportedModel(changed, backend="openvino", precision="int8", threads=1)
            return apart(frames(model, images), expected)[0]

    table = Table({"part": "", "layers": "d", "alone dB": ".1f", "all others dB": ".1f"}, width=40)
    table.row("all", len(names), psnr([]), None)
    for part, own in parts.items():
        table.row(part, len(own), psnr(set(names) - set(own)), psnr(own))


def frames(model: ExportedModel, images: tuple[Tensor, Tensor]) -> np.ndarray:
    """The driving frames' images, (N, 3, H, W)."""
    source, driving = images
    animator = Animator(model, source)
    return torch.cat([animator(part).prediction for part in driving.split(BATCH)]).numpy()


def partly(rounded, plain, in_float: Collection[str]):
    """A copy of the graph in 8 bits, some of whose convolutions read and return float32, as in `plain`."""
    model, exactly = copy.deepcopy(rounded), before_rounding(rounded)
    original = {node.name: node for node in plain.graph.node}
    maker = {output: node.name for node in model.graph.node for output in node.output}
    weights = set()
    for node in model.graph.node:
        if node.name in in_float:
            node.input[:2] = original[node.name].input[:2]
            weights.add(node.input[1])
        elif node.op_type != "Conv":
            before = ((name, exactly.get(name)) for name in node.input)
            node.input[:] = [exact if maker.get(exact) in in_float else name for name, exact in before]
    model.graph.initializer.extend(each for each in plain.graph.initializer if each.name in weights)
    return model


def print_times(folder: Path, images: tuple[Tensor, Tensor], rounds: int) -> None:
    """A row for every kind of operation that takes a hundredth of the time."""
    model, least = ExportedModel(folder, backend="openvino", precision="int8", threads=1), {}
    for part in ("detect", "generate"):
        setattr(model, f"_{part}", counted(getattr(model, f"_{part}"), part, rounds, least))
    source, driving = images
    Animator(model, source)(driving[:BATCH])
    times = Counter()
    for (part, _, kind), seconds in least.items():
        times[part, kind] += seconds
    table = Table({"part": "", "operation": "", "share": ".1%"}, width=10)
    for (part, kind), seconds in times.most_common():
        if seconds > times.total() / 100:
            table.row(part, f" {kind:44}", seconds / times.total())


def counted(graph, part: str, rounds: int, least: dict[tuple[str, ...], float]) -> Callable:
    """A graph that notes in `least` the time of each operation: (part, its name, its kind) -> seconds.

    Only calls with BATCH images count.
    """
    graph.options["PERF_COUNT"] = True

    def call(**inputs: Tensor) -> list[Tensor]:
        arrays = {name: tensor.contiguous().numpy() for name, tensor in inputs.items()}
        many = any(len(array) == BATCH for array in arrays.values())
        request = graph.compiled(**{name: array.shape for name, array in arrays.items()})
        request = request.create_infer_request()
        for _ in range(rounds):
            results = request.infer(arrays)
            for each in request.profiling_info if many else ():
                seconds = each.real_time.total_seconds()
                key = part, each.node_name, kind_of(each)
                least[key] = min(least.get(key, seconds), seconds)
        return [torch.from_numpy(array.copy()) for array in results.values()]

    return call


def kind_of(counter) -> str:
    """The operation and how it is computed; of convolutions also of which part."""
    where = re.search(r"dense_motion|final", counter.node_name)
    where = f" ({where[0]})" if where and counter.node_type == "Convolution" else ""
    return f"{counter.node_type}{where}, {counter.exec_type}"


if __name__ == "__main__":
    main()
