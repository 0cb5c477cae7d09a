"""Protocols: which frames are drawn, the round trip through a file, and what no protocol is."""

from itertools import pairwise

import pytest

from fomm_lib.data.clips import find_clips
from fomm_lib.errors import InputError
from fomm_lib.evaluation.protocol import Protocol, Task, make_protocol, read_protocol
from fomm_lib.files import data_path


def test_reconstruction_takes_runs_of_three_and_never_the_source():
    (task,) = make_protocol({"a.mp4": 100}).tasks
    assert (task.source_clip, task.source) == ("a.mp4", 0)
    assert len(task.driving) == 18 and task.driving[0] == 1 and task.driving[-1] == 99
    runs = [task.driving[i : i + 3] for i in range(0, 18, 3)]
    assert all(run == (run[0], run[0] + 1, run[0] + 2) for run in runs)
    gaps = [b[0] - a[0] for a, b in pairwise(runs)]
    assert max(gaps) - min(gaps) <= 1


def test_animation_takes_somebody_else():
    tasks = make_protocol({"anna#1.mp4": 30, "anna#2.mp4": 30, "ben#1.mp4": 30}, "animation", runs=2).tasks
    assert [task.source_clip for task in tasks] == ["ben#1.mp4", "ben#1.mp4", "anna#1.mp4"]
    assert tasks[0].driving == (0, 1, 2, 27, 28, 29)


@pytest.mark.parametrize(("length", "driving"), [(2, (1,)), (4, (1, 2, 3)), (7, (1, 2, 3, 4, 5, 6))])
def test_short_clips_are_taken_whole(length, driving):
    assert make_protocol({"a": length}, runs=2).tasks[0].driving == driving


def test_clips_of_one_frame_are_left_out():
    assert [task.clip for task in make_protocol({"a": 1, "b": 5, "c": 0}).tasks] == ["b"]
    with pytest.raises(InputError, match="no clip has two frames or more"):
        make_protocol({"a": 1})


def test_a_file_and_back(tmp_path):
    protocol = make_protocol({"a#1.mp4": 48, "b#1.mp4": 40}, "animation")
    protocol.write(tmp_path / "p.json")
    assert read_protocol(tmp_path / "p.json") == protocol
    assert len((tmp_path / "p.json").read_text().splitlines()) == 4  # a line a task
    with pytest.raises(InputError, match="exists already"):
        protocol.write(tmp_path / "p.json")


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"mode": "reconstruction"}', '{"mode": "animation", "tasks": [{"clip": "a"}]}', "\x00"],
)
def test_what_is_no_protocol(tmp_path, content):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(InputError, match=r"p\.json: is no protocol"):
        read_protocol(tmp_path / "p.json")


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="choose 'reconstruction' or 'animation'"):
        make_protocol({"a": 5}, "guessing")
    with pytest.raises(InputError, match="at least two identities"):
        make_protocol({"a#1": 5, "a#2": 5}, "animation")
    with pytest.raises(InputError, match="runs=0"):
        make_protocol({"a": 5}, runs=0)
    with pytest.raises(InputError, match="at least one task"):
        Protocol("animation", ())
    for driving, source in (((), 0), ((3, 2), 0), ((1, 1), 0), ((-1, 2), 0), ((1,), -1)):
        with pytest.raises(InputError, match="driving frames must be different whole numbers"):
            Protocol("reconstruction", (Task("a", driving, "a", source),))
    with pytest.raises(InputError, match="cannot be read"):
        read_protocol(tmp_path / "none.json")
    (tmp_path / "p.json").write_text('{"mode": "x", "tasks": []}')
    with pytest.raises(InputError, match=r"p\.json: mode='x'"):
        read_protocol(tmp_path / "p.json")


def test_committed_protocols_fit_the_committed_clips():
    """Made by the rule; of clips that are there."""
    lengths = {clip.name: len(clip) for clip in find_clips(data_path("heads"), "test")}
    for mode in ("reconstruction", "animation"):
        assert read_protocol(data_path("evaluation", f"{mode}.json")) == make_protocol(lengths, mode)
