"""Files: where the data folder is, checks on inputs, and outputs that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from fomm_lib.errors import InputError, Reason, VideoError, error_text, one_line, printable

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

_SHOWN_LENGTH = 60  # characters of a name that is too long, in its message

_PACKAGE = Path(__file__).resolve().parent

DEFAULT_WEIGHTS = "heads-128"
"""The weights of `data/weights` that are used by default."""


def data_path(*parts: str) -> Path:
    """A path inside the course's `data/` folder, e.g. `data_path("weights", "heads-64.safetensors")`.

    The folder is, in this order: the environment variable `FOMM_DATA`; `data/` of the repository (editable
    install); the copy inside an installed wheel. The path need not exist.

    Example:
        >>> data_path("portrait.jpg").name
        'portrait.jpg'
    """
    if os.environ.get("FOMM_DATA"):
        root = Path(os.environ["FOMM_DATA"])
    elif (_PACKAGE.parent / "data" / "README.md").is_file():
        root = _PACKAGE.parent / "data"
    else:
        root = _PACKAGE / "_data"
    return root.joinpath(*parts)


def check_name(path: object) -> None:
    """Raise an error if a text cannot be the name of a file or folder; there need not be one of that name.

    Raises:
        InputError: it is empty (`Path("")` would be the current folder), it is longer than the system allows,
            it has a null character, or it is an address (`https://...`), also as a `Path`, in which two
            slashes become one.

    Example:
        >>> check_name("https://example.org/me.jpg")
        Traceback (most recent call last):
        ...
        fomm_lib.errors.InputError: https://example.org/me.jpg: is an address; download it first, and give ...
    """
    if not str(path):
        raise InputError("an empty name was given; give the name of a file or folder")
    try:
        os.lstat(str(path))
    except ValueError as error:
        raise InputError(one_line(path, f"is no name of a file ({error_text(error)})")) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            short = printable(path, _SHOWN_LENGTH)
            raise InputError(f"{short}: is longer than a name can be; give a shorter one") from error
    found = re.match(r"([a-z][a-z0-9+.-]+):/+", str(path), re.IGNORECASE)
    if found and not os.path.lexists(str(path)):
        address = f"{found[1]}://{str(path)[found.end() :]}"
        raise InputError(one_line(address, "is an address; download it first, and give the path of the file"))


def existing_file(path: str | os.PathLike) -> Path:
    """The path of a regular file that is not empty.

    A pipe or a device could block for ever, and FFmpeg would open the address behind `http:`.

    Raises:
        VideoError: there is no such file, it is not regular, it is empty, or it may not be read.
        InputError: it is an address, or no name at all.

    Example:
        >>> existing_file(data_path("portrait.jpg")).name
        'portrait.jpg'
    """
    name = path
    try:
        path = Path(path)
    except TypeError as error:
        raise InputError(f"a {type(path).__name__} was given; give the name of a file") from error
    check_name(name)
    try:
        if path.is_dir():
            raise VideoError(path, Reason.MISSING, "is a folder; give the name of a file")
        if not path.exists():
            raise VideoError(path, Reason.MISSING, "no such file; check the path")
        if not path.is_file():
            raise VideoError(path, Reason.MISSING, "is not a regular file; copy its content into one")
        if path.stat().st_size == 0:
            raise VideoError(path, Reason.UNREADABLE, "is empty (0 bytes); copy or download it again")
        path.open("rb").close()
    except InputError:
        raise
    except (OSError, ValueError) as error:
        text = f"cannot be read ({error_text(error)}); check the path"
        raise VideoError(path, Reason.MISSING, text) from error
    return path


def make_folder(path: str | os.PathLike) -> Path:
    """Make a folder and those above it, if they are missing.

    Raises:
        InputError: it cannot be made.

    Example:
        >>> make_folder("deep/folder").is_dir()
        True
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"cannot be made ({error_text(error)}); choose another folder"
        raise InputError(one_line(path, text)) from error
    return Path(path)


def free_name(path: Path, taken: Container[str] = ()) -> Path:
    """The path, or if it exists or is taken the first of out-2.mp4, out-3.mp4, ... that does not.

    Example:
        >>> free_name(Path("no-such-folder/out.mp4")).name
        'out.mp4'
    """
    number, free = 1, path
    while os.path.lexists(free) or str(free) in taken:
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def real_path(path: str | os.PathLike) -> Path:
    """The absolute path, with links followed as far as they lead.

    Before Python 3.13 `Path.resolve` fails at a link that leads to itself, which any folder may hold.

    Example:
        >>> real_path("no-such-folder/../a.mp4").name
        'a.mp4'
    """
    return Path(os.path.realpath(path))


def neighbour(path: str | os.PathLike, before: str, after: str) -> Path:
    """The path of a file that belongs to another one: its name between two texts, with `path` beside it.

    A name that would be longer than file systems allow (255 bytes) is shortened, and a digest of it keeps it
    apart from others.

    Example:
        >>> neighbour("runs/report.csv", ".", ".lock").as_posix()
        'runs/.report.csv.lock'
        >>> len(neighbour("n" * 255, "", ".parts").name)
        255
    """
    path = Path(path)
    name, room = os.fsencode(path.name), 255 - len(os.fsencode(before + after))
    if len(name) > room:
        digest = hashlib.sha256(name).hexdigest()[:16]
        kept = name[: room - len(digest) - 1].decode("utf-8", "ignore")  # no half of a character
        return path.with_name(f"{before}{kept}-{digest}{after}")
    return path.with_name(f"{before}{path.name}{after}")


def check_new(path: str | os.PathLike, overwrite: bool = False) -> None:
    """Refuse, before the work, a file that `atomic_output` would refuse after it.

    Raises:
        InputError: the folder does not exist, or the file does and may not be replaced.
    """
    _check_parent(Path(path))
    if os.path.lexists(path) and not overwrite:
        raise _exists_already(Path(path))


@contextmanager
def atomic_output(path: str | os.PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields a path with the same name in a hidden folder beside `path`; on success that file becomes `path`, on
    any error (Ctrl-C too) it is removed and `path` stays as it was. A process that is killed leaves the
    hidden folder, which the next one that writes there removes: see `remove_leftovers`.

    Args:
        path: the file to write. A link is replaced, not what it leads to.
        overwrite: whether an existing file or link may be replaced.

    Raises:
        InputError: the file exists and `overwrite` is False, it is a folder, a pipe or a device, the folder
            does not exist or cannot be written, or the disk is full.

    Example:
        >>> with atomic_output("losses.csv") as temporary:  # doctest: +SKIP
        ...     temporary.write_text("step,loss\\n")
    """
    path = Path(path)
    if os.path.isdir(path):
        raise InputError(one_line(path, "is a folder; give the name of a file"))
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(one_line(path, "is a pipe, a device or the like; give the name of a file"))
    check_new(path, overwrite)
    with _beside(path) as holder:
        temporary = holder / path.name
        temporary.touch()  # with the permissions of any new file
        yield temporary
        os.replace(temporary, path)


@contextmanager
def atomic_folder(
    path: str | os.PathLike, overwrite: bool = False, replaceable: str | None = None
) -> Iterator[Path]:
    """Write a folder whole or not at all.

    Yields an empty temporary folder on the same disk; on success it becomes `path`, on any error (Ctrl-C
    too) it is removed and `path` stays as it was. It has the permissions of any new folder. What a process
    that is killed leaves is removed as in `atomic_output`; an earlier result is put back in its place.

    Args:
        path: the folder to make. One that exists and is empty is replaced.
        overwrite: whether an existing folder of an earlier result may be replaced, as a whole.
        replaceable: a regular expression for the names of all files of an earlier result. A folder that holds
            any other name is never replaced; without an expression, no folder is.

    Raises:
        InputError: `path` is a file, or a folder that must not be replaced; the folder that should hold it
            does not exist or cannot be written; or the disk is full.

    Example:
        >>> with atomic_folder("frames", replaceable=r"\\d+\\.png") as temporary:  # doctest: +SKIP
        ...     image.save(temporary / "000000.png")
    """
    path = Path(path)
    _check_replaceable(path, overwrite, replaceable)
    with _beside(path) as holder:
        temporary, former = holder / "new", holder / _FORMER / path.name
        temporary.mkdir()
        former.parent.mkdir()
        yield temporary
        _check_replaceable(path, overwrite, replaceable)  # again: the folder may have changed since
        if path.exists():
            path.rename(former)
        try:
            temporary.rename(path)
        except BaseException:
            _put_back(holder)
            raise


def _check_replaceable(path: Path, overwrite: bool, replaceable: str | None) -> None:
    if os.path.lexists(path) and not os.path.isdir(path):
        raise InputError(one_line(path, "is a file; give the name of a folder"))
    names = os.listdir(path) if os.path.isdir(path) else []
    if names and not overwrite:
        raise _exists_already(path)
    if not all(replaceable and re.fullmatch(replaceable, name) for name in names):
        text = "holds more than an earlier result, and is left as it is; choose another name"
        raise InputError(one_line(path, text))


def _exists_already(path: Path) -> InputError:
    return InputError(one_line(path, "exists already; choose another name, or ask for it to be overwritten"))


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that a file cannot grow.

    PyTorch raises a `RuntimeError` of what the system says.

    Example:
        >>> disk_is_full(OSError(28, "No space left on device"))
        True
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return True
        if isinstance(error, RuntimeError) and any(os.strerror(code) in str(error) for code in _DISK_FULL):
            return True
        error = error.__cause__
    return False


# --- what a killed process leaves, and who is writing -------------------------------------------------------

# A writer works in a hidden folder, whose file `lock` it keeps locked: the lock dies with its process.
_LEFTOVER = re.compile(r"\..*\.[a-z0-9_]{8}\.partial(\.[^.]+)?", re.DOTALL)
_LOCK, _FORMER = "lock", "former"
_tidied: set[str] = set()  # folders in which this process has looked for leftovers


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A private folder beside `path` for one writer, which is removed at the end."""
    _check_parent(path)
    try:
        with suppress(FileNotFoundError):
            path.lstat()  # fails for a name that cannot be
        if (place := os.path.abspath(path.parent)) not in _tidied:
            remove_leftovers(place)
        holder, lock = _make_holder(path)
    except (OSError, ValueError) as error:
        raise InputError(one_line(path, f"cannot write there ({error_text(error)})")) from error
    try:
        yield holder
    except (OSError, RuntimeError) as error:
        if not disk_is_full(error):
            raise
        raise InputError(one_line(path, f"cannot be written ({error_text(error)}); make room")) from error
    finally:
        lock.close()
        shutil.rmtree(holder, ignore_errors=True)


def _check_parent(path: Path) -> None:
    if not os.path.isdir(path.parent):
        raise InputError(one_line(path, f"the folder {path.parent} does not exist; make it first"))


def _make_holder(path: Path) -> tuple[Path, IO]:
    stem = os.fsencode(path.name)[:40].decode("utf-8", "ignore")
    while True:
        holder = Path(tempfile.mkdtemp(prefix=f".{stem}.", suffix=".partial", dir=path.parent))
        with suppress(FileNotFoundError):  # another process may have taken it for a leftover, before the lock
            lock = _lock(holder / _LOCK)
            if lock is not None:
                return holder, lock


def _lock(path: Path) -> IO | None:
    """The locked file, or None if another process has locked it, or has removed it in this moment."""
    file = open(path, "ab")  # noqa: SIM115 (the lock is held as long as the file is open)
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno in _NO_LOCKS and path.exists():
            return file
    file.close()
    return None


def remove_leftovers(*folders: str | os.PathLike) -> None:
    """Remove what killed writers of this library left in these folders (not in the folders inside them).

    A writer that still runs is recognized by its lock, on this machine and, where a network file system
    passes locks on (NFS does), on others. Not covered: file systems without locks, such as some mounts of
    cloud storage, and Windows. There leftovers stay.

    Args:
        folders: any that does not exist is left out.

    Example:
        >>> remove_leftovers("no-such-folder")
    """
    for folder in folders:
        _tidied.add(os.path.abspath(folder))
        found: list[Path] = []
        with suppress(OSError), os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries if _LEFTOVER.fullmatch(entry.name)]
        for path in found:
            with suppress(OSError):  # another process may remove it now
                _remove_leftover(path)


def _remove_leftover(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():  # of a release that wrote beside its result, without a lock
        path.unlink()
    elif fcntl is not None and (lock := _lock(path / _LOCK)) is not None:
        with lock:
            _put_back(path)
            shutil.rmtree(path, ignore_errors=True)


def _put_back(holder: Path) -> None:
    """Give a folder that was about to be replaced its place again, if that is empty."""
    former = holder / _FORMER
    for folder in former.iterdir() if former.is_dir() else ():
        if not (holder.parent / folder.name).exists():
            folder.rename(holder.parent / folder.name)


@contextmanager
def only_writer(path: str | os.PathLike) -> Iterator[None]:
    """Inside `with`, no other process of this library writes into the folder, or to the file.

    It holds a lock on the file `.lock` in the folder, or on `.NAME.lock` beside the file. The system releases
    it when the process ends, even by a kill. What is not covered: see `remove_leftovers`.

    Raises:
        InputError: another process has the lock, or the folder cannot be written.

    Example:
        >>> with only_writer("runs/first"):  # doctest: +SKIP
        ...     train_and_save()
    """
    path = Path(path)
    place = path / ".lock" if path.is_dir() else neighbour(path, ".", ".lock")
    _check_parent(place)
    try:
        lock = _lock(place)
    except OSError as error:
        raise InputError(one_line(path, f"cannot write there ({error_text(error)})")) from error
    if lock is None:
        text = "another process is writing there; wait until it has ended, or choose another name"
        raise InputError(one_line(path, text))
    try:
        yield
    finally:
        with suppress(OSError):
            place.unlink()  # before it is released: who has opened it already finds that it is gone
        lock.close()
