"""The page of a study: whole, closed to the network, and its CSV is what `read_choices` reads."""

import json
import re

import pytest

from fomm_lib.errors import InputError
from fomm_lib.evaluation.ballot_page import write_ballot_page
from fomm_lib.evaluation.study import Choice, Trial, read_choices

VIDEOS = {"anna": {"model": b"\x89PNG1", "still": b"\x89PNG2"}, "ben": {"a": b"a", "b": b"b", "c": b"c"}}


def page(tmp_path, videos=VIDEOS, **options):
    path = tmp_path / "study.html"
    return write_ballot_page(videos, path, **options), path.read_text(encoding="utf-8")


def questions_of(text):
    return json.loads(re.search(r"^const questions = (.*);$", text, re.MULTILINE)[1])


def test_every_pair_of_every_item_is_asked_once(tmp_path):
    count, text = page(tmp_path)
    asked = [(one["item"], *(video["method"] for video in one["videos"])) for one in questions_of(text)]
    assert count == 4
    assert asked == [("anna", "model", "still"), ("ben", "a", "b"), ("ben", "a", "c"), ("ben", "b", "c")]


def test_the_page_reaches_for_nothing(tmp_path):
    _, text = page(tmp_path)
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text and "__" not in text
    assert not re.search(r"fetch\(|XMLHttp|WebSocket|<link|src=", text)


def test_names_cannot_end_the_script(tmp_path):
    _, text = page(tmp_path, {"</script><b>": {"x": b"1", "<!--": b"2"}}, question="a < b & c?")
    assert text.count("</script>") == 1 and "<h1>a &lt; b &amp; c?</h1>" in text
    assert questions_of(text)[0]["item"] == "</script><b>"


def test_the_csv_of_the_page_is_read_by_the_study(tmp_path):
    header = re.search(r"const rows = \[(\[.*?\])\]", page(tmp_path)[1])[1]
    line_end = "\r\n"
    file = tmp_path / "answers.csv"
    lines = [",".join(json.loads(header)), "Kim,anna,still,model,model,2.5", '"Lee, B.",ben,a,b,a,0.4']
    file.write_bytes((line_end.join(lines) + line_end).encode())
    assert read_choices([file]) == [
        Choice("Kim", Trial("anna", "still", "model"), "model", 2.5),
        Choice("Lee, B.", Trial("ben", "a", "b"), "a", 0.4),
    ]


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(InputError, match="a comparison needs two"):
        page(tmp_path, {"anna": {"model": b""}})
    with pytest.raises(InputError, match=r"end it with \.html"):
        write_ballot_page(VIDEOS, tmp_path / "study.txt")
    page(tmp_path)
    with pytest.raises(InputError):
        page(tmp_path)
    assert page(tmp_path, overwrite=True)[0] == 4
