"""A training small enough for seconds: images of 32x32, narrow networks, clips drawn on the spot."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
from PIL import Image

from fomm_lib.training import loop
from tests.support import training_script
from tests.support.paths import ROOT

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


def spectral(config, **discriminator_params) -> dict:
    """A config whose discriminator has spectral norm, and sees keypoints."""
    changes = {"sn": True, "use_kp": True, **discriminator_params}
    model_params = config["model_params"]
    return {
        **config,
        "model_params": {
            **model_params,
            "discriminator_params": {**model_params["discriminator_params"], **changes},
        },
    }


# Everything that has a state: three networks, moving average, ramp, milestone, and epochs of four steps.
FULL = with_weights(generator_gan=1)
FULL["train_params"] |= {"num_repeats": 3, "epoch_milestones": [1], "ema_decay": 0.9, "warmup_steps": 3}
FULL["train_params"] |= {"clip_grad_norm": 1.0, "r1": 0.1, "batch_size": 4}
FULL["dataset_params"] = TINY["dataset_params"] | {"augmentation_params": {"flip_param": {"time_flip": True}}}
FULL_OPTIONS = {"config": FULL, "steps": 7, "checkpoint_every": 2, "log_every": 1, "sample_every": 100}


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
    return loop.train(config, data, out, **options)


def run_script(verb, environment=None, **options):
    """A training in another process; see `training_script`."""
    if verb == "train":
        options = {"device": "cpu", "tensorboard": False, "validation_pairs": 4, **options}
    options |= {"progress": False, "data": str(options["data"]), "out": str(options["out"])}
    return subprocess.Popen(
        [sys.executable, training_script.__file__, verb, json.dumps(options)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(environment or {})},
        stderr=subprocess.PIPE,
        text=True,
    )
