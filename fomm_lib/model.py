"""The whole model: a keypoint detector and a generator, built from one config."""

from __future__ import annotations

import os
import warnings

import torch
from torch import Tensor, nn

from fomm_lib.checkpoints import check_entries, load_network, read_checkpoint
from fomm_lib.config import Config, ExtensionParams, load_config
from fomm_lib.discriminator import MultiScaleDiscriminator
from fomm_lib.errors import InputError
from fomm_lib.generator import EncodedSource, Generated, OcclusionAwareGenerator
from fomm_lib.keypoints import KeypointDetector, Keypoints
from fomm_lib.motion import DenseMotion


class FirstOrderMotionModel(nn.Module):
    """Keypoints of source and driving frame -> dense motion -> the source in the pose of the driving frame.

    Args:
        config: a `Config`, or what `load_config` takes.

    Attributes:
        kp_detector, generator: the two networks, with the published parameter names.
        align_corners: of every warp; see `geometry`.
        size: (height, width) of the images the model was trained for.
        size_multiple: images can be generated at all multiples of this.

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
        extensions = params.extension_params or ExtensionParams()
        self.kp_detector = KeypointDetector(
            **common.model_dump(),
            **params.kp_detector_params.model_dump(),
            detail_features=extensions.detail_features,
        )
        self.generator = OcclusionAwareGenerator(
            num_kp=common.num_kp,
            num_channels=common.num_channels,
            align_corners=params.align_corners,
            **params.generator_params.model_dump(),
            **extensions.model_dump(exclude={"detail_features"}),
        )
        self.align_corners = params.align_corners
        self.size_multiple = 2 ** (len(self.generator.down_blocks) + extensions.inpainting_blocks)
        self.size = tuple(self.config.dataset_params.frame_shape[:2])

    def detect(self, image: Tensor) -> Keypoints:
        """Keypoints of images (B, C, H, W) in [0, 1]."""
        return self.kp_detector(image)

    def encode(self, source: Tensor) -> EncodedSource:
        """What the generator computes from the source alone. (B, C, H, W) in [0, 1]."""
        return self.generator.encode(source)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def dense_motion(self, source: Tensor, kp_source: Keypoints, kp_driving: Keypoints) -> DenseMotion:
        """The dense backward motion from driving frame to source, without generating an image."""
        network = self.generator.dense_motion_network
        if network is None:
            raise InputError(
                "this model has no dense motion network (dense_motion_params is not set in its config)"
            )
        return network(network.downsample(source), kp_source, kp_driving)

    def generate(
        self,
        source: Tensor | EncodedSource,
        kp_source: Keypoints,
        kp_driving: Keypoints,
        *,
        with_visuals: bool = False,
        hole: Tensor | None = None,
    ) -> Generated:
        """The source, moved from its keypoints to the driving ones; see `OcclusionAwareGenerator.forward`."""
        return self.generator(source, kp_source, kp_driving, with_visuals=with_visuals, hole=hole)

    def forward(self, source: Tensor, driving: Tensor, *, with_visuals: bool = False) -> Generated:
        """The source in the pose of the driving frame: two (B, C, H, W) in [0, 1] to one."""
        return self.generate(source, self.detect(source), self.detect(driving), with_visuals=with_visuals)


def build_discriminator(config: Config) -> MultiScaleDiscriminator:
    """A new discriminator, as the config describes it.

    Example:
        >>> build_discriminator(load_config("vox-adv-256")).scales
        (1.0,)
    """
    common = config.model_params.common_params
    params = config.model_params.discriminator_params
    return MultiScaleDiscriminator(
        num_channels=common.num_channels, num_kp=common.num_kp, **params.model_dump()
    )


def load_model(
    name: str | os.PathLike,
    config: Config | dict | str | os.PathLike | None = None,
    device: str | torch.device | None = None,
    align_corners: bool | None = None,
) -> FirstOrderMotionModel:
    """A trained model, ready to animate (in eval mode).

    Args:
        name: a name in `data/weights` ("heads-64"), a `.safetensors`, a published `.pth.tar`, or the output
            folder of a training.
        config: needed for published files, which contain none: a path, or a name such as "vox-adv-256".
        device: "cpu", "cuda", ...; by default the GPU if there is one.
        align_corners: of every warp, see `geometry`; by default as the config says. False is what the
            published code does on versions of PyTorch after 1.2, unless it was changed: to compare with it.
    Raises:
        InputError: no such file, no config, one for images that are not RGB, weights that do not fit it, or a
            device that cannot be used.

    Example:
        >>> model = load_model("heads-64")
    """
    device = choose_device(device)
    checkpoint = read_checkpoint(name)
    if config is None and checkpoint.config is None:
        raise InputError(
            f"{name}: has no config inside; name the one it was trained with, e.g. config vox-adv-256"
        )
    described = (checkpoint.config if config is None else load_config(config)).model_copy(deep=True)
    if align_corners is not None:
        described.model_params.align_corners = align_corners
    check_colours(described)
    networks = {network: checkpoint.networks[network] for network in ("kp_detector", "generator")}
    try:
        with torch.device("meta"):  # without memory: a config may describe more than there is
            plan = FirstOrderMotionModel(described)
        for network, entries in networks.items():
            check_entries(getattr(plan, network), entries, network)
        model = FirstOrderMotionModel(described)
        for network, entries in networks.items():
            load_network(getattr(model, network), entries, network)
    except InputError as error:
        if checkpoint.config is None:
            hint = "give the config they were trained with"
        else:
            hint = "give other weights" if config is None else "leave out config: the file has its own inside"
        raise InputError(f"{name}: {error}; {hint}") from None
    return model.to(device).eval()


def choose_device(name: str | torch.device | None) -> torch.device:
    """The device of that name, which must be able to compute; by default the GPU if there is one.

    Raises:
        InputError: there is no such device, or it cannot compute here.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).add(1).item()  # "meta" and others are names, but hold no numbers
        return device
    except Exception as error:  # each kind of device has errors of its own
        usable = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        usable += ["mps"] if torch.backends.mps.is_available() else []
        known = str(name).split(":")[0] in ("cuda", "mps", "xpu")
        why = f" ({' '.join(str(error).splitlines()[:1])})" if known else ""
        raise InputError(f"device {name}: cannot be used here{why}; choose {' or '.join(usable)}") from error


def check_colours(config: Config) -> None:
    """Check that the networks of a config take images as they are read here, in three colours.

    Raises:
        InputError: they do not.

    Example:
        >>> check_colours(load_config("heads-64"))
    """
    channels = config.model_params.common_params.num_channels
    if channels != 3:
        key = "model_params.common_params.num_channels"
        raise InputError(f"{key} = {channels}: should be 3, as all images are read in red, green and blue")


def start_from(
    init: str | os.PathLike, model: FirstOrderMotionModel, discriminator: nn.Module | None = None
) -> None:
    """Load weights part by part: detector, dense motion, the rest of the generator, discriminator.

    A part that does not fit (e.g. of another width) keeps its weights, with a warning. These differences are
    allowed: the scale of a network's input image; Jacobians in only one of the two detectors (a detector
    without Jacobians ignores the layer that predicts them; one with Jacobians keeps its own layer, which
    predicts the identity at the start); and more keypoints, more channels of the detector's input, or more
    maps of the decoder's last layer than the weights have, see `grown`.

    Args:
        init: a name, a `.safetensors`, or a published `.pth.tar`; see `checkpoints.read_checkpoint`.
        model, discriminator: the networks to load the weights into.
    Raises:
        InputError: no such file, or no part of it fits.

    Example:
        >>> start_from("heads-64", FirstOrderMotionModel("heads-64"))
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
        entries = _with_own_jacobian(_with_own_down(entries, network), network)
        if name != "discriminator":
            entries = grown(entries, network)
        try:
            load_network(network, entries, name)
            taken.append(name)
        except InputError as error:
            warnings.warn(f"{init}: {name} starts anew: {error}", stacklevel=2)
    if not taken:
        raise InputError(
            f"{init}: no part of it fits the config; choose other weights, or train without init"
        )


NEW_MOTION_BIAS = -2.0
"""Logit of the masks of keypoints that trained weights do not know, see `grown`."""


def grown(entries: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The entries of a smaller detector, dense motion network or generator, enlarged for one with more
    keypoints, with more channels of its input image, with `opening_maps` or with `fill`.

    What is new comes last, in outputs and in inputs of convolutions: keypoints after keypoints, in an
    hourglass the input after the features, and the map of `fill` after the others. New inputs get the weight
    0, so the known outputs stay as they are. New outputs begin as the network has them; the masks of new
    keypoints, which share a softmax with the known ones, as `NEW_MOTION_BIAS`. Entries that differ in another
    way are returned as they are, and do not fit.

    Args:
        entries: state_dict of the smaller network.
        network: the larger one.

    Example:
        >>> small, large = KeypointDetector(num_kp=3), KeypointDetector(num_kp=5)
        >>> large.load_state_dict(grown(small.state_dict(), large))
        <All keys matched successfully>
        >>> image = torch.rand(1, 3, 32, 32)
        >>> torch.allclose(large.eval()(image).value[:, :3], small.eval()(image).value, atol=1e-6)
        True
    """
    own = network.state_dict()
    result = {}
    for name, old in entries.items():
        new = own.get(name)
        outputs = ("kp.", "jacobian.", "mask.", "decoder.final.")
        may_grow = name.endswith("weight") or name.startswith(outputs)
        smaller = new is not None and old.ndim == new.ndim and old.shape != new.shape
        if not may_grow or not smaller or any(a > b for a, b in zip(old.shape, new.shape, strict=True)):
            result[name] = old
            continue
        filled = new.to(old.dtype).clone()
        if name.startswith("mask."):
            filled = torch.full_like(filled, NEW_MOTION_BIAS if name.endswith("bias") else 0)
        filled[: len(old)] = 0
        filled[tuple(slice(side) for side in old.shape)] = old
        result[name] = filled
    # Parts that only the larger network has, such as the detector's `detail`.
    extra = {name: tensor for name, tensor in own.items() if name.startswith("detail.")}
    return extra | result


def _with_own_down(entries: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The entries with the network's own downsampling kernel: it follows from the config, and training may
    continue at another scale.
    """
    kernel = "down.weight"
    others = {name: tensor for name, tensor in entries.items() if not name.endswith(kernel)}
    own = {name: tensor for name, tensor in network.state_dict().items() if name.endswith(kernel)}
    return {**others, **own}


def _with_own_jacobian(entries: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The entries with the network's own Jacobian layer, or without one, if only one of the two has it."""
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
