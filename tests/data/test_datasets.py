"""Pairs of frames: what is drawn, in which batches, and what happens when files are damaged."""

import logging
import pickle
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.data.datasets import FramePairs, PairBatches, pair_loader
from fomm_lib.errors import InputError
from fomm_lib.media.tensors import from_uint8
from tests.support.small_clips import PUBLISHED, SIZE, numbers_seen, write_folder, write_strip, write_video


def test_an_item(folders):
    pairs = FramePairs(folders, size=SIZE, repeats=25)
    assert len(pairs) == 100
    coinciding = 0
    for item in pairs:
        assert item["source"].shape == item["driving"].shape == (3, SIZE, SIZE)
        assert (
            item["source"].dtype == torch.float32 and item["source"].min() >= 0 and item["source"].max() <= 1
        )
        assert item["frames"].dtype == torch.int64
        source, driving = item["frames"].tolist()
        assert source <= driving
        assert numbers_seen(item) == [source, driving]
        coinciding += source == driving
    assert 3 <= coinciding <= 25  # two draws of 8 agree in 1 of 8 cases


def test_all_frames_are_drawn_evenly(folders):
    pairs = FramePairs(folders, size=SIZE, repeats=200)
    drawn = Counter(number for item in pairs for number in item["frames"].tolist())
    assert set(drawn) == set(range(8))
    assert max(drawn.values()) < 1.3 * min(drawn.values())


def test_other_sizes_are_resized_not_cropped(tmp_path):
    write_folder(tmp_path / "clip", size=40)
    item = FramePairs(tmp_path, size=(10, 20))[0]
    assert item["source"].shape == (3, 10, 20)
    ramp = item["source"][2].mean(0)
    assert ramp[0] < 0.05 and ramp[-1] > 0.95 and (ramp.diff() > 0).all()


def test_drawing_depends_on_seed_epoch_and_index_alone(folders):
    def drawn(seed, epoch):
        pairs = FramePairs(folders, size=SIZE, seed=seed, repeats=5)
        pairs.set_epoch(epoch)
        return [(item["name"], *item["frames"].tolist()) for item in pairs]

    assert drawn(0, 3) == drawn(0, 3)
    assert drawn(0, 3) != drawn(0, 4)
    assert drawn(0, 3) != drawn(1, 3)
    pairs = FramePairs(folders, size=SIZE, repeats=5)
    assert drawn(0, 7)[13] == (pairs[7, 13]["name"], *pairs[7, 13]["frames"].tolist())


def test_augmentation_does_not_change_which_frames_are_drawn(folders):
    plain = FramePairs(folders, size=SIZE, repeats=5)
    jittered = FramePairs(folders, size=SIZE, repeats=5, augmentation={"jitter_param": {"brightness": 0.5}})
    for a, b in zip(plain, jittered, strict=True):
        assert a["frames"].tolist() == b["frames"].tolist()


def test_id_sampling_gives_every_person_the_same_share(tmp_path):
    for clip in range(9):
        write_folder(tmp_path / f"busy#{clip}", clip=clip)
    write_folder(tmp_path / "rare#0")
    pairs = FramePairs(tmp_path, size=SIZE, id_sampling=True, repeats=100)
    assert len(pairs) == 200
    names = Counter(item["name"] for item in pairs)
    assert names["rare#0"] == 100
    assert len(names) == 10  # all clips of the busy one have their turn
    assert len(FramePairs(tmp_path, size=SIZE)) == 10


def test_a_clip_that_vanishes_is_logged_once_and_replaced(folders, caplog):
    pairs = FramePairs(folders, size=SIZE, repeats=20)
    before = [item["frames"].tolist() for item in pairs]
    gone = pairs.clips[1]
    shutil.rmtree(gone.path)
    with caplog.at_level(logging.WARNING):
        again = FramePairs(folders, size=SIZE, repeats=20)
        again.clips, again.items = pairs.clips, pairs.items
        gone._files = None
        items = [again[index] for index in range(len(again))]
    assert gone.name not in {item["name"] for item in items}
    assert len([record for record in caplog.records if gone.name in record.message]) == 1
    for index, item in enumerate(items):  # nobody else's draw has changed
        if index % 4 != 1:
            assert item["frames"].tolist() == before[index]
    assert [item["frames"].tolist() for item in items] == [
        again[i]["frames"].tolist() for i in range(len(again))
    ]


def test_broken_and_single_frame_clips_are_passed_over(tmp_path, caplog):
    write_folder(tmp_path / "good")
    (tmp_path / "broken.mp4").write_bytes(b"this is no video")
    (tmp_path / "odd.png").write_bytes(b"this is no image")
    Image.fromarray(np.zeros((10, 25, 3), np.uint8)).save(tmp_path / "landscape.png")
    write_strip(tmp_path / "single.png", frames=1)
    pairs = FramePairs(tmp_path, size=SIZE, repeats=4)
    assert len(pairs) == 20
    assert {item["name"] for item in pairs} == {"good"}
    text = caplog.text
    assert (
        "landscape.png: skipped, another clip is drawn (25x10 pixels are not a strip of frames 10x10" in text
    )
    assert "single frame, and a pair needs two" in text
    assert "broken.mp4: skipped, another clip is drawn" in text


def test_nothing_readable_ends_with_one_line(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(b"garbage")
    pairs = FramePairs(tmp_path, size=SIZE)
    with pytest.raises(
        InputError, match=r"3 clips in a row could not be read; the last was \d\.mp4 .*fomm clean"
    ) as caught:
        pairs[0]
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"^[^\n]*3 clips in a row could not be read[^\n]*$"):
        next(iter(pair_loader(pairs, 2, workers=1)))


def test_time_flip_exchanges_the_frame_numbers_too(folders):
    pairs = FramePairs(folders, size=SIZE, repeats=20, augmentation={"flip_param": {"time_flip": True}})
    items = list(pairs)
    assert all(numbers_seen(item) == item["frames"].tolist() for item in items)
    assert any(item["frames"][0] > item["frames"][1] for item in items)


@pytest.mark.parametrize(
    ("augmentation", "whole"),
    [
        (None, True),
        ({"flip_param": {"horizontal_flip": True, "time_flip": True}}, True),
        ({"jitter_param": {"hue": 0.1}}, False),
        ({"rotation_param": {"degrees": 5}}, False),
    ],
)
def test_bytes_are_given_where_they_are_exact(folders, augmentation, whole):
    options = {"size": 24, "augmentation": augmentation, "seed": 1}
    numbers, as_bytes = FramePairs(folders, **options), FramePairs(folders, as_uint8=True, **options)
    for index in range(4):
        ours, theirs = as_bytes[index % len(numbers)], numbers[index % len(numbers)]
        for name in ("source", "driving"):
            assert ours[name].dtype == (torch.uint8 if whole else torch.float32)
            assert theirs[name].dtype == torch.float32 and ours[name].is_contiguous()
            assert torch.equal(from_uint8(ours[name]), theirs[name])


def test_the_size_stays_whatever_is_switched_on(folders):
    for params in (
        {"resize_param": {"ratio": [0.5, 2]}},
        {"crop_param": {"size": 9}},
        {"rotation_param": {"degrees": 30}},
    ):
        assert FramePairs(folders, size=SIZE, augmentation=params)[0]["driving"].shape == (3, SIZE, SIZE)


def test_a_batch(folders):
    batch = next(iter(pair_loader(FramePairs(folders, size=SIZE), 3)))
    assert batch["source"].shape == batch["driving"].shape == (3, 3, SIZE, SIZE)
    assert batch["frames"].shape == (3, 2) and len(batch["name"]) == 3


def stream(loader, epochs):
    out = []
    for epoch in epochs:
        loader.set_epoch(epoch)
        out += [(batch["name"], batch["frames"].tolist(), float(batch["source"].sum())) for batch in loader]
    return out


@pytest.mark.parametrize("cached", [False, True])
def test_batches_are_the_same_for_any_number_of_workers(folders, tmp_path, cached):
    settings = dict(
        size=SIZE, repeats=3, augmentation=PUBLISHED, cache=tmp_path / "cache" if cached else None
    )
    alone = stream(pair_loader(FramePairs(folders, **settings), 4), range(3))
    helped = stream(pair_loader(FramePairs(folders, **settings), 4, workers=2), range(3))
    assert alone == helped
    assert alone[:3] != alone[3:6]


def test_resuming_in_the_middle_of_an_epoch(folders):
    pairs = FramePairs(folders, size=SIZE, repeats=6, augmentation=PUBLISHED)
    whole = stream(pair_loader(pairs, 4), [0, 1, 2])
    loader = pair_loader(FramePairs(folders, size=SIZE, repeats=6, augmentation=PUBLISHED), 4)
    loader.set_epoch(1, start_batch=2)
    assert len(loader) == 4
    resumed = [(batch["name"], batch["frames"].tolist(), float(batch["source"].sum())) for batch in loader]
    resumed += stream(loader, [2])
    assert resumed == whole[8:]


def test_every_item_once_an_epoch():
    batches = PairBatches(103, 10, seed=5)
    indices = [index for batch in batches for _, index in batch]
    assert len(batches) == 10 and len(set(indices)) == 100
    assert indices != sorted(indices)
    ordered = PairBatches(103, 10, shuffle=False, drop_last=False)
    assert [index for batch in ordered for _, index in batch] == list(range(103)) and len(ordered) == 11


def test_processes_share_one_global_batch():
    alone = list(PairBatches(50, 8))
    shared = [list(PairBatches(50, 4, rank=rank, world_size=2)) for rank in range(2)]
    assert alone == [a + b for a, b in zip(*shared, strict=True)]
    uneven = [list(PairBatches(9, 2, drop_last=False, rank=rank, world_size=2)) for rank in range(2)]
    assert [len(batch) for batch in uneven[0]] == [len(batch) for batch in uneven[1]] == [2, 2, 1]
    assert {index for part in uneven for batch in part for _, index in batch} == set(range(9))


def test_a_data_set_smaller_than_a_batch(folders):
    pairs = FramePairs(folders, size=SIZE)
    with pytest.raises(InputError, match=r"4 pairs an epoch are fewer than a batch of 5; lower batch_size"):
        pair_loader(pairs, 5)
    with pytest.raises(InputError, match="fewer than a batch of 6"):
        pair_loader(pairs, 3, world_size=2)
    assert len(next(iter(pair_loader(pairs, 5, drop_last=False)))["name"]) == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda root: FramePairs(root, size=0), "size=0; must be a whole number"),
        (lambda root: FramePairs(root, size=(8, 8, 3)), "size=.* pair"),
        (lambda root: FramePairs(root, repeats=0), "repeats=0: give a whole number"),
        (lambda root: FramePairs(root, seed=-1), "seed=-1: give a whole number"),
        (lambda root: pair_loader(FramePairs(root), 0), "batch_size=0: give a whole number"),
        (lambda root: pair_loader(FramePairs(root), 2, workers=-1), "workers=-1: give a whole number"),
        (lambda root: pair_loader(FramePairs(root), 2, rank=1), "rank=1; must be from 0 to 0"),
    ],
)
def test_bad_settings(folders, call, message):
    with pytest.raises(InputError, match=message):
        call(folders)


def test_a_data_set_can_be_sent_to_a_process_that_did_not_inherit_it(folders, tmp_path):
    pairs = FramePairs(folders, size=SIZE, augmentation=PUBLISHED, cache=tmp_path / "cache")
    sent = pickle.dumps(pairs)
    assert len(sent) < 10_000  # the frames stay in their file
    assert torch.equal(pickle.loads(sent)[2]["driving"], pairs[2]["driving"])


def test_workers_read_videos_after_this_process_has(tmp_path):
    """Decoders have threads: a worker must not inherit what waits for them."""
    for clip in range(3):
        write_video(tmp_path / f"{clip}.mp4", clip=clip)
    pairs = FramePairs(tmp_path, size=SIZE, repeats=4)
    here = [pairs[index]["frames"].tolist() for index in range(12)]
    loader = pair_loader(pairs, 4, workers=1, shuffle=False)
    loader.timeout = 120  # instead of waiting for ever
    assert [pair for batch in loader for pair in batch["frames"].tolist()] == here


@pytest.mark.parametrize("size", [(16, 24), (24, 16), (16, 16)])
@pytest.mark.parametrize("cached", [False, True])
def test_frames_of_another_shape_are_cut_and_not_squeezed(size, cached, tmp_path):
    """The part in the middle that has the shape: a disc stays a disc."""
    y, x = np.mgrid[:48, :96]
    disc = np.where((x - 47.5) ** 2 + (y - 23.5) ** 2 < 12**2, 255, 0).astype(np.uint8)
    (tmp_path / "clips" / "a").mkdir(parents=True)
    for number in range(2):
        Image.fromarray(disc).save(tmp_path / "clips" / "a" / f"{number}.png")
    pairs = FramePairs(tmp_path / "clips", size=size, cache=tmp_path / "cache" if cached else None)
    image = pairs[0]["source"][0] > 0.5
    assert image.shape == size
    height, width = int(image.any(dim=1).sum()), int(image.any(dim=0).sum())
    scale = size[0] / min(48, 96 * size[0] / size[1])
    assert height == pytest.approx(24 * scale, abs=1.5) and width == pytest.approx(24 * scale, abs=1.5)
