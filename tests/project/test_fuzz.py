"""The fuzzer: a small seeded run of it, and that it would see every kind of fault."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fomm_lib.errors import InputError
from tools import fuzz, fuzz_families
from tools.fuzz import LEAK, MUTATIONS, READERS, Reading, Report


def test_readers_survive(capsys):
    """Every kind of file twice, every mutation; `python -m tools.fuzz` does five hundred and more."""
    report = fuzz.fuzz(32, seed=5, progress=False)
    assert report.faults == []
    assert sum(report.table.values()) == 32
    assert fuzz.sum_of(report.table, "read") > 3 and fuzz.sum_of(report.table, "error") > 3
    assert report.longest < fuzz.SECONDS
    assert len(str(report).splitlines()) == len({mutation for mutation, _ in report.table}) + 3


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
    assert not report.add("a.mp4", "truncate", reading(video="read"))
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
        ("truncate", "read"): 1,
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
    assert fuzz._outcome(lambda path: 1, "a.mp4") == "read"
    assert fuzz._outcome(fails(InputError("a.mp4: is damaged")), "a.mp4") == "error"
    assert fuzz._outcome(fails(InputError("a\nb")), "a.mp4") == "error"
    assert fuzz._outcome(fails(KeyError("x")), "a.mp4") == "KeyError: 'x'"


# --- the other families -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", fuzz_families.FAMILIES)
def test_families_survive(family):
    """A few cases of each; `python -m tools.fuzz --family all` does hundreds."""
    report = fuzz_families.fuzz_family(family, 12, seed=5, progress=False)
    assert report.faults == []
    assert sum(report.table.values()) == 12
    if family in ("clocks", "names"):
        assert fuzz.sum_of(report.table, "read") == 12
    elif family != "playlists":  # whose readers refuse them, and say so
        assert fuzz.sum_of(report.table, "error") > 3


@pytest.mark.parametrize("family", fuzz_families.FAMILIES)
def test_the_same_seed_makes_the_same_cases(family, tmp_path):
    def cases(seed, folder):
        folder.mkdir()
        made = fuzz_families.FAMILIES[family].cases(folder, 6, seed)
        return [(name, mutation) for name, mutation, _ in made]

    assert cases(1, tmp_path / "a") == cases(1, tmp_path / "b") != []


def test_a_file_that_opens_another_is_a_fault(tmp_path):
    (good,) = [path for path in fuzz.make_files(tmp_path) if path.name == "a.mp4"]
    assert "names other files was read" in fuzz._outcome(fuzz_families.refuse_video, str(good))
    (tmp_path / "none.mp4").write_bytes(b"no video")
    assert fuzz._outcome(fuzz_families.refuse_video, str(tmp_path / "none.mp4")) == "read"


def test_a_wrong_clock_is_a_fault(tmp_path):
    made = {path.name: str(path) for path in fuzz.make_files(tmp_path)}
    assert fuzz._outcome(fuzz_families.right_times, made["a.mp4"]) == "read"
    assert fuzz._outcome(fuzz_families.right_times, made["d.png"]) != "read"


def test_a_line_must_be_plain_and_short(monkeypatch):
    monkeypatch.setattr(InputError, "__str__", ValueError.__str__)
    for text in ("a\nb", "a\x1b[2J", "a" * 2000):
        assert fuzz._outcome(fails(InputError(text)), "a.mp4").startswith("a bad line")


def test_the_seed_of_the_day_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(fuzz_families, "fuzz_all", lambda *arguments: {})
    fuzz.main(["--seed", "today"])
    assert re.fullmatch(r"seed 20\d{6}\n", capsys.readouterr().out)
    fuzz.main(["--seed", "7"])
    assert capsys.readouterr().out == "seed 7\n"
