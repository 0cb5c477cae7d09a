"""Editions of the notebooks for a class, and the grader of what students hand in.

    python -m tools.nb student --out DIR                      notebooks without solutions and answers
    python -m tools.nb student --edition instructor --out DIR     with them, and the guide and the quiz
    python -m tools.nb student --edition nbgrader --out DIR       a course folder for nbgrader
    python -m tools.nb grade FILE ...                         run handed-in notebooks and read their checks

An edition has no `.py` files: they belong to the course's own repository.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tools import nb_page

FOLDED = re.compile(r"<details>\s*<summary>\s*(Solution|Answer)[^<]*</summary>.*?</details>\s*", re.S)
CHECK = re.compile(r"^(check_\w+)\(.*\)\s*$", re.M)
FOR_ALL = ("GLOSSARY.md",)
FOR_TEACHERS = ("INSTRUCTOR.md", "QUIZ.md")

CONFIG = '''"""Settings of nbgrader; it reads them in the folder where it is started."""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "{name}"
c.ExecutePreprocessor.timeout = 600
c.ClearSolutions.enforce_metadata = False
'''
HIDDEN_TEST = """
### BEGIN HIDDEN TESTS
from fomm_lib.course.exercises.checker import outcomes
assert outcomes().get("{name}") == "ok"
### END HIDDEN TESTS"""


@dataclass(frozen=True)
class Task:
    """An exercise of a notebook: its check, its title, its minutes, and the number of its cell, from 0."""

    check: str
    title: str
    minutes: int
    cell: int

    @property
    def name(self) -> str:
        return self.check.removeprefix("check_")


def tasks(nb: nbformat.NotebookNode) -> Iterator[Task]:
    """The exercises of a notebook: a heading, a label, then the cell that calls the check."""
    title, minutes = "", 0
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            for heading in re.findall(r"^### (Exercise \d+ · [^\n]+)$", cell.source, re.M):
                title, minutes = heading, 0
            labels = nb_page.LABEL.findall(cell.source)
            minutes = int(labels[-1][1]) if labels else minutes
        elif title and (call := CHECK.search(cell.source)):
            yield Task(call[1], title, minutes, number)
            title = ""


def without_solutions(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook for students: solutions and answers are gone, hints and outputs stay."""
    nb = nbformat.from_dict(nb)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            # An empty line stays: Markdown reads a heading next to the end of a fold as part of the fold.
            cell.source = re.sub(r"\n{3,}", "\n\n", FOLDED.sub("\n\n", cell.source)).strip()
    nb.cells = [cell for cell in nb.cells if cell.source]
    return nb


def for_nbgrader(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook for nbgrader: each check is a locked cell with points, as many as the exercise has minutes.

    nbgrader writes locked cells anew before it grades, and adds a hidden line that asks the library what the
    check found: a check that was replaced, or an output that was printed by hand, earns nothing.
    """
    nb = without_solutions(nb)
    marked = list(tasks(nb))
    for task in reversed(marked):
        cell = nb.cells[task.cell]
        call = CHECK.search(cell.source)
        graded = nbformat.v4.new_code_cell(call[0].strip() + HIDDEN_TEST.format(name=task.name))
        graded.metadata["nbgrader"] = {
            "schema_version": 3,
            "grade_id": task.check,
            "grade": True,
            "solution": False,
            "task": False,
            "locked": True,
            "points": task.minutes,
        }
        cell.source = (cell.source[: call.start()] + cell.source[call.end() :]).strip()
        cell.outputs, cell.execution_count = [], None
        nb.cells.insert(task.cell + 1, graded)
    return nb


def write(notebooks: list[Path], out: Path, edition: str = "student") -> list[Path]:
    """Write an edition of notebooks into a new or empty folder; returns the notebooks written.

    Raises:
        FileExistsError: the folder has something in it.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty; give a new folder")
    out.mkdir(parents=True, exist_ok=True)
    change = {"student": without_solutions, "instructor": nbformat.from_dict, "nbgrader": for_nbgrader}[
        edition
    ]
    written = []
    for path in notebooks:
        folder = out / "source" / path.stem if edition == "nbgrader" else out
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(change(nbformat.read(path, as_version=4)), folder / path.name)
        written.append(folder / path.name)
    if edition == "nbgrader":
        (out / "nbgrader_config.py").write_text(CONFIG.format(name=out.resolve().name), encoding="utf-8")
    else:
        for name in FOR_ALL + (FOR_TEACHERS if edition == "instructor" else ()):
            shutil.copy(notebooks[0].with_name(name), out / name)
    return written


@dataclass(frozen=True)
class Grade:
    """What the checks of a handed-in notebook found: {name of the exercise: (outcome, minutes)}."""

    outcomes: dict[str, tuple[str, int]]
    errors: int

    def __str__(self) -> str:
        found = [outcome for outcome, _ in self.outcomes.values()]
        points = sum(minutes for outcome, minutes in self.outcomes.values() if outcome == "ok")
        counts = ", ".join(f"{found.count(kind)} {kind}" for kind in ("ok", "wrong", "todo", "missing"))
        every = sum(minutes for _, minutes in self.outcomes.values())
        return f"{counts}; {points} of {every} points; {self.errors} other errors"


def grade(handed_in: Path, course: Path, timeout: float = 600) -> Grade:
    """Run a handed-in notebook and ask the library what its checks found.

    The exercises, and their points, are those of the course's notebook of the same number. This runs the
    students' code: do it in a container, or on a machine without important data.

    Args:
        handed_in: its name contains the name of the course's notebook, e.g. `anna_03_keypoints.ipynb`.
        course: the folder with the course's notebooks.
        timeout: seconds for a cell.

    Raises:
        ValueError: the name contains none of the course's names.
    """
    original = next((path for path in sorted(course.glob("*.ipynb")) if path.stem in handed_in.stem), None)
    if original is None:
        raise ValueError(f"{handed_in.name}: the name contains none of the course's, such as 03_keypoints")
    nb = nbformat.read(handed_in, as_version=4)
    mark = secrets.token_hex(16)  # which no student can print in advance
    nb.cells.append(
        nbformat.v4.new_code_cell(
            "import json as _json\n"
            "from fomm_lib.course.exercises.checker import outcomes as _outcomes\n"
            f"print('{mark}' + _json.dumps(_outcomes()))"
        )
    )
    NotebookClient(nb, timeout=timeout, kernel_name="python3", allow_errors=True).execute()
    outputs = [output for cell in nb.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in nb.cells[-1].outputs)
    found = json.loads(said.partition(mark)[2] or "{}")
    wanted = {task.name: task.minutes for task in tasks(nbformat.read(original, as_version=4))}
    failed = [o.ename for o in outputs if o.output_type == "error" and o.ename != "WrongAnswer"]
    return Grade(
        {name: (found.get(name, "missing"), minutes) for name, minutes in wanted.items()}, len(failed)
    )
