"""Reports: in a file and back, and the frames behind the numbers."""

from __future__ import annotations

import numpy as np
import pytest

from fomm_lib.errors import InputError
from fomm_lib.evaluation.evaluate import evaluate
from fomm_lib.evaluation.movements import MEASURES
from fomm_lib.evaluation.report import REAL, REPEATED, read_report
from fomm_lib.files import data_path
from fomm_lib.media.tensors import to_tensor
from tests.support.evaluation import SIDE


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
    with pytest.raises(InputError, match="has no images; evaluate anew"):
        read.images("model-0", read.rows[-1])


def test_movements_go_into_the_file_and_back(weights, clips, template_faces, tmp_path):
    report = evaluate(weights, clips, progress=False)
    report.write(tmp_path / "out.csv")
    read = read_report(tmp_path / "out.csv")
    for measure in ("lips", "yaw"):  # what moves in this reader
        here, there = report.following("model-5", measure), read.following("model-5", measure)
        assert there.slope.mean == pytest.approx(here.slope.mean, rel=1e-2, abs=1e-3)
    assert MEASURES.keys() <= read.rows[0].keys()
    assert "| model-5, slope |" in read.markdown() and read.squares == {}
    with pytest.raises(InputError, match="'model-9' was not evaluated"):
        report.following("model-9", "lips")


def test_committed_reports_without_movements_are_read(tmp_path):
    """A file of before has no such columns, and its tables no such rows."""
    path = tmp_path / "old.csv"
    path.write_text(
        f"method,clip,source_clip,source,frame,l1\n{REAL},c,c,0,1,\na,c,c,0,1,0.5\na,c,c,0,2,0.25\n"
    )
    read = read_report(path)
    assert np.isnan(read.following("a", "lips").slope.mean)
    assert "slope" not in read.markdown() and "| a | 0.3750 |" in read.markdown()
    for mode in ("reconstruction", "animation"):
        assert read_report(data_path("evaluation", f"{mode}.csv")).mode == mode


def test_a_metric_without_a_column_is_not_measured(tmp_path):
    path = tmp_path / "old.csv"
    path.write_text("method,clip,source_clip,source,frame,l1,psnr\na,c,c,0,1,0.5,\na,c,c,0,2,0.25,20\n")
    read = read_report(path)
    assert list(read.metrics) == ["l1", "psnr"] and read.frames("a", "l1").tolist() == [0.5, 0.25]
    assert all(np.isnan(row["ssim"]) for row in read.rows) and read.frames("a", "ssim").size == 0


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


def test_best_median_and_worst_frame(weights, clips, no_faces):
    report = evaluate(weights[:1], clips, progress=False)
    ranks = report.extremes("model-0", "psnr")
    values = report.frames("model-0", "psnr")
    assert ranks["best"]["psnr"] == values.max() and ranks["worst"]["psnr"] == values.min()
    assert sorted(values)[7] == ranks["median"]["psnr"]
    source, driving, result = report.images("model-0", ranks["worst"])
    assert source.shape == driving.shape == (SIDE, SIDE, 3) and result.shape == (32, 32, 3)
    truth = to_tensor(driving, (32, 32))
    error = (to_tensor(result) - truth).square().mean().item()
    assert -10 * np.log10(error) == pytest.approx(ranks["worst"]["psnr"], abs=0.05)  # it is that frame
    with pytest.raises(InputError, match="'model-9' was not evaluated"):
        report.images("model-9", ranks["worst"])
    with pytest.raises(InputError, match="model-0 has no akd; measured: l1, psnr, ssim"):
        report.extremes("model-0", "akd")
