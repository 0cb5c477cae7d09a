"""The table of files in data/README.md: every file of data/ with its size and SHA-256.

    python tools/data_manifest.py             print what differs (exit code 1)
    python tools/data_manifest.py --write     update the table

The hand-written table above it gives the source and the licence of each file; its first column has patterns,
and every file must match exactly one of them, so that no file is added without a source.
"""

from __future__ import annotations

import hashlib
import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from fomm_lib.errors import InputError
from fomm_lib.files import atomic_output

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- files: made by tools/data_manifest.py -->", "<!-- end of files -->"


def files(data: Path) -> list[str]:
    """Paths of all files under `data`, relative to it, sorted; no READMEs, nothing hidden (unfinished)."""
    found = (path.relative_to(data) for path in data.rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in found
        if path.name != "README.md" and not any(part.startswith(".") for part in path.parts)
    )


def table(data: Path) -> str:
    """The generated Markdown table: path, size in bytes, SHA-256."""
    rows = ["| file | bytes | SHA-256 |", "|---|---:|---|"]
    for name in files(data):
        content = (data / name).read_bytes()
        rows.append(f"| `{name}` | {len(content)} | `{hashlib.sha256(content).hexdigest()}` |")
    return "\n".join(rows)


def split(text: str) -> tuple[str, str, str]:
    """A README's text before the generated table, the table, and the text after it.

    Raises:
        InputError: the two marks are not there exactly once each, in this order.
    """
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise InputError(f"data/README.md: needs the lines {START!r} and {END!r}, once each, in this order")
    before, rest = text.split(START)
    inside, after = rest.split(END)
    return before, inside.strip(), after


def origins(text: str) -> list[str]:
    """The patterns of the hand-written table, in backticks in its first column."""
    before, _, _ = split(text)
    return re.findall(r"^\| `([^`]+)` \|", before, flags=re.MULTILINE)


def differences(data: Path) -> list[str]:
    """Differences between `data` and its README, one line each; empty if there are none."""
    text = (data / "README.md").read_text(encoding="utf-8")
    _, listed, _ = split(text)
    old, new = set(listed.splitlines()), set(table(data).splitlines())
    found = [f"listed, but not so on disk: {row}" for row in sorted(old - new)]
    found += [f"on disk, but not listed so: {row}" for row in sorted(new - old)]
    patterns = origins(text)
    for name in files(data):
        matching = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
        if len(matching) != 1:
            found.append(f"{name}: its origin must be given by one row, and is by {len(matching)} {matching}")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in files(data)):
            found.append(f"{pattern}: a row of origins that no file matches")
    return found


def write(data: Path) -> None:
    """Write the table of the files in `data` into its README; the rest of the text does not change."""
    path = data / "README.md"
    before, _, after = split(path.read_text(encoding="utf-8"))
    with atomic_output(path, overwrite=True) as temporary:
        temporary.write_text(f"{before}{START}\n{table(data)}\n{END}{after}", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Compare, with `--write` after writing; the exit code is 1 if something differs."""
    data = ROOT / "data"
    if "--write" in arguments:
        write(data)
    found = differences(data)
    print("\n".join(found) or "data/README.md is in step with data/")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
