"""Files of true motion, and pairs of frames with their truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fomm_lib.data.clips import find_clips
from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from fomm_lib.geometry import coordinate_grid, to_pixels, warp
from fomm_lib.synthetic.clip import SyntheticClip, TrueMotion
from fomm_lib.synthetic.folder import synthesize
from fomm_lib.synthetic.truth import TruePair, downsample_pair, read_true_pairs, read_truth, true_clip
from tests.support.paths import ROOT

DATA = ROOT / "data"


@pytest.fixture(scope="module")
def pairs():
    return read_true_pairs()


@pytest.mark.needs_system
def test_the_truth_beside_a_clip_is_that_of_the_clip(drawing, tmp_path):
    (path,) = synthesize(tmp_path, 1, frames=5, size=96, seed=3, first=2, fps=4, truth=3, progress=False)
    truth = read_truth(path)
    assert truth.pairs.shape == (3, 2) and (truth.pairs[:, 0] != truth.pairs[:, 1]).all()
    assert truth.flow.shape == (3, 64, 64, 2) and truth.landmarks.shape == (5, 68, 2)
    clip = SyntheticClip(3, 2, 5, 64, 4)
    for k, (source, driving) in enumerate(truth.pairs):
        motion = clip.true_motion(int(source), int(driving))
        assert np.abs(truth.flow[k] - motion.flow.numpy()).max() < 2e-3  # half precision
        assert (truth.visible[k] == motion.visible.numpy()).all()
        assert (truth.surface[k] == motion.surface.numpy()).all()
    assert np.abs(truth.landmarks[4] - clip.landmarks(4).numpy()).max() < 1e-6
    assert len(find_clips(tmp_path)) == 1
    with pytest.raises(InputError, match="holds clips made with truth=3, not None"):
        synthesize(tmp_path, 1, frames=5, size=96, seed=3, first=2, fps=4, progress=False)
    with pytest.raises(InputError, match="a motion is between two frames"):
        synthesize(tmp_path / "other", 1, frames=1, truth=1)


@pytest.mark.needs_system
def test_the_committed_truth_is_what_the_code_gives(drawing):
    files = sorted((DATA / "heads" / "truth").glob("*.npz"))
    assert len(files) >= 4
    settings = json.loads((DATA / "heads" / "test" / "synthetic.json").read_text())
    for path in files[:2]:
        known = np.load(path)
        number = int(path.stem.split("-")[1])
        clip = SyntheticClip(settings["seed"], number, settings["frames"], settings["size"], settings["fps"])
        truth = clip.true_motion(int(known["source"]), int(known["driving"]))
        assert (truth.surface.numpy() == known["surface"]).mean() > 0.995
        assert (truth.visible.numpy() == known["visible"]).mean() > 0.995
        both = truth.surface.numpy() & known["surface"]
        assert np.median(np.abs(truth.flow.numpy() - known["flow"])[both]) < 1e-3
        landmarks = np.stack([clip.landmarks(int(known[k])).numpy() for k in ("source", "driving")])
        assert np.abs(landmarks - known["landmarks"]).max() < 1e-3


def test_the_committed_truth_warps_the_committed_frames():
    ratios = []
    for path in sorted((DATA / "heads" / "truth").glob("*.npz")):
        known = np.load(path)
        clip = next(c for c in find_clips(DATA / "heads", "test") if c.name == str(known["clip"]))
        frames = clip.read([int(known["source"]), int(known["driving"])])
        source, driving = (torch.from_numpy(np.array(f)).permute(2, 0, 1)[None] / 255 for f in frames)
        flow = torch.from_numpy(known["flow"].astype(np.float32))[None]
        visible = torch.from_numpy(known["visible"])
        warped = (warp(source, flow) - driving).abs().mean(1)[0][visible].mean()
        unwarped = (source - driving).abs().mean(1)[0][visible].mean()
        assert known["landmarks"].shape == (2, 68, 2) and known["rotation"].shape == (2, 3, 3)
        ratios.append(float(warped / unwarped))
    # The light changes as a head turns, and grain does not move along: the rest of the difference.
    assert len(ratios) == 6 and max(ratios) < 0.8 and np.mean(ratios) < 0.6


def test_half_the_size_is_the_same_motion(pairs):
    pair = pairs[0]
    half = downsample_pair(pair)
    assert half.source.shape == (3, 64, 64) and half.motion.flow.shape == (64, 64, 2)
    # Four displacements to their mean: nothing else happens to them.
    moved = to_pixels(pair.motion.flow, 128, 128) - to_pixels(coordinate_grid(128, 128), 128, 128)
    mean = F.avg_pool2d(moved.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0) / 2
    small = to_pixels(half.motion.flow, 64, 64) - to_pixels(coordinate_grid(64, 64), 64, 64)
    assert torch.allclose(small, mean, atol=1e-4)
    assert set(half.motion.visible.unique().tolist()) <= {0, 0.25, 0.5, 0.75, 1}
    assert half.motion.surface.mean() == pytest.approx(pair.motion.surface.float().mean().item())
    odd = TruePair("x", *torch.rand(2, 3, 5, 4), TrueMotion(torch.rand(5, 4, 2), *torch.ones(2, 5, 4)), None)
    with pytest.raises(InputError, match="x: 5x4 cannot be halved; give even sides"):
        downsample_pair(odd)


def test_clips_without_a_known_truth(tmp_path):
    with pytest.raises(InputError, match="only clips that `fomm synthesize` made have a known truth"):
        true_clip(data_path("driving.mp4"))
    (tmp_path / "synthetic.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match="only clips that"):
        true_clip(tmp_path / "anna.mp4")
    with pytest.raises(InputError, match=r"no \.npz with the truth"):
        read_true_pairs(tmp_path)
