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
