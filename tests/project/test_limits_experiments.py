"""The experiments of notebook 14: what spoils a pair, styles filtered and real, what detectors count."""

import bz2
import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

from experiments import detector, known_pairs, limits, real_images, stability
from fomm_lib.data.tables import read_cells
from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from fomm_lib.media.encoding import VideoWriter
from fomm_lib.media.squares import SQUARE_PER_FACE
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import read_image
from fomm_lib.training.step import TrainingStep

needs_heads = pytest.mark.skipif(
    importlib.util.find_spec("anny") is None or importlib.util.find_spec("moderngl") is None,
    reason="needs the extra: pip install 'fomm-lib[synthetic]'",
)


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (128, 128, 3), dtype=np.uint8)


# --- what spoils a pair -------------------------------------------------------------------------------------


def test_a_bar_covers_its_share_of_the_face_and_only_later():
    grey = [np.full((128, 128, 3), 255, np.uint8)] * 16
    covered = known_pairs.with_bar(np.random.default_rng(0), grey, share=0.4)
    assert np.array_equal(covered[0], grey[0])
    bar = (covered[-1] != 255).any(axis=-1)
    assert bar.sum(axis=0)[20:108] == pytest.approx(0.4 / SQUARE_PER_FACE * 128, abs=2)


def test_darkness_and_blur_do_what_they_say():
    rng = np.random.default_rng(0)
    (dark,), (soft,) = known_pairs.darkened(rng, [image()]), known_pairs.blurred(rng, [image()])
    assert dark.max() < 60
    assert soft.std() < 0.3 * image().std() and soft.mean() == pytest.approx(image().mean(), abs=2)


@pytest.mark.parametrize("seed", range(6))
def test_another_category_moves_and_is_the_same_again(seed):
    driven, again = (known_pairs.other_category(np.random.default_rng(seed)) for _ in range(2))
    assert len(driven) == known_pairs.FRAMES and all(map(np.array_equal, driven, again))
    assert (driven[0] != driven[-1]).mean() > 0.02


@needs_heads
@pytest.mark.needs_system
def test_a_clean_pair_has_a_true_result_and_a_turned_one_another_pose():
    clean = known_pairs.make_pair(3, 0)
    assert clean.portrait.shape == (128, 128, 3) and len(clean.driving) == known_pairs.FRAMES
    assert len(clean.truth) == 1 + len(known_pairs.MEASURED)
    moving, _ = known_pairs.driver(3, 0)
    far = known_pairs.make_pair(3, 0, "pose")
    yaw = [clip.head_pose(0).yaw_pitch_roll[0] for clip in (moving, clean.truth, far.truth)]
    assert abs(yaw[1] - yaw[0]) < 12 and abs(yaw[2] - yaw[0]) > 25
    points = clean.truth.landmarks(0)
    side = float((points.max(dim=0).values - points.min(dim=0).values).max()) / 2
    assert 0.85 < side * SQUARE_PER_FACE < 1.15


# --- styles and regions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", limits.STYLES.values(), ids=limits.STYLES)
def test_a_style_keeps_size_and_type(change):
    changed = change(image())
    assert changed.shape == (128, 128, 3) and changed.dtype == np.uint8


def test_a_drawing_is_white_where_nothing_is_and_a_statue_has_one_colour():
    flat = np.full((128, 128, 3), (200, 90, 40), np.uint8)
    assert limits.drawing(flat).min() > 200
    statue = limits.statue(image()).astype(float)
    assert np.allclose(statue[..., 0] / 0.97, statue[..., 2] / 0.9, atol=2)
    assert len(np.unique(limits.cartoon(image()))) <= 5


# --- real images --------------------------------------------------------------------------------------------


def test_the_real_images_are_small_squares_and_the_table_has_them_all():
    files = {path.stem: path for path in data_path("limits", "real").iterdir()}
    assert set(files) == set(real_images.SOURCES)
    for path in files.values():
        assert path.stat().st_size < 60_000 and read_image(path).shape == (256, 256, 3)
    rows = [row for _, row in read_cells(data_path("limits", "real.csv"), "results")]
    assert list(rows[0]) == real_images.HEADER
    assert {row["image"] for row in rows} == {*files, real_images.PHOTOGRAPH}
    assert len(rows) == len({(row["image"], row["driver"]) for row in rows}) == 4 * (len(files) + 1)


def test_the_images_are_cut_from_the_files_of_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(real_images, "SIZE_OF_RAW", (40, 60, 3))
    sources = {"painting": ("a.png", (5, 10, 20)), "raw": ("face.dat", (20, 0, 40))}
    monkeypatch.setattr(real_images, "SOURCES", sources)
    package = tmp_path / "usr" / "share"
    package.mkdir(parents=True)
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[10:30, 5:25] = 200
    Image.fromarray(picture).save(package / "a.png")
    with pytest.raises(InputError, match=r"has no file face\.dat"):
        real_images.cut_all(tmp_path, tmp_path / "out")
    (package / "face.dat").write_bytes(bz2.compress(np.full((40, 60, 3), 90, np.uint8).tobytes()))
    real_images.main(["cut", str(tmp_path), "--out", str(tmp_path)])
    for name, value in (("painting", 200), ("raw", 90)):
        made = read_image(tmp_path / "real" / f"{name}.jpg")
        assert made.shape == (256, 256, 3) and np.abs(made.astype(int) - value).max() <= 2


def test_numbers_of_an_image_that_follows_and_of_one_that_stands_still():
    moving = np.random.default_rng(0).normal(size=(1, 5, 2)) + np.arange(4.0)[:, None, None]
    assert real_images.displaced(moving + 7, moving) == pytest.approx(0)
    assert real_images.displaced(np.repeat(moving[:1], 4, axis=0), moving) == pytest.approx(2)
    assert np.isnan(real_images.displaced(np.full_like(moving, np.nan), moving))
    assert real_images.cell(float("nan")) == "" and real_images.cell(1.23456) == "1.23"
    picture = to_tensor(image())
    assert real_images.sharpness(picture, picture) == pytest.approx(1)
    assert real_images.sharpness(picture / 2, picture) == pytest.approx(0.25)


def test_a_table_of_real_images(monkeypatch):
    pytest.importorskip("dlib", reason="needs the extra: pip install 'fomm-lib[faces]'")
    frames = real_images.drivers()["driving"][:3]
    portraits = {"photograph": read_image(data_path("portrait.jpg")), "noise": image()}
    header, face, noise = real_images.table(portraits, {"clip": frames}, "heads-64-small")
    face, noise = (dict(zip(header, row, strict=True)) for row in (face, noise))
    assert (face["face"], face["faces"], noise["face"]) == ("1", "1", "0")
    assert float(face["movement"]) >= 0 and float(face["aed"]) > 0 and noise["aed"] == ""
    assert float(noise["keypoints"]) > 0 and "face" in noise["check"]
    sheet = real_images.sheet(portraits, "heads-64-small")
    assert sheet.shape == (len(real_images.SHOWN) * real_images.TILE, 3 * real_images.TILE, 3)


# --- detectors ----------------------------------------------------------------------------------------------


def test_rows_of_a_detector():
    real, fake = np.array([-2.0, -1.0, -1.0, 3.0]), np.array([1.0, 2.0, -3.0, 4.0])
    accuracy, found, false_alarms, auc = map(float, detector.row(real, fake))
    assert (accuracy, found, false_alarms) == (0.75, 0.75, 0.25)
    assert auc == pytest.approx(np.mean(fake[:, None] > real), abs=1e-3)
    assert detector.row(real, real)[0] == "0.500"


def test_the_spectrum_says_at_which_frequency_the_power_is():
    x = torch.arange(128) * 2 * np.pi / 128
    waves = torch.stack([(0.5 + 0.4 * torch.cos(f * x)).expand(3, 128, 128) for f in (5, 40)])
    peaks = detector.spectrum(waves).argmax(dim=1).tolist()
    assert peaks == [5 * detector.BINS // 64, 40 * detector.BINS // 64]


def test_detectors_learn_what_separates_and_not_what_does_not():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2, 8, detector.FRAMES, 3, 128, 128, generator=generator)
    smooth = torch.stack([detector.smaller(video) for video in noise[1]])
    for train in (detector.train_spectrum, lambda *both: detector.train_cnn(*both, seed=0, steps=30)):
        found = train(noise[0], smooth)
        accuracy = float(detector.row(detector.scores(found, noise[0]), detector.scores(found, smooth))[0])
        assert accuracy == 1.0
    alike = detector.train_spectrum(noise[0], noise[1])
    fresh = torch.rand(2, 8, detector.FRAMES, 3, 128, 128, generator=generator)
    assert float(detector.row(*(detector.scores(alike, some) for some in fresh))[0]) < 0.8


def write_people(folder, count, frames=40):
    """Clips of noise that moves to the right, each another."""
    folder.mkdir()
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (8, 12, 3), dtype=np.uint8)
        picture = noise.repeat(8, axis=0).repeat(8, axis=1)
        with VideoWriter(folder / f"person{number}.mp4", 10, (96, 64), crf=20) as writer:
            for k in range(frames):
                writer.write(np.ascontiguousarray(np.roll(picture, k, axis=1)))


def test_recorded_people_are_counted_once_and_have_enough_frames(tmp_path, capsys):
    write_people(tmp_path / "few", 3)
    with pytest.raises(InputError, match="two halves need four people"):
        detector.people_of(tmp_path / "few")
    with pytest.raises(SystemExit):  # before any video of training is made
        detector.main([f"--work={tmp_path / 'work'}", f"--clips={tmp_path / 'few'}"])
    assert capsys.readouterr().err.endswith("two halves need four people at least\n")
    assert not (tmp_path / "work").exists()
    write_people(tmp_path / "short", 4)
    with pytest.raises(InputError, match=r"person0\.mp4: has 40 frames; at least 52"):
        detector.people_of(tmp_path / "short")
    write_people(tmp_path / "people", 4, 52)
    (tmp_path / "people" / "person0.webm").write_bytes((tmp_path / "people" / "person0.mp4").read_bytes())
    assert len(detector.people_of(tmp_path / "people")) == 4


def test_detectors_are_tested_on_recorded_people_whom_they_have_not_seen(tmp_path, monkeypatch):
    write_people(tmp_path / "people", 5)
    monkeypatch.setattr(detector, "STARTS", (0, 7))
    monkeypatch.setattr(detector, "SEEDS", range(1))
    monkeypatch.setattr(detector, "OURS", "heads-64-small")
    monkeypatch.setattr(detector, "DEFAULT_WEIGHTS", "bodies-64")
    noise = torch.rand(2, 4, detector.FRAMES, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    at_home = {"untouched": noise[0], "heads-64-small": noise[1] / 2}
    monkeypatch.setattr(detector, "collect", lambda work, split: at_home)
    seen, train_cnn = [], detector.train_cnn

    def few_steps(real, fake, seed):
        seen.append((len(real), len(fake)))
        return train_cnn(real, fake, seed, steps=2)

    monkeypatch.setattr(detector, "train_cnn", few_steps)
    detector.main([f"--work={tmp_path}", f"--clips={tmp_path / 'people'}", f"--out={tmp_path}"])
    rows = [row for _, row in read_cells(tmp_path / "detector_recorded.csv", "results")]
    assert seen == [(4, 4), *[(4, 4), (6, 6)] * 2]  # at home; then two and three people, two videos each
    assert len(rows) == 2 * 3 * (2 + 2 * 2)
    rendered = [row for row in rows if row["trained_on"] == "rendered"]
    assert {row["half"] for row in rendered} == {"all"} and len(rendered) == 12
    assert {row["videos"] for row in rows} == {"as they are", "encoded again", "half size and back"}
    assert all(0 <= float(row[key]) <= 1 for row in rows for key in ("accuracy", "auc"))
    assert not (tmp_path / "recorded.mp4").exists()


# --- stability ----------------------------------------------------------------------------------------------


def test_every_variant_is_a_config_and_one_has_another_penalty():
    from fomm_lib.config import load_config

    for name, changes in stability.VARIANTS.items():
        params = load_config(stability.configured(changes, 0.01)).train_params
        assert params.lr_generator == 0.01, name
    falling = load_config(stability.configured(stability.VARIANTS["falling rate"], 0.01)).train_params
    assert falling.epoch_milestones == [9] and falling.num_repeats == 1
    assert issubclass(stability.PenaltyBetween, TrainingStep)


def test_the_penalty_between_images_wants_slope_one():
    class Linear:
        def __init__(self, slope):
            self.slope = slope

        def __call__(self, images, kp):
            return None, self.slope * images.flatten(1).sum(1) / images[0].numel() ** 0.5

    for slope, penalty in ((1.0, 0.0), (3.0, 4.0)):
        step = object.__new__(stability.PenaltyBetween)
        networks = torch.nn.Module()
        networks.scales, networks.discs = [1], {"1": Linear(slope)}
        step.discriminator = networks
        step.generated = {1: torch.rand(2, 3, 8, 8)}
        assert float(step.slope_at_real({1: torch.rand(2, 3, 8, 8)}, None)) == pytest.approx(
            penalty, abs=1e-4
        )
