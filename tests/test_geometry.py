"""`geometry`: coordinates, warps, 2x2 matrices, local motions and precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from fomm_lib.geometry import (
    KEYPOINT_VARIANCE,
    apply_2x2,
    at_least_float32,
    coordinate_grid,
    first_order_motion,
    flow_at,
    from_pixels,
    gaussian_heatmaps,
    inverse_2x2,
    multiply_2x2,
    resize_displacement,
    resize_flow,
    to_pixels,
    warp,
)
from fomm_lib.keypoints import Keypoints

pytestmark = pytest.mark.quick

BOTH = pytest.mark.parametrize("align_corners", [True, False])


def bfloat16():
    return torch.autocast("cpu", dtype=torch.bfloat16)


# --- the grid -----------------------------------------------------------------------------------------------


def test_grid_by_hand():
    grid = coordinate_grid(2, 3)
    assert grid.tolist() == [[[-1, -1], [0, -1], [1, -1]], [[-1, 1], [0, 1], [1, 1]]]
    third = pytest.approx(2 / 3)
    assert coordinate_grid(2, 3, align_corners=False)[0, 2].tolist() == [third, -0.5]


@BOTH
def test_grid_is_that_of_torch(align_corners):
    theta = torch.eye(2, 3, dtype=torch.float64)[None]
    reference = F.affine_grid(theta, [1, 1, 5, 8], align_corners=align_corners)[0]
    grid = coordinate_grid(5, 8, align_corners=align_corners, dtype=torch.float64)
    torch.testing.assert_close(grid, reference)


@BOTH
def test_a_single_pixel_lies_in_the_middle(align_corners):
    assert coordinate_grid(1, 1, align_corners=align_corners).tolist() == [[[0, 0]]]


def test_grid_has_the_precision_asked_for():
    assert coordinate_grid(2, 2).dtype == torch.float32
    assert coordinate_grid(2, 2, dtype=torch.float64).dtype == torch.float64


# --- points and pixels --------------------------------------------------------------------------------------


def test_pixels_of_the_grid_are_its_indices():
    height, width = 5, 8
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = to_pixels(coordinate_grid(height, width), height, width)
    torch.testing.assert_close(pixels, torch.stack([column, row], dim=-1).float())


def test_from_pixels_undoes_to_pixels():
    points = torch.rand(4, 10, 2) * 3 - 1.5
    torch.testing.assert_close(from_pixels(to_pixels(points, 48, 64), 48, 64), points)


# --- Gaussians ----------------------------------------------------------------------------------------------


def test_gaussian_peaks_at_its_point():
    grid = coordinate_grid(9, 17)
    heatmap = gaussian_heatmaps(grid[3, 11], 9, 17)
    assert heatmap[3, 11] == 1
    assert (heatmap == heatmap.max()).nonzero().tolist() == [[3, 11]]


def test_gaussian_has_the_width_of_its_variance():
    points = torch.zeros(1, 2)
    at_a_standard_deviation = gaussian_heatmaps(points, 21, 21)[0, 10, 11]  # pixels lie 0.1 apart
    assert math.sqrt(KEYPOINT_VARIANCE) == pytest.approx(0.1)
    assert at_a_standard_deviation.item() == pytest.approx(math.exp(-0.5))
    assert gaussian_heatmaps(points, 21, 21, variance=0.04)[0, 12, 10].item() == pytest.approx(math.exp(-0.5))


def test_gaussian_sums_to_its_integral():
    cell = (2 / 200) ** 2
    total = gaussian_heatmaps(torch.tensor([0.1, -0.2], dtype=torch.float64), 201, 201).sum() * cell
    assert total.item() == pytest.approx(2 * math.pi * KEYPOINT_VARIANCE, rel=1e-6)


def test_gaussians_of_many_points():
    points = torch.rand(2, 5, 2) * 2 - 1
    heatmaps = gaussian_heatmaps(points, 6, 7)
    assert heatmaps.shape == (2, 5, 6, 7)
    torch.testing.assert_close(heatmaps[1, 3], gaussian_heatmaps(points[1, 3], 6, 7))


# --- 2x2 matrices -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_is_that_of_linalg(dtype):
    matrices = torch.randn(100, 7, 2, 2, dtype=dtype)
    matrices = matrices[torch.linalg.det(matrices).abs().amin(-1) > 0.01]
    assert len(matrices) > 10
    inverse = inverse_2x2(matrices)
    assert inverse.dtype == dtype
    torch.testing.assert_close(inverse, torch.linalg.inv(matrices), rtol=1e-4, atol=1e-4)


def test_inverse_of_the_inverse():
    matrices = torch.eye(2) + 0.2 * torch.randn(50, 2, 2)
    torch.testing.assert_close(inverse_2x2(inverse_2x2(matrices)), matrices, rtol=1e-4, atol=1e-5)
    assert inverse_2x2(torch.eye(2)).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "matrix", [[[0, 0], [0, 0]], [[1, 2], [2, 4]], [[1, 0], [0, 1e-7]], [[1, 0], [0, -1e-7]]]
)
def test_inverse_of_a_singular_matrix_is_finite(matrix, dtype):
    inverse = inverse_2x2(torch.tensor(matrix, dtype=dtype))
    assert torch.isfinite(inverse).all()
    assert inverse.abs().max() <= 4.001e6  # largest entry / eps


def test_small_determinants_keep_their_sign():
    positive, negative = inverse_2x2(torch.tensor([[[1, 0], [0, 1e-8]], [[1, 0], [0, -1e-8]]]))
    assert positive[1, 1] > 0 > negative[1, 1]
    exact = torch.tensor([[1.0, 0.0], [0.0, 2e-6]])
    torch.testing.assert_close(inverse_2x2(exact), torch.linalg.inv(exact))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_inverse_of_half_precision_is_computed_in_float32(dtype):
    matrices = (torch.eye(2) + 0.2 * torch.randn(50, 2, 2)).to(dtype)
    inverse = inverse_2x2(matrices)
    assert inverse.dtype == torch.float32
    torch.testing.assert_close(inverse, torch.linalg.inv(matrices.float()), rtol=1e-4, atol=1e-5)


def test_inverse_of_another_shape():
    with pytest.raises(
        ValueError, match=r"inverse_2x2 takes matrices of shape \(\.\.\., 2, 2\), not \(5, 3, 3\)"
    ):
        inverse_2x2(torch.zeros(5, 3, 3))


def test_products_are_those_of_torch():
    left, right, points = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2)
    torch.testing.assert_close(multiply_2x2(left, right), left @ right)
    torch.testing.assert_close(apply_2x2(left, points), (left @ points[..., None]).squeeze(-1))


def test_matrices_stay_precise_under_autocast():
    left, right, points = torch.randn(9, 2, 2), torch.randn(9, 2, 2), torch.randn(9, 2)
    expected = [inverse_2x2(left), multiply_2x2(left, right), apply_2x2(left, points)]
    with bfloat16():
        assert (left @ right).dtype == torch.bfloat16, "what they are there to avoid"
        found = [inverse_2x2(left), multiply_2x2(left, right), apply_2x2(left, points)]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32 and torch.equal(ours, theirs)


def test_at_least_float32():
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert at_least_float32(torch.zeros(1, dtype=dtype)).dtype == torch.float32
    assert at_least_float32(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


# --- warps --------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_identity_warp_is_the_identity(align_corners, padding_mode):
    image = torch.rand(2, 3, 13, 18)
    grid = coordinate_grid(13, 18, align_corners=align_corners).expand(2, -1, -1, -1)
    result = warp(image, grid, align_corners=align_corners, padding_mode=padding_mode)
    torch.testing.assert_close(result, image, rtol=0, atol=1e-5)


def test_a_grid_of_one_kind_sampled_with_the_other_is_no_identity():
    image = torch.rand(1, 3, 64, 64)
    result = warp(image, coordinate_grid(64, 64)[None], align_corners=False)
    assert (result - image).abs().mean() > 0.1


@BOTH
@pytest.mark.parametrize(("down", "right"), [(0, 3), (2, 0), (-4, 5)])
def test_shift_by_whole_pixels(align_corners, down, right):
    image = torch.rand(1, 2, 16, 20)
    grid = coordinate_grid(16, 20, align_corners=align_corners)
    step = grid[1, 1] - grid[0, 0]
    flow = grid - step * torch.tensor(
        [right, down]
    )  # look up and to the left: the image moves down and right
    expected = torch.zeros_like(image)
    rows, columns = slice(max(down, 0), 16 + min(down, 0)), slice(max(right, 0), 20 + min(right, 0))
    expected[..., rows, columns] = torch.roll(image, (down, right), (2, 3))[..., rows, columns]
    result = warp(image, flow[None], align_corners=align_corners)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_a_warp_is_backward():
    image = torch.zeros(1, 1, 9, 9)
    image[..., 2, 7] = 1  # row 2, column 7
    flow = torch.full((1, 9, 9, 2), 5.0)  # elsewhere: outside
    flow[0, 6, 1] = from_pixels(torch.tensor([7.0, 2.0]), 9, 9)
    result = warp(image, flow)
    assert result[0, 0, 6, 1] == 1 and result.sum() == 1


@pytest.mark.parametrize(("padding_mode", "seen"), [("zeros", 0), ("border", 3), ("reflection", 2)])
def test_what_lies_outside(padding_mode, seen):
    image = torch.arange(4.0).expand(1, 1, 4, 4)
    flow = from_pixels(torch.tensor([4.0, 1.0]), 4, 4)[None, None, None]  # one pixel to the right of the last
    assert warp(image, flow, padding_mode=padding_mode).item() == pytest.approx(seen, abs=1e-5)
    assert warp(image, flow).item() == 0, "the default"


def test_warp_to_another_size():
    image = coordinate_grid(9, 9).permute(2, 0, 1)[None]
    result = warp(image, coordinate_grid(17, 33)[None])
    torch.testing.assert_close(result[0].permute(1, 2, 0), coordinate_grid(17, 33))


@BOTH
def test_warp_gradients(align_corners):
    image = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    # Between pixels, where a bilinear look-up has a derivative.
    pixels = torch.randint(0, 3, (1, 3, 3, 2)) + 0.2 + 0.6 * torch.rand(1, 3, 3, 2, dtype=torch.float64)
    flow = from_pixels(pixels, 4, 5)
    if not align_corners:
        flow = flow * torch.tensor([4 / 5, 3 / 4])
    flow.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, f: warp(p, f, align_corners=align_corners), (image, flow))


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_images_are_sampled_where_the_flow_says(autocast):
    # A ramp shows where a pixel was looked up. A flow in bfloat16 would miss by up to a quarter of a pixel.
    ramp = torch.arange(256.0).expand(1, 1, 256, 256).to(torch.bfloat16)
    flow = coordinate_grid(256, 256)[None]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        result = warp(ramp, flow)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result, ramp)
    assert not torch.equal(warp(ramp, flow.to(torch.bfloat16)), ramp)


# --- flows at another size ----------------------------------------------------------------------------------


def test_resizing_a_flow_to_its_size_does_nothing():
    flow = torch.rand(1, 8, 8, 2)
    assert resize_flow(flow, 8, 8) is flow


def test_a_constant_flow_stays_constant():
    flow = torch.tensor([0.3, -0.7]).expand(2, 8, 8, 2)
    torch.testing.assert_close(resize_flow(flow, 16, 24), flow[:, :1, :1].expand(2, 16, 24, 2))


def test_a_linear_flow_stays_linear_inside():
    flow = coordinate_grid(8, 8, align_corners=False)[None]
    resized = resize_flow(flow, 32, 32)[0]
    torch.testing.assert_close(resized[2:-2, 2:-2], coordinate_grid(32, 32, align_corners=False)[2:-2, 2:-2])


@BOTH
def test_displacements_are_resized_exactly_at_rest(align_corners):
    """The identity stays the identity, up to the border, which it does not where points are interpolated."""
    small, large = (coordinate_grid(*side, align_corners=align_corners)[None] for side in ((8, 6), (32, 15)))
    found = resize_displacement(small, 32, 15, align_corners=align_corners)
    torch.testing.assert_close(found, large, atol=1e-6, rtol=0)
    assert (resize_flow(small, 32, 15) - large).abs().max() > 0.05
    same = small + 0.1 * torch.rand(1, 8, 6, 2)
    torch.testing.assert_close(resize_displacement(same, 8, 6, align_corners=align_corners), same)


@BOTH
def test_a_shift_is_as_many_parts_of_the_image(align_corners):
    """Three pixels of 8 are twelve of 32: the same part of the image, whatever [-1, 1] means."""
    flow, larger = (coordinate_grid(side, side, align_corners=align_corners)[None] for side in (8, 32))
    step = {True: (2 / 7, 2 / 31), False: (2 / 8, 2 / 32)}[align_corners]
    shift = torch.tensor([3.0, -1.0])
    found = resize_displacement(flow + shift * step[0], 32, 32, align_corners=align_corners)
    torch.testing.assert_close(found, larger + 4 * shift * step[1], atol=1e-6, rtol=0)


# --- local motions ------------------------------------------------------------------------------------------


def random_keypoints(jacobian: bool = True, dtype=torch.float64) -> Keypoints:
    value = torch.rand(2, 3, 2, dtype=dtype) * 1.6 - 0.8
    return Keypoints(
        value, torch.eye(2, dtype=dtype) + 0.2 * torch.randn(2, 3, 2, 2, dtype=dtype) if jacobian else None
    )


GRID = coordinate_grid(5, 6, dtype=torch.float64)


def test_no_motion_between_equal_keypoints():
    keypoints = random_keypoints()
    motion = first_order_motion(GRID, keypoints, keypoints)
    torch.testing.assert_close(motion, GRID.expand(2, 3, 5, 6, 2))


def test_motion_by_hand():
    source = Keypoints(torch.tensor([[[0.5, 0.0]]]), torch.tensor([[[[2.0, 0.0], [0.0, 1.0]]]]))
    driving = Keypoints(torch.tensor([[[0.0, 0.5]]]), torch.tensor([[[[1.0, 0.0], [0.0, 0.5]]]]))
    motion = first_order_motion(torch.tensor([[[0.0, 0.5]], [[0.1, 0.6]]]), source, driving)
    # The keypoint itself goes to the keypoint; (0.1, 0.1) from it becomes (0.2, 0.2).
    torch.testing.assert_close(motion[0, 0, :, 0], torch.tensor([[0.5, 0.0], [0.7, 0.2]]))


def test_keypoints_go_to_keypoints_with_their_jacobian():
    source, driving = random_keypoints(), random_keypoints()
    for b in range(2):
        for k in range(3):

            def motion(z, b=b, k=k):
                one = [
                    Keypoints(kp.value[b, k][None, None], kp.jacobian[b, k][None, None])
                    for kp in (source, driving)
                ]
                return first_order_motion(z[None, None], *one)[0, 0, 0, 0]

            point = driving.value[b, k]
            torch.testing.assert_close(motion(point), source.value[b, k])
            slope = torch.autograd.functional.jacobian(motion, point)
            torch.testing.assert_close(
                slope, source.jacobian[b, k] @ torch.linalg.inv(driving.jacobian[b, k])
            )


def test_zeroth_order_is_first_order_with_identity_jacobians():
    source, driving = random_keypoints(jacobian=False), random_keypoints(jacobian=False)
    identity = torch.eye(2, dtype=torch.float64).expand(2, 3, 2, 2)
    first = first_order_motion(GRID, Keypoints(source.value, identity), Keypoints(driving.value, identity))
    zeroth = first_order_motion(GRID, source, driving)
    torch.testing.assert_close(zeroth, first)
    shift = source.value - driving.value
    torch.testing.assert_close(zeroth, GRID + shift[:, :, None, None])


def test_jacobians_of_one_side_only_are_not_used():
    source, driving = random_keypoints(), random_keypoints(jacobian=False)
    zeroth = first_order_motion(GRID, Keypoints(source.value), driving)
    torch.testing.assert_close(first_order_motion(GRID, source, driving), zeroth)


def test_an_affine_motion_of_everything_is_found_exactly():
    driving = random_keypoints()
    matrix = torch.tensor([[1.1, -0.3], [0.2, 0.8]], dtype=torch.float64)
    offset = torch.tensor([0.05, -0.1], dtype=torch.float64)
    source = Keypoints(apply_2x2(matrix, driving.value) + offset, matrix @ driving.jacobian)
    motion = first_order_motion(GRID, source, driving)
    torch.testing.assert_close(motion, (apply_2x2(matrix, GRID) + offset).expand(2, 3, 5, 6, 2))


def test_affine_change_of_the_coordinates_of_the_source():
    source, driving = random_keypoints(), random_keypoints()
    matrix, offset = torch.randn(2, 2, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    changed = Keypoints(apply_2x2(matrix, source.value) + offset, matrix @ source.jacobian)
    expected = apply_2x2(matrix, first_order_motion(GRID, source, driving)) + offset
    torch.testing.assert_close(first_order_motion(GRID, changed, driving), expected)


def test_the_reference_frame_does_not_matter():
    source, driving = random_keypoints(), random_keypoints()
    other = torch.eye(2, dtype=torch.float64) + 0.3 * torch.randn(2, 3, 2, 2, dtype=torch.float64)
    expected = first_order_motion(GRID, source, driving)
    changed = [Keypoints(kp.value, kp.jacobian @ other) for kp in (source, driving)]
    torch.testing.assert_close(first_order_motion(GRID, *changed), expected)


def test_gradients_of_inverse_and_motion():
    matrices = (
        torch.eye(2, dtype=torch.float64) + 0.2 * torch.randn(4, 2, 2, dtype=torch.float64)
    ).requires_grad_()
    assert torch.autograd.gradcheck(inverse_2x2, matrices)
    source, driving = random_keypoints(), random_keypoints()
    inputs = [part.requires_grad_() for kp in (source, driving) for part in (kp.value, kp.jacobian)]

    def motion(value_s, jacobian_s, value_d, jacobian_d):
        return first_order_motion(
            GRID[:2, :2], Keypoints(value_s, jacobian_s), Keypoints(value_d, jacobian_d)
        )

    assert torch.autograd.gradcheck(motion, inputs)


def test_the_motion_of_singular_jacobians_has_finite_gradients():
    singular = torch.zeros(1, 1, 2, 2, requires_grad=True)
    driving = Keypoints(torch.zeros(1, 1, 2), singular)
    source = Keypoints(torch.zeros(1, 1, 2), torch.eye(2).expand(1, 1, 2, 2))
    motion = first_order_motion(coordinate_grid(3, 3), source, driving)
    motion.sum().backward()
    assert torch.isfinite(motion).all() and torch.isfinite(singular.grad).all()


def test_flow_at_points_between_pixels():
    """Bilinear: exact for an affine flow; outside the image as at its edge."""
    matrix, shift = torch.tensor([[0.9, -0.2], [0.1, 1.1]]), torch.tensor([0.05, -0.1])
    flow = (apply_2x2(matrix, coordinate_grid(9, 7)) + shift)[None]
    points = 2 * torch.rand(1, 20, 2, generator=torch.Generator().manual_seed(0)) - 1
    expected = apply_2x2(matrix, points) + shift
    torch.testing.assert_close(flow_at(flow, points), expected)
    corner, beyond = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.7, 2.0]]])
    torch.testing.assert_close(flow_at(flow, beyond), flow_at(flow, corner))
