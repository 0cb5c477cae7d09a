"""The command line: verbs, help, exit codes, and one line for whatever goes wrong."""

from __future__ import annotations

import errno
import hashlib
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.animation import animate as animate_module
from fomm_lib.cli import animating, data, evaluating, main, training
from fomm_lib.errors import InputError
from fomm_lib.media.video import VideoReader, read_image
from fomm_lib.version import __version__
from tests.support.command_line import one_line, run
from tests.support.odd_files import encode, make, moving_frames, portrait

VERBS = [command.name or command.callback.__name__ for command in main.app.registered_commands]


def animate(inputs, weights, *more, source="portrait.png", driving="driving.mp4"):
    files = ["--source", inputs / source, "--driving", inputs / driving]
    return run("animate", *files, "--weights", weights, *more)


# --- help ----------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_help_lists_the_verbs(capsys):
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)
    assert {"animate", "train", "synthesize", "convert", "info"} <= set(VERBS)


@pytest.mark.quick
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "version"])
def test_help_of_a_verb_has_an_example(verb, capsys):
    assert run(verb, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Example: fomm {verb} " in text


def test_examples_name_options_that_exist(capsys):
    for command in main.app.registered_commands:
        words = (command.epilog or "").split()
        run(words[2] if words else "version", "--help")
        known = capsys.readouterr().out
        assert all(word in known for word in words if word.startswith("--")), command.epilog


def test_help_waits_for_nothing_large():
    """By what is loaded, not by the clock."""
    script = """
import sys
from fomm_lib.cli import main
try:
    main.main(["animate", "--help"])
except SystemExit:
    pass
print(sorted(sys.modules.keys() & {"torch", "numpy", "av", "scipy", "PIL", "torchvision"}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "modules",
    [
        "fomm_lib.animation.animate, fomm_lib.animation.fast, fomm_lib.model",  # of `animate`
        "fomm_lib.animation.live, fomm_lib.animation.animate, fomm_lib.model",
    ],
)
def test_animating_waits_for_pytorch_and_nothing_else_large(modules):
    """By what is loaded, not by the clock: torchvision alone takes as long as PyTorch."""
    large = {"torchvision", "scipy", "torch._dynamo", "sympy", "joblib", "matplotlib", "onnx", "dlib"}
    script = f"import sys, {modules}; print(*{large} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_verb_that_loads_weights_imports_the_compiler_of_pytorch(tmp_path):
    """On the device "meta" an addition of two tensors imports it, 2 s: so for every config."""
    script = f"""
import os, sys, torch
before = set(sys.modules)
from fomm_lib.cli import main
from fomm_lib.config import load_config
from fomm_lib.files import data_path
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.model import FirstOrderMotionModel
configs = sorted(data_path("configs").glob("*.yaml"))
for config in configs:
    with torch.device("meta"):
        FirstOrderMotionModel(load_config(config))
def stop(*_):
    imported = {{"torchvision", "scipy", "torch._dynamo", "sympy"}} & (set(sys.modules) - before)
    print(len(configs), "configs", *imported, flush=True)
    os._exit(0)
VideoWriter.write = stop
files = [str(data_path(name)) for name in ("portrait.jpg", "driving.mp4")]
main.main(["animate", "--source", files[0], "--driving", files[1], "--output", {str(tmp_path / "out.mp4")!r}])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    number, *others = done.stdout.split()
    assert int(number) > 10 and others == ["configs"]


def test_version(capsys):
    assert run("version") == 0
    assert capsys.readouterr().out.strip() == __version__


# --- animate -------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_animate_writes_a_video_and_says_where(inputs, weights, tmp_path, capsys):
    assert animate(inputs, weights, "--output", "moving.mp4") == 0
    video = VideoReader(tmp_path / "moving.mp4")
    assert len(list(video)) == 5 and video.has_audio
    assert video.size == (256, 256)  # 32 pixels enlarged to be looked at
    text = capsys.readouterr().out
    assert "moving.mp4: 5 frames of 256x256 at 25 a second" in text
    assert text.splitlines()[-1].endswith((" made a second in float32", " made a second in bfloat16"))
    assert str(inputs / "portrait.png") in text and str(inputs / "driving.mp4") in text


def test_check_says_what_is_likely_to_go_wrong_and_animates(inputs, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fomm_lib.media.faces.has_detector", lambda: False)
    monkeypatch.setattr("fomm_lib.evaluation.trouble.has_detector", lambda: False)
    Image.new("RGB", (64, 64), (9, 8, 7)).save(inputs / "dark.png")
    assert animate(inputs, weights, "--check", "--output", "moving.mp4", source="dark.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(
        line.startswith("check: the portrait is dark") and ": use more light" in line for line in lines
    )
    assert any(line.startswith("check: faces are not looked for") for line in lines)
    assert (tmp_path / "moving.mp4").is_file()
    assert animate(inputs, weights, "--output", "plain.mp4") == 0
    assert "check:" not in capsys.readouterr().out


def test_animate_signs_and_info_reads_it(inputs, weights, tmp_path, capsys):
    pytest.importorskip("c2pa", reason="needs the extra: pip install 'fomm-lib[credentials]'")
    from tests.support.certificates import write_certificates

    chain, key, anchor = write_certificates(tmp_path)
    assert animate(inputs, weights, "--credentials", chain, key) == 0
    assert len(list(VideoReader("out.mp4"))) == 5 and VideoReader("out.mp4").has_audio
    capsys.readouterr()
    assert run("info", "out.mp4", "--anchors", anchor) == 0
    text = capsys.readouterr().out
    assert "comment: AI-generated: a still image animated by a neural network" in text
    assert "as it was signed, by a signer whom the given certificates vouch for" in text
    for name in ("portrait.png", "driving.mp4"):
        assert f"from: {name} (sha256 {hashlib.sha256((inputs / name).read_bytes()).hexdigest()})" in text
    for output, words in (("a.webm", "can be written into .mp4"), ("frames", "can be written into .mp4")):
        assert animate(inputs, weights, "--credentials", chain, key, "--output", output) == 2
        assert words in capsys.readouterr().err
    assert animate(inputs, weights, "--credentials", chain, chain, "--output", "b.mp4") == 2
    assert "holds no private key" in capsys.readouterr().err
    assert not any((tmp_path / name).exists() for name in ("a.webm", "frames", "b.mp4"))


def test_info_of_images_and_what_is_none(inputs, capsys):
    assert run("info", inputs / "portrait.png") == 0
    assert "portrait.png: an image of" in capsys.readouterr().out
    assert run("info", "heads-64", "--anchors", "a.pem") == 2
    assert "--anchors is for videos and images; heads-64 is none by its ending" in capsys.readouterr().err
    assert run("info", "none.mp4") == 2
    assert "none.mp4: " in capsys.readouterr().err


def test_animate_twice_keeps_the_first(inputs, weights, tmp_path):
    assert animate(inputs, weights) == animate(inputs, weights) == animate(inputs, weights) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out-2.mp4", "out-3.mp4"}


def test_animate_without_arguments(inputs, weights, tmp_path, monkeypatch):
    """It runs on what the data folder holds."""
    data = tmp_path / "data"
    (data / "weights").mkdir(parents=True)
    (data / "weights" / "heads-256.safetensors").write_bytes(weights.read_bytes())
    (data / "driving.mp4").write_bytes((inputs / "driving.mp4").read_bytes())
    Image.fromarray(portrait()).save(data / "portrait.jpg")
    monkeypatch.setenv("FOMM_DATA", str(data))
    assert run("animate") == 0
    assert len(VideoReader(tmp_path / "out.mp4").times) == 5


def test_animate_options(inputs, weights, tmp_path):
    options = ["--absolute", "--compare", "--crop", "0,0,40", "--driving-crop", "4,4,50", "--zoom", "2"]
    options += ["--size", "32", "--no-detail"]
    assert animate(inputs, weights, *options, "--batch-size", "2", "--output", "a.mp4") == 0
    assert VideoReader(tmp_path / "a.mp4").size == (3 * 64, 64)
    assert animate(inputs, weights, "--adapt-scale", "--output", "b.mp4", "--device", "cpu") == 0
    assert animate(inputs, weights, "--fast", "--detail", "--output", "c.mp4") == 0
    assert animate(inputs, weights, "--size", "64", "--super-resolve", "2", "--output", "d.mp4") == 0
    assert VideoReader(tmp_path / "d.mp4").size == (128, 128)
    assert animate(inputs, weights, "--precision", "bfloat16", "--output", "e.mp4") == 0
    assert VideoReader(tmp_path / "b.mp4").size == VideoReader(tmp_path / "c.mp4").size == (256, 256)


def test_animate_options_of_movement_and_looks(inputs, weights, tmp_path, capsys):
    movement = ["--best-frame", "auto", "--strength", "1.2", "--smooth", "1.5"]
    assert animate(inputs, weights, *movement, "--size", "64", "--watermark", "--output", "a.webm") == 0
    video = VideoReader(tmp_path / "a.webm")
    assert (video.size, video.codec, len(list(video))) == ((256, 256), "vp9", 5)
    assert "Movement counts from frame " in capsys.readouterr().out
    assert animate(inputs, weights, "--crop", "4,4,40", "--paste-back", "--output", "frames") == 0
    assert read_image(tmp_path / "frames" / "000004.png").shape == (64, 64, 3)


def test_augment_makes_every_pair(inputs, weights, tmp_path, capsys):
    (tmp_path / "faces").mkdir(), (tmp_path / "clips").mkdir()
    (tmp_path / "faces" / "a.png").write_bytes((inputs / "portrait.png").read_bytes())
    (tmp_path / "clips" / "b.mp4").write_bytes((inputs / "driving.mp4").read_bytes())
    folders = ["--sources", "faces", "--drivings", "clips", "--out", "grown"]
    assert run("augment", *folders, "--weights", weights, "--best-frame", "1") == 0
    assert capsys.readouterr().out.splitlines() == ["1 pair: 1 made", "the manifest: grown/manifest.csv"]
    assert len(list(VideoReader(tmp_path / "grown" / "a#b.mp4"))) == 5
    assert run("augment", *folders, "--weights", weights, "--strength", "2") == 2
    assert "was made with other settings" in capsys.readouterr().err


def test_overwrite_only_when_asked(inputs, weights, tmp_path, capsys):
    (tmp_path / "a.mp4").write_text("precious")
    assert animate(inputs, weights, "--output", "a.mp4") == 2
    assert (tmp_path / "a.mp4").read_text() == "precious"
    assert "a.mp4: exists already" in capsys.readouterr().err
    assert animate(inputs, weights, "--output", "a.mp4", "--overwrite") == 0
    assert len(VideoReader(tmp_path / "a.mp4").times) == 5


# --- what goes wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "name", "words"),
    [
        ("source", "audio.m4a", "is no image that can be read; give a JPEG or PNG"),
        ("source", "truncated.jpg", "is damaged"),
        ("source", "empty.mp4", "is empty (0 bytes)"),
        ("driving", "colour.jpg", "is a still image; give a video"),
        ("driving", "encrypted.mp4", "is encrypted (DRM)"),
        ("driving", "cut_between_frames.mp4", "is damaged after 12 good frames"),
        ("driving", "noise.mp4", "is not a video that can be read"),
    ],
)
def test_bad_files(role, name, words, inputs, weights, tmp_path, tmp_path_factory, capsys):
    path = make(name, tmp_path_factory.mktemp("odd"))
    assert animate(inputs, weights, **{role: path}) == 2
    line = one_line(capsys)
    assert line.startswith(f"fomm: {path}: ") and words in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--crop", "1,2"], "--crop 1,2: should be auto, or three whole numbers X,Y,SIZE"),
        (["--best-frame", "last"], "--best-frame last: should be auto, or the number of a frame"),
        (["--best-frame", "99"], "frame 99 was asked for, but it has frames 0 to 4"),
        (["--strength", "-1"], "strength = -1: should be a number from 0 to 5"),
        (["--absolute", "--strength", "2"], "strength is about relative movement"),
        (["--super-resolve", "3"], "super-resolution by 3: choose 2 or 4"),
        (["--super-resolve", "2", "--zoom", "2"], "leave out zoom"),
        (["--smooth", "99"], "smooth = 99: should be a number of frames"),
        (["--size", "33"], "size = 33: should be a multiple of 4"),
        (["--paste-back", "--compare"], "leave out compare and zoom"),
        (["--output", "none/frames"], "the folder none does not exist"),
        (["--crop", "0,0,999"], "crop 0,0,999 does not lie inside the portrait, which is 64x64 pixels"),
        (["--driving-crop", "a,b,c"], "--driving-crop a,b,c: should be auto, or three"),
        (["--batch-size", "0"], "batch_size = 0: must be at least 1"),
        (["--output", "a.xyz"], "a.xyz: videos are written as .mp4"),
        (["--output", "none/a.mp4"], "the folder none does not exist"),
        (["--device", "nonsense"], "device nonsense: cannot be used here; choose cpu"),
        (["--device", "gpu"], "device gpu: cannot be used here; choose cpu"),
        (["--device", "meta"], "device meta: cannot be used here; choose cpu"),
        (["--config", "none.yaml"], "none.yaml"),
        (["--config", "heads-64"], "the weights of kp_detector do not fit the config"),
    ],
)
def test_bad_options(options, words, inputs, weights, tmp_path, capsys):
    assert animate(inputs, weights, *options) == 2
    assert words in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_bad_weights(inputs, tmp_path, capsys):
    assert animate(inputs, "no-such-weights") == 2
    assert "no-such-weights" in one_line(capsys)
    np.savez(tmp_path / "weights.npz", a=np.zeros(3))
    assert animate(inputs, tmp_path / "weights.npz") == 2
    assert "weights.npz" in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.npz"]


def test_unknown_options_and_verbs(capsys):
    for arguments in (["animate", "--sauce", "x"], ["dance"], ["info"]):
        assert run(*arguments) == 2
        assert "Traceback" not in capsys.readouterr().err


# What pybind11 makes of Ctrl-C while a module starts.
INTERRUPTED_IMPORT = ImportError("initialization failed")
INTERRUPTED_IMPORT.__cause__ = KeyboardInterrupt()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("a.mp4: is\nodd"), 2, "fomm: a.mp4: is odd"),
        (MemoryError(), 2, "fomm: out of memory; try a smaller image"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), 2, "fomm: out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "fomm: out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "fomm: the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "a.mp4"), 2, "Permission denied: 'a.mp4'"),
        (KeyboardInterrupt(), 130, ""),
        (INTERRUPTED_IMPORT, 130, ""),
    ],
)
def test_errors_of_all_kinds(error, code, words, inputs, weights, monkeypatch, capsys):
    def fails(*arguments, **options):
        raise error

    monkeypatch.setattr(animate_module, "animate", fails)
    assert animate(inputs, weights) == code
    text = capsys.readouterr().err
    assert words in text and "Traceback" not in text


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["clean", "clips", "--report", "r.csv"], "fomm: stopped; the same command continues from here"),
        (["train", "--config", "heads-64", "--data", "d", "--out", "o"], "with --resume continues from here"),
        (["pretrain", "--config", "heads-64", "--data", "d", "--out", "o"], "with --resume continues"),
        (["info", "heads-64"], ""),
    ],
)
def test_ctrl_c_says_how_to_go_on(command, words, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    for place in (
        "data.report.clean",
        "training.loop.train",
        "training.pretraining.pretrain",
        "checkpoints.describe",
    ):
        monkeypatch.setattr(f"fomm_lib.{place}", interrupted)
    assert run(*command) == 130
    text = capsys.readouterr().err
    assert words in text and bool(words) == ("stopped" in text)


def test_a_fault_of_ours_is_not_dressed_up(inputs, weights, monkeypatch):
    def fails(*arguments, **options):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(animate_module, "animate", fails)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        animate(inputs, weights)


def test_debug_shows_the_traceback(inputs, weights):
    for place in (0, 3):
        arguments = ["animate", "--weights", str(weights), "--source", "none.png"]
        arguments.insert(place, "--debug")
        with pytest.raises(InputError, match=r"none\.png: no such file"):
            main.main(arguments)


def test_warnings_are_one_line(inputs, weights, monkeypatch, capsys):
    def warns(*arguments, **options):
        print(warnings.formatwarning("the audio\nends early", UserWarning, "x.py", 1), file=sys.stderr)
        raise InputError("enough")

    monkeypatch.setattr(animate_module, "animate", warns)
    assert animate(inputs, weights) == 2
    assert "fomm: the audio ends early\n" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals work otherwise there")
def test_ctrl_c_leaves_nothing(inputs, weights, tmp_path):
    encode(tmp_path / "long.mp4", moving_frames(2)[[0, 1] * 1500])
    folder = tmp_path / "results"
    folder.mkdir()
    files = ["--source", inputs / "portrait.png", "--driving", tmp_path / "long.mp4", "--weights", weights]
    command = [sys.executable, "-c", "from fomm_lib.cli.main import main; main()", "animate", *files]
    process = subprocess.Popen(list(map(str, command)), cwd=folder, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(folder.iterdir()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, "it should be at work still"
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in text
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise there")
def test_a_reader_that_goes_away(weights):
    script = "from fomm_lib.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "info", str(weights)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait(timeout=60)


# --- export and backends -------------------------------------------------------------------------------


def test_export_and_animate_by_what_was_exported(inputs, weights, tmp_path, capsys):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    images = ["--source", str(inputs / "portrait.png"), "--driving", str(inputs / "driving.mp4")]
    assert run("export", "--weights", str(weights), "--out", "onnx", "--int8", *images) == 0
    text = capsys.readouterr().out
    assert "generate.int8.onnx: " in text
    assert text.splitlines()[-1] == "to use it: fomm animate --backend onnxruntime --weights onnx"
    for number, options in enumerate([[], ["--precision", "int8"]]):
        backend = ["--backend", "onnxruntime", *options, "--output", f"{number}.mp4"]
        assert run("animate", *images, "--weights", "onnx", *backend) == 0
        assert len(VideoReader(tmp_path / f"{number}.mp4").times) == 5
    assert animate(inputs, weights, "--backend", "onnxruntime", "--output", "at-once.mp4") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.mp4", "1.mp4", "at-once.mp4", "onnx"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "tensorrt"], "backend tensorrt: there are torch, onnxruntime and openvino"),
        (["--precision", "int8"], "precision int8: there are auto, float32 and bfloat16; int8 needs backend"),
        (["--backend", "openvino", "--device", "cuda"], "openvino runs on the CPU here; for cuda choose"),
        (["--backend", "onnxruntime", "--precision", "bfloat16"], "onnxruntime does not run in bfloat16"),
        (["--backend", "onnxruntime", "--compile"], "--compile is for the backend torch; leave it out with"),
    ],
)
def test_backends_that_cannot(inputs, weights, tmp_path, capsys, options, message):
    assert animate(inputs, weights, *options) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# --- the other verbs -----------------------------------------------------------------------------------


def test_convert_and_info(weights, tmp_path, capsys):
    assert run("convert", weights, "copy.safetensors") == 0
    assert run("convert", weights, "whole.safetensors", "--float32") == 0
    capsys.readouterr()
    for name, numbers in (("copy", "float16"), ("whole", "float32")):
        assert run("info", f"{name}.safetensors") == 0
        text = capsys.readouterr().out
        assert "32x32 pixels, 3 keypoints, first order" in text and numbers in text
    assert run("convert", weights, "copy.safetensors") == 2
    assert "exists already" in one_line(capsys)
    assert run("convert", weights, "published.pth.tar", "--align-corners", "false") == 0
    assert "epoch: 0" in capsys.readouterr().out
    assert "align_corners: false" in (tmp_path / "published.yaml").read_text()
    assert run("convert", weights, "other.pth.tar", "--align-corners", "no") == 2
    assert "--align-corners no: should be true or false" in one_line(capsys)
    assert run("info", "none.safetensors") == 2
    assert "none.safetensors" in one_line(capsys)


def test_train_passes_its_options_on(monkeypatch, tmp_path, capsys):
    from fomm_lib.training import loop

    seen = {}

    def train(**options):
        seen.update(options)
        return tmp_path / "weights.safetensors"

    monkeypatch.setattr(loop, "train", train)
    options = ["--config", "heads-64", "--data", "clips", "--out", "runs", "--steps", 7, "--seed", 3]
    assert run("train", *options, "--batch-size", 2, "--sample-every", 100) == 0
    assert seen["batch_size"] == 2 and seen["sample_every"] == 100
    named = ("config", "data", "out", "steps", "seed")
    assert [str(seen[name]) for name in named] == ["heads-64", "clips", "runs", "7", "3"]
    assert "fomm animate --weights" in capsys.readouterr().out
    assert run("train", "--config", "heads-64") == 2


def test_train_errors_are_one_line(capsys):
    assert run("train", "--config", "heads-64", "--data", "none", "--out", "runs", "--steps", 1) == 2
    assert "none" in one_line(capsys)


def test_synthesize_passes_its_options_on(monkeypatch, capsys):
    folder = pytest.importorskip("fomm_lib.synthetic.folder", reason="needs the extra 'synthetic'")
    seen = {}
    monkeypatch.setattr(folder, "synthesize", lambda **options: seen.update(options) or [1, 2])
    assert run("synthesize", "--out", "heads", "--clips", 2, "--frames", 3, "--size", 32, "--seed", 9) == 0
    named = ("out", "clips", "frames", "size", "seed")
    assert [str(seen[name]) for name in named] == ["heads", "2", "3", "32", "9"]
    assert "2 clips of 3 frames" in capsys.readouterr().out and seen["category"] == "heads"
    assert run("synthesize", "--out", "cars", "--clips", 2, "--category", "vehicles") == 0
    assert seen["category"] == "vehicles"


def test_photographs_passes_its_options_on(monkeypatch, tmp_path, capsys):
    from fomm_lib.synthetic.photographs import folder
    from fomm_lib.synthetic.photographs.portraits import TABLE, Row

    seen = {}
    monkeypatch.setattr(folder, "photographs", lambda **options: seen.update(options) or [1, 2])
    TABLE.write(tmp_path / "portraits.csv", [Row("a.jpg", "train"), Row("b.jpg", reason="no face")])
    options = ["--portraits", "in", "--out", tmp_path, "--clips", 2, "--held-out", 1, "--truth", 5]
    assert run("photographs", *options) == 0
    named = ("portraits", "out", "clips", "frames", "size", "seed")
    assert [str(seen[name]) for name in named] == ["in", str(tmp_path), "2", "24", "256", "0"]
    assert seen["held_out"] == 1 and seen["truth"] == 5
    assert "2 clips of 24 frames, from 1 of 2 portraits" in capsys.readouterr().out


@pytest.mark.quick
def test_clean_writes_a_report(tmp_path, capsys):
    make("frozen.mp4", tmp_path / "clips")
    assert run("clean", "clips", "--report", "report.csv") == 0
    assert "frozen" in (tmp_path / "report.csv").read_text()
    assert "report.csv" in capsys.readouterr().out


def test_clean_passes_its_options_on(tmp_path, capsys):
    make("frozen.mp4", tmp_path / "clips")
    report = ["--report", "report.csv", "--probe", "pyav"]
    assert run("clean", "clips", *report, "--still-change", "-1") == 0
    assert "fit" in capsys.readouterr().out and "pyav" in (tmp_path / "report.csv").read_text()
    assert run("clean", "clips", "--report", "other.csv", "--seconds", "0") == 2
    assert "the limits of time and memory must be above 0" in one_line(capsys)
    assert run("clean", "clips", "--report", "other.csv", "--probe", "eyes") == 2
    assert "choose auto, ffprobe or pyav" in one_line(capsys)


def test_help_says_verdicts_and_columns(capsys):
    from fomm_lib.data import cleaning, voxceleb

    for verb, words in [("clean", cleaning.VERDICTS), ("voxceleb", voxceleb.COLUMNS)]:
        run(verb, "--help")
        text = capsys.readouterr().out
        assert [word for word in words if word not in text] == []


def test_defaults_are_those_of_the_library():
    """They are written twice, because `fomm --help` must not wait for the imports of the library."""
    from inspect import Parameter, signature

    from fomm_lib.animation import augment, live
    from fomm_lib.data import report, voxceleb
    from fomm_lib.evaluation import evaluate
    from fomm_lib.synthetic import folder
    from fomm_lib.synthetic.photographs import folder as photographs_folder
    from fomm_lib.training import loop, pretraining

    functions = {
        animating.animate: animate_module.animate,
        animating.augment: augment.augment,
        data.clean: report.clean,
        evaluating.evaluate: evaluate.evaluate,
        animating.live: live.LiveAnimator,
        training.pretrain: pretraining.pretrain,
        data.photographs: photographs_folder.photographs,
        data.synthesize: folder.synthesize,
        training.train: loop.train,
        data.voxceleb: voxceleb.fetch_voxceleb,
    }
    for verb, function in functions.items():
        here, there = signature(verb).parameters, signature(function).parameters
        shared = [name for name in here if name in there and there[name].default is not Parameter.empty]
        shared = [name for name in shared if name not in ("output", "steps", "jobs", "zoom")]
        assert len(shared) >= 2, verb
        assert {name: here[name].default for name in shared} == {
            name: there[name].default for name in shared
        }, verb
