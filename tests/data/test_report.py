"""A folder's report: complete after any kill; quarantines that lose nothing."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import fields
from pathlib import Path

import joblib
import pytest
from joblib.parallel import ThreadingBackend

from fomm_lib.data import report as report_module
from fomm_lib.data.cleaning import VERDICTS, FileReport, check_file
from fomm_lib.data.report import REPORT, clean, read_report, summary
from fomm_lib.errors import InputError
from fomm_lib.files import only_writer
from fomm_lib.media import sandbox
from tests.support.odd_files import ODD_FILES, encode, make, moving_frames

posix = pytest.mark.skipif(os.name == "nt", reason="shell scripts and signals are POSIX")
EXPECTED = {odd.name: odd.verdict for odd in ODD_FILES}


MIXED = [
    "good.mp4",
    "vp9.webm",
    "frozen.mp4",
    "noise.mp4",
    "audio.mp4",
    "cut_short.mp4",
    "colour.jpg",
    "notes.txt",
]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """A folder of eight files, one of them deeper; do not change it, copy it."""
    folder = tmp_path_factory.mktemp("mixed")
    made = tmp_path_factory.mktemp("made")
    for name in MIXED:
        place = folder / "deep" / "er" if name == "frozen.mp4" else folder
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(make(name, made), place / name)
    return folder


@pytest.fixture
def folder(mixed, tmp_path) -> Path:
    return Path(shutil.copytree(mixed, tmp_path / "videos"))


def run(folder, report, quarantine=None, **arguments) -> list[FileReport]:
    return clean(folder, report, quarantine, probe="pyav", progress=False, **arguments)


def timeless(rows) -> list[tuple]:
    """Rows that can be compared: all but the time they took, and where the quarantine lies."""
    names = [field.name for field in fields(FileReport)][:-2]
    return sorted((*[getattr(row, name) for name in names], Path(row.moved_to).name) for row in rows)


def contents(*folders: Path) -> list[bytes]:
    return sorted(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def test_every_file_has_one_row(folder, tmp_path):
    rows = run(folder, tmp_path / "report.csv")
    found = {row.file: row.verdict for row in rows}
    assert found == {("deep/er/" if name == "frozen.mp4" else "") + name: EXPECTED[name] for name in MIXED}
    assert timeless(rows) == timeless(read_report(tmp_path / "report.csv"))
    assert [row.file for row in rows] == sorted(found)
    with open(tmp_path / "report.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(MIXED) and set(table[0]) == set(REPORT.columns)


def test_several_jobs_say_the_same(folder, tmp_path):
    one, two = run(folder, tmp_path / "1.csv", jobs=1), run(folder, tmp_path / "2.csv", jobs=2)
    assert timeless(one) == timeless(two)


class LikeRay(ThreadingBackend):
    """A backend that gives its results when all are there; Ray's is one."""

    supports_return_generator = False


joblib.register_parallel_backend("like_ray", LikeRay)


@pytest.mark.parametrize("backend", ["loky", "threading", "like_ray"])
def test_joblib_backends(folder, tmp_path, backend):
    with joblib.parallel_config(backend=backend, n_jobs=2):
        rows = run(folder, tmp_path / "report.csv")
    assert timeless(rows) == timeless(run(folder, tmp_path / "1.csv"))


def test_a_dask_cluster(folder, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        monkeypatch.setattr(sandbox, "_Process", None)  # nothing may be checked on this side
        rows = run(folder, tmp_path / "report.csv")
    monkeypatch.undo()
    assert timeless(rows) == timeless(run(folder, tmp_path / "1.csv"))


def test_what_is_left_out(folder, tmp_path):
    (folder / ".hidden.mp4").write_bytes(b"")
    (folder / ".git").mkdir()
    (folder / ".git" / "a.mp4").write_bytes(b"")
    (folder / "quarantine").mkdir()
    (folder / "quarantine" / "a.mp4").write_bytes(b"")
    rows = run(folder, folder / "report.csv", folder / "quarantine")
    assert len(rows) == len(run(folder, folder / "report.csv", folder / "quarantine")) == len(MIXED)


@posix
def test_pipes_are_left_out_and_dead_links_have_a_verdict(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "nothing")
    rows = run(tmp_path, tmp_path / "report.csv", tmp_path / "quarantine")
    assert [(row.file, row.verdict) for row in rows] == [("dead.mp4", "unreadable")]
    assert len(run(tmp_path, tmp_path / "report.csv", tmp_path / "quarantine")) == 1


@posix
def test_names_of_all_kinds(tmp_path):
    good = encode(tmp_path / "good.mp4", moving_frames(2))
    names = [
        'quo"te,.mp4',
        "new\nline.mp4",
        "%d.mp4",
        "-rf.mp4",
        "file:x.mp4",
        "ü ñ 日本.mp4",
        os.fsdecode(b"\xff\xfe.mp4"),
    ]
    place = tmp_path / "videos"
    place.mkdir()
    for name in names:
        shutil.copy(good, place / name)
    rows = run(place, tmp_path / "report.csv")
    assert {row.file: row.verdict for row in rows} == dict.fromkeys(names, "fit")
    assert timeless(read_report(tmp_path / "report.csv")) == timeless(rows)
    before = (tmp_path / "report.csv").read_bytes()
    run(place, tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_bytes() == before


def test_an_empty_folder(tmp_path):
    (tmp_path / "none").mkdir()
    assert run(tmp_path / "none", tmp_path / "report.csv") == []
    assert read_report(tmp_path / "report.csv") == []


def test_progress(folder, tmp_path, capsys):
    clean(folder, tmp_path / "a.csv", probe="pyav")
    assert "8/8" in capsys.readouterr().err
    clean(folder, tmp_path / "b.csv", probe="pyav", progress=False)
    assert capsys.readouterr().err == ""


def test_summary():
    verdicts = [*VERDICTS, "fit", "frozen"]
    rows = [FileReport(f"{number}.mp4", verdict) for number, verdict in enumerate(verdicts)]
    expected = "9 files: 2 fit, 1 unreadable, 1 encrypted, 1 no_video, 1 single_frame, 2 frozen, 1 corrupt"
    assert summary(rows) == expected
    assert summary([]) == "0 files"


def test_summary_counts_notes_and_tables_apart():
    rows = [
        FileReport("a.mp4", "fit"),
        FileReport("cut.mp4", "unreadable"),
        FileReport("b.png", "unreadable"),
    ]
    non_media = [FileReport(name, "unreadable") for name in ("labels.csv", "notes", "todo.txt")]
    assert summary(rows + non_media[:1]) == "4 files: 1 fit, 2 unreadable, 1 not a video (labels.csv)"
    assert summary(non_media) == "3 files: 3 not a video (labels.csv, notes, ...)"
    read = [FileReport("clip", "fit"), FileReport("video.bin", "frozen")]  # whatever they are called
    assert summary(read) == "2 files: 1 fit, 1 frozen"


def test_bad_arguments(folder, tmp_path):
    report = tmp_path / "report.csv"
    file = folder / "good.mp4"
    for arguments, message in [
        ((tmp_path / "none", report), "none: no such folder; give the folder that holds the videos"),
        ((file, report), "good.mp4: no such folder"),
        ((folder, folder), "videos: is a folder; give the name of a CSV file for the report"),
        ((folder, tmp_path / "no" / "report.csv"), "the folder .*no does not exist; make it first"),
        ((folder, report, file), "good.mp4: is a file; give a folder for the quarantine"),
        ((folder, report, folder), "the quarantine cannot be the folder that is cleaned"),
        ((folder, report, tmp_path), "the quarantine cannot be the folder that is cleaned, nor above it"),
        ((folder, report, None, 0), "0 jobs check nothing"),
    ]:
        with pytest.raises(InputError, match=message):
            clean(*arguments)
    for limits in ({"seconds": 0}, {"memory": -1}):
        with pytest.raises(InputError, match="limits of time and memory must be above 0"):
            clean(folder, report, **limits)
    with pytest.raises(InputError, match="choose auto, ffprobe or pyav"):
        clean(folder, report, probe="x")
    assert not report.exists()


def test_a_file_that_is_no_report_stays_as_it_is(folder, tmp_path):
    notes = tmp_path / "notes.csv"
    notes.write_text("file,label\na.mp4,cat\n")
    with pytest.raises(
        InputError, match=r"notes.csv: exists, and is no report of `fomm clean`; choose another name"
    ):
        run(folder, notes)
    assert notes.read_text() == "file,label\na.mp4,cat\n"
    with pytest.raises(InputError, match=r"none.csv: cannot be read \(No such file"):
        read_report(tmp_path / "none.csv")


def test_a_row_that_was_edited(folder, tmp_path):
    report = tmp_path / "report.csv"
    run(folder, report)
    report.write_text(report.read_text().replace(",25,1.0,", ",many,1.0,", 1))
    message = r"line \d: a row was changed and cannot be read \(frames is 'many', not a whole number\)"
    with pytest.raises(InputError, match=message):
        run(folder, report)


def test_a_second_run_checks_nothing(folder, tmp_path, monkeypatch):
    rows = run(folder, tmp_path / "report.csv")
    before = (tmp_path / "report.csv").read_bytes()
    monkeypatch.setattr(sandbox, "_Process", None)
    assert timeless(run(folder, tmp_path / "report.csv")) == timeless(rows)
    assert (tmp_path / "report.csv").read_bytes() == before


def test_new_and_changed_files_are_checked_vanished_ones_stay(folder, tmp_path):
    report = tmp_path / "report.csv"
    run(folder, report)
    shutil.copy(folder / "vp9.webm", folder / "new.webm")
    shutil.copy(folder / "good.mp4", folder / "noise.mp4")
    (folder / "notes.txt").unlink()
    verdicts = {row.file: row.verdict for row in run(folder, report)}
    assert verdicts["new.webm"] == verdicts["noise.mp4"] == "fit"
    assert "notes.txt" not in verdicts and len(verdicts) == len(MIXED)
    kept = {row.file: row.verdict for row in read_report(report)}
    assert kept == verdicts | {"notes.txt": "unreadable"}


def test_a_report_that_ends_anywhere(folder, tmp_path):
    """Killed after any byte: whole rows are read, and the run that follows ends with all of them."""
    report = tmp_path / "report.csv"
    rows = run(folder, report)
    data = report.read_bytes()
    ends = [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    for cut in range(len(data) + 1):
        report.write_bytes(data[:cut])
        assert len(read_report(report)) == max(0, sum(end <= cut for end in ends) - 1), cut
    for cut in (0, 20, ends[0], ends[2] - 1, ends[2], ends[2] + 1, len(data) - 1):
        for tail in (b"", b"\0" * 40):
            report.write_bytes(data[:cut] + tail)
            assert timeless(run(folder, report)) == timeless(rows)
            assert timeless(read_report(report)) == timeless(rows)


SCRIPT = """
import sys
from fomm_lib.data.report import clean
folder, report, quarantine, jobs = sys.argv[1:]
clean(folder, report, quarantine or None, int(jobs), probe="pyav", progress=False)
"""


def start(folder, report, quarantine="", jobs=2, script=SCRIPT) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, (folder, report, quarantine, jobs))])


@posix
def test_killed_many_times_the_report_is_that_of_an_undisturbed_run(tmp_path, mixed):
    folder = tmp_path / "videos"
    for copy in range(4):
        shutil.copytree(mixed, folder / str(copy))
    undisturbed = run(folder, tmp_path / "undisturbed.csv")
    report = tmp_path / "report.csv"

    kills = 0
    while True:
        rows = len(read_report(report)) if report.exists() else 0
        process = start(folder, report)
        # Kill it as soon as it has written a few more rows.
        while process.poll() is None and not (report.exists() and len(read_report(report)) >= rows + 6):
            time.sleep(0.002)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        assert len(read_report(report)) >= rows + 6
    assert process.returncode == 0
    assert 1 <= kills <= 5  # how often depends on how soon this process gets to look
    assert timeless(read_report(report)) == timeless(undisturbed)
    assert len(undisturbed) == 4 * len(MIXED)


UNFIT = ["audio.mp4", "cut_short.mp4", "deep/er/frozen.mp4", "noise.mp4"]


def test_nothing_moves_unless_asked(folder, tmp_path):
    before = contents(folder)
    rows = run(folder, tmp_path / "report.csv")
    assert contents(folder) == before and not any(row.moved_to for row in rows)


def test_the_quarantine(folder, tmp_path):
    before, quarantine = contents(folder), tmp_path / "unfit"
    rows = run(folder, tmp_path / "report.csv", quarantine)
    moved = {row.file: row.moved_to for row in rows if row.moved_to}
    assert moved == {name: str(quarantine / name) for name in UNFIT}
    assert all(Path(target).is_file() and not (folder / name).exists() for name, target in moved.items())
    assert contents(folder, quarantine) == before
    assert {row.file: row.moved_to for row in read_report(tmp_path / "report.csv") if row.moved_to} == moved
    # Images and texts stay, whatever they are.
    assert (folder / "colour.jpg").exists() and (folder / "notes.txt").exists()
    assert timeless(run(folder, tmp_path / "report.csv", quarantine)) == timeless(rows)


def test_a_quarantine_asked_for_later(folder, tmp_path, monkeypatch):
    run(folder, tmp_path / "report.csv")
    monkeypatch.setattr(sandbox, "_Process", None)  # nothing is checked again
    rows = run(folder, tmp_path / "report.csv", tmp_path / "unfit")
    assert [row.file for row in rows if row.moved_to] == UNFIT


def test_nothing_in_the_quarantine_is_overwritten(folder, tmp_path):
    quarantine = tmp_path / "unfit"
    quarantine.mkdir()
    (quarantine / "noise.mp4").write_bytes(b"was here")
    (quarantine / "noise-2.mp4").write_bytes(b"was here too")
    before = contents(folder, quarantine)
    rows = run(folder, tmp_path / "report.csv", quarantine)
    assert next(row.moved_to for row in rows if row.file == "noise.mp4") == str(quarantine / "noise-3.mp4")
    assert contents(folder, quarantine) == before


def test_a_new_file_under_a_name_that_was_moved(folder, tmp_path):
    report, quarantine = tmp_path / "report.csv", tmp_path / "unfit"
    run(folder, report, quarantine)
    shutil.copy(folder / "good.mp4", folder / "noise.mp4")
    rows = [row for row in run(folder, report, quarantine) if row.file == "noise.mp4"]
    assert sorted((row.verdict, row.moved_to) for row in rows) == [
        ("fit", ""),
        ("unreadable", str(quarantine / "noise.mp4")),
    ]
    (folder / "noise.mp4").write_bytes(b"broken once more")
    run(folder, report, quarantine)
    assert (quarantine / "noise-2.mp4").read_bytes() == b"broken once more"
    assert len([row for row in read_report(report) if row.file == "noise.mp4"]) == 2


def test_a_quarantine_on_another_file_system(folder, tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(18, "Invalid cross-device link")

    before = contents(folder)
    monkeypatch.setattr(report_module.os, "link", no_links)
    rows = run(folder, tmp_path / "report.csv", tmp_path / "unfit")
    assert [row.file for row in rows if row.moved_to] == UNFIT
    assert contents(folder, tmp_path / "unfit") == before


@posix
def test_links_are_moved_as_links(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.mp4").write_bytes(b"broken")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").symlink_to("../store/a.mp4")
    run(tmp_path / "videos", tmp_path / "report.csv", tmp_path / "deep" / "unfit")
    moved = tmp_path / "deep" / "unfit" / "a.mp4"
    assert moved.is_symlink() and moved.read_bytes() == b"broken"
    assert (tmp_path / "store" / "a.mp4").exists() and not (tmp_path / "videos" / "a.mp4").is_symlink()


KILLED_WHILE_MOVING = textwrap.dedent(
    """
    import os, shutil, signal
    from pathlib import Path
    calls = 0
    def dying(function, before):
        def call(*arguments, **keywords):
            global calls
            calls += 1
            die = calls == DIES_AT
            if die and before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **keywords)
            if die:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return call
    def no_link(*_):
        raise OSError("another file system")
    if COPIES:
        os.link = no_link
        shutil.copy2 = dying(shutil.copy2, BEFORE)
    else:
        os.link = dying(os.link, BEFORE)
    """
)


@posix
@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("dies_at", [1, 3])
def test_killed_while_moving_nothing_is_lost(folder, tmp_path, copies, before, dies_at):
    everything, report, quarantine = contents(folder), tmp_path / "report.csv", tmp_path / "unfit"
    undisturbed = run(
        Path(shutil.copytree(folder, tmp_path / "other")), tmp_path / "o.csv", tmp_path / "unfit-o"
    )
    settings = f"DIES_AT, COPIES, BEFORE = {dies_at}, {copies}, {before}"
    assert (
        start(folder, report, quarantine, 1, settings + KILLED_WHILE_MOVING + SCRIPT).wait()
        == -signal.SIGKILL
    )
    assert set(contents(folder, quarantine)) >= set(everything)
    rows = run(folder, report, quarantine)
    assert timeless(rows) == timeless(read_report(report)) == timeless(undisturbed)
    left = [
        path.name for path in quarantine.rglob(".*.partial*")
    ]  # half a copy, hidden; never under a real name
    assert len(left) <= int(copies)
    for path in quarantine.rglob(".*.partial*"):
        path.unlink()
    assert contents(folder, quarantine) == everything


def test_a_file_that_changed_but_kept_its_size_is_checked_again(tmp_path):
    (tmp_path / "videos").mkdir()
    path = make("good.mp4", tmp_path / "videos")
    assert run(tmp_path / "videos", tmp_path / "report.csv")[0].verdict == "fit"
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))
    assert run(tmp_path / "videos", tmp_path / "report.csv")[0].verdict == "unreadable"


def test_what_is_gone_is_not_counted_and_its_row_stays(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "videos" / name).write_text("no video")
    assert len(run(tmp_path / "videos", tmp_path / "report.csv")) == 2
    (tmp_path / "videos" / "a.txt").unlink()
    assert [row.file for row in run(tmp_path / "videos", tmp_path / "report.csv")] == ["b.txt"]
    assert [row.file for row in read_report(tmp_path / "report.csv")] == ["a.txt", "b.txt"]


# --- links, locks and odd names -----------------------------------------------------------------------------


@posix
def test_a_link_to_a_pipe_costs_no_time(tmp_path):
    (tmp_path / "videos").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "videos" / "link.mp4").symlink_to(tmp_path / "pipe")
    (tmp_path / "videos" / "dead.mp4").symlink_to("nothing")
    rows = clean(tmp_path / "videos", tmp_path / "report.csv", progress=False, seconds=5)
    assert [(row.file, row.verdict) for row in rows] == [("dead.mp4", "unreadable")]
    assert check_file(tmp_path / "videos" / "link.mp4").reason == "is no regular file"


@posix
def test_links_that_lead_to_themselves(tmp_path):
    place = tmp_path / "videos"
    place.mkdir()
    (place / "loop.mp4").symlink_to("loop.mp4")
    (place / "round.mp4").symlink_to("about.mp4")
    (place / "about.mp4").symlink_to("round.mp4")
    rows = clean(place, tmp_path / "report.csv", progress=False)
    found = [(row.file, row.verdict) for row in rows]
    assert found == [(name, "unreadable") for name in ("about.mp4", "loop.mp4", "round.mp4")]


@posix
def test_two_runs_with_one_report(tmp_path):
    (tmp_path / "videos").mkdir()
    with only_writer(tmp_path / "report.csv"), pytest.raises(InputError, match="another process is writing"):
        clean(tmp_path / "videos", tmp_path / "report.csv", progress=False)
    clean(tmp_path / "videos", tmp_path / "report.csv", progress=False)
    assert sorted(os.listdir(tmp_path)) == ["report.csv", "videos"]


@posix
def test_names_of_any_bytes_are_read_again(tmp_path):
    odd = [b"=1+cmd.txt", b"a\rb.txt", b"a\nb.txt", b"\xff\xfe.txt", b"a\x1b[2J.txt", b"'=x.txt", b'a,b".txt']
    (tmp_path / "videos").mkdir()
    for name in odd:
        (tmp_path / "videos" / os.fsdecode(name)).write_bytes(b"no video")
    rows = clean(tmp_path / "videos", tmp_path / "report.csv", progress=False)
    assert {os.fsencode(row.file) for row in rows} == set(odd)
    assert sorted(row.file for row in read_report(tmp_path / "report.csv")) == [row.file for row in rows]
    again = clean(tmp_path / "videos", tmp_path / "report.csv", progress=False)
    assert again == rows, "nothing is checked again"
