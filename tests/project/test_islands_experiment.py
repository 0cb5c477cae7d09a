"""The experiment of notebook 01: its stacked networks, and that its committed table fits its samples."""

import csv

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from experiments import islands
from fomm_lib import gan
from fomm_lib.files import data_path

LAST = {balance: str(settings["steps"]) for balance, settings in islands.BALANCES.items()}


def rows():
    with open(data_path("gan", "islands.csv"), newline="") as file:
        return list(csv.DictReader(file))


def test_a_stack_is_one_network_for_each_seed():
    torch.manual_seed(0)
    stack, x = islands.Stack(3, 2), torch.randn(3, 5, 2)
    together = stack(x)
    for seed in range(3):
        alone = x[seed]
        for layer, (weight, bias) in enumerate(zip(stack.weights, stack.biases, strict=True)):
            alone = (F.leaky_relu(alone, 0.2) if layer else alone) @ weight[seed] + bias[seed]
        torch.testing.assert_close(together[seed], alone)
    (gradient,) = torch.autograd.grad(together[1].sum(), stack.weights[0])
    assert not gradient[0].any() and gradient[1].any() and not gradient[2].any()


def test_no_slope_is_above_the_bound_and_without_it_some_are():
    torch.manual_seed(0)
    bounded, free = islands.Stack(4, 1, max_slope=0.1), islands.Stack(4, 1)
    x = torch.randn(4, 200, 2, requires_grad=True)
    for _ in range(200):  # power iteration converges with the calls
        bounded(x)
    for stack, holds in ((bounded, True), (free, False)):
        (slope,) = torch.autograd.grad(stack(x).sum(), x)
        assert bool((slope.norm(dim=-1) <= 0.1 * 1.01).all()) == holds


def test_training_with_each_method_changes_what_it_says():
    short = {"seeds": 2, "steps": 10, "discriminator_steps": 2, "rate": 1e-3, "discriminator_rate": 5e-3}
    found = {name: islands.train(**short, **changes) for name, changes in islands.METHODS.items()}
    for measured, samples in found.values():
        assert len(measured) == 2 * islands.MOMENTS and samples.shape == (2, 400, 2)
    again, _ = islands.train(**short)
    assert again == found["nothing"][0]
    assert len({str([row["disc_loss"] for row in measured]) for measured, _ in found.values()}) == 4


def test_the_committed_table_is_complete():
    table = rows()
    assert len(table) == 2 * 4 * 8 * islands.MOMENTS
    names = {(row["balance"], row["method"], row["seed"], row["step"]) for row in table}
    assert len(names) == len(table)
    assert {row["method"] for row in table} == set(islands.METHODS)
    assert all(0 <= int(row["covered"]) <= 8 and 0 <= float(row["precision"]) <= 1 for row in table)


@pytest.mark.parametrize("balance", islands.BALANCES)
@pytest.mark.parametrize("method", islands.METHODS)
def test_the_committed_samples_are_those_of_the_table(balance, method):
    (row,) = (
        row
        for row in rows()
        if (row["balance"], row["method"], row["seed"], row["step"]) == (balance, method, "0", LAST[balance])
    )
    samples = torch.from_numpy(np.load(data_path("gan", "islands.npz"))[f"{balance}, {method}"]).float()
    assert samples.shape == (400, 2)
    # 400 samples here, 2000 in the table: three standard deviations of the difference are below 0.09.
    precision = gan.mode_coverage(samples, islands.ISLANDS, 3 * islands.WIDTH).precision
    assert precision == pytest.approx(float(row["precision"]), abs=0.09)
