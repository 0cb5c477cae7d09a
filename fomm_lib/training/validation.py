"""How good a model is while it trains, on clips it does not learn from: as numbers and as images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.data.datasets import FramePairs, stack_pairs
from fomm_lib.evaluation.true_motion import motion_scores
from fomm_lib.media.overlays import draw_keypoints
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.releases import importing
from fomm_lib.synthetic.truth import TruePair, read_true_pairs

with importing("torchvision"):
    from torchvision.utils import make_grid


class Validation:
    """Fixed pairs of the test split, and for synthetic heads some pairs with their true motion.

    Args:
        data: the folder of the training. Without a `test/` in it there is no validation. With a `truth/` in
            it, as in the course's `data/heads`, motion is compared with the ground truth.
        size: (height, width) of the model's images.
        pairs: how many; 0 for no validation.
        batch_size: pairs at a time.

    Calling it with a model gives means over all pairs:
        l1: mean |prediction - driving|, of values in [0, 1].
        psnr: 10 log10(1 / mean squared error) of every pair, in dB.
        epe_person, expression, occlusion_ap: if there is a ground truth; see `true_motion.MOTION_METRICS`.

    Example:
        >>> validation = Validation("data/heads", (64, 64), pairs=24)  # doctest: +SKIP
        >>> validation(model)  # doctest: +SKIP
        {'l1': 0.031, 'psnr': 27.9, 'epe_person': 5.1, 'expression': 1.6, 'occlusion_ap': 0.7}
    """

    def __init__(self, data: str | os.PathLike, size: tuple[int, int], pairs: int = 48, batch_size: int = 8):
        self.batch_size, self.size = batch_size, size
        self.source = self.driving = None
        self.truth: list[TruePair] = []
        if pairs < 1 or not (Path(data) / "test").is_dir():
            return
        dataset = FramePairs(data, "test", size=size, seed=1)
        keys = (divmod(i, len(dataset)) for i in range(pairs))  # (epoch, index)
        self.source, self.driving = stack_pairs(dataset[key] for key in keys)
        if any(Path(data, "truth").glob("*.npz")):
            self.truth = read_true_pairs(Path(data, "truth"), Path(data, "test"))

    def __bool__(self) -> bool:
        return self.source is not None

    def __call__(self, model: FirstOrderMotionModel) -> dict[str, float]:
        """Measure a model, in eval mode; its mode is restored afterwards."""
        if not self:
            return {}
        l1, psnr = [], []
        device = model.device
        with evaluating(model):
            batches = (images.split(self.batch_size) for images in (self.source, self.driving))
            for source, driving in zip(*batches, strict=True):
                error = model(source.to(device), driving.to(device)).prediction.float().cpu() - driving
                l1 += error.abs().mean((1, 2, 3)).tolist()
                psnr += (-10 * error.square().mean((1, 2, 3)).clamp_min(1e-10).log10()).tolist()
        numbers = {"l1": float(np.mean(l1)), "psnr": float(np.mean(psnr))}
        if self.truth and model.generator.dense_motion_network:
            numbers |= mean_motion_scores(model, self.truth, ("epe_person", "expression", "occlusion_ap"))
        return numbers


def mean_motion_scores(
    model: FirstOrderMotionModel, pairs: Sequence[TruePair], names: Sequence[str]
) -> dict[str, float]:
    """Means over pairs of `true_motion.motion_scores`, without NaN; the model is measured in eval mode."""
    with evaluating(model):
        scores = motion_scores(model, pairs)
    return {name: float(torch.tensor([row[name] for row in scores]).nanmean()) for name in names}


def sample_grid(model: FirstOrderMotionModel, source: Tensor, driving: Tensor) -> np.ndarray:
    """An image with a row for each pair: source, driving, keypoints, deformed, occlusion, prediction.

    Keypoints are drawn on the driving frame. The model runs in eval mode; its mode is restored afterwards.

    Args:
        source, driving: (B, 3, H, W) in [0, 1].
    Returns:
        uint8 (height, width, 3).
    """
    with evaluating(model):
        source, driving = source.to(model.device), driving.to(model.device)
        kp_source, kp_driving = model.detect(source), model.detect(driving)
        generated = model.generate(source, kp_source, kp_driving, with_visuals=True)
        blank = torch.ones_like(source)
        deformed = blank if generated.deformed is None else generated.deformed
        occlusion = blank if generated.occlusion_map is None else generated.occlusion_map
        occlusion = F.interpolate(occlusion.float(), size=source.shape[-2:]).expand_as(source)
    # Keypoints are drawn large enough to be seen; the other images are enlarged to the same size.
    points = zip(driving, kp_driving.value, strict=True)
    marked = torch.stack([torch.from_numpy(draw_keypoints(*one).copy()).permute(2, 0, 1) for one in points])

    def enlarged(images: Tensor) -> Tensor:
        return (F.interpolate(images.float(), size=marked.shape[-2:]) * 255).round().byte().cpu()

    columns = [enlarged(source), enlarged(driving), marked]
    columns += [enlarged(images) for images in (deformed, occlusion, generated.prediction)]
    return grid_of_columns(columns)


def grid_of_columns(columns: Sequence[Tensor]) -> np.ndarray:
    """Columns of images, uint8 (N, 3, H, W) each, side by side, uint8 (rows, columns, 3)."""
    images = torch.stack(list(columns), dim=1).flatten(0, 1)
    return make_grid(images, nrow=len(columns), padding=2, pad_value=255).permute(1, 2, 0).numpy()


def examples(data: str | os.PathLike, size: tuple[int, int], count: int = 4) -> tuple[Tensor, Tensor]:
    """Fixed pairs for `sample_grid`, of the test split if there is one: source, driving."""
    split = "test" if (Path(data) / "test").is_dir() else "train"
    pairs = FramePairs(data, split, size=size, seed=1)
    count = min(count, len(pairs))
    return stack_pairs(pairs[i * len(pairs) // count] for i in range(count))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside `with`; the mode is restored afterwards."""
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        network.train(training)
