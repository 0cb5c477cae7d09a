"""What all tests share: seeds, one torch thread, and `--strict-system`, under which nothing may skip."""

from __future__ import annotations

import os
import random
import signal

import numpy as np
import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_addoption(parser):
    parser.addoption(
        "--strict-system",
        action="store_true",
        help="a skipped test fails: for a machine that has everything (but a GPU: mark needs_gpu)",
    )
    parser.addoption(
        "--screenshots", metavar="DIR", help="keep pictures of the notebooks as test_jupyterlab.py sees them"
    )


def pytest_configure(config):
    # The order in which threads add up moves the last digits; compared numbers should not depend on it.
    torch.set_num_threads(1)
    # A shell starts commands in the background with Ctrl-C ignored, which child processes would inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _usual_priority():
    """What a library may change of this process in passing, and all later tests would pay for."""
    yield
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) == os.SCHED_OTHER, (
            "the test leaves this process at real-time priority"
        )


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def _fail_instead(report, where):
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{where}: {reason}\n--strict-system: what this needs should have been installed"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    allowed = hasattr(report, "wasxfail") or item.get_closest_marker("needs_gpu")
    if report.skipped and not allowed and item.config.getoption("--strict-system"):
        _fail_instead(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    # A whole file that skips (importorskip at its top) is seen here, and nowhere else.
    report = yield
    if report.skipped and collector.config.getoption("--strict-system"):
        _fail_instead(report, collector.nodeid)
    return report
