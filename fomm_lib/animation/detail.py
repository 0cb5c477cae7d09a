"""The detail of the source, which the generator loses, carried along by the motion. Beyond the paper.

What a generator makes of a source at rest, its self-reconstruction, lacks the source's finest detail: hair,
skin, the edges of the lids. It is known, because the source is, and it moves as the image does:

    result = enlarged(generated) + occlusion * warp(lost, flow)
    lost = source - enlarged(self-reconstruction)

with everything at the size of the result. Where the source does not show what is generated, the occlusion map
is 0, and nothing is added. At rest, where it is 1, the result is the source. Nothing is trained for this.

The flow is enlarged by `geometry.resize_displacement`, not as in the generator: detail that is half a pixel
beside its edge makes a double edge.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from fomm_lib.generator import Generated
from fomm_lib.geometry import resize_displacement, warp


def enlarged(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, h, w) in [0, 1] at `size` = (H, W), bicubically, as `media.tensors.resize_bicubic`.

    Example:
        >>> enlarged(torch.full((1, 3, 8, 8), 0.5), (16, 16)).shape
        torch.Size([1, 3, 16, 16])
    """
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return interpolate(images, size=size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def lost_detail(source: Tensor, reconstructed: Tensor) -> Tensor:
    """What the self-reconstruction of a source lacks: source - enlarged(reconstructed), (1, C, H, W).

    Args:
        source: (1, C, H, W) in [0, 1], at the size of the result.
        reconstructed: (1, C, h, w), generated with the keypoints of the source itself.

    Example:
        >>> grey = torch.full((1, 3, 16, 16), 0.5)
        >>> lost_detail(grey, grey[..., :8, :8]).abs().max() < 1e-6   # no detail in it, none lost
        tensor(True)
    """
    return source - enlarged(reconstructed, source.shape[-2:])


def with_detail(generated: Generated, lost: Tensor, *, align_corners: bool = True) -> Tensor:
    """Generated images, enlarged, with the detail of the source: (B, C, H, W) in [0, 1].

    Args:
        generated: of the model; its flow (`deformation`) says where the detail goes. Without an occlusion map
            all of it is added.
        lost: (1, C, H, W), see `lost_detail`.
        align_corners: of the model's warps.

    Example:
        >>> at_rest = Generated(reconstructed, deformation=coordinate_grid(64, 64)[None])   # doctest: +SKIP
        >>> with_detail(at_rest, lost_detail(source, reconstructed))   # doctest: +SKIP
        ... # the source
    """
    size = lost.shape[-2:]
    flow = resize_displacement(generated.deformation, *size, align_corners=align_corners)
    added = warp(lost.expand(len(flow), -1, -1, -1), flow, align_corners=align_corners)
    if generated.occlusion_map is not None:
        added = added * interpolate(generated.occlusion_map, size=size, mode="bilinear", align_corners=False)
    return (enlarged(generated.prediction, size) + added).clamp(0, 1)
