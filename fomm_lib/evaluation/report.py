"""The report of an evaluation: numbers for every frame, and from them tables, intervals and images."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fomm_lib.animation.animator import Animator, size_for
from fomm_lib.data.clips import Clip
from fomm_lib.data.tables import read_cells, write_cells
from fomm_lib.errors import InputError
from fomm_lib.evaluation.comparison import (
    Following,
    Interval,
    Paired,
    bootstrap_interval,
    following,
    format_interval,
    markdown_table,
    markdown_text,
    paired_comparison,
)
from fomm_lib.evaluation.images import Metric
from fomm_lib.evaluation.movements import MEASURES
from fomm_lib.evaluation.protocol import Protocol
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import to_tensor, to_uint8
from fomm_lib.model import FirstOrderMotionModel, load_model

REPEATED = "repeated frame"
"""The method that shows the source again and again."""
REAL = "real video"
"""The driving frames themselves, as a method: for jitter, and to count frames without a face."""

METRICS = {
    "l1": Metric("L1", "lower", 4, "mean absolute difference, 0 to 1"),
    "psnr": Metric("PSNR", "higher", 2, "peak signal-to-noise ratio, dB"),
    "ssim": Metric("SSIM", "higher", 3, "structural similarity, -1 to 1"),
    "lpips": Metric("LPIPS", "lower", 3, "distance in features of AlexNet, 0 to about 1"),
    "movement": Metric("movement error", "lower", 2, "difference of landmarks' displacements, px of 256"),
    "akd": Metric("AKD", "lower", 2, "mean absolute difference of 68 landmarks, px of 256"),
    "akd_mouth": Metric("AKD, mouth", "lower", 2, "the same, of the 20 landmarks of the mouth"),
    "akd_eyes": Metric("AKD, eyes", "lower", 2, "the same, of the 12 landmarks of the lids"),
    "mkr": Metric("MKR", "lower", 3, "share of frames with a true face where none is found, 0 to 1"),
    "aed": Metric("AED", "lower", 3, "distance of embeddings of identity"),
    "aed_squared": Metric("AED squared", "lower", 3, "the squared distance, which the authors report as AED"),
    "sharpness": Metric("sharpness", "", 2, "variance of the Laplacian in the face, over the truth's; 1"),
    "uncovered": Metric("uncovered", "lower", 3, "L1 where the head uncovers background, 0 to 1"),
    "first_sharpness": Metric(
        "sharpness, first frame", "", 2, "the same of the first frame, over that of the portrait; 1"
    ),
    "jitter": Metric("jitter", "", 2, "second difference of landmarks in time, px of 256; as in real video"),
}
"""Metrics of frames: column of the CSV -> how it is shown."""
FRECHET = {
    "appearance": Metric("Fréchet AlexNet", "lower", 2, "of pooled features of AlexNet; not FID"),
    "identity": Metric("Fréchet identity", "lower", 3, "of embeddings of identity; not FID"),
}
"""Fréchet distances of all frames from the real ones."""
# fmt: off
OF_MODE = {
    "reconstruction": (
        "l1", "psnr", "ssim", "lpips", "akd", "akd_mouth", "akd_eyes", "mkr", "aed", "aed_squared",
        "sharpness", "uncovered", "jitter",
    ),
    "animation": ("movement", "mkr", "aed", "aed_squared", "first_sharpness", "jitter"),
}
# fmt: on
"""The metrics of each mode, in the order of the table."""


@dataclass(frozen=True)
class Weights:
    """Arguments of `load_model`, and a digest of the model that was loaded."""

    name: str
    config: str | None
    device: str | None
    digest: str

    def load(self) -> FirstOrderMotionModel:
        """The model, see `load_once`."""
        return load_once(self.name, self.config, self.device)


@dataclass
class Report:
    """The result of `evaluate`.

    Attributes:
        mode: "reconstruction" or "animation".
        size: (height, width) at which images were compared.
        methods: in the order of the table; the repeated frame and the real video are two of them.
        rows: one a method and frame: "method", "clip", "source_clip", "source", "frame", the metrics, and the
            movements of the face; NaN where there is no number.
        frechet: method -> {"appearance", "identity"} -> distance of all its frames from the real ones.
        squares: model -> side of a square -> one error a colour, see `inpainting.masked_square`.
        gaps: what was not measured, and why: one line each.
        protocol: which frames; None for a report that was read from a file.
        models: label -> what to load; empty for a report that was read.
        clips_read: name -> clip, of all that may be used; empty for a report that was read.
        fast: whether models generated at their own size only.
    """

    mode: str
    size: tuple[int, int]
    methods: list[str]
    rows: list[dict] = field(default_factory=list)
    frechet: dict[str, dict[str, float]] = field(default_factory=dict)
    squares: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    protocol: Protocol | None = None
    models: dict[str, Weights] = field(default_factory=dict)
    clips_read: dict[str, Clip] = field(default_factory=dict, repr=False)
    fast: bool = False

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics of this mode of which there is any number."""
        there = {name for row in self.rows for name in METRICS if not np.isnan(row.get(name, np.nan))}
        return {name: METRICS[name] for name in OF_MODE[self.mode] if name in there}

    @property
    def clips(self) -> list[str]:
        """The driving clips, in the order of the protocol."""
        return list(dict.fromkeys(row["clip"] for row in self.rows))

    def frames(self, method: str, metric: str) -> np.ndarray:
        """One number a frame, without those that are missing."""
        return np.array([row[metric] for row in self._rows(method, metric)], float)

    def videos(self, method: str, metric: str) -> np.ndarray:
        """One number a video, in the order of `clips`: the mean over its frames, or NaN."""
        by_clip: dict[str, list[float]] = {clip: [] for clip in self.clips}
        for row in self._rows(method, metric):
            by_clip[row["clip"]].append(row[metric])
        return np.array([np.mean(values) if values else np.nan for values in by_clip.values()])

    def interval(self, method: str, metric: str) -> Interval:
        """The mean over videos with its bootstrap interval."""
        return bootstrap_interval(self.videos(method, metric))

    def following(self, method: str, measure: str) -> Following:
        """How a movement of the face follows that of the driving frames, see `comparison.following`.

        Args:
            method: of `methods`.
            measure: of `movements.MEASURES`.
        Returns:
            NaN where it was not measured.
        Raises:
            InputError: an unknown method.
        """
        self._check(method)
        driven, found = self._curves(REAL, measure), self._curves(method, measure)
        columns = []
        for clip in (clip for clip in self.clips if clip in driven and clip in found):
            frames = sorted(driven[clip].keys() & found[clip].keys())
            columns.append([np.array([curves[clip][t] for t in frames]) for curves in (found, driven)])
        return following([column[0] for column in columns], [column[1] for column in columns])

    def _curves(self, method: str, measure: str) -> dict[str, dict[int, float]]:
        """Clip -> frame -> number, where there is one."""
        curves: dict[str, dict[int, float]] = {}
        for row in self.rows:
            if row["method"] == method and not np.isnan(row.get(measure, np.nan)):
                curves.setdefault(row["clip"], {})[row["frame"]] = row[measure]
        return curves

    def compare(self, first: str, second: str, metric: str) -> Paired:
        """Two methods on the same videos, see `comparison.paired_comparison`."""
        better = METRICS[metric].better or "lower"
        return paired_comparison(self.videos(first, metric), self.videos(second, metric), better)

    def extremes(self, method: str, metric: str) -> dict[str, dict]:
        """The rows of the best, the median and the worst frame.

        Raises:
            InputError: there is no number.
        """
        rows = self._rows(method, metric)
        if not rows:
            raise InputError(f"{method} has no {metric}; measured: {', '.join(self.metrics)}")
        rows.sort(key=lambda row: METRICS[metric].worse(row[metric]))
        return {"best": rows[0], "median": rows[len(rows) // 2], "worst": rows[-1]}

    def images(self, method: str, row: Mapping) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Source, driving frame and result of a row, generated again: uint8 (H, W, 3) each.

        Raises:
            InputError: an unknown method, or the report was read from a file and has no images.
        """
        self._check(method)
        if row["clip"] not in self.clips_read:
            raise InputError("a report that was read from a file has no images; evaluate anew")
        (task,) = (task for task in self.protocol.tasks if task.clip == row["clip"])
        frames = self.clips_read[row["source_clip"]].read([row["source"]])
        frames += self.clips_read[row["clip"]].read([row["frame"], task.driving[0]])
        source, driving, first = (cut_middle(frame, self.size) for frame in frames)
        if method in (REPEATED, REAL):
            return source, driving, source if method == REPEATED else driving
        model = self.models[method].load()
        how = {"relative": self.mode == "animation", "size": self.size, "fast": self.fast}
        return source, driving, to_uint8(redraw(model, source, [first, driving], **how)[1])

    def write(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """A CSV with one row a method and frame; an empty cell is a missing number.

        Raises:
            InputError: the file exists already, or cannot be written.
        """
        names = ["method", "clip", "source_clip", "source", "frame", *OF_MODE[self.mode], *MEASURES]
        records = ([_text(row.get(name, np.nan)) for name in names] for row in self.rows)
        write_cells(path, [names, *records], overwrite=overwrite)

    def markdown(self) -> str:
        """The table, means over videos with 95 % intervals; below it what was compared, and the gaps."""
        metrics = self.metrics
        frechet = {name: m for name, m in FRECHET.items() if any(name in d for d in self.frechet.values())}
        titles = ["", *(metric.heading for metric in (*metrics.values(), *frechet.values()))]
        rows = []
        for method in self.methods:
            row = [method, *(format_interval(self.interval(method, n), m.digits) for n, m in metrics.items())]
            distances = self.frechet.get(method, {})
            row += (f"{distances[n]:.{m.digits}f}" if n in distances else "–" for n, m in frechet.items())
            rows.append(row)
        if "l1" in metrics:  # the second column: beside the mean over videos, the mean over frames
            titles.insert(2, "L1, over frames ↓")
            for row in rows:
                values = self.frames(row[0], "l1")
                row.insert(2, f"{values.mean():.4f}" if len(values) else "–")
        count = len({(row["clip"], row["frame"]) for row in self.rows})
        note = (
            f"{self.mode.capitalize()}, {len(self.clips)} videos, {count} frames, compared at "
            f"{self.size[1]}x{self.size[0]}. Means over videos, in brackets their 95 % bootstrap intervals; "
            "Fréchet distances over all frames. ↓ lower is better, ↑ higher; – not measured."
        )
        gaps = "".join(f"\n- {markdown_text(gap)}" for gap in self.gaps)
        parts = [
            f"{markdown_table(titles, rows)}\n\n{note}\n",
            self._movements_table(),
            self._squares_table(),
            f"Gaps:\n{gaps}\n" if gaps else "",
        ]
        return "\n".join(filter(None, parts))

    def _movements_table(self) -> str:
        """Slope and correlation of the movements of the face; nothing where none was measured."""
        rows = []
        for method in (method for method in self.methods if method != REAL):
            found = [self.following(method, measure) for measure in MEASURES]
            if any(not np.isnan(one.slope.mean) for one in found):
                rows.append([f"{method}, slope", *(format_interval(one.slope, 2) for one in found)])
                cells = (format_interval(one.correlation, 2) for one in found)
                rows.append([f"{method}, correlation", *cells])
        if not rows:
            return ""
        note = (
            "Movements of the face against those of the driving frames, every video centred by itself. Slope "
            "1: as far; 0: not at all. Correlation 1: at the right time. 95 % intervals by drawing videos."
        )
        return f"{markdown_table(['', *MEASURES.values()], rows)}\n\n{note}\n"

    def _squares_table(self) -> str:
        """The masked-square test of every model that has one; nothing where none was measured."""
        if not self.squares:
            return ""
        sides = sorted({side for found in self.squares.values() for side in found})
        rows = [
            [label, *(format_interval(bootstrap_interval(found[side]), 2) for side in sides)]
            for label, found in self.squares.items()
        ]
        note = (
            "Masked square: the error in the middle of an image of one colour, by the side of a square in it "
            "that is hidden, px of 256. Means over colours with 95 % intervals; painting grey has 0.30."
        )
        return f"{markdown_table(['', *map(str, sides)], rows)}\n\n{note}\n"

    def _check(self, method: str) -> None:
        if method not in self.methods:
            raise InputError(f"{method!r} was not evaluated; there are {', '.join(self.methods)}")

    def _rows(self, method: str, metric: str) -> list[dict]:
        """The rows of a method that have a number of the metric."""
        self._check(method)
        rows = [row for row in self.rows if row["method"] == method]
        return [row for row in rows if not np.isnan(row.get(metric, np.nan))]


def read_report(path: str | os.PathLike) -> Report:
    """A report from its CSV (without Fréchet distances, which need the images' features).

    A metric that has no column, because it was added after the file was written, counts as not measured.

    Raises:
        InputError: no such file, or another kind of table.

    Example:
        >>> read_report(data_path("evaluation", "reconstruction.csv")).methods[:2]
        ['real video', 'repeated frame']
    """
    rows = [row for _, row in read_cells(path, "a report")]
    if not rows or not {"method", "clip", "frame"} <= rows[0].keys():
        raise InputError(f"{path}: is no report of an evaluation (it has no columns method, clip, frame)")
    mode = "animation" if "movement" in rows[0] else "reconstruction"
    try:
        for row in rows:
            row |= {name: int(row[name]) for name in ("source", "frame")}
            row |= {name: float(row.get(name) or "nan") for name in (*OF_MODE[mode], *MEASURES)}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is damaged ({error}); evaluate anew") from error
    return Report(mode, (0, 0), list(dict.fromkeys(row["method"] for row in rows)), rows)


def redraw(
    model: FirstOrderMotionModel,
    source: np.ndarray,
    driving: Sequence[np.ndarray],
    *,
    relative: bool = False,
    size: tuple[int, int] | None = None,
    fast: bool = False,
) -> Tensor:
    """A source with the movements of driving frames, as `animate` makes it.

    Args:
        model: of `load_model`.
        source: uint8 (H, W, 3), of the shape of the model's images.
        driving: T frames, uint8 (H, W, 3) each, of that shape.
        relative: move as the driving frames move away from the first of them, as in animation; else take over
            their keypoints as they are, as in reconstruction.
        size: (height, width) of the result; None is the model's, without anything that `animate` adds.
        fast: as for `animate`.
    Returns:
        (T, 3, *size) in [0, 1].

    Example:
        >>> redraw(model, frames[0], frames[1:]).shape      # doctest: +SKIP
        torch.Size([47, 3, 64, 64])
    """
    size = size or tuple(model.size)
    animator = Animator(
        model,
        source,
        relative=relative,
        size=size_for(model, size, fast),
        result=size,
        detail=max(size) > max(model.size),
    )
    frames = torch.stack([to_tensor(frame, model.size) for frame in driving]).to(model.device)
    return torch.cat([animator(batch).prediction for batch in frames.split(8)]).float().cpu()


@functools.lru_cache(maxsize=8)
def load_once(name: str, config: str | None, device: str | None) -> FirstOrderMotionModel:
    """`load_model`, but the last eight models of the process are kept."""
    return load_model(name, config=config, device=device)


def _text(value) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return str(value)
