"""Images between files and networks: uint8 arrays (H, W, 3), tensors (3, H, W) in [0, 1], and their sizes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fomm_lib.errors import InputError
from fomm_lib.releases import importing

with importing("torchvision"):
    from torchvision.transforms.v2 import functional as F


def to_tensor(frame: np.ndarray, size: tuple[int, int] | None = None) -> Tensor:
    """uint8 (h, w, 3) -> float32 (3, H, W) in [0, 1], resized to `size` = (H, W) if given.

    Example:
        >>> to_tensor(np.full((8, 8, 3), 255, np.uint8), (4, 4)).max()
        tensor(1.)
    """
    return from_uint8(bytes_tensor(frame, size) if size else _channels_first(frame))


def from_uint8(images: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1], on the device and in the memory layout of the images; others stay.

    Example:
        >>> from_uint8(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([0., 1.])
    """
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


def to_uint8(images: Tensor) -> np.ndarray:
    """(..., 3, H, W) in [0, 1] -> uint8 (..., H, W, 3), rounded.

    Example:
        >>> to_uint8(torch.tensor([0.0, 0.5, 1.0]).reshape(3, 1, 1))
        array([[[  0, 128, 255]]], dtype=uint8)
    """
    return images.mul(255).round().byte().movedim(-3, -1).cpu().numpy()


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (..., 3, h, w), uint8 or float, at `size` = (H, W): bilinear, antialiased.

    Example:
        >>> resize(torch.zeros(2, 3, 8, 8), (4, 4)).shape
        torch.Size([2, 3, 4, 4])
    """
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.resize(images, list(size), antialias=True)


def resize_array(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (h, w, 3) -> uint8 (H, W, 3) at `size` = (H, W), as `resize`.

    Example:
        >>> resize_array(np.zeros((8, 8, 3), np.uint8), (4, 4)).shape
        (4, 4, 3)
    """
    return np.ascontiguousarray(resize(_channels_first(image), size).permute(1, 2, 0).numpy())


def resize_bicubic(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (h, w, 3) -> uint8 (H, W, 3) at `size` = (H, W): bicubic, antialiased.

    Example:
        >>> resize_bicubic(np.zeros((4, 4, 3), np.uint8), (8, 8)).shape
        (8, 8, 3)
    """
    if image.shape[:2] == tuple(size):
        return image
    pixels = _channels_first(image)[None].float()
    resized = interpolate(pixels, size=size, mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(0, 255).round().byte()[0].permute(1, 2, 0).numpy()


def bytes_tensor(frame: np.ndarray, size: tuple[int, int]) -> Tensor:
    """uint8 (h, w, 3) -> uint8 (3, H, W), resized to `size` = (H, W).

    Example:
        >>> bytes_tensor(np.full((8, 8, 3), 255, np.uint8), (4, 4)).shape
        torch.Size([3, 4, 4])
    """
    return resize(_channels_first(frame), size)


def _channels_first(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def check_image(image: np.ndarray, what: str) -> np.ndarray:
    """The image itself, if it is uint8 (H, W, 3).

    Raises:
        InputError: it is not; the message begins with `what`, e.g. "the portrait".

    Example:
        >>> check_image(np.zeros((8, 8)), "the portrait")
        Traceback (most recent call last):
        ...
        fomm_lib.errors.InputError: the portrait is float64 (8, 8); it must be uint8 (H, W, 3), RGB
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"{what} is {image.dtype} {image.shape}; it must be uint8 (H, W, 3), RGB")
    return image


def as_pixels(image: np.ndarray | Tensor) -> np.ndarray:
    """An image for display: a tensor (3, H, W), (1, H, W) or (H, W) in [0, 1], or uint8 (H, W, 3).

    Returns:
        uint8 (H, W, 3); values outside [0, 1] are clamped.

    Raises:
        InputError: another shape or type.

    Example:
        >>> as_pixels(torch.ones(4, 4)).shape
        (4, 4, 3)
    """
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return image
    tensor = torch.as_tensor(image).detach().cpu()
    if tensor.ndim == 2:
        tensor = tensor[None]
    if (
        tensor.ndim != 3
        or tensor.shape[0] not in (1, 3)
        or not (tensor.is_floating_point() or tensor.dtype == torch.bool)
    ):
        raise InputError(
            f"an image has shape {tuple(image.shape)} and type {image.dtype}; "
            "give a tensor (3, H, W) or (1, H, W) in [0, 1], or uint8 (H, W, 3)"
        )
    return to_uint8(tensor.float().clamp(0, 1).expand(3, -1, -1))
