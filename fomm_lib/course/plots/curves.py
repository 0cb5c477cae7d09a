"""Curves over one axis, and the losses of a training."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from fomm_lib.course.plots.showing import INCHES, STYLE
from fomm_lib.data.tables import read_cells
from fomm_lib.errors import InputError
from fomm_lib.losses import LOSS_NAMES
from fomm_lib.media.overlays import COLOURS


def plot_curves(
    x: Sequence[float] | Tensor,
    curves: Mapping[str, Sequence[float] | Tensor],
    xlabel: str,
    ylabel: str,
    size: tuple[float, float] = (6.0, 3.0),
    **axis_options,
) -> Figure:
    """Curves over one x axis; each has its own colour, line style and name.

    Args:
        x: (N,), numbers or a tensor.
        curves: {name: values (N,)}, at most seven; tensors may require gradients.
        xlabel, ylabel: what the axes show, with units or ranges.
        size: in inches.
        axis_options: anything `Axes.set` takes, e.g. `ylim=(0, 1)`.

    Returns:
        A figure; add to it on `figure.axes[0]`.

    Raises:
        InputError: there are no curves, or more than can be told apart, or a curve's length is not that of x.

    Example:
        >>> figure = plot_curves(range(3), {"rises": [0, 1, 2]}, "step", "loss (no unit)", ylim=(0, 2))
        >>> figure.axes[0].get_ylim() == (0, 2)
        True
    """
    if not 1 <= len(curves) <= len(COLOURS):
        raise InputError(
            f"there are {len(curves)} curves; give 1 to {len(COLOURS)}, so that they can be told apart"
        )
    x = np.asarray(torch.as_tensor(x).detach().cpu())
    with matplotlib.rc_context(STYLE):
        figure = Figure(size)
        axis = figure.subplots()
        for name, values in curves.items():
            values = np.asarray(torch.as_tensor(values).detach().cpu())
            if values.shape != x.shape:
                raise InputError(f"{name} has shape {values.shape}, x {x.shape}; they must be of one length")
            axis.plot(x, values, label=name)
        axis.set(xlabel=xlabel, ylabel=ylabel, **axis_options)
        axis.legend()
    return figure


def plot_losses(
    losses: str | os.PathLike | Mapping[str, Sequence[float]], window: int | None = None
) -> Figure:
    """The losses of a training over its steps, one panel each: values (pale), moving mean (dark).

    Args:
        losses: a CSV with a header, as training writes it, or a dict {name: values}. Names are those of
            `LOSS_NAMES`, and `step` (if missing, rows are counted). Other columns are ignored; the panel of a
            missing loss stays empty.
        window: number of rows in the moving mean; by default a fiftieth of all rows.

    Returns:
        A figure of 6 x 3.5 inches, with a row for every three losses of `LOSS_NAMES`.

    Raises:
        InputError: the file is not a table of numbers, it has no known loss, or columns differ in length.

    Example:
        >>> figure = plot_losses({"perceptual": [90.0, 80.0, 75.0], "gen_gan": [1.0, 0.9, 0.8]})
        >>> [axis.get_title() for axis in figure.axes][:2]
        ['perceptual', 'generator, adversarial']
    """
    table = _read_table(losses) if isinstance(losses, (str, os.PathLike)) else losses
    columns = {
        name: np.asarray(values, dtype=float)
        for name, values in table.items()
        if name in {*LOSS_NAMES, "step"}
    }
    if not columns.keys() & LOSS_NAMES.keys():
        raise InputError(f"no loss among the columns {sorted(table)}; known are {', '.join(LOSS_NAMES)}")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise InputError(f"columns must be of one length, and not empty; they have {lengths}")
    rows = next(iter(lengths.values()))
    step = columns.get("step", np.arange(rows))
    window = max(rows // 50, 1) if window is None else window
    with matplotlib.rc_context(STYLE):
        figure = Figure(INCHES)
        axes = figure.subplots(math.ceil(len(LOSS_NAMES) / 3), 3, sharex=True, squeeze=False)
        colours = itertools.cycle(COLOURS[1:])
        for axis, colour, (name, title) in zip(axes.flat, colours, LOSS_NAMES.items(), strict=False):
            axis.set_title(title)
            if name not in columns:
                axis.text(0.5, 0.5, "not measured", ha="center", transform=axis.transAxes, fontsize=8)
                axis.set_yticks([])
                continue
            axis.plot(step, columns[name], color=colour, linestyle="-", alpha=0.3, linewidth=0.8)
            axis.plot(step, _moving_mean(columns[name], window), color=colour, linestyle="-")
            axis.set_ylim(bottom=0)
        panels = axes.flat[: len(LOSS_NAMES)]
        for axis in panels[-3:]:  # the lowest of each column
            axis.set_xlabel("step")
            axis.xaxis.set_tick_params(labelbottom=True)
        for axis in axes.flat[len(LOSS_NAMES) :]:
            axis.remove()
        for axis in axes[:, 0]:
            axis.set_ylabel("loss (weighted)" if len(axes) <= 2 else "loss")  # no room in lower panels
    return figure


def _moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of the last `window` values, of fewer at the start; NaN is left out of means and stays NaN."""
    known = np.isfinite(values)
    total = np.cumsum(np.concatenate([[0.0], np.where(known, values, 0)]))
    count = np.cumsum(np.concatenate([[0], known]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    with np.errstate(invalid="ignore"):
        return np.where(known, (total[end] - total[start]) / (count[end] - count[start]), np.nan)


def _read_table(path: str | os.PathLike) -> dict[str, list[float]]:
    table: dict[str, list[float]] = {}
    for line, row in read_cells(path, "a table of losses"):
        for name in row.keys() & {*LOSS_NAMES, "step"}:
            try:
                table.setdefault(name, []).append(float(row[name] or "nan"))
            except (TypeError, ValueError) as error:
                raise InputError(f"{path}, line {line}: {name} is {row[name]!r}, not a number") from error
    if not table:
        raise InputError(f"{path}: no rows with a loss in it; known columns are {', '.join(LOSS_NAMES)}")
    return table
