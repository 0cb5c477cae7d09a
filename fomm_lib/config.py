"""Configs of models and trainings: the published YAML files, checked key by key."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from fomm_lib.documents import check_extent, read_yaml, shown
from fomm_lib.errors import InputError
from fomm_lib.files import check_name, data_path
from fomm_lib.releases import importing

with importing("pydantic"):
    from pydantic import (
        AfterValidator,
        AliasChoices,
        BaseModel,
        BeforeValidator,
        ConfigDict,
        Field,
        ValidationError,
        model_validator,
    )


# Keys of the published files that this library does not read. They are accepted and dropped.
IGNORED_KEYS = (
    "animate_params",
    "dataset_params.pairs_list",
    "reconstruction_params",
    "train_params.checkpoint_freq",
    "visualizer_params",
)


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, not yes or no")
    return value


def _one_by_whole_number(value: float) -> float:
    if abs(round(1 / value) * value - 1) > 1e-6:
        raise ValueError("should be 1 divided by a whole number (1, 0.5, 0.25, ...)")
    return value


def _plus_minus(value: Any) -> Any:
    return (-value, value) if isinstance(value, (int, float)) else value


def _low_then_high(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("should be a pair (low, high)")
    return pair


def _square(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


# Every number has a largest value, far above what anyone trains with: a config may come from anywhere, and
# the networks that it describes must not fill the memory, nor a loop over its numbers run without end.
_NUMBER = BeforeValidator(_no_boolean)  # Python counts True as 1
Number = Annotated[float, Field(ge=-1e6, le=1e6), _NUMBER]
Positive = Annotated[int, Field(gt=0, le=10**9), _NUMBER]
Count = Annotated[int, Field(ge=0, le=10**9), _NUMBER]
Side = Annotated[int, Field(gt=0, le=8192), _NUMBER]  # of an image, in pixels
Width = Annotated[int, Field(gt=0, le=8192), _NUMBER]  # of a layer, in channels
Depth = Annotated[int, Field(gt=0, le=10), _NUMBER]  # of layers, each of which halves an image
Channels = Annotated[int, Field(gt=0, le=64), _NUMBER]
Weight = Annotated[float, Field(ge=0, le=1e6), _NUMBER]
Ratio = Annotated[float, Field(ge=1e-6, le=1e6), _NUMBER]
Scale = Annotated[float, Field(ge=2**-10, le=1), AfterValidator(_one_by_whole_number), _NUMBER]
KeypointNumber = Annotated[int, Field(ge=0, le=999), _NUMBER]
Landmark = Annotated[int, Field(ge=0, le=67), _NUMBER]  # a number of iBUG's 68
Scales = Annotated[list[Scale], Field(max_length=10)]
Degrees = Annotated[tuple[Number, Number], BeforeValidator(_plus_minus), AfterValidator(_low_then_high)]
Factors = Annotated[tuple[Ratio, Ratio], AfterValidator(_low_then_high)]
Sides = Annotated[tuple[Side, Side], BeforeValidator(_square)]  # height, width


class _Section(BaseModel):
    """Unknown keys are errors: a misspelt key must not silently leave a default in force."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        validate_assignment=True,
        validate_default=True,
        protected_namespaces=(),  # earlier pydantic keeps names such as model_params for itself
    )


class FlipParams(_Section):
    """With probability 1/2 `time_flip` swaps the frames; if not, with 1/2 `horizontal_flip` mirrors both."""

    horizontal_flip: bool = False
    time_flip: bool = False


class RotationParams(_Section):
    """Rotation by an angle from (low, high) degrees; one number stands for (-number, number)."""

    degrees: Degrees


class ResizeParams(_Section):
    """Resizing by a factor from (low, high)."""

    ratio: Factors


class CropParams(_Section):
    """Cropping to (height, width) pixels; one number stands for a square."""

    size: Sides


class JitterParams(_Section):
    """Colour factors from 1 +- value; the hue shifts by +- value, where 0.5 is half the colour circle."""

    brightness: Weight = 0
    contrast: Weight = 0
    saturation: Weight = 0
    hue: Annotated[float, Field(ge=0, le=0.5), _NUMBER] = 0


class AugmentationParams(_Section):
    """Random changes, the same in both frames of a pair; None switches one off."""

    flip_param: FlipParams | None = None
    rotation_param: RotationParams | None = None
    resize_param: ResizeParams | None = None
    crop_param: CropParams | None = None
    jitter_param: JitterParams | None = None


class DatasetParams(_Section):
    """Where the videos are and how pairs are drawn from them."""

    root_dir: str = "data/heads"
    # Height, width, channels. The older of the published files call it image_shape.
    frame_shape: tuple[Side, Side, Channels] = Field(
        (256, 256, 3), validation_alias=AliasChoices("frame_shape", "image_shape")
    )
    id_sampling: bool = False
    augmentation_params: AugmentationParams | None = None


class CommonParams(_Section):
    """Settings that all networks of a model share."""

    num_kp: Annotated[int, Field(gt=0, le=1000), _NUMBER] = 10
    num_channels: Channels = 3
    estimate_jacobian: bool = True


class HourglassParams(_Section):
    """See `blocks.Hourglass`; its input is the image at `scale_factor` of its size."""

    block_expansion: Width = 64
    max_features: Width = 1024
    num_blocks: Depth = 5
    scale_factor: Scale = 0.25


class KeypointDetectorParams(HourglassParams):
    """See `keypoints.KeypointDetector`."""

    block_expansion: Width = 32
    temperature: Ratio = 0.1
    single_jacobian_map: bool = False
    # The published detectors use 0; 3 avoids their outward bias in a new training.
    pad: Annotated[int, Field(ge=0, le=3), _NUMBER] = 0


class GeneratorParams(_Section):
    """See `generator.OcclusionAwareGenerator`."""

    block_expansion: Width = 64
    max_features: Width = 512
    num_down_blocks: Annotated[int, Field(ge=0, le=10), _NUMBER] = 2
    num_bottleneck_blocks: Annotated[int, Field(ge=0, le=100), _NUMBER] = 6
    estimate_occlusion_map: bool = False
    dense_motion_params: HourglassParams | None = None


class DiscriminatorParams(_Section):
    """See `discriminator.MultiScaleDiscriminator`."""

    scales: Scales = [1]
    block_expansion: Width = 32
    max_features: Width = 512
    num_blocks: Depth = 4
    use_kp: bool = False
    sn: bool = False


class ExtensionParams(_Section):
    """Parts of the networks beyond the paper; see `generator.OcclusionAwareGenerator` and
    `keypoints.KeypointDetector`. All are off by default.
    """

    skips: bool = False
    inpainting_blocks: Annotated[int, Field(ge=0, le=10), _NUMBER] = 0
    inpainting_features: Width = 128
    keypoint_maps: bool = False
    opening_maps: Annotated[list[tuple[KeypointNumber, KeypointNumber]], Field(max_length=100)] = []
    fill: bool = False
    detail_features: Annotated[int, Field(ge=0, le=64), _NUMBER] = 0


class ModelParams(_Section):
    """The networks."""

    common_params: CommonParams = CommonParams()
    kp_detector_params: KeypointDetectorParams = KeypointDetectorParams()
    generator_params: GeneratorParams = GeneratorParams(
        estimate_occlusion_map=True, dense_motion_params=HourglassParams()
    )
    discriminator_params: DiscriminatorParams = DiscriminatorParams()
    # For every warp: see geometry. The published files lack it; their weights were trained with True.
    align_corners: bool = True
    extension_params: ExtensionParams | None = None  # beyond the paper; the published code has none


class TransformParams(_Section):
    """See `losses.RandomTransform.sample`."""

    sigma_affine: Weight = 0.05
    sigma_tps: Weight = 0.005
    points_tps: Annotated[int, Field(ge=0, le=100), _NUMBER] = 5


class LossWeights(_Section):
    """Weights of the six losses; `generator_gan` 0 means no discriminator and no feature matching."""

    generator_gan: Weight = 0
    discriminator_gan: Weight = 1
    # One per discriminator block.
    feature_matching: Annotated[list[Weight], Field(max_length=10)] = [10, 10, 10, 10]
    perceptual: Annotated[list[Weight], Field(max_length=5)] = [10, 10, 10, 10, 10]  # relu1_1 to relu5_1
    equivariance_value: Weight = 10
    equivariance_jacobian: Weight = 10
    # Beyond the paper.
    pixel: Weight = 0  # mean |prediction - driving frame|, at full size
    pixel_led: Weight = 0  # the same, only around the keypoints that are led to landmarks
    pixel_hidden: Weight = 0  # the same, only where the occlusion map hides the source
    landmarks: Weight = 0  # of the flow at eyes and mouth; only for pretraining.pretrain
    openings: Weight = 0  # of distances between led keypoints of the same eye, or of the mouth; only there


class LedKeypoint(_Section):
    """A keypoint that `pretraining.pretrain` leads to the mean of some of iBUG's 68 landmarks."""

    keypoint: KeypointNumber
    landmarks: Annotated[list[Landmark], Field(min_length=1, max_length=68)]


# Without these all keypoints gather between eyes and nose, where most of the motion is, and no mouth moves.
LIPS = [
    LedKeypoint(keypoint=2, landmarks=[50, 51, 52, 61, 62, 63]),
    LedKeypoint(keypoint=6, landmarks=[56, 57, 58, 65, 66, 67]),
]


class TrainParams(_Section):
    """Settings of training."""

    num_epochs: Positive = 100
    num_repeats: Positive = 1
    epoch_milestones: Annotated[list[Positive], Field(max_length=1000)] = []
    lr_generator: Weight = 2e-4
    lr_discriminator: Weight = 2e-4
    lr_kp_detector: Weight = 2e-4
    batch_size: Annotated[int, Field(gt=0, le=65536), _NUMBER] = 20
    scales: Scales = [1, 0.5, 0.25, 0.125]
    transform_params: TransformParams = TransformParams()
    loss_weights: LossWeights = LossWeights()
    # See perceptual.perceptual_network; the published files mean VGG-19. A new name is added here and there,
    # in PERCEPTUAL_NETWORKS, which this module is too low to import; a test compares the two.
    perceptual_network: Literal["vgg19", "vgg16-lpips"] = "vgg19"
    freeze_motion: bool = False  # beyond the paper: detector and dense motion stay as pretrained
    led_keypoints: Annotated[list[LedKeypoint], Field(max_length=1000)] = LIPS
    # Beyond the paper: the perceptual loss also sees a square of this side around the face, at full size.
    perceptual_crop: Annotated[int, Field(ge=0, le=8192), _NUMBER] = 0
    # Beyond the paper: in this share of the pairs a rectangle of the source is hidden, to learn inpainting.
    holes: Annotated[float, Field(ge=0, le=1), _NUMBER] = 0
    # For stability, beyond the paper; 0 is off, as in the published files.
    ema_decay: Annotated[float, Field(ge=0, lt=1), _NUMBER] = 0  # keep a moving average of the weights
    clip_grad_norm: Weight = 0  # shorten each network's gradient to this length
    r1: Weight = 0  # weight gamma of the discriminator's gradient penalty at real images, gamma / 2 R1
    warmup_steps: Count = 0  # learning rates grow from 0 over this many steps


class Config(_Section):
    """One model and its training, in the sections of the published files; every key has a default.

    Example:
        >>> config = load_config("vox-256")
        >>> config.model_params.common_params.num_kp
        10
    """

    dataset_params: DatasetParams = DatasetParams()
    model_params: ModelParams = ModelParams()
    train_params: TrainParams = TrainParams()

    @model_validator(mode="after")
    def _fits_together(self):
        model, train = self.model_params, self.train_params
        height, width, _ = self.dataset_params.frame_shape
        parts = model.extension_params or ExtensionParams()
        _check_extensions(parts, model, train)
        levels = model.generator_params.num_down_blocks + parts.inpainting_blocks
        multiples = {"generator_params": 2**levels}
        hourglasses = {"kp_detector_params": model.kp_detector_params}
        if model.generator_params.dense_motion_params is not None:
            hourglasses["dense_motion_params"] = model.generator_params.dense_motion_params
        multiples |= {name: round(1 / p.scale_factor) * 2**p.num_blocks for name, p in hourglasses.items()}
        for name, multiple in multiples.items():
            if height % multiple or width % multiple:
                raise ValueError(
                    f"dataset_params.frame_shape = {[height, width]}: with these {name} both sides must be "
                    f"multiples of {multiple}"
                )
        blocks, weights = model.discriminator_params.num_blocks, train.loss_weights.feature_matching
        if len(weights) != blocks:
            raise ValueError(
                f"train_params.loss_weights.feature_matching = {weights}: the discriminator has num_blocks = "
                f"{blocks}; give one weight per block"
            )
        for scale in set(model.discriminator_params.scales) - set(train.scales):
            raise ValueError(
                f"model_params.discriminator_params.scales = {model.discriminator_params.scales}: "
                f"{scale} is not one of train_params.scales = {train.scales}; add it there"
            )
        return self


def _check_extensions(parts: ExtensionParams, model: ModelParams, train: TrainParams) -> None:
    """Raise a ValueError if what is beyond the paper misses what it needs."""
    generator, name = model.generator_params, "model_params.extension_params"
    mask = "generator_params.estimate_occlusion_map: true and dense_motion_params"
    masked = generator.estimate_occlusion_map and generator.dense_motion_params is not None
    depth, small = generator.num_down_blocks, model.kp_detector_params.scale_factor < 1
    num_kp = model.common_params.num_kp
    led = max((one.keypoint for one in train.led_keypoints), default=1000) < num_kp
    known = all(one != other and max(one, other) < num_kp for one, other in parts.opening_maps)
    for key, is_on, has_it, need in (
        (f"{name}.skips", parts.skips, masked, mask),
        (f"{name}.inpainting_blocks", parts.inpainting_blocks, masked, mask),
        ("train_params.holes", train.holes, masked, mask),
        ("train_params.loss_weights.pixel_hidden", train.loss_weights.pixel_hidden, masked, mask),
        ("train_params.loss_weights.pixel_led", train.loss_weights.pixel_led, led, "led_keypoints < num_kp"),
        (f"{name}.skips", parts.skips, depth, "num_down_blocks of at least 1"),
        (f"{name}.fill", parts.fill, parts.skips, "skips"),
        (f"{name}.keypoint_maps", parts.keypoint_maps, parts.inpainting_blocks, "inpainting_blocks"),
        (f"{name}.opening_maps", parts.opening_maps, parts.inpainting_blocks, "inpainting_blocks"),
        (f"{name}.opening_maps", parts.opening_maps, known, "two different keypoints < num_kp a pair"),
        (f"{name}.detail_features", parts.detail_features, small, "a kp_detector scale_factor < 1"),
    ):
        if is_on and not has_it:
            raise ValueError(f"{key}: needs {need}")


def load_config(source: str | os.PathLike | dict | Config) -> Config:
    """A config from a YAML file, from the name of one in `data/configs` ("vox-256"), or from a dict.

    The eight published files (vox, vox-adv, taichi, taichi-adv, fashion, mgif, nemo and bair, each -256) load
    unchanged; the keys in `IGNORED_KEYS` are dropped.

    Raises:
        InputError: no such file or name, no YAML, more or deeper than a config can be, an unknown key, or a
            bad value; the line names the key, the value and what is allowed.

    Example:
        >>> load_config({"model_params": {"common_params": {"num_kp": 5}}}).model_params.common_params.num_kp
        5
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, dict):
        return _checked(source, "config")
    path = Path(source)
    check_name(source)
    if not path.is_file():
        shipped = data_path("configs", f"{str(source).removesuffix('.yaml')}.yaml")
        if not os.path.isfile(shipped):  # also where the ending makes the name too long
            names = ", ".join(config_names())
            raise InputError(f"{source}: no such config file; shipped ones by name: {names}")
        path = shipped
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a config; it should start with sections such as model_params:")
    return _checked(content, str(path))


# Sections that the published code demands, as its files for talking heads have them.
_PUBLISHED_SECTIONS = {
    "reconstruction_params": {"num_videos": 1000, "format": ".mp4"},
    "animate_params": {
        "num_pairs": 50,
        "format": ".mp4",
        "normalization_params": {
            "adapt_movement_scale": False,
            "use_relative_movement": True,
            "use_relative_jacobian": True,
        },
    },
    "visualizer_params": {"kp_size": 5, "draw_border": True, "colormap": "gist_rainbow"},
}


def published_content(config: Config) -> dict:
    """A config as the published code reads it, for a YAML file.

    Whole numbers are written as such: that code makes names of parameters from the scales, `discs.1` of 1.
    Sections that are switched off are left out. Keys that only this library knows stay, in `model_params` and
    `train_params`, of which that code reads single keys.

    Raises:
        InputError: the networks have parts that the published code does not have.

    Example:
        >>> published_content(load_config("vox-256"))["model_params"]["discriminator_params"]["scales"]
        [1]
    """
    if config.model_params.extension_params is not None:
        raise InputError("model_params.extension_params: not in the published code; write a .safetensors")
    content = _whole_numbers(config.model_dump(mode="json", exclude_none=True))
    content["train_params"]["checkpoint_freq"] = 50
    return content | copy.deepcopy(_PUBLISHED_SECTIONS)


def _whole_numbers(value: Any) -> Any:
    """The same nested value, with floats that are whole as int."""
    if isinstance(value, dict):
        return {key: _whole_numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def config_names() -> list[str]:
    """Names of the configs in `data/configs`.

    Example:
        >>> "vox-256" in config_names()
        True
    """
    return sorted(path.stem for path in data_path("configs").glob("*.yaml"))


_NAMED = 4  # how many problems a message names; it counts the others


def _checked(content: dict, where: str) -> Config:
    check_extent(content, where)
    with clear_errors(Config, where):
        return Config.model_validate(_without_ignored(content))


@contextmanager
def clear_errors(kind: type[_Section], where: str) -> Iterator[None]:
    """Say what pydantic finds wrong in a section of a config.

    Args:
        kind: the class of the section.
        where: what the error message begins with.

    Raises:
        InputError: a `ValidationError` was raised inside; one line, with the keys, the values and what is
            allowed.

    Example:
        >>> with clear_errors(JitterParams, "here"):
        ...     JitterParams(hue=0.1).hue
        0.1
    """
    try:
        yield
    except ValidationError as error:
        problems = [_format_problem(kind, problem) for problem in error.errors()]
        more = [f"and {len(problems) - _NAMED} more"] if len(problems) > _NAMED else []
        raise InputError(f"{where}: {'; '.join(problems[:_NAMED] + more)}") from None


def _without_ignored(section: dict, above: str = "") -> dict:
    """The content without `IGNORED_KEYS`; `above` is the section's own key, with a dot."""
    return {
        key: _without_ignored(value, f"{above}{key}.") if isinstance(value, dict) else value
        for key, value in section.items()
        if f"{above}{key}" not in IGNORED_KEYS
    }


def _format_problem(kind: type[_Section], problem: dict) -> str:
    """One problem that pydantic found, as `key = value: what is allowed`."""
    key = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if not key:  # found by a check of the whole config: its message names the key
        return message
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed here: {_keys_at(kind, problem['loc'][:-1])}"
    if problem["type"] == "missing":
        *section, last = problem["loc"]
        last = f"number {last + 1}" if isinstance(last, int) else last
        return f"{'.'.join(map(str, section))} = {shown(problem['input'])}: {last} is missing"
    if problem["type"].startswith("model_"):
        message = f"should be a section with the keys {_keys_at(kind, problem['loc'])}"
    return f"{key} = {shown(problem['input'])}: {message[0].lower()}{message[1:]}"


def _keys_at(section: Any, location: tuple) -> str:
    """The keys of the section at a path in another, e.g. at ("train_params", "loss_weights") in `Config`."""
    for key in location:
        annotation = section.model_fields[key].annotation
        options = getattr(annotation, "__args__", (annotation,))  # Section | None
        section = next(option for option in options if issubclass(option, _Section))
    return ", ".join(section.model_fields)
