"""Motion from truth: exact where the answer is known, and learned where it is not."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from fomm_lib.checkpoints import read_checkpoint
from fomm_lib.cli.main import main
from fomm_lib.config import LIPS, LedKeypoint, load_config
from fomm_lib.errors import InputError
from fomm_lib.geometry import coordinate_grid, from_pixels, to_pixels, warp
from fomm_lib.keypoints import Keypoints
from fomm_lib.losses import RandomTransform
from fomm_lib.model import FirstOrderMotionModel, load_model
from fomm_lib.motion import DenseMotion
from fomm_lib.synthetic.truth import ClipTruth, read_truth, truth_path
from fomm_lib.training.pretraining import (
    ERRORS,
    LANDMARKS,
    MotionStep,
    TrueBatch,
    TruePairs,
    landmarks_loss,
    led_loss,
    motion_errors,
    motion_size,
    pretrain,
    true_motion_losses,
)
from fomm_lib.training.state import StateFolder, read_state
from tests.support.tiny_training import run_script

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
    image = background.copy()
    pattern = np.random.default_rng(7).integers(0, 255, (12, 12, 3))
    image[y : y + 12, x : x + 12] = pattern
    return image.astype(np.uint8)


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


def test_led_keypoints_are_where_their_landmarks_are():
    landmarks = torch.rand(2, 68, 2)
    value = torch.zeros(2, 12, 2)
    led = [*LIPS, LedKeypoint(keypoint=11, landmarks=[37, 38])]
    for one in led:
        value[:, one.keypoint] = landmarks[:, one.landmarks].mean(1)
    assert led_loss(Keypoints(value), landmarks, led) < 1e-6
    value[:, 6] += torch.tensor([0.1, -0.2])
    assert led_loss(Keypoints(value), landmarks, led).item() == pytest.approx(2.5 * 0.3, rel=1e-4)
    value[:, 11] += torch.tensor([0.0, 0.2])  # each counts as much, however many there are
    assert led_loss(Keypoints(value), landmarks, led).item() == pytest.approx(2.5 * 0.5, rel=1e-4)
    assert led_loss(Keypoints(value), landmarks, LIPS).item() == pytest.approx(2.5 * 0.3, rel=1e-4)


def test_openings_are_distances_between_led_keypoints_of_one_part():
    landmarks = torch.rand(2, 68, 2)
    ends = {0: [37, 38], 1: [40, 41], 2: [43, 44], 3: [46, 47], 4: [30]}
    led = [LedKeypoint(keypoint=k, landmarks=numbers) for k, numbers in ends.items()]
    value = torch.stack([landmarks[:, numbers].mean(1) for numbers in ends.values()], 1)

    def openings(moved):
        return led_loss(Keypoints(moved), landmarks, led, 10) - led_loss(Keypoints(moved), landmarks, led)

    together = torch.tensor([[0.1, 0.2]] * 2 + [[-0.3, 0.0]] * 3)  # each eye as a whole; the nose as it likes
    assert openings(value + together).abs() < 1e-5
    one_lid = torch.zeros(5, 2)
    one_lid[1] = torch.tensor([0.05, -0.1])
    assert openings(value + one_lid).item() == pytest.approx(10 * 0.15, rel=1e-4)
    assert led_loss(Keypoints(value), landmarks, led[4:], 10) < 1e-6


def test_landmarks_come_from_the_same_landmarks():
    grid = coordinate_grid(SIDE, SIDE).expand(2, -1, -1, -1)
    driving = 0.5 * torch.rand(2, 68, 2)
    source = driving + 0.03
    true = grid + 0.03
    assert landmarks_loss(true, true, source, driving) < 1e-6
    wrong = true + torch.tensor([0.02, -0.05])
    assert landmarks_loss(wrong, true, source, driving).item() == pytest.approx(0.07, rel=1e-3)
    # Lids and mouth count alike, however many landmarks each has, and the rest of the face does not count.
    moved = source.clone()
    moved[:, LANDMARKS["lids"]] += torch.tensor([0.04, 0.0])
    moved[:, :36] += 9
    assert landmarks_loss(true, true, moved, driving).item() == pytest.approx(0.02, rel=1e-3)
    # Nothing is known of a landmark whose pixel shows something else; and nothing at all is no error.
    hidden = source.clone()
    hidden[:, 40] += 1
    assert landmarks_loss(true, true, hidden, driving) < 1e-6
    assert landmarks_loss(true, true, source + 1, driving) == 0


def test_the_loss_of_landmarks_has_its_gradient():
    true = coordinate_grid(8, 8).double()[None] + 0.03
    driving = 0.8 * torch.rand(1, 68, 2, dtype=torch.float64)
    flow = (true + 0.05 + 0.01 * torch.rand_like(true)).requires_grad_()
    torch.autograd.gradcheck(lambda f: landmarks_loss(f, true, driving + 0.03, driving), flow)


def test_landmarks_count_with_a_weight(data):
    truth = TruePairs(data, "test", (SIDE, SIDE)).batch(torch.arange(6))
    assert "landmarks" not in true_motion_losses(exact(truth), truth)
    motion = exact(truth)
    motion.deformation = truth.flow + 0.01
    loss = true_motion_losses(motion, truth, 30.0)["landmarks"].item()
    alone = landmarks_loss(motion.deformation, truth.flow, truth.source_landmarks, truth.driving_landmarks)
    assert loss == pytest.approx(30 * alone.item())


def test_a_mirrored_face_has_its_landmarks_on_the_other_side(data):
    truth = TruePairs(data, "test", (SIDE, SIDE)).batch(torch.arange(6))
    all_of_them = torch.ones(6, dtype=torch.bool)
    mirrored = truth.mirrored(all_of_them)
    for name in ("source_landmarks", "driving_landmarks"):
        before, after = getattr(truth, name), getattr(mirrored, name)
        for one, other in ((0, 16), (17, 26), (30, 30), (36, 45), (37, 44), (41, 46), (48, 54), (60, 64)):
            for a, b in ((one, other), (other, one)):
                assert torch.equal(after[:, a], before[:, b] * torch.tensor([-1.0, 1.0])), (name, a, b)


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
    changed = truth.recoloured(gain, offset)
    assert torch.allclose(changed.driving, (truth.driving - 0.5) * 0.5 + 0.6)
    assert torch.allclose(changed.source, (truth.source - 0.5) * 0.5 + 0.6)
    assert torch.equal(changed.flow, truth.flow)


class Knows(torch.nn.Module):
    """A model that knows the answer to pair after pair, off by some pixels of 256 to the right."""

    size, device = (SIDE, SIDE), torch.device("cpu")

    def __init__(self, pairs: TruePairs, pixels: float = 0.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        truth = pairs.batch(torch.arange(len(pairs)))
        self.answers = zip(truth.flow + torch.tensor([pixels / 128, 0.0]), truth.visible, strict=True)

    def detect(self, image):
        return Keypoints(torch.zeros(len(image), 1, 2))

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
    assert float(rows[-1]["led"]) < 0.7 * float(rows[0]["led"])
    errors = table(tmp_path / "out/errors.csv")
    assert [row["step"] for row in errors] == ["20", "40"]
    checkpoint = read_checkpoint(weights)
    assert set(checkpoint.networks) == {"generator", "kp_detector"}
    found = motion_errors(load_model(weights), TruePairs(data, "test", (SIDE, SIDE)))
    assert found["epe"] == pytest.approx(float(errors[-1]["epe"]), rel=1e-3)


@pytest.mark.parametrize("jacobian", [True, False])
def test_everything_learns_in_two_steps(data, tmp_path, jacobian):
    """All of the detector and of the dense motion, and nothing else: see `fomm pretrain`."""
    config = small_config()
    config["model_params"]["common_params"]["estimate_jacobian"] = jacobian
    torch.manual_seed(0)
    before = FirstOrderMotionModel(config)
    pretrain(config, data, tmp_path / "out", 2, batch_size=2, progress=False)
    state = read_state(StateFolder(tmp_path / "out" / "states").newest())
    after = state["training"]["networks"]
    stayed = {
        name
        for name, parameter in before.named_parameters()
        if torch.equal(after[name.split(".")[0]][name.partition(".")[2]], parameter)
    }
    motion = ("kp_detector.", "generator.dense_motion_network.")
    assert stayed == {name for name, _ in before.named_parameters() if not name.startswith(motion)}


def test_a_step_waits_for_a_gpu_once(data, waits):
    """Before the update: its optimizer cannot call one off by itself, and keeps its counts on the CPU."""
    model = FirstOrderMotionModel(small_config()).train()
    step, pairs = MotionStep(model, model.config), TruePairs(data, "train", (SIDE, SIDE))
    batch, transform = pairs.batch(torch.arange(2)), RandomTransform.sample(2)
    step(batch, transform)
    step.optimizer.step = lambda: None
    waits.clear()
    step(batch, transform)
    assert waits == ["tolist"]


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
    with pytest.raises(InputError, match="steps=0: give a whole number, at least 1"):
        pretrain(small_config(), data, tmp_path / "out", 0)
    with pytest.raises(InputError, match="its truth is 32x32, the motion of the config is 64x64"):
        pretrain("heads-128-motion", data, tmp_path / "out", 1, progress=False)
    with pytest.raises(InputError, match="no dense motion network; there is no motion to learn"):
        pretrain(small_config(dense_motion_params=None, estimate_occlusion_map=False), data, tmp_path / "out")
    few = small_config()
    few["model_params"]["common_params"]["num_kp"] = 3
    with pytest.raises(InputError, match="num_kp = 3: keypoint 6 is led to landmarks; have at least 7, or"):
        pretrain(few, data, tmp_path / "out", 1, progress=False)
    half = small_config()
    half["model_params"]["generator_params"]["dense_motion_params"]["scale_factor"] = 0.5
    with pytest.raises(InputError, match=r"truth is 32x32, the motion of the config is 16x16; change fr"):
        pretrain(half, data, tmp_path / "half", 1, progress=False)
    with pytest.raises(InputError, match=r"has no test/ in it; render it: fomm synthesize --truth 10"):
        pretrain(small_config(), data / "train", tmp_path / "out", 1, progress=False)
    assert not (tmp_path / "out").exists() and not (tmp_path / "half").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/losses.csv").write_text("step\r\n1\r\n")
    with pytest.raises(InputError, match="holds a training already"):
        pretrain(small_config(), data, tmp_path / "taken", 1)


def test_images_may_be_larger_than_the_motion(data, tmp_path):
    """As in heads-256-motion, at which detector and dense motion see more than they estimate."""
    config = small_config()
    config["dataset_params"]["frame_shape"] = [2 * SIDE, 2 * SIDE, 3]
    config["model_params"]["kp_detector_params"]["scale_factor"] = 0.5
    config["model_params"]["generator_params"]["dense_motion_params"]["scale_factor"] = 0.5
    config["model_params"]["extension_params"] = {"detail_features": 2}
    config["train_params"]["loss_weights"]["landmarks"] = 10
    assert motion_size(FirstOrderMotionModel(config)) == (SIDE, SIDE)
    pretrain(config, data, tmp_path / "out", 2, batch_size=2, log_every=1, progress=False)
    rows = table(tmp_path / "out/losses.csv")
    assert float(rows[0]["landmarks"]) > 0 and float(table(tmp_path / "out/errors.csv")[0]["epe"]) > 0
    pairs = TruePairs(data, "test", (2 * SIDE, 2 * SIDE), (SIDE, SIDE))
    batch = pairs.batch(torch.arange(2))
    assert batch.source.shape == (2, 3, 2 * SIDE, 2 * SIDE) and batch.flow.shape == (2, SIDE, SIDE, 2)


def test_no_keypoint_need_be_led(data, tmp_path):
    config = small_config()
    config["train_params"]["led_keypoints"] = []
    pretrain(config, data, tmp_path / "out", 1, batch_size=2, log_every=1, progress=False)
    assert table(tmp_path / "out/losses.csv")[0]["led"] == ""


def test_other_categories_than_heads_have_other_landmarks(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "animals")
    path = next((folder / "test").glob("*.truth.npz"))
    with np.load(path) as stored:
        np.savez(path, **{**stored, "landmarks": stored["landmarks"][:, :15]})
    with pytest.raises(InputError, match=r"shows no head; pretraining needs .* fomm train"):
        pretrain(small_config(), folder, tmp_path / "out", 1, progress=False)


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
    message = r"step (\d+): .* not finite; the batch is in (\S+)\. Try a lower lr, or float32"
    with pytest.raises(InputError, match=message) as error:
        pretrain(small_config(), data, tmp_path / "out", 20, batch_size=2, lr=float("inf"), progress=False)
    step, path = re.search(message, str(error.value)).groups()
    batch = torch.load(path, weights_only=True)
    assert batch["step"] == int(step) and batch["not_finite"]
    assert batch["source"].shape == batch["driving"].shape == (2, 3, SIDE, SIDE)
    assert batch["flow"].shape == (2, SIDE, SIDE, 2) and batch["theta"].shape == (2, 2, 3)


def test_the_verb(data, tmp_path, capsys):
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(small_config()))
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match="0"):
        main(["pretrain", "--config", str(config), "--data", str(data), "--out", str(out), "--steps", "2"])
    assert f"fomm train --init {out / 'weights.safetensors'}" in capsys.readouterr().out


# --- nothing is lost ----------------------------------------------------------------------------------------

OPTIONS = {"steps": 7, "batch_size": 2, "log_every": 1, "check_every": 2}


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that nothing happens to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    pretrain(small_config(), data, out, progress=False, **OPTIONS)
    return out


def rows_of(out):
    """All that a run wrote down, without the time it took."""
    rows = table(out / "losses.csv")
    for row in rows:
        del row["seconds"]
    return rows, table(out / "errors.csv")


def assert_same(out, whole):
    assert rows_of(out) == rows_of(whole)
    newest = [StateFolder(folder / "states").newest() for folder in (out, whole)]
    assert newest[0].name == newest[1].name == "step-0000007.pt"
    ours, theirs = (read_state(path) for path in newest)
    assert torch.equal(ours["transforms"], theirs["transforms"])
    for network, entries in theirs["training"]["networks"].items():
        for name, tensor in entries.items():
            assert torch.equal(ours["training"]["networks"][network][name], tensor), name
    for number, moments in theirs["training"]["optimizer"]["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(ours["training"]["optimizer"]["state"][number][name], tensor), name
    ours, theirs = (read_checkpoint(folder / "weights.safetensors").networks for folder in (out, whole))
    for network, entries in theirs.items():
        assert all(torch.equal(ours[network][name], tensor) for name, tensor in entries.items())


def test_killed_at_any_moment_and_resumed_computes_the_same(data, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the script does
    try:
        pretrain(small_config(), data, tmp_path / "whole", progress=False, **OPTIONS)
        out = tmp_path / "run"
        for kill in (["update", 5], ["save", 6]):
            process = run_script(
                "pretrain", config=small_config(), data=data, out=out, resume=True, kill=kill, **OPTIONS
            )
            _, errors = process.communicate(timeout=300)
            assert process.returncode == -signal.SIGKILL, errors
            assert list(StateFolder(out / "states").paths()) == [2, 4]
            assert len(table(out / "losses.csv")) == kill[1] - (kill[0] == "update")
        pretrain(small_config(), data, out, resume=True, progress=False, **OPTIONS)
    finally:
        torch.set_num_threads(threads)
    assert_same(out, tmp_path / "whole")


@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_finishes_the_step_saves_and_stops(data, whole, tmp_path, monkeypatch, number, ends):
    original, calls = MotionStep.__call__, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return original(self, *arguments)

    monkeypatch.setattr(MotionStep, "__call__", interrupted)
    with pytest.raises(ends):
        pretrain(small_config(), data, tmp_path / "run", progress=False, **OPTIONS)
    assert len(calls) == 3
    assert read_checkpoint(tmp_path / "run" / "weights.safetensors").notes["steps"] == "3"
    pretrain(small_config(), data, tmp_path / "run", resume=True, progress=False, **OPTIONS)
    assert rows_of(tmp_path / "run")[0] == rows_of(whole)[0]
    assert [row["step"] for row in table(tmp_path / "run" / "errors.csv")] == ["2", "3", "4", "6", "7"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_is_one_line_and_leaves_what_was_saved(data, whole, tmp_path, monkeypatch):
    import resource

    original, calls = MotionStep.__call__, []
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling(self, *arguments):
        calls.append(1)
        if len(calls) == 3:  # the state of step 2 is written; from now on files end after 20 kB
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        return original(self, *arguments)

    monkeypatch.setattr(MotionStep, "__call__", filling)
    try:
        with pytest.raises(InputError) as error:
            pretrain(small_config(), data, tmp_path / "run", progress=False, **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    pattern = r"run/\S+: could not be written \(.+\); all that was saved before is whole"
    assert re.search(pattern, str(error.value)) and "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "run" / "states").iterdir()] == ["step-0000002.pt"]
    assert not list((tmp_path / "run").glob(".*"))  # nor anything half written
    pretrain(small_config(), data, tmp_path / "run", resume=True, progress=False, **OPTIONS)
    assert_same(tmp_path / "run", whole)


def test_resuming_where_nothing_is_begins_and_where_all_is_done_changes_nothing(data, tmp_path):
    options = {**OPTIONS, "steps": 2, "resume": True, "progress": False}
    weights = pretrain(small_config(), data, tmp_path / "run", **options)
    before = rows_of(tmp_path / "run"), read_checkpoint(weights).networks
    pretrain(small_config(), data, tmp_path / "run", **options)
    assert rows_of(tmp_path / "run") == before[0]
    weights.unlink()  # as if killed before they were written
    pretrain(small_config(), data, tmp_path / "run", **options)
    for network, entries in read_checkpoint(weights).networks.items():
        assert all(torch.equal(before[1][network][name], tensor) for name, tensor in entries.items())


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    """A finished run of one step."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    pretrain(small_config(), data, out, 1, batch_size=2, progress=False)
    return out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, r"the training began with seed 0, not 1"),
        ({"batch_size": 3}, r"batch_size = 3: the training began with 2; go on with that"),
        ({"steps": 2}, r"steps = 2: the training began with 1; go on with that"),
        ({"config": small_config(block_expansion=8)}, r"block_expansion = 8: the training began with 4"),
        ({"resume": False}, r"holds a training already; .* or go on with it: resume \(--resume\)"),
    ],
)
def test_what_does_not_fit_a_state_is_refused(data, stopped, options, message):
    options = {"config": small_config(), "steps": 1, "batch_size": 2, "resume": True, **options}
    with pytest.raises(InputError, match=message):
        pretrain(data=data, out=stopped, progress=False, **options)


def test_other_data_and_states_of_train_are_refused(data, stopped, tmp_path):
    config, options = small_config(), {"batch_size": 2, "resume": True, "progress": False}
    rng = np.random.default_rng(1)
    for split in ("train", "test"):
        write_clip(tmp_path / "other" / split, 0, [tuple(rng.integers(2, 18, 2).tolist()) for _ in range(4)])
    with pytest.raises(InputError, match=r"an epoch had 18 pairs, now it has 3: the data have changed"):
        pretrain(config, tmp_path / "other", stopped, 1, **options)
    state = read_state(stopped / "states" / "step-0000001.pt")
    StateFolder(tmp_path / "trained" / "states").write(1, {**state, "verb": "train"})
    with pytest.raises(InputError, match=r"step-0000001.pt: is a state of fomm train; go on with that"):
        pretrain(config, data, tmp_path / "trained", 1, **options)


def test_the_learning_rate_may_change_and_it_is_said(data, stopped, capsys):
    pretrain(small_config(), data, stopped, 1, batch_size=2, lr=1e-4, resume=True, progress=False)
    assert "lr: 0.0005 until step 1, 0.0001 from now on" in capsys.readouterr().out


def test_weights_without_a_state_cannot_be_resumed(data, tmp_path):
    pretrain(small_config(), data, tmp_path / "run", 1, batch_size=2, progress=False)
    (tmp_path / "run" / "states" / "step-0000001.pt").unlink()
    with pytest.raises(InputError, match="or start from its weights: init"):
        pretrain(small_config(), data, tmp_path / "run", 1, batch_size=2, resume=True, progress=False)


def test_the_verb_resumes(data, tmp_path):
    config, out = tmp_path / "small.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(small_config()))
    arguments = ["pretrain", "--config", config, "--data", data, "--out", out, "--steps", 2, "--resume"]
    for _ in range(2):
        with pytest.raises(SystemExit, match="0"):
            main([str(argument) for argument in arguments])
