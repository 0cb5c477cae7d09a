"""Folders of clips of photographs: whole, resumable, and of one kind."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fomm_lib.data.clips import find_clips
from fomm_lib.errors import InputError
from fomm_lib.media.video import VideoReader
from fomm_lib.synthetic.photographs.clip import PhotographClip
from fomm_lib.synthetic.photographs.folder import photographs
from fomm_lib.synthetic.photographs.portraits import TABLE
from fomm_lib.synthetic.truth import read_truth
from tests.support.portraits import SHUT, SMILE, rendered

SMALL = {"frames": 3, "size": 48, "seed": 4, "progress": False}


@pytest.fixture(scope="module")
def portraits(tools, tmp_path_factory):
    folder = tmp_path_factory.mktemp("portraits")
    for name, image in (
        ("anna", rendered(2, actions=SHUT)),
        ("berta", rendered(3, actions=SMILE)),
        ("nobody", np.full((64, 64, 3), 99, np.uint8)),
    ):
        Image.fromarray(image).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def fits(portraits, tmp_path_factory):
    """Fits that the tests share."""
    out = tmp_path_factory.mktemp("first")
    photographs(portraits, out, 1, fits=out / "fits", **SMALL)
    return out / "fits"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.needs_system
def test_clips_do_not_depend_on_jobs_nor_on_each_other(portraits, fits, tmp_path):
    paths = photographs(portraits, tmp_path / "one", 3, truth=2, fits=fits, **SMALL)
    # Two processes, which fit anew.
    photographs(portraits, tmp_path / "two", 3, truth=2, jobs=2, **SMALL)
    photographs(portraits, tmp_path / "alone", 1, truth=2, first=2, fits=fits, **SMALL)
    one, two, alone = (contents(tmp_path / name) for name in ("one", "two", "alone"))
    assert one == {name: data for name, data in two.items() if not name.startswith("fits/")}
    last = f"train/{paths[2].name}/0002.png"
    assert alone[last] == one[last]
    assert {path.name.split("#")[0] for path in paths} == {"photo4-anna", "photo4-berta"}
    clips = find_clips(tmp_path / "one")
    assert [len(clip) for clip in clips] == [3, 3, 3]
    assert {clip.identity for clip in clips} == {"photo4-anna", "photo4-berta"}
    truth = read_truth(paths[0])
    assert truth.flow.shape == (2, 48, 48, 2) and truth.landmarks.shape == (3, 68, 2)
    assert one["portraits.csv"].count(b"\n") == 4 and Image.open(tmp_path / "one/sheet.jpg").size[0] == 1600
    rows = TABLE.read(tmp_path / "one/portraits.csv")
    assert [(row.split, row.reason) for row in rows] == [("train", ""), ("train", ""), ("", "no face")]


@pytest.mark.needs_system
def test_people_are_held_out(portraits, fits, tmp_path):
    (tmp_path / "names.txt").write_text("berta\n\n")
    paths = photographs(portraits, tmp_path / "a", 2, held_out=tmp_path / "names.txt", fits=fits, **SMALL)
    assert {(path.parent.name, path.name.split("#")[0]) for path in paths} == {
        ("train", "photo4-anna"),
        ("test", "photo4-berta"),
    }
    counted = photographs(portraits, tmp_path / "b", 2, held_out=1, fits=fits, **SMALL)
    assert sorted(path.parent.name for path in counted) == ["test", "train"]
    other = photographs(portraits, tmp_path / "c", 2, held_out=1, fits=fits, **{**SMALL, "seed": 5})
    people = [
        {p.name.split("-")[1][:4] for p in paths if p.parent.name == "test"} for paths in (counted, other)
    ]
    assert people[0] == people[1]
    (tmp_path / "names.txt").write_text("carla\n")
    with pytest.raises(InputError, match="'carla' is the name of no portrait"):
        photographs(portraits, tmp_path / "d", 2, held_out=tmp_path / "names.txt", **SMALL)
    with pytest.raises(InputError, match="cannot be read as a list of names"):
        photographs(portraits, tmp_path / "d", 2, held_out=tmp_path / "nowhere", **SMALL)
    assert not (tmp_path / "d").exists()


@pytest.mark.needs_system
@pytest.mark.parametrize("format", ["png", "mp4"])
def test_an_interrupted_run_leaves_nothing_half_written_and_goes_on(
    portraits, fits, tmp_path, monkeypatch, format
):
    frame = PhotographClip.frame
    monkeypatch.setattr(
        PhotographClip, "frame", lambda self, k: frame(self, k) if (self.number, k) != (1, 1) else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        photographs(portraits, tmp_path, 3, format=format, fits=fits, **SMALL)
    monkeypatch.undo()
    train = tmp_path / "train"
    names = {path.name.split("#")[1].split(".")[0] for path in train.iterdir() if "#" in path.name}
    assert names == {"00000"} and not list(train.glob(".*"))
    # What a killed run leaves, which can clean up nothing.
    (done,) = (path for path in train.iterdir() if "#" in path.name)
    before = done.stat().st_mtime_ns
    second = next(
        path
        for path in photographs(portraits, tmp_path / "names", 2, format=format, fits=fits, **SMALL)
        if "#00001#" in path.name
    )
    (train / f".{second.stem}.abc_0123.partial").mkdir()
    paths = photographs(portraits, tmp_path, 3, format=format, fits=fits, **SMALL)
    assert all(path.exists() for path in paths) and not list(train.glob(".*"))
    assert done.stat().st_mtime_ns == before
    if format == "mp4":
        video = VideoReader(paths[0])
        assert video.size == (48, 48) and sum(1 for _ in video) == 3


@pytest.mark.needs_system
def test_a_folder_keeps_to_its_settings(portraits, fits, tmp_path):
    photographs(portraits, tmp_path, 1, fits=fits, **SMALL)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"made with size=48, not 64; choose another folder"):
        photographs(portraits, tmp_path, 1, fits=fits, **{**SMALL, "size": 64})
    (tmp_path / "train/synthetic.json").write_text("{")
    with pytest.raises(InputError, match=r"synthetic\.json: is damaged"):
        photographs(portraits, tmp_path, 2, fits=fits, **SMALL)
    assert contents(tmp_path).keys() == before.keys()


@pytest.mark.needs_system
def test_a_folder_in_which_no_portrait_can_be_used(tools, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/broken.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"none of 1 portraits can be used; see .*portraits\.csv"):
        photographs(tmp_path / "in", tmp_path / "out", 1, **SMALL)
    (row,) = TABLE.read(tmp_path / "out/portraits.csv")
    assert row.reason == "unreadable" and row.text
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be made"):
        photographs(tmp_path / "in", tmp_path / "file", 1, **SMALL)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clips": 0}, "clips=0: give a whole number from 1"),
        ({"frames": 0}, "frames=0"),
        ({"frames": 1, "truth": 2}, "truth=2: a motion is between two frames"),
        ({"size": 8}, "size=8: give a whole number from 16 to 1024"),
        ({"size": 33, "format": "mp4"}, "size=33: an mp4 has even sides; give 34"),
        ({"seed": -1}, "seed=-1"),
        ({"fps": 0}, "fps=0: give frames a second"),
        ({"jobs": 0}, "jobs=0"),
        ({"crf": 52}, "crf=52"),
        ({"first": -1}, "first=-1"),
        ({"held_out": -1}, "held_out=-1"),
        ({"format": "avi"}, "format='avi': choose 'mp4' or 'png'"),
    ],
)
def test_bad_numbers_are_named_and_make_no_folder(tmp_path, wrong, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        photographs(tmp_path / "in", tmp_path / "out", **{"clips": 1, **SMALL, **wrong})
    assert not (tmp_path / "out").exists()


def test_without_scikit_image(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"scikit-image; install it: pip install .fomm-lib\[synthetic\]"):
        photographs(tmp_path, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()
