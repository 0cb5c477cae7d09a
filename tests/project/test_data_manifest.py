"""data/README.md names every file of data/ with origin, size and checksum, and the tool notices when not."""

from __future__ import annotations

import pytest

from fomm_lib.errors import InputError
from tests.support.paths import ROOT
from tools import data_manifest

# What "hello" hashes to, by any other tool: printf hello | sha256sum
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def data(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"hello")
    (tmp_path / "clips" / ".a.partial.mp4").write_bytes(b"unfinished")
    (tmp_path / "clips" / "README.md").write_text("not listed")
    (tmp_path / "README.md").write_text(
        "# data\n\n| file | from |\n|---|---|\n| `clips/*` | a test |\n\n"
        f"{data_manifest.START}\n{data_manifest.END}\nThe end.\n"
    )
    return tmp_path


def test_the_data_of_the_project_is_as_listed():
    assert data_manifest.differences(ROOT / "data") == [], "python tools/data_manifest.py --write"


def test_write_lists_size_and_checksum_and_leaves_the_rest(data):
    before = (data / "README.md").read_text()
    data_manifest.write(data)
    text = (data / "README.md").read_text()
    assert f"| `clips/a.mp4` | 5 | `{HELLO}` |" in text
    assert "partial" not in text and "not listed" not in text
    assert text.startswith(before.split(data_manifest.START)[0]) and text.endswith("\nThe end.\n")
    assert data_manifest.differences(data) == []
    data_manifest.write(data)
    assert (data / "README.md").read_text() == text, "writing again changes nothing"


def test_a_changed_file_is_noticed(data):
    data_manifest.write(data)
    (data / "clips" / "a.mp4").write_bytes(b"hullo")
    gone, new = data_manifest.differences(data)
    assert HELLO in gone and gone.startswith("listed, but not so on disk")
    assert "clips/a.mp4" in new and new.startswith("on disk, but not listed so")


def test_a_file_without_origin_and_an_origin_without_file_are_noticed(data):
    (data / "stray.jpg").write_bytes(b"?")
    (data / "clips" / "a.mp4").unlink()
    data_manifest.write(data)
    stray, row = data_manifest.differences(data)
    assert stray.startswith("stray.jpg: its origin must be given by one row, and is by 0")
    assert row.startswith("clips/*: a row of origins that no file matches")


def test_two_origins_for_one_file_are_noticed(data):
    path = data / "README.md"
    path.write_text(path.read_text().replace("| `clips/*` |", "| `clips/a.mp4` | someone |\n| `clips/*` |"))
    data_manifest.write(data)
    (twice,) = data_manifest.differences(data)
    assert "is by 2" in twice


@pytest.mark.parametrize("damage", ["", data_manifest.END, 2 * data_manifest.START])
def test_a_readme_without_its_marks_is_left_alone(data, damage):
    (data / "README.md").write_text(damage)
    with pytest.raises(InputError, match="once each, in this order"):
        data_manifest.write(data)
    assert (data / "README.md").read_text() == damage
