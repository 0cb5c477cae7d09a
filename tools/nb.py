"""Keeps the notebooks in step: pairs of `NN_topic.py`, which people edit, and `NN_topic.ipynb` with outputs.

    python -m tools.nb pair  [FILE ...]   copy the cells of the .py into the .ipynb; outputs and ids stay
    python -m tools.nb run   [FILE ...]   pair, then run all cells in place; no times are stored
    python -m tools.nb check [FILE ...]   list broken rules, and give advice
    python -m tools.nb student --out DIR  write notebooks without solutions; more: tools/editions.py
    python -m tools.nb grade FILE ...     run what students handed in, and read the checks

Without FILE the command takes all notebooks, and `check` also lists the public names of fomm_lib that no
notebook uses. FILE is either file of a pair. pytest (tests/project/test_notebooks.py) compares the outputs of
a new run with the stored ones.

`run` stores a hash of the code cells in the metadata of the .ipynb, so that `check` finds code that was
edited and not run. Unlike file times, a hash survives a git checkout.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import hashlib
import io
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jupytext.cli
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

import fomm_lib
from tools import editions, nb_page

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = re.search(r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[
    1
]

# The headings of every notebook, in this order; three to six of its own stand before "From toy to library".
SECTIONS = (
    "At a glance",
    "Set-up",
    "The problem as one image",
    "From toy to library",
    "Break it",
    "Exercises",
    "When it goes wrong",
    "Questions",
    "What you can now do",
)
GLANCE = ("you will be able to", "know first", "minutes", "gpu", "paper", "module")

MAX_BYTES = 2**20
MAX_PIXELS = (600, 350)
WIDGET = "application/vnd.jupyter.widget-view+json"
# A slash at the start of a word and two parts or more; not a web address, a closing tag or a fraction.
ABSOLUTE = re.compile(r"(?<![\w./:<)}\]\\$~-])/[A-Za-z_][\w.-]*(?:/[\w.-]+)+|\b[A-Z]:\\{1,2}Users\b")


# The bytes of an image in HTML, which may look like a path.
IMAGE = re.compile(r"data:image/\w+;base64,[\w+/=]*")


# pair


def pair(script: Path) -> Path:
    """Update the .ipynb of a .py: cells from the .py, outputs and ids from the existing .ipynb."""
    notebook = script.with_suffix(".ipynb")
    update = ["--update"] if notebook.exists() else []
    jupytext.cli.jupytext(["--quiet", "--to", "ipynb", *update, str(script)])
    nb = nbformat.read(notebook, as_version=4)
    for cell in code_cells(nb):
        cell.metadata = nb_page.folded(cell.metadata)
    nbformat.write(nb, notebook)
    return notebook


def script_of(notebook: Path) -> str:
    """The text of the .py that belongs to a notebook."""
    # jupytext writes bytes.
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) as text:
        jupytext.cli.jupytext(["--quiet", "--to", "py:percent", "--output", "-", str(notebook)])
    return text.buffer.getvalue().decode("utf-8")


# run


def code_hash(nb: nbformat.NotebookNode) -> str:
    """A hash of all code cells in their order, which `run` stores and `check` compares."""
    return hashlib.sha256(json.dumps([cell.source for cell in code_cells(nb)]).encode()).hexdigest()


def environment() -> dict[str, str]:
    """The environment of a kernel, for `run` and for the comparison.

    One thread each, because the last digits of a sum depend on the number of threads, and because two
    notebooks at a time then use two cores. Without MPLBACKEND, Matplotlib uses the backend of notebooks.
    Kernels ask child processes for coloured output, which Python 3.13 and later use for tracebacks:
    PYTHON_COLORS turns it off.
    """
    inherited = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    return inherited | {"OMP_NUM_THREADS": "1", "PYTHON_COLORS": "0"}


def run(notebook: Path, cell_timeout: float = 600) -> dict[int, float]:
    """Run a notebook in place, in its own folder, with the Python that runs this.

    The file is written only when every cell has passed.

    Returns:
        Seconds by cell number.
    """
    nb = nbformat.read(notebook, as_version=4)
    seconds: dict[int, float] = {}

    def started(cell, cell_index, **_):
        seconds[cell_index + 1] = -time.perf_counter()

    def ended(cell, cell_index, **_):
        seconds[cell_index + 1] += time.perf_counter()

    client = NotebookClient(
        nb,
        timeout=cell_timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(notebook.parent)}},
        record_timing=False,
        extra_arguments=["--log-level=40"],  # errors of the kernel only
        store_widget_state=False,
        on_cell_execute=started,
        on_cell_executed=ended,
    )
    # The client must not follow widgets itself: for `interact` it looks for a state that it does not store.
    client.widget_registry = {}
    client.execute(env=environment())
    for cell in code_cells(nb):
        # A widget works only while its kernel runs; its still image, if it has one, stays.
        cell.outputs = joined([output for output in map(_without_widget, cell.outputs) if output])
    nb.metadata.pop("widgets", None)
    # The exact Python version differs between machines and has no meaning here.
    nb.metadata.get("language_info", {}).pop("version", None)
    nb.metadata["executed"] = {"code_sha256": code_hash(nb)}
    nbformat.write(nb, notebook)
    return seconds


def _without_widget(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """An output without its widget; None if nothing that can be shown remains."""
    data = output.get("data", {})
    if data.pop(WIDGET, None) is not None and "text/html" not in data:
        return None
    return output


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Join printed text that a busy machine delivered in pieces."""
    found: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = found[-1] if found else {}
        if output.output_type == "stream" and last.get("name") == output.name:
            last["text"] += output.text
        else:
            found.append(output)
    return found


# check


def check(notebook: Path) -> list[str]:
    """The broken rules of one pair, one line each; empty if the notebook keeps all rules."""
    script = notebook.with_suffix(".py")
    for path in (script, notebook):
        if not path.exists():
            return [f"{path.name} is missing; python -m tools.nb pair makes the .ipynb from the .py"]
    try:
        nb = nbformat.read(notebook, as_version=4)
        nbformat.validate(nb)
    except Exception as error:  # nbformat raises many kinds
        return [f"{notebook.name} is no valid notebook: {str(error).splitlines()[0]}"]
    found = list(_in_step(notebook, script))
    for rule in (_executed, _headings, _sections, _start, _outputs, _images, _paths, _page):
        found += rule(nb, notebook)
    if notebook.stat().st_size >= MAX_BYTES:
        found.append(f"the file has {notebook.stat().st_size / 2**20:.2f} MB; keep it under 1 MB")
    return found


def _in_step(notebook: Path, script: Path) -> Iterator[str]:
    written, wanted = script.read_text(encoding="utf-8").splitlines(), script_of(notebook).splitlines()
    if written != wanted:
        same = next((i for i, (a, b) in enumerate(zip(written, wanted, strict=False)) if a != b), None)
        line = min(len(written), len(wanted)) if same is None else same
        yield f"{script.name} and {notebook.name} differ from line {line + 1} on: run (the .py wins)"


def _executed(nb, notebook) -> Iterator[str]:
    counts = [cell.execution_count for cell in code_cells(nb)]
    if counts != list(range(1, len(counts) + 1)):
        yield "cells were not run once each, first to last (counts 1..n), so outputs are not compared: run"
    if nb.metadata.get("executed", {}).get("code_sha256") != code_hash(nb):
        yield "code was changed after it was run, or run by other means: python -m tools.nb run"
    if any("execution" in cell.metadata for cell in nb.cells):
        yield "a cell holds times of execution, which change with every run: python -m tools.nb run"


def _headings(nb, notebook) -> Iterator[str]:
    last = 1
    titles = []
    for number, level, text in headings(nb):
        if level == 1:
            titles.append(text)
        if level > last + 1:
            yield f"cell {number}: heading {text!r} skips {level - last - 1} level; go down one at a time"
        last = level
    if len(titles) != 1:
        yield f"there are {len(titles)} headings of level 1; there must be one, the title"
    elif not re.match(rf"{notebook.stem[:2]} · \S", titles[0]):
        yield f"the title is {titles[0]!r}; it must be '{notebook.stem[:2]} · ' and words"


def _sections(nb, notebook) -> Iterator[str]:
    parts = [text for _, level, text in headings(nb) if level == 2]
    missing = [part for part in SECTIONS if part not in parts]
    if missing:
        yield f"sections are missing: {', '.join(missing)}"
        return
    if [part for part in parts if part in SECTIONS] != list(SECTIONS):
        yield f"sections must come once each, in this order: {', '.join(SECTIONS)}"
    own = [part for part in parts[: parts.index("From toy to library")] if part not in SECTIONS]
    if not 3 <= len(own) <= 6:
        yield f"there are {len(own)} sections of its own before 'From toy to library'; there must be 3 to 6"
    glance = " ".join(section(nb, "At a glance")).lower()
    missing = [words for words in GLANCE if words not in glance]
    if missing:
        yield f"'At a glance' does not say: {', '.join(missing)}"
    checks = len(re.findall(r"^check_\w+\(", "\n".join(section(nb, "Exercises", "code")), re.M))
    if not 2 <= checks <= 6:
        yield f"there are {checks} exercises with a check; there must be 2 to 6"
    yield from nb_page.exercise_rules(section(nb, "Exercises"))
    for part, least, most in (("Exercises", checks, 2 * checks), ("Questions", 3, 5)):
        folded = " ".join(section(nb, part)).count("<details>")
        if not least <= folded <= most:
            yield f"'{part}' has {folded} folded answers (<details>); there must be {least} to {most}"
    if "|" not in " ".join(section(nb, "When it goes wrong")):
        yield "'When it goes wrong' has no table of symptom, cause and fix"


def _start(nb, notebook) -> Iterator[str]:
    at = f"{REPOSITORY.removeprefix('https://github.com/')}/blob/main/notebooks/{notebook.name}"
    badge = f"https://colab.research.google.com/github/{at}"
    badges = re.findall(r"\]\((https://colab\.research\.google\.com/github/[^)]*)\)", "\n".join(texts(nb)))
    if badges != [badge]:
        yield f"the Colab badge must lead to {badge}, and is {', '.join(badges) or 'missing'}"
    cells = code_cells(nb)
    first = cells[0].source if cells else ""
    if "google.colab" not in first or f"git+{REPOSITORY}" not in first.replace('"', " ").split():
        yield f"the first code cell must install git+{REPOSITORY} where google.colab is loaded"
    if re.search(r"--editable|(?<!\w)-e\b|\b(torch|numpy)[=<>~]=", first):
        yield "the first code cell must not install editable, or pin torch or numpy: Colab has its own"


def _outputs(nb, notebook) -> Iterator[str]:
    if "widgets" in nb.metadata:
        yield "the state of widgets is saved: python -m tools.nb run leaves none"
    for number, cell in numbered(nb, "code"):
        if not cell.source.strip():
            yield f"cell {number}: empty"
        for output in cell.outputs:
            data = output.get("data", {})
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                yield f"cell {number}: ended in {output.ename}; if that is intended, tag it raises-exception"
            if output.get("name") == "stderr":
                yield f"cell {number}: writes to stderr, {output.text.strip()[:60]!r}; fix the cause"
            if WIDGET in data:
                yield f"cell {number}: a widget is saved: python -m tools.nb run leaves none"
            if data.keys() & {"image/svg+xml", "application/pdf"}:
                yield f"cell {number}: an SVG or PDF is compared letter by letter; use plots.show"


def _images(nb, notebook) -> Iterator[str]:
    for number, cell in numbered(nb, "code"):
        for output in cell.outputs:
            for kind, data in output.get("data", {}).items():
                if kind.startswith("image/"):
                    # JupyterLab shows such an image without its text, even if the metadata has one.
                    yield f"cell {number}: an image without alternative text; use plots.show"
                if kind == "text/html":
                    yield from _html_images(number, data)
                    yield from _sizes(number, data)
    for number, cell in numbered(nb, "markdown"):
        if re.search(r"!\[\s*\]\(", cell.source):
            yield f"cell {number}: an image without alternative text; write it into ![...]"
        yield from _html_images(number, cell.source)


def _sizes(number: int, html: str) -> Iterator[str]:
    for data in re.findall(r'src="data:image/png;base64,([^"]*)"', html):
        size = Image.open(io.BytesIO(base64.b64decode(data))).size
        if size[0] > MAX_PIXELS[0] or size[1] > MAX_PIXELS[1]:
            yield f"cell {number}: an image of {size[0]} x {size[1]} pixels; at most 600 x 350"


def _html_images(number: int, html: str) -> Iterator[str]:
    for tag in re.findall(r"<(?:img|video)\b[^>]*>", html):
        if not re.search(r"""\b(?:alt|aria-label|title)=["'][^"']*\w""", tag):
            yield f"cell {number}: {tag.split()[0]}> without alternative text (alt or aria-label)"


def _paths(nb, notebook) -> Iterator[str]:
    for number, cell in enumerate(nb.cells, 1):
        written = [cell.source]
        for output in cell.get("outputs", []):
            written += [output.get("text", ""), *output.get("traceback", []), output.get("evalue", "")]
            data = output.get("data", {})
            written += [IMAGE.sub("", value) for kind, value in data.items() if kind.startswith("text/")]
        for path in ABSOLUTE.findall("\n".join(written)):
            yield f"cell {number}: names the absolute path {path}, which other machines do not have"


def _page(nb, notebook) -> Iterator[str]:
    for number, cell in numbered(nb, "markdown"):
        yield from nb_page.markdown_rules(number, cell.source)
    for number, cell in numbered(nb, "code"):
        yield from nb_page.code_rules(number, cell)
    words = nb_page.words(texts(nb))
    if words > nb_page.MAX_WORDS:
        yield f"{words} words of text; at most {nb_page.MAX_WORDS}: shorten, or split the notebook"


def advice(notebook: Path) -> list[str]:
    """Where a notebook is longer, shorter or denser than most; `check` does not fail because of it."""
    nb = nbformat.read(notebook, as_version=4)
    code = code_cells(nb)
    lines = [_lines(cell.source) for cell in code] or [0]
    setup = section(nb, "Set-up", "code")
    found = []
    for what, value, least, most in (
        ("cells", len(nb.cells), 35, 60),
        ("words of text", nb_page.words(texts(nb)), 1500, nb_page.MAX_WORDS),
        ("lines in the median code cell", int(statistics.median(lines)), 1, 8),
        ("lines in the longest set-up cell", max(map(_lines, setup), default=0), 1, 12),
    ):
        if not least <= value <= most:
            found.append(f"{value} {what}; {least} to {most} read best")
    for number, cell in numbered(nb, "code"):
        statements = [line for line in cell.source.splitlines() if re.match(r"[^\s#)]", line)]
        imports = [line for line in statements if re.match(r"(import|from)\s", line)]
        if imports and len(imports) < len(statements) and cell.source not in setup:
            found.append(f"cell {number}: both imports and computes")
        if number < len(nb.cells) and nb.cells[number].cell_type == "code":
            found.append(f"cell {number}: the next is code too; explain between them what to look at")
    return found


def _lines(source: str) -> int:
    return sum(bool(line.strip()) for line in source.splitlines())


# check, over all notebooks together


def unused_names(notebooks: list[Path], names: list[str]) -> list[str]:
    """The names that no notebook uses in its code; an import or a word in a text does not count."""
    used: set[str] = set()
    for notebook in notebooks:
        for cell in code_cells(nbformat.read(notebook, as_version=4)):
            used |= _used_names(cell.source)
    return sorted(set(names) - used)


def _used_names(code: str) -> set[str]:
    # Lines of IPython such as `!pip` or `%matplotlib` are not Python.
    tree = ast.parse(re.sub(r"^[ \t]*[!%].*$", "pass", code, flags=re.M))
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }


# Cells and sections


def code_cells(nb: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def texts(nb: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in nb.cells if cell.cell_type == "markdown"]


def numbered(nb: nbformat.NotebookNode, kind: str) -> Iterator[tuple[int, nbformat.NotebookNode]]:
    """Cells of a kind with their number among all cells, from 1."""
    return ((number, cell) for number, cell in enumerate(nb.cells, 1) if cell.cell_type == kind)


def headings(nb: nbformat.NotebookNode) -> list[tuple[int, int, str]]:
    """(number of the cell, level, text) of every heading; a # in a block of code does not count."""
    found = []
    for number, cell in numbered(nb, "markdown"):
        text = nb_page.without_fences(cell.source)
        found += [
            (number, len(marks), words.strip())
            for marks, words in re.findall(r"^(#{1,6})\s+(.+)$", text, re.M)
        ]
    return found


def section(nb: nbformat.NotebookNode, title: str, kind: str = "markdown") -> list[str]:
    """The texts, or the code cells, between a heading of level 2 and the next."""
    found = []
    inside = False
    for cell in nb.cells:
        # One cell may end a section and begin the next; a heading in a block of code does not count.
        parts = (
            re.split(r"^## ", nb_page.without_fences(cell.source), flags=re.M)
            if cell.cell_type == "markdown"
            else []
        )
        for i, part in enumerate(parts):
            if i > 0:
                inside = part.partition("\n")[0].strip() == title
            if inside and kind == "markdown":
                found.append(part)
        if inside and kind == cell.cell_type == "code":
            found.append(cell.source)
    return found


# The command


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code, 1 where a rule is broken or a cell fails."""
    parser = argparse.ArgumentParser(prog="python -m tools.nb", description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=("pair", "run", "check", "student", "grade"))
    parser.add_argument(
        "files", nargs="*", type=Path, help="either file of a pair; all notebooks unless given"
    )
    parser.add_argument("--out", type=Path, help="student: a new folder to write into")
    parser.add_argument("--edition", choices=("student", "instructor", "nbgrader"), default="student")
    options = parser.parse_intermixed_args(arguments)
    if options.verb == "grade":
        return _grade(options.files, parser)
    scripts = sorted({path.with_suffix(".py") for path in options.files or (ROOT / "notebooks").glob("*.py")})
    notebooks = [script.with_suffix(".ipynb") for script in scripts]
    if options.verb == "student":
        if options.out is None:
            parser.error("student: say where to write, with --out DIR")
        try:
            written = editions.write(notebooks, options.out, options.edition)
        except FileExistsError as error:
            parser.error(str(error))
        print(f"{options.out}: {len(written)} notebooks, {options.edition} edition")
        return 0
    if options.verb == "check":
        return int(_check_all(notebooks, together=not options.files))
    return int(sum(_pair_or_run(script, options.verb, parser) for script in scripts) > 0)


def _check_all(notebooks: list[Path], together: bool) -> bool:
    """Check notebooks, and what holds for all of them together; True where a rule is broken."""
    failed = False
    for notebook in notebooks:
        problems = check(notebook)
        failed |= bool(problems)
        for problem in problems:
            print(f"{notebook.stem}: {problem}")
        if not problems:
            print(f"{notebook.stem}: whole")
            print("".join(f"{notebook.stem}: advice: {line}\n" for line in advice(notebook)), end="")
    if together:
        unused = unused_names(notebooks, fomm_lib.__all__)
        failed |= bool(unused)
        for name in unused:
            print(f"no notebook uses fomm_lib.{name}; use it where a learner needs it")
    return failed


def _pair_or_run(script: Path, verb: str, parser: argparse.ArgumentParser) -> bool:
    """Pair one notebook, and run it if that is the verb; True where a cell fails."""
    if not script.exists():
        parser.error(f"{script}: no such file")
    notebook = pair(script)
    if verb == "pair":
        return False
    try:
        seconds = run(notebook)
    except CellExecutionError as error:
        print(f"{script.stem}: not written, because a cell failed:\n{error}")
        return True
    slowest = max(seconds, key=seconds.get)
    longest = f"the slowest is cell {slowest}, {seconds[slowest]:.1f} s"
    print(f"{script.stem}: {sum(seconds.values()):.1f} s; {longest}")
    return False


def _grade(files: list[Path], parser: argparse.ArgumentParser) -> int:
    for path in files:
        if not path.exists():
            parser.error(f"{path}: no such file")
        try:
            print(f"{path}: {editions.grade(path, ROOT / 'notebooks')}")
        except ValueError as error:
            parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
