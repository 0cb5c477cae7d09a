"""The whole model: a keypoint detector and a generator that share one config."""

from __future__ import annotations

import os
import warnings

import torch
from torch import Tensor, nn

from fomm_lib.checkpoints import load_network, read_checkpoint
from fomm_lib.config import Config, load_config
from fomm_lib.discriminator import MultiScaleDiscriminator
from fomm_lib.files import InputError
from fomm_lib.generator import EncodedSource, Generated, OcclusionAwareGenerator
from fomm_lib.keypoints import KeypointDetector, Keypoints
from fomm_lib.motion import DenseMotion


class FirstOrderMotionModel(nn.Module):
    """Keypoints of source and driving frame -> dense motion -> the source, moved as the driving frame.

    Args:
        config: a `Config`, or anything `load_config` takes.

    Attributes:
        kp_detector, generator: the two networks, with the published parameter names.
        align_corners: of every warp; see `geometry`.
        size: (height, width) of the pictures the model was made for.

    Source: FOMM, section 3, figure 2.

    Example:
        >>> model = FirstOrderMotionModel("vox-256").eval()
        >>> source, driving = torch.rand(2, 1, 3, 256, 256)
        >>> model(source, driving).prediction.shape
        torch.Size([1, 3, 256, 256])
    """

    def __init__(self, config: Config | dict | str | os.PathLike):
        super().__init__()
        self.config = load_config(config)
        params = self.config.model_params
        common = params.common_params
        self.kp_detector = KeypointDetector(**common.model_dump(), **params.kp_detector_params.model_dump())
        self.generator = OcclusionAwareGenerator(
            num_kp=common.num_kp, num_channels=common.num_channels, **params.generator_params.model_dump()
        )
        self.align_corners = params.align_corners
        self.size = tuple(self.config.dataset_params.frame_shape[:2])

    def detect(self, picture: Tensor) -> Keypoints:
        """Keypoints of pictures (B, C, H, W) in [0, 1]."""
        return self.kp_detector(picture)

    def dense_motion(self, source: Tensor, kp_source: Keypoints, kp_driving: Keypoints) -> DenseMotion:
        """The dense backward motion from driving frame to source, without generating a picture."""
        network = self.generator.dense_motion_network
        if network is None:
            raise InputError(
                "this model has no dense motion network (dense_motion_params is not set in its config)"
            )
        return network(network.downsample(source), kp_source, kp_driving, align_corners=self.align_corners)

    def generate(
        self,
        source: Tensor | EncodedSource,
        kp_source: Keypoints,
        kp_driving: Keypoints,
        *,
        for_people: bool = False,
    ) -> Generated:
        """The source with the keypoints of the driving frame; see `OcclusionAwareGenerator.forward`."""
        return self.generator(
            source, kp_source, kp_driving, align_corners=self.align_corners, for_people=for_people
        )

    def forward(self, source: Tensor, driving: Tensor, *, for_people: bool = False) -> Generated:
        """The source, moved as the driving frame: two (B, C, H, W) in [0, 1] to one."""
        return self.generate(source, self.detect(source), self.detect(driving), for_people=for_people)


def build_discriminator(config: Config) -> MultiScaleDiscriminator:
    """The discriminator that a config describes."""
    common = config.model_params.common_params
    params = config.model_params.discriminator_params
    return MultiScaleDiscriminator(
        num_channels=common.num_channels, num_kp=common.num_kp, **params.model_dump()
    )


def load_model(
    name: str | os.PathLike,
    config: Config | dict | str | os.PathLike | None = None,
    device: str | torch.device | None = None,
) -> FirstOrderMotionModel:
    """A trained model, ready to animate (in eval mode).

    Args:
        name: a name in `data/weights` ("heads-64"), a `.safetensors`, a published `.pth.tar`, or the folder
            of a training.
        config: needed for published files, which have none inside: a path, or a name such as "vox-adv-256".
        device: where to put it; by default the GPU where there is one.
    Raises:
        InputError: no such file, no config, weights that do not fit it, or a device that is not there.

    Example:
        >>> model = load_model("heads-64")
    """
    checkpoint = read_checkpoint(name)
    if config is None and checkpoint.config is None:
        raise InputError(
            f"{name}: has no config inside; name the one it was trained with, e.g. config vox-adv-256"
        )
    model = FirstOrderMotionModel(checkpoint.config if config is None else load_config(config))
    try:
        load_network(model.kp_detector, checkpoint.networks["kp_detector"], "kp_detector")
        load_network(model.generator, checkpoint.networks["generator"], "generator")
    except InputError as error:
        if checkpoint.config is None:
            hint = "give the config they were trained with"
        else:
            hint = "give other weights" if config is None else "leave out config: the file has its own inside"
        raise InputError(f"{name}: {error}; {hint}") from None
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {device}: cannot be used ({str(error).splitlines()[0]}); try cpu"
        ) from error


def start_from(
    init: str | os.PathLike, model: FirstOrderMotionModel, discriminator: nn.Module | None = None
) -> None:
    """Take over weights, part by part: detector, dense motion, the rest of the generator, discriminator.

    A part that does not fit (of another width, say) stays as it is, and a warning says so. Two things may
    differ: the scale of the picture that a network looks at, and whether keypoints have Jacobians. A detector
    without them takes all but the layer that predicts them; one with them keeps its own, which at first says
    the identity.

    Args:
        init: a name, a `.safetensors`, or a published `.pth.tar`; see `checkpoints.read_checkpoint`.
        model, discriminator: what gets the weights.
    Raises:
        InputError: no such file, or no part of it fits.
    """
    networks = read_checkpoint(init).networks
    generator, motion = networks["generator"], "dense_motion_network."
    own_motion = {name: t for name, t in model.generator.state_dict().items() if name.startswith(motion)}
    parts = {
        "kp_detector": (model.kp_detector, networks["kp_detector"]),
        "generator": (model.generator, {**own_motion, **_without(generator, motion)}),
    }
    if discriminator is not None:
        parts["discriminator"] = (discriminator, networks.get("discriminator", {}))
    if model.generator.dense_motion_network is not None:
        parts["dense motion"] = (model.generator.dense_motion_network, _below(generator, motion))
    taken = []
    for name, (network, entries) in parts.items():
        if not entries:
            continue
        try:
            load_network(network, _with_own_jacobian(_with_own_down(entries, network), network), name)
            taken.append(name)
        except InputError as error:
            warnings.warn(f"{init}: {name} starts anew: {error}", stacklevel=2)
    if not taken:
        raise InputError(
            f"{init}: no part of it fits the config; choose other weights, or train without init"
        )


def _with_own_down(entries: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The entries, but the fixed kernel before a network that looks at a smaller picture: it follows from the
    config, and a network may go on at another scale.
    """
    kernels = [name for name in {**entries, **network.state_dict()} if name.endswith("down.weight")]
    others = {name: tensor for name, tensor in entries.items() if name not in kernels}
    own = {name: tensor for name, tensor in network.state_dict().items() if name in kernels}
    return {**others, **own}


def _with_own_jacobian(entries: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The entries, but the network's own layer of Jacobians, or none, where only one of the two has such."""
    layer = "jacobian."
    own = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(layer)}
    others = _without(entries, layer)
    return entries if own and len(others) < len(entries) else {**others, **own}


def _below(entries: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in entries.items() if name.startswith(prefix)}


def _without(entries: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries that are not under a prefix."""
    return {name: t for name, t in entries.items() if not name.startswith(prefix)}
