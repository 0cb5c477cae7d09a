"""Kill long runs at random moments, continue them, and check that nothing is lost.

    python -m tools.kills                              # 20 kills of every verb; prints a table
    python -m tools.kills train clean --count 5 --seed 7

Each verb first runs in peace. Then it runs in another folder and is killed (SIGKILL, which no process can
catch) at a random moment; four times, and then to its end. What it has made must equal, number by number,
what the run in peace has made, without the times that a clock measured; no training may fall behind a state
that was on disk; and nothing hidden, no lock and no part of a file may be left. Faults are listed, and the
exit code is 1. The inputs are small, so that most of a run is writing.

Linux and macOS only: every run is forked from a process that has imported everything, so that kills fall into
the work and not into the imports.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

from fomm_lib.animation.augment import augment
from fomm_lib.checkpoints import write_weights
from fomm_lib.config import Config, load_config
from fomm_lib.data.report import clean
from fomm_lib.evaluation.evaluate import evaluate_to_files
from fomm_lib.family.config import family_config
from fomm_lib.family.training import train_family
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.video import VideoReader
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.synthetic.folder import synthesize
from fomm_lib.training.loop import train
from fomm_lib.training.pretraining import pretrain
from fomm_lib.training.state import StateFolder, read_state

KILLS_A_RUN = 4  # before it may come to its end
MEASURED = {"seconds", "samples_per_second", "modified"}  # columns of the clock
SIDE = 32


# --- what is run ---------------------------------------------------------------------------------------


def make_inputs(folder: Path) -> None:
    """Clips, portraits, a config, weights and rendered heads, all of 32 pixels."""
    config = small_config()
    for split, count in (("train", 4), ("test", 2)):
        (folder / "clips" / split).mkdir(parents=True)
        for number in range(count):
            _write_clip(folder / "clips" / split / f"{split}{number}#0#0#6.mp4", number)
    (folder / "portraits").mkdir()
    for number in range(2):
        Image.fromarray(_frame(number, 0)).save(folder / "portraits" / f"p{number}.png")
    torch.manual_seed(0)
    model = FirstOrderMotionModel(config)
    networks = {"generator": model.generator, "kp_detector": model.kp_detector}
    states = {name: network.state_dict() for name, network in networks.items()}
    write_weights(folder / "small.safetensors", states, config, dtype=None)


def small_config(**common: object) -> Config:
    """Narrow networks for images of 32 pixels, without a perceptual loss."""
    narrow = {"block_expansion": 4, "max_features": 8, "num_blocks": 2, "scale_factor": 1}
    generator = {"block_expansion": 4, "max_features": 8, "num_down_blocks": 1, "num_bottleneck_blocks": 1}
    generator |= {"estimate_occlusion_map": True, "dense_motion_params": narrow}
    return load_config(
        {
            "dataset_params": {"frame_shape": [SIDE, SIDE, 3]},
            "model_params": {
                "common_params": {"num_kp": 3, **common},
                "kp_detector_params": narrow,
                "generator_params": generator,
            },
            "train_params": {"batch_size": 2, "scales": [1], "loss_weights": {"perceptual": [0]}},
        }
    )


def _frame(number: int, k: int) -> np.ndarray:
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    frame = np.stack([5 * x + 20 * number, 5 * y, 3 * (x + y)], axis=-1).clip(0, 255).astype(np.uint8)
    frame[8 + k : 20 + k, 4 + 2 * k : 16 + 2 * k] = 250 - 30 * number
    return frame


def _write_clip(path: Path, number: int) -> None:
    with VideoWriter(path, 25, (SIDE, SIDE)) as writer:
        for k in range(6):
            writer.write(_frame(number, k))


def _train(inputs: Path, out: Path) -> None:
    options = {"checkpoint_every": 2, "log_every": 1, "sample_every": 3, "tensorboard": False, "resume": True}
    train(small_config(), inputs / "clips", out / "run", 8, device="cpu", progress=False, **options)


def _pretrain(inputs: Path, out: Path) -> None:
    options = {"check_every": 2, "log_every": 1, "resume": True, "batch_size": 2, "progress": False}
    pretrain(small_config(num_kp=10), inputs / "heads", out / "run", 8, device="cpu", **options)


def _train_family(inputs: Path, out: Path) -> None:
    options = {"checkpoint_every": 2, "log_every": 1, "sample_every": 3, "resume": True, "progress": False}
    config = family_config("progressive", size=8, batch_size=2, steps=8)
    config = config.model_copy(update={"fade": 4, "stable": 4})  # three levels within eight steps
    train_family(config, inputs / "portraits", out / "run", device="cpu", **options)


def _clean(inputs: Path, out: Path) -> None:
    if not (out / "videos").exists():
        copy = out / "copy"  # appears whole, as a folder of the user would be
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(inputs / "clips", copy)
        for number in range(3):
            (copy / f"bad{number}.mp4").write_bytes(b"no video" * (number + 1))
        copy.rename(out / "videos")
    clean(out / "videos", out / "report.csv", out / "unfit", probe="pyav", progress=False)


def _augment(inputs: Path, out: Path) -> None:
    drivings, weights = inputs / "clips" / "train", inputs / "small.safetensors"
    augment(inputs / "portraits", drivings, out / "grown", weights=weights, device="cpu", progress=False)


def _synthesize(inputs: Path, out: Path) -> None:
    options = {"truth": 1, "labels": True, "format": "png", "progress": False}
    synthesize(out / "heads", clips=3, frames=2, size=SIDE, **options)


def _evaluate(inputs: Path, out: Path) -> None:
    files = {"table": out / "table.md", "save_protocol": out / "protocol.json"}
    weights = inputs / "small.safetensors"
    if (out / "scores.csv").exists() and not (out / "scores.csv.parts").exists():
        return  # all is done; the verb would refuse to do it again
    evaluate_to_files(
        weights, inputs / "clips", out / "scores.csv", size=SIDE, device="cpu", progress=False, **files
    )


VERBS: dict[str, Callable[[Path, Path], None]] = {
    "train": _train,
    "pretrain": _pretrain,
    "family train": _train_family,
    "clean": _clean,
    "augment": _augment,
    "synthesize": _synthesize,
    "evaluate": _evaluate,
}


# --- running and killing -------------------------------------------------------------------------------


def fork(run: Callable[[], None], log: Path) -> int:
    """The id of a new process that runs a function; its exit code is 0, or 1 with the traceback in `log`."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        run()
        code = 0
    except BaseException:
        with log.open("a") as file:
            traceback.print_exc(file=file)
    finally:
        os._exit(code)


def wait(process: int, seconds: float | None = None) -> int | None:
    """The exit code of a process, negative for a signal; None if it still runs after so many seconds."""
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, 0 if end is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(0.002)


@dataclass
class Result:
    """What became of one verb.

    Attributes:
        verb: its name.
        kills: how many runs were killed.
        ends: how many came to their end after kills, and were compared.
        seconds: the run in peace.
        faults: one line each.
    """

    verb: str
    kills: int = 0
    ends: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def experiment(verb: str, inputs: Path, folder: Path, count: int, rng: np.random.Generator) -> Result:
    """Kill a verb `count` times at random moments, and compare what comes out; see the top."""
    result, peace, log = Result(verb), folder / "peace", folder / "log"
    run = VERBS[verb]
    peace.mkdir(parents=True)
    began = time.monotonic()
    if wait(fork(lambda: run(inputs, peace), log)):
        result.faults.append(f"{verb}: fails in peace: {_last_line(log)}")
        return result
    result.seconds = time.monotonic() - began
    wanted = contents(peace)
    while result.kills < count and not result.faults:
        out = folder / f"killed{result.ends}"
        out.mkdir()
        reached = -1
        for _ in range(min(KILLS_A_RUN, count - result.kills)):
            process = fork(lambda out=out: run(inputs, out), log)
            code = wait(process, rng.uniform(0, result.seconds))
            if code is None:
                os.kill(process, signal.SIGKILL)
                result.kills += wait(process) == -signal.SIGKILL
            elif code:
                result.faults.append(f"{verb}: fails after a kill: {_last_line(log)}")
            before, reached = reached, newest_step(out)
            if reached < before:
                result.faults.append(f"{verb}: a state of step {before} is lost")
        if wait(fork(lambda out=out: run(inputs, out), log)):
            result.faults.append(f"{verb}: does not continue: {_last_line(log)}")
            break
        result.ends += 1
        result.faults += [f"{verb}: {fault}" for fault in differences(contents(out), wanted)]
        shutil.rmtree(out)
    return result


def newest_step(out: Path) -> int:
    """The step of the newest state of a training; -1 where there is none."""
    steps = StateFolder(out / "run" / "states").paths()
    for path in list(steps.values())[-1:]:
        read_state(path)
    return max(steps, default=-1)


def _last_line(log: Path) -> str:
    return (log.read_text().strip().splitlines() or ["no word"])[-1]


# --- comparing -----------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder, and a digest of what it says, without what a clock measured."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = hashlib.sha256(_said(path, folder)).hexdigest()[:12]
        elif not any(path.iterdir()):
            found[name + "/"] = "empty"
    return found


def differences(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """One line for each file that is missing, left over, or has other content."""
    lines = [f"{name} is missing" for name in wanted if name not in found]
    lines += [f"{name} is left" for name in found if name not in wanted]
    return lines + [f"{name} differs" for name in wanted if found.get(name, wanted[name]) != wanted[name]]


def _said(path: Path, folder: Path) -> bytes:
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = [{k: v for k, v in row.items() if k not in MEASURED} for row in csv.DictReader(file)]
        rows.sort(key=lambda row: json.dumps(row, default=str))
        return json.dumps(rows).replace(str(folder), "").encode()
    if path.suffix == ".mp4" and path.stat().st_size > 100:
        return b"".join(frame.tobytes() for frame in VideoReader(path))
    if path.suffix == ".safetensors":
        with safe_open(path, framework="np") as file:
            notes = {key: text for key, text in file.metadata().items() if key not in MEASURED}
            return repr(sorted(notes.items())).encode() + b"".join(
                name.encode() + file.get_tensor(name).tobytes() for name in sorted(file.keys())
            )
    if path.suffix == ".pt":
        state = read_state(path)
        state["log"] = {key: value for key, value in state["log"].items() if key not in MEASURED}
        del state["random"]["python"]  # which Python seeds anew in every process that is forked
        return _flat(state)
    return path.read_bytes()


def _flat(value: object) -> bytes:
    """Nested dicts, lists and tensors as bytes."""
    if isinstance(value, dict):
        return b"".join(repr(key).encode() + _flat(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return b"".join(map(_flat, value))
    return value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode()


# --- all of it -----------------------------------------------------------------------------------------


def kills(verbs: Iterable[str], count: int, seed: int = 0) -> list[Result]:
    """`experiment` for several verbs."""
    torch.set_num_threads(1)
    results = []
    with tempfile.TemporaryDirectory(prefix="fomm-kills-") as name:
        inputs = Path(name, "inputs")
        make_inputs(inputs)
        if "pretrain" in verbs:  # rendered in another process: this one must stay without threads
            render = lambda split: synthesize(  # noqa: E731
                inputs / "heads" / split, clips=2, frames=3, size=SIDE, truth=3, format="png", progress=False
            )
            for split in ("train", "test"):
                wait(fork(lambda split=split: render(split), Path(name, "log")))
        for number, verb in enumerate(verbs):
            rng = np.random.default_rng([seed, number])
            results.append(experiment(verb, inputs, Path(name, verb), count, rng))
            print(_row(results[-1]), flush=True)
    return results


def _row(result: Result) -> str:
    numbers = f"{result.kills:>7}{result.ends:>7}{len(result.faults):>8}{result.seconds:>9.1f}"
    return "\n".join([f"{result.verb:14}{numbers}", *result.faults])


def main(arguments: Iterable[str] | None = None) -> int:
    """Print the table; 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("verbs", nargs="*", metavar="VERB", help=f"of {', '.join(VERBS)}; all by default")
    parser.add_argument("--count", type=int, default=20, help="how many kills of each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args(None if arguments is None else list(arguments))
    for verb in options.verbs:
        if verb not in VERBS:
            parser.error(f"{verb}: choose from {', '.join(VERBS)}")
    print(f"{'verb':14}{'kills':>7}{'ends':>7}{'faults':>8}{'seconds':>9}")
    results = kills(options.verbs or list(VERBS), options.count, options.seed)
    return int(any(result.faults for result in results))


if __name__ == "__main__":
    sys.exit(main())
