"""Runs every verb of `fomm`, and the first cells of every notebook, in one process and in little time.

    python every_verb.py FOLDER

writes `ended.json` into the folder: what was run, and the exit code of each. It is started where no other
machine can be reached; see tests/project/test_network.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import traceback
import urllib.request
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


def verbs(folder: Path) -> Iterator[str]:
    """Every verb with its arguments, each with a result that the next may need."""
    clip = sorted(data_path("heads", "test").glob("*.mp4"))[0]
    for split in ("train", "test"):
        (folder / "clips" / split).mkdir(parents=True)
        for path in sorted(data_path("heads", split).glob("*.mp4"))[:2]:
            (folder / "clips" / split / path.name).symlink_to(path)
    (folder / "portraits").mkdir()
    (folder / "portraits" / "a.jpg").symlink_to(data_path("portrait.jpg"))
    sections = yaml.safe_load(data_path("configs", "heads-64.yaml").read_text())
    sections["train_params"]["loss_weights"]["perceptual"] = [0, 0, 0, 0, 0]  # its network is another's test
    # The true motion, which pretraining compares with, is as large as the images.
    sections["model_params"]["generator_params"]["dense_motion_params"]["scale_factor"] = 1
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(sections))
    (folder / "list.csv").write_text(LIST)
    few = "--steps 1 --batch-size 2 --device cpu"

    yield "version"
    yield "info heads-64"
    yield f"convert heads-64 {folder}/converted.safetensors"
    yield f"animate --driving {clip} --output {folder}/torch.mp4 --weights heads-64 --check"
    yield f"export --weights heads-64 --out {folder}/onnx"
    for backend in ("onnxruntime", "openvino"):
        output = f"{folder}/{backend}.mp4 --weights {folder}/onnx --backend {backend}"
        yield f"animate --driving {clip} --output {output}"
    grown = f"--drivings {folder}/clips/test --out {folder}/grown --weights heads-64 --limit 1"
    yield f"augment --sources {folder}/portraits {grown}"
    yield f"clean {folder}/clips --report {folder}/report.csv"
    yield f"evaluate --data {folder}/clips --weights heads-64 --report {folder}/scores.csv"
    yield f"synthesize --out {folder}/heads/train --clips 1 --frames 2 --size 64 --truth 1"
    yield f"photographs --portraits {folder}/portraits --out {folder}/photo --clips 1 --frames 1 --size 64"
    yield f"train --config {config} --data {folder}/clips --out {folder}/run {few}"
    if (folder / "heads" / "train").is_dir():
        (folder / "heads" / "test").symlink_to("train")
    yield f"pretrain --config {config} --data {folder}/heads --out {folder}/motion {few}"
    yield f"family train progressive --data {folder}/portraits --out {folder}/grow --size 8 {few}"
    yield f"family sample progressive {folder}/sheet.png --count 1 --weights {folder}/grow"
    yield f"family apply srgan {data_path('portrait.jpg')} {folder}/large.png --tile 64"
    yield f"voxceleb --metadata {folder}/list.csv --out {folder}/vox"
    yield "live --weights heads-64 --port 0 --no-browser"


def run_verb(arguments: list[str]) -> int:
    """The exit code of a verb."""
    if arguments[0] == "live":
        return run_live(arguments)
    try:
        main.main(arguments)
    except SystemExit as ended:
        return ended.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run_live(arguments: list[str]) -> int:
    """0 if the page can be asked for; the verb does not end by itself, so it runs in another process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fomm_lib", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        for line in process.stdout:
            if address := re.search(r"http://\S+", line):
                return int(urllib.request.urlopen(address[0], timeout=60).status != 200)
        return 1
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


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
    for line in verbs(folder):
        print("fomm", line, flush=True)
        ended[line] = run_verb(shlex.split(line))
        print(file=sys.stderr, flush=True)
    for notebook in sorted((ROOT / "notebooks").glob("[0-9]*.py")):
        ended[notebook.name] = run_first_cells(notebook)
    (folder / "ended.json").write_text(json.dumps(ended, indent=1))
