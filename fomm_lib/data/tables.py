"""CSV files: a dataclass is the row of a table, and each of its fields is a column.

    @dataclass
    class Row:
        file: str
        frames: int | None = None

    TABLE = Table(Row, "is not a list of videos; choose another name")
    TABLE.write("list.csv", [Row("a.mp4", 25), Row("b.mp4")])       # file,frames / a.mp4,25 / b.mp4,
    TABLE.read("list.csv")                                          # the same rows

Tables whose columns are known only at run time (losses, metrics) are read and written as texts with
`read_cells`, `write_cells` and `append_cells`.
"""

from __future__ import annotations

import csv
import functools
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from fomm_lib.errors import InputError, error_text
from fomm_lib.files import atomic_output, check_name

Row = TypeVar("Row")

# The type of a field -> what makes a value of a cell that is not empty.
_CONVERT = {str: str, int: int, float: float, int | None: int, float | None: float}
_DIGITS = 50  # characters of the longest number; Python takes long to read a million
_TYPE_NAMES = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Table(Generic[Row]):
    """A kind of CSV file: UTF-8, a header line with the names of the columns, then a line a row.

    Cells are what Python prints: `str(value)` of a text or a whole number, the shortest digits that give the
    same float again. None is an empty cell. Any text is read back equal: a file name that is not UTF-8 is
    kept byte by byte, and one that a spreadsheet would take for a formula has a `'` before it in the file.

    Args:
        row: the dataclass. Its fields are `str`, `int`, `float`, `int | None`, `float | None`, or a dataclass
            of these, whose fields become columns in its place. A field with the metadata `{"column": name}`
            has another name in the file.
        foreign: the message when a file has other columns, and what to do, e.g. "is no report of `fomm
            clean`; choose another name".
        damaged: the message when a row cannot be read; the same as `foreign` if None.
        line_end: "\\n", or "\\r\\n" as RFC 4180 asks for. Both are read.
        appended: rows are appended one by one, so a killed run may leave an unfinished last line, and a power
            cut zeros behind it. Both are left out on reading.
        extra_columns: allow columns that the dataclass does not have, and any order. They are left out.

    A field of another type raises a TypeError when the table is first used.

    Example:
        >>> @dataclass
        ... class Point:
        ...     x: int
        ...     name: str = ""
        >>> Table(Point, "is no list of points").encode([Point(3, "a, b")])
        b'x,name\\n3,"a, b"\\n'
    """

    row: type[Row]
    foreign: str
    damaged: str | None = None
    line_end: str = "\n"
    appended: bool = False
    extra_columns: bool = False

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in the order of the file."""
        return _names(self.row)

    def encode(self, rows: Iterable[Row]) -> bytes:
        """The content of a file with these rows."""
        return _encode(self._records(rows), self.line_end)

    def _records(self, rows: Iterable[Row]) -> list[list[Any]]:
        return [self.columns, *map(_cells, rows)]

    def write(self, path: str | os.PathLike, rows: Iterable[Row]) -> None:
        """Write the file whole, or leave the old one; on return it is on disk.

        Raises:
            InputError: the folder does not exist, or cannot be written.
        """
        write_cells(path, self._records(rows), self.line_end, overwrite=True)

    def append(self, path: str | os.PathLike, row: Row) -> None:
        """Append a row to a file that was written before; on return it is on disk."""
        append_cells(path, [_cells(row)], self.line_end, to_disk=True)

    def read(self, path: str | os.PathLike) -> list[Row]:
        """All rows of a file.

        Raises:
            InputError: there is no such file, it has other columns, or a row cannot be read; with the line
                and the cell.
        """
        return [row for _, row in self.read_lines(path)]

    def read_lines(self, path: str | os.PathLike) -> Iterator[tuple[int, Row]]:
        """Each row with the number of its line, counted from 1, as `read` reads them."""
        data = _content(path)
        if self.appended:
            data = data.rstrip(b"\0")
            if self.encode([]).startswith(data):
                return  # killed before the first row
        text = _decode(data)
        try:
            records = list(_records(text))
        except csv.Error as error:
            raise InputError(f"{path}: {self.foreign}") from error
        columns = self.columns
        header = records[0][1] if records else []
        if header != columns and not (self.extra_columns and set(header) >= set(columns)):
            raise InputError(f"{path}: {self.foreign}")
        if self.appended and not (text.endswith("\n") and len(records[-1][1]) == len(columns)):
            records.pop()
        for line, record in records[1:]:
            try:
                if len(record) != len(header):
                    raise ValueError(f"{len(record)} cells instead of {len(header)}")
                row = _row(self.row, dict(zip(header, record, strict=True)))
            except ValueError as error:
                raise InputError(f"{path}, line {line}: {self.damaged or self.foreign} ({error})") from error
            yield line, row


@functools.cache
def _columns(kind: type) -> list[tuple[str, str, Any]]:
    """Each field of a dataclass: its name, its column, and its type, which may be another dataclass."""
    hints = get_type_hints(kind)
    for name, hint in hints.items():
        if not is_dataclass(hint) and hint not in _CONVERT:
            raise TypeError(f"{kind.__name__}.{name}: a cell cannot hold {hint}")
    return [
        (field.name, field.metadata.get("column", field.name), hints[field.name]) for field in fields(kind)
    ]


def _names(kind: type) -> list[str]:
    names = []
    for _, column, hint in _columns(kind):
        names += _names(hint) if is_dataclass(hint) else [column]
    return names


def _cells(row: Any) -> list[Any]:
    """The values of a row, in the order of the columns."""
    cells = []
    for name, _, hint in _columns(type(row)):
        value = getattr(row, name)
        cells += _cells(value) if is_dataclass(hint) else [value]
    return cells


def _row(kind: type, cells: Mapping[str, str]) -> Any:
    """An object of the dataclass; a ValueError names the cell that cannot be read."""
    values = {}
    for name, column, hint in _columns(kind):
        if is_dataclass(hint):
            values[name] = _row(hint, cells)
            continue
        convert = _CONVERT[hint]
        try:
            if convert is not str and len(cells[column]) > _DIGITS:
                raise ValueError
            values[name] = None if cells[column] == "" and convert is not hint else convert(cells[column])
        except ValueError:
            raise ValueError(f"{column} is {cells[column][:80]!r}, not {_TYPE_NAMES[convert]}") from None
    return kind(**values)


# --- text and bytes -----------------------------------------------------------------------------------------

MAX_BYTES = 1 << 28
"""The largest CSV file that is read, 256 MiB: VoxCeleb's list has 2."""

# A spreadsheet computes what begins so; by the apostrophe it knows a text, and drops it.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.ASCII | re.IGNORECASE)


def _cell(value: Any) -> Any:
    """What stands in the file for a value."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def _text(cell: str) -> str:
    """The text that a cell of a file stands for."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _encode(records: Iterable[Sequence[Any]], line_end: str) -> bytes:
    """Records as CSV lines; None becomes an empty cell."""
    lines = []
    for record in records:
        line = io.StringIO()
        # Until Python 3.13 the writer quotes "\r" only if it is part of the line end.
        csv.writer(line, lineterminator="\r\n").writerow(map(_cell, record))
        lines.append(line.getvalue()[:-2] + line_end)
    return "".join(lines).encode("utf-8", "surrogateescape")


def _content(path: str | os.PathLike, as_what: str = "") -> bytes:
    """The bytes of a file."""
    try:
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            raise OSError("it is a pipe or a device")  # which could block
        if os.path.getsize(path) > MAX_BYTES:
            raise OSError(f"it has more than {MAX_BYTES >> 20} MiB")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read{as_what} ({error_text(error)})") from error


def _decode(data: bytes) -> str:
    # Where names of files are ASCII, Python keeps their other bytes as it keeps those that are no UTF-8.
    encoding = "ascii" if sys.getfilesystemencoding() == "ascii" else "utf-8"
    return data.removeprefix(b"\xef\xbb\xbf").decode(encoding, "surrogateescape")


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty, each with its number."""
    reader = csv.reader(io.StringIO(text, newline=""))
    for record in reader:
        if record:
            yield reader.line_num, [_text(cell) for cell in record]


def read_cells(path: str | os.PathLike, what: str) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file as texts: for each the number of its line, and column -> cell.

    A row that is too short has None in its last columns; one that is too long has a list of the rest under
    None. Texts are read back equal, as in `Table`.

    Args:
        path: the file, UTF-8, with or without a byte order mark.
        what: what it should be, e.g. "a table of losses".

    Raises:
        InputError: there is no such file, it is too large, it is no text, or two columns have one name.
    """
    check_name(path)
    text = _decode(_content(path, f" as {what}"))
    try:
        if "\0" in text:
            raise csv.Error("it is no text")
        records = list(_records(text))
        header = records[0][1] if records else []
        if twice := {name for name in header if header.count(name) > 1}:
            raise csv.Error(f"it has the column {min(twice)} twice")
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as {what} ({error_text(error)})") from error
    rows = []
    for line, record in records[1:]:
        columns = records[0][1]
        row: dict = dict(zip_longest(columns, record[: len(columns)]))
        rows.append((line, row | ({None: record[len(columns) :]} if len(record) > len(columns) else {})))
    return rows


def write_cells(
    path: str | os.PathLike, records: Iterable[Sequence[Any]], line_end: str = "\r\n", overwrite: bool = False
) -> None:
    """Write a CSV file whole, or leave the old one; on return it is on disk.

    Args:
        path: the file.
        records: the header, then a record a row; None becomes an empty cell.
        line_end: "\\r\\n" or "\\n".
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: as in `files.atomic_output`.
    """
    with atomic_output(path, overwrite) as temporary:
        append_cells(temporary, records, line_end, to_disk=True)


def append_cells(
    path: str | os.PathLike,
    records: Iterable[Sequence[Any]],
    line_end: str = "\r\n",
    to_disk: bool = False,
) -> None:
    """Append rows to a CSV file.

    Args:
        path: the file.
        records: a record a row; None becomes an empty cell.
        line_end: "\\r\\n" or "\\n".
        to_disk: wait until the rows are on disk. They survive the end of this process in any case, but only
            then a power cut too.
    """
    with open(path, "ab") as file:
        file.write(_encode(records, line_end))
        if to_disk:
            file.flush()
            os.fsync(file.fileno())
