"""The experiment with kills: a small run of it, and that it would see every kind of fault."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.support.paths import ROOT
from tools import kills

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows cannot fork")


def test_nothing_is_lost():
    """All verbs, twenty times each: `python -m tools.kills`.

    In a process of its own: PyTorch refuses to train in the fork of a process that has trained, as the one of
    the tests may have.
    """
    command = [sys.executable, "-m", "tools.kills", "family train", "clean", "--count", "3"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = [line.rsplit(maxsplit=4) for line in run.stdout.splitlines()[1:]]
    assert [(verb, kills, faults) for verb, kills, _, faults, _ in rows] == [
        ("family train", "3", "0"),
        ("clean", "3", "0"),
    ]
    assert all(int(ends) >= 1 for _, _, ends, _, _ in rows)


def writes(text):
    """A verb that writes a file at once, and then takes its time; `text` gets how often it was started."""

    def run(inputs, out):
        started = out / "log.txt"
        count = len(started.read_text()) if started.exists() else 0
        started.write_text("x" * (count + 1))
        (out / "result.txt").write_text(text(count))
        kills.time.sleep(0.3)
        started.unlink()

    return run


@pytest.mark.parametrize(
    ("run", "fault"),
    [
        (writes(lambda count: "same"), None),
        (writes(lambda count: str(count)), "verb: result.txt differs"),
        (lambda inputs, out: 1 / 0, "verb: fails in peace: ZeroDivisionError: division by zero"),
    ],
)
def test_faults_are_seen(tmp_path, monkeypatch, run, fault):
    monkeypatch.setitem(kills.VERBS, "verb", run)
    result = kills.experiment("verb", tmp_path, tmp_path / "work", 8, np.random.default_rng(1))
    assert result.faults[:1] == ([fault] if fault else [])


def test_what_is_left_and_what_is_missing():
    wanted = {"a": "1", "b": "2"}
    assert kills.differences({"a": "1", "b": "2"}, wanted) == []
    assert kills.differences({"a": "3", ".lock": "4"}, wanted) == [
        "b is missing",
        ".lock is left",
        "a differs",
    ]


def test_what_a_clock_measured_does_not_count(tmp_path):
    for name, seconds, loss in (("a", 1.5, 3), ("b", 2.5, 3), ("c", 2.5, 4)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "losses.csv").write_text(f"step,seconds,loss\n1,{seconds},{loss}\n")
    a, b, c = (kills.contents(tmp_path / name) for name in "abc")
    assert a == b != c


def test_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(
        kills, "experiment", lambda verb, *_: kills.Result(verb, 2, 1, 0.5, ["clean: x is left"])
    )
    monkeypatch.setattr(kills, "make_inputs", lambda folder: None)
    assert kills.main(["clean", "--count", "2"]) == 1
    header, row, fault = capsys.readouterr().out.splitlines()
    assert header.split() == ["verb", "kills", "ends", "faults", "seconds"]
    assert row.split() == ["clean", "2", "1", "1", "0.5"] and fault == "clean: x is left"
    with pytest.raises(SystemExit):
        kills.main(["nothing"])
    assert "nothing: choose from train, pretrain" in capsys.readouterr().err
