"""One step of training: generate, compute the six losses, update three networks.

Every line of the step can be followed, yet nothing is computed twice. The generated picture is a *seam*: what
judges it sees a copy that has no history, and leaves its gradient there; then the gradient goes on from the
seam, once, through generator and detector.

    pictures -> detector -> generator -> prediction | seam | pyramid -> VGG, discriminator -> losses

So the discriminator judges each picture once, for the generator's losses and for its own.

Source: FOMM, section 3.3 and supplementary A.
"""

from __future__ import annotations

import contextlib
import warnings

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel

from fomm_lib.blocks import ImagePyramid, scale_name
from fomm_lib.config import Config
from fomm_lib.files import InputError
from fomm_lib.gan import r1_penalty
from fomm_lib.geometry import at_least_float32
from fomm_lib.keypoints import Keypoints
from fomm_lib.losses import (
    Judged,
    RandomTransform,
    discriminator_gan_loss,
    equivariance_jacobian_loss,
    equivariance_value_loss,
    feature_matching_loss,
    generator_gan_loss,
    perceptual_loss,
)
from fomm_lib.model import FirstOrderMotionModel

PRECISIONS = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class NotFinite(ArithmeticError):
    """A loss or a gradient is not a finite number. The networks are as they were before the step.

    Attributes:
        names: which.
    """

    def __init__(self, names: list[str]):
        super().__init__(f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not finite")
        self.names = names


class GeneratorPass(nn.Module):
    """All of the model's work in a step as one call, so that DistributedDataParallel and torch.compile see it
    whole. The detector runs three times, so its batch norm sees three batches, as published.
    """

    def __init__(self, model: FirstOrderMotionModel):
        super().__init__()
        self.model = model

    def forward(
        self, source: Tensor, driving: Tensor, transformed: Tensor
    ) -> tuple[Tensor, Keypoints, Keypoints]:
        kp_source, kp_driving = self.model.detect(source), self.model.detect(driving)
        prediction = self.model.generate(source, kp_source, kp_driving).prediction
        return prediction, kp_driving, self.model.detect(transformed)


class DiscriminatorPass(nn.Module):
    """Fake and real judged in one call, for the same reason."""

    def __init__(self, discriminator: nn.Module):
        super().__init__()
        self.discriminator = discriminator

    def forward(
        self, fake: dict[float, Tensor], real: dict[float, Tensor], kp: Keypoints
    ) -> tuple[Judged, Judged]:
        judged_real = self.discriminator(real, kp)  # first, as published: under spectral norm it matters
        return self.discriminator(fake, kp), judged_real


class TrainingStep:
    """One step of training, and everything it changes.

    The losses of generator and detector leave their gradients first, then, where the config has an
    adversarial weight, those of the discriminator on the same pictures; at last all three networks are
    updated. As no network changes before all gradients are there, this is the published step: there the
    discriminator judges again, after the generator's update, but pictures made before it.

    With `generator_gan: 0` neither the adversarial loss nor feature matching is computed. With
    `freeze_motion` detector and dense motion network are used as they are, and only the rest of the generator
    learns.

    What is shared, and what it leaves equal:

    - the real picture's features (VGG) have no gradient, and are computed once a scale;
    - the generator's losses leave no gradient in the discriminator's weights;
    - the discriminator judges real and fake once a step, not twice. This is exact unless its convolutions are
      spectrally normalised: then every call in train mode improves the estimate of the norms, four times a
      step as published, and the fourth differs from the first. There it judges four times, in the published
      order, so that its numbers stay the same.

    Args:
        model: detector and generator, in train mode.
        discriminator: as `build_discriminator` makes it.
        network: what judges pictures, of `perceptual.perceptual_network`; None where no perceptual loss is
            wanted.
        config: loss weights, learning rates, the switches for stability.
        accelerator: of the processes that train together; by default this one alone.
        precision: "no" (float32), "bf16", or "fp16", of the networks where they allow it; losses and points
            stay in float32. With fp16 losses are scaled so that small gradients do not vanish, and a step
            whose gradients overflow is left out.
        accumulate: compute a batch in so many parts, one after the other, for less memory. Batch norm then
            sees the parts one by one, so numbers change as with smaller batches.
        compile: let torch.compile translate the networks; the first step then takes minutes. It needs a C++
            compiler, and on a GPU Triton.

    Attributes:
        optimizers: Adam with betas (0.5, 0.999), one a network.
        averaged: the moving average of the model where `train_params.ema_decay` asks for one, else None.
        gradient_norms: of the last step, by network.

    Raises:
        InputError: fp16 where it cannot be, a precision that does not exist, or `compile` where it does not
            work.

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
        self.judge_once = not config.model_params.discriminator_params.sn

        self.frozen: list[nn.Module] = []
        if self.params.freeze_motion:
            parts = (model.kp_detector, model.generator.dense_motion_network)
            self.frozen = [part.requires_grad_(False) for part in parts if part is not None]
        self.trained = {"generator": model.generator, "kp_detector": model.kp_detector}
        rates = {"generator": self.params.lr_generator, "kp_detector": self.params.lr_kp_detector}
        if self.adversarial:
            self.trained["discriminator"] = discriminator
            rates["discriminator"] = self.params.lr_discriminator
        fused = self.device.type in ("cpu", "cuda")
        self.optimizers = {
            name: Adam(network.parameters(), rates[name], betas=(0.5, 0.999), fused=fused)
            for name, network in self.trained.items()
        }
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.averaged = None
        if self.params.ema_decay:
            self.averaged = AveragedModel(
                model, multi_avg_fn=_Average(self.params.ema_decay), use_buffers=True
            )
        self.gradient_norms: dict[str, float] = {}

        self.accelerator = accelerator
        self.generator_pass, self.discriminator_pass = GeneratorPass(model), DiscriminatorPass(discriminator)
        self.judges = network
        if accelerator is not None:
            with warnings.catch_warnings():
                # Older versions of PyTorch, and Accelerate, do not know its successor.
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
                self.generator_pass = accelerator.prepare_model(self.generator_pass)
                if self.adversarial:
                    self.discriminator_pass = accelerator.prepare_model(self.discriminator_pass)
        if compile:
            _try_compiler(self.device)
            self.generator_pass = torch.compile(self.generator_pass)
            self.discriminator_pass = torch.compile(self.discriminator_pass)
            self.judges = None if network is None else torch.compile(network)

    def __call__(self, source: Tensor, driving: Tensor, transform: RandomTransform) -> dict[str, float]:
        """Update all networks on one batch; gives the weighted losses, by name, of all processes together.

        Args:
            source, driving: (B, C, H, W) in [0, 1].
            transform: B random transforms, for the equivariance losses.
        Raises:
            NotFinite: a loss or a gradient is not; nothing was updated.
        """
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        parts = _split(source, driving, transform, self.accumulate)
        found = []
        for number, part in enumerate(parts, start=1):
            with self._reduced(number == len(parts)):
                found.append(self.backward(*part))
        losses = self._mean_of(found)
        bad = [name for name, loss in losses.items() if not loss.isfinite()]
        if bad:
            raise NotFinite(bad)
        self.update()
        return {name: loss.item() for name, loss in losses.items()}

    def backward(self, source: Tensor, driving: Tensor, transform: RandomTransform) -> dict[str, Tensor]:
        """Add the gradients of one batch, or part of one, to those of all networks; gives the losses."""
        for frozen in self.frozen:
            frozen.eval()  # its batch norm stays as it is, too
        transformed = transform.warp_picture(driving, align_corners=self.model.align_corners)
        with self._precision():
            prediction, kp_driving, kp_transformed = self.generator_pass(source, driving, transformed)
            pictures, real = self.pyramid(at_least_float32(prediction)), self.pyramid(driving)
        seam = {scale: picture.detach().requires_grad_() for scale, picture in pictures.items()}

        losses = self.perceptual(seam, real)
        if self.adversarial:
            losses |= self.adversarial_losses(seam, real, kp_driving.detach())
        equivariance = self.equivariance_losses(kp_driving, kp_transformed, transform)

        # On from the seam: one pass back through the generator, and through the detector's three runs.
        ends = [pictures[scale] for scale, copy in seam.items() if copy.grad is not None]
        gradients = [seam[scale].grad for scale, copy in seam.items() if copy.grad is not None]
        if equivariance:
            ends.append(self._scaled(sum(equivariance.values())))
            gradients.append(None)
        torch.autograd.backward(ends, gradients)
        return {name: loss.detach() for name, loss in (losses | equivariance).items()}

    def perceptual(self, fake: dict[float, Tensor], real: dict[float, Tensor]) -> dict[str, Tensor]:
        """The perceptual loss, scale by scale: the features of one are gone before those of the next."""
        weights = self.params.loss_weights.perceptual
        if not sum(weights):
            return {}
        total = torch.zeros((), device=self.device)
        for scale in fake:
            with self._precision():
                loss = perceptual_loss(self.judges, {scale: fake[scale]}, {scale: real[scale]}, weights)
            self._scaled(loss).backward()
            total = total + loss.detach()
        return {"perceptual": total}

    def adversarial_losses(
        self, fake: dict[float, Tensor], real: dict[float, Tensor], kp: Keypoints
    ) -> dict[str, Tensor]:
        """Those of the generator, whose gradients stay at the seam, then that of the discriminator."""
        weights = self.params.loss_weights
        with self._precision():
            if self.judge_once:
                judged_fake, judged_real = self.discriminator_pass(fake, real, kp)
            else:
                judged_fake = self.discriminator(fake, kp)
                with torch.no_grad():
                    judged_real = self.discriminator(real, kp)
        losses = {"gen_gan": weights.generator_gan * generator_gan_loss(judged_fake)}
        if sum(weights.feature_matching):
            losses["feature_matching"] = feature_matching_loss(
                judged_real, judged_fake, weights.feature_matching
            )
        seen = [fake[scale] for scale in self.discriminator.scales]
        self._scaled(sum(losses.values())).backward(inputs=seen, retain_graph=self.judge_once)

        if not self.judge_once:
            with self._precision():
                copies = {scale: picture.detach() for scale, picture in fake.items()}
                judged_fake, judged_real = self.discriminator_pass(copies, real, kp)
        losses["disc_gan"] = weights.discriminator_gan * discriminator_gan_loss(judged_real, judged_fake)
        total = losses["disc_gan"]
        if self.params.r1:
            losses["r1"] = self.params.r1 / 2 * self.slope_at_real(real, kp)
            total = total + losses["r1"]
        self._scaled(total).backward(inputs=list(self.discriminator.parameters()))
        return losses

    def slope_at_real(self, real: dict[float, Tensor], kp: Keypoints) -> Tensor:
        """The R1 penalty of the discriminator, summed over its scales; always in float32."""
        return sum(
            r1_penalty(
                lambda picture, scale=scale: self._of_scale(scale, picture, kp), at_least_float32(real[scale])
            )
            for scale in self.discriminator.scales
        )

    def equivariance_losses(
        self, kp_driving: Keypoints, kp_transformed: Keypoints, transform: RandomTransform
    ) -> dict[str, Tensor]:
        """Of values and of Jacobians, where they have a weight; none where nobody would learn from them."""
        weights, losses = self.params.loss_weights, {}
        if self.frozen:
            return losses
        if weights.equivariance_value:
            loss = equivariance_value_loss(kp_driving, kp_transformed, transform)
            losses["equivariance_value"] = weights.equivariance_value * loss
        if weights.equivariance_jacobian and kp_driving.jacobian is not None:
            loss = equivariance_jacobian_loss(kp_driving, kp_transformed, transform)
            losses["equivariance_jacobian"] = weights.equivariance_jacobian * loss
        return losses

    def update(self) -> None:
        """Clip gradients where asked to, then let the optimizers step, and the moving average follow."""
        limit = self.params.clip_grad_norm or float("inf")
        norms: dict[str, Tensor] = {}
        for name, optimizer in self.optimizers.items():
            self.scaler.unscale_(optimizer)
            norms[name] = nn.utils.clip_grad_norm_(self.trained[name].parameters(), limit)
        self.gradient_norms = {name: norm.item() for name, norm in norms.items()}
        bad = [f"the gradient of {name}" for name, norm in norms.items() if not norm.isfinite()]
        if bad and not self.scaler.is_enabled():  # the scaler leaves such a step out by itself
            raise NotFinite(bad)
        for optimizer in self.optimizers.values():
            self.scaler.step(optimizer)
        self.scaler.update()
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def set_learning_rates(self, factor: float) -> None:
        """Every network's learning rate is that of the config times `factor`."""
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = factor * getattr(self.params, f"lr_{name}")

    @property
    def result(self) -> FirstOrderMotionModel:
        """The model to keep: the moving average where there is one."""
        return self.model if self.averaged is None else self.averaged.module

    def state(self) -> dict:
        """All that a step changes: networks, optimizers, scaler, moving average."""
        return {
            "networks": {
                "generator": self.model.generator.state_dict(),
                "kp_detector": self.model.kp_detector.state_dict(),
                "discriminator": self.discriminator.state_dict(),
            },
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
        }

    def load_state(self, state: dict) -> None:
        """Go on from what `state` gave.

        Raises:
            InputError: it was made with another set of networks, or without a moving average, or with one.
        """
        if set(state["optimizers"]) != set(self.optimizers):
            raise InputError(
                f"the training was of {', '.join(state['optimizers'])}, the config trains "
                f"{', '.join(self.optimizers)}; start another training from its weights: init"
            )
        if (state["averaged"] is None) != (self.averaged is None):
            raise InputError("ema_decay cannot be switched on or off in the middle of a training")
        for name, entries in state["networks"].items():
            network = self.discriminator if name == "discriminator" else getattr(self.model, name)
            network.load_state_dict(entries)
        for name, entries in state["optimizers"].items():
            self.optimizers[name].load_state_dict(entries)
        self.scaler.load_state_dict(state["scaler"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])

    def _of_scale(self, scale: float, picture: Tensor, kp: Keypoints) -> Tensor:
        return self.discriminator.discs[scale_name(scale)](picture, kp)[1]

    def _scaled(self, loss: Tensor) -> Tensor:
        """For the backward pass: a part's share of the batch, and the factor that fp16 needs."""
        return self.scaler.scale(loss / self.accumulate if self.accumulate > 1 else loss)

    def _precision(self):
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    @contextlib.contextmanager
    def _reduced(self, now: bool):
        """Processes exchange gradients with the last part of a batch, not before."""
        with contextlib.ExitStack() as waiting:
            if self.accelerator is not None and not now:
                waiting.enter_context(self.accelerator.no_sync(self.generator_pass))
                waiting.enter_context(self.accelerator.no_sync(self.discriminator_pass))
            yield

    def _mean_of(self, found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Over the parts of a batch and over processes."""
        values = torch.stack([torch.stack([loss.float() for loss in part.values()]) for part in found]).mean(
            0
        )
        if self.accelerator is not None:
            values = self.accelerator.reduce(values, "mean")
        return dict(zip(found[0], values.cpu(), strict=True))


def _try_compiler(device: torch.device) -> None:
    """Translate something small first, rather than fail in the middle of a step."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(1, device=device))
    except Exception as error:  # of many kinds, none of them public
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"compile: torch.compile does not work here ({reason}); it needs a C++ compiler, such as gcc, "
            "and on a GPU Triton; install them, or leave compile away"
        ) from error


class _Average:
    """decay average + (1 - decay) current; with less weight on the past while there is little of it."""

    def __init__(self, decay: float):
        self.decay = decay

    @torch.no_grad()
    def __call__(self, averages: list[Tensor], currents: list[Tensor], count: Tensor | int) -> None:
        count = float(count)
        decay = min(self.decay, (1 + count) / (10 + count))
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(current)  # a count


def _split(source: Tensor, driving: Tensor, transform: RandomTransform, parts: int) -> list[tuple]:
    """A batch in equal parts."""
    if parts == 1:
        return [(source, driving, transform)]
    thetas = transform.theta.chunk(parts)
    controls = [None] * parts if transform.control_params is None else transform.control_params.chunk(parts)
    transforms = [RandomTransform(t, c, transform.textbook) for t, c in zip(thetas, controls, strict=True)]
    return list(zip(source.chunk(parts), driving.chunk(parts), transforms, strict=True))
