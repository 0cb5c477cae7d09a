"""`import fomm_lib as fomm`: every promised name is there, and nothing is imported before it is needed."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import fomm_lib as fomm

pytestmark = pytest.mark.quick

PACKAGE = Path(fomm.__file__).parent


@pytest.mark.parametrize("name", fomm.__all__)
def test_every_name_is_what_its_module_calls_so(name):
    module = importlib.import_module(f"fomm_lib.{fomm._HOME[name]}")
    assert getattr(fomm, name) is getattr(module, name)
    assert getattr(fomm, name).__module__ == module.__name__


def test_editors_are_told_the_same():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {
        node.module.removeprefix("fomm_lib."): [alias.name for alias in node.names] for node in block.body
    }
    assert told == fomm._PUBLIC


def modules() -> list[str]:
    """All modules and folders below `fomm_lib`, as `media.video`."""
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return sorted({".".join(part for part in path.parts if part != "__init__") for path in paths} - {""})


def test_no_name_hides_a_module():
    top_level = {name.partition(".")[0] for name in modules()}
    assert top_level.isdisjoint(fomm.__all__)
    assert set(fomm._PUBLIC) <= set(modules())


def test_modules_are_there_too():
    assert fomm.geometry is importlib.import_module("fomm_lib.geometry")
    assert fomm.media is importlib.import_module("fomm_lib.media")


def test_dir_lists_what_there_is():
    assert set(fomm.__all__) <= set(dir(fomm))
    assert "__version__" in dir(fomm)


@pytest.mark.parametrize("name", ["load_modle", "_private"])
def test_an_unknown_name(name):
    with pytest.raises(AttributeError, match=f"module 'fomm_lib' has no attribute '{name}'"):
        getattr(fomm, name)


def test_importing_it_imports_nothing_large():
    # By what is loaded, not by the clock: PyTorch alone takes a second or more.
    script = "import sys, fomm_lib; dir(fomm_lib); print([m for m in sys.modules if not m.startswith('_')])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ast.literal_eval(run.stdout)}
    assert loaded & {"torch", "torchvision", "numpy", "scipy", "pydantic", "av", "imageio", "PIL"} == set()
    assert "fomm_lib" in loaded


LARGE = {"torch", "torchvision", "numpy", "scipy", "pydantic", "av", "imageio", "PIL", "matplotlib"}


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("errors", set()),
        ("files", set()),
        ("releases", set()),
        ("media.formats", set()),
        ("media.sandbox", set()),
        ("data.cleaning", {"numpy", "av", "PIL"}),  # so that a process that checks files starts quickly
    ],
)
def test_light_modules_stay_light(module, allowed):
    script = f"import sys, fomm_lib.{module}; print(*{LARGE} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= allowed


def test_every_module_can_be_imported():
    """Here; a deprecation that comes from our code is an error, also where another test imports it first."""
    names = [name for name in modules() if not name.startswith("__")]
    assert len(names) > 80
    for name in names:
        importlib.import_module(f"fomm_lib.{name}")
