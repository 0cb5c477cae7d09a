"""Truth about motion: closed forms, a made-up model that knows the answer, and rendered heads."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fomm_lib.checkpoints import write_weights
from fomm_lib.errors import InputError
from fomm_lib.evaluation import true_motion
from fomm_lib.evaluation.true_motion import (
    average_precision,
    end_point_error,
    evaluate_motion,
    expression_errors,
    intersection_over_union,
    keypoint_spread,
    landmarks_followed,
    motion_scores,
    uncovered_true_error,
)
from fomm_lib.geometry import coordinate_grid, warp
from fomm_lib.keypoints import Keypoints
from fomm_lib.synthetic.truth import read_true_pairs, true_clip
from tests.support.small_model import small_model

GRID = coordinate_grid(16, 16)
ALL = torch.ones(16, 16, dtype=torch.bool)


@pytest.fixture(scope="module")
def pairs():
    return read_true_pairs()


# --- closed forms -------------------------------------------------------------------------------------------


def test_end_point_error_of_a_known_shift():
    assert end_point_error(GRID, GRID, ALL) == 0
    shifted = GRID + torch.tensor([3.0, 4.0]) / 128
    assert end_point_error(shifted, GRID, ALL) == pytest.approx(5)
    half = ALL.clone()
    half[:8] = False
    mixed = torch.where(half[..., None], shifted, GRID)
    assert end_point_error(mixed, GRID, half) == pytest.approx(5)
    assert end_point_error(mixed, GRID, ~half) == 0
    assert np.isnan(end_point_error(GRID, GRID, ~ALL))


def test_the_error_of_uncovered_background_is_that_of_its_pixels(pairs):
    pair = pairs[0]
    hidden = ~pair.motion.visible & ~pair.motion.surface
    by_hand = (pair.source - pair.driving).abs().mean(dim=0)[hidden].mean().item()
    assert hidden.float().mean() > 0.002
    assert uncovered_true_error(None, [pair]) == pytest.approx(by_hand, rel=1e-5)

    class Painter(nn.Module):
        size, device = tuple(pair.source.shape[1:]), torch.device("cpu")

        def forward(self, source, driving):
            return SimpleNamespace(prediction=torch.where(hidden, driving, 1 - driving))

    assert uncovered_true_error(Painter(), [pair]) == pytest.approx(0, abs=1e-6)  # the rest does not count
    still = SimpleNamespace(visible=torch.ones_like(hidden), surface=pair.motion.surface)
    nothing = SimpleNamespace(source=pair.source, driving=pair.driving, motion=still)
    assert np.isnan(uncovered_true_error(None, [nothing]))


def test_iou_and_average_precision():
    true = torch.zeros(100, dtype=torch.bool)
    true[:20] = True
    shifted = true.roll(10)
    assert intersection_over_union(true, true) == 1 and intersection_over_union(true, ~true) == 0
    assert intersection_over_union(shifted, true) == pytest.approx(10 / 30)
    assert np.isnan(intersection_over_union(true & ~true, true & ~true))
    assert average_precision(true.float(), true) == 1
    assert average_precision(torch.full((100,), 0.3), true) == pytest.approx(0.2)
    assert np.isnan(average_precision(torch.rand(100), true & ~true))


def test_expression_is_what_the_head_does_not_explain():
    torch.manual_seed(0)
    source = 0.6 * torch.rand(1, 68, 2) - 0.3
    turned = GRID[None] + torch.tensor([0.2, -0.1])
    still = expression_errors(turned, turned, source, source - torch.tensor([0.2, -0.1]))
    assert still.shape == (42, 2) and still.abs().max() < 1e-5
    # A mouth twice as high in the driving frame, and a flow that knows nothing of it.
    driving = source.clone()
    middle = source[:, 48:, 1].mean()
    driving[:, 48:, 1] = middle + 2 * (source[:, 48:, 1] - middle)
    errors = expression_errors(GRID[None], GRID[None], source, driving)
    near = (driving - source)[0].norm(dim=-1) < 0.12
    mouth = (driving - source)[0, 48:][near[48:]]
    assert errors[:22].abs().max() < 1e-5
    assert torch.allclose(errors[22:], mouth - mouth.mean(0), atol=1e-5)


def test_average_precision_by_hand():
    """The mean over true ones of the precision down to each."""
    generator = torch.Generator().manual_seed(0)
    score, true = torch.rand(200, generator=generator), torch.rand(200, generator=generator) < 0.3
    ranked = true[score.argsort(descending=True)].double()
    precision = ranked.cumsum(0) / torch.arange(1, 201)
    assert average_precision(score, true) == pytest.approx(
        float((precision * ranked).sum() / ranked.sum()), abs=1e-5
    )


def wandering_places(shifts, side=33):
    """A person of 12 x 12 pixels that moves to the right, each pixel a place in dm; the last is the part."""
    places = torch.zeros(len(shifts), side, side, 4)
    for t, shift in enumerate(shifts):
        rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
        person = torch.stack([columns / 10, rows / 10, 0 * rows, 0 * rows + 1], -1)
        places[t, 8:20, 4 + shift : 16 + shift] = person
    return places


def test_a_glued_keypoint_has_no_spread_and_a_nailed_one_slides():
    shifts = [0, 2, 4, 6]
    places = wandering_places(shifts)
    glued = torch.tensor([[2 * (10 + s) / 32 - 1, 2 * 14 / 32 - 1] for s in shifts])
    nailed = glued[:1].expand(4, 2)
    outside = torch.full((4, 2), -0.99)
    left = torch.full((4, 2), 7.0)  # outside the image
    spread, share = keypoint_spread(torch.stack([glued, nailed, outside, left], dim=1), places)
    assert spread[0] == pytest.approx(0, abs=1e-6)
    # It slides by 0, 2, 4, 6 places of a tenth of a dm, which is 10 mm.
    assert spread[1] == pytest.approx(np.std([0, 20, 40, 60]))
    assert spread[2:].isnan().all() and share.tolist() == [1, 1, 0, 0]


def test_only_frames_on_the_person_count():
    places = wandering_places([0, 0, 0])
    points = torch.tensor([[10.0, 14.0], [12.0, 14.0], [30.0, 30.0]]) * 2 / 32 - 1
    spread, share = keypoint_spread(points[:, None], places)
    assert spread[0] == pytest.approx(10) and share[0] == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="keypoints of 3 frames, but places of 2"):
        keypoint_spread(points[:, None], places[:2])


# --- models on true pairs -----------------------------------------------------------------------------------


class Oracle(nn.Module):
    """Knows the flow and the occlusion of one pair."""

    size, device = (64, 64), torch.device("cpu")

    def __init__(self, flow, occlusion):
        super().__init__()
        self.flow, self.occlusion = nn.Parameter(flow, requires_grad=False), occlusion

    def detect(self, image):
        return Keypoints(torch.zeros(1, 1, 2), torch.eye(2).expand(1, 1, 2, 2))

    def dense_motion(self, source, kp_source, kp_driving):
        assert source.shape == (1, 3, 64, 64)
        return SimpleNamespace(deformation=self.flow[None], occlusion=self.occlusion)


def test_the_truth_of_the_course_is_consistent(pairs):
    """Warped by the true flow, the source looks like the driving frame where it is visible, and better than
    unmoved."""
    assert len(pairs) == 6
    for pair in pairs:
        warped = warp(pair.source[None], pair.motion.flow[None])[0]
        mask = pair.motion.visible & pair.motion.surface
        moved, still = ((p - pair.driving).abs().mean(0)[mask].mean() for p in (warped, pair.source))
        assert moved < 0.7 * still


def test_landmarks_that_follow():
    driving = torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.0, 0.05], [0.95, 0.0]])
    moved = torch.tensor([[0.3, 0.0], [0.0, 0.3], [0.01, 0.0], [0.3, 0.0]])
    landmarks = torch.stack([driving + moved, driving])
    still = torch.tensor([[0.0, 0.1], [0.5, 0.4]]).expand(2, 2, 2)
    # The third hardly moves, the fourth leaves the image.
    assert torch.equal(landmarks_followed(still, landmarks).isnan(), torch.tensor([False, False, True, True]))
    assert landmarks_followed(still, landmarks)[:2].tolist() == [0, 0]
    keypoints = torch.stack([still[0] + torch.tensor([0.2, 0.0]), still[1]])
    assert landmarks_followed(keypoints, landmarks)[:2].tolist() == [1, 0]
    assert landmarks_followed(keypoints, landmarks, near=0.05)[:2].tolist() == [0, 0]
    # A keypoint that moves just as the landmark does, and one with half its motion as the error.
    exact = torch.stack([still[1] + moved[:2], still[1]])
    assert landmarks_followed(exact, landmarks)[:2].tolist() == [1, 1]
    assert landmarks_followed(torch.stack([still[1] + 0.49 * moved[:2], still[1]]), landmarks)[0] == 0


def test_other_subjects_than_heads_have_no_expression(pairs):
    pair = replace(pairs[0], landmarks=pairs[0].landmarks[:, :15])
    (found,) = motion_scores(None, [pair])
    assert np.isnan(found["expression"]) and found["epe"] == motion_scores(None, pairs[:1])[0]["epe"]


def test_a_model_that_knows_and_one_that_does_nothing(pairs):
    nothing = motion_scores(None, pairs)
    for pair, still in zip(pairs, nothing, strict=True):
        visible = pair.motion.visible.float()
        moved = (pair.motion.flow - coordinate_grid(128, 128)).norm(dim=-1) * 128
        assert still["epe"] == pytest.approx(float((moved * visible).sum() / visible.sum()), rel=1e-4)
        assert still["occlusion_iou"] == 0 and still["occlusion_ap"] == pytest.approx(
            still["hidden"], abs=1e-4
        )

        knows = Oracle(pair.motion.flow, visible[None, None])
        (found,) = motion_scores(knows, [pair])
        assert found["epe"] == found["epe_person"] == 0
        assert found["occlusion_iou"] == found["occlusion_iou_matched"] == 1
        assert found["occlusion_ap"] == pytest.approx(1)
        # A quarter of the resolution: the edges suffer, hardly anything else.
        coarse = F.interpolate(pair.motion.flow.permute(2, 0, 1)[None], size=32, mode="bilinear")[0]
        (found,) = motion_scores(Oracle(coarse.permute(1, 2, 0), None), [pair])
        assert 0 < found["epe"] < 0.5 * still["epe"] and np.isnan(found["occlusion_ap"])
        # The wrong way round.
        (found,) = motion_scores(Oracle(2 * coordinate_grid(128, 128) - pair.motion.flow, None), [pair])
        assert found["epe"] == pytest.approx(2 * still["epe"], rel=1e-4)


def test_without_jacobians_a_model_moves_otherwise(pairs):
    model = small_model()
    first = motion_scores(model, pairs[:2])
    zeroth = motion_scores(model, pairs[:2], jacobians=False)
    assert all(np.isfinite(row["epe"]) for row in first + zeroth)
    assert first[0]["epe"] != zeroth[0]["epe"] and first[0]["hidden"] == zeroth[0]["hidden"]


def test_the_shipped_model_beats_standing_still(pairs):
    from fomm_lib.model import load_model

    model = load_model("heads-64", device="cpu")
    found, nothing = motion_scores(model, pairs), motion_scores(None, pairs)

    def mean(rows, name):
        return np.mean([row[name] for row in rows])

    assert mean(found, "epe_person") < 0.7 * mean(nothing, "epe_person")
    assert mean(found, "occlusion_ap") > 2 * mean(nothing, "occlusion_ap")


# --- rendered -----------------------------------------------------------------------------------------------


@pytest.mark.needs_system
def test_the_table_of_rendered_heads(tmp_path):
    pytest.importorskip("anny", reason="needs the extra: pip install 'fomm-lib[synthetic]'")
    pytest.importorskip("moderngl", reason="needs the extra: pip install 'fomm-lib[synthetic]'")
    from fomm_lib.synthetic.folder import synthesize

    try:
        synthesize(
            tmp_path / "heads", clips=2, frames=6, size=64, seed=8, fps=2, format="png", progress=False
        )
    except InputError as error:
        pytest.skip(f"needs EGL: {error}")
    model = small_model()
    networks = {"kp_detector": model.kp_detector.state_dict(), "generator": model.generator.state_dict()}
    write_weights(tmp_path / "small.safetensors", networks, model.config)
    report = evaluate_motion(
        [tmp_path / "small.safetensors"], tmp_path / "heads", driving=(2, 5), progress=False
    )
    assert report.methods == ["no motion", "small", "small, no Jacobians"] and report.pairs == 4
    assert (report.videos["no motion"]["epe_person"] > 1).all()
    assert np.array_equal(
        report.videos["small"]["keypoint_spread"], report.videos["small, no Jacobians"]["keypoint_spread"]
    )
    assert report.markdown().startswith("|  | EPE ↓ | EPE, person ↓ |")

    # A video that the number does not show any more.
    other = tmp_path / "heads" / "synth8-00000#00000#0#6"
    shutil.rmtree(other)
    shutil.copytree(tmp_path / "heads" / "synth8-00001#00001#0#6", other)
    with pytest.raises(InputError, match="it was made by another version, render it anew"):
        true_clip(other)


# --- bad input ----------------------------------------------------------------------------------------------


def test_every_metric_is_reported(pairs):
    assert list(motion_scores(None, pairs[:1])[0]) == list(true_motion.MOTION_METRICS)[:7]
