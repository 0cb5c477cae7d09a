"""Benchmarks and experiments: each starts, says how it is called, and the shared harness measures."""

from __future__ import annotations

import importlib
import operator
import re
import sys
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks import eight_bits, harness, inference, training
from fomm_lib.animation.export import calibration_images, export_model
from fomm_lib.checkpoints import write_weights
from fomm_lib.config import load_config
from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from tests.support.paths import ROOT
from tests.support.small_model import small_model

SCRIPTS = [
    f"{folder}.{path.stem}"
    for folder in ("benchmarks", "experiments")
    for path in sorted((ROOT / folder).glob("*.py"))
    if path.stem not in ("__init__", "harness", "known_pairs")  # the last two are used by others
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_starts_and_names_its_command(name, monkeypatch, capsys):
    module = importlib.import_module(name)
    assert f"python -m {name}" in module.__doc__
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 0
    assert module.__doc__.splitlines()[0] in capsys.readouterr().out


def test_every_module_that_a_text_names_exists():
    texts = [ROOT / "README.md", *(ROOT / "data").rglob("*.md"), *(ROOT / "notebooks").glob("*.py")]
    texts += (ROOT / "fomm_lib").rglob("*.py")
    for path in texts:
        named = re.findall(r"\b(benchmarks|experiments)[./]([a-z_]+)", path.read_text(encoding="utf-8"))
        assert {".".join(parts) for parts in named} <= set(SCRIPTS), path


def test_variants_take_turns_in_processes_of_their_own():
    variants = {"first": partial(partial, operator.add, 1, 2), "second": partial(partial, operator.mul, 3, 4)}
    runs = harness.take_turns(variants, rounds=3)
    assert list(runs) == ["first", "second"]
    for run, result in zip(runs.values(), (3, 12), strict=True):
        assert run.first.result == result and [timing.result for timing in run.timings] == [result] * 3
        assert run.ready > 0 and 0 < run.before <= run.peak
        assert run.median() > 0


def test_each_variant_against_the_first_alone():
    variants = {
        "first": partial(partial, operator.add, 1, 2),
        "second": partial(partial, operator.mul, 3, 4),
        "third": partial(partial, operator.sub, 3, 4),
    }
    found = list(harness.against_first(variants, rounds=2))
    assert [name for name, *_ in found] == list(variants)
    for (_, run, base), result in zip(found, (3, 12, -1), strict=True):
        assert run.first.result == result and [timing.result for timing in run.timings[:2]] == [result] * 2
        assert [timing.result for timing in base.timings[-2:]] == [3] * 2
    (_, first, _), (_, _, with_second), (_, _, with_third) = found
    assert first.timings[2:4] == with_second.timings and first.timings[4:] == with_third.timings


def test_inference_is_compared_on_frames_without_calibration():
    size = (16, 16)
    _, calibration = calibration_images(data_path("portrait.jpg"), data_path("driving.mp4"), size)
    portrait, driving = inference.images(size)
    assert driving.shape == (inference.FRAMES, 3, *size)
    equal = (driving[:, None] == calibration[None]).flatten(2).all(-1)
    assert not equal.any()
    clip = min(data_path("heads/test").glob("*.mp4"))
    source, frames = inference.images(size, clip)
    assert not torch.equal(source, portrait) and not torch.equal(frames, driving)


def test_inference_prints_each_row_when_it_has_finished(tmp_path, monkeypatch, capsys):
    """Here in this process: the rows, their PSNR, and that the device and the paths are those asked for."""
    model = small_model()
    networks = {name: getattr(model, name).state_dict() for name in ("generator", "kp_detector")}
    write_weights(tmp_path / "small.safetensors", networks, model.config, dtype=None)
    printed = []

    def in_turn(variants, rounds):
        for name, build in variants.items():
            printed.append(capsys.readouterr().out)
            step = build()
            run = harness.Run(0, 0, 0, harness.timed(step), [harness.timed(step)] * rounds)
            yield name, run, run

    monkeypatch.setattr(inference, "against_first", in_turn)
    words = ["x", "--weights", str(tmp_path / "small.safetensors"), "--rounds", "1", "--size", "64"]
    monkeypatch.setattr(sys, "argv", [*words, "--paths", "default", "torch bf", "--device", "cpu"])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    inference.main()
    printed.append(capsys.readouterr().out)
    assert "published order" in printed[1] and "fomm default" in printed[2] and "bfloat16" in printed[3]
    exact, rough = (float(text.split()[-4]) for text in printed[2:])
    assert exact > 100 > rough > 30
    assert inference.can_run("torch bfloat16", "cuda") and not inference.can_run("openvino int8", "cuda")


def test_a_part_in_float32(tmp_path):
    """All of them: the graph in 8 bits then computes what the plain one does; none: it stays as it is."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model, size = small_model(), (32, 32)
    images = calibration_images(data_path("portrait.jpg"), data_path("driving.mp4"), size, frames=2)
    export_model(model, tmp_path / "model", calibration=images)
    plain, rounded = (onnx.load(tmp_path / f"model/generate{kind}.onnx") for kind in ("", ".int8"))
    names = {node.name for node in plain.graph.node if node.op_type == "Conv"}
    generator = torch.Generator().manual_seed(0)
    inputs = {
        port.name: torch.rand(
            [side.dim_value or 2 for side in port.type.tensor_type.shape.dim], generator=generator
        )
        for port in plain.graph.input
    }

    def run(graph):
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]

    expected = run(plain)
    np.testing.assert_allclose(run(eight_bits.partly(rounded, plain, names)), expected, atol=1e-5)
    assert (run(eight_bits.partly(rounded, plain, [])) == run(rounded)).all()
    assert np.abs(run(rounded) - expected).max() > 1e-4


@pytest.mark.parametrize("kind", training.DISCRIMINATORS)
def test_the_discriminator_that_training_is_measured_with(kind):
    config = load_config(load_config("mgif-256").model_dump())
    training.change_discriminator(config, kind)
    assert config.model_params.discriminator_params.sn == (kind != "plain")
    assert bool(config.train_params.loss_weights.generator_gan) == (kind != "none")


DEVICES = ("benchmarks.inference", "benchmarks.training", "benchmarks.training_bound", "benchmarks.animate")


@pytest.mark.parametrize("name", DEVICES)
def test_benchmarks_ask_for_the_gpu_that_they_are_told(name, monkeypatch):
    """Where there is none PyTorch says so; where there is one, this is not the test."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    module = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [name, "--device", "cuda", "--config", "heads-64-adv"])
    monkeypatch.setattr(harness, "_Process", _in_this_process)
    with pytest.raises((AssertionError, InputError, RuntimeError), match=r"(?i)cuda|gpu"):
        module.main()


def _in_this_process(name, build):
    build()
    raise AssertionError("built without a GPU")


def test_the_peak_is_that_of_the_process_not_of_its_parent():
    parent = np.ones(2**24)  # 128 MiB
    run = harness.take_turns({"small": partial(partial, int)}, rounds=0)["small"]
    assert harness.peak_mib() > parent.nbytes / 2**20 and run.peak < harness.peak_mib() - 64


def test_a_process_that_ends_is_named(capfd):
    with pytest.raises(SystemExit, match="broken: its process ended"):
        harness.take_turns({"broken": partial(partial, operator.truediv, 1, 0)}, rounds=1)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_ratios_are_those_within_a_round():
    def run(seconds: list[float]) -> harness.Run:
        warm_up, *timings = (harness.Timing(s, 2 * s) for s in (9.0, *seconds))
        return harness.Run(0, 0, 0, warm_up, timings)

    slow, fast = run([2.0, 20.0, 4.0]), run([1.0, 10.0, 4.0])  # other work slowed the second round
    assert fast.ratio(slow) == 2 and slow.ratio(slow, "processor") == 1
    assert slow.median() == 4 and slow.median("processor") == 8


def test_the_fastest_of_several_runs():
    calls = []
    timing = harness.fastest(lambda: calls.append(1) or len(calls), 4)
    assert len(calls) == 4 and timing.result == 1 and timing.seconds >= 0


def test_tables_are_aligned_and_have_empty_cells(capsys):
    table = harness.Table({"variant": "", "frames": "d", "frames/s": ".2f"}, width=12)
    table.row("plain", 300, 2.5)
    table.row("other", 3, None)
    assert capsys.readouterr().out.splitlines() == [
        "variant         frames  frames/s",
        "plain              300      2.50",
        "other                3",
    ]


def test_made_up_videos_move_and_depend_on_their_seed():
    frames = harness.moving_texture(16, 5, seed=1)
    assert frames.shape == (5, 16, 16, 3) and frames.std() > 10
    assert (frames == harness.moving_texture(16, 5, seed=1)).all()
    assert (frames[0] != frames[1]).any() and (frames != harness.moving_texture(16, 5, seed=2)).any()
