"""Runs `fomm` in the process of the tests."""

from __future__ import annotations

from fomm_lib.cli import main


def run(*arguments) -> int:
    """Exit code of `fomm ARGUMENTS`."""
    try:
        main.main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return ended.code or 0
    return 0


def one_line(capsys):
    """What `fomm` says of an error, apart from a progress bar."""
    text = capsys.readouterr().err.replace("\r", "\n")
    (line,) = [line for line in text.splitlines() if line.strip() and "frame/s]" not in line]
    assert line.startswith("fomm: ")
    return line
