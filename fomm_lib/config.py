"""What to build and how to train it: the published YAML files, checked key by key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from fomm_lib.files import InputError, data_path

Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Scale = Annotated[float, Field(gt=0, le=1)]


class _Section(BaseModel):
    """Unknown keys are errors: a misspelt key must not silently leave a default in force."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, validate_default=True)


class DatasetParams(_Section):
    """Where the videos lie and how pairs are drawn from them."""

    root_dir: str = "data/heads"
    # The older of the published files call it image_shape.
    frame_shape: tuple[Positive, Positive, Positive] = Field(
        (256, 256, 3), validation_alias=AliasChoices("frame_shape", "image_shape")
    )
    id_sampling: bool = False
    pairs_list: str | None = None
    augmentation_params: dict[str, Any] | None = None

    @field_validator("augmentation_params")
    @classmethod
    def _known_augmentations(cls, value):
        known = ("flip_param", "jitter_param", "rotation_param", "resize_param", "crop_param")
        for key in value or {}:
            if key not in known:
                raise ValueError(f"unknown key {key}; allowed: {', '.join(known)}")
        return value


class CommonParams(_Section):
    num_kp: Positive = 10
    num_channels: Positive = 3
    estimate_jacobian: bool = True


class HourglassParams(_Section):
    block_expansion: Positive = 64
    max_features: Positive = 1024
    num_blocks: Positive = 5
    scale_factor: Scale = 0.25


class KeypointDetectorParams(HourglassParams):
    block_expansion: Positive = 32
    temperature: Annotated[float, Field(gt=0)] = 0.1
    single_jacobian_map: bool = False
    pad: Annotated[int, Field(ge=0, le=3)] = 0


class GeneratorParams(_Section):
    block_expansion: Positive = 64
    max_features: Positive = 512
    num_down_blocks: Annotated[int, Field(ge=0)] = 2
    num_bottleneck_blocks: Annotated[int, Field(ge=0)] = 6
    estimate_occlusion_map: bool = False
    dense_motion_params: HourglassParams | None = None


class DiscriminatorParams(_Section):
    scales: list[Scale] = [1]
    block_expansion: Positive = 32
    max_features: Positive = 512
    num_blocks: Positive = 4
    use_kp: bool = False
    sn: bool = False


class ModelParams(_Section):
    common_params: CommonParams = CommonParams()
    kp_detector_params: KeypointDetectorParams = KeypointDetectorParams()
    generator_params: GeneratorParams = GeneratorParams(
        estimate_occlusion_map=True, dense_motion_params=HourglassParams()
    )
    discriminator_params: DiscriminatorParams = DiscriminatorParams()
    # Of every warp: see geometry. The published files do not have it; their weights were trained with True.
    align_corners: bool = True


class TransformParams(_Section):
    sigma_affine: Weight = 0.05
    sigma_tps: Weight = 0.005
    points_tps: Annotated[int, Field(ge=0)] = 5


class LossWeights(_Section):
    generator_gan: Weight = 0
    discriminator_gan: Weight = 1
    feature_matching: list[Weight] = [10, 10, 10, 10]
    perceptual: list[Weight] = [10, 10, 10, 10, 10]
    equivariance_value: Weight = 10
    equivariance_jacobian: Weight = 10

    @field_validator("perceptual")
    @classmethod
    def _five_features(cls, value):
        if len(value) > 5:
            raise ValueError("at most five weights, one a feature relu1_1 .. relu5_1")
        return value


class TrainParams(_Section):
    num_epochs: Positive = 100
    num_repeats: Positive = 1
    epoch_milestones: list[Positive] = []
    lr_generator: Weight = 2e-4
    lr_discriminator: Weight = 2e-4
    lr_kp_detector: Weight = 2e-4
    batch_size: Positive = 20
    scales: list[Scale] = [1, 0.5, 0.25, 0.125]
    checkpoint_freq: Positive = 50
    transform_params: TransformParams = TransformParams()
    loss_weights: LossWeights = LossWeights()
    # Which network's features judge the pictures; the published files mean VGG-19. See
    # perceptual.perceptual_network.
    perceptual_network: Literal["vgg19", "vgg16-lpips"] = "vgg19"


class ReconstructionParams(_Section):
    num_videos: Positive = 1000
    format: str = ".mp4"


class NormalizationParams(_Section):
    adapt_movement_scale: bool = False
    use_relative_movement: bool = True
    use_relative_jacobian: bool = True


class AnimateParams(_Section):
    num_pairs: Positive = 50
    format: str = ".mp4"
    normalization_params: NormalizationParams = NormalizationParams()


class VisualizerParams(_Section):
    kp_size: Positive = 5
    draw_border: bool = True
    colormap: str = "gist_rainbow"


class Config(_Section):
    """One model and its training, section by section as in the published files; every key has a default.

    Example:
        >>> config = load_config("vox-256")
        >>> config.model_params.common_params.num_kp
        10
    """

    dataset_params: DatasetParams = DatasetParams()
    model_params: ModelParams = ModelParams()
    train_params: TrainParams = TrainParams()
    reconstruction_params: ReconstructionParams = ReconstructionParams()
    animate_params: AnimateParams = AnimateParams()
    visualizer_params: VisualizerParams = VisualizerParams()

    @model_validator(mode="after")
    def _fits_together(self):
        blocks = self.model_params.discriminator_params.num_blocks
        weights = self.train_params.loss_weights
        if len(weights.feature_matching) != blocks:
            raise ValueError(
                f"train_params.loss_weights.feature_matching has {len(weights.feature_matching)} weights, but the "
                f"discriminator has num_blocks = {blocks}; give one weight a block"
            )
        missing = set(self.model_params.discriminator_params.scales) - set(self.train_params.scales)
        if missing:
            raise ValueError(
                f"model_params.discriminator_params.scales has {sorted(missing)}, which train_params.scales lacks; add them there"
            )
        return self


def load_config(source: str | os.PathLike | dict | Config) -> Config:
    """A config from a YAML file, from the name of one in `data/configs`, or from a dict.

    The eight published files (vox, vox-adv, taichi, taichi-adv, fashion, mgif, nemo, bair -256) load
    unchanged.

    Raises:
        InputError: no such file or name, no YAML, an unknown key, or a bad value; the line names the key, the
            value and what is allowed.

    Example:
        >>> load_config({"model_params": {"common_params": {"num_kp": 5}}}).model_params.common_params.num_kp
        5
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, dict):
        return _checked(source, "config")
    path = Path(source)
    if not path.is_file():
        shipped = data_path("configs", f"{source}.yaml")
        if not shipped.is_file():
            raise InputError(
                f"{source}: no such config file; shipped ones by name: {', '.join(config_names())}"
            )
        path = shipped
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a YAML file ({' '.join(str(error).split())})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a config; it should start with sections such as model_params:")
    return _checked(content, str(path))


def config_names() -> list[str]:
    """Names of the configs that come with the course."""
    return sorted(path.stem for path in data_path("configs").glob("*.yaml"))


def _checked(content: dict, where: str) -> Config:
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_in_words(problem) for problem in error.errors())
        raise InputError(f"{where}: {problems}") from None


def _in_words(problem: dict) -> str:
    """One problem that pydantic found, as `key = value: what is allowed`."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        section: Any = Config
        for part in location[:-1]:
            section = _section_type(section.model_fields[part].annotation)
        return f"{key}: unknown key; allowed here: {', '.join(section.model_fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    if not key:
        return message
    return f"{key} = {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _section_type(annotation) -> type[_Section]:
    """The section in `Section` or `Section | None`."""
    options = getattr(annotation, "__args__", (annotation,))
    return next(option for option in options if isinstance(option, type) and issubclass(option, _Section))
