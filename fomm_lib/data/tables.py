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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from fomm_lib.errors import InputError, error_text
from fomm_lib.files import atomic_output, refuse_address

Row = TypeVar("Row")

# The type of a field -> what makes a value of a cell that is not empty.
_CONVERT = {str: str, int: int, float: float, int | None: int, float | None: float}
_TYPE_NAMES = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Table(Generic[Row]):
    """A kind of CSV file: UTF-8, a header line with the names of the columns, then a line a row.

    Cells are what Python prints: `str(value)` of a text or a whole number, the shortest digits that give the
    same float again. None is an empty cell. A file name that is not UTF-8 is kept byte by byte.

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
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error_text(error)})") from error
        if self.appended:
            data = data.rstrip(b"\0")
            if self.encode([]).startswith(data):
                return  # killed before the first row
        text = data.decode("utf-8", "surrogateescape")
        try:
            reader = csv.reader(io.StringIO(text, newline=""))
            records = [(reader.line_num, record) for record in reader if record]
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
            values[name] = None if cells[column] == "" and convert is not hint else convert(cells[column])
        except ValueError:
            raise ValueError(f"{column} is {cells[column]!r}, not {_TYPE_NAMES[convert]}") from None
    return kind(**values)


def _encode(records: Iterable[Sequence[Any]], line_end: str) -> bytes:
    """Records as CSV lines; None becomes an empty cell."""
    lines = []
    for record in records:
        line = io.StringIO()
        # Until Python 3.13 the writer quotes "\r" only if it is part of the line end.
        csv.writer(line, lineterminator="\r\n").writerow(record)
        lines.append(line.getvalue()[:-2] + line_end)
    return "".join(lines).encode("utf-8", "surrogateescape")


def read_cells(path: str | os.PathLike, what: str) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file as texts: for each the number of its line, and column -> cell.

    A row that is too short has None in its last columns; one that is too long has a list of the rest under
    None.

    Args:
        path: the file, UTF-8, with or without a byte order mark.
        what: what it should be, e.g. "a table of losses".

    Raises:
        InputError: there is no such file, or it is no text.
    """
    refuse_address(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            return [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as {what} ({error_text(error)})") from error


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
