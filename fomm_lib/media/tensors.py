"""Images between files and networks: uint8 arrays (H, W, 3), tensors (3, H, W) in [0, 1], and their sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from fomm_lib.errors import InputError, error_text
from fomm_lib.media.images import upright_rgb


def to_tensor(frame: np.ndarray, size: tuple[int, int] | None = None) -> Tensor:
    """uint8 (h, w, 3) -> float32 (3, H, W) in [0, 1], resized to `size` = (H, W) if given.

    Example:
        >>> to_tensor(np.full((8, 8, 3), 255, np.uint8), (4, 4)).max()
        tensor(1.)
    """
    return from_uint8(bytes_tensor(frame, size))


def from_uint8(images: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1], on the device and in the memory layout of the images; others stay.

    Example:
        >>> from_uint8(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([0., 1.])
    """
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


def upload(images: Tensor, device: torch.device) -> Tensor:
    """Images of `bytes_tensor` (..., 3, H, W) as `to_tensor` gives them, on a device.

    They travel as bytes, a quarter of the numbers' size; to a GPU without waiting for it.

    Example:
        >>> upload(torch.full((1, 3, 4, 4), 255, dtype=torch.uint8), torch.device("cpu")).max()
        tensor(1.)
    """
    if device.type == "cuda":
        images = images.pin_memory()
    return from_uint8(images.to(device, non_blocking=True))


def to_uint8(images: Tensor) -> np.ndarray:
    """(..., 3, H, W) in [0, 1] -> uint8 (..., H, W, 3), rounded.

    Example:
        >>> to_uint8(torch.tensor([0.0, 0.5, 1.0]).reshape(3, 1, 1))
        array([[[  0, 128, 255]]], dtype=uint8)
    """
    return _bytes_of(images).cpu().numpy()


def download(images: Tensor) -> Callable[[], np.ndarray]:
    """`to_uint8`, begun here and awaited where the result is called: a GPU can do the next thing meanwhile.

    Example:
        >>> download(torch.ones(1, 3, 2, 2))().shape
        (1, 2, 2, 3)
    """
    levels = _bytes_of(images)
    if levels.device.type != "cuda":
        return lambda: levels.cpu().numpy()
    here = torch.empty(levels.shape, dtype=torch.uint8, pin_memory=True)
    here.copy_(levels, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def wait() -> np.ndarray:
        arrived.synchronize()
        return here.numpy()

    return wait


def _bytes_of(images: Tensor) -> Tensor:
    return images.mul(255).round().byte().movedim(-3, -1).contiguous()


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (..., 3, h, w), uint8 or float, at `size` = (H, W): bilinear, antialiased.

    The values are those of torchvision's `resize`, whose import takes as long as that of PyTorch.

    Example:
        >>> resize(torch.zeros(2, 3, 8, 8), (4, 4)).shape
        torch.Size([2, 3, 4, 4])
    """
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return _interpolated(images, size, "bilinear")


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
    pixels = _interpolated(_channels_first(image).float(), size, "bicubic")
    return pixels.clamp(0, 255).round().byte().permute(1, 2, 0).numpy()


def _interpolated(images: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    # PyTorch interpolates images of 8 bits on a CPU only, and rounds them itself.
    on_cpu = images.dtype == torch.uint8 and images.device.type == "cpu"
    native = on_cpu or images.dtype in (torch.float32, torch.float64)
    batch = images.reshape(-1, *images.shape[-3:])
    batch = interpolate(
        batch if native else batch.float(), size=size, mode=mode, align_corners=False, antialias=True
    )
    if images.dtype == torch.uint8 != batch.dtype:
        batch = batch.round_()
    return batch.to(images.dtype).reshape(*images.shape[:-2], *size)


def bytes_tensor(frame: np.ndarray, size: tuple[int, int] | None = None) -> Tensor:
    """uint8 (h, w, 3) -> uint8 (3, H, W), resized to `size` = (H, W) if given.

    Example:
        >>> bytes_tensor(np.full((8, 8, 3), 255, np.uint8), (4, 4)).shape
        torch.Size([3, 4, 4])
    """
    image = _channels_first(frame)
    return resize(image, size) if size else image


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


def image_array(image: object, what: str) -> np.ndarray:
    """An image in memory as uint8 (H, W, 3), RGB.

    Args:
        image: uint8 (H, W, 3); a Pillow image of any mode; or a tensor (3, H, W) or (1, 3, H, W), of floats
            in [0, 1] or uint8. Small excesses, as of bicubic resizing, are clamped.
        what: the image in messages, e.g. "the portrait".
    Raises:
        InputError: it is something else, or a Pillow image that is damaged.

    Example:
        >>> image_array(torch.ones(3, 4, 4), "the portrait").shape
        (4, 4, 3)
    """
    if isinstance(image, np.ndarray):
        return check_image(image, what)
    if isinstance(image, Image.Image):
        try:
            return upright_rgb(image)
        except Exception as error:  # it may still have to be read from its file; see `open_animation`
            raise InputError(f"{what} cannot be read ({error_text(error)})") from error
    if not isinstance(image, Tensor):
        kinds = "a Pillow image, uint8 (H, W, 3), or a tensor (3, H, W) in [0, 1]"
        raise InputError(f"{what} is a {type(image).__name__}; give the name of a file, {kinds}")
    tensor = image.detach().cpu()
    tensor = tensor[0] if tensor.ndim == 4 and len(tensor) == 1 else tensor
    if tensor.dtype == torch.uint8 and tensor.ndim == 3:
        last = 2 if tensor.shape[2] == 3 else 0  # where the colours are
        return check_image(tensor.movedim(last, 2).contiguous().numpy(), what)
    if tensor.ndim != 3 or len(tensor) != 3 or not tensor.is_floating_point():
        kind = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(image.shape)}"
        raise InputError(f"{what} is a tensor {kind}; it must be (3, H, W) in [0, 1]")
    low, high = (float(bound) for bound in tensor.aminmax())
    if not (low > -0.5 and high < 1.5):
        raise InputError(f"{what} is a tensor with values from {low:g} to {high:g}; they must be in [0, 1]")
    return to_uint8(tensor.float().clamp(0, 1))


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
