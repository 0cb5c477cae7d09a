"""A package in a release that does not work here is one clear line, not a TypeError somewhere inside."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from fomm_lib import releases
from fomm_lib.cli import main
from fomm_lib.errors import InputError
from fomm_lib.releases import check_release, importing, newer_than_tested

pytestmark = pytest.mark.quick

BOUND = releases._lower_bounds()["av"]


@pytest.fixture
def installed(monkeypatch):
    """Pretend that packages are installed in other releases: `installed(av="16.0")`; None: not at all."""
    real = releases._installed

    def pretend(**versions: str | None) -> None:
        monkeypatch.setattr(releases, "_installed", lambda name: versions.get(name, real(name)))

    return pretend


def test_what_is_installed_here_is_good():
    for package in ("av", "pillow", "pydantic", "torch", "torchvision", "typer"):
        check_release(package)


def test_too_old(installed):
    installed(av="16.1.0")
    text = f"av 16.1.0 is too old; this needs av{BOUND}: pip install --upgrade av"
    with pytest.raises(InputError, match=f"^{re.escape(text)}$"):
        check_release("av")


@pytest.mark.parametrize("release", ["17.0.1", "18.1.0", "99.0", "99.0rc1", "17.0.1+local"])
def test_from_the_bound_on_anything_goes(installed, release):
    installed(av=release)
    check_release("av")


def test_bounds_of_extras_count_too(installed):
    installed(onnx="1.2")
    with pytest.raises(InputError, match=r"onnx 1\.2 is too old"):
        check_release("onnx")


def test_what_is_missing_or_unknown_is_not_judged(installed):
    installed(av=None)
    check_release("av")
    check_release("no-such-package")


def test_known_not_to_work(installed, monkeypatch):
    monkeypatch.setitem(releases.KNOWN_BREAKS, "av", (">=20,<20.2", "!=20.0.*,!=20.1.*"))
    installed(av="20.1")
    text = r'^av 20\.1 is known not to work here; install another: pip install "av!=20\.0\.\*,!=20\.1\.\*"$'
    with pytest.raises(InputError, match=text):
        check_release("av")
    installed(av="20.2")
    check_release("av")


def test_torchvision_of_another_torch(installed):
    installed(torch="1.13.1+cpu")
    text = (
        r"needs torch[=>]=[\d.]+, and torch 1\.13\.1\+cpu is installed; install both: pip install --upgrade t"
    )
    with pytest.raises(InputError, match=text):
        check_release("torchvision")


def test_without_an_installation_there_are_no_bounds(monkeypatch, installed):
    monkeypatch.setattr(releases, "PROJECT", "no-such-project")
    releases._lower_bounds.cache_clear()
    try:
        installed(av="1.0")
        check_release("av")
    finally:
        releases._lower_bounds.cache_clear()


def test_an_import_that_fails_says_what_to_do():
    with pytest.raises(InputError) as caught, importing("torchvision"):
        raise RuntimeError("operator torchvision::nms\ndoes not exist")
    line = str(caught.value)
    assert "(operator torchvision::nms does not exist)" in line and "\n" not in line
    assert line.endswith("pip install --upgrade --force-reinstall torch torchvision")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_missing_package_says_so_itself():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), importing("av"):
        import no_such_package  # noqa: F401


def test_ctrl_c_in_an_import_stays_that():
    with pytest.raises(ImportError) as caught, importing("av"):
        raise ImportError("while it started") from KeyboardInterrupt()
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)


def test_the_command_line_gives_the_line(tmp_path):
    """With a package's own metadata in an old release before the installed one."""
    metadata = tmp_path / "av-16.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: av\nVersion: 16.0\n")
    first = f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
    script = f"{first}; from fomm_lib.cli.main import main; main(['animate'])"
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == f"fomm: av 16.0 is too old; this needs av{BOUND}: pip install --upgrade av\n"


# --- newer than tested --------------------------------------------------------------------------------------


def test_what_was_never_tested_is_named(installed, monkeypatch):
    by_python = 'av==18.1.0 ; python_version == "3.11"\nav==19.0.2 ; python_version == "3.13"\n'
    text = f"# made by hand\n{by_python}torch==2.15.0\n"
    monkeypatch.setattr(releases, "_constraints", lambda: text)
    installed(av="20.0", torch="2.15.0+cpu")
    assert newer_than_tested() == ["av 20.0 (tested: 19.0.2)"]
    installed(av="19.0.1", torch="2.16.0+cu130")
    assert newer_than_tested() == ["torch 2.16.0+cu130 (tested: 2.15.0)"]
    installed(av=None, torch="2.4")
    assert newer_than_tested() == []


def test_the_recorded_releases_are_found():
    assert "torch==" in releases._constraints()


@pytest.mark.parametrize(
    "error", [TypeError("open() got an unexpected keyword"), AttributeError("no attribute")]
)
def test_a_crash_names_them_before_its_traceback(error, monkeypatch, capsys):
    def crash(*_, **__):
        raise error

    monkeypatch.setattr(main, "app", crash)
    monkeypatch.setattr(releases, "newer_than_tested", lambda: ["av 20.0 (tested: 19.0.2)"])
    with pytest.raises(type(error)):
        main.main(["animate"])
    assert "newer than tested: av 20.0 (tested: 19.0.2)" in capsys.readouterr().err
    monkeypatch.setattr(releases, "newer_than_tested", lambda: [])
    with pytest.raises(type(error)):
        main.main(["animate"])
    assert capsys.readouterr().err == ""
