"""The same random change of both frames of a pair."""

import math
import pickle
import re
from collections import Counter

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from fomm_lib.config import AugmentationParams
from fomm_lib.data import augmentation
from fomm_lib.data.augmentation import Augmentation
from fomm_lib.errors import InputError
from tests.support.small_clips import PUBLISHED


def test_published_parameters_map_onto_the_switches():
    everything = {
        **PUBLISHED,
        "rotation_param": {"degrees": 20},
        "resize_param": {"ratio": [0.9, 1.1]},
        "crop_param": {"size": [48, 64]},
    }
    flips = {"time_flip": True, "horizontal_flip": True}
    colours = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.1)
    assert Augmentation.from_params(everything) == Augmentation(
        **flips, **colours, rotation=(-20, 20), resize=(0.9, 1.1), crop=(48, 64)
    )
    assert Augmentation.from_params(None) == Augmentation() and not Augmentation()
    assert Augmentation.from_params({"flip_param": None}) == Augmentation()
    assert Augmentation.from_params({"crop_param": {"size": 8}}).crop == (8, 8)

    checked = AugmentationParams(**PUBLISHED)
    assert Augmentation.from_params(checked) == Augmentation.from_params(PUBLISHED)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"flips": {}}, "flips: unknown key; allowed here: flip_param, rotation_param, resize_param"),
        (
            {"flip_param": {"vertical": True}},
            "flip_param.vertical: unknown key; allowed here: horizontal_flip, time_flip",
        ),
        ({"flip_param": {"time_flip": "perhaps"}}, "time_flip = 'perhaps': input should be a valid boolean"),
        ({"jitter_param": {"hue": 0.6}}, "hue = 0.6: input should be less than or equal to 0.5"),
        ({"jitter_param": {"contrast": -1}}, "contrast = -1: input should be greater than or equal to 0"),
        ({"jitter_param": {"contrast": True}}, "contrast = True: should be a number, not yes or no"),
        ({"jitter_param": {"brightness": math.inf}}, "brightness = inf: input should be "),
        ({"rotation_param": {"degrees": [5, -5]}}, r"degrees = [5, -5]: should be a pair (low, high)"),
        ({"rotation_param": {"degrees": [5]}}, r"degrees = [5]: number 2 is missing"),
        ({"resize_param": {"ratio": [1.1, 0.9]}}, "ratio = [1.1, 0.9]: should be a pair (low, high)"),
        ({"resize_param": {"ratio": 0.5}}, "ratio = 0.5: input should be a valid tuple"),
        ({"resize_param": {"ratio": [0, 1]}}, "ratio.0 = 0: input should be greater than or equal to "),
        ({"crop_param": {"size": 0}}, "size.0 = 0: input should be greater than 0"),
        ({"crop_param": {"size": [8, 8, 3]}}, "size = [8, 8, 3]: tuple should have at most 2 items"),
    ],
)
def test_bad_augmentation(params, message):
    with pytest.raises(InputError, match=re.escape(f"augmentation: {next(iter(params))}")) as caught:
        Augmentation.from_params(params)
    assert message in str(caught.value)


def test_changes_are_checked_by_their_own_names():
    with pytest.raises(InputError, match=r"^augmentation: hue = 0\.6: input should be less"):
        Augmentation(hue=0.6)
    with pytest.raises(InputError, match=r"^augmentation: flip: unknown key; allowed here: .*rotation"):
        Augmentation(flip=True)
    with pytest.raises(InputError, match=r"^augmentation: rotation = \(2, 1\): should be a pair"):
        Augmentation(rotation=(2, 1))
    assert Augmentation(rotation=30).rotation == (-30, 30) and Augmentation(crop=8).crop == (8, 8)


def test_workers_get_the_same_augmentation_and_cannot_change_it():
    augmentation = Augmentation(crop=(8, 6), hue=0.2)
    assert pickle.loads(pickle.dumps(augmentation)) == augmentation
    with pytest.raises(ValueError, match="frozen"):
        augmentation.hue = 0.1


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


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(rotation=(-30, 30)),
        Augmentation(resize=(0.5, 1.5)),
        Augmentation(crop=(8, 6)),
        Augmentation(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2),
        Augmentation(
            time_flip=True,
            horizontal_flip=True,
            rotation=(-9, 9),
            resize=(0.8, 1.2),
            crop=(10, 10),
            brightness=0.1,
            contrast=0.1,
            saturation=0.1,
            hue=0.1,
        ),
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
    torch.testing.assert_close(augmentation.turn_hue(pair, turn), F.adjust_hue(pair, turn), atol=1e-5, rtol=0)


def test_turn_hue_by_thirds_passes_the_channels_on():
    pair = asymmetric_pair()
    torch.testing.assert_close(augmentation.turn_hue(pair, 1 / 3), pair[:, [2, 0, 1]], atol=1e-5, rtol=0)


def test_a_quarter_turn_is_exact():
    pair = asymmetric_pair()
    out, _ = Augmentation(rotation=(90, 90))(pair, np.random.default_rng(0))
    torch.testing.assert_close(out, pair.rot90(1, (-2, -1)), atol=1e-5, rtol=0)


def test_crop_is_a_window_and_small_images_are_continued():
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
