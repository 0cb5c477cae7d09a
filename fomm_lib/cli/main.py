"""The entry point `fomm`: runs a verb, and turns errors into one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Iterator

# In the order of `fomm --help`: a module registers its verbs when it is imported.
from fomm_lib.cli import animating, training, evaluating, data, weights, family  # isort: skip  # noqa: F401
from fomm_lib.cli.app import app
from fomm_lib.errors import InputError, printable
from fomm_lib.files import check_name
from fomm_lib.version import __version__

OUT_OF_MEMORY = "out of memory; try a smaller image, video or --batch-size"

# What to say after Ctrl-C, by verb; the others start from the beginning.
AFTER_STOP = {
    **dict.fromkeys(
        ("augment", "clean", "evaluate", "synthesize", "voxceleb"), "the same command continues from here"
    ),
    **dict.fromkeys(
        ("train", "pretrain", "family train"), "the same command with --resume continues from here"
    ),
}


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main(arguments: list[str] | None = None) -> None:
    """Run `fomm`.

    Exit codes: 2 for bad input, with one line on stderr; 130 for Ctrl-C. With `--debug` the traceback is
    shown instead of the line.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # none, or one of a notebook or a test
            # A name that the terminal or a log file cannot spell is no reason to fail after all the work.
            stream.reconfigure(errors="backslashreplace")
    if not debug:
        warnings.formatwarning = lambda message, *_: f"fomm: {printable(message)}\n"
    try:
        arguments = list(_checked(arguments))
        app(arguments, prog_name="fomm")  # reports wrong options itself, with exit code 2
    except SystemExit as exit:
        if exit.code == 130:
            _say_how_to_continue(arguments)
        raise
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # Ctrl-C while a library in C++ was being loaded
            _say_how_to_continue(arguments)
            sys.exit(130)
        line = _explanation(error)
        if line is None and isinstance(error, (AttributeError, TypeError)):
            _name_untested_releases()
        if debug or line is None:
            raise
        print(f"fomm: {line}", file=sys.stderr)
        sys.exit(2)


def _checked(arguments: list[str]) -> Iterator[str]:
    """The arguments with `~` as the home folder, which shells leave as it is in `--source=~/me.jpg`.

    Raises:
        InputError: one is empty (a shell's variable without a value), an address, or longer than the name of
            a file can be; no verb takes such a one.
    """
    before = ""
    for argument in arguments:
        option, sign, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if not value and (sign or not option):
            where = option or (before if before.startswith("--") else "an argument")
            raise InputError(f"{where}: is empty; give a name or a value, or leave it out")
        if value:
            check_name(value)
        yield option + sign + os.path.expanduser(value)
        before = argument


def _explanation(error: Exception) -> str | None:
    """One line for an error that the user can do something about; None for a bug."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        return "the disk is full" if error.errno == errno.ENOSPC else printable(error)
    # On CPUs PyTorch reports missing memory as a RuntimeError.
    no_memory = "out of memory" in str(error) or "allocate memory" in str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and no_memory):
        return OUT_OF_MEMORY
    if isinstance(error, (AttributeError, TypeError)):  # a dependency may have changed its interface
        from fomm_lib.releases import check_release  # here, as it takes 0.05 s to import

        try:
            check_release("typer")
        except InputError as too_old:
            return str(too_old)
    return None


def _name_untested_releases() -> None:
    """Print which installed packages are newer than the tested ones."""
    from fomm_lib.releases import newer_than_tested

    newer = newer_than_tested()
    if newer:
        print(f"fomm: installed and newer than tested: {'; '.join(newer)}", file=sys.stderr)
        print("fomm: if the error below comes from there, install the tested releases:", file=sys.stderr)
        print("fomm:   pip install -c constraints.txt -e .", file=sys.stderr)


def _say_how_to_continue(arguments: list[str]) -> None:
    verb = " ".join(arguments[: 2 if arguments[:1] == ["family"] else 1])
    if verb in AFTER_STOP:
        print(f"fomm: stopped; {AFTER_STOP[verb]}", file=sys.stderr)
