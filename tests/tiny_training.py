"""A training small enough for seconds: pictures of 32x32, narrow networks, clips drawn on the spot."""

import csv

import numpy as np
from PIL import Image

from fomm_lib import training

TINY = {
    "dataset_params": {"frame_shape": [32, 32, 3]},
    "model_params": {
        "common_params": {"num_kp": 3},
        "kp_detector_params": {"block_expansion": 4, "max_features": 8, "num_blocks": 2, "scale_factor": 1},
        "generator_params": {
            "block_expansion": 8,
            "max_features": 16,
            "num_down_blocks": 1,
            "num_bottleneck_blocks": 1,
            "estimate_occlusion_map": True,
            "dense_motion_params": {
                "block_expansion": 4,
                "max_features": 8,
                "num_blocks": 2,
                "scale_factor": 1,
            },
        },
        "discriminator_params": {"block_expansion": 4, "max_features": 8, "num_blocks": 2},
    },
    "train_params": {
        "batch_size": 4,
        "scales": [1, 0.5],
        "lr_generator": 1e-3,
        "lr_kp_detector": 1e-3,
        "loss_weights": {"perceptual": [10, 10], "feature_matching": [10, 10]},
    },
}


def with_weights(**weights) -> dict:
    """TINY with other loss weights."""
    train_params = {
        **TINY["train_params"],
        "loss_weights": {**TINY["train_params"]["loss_weights"], **weights},
    }
    return {**TINY, "train_params": train_params}


def make_squares(root):
    """Eight clips of a bright square that moves over a coloured ground; two of them for testing."""
    rng = np.random.default_rng(0)
    for number in range(8):
        folder = root / ("test" if number < 2 else "train") / f"square{number}#0#0#6.mp4"
        folder.mkdir(parents=True)
        ground, colour = rng.integers(0, 120, 3), rng.integers(150, 255, 3)
        x, y = rng.integers(2, 12, 2)
        for t in range(6):
            frame = np.full((32, 32, 3), ground, np.uint8)
            frame[y + t : y + t + 10, x + t : x + t + 10] = colour
            Image.fromarray(frame).save(folder / f"{t:04d}.png")
    return root


def read_rows(path):
    """A CSV as dicts."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def run(data, out, config=TINY, **options):
    """`train`, quietly."""
    options = {
        "progress": False,
        "device": "cpu",
        "log_every": 2,
        "tensorboard": False,
        "validation_pairs": 4,
        **options,
    }
    return training.train(config, data, out, **options)
