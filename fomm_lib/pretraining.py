"""A head start: motion learned from the truth of synthetic heads.

The paper learns motion without labels, from how well the generated picture agrees with the driving frame.
That works on any film, and takes long: detector and dense motion hear of errors through a generator that
must itself be learned. On rendered heads the true motion is known (`synthetic.read_truth`), and can be taught
directly, without a generator and without a perceptual network, at a fifth of the cost of a step:

    flow                    mean |T - T*| over pixels that the source shows, T the dense motion, T* the truth
    expression              mean |e_j - mean e|, e_j the error of T at landmark j of an eye with its brow, or
                            of the mouth: whether lips part, lids close and brows rise against the head
    lips                    mean |x_k - lip| of two keypoints, one for each lip, in both frames
    occlusion               binary cross-entropy between the occlusion map and what the source shows
    equivariance_value      as in training without labels: keypoints and Jacobians shall go with
    equivariance_jacobian   the picture, whatever the truth lacks

What comes out is where training starts from (`fomm train --init`). All keypoints but those of the lips stay
the model's own choice.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from fomm_lib.checkpoints import write_weights
from fomm_lib.config import Config, load_config
from fomm_lib.datasets import find_clips, to_tensor
from fomm_lib.files import InputError
from fomm_lib.keypoints import Keypoints
from fomm_lib.losses import RandomTransform, equivariance_jacobian_loss, equivariance_value_loss
from fomm_lib.model import FirstOrderMotionModel, start_from
from fomm_lib.motion import DenseMotion
from fomm_lib.synthetic import TrueMotion, read_truth
from fomm_lib.training_log import LossLog, append_row
from fomm_lib.true_motion import METRICS, TruePair, expression_errors, judge_motion

LOSSES = ("flow", "expression", "lips", "occlusion", "equivariance_value", "equivariance_jacobian")
# The background moves nowhere: easily learned, and most of the picture, so it counts less.
BACKGROUND_WEIGHT = 0.3
FLOW_WEIGHT, EXPRESSION_WEIGHT, LIPS_WEIGHT, OCCLUSION_WEIGHT = 20.0, 40.0, 10.0, 1.0
# Which keypoints lie on the lips, and iBUG's landmarks whose mean is the place. Left alone, all gather
# between the eyes and the nose, where they explain most of what moves, and mouths stay as they were.
LIPS = {2: [50, 51, 52, 61, 62, 63], 6: [56, 57, 58, 65, 66, 67]}
# What of `true_motion.METRICS` is written down on the way.
ERRORS = ("epe", "epe_person", "expression", "occlusion_ap", "hidden")


@dataclass
class TrueBatch:
    """Pairs of frames with their true motion.

    Attributes:
        source, driving: (B, 3, h, w) in [0, 1].
        flow: (B, h, w, 2); visible, surface: (B, h, w) bool; as in `synthetic.TrueMotion`.
        source_landmarks, driving_landmarks: (B, 68, 2); see `synthetic.SyntheticClip.landmarks`.
    """

    source: Tensor
    driving: Tensor
    flow: Tensor
    visible: Tensor
    surface: Tensor
    source_landmarks: Tensor
    driving_landmarks: Tensor

    def mirrored(self, chosen: Tensor) -> TrueBatch:
        """Those of `chosen`, (B,) bool, left for right; landmarks keep their numbers, in both frames."""
        turn = torch.tensor([-1.0, 1.0])
        return TrueBatch(
            torch.where(chosen[:, None, None, None], self.source.flip(3), self.source),
            torch.where(chosen[:, None, None, None], self.driving.flip(3), self.driving),
            torch.where(chosen[:, None, None, None], self.flow.flip(2) * turn, self.flow),
            torch.where(chosen[:, None, None], self.visible.flip(2), self.visible),
            torch.where(chosen[:, None, None], self.surface.flip(2), self.surface),
            torch.where(chosen[:, None, None], self.source_landmarks * turn, self.source_landmarks),
            torch.where(chosen[:, None, None], self.driving_landmarks * turn, self.driving_landmarks),
        )

    def in_other_light(self, gain: Tensor, offset: Tensor) -> TrueBatch:
        """(picture - 0.5) * gain + 0.5 + offset, both (B, 3, 1, 1), the same for both frames of a pair."""
        source, driving = (
            ((picture - 0.5) * gain + 0.5 + offset).clamp(0, 1) for picture in (self.source, self.driving)
        )
        return replace(self, source=source, driving=driving)


class TruePairs:
    """All pairs of frames whose true motion lies beside the clips of a folder; held in memory.

    About 0.4 MB a clip of ten frames and ten pairs at 64x64.

    Args:
        root, split: see `find_clips`; rendered with `synthesize(truth=N)`.
        size: (height, width) of the pictures, which must be that of the truth.

    Raises:
        InputError: clips without truth, or truth of another size.

    Example:
        >>> pairs = TruePairs("heads", "train", (64, 64))      # doctest: +SKIP
        >>> pairs.batch(torch.tensor([0, 5])).flow.shape      # doctest: +SKIP
        torch.Size([2, 64, 64, 2])
    """

    def __init__(self, root: str | os.PathLike, split: str | None, size: tuple[int, int]):
        frames, numbers, flows, visible, surface, landmarks = [], [], [], [], [], []
        first = 0
        for clip in tqdm(find_clips(root, split), desc=f"reading {split or root}", unit="clip", leave=False):
            truth = read_truth(clip.path)
            if truth.flow.shape[1:3] != tuple(size):
                has, wants = (f"{height}x{width}" for height, width in (truth.flow.shape[1:3], size))
                raise InputError(f"{clip.path}: its truth is {has}, the config's frames are {wants}")
            pictures = [to_tensor(frame, size) for frame in clip]
            frames.append(torch.stack(pictures).mul(255).round().byte())
            numbers.append(torch.from_numpy(truth.pairs) + first)
            first += len(pictures)
            landmarks.append(torch.from_numpy(truth.landmarks))
            for stored, parts in ((truth.flow, flows), (truth.visible, visible), (truth.surface, surface)):
                parts.append(torch.from_numpy(stored))
        self.frames, self.landmarks = torch.cat(frames), torch.cat(landmarks)
        self.numbers = torch.cat(numbers)
        self.flow, self.visible, self.surface = torch.cat(flows), torch.cat(visible), torch.cat(surface)

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, indices: Tensor) -> TrueBatch:
        """The pairs of these numbers."""
        source, driving = self.numbers[indices].unbind(1)
        return TrueBatch(
            self.frames[source].float() / 255,
            self.frames[driving].float() / 255,
            self.flow[indices].float(),
            self.visible[indices],
            self.surface[indices],
            self.landmarks[source],
            self.landmarks[driving],
        )

    def pair(self, number: int) -> TruePair:
        """The pair of this number."""
        batch = self.batch(torch.tensor([number]))
        motion = TrueMotion(batch.flow[0], batch.visible[0], batch.surface[0])
        landmarks = torch.cat([batch.source_landmarks, batch.driving_landmarks])
        return TruePair(str(number), batch.source[0], batch.driving[0], motion, landmarks)

    def draw(self, batch_size: int, generator: torch.Generator) -> TrueBatch:
        """Random pairs; half of them mirrored, all in a somewhat other light."""
        pairs = self.batch(torch.randint(len(self), (batch_size,), generator=generator))
        pairs = pairs.mirrored(torch.rand(batch_size, generator=generator) < 0.5)
        colour = 0.07 * torch.randn(batch_size, 3, 1, 1, generator=generator)
        contrast, brightness = (
            spread * torch.randn(batch_size, 1, 1, 1, generator=generator) for spread in (0.15, 0.08)
        )
        return pairs.in_other_light(1 + colour + contrast, brightness)


def true_motion_losses(motion: DenseMotion, truth: TrueBatch) -> dict[str, Tensor]:
    """The weighted losses of a dense motion against the truth; see the top of this module.

    Raises:
        InputError: the motion is estimated at another size than that of the truth.
    """
    if motion.deformation.shape != truth.flow.shape:
        has, wants = (f"{flow.shape[1]}x{flow.shape[2]}" for flow in (motion.deformation, truth.flow))
        raise InputError(f"the motion is estimated at {has}, the truth is {wants}; set scale_factor: 1")
    error = (motion.deformation.float() - truth.flow).abs().sum(-1)
    weight = truth.visible * torch.where(truth.surface, 1.0, BACKGROUND_WEIGHT)
    losses = {"flow": FLOW_WEIGHT * (error * weight).sum() / weight.sum()}
    expression = expression_errors(
        motion.deformation.float(), truth.flow, truth.source_landmarks, truth.driving_landmarks
    )
    losses["expression"] = EXPRESSION_WEIGHT * expression.abs().sum(-1).mean()
    if motion.occlusion is not None:
        shown = motion.occlusion[:, 0].float().clamp(1e-4, 1 - 1e-4)
        # Not torch's own cross-entropy, which stops at a NaN before anyone can say where it came from.
        entropy = -torch.where(truth.visible, shown, 1 - shown).log().mean()
        losses["occlusion"] = OCCLUSION_WEIGHT * entropy
    return losses


def lips_loss(keypoints: Keypoints, landmarks: Tensor) -> Tensor:
    """The weighted mean distance, |x| + |y|, of keypoints from lips; landmarks (B, 68, 2), see `LIPS`."""
    errors = [keypoints.value[:, k] - landmarks[:, lip].mean(1) for k, lip in LIPS.items()]
    return LIPS_WEIGHT / 2 * torch.stack(errors).abs().sum(-1).mean()


def motion_errors(model: FirstOrderMotionModel, pairs: TruePairs) -> dict[str, float]:
    """Means over all pairs of `true_motion.judge_motion`; the model is in eval mode meanwhile."""
    was_training = model.training
    judged = judge_motion(model.eval(), [pairs.pair(number) for number in range(len(pairs))])
    model.train(was_training)
    return {name: float(torch.tensor([row[name] for row in judged]).nanmean()) for name in ERRORS}


def pretrain(
    config: Config | dict | str | os.PathLike,
    data: str | os.PathLike,
    out: str | os.PathLike,
    steps: int = 4000,
    *,
    seed: int = 0,
    init: str | os.PathLike | None = None,
    batch_size: int = 16,
    lr: float = 5e-4,
    device: str | None = None,
    bf16: bool = False,
    log_every: int = 50,
    check_every: int = 500,
    progress: bool = True,
) -> Path:
    """Teach detector and dense motion the true motion of synthetic heads.

    `out` gets `config.yaml`, `losses.csv` (a row every `log_every` steps with the means since the last),
    `errors.csv` (a row every `check_every` steps: `ERRORS` on the test split), `weights.safetensors`.

    Args:
        config: see `load_config`; motion must be estimated at the size of the truth.
        data: a folder with `train/` and `test/`, both rendered by `synthesize(truth=N)`.
        out: a new folder, or one without a training in it.
        steps: how many; the learning rate follows half a cosine over them, down to 2 % of `lr`.
        seed: of the networks, the pairs and the transforms.
        init: weights to start from; see `training.train`.
        batch_size, lr: pairs a step, and the highest learning rate of Adam.
        device: by default the GPU where there is one.
        bf16: run the networks in bfloat16.
    Returns:
        The path of the weights, for `train(init=...)`.
    Raises:
        InputError: bad config or data, an `out` with a training in it, or losses that are not finite.

    Example:
        >>> pretrain("heads-128-motion", data="heads", out="runs/motion")  # doctest: +SKIP
    """
    config = load_config(config)
    if steps < 1 or batch_size < 1:
        raise InputError(f"steps = {steps}, batch_size = {batch_size}: both must be at least 1")
    out = Path(out)
    if any((out / name).exists() for name in ("weights.safetensors", "losses.csv")):
        raise InputError(f"{out}: holds a training already; choose another folder")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    size = config.dataset_params.frame_shape[:2]
    torch.manual_seed(seed)
    model = FirstOrderMotionModel(config)
    network = model.generator.dense_motion_network
    if network is None:
        raise InputError("this config has no dense motion network; there is no motion to learn")
    if (count := config.model_params.common_params.num_kp) <= max(LIPS):
        raise InputError(
            f"num_kp = {count}: keypoints {' and '.join(map(str, LIPS))} are led to the lips; have at least "
            f"{max(LIPS) + 1}"
        )
    if network.scale_factor != 1:
        raise InputError(
            f"dense_motion_params.scale_factor = {network.scale_factor:g}: the truth is as large as the "
            "pictures, and so must the motion be; set it to 1, as in heads-128-motion"
        )
    for split in ("test", "train"):
        if not (Path(data) / split).is_dir():
            raise InputError(f"{data}: has no {split}/ in it; render it: fomm synthesize --truth 10")
    test_pairs, training_pairs = (TruePairs(data, split, size) for split in ("test", "train"))
    if init is not None:
        start_from(init, model)
    model = model.to(device, memory_format=torch.channels_last).train()
    parameters = [*model.kp_detector.parameters(), *network.parameters()]
    optimizer = Adam(parameters, lr, betas=(0.9, 0.99))
    schedule = LambdaLR(optimizer, lambda step: min(1, (step + 1) / 100) * _half_cosine(step / steps))
    generator = torch.Generator().manual_seed(seed)
    transform_params = config.train_params.transform_params.model_dump()
    weights = config.train_params.loss_weights

    def losses_of(batch: TrueBatch) -> dict[str, Tensor]:
        transform = RandomTransform.sample(batch_size, **transform_params, generator=generator, device=device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            kp_source, kp_driving = model.detect(batch.source), model.detect(batch.driving)
            motion = model.dense_motion(batch.source, kp_source, kp_driving)
            transformed = transform.warp_picture(batch.driving, align_corners=model.align_corners)
            kp_transformed = model.detect(transformed)
        losses = true_motion_losses(motion, batch)
        losses["lips"] = lips_loss(kp_source, batch.source_landmarks)
        losses["lips"] = losses["lips"] + lips_loss(kp_driving, batch.driving_landmarks)
        loss = equivariance_value_loss(kp_driving, kp_transformed, transform)
        losses["equivariance_value"] = weights.equivariance_value * loss
        if kp_driving.jacobian is not None:
            loss = equivariance_jacobian_loss(kp_driving, kp_transformed, transform)
            losses["equivariance_jacobian"] = weights.equivariance_jacobian * loss
        return losses

    out.mkdir(parents=True, exist_ok=True)
    noted = config.model_dump(mode="json")
    noted["dataset_params"]["root_dir"] = str(data)
    (out / "config.yaml").write_text(yaml.safe_dump(noted, sort_keys=False))
    with (
        LossLog(out / "losses.csv", names=LOSSES) as log,
        tqdm(total=steps, unit="step", disable=not progress) as bar,
    ):
        for step in range(1, steps + 1):
            losses = losses_of(_to(training_pairs.draw(batch_size, generator), device))
            if not all(torch.isfinite(loss) for loss in losses.values()):
                bad = " and ".join(name for name, loss in losses.items() if not torch.isfinite(loss))
                raise InputError(f"step {step}: {bad} is not finite; try a lower lr, or float32")
            optimizer.zero_grad()
            sum(losses.values()).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 10.0)
            optimizer.step()
            schedule.step()
            log.add({name: loss.item() for name, loss in losses.items()})
            bar.update()
            if step % log_every == 0 or step == steps:
                means = log.write(step, epoch=step * batch_size // len(training_pairs))
                bar.set_postfix({name: f"{mean:.3g}" for name, mean in means.items()})
            if step % check_every == 0 or step == steps:
                errors = motion_errors(model, test_pairs)
                append_row(out / "errors.csv", {"step": step, **errors}, keep=step)
                words = ", ".join(f"{METRICS[name].title} {value:.2f}" for name, value in errors.items())
                tqdm.write(f"step {step}: {words}")
                _save(out / "weights.safetensors", model, config, step, seed)
    return out / "weights.safetensors"


def _half_cosine(progress: float) -> float:
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _to(batch: TrueBatch, device: torch.device) -> TrueBatch:
    moved = {name: tensor.to(device) for name, tensor in vars(batch).items()}
    for name in ("source", "driving"):
        moved[name] = moved[name].to(memory_format=torch.channels_last)
    return TrueBatch(**moved)


def _save(path: Path, model: FirstOrderMotionModel, config: Config, step: int, seed: int) -> None:
    networks = {"generator": model.generator.state_dict(), "kp_detector": model.kp_detector.state_dict()}
    notes = {
        "steps": str(step),
        "seed": str(seed),
        "what": "motion; the rest of the generator is as it was before",
    }
    write_weights(path, networks, config, dtype=None, notes=notes, overwrite=True)
