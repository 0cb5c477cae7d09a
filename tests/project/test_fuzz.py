"""The fuzzer: a small seeded run of it, and that it would see every kind of fault."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.errors import InputError
from tools import fuzz
from tools.fuzz import LEAK, MUTATIONS, READERS, Reading, Report


def test_readers_survive(capsys):
    """Every kind of file twice, every mutation; `python -m tools.fuzz` does five hundred and more."""
    report = fuzz.fuzz(32, seed=5, progress=False)
    assert report.faults == []
    assert sum(report.table.values()) == 32
    assert fuzz.sum_of(report.table, "frames") > 3 and fuzz.sum_of(report.table, "error") > 3
    assert report.longest < fuzz.SECONDS
    assert len(str(report).splitlines()) == len(MUTATIONS) + 3


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_mutations_change_something_and_can_be_repeated(mutate):
    data = bytes(range(256)) * 4 + b"moovtrakmdatfree"
    changed = [bytes(mutate(bytearray(data), np.random.default_rng(seed))) for seed in range(20)]
    again = [bytes(mutate(bytearray(data), np.random.default_rng(seed))) for seed in range(20)]
    assert changed == again
    assert sum(result != data for result in changed) >= 15
    for length in (1, 2, 9):  # what is left of files
        mutate(bytearray(data[:length]), np.random.default_rng(0))


def test_swapped_boxes_are_boxes():
    data = b"\0\0\0\x08moov\0\0\0\x08mdat"
    swapped = {bytes(fuzz.swap_boxes(bytearray(data), np.random.default_rng(seed))) for seed in range(9)}
    assert swapped == {b"\0\0\0\x08mdat\0\0\0\x08moov"}


def reading(**changes):
    return Reading(dict.fromkeys(READERS, "error") | changes, process=1, files=5, memory=1 << 28)


def test_faults_are_seen():
    report = Report()
    assert not report.add("a.mp4", "truncate", reading())
    assert not report.add("a.mp4", "truncate", reading(video="frames"))
    assert report.add("a.mp4", "truncate", reading(image="ValueError: no"))
    assert not report.stop("a.mp4", "delete", "stopped: needs more than 1024 MiB of memory")
    assert report.stop("a.mp4", "delete", "crashed (SIGSEGV)")
    assert report.stop("a.mp4", "delete", "stopped: not done after 30 s")
    assert report.faults == [
        "truncate a.mp4: image: ValueError: no",
        "delete a.mp4: crashed (SIGSEGV)",
        "delete a.mp4: stopped: not done after 30 s",
    ]
    assert dict(report.table) == {
        ("truncate", "error"): 1,
        ("truncate", "frames"): 1,
        ("truncate", "fault"): 1,
        ("delete", "memory"): 1,
        ("delete", "fault"): 2,
    }


@pytest.mark.parametrize(("what", "grows"), [("files", (1, 0)), ("bytes of memory", (0, LEAK // 10))])
def test_leaks_are_seen(what, grows):
    report = Report()
    for number in range(30):
        used = Reading(dict.fromkeys(READERS, "error"), 1, 5 + number * grows[0], 9 + number * grows[1])
        report.add("a.mp4", "truncate", used)
    report.look_for_leaks()
    (line,) = report.faults
    assert line.startswith("leak: ") and line.endswith(f"{what} after 30 calls")


def fails(error):
    def read(path):
        raise error

    return read


def test_what_an_outcome_is():
    assert fuzz._outcome(lambda path: 1, "a.mp4") == "frames"
    assert fuzz._outcome(fails(InputError("a.mp4: is damaged")), "a.mp4") == "error"
    assert fuzz._outcome(fails(InputError("a\nb")), "a.mp4").startswith("error of several lines")
    assert fuzz._outcome(fails(KeyError("x")), "a.mp4") == "KeyError: 'x'"
