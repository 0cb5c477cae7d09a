"""Images in rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from fomm_lib.course.plots.showing import INCHES, STYLE
from fomm_lib.errors import InputError
from fomm_lib.media.tensors import as_pixels


def image_grid(
    rows: Sequence[Sequence[np.ndarray | Tensor | None]],
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
) -> Figure:
    """Images in rows and columns, e.g. source | driving | keypoints | deformed | occlusion | prediction.

    Args:
        rows: images of any size: tensors (3, H, W) or (1, H, W) or (H, W) in [0, 1], or uint8 (H, W, 3);
            one channel is shown in grey, None leaves a gap.
        titles: one for each column.
        row_titles: one for each row.

    Returns:
        A figure of at most 6 x 3.5 inches.

    Raises:
        InputError: there are no images, rows differ in length, or the titles do not fit.

    Example:
        >>> figure = image_grid([[torch.rand(3, 64, 64), torch.rand(1, 64, 64)]], ["source", "occlusion"])
        >>> len(figure.axes)
        2
    """
    lengths = {len(row) for row in rows}
    if not lengths or lengths == {0}:
        raise InputError("there are no images to show")
    if len(lengths) > 1:
        raise InputError(
            f"rows have {sorted(lengths)} images; give None for a gap, so that all are of one length"
        )
    (columns,) = lengths
    for name, given, wanted in (("titles", titles, columns), ("row_titles", row_titles, len(rows))):
        if given is not None and len(given) != wanted:
            raise InputError(f"{name} has {len(given)} entries; there are {wanted} to name")
    pixels = [[None if image is None else as_pixels(image) for image in row] for row in rows]
    height, width = next((p.shape[:2] for row in pixels for p in row if p is not None), (1, 1))

    above, beside = 0.22 * (titles is not None), 0.22 * (row_titles is not None)
    cell = min((INCHES[0] - beside) / columns, (INCHES[1] - above) / len(rows) * width / height)
    with matplotlib.rc_context(STYLE):
        figure = Figure((beside + cell * columns, above + cell * height / width * len(rows)))
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for i, row in enumerate(pixels):
            for j, image in enumerate(row):
                axis = axes[i, j]
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if image is not None:
                    axis.imshow(image)
                if titles is not None and i == 0:
                    axis.set_title(titles[j], fontsize=9, pad=3)
                if row_titles is not None and j == 0:
                    axis.set_ylabel(row_titles[i], fontsize=9)
    return figure
