"""Names on the command line: `~`, addresses, letters that the output cannot spell, the data of the course."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fomm_lib.cli import main
from fomm_lib.cli.options import course_folder
from fomm_lib.errors import printable
from fomm_lib.media.video import VideoReader
from tests.support.command_line import one_line, run

VERBS = {command.name or command.callback.__name__ for command in main.app.registered_commands}
ADDRESS = "https://a.example/me.jpg"
FILES = {  # a place of every verb that takes a file or a folder
    "animate": [
        ["--source"],
        ["--driving"],
        ["--weights"],
        ["--config"],
        ["--output"],
        ["--credentials", "a.pem"],
    ],
    "live": [["--source"], ["--weights"]],
    "export": [["--out", "x", "--weights"], ["--out", "x", "--int8", "--source"]],
    "augment": [
        ["--drivings", ".", "--out", "x", "--sources"],
        ["--sources", ".", "--out", "x", "--drivings"],
    ],
    "train": [["--config", "heads-64", "--out", "x", "--data"], ["--data", ".", "--out", "x", "--config"]],
    "pretrain": [["--config", "heads-64", "--out", "x", "--data"]],
    "evaluate": [["--report", "x.csv", "--data"], ["--data", ".", "--report", "x.csv", "--protocol"]],
    "synthesize": [["--out", "x", "--clips", "1", "--backgrounds"]],
    "photographs": [["--out", "x", "--clips", "1", "--portraits"]],
    "clean": [["--report", "x.csv"]],
    "voxceleb": [["--out", "x", "--metadata"]],
    "convert": [[]],
    "info": [[], ["heads-64.mp4", "--anchors"]],
    "family train": [["pix2pix", "--out", "x", "--data"], ["pix2pix", "--out", "x", "--init"]],
    "family apply": [["srgan"], ["srgan", "a.png", "b.png", "--weights"]],
    "family sample": [["progressive"], ["progressive", "a.png", "--weights"]],
}


def test_every_verb_with_files_is_listed():
    assert {verb for verb in FILES if " " not in verb} == VERBS - {"version"}


@pytest.mark.parametrize(
    "command", [[*verb.split(), *before] for verb, places in FILES.items() for before in places], ids=" ".join
)
def test_an_address_is_refused_wherever_a_file_is_taken(command, tmp_path, capsys):
    joined = [*command[:-1], f"{command[-1]}={ADDRESS}"] if command[-1].startswith("--") else None
    for arguments in filter(None, ([*command, ADDRESS], joined)):
        assert run(*arguments) == 2
        assert one_line(capsys) == (
            f"fomm: {ADDRESS}: is an address; download it first, and give the path of the file"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", [[*verb.split(), *before] for verb, places in FILES.items() for before in places], ids=" ".join
)
def test_what_is_no_name_is_refused_wherever_a_file_is_taken(command, tmp_path, capsys):
    """An empty text, of a shell's variable without a value, must not stand for the current folder."""
    option = command[-1] if command[-1].startswith("--") else None
    for value, words in (("", "is empty; give a name"), ("n" * 300, "is longer than a name can be")):
        for arguments in ([*command, value], [*command[:-1], f"{option}={value}"] if option else None):
            if arguments is not None:
                assert run(*arguments) == 2
                line = one_line(capsys)
                assert words in line and len(line) < 150
                assert value or line.startswith(f"fomm: {option or 'an argument'}: ")
    assert list(tmp_path.iterdir()) == []


def test_the_home_folder_is_that_of_the_shell(inputs, weights, tmp_path, monkeypatch, capsys):
    """Also where the shell does not replace `~`, after an equals sign."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    for name, path in (("me.png", inputs / "portrait.png"), ("w.safetensors", weights)):
        (home / name).write_bytes(path.read_bytes())
    options = ["--source=~/me.png", f"--driving={inputs / 'driving.mp4'}", "--weights=~/w.safetensors"]
    assert run("animate", *options, "--output=~/out.mp4") == 0
    assert len(VideoReader(home / "out.mp4").times) == 5
    assert f"{home / 'me.png'} moves like" in capsys.readouterr().out
    assert run("info", "~/w.safetensors") == run("convert", "~/w.safetensors", "~/copy.safetensors") == 0
    assert run("clean", "~", "--report=~/report.csv") == 0
    assert {"out.mp4", "copy.safetensors", "report.csv"} <= {path.name for path in home.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert list(main._checked(["--best-frame=auto"])) == ["--best-frame=auto"]
    assert list(main._checked(["~no-such-user-here/a"])) == ["~no-such-user-here/a"]


NAMES = ["e\N{GRINNING FACE}", "\N{CYRILLIC SMALL LETTER YA}", "caf\udce9"]  # the last is no UTF-8


def narrow_output(monkeypatch):
    """Make standard output and error those of a terminal, or a log file, that knows few letters.

    Called in a test, not as a fixture: pytest sets both anew before the test.
    """
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="cp1252") for _ in range(2)]
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, name, stream)
    return streams


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow only some of these names")
@pytest.mark.parametrize("name", NAMES)
def test_names_that_the_output_cannot_spell(name, inputs, weights, tmp_path, monkeypatch):
    """Every verb ends with exit code 0, and has printed the name as well as it can be."""
    os.mkdir(name)
    for kind, path in ((".png", inputs / "portrait.png"), (".mp4", inputs / "driving.mp4")):
        (tmp_path / name / (name + kind)).write_bytes(path.read_bytes())
    image, clip, model = f"{name}/{name}.png", f"{name}/{name}.mp4", f"{name}.safetensors"
    commands = [
        ["animate", "--source", image, "--driving", clip, "--weights", weights, "--output", f"{name}.mp4"],
        ["clean", name, "--report", f"{name}.csv"],
        ["family", "apply", "srgan", image, f"{name}-large.png"],
    ]
    (tmp_path / model).write_bytes(weights.read_bytes())
    commands += [
        ["info", model],
        ["convert", model, f"{name}-copy.safetensors"],
        ["augment", "--sources", name, "--drivings", name, "--out", f"{name}-out", "--weights", model],
    ]
    narrow = narrow_output(monkeypatch)
    for command in commands:
        assert run(*command) == 0, command
        narrow[0].flush()
        said = narrow[0].buffer.getvalue()
        narrow[0].buffer.truncate(0)
        assert printable(name).encode("cp1252", "backslashreplace") in said, command
    assert run("animate", "--source", f"{name}.none") == 2
    assert run("train", "--config", name, "--data", "a", "--out", "b") == 2
    narrow[1].flush()
    assert b"Traceback" not in narrow[1].buffer.getvalue()


@pytest.mark.skipif(sys.platform == "win32", reason="the console of Windows is another")
def test_a_name_that_a_log_file_cannot_spell(inputs, weights, tmp_path):
    """In a process of its own, as a user's script would run it."""
    image = tmp_path / "e\N{GRINNING FACE}.png"
    image.write_bytes((inputs / "portrait.png").read_bytes())
    command = [sys.executable, "-m", "fomm_lib", "animate", "--source", image, "--weights", weights]
    command += ["--driving", inputs / "driving.mp4", "--output", "out.mp4"]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, env={**os.environ, "PYTHONIOENCODING": "cp1252"}
    )
    assert done.returncode == 0, done.stderr
    assert b"e\\U0001f600.png moves like" in done.stdout


def test_a_name_as_long_as_the_system_allows(inputs, weights, tmp_path):
    name = "n" * 251 + ".gif"
    files = ["--source", inputs / "portrait.png", "--driving", inputs / "driving.mp4", "--weights", weights]
    assert run("animate", *files, "--output", name) == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_data_of_the_course_are_found_from_anywhere(tmp_path, monkeypatch):
    """As the examples in the help name them, though whoever installed a wheel has no such folder."""
    from fomm_lib.evaluation import evaluate
    from fomm_lib.files import data_path
    from fomm_lib.training import loop, pretraining

    seen = []
    for module, name in ((loop, "train"), (pretraining, "pretrain"), (evaluate, "evaluate_to_files")):
        monkeypatch.setattr(module, name, lambda **options: seen.append(options["data"]) or 1 / 0)
    options = ["--config", "heads-64", "--out", "x", "--data", "data/heads"]
    for command in (
        ["train", *options],
        ["pretrain", *options],
        ["evaluate", "--report", "x.csv", "--data", "data/heads"],
    ):
        with pytest.raises(ZeroDivisionError):
            run(*command)
    assert seen == [data_path("heads")] * 3 and data_path("heads").is_dir()
    (tmp_path / "data" / "heads").mkdir(parents=True)
    assert course_folder(Path("data/heads")) == Path("data/heads")  # one's own comes first
    for path in ("data/none", "heads", "data"):
        assert course_folder(Path(path)) == Path(path)
