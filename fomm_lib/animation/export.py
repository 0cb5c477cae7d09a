"""A trained model outside PyTorch: as ONNX files, run by onnxruntime or OpenVINO.

Three graphs, with any number of driving frames at a time:

    encode.onnx     source                                                    -> features, small
    detect.onnx     image                                                   -> value, jacobian
    generate.onnx   features, small, value_source, jacobian_source,
                    value, jacobian                                           -> prediction, deformation,
                                                                                 occlusion

A generator with skips has outputs of `encode` more, and inputs of `generate`: skip_0, skip_1, ...

`encode` runs once per source, `detect` and `generate` once per batch of driving frames. Between the two,
keypoints are changed outside the graphs (`movement`), in the same way for every backend. A zeroth-order model
has no Jacobians. `deformation` and `occlusion` carry the detail of the source (`detail`); files of earlier
releases and models whose corners are not aligned do without. With `int8` there is also generate.int8.onnx,
whose convolutions compute with integers of 8 bits. `ExportedModel` accepts any name for the input of
detect.onnx, because earlier releases used another.

Needs the extra `export`: pip install "fomm-lib[export]".
"""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fomm_lib.animation.animator import AnimatableModel, Animator
from fomm_lib.animation.eight_bits import balance, quantize
from fomm_lib.animation.fast import faster, multiplies_bfloat16
from fomm_lib.errors import InputError
from fomm_lib.files import atomic_folder
from fomm_lib.generator import EncodedSource, Generated
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import VideoReader, read_image
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.releases import importing, same_signal_stack, without_telemetry

PARTS = ("encode", "detect", "generate")
# Outputs of generate.onnx, the first or all, as attributes of `Generated`.
_GENERATED = {"prediction": "prediction", "deformation": "deformation", "occlusion": "occlusion_map"}
OPSET = 18  # grid_sample needs 16; onnxruntime has known 18 since 1.14
COMPILED = 3  # batch sizes for which OpenVINO's programs are kept: one, many, and the rest of a video
# What runs an exported model, and its precisions.
BACKENDS = {
    "onnxruntime": ("float32", "int8"),
    "openvino": ("float32", "bfloat16", "int8"),
}


def export_model(
    model: FirstOrderMotionModel,
    folder: str | os.PathLike,
    *,
    calibration: tuple[Tensor, Tensor] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a model as ONNX files into a folder.

    Args:
        model: in eval mode; see `load_model`.
        folder: is made, unless it is there.
        calibration: a source (1, 3, H, W) and driving frames (N, 3, H, W), typical ones: generate.int8.onnx
            is written too, its scales chosen for what flows through the network as these are animated.
        overwrite: whether the folder may be replaced if it holds nothing but exported files.
    Returns:
        The files.
    Raises:
        InputError: the extra is not installed, the model has no motion to export, or the folder holds
            files that must not be replaced.

    Example:
        >>> export_model(load_model("heads-64"), "heads-64-onnx")  # doctest: +SKIP
        [PosixPath('heads-64-onnx/encode.onnx'), ...]
    """
    _package("onnx")
    if calibration is not None:
        _package("onnxruntime")
    if model.training:
        raise InputError("the model is in training mode; call model.eval() before it is exported")
    if model.generator.dense_motion_network is None:
        raise InputError("this model has no dense motion network: nothing in it moves, nothing to export")
    names = [f"{part}.onnx" for part in PARTS] + ["generate.int8.onnx"] * (calibration is not None)
    with atomic_folder(folder, overwrite, replaceable=r"(\w+\.)+onnx") as temporary:
        for part, graph in _graphs(model, calibration).items():
            _write(graph, temporary / f"{part}.onnx")
        if calibration is not None:
            animator, moved = _moved(ExportedModel(temporary), *calibration)
            examples = (_arrays(_inputs(animator.encoded, animator.kp_source, kp)) for kp in moved)
            quantize(temporary / "generate.onnx", temporary / "generate.int8.onnx", examples)
    return [Path(folder) / name for name in names]


class ExportedModel:
    """Exported files, run by onnxruntime or OpenVINO: takes the place of a model in `Animator` and `animate`.

    Args:
        folder: of `export_model`.
        backend: "onnxruntime" or "openvino".
        precision: "float32"; "bfloat16" with OpenVINO, on a processor that has it; "auto" for the faster of
            these two; "int8" where the folder has generate.int8.onnx. Keypoints are always detected in
            float32.
        device: both run on the CPU here; anything else is refused.
        threads: on how many processor cores; None leaves it to the backend.
    Raises:
        InputError: the backend is not installed, or does not know the precision or device; or a file is
            missing or damaged.

    Example:
        >>> model = ExportedModel("heads-64-onnx", backend="openvino")  # doctest: +SKIP
        >>> animate(model, "portrait.jpg", "clip.mp4", "moving.mp4")  # doctest: +SKIP
    """

    size_multiple = None  # the graphs are made for one size
    align_corners = True  # of all that give their flow
    device = torch.device("cpu")

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        backend: str = "onnxruntime",
        precision: str = "float32",
        device: str = "cpu",
        threads: int | None = None,
    ):
        check_backend(backend, precision, device)
        if precision == "auto":
            fast = "bfloat16" in BACKENDS[backend] and multiplies_bfloat16(self.device)
            precision = "bfloat16" if fast else "float32"
        self.precision = precision
        files = {part: Path(folder) / f"{part}.onnx" for part in PARTS}
        if precision == "int8":
            files["generate"] = Path(folder) / "generate.int8.onnx"
        for file in files.values():
            if not file.is_file():
                hint = " with calibration" if "int8" in file.name else ""
                raise InputError(f"{file}: no such file; export the model{hint} first (fomm export)")
        session = {"onnxruntime": _OnnxRuntime, "openvino": _OpenVino}[backend]
        graphs = {}
        for part, file in files.items():
            used = "float32" if part == "detect" else precision
            try:
                graphs[part] = session(file, used, threads)
            except Exception as error:  # each backend raises its own types for a file that it cannot use
                reason = str(error).strip().splitlines()[-1]
                raise InputError(f"{file}: {backend} cannot use it ({reason}); export it again") from error
        _check_parts(Path(folder), graphs)
        self._encode, self._detect, self._generate = (graphs[part] for part in PARTS)
        self._detected_input = next(iter(self._detect.inputs))
        self.size = self._encode.inputs["source"][-2:]

    def encode(self, source: Tensor) -> EncodedSource:
        """What depends on the source alone. (1, 3, H, W) in [0, 1]."""
        features, small, *skips = self._encode(source=source)
        return EncodedSource(source, features, small, tuple(skips))

    def detect(self, image: Tensor) -> Keypoints:
        """Keypoints of images (B, 3, H, W) in [0, 1]."""
        return Keypoints(*self._detect(**{self._detected_input: image}))

    def generate(
        self,
        source: EncodedSource,
        kp_source: Keypoints,
        kp_driving: Keypoints,
        *,
        with_visuals: bool = False,
    ) -> Generated:
        """The source with the keypoints of the driving frames. All of one source: the graph takes it once.

        Raises:
            InputError: `with_visuals` is set; the graph gives the image alone.
        """
        if with_visuals:
            raise InputError("an exported model gives the image alone; for mask and flow use a FastModel")
        tensors = self._generate(**_inputs(source, kp_source, kp_driving))
        return Generated(**dict(zip(_GENERATED.values(), tensors, strict=False)))


def check_backend(backend: str, precision: str = "float32", device: str = "cpu") -> None:
    """Check that `ExportedModel` can run on this backend here.

    Raises:
        InputError: it cannot; the message says what to choose or to install.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend {backend}: there are torch, {' and '.join(BACKENDS)}")
    if precision not in ("auto", *BACKENDS[backend]):
        raise InputError(f"{backend} does not run in {precision}, but in {', '.join(BACKENDS[backend])}")
    if device.split(":")[0] != "cpu":
        raise InputError(f"{backend} runs on the CPU here; for {device} choose backend torch")
    _package(backend)


def exported_copy(
    model: FirstOrderMotionModel,
    *,
    backend: str,
    precision: str = "float32",
    calibration: tuple[Tensor, Tensor] | None = None,
) -> ExportedModel:
    """A model exported to a temporary folder and loaded from it; see `export_model` and `ExportedModel`.

    Raises:
        InputError: as these two.

    Example:
        >>> model = exported_copy(load_model("heads-64"), backend="openvino")  # doctest: +SKIP
    """
    check_backend(backend, precision)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        export_model(model, folder, calibration=calibration if precision == "int8" else None)
        return ExportedModel(folder, backend=backend, precision=precision)


def calibration_images(
    portrait: str | os.PathLike, driving: str | os.PathLike, size: tuple[int, int], frames: int = 8
) -> tuple[Tensor, Tensor]:
    """A source and driving frames to calibrate with: a portrait, and every eighth frame of a video.

    Args:
        portrait, driving: an image file and a video; see `squares.cut_middle` for the part that is used.
        size: (height, width) of the model.
        frames: the largest number of driving frames.
    Returns:
        (1, 3, H, W) and (N, 3, H, W), in [0, 1].
    Raises:
        InputError: a file cannot be read.

    Example:
        >>> source, driving = calibration_images("portrait.jpg", "clip.mp4", (64, 64))  # doctest: +SKIP
    """
    chosen = [read_image(portrait), *itertools.islice(VideoReader(driving), 0, 8 * frames, 8)]
    tensors = [to_tensor(cut_middle(image, size), size) for image in chosen]
    return tensors[0][None], torch.stack(tensors[1:])


# --- the graphs ------------------------------------------------------------------------------------------


class _Graph(nn.Module):
    """A function with what `torch.onnx.export` needs: its network, example inputs by name, names of outputs,
    and names of the tensors that have any number of images.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        network: nn.Module,
        inputs: dict[str, Tensor],
        outputs: list[str],
        batched: set[str],
    ):
        super().__init__()
        self.function, self.network = function, network
        self.inputs, self.outputs, self.batched = inputs, outputs, batched

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return self.function(*tensors)


def _moved(model: AnimatableModel, source: Tensor, driving: Tensor) -> tuple[Animator, Iterator[Keypoints]]:
    """An animator of the source, and its keypoints at each of the driving frames."""
    animator = Animator(model, source)
    return animator, (animator.move(animator.detect(frame)) for frame in driving.split(1))


def _graphs(model: FirstOrderMotionModel, calibration: tuple[Tensor, Tensor] | None) -> dict[str, _Graph]:
    """The parts with example inputs of batch 2, so that no batch of 1 becomes a constant."""
    networks = (model.kp_detector, model.generator)
    detector, generator = (faster(network, exported=True).cpu() for network in networks)
    if calibration is not None:
        animator, moved = _moved(copy.deepcopy(model).cpu(), *calibration)
        balance(generator, (partial(generator, animator.encoded, animator.kp_source, kp) for kp in moved))

    def encode(source: Tensor) -> tuple[Tensor, ...]:
        encoded = generator.encode(source)
        return encoded.features, encoded.small, *encoded.skips

    def detect(image: Tensor) -> tuple[Tensor, ...]:
        kp = detector(image)
        return (kp.value,) if kp.jacobian is None else (kp.value, kp.jacobian)

    def generate(features: Tensor, small: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        skips, keypoints = others[:-number], others[-number:]
        half = number // 2
        kp_source, kp_driving = Keypoints(*keypoints[:half]), Keypoints(*keypoints[half:])
        batch = kp_driving.value.shape[0]  # a number of the graph, unlike len()
        source = EncodedSource(None, features, small, skips).expand(batch)
        made = generator(source, kp_source.expand(batch), kp_driving)
        return tuple(getattr(made, _GENERATED[name]) for name in names)

    masked = model.config.model_params.generator_params.estimate_occlusion_map
    names = list(_GENERATED)[: (3 if masked else 2) if model.align_corners else 1]
    image = torch.rand(2, model.config.model_params.common_params.num_channels, *model.size)
    with torch.no_grad():
        encoded = _encoded_names(encode(image[:1]))
        found = dict(zip(("value", "jacobian"), detect(image), strict=False))
    number = 2 * len(found)
    inputs = encoded | {f"{name}_source": tensor[:1] for name, tensor in found.items()} | found
    return {
        "encode": _Graph(encode, generator, {"source": image[:1]}, list(encoded), set()),
        "detect": _Graph(detect, detector, {"image": image}, list(found), {"image", *found}),
        "generate": _Graph(generate, generator, inputs, names, {*names, *found}),
    }


def _encoded_names(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Features, the small source and the skips of an encoded source, by the names of their ports."""
    features, small, *skips = tensors
    return {"features": features, "small": small} | {f"skip_{k}": skip for k, skip in enumerate(skips)}


def _write(graph: _Graph, path: Path) -> None:
    # The exporter that all versions of PyTorch have; the newer one needs another package.
    options = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with warnings.catch_warnings(), torch.no_grad():
        # It warns that shapes other than the batch become constants, as intended.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.eval(),
            tuple(graph.inputs.values()),
            str(path),
            input_names=list(graph.inputs),
            output_names=graph.outputs,
            dynamic_axes={name: {0: "batch"} for name in graph.batched},
            opset_version=OPSET,
            **options,
        )


# --- what runs them --------------------------------------------------------------------------------------


class _OnnxRuntime:
    """One graph in onnxruntime: tensors by name in, a list of tensors out.

    `inputs` and `outputs` are their shapes by name; a side of any length is a word.
    """

    def __init__(self, file: Path, precision: str, threads: int | None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only, which become an InputError
        options.intra_op_num_threads = threads or 0
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.inputs, self.outputs = (
            {port.name: tuple(port.shape) for port in ports}
            for ports in (self.session.get_inputs(), self.session.get_outputs())
        )

    def __call__(self, **inputs: Tensor) -> list[Tensor]:
        return [torch.from_numpy(array) for array in self.session.run(None, _arrays(inputs))]


class _OpenVino:
    """The same in OpenVINO.

    Compiled at the first call for a number of images, since with sides of any length OpenVINO does not fuse
    operations: a fifth of the time of `heads-128` in int8. It keeps the last COMPILED of these programs.
    """

    def __init__(self, file: Path, precision: str, threads: int | None):
        import openvino

        self.options = {
            "PERFORMANCE_HINT": "LATENCY",  # all cores for one batch
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        }
        if threads:
            self.options["INFERENCE_NUM_THREADS"] = threads
        self.core = openvino.Core()
        self.graph = self.core.read_model(str(file))
        self.inputs, self.outputs = (
            {name: _shape(port) for port in ports for name in port.names}  # a port may have several
            for ports in (self.graph.inputs, self.graph.outputs)
        )
        self.compiled = lru_cache(COMPILED)(self._compiled)

    def _compiled(self, **shapes: tuple[int, ...]):
        graph = self.graph.clone()
        graph.reshape({name: list(shape) for name, shape in shapes.items()})
        with same_signal_stack():
            return self.core.compile_model(graph, "CPU", self.options)

    def __call__(self, **inputs: Tensor) -> list[Tensor]:
        compiled = self.compiled(**{name: tuple(tensor.shape) for name, tensor in inputs.items()})
        return [torch.from_numpy(array) for array in compiled(_arrays(inputs)).values()]


def _shape(port) -> tuple[int | str, ...]:
    return tuple(side.get_length() if side.is_static else "any" for side in port.partial_shape)


def _check_parts(folder: Path, graphs: dict[str, _OnnxRuntime | _OpenVino]) -> None:
    """Check that three files are the parts of one model: outputs of two fit the inputs of the third."""
    encode, detect, generate = (graphs[part] for part in PARTS)
    given = encode.outputs | detect.outputs
    optional = {name for name in given.keys() | generate.inputs.keys() if re.match(r"jacobian$|skip_", name)}
    names = {"features", "small", "value"} | optional
    images = [next(iter(graph.inputs.values()), ())[1:] for graph in (encode, detect)]
    whole = "source" in encode.inputs and images[0] == images[1]
    for name in names:
        shapes = [ports.get(name, ("missing",)) for ports in (given, generate.inputs)]
        whole = whole and shapes[0][1:] == shapes[1][1:] != ()
    if not whole:
        raise InputError(f"{folder}: its files are not the parts of one exported model; export it again")


def _inputs(encoded: EncodedSource, kp_source: Keypoints, kp_driving: Keypoints) -> dict[str, Tensor]:
    """What generate.onnx takes; the source once, for any number of driving frames."""
    inputs = _encoded_names([part[:1] for part in (encoded.features, encoded.small, *encoded.skips)])
    for name in ("value", "jacobian"):
        if getattr(kp_driving, name) is not None:
            inputs[f"{name}_source"] = getattr(kp_source, name)[:1]
            inputs[name] = getattr(kp_driving, name)
    return inputs


def _arrays(inputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(tensor.float().numpy()) for name, tensor in inputs.items()}


def _package(name: str) -> None:
    try:
        with importing(name), without_telemetry():
            importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f'{name} is not installed; run: pip install {name}, or pip install "fomm-lib[export]"'
        ) from error
