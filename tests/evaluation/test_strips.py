"""The page of strips: who is moved by whom, how they are ranked, and what cannot be shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.evaluation import strips as strips_module
from fomm_lib.evaluation.evaluate import evaluate
from fomm_lib.evaluation.faces import movement_error
from fomm_lib.evaluation.report import read_report, redraw
from fomm_lib.evaluation.strips import Strip, make_strips, ranked, strips_page, write_strips
from fomm_lib.media.squares import cut_middle
from fomm_lib.media.tensors import to_tensor, to_uint8
from tests.support.evaluation import clip_of, read_nothing, read_template


def strip(error, person="ben"):
    images = np.full((2, 32, 32, 3), 100, np.uint8)
    return Strip("anna", person, images, images[0], images, error)


def test_people_are_moved_by_drivers(weights, clips, template_faces):
    report = evaluate(weights[:1], clips, progress=False)
    strips = make_strips(report, "model-0", people=3, drivers=2, frames=3)
    assert {(s.driver, s.person) for s in strips} == {
        ("anna#1", "ben#1"),
        ("anna#1", "cleo#1"),
        ("cleo#1", "anna#1"),
        ("cleo#1", "ben#1"),
    }
    one = next(s for s in strips if (s.driver, s.person) == ("anna#1", "ben#1"))
    (portrait,) = report.clips_read["ben#1"].read([0])
    driving = report.clips_read["anna#1"].read([1, 3, 5])  # of the protocol's 1 to 5
    model = report.models["model-0"].load()
    made = redraw(model, portrait, driving, relative=True, size=(32, 32))
    assert np.array_equal(one.result, to_uint8(made))
    assert one.driving.shape == one.result.shape == (3, 32, 32, 3) and one.portrait.shape == (32, 32, 3)
    moved = torch.stack([to_tensor(frame) for frame in one.driving])
    error = movement_error(read_template(made).landmarks, read_template(moved).landmarks)
    assert one.error == pytest.approx(np.nanmean(error))


def test_eight_people_and_three_drivers(weights, tmp_path, no_faces):
    for number in range(12):
        clip_of(tmp_path, f"p{number:02d}#1", number % 4, frames=4)
    report = evaluate(weights[0], tmp_path, progress=False)
    strips = make_strips(report, "model-0")
    drivers, people = ({getattr(s, name) for s in strips} for name in ("driver", "person"))
    assert drivers == {"p00#1", "p05#1", "p11#1"} and len(people) == 8 and not drivers & people
    assert len(strips) == 24 and all(np.isnan(s.error) for s in strips)


def test_portraits_are_the_people(weights, clips, portraits, no_faces):
    report = evaluate(weights[0], clips, mode="animation", portraits=portraits, progress=False)
    strips = make_strips(report, "model-0")
    assert {s.person for s in strips} == {"dora.png", "emil.webp"} and len(strips) == 6
    shown = cut_middle(np.asarray(Image.open(portraits / "dora.png")))
    assert np.abs(strips[0].portrait.mean(axis=(0, 1)) - shown.mean(axis=(0, 1))).max() < 2


def test_best_median_and_worst():
    strips = [strip(e) for e in (5.0, np.inf, 2.0, np.nan, 3.0)]
    found = ranked(strips)
    assert [found[r].error for r in ("best", "median", "worst")] == [2, 5, np.inf]
    assert ranked([strip(np.nan)]) == ranked([]) == {}
    with_ranks, without = strips_page([strip(1.0)], "model"), strips_page([strip(np.nan)], "model")
    # Three times a line of text, driving frames, and result.
    assert len(with_ranks) - len(without) == 3 * (18 + 2 * 32)


def test_a_result_without_a_face_is_the_worst_and_a_driver_without_one_is_not_ranked(
    weights, clips, template_faces, monkeypatch
):
    report = evaluate(weights[:1], clips, progress=False)
    calls = []

    def only_drivers(images):  # drivers are read first, results second
        calls.append(images)
        return (read_template if len(calls) % 2 else read_nothing)(images)

    monkeypatch.setattr(strips_module, "read_faces", only_drivers)
    assert all(np.isinf(s.error) for s in make_strips(report, "model-0", drivers=1))
    monkeypatch.setattr(strips_module, "read_faces", read_nothing)
    assert all(np.isnan(s.error) for s in make_strips(report, "model-0", drivers=1))


def test_the_page_goes_into_a_file(weights, clips, template_faces, tmp_path):
    report = evaluate(weights, clips, progress=False)
    write_strips(report, tmp_path / "page.png")
    page = np.asarray(Image.open(tmp_path / "page.png"))
    one = strips_page(make_strips(report, "model-0"), "model-0")
    assert page.shape == (2 * len(one), *one.shape[1:]) and np.array_equal(page[: len(one)], one)
    for path, words in (("page.png", "exists already"), ("page.gif", "end it with")):
        with pytest.raises(InputError, match=words):
            write_strips(report, tmp_path / path)


def test_what_has_no_strips(weights, clips, no_faces, tmp_path):
    report = evaluate(weights[:1], clips, progress=False)
    with pytest.raises(InputError, match="'model-9' is no model of this report; there are model-0"):
        make_strips(report, "model-9")
    with pytest.raises(InputError, match="at least 1"):
        make_strips(report, "model-0", people=0)
    with pytest.raises(InputError, match="no strip to show"):
        strips_page([])
    clip_of(tmp_path / "one", "anna#1", 0)
    alone = evaluate(weights[:1], tmp_path / "one", progress=False)
    with pytest.raises(InputError, match="a portrait of somebody else"):
        make_strips(alone, "model-0")
    report.write(tmp_path / "out.csv")
    with pytest.raises(InputError, match="no model whose strips"):
        write_strips(read_report(tmp_path / "out.csv"), tmp_path / "page.png")
