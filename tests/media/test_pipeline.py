"""Pipelines: the same items in the same order, bounded, errors in their place, no thread left behind."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from fomm_lib.media import pipeline
from fomm_lib.media.pipeline import BackgroundWriter, prefetch, progress_bar


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_the_same_items():
    assert list(prefetch(range(100), depth=3)) == list(range(100))
    assert list(prefetch([])) == []


def test_no_more_than_depth_ahead():
    made = []

    def endless():
        for number in itertools.count():
            made.append(number)
            yield number

    items = prefetch(endless(), depth=4)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.3)
    assert len(made) <= 3 + 4 + 1  # taken, waiting, and in its hand
    items.close()


def test_it_is_ahead():
    ready = threading.Event()

    def two():
        yield 1
        ready.set()
        yield 2

    items = prefetch(two())
    assert next(items) == 1
    assert ready.wait(5)  # without anybody asking for it
    items.close()


def test_errors_come_after_the_items_before_them():
    def broken():
        yield 1
        raise ValueError("damaged")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(items)


def test_the_generator_is_closed_in_its_own_thread():
    closed = []

    def opened():
        try:
            yield from itertools.count()
        finally:
            closed.append(threading.current_thread())

    for item in prefetch(opened(), depth=2):
        if item == 5:
            break
    assert len(closed) == 1 and closed[0] is not threading.current_thread()


def test_calls_are_made_in_order():
    done = []
    with BackgroundWriter(depth=2) as behind:
        for number in range(50):
            behind.call(done.append, number)
    assert done == list(range(50))


def test_calls_wait_for_room():
    gate, started = threading.Event(), []

    def wait(number):
        started.append(number)
        gate.wait(5)

    def fill(behind):
        for number in range(4):
            behind.call(wait, number)
        filled.set()

    filled = threading.Event()
    with BackgroundWriter(depth=2) as behind:
        thread = threading.Thread(target=fill, args=(behind,))
        thread.start()
        assert not filled.wait(0.3)
        gate.set()
        thread.join()
    assert started == [0, 1, 2, 3]


def fail():
    raise OSError("disk full")


def test_an_error_is_raised_soon():
    with pytest.raises(OSError, match="disk full"), BackgroundWriter(depth=2) as behind:
        behind.call(fail)
        for _ in range(1000):
            behind.call(time.sleep, 0.001)
        pytest.fail("nobody noticed")


def test_an_error_of_the_last_call_is_raised_at_the_end():
    with pytest.raises(OSError, match="disk full"), BackgroundWriter() as behind:
        behind.call(fail)


def test_waiting_calls_are_dropped_when_the_block_fails():
    done = []
    with pytest.raises(KeyboardInterrupt), BackgroundWriter(depth=50) as behind:
        behind.call(time.sleep, 0.2)
        for number in range(40):
            behind.call(done.append, number)
        raise KeyboardInterrupt
    assert len(done) < 40


# --- bars ----------------------------------------------------------------------------------------------


def test_a_function_shows_the_progress():
    shown = []
    assert list(progress_bar("abc", lambda *numbers: shown.append(numbers), total=3)) == list("abc")
    assert shown == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_passes_the_items_on(progress, capsys, monkeypatch):
    monkeypatch.setattr(pipeline.tqdm, "monitor_interval", 0)  # or its monitor, a thread, stays
    bar = progress_bar(iter(range(3)), progress, total=3, unit="pair", description="making")
    assert list(bar) == [0, 1, 2]
    bar.close()
    assert ("making: 100%" in capsys.readouterr().err) == progress
