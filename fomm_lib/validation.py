"""How good a model is while it trains, on clips it does not train on, in numbers and in pictures."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fomm_lib.datasets import FramePairs
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.plots import draw_keypoints
from fomm_lib.releases import importing
from fomm_lib.true_motion import TruePair, judge_motion, read_true_pairs

with importing("torchvision"):
    from torchvision.utils import make_grid


class Validation:
    """Fixed pairs of the test split, and, for synthetic heads, the truth about some.

    Args:
        data: the folder of the training, with `test/` in it; without it there is nothing to validate with.
            Where `truth/` lies beside it, as in the course's `data/heads`, motion is judged by it.
        size: (height, width) of the model's pictures.
        pairs: how many; 0 for no validation.
        batch_size: pairs at a time.

    Calling it with a model gives, means over all pairs:
        l1: mean |prediction - driving|, of values in [0, 1].
        psnr: 10 log10(1 / mean squared error) of every pair, in dB.
        epe_person, expression, occlusion_ap: where the truth is known; see `true_motion.METRICS`.

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
        chosen = [(i // len(dataset), i % len(dataset)) for i in range(pairs)]  # (epoch, index)
        items = [dataset[pair] for pair in chosen]
        self.source, self.driving = (
            torch.stack([item[part] for item in items]) for part in ("source", "driving")
        )
        if any(Path(data, "truth").glob("*.npz")):
            self.truth = read_true_pairs(Path(data, "truth"), Path(data, "test"))

    def __bool__(self) -> bool:
        return self.source is not None

    def __call__(self, model: FirstOrderMotionModel) -> dict[str, float]:
        """Measure a model, in eval mode meanwhile and then as before."""
        if not self:
            return {}
        l1, psnr = [], []
        with _evaluating(model) as device:
            for source, driving in zip(
                *(p.split(self.batch_size) for p in (self.source, self.driving)), strict=True
            ):
                prediction = model(source.to(device), driving.to(device)).prediction.float().cpu()
                l1 += (prediction - driving).abs().mean((1, 2, 3)).tolist()
                psnr += (
                    -10 * (prediction - driving).square().mean((1, 2, 3)).clamp_min(1e-10).log10()
                ).tolist()
            numbers = {"l1": float(np.mean(l1)), "psnr": float(np.mean(psnr))}
            judged = judge_motion(model, self.truth) if model.generator.dense_motion_network else []
        for name in ("epe_person", "expression", "occlusion_ap") if judged else ():
            numbers[name] = float(torch.tensor([row[name] for row in judged]).nanmean())
        return numbers


def sample_grid(model: FirstOrderMotionModel, source: Tensor, driving: Tensor) -> np.ndarray:
    """What the model makes of pairs, a row each: source, driving, keypoints, deformed, occlusion, prediction.

    Keypoints are drawn on the driving frame. The model is in eval mode meanwhile, and then as before.

    Args:
        source, driving: (B, 3, H, W) in [0, 1].
    Returns:
        uint8 (height, width, 3).
    """
    with _evaluating(model) as device:
        source, driving = source.to(device), driving.to(device)
        kp_source, kp_driving = model.detect(source), model.detect(driving)
        generated = model.generate(source, kp_source, kp_driving, for_people=True)
        blank = torch.ones_like(source)
        deformed = blank if generated.deformed is None else generated.deformed
        occlusion = blank if generated.occlusion_map is None else generated.occlusion_map
        occlusion = F.interpolate(occlusion.float(), size=source.shape[-2:]).expand_as(source)
    # Points are drawn large enough to be read; the other pictures are enlarged to the same size.
    points = zip(driving, kp_driving.value, strict=True)
    marked = torch.stack([torch.from_numpy(draw_keypoints(*one).copy()).permute(2, 0, 1) for one in points])

    def enlarged(pictures: Tensor) -> Tensor:
        return (F.interpolate(pictures.float(), size=marked.shape[-2:]) * 255).round().byte().cpu()

    columns = [enlarged(source), enlarged(driving), marked]
    columns += [enlarged(pictures) for pictures in (deformed, occlusion, generated.prediction)]
    rows = torch.stack(columns, dim=1).flatten(0, 1)
    return make_grid(rows, nrow=len(columns), padding=2, pad_value=255).permute(1, 2, 0).numpy()


def examples(data: str | os.PathLike, size: tuple[int, int], count: int = 4) -> tuple[Tensor, Tensor]:
    """Fixed pairs to look at while a model trains, of the test split where there is one: source, driving."""
    split = "test" if (Path(data) / "test").is_dir() else "train"
    pairs = FramePairs(data, split, size=size, seed=1)
    count = min(count, len(pairs))
    chosen = [pairs[i * len(pairs) // count] for i in range(count)]
    return tuple(torch.stack([pair[part] for pair in chosen]) for part in ("source", "driving"))


@contextmanager
def _evaluating(model: FirstOrderMotionModel):
    """Eval mode and no gradients, for a while; yields the model's device."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield next(model.parameters()).device
    finally:
        model.train(training)
