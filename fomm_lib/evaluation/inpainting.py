"""The masked-square test: how far a generator sees when it paints what the source does not show.

The source is an image of one colour, nothing moves, and the occlusion map is 1 except in a square in the
middle, where it is 0. Any generator that looks far enough can fill the square with the colour around it. One
whose receptive field ends before the square's edge can only paint something that fits all images: grey.

    masked_square(load_model("heads-64"))       # {8: (8,), 16: (8,), ...}: error in the middle, of 8 colours

That is the halo where a head uncovers a wall.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fomm_lib.errors import InputError
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.motion import DenseMotion

SQUARES = (8, 16, 32, 48, 64, 96)
"""Sides of the squares, in pixels of an image whose shorter side is 256."""
COLOURS = (
    (0.9, 0.9, 0.9), (0.1, 0.1, 0.1), (0.8, 0.2, 0.2), (0.2, 0.7, 0.2),
    (0.2, 0.3, 0.8), (0.9, 0.8, 0.6), (0.5, 0.8, 0.9), (0.4, 0.25, 0.15),
)  # fmt: skip
"""Red, green, blue of the images: white and black walls, three colours, cream, sky and wood."""
_MIDDLE = 8  # the error is measured in a square of so many pixels of 256


@torch.inference_mode()
def masked_square(
    model: FirstOrderMotionModel,
    squares: Sequence[int] = SQUARES,
    colours: Sequence[Sequence[float]] = COLOURS,
) -> dict[int, np.ndarray]:
    """The error in the middle of a square that is masked, by the side of the square.

        mean over the middle 8x8 pixels (of 256) and channels of |G(c, occlusion) - c|

    From 0 up, lower is better; the mean of |c - 0.5| over the colours is 0.30: the error of painting grey.
    The occlusion map has the resolution of the model's motion; a cell that the square covers in part has the
    share that it does not cover.

    Args:
        model: in eval mode; its own size is used.
        squares: sides, in pixels of an image whose shorter side is 256.
        colours: of the images, in [0, 1].
    Returns:
        Side -> (number of colours,); empty for a model that estimates no occlusion.
    Raises:
        InputError: a square that is not between 1 and 256 pixels, or a colour out of range.

    Published tables have no such test.

    Example:
        >>> errors = masked_square(load_model("heads-64"), squares=(8, 64))
        >>> bool(errors[8].mean() < errors[64].mean())
        True
    """
    if any(not 1 <= side <= 256 for side in squares):
        raise InputError(f"squares {', '.join(map(str, squares))}: sides are 1 to 256 pixels of 256")
    values = torch.tensor(np.asarray(colours, np.float32), device=model.device)
    if values.ndim != 2 or values.shape[1] != 3 or values.min() < 0 or values.max() > 1:
        raise InputError("colours are red, green and blue, 0 to 1 each")
    network = model.generator.dense_motion_network
    if network is None or not network.estimate_occlusion_map:
        return {}
    height, width = model.size
    source = values[:, :, None, None].expand(-1, -1, height, width).contiguous()
    encoded, keypoints = model.encode(source), model.detect(source)
    scale = min(height, width) / 256
    middle = _square_mask(height, width, _MIDDLE * scale) < 1
    result = {}
    for side in squares:
        # The network's own occlusion map is replaced; everything else of the generator runs as always.
        def mask_square(_module, _inputs, motion: DenseMotion, side: float = side * scale) -> DenseMotion:
            h, w = motion.occlusion.shape[-2:]
            mask = _square_mask(h, w, side * h / height).to(motion.occlusion)
            motion.occlusion = mask.expand_as(motion.occlusion)
            return motion

        handle = network.register_forward_hook(mask_square)
        try:
            image = model.generate(encoded, keypoints, keypoints).prediction
        finally:
            handle.remove()
        error = (image - source).abs().mean(dim=1).cpu()
        result[side] = error[:, middle].double().mean(dim=1).numpy()
    return result


def _square_mask(height: int, width: int, side: float) -> Tensor:
    """(height, width): the share of each pixel outside a square in the middle."""

    def covered(count: int) -> Tensor:
        edges = torch.arange(count + 1, dtype=torch.float32) - count / 2
        inside = edges.clamp(-side / 2, side / 2)
        return inside.diff()

    return 1 - covered(height)[:, None] * covered(width)[None, :]
