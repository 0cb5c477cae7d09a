"""Evaluations of a model that runs in milliseconds, with a reader of faces that reads the brightness."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.animation.animate import animate_frames
from fomm_lib.checkpoints import write_weights
from fomm_lib.cli import main
from fomm_lib.data.clips import find_clips
from fomm_lib.errors import InputError
from fomm_lib.evaluation import evaluate as evaluate_module
from fomm_lib.evaluation.evaluate import compare_images, evaluate, evaluate_to_files
from fomm_lib.evaluation.images import Metric
from fomm_lib.evaluation.inpainting import masked_square
from fomm_lib.evaluation.movements import MEASURES, read_movements
from fomm_lib.evaluation.protocol import Protocol, Task
from fomm_lib.evaluation.regions import face_boxes, sharpness_ratio
from fomm_lib.evaluation.report import METRICS, OF_MODE, REAL, REPEATED
from fomm_lib.media.tensors import to_tensor, to_uint8
from tests.support.evaluation import SIDE, clip_of, read_brightness, read_nothing, read_template
from tests.support.small_model import small_model

# --- what is measured ---------------------------------------------------------------------------------------


def test_reconstruction_by_hand(weights, clips, faces):
    report = evaluate(weights[:1], clips, progress=False)
    assert report.methods == [REAL, REPEATED, "model-0"] and report.size == (32, 32)
    assert report.clips == ["anna#1", "ben#1", "cleo#1"] and len(report.rows) == 3 * 3 * 5

    model = small_model(seed=0)
    model.load_state_dict(report.models["model-0"].load().state_dict())
    images = [np.array(Image.open(path)) for path in sorted((clips / "ben#1").glob("*.png"))]
    true = torch.stack([to_tensor(image, (32, 32)) for image in images])
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
    assert np.allclose(report.videos(REPEATED, "aed"), 0, atol=1e-5)  # the same colours, elsewhere
    assert set(report.frechet) == {REPEATED, "model-0"} and report.frechet[REPEATED].keys() == {"identity"}
    assert [gap for gap in report.gaps if "LPIPS" in gap] and "model-0" in report.markdown()


def test_animation_moves_somebody_else(weights, clips, faces):
    report = evaluate(weights[:1], clips, mode="animation", progress=False)
    rows = {row["clip"]: row["source_clip"] for row in report.rows}
    assert rows == {"anna#1": "ben#1", "ben#1": "cleo#1", "cleo#1": "anna#1"}
    assert set(report.metrics) == {"movement", "mkr", "aed", "aed_squared", "first_sharpness", "jitter"}
    # The source itself is best in this, and does not move.
    assert np.allclose(report.videos(REPEATED, "aed"), 0, atol=1e-4)
    assert (report.videos(REPEATED, "movement") > 1).all()
    assert np.isnan(report.rows[6 * 3]["movement"])  # the first frame is where movement is measured from


def test_movements_sharpness_and_uncovered_background_by_hand(weights, clips, template_faces):
    report = evaluate(weights[:1], clips, progress=False)
    images = [np.array(Image.open(path)) for path in sorted((clips / "ben#1").glob("*.png"))]
    true = torch.stack([to_tensor(image, (32, 32)) for image in images])
    of = {m: [r for r in report.rows if r["method"] == m and r["clip"] == "ben#1"] for m in report.methods}
    expected = read_movements(read_template(true[1:]).landmarks)
    for measure in MEASURES:
        assert [row[measure] for row in of[REAL]] == pytest.approx(expected[measure])
    still = report.following(REPEATED, "lips")
    assert still.slope.mean == 0 and np.isnan(still.correlation.mean) and still.slope.videos == 3
    x = [
        np.array([r["yaw"] for r in report.rows if r["method"] == REAL and r["clip"] == c])
        for c in report.clips
    ]
    y = [
        np.array([r["yaw"] for r in report.rows if r["method"] == "model-0" and r["clip"] == c])
        for c in report.clips
    ]
    x, y = (np.concatenate([values - values.mean() for values in curves]) for curves in (x, y))
    assert report.following("model-0", "yaw").slope.mean == pytest.approx(x @ y / (x @ x))
    assert report.following(REAL, "yaw").slope.mean == pytest.approx(1)
    box = face_boxes(read_template(true[1:]).landmarks, (32, 32))
    sharp = sharpness_ratio(true[:1].expand_as(true[1:]), true[1:], box)
    assert [row["sharpness"] for row in of[REPEATED]] == pytest.approx(sharp.tolist(), rel=1e-5)
    text = report.markdown()
    assert "| model-0, slope |" in text and "| repeated frame, correlation | – |" in text


def test_the_masked_square_is_in_the_report(weights, clips, no_faces, tmp_path):
    report = evaluate(weights, clips, cache=tmp_path, progress=False)
    for label in report.models:
        expected = masked_square(report.models[label].load())
        assert all(np.allclose(report.squares[label][side], errors) for side, errors in expected.items())
    again = evaluate(weights, clips, cache=tmp_path, progress=False)
    assert again.markdown() == report.markdown() and "Masked square" in report.markdown()


def test_a_model_without_occlusion_has_no_masked_square(clips, no_faces, tmp_path):
    model = small_model({"model_params.generator_params.estimate_occlusion_map": False})
    networks = {"kp_detector": model.kp_detector.state_dict(), "generator": model.generator.state_dict()}
    write_weights(tmp_path / "open.safetensors", networks, model.config)
    report = evaluate(tmp_path / "open.safetensors", clips, progress=False)
    assert "masked square of open: not measured: it estimates no occlusion" in report.gaps
    assert "Masked square: the error" not in report.markdown()


def test_portraits_are_moved_by_the_clips(weights, clips, portraits, template_faces):
    """Identity to the portrait, motion to the driver, sharpness of the first frame to the portrait."""
    report = evaluate(weights[:1], clips, mode="animation", portraits=portraits, progress=False)
    sources = {row["clip"]: row["source_clip"] for row in report.rows}
    assert sources == {"anna#1": "dora.png", "ben#1": "emil.webp", "cleo#1": "dora.png"}
    portrait = to_tensor(np.array(Image.open(portraits / "dora.png"))[:, 10:50], (32, 32))
    first = {
        m: next(r for r in report.rows if r["method"] == m and r["clip"] == "anna#1") for m in report.methods
    }
    assert first[REPEATED]["first_sharpness"] == 1 and first[REPEATED]["aed"] == 0
    model = report.models["model-0"].load()
    with torch.inference_mode():
        made = model.generate(portrait[None], *[model.detect(portrait[None])] * 2).prediction
    box = face_boxes(read_template(portrait[None]).landmarks, (32, 32))
    expected = sharpness_ratio(made, portrait[None], box)[0]
    assert first["model-0"]["first_sharpness"] == pytest.approx(expected, rel=1e-3)
    later = [r for r in report.rows if r["method"] == "model-0" and r["frame"] > 0]
    assert all(np.isnan(row["first_sharpness"]) for row in later)
    source, _, _ = report.images("model-0", first["model-0"])
    assert source.shape == (40, 40, 3)


def test_portraits_that_cannot_be_used(weights, clips, portraits, no_faces, tmp_path):
    def run(folder, mode="animation"):
        return evaluate(weights[:1], clips, mode=mode, portraits=folder, progress=False)

    with pytest.raises(InputError, match="no truth to compare with"):
        run(portraits, "reconstruction")
    with pytest.raises(InputError, match="no such folder"):
        run(tmp_path / "none")
    with pytest.raises(InputError, match="no portraits in it; expected names"):
        run(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"none of its clips could be evaluated.*"):
        run(tmp_path)
    both = tmp_path / "both"
    clip_of(both, "dora.png", 1)
    with pytest.raises(InputError, match=r"dora\.png: is the name of a clip and of a portrait"):
        evaluate(weights[:1], both, mode="animation", portraits=portraits, progress=False)


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
    monkeypatch.setattr(evaluate_module, "read_faces", read_nothing)
    monkeypatch.setattr(evaluate_module, "has_detector", lambda: True)
    report = evaluate(weights[:1], clips, progress=False)
    assert set(report.metrics) == {"l1", "psnr", "ssim"}
    assert "model-0: no face was found in 15 of 15 frames" in report.gaps
    assert "model-0, slope" not in report.markdown()
    assert "uncovered: not measured: in no frame has a head uncovered 0.2 % of the image" in report.gaps
    assert any("Fréchet identity of model-0: fewer than two faces" in gap for gap in report.gaps)


def test_what_is_not_installed_is_named(weights, clips, no_faces, monkeypatch):
    def missing():
        raise InputError("LPIPS needs a package: pip install lpips")

    evaluate_module._lpips.cache_clear()
    monkeypatch.setattr(evaluate_module, "lpips_network", missing)
    report = evaluate(weights[:1], clips, size=64, progress=False)
    assert set(report.metrics) == {"l1", "psnr", "ssim"} and report.frechet == {}
    assert [gap.split(":")[0] for gap in report.gaps] == [
        "LPIPS, Fréchet AlexNet",
        "AKD, MKR, AED, sharpness, uncovered background, jitter, movements",
    ]
    assert "pip install lpips" in report.markdown() and "pip install dlib-bin" in report.markdown()


def test_smaller_models_are_compared_at_the_size_of_the_largest(weights, clips, no_faces):
    small = evaluate(weights[:1], clips, progress=False)
    large = evaluate(weights[:1], clips, size=48, progress=False)
    assert large.size == (48, 48) and (large.videos("model-0", "l1") != small.videos("model-0", "l1")).all()


def test_what_is_measured_is_what_animate_shows(weights, clips, no_faces):
    """At a larger size the images are those of `animate`: finer, with detail; with `fast` only enlarged."""
    clip = find_clips(clips, None)[0]
    frames = clip.read(range(len(clip)))
    for fast in (False, True):
        report = evaluate(weights[:1], clips, size=256, fast=fast, progress=False)
        model = report.models["model-0"].load()
        shown = animate_frames(model, frames[0], frames, relative=False, fast=fast)
        shown = torch.stack([to_tensor(frame) for frame in list(shown)[1:]])
        true = torch.stack([to_tensor(frame, (256, 256)) for frame in frames[1:]])
        assert report.videos("model-0", "l1")[0] == pytest.approx(
            (shown - true).abs().mean().item(), abs=1e-3
        )
        row = next(row for row in report.rows if row["method"] == "model-0" and row["frame"] == 2)
        _, _, made = report.images("model-0", row)
        assert np.abs(made.astype(int) - to_uint8(shown[1])).max() <= 1


# --- going on, side by side ---------------------------------------------------------------------------------


def test_it_goes_on_where_it_stopped(weights, clips, faces, tmp_path, monkeypatch):
    first = evaluate(weights[:1], clips, cache=tmp_path, progress=False)
    calls = []
    redraw = evaluate_module.redraw
    monkeypatch.setattr(evaluate_module, "redraw", lambda *a, **k: calls.append(a) or redraw(*a, **k))
    again = evaluate(weights[:1], clips, cache=tmp_path, progress=False)
    assert calls == [] and again.markdown() == first.markdown()
    both = evaluate(weights, clips, cache=tmp_path, progress=False)  # one more model: only that is run
    assert len(calls) == 3 and both.methods == [REAL, REPEATED, "model-0", "model-5"]
    assert np.array_equal(both.videos("model-0", "l1"), first.videos("model-0", "l1"))
    assert not np.array_equal(both.videos("model-5", "l1"), first.videos("model-0", "l1"))


def test_a_new_metric_is_measured_in_spite_of_the_cache(weights, clips, no_faces, tmp_path, monkeypatch):
    evaluate(weights[:1], clips, cache=tmp_path, progress=False)
    measured = evaluate_module._image_scores

    def with_one_more(prediction, truth, lpips):
        return measured(prediction, truth, lpips) | {"new": np.full(len(prediction), 2.0)}

    monkeypatch.setattr(evaluate_module, "_image_scores", with_one_more)
    monkeypatch.setitem(METRICS, "new", Metric("new", "lower", 1, "always 2"))
    monkeypatch.setitem(OF_MODE, "reconstruction", (*OF_MODE["reconstruction"], "new"))
    report = evaluate(weights[:1], clips, cache=tmp_path, progress=False)
    assert report.interval("model-0", "new").mean == 2 and "new" in report.metrics


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
    more = ["--table", "out.md", "--save-protocol", "out.json", "--images", "out.png", "--strips", "s.jpg"]
    with pytest.raises(SystemExit) as end:
        main.main([*command, *more])
    assert end.value.code == 0
    assert "| model-0 |" in capsys.readouterr().out
    files = ["out.csv", "out.json", "out.md", "out.png", "s.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    rows = table("out.csv")
    assert len(rows) == 30 and rows[0]["method"] == REPEATED and rows[0]["akd"] == ""
    with pytest.raises(SystemExit) as end:
        main.main(command)
    assert end.value.code == 2 and "exists already" in capsys.readouterr().err

    more = ["--overwrite", "--protocol", "out.json", "--mode", "reconstruction", "--pictures", "old-name.png"]
    with pytest.raises(SystemExit) as end:  # the same frames again
        main.main([*command, *more])
    assert end.value.code == 0 and (tmp_path / "old-name.png").exists()
    assert table("out.csv") == rows


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--strips", "page.gif"], "page.gif: end it with .jpg or .png"),
        (["--images", "none/page.png"], "the folder none does not exist; make it first"),
        (["--strips", "mine.png"], "mine.png: exists already"),
        (["--portraits", "none"], "none: no such folder; give one that holds portraits"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    weights, clips, no_faces, tmp_path, capsys, monkeypatch, option, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.png").write_text("mine")
    command = ["evaluate", "--weights", str(weights[0]), "--data", str(clips), "--report", "out.csv", *option]
    with pytest.raises(SystemExit) as end:
        main.main(command)
    error = capsys.readouterr().err
    assert end.value.code == 2 and message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out.csv").exists() and (tmp_path / "mine.png").read_text() == "mine"


# --- bad input ----------------------------------------------------------------------------------------------


def test_clips_that_cannot_be_used_are_gaps(weights, clips, no_faces, tmp_path):
    clip_of(tmp_path, "good", 1)
    clip_of(tmp_path, "still", 1, frames=1)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    clip_of(tmp_path, "torn", 2)
    (tmp_path / "torn" / "003.png").write_bytes(b"no image")
    report = evaluate(weights[:1], tmp_path, progress=False)
    assert report.clips == ["good"]
    assert any("still: has 1 frame; nothing to redraw" in gap for gap in report.gaps)
    assert any("broken.mp4: could not be read" in gap for gap in report.gaps)
    assert any("torn: could not be read" in gap for gap in report.gaps)
    assert all("\n" not in gap for gap in report.gaps)
    (tmp_path / "good" / "002.png").write_bytes(b"no image")
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


def test_images_of_others(faces):
    true = torch.rand(3, 3, 40, 40)
    same = compare_images(true, true, [4, 5, 6])
    assert same["l1"].tolist() == same["akd"].tolist() == [0, 0, 0] and np.isfinite(same["jitter"][1])
    assert np.isnan(compare_images(true, true, [4, 5, 7])["jitter"]).all()
    with pytest.raises(InputError, match="cannot be compared"):
        compare_images(true, true[:2])


@pytest.mark.parametrize("last", ["protocol.json", "out.md", "out.csv"])
def test_killed_between_the_files_of_the_result_it_goes_on(
    weights, clips, faces, tmp_path, monkeypatch, last
):
    files = {"table": tmp_path / "out.md", "save_protocol": tmp_path / "protocol.json"}
    replace = os.replace

    def killed(source, target):
        replace(source, target)
        if Path(target).name == last:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_to_files(weights, clips, tmp_path / "out.csv", progress=False, **files)
    monkeypatch.setattr(os, "replace", replace)
    evaluate_to_files(weights, clips, tmp_path / "out.csv", progress=False, **files)
    assert sorted(os.listdir(tmp_path)) == ["out.csv", "out.md", "protocol.json"]
    (tmp_path / "out.csv.parts").mkdir()  # of a run that was killed at the very end
    with pytest.raises(InputError, match=r"out\.csv: exists already"):
        evaluate_to_files(weights, clips, tmp_path / "out.csv", progress=False)
    assert not (tmp_path / "out.csv.parts").exists()


def test_models_whose_images_are_not_square(tmp_path, no_faces):
    """A rectangle of their shape is cut out of every frame, and compared at that shape."""
    model = small_model({"dataset_params.frame_shape": [32, 48, 3]})
    networks = {"kp_detector": model.kp_detector.state_dict(), "generator": model.generator.state_dict()}
    wide = tmp_path / "wide.safetensors"
    write_weights(wide, networks, model.config)
    clip_of(tmp_path / "clips", "anna#1", 0)
    report = evaluate(wide, tmp_path / "clips", progress=False)
    assert report.size == (32, 48)
    images = [np.array(Image.open(path)) for path in sorted((tmp_path / "clips" / "anna#1").glob("*.png"))]
    height, width = images[0].shape[:2]
    tall = round(width * 2 / 3)
    top = (height - tall) // 2
    true = torch.stack([to_tensor(image[top : top + tall], (32, 48)) for image in images])
    loaded = report.models["wide"].load()
    with torch.inference_mode():
        made = torch.cat([loaded(true[:1], frame[None]).prediction for frame in true[1:]])
    expected = (made - true[1:]).abs().mean().item()
    assert report.videos("wide", "l1")[0] == pytest.approx(expected, rel=1e-4)
    source, driving, result = report.images("wide", report.rows[-1])
    assert source.shape[:2] == driving.shape[:2] == (tall, width) and result.shape == (32, 48, 3)
    assert evaluate(wide, tmp_path / "clips", size=64, progress=False).size == (64, 96)


def test_models_of_different_shapes_are_not_compared(weights, tmp_path, clips):
    model = small_model({"dataset_params.frame_shape": [32, 48, 3]})
    networks = {"kp_detector": model.kp_detector.state_dict(), "generator": model.generator.state_dict()}
    write_weights(tmp_path / "wide.safetensors", networks, model.config)
    with pytest.raises(InputError, match=r"have different shapes \(32x32, 32x48\); evaluate them one by one"):
        evaluate([weights[0], tmp_path / "wide.safetensors"], clips, progress=False)
