"""The committed tables: in step with the numbers beside them, and with docs/evaluation.md."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from fomm_lib.checkpoints import shipped_weights
from fomm_lib.errors import InputError
from fomm_lib.evaluation.comparison import format_interval
from fomm_lib.evaluation.report import METRICS, REAL, REPEATED, Report, read_report
from fomm_lib.evaluation.true_motion import MOTION_METRICS, NO_MOTION, MotionReport
from fomm_lib.files import data_path
from tools import evaluation_table as tool


def rows_of(text: str, heading: str = "") -> dict[str, list[str]]:
    """First column -> cells of the first Markdown table after a heading."""
    lines = text[text.index(heading) :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    found = {}
    for line in [lines[start - 1], *lines[start + 1 :]]:
        if not line.startswith("|"):
            break
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        found[first] = others
    return found


@pytest.fixture(scope="module")
def page():
    return (data_path("evaluation") / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name, heading",
    [("reconstruction", "## Reconstruction"), ("animation", "## Animation"), ("at_256", "## As people look")],
)
def test_the_page_says_what_the_numbers_say(page, name, heading):
    report = read_report(data_path("evaluation", f"{name}.csv"))
    table = rows_of(page, heading)
    assert list(table)[1:] == report.methods
    titles = table[""]
    for name, metric in report.metrics.items():
        column = next(
            i for i, title in enumerate(titles) if title.removesuffix(" ↓").removesuffix(" ↑") == metric.title
        )
        for method in report.methods:
            assert table[method][column] == format_interval(report.interval(method, name), metric.digits)


def test_all_shipped_weights_of_heads_are_in_the_table():
    shipped = {name for name in shipped_weights() if name.startswith("heads-")}
    assert set(tool.HEADS) == shipped - {"heads-64-small"}  # which is for notebook 13
    report = read_report(data_path("evaluation", "reconstruction.csv"))
    assert report.methods == [REAL, REPEATED, *tool.HEADS]


def test_the_readme_shows_the_same_numbers(page):
    readme = (tool.ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    inside = readme.split(tool.START)[1].split(tool.END)[0]
    short, whole = rows_of(inside), rows_of(page, "## Reconstruction")
    assert list(short)[1:] == [name for name in whole if name not in ("", REAL)]
    for method in list(short)[1:]:
        assert short[method][0] == whole[method][0]


def test_motion_and_disturbed_images_are_there():
    with open(data_path("evaluation", "motion.csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} >= {NO_MOTION, *tool.HEADS}
    assert all(len([r for r in rows if r["method"] == row["method"]]) == 12 for row in rows)
    with open(data_path("evaluation", "disturbed.csv"), newline="", encoding="utf-8") as file:
        ways = {row["way"]: row for row in csv.DictReader(file)}
    assert {"shifted", "blurred", "wrong person", "frozen"} <= ways.keys()
    # What notebook 09 is about.
    assert float(ways["shifted"]["ssim"]) < float(ways["blurred"]["ssim"])
    assert float(ways["frozen"]["aed"]) < float(ways["wrong person"]["aed"])


# --- the tool -----------------------------------------------------------------------------------------------


def made_up() -> tuple[Report, MotionReport]:
    rng = np.random.default_rng(0)
    rows = [
        {"method": method, "clip": clip, "source_clip": clip, "source": 0, "frame": frame}
        | ({"jitter": 1.0} if method == REAL else {"l1": rng.random() + (method == REPEATED), "aed": 0.5})
        for method in (REAL, REPEATED, "a", "b")
        for clip in ("one", "two", "three")
        for frame in (1, 2)
    ]
    report = Report("reconstruction", (64, 64), [REAL, REPEATED, "a", "b"], rows)
    videos = {
        m: {name: np.array([1.0, 2.0, 3.0]) for name in MOTION_METRICS}
        for m in (NO_MOTION, "a", "b", "a, no Jacobians")
    }
    return report, MotionReport(list(videos), videos, 6)


def test_the_short_table():
    report, motion = made_up()
    table = rows_of(tool.short_table(report, motion))
    assert table[""] == ["L1 ↓", "AED ↓", "EPE, person ↓"] and list(table) == ["", REPEATED, "a", "b"]
    assert table["a"] == [
        format_interval(report.interval("a", "l1"), 4),
        "0.500 (0.500 to 0.500)",
        "2.00 (1.00 to 3.00)",
    ]
    assert rows_of(tool.short_table(report, None))["b"][-1] == "–"


def test_pairs():
    report, _ = made_up()
    lines = tool.paired_table(report).splitlines()[2:]
    assert len(lines) == 3 * 2 and lines[0].startswith(f"| a – {REPEATED} | {METRICS['l1'].title} | -")
    assert "| 3 : 0 |" in lines[0] and lines[-1].startswith("| b – a | AED | 0.000")


def test_the_page_names_what_is_missing():
    report, motion = made_up()
    report.gaps = ["LPIPS: not measured"]
    reports = dict.fromkeys(("reconstruction", "animation", "at_256"), report)
    text = tool.page(reports, None, "Not measured: no EGL", "Weights: a.")
    assert "Not measured: no EGL" in text and "- LPIPS: not measured" in text
    assert "keypoint spread" in tool.page(reports, motion, "", "")


def test_the_readme_changes_between_the_marks_only(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{tool.START}\nold\n{tool.END}\nafter\n")
    tool.put_into_page("new", readme)
    assert readme.read_text() == f"before\n{tool.START}\nnew\n{tool.END}\nafter\n"
    readme.write_text("nothing")
    with pytest.raises(InputError, match="needs the lines"):
        tool.put_into_page("new", readme)
    assert readme.read_text() == "nothing"


def test_bad_weights_are_one_line(tmp_path, capsys):
    assert tool.main(["none-such", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
