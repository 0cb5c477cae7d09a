"""Dataclasses as rows of CSV files: what is written is read again; what is damaged is said in one line."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from fomm_lib.data import tables
from fomm_lib.data.tables import Table, append_cells, read_cells, write_cells
from fomm_lib.errors import InputError


@dataclass
class Row:
    name: str
    number: int = 0
    share: float = 0.0
    maybe: int | None = None
    perhaps: float | None = None


@dataclass
class Place:
    x: int
    y: int


@dataclass
class Placed:
    name: str
    place: Place
    colour: str = field(default="", metadata={"column": "hue"})


TABLE = Table(Row, "is no table of rows; choose another name")
GROWING = Table(Row, "is no table of rows", "a row was changed", appended=True)
NAMES = ["a", "", " blank ", "a,b", 'say "so"', "two\nlines", "two\r\nlines", "\r", "\t", "ü 日本"]
NAMES += ["a\rb.mp4", "\ra", "a\x1b[31m", "a\u2028b", "'", "''=", "'a", "-5", "+1e3", "-inf"]
FORMULAS = ["=1+cmd|' /C calc'!A0", "+1+1", "-2-3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''=1", "＝1"]
ROWS = [
    Row("a.mp4", -3, 0.1, 2**70, 1e-300),
    Row("b.mp4", 0, float("inf"), 0, 0.0),
    Row("c.mp4", 7, 1 / 3, None, None),
    *(Row(name, 1, 2.0) for name in [*NAMES, *FORMULAS]),
    Row(os.fsdecode(b"\xff\xfe.mp4")),
]
HEADER = "name,number,share,maybe,perhaps\n"


# --- what is written is read again ---


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_type_comes_back(tmp_path, line_end):
    table = Table(Row, "is no table", line_end=line_end)
    table.write(tmp_path / "a.csv", ROWS)
    assert table.read(tmp_path / "a.csv") == ROWS
    assert (tmp_path / "a.csv").read_bytes() == table.encode(ROWS)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.csv"]


def test_the_bytes_of_a_file():
    rows = [Row("a,b", 3, 0.1, None, 2.5), Row('"', 4, 1e-7, 5)]
    assert TABLE.encode(rows).decode() == HEADER + '"a,b",3,0.1,,2.5\n"""",4,1e-07,5,\n'
    windows = Table(Row, "is no table", line_end="\r\n")
    assert windows.encode([Row("two\nlines")]).decode() == HEADER.strip() + '\r\n"two\nlines",0,0.0,,\r\n'
    assert TABLE.encode([]).decode() == HEADER


def test_rows_that_are_appended_are_those_of_a_file_that_was_written(tmp_path):
    TABLE.write(tmp_path / "a.csv", ROWS[:3])
    for row in ROWS[3:]:
        TABLE.append(tmp_path / "a.csv", row)
    assert (tmp_path / "a.csv").read_bytes() == TABLE.encode(ROWS)


def test_a_column_may_have_another_name_and_a_dataclass_gives_its_own_columns(tmp_path):
    table = Table(Placed, "is no table of places")
    rows = [Placed("a", Place(1, 2), "red"), Placed("b", Place(-3, 0))]
    table.write(tmp_path / "a.csv", rows)
    assert table.columns == ["name", "x", "y", "hue"]
    assert (tmp_path / "a.csv").read_text() == "name,x,y,hue\na,1,2,red\nb,-3,0,\n"
    assert table.read(tmp_path / "a.csv") == rows


def test_lines_are_counted_as_an_editor_does(tmp_path):
    TABLE.write(tmp_path / "a.csv", [Row("a"), Row("two\nlines"), Row("b")])
    assert [line for line, _ in TABLE.read_lines(tmp_path / "a.csv")] == [2, 4, 5]


def test_a_type_that_no_cell_can_hold():
    @dataclass
    class Bad:
        flag: bool

    with pytest.raises(TypeError, match=r"Bad.flag: a cell cannot hold <class 'bool'>"):
        Table(Bad, "").encode([])


# --- files of somebody else, and damaged ones ---


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"name,number\na,1\n",
        b"number,name,share,maybe,perhaps\n1,a,1,,\n",
        HEADER.strip().encode() + b",more\na,1,1,,,x\n",
        b"\xff\xfe\x00",
        b"\0" * 40,
    ],
)
def test_other_columns(content, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.csv: is no table of rows; choose another name$"):
        TABLE.read(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == content


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,many,1,,", r"number is 'many', not a whole number"),
        ("a,1.5,1,,", r"number is '1\.5', not a whole number"),
        ("a,,1,,", r"number is '', not a whole number"),
        ("a,1,wide,,", r"share is 'wide', not a number"),
        ("a,1,1,x,", r"maybe is 'x', not a whole number"),
        ("a,1,1", r"3 cells instead of 5"),
        ("a,1,1,,,", r"6 cells instead of 5"),
        ('a,"1\n2",1,,', r"number is '1\\n2', not a whole number"),
    ],
)
def test_a_row_that_cannot_be_read(line, message, tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + "good,1,1,,\n" + line + "\n")
    with pytest.raises(
        InputError, match=rf"a\.csv, line \d: is no table of rows; choose .* \({message}\)$"
    ) as e:
        TABLE.read(tmp_path / "a.csv")
    assert "\n" not in str(e.value)
    (tmp_path / "a.csv").write_text(HEADER + line + "\nlast,1,1,,\n")
    with pytest.raises(InputError, match=rf"a row was changed \({message}\)"):
        GROWING.read(tmp_path / "a.csv")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: cannot be read \(No such file or directory\)"):
        TABLE.read(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        TABLE.read(tmp_path)


def test_extra_columns_are_left_out_where_they_are_allowed(tmp_path):
    table = Table(Placed, "is no table", extra_columns=True)
    (tmp_path / "a.csv").write_text("note,y,x,name,hue\nwhat a place,2,1,a,red\n")
    assert table.read(tmp_path / "a.csv") == [Placed("a", Place(1, 2), "red")]
    (tmp_path / "a.csv").write_text("note,y,x,name\n,2,1,a\n")
    with pytest.raises(InputError, match="is no table"):
        table.read(tmp_path / "a.csv")


def test_line_ends_and_empty_lines_of_an_editor(tmp_path):
    (tmp_path / "a.csv").write_bytes(HEADER.encode().replace(b"\n", b"\r\n") + b"\r\na,1,1,,\r\n\r\n")
    assert TABLE.read(tmp_path / "a.csv") == [Row("a", 1, 1.0)]


# --- killed while writing ---


def test_a_growing_file_that_ends_anywhere(tmp_path):
    rows = [Row("a"), Row("two\nlines, cut"), Row('"'), Row("b", 12, 0.5, 3, 4.0), Row("last")]
    data = GROWING.encode(rows)
    ends = [len(GROWING.encode(rows[:count])) for count in range(len(rows) + 1)]
    for cut in range(len(data) + 1):
        for tail in (b"", b"\0" * 9):
            (tmp_path / "a.csv").write_bytes(data[:cut] + tail)
            whole = max(0, sum(end <= cut for end in ends) - 1)
            assert GROWING.read(tmp_path / "a.csv") == rows[:whole], (cut, tail)


def test_a_whole_file_does_not_end_early(tmp_path):
    (tmp_path / "a.csv").write_bytes(TABLE.encode(ROWS[:2])[:-10])
    with pytest.raises(InputError, match=r"line 3: is no table of rows"):
        TABLE.read(tmp_path / "a.csv")


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path):
    TABLE.write(tmp_path / "a.csv", ROWS[:1])
    before = (tmp_path / "a.csv").read_bytes()

    def interrupted():
        yield Row("good")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TABLE.write(tmp_path / "a.csv", interrupted())
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        TABLE.write(tmp_path / "no" / "a.csv", ROWS)
    assert (tmp_path / "a.csv").read_bytes() == before and list(tmp_path.iterdir()) == [tmp_path / "a.csv"]


def test_what_is_appended_is_on_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", synced.append)
    TABLE.write(tmp_path / "a.csv", ROWS)
    TABLE.append(tmp_path / "a.csv", ROWS[0])
    assert len(synced) == 2
    append_cells(tmp_path / "a.csv", [["a", 1, 1.0, None, None]])
    assert len(synced) == 2 and len(TABLE.read(tmp_path / "a.csv")) == len(ROWS) + 2


# --- columns that are known only at run time ---


def test_cells_are_texts(tmp_path):
    write_cells(tmp_path / "a.csv", [["step", "loss"], [1, 0.5], [2, None]])
    append_cells(tmp_path / "a.csv", [[3, "a,b"], [4, "two\nlines"]])
    assert (tmp_path / "a.csv").read_bytes() == b'step,loss\r\n1,0.5\r\n2,\r\n3,"a,b"\r\n4,"two\nlines"\r\n'
    rows = read_cells(tmp_path / "a.csv", "a table")
    assert [line for line, _ in rows] == [2, 3, 4, 6]
    assert [row["loss"] for _, row in rows] == ["0.5", "", "a,b", "two\nlines"]
    with pytest.raises(InputError, match="exists already"):
        write_cells(tmp_path / "a.csv", [["step"]])


def test_rows_of_another_length(tmp_path):
    (tmp_path / "a.csv").write_text("step,loss\n1\n2,3,4\n")
    assert [row for _, row in read_cells(tmp_path / "a.csv", "a table")] == [
        {"step": "1", "loss": None},
        {"step": "2", "loss": "3", None: ["4"]},
    ]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfstep\n1\n")
    assert read_cells(tmp_path / "a.csv", "a table") == [(2, {"step": "1"})]


def test_what_is_no_text(tmp_path):
    with pytest.raises(
        InputError, match=r"none\.csv: cannot be read as a table \(No such file or directory\)"
    ):
        read_cells(tmp_path / "none.csv", "a table")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"a\.csv: cannot be read as a table \(it is no text\)"):
        read_cells(tmp_path / "a.csv", "a table")


@pytest.mark.parametrize("module", ["tables", "cleaning", "report"])
def test_checking_videos_does_not_wait_for_pytorch(module):
    code = f"import fomm_lib.data.{module}, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what names and files may do ---


def test_where_names_are_ascii_other_bytes_come_back_too(tmp_path, monkeypatch):
    monkeypatch.setattr(tables.sys, "getfilesystemencoding", lambda: "ascii")
    name = "ü😀.mp4".encode().decode("ascii", "surrogateescape")  # what the system's functions give there
    TABLE.write(tmp_path / "a.csv", [Row(name)])
    assert [row.name for row in TABLE.read(tmp_path / "a.csv")] == [name]
    assert "ü😀.mp4" in (tmp_path / "a.csv").read_text(encoding="utf-8")


def test_no_cell_is_a_formula(tmp_path):
    TABLE.write(tmp_path / "a.csv", [Row(name) for name in FORMULAS])
    write_cells(tmp_path / "b.csv", [["name"], *([name] for name in FORMULAS)])
    for path in (tmp_path / "a.csv", tmp_path / "b.csv"):
        with open(path, newline="", encoding="utf-8") as file:  # as a spreadsheet reads it
            found = [record[0] for record in csv.reader(file)][1:]
        assert found == [f"'{name}" for name in FORMULAS]
    assert [row.name for row in TABLE.read(tmp_path / "a.csv")] == FORMULAS
    assert [row["name"] for _, row in read_cells(tmp_path / "b.csv", "a table")] == FORMULAS


def test_texts_that_are_numbers_stay_numbers(tmp_path):
    numbers = ["-0.25", "+3", "-1e-07", "-.5", "-inf", "nan"]
    write_cells(tmp_path / "a.csv", [["x"], *([number] for number in numbers)])
    assert (tmp_path / "a.csv").read_text().split() == ["x", *numbers]


@pytest.mark.parametrize("name", [*NAMES[1:], *FORMULAS, os.fsdecode(b"\xff\xfe.mp4")], ids=ascii)
def test_cells_of_any_text_are_read_back_equal(tmp_path, name):
    path = tmp_path / "a.csv"
    write_cells(path, [["first", "name"], ["x", name]])
    append_cells(path, [["y", name]])
    assert [row for _, row in read_cells(path, "a table")] == [{"first": f, "name": name} for f in "xy"]


def test_what_other_programs_quote_with_an_apostrophe_stays(tmp_path):
    (tmp_path / "a.csv").write_text("name\n'a\n'5'\n")
    assert [row["name"] for _, row in read_cells(tmp_path / "a.csv", "a table")] == ["'a", "'5'"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.csv").symlink_to("pipe")
    for name in ("pipe", "link.csv"):
        with pytest.raises(InputError, match=r"cannot be read \(it is a pipe or a device\)"):
            TABLE.read(tmp_path / name)
        with pytest.raises(InputError, match=r"cannot be read as losses \(it is a pipe or a device\)"):
            read_cells(tmp_path / name, "losses")


def test_files_and_numbers_have_bounds(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text(HEADER + f"a,{'9' * 51},0,,\n")
    with pytest.raises(InputError, match=r"line 2: .*number is '9+', not a whole number"):
        TABLE.read(tmp_path / "a.csv")
    monkeypatch.setattr(tables, "MAX_BYTES", 20)
    with pytest.raises(InputError, match=r"a\.csv: cannot be read \(it has more than 0 MiB\)"):
        TABLE.read(tmp_path / "a.csv")
