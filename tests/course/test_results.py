"""Committed results: means over seeds, images, and what is missing."""

from __future__ import annotations

import pytest
import torch

from fomm_lib.course import results
from fomm_lib.course.results import Results
from fomm_lib.data.tables import write_cells
from fomm_lib.errors import InputError
from fomm_lib.family.apply import write_image
from fomm_lib.files import data_path


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "data_path", lambda *parts: tmp_path / parts[-1])
    rows = [["variant", "seed", "l1", "time"], ["a b", 0, 0.1, 5], ["a b", 1, 0.3, 7], ["c", 0, 2, None]]
    write_cells(tmp_path / "x.csv", rows)
    return Results("x")


def test_mean_and_range_of_the_seeds(table, capsys):
    assert table.values("a b", "l1") == [0.1, 0.3] and table.mean("a b", "time") == 6
    table.show(["a b", "c"], ["l1"], digits=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["a", "b", "2", "0.2", "(0.1", "to", "0.3)"]
    assert lines[2].split() == ["c", "1", "2.0"]


def test_reach_and_order_of_the_seeds(table):
    assert table.reach("a b", "l1") == pytest.approx((0.1, 0.1)) and table.reach("c", "l1") == (0, 0)
    assert table.below("l1", "a b", "c") and not table.below("l1", "c", "a b")
    assert not table.below("l1", "a b", "a b")  # every seed, not the mean alone


def test_what_is_missing_is_named(table):
    for variant, column in (("d", "l1"), ("c", "time"), ("c", "psnr")):
        with pytest.raises(InputError, match=rf"x.csv: has no {column} of {variant}"):
            table.values(variant, column)


def test_images_come_back_as_they_were_laid_out(table, tmp_path):
    grey = torch.arange(12).mul(20).to(torch.uint8)
    sheet = grey.view(2, 1, 6, 1, 1).expand(2, 16, 6, 16, 3).reshape(32, 96, 3)
    (tmp_path / "x").mkdir()
    write_image(tmp_path / "x" / "a-b.jpg", sheet.contiguous().numpy(), "a test")
    images = table.images("a b")
    assert images.shape == (2, 6, 3, 16, 16)
    assert (images.mean(dim=(2, 3, 4)).flatten() * 255).round().tolist() == grey.tolist()


@pytest.mark.parametrize("path", sorted(data_path("family", "results").glob("*.csv")), ids=lambda p: p.stem)
def test_every_committed_table_is_read(path):
    found = Results(path.stem)
    assert found.rows and all(
        row["seed"] == str(i) for rows in found.rows.values() for i, row in enumerate(rows)
    )
