"""Parameters and images from names, shapes and seeds alone: what the golden numbers were computed on."""

from zlib import crc32

import numpy as np
import torch


def entry_value(name: str, shape: tuple[int, ...], seed: int):
    """The numbers of one entry of a state_dict, or None where it stays as it is (fixed filters)."""
    rng = np.random.RandomState((crc32(name.encode()) + seed) % 2**32)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape)
    if name.endswith("down.weight") or ".downs." in name or name.startswith("downs."):
        return None
    if name.endswith("running_var"):
        return 0.5 + rng.random_sample(shape)
    if name.endswith("running_mean"):
        return 0.1 * rng.standard_normal(shape)
    if name.endswith(("weight_u", "weight_v")):
        vector = rng.standard_normal(shape)
        return vector / np.linalg.norm(vector)
    if name == "jacobian.weight":
        return 0.1 * rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    if name == "jacobian.bias":
        return np.tile([1.0, 0.0, 0.0, 1.0], shape[0] // 4) + 0.1 * rng.standard_normal(shape)
    if name == "final.weight":
        return 0.02 * rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    if len(shape) >= 2:
        return rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
    if name.endswith("weight"):
        return 0.5 + rng.random_sample(shape)
    return 0.1 * rng.standard_normal(shape)


@torch.no_grad()
def fill(module: torch.nn.Module, seed: int, keep: tuple[str, ...] = ()) -> torch.nn.Module:
    """Overwrite every entry of a module's state_dict, but those named in `keep`."""
    for name, tensor in module.state_dict().items():
        value = None if name in keep else entry_value(name, tuple(tensor.shape), seed)
        if value is not None:
            tensor.copy_(torch.from_numpy(np.asarray(value, dtype=np.float32)))
    return module


def image(seed: int, size: int = 256, batch: int = 1) -> torch.Tensor:
    """Smooth images (batch, 3, size, size) in [0, 1]: six random plane waves a channel."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1.0)
    images = np.empty((batch, 3, size, size))
    for b in range(batch):
        rng = np.random.RandomState(1000 * seed + b)
        for c in range(3):
            plane = np.zeros((size, size))
            for _ in range(6):
                fx, fy = rng.uniform(-6, 6, 2)
                amplitude = rng.uniform(0.3, 1.0)
                plane += amplitude * np.sin(2 * np.pi * (fx * x + fy * y) + rng.uniform(0, 2 * np.pi))
            images[b, c] = (plane - plane.min()) / (plane.max() - plane.min())
    return torch.from_numpy(images.astype(np.float32))
