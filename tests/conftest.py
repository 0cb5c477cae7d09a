"""Shared by all tests: seeds, one torch thread, and `--strict-system`, under which nothing may skip.

With the environment variable FOMM_SKIPPED, the ids of the tests and files that skip are appended to the file
that it names: `.ci/run` runs those again, on a machine that lacks nothing.
"""

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
        "--screenshots", metavar="DIR", help="keep images of the notebooks as test_jupyterlab.py sees them"
    )


def pytest_configure(config):
    # The order in which threads add up moves the last digits; compared numbers should not depend on it.
    torch.set_num_threads(1)
    # A shell starts commands in the background with Ctrl-C ignored, which child processes would inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session):
    """Let test modules start long work in other processes, which then runs beside all other tests."""
    if session.testsfailed or session.config.option.collectonly:
        return
    for module in {item.module for item in session.items if hasattr(item, "module")}:
        if hasattr(module, "start_early"):
            module.start_early([item for item in session.items if item.module is module], session.config)


@pytest.fixture(autouse=True)
def _usual_priority():
    """A library may change the priority of this process, which would slow all later tests."""
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


def _note_skip(report, where, strict):
    """Turn a skip into a failure under --strict-system; else list it, where a list is wanted."""
    if strict:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{where}: {reason}\n--strict-system: what this needs should have been installed"
    elif os.environ.get("FOMM_SKIPPED"):
        with open(os.environ["FOMM_SKIPPED"], "a", encoding="utf-8") as file:
            print(where, file=file)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    allowed = hasattr(report, "wasxfail") or item.get_closest_marker("needs_gpu")
    if report.skipped and not allowed:
        _note_skip(report, item.nodeid, item.config.getoption("--strict-system"))
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    # A whole file that skips (importorskip at its top) is seen here, and nowhere else.
    report = yield
    if report.skipped:
        _note_skip(report, collector.nodeid, collector.config.getoption("--strict-system"))
    return report
