"""`documents`: what is read stays within its limits, and messages show values short."""

from __future__ import annotations

import json
import sys

import pytest

from fomm_lib import documents
from fomm_lib.documents import MAX_DEPTH, MAX_TEXT, MAX_VALUES, check_extent, read_json, read_yaml, shown
from fomm_lib.errors import InputError
from tools import fuzz_families

pytestmark = pytest.mark.quick


def nested(depth: int) -> list:
    """Lists within lists: as many as `depth`."""
    result: list = []
    for _ in range(depth - 1):
        result = [result]
    return result


def test_as_much_as_allowed_and_one_more():
    check_extent([0] * (MAX_VALUES - 1), "here")  # the list is a value, too
    check_extent(nested(MAX_DEPTH), "here")
    check_extent({"key": "x" * MAX_TEXT}, "here")
    for content, message in (
        ([0] * MAX_VALUES, "it has more than 10000 values"),
        (nested(MAX_DEPTH + 1), "it has more than 20 levels"),
        ({"key": "x" * (MAX_TEXT + 1)}, "a text in it has 10001 characters"),
        ({"a": {1: 2}}, "the key 1 should be a text"),
    ):
        with pytest.raises(InputError, match=f"^here: .*{message}$"):
            check_extent(content, "here")


def test_yaml_and_json_of_the_same_content(tmp_path):
    content = {"model_params": {"scales": [1, 0.5]}, "name": None}
    text = json.dumps(content)
    path = tmp_path / "same.yaml"
    path.write_text(text)
    assert read_yaml(path) == read_json(text, "here") == content
    path.write_text("")
    assert read_yaml(path) is None


@pytest.mark.parametrize("name", fuzz_families.ODD_YAML)
def test_yaml_that_stands_for_more_than_it_is(tmp_path, name):
    """Some of it is small enough to be read; the keys of a config are not known here."""
    path = tmp_path / "odd.yaml"
    path.write_text(fuzz_families.ODD_YAML[name])
    try:
        check_extent(read_yaml(path), "here")
    except InputError as error:
        assert str(error).isprintable() and len(str(error)) < 1500


def test_files_and_texts_that_are_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_BYTES", 5)
    path = tmp_path / "long.yaml"
    path.write_text("[1, 2]")
    for read in (lambda: read_yaml(path), lambda: read_json("[1, 2]", "here")):
        with pytest.raises(InputError, match="is not a config: it has more than 0 MiB"):
            read()


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", r"is no JSON \(.*\)"), ("[1]", "is no config but a list"), ("[" * 10**5, "is no JSON")],
)
def test_json_that_is_no_config(text, message):
    with pytest.raises(InputError, match=f"^here: {message}"):
        read_json(text, "here")


@pytest.fixture
def digits():
    """Python's limit of the digits that a number is written with, which `tools.fuzz_families` lifts."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(sys.int_info.default_max_str_digits)
    yield
    sys.set_int_max_str_digits(before)


def test_values_are_shown_short(digits):
    assert shown("a") == "'a'" and shown([1, 2]) == "[1, 2]"
    assert len(shown("a" * 10**6)) == 100 and len(shown([[0] * 100] * 100)) < 500
    assert shown(10**5000) == "a very long number"
