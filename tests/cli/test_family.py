"""`fomm family`: help, the three verbs, and one line for what goes wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from fomm_lib.cli import family
from fomm_lib.family import training
from fomm_lib.family.config import family_config
from fomm_lib.media.video import read_image
from tests.family.tiny import TINY, write_tiny
from tests.support import command_line

VERBS = [command.name or command.callback.__name__ for command in family.family.registered_commands]


def run(*arguments):
    """Exit code of `fomm family ARGUMENTS`."""
    return command_line.run("family", *arguments)


def one_line(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("fomm: ")
    return lines[0]


def test_help(capsys):
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS) and set(VERBS) == {"train", "apply", "sample"}
    for command in family.family.registered_commands:
        words = command.epilog.split()
        assert run(words[3], "--help") == 0
        text = " ".join(capsys.readouterr().out.split())
        assert f"Example: fomm family {words[3]} " in text
        assert all(word in text for word in words if word.startswith("--"))


def test_help_waits_for_nothing_large():
    script = """
import sys
from fomm_lib.cli import main
try:
    main.main(["family", "train", "--help"])
except SystemExit:
    pass
print(sorted(sys.modules.keys() & {"torch", "numpy", "av", "scipy", "PIL", "torchvision"}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_train_apply_and_sample(tmp_path, capsys, monkeypatch):
    def small(system, preset, **changes):
        changes = {name: value for name, value in changes.items() if value is not None}
        return family_config(system, preset, **{**TINY[system], **changes})

    monkeypatch.setattr(training, "family_config", small)
    options = ["--steps", 2, "--batch-size", 4, "--log-every", 1, "--threads", 1]
    for system, verb in (("srgan", "apply"), ("progressive", "sample")):
        assert run("train", system, "--out", system, *options) == 0
        assert f"to use it, fomm family {verb} {system} --weights {system}" in capsys.readouterr().out
    assert run("train", "srgan", "--out", "srgan", *options) == 2
    assert "holds a training already" in capsys.readouterr().err
    assert run("train", "srgan", "--out", "srgan", "--resume", *options) == 0

    Image.new("RGB", (8, 6), (200, 10, 10)).save("in.png")
    assert run("apply", "srgan", "in.png", "out.png", "--weights", "./srgan") == 0
    assert "out.png: 1 image of 32x24, in.png by srgan" in capsys.readouterr().out
    assert read_image("out.png").shape == (24, 32, 3)
    assert run("sample", "progressive", "many", "--count", 3, "--weights", "./progressive") == 0
    assert "many: 3 images of 8x8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "stylegan", "--out", "x"], "stylegan: no system of the family; choose pix2pix"),
        (["train", "srgan", "--out", "x", "--data", "none"], "none: no such folder"),
        (["train", "srgan", "--out", "x", "--steps", "0"], "srgan: steps = 0: input should be greater"),
        (["train", "srgan", "--out", "x", "--preset", "big"], "preset 'big': choose small or published"),
        (["apply", "stylegan", "in.png", "out.png"], "stylegan: no system of the family"),
        (["apply", "srgan", "in.png", "out.png", "--weights", "none"], "none: no such file of weights"),
        (["apply", "pix2pix", "in.png", "out.png", "--weights", "{srgan}"], "of srgan, not of pix2pix"),
        (["apply", "srgan", "in.png", "out.png", "--weights", "{srgan}"], "in.png: no such file"),
        (["apply", "srgan", "in.png", "in.png", "--weights", "{srgan}"], "in.png: is the input"),
        (["sample", "srgan", "out.png", "--weights", "{srgan}"], "makes no images from noise"),
    ],
)
def test_one_line_for_bad_input(arguments, message, tmp_path, capsys):
    weights = write_tiny(tmp_path, "srgan")
    assert run(*(str(weights) if word == "{srgan}" else word for word in arguments)) == 2
    assert message in one_line(capsys)
    assert not (tmp_path / "x").exists() and not (tmp_path / "out.png").exists()


def test_after_a_stop(capsys, monkeypatch):
    monkeypatch.setattr(training, "open_data", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run("train", "srgan", "--out", "x") == 130
    assert "the same command with --resume continues from here" in capsys.readouterr().err
