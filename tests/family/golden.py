"""Filling networks by the names that the golden files list, whatever ours are called.

Where a test computes in float64, float32 is not exact enough on every processor: without AVX-512 the gradient
norms of Monkey-Net differ from the published ones by 2.6 %, in float64 by 0.1 %.
"""

from __future__ import annotations

import re

import numpy as np
import torch

from tests.support.golden_recipe import entry_value, image
from tests.support.paths import GOLDEN


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "family" / f"{name}.npz") as numbers:
        return dict(numbers)


@torch.no_grad()
def fill_in_order(network: torch.nn.Module, names, seed: int, order=None, equalized=False) -> torch.nn.Module:
    """Overwrite the entries of a state_dict, in order, with the numbers of the published names.

    Args:
        names: "name (shape)" each; kernels of video networks (o, i, 1, k, k) are squeezed.
        order: our entries in the published order; as in our state_dict unless given.
        equalized: weights are the recipe's normals without its factor sqrt(2 / fan_in).
    """
    entries = network.state_dict()
    ours = [entries[key] for key in (order or entries)]
    assert len(ours) == len(names)
    for tensor, line in zip(ours, names, strict=True):
        name, shape = re.fullmatch(r"(\S+) \((.*)\)", str(line)).groups()
        shape = tuple(int(side) for side in shape.split(",") if side.strip())
        value = np.asarray(entry_value(name, shape, seed), np.float32)
        if equalized and len(shape) >= 2:
            value = value / np.sqrt(2 / np.prod(shape[1:]))
        assert value.size == tensor.numel(), (name, shape, tuple(tensor.shape))
        tensor.copy_(torch.from_numpy(value.reshape(tensor.shape)))
    return network


def signed(seed: int, size: int, batch: int = 2, channels: int = 3) -> torch.Tensor:
    parts = [image(seed + 7 * i, size, batch) for i in range(channels // 3)]
    return 2 * torch.cat(parts, dim=1) - 1


def every(tensor: torch.Tensor, pixels: int = 16) -> torch.Tensor:
    step = max(1, tensor.shape[-1] // pixels)
    return tensor[..., ::step, ::step]


def grad_norms(network: torch.nn.Module) -> list[float]:
    return [norm_of(parameter) for parameter in network.parameters()]


def norm_of(parameter: torch.Tensor) -> float:
    """Of its gradient; 0 for a parameter that took no part."""
    return 0.0 if parameter.grad is None else float(parameter.grad.norm())


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def named(network: torch.nn.Module, names: list[str]) -> list[str]:
    """Published names, in order, with the shapes of our entries: for files that list no names."""
    entries = network.state_dict().values()
    return [f"{name} {tuple(tensor.shape)}" for name, tensor in zip(names, entries, strict=True)]


def check_network(golden: dict[str, np.ndarray], make, x: torch.Tensor) -> None:
    """Outputs in train and eval mode, the gradients of a loss, the running statistics after one pass."""
    seed = int(golden["seed"])
    network = fill_in_order(make(), golden["names"], seed).train()
    assert parameters(network) == int(golden["params"])
    out = network(x)
    np.testing.assert_allclose(cut(out), golden["train"], atol=1e-4)
    loss = (out * image(seed + 60, out.shape[-1], len(x))[:, : out.shape[1]]).mean()
    np.testing.assert_allclose(float(loss.detach()), golden["train_loss"], rtol=1e-3)
    loss.backward()
    norms = [float(golden[key]) for key in golden if key.startswith("grad_norm/")]
    np.testing.assert_allclose(grad_norms(network), norms, rtol=2e-2, atol=1e-5)
    statistics = [t for name, t in network.state_dict().items() if "running" in name]
    for tensor, key in zip(statistics, [key for key in golden if key.startswith("after1/")], strict=True):
        wanted = golden[key]
        np.testing.assert_allclose([float(tensor.sum()), float(tensor.norm())], wanted, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        out = fill_in_order(make(), golden["names"], seed).eval()(x)
    np.testing.assert_allclose(cut(out), golden["eval"], atol=1e-4)


def cut(tensor: torch.Tensor) -> np.ndarray:
    """What the golden files hold of a map: every (width // 16)-th pixel; small maps whole."""
    return (every(tensor) if tensor.shape[-1] > 16 else tensor).detach().numpy()
