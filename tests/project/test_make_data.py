"""The committed data of data/heads, the driving clip, and the tool that makes them."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.data.clips import find_clips
from fomm_lib.media.video import VideoReader
from tests.support.paths import ROOT

DATA = ROOT / "data"


@pytest.mark.parametrize(
    ("folder", "count", "size"), [("train", 40, 128), ("test", 12, 128), ("large", 3, 256)]
)
def test_the_committed_clips(folder, count, size):
    clips = find_clips(DATA / "heads" / folder, None)
    assert len(clips) == len({clip.identity for clip in clips}) == count
    assert clips[0].read([0])[0].shape == (size, size, 3)


def test_the_committed_clips_are_small_and_of_different_people():
    files = [path for path in (DATA / "heads").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 6.5e6
    train, test = ({c.identity for c in find_clips(DATA / "heads", split)} for split in ("train", "test"))
    assert not train & test


def test_the_driving_clip_starts_neutral_and_is_five_seconds():
    video = VideoReader(DATA / "driving.mp4")
    assert video.size == (256, 256) and video.fps == 25 and sum(1 for _ in video) == 125


def test_the_first_frame_of_the_driving_clip_is_frontal_and_neutral():
    pytest.importorskip("anny", reason="needs the extra: pip install 'fomm-lib[synthetic]'")
    from tools.make_data import driving_clip

    clip = driving_clip()
    assert np.abs(clip.head_pose(0).yaw_pitch_roll).max() < 1
    assert clip.motion.actions[0].max() < 0.01 and np.abs(clip.motion.gaze[0]).max() < 0.01
    yaw = [clip.head_pose(k).yaw_pitch_roll[0] for k in range(125)]
    assert max(yaw) > 28 and min(yaw) < -28


def test_the_tool_that_makes_the_data_overwrites_nothing_and_knows_its_parts(capsys):
    pytest.importorskip("anny", reason="needs the extra: pip install 'fomm-lib[synthetic]'")
    from tools import make_data

    made = [
        DATA / "portrait.jpg",
        DATA / "driving.mp4",
        *(p for p in (DATA / "heads").rglob("*") if p.is_file()),
    ]
    before = {path: path.stat().st_mtime_ns for path in made}
    assert make_data.main(["portrait", "driving", "sheet", "truth"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert make_data.main(["portait"]) == 2
    names = "heads truth driving portrait sheet family categories"
    assert capsys.readouterr().err == f"unknown: portait; choose from {names}\n"
