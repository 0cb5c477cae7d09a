"""Slides for every meeting of the guide for teachers, from what the notebooks hold.

    python -m tools.slides OUT        then open OUT/index.html; reads without a network

A deck has the plan of the meeting, and for each of its notebooks the aims, the formulas, the figures with
their captions, and the questions, each answer on the slide after it. What students get wrong is in the notes
of the speaker (key S). Nothing here is written by hand, so slides cannot fall behind the notebooks. The site
has the decks in its folder `slides`.
"""

from __future__ import annotations

import argparse
import base64
import html
import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "notebooks" / "INSTRUCTOR.md"
IMAGE = re.compile(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]+)"')
NOT_SHOWN = {"At a glance", "Set-up", "Exercises", "When it goes wrong", "Questions", "What you can now do"}


class Meeting(NamedTuple):
    """A meeting of the guide: its number and title, the numbers of its notebooks, its plan, its notes."""

    number: int
    title: str
    notebooks: list[str]
    plan: list[tuple[str, str]]
    notes: str


def meetings(guide: str) -> list[Meeting]:
    """The meetings in the text of the guide."""
    found = []
    pattern = r"^### (\d) · (.+?) \((?:notebook )?([\d, with]+)\)\n(.*?)(?=^##)"
    for number, title, named, body in re.findall(pattern, guide, re.M | re.S):
        plan = [(what, minutes) for minutes, what in re.findall(r"^\| (\d+) \| (.+?) \|", body, re.M)]
        notes = " ".join(re.sub(r"^\|.*\n?", "", body, flags=re.M).split())
        found.append(Meeting(int(number), title, re.findall(r"\d\d", named), plan, notes))
    return found


def figures(nb: nbformat.NotebookNode) -> Iterator[tuple[int, str, bytes, str]]:
    """(cell, alternative text, PNG, caption) of every image of a notebook; an animated PNG stays animated."""
    for number, cell in enumerate(nb.cells):
        if cell.cell_type != "code":
            continue
        shown = [
            image
            for o in cell.outputs
            for image in IMAGE.findall("".join(o.get("data", {}).get("text/html", "")))
        ]
        following = itertools.takewhile(lambda c: c.cell_type == "markdown", nb.cells[number + 1 :])
        after = "\n\n".join(c.source for c in following)
        captions = re.findall(r"^\*Figure \d+\.(.+?)(?=\n\n|\Z)", after, re.M | re.S)
        for place, (alt, data) in enumerate(shown):
            caption = captions[place] if place < len(captions) else ""
            words = " ".join(caption.split()).strip("* ")
            yield number, html.unescape(alt), base64.b64decode(data), words


def deck(meeting: Meeting, folder: Path) -> str:
    """The Markdown of a deck; its images are written beside it."""
    plan = "\n".join(f"- {what}: {minutes} minutes" for what, minutes in meeting.plan)
    parts = [f"# Meeting {meeting.number}: {meeting.title}", f"## Today\n\n{plan}\n\n{_notes(meeting.notes)}"]
    for number in meeting.notebooks:
        path = next((ROOT / "notebooks").glob(f"{number}_*.ipynb"))
        parts += _notebook(path, folder)
    return "\n\n".join(parts) + "\n"


def _notes(text: str) -> str:
    return f"```{{revealjs-notes}}\n{text}\n```" if text else ""


def _notebook(path: Path, folder: Path) -> Iterator[str]:
    nb = nbformat.read(path, as_version=4)
    text = "\n\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    title = re.search(r"^# (.+)$", text, re.M)[1]
    aims = re.search(r"^\*\*You will be able to\*\*\n\n(.+?)\n\n", text, re.M | re.S)
    yield f"## {title}\n\n{aims[1] if aims else ''}"
    images = {}
    for cell, alt, png, caption in figures(nb):
        images.setdefault(cell, []).append((alt, png, caption))
    heading, drawn = "", 0
    for number, cell in enumerate(nb.cells):
        for part in re.split(r"^(?=## )", cell.source if cell.cell_type == "markdown" else "", flags=re.M):
            first = re.match(r"## (.+)", part)
            heading = first[1] if first else heading
            if heading in NOT_SHOWN or heading.startswith("Appendix"):
                continue
            if first:
                yield f"## {heading}"
            for formula in re.findall(
                r"\$\$(.+?)\$\$", re.sub(r"<details>.*?</details>", "", part, flags=re.S), re.S
            ):
                yield f"### {_plain(heading)}\n\n$$\n{formula.strip()}\n$$"
        for alt, png, caption in images.get(number, []):
            if heading in NOT_SHOWN or heading.startswith("Appendix"):
                continue
            drawn += 1
            name = f"{path.stem}-{drawn}.png"
            (folder / name).write_bytes(png)
            yield f"### {_plain(heading)}\n\n![{_escape(alt)}]({name})\n\n{caption}"
    yield from _questions(text)


def _questions(text: str) -> Iterator[str]:
    section = re.search(r"^## Questions\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    asked = re.findall(
        r"^\*\*(\d+)\.\*\*(.+?)<details>\s*<summary>Answer[^<]*</summary>(.+?)</details>",
        section[1] if section else "",
        re.M | re.S,
    )
    if asked:
        yield "## Questions"
    for number, question, answer in asked:
        yield f"### Question {number}\n\n{question.strip()}"
        yield f"### Answer {number}\n\n{answer.strip()}"


def _plain(heading: str) -> str:
    return re.sub(r"^\d+(\.| ·) ", "", heading)


def _escape(alt: str) -> str:
    return re.sub(r"([\[\]\\*_`$])", r"\\\1", alt)


def write(folder: Path) -> list[Path]:
    """Write the Markdown of all decks, and of their index, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = meetings(GUIDE.read_text(encoding="utf-8"))
    pages = []
    for meeting in found:
        pages.append(folder / f"meeting_{meeting.number}.md")
        pages[-1].write_text(deck(meeting, folder), encoding="utf-8")
    lines = [f"- [Meeting {m.number}: {m.title}](meeting_{m.number})" for m in found]
    tree = "\n".join(page.stem for page in pages)
    text = "# Slides\n\n## The meetings\n\n{}\n\n```{{toctree}}\n:hidden:\n\n{}\n```\n"
    (folder / "index.md").write_text(text.format("\n".join(lines), tree), encoding="utf-8")
    return pages


def build(out: Path) -> None:
    """Make all decks in a folder."""
    with tempfile.TemporaryDirectory() as temporary:
        write(Path(temporary))
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "revealjs"]
        config = ["-c", str(ROOT / "tools" / "site" / "slides"), "-d", str(Path(temporary, "doctrees"))]
        subprocess.run([*command, *config, temporary, str(out)], check=True)


def main(arguments: list[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.slides", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path, help="a folder to write into")
    build(parser.parse_args(arguments).out)


if __name__ == "__main__":
    main(sys.argv[1:])
