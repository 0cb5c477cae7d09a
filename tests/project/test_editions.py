"""The editions for a class, the grader, and nbgrader with a class of one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.support.paths import ROOT
from tools import editions
from tools import nb as tool

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
CHECKS = "fomm_lib.course.exercises.nb00_start_here"


def text_of(notebook):
    return "\n".join(cell.source for cell in nbformat.read(notebook, as_version=4).cells)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    out = tmp_path_factory.mktemp("course") / "student"
    assert tool.main(["student", "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_student_gets_no_solution_and_no_answer(notebook, student):
    given, full = text_of(student / notebook.name), text_of(notebook)
    assert "<summary>Solution" in full and "<summary>Answer" in full
    assert "<summary>Solution" not in given and "<summary>Answer" not in given
    assert given.count("<summary>Hint") == full.count("<summary>Hint")
    for block in re.findall(r"<summary>Solution[^<]*</summary>.*?```python\n(.*?)```", full, re.S):
        assert block not in given
    before, after = (nbformat.read(path, as_version=4) for path in (notebook, student / notebook.name))
    assert [cell.outputs for cell in tool.code_cells(before)] == [
        cell.outputs for cell in tool.code_cells(after)
    ]
    nbformat.validate(after)


def swallowed(text):
    """Lines that Markdown takes for a part of the fold before them, because no empty line stands between."""
    return re.findall(r"</details>\n(?!<details>)([^\n]+)", text)


def test_what_a_fold_swallows_is_seen():
    assert swallowed("<details>a</details>\n### Exercise 2") == ["### Exercise 2"]
    assert swallowed("<details>a</details>\n<details>b</details>\n\n### Exercise 2\n") == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_fold_swallows_what_follows_it(notebook, student):
    for path in (notebook, student / notebook.name):
        sources = [cell.source for cell in nbformat.read(path, as_version=4).cells]
        assert [line for source in sources for line in swallowed(source)] == []


def test_a_student_gets_notebooks_and_the_glossary_only(student):
    names = {path.name for path in student.iterdir()}
    assert names == {"GLOSSARY.md", *(path.name for path in NOTEBOOKS)}


def test_an_instructor_gets_everything(tmp_path, capsys):
    assert tool.main(["student", "--edition", "instructor", "--out", str(tmp_path / "all")]) == 0
    assert f"all: {len(NOTEBOOKS)} notebooks, instructor edition" in capsys.readouterr().out
    for notebook in NOTEBOOKS:
        assert text_of(tmp_path / "all" / notebook.name) == text_of(notebook)
    assert {"INSTRUCTOR.md", "QUIZ.md", "GLOSSARY.md"} <= {path.name for path in (tmp_path / "all").iterdir()}


def test_an_edition_overwrites_nothing(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        tool.main(["student", "--out", str(tmp_path)])
    assert "is not empty; give a new folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(["student"])
    assert "say where to write, with --out DIR" in capsys.readouterr().err


# --- the grader ---------------------------------------------------------------------------------------------


def handed_in(folder, *sources, name="anna_00_start_here.ipynb"):
    nb = nbformat.v4.new_notebook()
    nb.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nb, folder / name)
    return folder / name


def points_of(name):
    nb = nbformat.read(NOTEBOOKS[0], as_version=4)
    return {task.name: task.minutes for task in editions.tasks(nb)}[name]


IMPORT = f"from {CHECKS} import check_motion_channels, check_places_of_pixels"


def test_the_grader_asks_the_checks_and_not_the_output(tmp_path):
    right = "check_motion_channels(lambda points, colours: (points + 1) * (colours + 1))"
    found = editions.grade(handed_in(tmp_path, IMPORT, right, "1 / 0"), ROOT / "notebooks")
    assert found.outcomes["motion_channels"] == ("ok", points_of("motion_channels"))
    assert found.outcomes["places_of_pixels"][0] == "missing" and found.errors == 1
    every = sum(minutes for _, minutes in found.outcomes.values())
    assert str(found).startswith("1 ok, 0 wrong, 0 todo, ")
    assert f"{points_of('motion_channels')} of {every} points; 1 other errors" in str(found)


@pytest.mark.parametrize(
    "source, outcome",
    [
        ('print("ok    motion_channels: 4 checks passed")', "missing"),
        ("check_motion_channels = print\ncheck_motion_channels('ok')", "missing"),
        ("check_motion_channels(lambda points, colours: points)", "wrong"),
        ("def stub(*_):\n    raise NotImplementedError\n\ncheck_motion_channels(stub)", "todo"),
    ],
)
def test_what_earns_nothing(tmp_path, source, outcome):
    found = editions.grade(handed_in(tmp_path, IMPORT, source), ROOT / "notebooks")
    assert found.outcomes["motion_channels"][0] == outcome and " 0 of " in str(found)


def test_the_grader_as_a_teacher_types_it(tmp_path, capsys):
    path = handed_in(tmp_path, IMPORT)
    assert tool.main(["grade", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: 0 ok, 0 wrong, 0 todo, ")
    for wrong, message in (
        (tmp_path / "none.ipynb", "no such file"),
        (None, "contains none of the course's"),
    ):
        wrong = wrong or handed_in(tmp_path, IMPORT, name="homework.ipynb")
        with pytest.raises(SystemExit):
            tool.main(["grade", str(wrong)])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_exercise_is_found_with_its_minutes(notebook):
    nb = nbformat.read(notebook, as_version=4)
    found = list(editions.tasks(nb))
    called = re.findall(r"^(check_\w+)\(", "\n".join(tool.section(nb, "Exercises", "code")), re.M)
    assert [task.check for task in found] == called
    assert all(task.minutes > 0 for task in found)


# --- nbgrader -----------------------------------------------------------------------------------------------


def nbgrader(folder, *words):
    command = [sys.executable, "-m", "nbgrader", *words]
    done = subprocess.run(
        command, cwd=folder, env=tool.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_nbgrader_makes_a_release_and_grades_it(tmp_path, monkeypatch):
    pytest.importorskip("nbgrader", reason="needs the extra `teaching`")
    # nbgrader starts a command of its environment, which need not be active.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    from nbgrader.api import Gradebook

    small = tmp_path / "notebooks" / "00_start_here.ipynb"
    small.parent.mkdir()
    nb = nbformat.v4.new_notebook()
    label = "*code · difficulty 1 of 5 · importance 1 of 5 · {} minutes*"
    exercises = ("motion_channels", 7), ("places_of_pixels", 5)
    nb.cells = [nbformat.v4.new_code_cell(IMPORT)]
    for number, (name, minutes) in enumerate(exercises, 1):
        text = f"### Exercise {number} · Words\n\n{label.format(minutes)}"
        stub = f"def {name}(*_):\n    raise NotImplementedError\n\n\ncheck_{name}({name})"
        solution = "<details><summary>Solution</summary>\n\nsecret\n\n</details>"
        nb.cells += [
            nbformat.v4.new_markdown_cell(text),
            nbformat.v4.new_code_cell(stub),
            nbformat.v4.new_markdown_cell(solution),
        ]
    nbformat.write(nb, small)
    shutil.copy(ROOT / "notebooks" / "GLOSSARY.md", small.parent)
    course = tmp_path / "course"
    editions.write([small], course, "nbgrader")

    nbgrader(course, "generate_assignment", small.stem, "--create")
    released = course / "release" / small.stem / small.name
    assert "outcomes" not in text_of(released) and "secret" not in text_of(released)

    right = "def motion_channels(points, colours):\n    return (points + 1) * (colours + 1)"
    for student, edit in (
        ("anna", lambda source: right if "def motion" in source else source),
        ("bob", lambda source: source.replace("check_motion_channels(motion_channels)", 'print("ok    ")')),
        (
            "eve",
            lambda source: source + "\ncheck_motion_channels = print" if "def motion" in source else source,
        ),
    ):
        mine = nbformat.read(released, as_version=4)
        for cell in mine.cells:
            cell.source = edit(cell.source)
        place = course / "submitted" / student / small.stem
        place.mkdir(parents=True)
        nbformat.write(mine, place / small.name)
    nbgrader(course, "autograde", small.stem, "--create")
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        scores = {
            student: (found.score, found.max_score)
            for student in ("anna", "bob", "eve")
            for found in [book.find_submission(small.stem, student)]
        }
    assert scores == {"anna": (7, 12), "bob": (0, 12), "eve": (0, 12)}


def test_all_notebooks_become_nbgrader_notebooks(tmp_path):
    out = tmp_path / "course"
    editions.write(NOTEBOOKS, out, "nbgrader")
    for notebook in NOTEBOOKS:
        made = nbformat.read(out / "source" / notebook.stem / notebook.name, as_version=4)
        nbformat.validate(made)
        graded = [cell for cell in made.cells if "nbgrader" in cell.metadata]
        wanted = list(editions.tasks(nbformat.read(notebook, as_version=4)))
        assert [cell.metadata.nbgrader.grade_id for cell in graded] == [task.check for task in wanted]
        assert [cell.metadata.nbgrader.points for cell in graded] == [task.minutes for task in wanted]
        assert all(
            cell.source.startswith(f"{task.check}(") for cell, task in zip(graded, wanted, strict=True)
        )
    compile((out / "nbgrader_config.py").read_text(encoding="utf-8"), "config", "exec")
