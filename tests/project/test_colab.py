"""A notebook alone, as on Colab: an empty folder, PyTorch there, the course not; the notebook fetches it.

`google.colab` is a stub, and the repository's address leads to a clone of this checkout.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tools import nb as tool

NOTEBOOK = "00_start_here.ipynb"

pytestmark = pytest.mark.needs_system


def run(*command, **settings) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **settings
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A git repository of what is checked out here, committed."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path_factory.mktemp("clone")
    left_out = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".ipynb_checkpoints", ".pytest_cache")
    shutil.copytree(ROOT, folder / "course", ignore=left_out)
    course = folder / "course"
    me = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    run("git", "init", "--quiet", "--initial-branch=main", cwd=course)
    run("git", "add", "--all", cwd=course)
    run("git", *me, "commit", "--quiet", "--message=all of it", cwd=course)
    return course


@pytest.fixture(scope="module")
def colab(tmp_path_factory, clone):
    """A Python with everything but the course, and the environment to run it in."""
    home = tmp_path_factory.mktemp("colab")
    run(sys.executable, "-m", "venv", home / "venv")
    python = next((home / "venv").glob("bin/python"))
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # The packages of this Python are found, but not those that a .pth file adds: not this checkout.
    (packages / "colab.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (packages / "google/colab").mkdir(parents=True)
    (packages / "google/colab/__init__.py").touch()
    startup = home / "ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "00-colab.py").write_text("import google.colab\n")
    environment = tool.environment() | {
        "IPYTHONDIR": str(home / "ipython"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{clone.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": tool.REPOSITORY,
    }
    for name in ("PYTHONPATH", "FOMM_DATA", "VIRTUAL_ENV"):
        environment.pop(name, None)
    return python, environment


def test_a_notebook_alone_fetches_the_course_and_runs(colab, tmp_path):
    python, environment = colab
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, tmp_path)
    find = "try:\n    import fomm_lib.model\nexcept ImportError:\n    print('not there')"
    assert run(python, "-c", find, cwd=tmp_path, env=environment) == "not there\n"  # else nothing is proved
    execute = ["-m", "nbconvert", "--to", "notebook", "--execute", "--output", "done.ipynb"]
    run(python, *execute, "--ExecutePreprocessor.timeout=900", NOTEBOOK, cwd=tmp_path, env=environment)
    where = run(python, "-c", "import fomm_lib; print(fomm_lib.__file__)", cwd=tmp_path, env=environment)
    assert Path(where.strip()).is_relative_to(python.parent.parent)
    done = json.loads((tmp_path / "done.ipynb").read_text(encoding="utf-8"))
    counts = [cell["execution_count"] for cell in done["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
