"""What an evaluation found: numbers for every frame; from them tables, intervals, and pictures to look at."""

from __future__ import annotations

import csv
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fomm_lib.comparison import (
    Interval,
    Paired,
    bootstrap_interval,
    in_words,
    markdown_table,
    paired_comparison,
)
from fomm_lib.datasets import Clip, to_tensor
from fomm_lib.files import InputError, atomic_output
from fomm_lib.inference import Animator
from fomm_lib.metrics import Metric
from fomm_lib.model import FirstOrderMotionModel, load_model
from fomm_lib.protocols import Protocol

REPEATED = "repeated frame"
REAL = "real video"

METRICS = {
    "l1": Metric("L1", "lower", 4, "mean absolute difference, 0 to 1"),
    "psnr": Metric("PSNR", "higher", 2, "peak signal-to-noise ratio, dB"),
    "ssim": Metric("SSIM", "higher", 3, "structural similarity, -1 to 1"),
    "lpips": Metric("LPIPS", "lower", 3, "distance in features of AlexNet, 0 to about 1"),
    "movement": Metric("movement error", "lower", 2, "difference of landmarks' displacements, px of 256"),
    "akd": Metric("AKD", "lower", 2, "mean absolute difference of 68 landmarks, px of 256"),
    "mkr": Metric("MKR", "lower", 3, "share of true faces in whose place none is found, 0 to 1"),
    "aed": Metric("AED", "lower", 3, "distance of embeddings of identity"),
    "aed_squared": Metric("AED squared", "lower", 3, "the squared distance, which the authors report as AED"),
    "jitter": Metric("jitter", "", 2, "second difference of landmarks in time, px of 256; like the real"),
}
FRECHET = {
    "appearance": Metric("Fréchet AlexNet", "lower", 2, "of pooled features of AlexNet; not FID"),
    "identity": Metric("Fréchet identity", "lower", 3, "of embeddings of identity; not FID"),
}
OF_MODE = {
    "reconstruction": ("l1", "psnr", "ssim", "lpips", "akd", "mkr", "aed", "aed_squared", "jitter"),
    "animation": ("movement", "mkr", "aed", "aed_squared", "jitter"),
}


@dataclass(frozen=True)
class Weights:
    """What to load, and a digest of what was loaded."""

    name: str
    config: str | None
    device: str | None
    digest: str


@dataclass
class Report:
    """What `evaluate` found.

    Attributes:
        mode: "reconstruction" or "animation".
        size: (height, width) at which pictures were compared.
        methods: in the order of the table; the repeated frame and the real video are two of them.
        rows: one a method and frame: "method", "clip", "source_clip", "source", "frame", and the metrics; NaN
            where there is no number.
        frechet: method -> {"appearance", "identity"} -> distance of all its frames from the real ones.
        gaps: what was not measured, and why: one line each.
        protocol: which frames; None for a report that was read.
        models: label -> what to load; empty for a report that was read.
    """

    mode: str
    size: tuple[int, int]
    methods: list[str]
    rows: list[dict] = field(default_factory=list)
    frechet: dict[str, dict[str, float]] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    protocol: Protocol | None = None
    models: dict[str, Weights] = field(default_factory=dict)
    clips_read: dict[str, Clip] = field(default_factory=dict, repr=False)

    @property
    def metrics(self) -> dict[str, Metric]:
        """Those of this mode of which there is any number."""
        there = {name for row in self.rows for name in METRICS if not np.isnan(row.get(name, np.nan))}
        return {name: METRICS[name] for name in OF_MODE[self.mode] if name in there}

    @property
    def clips(self) -> list[str]:
        """The driving clips, in the order of the protocol."""
        return list(dict.fromkeys(row["clip"] for row in self.rows))

    def frames(self, method: str, metric: str) -> np.ndarray:
        """One number a frame, without those that are missing."""
        self._check(method)
        values = np.array([row.get(metric, np.nan) for row in self.rows if row["method"] == method], float)
        return values[~np.isnan(values)]

    def videos(self, method: str, metric: str) -> np.ndarray:
        """One number a video, in the order of `clips`: the mean over its frames, or NaN."""
        self._check(method)
        by_clip: dict[str, list[float]] = {clip: [] for clip in self.clips}
        for row in self.rows:
            if row["method"] == method and not np.isnan(row.get(metric, np.nan)):
                by_clip[row["clip"]].append(row[metric])
        return np.array([np.mean(values) if values else np.nan for values in by_clip.values()])

    def interval(self, method: str, metric: str) -> Interval:
        """The mean over videos with its bootstrap interval."""
        return bootstrap_interval(self.videos(method, metric))

    def compare(self, first: str, second: str, metric: str) -> Paired:
        """Two methods on the same videos, see `comparison.paired_comparison`."""
        better = METRICS[metric].better or "lower"
        return paired_comparison(self.videos(first, metric), self.videos(second, metric), better)

    def extremes(self, method: str, metric: str) -> dict[str, dict]:
        """The rows of the best, the median and the worst frame.

        Raises:
            InputError: there is no number.
        """
        rows = [r for r in self.rows if r["method"] == method and not np.isnan(r.get(metric, np.nan))]
        if not rows:
            raise InputError(f"{method} has no {metric}; measured: {', '.join(self.metrics)}")
        rows.sort(key=lambda row: METRICS[metric].worse(np.array(row[metric])))
        return {"best": rows[0], "median": rows[len(rows) // 2], "worst": rows[-1]}

    def pictures(self, method: str, row: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Source, driving frame and result of a row, redrawn: uint8 (H, W, 3) each.

        Raises:
            InputError: the report was read from a file, and does not know its pictures.
        """
        self._check(method)
        if row["clip"] not in self.clips_read:
            raise InputError("a report that was read from a file has no pictures; evaluate anew")
        (source,) = self.clips_read[row["source_clip"]].read([row["source"]])
        (task,) = (task for task in self.protocol.tasks if task.clip == row["clip"])
        source, driving, first = (
            square(frame)
            for frame in (source, *self.clips_read[row["clip"]].read([row["frame"], task.driving[0]]))
        )
        result = {REPEATED: source, REAL: driving}.get(method)
        if result is None:
            weights = self.models[method]
            model = load_once(weights.name, weights.config, weights.device)
            made = redraw(model, source, [first, driving], relative=self.mode == "animation")[1]
            result = made.mul(255).round().byte().permute(1, 2, 0).numpy()
        return source, driving, result

    def write(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """A CSV with one row a method and frame; an empty field is a number that is missing."""
        names = ["method", "clip", "source_clip", "source", "frame", *OF_MODE[self.mode]]
        with (
            atomic_output(path, overwrite) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as f,
        ):
            writer = csv.writer(f)
            writer.writerow(names)
            for row in self.rows:
                writer.writerow([_text(row.get(name, np.nan)) for name in names])

    def markdown(self) -> str:
        """The table, means over videos with 95 % intervals; below it what was compared, and the gaps."""
        metrics = self.metrics
        frechet = {name: m for name, m in FRECHET.items() if any(name in d for d in self.frechet.values())}
        titles = [
            "",
            *(_with_arrow(m) for m in metrics.values()),
            *(_with_arrow(m) for m in frechet.values()),
        ]
        per_frame = "l1" in metrics
        if per_frame:
            titles.insert(2, "L1, over frames ↓")
        rows = []
        for method in self.methods:
            row = [method, *(in_words(self.interval(method, n), m.digits) for n, m in metrics.items())]
            for name, m in frechet.items():
                value = self.frechet.get(method, {}).get(name)
                row.append("–" if value is None else f"{value:.{m.digits}f}")
            if per_frame:
                values = self.frames(method, "l1")
                row.insert(2, f"{values.mean():.4f}" if len(values) else "–")
            rows.append(row)
        count = len({(row["clip"], row["frame"]) for row in self.rows})
        words = (
            f"{self.mode.capitalize()}, {len(self.clips)} videos, {count} frames, compared at "
            f"{self.size[1]}x{self.size[0]}. Means over videos, in brackets their 95 % bootstrap intervals; "
            "Fréchet distances over all frames. ↓ lower is better, ↑ higher; – not measured."
        )
        gaps = "".join(f"\n- {gap}" for gap in self.gaps)
        return markdown_table(titles, rows) + f"\n\n{words}\n" + (f"\nGaps:\n{gaps}\n" if gaps else "")

    def _check(self, method: str) -> None:
        if method not in self.methods:
            raise InputError(f"{method!r} was not evaluated; there are {', '.join(self.methods)}")


def read_report(path: str | os.PathLike) -> Report:
    """A report from its CSV (without Fréchet distances, which need the pictures' features).

    Raises:
        InputError: no such file, or another kind of table.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a report ({error})") from error
    if not rows or not {"method", "clip", "frame"} <= rows[0].keys():
        raise InputError(f"{path}: is no report of an evaluation (it has no columns method, clip, frame)")
    mode = "animation" if "movement" in rows[0] else "reconstruction"
    try:
        for row in rows:
            row |= {name: int(row[name]) for name in ("source", "frame")}
            row |= {name: float(row[name] or "nan") for name in OF_MODE[mode]}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is damaged ({error}); evaluate anew") from error
    return Report(mode, (0, 0), list(dict.fromkeys(row["method"] for row in rows)), rows)


def redraw(
    model: FirstOrderMotionModel, source: np.ndarray, driving: Sequence[np.ndarray], *, relative: bool = False
) -> Tensor:
    """A source with the movements of driving frames: uint8 (H, W, 3) each -> (T, 3, *model.size) in [0, 1].

    Absolute takes over the driving keypoints, as in reconstruction; relative as in animation.
    """
    device = next(model.parameters()).device
    animator = Animator(model, to_tensor(source, model.size)[None].to(device), relative=relative)
    frames = torch.stack([to_tensor(frame, model.size) for frame in driving]).to(device)
    return torch.cat([animator(batch).prediction for batch in frames.split(8)]).float().cpu()


def square(frame: np.ndarray) -> np.ndarray:
    """The largest square in the middle of a frame (H, W, 3)."""
    height, width = frame.shape[:2]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    return frame[y : y + side, x : x + side]


@functools.lru_cache(maxsize=8)
def load_once(name: str, config: str | None, device: str | None) -> FirstOrderMotionModel:
    """`load_model`, which keeps the last few."""
    return load_model(name, config=config, device=device)


def _with_arrow(metric: Metric) -> str:
    return f"{metric.title} {dict(lower='↓', higher='↑').get(metric.better, '')}".strip()


def _text(value) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return str(value)
