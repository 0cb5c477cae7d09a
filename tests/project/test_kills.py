"""The experiment with kills: a small run of it, and that it would see every kind of fault."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tools import kills

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows cannot fork")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs") / "inputs"
    kills.make_inputs(folder)
    return folder


@pytest.mark.parametrize("verb", ["family train", "clean"])
def test_nothing_is_lost(inputs, tmp_path, verb):
    """All verbs, twenty times each: `python -m tools.kills`."""
    result = kills.experiment(verb, inputs, tmp_path / "work", 3, np.random.default_rng(0))
    assert result.faults == []
    assert result.kills == 3 and result.ends >= 1


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
