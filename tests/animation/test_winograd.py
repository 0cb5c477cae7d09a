"""Winograd's convolution: its matrices in exact arithmetic, and its results against the plain convolution."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch.nn import functional as F

from fomm_lib.animation import winograd
from fomm_lib.animation.winograd import Winograd, winograd_matrices


def double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def relative_error(found, expected):
    return ((found - expected).square().mean().sqrt() / expected.std()).item()


def test_the_smallest_case_by_hand():
    """F(2, 3) with the points 0, 1, -1, as in every text: 4 multiplications for 2 sums of 3."""
    bt, g, at = winograd_matrices((0.0, 1.0, -1.0))
    assert bt.tolist() == [[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]
    assert g.tolist() == [[-1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]
    assert at.tolist() == [[1, 1, 1, 0], [0, 1, -1, 1]]


@pytest.mark.parametrize("points", [(0.0, 1.0, -1.0), (0.0, 1.0, -1.0, 2.0, -2.0), winograd.POINTS])
def test_the_matrices_give_a_correlation_exactly(points):
    """In rational arithmetic: A^T [(G g) * (B^T d)] = [sum_k g_k d_(i+k)] for every g and d."""
    bt, g, at = (
        [[Fraction(x).limit_denominator(1000) for x in row] for row in matrix.tolist()]
        for matrix in winograd_matrices(points)
    )
    size, taps = len(bt), 3
    for k in range(taps):
        for j in range(size):
            products = [g[a][k] * bt[a][j] for a in range(size)]  # for unit vectors g = e_k, d = e_j
            y = [sum(row[a] * products[a] for a in range(size)) for row in at]
            assert y == [int(j == i + k) for i in range(size - taps + 1)]


@pytest.mark.parametrize("size", [(8, 8), (4, 12), (5, 7), (1, 1)])
@torch.inference_mode()
def test_winograd_is_the_convolution(size):
    x, weight, bias = double(3, 5, *size), double(7, 5, 3, 3, seed=1), double(7, seed=2)
    found = Winograd(weight, bias, torch.float64)(x)
    torch.testing.assert_close(found, F.conv2d(x, weight, bias, padding=1), atol=1e-12, rtol=1e-12)


@torch.inference_mode()
def test_portions_do_not_change_it(monkeypatch):
    x, weight, bias = double(5, 4, 8, 8), double(4, 4, 3, 3, seed=1), double(4, seed=2)
    layer = Winograd(weight, bias, torch.float64)
    whole = layer(x)
    monkeypatch.setattr(winograd, "WINOGRAD_PORTION", 1)
    torch.testing.assert_close(layer(x), whole, atol=1e-13, rtol=0)


@torch.inference_mode()
def test_the_rounding_of_winograd():
    """Against float64, as a share of the result's deviation: a few millionths; but in bfloat16 four times
    that of a plain convolution, which is why it is left out there.
    """
    x, weight, bias = double(1, 64, 16, 16).relu(), double(64, 64, 3, 3, seed=1) / 24, double(64, seed=2)
    exact = F.conv2d(x, weight, bias, padding=1)
    assert relative_error(Winograd(weight, bias, torch.float32)(x).double(), exact) < 3e-6
    by_winograd = relative_error(Winograd(weight, bias, torch.bfloat16)(x).double(), exact)
    plain = relative_error(F.conv2d(*(t.bfloat16() for t in (x, weight, bias)), padding=1).double(), exact)
    assert plain < 0.003 and by_winograd > 4 * plain


# --- matrix products by the library that is faster -------------------------------------------------------


@pytest.fixture
def by_onednn(monkeypatch):
    """Products of every size by oneDNN; gives how many calls there were."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(winograd, "MKL_IS_SLOW", True)
    monkeypatch.setattr(winograd, "ONEDNN_PRODUCT", 1)
    calls, forward = [], winograd._Products.forward

    def counted(context, a, b):
        calls.append(a.shape)
        return forward(context, a, b)

    monkeypatch.setattr(winograd._Products, "forward", staticmethod(counted))
    return calls


@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (36, 256, 128, 64), (1, 1, 1, 1)])
def test_products_by_onednn(by_onednn, shape):
    """Values, gradients, and gradients of gradients, which the R1 penalty needs."""
    number, rows, inner, columns = shape
    matrices = torch.randn(number, rows, inner), torch.randn(number, inner, columns)
    results = []
    for multiply, dtype in ((winograd.products, torch.float32), (torch.bmm, torch.float64)):
        a, b = (matrix.to(dtype).requires_grad_() for matrix in matrices)
        product = multiply(a, b)
        slopes = torch.autograd.grad(product.square().mean(), (a, b), create_graph=True)
        second = torch.autograd.grad(sum(slope.square().sum() for slope in slopes), (a, b))
        results.append([product.detach(), *(slope.detach() for slope in slopes), *second])
    assert len(by_onednn) > 3  # forward, both gradients, and their gradients
    for found, expected in zip(*results, strict=True):
        assert found.dtype == torch.float32
        largest = expected.abs().max().item()
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * largest)


def test_only_large_products_of_float32_go_by_onednn(by_onednn, monkeypatch):
    monkeypatch.setattr(winograd, "ONEDNN_PRODUCT", 1000)
    for a, b, calls in (
        (torch.ones(1, 10, 10), torch.ones(1, 10, 10), 1),
        (torch.ones(1, 10, 10), torch.ones(1, 10, 9), 0),
        (torch.ones(1, 10, 10).double(), torch.ones(1, 10, 10).double(), 0),
        (torch.ones(1, 10, 10).bfloat16(), torch.ones(1, 10, 10).bfloat16(), 0),
    ):
        by_onednn.clear()
        assert torch.equal(winograd.products(a, b), torch.bmm(a, b))
        assert len(by_onednn) == calls
    monkeypatch.setattr(winograd, "MKL_IS_SLOW", False)
    by_onednn.clear()
    winograd.products(torch.ones(1, 10, 10), torch.ones(1, 10, 10))
    assert by_onednn == []


@pytest.mark.parametrize(
    ("text", "slow"),
    [
        ("vendor_id : AuthenticAMD\nflags : avx2 avx512f", True),
        ("vendor_id : AuthenticAMD\nflags : avx2", False),
        ("vendor_id : GenuineIntel\nflags : avx2 avx512f", False),
        (None, False),
    ],
)
def test_where_the_usual_library_is_slow(text, slow, tmp_path):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    has = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
    assert winograd._mkl_is_slow(tmp_path / "cpuinfo") == (slow and has)


@torch.inference_mode()
def test_winograd_by_onednn_is_the_convolution(by_onednn):
    x, weight, bias = torch.randn(2, 24, 16, 12), torch.randn(8, 24, 3, 3), torch.randn(8)
    found = Winograd(weight, bias, torch.float32)(x)
    assert relative_error(found, F.conv2d(x, weight, bias, padding=1)) < 3e-6
    assert len(by_onednn) == 1
