"""Export: every graph against the model it was made of, in both backends, and every error line."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fomm_lib.animation import export, fast
from fomm_lib.animation.animate import animate
from fomm_lib.animation.animator import AnimatableModel, Animator
from fomm_lib.animation.eight_bits import sensitive
from fomm_lib.animation.export import BACKENDS, ExportedModel, export_model
from fomm_lib.animation.fast import FastModel
from fomm_lib.errors import InputError
from fomm_lib.releases import without_telemetry
from tests.support.odd_files import encode, moving_frames, portrait
from tests.support.small_model import EXTENSIONS, small_model

VARIANTS = {
    "as published": {},
    "no occlusion map": {"model_params.generator_params.estimate_occlusion_map": False},
    "zeroth order": {"model_params.common_params.estimate_jacobian": False},
    "align_corners false": {"model_params.align_corners": False},
    "beyond the paper": {"model_params.extension_params": EXTENSIONS},
    "skips alone": {"model_params.extension_params": {"skips": True}},
}
EVERY = [(backend, precision) for backend, precisions in BACKENDS.items() for precision in precisions]


def vivid_model(changes=None):
    model = small_model(changes)
    with torch.no_grad():
        generator = model.generator
        (generator.final if generator.decoder is None else generator.decoder.final).weight.mul_(30)
    return model


def images():
    source = torch.from_numpy(portrait(32)).permute(2, 0, 1)[None] / 255
    driving = torch.from_numpy(np.stack(moving_frames(6, (32, 32)))).permute(0, 3, 1, 2) / 255
    return source.float(), driving.float()


def decibels(found, expected):
    return -10 * torch.log10((found - expected).double().square().mean()).item()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("exported") / "model"
    files = export_model(vivid_model(), folder, calibration=images())
    names = ["encode.onnx", "detect.onnx", "generate.onnx", "generate.int8.onnx"]
    assert files == [folder / name for name in names]
    assert sorted(file.name for file in folder.iterdir()) == sorted(names)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    return folder


# --- the same images -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("backend", "precision"), EVERY)
def test_every_backend_and_precision(folder, backend, precision):
    """In batches of any size, relative and absolute."""
    pytest.importorskip(backend)
    source, driving = images()
    exported = ExportedModel(folder, backend=backend, precision=precision)
    assert exported.size == (32, 32) and exported.device.type == "cpu"
    assert isinstance(exported, AnimatableModel)
    for relative in (True, False):
        expected = Animator(vivid_model(), source, relative=relative)(driving).prediction
        animator = Animator(exported, source, relative=relative)
        found = torch.cat([animator(part).prediction for part in driving.split([1, 3, 2])])
        assert found.shape == expected.shape and found.dtype == torch.float32
        assert decibels(found, expected) > {"float32": 100, "bfloat16": 35, "int8": 30}[precision]
    if precision == "int8":
        assert not torch.allclose(found, expected, atol=1e-4)  # it is another graph


# OpenVINO sets a stack on which Python's handlers do not fit; a process that has one may die at any signal.
SIGNALS = """
import ctypes, gc, os, signal, sys
import torch
from torch.utils.data import DataLoader
from fomm_lib.animation.export import ExportedModel
from fomm_lib.releases import _SignalStack

def stack():
    now = _SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(now)) == 0
    return now.place, now.flags, now.size

came = []
signal.signal(signal.SIGUSR1, lambda *_: came.append(stack()))
before = stack()
model = ExportedModel(sys.argv[1], backend="openvino")
model.encode(torch.rand(1, 3, 32, 32))
assert stack() == before, (stack(), before)
for _ in range(100):
    os.kill(os.getpid(), signal.SIGUSR1)
assert len(came) == 100
assert [part.tolist() for part in DataLoader(list(range(4)), 2, num_workers=2)] == [[0, 1], [2, 3]]
del model
gc.collect()
assert stack() == before, (stack(), before)
print("whole")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a stack here")
@pytest.mark.parametrize("options", [[], ["-X", "faulthandler"]])  # without and with a stack of its own
def test_openvino_leaves_the_stack_of_signal_handlers(folder, options):
    with without_telemetry():
        pytest.importorskip("openvino")
    command = [sys.executable, *options, "-c", SIGNALS, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr


@pytest.mark.parametrize("name", list(VARIANTS)[1:])
def test_every_kind_of_model(name, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = vivid_model(VARIANTS[name])
    assert len(export_model(model, tmp_path / "model")) == 3
    source, driving = images()
    exported = ExportedModel(tmp_path / "model")
    found = Animator(exported, source)(driving).prediction
    assert decibels(found, Animator(model, source)(driving).prediction) > 100
    found, expected = (
        Animator(one, portrait(64), result=(64, 64), detail=True)(driving) for one in (exported, model)
    )
    if model.align_corners:  # it gives the flow, which carries the detail
        assert decibels(found.prediction, expected.prediction) > 90
    else:
        assert found.deformation is None and found.prediction.shape == expected.prediction.shape


def test_files_are_what_they_say(folder):
    """Names of inputs and outputs, and which of their axes are open: what other programs build on."""
    import onnx

    def shapes(values):
        return {
            value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in values
        }

    graphs = {part: onnx.load(folder / f"{part}.onnx").graph for part in export.PARTS}
    for graph in graphs.values():
        onnx.checker.check_graph(graph)
    assert shapes(graphs["encode"].input) == {"source": [1, 3, 32, 32]}
    assert shapes(graphs["encode"].output) == {"features": [1, 16, 8, 8], "small": [1, 3, 16, 16]}
    assert shapes(graphs["detect"].input) == {"image": ["batch", 3, 32, 32]}
    assert list(shapes(graphs["detect"].output)) == ["value", "jacobian"]
    assert shapes(graphs["generate"].input) == {
        "features": [1, 16, 8, 8],
        "small": [1, 3, 16, 16],
        "value_source": [1, 3, 2],
        "jacobian_source": [1, 3, 2, 2],
        "value": ["batch", 3, 2],
        "jacobian": ["batch", 3, 2, 2],
    }
    assert list(shapes(graphs["generate"].output)) == ["prediction", "deformation", "occlusion"]
    weights = sum(
        initializer.data_type == onnx.TensorProto.INT8 and len(initializer.dims) == 4
        for initializer in onnx.load(folder / "generate.int8.onnx").graph.initializer
    )
    convolutions = [node.name for node in graphs["generate"].node if node.op_type == "Conv"]
    exact = [name for name in convolutions if name in sensitive(onnx.load(folder / "generate.onnx"))]
    assert [name.split("/")[-2] for name in exact] == [
        "down_blocks.0.0",
        "up_blocks.1.0",
        "mask",
        "occlusion",
        "final",
    ]
    assert weights == len(convolutions) - len(exact) > 6  # all others compute with 8 bits


@pytest.mark.parametrize("backend", BACKENDS)
def test_skips_in_every_backend(tmp_path, backend):
    pytest.importorskip("onnx")
    pytest.importorskip(backend)
    model = vivid_model({"model_params.extension_params": EXTENSIONS})
    export_model(model, tmp_path / "model", calibration=images())
    source, driving = images()
    expected = Animator(model, source)(driving).prediction
    for precision, least in (("float32", 90), ("int8", 20)):
        exported = ExportedModel(tmp_path / "model", backend=backend, precision=precision)
        animator = Animator(exported, source)
        assert [tuple(skip.shape) for skip in animator.encoded.skips] == [(1, 8, 16, 16), (1, 3, 32, 32)]
        assert decibels(animator(driving).prediction, expected) > least
    (tmp_path / "model" / "encode.onnx").write_bytes(_encode_without_skips())
    with pytest.raises(InputError, match="its files are not the parts of one exported model"):
        ExportedModel(tmp_path / "model", backend=backend)


def _encode_without_skips() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        export_model(small_model(), Path(folder) / "model")
        return (Path(folder) / "model" / "encode.onnx").read_bytes()


def test_a_video(folder, tmp_path):
    """An exported model takes a model's place in `animate`."""
    driving = encode(tmp_path / "clip.mp4", moving_frames(5, (64, 48)))
    exported = ExportedModel(folder)
    found = animate(exported, portrait(48), driving, progress=False)
    expected = animate(FastModel(vivid_model()), portrait(48), driving, fast=True, progress=False)
    assert found.shape == (5, 256, 256, 3)  # enlarged, with the detail of the portrait
    assert np.abs(found.astype(int) - expected).max() <= 1
    with pytest.raises(InputError, match="size = 64"):
        animate(exported, portrait(48), driving, size=64, progress=False)


def test_openvino_keeps_few_programs(folder):
    """One for a number of images at a time, as long as there are no more than COMPILED."""
    pytest.importorskip("openvino")
    exported, (_, driving) = ExportedModel(folder, backend="openvino"), images()
    found = [exported.detect(driving[:count]).value for count in (1, 2, 1, 3, 4, 2)]
    for value in found:
        torch.testing.assert_close(value, found[4][: len(value)], rtol=0, atol=1e-5)
    cache = exported._detect.compiled.cache_info()
    assert (cache.currsize, cache.hits, cache.misses) == (export.COMPILED, 1, 5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_image_may_have_another_name(folder, tmp_path, backend):
    """As in folders of earlier releases: the input of detect.onnx is known by its shape."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip(backend)
    for part in export.PARTS:
        model = onnx.load(folder / f"{part}.onnx")
        if part == "detect":
            (port,) = model.graph.input
            for node in model.graph.node:
                node.input[:] = ["photo" if name == port.name else name for name in node.input]
            port.name = "photo"
        onnx.save(model, tmp_path / f"{part}.onnx")
    source, driving = images()
    found, expected = (
        Animator(ExportedModel(place, backend=backend), source)(driving).prediction
        for place in (tmp_path, folder)
    )
    assert torch.equal(found, expected)


def test_visuals_are_not_exported(folder):
    source, driving = images()
    animator = Animator(ExportedModel(folder), source)
    with pytest.raises(InputError, match="an exported model gives the image alone"):
        animator(driving, with_visuals=True)


@pytest.mark.parametrize(
    ("flags", "backend", "precision"),
    [
        ("fma avx512_bf16", "openvino", "bfloat16"),
        ("fma avx2", "openvino", "float32"),
        ("fma avx512_bf16", "onnxruntime", "float32"),  # which cannot
    ],
)
def test_the_precision_that_fits_the_processor(folder, tmp_path, monkeypatch, flags, backend, precision):
    pytest.importorskip(backend)
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(fast, "CPU_INFO", tmp_path / "cpuinfo")
    assert ExportedModel(folder, backend=backend, precision="auto").precision == precision
    assert ExportedModel(folder, backend=backend).precision == "float32"


# --- errors ----------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked(folder):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(InputError, match=r"model: exists already; choose another name"):
        export_model(vivid_model(), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr(export, "_write", lambda graph, path: path.write_text("half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_model(vivid_model(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "tensorrt"}, "backend tensorrt: there are torch, onnxruntime and openvino"),
        ({"precision": "bfloat16"}, "onnxruntime does not run in bfloat16, but in float32, int8"),
        ({"backend": "openvino", "precision": "fp16"}, "openvino does not run in fp16, but in float32, bfl"),
        ({"backend": "openvino", "device": "cuda"}, "openvino runs on the CPU here; for cuda choose backend"),
    ],
)
def test_what_a_backend_does_not_know(tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        ExportedModel(tmp_path, **settings)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_that_is_not_installed(tmp_path, monkeypatch, backend):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    hint = rf'{backend} is not installed; run: pip install {backend}, or pip install "fomm-lib\[export\]"'
    with pytest.raises(InputError, match=hint):
        ExportedModel(tmp_path, backend=backend)
    with pytest.raises(InputError, match="onnx is not installed; run: pip install onnx"):
        export_model(vivid_model(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_that_are_missing_or_damaged(folder, tmp_path, backend):
    pytest.importorskip(backend)
    with pytest.raises(InputError, match=r"encode.onnx: no such file; export the model first"):
        ExportedModel(tmp_path, backend=backend)
    for part in export.PARTS:
        (tmp_path / f"{part}.onnx").write_bytes((folder / f"{part}.onnx").read_bytes())
    with pytest.raises(InputError, match=r"generate.int8.onnx: no such file; export the model with calibra"):
        ExportedModel(tmp_path, backend=backend, precision="int8")
    (tmp_path / "detect.onnx").write_bytes((folder / "detect.onnx").read_bytes()[:2000])
    with pytest.raises(InputError, match=rf"detect.onnx: {backend} cannot use it \(.*\); export it again"):
        ExportedModel(tmp_path, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_that_do_not_belong_together(folder, tmp_path, backend):
    pytest.importorskip(backend)
    other = tmp_path / "other"
    export_model(small_model({"model_params.common_params.num_kp": 6}), other)
    for part, taken in [("generate", folder / "detect.onnx"), ("detect", other / "detect.onnx")]:
        mixed = tmp_path / part
        mixed.mkdir()
        for name in export.PARTS:
            file = taken if name == part else folder / f"{name}.onnx"
            (mixed / f"{name}.onnx").write_bytes(file.read_bytes())
        with pytest.raises(InputError, match=f"{part}: its files are not the parts of one exported model"):
            ExportedModel(mixed, backend=backend)
    assert ExportedModel(other, backend=backend).size == (32, 32)


def test_models_and_folders_that_cannot_be(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(InputError, match="in training mode"):
        export_model(small_model().train(), tmp_path / "model")
    still = small_model({"model_params.generator_params.dense_motion_params": None})
    with pytest.raises(InputError, match="nothing in it moves"):
        export_model(still, tmp_path / "model")
    with pytest.raises(InputError, match=r"the folder .* does not exist; make it first"):
        export_model(vivid_model(), tmp_path / "nowhere" / "model")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="is a file; give the name of a folder"):
        export_model(vivid_model(), tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
