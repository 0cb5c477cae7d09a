"""Measures of the family's experiments: distances of sets of images, and labels that are read back.

Source: T. Karras et al., *Progressive Growing of GANs ...*, ICLR 2018, section 5 (SWD); P. Isola et al.,
*Image-to-Image Translation ...*, CVPR 2017, section 4 (label accuracy, histograms of colours).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fomm_lib.errors import InputError


def confusion_matrix(found: Tensor, true: Tensor, classes: int) -> Tensor:
    """(classes, classes) counts: row = true class, column = found class.

    Args:
        found, true: integers of the same shape, 0 to classes - 1.

    Example:
        >>> confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2)
        tensor([[1, 1],
                [0, 1]])
    """
    if found.shape != true.shape:
        raise InputError(f"found has shape {tuple(found.shape)}, true {tuple(true.shape)}; give one a pixel")
    places = true.flatten().long() * classes + found.flatten().long()
    return torch.bincount(places, minlength=classes**2).view(classes, classes)


def label_scores(confusion: Tensor) -> dict[str, float]:
    """`pixel_accuracy`, `class_accuracy` and `iou` (means over classes that occur), 0 to 1.

    Example:
        >>> label_scores(torch.tensor([[1, 1], [0, 2]]))
        {'pixel_accuracy': 0.75, 'class_accuracy': 0.75, 'iou': 0.5833333333333333}
    """
    confusion = confusion.double()
    right, true, found = confusion.diag(), confusion.sum(1), confusion.sum(0)
    seen = true > 0
    return {
        "pixel_accuracy": float(right.sum() / confusion.sum()),
        "class_accuracy": float((right[seen] / true[seen]).mean()),
        "iou": float((right[seen] / (true + found - right)[seen]).mean()),
    }


def histogram_overlap(a: Tensor, b: Tensor, bins: int = 32, low: float = 0.0, high: float = 1.0) -> float:
    """sum_i min(p_i, q_i) of the histograms of two sets of numbers: 1 for equal ones, 0 for disjoint ones.

    Example:
        >>> histogram_overlap(torch.tensor([0.1, 0.1]), torch.tensor([0.1, 0.9]), bins=2)
        0.5
    """
    p, q = (torch.histc(x.double(), bins, low, high) / x.numel() for x in (a, b))
    return float(torch.minimum(p, q).sum())


def opponent_colours(image: Tensor) -> Tensor:
    """Two numbers a pixel that hold its colour and not its brightness: (R - G) / 2 and (R + G - 2 B) / 4.

    (B, 3, H, W) in [0, 1] to (B, 2, H, W) in [-1/2, 1/2].
    """
    red, green, blue = image.unbind(dim=1)
    return torch.stack([(red - green) / 2, (red + green - 2 * blue) / 4], dim=1)


def laplacian_pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """Band-pass images from the finest on, the last a low-pass one; their enlarged sum is the image.

    The blur is the 5-tap binomial filter of Burt and Adelson, (1, 4, 6, 4, 1) / 16.
    """
    bands = []
    for _ in range(levels - 1):
        small = _blur(image)[..., ::2, ::2]
        large = torch.zeros_like(image)
        large[..., ::2, ::2] = small
        bands.append(image - 4 * _blur(large))
        image = small
    return [*bands, image]


def _blur(image: Tensor) -> Tensor:
    taps = torch.tensor([1.0, 4, 6, 4, 1], device=image.device, dtype=image.dtype) / 16
    kernel = (taps[:, None] * taps).expand(image.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), kernel, groups=image.shape[1])


def sliced_wasserstein(
    real: Tensor,
    fake: Tensor,
    *,
    patch: int = 7,
    patches: int = 128,
    directions: int = 512,
    smallest: int = 16,
    seed: int = 0,
) -> dict[int, float]:
    """SWD by size: how far apart the patches of two sets of images are, at every level of a pyramid.

    From every image and level `patches` random patches are taken, normalised per channel to mean 0 and
    deviation 1 over the set, and projected on random directions; the distance is the mean, over directions,
    of the mean absolute difference of the sorted projections.

    Args:
        real, fake: (N, C, H, W) each, N the same.
        smallest: the size of the coarsest level.

    Returns:
        {size: SWD}, from the finest level on. Published tables show it times 1000.

    Raises:
        InputError: the sets differ in shape, or the patch does not fit the coarsest level.

    Source: Karras et al. 2018, section 5; 128 patches an image, 512 directions.

    Example:
        >>> images = torch.rand(8, 3, 32, 32)
        >>> sliced_wasserstein(images, images)
        {32: 0.0, 16: 0.0}
    """
    if real.shape != fake.shape:
        raise InputError(
            f"real has shape {tuple(real.shape)}, fake {tuple(fake.shape)}; give as many of each"
        )
    size, levels = real.shape[-1], 1
    while size // 2**levels >= smallest:
        levels += 1
    if size // 2 ** (levels - 1) < patch:
        raise InputError(f"a patch of {patch} pixels does not fit into {size // 2 ** (levels - 1)}")
    generator = torch.Generator().manual_seed(seed)
    found = {}
    pairs = zip(laplacian_pyramid(real, levels), laplacian_pyramid(fake, levels), strict=True)
    for real_band, fake_band in pairs:
        places = torch.randint(real_band.shape[-1] - patch + 1, (len(real), patches, 2), generator=generator)
        samples = [_normalised(_patches(band, places, patch)) for band in (real_band, fake_band)]
        axes = F.normalize(torch.randn(samples[0].shape[1], directions, generator=generator), dim=0)
        a, b = ((sample @ axes).sort(dim=0).values for sample in samples)
        found[real_band.shape[-1]] = float((a - b).abs().mean())
    return found


def _patches(band: Tensor, places: Tensor, patch: int) -> Tensor:
    """(N * patches, C, patch^2) at (N, patches, 2) upper left corners."""
    windows = band.unfold(2, patch, 1).unfold(3, patch, 1)  # (N, C, rows, columns, patch, patch)
    image = torch.arange(len(band))[:, None]
    return windows[image, :, places[..., 0], places[..., 1]].flatten(0, 1).flatten(2)


def _normalised(patches: Tensor) -> Tensor:
    """Mean 0 and deviation 1 per channel over the set; flattened to (N, C patch^2)."""
    mean = patches.mean(dim=(0, 2), keepdim=True)
    deviation = patches.std(dim=(0, 2), keepdim=True, unbiased=False)
    return ((patches - mean) / deviation.clamp(min=1e-12)).flatten(1)
