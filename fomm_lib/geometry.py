"""The conventions of coordinates, warps, 2x2 matrices and precision. No other module defines them again.

- A point is (x, y): x increases to the right, y increases downwards, and both are in [-1, 1] inside the
  image.
- The default grid puts -1 and 1 at the *centres* of the border pixels (`align_corners=True`): pixel j of w
  is at x = 2 j / (w - 1) - 1. With `align_corners=False`, the default of later versions of PyTorch, -1 and 1
  are the outer *edges* of the border pixels, and x = (2 j + 1) / w - 1. Do not mix them: a grid of one kind,
  sampled with the other, shrinks or stretches the image, so that the identity warp changes it.
- A warp is *backward*: a flow of shape (B, h, w, 2) gives, for every pixel of the driving frame, the point of
  the source to copy.
- A Jacobian of shape (..., 2, 2) acts on column vectors (x, y).
- Points, Jacobians, flows and losses have at least float32, even if the networks run in half precision:
  just below 1 the numbers of bfloat16 are 1/256 apart, which is half a pixel of an image of 256.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

KEYPOINT_VARIANCE = 0.01  # of the Gaussian heatmaps of keypoints, in squared units of [-1, 1]


def coordinate_grid(
    height: int,
    width: int,
    *,
    align_corners: bool = True,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The (x, y) of every pixel: a tensor of shape (height, width, 2) in [-1, 1].

    For pixel (i, j): x = 2 j / (w - 1) - 1 and y = 2 i / (h - 1) - 1; with `align_corners=False`
    x = (2 j + 1) / w - 1 and y = (2 i + 1) / h - 1. If a side has only one pixel, it is at 0.

    As a flow it is the identity: `warp(image, coordinate_grid(h, w)[None])` returns the image.

    Example:
        >>> coordinate_grid(2, 3)[0]
        tensor([[-1., -1.],
                [ 0., -1.],
                [ 1., -1.]])
    """

    def axis(n: int) -> Tensor:
        i = torch.arange(n, device=device, dtype=dtype or torch.get_default_dtype())
        if align_corners:
            return 2 * i / (n - 1) - 1 if n > 1 else torch.zeros_like(i)
        return (2 * i + 1) / n - 1

    y, x = torch.meshgrid(axis(height), axis(width), indexing="ij")
    return torch.stack([x, y], dim=-1)


def to_pixels(points: Tensor, height: int, width: int) -> Tensor:
    """Points in [-1, 1] as pixel indices (column, row), for drawing: shape (..., 2) to (..., 2).

    The inverse of `coordinate_grid(height, width)`; the centre of the first pixel has the index 0.

    Example:
        >>> to_pixels(torch.tensor([0.0, 1.0]), height=5, width=9)
        tensor([4., 4.])
    """
    return (points + 1) / 2 * torch.tensor([width - 1, height - 1], device=points.device, dtype=points.dtype)


def from_pixels(pixels: Tensor, height: int, width: int) -> Tensor:
    """Pixel indices (column, row) as points in [-1, 1]: the inverse of `to_pixels`, for sides of 2 or more.

    Example:
        >>> from_pixels(torch.tensor([4.0, 4.0]), height=5, width=9)
        tensor([0., 1.])
    """
    return pixels / torch.tensor([width - 1, height - 1], device=pixels.device, dtype=pixels.dtype) * 2 - 1


def gaussian_heatmaps(points: Tensor, height: int, width: int, variance: float = KEYPOINT_VARIANCE) -> Tensor:
    """A Gaussian heatmap for every point p: exp(-0.5 |z - p|^2 / variance) at the pixels z.

    Args:
        points: (..., 2), in [-1, 1].
    Returns:
        (..., height, width), in (0, 1]; exactly 1 if a point is at a pixel.

    Source: FOMM, section 3.1, eq. (6).

    Example:
        >>> gaussian_heatmaps(torch.zeros(1, 10, 2), 64, 64).shape
        torch.Size([1, 10, 64, 64])
    """
    grid = coordinate_grid(height, width, device=points.device, dtype=points.dtype)
    distance2 = ((grid - points[..., None, None, :]) ** 2).sum(-1)
    return torch.exp(-0.5 * distance2 / variance)


def at_least_float32(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; float32 and float64 unchanged.

    Example:
        >>> at_least_float32(torch.zeros(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def inverse_2x2(matrix: Tensor, eps: float = 1e-6) -> Tensor:
    """The inverse of 2x2 matrices in closed form: [[a, b], [c, d]]^-1 = [[d, -b], [-c, a]] / (ad - bc).

    If |ad - bc| < eps, the determinant is replaced by +-eps: a singular Jacobian, which a detector may give
    early in training, then yields a large finite matrix instead of an error.

    Args:
        matrix: (..., 2, 2).
        eps: the smallest determinant, in absolute value, to divide by.
    Returns:
        (..., 2, 2), in at least float32.
    Raises:
        ValueError: the last two dimensions are not 2x2.

    Example:
        >>> inverse_2x2(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
        tensor([[0.5000, -0.0000],
                [-0.0000, 0.2500]])
    """
    if matrix.shape[-2:] != (2, 2):
        raise ValueError(f"inverse_2x2 takes matrices of shape (..., 2, 2), not {tuple(matrix.shape)}")
    matrix = at_least_float32(matrix)
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    det = a * d - b * c
    det = torch.where(det < 0, det.clamp(max=-eps), det.clamp(min=eps))
    adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return adjugate / det[..., None, None]


def multiply_2x2(left: Tensor, right: Tensor) -> Tensor:
    """The product of 2x2 matrices, (..., 2, 2) each.

    Written as a sum, because autocast would compute a matrix product in half precision.

    Example:
        >>> multiply_2x2(2 * torch.eye(2), 3 * torch.eye(2))
        tensor([[6., 0.],
                [0., 6.]])
    """
    return (left[..., :, :, None] * right[..., None, :, :]).sum(-2)


def apply_2x2(matrix: Tensor, points: Tensor) -> Tensor:
    """Matrices (..., 2, 2) times column vectors (x, y) of shape (..., 2); a sum for the same reason.

    Example:
        >>> apply_2x2(torch.tensor([[0.0, -1.0], [1.0, 0.0]]), torch.tensor([1.0, 0.0]))  # a quarter turn
        tensor([0., 1.])
    """
    return (matrix * points[..., None, :]).sum(-1)


def warp(image: Tensor, flow: Tensor, *, align_corners: bool = True, padding_mode: str = "zeros") -> Tensor:
    """Sample `image` at the points of `flow`, bilinearly: out(z) = image(flow(z)).

    Args:
        image: (B, C, H, W), the source or its features.
        flow: (B, h, w, 2), for every pixel of the result the point of the source to copy, in [-1, 1].
        align_corners: whether -1 and 1 are centres of pixels; see above. The published weights need True.
        padding_mode: the values outside the image: "zeros", "border" or "reflection".
    Returns:
        (B, C, h, w), in the precision of the image.

    Example:
        >>> image = torch.rand(1, 3, 8, 8)
        >>> torch.allclose(warp(image, coordinate_grid(8, 8)[None]), image, atol=1e-6)
        True
    """
    # Both get the finer precision: a flow rounded to the half precision of the features is too coarse.
    dtype = torch.promote_types(image.dtype, at_least_float32(flow).dtype)
    sampled = F.grid_sample(
        image.to(dtype), flow.to(dtype), align_corners=align_corners, padding_mode=padding_mode
    )
    return sampled.to(image.dtype)


def resize_flow(flow: Tensor, height: int, width: int) -> Tensor:
    """A flow at another resolution, bilinearly: (B, h, w, 2) to (B, height, width, 2).

    Its values are points in [-1, 1], so they are not scaled. The interpolation always uses
    `align_corners=False`, as when the published weights were trained.

    Example:
        >>> resize_flow(torch.zeros(1, 8, 8, 2), 16, 16).shape
        torch.Size([1, 16, 16, 2])
    """
    if flow.shape[1:3] == (height, width):
        return flow
    resized = F.interpolate(
        flow.permute(0, 3, 1, 2), size=(height, width), mode="bilinear", align_corners=False
    )
    return resized.permute(0, 2, 3, 1)


def resize_displacement(flow: Tensor, height: int, width: int, *, align_corners: bool = True) -> Tensor:
    """A flow at another resolution in which the identity stays the identity: (B, h, w, 2) to
    (B, height, width, 2).

    `resize_flow` interpolates points. Near the border it moves them, by up to half a pixel of the smaller
    resolution: where -1 is the centre of the first pixel, the first pixels of 64 and of 256 are not at the
    same place of the image. Here the displacements are interpolated, and added to the identity of the new
    resolution. Pixels of both cover the same image, so that one pixel of w becomes width / w pixels.

    Example:
        >>> identity = coordinate_grid(64, 64)[None]
        >>> torch.allclose(resize_displacement(identity, 256, 256)[0], coordinate_grid(256, 256), atol=1e-6)
        True
    """
    before, after = (torch.tensor([sides[1], sides[0]]) for sides in (flow.shape[1:3], (height, width)))
    options = {"align_corners": align_corners, "device": flow.device, "dtype": flow.dtype}
    displacement = resize_flow(flow - coordinate_grid(*flow.shape[1:3], **options), height, width)
    if align_corners:  # [-1, 1] is one pixel less than the image: (w - 1) / w of it
        scale = (before - 1) / before * after / (after - 1).clamp(min=1)
        displacement = displacement * scale.to(flow)
    return displacement + coordinate_grid(height, width, **options)


def flow_at(flow: Tensor, points: Tensor) -> Tensor:
    """A flow at points between its pixels: bilinear inside, constant outside the outermost pixels.

    Args:
        flow: (B, H, W, 2).
        points: (B, N, 2), in [-1, 1].
    Returns:
        (B, N, 2).

    Example:
        >>> points = torch.tensor([[[0.1, -0.4]]])
        >>> torch.allclose(flow_at(coordinate_grid(8, 8)[None], points), points)  # the identity
        True
    """
    return warp(flow.permute(0, 3, 1, 2), points[:, :, None], padding_mode="border")[..., 0].mT


def first_order_motion(grid: Tensor, kp_source, kp_driving) -> Tensor:
    """The motion near every keypoint, to first order:

    T_k(z) = J_k (z - p_driving,k) + p_source,k with J_k = J_source,k J_driving,k^-1.

    A Taylor expansion of the backward motion T_{S<-D} at p_driving; without Jacobians J_k = I, the
    zeroth-order motion of Monkey-Net.

    Args:
        grid: (h, w, 2), the points z.
        kp_source, kp_driving: keypoints with `value` (B, K, 2) and `jacobian` (B, K, 2, 2) or None.
    Returns:
        (B, K, h, w, 2), points of the source.

    Source: FOMM, section 3.1, eq. (4).
    """
    z = grid - kp_driving.value[:, :, None, None, :]
    if kp_source.jacobian is not None and kp_driving.jacobian is not None:
        jacobian = multiply_2x2(kp_source.jacobian, inverse_2x2(kp_driving.jacobian))
        z = apply_2x2(jacobian[:, :, None, None], z)
    return z + kp_source.value[:, :, None, None, :]
