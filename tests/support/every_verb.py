"""Runs every verb of `fomm`, and the first cells of every notebook, in one process and in little time.

    python every_verb.py FOLDER

writes `ended.json` into the folder: what was run, and the exit code of each. It is started where no other
machine can be reached; see tests/project/test_network.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import yaml

from fomm_lib.cli import main
from fomm_lib.files import data_path
from tests.support.paths import ROOT

FIRST_CELLS = 2  # of code: the one for Colab, and the imports
LIST = "video_id,start,end,bbox,fps,width,height,partition,person_id\n"


def switch_loopback_on() -> None:
    """In a new network namespace even this machine cannot reach itself."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", 1)  # IFF_UP
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


def verbs(folder: Path) -> Iterator[tuple[str, ...]]:
    """The arguments of every verb, each with a result that the next may need."""
    clip = sorted(data_path("heads", "test").glob("*.mp4"))[0]
    few = folder / "clips"
    for split in ("train", "test"):
        (few / split).mkdir(parents=True)
        for path in sorted(data_path("heads", split).glob("*.mp4"))[:2]:
            (few / split / path.name).symlink_to(path)
    (folder / "portraits").mkdir()
    (folder / "portraits" / "a.jpg").symlink_to(data_path("portrait.jpg"))
    config = folder / "config.yaml"
    sections = yaml.safe_load(data_path("configs", "heads-64.yaml").read_text())
    sections["train_params"]["loss_weights"]["perceptual"] = [0, 0, 0, 0, 0]  # its network is another's test
    config.write_text(yaml.safe_dump(sections))
    (folder / "list.csv").write_text(LIST)
    onnx = str(folder / "onnx")
    animate = ("animate", "--driving", str(clip), "--output")

    yield ("version",)
    yield "info", "heads-64"
    yield "convert", "heads-64", str(folder / "converted.safetensors")
    yield *animate, str(folder / "torch.mp4"), "--weights", "heads-64"
    yield "export", "--weights", "heads-64", "--out", onnx
    for backend in ("onnxruntime", "openvino"):
        yield *animate, str(folder / f"{backend}.mp4"), "--weights", onnx, "--backend", backend
    yield (
        "augment",
        "--sources",
        str(folder / "portraits"),
        "--drivings",
        str(few / "test"),
        "--out",
        str(folder / "grown"),
        "--weights",
        "heads-64",
        "--limit",
        "1",
    )
    yield "clean", str(few), "--report", str(folder / "report.csv")
    yield "evaluate", "--data", str(few), "--weights", "heads-64", "--report", str(folder / "scores.csv")
    yield (
        "synthesize",
        "--out",
        str(folder / "heads" / "train"),
        "--clips",
        "1",
        "--frames",
        "2",
        "--size",
        "64",
        ("--truth"),
        "1",
    )
    yield (
        "photographs",
        "--portraits",
        str(folder / "portraits"),
        "--out",
        str(folder / "photo"),
        "--clips",
        "1",
        "--frames",
        "1",
        "--size",
        "64",
    )
    short = "--steps", "1", "--batch-size", "2", "--device", "cpu"
    yield "train", "--config", str(config), "--data", str(few), "--out", str(folder / "run"), *short
    if (folder / "heads" / "train").is_dir():
        (folder / "heads" / "test").symlink_to("train")
    yield (
        "pretrain",
        "--config",
        "heads-64-motion",
        "--data",
        str(folder / "heads"),
        "--out",
        str(folder / "motion"),
        *short,
    )
    yield "family train", "pix2pix", "--out", str(folder / "pix2pix"), *short
    yield "family apply", "srgan", str(data_path("portrait.jpg")), str(folder / "large.png"), "--tile", "64"
    yield "family sample", "progressive", str(folder / "sheet.png"), "--count", "1"
    yield "voxceleb", "--metadata", str(folder / "list.csv"), "--out", str(folder / "vox")
    yield "live", "--weights", "heads-64", "--port", "0", "--no-browser"


def run_verb(arguments: tuple[str, ...]) -> int:
    """The exit code of a verb; `live`, which does not end by itself, gets a Ctrl-C after three seconds."""
    if arguments[0] == "live":
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.alarm(3)
    try:
        main.main([*arguments[0].split(), *arguments[1:]])
    except SystemExit as ended:
        return ended.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run_first_cells(notebook: Path) -> int:
    """0 if the first cells of a notebook run."""
    cells = notebook.read_text(encoding="utf-8").split("\n# %%")
    code = [cell for cell in cells if not cell.lstrip().startswith("[markdown]")][1:]
    try:
        exec(compile("\n".join(cell for cell in code[:FIRST_CELLS]), str(notebook), "exec"), {})
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    switch_loopback_on()
    ended = {}
    for arguments in verbs(folder):
        print("fomm", *arguments, flush=True)
        ended[" ".join(arguments)] = run_verb(arguments)
        print(file=sys.stderr, flush=True)
    for notebook in sorted((ROOT / "notebooks").glob("[0-9]*.py")):
        ended[notebook.name] = run_first_cells(notebook)
    (folder / "ended.json").write_text(json.dumps(ended, indent=1))
