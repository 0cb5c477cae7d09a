"""Frames decoded once into a cache, and read from it."""

import json
import shutil

import numpy as np
import pytest
import torch

from fomm_lib.data import cache as cache_module
from fomm_lib.data.cache import pack_clips
from fomm_lib.data.clips import find_clips
from fomm_lib.data.datasets import FramePairs
from fomm_lib.errors import InputError
from tests.support.small_clips import SIZE, image, write_folder, write_strip, write_video


def test_packed_clips_hold_the_same_frames(tmp_path):
    data = tmp_path / "data"
    write_folder(data / "a#0", clip=1)
    write_strip(data / "b#0.png", clip=2)
    write_video(data / "c#0.mp4", clip=3, size=64)
    plain = FramePairs(data, size=64, repeats=10)
    for _ in range(2):  # written the first time, read the second
        packed = FramePairs(data, size=64, repeats=10, cache=tmp_path / "cache")
        for a, b in zip(plain, packed, strict=True):
            assert a["name"] == b["name"] and a["frames"].tolist() == b["frames"].tolist()
            assert torch.equal(a["source"], b["source"]) and torch.equal(a["driving"], b["driving"])
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"frames.u8", "index.json"}
    assert (tmp_path / "cache" / "frames.u8").stat().st_size == (8 + 6 + 30) * 64 * 64 * 3
    assert [clip.identity for clip in packed.clips] == ["a", "b", "c"]
    assert len(list(packed.clips[1])) == 6


def test_broken_clips_are_left_out_of_the_cache(tmp_path, caplog):
    data = tmp_path / "data"
    write_folder(data / "a")
    write_folder(data / "b")
    images = sorted((data / "a").iterdir())
    images[5].write_bytes(images[5].read_bytes()[:40])  # goes wrong after some frames are written already
    packed = FramePairs(data, size=SIZE, cache=tmp_path / "cache")
    assert [clip.name for clip in packed.clips] == ["b"]
    assert "a: left out of the cache" in caplog.text
    np.testing.assert_array_equal(packed.clips[0].read([3])[0], image(3))


def test_a_cache_of_something_else_is_not_used(folders, tmp_path):
    cache = tmp_path / "cache"
    FramePairs(folders, size=SIZE, cache=cache)
    with pytest.raises(InputError, match="cache of other clips, or of another size; delete it"):
        FramePairs(folders, size=8, cache=cache)
    write_folder(folders / "new")
    with pytest.raises(InputError, match="cache of other clips"):
        FramePairs(folders, size=SIZE, cache=cache)
    shutil.rmtree(folders / "new")
    FramePairs(folders, size=SIZE, cache=cache)
    (cache / "index.json").write_text(json.dumps([]))
    with pytest.raises(InputError, match="is not the index of a cache"):
        FramePairs(folders, size=SIZE, cache=cache)


def test_an_interrupted_cache_is_made_anew(folders, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_module.json, "dumps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        FramePairs(folders, size=SIZE, cache=tmp_path / "cache")
    monkeypatch.undo()
    assert len(FramePairs(folders, size=SIZE, cache=tmp_path / "cache").clips) == 4


def test_a_cache_of_nothing(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"garbage")
    with pytest.raises(InputError, match="none of its 1 clips can be read"):
        pack_clips(find_clips(tmp_path), (8, 8), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
