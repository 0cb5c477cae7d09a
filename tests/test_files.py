"""`files`: where data lies, and files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from fomm_lib import errors, files
from fomm_lib.checkpoints import weights_path
from fomm_lib.config import load_config
from fomm_lib.data.clips import find_clips, find_stills
from fomm_lib.errors import InputError, Reason, VideoError, error_text, one_line, printable
from fomm_lib.family.weights import read_family
from fomm_lib.files import atomic_folder, atomic_output, check_name, data_path, existing_file
from fomm_lib.media.video import VideoReader, read_image
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
        # On the same disk, so that renaming is no copying; with the name that tells encoders the format.
        assert temporary.name == "losses.csv" and temporary.parent.parent == tmp_path
        assert [name[0] for name in names(tmp_path)] == ["."], "hidden"
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

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    message = r"out\.mp4: cannot write there \(No space left on device\)"
    with pytest.raises(InputError, match=message), atomic_output(tmp_path / "out.mp4"):
        pytest.fail("the body must not run")


@needs_umask
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_permissions_are_those_of_any_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_output(tmp_path / "out.mp4") as temporary:
            assert stat.S_IMODE(temporary.parent.stat().st_mode) == 0o700, "private while it is unfinished"
        assert os.umask(umask) == umask, "left as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.mp4").stat().st_mode) == mode


@needs_umask
def test_the_umask_of_the_process_is_never_changed(tmp_path, monkeypatch):
    """Another thread would make files with other permissions meanwhile."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was changed"))
    with atomic_output(tmp_path / "out.mp4"):
        pass
    with atomic_folder(tmp_path / "frames"):
        pass


def test_a_name_may_have_as_many_characters_as_a_file_may(tmp_path):
    path = tmp_path / ("é" * 125 + ".mp4")  # 254 bytes, of which the first 40 end within a character
    with atomic_output(path) as temporary:
        temporary.write_text("1")
    for write in (atomic_output, atomic_folder):
        with pytest.raises(InputError, match=r"n: cannot write there \(File name too long\)"):
            write(tmp_path / ("n" * 300)).__enter__()
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("write", [atomic_output, atomic_folder])
def test_a_link_to_nothing_is_something(tmp_path, write):
    path = tmp_path / "out"
    path.symlink_to("nothing")
    with pytest.raises(InputError, match=r"exists already|is a file"), write(path):
        pytest.fail("the body must not run")
    assert path.readlink() == Path("nothing")


def test_a_link_is_replaced_if_asked_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "kept").write_text("old")
    for target in ("kept", "nothing"):
        path = tmp_path / f"to {target}"
        path.symlink_to(target)
        with atomic_output(path, overwrite=True) as temporary:
            temporary.write_text("new")
        assert path.read_text() == "new" and not path.is_symlink()
    assert names(tmp_path) == ["kept", "to kept", "to nothing"]
    assert (tmp_path / "kept").read_text() == "old"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
@pytest.mark.parametrize("through_link", [False, True])
def test_pipes_and_devices_are_no_outputs(tmp_path, through_link):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    path = tmp_path / "link" if through_link else pipe
    with pytest.raises(InputError, match="is a pipe, a device or the like"):
        atomic_output(path, overwrite=True).__enter__()
    with pytest.raises(InputError, match="is a pipe, a device or the like"):
        atomic_output("/dev/null", overwrite=True).__enter__()
    assert stat.S_ISFIFO(pipe.stat().st_mode) and names(tmp_path) == ["link", "pipe"]


@pytest.mark.parametrize("code", sorted(files._DISK_FULL))
def test_a_full_disk_is_one_line(tmp_path, code):
    with (
        pytest.raises(InputError, match=r"a\.png: cannot be written \(.+\); make room$"),
        atomic_output(tmp_path / "a.png"),
    ):
        raise OSError(code, os.strerror(code))
    with pytest.raises(InputError, match=r"make room$"), atomic_output(tmp_path / "a.png"):
        raise RuntimeError(f"write(): fd 6 failed with {os.strerror(code)}")  # of PyTorch
    with pytest.raises(RuntimeError, match=r"a bug"), atomic_output(tmp_path / "a.png"):
        raise RuntimeError("a bug")
    assert files.disk_is_full(OSError(code, "")) and not files.disk_is_full(None)
    with pytest.raises(PermissionError), atomic_output(tmp_path / "a.png"):
        raise PermissionError(13, "of something that the body reads")
    assert names(tmp_path) == []


# --- folders ------------------------------------------------------------------------------------------------

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
        pytest.raises(InputError, match=r"frames: cannot be written \(No space left on device\); make room"),
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


# --- what killed processes leave ----------------------------------------------------------------------------

needs_locks = pytest.mark.skipif(files.fcntl is None, reason="Windows has no such locks")
SLEEPS = """
import sys, time
from pathlib import Path
from fomm_lib.files import atomic_folder, atomic_output, only_writer
with %s:
    print("begun", flush=True)
    time.sleep(60)
"""


def started(statement: str, path: Path) -> subprocess.Popen:
    """A process that is inside `with statement`, in which `path` is `sys.argv[1]`."""
    command = [sys.executable, "-c", SLEEPS % statement, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


def killed(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


@needs_locks
@pytest.mark.parametrize("writer", ["atomic_output(sys.argv[1])", "atomic_folder(sys.argv[1])"])
def test_leftovers_of_a_killed_writer_go_and_those_of_a_running_one_stay(tmp_path, writer):
    dead, alive = started(writer, tmp_path / "a.png"), started(writer, tmp_path / "b.png")
    try:
        killed(dead)
        (before,) = [name for name in names(tmp_path) if name.startswith(".a")]
        files.remove_leftovers(tmp_path, tmp_path / "no such folder")
        (kept,) = names(tmp_path)
        assert kept.startswith(".b") and before != kept
    finally:
        killed(alive)


@needs_locks
def test_the_next_writer_in_a_folder_tidies_it_whatever_it_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_tidied", set())
    killed(started("atomic_output(sys.argv[1])", tmp_path / "a.png"))
    assert len(names(tmp_path)) == 1
    with atomic_output(tmp_path / "b.csv"):
        pass
    assert names(tmp_path) == ["b.csv"]


@needs_locks
def test_what_earlier_releases_left_goes_and_nothing_else(tmp_path):
    others = [
        ".hidden",
        ".a.partial",
        "a.abcdefgh.partial",
        ".a.toolonghere.partial.pt",
        ".b.abcdefgh.partial.d",
    ]
    for name in [".step-0000001.ab_de0gh.partial.pt", *others[:-1]]:
        (tmp_path / name).touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / others[-1]).symlink_to("kept", target_is_directory=True)
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([*others[:-1], "kept"]) and names(tmp_path / "kept") == ["file"]


@needs_locks
def test_killed_between_the_two_renamings_the_former_folder_comes_back(tmp_path):
    path = tmp_path / "frames"
    path.mkdir()
    (path / "7.png").touch()
    script = f"""
import os, signal, sys
from pathlib import Path
from fomm_lib.files import atomic_folder
rename = Path.rename
def dies(self, target):
    if self.name == "new":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = dies
with atomic_folder(sys.argv[1], overwrite=True, replaceable={FRAMES!r}) as temporary:
    (temporary / "0.png").touch()
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert not path.exists()
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == ["frames"] and names(path) == ["7.png"]


def test_a_folder_is_made_anew_if_another_process_took_it_for_a_leftover(tmp_path, monkeypatch):
    taken, make = [], tempfile.mkdtemp

    def and_removed(**options):
        made = make(**options)
        if not taken:
            taken.append(made)
            os.rmdir(made)
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", and_removed)
    with atomic_output(tmp_path / "a.png") as temporary:
        assert str(temporary.parent) not in taken
    assert names(tmp_path) == ["a.png"]


# --- one writer at a time -----------------------------------------------------------------------------------


@needs_locks
def test_only_one_process_writes_into_a_folder(tmp_path):
    other = started("only_writer(sys.argv[1])", tmp_path)
    try:
        message = "another process is writing there; wait until it has ended, or choose another name"
        with pytest.raises(InputError, match=message), files.only_writer(tmp_path):
            pytest.fail("the body must not run")
    finally:
        killed(other)
    with (
        files.only_writer(tmp_path),  # the lock died with its process
        pytest.raises(InputError, match="another process"),
        files.only_writer(tmp_path),
    ):
        pytest.fail("the body must not run")
    assert names(tmp_path) == []
    with pytest.raises(InputError, match="no does not exist; make it first"):
        files.only_writer(tmp_path / "no" / "no").__enter__()


@needs_locks
def test_only_one_process_writes_a_file(tmp_path):
    path = tmp_path / "report.csv"
    other = started("only_writer(sys.argv[1])", path)
    try:
        with pytest.raises(InputError, match=r"report\.csv: another process is writing there"):
            files.only_writer(path).__enter__()
        with files.only_writer(tmp_path / "another.csv"):
            pass
    finally:
        killed(other)
    with files.only_writer(path):
        pass
    assert names(tmp_path) == []


@needs_locks
@pytest.mark.parametrize("code", sorted(files._NO_LOCKS))
def test_a_file_system_without_locks_is_written_to_all_the_same(tmp_path, monkeypatch, code):
    def unsupported(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    with files.only_writer(tmp_path), atomic_output(tmp_path / "a.png"):
        pass
    assert names(tmp_path) == ["a.png"]


# --- names and values out of files --------------------------------------------------------------------------

ODD_NAMES = [
    "a\x1b[2Jb",
    "a\rb",
    "a\nb",
    "a\x85b",
    "a\u2028b",
    "a\u202eb",
    "a\x9b31mb",
    "a\udcffb",
    "a\0b",
    "a\x07b",
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_messages_only_show_what_files_say(name):
    texts = [
        printable(name),
        one_line(name, "is bad"),
        str(InputError(f"{name}: is bad")),
        error_text(OSError(name)),
    ]
    texts.append(str(VideoError(name, Reason.STILL, f"is {name}")))
    for text in texts:
        assert text.isprintable() and len(text.splitlines()) == 1
        text.encode("utf-8")


def test_printable_keeps_what_can_be_read():
    for text in ("a.mp4", "Ä b.mp4", "日本語", "👨\u200d👩", "می\u200cخواهم"):
        assert printable(text) == text
    assert printable(b"a\x80".decode("utf-8", "surrogateescape")) == "a\\x80"


def test_messages_have_a_bounded_length():
    error = InputError(f"config: key = {'9' * 2_000_000}: should be less than 5")
    assert len(str(error)) <= errors.MESSAGE_LENGTH
    assert str(error).startswith("config: key = 999") and str(error).endswith("99: should be less than 5")


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
    "address",
    ["https://a.example/me.jpg", "HTTP://a.example/me.jpg", "s3://bucket/a.mp4", "file:" + "///me.jpg"],
)
@pytest.mark.parametrize("form", [str, Path])
def test_an_address_is_no_file(form, address):
    expected = f"{address}: is an address; download it first, and give the path of the file"
    for check in (check_name, existing_file):
        with pytest.raises(InputError) as caught:
            check(form(address))
        assert str(caught.value).replace("file://me", "file:" + "///me") == expected


def test_what_only_looks_like_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("me.jpg", "C:/me.jpg", "a:b.jpg", "12:30:00.jpg", "/https/me.jpg"):
        check_name(name)
    (tmp_path / "https:").mkdir()
    (tmp_path / "https:" / "me.jpg").write_text("whole")
    assert existing_file("https:/me.jpg") == Path("https:/me.jpg")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "an empty name was given; give the name of a file or folder"),
        ("a\0.jpg", "is no name of a file"),
        ("n" * 300, "is longer than a name can be; give a shorter one"),
        ("n" * 300 + "/me.jpg", "is longer than a name can be"),
        ("ü" * 150, "is longer than a name can be"),
        ("folder/" * 2000, "is longer than a name can be"),
    ],
    ids=["empty", "null", "long", "long-folder", "long-in-bytes", "long-path"],
)
@pytest.mark.skipif(os.name == "nt", reason="Windows counts characters, not bytes")
def test_texts_that_name_no_file(name, words, tmp_path, monkeypatch):
    """Also in the current folder, which an empty name must not stand for, though it holds frames."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("0.png")
    readers = (check_name, existing_file, VideoReader, read_image, load_config, weights_path, read_family)
    for read in (*readers, find_clips, find_stills):
        with pytest.raises(InputError, match=words) as caught:
            read(name)
        assert len(str(caught.value)) < 150
    for suffix in ("", ".yaml", ".safetensors"):  # which `load_config` and `weights_path` may add
        for read in (load_config, weights_path):
            with pytest.raises(InputError, match="no such"):
                read("n" * (255 - len(suffix)) + suffix)


@pytest.mark.parametrize("thing", [3, None, b"me.jpg", ["me.jpg"], object()])
def test_what_is_no_name_at_all(thing):
    with pytest.raises(InputError, match=f"a {type(thing).__name__} was given; give the name of a file"):
        existing_file(thing)


@pytest.mark.skipif(os.name == "nt", reason="Windows counts characters, not bytes")
@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127 + "n", os.fsdecode(b"\xff" * 250), "n" * 251])
def test_names_that_are_as_long_as_names_can_be(tmp_path, name):
    """The lock and whatever else stands beside a file has a name that is no longer."""
    path = tmp_path / name
    with files.only_writer(path), atomic_output(path) as temporary:
        temporary.write_text("whole")
        (lock,) = set(names(tmp_path)) - {temporary.parent.name}
        assert lock.startswith(".") and lock.endswith(".lock")
        with pytest.raises(InputError, match="another process is writing there"):
            files.only_writer(path).__enter__()
    assert names(tmp_path) == [name]
    parts = files.neighbour(path, "", ".parts")
    parts.mkdir()
    other = files.neighbour(tmp_path / ("x" + name[1:]), "", ".parts")
    assert other != parts and files.neighbour("a.csv", ".", ".lock") == Path(".a.csv.lock")
