"""Training, step by step: draw a pair, generate, compute the six losses, update three networks."""

from __future__ import annotations

import csv
import itertools
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR
from torchvision.utils import draw_keypoints, make_grid
from tqdm.auto import tqdm

from fomm_lib.blocks import ImagePyramid
from fomm_lib.checkpoints import load_network, read_checkpoint, write_weights
from fomm_lib.config import Config, load_config
from fomm_lib.datasets import FramePairs, PairLoader, pair_loader
from fomm_lib.files import InputError, atomic_output
from fomm_lib.generator import Generated
from fomm_lib.geometry import to_pixels
from fomm_lib.keypoints import Keypoints
from fomm_lib.losses import (
    RandomTransform,
    discriminator_gan_loss,
    equivariance_jacobian_loss,
    equivariance_value_loss,
    feature_matching_loss,
    generator_gan_loss,
    perceptual_loss,
)
from fomm_lib.model import FirstOrderMotionModel, build_discriminator
from fomm_lib.perceptual import perceptual_network
from fomm_lib.plots import LOSS_NAMES

LOSSES = tuple(LOSS_NAMES)


class TrainingStep:
    """One step of training, and everything it changes.

    The generator and the detector go first, on the sum of five weighted losses; then, where the config has an
    adversarial weight, the discriminator, on the detached prediction. With `generator_gan: 0` neither the
    adversarial loss nor feature matching is computed.

    Args:
        model: detector and generator, in train mode.
        discriminator: as `build_discriminator` makes it.
        network: what judges pictures, of `perceptual.perceptual_network`; None where no perceptual loss is
            wanted.
        config: loss weights, learning rates, the random transform.
        autocast: run the networks in bfloat16 where they allow it; losses and points stay in float32.

    Source: FOMM, section 3.3 and supplementary A.
    """

    def __init__(
        self,
        model: FirstOrderMotionModel,
        discriminator: nn.Module,
        network: nn.Module | None,
        config: Config,
        autocast: bool = False,
    ):
        self.model, self.discriminator, self.network = model, discriminator, network
        self.params = config.train_params
        self.autocast = autocast
        device = next(model.parameters()).device
        self.pyramid = ImagePyramid(config.model_params.common_params.num_channels, self.params.scales).to(
            device
        )
        adam = {"betas": (0.5, 0.999)}
        self.optimizers = {
            "generator": Adam(model.generator.parameters(), self.params.lr_generator, **adam),
            "kp_detector": Adam(model.kp_detector.parameters(), self.params.lr_kp_detector, **adam),
        }
        if self.params.loss_weights.generator_gan:
            lr = self.params.lr_discriminator
            self.optimizers["discriminator"] = Adam(discriminator.parameters(), lr, **adam)

    def __call__(self, source: Tensor, driving: Tensor, transform: RandomTransform) -> dict[str, float]:
        """Update all networks on one batch; gives the weighted losses, by name.

        Args:
            source, driving: (B, C, H, W) in [0, 1].
            transform: B random transforms, for the equivariance losses.
        """
        losses, generated, kp_driving = self.generator_losses(source, driving, transform)
        self._zero_grad()
        sum(losses.values()).backward()
        self.optimizers["generator"].step()
        self.optimizers["kp_detector"].step()
        if self.params.loss_weights.generator_gan:
            losses["disc_gan"] = self.discriminator_loss(driving, generated.prediction, kp_driving)
            self._zero_grad()
            losses["disc_gan"].backward()
            self.optimizers["discriminator"].step()
        return {name: loss.item() for name, loss in losses.items()}

    def generator_losses(
        self, source: Tensor, driving: Tensor, transform: RandomTransform
    ) -> tuple[dict[str, Tensor], Generated, Keypoints]:
        """The weighted losses of generator and detector, the generated pictures, and the driving
        keypoints.
        """
        weights, losses = self.params.loss_weights, {}
        with self._precision():
            kp_source, kp_driving = self.model.detect(source), self.model.detect(driving)
            generated = self.model.generate(source, kp_source, kp_driving)
            fake, real = self.pyramid(generated.prediction), self.pyramid(driving)
            if sum(weights.perceptual):
                losses["perceptual"] = perceptual_loss(self.network, fake, real, weights.perceptual)
            if weights.generator_gan:
                judged_fake = self.discriminator(fake, kp_driving.detach())
                judged_real = self.discriminator(real, kp_driving.detach())
                losses["gen_gan"] = weights.generator_gan * generator_gan_loss(judged_fake)
                if sum(weights.feature_matching):
                    losses["feature_matching"] = feature_matching_loss(
                        judged_real, judged_fake, weights.feature_matching
                    )
            transformed = transform.warp_picture(driving, align_corners=self.model.align_corners)
            kp_transformed = self.model.detect(transformed)
        if weights.equivariance_value:
            loss = equivariance_value_loss(kp_driving, kp_transformed, transform)
            losses["equivariance_value"] = weights.equivariance_value * loss
        if weights.equivariance_jacobian and kp_driving.jacobian is not None:
            loss = equivariance_jacobian_loss(kp_driving, kp_transformed, transform)
            losses["equivariance_jacobian"] = weights.equivariance_jacobian * loss
        return losses, generated, kp_driving

    def discriminator_loss(self, driving: Tensor, prediction: Tensor, kp_driving: Keypoints) -> Tensor:
        """The weighted loss of the discriminator; no gradient reaches the generator."""
        with self._precision():
            judged_real = self.discriminator(self.pyramid(driving), kp_driving.detach())
            judged_fake = self.discriminator(self.pyramid(prediction.detach()), kp_driving.detach())
        return self.params.loss_weights.discriminator_gan * discriminator_gan_loss(judged_real, judged_fake)

    def _zero_grad(self) -> None:
        # The discriminator's too, which the generator's backward pass has filled.
        for network in (self.model, self.discriminator):
            network.zero_grad()

    def _precision(self):
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.autocast)


def train(
    config: Config | dict | str | os.PathLike,
    data: str | os.PathLike,
    out: str | os.PathLike,
    steps: int | None = None,
    *,
    seed: int = 0,
    init: str | os.PathLike | None = None,
    perceptual: str | None = None,
    device: str | None = None,
    bf16: bool = False,
    cache: str | os.PathLike | None = None,
    workers: int = 0,
    log_every: int = 10,
    sample_every: int = 500,
    checkpoint_every: int = 1000,
    progress: bool = True,
) -> Path:
    """Train a model and write all that comes of it into a folder.

    `out` gets `config.yaml`; `losses.csv`, a row every `log_every` steps with the means since the last;
    `samples/<step>.png`, rows of source, driving, keypoints, deformed, occlusion, prediction;
    `weights.safetensors`, written whole every `checkpoint_every` steps, at the end, and on Ctrl-C.

    Args:
        config: see `load_config`.
        data: a folder of clips; see `FramePairs`.
        out: a new folder, or one without a training in it.
        steps: how many; by default what num_epochs and num_repeats of the config make of the data. An epoch,
            at whose milestones the learning rates drop, is the same in both cases.
        seed: of the networks, the pairs and the transforms.
        init: weights to start from: a name, a `.safetensors`, or a published `.pth.tar`. The detector, the
            dense motion network, the rest of the generator and the discriminator are each taken over where
            they fit the config, and start anew where they do not; a line says so.
        perceptual: overrides `train_params.perceptual_network`.
        device: by default the GPU where there is one.
        bf16: run the networks in bfloat16; about 1.6 times faster on CPUs that have it.
        cache: a folder for the decoded frames; see `FramePairs`.
        workers: processes that read ahead.
    Returns:
        The path of the weights.
    Raises:
        InputError: bad config or data, an `out` with a training in it, weights that do not fit, or a loss
            that is not finite.

    Example:
        >>> train("heads-64", data="data/heads", out="runs/first", steps=100)  # doctest: +SKIP
    """
    config = load_config(config)
    if perceptual is not None:
        changed = config.model_dump()
        changed["train_params"]["perceptual_network"] = perceptual
        config = load_config(changed)
    params = config.train_params
    if steps is not None and steps < 1:
        raise InputError(f"steps = {steps}: must be at least 1")
    out = Path(out)
    weights_file = out / "weights.safetensors"
    if weights_file.exists() or (out / "losses.csv").exists():
        raise InputError(f"{out}: holds a training already; choose another folder")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    dataset = FramePairs(
        data,
        "train",
        size=config.dataset_params.frame_shape[:2],
        id_sampling=config.dataset_params.id_sampling,
        augmentation=config.dataset_params.augmentation_params,
        repeats=params.num_repeats,
        seed=seed,
        cache=cache,
    )
    loader = pair_loader(dataset, params.batch_size, workers)

    torch.manual_seed(seed)
    model, discriminator = FirstOrderMotionModel(config), build_discriminator(config)
    if init is not None:
        _start_from(init, model, discriminator)
    layout = torch.channels_last  # what convolutions of CPUs and of tensor cores like best
    model = model.to(device, memory_format=layout).train()
    discriminator = discriminator.to(device, memory_format=layout).train()
    network = None
    if sum(params.loss_weights.perceptual):
        network = perceptual_network(params.perceptual_network).to(device, memory_format=layout)

    steps = steps or params.num_epochs * len(loader)
    step_of_training = TrainingStep(model, discriminator, network, config, autocast=bf16)
    schedules = [
        MultiStepLR(optimizer, params.epoch_milestones, gamma=0.1)
        for optimizer in step_of_training.optimizers.values()
    ]
    transforms = torch.Generator().manual_seed(seed)
    examples = _examples(data, model, device)

    (out / "samples").mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    started = time.monotonic()

    def save(step: int) -> None:
        networks = {
            "generator": model.generator.state_dict(),
            "kp_detector": model.kp_detector.state_dict(),
            "discriminator": discriminator.state_dict(),
        }
        notes = {"steps": str(step), "seed": str(seed), "seconds": f"{time.monotonic() - started:.0f}"}
        if init is not None:
            notes["started from"] = Path(init).name
        write_weights(weights_file, networks, config, dtype=None, notes=notes, overwrite=True)

    step, last_epoch = 0, 0
    with LossLog(out / "losses.csv") as log, tqdm(total=steps, disable=not progress, unit="step") as bar:
        try:
            for step, (epoch, batch) in enumerate(_endless(loader), start=1):
                if epoch != last_epoch:
                    last_epoch = epoch
                    for schedule in schedules:
                        schedule.step()
                source = batch["source"].to(device, memory_format=layout)
                driving = batch["driving"].to(device, memory_format=layout)
                transform = RandomTransform.sample(
                    len(source), **params.transform_params.model_dump(), generator=transforms, device=device
                )
                losses = step_of_training(source, driving, transform)
                if not all(math.isfinite(loss) for loss in losses.values()):
                    raise InputError(_not_finite(losses, step, batch["name"]))
                log.add(losses)
                bar.update()
                last = step == steps
                if step % log_every == 0 or last:
                    bar.set_postfix(log.write(step, epoch, time.monotonic() - started))
                if step % sample_every == 0 or last:
                    write_samples(out / "samples" / f"{step:07d}.png", model, *examples)
                if step % checkpoint_every == 0 or last:
                    save(step)
                if last:
                    break
        except KeyboardInterrupt:
            if step > 1:
                save(step - 1)  # the step that was interrupted does not count
            raise
    return weights_file


def _endless(loader: PairLoader) -> Iterator[tuple[int, dict]]:
    """Epoch after epoch: (epoch, batch)."""
    for epoch in itertools.count():
        loader.set_epoch(epoch)
        for batch in loader:
            yield epoch, batch


class LossLog:
    """A CSV of losses: step, epoch, seconds, then a column a loss, empty where it is not computed."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.sums: dict[str, float] = {}
        self.count = 0

    def __enter__(self) -> LossLog:
        self.file = open(self.path, "w", newline="")
        self.writer = csv.writer(self.file)
        self.writer.writerow(["step", "epoch", "seconds", *LOSSES])
        return self

    def __exit__(self, *error) -> None:
        self.file.close()

    def add(self, losses: dict[str, float]) -> None:
        """Remember the losses of one step."""
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss
        self.count += 1

    def write(self, step: int, epoch: int, seconds: float) -> dict[str, str]:
        """Write the means since the last row, and give them as text for a progress bar."""
        means = {name: f"{self.sums[name] / self.count:.4f}" for name in LOSSES if name in self.sums}
        self.writer.writerow([step, epoch, f"{seconds:.1f}", *(means.get(name, "") for name in LOSSES)])
        self.file.flush()
        self.sums, self.count = {}, 0
        return means


@torch.no_grad()
def sample_grid(model: FirstOrderMotionModel, source: Tensor, driving: Tensor) -> Tensor:
    """What the model makes of pairs, a row each: source, driving, keypoints, deformed, occlusion, prediction.

    Keypoints are drawn on the driving frame. The model is in eval mode meanwhile, and then as before.

    Args:
        source, driving: (B, 3, H, W) in [0, 1].
    Returns:
        uint8 (3, height, width).
    """
    training = model.training
    model.eval()
    kp_source, kp_driving = model.detect(source), model.detect(driving)
    generated = model.generate(source, kp_source, kp_driving, for_people=True)
    model.train(training)
    height, width = source.shape[-2:]
    zoom = max(1, 128 // height)  # small pictures are enlarged, so that one sees the points

    def enlarge(pictures: Tensor) -> Tensor:
        size = (height * zoom, width * zoom)
        return (
            nn.functional.interpolate(pictures.float(), size=size, mode="nearest")
            .mul(255)
            .round()
            .byte()
            .cpu()
        )

    points = to_pixels(kp_driving.value, height * zoom, width * zoom).cpu()
    colours = _rainbow(points.shape[1])
    marked = []
    for picture, of_picture in zip(enlarge(driving), points, strict=True):
        for point, colour in zip(of_picture, colours, strict=True):
            picture = draw_keypoints(
                picture, point[None, None], colors=colour, radius=max(2, width * zoom // 64)
            )
        marked.append(picture)
    occlusion = generated.occlusion_map
    occlusion = torch.ones_like(source[:, :1]) if occlusion is None else occlusion
    occlusion = nn.functional.interpolate(occlusion.float(), size=(height, width)).expand(-1, 3, -1, -1)
    deformed = source if generated.deformed is None else generated.deformed
    columns = [
        enlarge(source),
        enlarge(driving),
        torch.stack(marked),
        enlarge(deformed),
        enlarge(occlusion),
        enlarge(generated.prediction),
    ]
    rows = torch.stack(columns, dim=1).flatten(0, 1)
    return make_grid(rows, nrow=len(columns), padding=2, pad_value=255)


def write_samples(path: Path, model: FirstOrderMotionModel, source: Tensor, driving: Tensor) -> None:
    """`sample_grid` as a PNG."""
    with atomic_output(path, overwrite=True) as temporary:
        Image.fromarray(sample_grid(model, source, driving).permute(1, 2, 0).numpy()).save(temporary)


def _examples(
    data: str | os.PathLike, model: FirstOrderMotionModel, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Six fixed pairs to look at while it trains, of the test split where there is one."""
    split = "test" if (Path(data) / "test").is_dir() else "train"
    pairs = FramePairs(data, split, size=model.size, seed=1)
    chosen = (
        [pairs[i * len(pairs) // 6] for i in range(6)]
        if len(pairs) > 6
        else [pairs[i] for i in range(len(pairs))]
    )
    return tuple(torch.stack([pair[part] for pair in chosen]).to(device) for part in ("source", "driving"))


def _start_from(init: str | os.PathLike, model: FirstOrderMotionModel, discriminator: nn.Module) -> None:
    """Take over every part that fits; one that does not (of another width, say) starts anew."""
    networks = read_checkpoint(init).networks
    generator, motion = networks["generator"], "dense_motion_network."
    own_motion = {name: t for name, t in model.generator.state_dict().items() if name.startswith(motion)}
    parts = {
        "kp_detector": (model.kp_detector, networks["kp_detector"]),
        "generator": (model.generator, {**own_motion, **_without(generator, motion)}),
        "discriminator": (discriminator, networks.get("discriminator", {})),
    }
    if model.generator.dense_motion_network is not None:
        parts["dense motion"] = (model.generator.dense_motion_network, _below(generator, motion))
    taken = []
    for name, (network, entries) in parts.items():
        if not entries:
            continue
        try:
            load_network(network, entries, name)
            taken.append(name)
        except InputError as error:
            tqdm.write(f"{init}: {name} starts anew: {error}")
    if not taken:
        raise InputError(
            f"{init}: no part of it fits the config; choose other weights, or train without init"
        )


def _below(entries: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in entries.items() if name.startswith(prefix)}


def _without(entries: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries that are not under a prefix."""
    return {name: t for name, t in entries.items() if not name.startswith(prefix)}


def _rainbow(number: int) -> list[tuple[int, int, int]]:
    from matplotlib import colormaps

    return [tuple(int(255 * c) for c in colormaps["gist_rainbow"](i / number)[:3]) for i in range(number)]


def _not_finite(losses: dict[str, float], step: int, names: list[str]) -> str:
    bad = [name for name, loss in losses.items() if not math.isfinite(loss)]
    return (
        f"step {step}: {' and '.join(bad)} is not finite, on {', '.join(names)}; "
        "try a lower learning rate, or float32 instead of bf16"
    )
