"""Check a folder of videos: a report with one row a file, and a quarantine for the unfit ones.

The report is a CSV file that is written while the checks run. A run that was killed continues when it is
called again.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend
from tqdm.auto import tqdm

from fomm_lib.data.cleaning import STILL_CHANGE, VERDICTS, FileReport, check_file_guarded, resolve_probe
from fomm_lib.data.tables import Table
from fomm_lib.errors import InputError
from fomm_lib.files import atomic_output, check_name, free_name, only_writer, real_path, remove_leftovers
from fomm_lib.media.formats import is_media_name, is_video_name
from fomm_lib.media.sandbox import close_idle

REPORT = Table(
    FileReport,
    foreign="exists, and is no report of `fomm clean`; choose another name",
    damaged="a row was changed and cannot be read",
    appended=True,
)
"""The CSV file of `clean`."""


def read_report(path: str | os.PathLike) -> list[FileReport]:
    """The rows of a report; an unfinished last line of a run that was killed is left out.

    Raises:
        InputError: there is no such file, or it is no report of `clean`.

    Example:
        >>> [row.file for row in read_report("report.csv") if row.verdict == "frozen"]  # doctest: +SKIP
        ['black.mp4']
    """
    return REPORT.read(path)


def clean(
    folder: str | os.PathLike,
    report: str | os.PathLike,
    quarantine: str | os.PathLike | None = None,
    jobs: int | None = None,
    *,
    seconds: float = 600.0,
    memory: int = 2 << 30,
    probe: str = "auto",
    still_change: int = STILL_CHANGE,
    progress: bool = True,
) -> list[FileReport]:
    """Check every file of a folder and of the folders in it, and write the report while the checks run.

    Killed at any moment and called again, it continues: a file that has a row, and was not changed since, is
    not checked again. Hidden files (`.name`), the report and the quarantine are left out. No file is moved
    unless a quarantine is given; no file is deleted. The quarantine gets files that are not `fit` and have
    the name of a video or audio. Images stay, whatever their verdict: they may be the frames of a folder of
    frames.

    Many machines: `with joblib.parallel_config(backend="dask"): clean(...)` (or "ray", or "loky") runs the
    checks there; the report is written here. All machines must see the folder under the same path.

    Args:
        folder: where the files are.
        report: the CSV file to write, or to continue; one row a file, see `FileReport`.
        quarantine: the folder to move unfit videos to, under their path inside `folder`.
        jobs: files at a time; -1 is one a core, None is one, or what `joblib.parallel_config` says.
        seconds, memory: limits for each file, see `check_file_guarded`.
        probe, still_change: as in `check_file`.
        progress: show a bar.

    Returns:
        Rows of all files that are there, or were moved, sorted by file. The rows of files that are gone, or
        were in another folder, stay in the report, but are not returned.

    Raises:
        InputError: there is no such folder; the report cannot be written, is something else, or is written by
            another process; the quarantine is the folder itself or above it; a number is out of range.

    Example:
        >>> rows = clean("clips", "report.csv", quarantine="unfit", jobs=2)  # doctest: +SKIP
        >>> summary(rows)  # doctest: +SKIP
        '40 files: 37 fit, 1 frozen, 2 unreadable'
    """
    folder, report = Path(folder), Path(report)
    quarantine = Path(quarantine) if quarantine is not None else None
    _check_arguments(folder, report, quarantine, jobs, seconds, memory)
    resolve_probe(probe)
    folder = folder.absolute()  # the checks may run in another process or on another machine

    files = _files(folder, report, quarantine)
    with only_writer(report):
        remove_leftovers(report.parent)
        rows = _begin_report(report, folder, files)
        known = {row.file for row in rows if _is_up_to_date(row, folder)}
        waiting = [name for name in files if name not in known]

        check = delayed(check_file_guarded)
        calls = [check(str(folder / name), probe, still_change, seconds, memory) for name in waiting]
        try:
            with tqdm(total=len(files), initial=len(known), unit="file", disable=not progress) as bar:
                for row in as_completed(calls, jobs):
                    row.file = Path(row.file).relative_to(folder).as_posix()
                    REPORT.append(report, row)
                    rows.append(row)
                    bar.update()
        finally:
            close_idle()

        if quarantine is not None:
            _move_unfit(rows, folder, report, quarantine)
    there = {row.file for row in rows if row.moved_to} | set(files)
    return sorted((row for row in rows if row.file in there), key=lambda row: row.file)


def as_completed(calls: list, jobs: int | None) -> Iterator[Any]:
    """The results of joblib's `delayed` calls, each as soon as it is there, in any order.

    Args:
        calls: they must spend their time waiting, for a network or another process: they run in threads
            unless `joblib.parallel_config` says otherwise.
        jobs: how many at a time, as in `clean`.
    """
    settings = {"n_jobs": jobs, "prefer": "threads", "batch_size": 1}
    backend, _ = get_active_backend(prefer="threads")
    if backend.supports_return_generator:
        yield from Parallel(**settings, return_as="generator_unordered")(calls)
        return
    # Ray and multiprocessing return when all calls are done: small portions, so that a kill loses little.
    with Parallel(**settings) as parallel:
        portion = 4 * effective_n_jobs(jobs)
        for start in range(0, len(calls), portion):
            yield from parallel(calls[start : start + portion])


def summary(rows: Iterable[FileReport]) -> str:
    """One line: the number of files, and of each verdict.

    Notes and tables beside the videos cannot be read as videos, but are not damaged: they are counted apart.

    Example:
        >>> summary([FileReport("a.mp4", "fit"), FileReport("b.mp4", "frozen")])
        '2 files: 1 fit, 1 frozen'
        >>> summary([FileReport("a.mp4", "fit"), FileReport("labels.csv", "unreadable")])
        '2 files: 1 fit, 1 not a video (labels.csv)'
    """
    rows = list(rows)
    non_media = [row.file for row in rows if row.verdict == "unreadable" and not is_media_name(row.file)]
    counts = Counter(row.verdict for row in rows)
    counts["unreadable"] -= len(non_media)
    parts = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
    if non_media:
        examples = ", ".join(non_media[:2]) + (", ..." if len(non_media) > 2 else "")
        parts.append(f"{len(non_media)} not a video ({examples})")
    return f"{len(rows)} files" + (": " + ", ".join(parts) if parts else "")


def _check_arguments(folder, report, quarantine, jobs, seconds, memory) -> None:
    check_name(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that holds the videos")
    if report.is_dir():
        raise InputError(f"{report}: is a folder; give the name of a CSV file for the report")
    if report.exists() and not os.access(report, os.W_OK):
        raise InputError(f"{report}: may not be written to; choose another name")
    if quarantine is not None:
        if quarantine.exists() and not quarantine.is_dir():
            raise InputError(f"{quarantine}: is a file; give a folder for the quarantine")
        if real_path(folder).is_relative_to(real_path(quarantine)):
            raise InputError(
                f"{quarantine}: the quarantine cannot be the folder that is cleaned, nor above it"
            )
    if jobs == 0:
        raise InputError("0 jobs check nothing; give 1 or more, or -1 for one a core")
    if seconds <= 0 or memory <= 0:
        raise InputError("the limits of time and memory must be above 0")


def _files(folder: Path, report: Path, quarantine: Path | None) -> list[str]:
    """The files to check, as paths relative to the folder."""
    left_out = {real_path(path) for path in (report, quarantine) if path is not None}

    def is_wanted(path: Path) -> bool:
        return not path.name.startswith(".") and real_path(path) not in left_out

    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if is_wanted(Path(place, name))]
        paths = [path for path in (Path(place, name) for name in names) if is_wanted(path)]
        # Opening a pipe or a device, or a link to one, would block. A link to nothing gets a verdict.
        found += [path for path in paths if path.is_file() or (path.is_symlink() and not path.exists())]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _begin_report(report: Path, folder: Path, files: list[str]) -> list[FileReport]:
    """The rows that still hold; on return the report is on disk and holds exactly these."""
    rows, there = REPORT.read(report) if report.exists() else [], set(files)
    rows = [row for row in rows if row.file not in there or row.moved_to or _is_up_to_date(row, folder)]
    if not report.exists() or report.read_bytes() != REPORT.encode(rows):
        REPORT.write(report, rows)
    return rows


def _is_up_to_date(row: FileReport, folder: Path) -> bool:
    """Whether a row is about the file that has its name now, not about an earlier one."""
    path = folder / row.file
    try:
        found = path.stat()
        if (row.bytes, row.modified) != (found.st_size, found.st_mtime_ns):
            return False
        # A file that was moved and is here: either the move was interrupted, or it is a new file.
        return not os.path.lexists(row.moved_to) or filecmp.cmp(path, row.moved_to, shallow=False)
    except OSError:
        return False


def _move_unfit(rows: list[FileReport], folder: Path, report: Path, quarantine: Path) -> None:
    """Write to the report what will be moved where, then move: an interrupted move can be finished later."""
    taken = {row.moved_to for row in rows}
    for row in rows:
        unfit = row.verdict != "fit" and not row.moved_to and is_video_name(row.file)
        if unfit and _is_up_to_date(row, folder):
            row.moved_to = str(free_name(quarantine.absolute() / row.file, taken))
            taken.add(row.moved_to)
    REPORT.write(report, rows)
    remove_leftovers(*{Path(row.moved_to).parent for row in rows if row.moved_to})
    for row in rows:
        if row.moved_to and _is_up_to_date(row, folder):
            _move(folder / row.file, Path(row.moved_to))


def _move(source: Path, target: Path) -> None:
    """Move a file, never onto another one. Killed at any moment, it is whole in at least one place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(target):  # else it was copied already, and only the removal is missing
        try:
            if source.is_symlink():  # its target may be relative to the old folder
                target.symlink_to(real_path(source))
            else:
                os.link(source, target)
        except OSError:  # another file system, or one without links
            with atomic_output(target) as temporary:
                shutil.copy2(source, temporary)
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
    source.unlink()
