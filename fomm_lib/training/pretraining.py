"""Pretraining: motion learned from the ground truth of synthetic heads.

The paper learns motion without labels, from how well the generated image agrees with the driving frame. That
works on any video, and takes long: the gradients of detector and dense motion come through a generator that
must itself be learned. On rendered heads the true motion is known (`synthetic.truth.read_truth`), and can be
taught directly, without a generator and without a perceptual network, at a fifth of the cost of a step:

    flow                    mean |T - T*| over pixels that the source shows, T the dense motion, T* the truth
    expression              mean |e_j - mean e|, e_j the error of T at landmark j of an eye with its brow, or
                            of the mouth: whether lips part, lids close and brows rise relative to the head
    landmarks               mean |T(z_j) - x_j|, T at landmark j of the driving face against that landmark of
                            the source, at eyes and mouth; with `loss_weights.landmarks`, off by default
    led                     mean |x_k - landmark| of keypoints that are led to landmarks, in both frames: two
                            to the lips, and those of `train_params.led_keypoints`; with
                            `loss_weights.openings`, off by default, also of the differences between those of
                            an eye or of the mouth, which say how far it is open
    occlusion               binary cross-entropy between the occlusion map and what the source shows
    equivariance_value      as in training without labels: keypoints and Jacobians move with the image, also
    equivariance_jacobian   where there is no ground truth

The last two work on landmarks because a lid or a lip is a line of a pixel: it hardly counts in a mean over
pixels. Training continues from the result (`fomm train --init`). All keypoints but those that are led are
chosen by the model itself.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam
from tqdm.auto import tqdm

from fomm_lib.config import Config, LedKeypoint, load_config
from fomm_lib.data.clips import find_clips
from fomm_lib.errors import InputError, check_integer
from fomm_lib.evaluation.true_motion import FACE_PARTS, MOTION_METRICS, expression_errors
from fomm_lib.geometry import flow_at
from fomm_lib.keypoints import Keypoints
from fomm_lib.losses import RandomTransform
from fomm_lib.media.tensors import to_tensor
from fomm_lib.model import FirstOrderMotionModel, check_colours, start_from
from fomm_lib.motion import DenseMotion
from fomm_lib.synthetic.clip import TrueMotion
from fomm_lib.synthetic.truth import TruePair, read_truth
from fomm_lib.training.distributed import Processes
from fomm_lib.training.fast import fuse_upsampling
from fomm_lib.training.run import Run
from fomm_lib.training.state import load_networks, load_optimizers
from fomm_lib.training.step import NotFinite, equivariance_losses
from fomm_lib.training.validation import mean_motion_scores

LOSSES = (
    "flow",
    "expression",
    "landmarks",
    "led",
    "occlusion",
    "equivariance_value",
    "equivariance_jacobian",
)
# The background does not move: it is easily learned, and most of the image, so it counts less.
BACKGROUND_WEIGHT = 0.3
FLOW_WEIGHT, EXPRESSION_WEIGHT, LED_WEIGHT, OCCLUSION_WEIGHT = 20.0, 40.0, 2.5, 1.0
LANDMARKS = {"lids": list(range(36, 48)), "mouth": list(range(48, 68))}
"""Which of iBUG's landmarks the loss `landmarks` is taken at; both parts count alike."""
# A landmark that is farther than this from where the truth says that its pixel comes from is hidden.
_SHOWN_WITHIN = 0.12
_MIRRORED = [
    *range(16, -1, -1),  # jaw
    *range(26, 16, -1),  # brows
    *range(27, 31),  # nose
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # lips, outside
    *(64, 63, 62, 61, 60, 67, 66, 65),  # and inside
]
"""The number of each of iBUG's landmarks in a mirrored image."""
# Those of `true_motion.MOTION_METRICS` that are measured on the test split.
ERRORS = ("epe", "epe_person", "expression", "occlusion_ap", "hidden")
NOTES = {"what": "motion; the rest of the generator is as it was before"}


@dataclass
class TrueBatch:
    """Pairs of frames with their true motion.

    Attributes:
        source, driving: (B, 3, H, W) in [0, 1].
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
        """The pairs of `chosen`, (B,) bool, mirrored left to right: a left eye becomes a right one."""
        turn = torch.tensor([-1.0, 1.0])
        mirrored = TrueBatch(
            self.source.flip(3),
            self.driving.flip(3),
            self.flow.flip(2) * turn,
            self.visible.flip(2),
            self.surface.flip(2),
            self.source_landmarks[:, _MIRRORED] * turn,
            self.driving_landmarks[:, _MIRRORED] * turn,
        )
        pairs = zip(vars(mirrored).values(), vars(self).values(), strict=True)
        return TrueBatch(*(torch.where(chosen.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))

    def to(self, device: torch.device) -> TrueBatch:
        """The batch on a device, its images channels last in memory."""
        moved = {name: tensor.to(device) for name, tensor in vars(self).items()}
        for name in ("source", "driving"):
            moved[name] = moved[name].to(memory_format=torch.channels_last)
        return TrueBatch(**moved)

    def recoloured(self, gain: Tensor, offset: Tensor) -> TrueBatch:
        """(image - 0.5) * gain + 0.5 + offset, both (B, 3, 1, 1), the same for both frames of a pair."""
        source, driving = (
            ((image - 0.5) * gain + 0.5 + offset).clamp(0, 1) for image in (self.source, self.driving)
        )
        return replace(self, source=source, driving=driving)


class TruePairs:
    """All pairs of frames with a ground truth beside the clips of a folder; held in memory.

    About 0.4 MB a clip of ten frames and ten pairs at 64x64, and 2.2 MB with images of 256x256.

    Args:
        root, split: see `find_clips`; rendered with `synthesize(truth=N)`.
        size: (height, width) of the images.
        motion_size: of the truth; by default that of the images.

    Raises:
        InputError: clips without truth, with truth of another size, or of another category than heads.

    Example:
        >>> pairs = TruePairs("heads", "train", (64, 64))      # doctest: +SKIP
        >>> pairs.batch(torch.tensor([0, 5])).flow.shape      # doctest: +SKIP
        torch.Size([2, 64, 64, 2])
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str | None,
        size: tuple[int, int],
        motion_size: tuple[int, int] | None = None,
    ):
        motion_size = motion_size or size
        truths, frames, numbers, first = [], [], [], 0
        for clip in tqdm(find_clips(root, split), desc=f"reading {split or root}", unit="clip", leave=False):
            truth = read_truth(clip.path)
            if truth.landmarks.shape[1] != len(_MIRRORED):
                raise InputError(
                    f"{clip.path}: shows no head; pretraining needs the landmarks of heads, other categories "
                    "learn without labels: fomm train"
                )
            if truth.flow.shape[1:3] != tuple(motion_size):
                has, wants = (f"{height}x{width}" for height, width in (truth.flow.shape[1:3], motion_size))
                raise InputError(
                    f"{clip.path}: its truth is {has}, the motion of the config is {wants}; change "
                    "frame_shape or dense_motion_params.scale_factor"
                )
            images = [to_tensor(frame, size) for frame in clip]
            frames.append(torch.stack(images).mul(255).round().byte())
            numbers.append(torch.from_numpy(truth.pairs) + first)
            first += len(images)
            truths.append(truth)
        self.frames, self.numbers = torch.cat(frames), torch.cat(numbers)
        self.flow, self.visible, self.surface, self.landmarks = (
            torch.from_numpy(np.concatenate([getattr(truth, name) for truth in truths]))
            for name in ("flow", "visible", "surface", "landmarks")
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, indices: Tensor) -> TrueBatch:
        """The pairs with these numbers."""
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
        """The pair with this number."""
        batch = self.batch(torch.tensor([number]))
        motion = TrueMotion(batch.flow[0], batch.visible[0], batch.surface[0])
        landmarks = torch.cat([batch.source_landmarks, batch.driving_landmarks])
        return TruePair(str(number), batch.source[0], batch.driving[0], motion, landmarks)

    def draw(self, batch_size: int, generator: torch.Generator) -> TrueBatch:
        """Random pairs; half of them mirrored, all with random changes of colour, contrast and brightness."""
        pairs = self.batch(torch.randint(len(self), (batch_size,), generator=generator))
        pairs = pairs.mirrored(torch.rand(batch_size, generator=generator) < 0.5)
        colour = 0.07 * torch.randn(batch_size, 3, 1, 1, generator=generator)
        contrast, brightness = (
            spread * torch.randn(batch_size, 1, 1, 1, generator=generator) for spread in (0.15, 0.08)
        )
        return pairs.recoloured(1 + colour + contrast, brightness)


def true_motion_losses(
    motion: DenseMotion, truth: TrueBatch, landmarks_weight: float = 0
) -> dict[str, Tensor]:
    """The weighted losses of a dense motion against the ground truth; see the top of this module.

    Args:
        landmarks_weight: of the loss `landmarks`, which is left out if it is 0.
    Raises:
        InputError: the motion and the ground truth have different sizes.
    """
    if motion.deformation.shape != truth.flow.shape:
        has, wants = (f"{flow.shape[1]}x{flow.shape[2]}" for flow in (motion.deformation, truth.flow))
        raise InputError(f"the motion is estimated at {has}, the truth is {wants}; change scale_factor")
    flow = motion.deformation.float()
    error = (flow - truth.flow).abs().sum(-1)
    weight = truth.visible * torch.where(truth.surface, 1.0, BACKGROUND_WEIGHT)
    losses = {"flow": FLOW_WEIGHT * (error * weight).sum() / weight.sum()}
    places = truth.source_landmarks, truth.driving_landmarks
    expression = expression_errors(flow, truth.flow, *places)
    losses["expression"] = EXPRESSION_WEIGHT * expression.abs().sum(-1).mean()
    if landmarks_weight:
        losses["landmarks"] = landmarks_weight * landmarks_loss(flow, truth.flow, *places)
    if motion.occlusion is not None:
        shown = motion.occlusion[:, 0].float().clamp(1e-4, 1 - 1e-4)
        # Not the cross-entropy of torch, which raises an error at a NaN before its cause can be reported.
        entropy = -torch.where(truth.visible, shown, 1 - shown).log().mean()
        losses["occlusion"] = OCCLUSION_WEIGHT * entropy
    return losses


def landmarks_loss(flow: Tensor, true_flow: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """Mean |T(z_j) - x_j|, |x| + |y|, over the landmarks j of `LANDMARKS` that both frames show.

    T is the flow, z_j landmark j of the driving face, x_j that of the source: T should say that the edge of a
    lid comes from the edge of that lid. The true flow of a pixel, an average over a lid, is less exact.

    Args:
        flow, true_flow: (B, h, w, 2); the second only says which landmarks are hidden.
        source, driving: (B, 68, 2).
    Returns:
        A scalar: the mean over the parts of the means over their landmarks.

    Example:
        >>> grid, face = coordinate_grid(8, 8)[None], torch.zeros(1, 68, 2)
        >>> landmarks_loss(grid + 0.05, grid, face, face)     # a twentieth in x and in y
        tensor(0.1000)
    """
    found, true = (flow_at(field, driving) for field in (flow, true_flow))
    shown = (true - source).norm(dim=-1) < _SHOWN_WITHIN
    error = (found - source).abs().sum(-1) * shown
    parts = LANDMARKS.values()
    return sum(error[:, part].sum() / shown[:, part].sum().clamp(min=1) for part in parts) / len(parts)


def led_loss(
    keypoints: Keypoints, landmarks: Tensor, led: Sequence[LedKeypoint], openings_weight: float = 0
) -> Tensor:
    """The weighted distances, |x| + |y|, of keypoints from the landmarks they are led to: a sum over
    keypoints of means over images.

        LED_WEIGHT sum_k |e_k| + openings_weight sum_(j, k) |e_j - e_k|,    e_k = x_k - landmark

    The second sum is over the pairs that are led to the same part of the face. A lid that closes moves by a
    twentieth of an image: while places are less exact than that, only a difference shows it.

    Args:
        keypoints: of B images.
        landmarks: (B, 68, 2), iBUG's.
        led: which keypoint to the mean of which landmarks.
        openings_weight: of the differences.
    """
    errors = [keypoints.value[:, one.keypoint] - landmarks[:, one.landmarks].mean(1) for one in led]
    loss = LED_WEIGHT * torch.stack(errors).abs().sum(-1).mean(1).sum()
    for part in FACE_PARTS if openings_weight else ():
        ends = [error for one, error in zip(led, errors, strict=True) if one.landmarks[0] in part]
        for one, other in combinations(ends, 2):
            loss = loss + openings_weight * (one - other).abs().sum(-1).mean()
    return loss


def pretrain(
    config: Config | dict | str | os.PathLike,
    data: str | os.PathLike,
    out: str | os.PathLike,
    steps: int = 4000,
    *,
    seed: int = 0,
    init: str | os.PathLike | None = None,
    resume: bool = False,
    batch_size: int = 16,
    lr: float = 5e-4,
    device: str | None = None,
    bf16: bool = False,
    log_every: int = 50,
    check_every: int = 500,
    progress: bool = True,
) -> Path:
    """Teach detector and dense motion the true motion of synthetic heads.

    `out` gets `config.yaml`; `losses.csv`, a row every `log_every` steps with the means since the last; and
    every `check_every` steps, at the end, and when stopped: `states/`, from which `resume` continues,
    `weights.safetensors`, and a row of `errors.csv`, `ERRORS` on the test split.

    Ctrl-C and SIGTERM finish the step, save, and stop. A run that was killed at any moment and is resumed
    computes what it would have computed without that; on one CPU thread bit by bit.

    Args:
        config: see `load_config`; motion must be estimated at the size of the ground truth, 64x64.
        data: a folder with `train/` and `test/`, both rendered by `synthesize(truth=N)`.
        out: a new folder, or one without a training in it; with `resume`, that of the training to continue.
        steps: the learning rate follows half a cosine over them, down to 2 % of `lr`, so a resumed training
            must have the same.
        seed: of the networks, the pairs and the transforms.
        init: weights to start from; see `training.loop.train`.
        resume: continue from the newest state in `out`; begin if there is none yet.
        batch_size: pairs a step.
        lr: the highest learning rate of Adam.
        device: by default the GPU if there is one.
        bf16: run the networks in bfloat16.
        log_every, check_every: in steps.
        progress: whether to show a progress bar.
    Returns:
        The path of the weights, for `train(init=...)`.
    Raises:
        InputError: bad config or data, an `out` with a training in it, weights or a state that do not fit, a
            full disk, or a loss that is not finite: then `not_finite-<step>.pt` holds the batch.

    Example:
        >>> pretrain("heads-128-motion", data="heads", out="runs/motion")  # doctest: +SKIP
    """
    config = load_config(config)
    check_colours(config)
    check_integer("steps", steps, 1)
    check_integer("batch_size", batch_size, 1)
    settings = {"steps": steps, "batch_size": batch_size, "lr": lr}
    options = {"columns": LOSSES, "log_every": log_every, "save_every": check_every, "progress": progress}
    processes = Processes(device)
    run = Run(
        out, config, data, processes, verb="pretrain", settings=settings, seed=seed, resume=resume, **options
    )
    torch.manual_seed(seed)
    model = FirstOrderMotionModel(config)
    check_motion(config, model)
    test_pairs, training_pairs = read_splits(data, model.size, motion_size(model))
    if init is not None and not run.resumed:
        start_from(init, model)
    model = fuse_upsampling(model).to(processes.device, memory_format=torch.channels_last).train()
    step = MotionStep(model, config, bf16)
    run.start(step, steps, len(training_pairs), init)

    def save() -> None:
        errors = motion_errors(model, test_pairs)
        run.save(step.networks(), errors, table="errors.csv", notes=NOTES)
        words = ", ".join(f"{MOTION_METRICS[name].title} {value:.2f}" for name, value in errors.items())
        tqdm.write(f"step {run.step}: {words}")

    with run:
        if run.step >= steps:
            save()  # the state is complete already, but the weights may not be
        while run.step < steps:
            batch = training_pairs.draw(batch_size, run.generator).to(processes.device)
            transform = run.draw_transform(batch_size)
            step.set_learning_rate(lr * learning_rate_factor(run.step, steps))
            with run.bad_batch(vars(batch), transform, "a lower lr, or float32"):
                losses = step(batch, transform)
            run.advance(losses, epoch=(run.step + 1) * batch_size // len(training_pairs))
            run.checkpoint(save)
    return run.weights


class MotionStep:
    """One step of learning motion: its losses, and the update of detector and dense motion network.

    Args:
        model: in train mode, on its device.
        config: weights of the losses of landmarks and of equivariance, and which keypoints are led.
        bf16: run the networks in bfloat16.
    """

    def __init__(self, model: FirstOrderMotionModel, config: Config, bf16: bool = False):
        self.model, self.weights, self.bf16 = model, config.train_params.loss_weights, bf16
        self.led = config.train_params.led_keypoints
        network = model.generator.dense_motion_network
        self.parameters = [*model.kp_detector.parameters(), *network.parameters()]
        self.optimizer = Adam(self.parameters, betas=(0.9, 0.99))

    def __call__(self, batch: TrueBatch, transform: RandomTransform) -> dict[str, float]:
        """Update the networks on one batch; gives the weighted losses, by name.

        Raises:
            NotFinite: a loss or the gradient is not finite; nothing was updated.
        """
        losses = self.losses(batch, transform)
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 10.0)
        *values, length = torch.stack([*losses.values(), norm]).tolist()  # once: a GPU is waited for here
        bad = [name for name, value in zip(losses, values, strict=True) if not math.isfinite(value)]
        if bad or not math.isfinite(length):
            raise NotFinite(bad or ["the gradient"])
        self.optimizer.step()
        return dict(zip(losses, values, strict=True))

    def losses(self, batch: TrueBatch, transform: RandomTransform) -> dict[str, Tensor]:
        """The weighted losses of one batch, by name; see the top of this module."""
        model = self.model
        with torch.autocast(batch.source.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            kp_source, kp_driving = model.detect(batch.source), model.detect(batch.driving)
            motion = model.dense_motion(batch.source, kp_source, kp_driving)
            transformed = transform.warp_image(batch.driving, align_corners=model.align_corners)
            kp_transformed = model.detect(transformed)
        losses = true_motion_losses(motion, batch, self.weights.landmarks)
        if self.led:
            both = (kp_source, batch.source_landmarks), (kp_driving, batch.driving_landmarks)
            losses["led"] = sum(led_loss(*one, self.led, self.weights.openings) for one in both)
        return losses | equivariance_losses(kp_driving, kp_transformed, transform, self.weights)

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def networks(self) -> dict[str, dict[str, Tensor]]:
        """The state dicts of generator and detector."""
        model = self.model
        return {"generator": model.generator.state_dict(), "kp_detector": model.kp_detector.state_dict()}

    def state(self) -> dict:
        """Everything that a step changes: networks and optimizer."""
        return {"networks": self.networks(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict) -> None:
        """Continue from the result of `state`."""
        load_networks({name: getattr(self.model, name) for name in self.networks()}, state["networks"])
        load_optimizers({"optimizer": self.optimizer}, {"optimizer": state["optimizer"]})


def learning_rate_factor(done: int, steps: int) -> float:
    """The factor of the learning rate after `done` of all steps: a ramp over 100, and half a cosine to 0.02.

    Example:
        >>> [round(learning_rate_factor(done, 4000), 3) for done in (0, 99, 2000, 4000)]
        [0.01, 0.999, 0.51, 0.02]
    """
    return min(1, (done + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done / steps))))


def motion_errors(model: FirstOrderMotionModel, pairs: TruePairs) -> dict[str, float]:
    """Means of `ERRORS` over all pairs; see `true_motion.motion_scores`. The model runs in eval mode."""
    return mean_motion_scores(model, [pairs.pair(number) for number in range(len(pairs))], ERRORS)


def check_motion(config: Config, model: FirstOrderMotionModel) -> None:
    """Check that the model has a motion that can be compared with the ground truth, and the led keypoints.

    Raises:
        InputError: it has no dense motion network, or too few keypoints.
    """
    if model.generator.dense_motion_network is None:
        raise InputError("this config has no dense motion network; there is no motion to learn")
    count = config.model_params.common_params.num_kp
    last = max((one.keypoint for one in config.train_params.led_keypoints), default=0)
    if count <= last:
        raise InputError(
            f"num_kp = {count}: keypoint {last} is led to landmarks; have at least {last + 1}, or change "
            "train_params.led_keypoints"
        )


def motion_size(model: FirstOrderMotionModel) -> tuple[int, int]:
    """(height, width) at which a model estimates motion.

    Example:
        >>> motion_size(FirstOrderMotionModel("heads-128"))
        (64, 64)
    """
    step = round(1 / model.generator.dense_motion_network.scale_factor)
    height, width = model.size
    return height // step, width // step


def read_splits(
    data: str | os.PathLike, size: tuple[int, int], motion_size: tuple[int, int]
) -> tuple[TruePairs, TruePairs]:
    """The pairs of `test/` and of `train/`.

    Raises:
        InputError: one of them does not exist, or has no ground truth of the size of the motion.
    """
    for split in ("test", "train"):
        if not (Path(data) / split).is_dir():
            raise InputError(f"{data}: has no {split}/ in it; render it: fomm synthesize --truth 10")
    test, train = (TruePairs(data, split, size, motion_size) for split in ("test", "train"))
    return test, train
