"""A study as one HTML file, for a class: it opens in any browser, without a server, and gives a CSV a person.

    write_ballot_page({"anna": {"model": png, "still": png}, ...}, "study.html")

Each person opens the file, writes a name or number, answers, and saves the CSV that the page offers; then

    print(analyse(read_choices(["kim.csv", "lee.csv"])).markdown())

Order and sides are random for every person. The page holds the videos and speaks to nobody: the answers are
in the CSV alone.
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path

from fomm_lib.errors import InputError
from fomm_lib.files import atomic_output

QUESTION = "Which moves more like a real person?"

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Study</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:;
 script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<style>
body { font-family: sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
img { width: 100%; image-rendering: auto; background: #eee; }
button, input { font-size: 1.1rem; padding: .4rem .8rem; }
#pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; } #pair button { width: 100%; }
</style></head><body>
<h1>__QUESTION__</h1>
<p>All videos may be generated. There is no right answer. Nothing is sent anywhere: at the end you save a
file.</p>
<form id="start"><label>Your name or number: <input id="rater" required maxlength="40"></label>
<button>Begin</button></form>
<main hidden><p id="count" aria-live="polite"></p>
<div id="pair"><div><img id="left" alt="the left video"><button id="chooseLeft">left</button></div>
<div><img id="right" alt="the right video"><button id="chooseRight">right</button></div></div></main>
<p id="end" hidden>Thank you. <a id="save">Save your answers</a> and hand them in.</p>
<script>
"use strict";
const questions = __QUESTIONS__;
const byId = name => document.getElementById(name);
const rows = [["rater", "item", "left", "right", "choice", "seconds"]];
let asked = [], since = 0;
function shuffled(list) {
  const result = list.slice();
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}
function cell(text) {
  const safe = /^[=+\\-@'\\t\\r]/.test(text) ? "'" + text : text;
  return /[",\\r\\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
}
function show() {
  if (asked.length === 0) {
    const csv = rows.map(row => row.map(cell).join(",")).join("\\r\\n") + "\\r\\n";
    byId("save").href = URL.createObjectURL(new Blob([csv], {type: "text/csv"}));
    byId("save").download = "answers.csv";
    document.querySelector("main").hidden = true;
    byId("end").hidden = false;
    return;
  }
  const [first, second] = asked[0].videos;
  byId("left").src = "data:image/png;base64," + first.png;
  byId("right").src = "data:image/png;base64," + second.png;
  byId("count").textContent = `Question ${rows.length} of ${questions.length}`;
  since = performance.now();
}
function choose(side) {
  const {item, videos} = asked.shift();
  const names = videos.map(video => video.method);
  const seconds = ((performance.now() - since) / 1000).toFixed(1);
  rows.push([byId("rater").value.trim(), item, ...names, names[side], seconds]);
  show();
}
byId("chooseLeft").onclick = () => choose(0);
byId("chooseRight").onclick = () => choose(1);
byId("start").onsubmit = event => {
  event.preventDefault();
  if (!byId("rater").value.trim()) return;
  asked = shuffled(questions).map(one => ({item: one.item, videos: shuffled(one.videos)}));
  byId("start").hidden = true;
  document.querySelector("main").hidden = false;
  show();
};
</script></body></html>
"""


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
    for item, methods in videos.items():
        if len(methods) < 2:
            raise InputError(f"{item}: has {len(methods)} video; a comparison needs two")
        for pair in itertools.combinations(sorted(methods), 2):
            shown = [{"method": method, "png": base64.b64encode(methods[method]).decode()} for method in pair]
            questions.append({"item": item, "videos": shown})
    # "</script>" within a name would end the script.
    data = json.dumps(questions).replace("<", "\\u003c")
    page = _PAGE.replace("__QUESTION__", html.escape(question)).replace("__QUESTIONS__", data)
    with atomic_output(path, overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return len(questions)
