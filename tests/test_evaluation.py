"""Evaluations of a model that runs in milliseconds, with a reader of faces that reads the brightness."""

from __future__ import annotations

import csv

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from small_model import small_model

from fomm_lib import cli, evaluation, evaluation_report
from fomm_lib.checkpoints import write_weights
from fomm_lib.datasets import to_tensor
from fomm_lib.evaluation import compare_pictures, compare_videos, evaluate, evaluate_to_files
from fomm_lib.evaluation_page import picture_page, write_picture_page
from fomm_lib.evaluation_report import REAL, REPEATED, read_report
from fomm_lib.face_metrics import Faces
from fomm_lib.files import InputError, data_path
from fomm_lib.protocols import Protocol, Task, make_protocol
from fomm_lib.video import VideoWriter

SIDE = 48


def clip_of(folder, name, seed, frames=6):
    """A folder of pictures: a bright square wanders over a smooth ground."""
    rng = np.random.default_rng(seed)
    ground = np.linspace(rng.uniform(20, 80), rng.uniform(100, 160), SIDE)[None, :, None] * np.ones(
        (SIDE, 1, 3)
    )
    (folder / name).mkdir(parents=True)
    for t in range(frames):
        frame = ground.copy()
        frame[10 + 3 * t : 26 + 3 * t, 8 + seed : 26 + seed] = [230, 200, 40 * seed]
        Image.fromarray(frame.astype(np.uint8)).save(folder / name / f"{t:03d}.png")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for seed in (0, 5):
        model = small_model(seed=seed)
        networks = {"kp_detector": model.kp_detector.state_dict(), "generator": model.generator.state_dict()}
        write_weights(folder / f"model-{seed}.safetensors", networks, model.config)
    return [folder / "model-0.safetensors", folder / "model-5.safetensors"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("anna#1", "ben#1", "cleo#1")):
        clip_of(folder, name, seed)
    return folder


def read_brightness(pictures):
    """All 68 landmarks where the brightness is, the identity its colour; no face in a picture without red."""
    landmarks, identity = np.full((len(pictures), 68, 2), np.nan), np.full((len(pictures), 128), np.nan)
    for t, picture in enumerate(pictures.numpy()):
        red = picture[0]
        if red.max() > 0.4:
            rows, columns = np.indices(red.shape)
            place = [(red * columns).sum() / red.sum(), (red * rows).sum() / red.sum()]
            landmarks[t] = np.array(place) * 256 / red.shape[1] + np.arange(136).reshape(68, 2)
            identity[t] = np.resize(picture.mean(axis=(1, 2)), 128)
    return Faces(landmarks, identity)


@pytest.fixture
def faces(monkeypatch):
    monkeypatch.setattr(evaluation, "read_faces", read_brightness)
    monkeypatch.setattr(evaluation, "has_detector", lambda: True)


@pytest.fixture
def no_faces(monkeypatch):
    monkeypatch.setattr(evaluation, "has_detector", lambda: False)


# --- what is measured ---------------------------------------------------------------------------------------


def test_reconstruction_by_hand(weights, clips, faces):
    report = evaluate(weights[:1], clips, progress=False)
    assert report.methods == [REAL, REPEATED, "model-0"] and report.size == (32, 32)
    assert report.clips == ["anna#1", "ben#1", "cleo#1"] and len(report.rows) == 3 * 3 * 5

    model = small_model(seed=0)
    model.load_state_dict(evaluation_report.load_once(str(weights[0]), None, None).state_dict())
    pictures = [np.array(Image.open(path)) for path in sorted((clips / "ben#1").glob("*.png"))]
    true = torch.stack([to_tensor(picture, (32, 32)) for picture in pictures])
    with torch.inference_mode():
        made = torch.cat([model(true[:1], frame[None]).prediction for frame in true[1:]])
    expected = (made - true[1:]).abs().mean().item()
    assert report.videos("model-0", "l1")[1] == pytest.approx(expected, rel=1e-4)
    still = (true[:1] - true[1:]).abs().mean().item()
    assert report.videos(REPEATED, "l1")[1] == pytest.approx(still, rel=1e-5)
    moved = read_brightness(true).landmarks
    assert report.videos(REPEATED, "akd")[1] == pytest.approx(np.abs(moved[1:] - moved[:1]).mean())
    assert report.videos(REPEATED, "jitter").tolist() == [0, 0, 0]
    assert report.videos(REPEATED, "mkr").tolist() == [0, 0, 0]
    assert (report.videos(REPEATED, "aed") > 0).all()
    assert set(report.frechet) == {REPEATED, "model-0"} and report.frechet[REPEATED].keys() == {"identity"}
    assert [gap for gap in report.gaps if "LPIPS" in gap] and "model-0" in report.markdown()


def test_animation_moves_somebody_else(weights, clips, faces):
    report = evaluate(weights[:1], clips, mode="animation", progress=False)
    rows = {row["clip"]: row["source_clip"] for row in report.rows}
    assert rows == {"anna#1": "ben#1", "ben#1": "cleo#1", "cleo#1": "anna#1"}
    assert set(report.metrics) == {"movement", "mkr", "aed", "aed_squared", "jitter"}
    # The source itself is best in this, and does not move.
    assert np.allclose(report.videos(REPEATED, "aed"), 0, atol=1e-4)
    assert (report.videos(REPEATED, "movement") > 1).all()
    assert np.isnan(report.rows[6 * 3]["movement"])  # the first frame is where movement is measured from


def test_a_frame_without_a_face_is_a_gap_and_no_number(weights, clips, faces, tmp_path):
    clip_of(tmp_path, "dora#1", 2)
    for number in (2, 3):
        Image.fromarray(np.full((SIDE, SIDE, 3), 40, np.uint8)).save(tmp_path / "dora#1" / f"00{number}.png")
    report = evaluate(weights[:1], tmp_path, progress=False)
    of = [row for row in report.rows if row["method"] == REPEATED]
    assert [np.isnan(row["akd"]) for row in of] == [False, True, True, False, False]
    assert [np.isnan(row["mkr"]) for row in of] == [False, True, True, False, False]
    assert f"{REAL}: no face was found in 2 of 5 frames" in report.gaps


def test_no_face_at_all(weights, clips, monkeypatch):
    nothing = lambda p: Faces(np.full((len(p), 68, 2), np.nan), np.full((len(p), 128), np.nan))  # noqa: E731
    monkeypatch.setattr(evaluation, "read_faces", nothing)
    monkeypatch.setattr(evaluation, "has_detector", lambda: True)
    report = evaluate(weights[:1], clips, progress=False)
    assert set(report.metrics) == {"l1", "psnr", "ssim"}
    assert "model-0: no face was found in 15 of 15 frames" in report.gaps
    assert any("Fréchet identity of model-0: fewer than two faces" in gap for gap in report.gaps)


def test_what_is_not_installed_is_named(weights, clips, no_faces, monkeypatch):
    def missing():
        raise InputError("LPIPS needs a package: pip install lpips")

    evaluation._lpips.cache_clear()
    monkeypatch.setattr(evaluation, "lpips_network", missing)
    report = evaluate(weights[:1], clips, size=64, progress=False)
    assert set(report.metrics) == {"l1", "psnr", "ssim"} and report.frechet == {}
    assert [gap.split(":")[0] for gap in report.gaps] == [
        "LPIPS, Fréchet AlexNet",
        "AKD, MKR, AED, jitter, movement",
    ]
    assert "pip install lpips" in report.markdown() and "pip install dlib-bin" in report.markdown()


def test_smaller_models_are_compared_at_the_size_of_the_largest(weights, clips, no_faces):
    small = evaluate(weights[:1], clips, progress=False)
    large = evaluate(weights[:1], clips, size=48, progress=False)
    assert large.size == (48, 48) and (large.videos("model-0", "l1") != small.videos("model-0", "l1")).all()


# --- going on, side by side ---------------------------------------------------------------------------------


def test_it_goes_on_where_it_stopped(weights, clips, faces, tmp_path, monkeypatch):
    first = evaluate(weights[:1], clips, cache=tmp_path, progress=False)
    calls = []
    redraw = evaluation.redraw
    monkeypatch.setattr(evaluation, "redraw", lambda *a, **k: calls.append(a) or redraw(*a, **k))
    again = evaluate(weights[:1], clips, cache=tmp_path, progress=False)
    assert calls == [] and again.markdown() == first.markdown()
    both = evaluate(weights, clips, cache=tmp_path, progress=False)  # one more model: only that is run
    assert len(calls) == 3 and both.methods == [REAL, REPEATED, "model-0", "model-5"]
    assert np.array_equal(both.videos("model-0", "l1"), first.videos("model-0", "l1"))
    assert not np.array_equal(both.videos("model-5", "l1"), first.videos("model-0", "l1"))


def test_a_damaged_part_is_made_anew(weights, clips, no_faces, tmp_path):
    first = evaluate(weights[:1], clips, cache=tmp_path, progress=False)
    for path in tmp_path.glob("*.npz"):
        path.write_bytes(path.read_bytes()[:50])
    assert evaluate(weights[:1], clips, cache=tmp_path, progress=False).rows == first.rows


def test_side_by_side_is_the_same(weights, clips, no_faces):
    alone = evaluate(weights, clips, progress=False)
    with joblib.parallel_config(backend="threading"):
        together = evaluate(weights, clips, jobs=2, progress=False)
    assert alone.markdown() == together.markdown()


# --- files --------------------------------------------------------------------------------------------------


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_command_line(weights, clips, no_faces, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", "--weights", str(weights[0]), "--data", str(clips), "--report", "out.csv"]
    more = ["--table", "out.md", "--save-protocol", "out.json", "--pictures", "out.png"]
    with pytest.raises(SystemExit) as end:
        cli.main([*command, *more])
    assert end.value.code == 0
    assert "| model-0 |" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.json", "out.md", "out.png"]
    rows = table("out.csv")
    assert len(rows) == 30 and rows[0]["method"] == REPEATED and rows[0]["akd"] == ""
    with pytest.raises(SystemExit) as end:
        cli.main(command)
    assert end.value.code == 2 and "exists already" in capsys.readouterr().err

    with pytest.raises(SystemExit) as end:  # the same frames again
        cli.main([*command, "--overwrite", "--protocol", "out.json", "--mode", "reconstruction"])
    assert end.value.code == 0
    assert table("out.csv") == rows


def test_a_report_and_back(weights, clips, faces, tmp_path):
    report = evaluate(weights, clips, progress=False)
    report.write(tmp_path / "out.csv")
    read = read_report(tmp_path / "out.csv")
    assert read.methods == report.methods and read.mode == "reconstruction"
    for metric in report.metrics:
        expected = report.videos("model-5", metric)
        assert np.allclose(read.videos("model-5", metric), expected, rtol=1e-4, equal_nan=True)
    paired = read.compare("model-0", REPEATED, "l1")
    assert paired.wins + paired.losses == 3
    with pytest.raises(InputError, match="has no pictures; evaluate anew"):
        read.pictures("model-0", read.rows[-1])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no report"),
        ("a,b\n1,2\n", "is no report"),
        ("method,clip,frame,source,l1\nm,c,x,0,1\n", "is damaged"),
    ],
)
def test_what_is_no_report(tmp_path, content, words):
    (tmp_path / "out.csv").write_text(content)
    with pytest.raises(InputError, match=words):
        read_report(tmp_path / "out.csv")


def test_best_median_worst_and_the_page(weights, clips, no_faces, tmp_path):
    report = evaluate(weights[:1], clips, progress=False)
    ranks = report.extremes("model-0", "psnr")
    values = report.frames("model-0", "psnr")
    assert ranks["best"]["psnr"] == values.max() and ranks["worst"]["psnr"] == values.min()
    assert sorted(values)[7] == ranks["median"]["psnr"]
    source, driving, result = report.pictures("model-0", ranks["worst"])
    assert source.shape == driving.shape == (SIDE, SIDE, 3) and result.shape == (32, 32, 3)
    truth = to_tensor(driving, (32, 32))
    error = (to_tensor(result) - truth).square().mean().item()
    assert -10 * np.log10(error) == pytest.approx(ranks["worst"]["psnr"], abs=0.05)  # it is that frame
    page = picture_page(report)
    assert page.dtype == np.uint8 and len(np.unique(page)) > 50
    write_picture_page(report, tmp_path / "page.jpg")
    with pytest.raises(InputError, match=r"end it with \.jpg or \.png"):
        write_picture_page(report, tmp_path / "page.xyz")
    with pytest.raises(InputError, match="model-0 has no akd; measured: l1, psnr, ssim"):
        report.extremes("model-0", "akd")
    with pytest.raises(InputError, match="'model-9' was not evaluated"):
        picture_page(report, ["model-9"])


# --- bad input ----------------------------------------------------------------------------------------------


def test_clips_that_cannot_be_used_are_gaps(weights, clips, no_faces, tmp_path):
    clip_of(tmp_path, "good", 1)
    clip_of(tmp_path, "still", 1, frames=1)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    clip_of(tmp_path, "torn", 2)
    (tmp_path / "torn" / "003.png").write_bytes(b"no picture")
    report = evaluate(weights[:1], tmp_path, progress=False)
    assert report.clips == ["good"]
    assert any("still: has 1 frame; nothing to redraw" in gap for gap in report.gaps)
    assert any("broken.mp4: could not be read" in gap for gap in report.gaps)
    assert any("torn: could not be read" in gap for gap in report.gaps)
    assert all("\n" not in gap for gap in report.gaps)
    (tmp_path / "good" / "002.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="none of its clips could be evaluated"):
        evaluate(weights[:1], tmp_path, progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "guessing"}, "choose 'reconstruction' or 'animation'"),
        ({"size": 8}, "16 pixels or more"),
        ({"jobs": 0}, "jobs=0"),
        ({"protocol": Protocol("reconstruction", (Task("dora", (1,), "dora", 0),))}, "has no clip dora"),
        (
            {"protocol": Protocol("reconstruction", (Task("anna#1", (1, 99), "anna#1", 0),))},
            "has 6 frames, and the protocol asks for number 99",
        ),
    ],
)
def test_settings_that_make_no_sense(weights, clips, no_faces, options, words):
    with pytest.raises(InputError, match=words):
        evaluate(weights[:1], clips, progress=False, **options)


def test_the_same_weights_twice(weights, clips):
    with pytest.raises(InputError, match="the same are named twice"):
        evaluate([weights[0], weights[0]], clips, progress=False)


def test_nothing_is_begun_that_cannot_be_written(weights, clips, tmp_path):
    (tmp_path / "out.md").write_text("mine")
    with pytest.raises(InputError, match=r"out\.md: exists already"):
        evaluate_to_files(weights, clips, tmp_path / "out.csv", table=tmp_path / "out.md")
    with pytest.raises(InputError, match="does not exist; make it first"):
        evaluate_to_files(weights, clips, tmp_path / "none" / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["out.md"]
    assert (tmp_path / "out.md").read_text() == "mine"


def film(path, frames=4, size=64, seed=0):
    rng = np.random.default_rng(seed)
    with VideoWriter(path, 25, (size, size)) as writer:
        for _ in range(frames):
            writer.write(
                np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((size // 8,) * 2 + (1,))).astype(np.uint8)
            )
    return path


def test_videos_of_others(tmp_path, no_faces):
    one, two = film(tmp_path / "one.mp4"), film(tmp_path / "two.mp4", seed=1)
    same = compare_videos(one, one)
    assert same["l1"].tolist() == [0] * 4 and np.isinf(same["psnr"]).all() and "akd" not in same
    other = compare_videos(one, two)
    assert (other["l1"] > 0.1).all() and (other["ssim"] < 0.9).all()
    for path in (film(tmp_path / "short.mp4", frames=3), film(tmp_path / "small.mp4", size=32)):
        with pytest.raises(InputError, match="cut or resize one of them first"):
            compare_videos(one, path)


def test_pictures_of_others(faces):
    true = torch.rand(3, 3, 40, 40)
    same = compare_pictures(true, true, [4, 5, 6])
    assert same["l1"].tolist() == same["akd"].tolist() == [0, 0, 0] and np.isfinite(same["jitter"][1])
    assert np.isnan(compare_pictures(true, true, [4, 5, 7])["jitter"]).all()
    with pytest.raises(InputError, match="cannot be compared"):
        compare_pictures(true, true[:2])


def test_committed_protocols_fit_the_committed_clips():
    """Made by the rule; of clips that are there."""
    from fomm_lib.datasets import find_clips
    from fomm_lib.protocols import read_protocol

    lengths = {clip.name: len(clip) for clip in find_clips(data_path("heads"), "test")}
    for mode in ("reconstruction", "animation"):
        assert read_protocol(data_path("evaluation", f"{mode}.json")) == make_protocol(lengths, mode)
