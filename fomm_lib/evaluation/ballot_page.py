"""A study as one HTML file, for a class: it opens in any browser, without a server, and gives a CSV a person.

    write_ballot_page({"anna": {"model": png, "still": png}, ...}, "study.html")

Each person opens the file, writes a name or number, answers, and saves the CSV that the page offers; then

    print(analyse(read_choices(["kim.csv", "lee.csv"])).markdown())

Order and sides are random for every person. The page (`ballot.html`, where the question and the videos are
filled in) speaks to nobody: the answers are in the CSV alone.
"""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Mapping
from pathlib import Path

from fomm_lib.errors import InputError
from fomm_lib.evaluation.study import pairs_of
from fomm_lib.files import atomic_output

QUESTION = "Which moves more like a real person?"


def write_ballot_page(
    videos: Mapping[str, Mapping[str, bytes]],
    path: str | os.PathLike,
    question: str = QUESTION,
    overwrite: bool = False,
) -> int:
    """Write the page; for every item each pair of methods is asked once.

    Args:
        videos: item -> method -> the bytes of an animated PNG, as for `study.Ballot`.
        path: an .html file.
        question: asked above the videos.
        overwrite: whether an existing file may be replaced.
    Returns:
        The number of questions.
    Raises:
        InputError: an item with fewer than two methods, another ending, or the file cannot be written.

    Example:
        >>> write_ballot_page({"anna": {"a": b"a", "b": b"b", "c": b"c"}}, "study.html")
        3
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: end it with .html")
    questions = []
    for item, pair in pairs_of(videos):
        pngs = {method: base64.b64encode(videos[item][method]).decode() for method in pair}
        shown = [{"method": method, "png": png} for method, png in pngs.items()]
        questions.append({"item": item, "videos": shown})
    # "</script>" within a name would end the script.
    data = json.dumps(questions).replace("<", "\\u003c")
    page = Path(__file__).with_name("ballot.html").read_text(encoding="utf-8")
    page = page.replace("__QUESTION__", html.escape(question)).replace("__QUESTIONS__", data)
    with atomic_output(path, overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return len(questions)
