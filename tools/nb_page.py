"""Rules of `python -m tools.nb check` about how a notebook looks on a page, and the labels of its exercises.

Markdown, formulas and code are written for three readers: JupyterLab, Colab and the site. What looks right in
a source can be a list, a cut formula or a table whose lines wrap on a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import nbformat

from tools.formulas import formula_width

MAX_FORMULA = 700  # pixels; the column of text of the site, and of a laptop with an open side bar
MAX_CODE = 96  # characters; longer lines are cut off beside an open side bar
MAX_PRINTED = 88
MAX_WORDS = 2500

HIDDEN = "hide-input"
TITLE = re.compile(r"# @title \S")
FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*(\w*)[^\n]*\n(.*?)^[ \t]*\1", re.M | re.S)
SHELLS = {"bash", "sh", "shell", "console"}
KINDS = ("code", "experiment", "find the bug")
LABEL = re.compile(
    rf"^\*({'|'.join(KINDS)}) · difficulty [1-5] of 5 · importance [1-5] of 5 · (\d+) minutes\*$", re.M
)


def without_fences(text: str) -> str:
    """A text without its blocks of code."""
    return FENCE.sub("", text)


def wrapped_into_lists(text: str) -> Iterator[str]:
    """Lines of a paragraph that Markdown takes for items of a list, because of how they begin."""
    text = re.sub(r"\$\$.+?\$\$", "", without_fences(text), flags=re.S)  # formulas are no Markdown
    for block in re.split(r"\n\s*\n|^#+ .*\n|^<.*>\n", text, flags=re.M):
        lines = block.splitlines()
        is_list = bool(lines) and re.match(r"\s*([-+*]|\d+[.)])\s", lines[0])
        number = re.match(r"\s*(\d+)[.)]", lines[0]) if is_list else None
        following = int(number[1]) + 1 if number else None
        for line in lines[1:]:
            numbered = re.match(r"\s*(\d{1,9})[.)]\s", line)
            if numbered and int(numbered[1]) == following:
                following += 1
            elif numbered or (not is_list and re.match(r"\s*[-+*]\s", line)):
                yield line.strip()


def broken_in_shells(text: str) -> Iterator[str]:
    """Lines of shell blocks that do not continue when pasted: two backslashes, or a space after one."""
    for _, language, block in FENCE.findall(text):
        if language in SHELLS:
            yield from (line.strip() for line in block.splitlines() if re.search(r"\\(\\|\s)\s*$", line))


def display_formulas(text: str) -> list[str]:
    return re.findall(r"\$\$(.+?)\$\$", without_fences(text), re.S)


def markdown_rules(number: int, text: str) -> Iterator[str]:
    """What of one Markdown cell looks wrong on a page."""
    for line in wrapped_into_lists(text):
        yield f"cell {number}: the line {line[:30]!r} becomes an item of a list; wrap the text elsewhere"
    for line in broken_in_shells(text):
        yield f"cell {number}: the shell line {line[-30:]!r} does not continue; end it in one backslash"
    for formula in display_formulas(text):
        width = formula_width(formula)
        if width > MAX_FORMULA:
            begin = " ".join(formula.split())[:30]
            yield (
                f"cell {number}: the formula {begin!r} is about {width:.0f} pixels wide, and is cut off; "
                f"at most {MAX_FORMULA}: write it in two"
            )
    for _, _, block in FENCE.findall(text):
        yield from _long_lines(number, block)


def _long_lines(number: int, code: str) -> Iterator[str]:
    for line in code.splitlines():
        if len(line) > MAX_CODE and not re.search(r"https?://\S{40,}", line):
            begin = line.strip()[:30]
            yield f"cell {number}: a line of {len(line)} characters, {begin!r}; at most {MAX_CODE}"


def code_rules(number: int, cell: nbformat.NotebookNode) -> Iterator[str]:
    """What of one code cell, or of its output, looks wrong on a page."""
    yield from _long_lines(number, cell.source)
    hidden = HIDDEN in cell.metadata.get("tags", [])
    if hidden and not TITLE.match(cell.source):
        yield f"cell {number}: is folded ({HIDDEN}); begin it with '# @title ' and what it shows"
    if cell.metadata != folded(cell.metadata):
        yield f"cell {number}: its fold does not agree with its tags: python -m tools.nb pair"
    printed = "".join(o.text for o in cell.outputs if o.get("name") == "stdout").splitlines()
    for line in printed:
        if len(line) > MAX_PRINTED:
            yield f"cell {number}: prints a line of {len(line)} characters; at most {MAX_PRINTED}"
        if re.search(r"(^|[ :=])True$", line):
            yield f"cell {number}: prints {line[-30:]!r}; print by how much instead"
    if printed_table(printed):
        yield f"cell {number}: prints a table, whose lines wrap on a narrow page; use plots.show_table"
    live = re.search(r"^[^#\n]*\b(interact|preview|show_widget)\(", cell.source, re.M)
    if live and not any("text/html" in o.get("data", {}) for o in cell.outputs):
        yield f"cell {number}: a widget without a still image, which is blank until it is run"


def printed_table(lines: list[str]) -> bool:
    """Whether three lines in a row have the same columns, three or more, with two spaces between them."""
    columns = [len(re.split(r"\s{2,}", line.strip())) for line in lines]
    # What a check prints begins with a word and spaces too.
    columns = [
        0 if line.startswith(("ok  ", "todo  ")) else n for n, line in zip(columns, lines, strict=True)
    ]
    return any(a == b == c >= 3 for a, b, c in zip(columns, columns[1:], columns[2:], strict=False))


def folded(metadata: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The metadata of a cell with what folds it, or not, as its tags say.

    The site reads the tag itself; JupyterLab reads `jupyter.source_hidden`, Colab reads `cellView` and the
    comment `# @title`.
    """
    metadata = nbformat.from_dict(metadata)
    jupyter = metadata.pop("jupyter", nbformat.NotebookNode())
    jupyter.pop("source_hidden", None)
    metadata.pop("cellView", None)
    if HIDDEN in metadata.get("tags", []):
        jupyter["source_hidden"] = True
        metadata["cellView"] = "form"
    if jupyter:
        metadata["jupyter"] = jupyter
    return metadata


def words(texts: list[str]) -> int:
    """How many words of text a reader reads, without code, formulas and tags."""
    return sum(
        len(re.sub(r"<[^>]+>|\$[^$]*\$", " ", without_fences(text).replace("$$", "$")).split())
        for text in texts
    )


def exercise_rules(texts: list[str]) -> Iterator[str]:
    """Whether every exercise has its label, and every kind of exercise is there."""
    text = "\n\n".join(texts)
    found = []
    for title, body in re.findall(r"^### (Exercise \d+ · [^\n]+)\n(.*?)(?=^### |\Z)", text, re.M | re.S):
        label = LABEL.search(body)
        if label is None:
            form = "*code · difficulty 2 of 5 · importance 4 of 5 · 10 minutes*"
            yield f"{title!r} has no label such as {form}; the kinds are {', '.join(KINDS)}"
        else:
            found.append(label[1])
    missing = [kind for kind in KINDS[1:] if kind not in found]
    if missing:
        yield f"'Exercises' has no exercise of the kind {' and none of the kind '.join(missing)}"
