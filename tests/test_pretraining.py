"""Motion from truth: exact where the answer is known, and learned where it is not."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from fomm_lib.checkpoints import read_checkpoint
from fomm_lib.cli import main
from fomm_lib.config import load_config
from fomm_lib.files import InputError
from fomm_lib.geometry import coordinate_grid, from_pixels, to_pixels, warp
from fomm_lib.keypoints import Keypoints
from fomm_lib.model import load_model
from fomm_lib.motion import DenseMotion
from fomm_lib.pretraining import (
    ERRORS,
    LIPS,
    TrueBatch,
    TruePairs,
    lips_loss,
    motion_errors,
    pretrain,
    true_motion_losses,
)
from fomm_lib.synthetic import ClipTruth, read_truth, truth_path

SIDE = 32


def small_config(**changes) -> dict:
    config = load_config("heads-64").model_dump(mode="json")
    config["dataset_params"]["frame_shape"] = [SIDE, SIDE, 3]
    params = config["model_params"]
    params["common_params"]["num_kp"] = 7
    params["kp_detector_params"] |= {
        "block_expansion": 4,
        "max_features": 16,
        "num_blocks": 2,
        "scale_factor": 1,
    }
    motion = {"block_expansion": 8, "max_features": 16, "num_blocks": 2, "scale_factor": 1}
    params["generator_params"] |= {"block_expansion": 4, "max_features": 8, "dense_motion_params": motion}
    params["generator_params"] |= changes
    return config


def square_at(x: int, y: int, background: np.ndarray) -> np.ndarray:
    """A patterned square of 12x12 pixels, its corner at (x, y)."""
    picture = background.copy()
    pattern = np.random.default_rng(7).integers(0, 255, (12, 12, 3))
    picture[y : y + 12, x : x + 12] = pattern
    return picture.astype(np.uint8)


def write_clip(folder, number: int, places: list[tuple[int, int]]) -> None:
    """A clip of one moving square, and its truth."""
    rng = np.random.default_rng(number)
    background = np.full((SIDE, SIDE, 3), rng.integers(40, 220, 3))
    clip = folder / f"square-{number:02d}"
    clip.mkdir(parents=True)
    for k, place in enumerate(places):
        Image.fromarray(square_at(*place, background)).save(clip / f"{k:04d}.png")
    pairs = np.array([(0, k) for k in range(1, len(places))])
    pixels = to_pixels(coordinate_grid(SIDE, SIDE), SIDE, SIDE)
    flows, visible, surface = [], [], []
    for source, driving in pairs:
        inside = np.zeros((SIDE, SIDE), bool)
        x, y = places[driving]
        inside[y : y + 12, x : x + 12] = True
        was = np.zeros((SIDE, SIDE), bool)
        was[places[source][1] : places[source][1] + 12, places[source][0] : places[source][0] + 12] = True
        shift = torch.tensor(places[source]) - torch.tensor(places[driving])
        moved = torch.where(torch.from_numpy(inside)[..., None], pixels + shift, pixels)
        flows.append(from_pixels(moved, SIDE, SIDE).numpy().astype(np.float16))
        visible.append(inside | ~was)
        surface.append(inside)
    within = np.random.default_rng(5).uniform(2, 9, (68, 2))  # of the square, not too near its border
    landmarks = from_pixels(torch.from_numpy(np.array(places)[:, None] + within), SIDE, SIDE).float().numpy()
    truth = ClipTruth(pairs, np.stack(flows), np.stack(visible), np.stack(surface), landmarks)
    np.savez(truth_path(clip), **vars(truth))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for number in range(count):
            write_clip(root / split, number, [tuple(rng.integers(2, 18, 2).tolist()) for _ in range(4)])
    return root


def exact(truth: TrueBatch) -> DenseMotion:
    """The motion that is the truth itself."""
    return DenseMotion(truth.flow, None, truth.visible[:, None].float(), None, None)


def test_the_truth_has_no_error(data):
    pairs = TruePairs(data, "test", (SIDE, SIDE))
    losses = true_motion_losses(exact(pairs.batch(torch.arange(6))), pairs.batch(torch.arange(6)))
    assert losses["flow"] == 0 and losses["occlusion"] < 1e-3
    assert losses["expression"] < 0.05  # the flow is stored in half precision


def test_a_known_error_has_its_known_loss(data):
    truth = TruePairs(data, "test", (SIDE, SIDE)).batch(torch.arange(6))
    motion = exact(truth)
    motion.deformation = truth.flow + torch.tensor([0.1, -0.3])
    motion.occlusion = torch.full((6, 1, SIDE, SIDE), 0.5)
    losses = true_motion_losses(motion, truth)
    assert losses["flow"].item() == pytest.approx(20 * 0.4, rel=1e-4)
    assert losses["occlusion"].item() == pytest.approx(np.log(2), rel=1e-4)
    assert losses["expression"] < 0.05  # all is wrong alike: the head, and not the face
    # What the source does not show has no true flow: an error there costs nothing.
    motion.deformation = truth.flow + 5.0 * ~truth.visible[..., None]
    assert true_motion_losses(motion, truth)["flow"] == 0


def test_a_wrong_expression_has_its_loss(data):
    """A square that should move and is seen to stand: its lower half, say, alone."""
    truth = TruePairs(data, "test", (SIDE, SIDE)).batch(torch.arange(6))
    motion = exact(truth)
    motion.deformation = truth.flow * torch.tensor([1.0, 0.5])  # half as high
    shift = truth.source_landmarks - truth.flow.new_tensor([1.0, 0.5]) * truth.source_landmarks
    parts = ([*range(17, 22), *range(36, 42)], [*range(22, 27), *range(42, 48)], [*range(48, 68)])
    errors = [
        (shift[:, part] - shift[:, part].mean(1, keepdim=True)).abs().sum(-1).flatten() for part in parts
    ]
    wanted = 40 * torch.cat(errors).mean().item()
    assert true_motion_losses(motion, truth)["expression"].item() == pytest.approx(wanted, rel=0.01)


def test_lips_are_where_their_keypoints_are():
    landmarks = torch.rand(2, 68, 2)
    value = torch.zeros(2, 7, 2)
    for k, lip in LIPS.items():
        value[:, k] = landmarks[:, lip].mean(1)
    assert lips_loss(Keypoints(value), landmarks) < 1e-6
    value[:, 6] += torch.tensor([0.1, -0.2])
    assert lips_loss(Keypoints(value), landmarks).item() == pytest.approx(10 / 2 * 0.3 / 2, rel=1e-4)


def test_mirrored_pairs_are_as_true(data):
    truth = TruePairs(data, "test", (SIDE, SIDE)).batch(torch.arange(6))
    for batch in (truth, truth.mirrored(torch.ones(6, dtype=torch.bool))):
        error = (warp(batch.source, batch.flow) - batch.driving).abs().amax(1)
        assert error[batch.visible].max() < 0.06  # the flow is stored in half precision
    assert not torch.equal(truth.source, truth.mirrored(torch.ones(6, dtype=torch.bool)).source)
    some = torch.tensor([True, False] * 3)
    twice = truth.mirrored(some).mirrored(some)
    for name, tensor in vars(truth).items():
        assert torch.equal(getattr(twice, name), tensor), name
    assert torch.equal(truth.mirrored(some).source[1], truth.source[1])


def test_other_light_is_the_same_for_both_frames(data):
    truth = TruePairs(data, "test", (SIDE, SIDE)).batch(torch.arange(6))
    gain, offset = torch.full((6, 3, 1, 1), 0.5), torch.full((6, 1, 1, 1), 0.1)
    changed = truth.in_other_light(gain, offset)
    assert torch.allclose(changed.driving, (truth.driving - 0.5) * 0.5 + 0.6)
    assert torch.allclose(changed.source, (truth.source - 0.5) * 0.5 + 0.6)
    assert torch.equal(changed.flow, truth.flow)


class Knows(torch.nn.Module):
    """A model that knows the answer to pair after pair, off by some pixels of 256 to the right."""

    size = (SIDE, SIDE)

    def __init__(self, pairs: TruePairs, pixels: float = 0.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        truth = pairs.batch(torch.arange(len(pairs)))
        self.answers = zip(truth.flow + torch.tensor([pixels / 128, 0.0]), truth.visible, strict=True)

    def detect(self, picture):
        return Keypoints(torch.zeros(len(picture), 1, 2))

    def dense_motion(self, source, kp_source, kp_driving):
        flow, visible = next(self.answers)
        return SimpleNamespace(deformation=flow[None], occlusion=visible[None, None].float())


def test_errors_are_those_of_the_truth(data):
    pairs = TruePairs(data, "test", (SIDE, SIDE))
    errors = motion_errors(Knows(pairs), pairs)
    assert list(errors) == list(ERRORS)
    assert errors["epe"] == 0 and errors["expression"] < 0.2
    assert errors["occlusion_ap"] == pytest.approx(1)
    truth = pairs.batch(torch.arange(6))
    assert errors["hidden"] == pytest.approx((~truth.visible).float().mean().item())
    shifted = motion_errors(Knows(pairs, 3.0), pairs)
    assert shifted["epe_person"] == pytest.approx(3.0, abs=0.02)
    assert shifted["expression"] == pytest.approx(errors["expression"], abs=0.01)
    model = Knows(pairs).train()
    motion_errors(model, pairs)
    assert model.training


def table(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_it_learns(data, tmp_path):
    weights = pretrain(
        small_config(), data, tmp_path / "out", 40, batch_size=6, lr=5e-3, log_every=10, check_every=20,
        progress=False,
    )  # fmt: skip
    rows = table(tmp_path / "out/losses.csv")
    assert [row["step"] for row in rows] == ["10", "20", "30", "40"]
    assert float(rows[-1]["flow"]) < 0.9 * float(rows[0]["flow"])
    assert float(rows[-1]["lips"]) < 0.7 * float(rows[0]["lips"])
    errors = table(tmp_path / "out/errors.csv")
    assert [row["step"] for row in errors] == ["20", "40"]
    checkpoint = read_checkpoint(weights)
    assert set(checkpoint.networks) == {"generator", "kp_detector"}
    found = motion_errors(load_model(weights), TruePairs(data, "test", (SIDE, SIDE)))
    assert found["epe"] == pytest.approx(float(errors[-1]["epe"]), rel=1e-3)


def test_the_same_seed_gives_the_same_weights(data, tmp_path):
    states = []
    for name in ("one", "two"):
        path = pretrain(small_config(), data, tmp_path / name, 3, batch_size=2, progress=False)
        states.append(read_checkpoint(path).networks["kp_detector"])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_zeroth_order_and_models_without_an_occlusion_map(data, tmp_path):
    config = small_config(estimate_occlusion_map=False)
    config["model_params"]["common_params"]["estimate_jacobian"] = False
    config["train_params"]["loss_weights"]["equivariance_jacobian"] = 0
    pretrain(config, data, tmp_path / "out", 2, batch_size=2, log_every=1, progress=False)
    row = table(tmp_path / "out/losses.csv")[0]
    assert row["occlusion"] == row["equivariance_jacobian"] == "" and float(row["flow"]) > 0


def test_bad_input(data, tmp_path):
    with pytest.raises(InputError, match="steps = 0, batch_size = 16: both must be at least 1"):
        pretrain(small_config(), data, tmp_path / "out", 0)
    with pytest.raises(InputError, match="its truth is 32x32, the config's frames are 64x64"):
        pretrain("heads-128-motion", data, tmp_path / "out", 1, progress=False)
    with pytest.raises(InputError, match="no dense motion network; there is no motion to learn"):
        pretrain(small_config(dense_motion_params=None, estimate_occlusion_map=False), data, tmp_path / "out")
    few = small_config()
    few["model_params"]["common_params"]["num_kp"] = 3
    with pytest.raises(
        InputError, match="num_kp = 3: keypoints 2 and 6 are led to the lips; have at least 7"
    ):
        pretrain(few, data, tmp_path / "out", 1, progress=False)
    half = small_config()
    half["model_params"]["generator_params"]["dense_motion_params"]["scale_factor"] = 0.5
    with pytest.raises(InputError, match=r"scale_factor = 0\.5: the truth is as large as the pictures"):
        pretrain(half, data, tmp_path / "half", 1, progress=False)
    with pytest.raises(InputError, match=r"has no test/ in it; render it: fomm synthesize --truth 10"):
        pretrain(small_config(), data / "train", tmp_path / "out", 1, progress=False)
    assert not (tmp_path / "out").exists() and not (tmp_path / "half").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/losses.csv").touch()
    with pytest.raises(InputError, match="holds a training already"):
        pretrain(small_config(), data, tmp_path / "taken", 1)


def test_truth_that_is_missing_or_damaged(data, tmp_path):
    with pytest.raises(InputError, match=r"a\.truth\.npz: is missing; .*: fomm synthesize --truth 10"):
        read_truth(tmp_path / "a.mp4")
    (tmp_path / "a.truth.npz").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(InputError, match=r"a\.truth\.npz: is damaged"):
        read_truth(tmp_path / "a.mp4")
    whole = truth_path(data / "train" / "square-00").read_bytes()
    (tmp_path / "b.truth.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"b\.truth\.npz: is damaged"):
        read_truth(tmp_path / "b")


def test_a_loss_that_is_not_finite_ends_it(data, tmp_path):
    with pytest.raises(InputError, match=r"step \d+: .* is not finite; try a lower lr, or float32"):
        pretrain(small_config(), data, tmp_path / "out", 20, batch_size=2, lr=float("inf"), progress=False)


def test_the_verb(data, tmp_path, capsys):
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(small_config()))
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match="0"):
        main(["pretrain", "--config", str(config), "--data", str(data), "--out", str(out), "--steps", "2"])
    assert f"fomm train --init {out / 'weights.safetensors'}" in capsys.readouterr().out
