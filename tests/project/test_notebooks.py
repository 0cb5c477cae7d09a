"""Every notebook keeps the rules, and run again, offline, it prints what it printed when it was committed.

Each notebook runs in its own pytest with nbval: there is one test per notebook here, and a failure shows the
cell with both outputs. The notebooks start when the tests have been collected, and run beside all other
tests, on the other cores (four at most).
"""

import importlib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import nbformat
import pytest

from fomm_lib.course.exercises.checker import Exercise
from fomm_lib.course.exercises.experiment import Experiment
from tests.support.paths import OFFLINE
from tools import nb as tool

NOTEBOOKS = {path.stem: path for path in sorted((tool.ROOT / "notebooks").glob("*.ipynb"))}


def compare(notebook: Path, environment: dict[str, str] | None = None) -> str:
    """Run a notebook and compare its outputs; returns "", or what differs."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "--nbval-cell-timeout",
        "600",
        "--nbval-sanitize-with",
        str(tool.ROOT / "tools" / "nbval.cfg"),
    ]
    quiet = ["-q", "--color=no", "--no-header", "-p", "no:cacheprovider", "--override-ini=addopts="]
    result = subprocess.run(
        [*command, *quiet, str(notebook)],
        cwd=notebook.parent,
        env=(environment or tool.environment()) | {"PYTHONPATH": str(OFFLINE)},
        capture_output=True,
        text=True,
        check=False,
    )
    cells = len(tool.code_cells(nbformat.read(notebook, as_version=4)))
    passed = re.search(r"^(\d+) passed", result.stdout, re.M)
    if result.returncode == 0 and passed and int(passed[1]) == cells:
        return ""
    return f"{notebook.name}, {cells} cells of code:\n{result.stdout}{result.stderr}"


COMPARISONS = {}


def start_early(items: list[pytest.Item], config: pytest.Config) -> None:
    """Start the comparisons that were asked for; tests/conftest.py calls this before the first test."""
    wanted = [
        item.callspec.params["name"]
        for item in items
        if getattr(item, "originalname", None) == "test_outputs_are_those_committed"
    ]
    pool = ThreadPoolExecutor(max_workers=min(max(1, (os.cpu_count() or 1) - 1), 4))
    environment = tool.environment()  # now, as tests change it
    for name in wanted:
        COMPARISONS[name] = pool.submit(compare, NOTEBOOKS[name], environment)
    config.add_cleanup(lambda: pool.shutdown(cancel_futures=True))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_rules_are_kept(name):
    assert tool.check(NOTEBOOKS[name]) == []


QUICK = "04_dense_motion"  # the fastest: 13 s, where 02 takes 15 s and 05 38 s


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.quick] * (name == QUICK)) for name in NOTEBOOKS]
)
def test_outputs_are_those_committed(name):
    differences = COMPARISONS[name].result()
    if differences:
        pytest.fail(differences, pytrace=False)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_folded_solutions_pass_their_checks(name, capsys):
    """Each exercise's solution, as it stands in the text, with what the set-up imports and nothing else."""
    nb = nbformat.read(NOTEBOOKS[name], as_version=4)
    called = set(re.findall(r"^(check_\w+)\(", "\n".join(tool.section(nb, "Exercises", "code")), re.M))
    folded = "\n".join(cell.source for cell in nb.cells if "<details>" in cell.source)
    solutions = {}
    for block in re.findall(r"^```python\n(.*?)^```$", folded, re.M | re.S):
        for check in re.findall(r"^(check_\w+)\(", block, re.M):  # of an experiment
            solutions[check] = block
        for function in re.findall(r"^def (\w+)\(", block, re.M):
            solutions[f"check_{function}"] = block
    assert called <= solutions.keys()
    names = {"__name__": "solutions"}
    with matplotlib.rc_context():  # a set-up chooses the style of the course for all that follows
        for cell in tool.section(nb, "Set-up", "code"):
            exec(cell, names)
    exercises = importlib.import_module(f"fomm_lib.course.exercises.nb{name}")
    given = tool.section(nb, "Exercises", "code")
    for check in sorted(called):
        exercise = getattr(exercises, check)
        if isinstance(exercise, Experiment):
            # It may measure with what the cells of the exercises define.
            around = dict(names)
            for source in given:
                exec(source, around)
            capsys.readouterr()
            exec(solutions[check], around)
        else:
            exec(solutions[check], names)
            capsys.readouterr()
            exercise(names[exercise.name])
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"ok    {exercise.name}")
        if isinstance(exercise, Exercise) and exercise.given:
            assert any(f"def {exercise.name}(" in source for source in given)


def test_every_script_has_its_notebook():
    assert sorted(path.stem for path in (tool.ROOT / "notebooks").glob("[0-9]*.py")) == sorted(NOTEBOOKS)


def test_the_comparison_sees_what_differs(tmp_path):
    """A number that changed, a cell that fails, and cells that are skipped, which nbval alone lets pass."""
    nb = nbformat.v4.new_notebook()
    for count, source in enumerate(("print(3)", "import os\nassert os.environ['OMP_NUM_THREADS'] == '1'"), 1):
        nb.cells.append(nbformat.v4.new_code_cell(source, execution_count=count))
    nb.cells[0].outputs = [nbformat.v4.new_output("stream", text="3\n")]
    path = tmp_path / "01_small.ipynb"
    nbformat.write(nb, path)
    assert compare(path) == ""

    nb.cells[0].outputs[0].text = "4\n"
    nb.cells.append(nbformat.v4.new_code_cell("1 / 0", execution_count=3))
    nbformat.write(nb, path)
    said = compare(path)
    assert said.startswith("01_small.ipynb, 3 cells of code:")
    assert "Cell 0: Cell outputs differ" in said and "'4\\n' == '3\\n'" in said.replace("\\\\n", "\\n")
    assert "ZeroDivisionError" in said

    nb.cells[0].metadata["tags"] = nb.cells[2].metadata["tags"] = ["nbval-skip"]
    nbformat.write(nb, path)
    assert "1 passed" in compare(path)


def test_the_network_is_cut_off(tmp_path):
    """Else a notebook that fetches something would pass here, and fail in a train."""
    nb = nbformat.v4.new_notebook()
    sources = (
        "from urllib.request import urlopen\ntry:\n    urlopen('http://192.0.2.1', timeout=1)\n"
        "except OSError as error:\n    print(error)",
        "import subprocess, sys\nprogram = \"import socket; socket.create_connection(('example.org', 80))\"\n"
        "child = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)\n"
        "print(child.stderr.splitlines()[-1])",
    )
    said = (
        "<urlopen error the network is cut off: '192.0.2.1' was asked for>\n",
        "OSError: the network is cut off: 'example.org' was asked for\n",
    )
    for count, (source, text) in enumerate(zip(sources, said, strict=True), 1):
        cell = nbformat.v4.new_code_cell(source, execution_count=count)
        cell.outputs = [nbformat.v4.new_output("stream", text=text)]
        nb.cells.append(cell)
    nbformat.write(nb, tmp_path / "01_small.ipynb")
    assert compare(tmp_path / "01_small.ipynb") == ""
