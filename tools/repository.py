"""Rename the repository's address everywhere: badges, Colab cells, citation, links.

    python -m tools.repository https://github.com/OWNER/NAME     write the new address into all files
    python -m tools.repository                                   say what the address is, and where it stands

The address stands in pyproject.toml (`Repository = ...`), and every other place must agree with it. Only
files that git knows are changed. In notebooks the first code cell changes, so afterwards the recorded hash of
their code is brought up to date; outputs stay, because that cell does nothing outside Colab.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import nbformat

from fomm_lib.files import atomic_output
from tools import nb

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")


def address(root: Path = ROOT) -> str:
    """The address in pyproject.toml."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^Repository = "(.+)"$', text, re.M)[1]


def files_with(words: str, root: Path = ROOT) -> list[Path]:
    """The text files that git knows and that have these words in them.

    Raises:
        ValueError: git is not installed, or the folder is not a checkout.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise ValueError(f"{root}: git knows no checkout here; get the project with git clone") from None
    paths = [root / name for name in listed.stdout.decode().split("\0") if name]
    return sorted(path for path in paths if path.is_file() and words.encode() in path.read_bytes())


def rename(new: str, root: Path = ROOT) -> list[Path]:
    """Write another address into all files; returns the files that changed.

    `OWNER/NAME` is replaced too where it stands alone, as in the addresses of Colab and Binder, and the name
    of the folder after `git clone`.

    Raises:
        ValueError: it is not an address of the form https://github.com/OWNER/NAME, or this is no checkout.
    """
    if not ADDRESS.fullmatch(new) or new.endswith(".git"):
        raise ValueError(f"{new}: give an address of the form https://github.com/OWNER/NAME")
    old_path, new_path = (url.removeprefix("https://github.com/") for url in (address(root), new))
    old_folder, new_folder = (path.rpartition("/")[2] for path in (old_path, new_path))
    changed = files_with(old_path, root)
    for path in changed:
        text = path.read_text(encoding="utf-8")
        text = re.sub(rf"(?<![\w.-]){re.escape(old_path)}(?![\w-])", new_path, text)
        text = text.replace(f"&& cd {old_folder}", f"&& cd {new_folder}")
        with atomic_output(path, overwrite=True) as temporary:
            temporary.write_text(text, encoding="utf-8")
    for path in changed:
        if path.suffix == ".ipynb":
            notebook = nbformat.read(path, as_version=4)
            if "executed" in notebook.metadata:
                notebook.metadata["executed"] = {"code_sha256": nb.code_hash(notebook)}
                nbformat.write(notebook, path)
    return changed


def main(arguments: list[str]) -> int:
    """The command; 2 for an address that is none, and where there is no checkout."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.repository", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("url", nargs="?", help="the new address")
    new = parser.parse_args(arguments).url
    try:
        if new is not None:
            print(f"{new}: {len(rename(new))} files")
        else:
            places = files_with(address())
            print("\n".join([address(), *(str(path.relative_to(ROOT)) for path in places)]))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
