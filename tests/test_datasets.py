"""Pairs of frames: what is found, what is drawn, what is changed, and what happens when files go bad."""

import json
import logging
import pickle
import shutil
from collections import Counter

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from fomm_lib import datasets
from fomm_lib.datasets import Augmentation, FramePairs, PairBatches, find_clips, pack_clips, pair_loader
from fomm_lib.files import InputError

SIZE = 16


def picture(number: int, clip: int = 0, size: int = SIZE) -> np.ndarray:
    """A frame that says which one it is: red = its number, green = its clip; blue is a ramp."""
    frame = np.zeros((size, size, 3), np.uint8)
    frame[..., 0], frame[..., 1] = number * 10, clip * 20
    frame[..., 2] = np.linspace(0, 255, size, dtype=np.uint8)
    return frame


def write_folder(path, frames=8, clip=0, size=SIZE):
    path.mkdir(parents=True)
    for number in range(frames):
        Image.fromarray(picture(number, clip, size)).save(path / f"{number:04d}.png")
    return path


def write_strip(path, frames=6, clip=0, size=SIZE):
    Image.fromarray(np.concatenate([picture(number, clip, size) for number in range(frames)], axis=1)).save(
        path
    )
    return path


def write_video(path, frames=30, clip=0, size=64):
    iio.imwrite(path, np.stack([picture(number % 25, clip, size) for number in range(frames)]), fps=25)
    return path


def numbers_seen(item) -> list[int]:
    """The frame numbers as the pixels tell them."""
    return [round(float(item[key][0].mean()) * 255 / 10) for key in ("source", "driving")]


@pytest.fixture
def folders(tmp_path):
    for clip in range(4):
        write_folder(tmp_path / "data" / f"person{clip % 2}#video{clip}#0#8.mp4", clip=clip)
    return tmp_path / "data"


# --- finding and reading clips ---


def test_all_kinds_of_clips_are_found_and_read(tmp_path):
    write_folder(tmp_path / "folder", frames=12, clip=1)
    write_strip(tmp_path / "strip.png", frames=6, clip=2)
    write_video(tmp_path / "video.mp4", frames=30, clip=3)
    (tmp_path / "notes.txt").write_text("not a clip")
    (tmp_path / ".hidden.mp4").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    clips = find_clips(tmp_path)
    assert [clip.name for clip in clips] == ["folder", "strip.png", "video.mp4"]
    assert [len(clip) for clip in clips] == [12, 6, 30]
    for number, clip in enumerate(clips, start=1):
        streamed = list(clip)
        assert len(streamed) == len(clip)
        for index, frame in zip((0, 5), clip.read([0, 5]), strict=True):
            np.testing.assert_array_equal(frame, streamed[index])
            expected = picture(index, number, len(frame))
            tolerance = 12 if clip.name == "video.mp4" else 0  # the video is compressed
            np.testing.assert_allclose(frame.astype(int)[..., :2], expected[..., :2], atol=tolerance)


def test_two_equal_numbers_give_the_frame_twice(tmp_path):
    write_video(tmp_path / "a.mp4")
    (clip,) = find_clips(tmp_path)
    first, second = clip.read([7, 7])
    np.testing.assert_array_equal(first, second)


def test_frame_folders_are_in_natural_order(tmp_path):
    for number in (1, 2, 10):
        (tmp_path / "clip").mkdir(exist_ok=True)
        Image.fromarray(picture(number)).save(tmp_path / "clip" / f"frame{number}.png")
    (clip,) = find_clips(tmp_path)
    assert [int(frame[0, 0, 0]) // 10 for frame in clip] == [1, 2, 10]


def test_strip_frames_may_be_wider_than_high(tmp_path):
    frames = [np.full((8, 12, 3), 40 * number, np.uint8) for number in range(5)]
    Image.fromarray(np.concatenate(frames, axis=1)).save(tmp_path / "strip.png")
    (clip,) = find_clips(tmp_path, aspect=1.5)
    assert len(clip) == 5
    np.testing.assert_array_equal(np.stack(list(clip)), np.stack(frames))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA"])
def test_pictures_of_any_kind_become_rgb(tmp_path, mode):
    (tmp_path / "clip").mkdir()
    for number in range(2):
        Image.fromarray(picture(number)).convert(mode).save(tmp_path / "clip" / f"{number}.png")
    (clip,) = find_clips(tmp_path)
    assert clip.read([0])[0].shape == (SIZE, SIZE, 3)


def test_train_and_test_folders(tmp_path):
    write_folder(tmp_path / "train" / "a")
    write_folder(tmp_path / "test" / "b")
    assert [clip.name for clip in find_clips(tmp_path, "train")] == ["a"]
    assert [clip.name for clip in find_clips(tmp_path, "test")] == ["b"]
    assert [clip.name for clip in find_clips(tmp_path / "train")] == ["a"]
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(InputError, match="has train/ but no test/; add it"):
        find_clips(tmp_path, "test")


def test_bad_roots(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        find_clips(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no clips in it; expected videos \(\.avi \.gif"):
        FramePairs(tmp_path)
    with pytest.raises(InputError, match="split='validation': choose"):
        find_clips(tmp_path, "validation")


# --- drawing ---


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


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("id1#video#000#100.mp4", "id1"),
        ("id1.mp4", "id1"),
        ("v1.2", "v1.2"),
        ("id1#a.b#0", "id1"),
        ("cat.gif", "cat"),
    ],
)
def test_identity_is_the_name_before_the_hash(name, identity):
    assert datasets.Clip(name).identity == identity


# --- files that go bad ---


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
    (tmp_path / "odd.png").write_bytes(b"this is no picture")
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


# --- augmentation ---


PUBLISHED = {
    "flip_param": {"horizontal_flip": True, "time_flip": True},
    "jitter_param": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1},
}


def test_published_parameters_map_onto_the_switches():
    everything = {
        **PUBLISHED,
        "rotation_param": {"degrees": 20},
        "resize_param": {"ratio": [0.9, 1.1]},
        "crop_param": {"size": [48, 64]},
    }
    assert Augmentation.from_params(everything) == Augmentation(
        True, True, (-20, 20), (0.9, 1.1), (48, 64), brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1
    )
    assert Augmentation.from_params(None) == Augmentation() and not Augmentation()
    assert Augmentation.from_params({"flip_param": None}) == Augmentation()
    assert Augmentation.from_params({"crop_param": {"size": 8}}).crop == (8, 8)

    class Model:  # what a pydantic model looks like from outside
        def model_dump(self):
            return PUBLISHED

    assert Augmentation.from_params(Model()) == Augmentation.from_params(PUBLISHED)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"flips": {}}, "unknown key 'flips'; known are flip_param"),
        (
            {"flip_param": {"vertical": True}},
            "unknown key flip_param.vertical; known are time_flip, horizontal_flip",
        ),
        ({"flip_param": {"time_flip": 1}}, "time_flip=1; must be true or false"),
        ({"jitter_param": {"hue": 0.6}}, r"hue=0\.6; must be a number from 0 to 0\.5"),
        ({"jitter_param": {"contrast": -1}}, "contrast=-1; must be a number at least 0"),
        ({"rotation_param": {"degrees": [5, -5]}}, "rotation .* must be a pair"),
        ({"resize_param": {"ratio": 0.5}}, "resize .* must be a pair"),
        ({"resize_param": {"ratio": [0, 1]}}, "must be above 0"),
        ({"crop_param": {"size": 0}}, "crop .* whole number above 0"),
    ],
)
def test_bad_augmentation(params, message):
    with pytest.raises(InputError, match=message):
        Augmentation.from_params(params)


def asymmetric_pair() -> torch.Tensor:
    return torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def test_no_augmentation_is_the_identity():
    pair = asymmetric_pair()
    out, swapped = Augmentation()(pair, np.random.default_rng(0))
    assert torch.equal(out, pair) and swapped is False


@pytest.mark.parametrize(
    ("switches", "plain", "swapped", "mirrored"),
    [
        ({"time_flip": True, "horizontal_flip": True}, 0.25, 0.5, 0.25),
        ({"time_flip": True}, 0.5, 0.5, 0.0),
        ({"horizontal_flip": True}, 0.5, 0.0, 0.5),
    ],
)
def test_flips_happen_as_often_as_published(switches, plain, swapped, mirrored):
    pair = asymmetric_pair()
    rng = np.random.default_rng(1)
    seen = Counter()
    for _ in range(1000):
        out, exchanged = Augmentation(**switches)(pair, rng)
        kinds = {"plain": pair, "swapped": pair.flip(0), "mirrored": pair.flip(-1)}
        (kind,) = [name for name, expected in kinds.items() if torch.equal(out, expected)]
        assert exchanged == (kind == "swapped")
        seen[kind] += 1
    for kind, share in {"plain": plain, "swapped": swapped, "mirrored": mirrored}.items():
        assert seen[kind] / 1000 == pytest.approx(share, abs=0.05)


def test_time_flip_exchanges_the_frame_numbers_too(folders):
    pairs = FramePairs(folders, size=SIZE, repeats=20, augmentation={"flip_param": {"time_flip": True}})
    items = list(pairs)
    assert all(numbers_seen(item) == item["frames"].tolist() for item in items)
    assert any(item["frames"][0] > item["frames"][1] for item in items)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(rotation=(-30, 30)),
        Augmentation(resize=(0.5, 1.5)),
        Augmentation(crop=(8, 6)),
        Augmentation(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2),
        Augmentation(True, True, (-9, 9), (0.8, 1.2), (10, 10), 0.1, 0.1, 0.1, 0.1),
    ],
)
def test_both_frames_are_changed_alike(augmentation):
    frame = asymmetric_pair()[:1]
    for seed in range(5):
        out, _ = augmentation(torch.cat([frame, frame]), np.random.default_rng(seed))
        assert torch.equal(out[0], out[1])
        assert out.min() >= 0 and out.max() <= 1
        again, _ = augmentation(torch.cat([frame, frame]), np.random.default_rng(seed))
        assert torch.equal(out, again)


def test_colour_changes_against_closed_forms():
    pair = asymmetric_pair()
    out, _ = Augmentation(brightness=0.3)(pair * 0.7, np.random.default_rng(0))
    factor = float((out / (pair * 0.7)).mean())
    assert 0.7 <= factor <= 1.3 and factor != 1
    torch.testing.assert_close(out, pair * 0.7 * factor)
    grey = pair[:, :1].expand(-1, 3, -1, -1).contiguous()  # grey has neither saturation nor hue to change
    out, _ = Augmentation(saturation=0.9, hue=0.5)(grey, np.random.default_rng(0))
    torch.testing.assert_close(out, grey, atol=2e-3, rtol=0)
    flat = torch.full((2, 3, 8, 8), 0.4)  # and what is flat has no contrast
    torch.testing.assert_close(Augmentation(contrast=0.9)(flat, np.random.default_rng(0))[0], flat)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.05, 0.37, 0.5])
def test_turn_hue_against_torchvision(turn):
    pair = asymmetric_pair()
    pair[:, :, 0, :2] = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])  # black and white have no hue
    pair[:, :, 1, 0] = torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(datasets.turn_hue(pair, turn), F.adjust_hue(pair, turn), atol=1e-5, rtol=0)


def test_turn_hue_by_thirds_passes_the_channels_on():
    pair = asymmetric_pair()
    torch.testing.assert_close(datasets.turn_hue(pair, 1 / 3), pair[:, [2, 0, 1]], atol=1e-5, rtol=0)


def test_a_quarter_turn_is_exact():
    pair = asymmetric_pair()
    out, _ = Augmentation(rotation=(90, 90))(pair, np.random.default_rng(0))
    torch.testing.assert_close(out, pair.rot90(1, (-2, -1)), atol=1e-5, rtol=0)


def test_crop_is_a_window_and_small_pictures_are_continued():
    pair = asymmetric_pair()
    places = set()
    for seed in range(60):
        out, _ = Augmentation(crop=(10, 11))(pair, np.random.default_rng(seed))
        (place,) = [
            (y, x) for y in range(3) for x in range(2) if torch.equal(out, pair[..., y : y + 10, x : x + 11])
        ]
        places.add(place)
    assert len(places) == 6
    out, _ = Augmentation(crop=(16, 12))(pair, np.random.default_rng(0))
    assert torch.equal(out[..., 2:14, :], pair)
    assert torch.equal(out[..., 0, :], pair[..., 0, :]) and torch.equal(out[..., -1, :], pair[..., -1, :])


def test_resize_by_a_fixed_ratio_equals_torchvision():
    pair = asymmetric_pair()
    out, _ = Augmentation(resize=(2.0, 2.0), crop=(24, 24))(pair, np.random.default_rng(0))
    torch.testing.assert_close(out, F.resize(pair, [24, 24], antialias=True))


def test_the_size_stays_whatever_is_switched_on(folders):
    for params in (
        {"resize_param": {"ratio": [0.5, 2]}},
        {"crop_param": {"size": 9}},
        {"rotation_param": {"degrees": 30}},
    ):
        assert FramePairs(folders, size=SIZE, augmentation=params)[0]["driving"].shape == (3, SIZE, SIZE)


# --- the packed cache ---


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
    pictures = sorted((data / "a").iterdir())
    pictures[5].write_bytes(pictures[5].read_bytes()[:40])  # goes wrong after some frames are written already
    packed = FramePairs(data, size=SIZE, cache=tmp_path / "cache")
    assert [clip.name for clip in packed.clips] == ["b"]
    assert "a: left out of the cache" in caplog.text
    np.testing.assert_array_equal(packed.clips[0].read([3])[0], picture(3))


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

    monkeypatch.setattr(datasets.json, "dumps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        FramePairs(folders, size=SIZE, cache=tmp_path / "cache")
    monkeypatch.undo()
    assert len(FramePairs(folders, size=SIZE, cache=tmp_path / "cache").clips) == 4


def test_a_cache_of_nothing(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"garbage")
    with pytest.raises(InputError, match="none of its 1 clips can be read"):
        pack_clips(find_clips(tmp_path), (8, 8), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


# --- batches ---


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
        (lambda root: FramePairs(root, repeats=0), "repeats=0; must be"),
        (lambda root: FramePairs(root, seed=-1), "seed=-1; must be"),
        (lambda root: pair_loader(FramePairs(root), 0), "batch_size=0; must be"),
        (lambda root: pair_loader(FramePairs(root), 2, workers=-1), "workers=-1; must be"),
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
