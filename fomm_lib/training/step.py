"""One step of training: generate, compute the six losses, update three networks.

Nothing is computed twice. The generated image is a *seam*: the networks that compute losses from it get a
copy without history, and their gradients stop at that copy; from there one backward pass goes through
generator and detector. Nobody waits, either: numbers stay on the device until the networks are updated.

    images -> detector -> generator -> prediction | seam | pyramid -> VGG, discriminator -> losses

So the discriminator sees each image once, for the generator's losses and for its own.

Where a further loss belongs, in `TrainingStep`:

- of the generated image: in a method like `perceptual`, which `backward` calls before the backward pass
  through the generator. It takes the images of the seam, and calls `backward` of the loss itself, which
  leaves the gradient at the seam.
- of keypoints: in `equivariance_losses`, whose sum is part of the backward pass through the detector.
- of the discriminator: at the end of `adversarial_losses`, beside R1.

Source: FOMM, section 3.3 and supplementary A.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel

from fomm_lib.blocks import ImagePyramid, scale_name
from fomm_lib.config import Config, LossWeights
from fomm_lib.errors import InputError
from fomm_lib.gan import r1_penalty
from fomm_lib.generator import resize_occlusion
from fomm_lib.geometry import at_least_float32, gaussian_heatmaps, to_pixels
from fomm_lib.keypoints import Keypoints
from fomm_lib.losses import (
    DiscriminatorOutput,
    RandomTransform,
    discriminator_gan_loss,
    equivariance_jacobian_loss,
    equivariance_value_loss,
    feature_matching_loss,
    generator_gan_loss,
    perceptual_loss,
)
from fomm_lib.model import FirstOrderMotionModel
from fomm_lib.training.state import load_networks, load_optimizers

CROP, FULL = "crop", "full"
"""Forms of an image beside its scales, see `TrainingStep.views`."""
_LED_SPREAD = 0.06
_TINY = 1e-6  # where nothing is hidden, no pixel counts

PRECISIONS = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class NotFinite(ArithmeticError):
    """A loss or a gradient is not a finite number. The networks are as they were before the step.

    Attributes:
        names: of the losses and gradients.
    """

    def __init__(self, names: list[str]):
        super().__init__(f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not finite")
        self.names = names


class GeneratorPass(nn.Module):
    """The model's forward pass in a step as one call, as DistributedDataParallel and torch.compile need it.

    The detector runs three times, so its batch norm sees three batches, as published; or twice, without a
    transformed image, if it does not learn.
    """

    def __init__(self, model: FirstOrderMotionModel):
        super().__init__()
        self.model = model

    def forward(
        self, source: Tensor, driving: Tensor, transformed: Tensor | None, hole: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Keypoints, Keypoints | None]:
        kp_source, kp_driving = self.model.detect(source), self.model.detect(driving)
        generated = self.model.generate(source, kp_source, kp_driving, hole=hole)
        kp_transformed = None if transformed is None else self.model.detect(transformed)
        return generated.prediction, generated.occlusion_map, kp_driving, kp_transformed


class DiscriminatorPass(nn.Module):
    """The discriminator on generated and real images in one call, for the same reason."""

    def __init__(self, discriminator: nn.Module):
        super().__init__()
        self.discriminator = discriminator

    def forward(
        self, fake: dict[float, Tensor], real: dict[float, Tensor], kp: Keypoints
    ) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
        fake_output = self.discriminator(fake, kp)  # first, as published: it matters to spectral norm
        return fake_output, self.discriminator(real, kp)


class TrainingStep:
    """One step of training, with everything that it changes: networks, optimizers, moving average.

    First the gradients of the losses of generator and detector are computed, then, if the config has an
    adversarial weight, those of the discriminator on the same images; last all three networks are updated. No
    network changes before all gradients are computed, so this equals the published step, in which the
    discriminator runs again after the generator's update, but on images generated before it.

    With `generator_gan: 0` neither the adversarial loss nor feature matching is computed. With
    `freeze_motion` detector and dense motion network do not learn, only the rest of the generator does.

    What is shared, and why the result is the same:

    - the real image's features (VGG) have no gradient, and are computed once a scale;
    - the generator's losses leave no gradient in the discriminator's weights;
    - the discriminator runs once a step on real and generated images, not twice. This is exact unless its
      convolutions are spectrally normalised: then every call in train mode improves the estimate of the
      norms, four times a step as published, and the fourth differs from the first. In that case it runs four
      times, in the published order, so that its numbers stay the same.

    Args:
        model: detector and generator, in train mode.
        discriminator: see `build_discriminator`.
        network: of the perceptual loss, see `perceptual.perceptual_network`; None for no perceptual loss.
        config: loss weights, learning rates, the options for stability.
        accelerator: of the processes that train together; by default this one alone.
        precision: "no" (float32), "bf16", or "fp16", of the networks where they allow it; losses and
            keypoints stay in float32. With fp16 losses are scaled so that small gradients do not vanish, and
            a step whose gradients overflow is skipped.
        accumulate: compute a batch in this many parts, one after the other, for less memory. Batch norm then
            sees the parts one by one, so numbers change as with smaller batches.
        compile: compile the networks by torch.compile; the first step then takes minutes. It needs a C++
            compiler, and on a GPU Triton.

    Attributes:
        optimizers: Adam with betas (0.5, 0.999), one a network.
        averaged: the moving average of the model with `train_params.ema_decay`, else None.
        gradient_norms: of the last step, by network; without those that are not finite.

    Raises:
        InputError: fp16 without a GPU, an unknown precision, or `compile` where it does not work.

    Example:
        >>> step = TrainingStep(model, build_discriminator(config), network, config)  # doctest: +SKIP
        >>> step(source, driving, RandomTransform.sample(len(source)))  # doctest: +SKIP
        {'perceptual': 71.3, 'equivariance_value': 0.31, 'equivariance_jacobian': 0.62}
    """

    def __init__(
        self,
        model: FirstOrderMotionModel,
        discriminator: nn.Module,
        network: nn.Module | None,
        config: Config,
        *,
        accelerator: Accelerator | None = None,
        precision: str = "no",
        accumulate: int = 1,
        compile: bool = False,
    ):
        if precision not in PRECISIONS:
            raise InputError(f"precision = {precision!r}: choose one of {', '.join(PRECISIONS)}")
        self.model, self.discriminator, self.network = model, discriminator, network
        self.params = config.train_params
        self.accumulate = accumulate
        self.device = next(model.parameters()).device
        if precision == "fp16" and self.device.type == "cpu":
            raise InputError("fp16 needs a GPU; on a CPU take bf16, or float32")
        self.dtype = PRECISIONS[precision]
        channels = config.model_params.common_params.num_channels
        self.pyramid = ImagePyramid(channels, self.params.scales).to(self.device)
        self.adversarial = bool(self.params.loss_weights.generator_gan)
        self.discriminate_once = not config.model_params.discriminator_params.sn

        self.frozen: list[nn.Module] = []
        if self.params.freeze_motion:
            parts = (model.kp_detector, model.generator.dense_motion_network)
            self.frozen = [part.requires_grad_(False) for part in parts if part is not None]
        self.trained = {"generator": model.generator, "kp_detector": model.kp_detector}
        if self.adversarial:
            self.trained["discriminator"] = discriminator
        fused = self.device.type in ("cpu", "cuda")
        self.optimizers = {
            name: Adam(part.parameters(), getattr(self.params, f"lr_{name}"), betas=(0.5, 0.999), fused=fused)
            for name, part in self.trained.items()
        }
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        # Whether an update can be called off on the device, without asking first whether all is finite.
        self.calls_off = fused and not self.scaler.is_enabled()
        self.averaged = None
        if self.params.ema_decay:
            self.averaged = AveragedModel(
                model, multi_avg_fn=_Average(self.params.ema_decay), use_buffers=True
            )
            # `AveragedModel` reads it in every step.
            self.averaged.n_averaged = self.averaged.n_averaged.cpu()
        self.gradient_norms: dict[str, float] = {}

        self.accelerator = accelerator
        self.generator_pass, self.discriminator_pass = GeneratorPass(model), DiscriminatorPass(discriminator)
        self.perceptual_pass = network
        if accelerator is not None:
            with warnings.catch_warnings():
                # Its successor does not exist in older versions of PyTorch and Accelerate.
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
                self.generator_pass = accelerator.prepare_model(self.generator_pass)
                if self.adversarial:
                    self.discriminator_pass = accelerator.prepare_model(self.discriminator_pass)
        if compile:
            _try_compiler(self.device)
            self.generator_pass = torch.compile(self.generator_pass)
            self.discriminator_pass = torch.compile(self.discriminator_pass)
            self.perceptual_pass = None if network is None else torch.compile(network)

    def __call__(self, source: Tensor, driving: Tensor, transform: RandomTransform) -> dict[str, float]:
        """Update all networks on one batch; gives the weighted losses, by name, of all processes together.

        Args:
            source, driving: (B, C, H, W) in [0, 1].
            transform: B random transforms, for the equivariance losses.
        Raises:
            NotFinite: a loss or a gradient is not finite; nothing was updated.
        """
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        batch = (each.chunk(self.accumulate) for each in (source, driving, transform))
        parts = list(zip(*batch, strict=True))
        found = []
        for number, part in enumerate(parts, start=1):
            with self._exchanging(last=number == len(parts)):
                found.append(self.backward(*part))
        losses = self._mean_of(found)
        norms = {f"the gradient of {name}": norm for name, norm in self._clip().items()}
        numbers = torch.stack([*losses.values(), *norms.values()])
        if not self.calls_off:
            self._check(losses, norms, numbers.tolist())
        self.update(wrong=~numbers.isfinite().all())
        values = numbers.tolist()  # the only time in a step that the processor waits for a GPU
        self._check(losses, norms, values)
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        lengths = zip(self.optimizers, values[len(losses) :], strict=True)
        self.gradient_norms = {name: length for name, length in lengths if math.isfinite(length)}
        return dict(zip(losses, values, strict=False))

    def _check(self, losses: dict[str, Tensor], norms: dict[str, Tensor], values: list[float]) -> None:
        """With the scaler of fp16 gradients may overflow: then it skips the update by itself."""
        wrong = [
            name for name, value in zip([*losses, *norms], values, strict=True) if not math.isfinite(value)
        ]
        bad = [name for name in wrong if name in losses] or ([] if self.scaler.is_enabled() else wrong)
        if bad:
            raise NotFinite(bad)

    def backward(self, source: Tensor, driving: Tensor, transform: RandomTransform) -> dict[str, Tensor]:
        """Add the gradients of one batch, or part of one, to those of all networks; gives the losses."""
        for frozen in self.frozen:
            frozen.eval()  # its batch norm does not change either
        transformed = None  # nothing would be learned from it
        if not self.frozen:
            transformed = transform.warp_image(driving, align_corners=self.model.align_corners)
        hole = random_holes(source, self.params.holes) if self.params.holes else None
        with self._precision():
            inputs = source, driving, transformed, hole
            prediction, occlusion, kp_driving, kp_transformed = self.generator_pass(*inputs)
            images, real = (
                self.views(at_least_float32(image), kp_driving) for image in (prediction, driving)
            )
        seam = {scale: image.detach().requires_grad_() for scale, image in images.items()}

        weighted = self.weight_maps(kp_driving, occlusion, driving.shape[-2:])
        losses = self.perceptual(seam, real) | self.pixel(seam, real, weighted)
        if self.adversarial:
            losses |= self.adversarial_losses(seam, real, kp_driving.detach())
        equivariance = {}
        if not self.frozen:
            weights = self.params.loss_weights
            equivariance = equivariance_losses(kp_driving, kp_transformed, transform, weights)

        # From the seam, one backward pass through the generator, and through the detector's three runs.
        ends = [images[scale] for scale, copy in seam.items() if copy.grad is not None]
        gradients = [seam[scale].grad for scale, copy in seam.items() if copy.grad is not None]
        if equivariance:
            ends.append(self._scaled(sum(equivariance.values())))
            gradients.append(None)
        torch.autograd.backward(ends, gradients)
        return {name: loss.detach() for name, loss in (losses | equivariance).items()}

    def views(self, image: Tensor, kp_driving: Keypoints) -> dict[float | str, Tensor]:
        """All forms of an image that losses see: at the scales of the config, and if a loss has use for them,
        `CROP`, a part around the face, and `FULL`, the image itself.
        """
        views = self.pyramid(image)
        if self.params.perceptual_crop:
            centres = kp_driving.value.detach().mean(1)
            views[CROP] = square_around(image, centres, self.params.perceptual_crop)
        weights = self.params.loss_weights
        if weights.pixel or weights.pixel_led or weights.pixel_hidden:
            views[FULL] = image
        return views

    @torch.no_grad()
    def weight_maps(
        self, kp_driving: Keypoints, occlusion: Tensor | None, size: tuple[int, int]
    ) -> list[tuple[float, Tensor]]:
        """What the pixel loss counts beside the mean over the image: maps (B, 1, H, W), each with its weight.

        `pixel_led`: a Gaussian of standard deviation `_LED_SPREAD` around each keypoint that is led to
        landmarks: eyes and mouth are small, and people look at them. `pixel_hidden`: what must be painted.
        """
        weights, maps = self.params.loss_weights, []
        if weights.pixel_led:
            led = kp_driving.value[:, [one.keypoint for one in self.params.led_keypoints]]
            near = gaussian_heatmaps(led, *size, variance=_LED_SPREAD**2).sum(1, keepdim=True)
            maps.append((weights.pixel_led, near))
        if weights.pixel_hidden:
            hidden = 1 - resize_occlusion(at_least_float32(occlusion), size)
            maps.append((weights.pixel_hidden, hidden))
        return maps

    def pixel(
        self,
        fake: dict[float | str, Tensor],
        real: dict[float | str, Tensor],
        maps: list[tuple[float, Tensor]] = (),
    ) -> dict[str, Tensor]:
        """weight mean d, and for each map g of `weight_maps` its weight sum g d / sum g, with
        d = |fake - real| at full size.
        """
        if FULL not in fake:
            return {}
        difference = (fake[FULL] - real[FULL]).abs().mean(1, keepdim=True)
        loss = self.params.loss_weights.pixel * difference.mean()
        for weight, places in maps:
            loss = loss + weight * (difference * places).sum() / places.sum().clamp(min=_TINY)
        self._scaled(loss).backward()
        return {"pixel": loss.detach()}

    def perceptual(self, fake: dict[float, Tensor], real: dict[float, Tensor]) -> dict[str, Tensor]:
        """The perceptual loss, scale by scale: the features of one are freed before those of the next."""
        weights = self.params.loss_weights.perceptual
        if not sum(weights):
            return {}
        total = torch.zeros((), device=self.device)
        for scale in fake:
            if scale == FULL:
                continue
            with self._precision():
                loss = perceptual_loss(
                    self.perceptual_pass, {scale: fake[scale]}, {scale: real[scale]}, weights
                )
            self._scaled(loss).backward()
            total = total + loss.detach()
        return {"perceptual": total}

    def adversarial_losses(
        self, fake: dict[float, Tensor], real: dict[float, Tensor], kp: Keypoints
    ) -> dict[str, Tensor]:
        """The losses of the generator, whose gradients stop at the seam, then that of the discriminator."""
        weights = self.params.loss_weights
        with self._precision():
            if self.discriminate_once:
                fake_output, real_output = self.discriminator_pass(fake, real, kp)
            else:
                fake_output = self.discriminator(fake, kp)
                with torch.no_grad():
                    real_output = self.discriminator(real, kp)
        losses = {"gen_gan": weights.generator_gan * generator_gan_loss(fake_output)}
        if sum(weights.feature_matching):
            losses["feature_matching"] = feature_matching_loss(
                real_output, fake_output, weights.feature_matching
            )
        seen = [fake[scale] for scale in self.discriminator.scales]
        self._scaled(sum(losses.values())).backward(inputs=seen, retain_graph=self.discriminate_once)

        if not self.discriminate_once:
            with self._precision():
                copies = {scale: image.detach() for scale, image in fake.items()}
                fake_output, real_output = self.discriminator_pass(copies, real, kp)
        losses["disc_gan"] = weights.discriminator_gan * discriminator_gan_loss(real_output, fake_output)
        total = losses["disc_gan"]
        if self.params.r1:
            losses["r1"] = self.params.r1 / 2 * self.slope_at_real(real, kp)
            total = total + losses["r1"]
        self._scaled(total).backward(inputs=list(self.discriminator.parameters()))
        return losses

    def slope_at_real(self, real: dict[float, Tensor], kp: Keypoints) -> Tensor:
        """The R1 penalty of the discriminator (see `gan.r1_penalty`), summed over its scales; in float32."""

        def prediction(scale: float, image: Tensor) -> Tensor:
            return self.discriminator.discs[scale_name(scale)](image, kp)[1]

        return sum(
            r1_penalty(partial(prediction, scale), at_least_float32(real[scale]))
            for scale in self.discriminator.scales
        )

    def _clip(self) -> dict[str, Tensor]:
        """Clip gradients if the config says so; gives the norm of each network's gradient before that."""
        limit = self.params.clip_grad_norm or float("inf")
        for optimizer in self.optimizers.values():
            self.scaler.unscale_(optimizer)
        return {
            name: nn.utils.clip_grad_norm_(part.parameters(), limit) for name, part in self.trained.items()
        }

    def update(self, wrong: Tensor) -> None:
        """Update all networks, or none if `wrong`, a flag on the device, says so.

        A fused optimizer reads the flag itself, as it does for the scaler of fp16, so nobody waits for it.
        """
        for optimizer in self.optimizers.values():
            if self.calls_off:
                optimizer.found_inf = wrong.float()
            self.scaler.step(optimizer)
        self.scaler.update()

    def set_learning_rates(self, factor: float) -> None:
        """Set every network's learning rate to that of the config times `factor`."""
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = factor * getattr(self.params, f"lr_{name}")

    @property
    def result(self) -> FirstOrderMotionModel:
        """The model to keep: the moving average where there is one."""
        return self.model if self.averaged is None else self.averaged.module

    def networks(self, model: FirstOrderMotionModel | None = None) -> dict[str, dict[str, Tensor]]:
        """The state dicts of generator, detector and discriminator, by default of `result`."""
        model = model or self.result
        return {
            "generator": model.generator.state_dict(),
            "kp_detector": model.kp_detector.state_dict(),
            "discriminator": self.discriminator.state_dict(),
        }

    def state(self) -> dict:
        """Everything that a step changes: networks, optimizers, scaler, moving average."""
        return {
            "networks": self.networks(self.model),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
        }

    def load_state(self, state: dict) -> None:
        """Continue from the result of `state`.

        Raises:
            InputError: it has another set of networks, or a moving average where there is none, or none where
                there is one.
        """
        if set(state["optimizers"]) != set(self.optimizers):
            raise InputError(
                f"the training was of {', '.join(state['optimizers'])}, the config trains "
                f"{', '.join(self.optimizers)}; start another training from its weights: init"
            )
        if (state["averaged"] is None) != (self.averaged is None):
            raise InputError("ema_decay cannot be switched on or off in the middle of a training")
        names = self.networks(self.model)
        networks = {name: getattr(self.model, name, None) or self.discriminator for name in names}
        load_networks(networks, state["networks"])
        load_optimizers(self.optimizers, state["optimizers"])
        self.scaler.load_state_dict(state["scaler"])
        if self.averaged is not None:
            load_networks({"averaged": self.averaged}, {"averaged": state["averaged"]})

    def _scaled(self, loss: Tensor) -> Tensor:
        """For the backward pass: a part's share of the batch, and the factor that fp16 needs."""
        return self.scaler.scale(loss / self.accumulate if self.accumulate > 1 else loss)

    def _precision(self):
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def _exchanging(self, last: bool) -> contextlib.ExitStack:
        """Processes exchange gradients with the last part of a batch, not before."""
        without = contextlib.ExitStack()
        if self.accelerator is not None and not last:
            without.enter_context(self.accelerator.no_sync(self.generator_pass))
            without.enter_context(self.accelerator.no_sync(self.discriminator_pass))
        return without

    def _mean_of(self, found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Means over the parts of a batch and over processes."""
        values = torch.stack([torch.stack([loss.float() for loss in part.values()]) for part in found])
        values = values.mean(0)
        if self.accelerator is not None:
            values = self.accelerator.reduce(values, "mean")
        return dict(zip(found[0], values, strict=True))


def equivariance_losses(
    kp_driving: Keypoints, kp_transformed: Keypoints, transform: RandomTransform, weights: LossWeights
) -> dict[str, Tensor]:
    """The losses of values and of Jacobians, weighted, as far as they have a weight."""
    losses = {}
    if weights.equivariance_value:
        loss = equivariance_value_loss(kp_driving, kp_transformed, transform)
        losses["equivariance_value"] = weights.equivariance_value * loss
    if weights.equivariance_jacobian and kp_driving.jacobian is not None:
        loss = equivariance_jacobian_loss(kp_driving, kp_transformed, transform)
        losses["equivariance_jacobian"] = weights.equivariance_jacobian * loss
    return losses


def random_holes(images: Tensor, share: float) -> Tensor:
    """A rectangle in a share of the images, for inpainting to be learned: (B, 1, H, W), 1 in it, else 0.

    Its sides are a sixteenth to three eighths of the image's, small ones as often as large ones.

    Example:
        >>> random_holes(torch.zeros(4, 3, 64, 64), 0.0).sum()
        tensor(0.)
    """
    batch, _, height, width = images.shape
    drawn = torch.rand(batch, 5, dtype=torch.float64)
    sides = (drawn[:, :2] * math.log(6)).exp() / 16
    starts = drawn[:, 2:4] * (1 - sides)
    inside = []
    for axis, length in enumerate((height, width)):
        place = (torch.arange(length) + 0.5) / length
        start, side = starts[:, axis, None], sides[:, axis, None]
        inside.append((place >= start) & (place < start + side) & (drawn[:, 4:] < share))
    rows, columns = inside
    return (rows[:, None, :, None] & columns[:, None, None, :]).to(images)


def square_around(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """A square of each image around a point, moved inside where it would stick out: (B, C, h, w), with h and
    w the smaller of `side` and the image's.

    Args:
        images: (B, C, H, W).
        centres: (B, 2), (x, y) in [-1, 1].
        side: in pixels.

    Example:
        >>> square_around(torch.arange(16.0).view(1, 1, 4, 4), torch.tensor([[1.0, -1.0]]), 2)[0, 0]
        tensor([[2., 3.],
                [6., 7.]])
    """
    height, width = images.shape[-2:]
    sides = min(side, height), min(side, width)
    corners = to_pixels(centres, height, width) - (torch.tensor(sides[::-1]) - 1).to(centres) / 2
    parts = []
    for image, (left, top) in zip(images, corners.round().long().tolist(), strict=True):
        top, left = max(0, min(top, height - sides[0])), max(0, min(left, width - sides[1]))
        parts.append(image[:, top : top + sides[0], left : left + sides[1]])
    return torch.stack(parts)


def _try_compiler(device: torch.device) -> None:
    """Compile a small function first, so that a missing compiler is found before the first step."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(1, device=device))
    except Exception as error:  # of many types, none of them public
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"compile: torch.compile does not work here ({reason}); it needs a C++ compiler, such as gcc, "
            "and on a GPU Triton; install them, or leave compile away"
        ) from error


class _Average:
    """average <- decay average + (1 - decay) current, with decay at most (1 + count) / (10 + count).

    So that the first steps, whose weights are poor, are soon forgotten.
    """

    def __init__(self, decay: float):
        self.decay = decay

    @torch.no_grad()
    def __call__(self, averages: list[Tensor], currents: list[Tensor], count: Tensor) -> None:
        decay = ((1 + count) / (10 + count)).clamp(max=self.decay)  # on the device: nobody waits for it
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current, (1 - decay).to(average.dtype))
            else:
                average.copy_(current)  # a count
