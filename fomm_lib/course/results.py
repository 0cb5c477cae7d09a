"""Committed results of the family's experiments (`experiments/family.py`), for notebooks 10 to 12."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from fomm_lib.course.plots.tables import show_table
from fomm_lib.data.tables import read_cells
from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import read_image

IMAGES_IN_A_ROW = 6


def image_path(table: Path, variant: str) -> Path:
    """Where the images of a variant are, beside the table.

    Example:
        >>> image_path(Path("results/pix2pix.csv"), "no GAN").as_posix()
        'results/pix2pix/no-GAN.jpg'
    """
    return table.with_suffix("") / f"{variant.replace(' ', '-')}.jpg"


class Results:
    """The rows and images of one experiment.

    Args:
        name: of the experiment, e.g. "pix2pix".

    Raises:
        InputError: there is no such table.

    Example:
        >>> pix2pix = Results("pix2pix")
        >>> pix2pix.images("L1").shape
        torch.Size([1, 6, 3, 64, 64])
    """

    def __init__(self, name: str):
        self.path = data_path("family", "results", f"{name}.csv")
        self.rows: dict[str, list[dict[str, str]]] = {}
        for _, row in read_cells(self.path, "results"):
            self.rows.setdefault(row["variant"], []).append(row)

    def values(self, variant: str, column: str) -> list[float]:
        """One number of each seed.

        Raises:
            InputError: no such variant, or no such number of it.

        Example:
            >>> Results("pix2pix").values("truth", "l1")
            [0.0]
        """
        found = [row.get(column) for row in self.rows.get(variant, [])]
        if not found or not all(found):
            raise InputError(f"{self.path}: has no {column} of {variant}")
        return [float(value) for value in found]

    def mean(self, variant: str, column: str) -> float:
        """The mean over seeds.

        Example:
            >>> Results("pix2pix").mean("truth", "l1")
            0.0
        """
        found = self.values(variant, column)
        return sum(found) / len(found)

    def reach(self, variant: str, column: str) -> tuple[float, float]:
        """How far the seeds lie below and above their mean, as error bars have it; (0, 0) for one seed.

        Example:
            >>> Results("pix2pix").reach("truth", "iou")
            (0.0, 0.0)
        """
        found, mean = self.values(variant, column), self.mean(variant, column)
        return mean - min(found), max(found) - mean

    def below(self, column: str, low: str, high: str) -> bool:
        """Whether every seed of one variant lies below every seed of another.

        Example:
            >>> Results("pix2pix").below("l1", "truth", "L1")
            True
        """
        return max(self.values(low, column)) < min(self.values(high, column))

    def images(self, variant: str) -> Tensor:
        """Test images of seed 0, (rows, 6, 3, H, W) in [0, 1].

        Example:
            >>> Results("cyclegan").images("CycleGAN").shape
            torch.Size([5, 6, 3, 64, 64])
        """
        sheet = to_tensor(read_image(image_path(self.path, variant)))
        side = sheet.shape[2] // IMAGES_IN_A_ROW
        return sheet.unflatten(1, (-1, side)).unflatten(3, (-1, side)).permute(1, 3, 0, 2, 4)

    def show(self, variants: Sequence[str], columns: Sequence[str], digits: int = 2) -> None:
        """A table in a notebook: how many seeds, their mean, and their range if there are several.

        Example:
            >>> Results("pix2pix").show(["truth"], ["l1", "iou"])
                   seeds    l1   iou
            truth      1  0.00  0.36
        """
        rows = []
        for variant in variants:
            cells = [variant, str(len(self.values(variant, columns[0])))]
            for column in columns:
                found = self.values(variant, column)
                spread = f" ({min(found):.{digits}f} to {max(found):.{digits}f})" if len(found) > 1 else ""
                cells.append(f"{sum(found) / len(found):.{digits}f}{spread}")
            rows.append(cells)
        show_table(["", "seeds", *(column.replace("_", " ") for column in columns)], rows)
