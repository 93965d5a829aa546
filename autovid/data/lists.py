"""Text and CSV lists: any line ending, UTF-8, each row with its place for errors ("FILE, row N")."""

import codecs
import csv
import io
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from autovid.errors import DataError


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("FILE, row N", stripped line) of a text file; empty lines are passed over."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_utf8(path, error) from error
    except OSError as error:
        raise DataError(f"{path}: no text file that can be read: {error}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line := line.strip():
            yield f"{path}, row {number}", line


def cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield ("FILE, row N", stripped cells) of a CSV file; empty rows are passed over."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    yield f"{path}, row {reader.line_num}", [cell.strip() for cell in row]
    except UnicodeDecodeError as error:
        raise _no_utf8(path, error) from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file that can be read: {error}") from error


def _no_utf8(path: Path, error: UnicodeDecodeError) -> DataError:
    quoted = shlex.quote(str(path))
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return DataError(f"{path}: UTF-16, not UTF-8; change it: iconv -f UTF-16 -t UTF-8 {quoted} -o FIXED.csv")
    return DataError(
        f"{path}: not a UTF-8 text file: {error}. Save it as CSV UTF-8, or, if it is of Windows: "
        f"iconv -f CP1252 -t UTF-8 {quoted} -o FIXED.csv"
    )


def check_comma(where: str, row: Sequence[str]) -> None:
    """Raise DataError for a row of one cell that another separator than a comma would part."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(row) == 1 and mark in row[0]:
            raise DataError(
                f"{where}: the columns are separated by {name}, where commas are expected; save the table with commas, "
                f"which spreadsheets offer as 'CSV (comma delimited)' or UTF-8 CSV"
            )


def records(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield ("FILE, row N", cells by column) of a CSV file with a header that has at least these columns."""
    rows = cells(path)
    where, header = next(rows, (f"{path}, row 1", [""]))
    check_comma(where, header)
    if missing := [column for column in columns if column not in header]:
        raise DataError(f"{where}: no column {', '.join(missing)}; there are {', '.join(header)}")
    for where, row in rows:
        if len(row) != len(header):
            raise DataError(f"{where}: {len(row)} columns where {len(header)} are expected")
        yield where, dict(zip(header, row))


def whole_number(where: str, name: str, text: str) -> int:
    """Return a whole number that is not negative. Raises DataError for any other text."""
    try:
        value = float(text)
        if value >= 0 and value == int(value):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise DataError(f"{where}: {name} {text!r} is not a whole number from 0")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return CSV text with newlines as line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
