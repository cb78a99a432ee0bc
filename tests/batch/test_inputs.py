"""Inputs: from words, lines, tables and patterns, bytes as they are."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anaheadless.batch import inputs
from anaheadless.errors import LaunchError

LINES = st.lists(st.binary(min_size=1).filter(lambda line: b"\n" not in line and b"\0" not in line))
FIELDS = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)


def test_inputs_follow_the_separator() -> None:
    assert inputs.split_words(["s.py", "{}", ":::", "a", "b c"]) == (("s.py", "{}"), ("a", "b c"))
    assert inputs.split_words(["s.py", ":::"]) == (("s.py",), ())
    assert inputs.split_words(["s.py"]) == (("s.py",), None)
    with pytest.raises(ValueError, match="more than one :::"):
        inputs.split_words(["s.py", ":::", "a", ":::", "b"])
    with pytest.raises(ValueError, match=":::: is GNU parallel's: say --inputs FILE"):
        inputs.split_words(["s.py", "::::", "list.txt"])


@given(LINES)
def test_lines_keep_every_byte(lines: list[bytes]) -> None:
    found = inputs.parse_lines(b"\n".join(lines) + b"\n")
    assert [os.fsencode(value) for (value,) in found.rows] == lines


@given(st.lists(st.binary(min_size=1).filter(lambda piece: b"\0" not in piece)))
def test_nul_bytes_keep_lines_together(pieces: list[bytes]) -> None:
    found = inputs.parse_lines(b"\0".join(pieces), null=True)
    assert [os.fsencode(value) for (value,) in found.rows] == pieces


@given(st.lists(st.tuples(FIELDS, FIELDS), max_size=5), st.sampled_from([",", "\t"]))
def test_a_table_that_was_written_is_read(rows: list[tuple[str, str]], delimiter: str) -> None:
    with io.StringIO(newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("id", "hemi"), *rows])
        data = file.getvalue().encode()
    assert inputs.parse_table(data, delimiter) == inputs.Inputs(("id", "hemi"), tuple(rows))


def test_a_table_may_hold_line_ends_marks_and_odd_bytes() -> None:
    found = inputs.parse_table(b'\xef\xbb\xbfid,note\r\n1,"two\nlines"\r\n\r\n2,\xff\r\n', ",")
    assert found == inputs.Inputs(("id", "note"), (("1", "two\nlines"), ("2", "\udcff")))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no first line"),
        (b"id,id\n", "Two columns are called 'id'"),
        (b"id,\n", "'' can't be the name of column 2"),
        (b"id,#\n", "'#' can't be the name"),
        (b"id,{x}\n", "can't be the name"),
        (b"id,hemi\n1\n", "Line 2 has 1 values for 2 columns"),
        (b'id,hemi\n1,"2\n', "no row of a table"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inputs.parse_table(data, ",")


def test_a_files_suffix_says_what_it_is(tmp_path: Path) -> None:
    for name, data, found in (
        ("a.csv", "x,y\n1,2\n", (("x", "y"), (("1", "2"),))),
        ("a.TSV", "x\ty\n1\t2\n", (("x", "y"), (("1", "2"),))),
        ("a.txt", "x,y\n\n1,2\n", ((), (("x,y",), ("1,2",)))),
    ):
        (tmp_path / name).write_text(data)
        assert inputs.read_file(str(tmp_path / name)) == inputs.Inputs(*found)
    (tmp_path / "bad.csv").write_text("x,x\n")
    for name in "bad.csv", "missing", ".":
        with pytest.raises(LaunchError) as caught:
            inputs.read_file(str(tmp_path / name))
        assert caught.value.exit_code == 2
        assert str(tmp_path / name) in str(caught.value)


def test_a_pattern_stands_for_its_files_each_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in "b.gii", "a.gii", "deep/c.gii":
        (tmp_path / name).touch()
    found = inputs.match_files([f"{tmp_path}/*.gii", f"{tmp_path}/**/*.gii"])
    assert [os.path.relpath(path, tmp_path) for (path,) in found.rows] == ["a.gii", "b.gii", "deep/c.gii"]
    with pytest.raises(LaunchError, match="no file matches"):
        inputs.match_files([f"{tmp_path}/*.png"])
