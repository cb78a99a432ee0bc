"""The inputs of a map: words, lines, rows of a table, or files that match a pattern.

Text is decoded as Python decodes file names: bytes that are not UTF-8 are kept (surrogateescape).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anaheadless.errors import USAGE, LaunchError

SEPARATOR = ":::"
OF_PARALLEL = ("::::", ":::+", "::::+")
TABLES = {".csv": ",", ".tsv": "\t"}
# What a placeholder may consist of without being the name of a column.
_RESERVED = frozenset(("", ".", "/", "//", "/.", "#", "%"))


@dataclass(frozen=True)
class Inputs:
    """What a program is to be run for.

    :param columns: the names of the values of each row, or nothing where each row is one value without a name.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def split_words(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Split a command line at ``:::``: the command, and the inputs, or None where there is no ``:::``.

    :raises ValueError: there is more than one, or another sign of GNU parallel's.
    """
    for word in OF_PARALLEL:
        if word in words:
            raise ValueError(f"{word} is GNU parallel's: say --inputs FILE for the lines or the rows of a file.")
    if SEPARATOR not in words:
        return tuple(words), None
    place = words.index(SEPARATOR)
    values = tuple(words[place + 1 :])
    if SEPARATOR in values:
        raise ValueError(f"There is more than one {SEPARATOR}: all inputs have to follow the first one.")
    return tuple(words[:place]), values


def from_values(values: Iterable[str]) -> Inputs:
    """Make an item of each value."""
    return Inputs((), tuple((value,) for value in values))


def parse_lines(data: bytes, *, null: bool = False) -> Inputs:
    """Make an item of each line, or of what stands between NUL bytes; empty ones are skipped."""
    pieces = data.split(b"\0" if null else b"\n")
    return from_values(os.fsdecode(piece) for piece in pieces if piece)


def parse_table(data: bytes, delimiter: str) -> Inputs:
    """Make an item of each row of a table whose first row names the columns.

    :raises ValueError: with a sentence that says which line is wrong.
    """
    import csv  # only here: most maps have no table

    text = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf"))  # the mark that spreadsheets put in front of UTF-8
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    rows: list[tuple[str, ...]] = []
    columns: tuple[str, ...] | None = None
    try:
        for row in reader:
            if not row:  # an empty line
                continue
            if columns is None:
                columns = _checked_columns(row)
            elif len(row) != len(columns):
                raise ValueError(f"Line {reader.line_num} has {len(row)} values for {len(columns)} columns.")
            else:
                rows.append(tuple(row))
    except csv.Error as error:
        raise ValueError(f"Line {reader.line_num} is no row of a table: {error}.") from error
    if columns is None:
        raise ValueError("There is no first line with the names of the columns.")
    return Inputs(columns, tuple(rows))


def _checked_columns(row: Sequence[str]) -> tuple[str, ...]:
    for number, name in enumerate(row, 1):
        if name in _RESERVED or "{" in name or "}" in name:
            raise ValueError(f"{name!r} can't be the name of column {number}: no placeholder could stand for it.")
        if name in row[: number - 1]:
            raise ValueError(f"Two columns are called {name!r}.")
    return tuple(row)


def read_file(path: str, *, null: bool = False) -> Inputs:
    """Read inputs from a file, or from standard input (``-``); a file's suffix says whether it is a table.

    :raises LaunchError: it can't be read, or makes no sense.
    """
    name = "standard input" if path == "-" else path
    try:
        if path == "-":
            with open(0, "rb", closefd=False) as file:
                data = file.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
        delimiter = TABLES.get(os.path.splitext(path)[1].lower())
        return parse_lines(data, null=null) if delimiter is None or null else parse_table(data, delimiter)
    except OSError as error:
        raise LaunchError(
            f"can't read the inputs: {name}: {error.strerror}",
            hint="Check the path and its permissions.",
            exit_code=USAGE,
        ) from error
    except ValueError as error:
        raise LaunchError(
            f"can't understand the inputs: {name}: {str(error).rstrip('.')}",
            hint="A .csv or .tsv file needs a first line with the columns' names, and a value for each in all others.",
            exit_code=USAGE,
        ) from error


def match_files(patterns: Iterable[str]) -> Inputs:
    """Make an item of each file that matches one of the patterns; ``**`` stands for any folders.

    :raises LaunchError: nothing matches one of them.
    """
    import glob

    found: list[str] = []
    for pattern in patterns:
        paths = sorted(glob.glob(pattern, recursive=True))
        if not paths:
            raise LaunchError(
                f"no file matches {pattern}",
                hint="Put the pattern between quotes, so that the shell leaves it alone, and check the folder.",
                exit_code=USAGE,
            )
        found += paths
    return from_values(dict.fromkeys(found))
