"""Growing a data set: every pair, a manifest that tells all, going on, and bad pairs that stop nobody."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.animation import augment as module
from fomm_lib.animation.augment import MANIFEST, Pair, augment, read_manifest, summary
from fomm_lib.animation.fast import FastModel
from fomm_lib.checkpoints import write_weights
from fomm_lib.errors import InputError
from fomm_lib.files import data_path, only_writer
from fomm_lib.media.faces import has_detector
from fomm_lib.media.video import VideoReader
from tests.support.odd_files import encode, encode_audio, moving_frames, portrait
from tests.support.small_model import small_model

HEADER = ",".join(column.name for column in dataclasses.fields(Pair)).encode() + b"\n"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    model = small_model()
    with torch.no_grad():
        model.generator.final.weight.mul_(100)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    networks = {"generator": model.generator.state_dict(), "kp_detector": model.kp_detector.state_dict()}
    write_weights(path, networks, model.config)
    return path


@pytest.fixture(autouse=True)
def _no_detector(monkeypatch, request):
    """Faces are looked for in one test; in noise that would only take time."""
    if "faces" not in request.node.name:
        monkeypatch.setattr(module, "has_detector", lambda: False)
        monkeypatch.setattr("fomm_lib.animation.animate.has_detector", lambda: False)


@pytest.fixture
def folders(tmp_path):
    """Two portraits and two clips, one of each in a kind of file of its own."""
    sources, drivings = tmp_path / "sources", tmp_path / "drivings"
    sources.mkdir(), drivings.mkdir()
    Image.fromarray(portrait(48)).save(sources / "ann.png")
    Image.fromarray(portrait(64)[::-1]).save(sources / "bob.jpg")
    (sources / "notes.txt").write_text("no image")
    encode(drivings / "nod.mp4", moving_frames(6), audio="aac")
    encode(drivings / "talk.webm", moving_frames(4), codec="libvpx-vp9")
    return sources, drivings, tmp_path / "out"


def grow(folders, weights, **settings):
    return augment(*folders, weights=weights, progress=False, **settings)


def made_in(out):
    return sorted(path.name for path in out.iterdir())


def test_every_pair_is_made(folders, weights):
    rows = grow(folders, weights, best_frame="auto", strength=1.2)
    assert [(row.file, row.source, row.driving, row.frames) for row in rows] == [
        ("ann#nod.mp4", "ann.png", "nod.mp4", 6),
        ("ann#talk.mp4", "ann.png", "talk.webm", 4),
        ("bob#nod.mp4", "bob.jpg", "nod.mp4", 6),
        ("bob#talk.mp4", "bob.jpg", "talk.webm", 4),
    ]
    assert made_in(folders[2]) == [*(row.file for row in rows), MANIFEST]
    for row in rows:
        video = VideoReader(folders[2] / row.file)
        assert len(list(video)) == row.frames and video.has_audio == (row.driving == "nod.mp4")
        assert (row.verdict, row.size, row.fps) == ("made", "256x256", 25.0)
        assert json.loads(row.settings) == {"best_frame": "auto", "strength": 1.2, "size": 256}
        assert len(row.weights_sha256) == 64 and row.weights == str(weights)
        assert row.movement > 0 and row.best_frame in range(row.frames) and row.seconds > 0
        assert row.crop == ("0,0,48" if row.source == "ann.png" else "0,0,64")
        assert row.faces is None and row.identity is None
    assert read_manifest(folders[2]) == rows
    assert summary(rows) == "4 pairs: 4 made"


def test_it_goes_on_where_it_was(folders, weights):
    first = grow(folders, weights, limit=1)
    assert [row.file for row in first] == ["ann#nod.mp4"]
    before = (folders[2] / "ann#nod.mp4").stat().st_mtime_ns
    rows = grow(folders, weights)
    assert len(rows) == 4 and (folders[2] / "ann#nod.mp4").stat().st_mtime_ns == before
    (folders[2] / "bob#nod.mp4").unlink()
    assert len(grow(folders, weights)) == 4 and (folders[2] / "bob#nod.mp4").is_file()
    Image.fromarray(portrait(32)).save(folders[0] / "cid.png")
    assert len(grow(folders, weights)) == 6


def test_a_bad_pair_is_one_row(folders, weights):
    (folders[0] / "broken.png").write_bytes(b"no image")
    encode_audio(folders[1] / "song.mp4")
    rows = grow(folders, weights)
    bad = {row.file: row.reason for row in rows if row.verdict == "failed"}
    assert len(rows) == 9 and len(bad) == 5
    assert "is no image that can be read" in bad["broken#nod.mp4"]
    assert "there is only audio in this file" in bad["ann#song.mp4"]
    assert sum((folders[2] / row.file).is_file() for row in rows) == 4
    assert "4 made, 5 failed (the first: " in summary(rows)
    Image.fromarray(portrait(48)).save(folders[0] / "broken.png")  # mended
    assert sum(row.verdict == "failed" for row in grow(folders, weights)) == 3


def test_the_model_is_rearranged_once_and_its_weights_are_mapped(folders, weights, monkeypatch):
    """Not once a pair; and a process reads the weights from a file that all processes share."""
    made, used = [], []

    class Counted(FastModel):
        def __init__(self, *arguments, **keywords):
            made.append(1)
            super().__init__(*arguments, **keywords)

    monkeypatch.setattr(module, "FastModel", Counted)
    monkeypatch.setattr("fomm_lib.animation.animator.FastModel", Counted)
    monkeypatch.setattr(sys.modules[__name__], "Counted", Counted, raising=False)  # where pickle looks
    Counted.__qualname__ = "Counted"
    original = module.animate
    monkeypatch.setattr(
        module, "animate", lambda model, *a, **k: used.append(model) or original(model, *a, **k)
    )
    assert [row.verdict for row in grow(folders, weights)] == ["made"] * 4
    assert len(made) == 1 and len(used) == 4 and len(set(map(id, used))) == 1
    maps = Path(
        "/proc/self/maps"
    )  # of Linux; the file itself is gone, and its pages live as long as the model
    assert not maps.is_file() or "model.pt (deleted)" in maps.read_text()


def test_several_processes(folders, weights):
    """The same videos as from one."""
    (folders[0] / "bob.jpg").unlink()
    alone = grow(folders, weights)
    elsewhere = folders[2].with_name("elsewhere")
    together = augment(folders[0], folders[1], elsewhere, weights=weights, jobs=2, progress=False)
    assert not [row.reason for row in together if row.verdict != "made"]
    assert [(row.file, row.verdict) for row in together] == [(row.file, "made") for row in alone]
    for row in alone:
        a, b = (np.stack(list(VideoReader(folder / row.file))) for folder in (folders[2], elsewhere))
        assert np.abs(a.astype(int) - b).max() <= 2


def test_other_settings_or_weights_need_another_folder(folders, weights):
    grow(folders, weights, limit=1)
    with pytest.raises(InputError, match=r'other settings \(\{"size": 256\}\); choose another folder'):
        grow(folders, weights, strength=2.0)
    with pytest.raises(InputError, match="was made with other weights"):
        augment(*folders, weights="heads-64", progress=False)
    assert len(read_manifest(folders[2])) == 1


def test_files_that_differ_in_their_endings_only(folders, weights):
    Image.fromarray(portrait(48)[:, ::-1]).save(folders[0] / "ann.jpg")
    encode(folders[1] / "a#b.mp4", moving_frames(2))
    names = [row.file for row in grow(folders, weights, limit=3)]
    assert names == ["ann.jpg#a-b.mp4", "ann.jpg#nod.mp4", "ann.jpg#talk.mp4"]


def test_warnings_are_noted(folders, weights):
    encode(folders[1] / "nod.mp4", moving_frames(1))
    row = grow(folders, weights, limit=1)[0]
    assert row.verdict == "made" and "has one frame, so nothing moves" in row.reason and row.movement == 0


def test_an_interruption_keeps_what_was_made(folders, weights, monkeypatch):
    make, calls = module._make, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return make(*arguments)

    monkeypatch.setattr(module, "_make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        grow(folders, weights)
    assert [row.file for row in read_manifest(folders[2])] == ["ann#nod.mp4", "ann#talk.mp4"]


@pytest.mark.skipif(not has_detector(), reason="needs the extra: pip install 'fomm-lib[faces]'")
def test_faces_are_measured(folders, weights):
    """The driving head's own face, moved by a model that paints noise, is no face any more."""
    for path in [*folders[0].iterdir(), folders[1] / "talk.webm"]:
        path.unlink()
    Image.open(data_path("portrait.jpg")).save(folders[0] / "eileen.jpg")
    encode(folders[1] / "nod.mp4", list(VideoReader(data_path("driving.mp4")))[:3])
    (row,) = grow(folders, weights, crop="auto", paste_back=True)
    assert row.verdict == "made" and row.size == "256x256" and 0 <= row.faces <= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sources": "none"}, "none: no such folder"),
        ({"sources": "drivings"}, "no portraits in it"),
        ({"drivings": "sources"}, "no videos in it"),
        ({"weights": "none"}, "none"),
        ({"jobs": 0}, "jobs=0: must be at least 1"),
        ({"limit": -1}, "limit=-1: give a whole number, at least 1"),
        ({"strength": float("nan")}, "strength = nan: should be a number from 0 to 5"),
        ({"relative": False, "best_frame": "auto"}, "best_frame is about relative movement"),
        ({"size": 33}, "size = 33: should be a multiple of 4"),
        ({"batch_size": 0}, "batch_size = 0: must be at least 1"),
        ({"sauce": 1}, "sauce: there is no such setting; there are adapt_scale"),
        ({"out": "sources"}, "holds files, but no manifest.csv to continue"),
    ],
)
def test_errors(change, words, folders, weights):
    arguments = dict(zip(("sources", "drivings", "out"), folders, strict=True)) | {"weights": weights}
    base = folders[0].parent
    change = {
        key: base / value if key in arguments and key != "weights" else value for key, value in change.items()
    }
    with pytest.raises(InputError) as caught:
        augment(**arguments | change, progress=False)
    assert words in str(caught.value) and not folders[2].exists()


@pytest.mark.parametrize(
    "content",
    [b"a,b\n1,2\n", b"", b"\xff\xfe\x00", HEADER + b"a,b\n", HEADER + b"x," * 7 + b"many" + b",x" * 10],
)
def test_a_manifest_of_somebody_else(content, folders, weights):
    folders[2].mkdir()
    (folders[2] / MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match="is no manifest of this program"):
        grow(folders, weights)
    assert (folders[2] / MANIFEST).read_bytes() == content
    assert read_manifest(folders[0]) == []


def test_an_out_that_is_a_file(folders, weights):
    folders[2].write_text("mine")
    with pytest.raises(InputError, match="out: is a file; give the name of a folder"):
        grow(folders, weights)
    with pytest.raises(InputError, match="deeper: cannot be made"):
        augment(*folders[:2], folders[2] / "deeper", weights=weights, progress=False)
    assert folders[2].read_text() == "mine"


def test_hidden_files_are_no_pairs(folders, weights):
    (folders[0] / "._ann.png").write_bytes(b"what macOS notes")
    (folders[1] / ".new.1234.partial.mp4").touch()
    assert len(grow(folders, weights, limit=1)) == 1
    assert not any(row.file.startswith(".") or "#." in row.file for row in grow(folders, weights))


def test_a_full_disk_ends_it(folders, weights, monkeypatch):
    """And keeps what was made: none of the others could be written either."""
    write, calls = module.animate, []

    def full(*arguments, **settings):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments, **settings)

    monkeypatch.setattr(module, "animate", full)
    with pytest.raises(OSError, match="No space left"):
        grow(folders, weights)
    assert [row.verdict for row in read_manifest(folders[2])] == ["made"] and len(calls) == 2


def test_the_summary():
    bad = Pair("b#c.mp4", "b.png", "c.mp4", verdict="failed", reason="c.mp4: no such file")
    assert summary([bad]) == "1 pair: 0 made, 1 failed (the first: c.mp4: no such file)"


@pytest.mark.parametrize("thing", [None, 3, np.zeros((4, 4, 3), np.uint8)])
def test_what_is_no_folder(thing, folders, weights):
    with pytest.raises(InputError, match="was given; give a folder of portraits"):
        grow((thing, *folders[1:]), weights)
    with pytest.raises(InputError, match="was given; give a folder of videos"):
        grow((folders[0], thing, folders[2]), weights)
    with pytest.raises(InputError, match="is an address; download it first"):
        grow(("https://a.example/faces", *folders[1:]), weights)


@pytest.mark.skipif(os.name == "nt", reason="names of Windows are texts")
def test_names_of_any_bytes(folders, weights):
    sources, drivings, out = folders
    (sources / "bob.jpg").unlink(), (drivings / "talk.webm").unlink()
    odd = [b"\xff\xe9.png", b"=1+cmd.png", b"a\rb.png"]
    for name in odd:
        (sources / os.fsdecode(name)).write_bytes((sources / "ann.png").read_bytes())
    (sources / "ann.png").unlink()
    rows = grow(folders, weights)
    assert {os.fsencode(row.source) for row in rows} == set(odd)
    assert all(row.verdict == "made" and (out / row.file).is_file() for row in rows), rows
    assert read_manifest(out) == rows


def test_one_process_at_a_time(folders, weights):
    grow(folders, weights, limit=1)
    with only_writer(folders[2]), pytest.raises(InputError, match="another process is writing there"):
        grow(folders, weights)
    assert not [path for path in folders[2].iterdir() if path.name.startswith(".")]


def test_killed_before_the_first_pair_it_goes_on(folders, weights, monkeypatch):
    """A folder with files and without a manifest is somebody else's."""
    monkeypatch.setattr(module, "_make", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        grow(folders, weights)
    assert read_manifest(folders[2]) == [] and (folders[2] / MANIFEST).is_file()
    (folders[2] / "ann#nod.mp4").write_bytes(b"of the run that was killed")
    (folders[2] / ".ann#nod.mp4.ab_de0gh.partial").mkdir()
    monkeypatch.undo()
    monkeypatch.setattr(module, "has_detector", lambda: False)
    assert len(grow(folders, weights)) == 4
    assert not [path for path in folders[2].iterdir() if path.name.startswith(".")]
