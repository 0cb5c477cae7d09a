"""Folders of clips: whole, resumable, and of one kind."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fomm_lib.data.clips import find_clips
from fomm_lib.errors import InputError
from fomm_lib.media.video import VideoReader
from fomm_lib.synthetic.categories.clip import CategoryClip
from fomm_lib.synthetic.clip import SyntheticClip
from fomm_lib.synthetic.folder import synthesize
from fomm_lib.synthetic.truth import read_truth, true_clip
from tests.support.synthetic_clips import quarters

SMALL = {"frames": 3, "size": 32, "seed": 4, "progress": False}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.needs_system
def test_clips_do_not_depend_on_jobs_nor_on_each_other(drawing, tmp_path):
    paths = synthesize(tmp_path / "one", clips=3, **SMALL)
    synthesize(tmp_path / "two", clips=3, jobs=2, **SMALL)
    synthesize(tmp_path / "alone", clips=1, first=2, **SMALL)
    one, two, alone = (contents(tmp_path / name) for name in ("one", "two", "alone"))
    assert one == two and len(one) == 4
    assert alone["synth4-00002#00002#0#3.mp4"] == one["synth4-00002#00002#0#3.mp4"]
    assert [path.name for path in paths] == [f"synth4-0000{k}#0000{k}#0#3.mp4" for k in range(3)]
    assert [clip.identity for clip in find_clips(tmp_path / "one")] == [f"synth4-0000{k}" for k in range(3)]
    video = VideoReader(paths[0])
    assert video.size == (32, 32) and sum(1 for _ in video) == 3


@pytest.mark.needs_system
def test_images_are_lossless_and_people_can_have_several_clips(drawing, tmp_path):
    paths = synthesize(tmp_path, clips=3, format="png", clips_per_person=2, fps=2, **SMALL)
    assert [path.name.split("#")[0] for path in paths] == ["synth4-00000", "synth4-00000", "synth4-00001"]
    clips = find_clips(tmp_path)
    assert [len(clip) for clip in clips] == [3, 3, 3]
    expected = SyntheticClip(4, 2, 3, 32, 2, person_number=1)
    assert all((a == b).all() for a, b in zip(clips[2], expected, strict=True))


@pytest.mark.needs_system
@pytest.mark.parametrize("format", ["mp4", "png"])
def test_an_interrupted_run_leaves_nothing_half_written_and_goes_on(drawing, tmp_path, monkeypatch, format):
    frame = SyntheticClip.frame
    monkeypatch.setattr(
        SyntheticClip, "frame", lambda self, k: frame(self, k) if (self.number, k) != (1, 1) else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        synthesize(tmp_path, clips=3, format=format, **SMALL)
    monkeypatch.undo()
    names = {path.name for path in tmp_path.iterdir()}
    # What a killed run leaves, which can clean up nothing.
    (tmp_path / ".synth4-00001#00001#0#3.abc_0123.partial.mp4").write_bytes(b"half")
    (tmp_path / ".synth4-00001#00001#0#3.def_0123.partial").mkdir()
    first = "synth4-00000#00000#0#3" + (".mp4" if format == "mp4" else "")
    assert names == {"synthetic.json", first}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    synthesize(tmp_path, clips=3, format=format, **SMALL)
    assert len(find_clips(tmp_path)) == 3
    assert not list(tmp_path.glob(".*"))
    assert all(path.stat().st_mtime_ns == then for path, then in before.items() if path.is_file())


@pytest.mark.needs_system
def test_a_folder_keeps_to_its_settings(drawing, tmp_path):
    synthesize(tmp_path, clips=1, **SMALL)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"made with size=32, not 48; choose another folder"):
        synthesize(tmp_path, clips=1, **{**SMALL, "size": 48})
    (tmp_path / "synthetic.json").write_text("{")
    with pytest.raises(InputError, match=r"synthetic\.json: is damaged"):
        synthesize(tmp_path, clips=2, **SMALL)
    assert contents(tmp_path).keys() == before.keys()


@pytest.mark.needs_system
def test_every_other_clip_has_one_of_the_images(drawing, tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(quarters()).save(tmp_path / "images/quarters.png")
    settings = {"clips": 8, "frames": 1, "size": 16, "seed": 0, "format": "png", "progress": False}
    plain = synthesize(tmp_path / "plain", **settings)
    with_images = synthesize(tmp_path / "with", **settings, backgrounds=tmp_path / "images")
    changed = [
        not np.array_equal(*(np.asarray(Image.open(path / "0000.png")) for path in paths))
        for paths in zip(plain, with_images, strict=True)
    ]
    assert 2 <= sum(changed) <= 6
    again = synthesize(tmp_path / "again", **settings, backgrounds=tmp_path / "images")
    for a, b in zip(with_images, again, strict=True):
        assert (a / "0000.png").read_bytes() == (b / "0000.png").read_bytes()
    with pytest.raises(InputError, match=r"holds clips made with backgrounds=None, not [0-9a-f]{64}"):
        synthesize(tmp_path / "plain", **settings, backgrounds=tmp_path / "images")


@pytest.mark.needs_system
def test_a_folder_of_another_category(drawing, tmp_path):
    small = {**SMALL, "format": "png", "truth": 2}
    (path,) = synthesize(tmp_path, 1, category="animals", **small)
    assert path.name == "animals4-00000#00000#0#3"
    clip, truth = CategoryClip("animals", 4, 0, 3, 32), read_truth(path)
    assert (np.asarray(Image.open(path / "0002.png")) == clip.frame(2)).all()
    assert truth.landmarks.shape == (3, 15, 2) and truth.flow.shape == (2, 32, 32, 2)
    known = true_clip(path)
    assert known.category == "animals" and (known.landmarks(1) == clip.landmarks(1)).all()
    with pytest.raises(InputError, match="holds clips made with category=animals, not None"):
        synthesize(tmp_path, 1, **small)
    with pytest.raises(InputError, match="only heads have part labels, not bodies"):
        synthesize(tmp_path / "new", 1, category="bodies", labels=True)
    assert not (tmp_path / "new").exists()


def test_backgrounds_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such folder; give one that holds images for backgrounds"):
        synthesize(tmp_path / "out", 1, backgrounds=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no images for backgrounds in it; .* \.jpeg \.jpg \.png"):
        synthesize(tmp_path / "out", 1, backgrounds=tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.png"):
        synthesize(tmp_path / "out", 1, backgrounds=tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(drawing, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be made"):
        synthesize(tmp_path / "file" / "heads", clips=1, **SMALL)
    with pytest.raises(InputError, match="cannot be made"):
        synthesize(tmp_path / "file", clips=1, **SMALL)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clips": 0}, "clips=0: give a whole number from 1"),
        ({"clips": 2.5}, r"clips=2\.5: give a whole number"),
        ({"frames": 0}, "frames=0: give a whole number from 1"),
        ({"size": 8}, "size=8: give a whole number from 16 to 1024"),
        ({"size": True}, "size=True: give a whole number"),
        ({"seed": -1}, "seed=-1: give a whole number from 0"),
        ({"fps": 0}, "fps=0: give frames a second"),
        ({"jobs": 0}, "jobs=0: give a whole number from 1"),
        ({"crf": 52}, "crf=52: give a whole number from 0 to 51"),
        ({"first": -1}, "first=-1"),
        ({"clips_per_person": 0}, "clips_per_person=0"),
        ({"format": "avi"}, "format='avi': choose 'mp4' or 'png'"),
        ({"category": "fish"}, "category='fish': choose one of heads, bodies, animals, vehicles"),
    ],
)
def test_bad_numbers_are_named_and_make_no_folder(anny, tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        synthesize(tmp_path / "heads", **{"clips": 1, **SMALL, **wrong})
    assert not (tmp_path / "heads").exists()


def test_without_anny(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "fomm-lib\[synthetic\]"'):
        synthesize(tmp_path / "heads", clips=1)
    assert not (tmp_path / "heads").exists()
