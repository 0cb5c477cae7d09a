"""What is written down while a model trains: a CSV that notebooks plot, TensorBoard, and the progress bar."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import numpy as np

from fomm_lib.files import atomic_output
from fomm_lib.plots import LOSS_NAMES
from fomm_lib.training_state import writing

LOSSES = tuple(LOSS_NAMES)
NETWORKS = ("generator", "kp_detector", "discriminator")
# Beside the losses, in the same rows.
EXTRAS = ("r1", "learning_rate", *(f"gradient_{name}" for name in NETWORKS), "samples_per_second")


class LossLog:
    """A CSV of losses: step, epoch, seconds, then a column a name; empty where there is none.

    Values are means over the steps since the last row. In `seconds` the time of earlier sittings of a resumed
    training counts.

    Args:
        path: the file; it is begun anew, or, with `keep`, continued after the row of that step. None writes
            nothing, as all processes but one do.
        keep: go on after this step; later rows, written before a crash, are dropped.
        names: of the columns; the losses of the training and `EXTRAS`, unless given.

    Example:
        >>> with LossLog("losses.csv") as log:  # doctest: +SKIP
        ...     log.add({"perceptual": 70.1})
        ...     log.write(step=1, epoch=0)
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        keep: int = 0,
        names: tuple[str, ...] = (*LOSSES, *EXTRAS),
    ):
        self.names = names
        self.path, self.keep, self.file = None if path is None else Path(path), keep, None
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.samples = 0
        self.before = 0.0
        self.started = self.last = time.monotonic()

    def __enter__(self) -> LossLog:
        if self.path is None:
            return self
        rows = []
        if self.keep and self.path.is_file():
            with open(self.path, newline="") as file:
                rows = [row for row in csv.reader(file) if row and row[0].isdigit() and len(row) > 2]
        rows = [row for row in rows if int(row[0]) <= self.keep]
        with writing(self.path):
            _write_rows(self.path, [("step", "epoch", "seconds", *self.names), *rows])
            self.file = open(self.path, "a", newline="")
            self.writer = csv.writer(self.file)
        return self

    def __exit__(self, *error) -> None:
        if self.file is not None:
            self.file.close()

    @property
    def seconds(self) -> float:
        """Since the training began, without the time between sittings."""
        return self.before + time.monotonic() - self.started

    def add(self, values: dict[str, float], samples: int = 0) -> None:
        """Remember what one step gave, and how many pairs it saw."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.samples += samples

    def write(self, step: int, epoch: int) -> dict[str, float]:
        """Write the means since the last row, and give them."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        now = time.monotonic()
        if self.samples:
            means["samples_per_second"] = self.samples / max(now - self.last, 1e-9)
        if self.file is not None:
            self._write_row(step, epoch, means)
        self.sums, self.counts, self.samples, self.last = {}, {}, 0, now
        return means

    def _write_row(self, step: int, epoch: int, means: dict[str, float]) -> None:
        cells = [f"{means[name]:.7g}" if name in means else "" for name in self.names]
        with writing(self.path):
            self.writer.writerow([step, epoch, f"{self.seconds:.1f}", *cells])
            self.file.flush()

    def state(self) -> dict:
        """What has not been written yet, for a state on disk."""
        return {"sums": dict(self.sums), "counts": dict(self.counts), "seconds": self.seconds}

    def load_state(self, state: dict) -> None:
        """Go on from what `state` gave."""
        self.sums, self.counts, self.before = dict(state["sums"]), dict(state["counts"]), state["seconds"]


class Board:
    """TensorBoard's files, in a folder: scalars by group, and grids of pictures. Written by one process.

    Args:
        folder: where; None writes nothing.
        first_step: of a resumed training; what was written after it before a crash is hidden.
    """

    def __init__(self, folder: str | os.PathLike | None, first_step: int = 0):
        self.writer = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            with writing(folder):
                self.writer = SummaryWriter(str(folder), purge_step=first_step)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """A row of the log: losses, learning rate, gradient norms and speed, in groups."""
        for name, value in values.items():
            group = "loss" if name in LOSSES or name == "r1" else "gradient norm"
            if not name.startswith("gradient_"):
                group = group if group == "loss" else "run"
            self._write("add_scalar", f"{group}/{name.removeprefix('gradient_')}", value, step)

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Numbers of the test split."""
        for name, value in values.items():
            self._write("add_scalar", f"validation/{name}", value, step)

    def picture(self, step: int, picture: np.ndarray) -> None:
        """A grid of samples, uint8 (H, W, 3)."""
        self._write("add_image", "samples", picture, step, dataformats="HWC")

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
    """Add a row to a CSV, whose rows after step `keep` are dropped; missing columns are made."""
    rows = []
    path = Path(path)
    if path.is_file():
        with open(path, newline="") as file:
            rows = [old for old in csv.DictReader(file) if int(old["step"]) <= keep]
    rows.append(
        {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in row.items()}
    )
    columns = list(dict.fromkeys(name for one in rows for name in one))
    with writing(path):
        _write_rows(path, [columns, *([one.get(name, "") for name in columns] for one in rows)])


def _write_rows(path: Path, rows: list) -> None:
    with atomic_output(path, overwrite=True) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file).writerows(rows)
