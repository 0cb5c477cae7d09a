"""`files`: where data lies, and files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fomm_lib import files
from fomm_lib.errors import InputError
from fomm_lib.files import atomic_folder, atomic_output, data_path, existing_file, refuse_address
from tests.support.paths import ROOT

needs_umask = pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")


# --- where data lies -------------------------------------------------------------------------------------


def test_data_of_the_repository(monkeypatch):
    monkeypatch.delenv("FOMM_DATA", raising=False)
    assert data_path() == ROOT / "data"
    assert data_path("configs", "vox-256.yaml").is_file()
    assert data_path("no", "such", "thing").parts[-3:] == ("no", "such", "thing")


def test_data_of_the_environment_comes_first(monkeypatch, tmp_path):
    monkeypatch.setenv("FOMM_DATA", str(tmp_path))
    assert data_path("weights") == tmp_path / "weights"
    monkeypatch.setenv("FOMM_DATA", "")
    assert data_path("weights") != Path("weights")


def test_data_of_an_installed_wheel(monkeypatch, tmp_path):
    monkeypatch.delenv("FOMM_DATA", raising=False)
    monkeypatch.setattr(files, "_PACKAGE", tmp_path / "site-packages" / "fomm_lib")
    assert data_path("weights") == tmp_path / "site-packages" / "fomm_lib" / "_data" / "weights"


# --- whole or not at all ---------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "losses.csv"
    with atomic_output(path) as temporary:
        temporary.write_text("step,loss\n")
        assert not path.exists()
        # In the same folder, so that renaming is no copying; with the suffix that tells encoders the format.
        assert temporary.parent == tmp_path and temporary.suffix == ".csv" and temporary.name[0] == "."
    assert path.read_text() == "step,loss\n"
    assert names(tmp_path) == ["losses.csv"]


def test_a_name_may_be_text_and_without_suffix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_output("losses") as temporary:
        temporary.write_text("1")
    assert names(tmp_path) == ["losses"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_on_an_error_nothing_remains(tmp_path, error):
    path = tmp_path / "out.mp4"
    with pytest.raises(error), atomic_output(path) as temporary:
        temporary.write_text("half of it")
        raise error
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_on_an_error_the_old_file_stays(tmp_path, error):
    path = tmp_path / "out.mp4"
    path.write_text("old")
    with pytest.raises(error), atomic_output(path, overwrite=True) as temporary:
        temporary.write_text("half of it")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["out.mp4"]


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    script = """
import os, signal, sys, time
from fomm_lib.files import atomic_output
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores Ctrl-C
with atomic_output(sys.argv[1], overwrite=True) as temporary:
    temporary.write_text("half of it")
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
"""
    path = tmp_path / "out.mp4"
    path.write_text("old")
    run = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert "KeyboardInterrupt" in run.stderr
    assert path.read_text() == "old" and names(tmp_path) == ["out.mp4"]


def test_when_the_last_step_fails_nothing_remains(tmp_path):
    path = tmp_path / "out.mp4"
    with pytest.raises(OSError), atomic_output(path) as temporary:
        temporary.write_text("all of it")
        path.mkdir()
        (path / "in the way").touch()
    assert names(tmp_path) == ["out.mp4"] and names(path) == ["in the way"]


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_text("old")
    with (
        pytest.raises(InputError, match=r"out\.mp4: exists already; choose another name"),
        atomic_output(path),
    ):
        pytest.fail("the body must not run")
    assert path.read_text() == "old"
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and names(tmp_path) == ["out.mp4"]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="is a folder; give the name of a file"), atomic_output(tmp_path):
        pytest.fail("the body must not run")


def test_the_folder_must_exist(tmp_path):
    path = tmp_path / "no" / "out.mp4"
    with pytest.raises(InputError, match=r"no does not exist; make it first"), atomic_output(path):
        pytest.fail("the body must not run")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    message = r"out\.mp4: cannot write there \(No space left on device\)"
    with pytest.raises(InputError, match=message), atomic_output(tmp_path / "out.mp4"):
        pytest.fail("the body must not run")


@needs_umask
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_permissions_are_those_of_any_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_output(tmp_path / "out.mp4") as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600, "private while it is unfinished"
        assert os.umask(umask) == umask, "left as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.mp4").stat().st_mode) == mode


# --- folders ---------------------------------------------------------------------------------------------

FRAMES = r"\d+\.png"


def test_the_folder_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "frames"
    with atomic_folder(path) as temporary:
        (temporary / "0.png").write_text("0")
        assert not path.exists() and list(temporary.iterdir()) == [temporary / "0.png"]
        assert [name[0] for name in names(tmp_path)] == ["."], "hidden, and beside the result"
    assert names(path) == ["0.png"] and names(tmp_path) == ["frames"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_on_an_error_the_old_folder_stays(tmp_path, error):
    path = tmp_path / "frames"
    with pytest.raises(error), atomic_folder(path) as temporary:
        (temporary / "0.png").touch()
        raise error
    assert names(tmp_path) == []
    path.mkdir()
    (path / "7.png").touch()
    with pytest.raises(error), atomic_folder(path, overwrite=True, replaceable=FRAMES) as temporary:
        (temporary / "0.png").touch()
        raise error
    assert names(tmp_path) == ["frames"] and names(path) == ["7.png"]


FOLDER_SCRIPT = """
import os, signal, sys, time
from fomm_lib.files import atomic_folder
signal.signal(signal.SIGINT, signal.default_int_handler)
with atomic_folder(sys.argv[1], overwrite=True, replaceable=r".*") as temporary:
    (temporary / "0.png").touch()
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    time.sleep(10)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize("signal", ["SIGINT", "SIGKILL"])
def test_a_signal_leaves_the_old_folder(tmp_path, signal):
    path = tmp_path / "frames"
    path.mkdir()
    (path / "7.png").touch()
    run = subprocess.run([sys.executable, "-c", FOLDER_SCRIPT, str(path), signal], capture_output=True)
    assert run.returncode != 0 and names(path) == ["7.png"]
    others = [name for name in names(tmp_path) if name != "frames"]
    if signal == "SIGINT":
        assert others == []
    else:
        assert [name.startswith(".frames.") and name.endswith(".partial") for name in others] == [True]


def test_only_earlier_results_are_replaced(tmp_path):
    path = tmp_path / "frames"
    path.mkdir()
    with atomic_folder(path) as temporary:  # an empty folder holds nothing to lose
        (temporary / "0.png").touch()
        (temporary / "1.png").touch()
    for arguments in ({}, {"replaceable": FRAMES}):
        with pytest.raises(InputError, match="frames: exists already; choose another name"):
            atomic_folder(path, **arguments).__enter__()
    with atomic_folder(path, overwrite=True, replaceable=FRAMES) as temporary:
        (temporary / "5.png").touch()
    assert names(path) == ["5.png"], "replaced as a whole"
    for replaceable in (None, r"\d\.jpg"):
        with pytest.raises(InputError, match="holds more than an earlier result, and is left as it is"):
            atomic_folder(path, overwrite=True, replaceable=replaceable).__enter__()
    (path / "thesis.doc").touch()
    with pytest.raises(InputError, match="holds more than an earlier result"):
        atomic_folder(path, overwrite=True, replaceable=FRAMES).__enter__()
    assert names(path) == ["5.png", "thesis.doc"] and names(tmp_path) == ["frames"]


def test_what_comes_there_in_the_meantime_stays(tmp_path):
    path = tmp_path / "frames"
    with pytest.raises(InputError, match="exists already"), atomic_folder(path) as temporary:
        (temporary / "0.png").touch()
        path.mkdir()
        (path / "in the way").touch()
    assert names(tmp_path) == ["frames"] and names(path) == ["in the way"]


def test_when_the_last_step_fails_the_old_folder_comes_back(tmp_path, monkeypatch):
    path = tmp_path / "frames"
    path.mkdir()
    (path / "7.png").touch()
    rename = Path.rename

    def fails(self, target):
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with (
        pytest.raises(OSError, match="No space left"),
        atomic_folder(path, overwrite=True, replaceable=FRAMES) as temporary,
    ):
        (temporary / "0.png").touch()
    assert names(tmp_path) == ["frames"] and names(path) == ["7.png"]


def test_places_where_no_folder_can_be(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file; give the name of a folder"):
        atomic_folder(tmp_path / "file", overwrite=True, replaceable=".*").__enter__()
    with pytest.raises(InputError, match="no does not exist; make it first"):
        atomic_folder(tmp_path / "no" / "frames").__enter__()

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(InputError, match=r"frames: cannot write there \(No space left on device\)"):
        atomic_folder(tmp_path / "frames").__enter__()


@needs_umask
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o027, 0o750), (0o077, 0o700)])
def test_permissions_of_a_folder_are_those_of_any_new_one(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_folder(tmp_path / "frames") as temporary:
            assert stat.S_IMODE(temporary.parent.stat().st_mode) == 0o700, "private while it is unfinished"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "frames").stat().st_mode) == mode


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n" * 250 + ".csv", "\N{SNOWMAN}" * 83 + ".csv", "n" * 255])
def test_names_as_long_as_the_system_allows(name, tmp_path):
    """Those of the temporary files are no longer than that."""
    with atomic_output(tmp_path / name) as temporary:
        temporary.write_text("whole")
    with atomic_output(tmp_path / name, overwrite=True) as temporary:
        temporary.write_text("again")
    assert (tmp_path / name).read_text() == "again"
    (tmp_path / name).unlink()
    with atomic_folder(tmp_path / name) as temporary:
        (temporary / "a").write_text("whole")
    assert names(tmp_path) == [name] and names(tmp_path / name) == ["a"]


@pytest.mark.parametrize(
    "address", ["https://a.example/me.jpg", "HTTP://a.example/me.jpg", "s3://bucket/a.mp4", "file:///me.jpg"]
)
@pytest.mark.parametrize("form", [str, Path])
def test_an_address_is_no_file(form, address):
    expected = f"{address}: is an address; download it first, and give the path of the file"
    for check in (refuse_address, existing_file):
        with pytest.raises(InputError) as caught:
            check(form(address))
        assert str(caught.value).replace("file://me", "file:///me") == expected


def test_what_only_looks_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("me.jpg", "C:/me.jpg", "a:b.jpg", "12:30:00.jpg", "/https/me.jpg", ""):
        refuse_address(name)
    (tmp_path / "https:").mkdir()
    (tmp_path / "https:" / "me.jpg").write_text("whole")
    assert existing_file("https:/me.jpg") == Path("https:/me.jpg")


@pytest.mark.parametrize("thing", [3, None, b"me.jpg", ["me.jpg"], object()])
def test_what_is_no_name_at_all(thing):
    with pytest.raises(InputError, match=f"a {type(thing).__name__} was given; give the name of a file"):
        existing_file(thing)
