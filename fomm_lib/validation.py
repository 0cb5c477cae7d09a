"""How good a model is while it trains, on clips it does not train on, in numbers and in pictures."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid

from fomm_lib.datasets import FramePairs, find_clips, to_tensor
from fomm_lib.geometry import coordinate_grid, resize_flow, to_pixels
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.plots import draw_keypoints


class Validation:
    """Fixed pairs of the test split, and, for synthetic heads, the truth about some.

    Args:
        data: the folder of the training, with `test/` in it; without it there is nothing to validate with.
            Where `truth/` lies beside it, as in the course's `data/heads`, flow and occlusion are measured.
        size: (height, width) of the model's pictures.
        pairs: how many; 0 for no validation.
        batch_size: pairs at a time.

    Calling it with a model gives, means over all pairs:
        l1: mean |prediction - driving|, of values in [0, 1].
        psnr: 10 log10(1 / mean squared error) of every pair, in dB.
        flow_error: where the truth is known, mean distance of the predicted from the true backward flow, on
            visible pixels of the person, in pixels of the model's size.
        occlusion_error: mean |occlusion map - visible| over the pixels of the person.

    Example:
        >>> validation = Validation("data/heads", (64, 64), pairs=24)  # doctest: +SKIP
        >>> validation(model)  # doctest: +SKIP
        {'l1': 0.031, 'psnr': 27.9, 'flow_error': 1.4, 'occlusion_error': 0.2}
    """

    def __init__(self, data: str | os.PathLike, size: tuple[int, int], pairs: int = 48, batch_size: int = 8):
        self.batch_size, self.size = batch_size, size
        self.source = self.driving = None
        self.truth: list[dict[str, Tensor]] = []
        if pairs < 1 or not (Path(data) / "test").is_dir():
            return
        dataset = FramePairs(data, "test", size=size, seed=1)
        chosen = [(i // len(dataset), i % len(dataset)) for i in range(pairs)]  # (epoch, index)
        items = [dataset[pair] for pair in chosen]
        self.source, self.driving = (
            torch.stack([item[part] for item in items]) for part in ("source", "driving")
        )
        self.truth = _read_truth(Path(data), size)

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
            errors = [_truth_errors(model, pair, device) for pair in self.truth]
        for name in errors[0] if errors else ():
            numbers[name] = float(np.mean([error[name] for error in errors]))
        return numbers


def _read_truth(data: Path, size: tuple[int, int]) -> list[dict[str, Tensor]]:
    """What `truth/*.npz` tells of pairs of frames of test clips, at the model's size."""
    clips = {clip.name: clip for clip in find_clips(data, "test")}
    pairs = []
    for path in sorted((data / "truth").glob("*.npz")):
        with np.load(path) as file:
            entries = {
                name: file[name] for name in ("clip", "source", "driving", "flow", "visible", "surface")
            }
        clip = clips.get(str(entries["clip"]))
        if clip is None:
            continue
        frames = clip.read([int(entries["source"]), int(entries["driving"])])
        source, driving = (to_tensor(frame, size) for frame in frames)
        # A small pixel counts if all that it is made of does; its displacement is the mean of theirs.
        moved = _displacement(torch.from_numpy(entries["flow"].astype(np.float32))) * _shrinks(
            entries["flow"], size
        )
        moved = F.interpolate(moved.permute(2, 0, 1)[None], size=size, mode="area")[0].permute(1, 2, 0)
        whole = {
            name: F.interpolate(torch.from_numpy(entries[name])[None, None].float(), size=size, mode="area")[
                0, 0
            ]
            == 1
            for name in ("visible", "surface")
        }
        pairs.append({"source": source, "driving": driving, "displacement": moved, **whole})
    return pairs


def _displacement(flow: Tensor) -> Tensor:
    """How far each pixel's source lies from it, in pixels: a flow (H, W, 2) to (H, W, 2)."""
    height, width = flow.shape[:2]
    return to_pixels(flow, height, width) - to_pixels(coordinate_grid(height, width), height, width)


def _shrinks(flow: np.ndarray, size: tuple[int, int]) -> Tensor:
    """(x, y): how many pixels of `size` one pixel of the flow is."""
    height, width = flow.shape[:2]
    return torch.tensor([size[1] / width, size[0] / height])


def _truth_errors(
    model: FirstOrderMotionModel, pair: dict[str, Tensor], device: torch.device
) -> dict[str, float]:
    generated = model(pair["source"][None].to(device), pair["driving"][None].to(device))
    if generated.deformation is None:
        return {}
    size = pair["surface"].shape
    moved = _displacement(resize_flow(generated.deformation.float(), *size)[0].cpu())
    shown = pair["visible"] & pair["surface"]
    wrong = (moved - pair["displacement"]).norm(dim=-1)[shown]
    errors = {"flow_error": float(wrong.mean())}
    if generated.occlusion_map is not None:
        occlusion = F.interpolate(generated.occlusion_map.float(), size=size, mode="bilinear")[0, 0].cpu()
        errors["occlusion_error"] = float((occlusion - pair["visible"].float()).abs()[pair["surface"]].mean())
    return errors


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
