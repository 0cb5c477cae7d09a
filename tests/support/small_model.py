"""A model small enough to run in milliseconds, with every part that the large ones have."""

from __future__ import annotations

import copy

from fomm_lib.config import Config, load_config
from fomm_lib.model import FirstOrderMotionModel
from tests.support.golden_recipe import fill

SMALL = {
    "dataset_params": {"frame_shape": [32, 32, 3]},
    "model_params": {
        "common_params": {"num_kp": 3},
        "kp_detector_params": {
            "block_expansion": 4,
            "max_features": 16,
            "num_blocks": 2,
            "scale_factor": 0.5,
        },
        "generator_params": {
            "block_expansion": 4,
            "max_features": 16,
            "num_down_blocks": 2,
            "num_bottleneck_blocks": 2,
            "estimate_occlusion_map": True,
            "dense_motion_params": {
                "block_expansion": 4,
                "max_features": 16,
                "num_blocks": 2,
                "scale_factor": 0.5,
            },
        },
        "discriminator_params": {"block_expansion": 4, "max_features": 16, "num_blocks": 2},
    },
    "train_params": {"scales": [1, 0.5], "loss_weights": {"feature_matching": [10, 10]}},
}


EXTENSIONS = {
    "skips": True,
    "inpainting_blocks": 2,
    "inpainting_features": 8,
    "keypoint_maps": True,
    "opening_maps": [[0, 1]],
    "fill": True,
    "detail_features": 2,
}
"""All parts beyond the paper, as `model_params.extension_params`."""


def small_config(changes: dict[str, object] | None = None) -> Config:
    """`SMALL`, with some values changed: {"model_params.common_params.num_kp": 5}."""
    content = copy.deepcopy(SMALL)
    for key, value in (changes or {}).items():
        *sections, last = key.split(".")
        section = content
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    return load_config(content)


def small_model(changes: dict[str, object] | None = None, seed: int = 0) -> FirstOrderMotionModel:
    """A model in eval mode whose entries all have numbers of their own, Jacobians too."""
    model = FirstOrderMotionModel(small_config(changes)).eval()
    fill(model.generator, seed + 1)
    fill(model.kp_detector, seed + 2)
    return model
