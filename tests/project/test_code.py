"""The rules of the library's code: imports, tests, docstrings, sizes and words."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FILES = sorted((ROOT / "fomm_lib").rglob("*.py"))
NAMES = [path.relative_to(ROOT / "fomm_lib").as_posix() for path in FILES]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

every_file = pytest.mark.parametrize("path", FILES, ids=NAMES)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# --- imports ------------------------------------------------------------------------------------------------


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    """`lint-imports`, with the contract of pyproject.toml, over the package in a folder."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


def test_a_module_imports_only_from_layers_below_its_own():
    run = lint_imports(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture
def a_copy(tmp_path):
    shutil.copytree(
        ROOT / "fomm_lib", tmp_path / "fomm_lib", ignore=shutil.ignore_patterns("__pycache__", ".ruff_cache")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_an_import_from_above_is_refused(a_copy):
    with (a_copy / "fomm_lib" / "geometry.py").open("a") as file:
        file.write("\n\ndef _later():\n    from fomm_lib.animation.animator import Animator  # noqa\n")
    run = lint_imports(a_copy)
    assert run.returncode == 1 and "fomm_lib.geometry -> fomm_lib.animation.animator" in run.stdout


def test_a_module_without_a_layer_is_refused(a_copy):
    (a_copy / "fomm_lib" / "attic.py").write_text('"""Things."""\n')
    run = lint_imports(a_copy)
    assert run.returncode == 1 and "attic" in run.stdout + run.stderr


def private_imports(source: str) -> list[str]:
    """Names with a leading underscore that a source takes from a module of the library."""
    tree = ast.parse(source)
    modules, found = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fomm_lib":
            modules |= {alias.asname or alias.name for alias in node.names}
            found += [f"{node.module}.{alias.name}" for alias in node.names if private(alias.name)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and private(node.attr):
            found += [f"{node.value.id}.{node.attr}"] * (node.value.id in modules)
    return found


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_private_imports_are_seen():
    source = """
from fomm_lib.version import __version__
from fomm_lib.media import video
from fomm_lib.losses import _mean_difference, perceptual_loss
video._seek(self._position, video.read_image)
"""
    assert private_imports(source) == ["fomm_lib.losses._mean_difference", "video._seek"]


@every_file
def test_no_module_imports_a_private_name_of_another(path):
    assert private_imports(text_of(path)) == []


# --- tests --------------------------------------------------------------------------------------------------

# Modules that another test file tests.
TESTED_BY = {
    "__init__.py": "test_public_face.py",
    "__main__.py": "cli/test_main.py",
    "errors.py": "test_files.py",
    "version.py": "project/test_project.py",
    "cli/animating.py": "cli/test_main.py",
    "cli/app.py": "cli/test_main.py",
    "cli/data.py": "cli/test_main.py",
    "cli/evaluating.py": "cli/test_main.py",
    "cli/training.py": "cli/test_main.py",
    "cli/weights.py": "cli/test_main.py",
    "synthetic/photographs/reasons.py": "synthetic/photographs/test_portraits.py",
    "synthetic/photographs/shape.py": "synthetic/photographs/test_fit.py",
}


def mirror_of(name: str) -> Path:
    """Where the tests of a module are, e.g. tests/media/test_video.py for media/video.py.

    A folder within a folder has one file: tests/course/test_plots.py for all of course/plots/; or a folder.
    """
    path = Path(name)
    if len(path.parts) > 2 and not (ROOT / "tests" / path.parent).is_dir():
        path = path.parent.with_suffix(".py")
    return ROOT / "tests" / TESTED_BY.get(name, path.with_name(f"test_{path.name}"))


@pytest.mark.parametrize("name", [name for name in NAMES if "/__init__" not in name])
def test_every_module_has_its_tests(name):
    assert mirror_of(name).is_file(), f"write {mirror_of(name).relative_to(ROOT)}"


def test_the_list_of_modules_tested_elsewhere_is_short_and_true():
    assert set(TESTED_BY) <= set(NAMES)


# --- docstrings ---------------------------------------------------------------------------------------------


def undocumented(source: str) -> list[str]:
    """Public functions, classes and methods without a docstring.

    `forward` is described by its class, and an overriding method by the one of the same file it overrides.
    """
    tree = ast.parse(source)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    public = [
        node
        for node in tree.body
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_")
    ]
    found = [] if ast.get_docstring(tree) else ["the module"]
    found += [node.name for node in public if not ast.get_docstring(node)]
    for node in public:
        if isinstance(node, ast.ClassDef):
            bases = [
                classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes
            ]
            overridden = {inner.name for base in bases for inner in base.body if isinstance(inner, FUNCTIONS)}
            found += [
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, FUNCTIONS)
                and not inner.name.startswith("_")
                and inner.name not in {"forward", *overridden}
                and not ast.get_docstring(inner)
            ]
    return found


def test_missing_docstrings_are_seen():
    source = '''
"""A module."""
def f(): ...
def _g(): ...
class C:
    """A class."""
    def m(self): ...
    def forward(self): ...
    def _hidden(self): ...
class D(C):
    """Another."""
    def m(self): ...
    def n(self): ...
'''
    assert undocumented(source) == ["f", "C.m", "D.n"]
    assert undocumented("x = 1") == ["the module"]


@every_file
def test_every_public_name_has_a_docstring(path):
    assert undocumented(text_of(path)) == []
    assert "TODO" not in text_of(path)


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES} - {ROOT / "fomm_lib"}))
def test_a_folder_says_what_each_of_its_files_holds(folder):
    said = ast.get_docstring(ast.parse(text_of(folder / "__init__.py")))
    inside = {
        path.stem for path in folder.iterdir() if (path / "__init__.py").is_file() or path.suffix == ".py"
    }
    named = {name for name in inside if re.search(rf"\b{name}\b", said)}
    named |= {name for name in inside if re.match(r"nb\d\d_", name)}  # a file per notebook
    assert inside - named == {"__init__"}


# --- sizes --------------------------------------------------------------------------------------------------

LONGEST_FILE, LONGEST_FUNCTION = 600, 80


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that hold code: not empty, no comment, no docstring."""
    strings = set()
    for node in ast.walk(ast.parse(source)):
        for inner in getattr(node, "body", []) if not isinstance(node, (ast.Lambda, ast.IfExp)) else []:
            if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant):
                strings |= set(range(inner.lineno, inner.end_lineno + 1))
    no_code = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in no_code:
            found |= set(range(token.start[0], token.end[0] + 1))
    return found - strings


def long_functions(source: str, longest: int) -> list[str]:
    """Functions of more lines of code than `longest`."""
    lines = code_lines(source)
    sizes = {
        node.name: len(lines & set(range(node.lineno, node.end_lineno + 1)))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, FUNCTIONS)
    }
    return [f"{name}: {size} lines of code" for name, size in sizes.items() if size > longest]


def test_lines_of_code_are_counted_without_docstrings_and_comments():
    source = 'def f():\n    """Of\n    two lines."""\n\n    # why\n    x = """a\n    b"""\n    return x\n'
    assert code_lines(source) == {1, 6, 7, 8}
    assert long_functions(source, 3) == ["f: 4 lines of code"] and long_functions(source, 4) == []


@every_file
def test_files_and_functions_stay_short(path):
    assert len(text_of(path).splitlines()) <= LONGEST_FILE
    assert long_functions(text_of(path), LONGEST_FUNCTION) == []


# --- words --------------------------------------------------------------------------------------------------

# One word for a thing: image, video, audio, discriminator, with_visuals; see CONTRIBUTING.md.
BANNED = re.compile(
    r"\b(pictures?|films?|sounds?|judg(e|es|ed|ing)|for_people|strangers?|forth and back)\b", re.IGNORECASE
)
QUOTED = ['"--pictures"', '{"column": "sound"}']  # a published option, a published column; quotes of others


def prose_of(path: Path) -> str:
    """What a reader sees of a file: of a notebook its cells and texts, without encoded images."""
    if path.suffix != ".ipynb":
        return text_of(path)
    texts = []
    for cell in json.loads(text_of(path))["cells"]:
        texts += cell["source"]
        for output in cell.get("outputs", []):
            texts += output.get("text", []) + output.get("data", {}).get("text/plain", [])
    return "".join(texts)


WRITTEN = [
    ROOT / "README.md",
    *FILES,
    *(path for path in sorted((ROOT / "notebooks").glob("*.*")) if path.is_file()),
]


@pytest.mark.parametrize("path", WRITTEN, ids=[path.relative_to(ROOT).as_posix() for path in WRITTEN])
def test_every_thing_has_one_word(path):
    text = prose_of(path)
    for quote in QUOTED:
        text = text.replace(quote, "")
    found = [line.strip() for line in text.splitlines() if BANNED.search(line)]
    assert found == []
