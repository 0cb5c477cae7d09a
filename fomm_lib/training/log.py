"""The log of a training: a CSV of losses that notebooks plot, one of measures, and TensorBoard's files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fomm_lib.data.tables import append_cells, read_cells, write_cells
from fomm_lib.losses import LOSS_NAMES
from fomm_lib.training.state import writing

LOSSES = tuple(LOSS_NAMES)
TRAINING_COLUMNS = (
    *LOSSES,
    "pixel",
    "r1",
    "learning_rate",
    "gradient_generator",
    "gradient_kp_detector",
    "gradient_discriminator",
    "samples_per_second",
)


class LossLog:
    """A CSV of losses: step, epoch, seconds, then a column for each name; a cell without a value is empty.

    Values are means over the steps since the last row. `seconds` of a resumed training includes the time
    before it was stopped.

    Args:
        path: a new file, or, with `keep`, one that is continued after the row of that step. None writes
            nothing, for all processes but one.
        keep: continue after this step; later rows, written before a crash, are dropped.
        names: of the columns.

    Example:
        >>> log = LossLog("losses.csv")  # doctest: +SKIP
        >>> log.add({"perceptual": 70.1})  # doctest: +SKIP
        >>> log.write(step=1, epoch=0)  # doctest: +SKIP
        {'perceptual': 70.1}
    """

    def __init__(self, path: str | os.PathLike | None, keep: int = 0, names: tuple = TRAINING_COLUMNS):
        self.columns = ("step", "epoch", "seconds", *names)
        self.path = None if path is None else Path(path)
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.samples = 0
        self.before = 0.0
        self.started = self.last = time.monotonic()
        if self.path is not None:
            _write(self.path, self.columns, _rows(self.path, keep) if keep else [])

    @property
    def seconds(self) -> float:
        """Time since the training began, without the time between stopping and resuming."""
        return self.before + time.monotonic() - self.started

    def add(self, values: dict[str, float], samples: int = 0) -> None:
        """Add the losses of one step, and how many pairs it saw."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.samples += samples

    def write(self, step: int, epoch: int) -> dict[str, float]:
        """Write the means since the last row; returns them."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        now = time.monotonic()
        if self.samples:
            means["samples_per_second"] = self.samples / max(now - self.last, 1e-9)
        if self.path is not None:
            cells = {name: f"{mean:.7g}" for name, mean in means.items()}
            cells |= {"step": step, "epoch": epoch, "seconds": f"{self.seconds:.1f}"}
            with writing(self.path):
                append_cells(self.path, [[cells.get(name) for name in self.columns]])
        self.sums, self.counts, self.samples, self.last = {}, {}, 0, now
        return means

    def state(self) -> dict:
        """The sums that are not written yet, and the time, for a state on disk."""
        return {"sums": dict(self.sums), "counts": dict(self.counts), "seconds": self.seconds}

    def load_state(self, state: dict) -> None:
        """Continue from the result of `state`."""
        self.sums, self.counts, self.before = dict(state["sums"]), dict(state["counts"]), state["seconds"]


class Board:
    """TensorBoard's files: scalars by group, and grids of images.

    Args:
        folder: None writes nothing, for all processes but one.
        first_step: of a resumed training; what was written from this step on before a crash is hidden.
    """

    def __init__(self, folder: str | os.PathLike | None, first_step: int = 0):
        self.writer = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            with writing(folder):
                self.writer = SummaryWriter(str(folder), purge_step=first_step)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write a row of the log: losses, learning rate, gradient norms and speed, in groups."""
        for name, value in values.items():
            group = "loss" if name in (*LOSSES, "r1") else "run"
            if name.startswith("gradient_"):
                group = "gradient norm"
            self._write("add_scalar", f"{group}/{name.removeprefix('gradient_')}", value, step)

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Write measures of the test split."""
        for name, value in values.items():
            self._write("add_scalar", f"validation/{name}", value, step)

    def image(self, step: int, image: np.ndarray) -> None:
        """Write a grid of samples, uint8 (H, W, 3)."""
        self._write("add_image", "samples", image, step, dataformats="HWC")

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *error) -> None:
        if self.writer is not None:
            with writing(self.writer.log_dir):
                self.writer.close()

    def _write(self, method: str, *arguments, **options) -> None:
        if self.writer is not None:
            getattr(self.writer, method)(*arguments, **options)


def append_row(path: str | os.PathLike, row: dict[str, float], keep: int) -> None:
    """Append a row to a CSV, without its rows after step `keep`; new columns are added."""
    path = Path(path)
    cells = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in row.items()}
    rows = [*_rows(path, keep), cells]
    _write(path, dict.fromkeys(name for one in rows for name in one), rows)


def _rows(path: Path, keep: int) -> list[dict[str, str]]:
    """The rows up to step `keep`, without one that a crash cut short."""
    rows = [row for _, row in read_cells(path, "a table of losses")] if path.is_file() else []
    whole = [row for row in rows if None not in row.values() and (row.get("step") or "").isdigit()]
    return [row for row in whole if int(row["step"]) <= keep]


def _write(path: Path, columns: Iterable[str], rows: list[dict[str, str]]) -> None:
    with writing(path):
        records = ([row.get(name, "") for name in columns] for row in rows)
        write_cells(path, [columns, *records], overwrite=True)
