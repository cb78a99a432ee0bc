"""A journal tells what came of each item, however the map that wrote it has ended."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anaheadless.batch import journal
from anaheadless.batch.journal import Result
from anaheadless.errors import LaunchError
from tests.support.helpers import wait_until


def result(number: int, how: str = journal.OK, ended: float = 1.0, value: str = "a") -> Result:
    return Result(
        item=number,
        id=f"id{number}",
        input=(value,),
        command=("render", value),
        result=how,
        status=0 if how == journal.OK else 1,
        signal=None,
        seconds=1.5,
        tries=1,
        memory=1 << 20,
        host="here",
        backend="native",
        renderer="llvmpipe",
        gpu=None,
        stdout=None,
        stderr="x.err",
        screenshot=None,
        outputs=("a.png",),
        ended=ended,
    )


def write(path: Path, *results: Result) -> None:
    with journal.opened(str(path)) as (written, _):
        written.append("map", {"command": ["render", "{}"]})
        for each in results:
            written.append("item", each.as_dict())


@given(st.text(st.characters(codec=None), max_size=20))
def test_any_name_comes_back_as_it_was(value: str) -> None:
    with_bytes = os.fsdecode(value.encode(errors="replace") + b"\xff\n\0")
    line = json.dumps({"event": "item", **result(1, value=with_bytes).as_dict()}).encode()
    assert journal.parse(line).results == {"id1": result(1, value=with_bytes)}


def test_a_cut_at_any_byte_costs_one_line_at_most(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, *(result(number, value="\udcff\n") for number in (1, 2, 3)))
    whole = path.read_bytes()
    ends = [place for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        complete = sum(end <= cut for end in ends)
        write(path, result(4))  # as the next map does
        found = journal.read(str(path))
        assert found.broken == (cut > 0 and cut not in (end + extra for end in ends for extra in (0, 1))), cut
        assert set(found.results) == {*(f"id{number}" for number in range(1, complete)), "id4"}, cut
        assert len(found.maps) == (2 if complete else 1), cut


def test_the_last_result_holds(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, result(1, "failed"), result(2), result(1), result(2, "timeout"))
    found = journal.read(str(path))
    assert found.done() == {"id1"}
    assert [each.item for each in found.results.values()] == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"1",
        b"\xff\xfe",
        b"nonsense",
        b'{"event": "item"}',
        b'{"event": "item", "item": "1"}',
        b"[" * 9999,
    ],
)
def test_what_is_no_result_is_skipped(line: bytes) -> None:
    found = journal.parse(line + b"\n")
    assert (found.results, found.maps, found.broken) == ({}, [], 1)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "journal.jsonl")
    refused = pytest.raises(LaunchError, match="another map is writing this journal")
    with journal.opened(path), refused, journal.opened(path):
        pass
    with journal.opened(path):  # and now it is free
        pass


def test_the_lock_goes_with_the_process(tmp_path: Path) -> None:
    path = str(tmp_path / "journal.jsonl")
    code = (
        "import sys\nfrom anaheadless.batch.journal import opened\nwith opened(sys.argv[1]): print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(LaunchError), journal.opened(path):
            pass
        other.kill()

    def is_free() -> bool:
        try:
            with journal.opened(path):
                return True
        except LaunchError:
            return False

    wait_until(is_free)


def test_what_can_not_be_written_is_said(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with journal.opened(str(path)) as (written, _):
        written.append("map", {})
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 9, limit[1]))
        try:
            for _ in range(2):
                with pytest.raises(LaunchError, match=r"No space left|File too large"):
                    written.append("item", result(1).as_dict())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    write(path, result(2))  # what was cut is in nobody's way
    assert set(journal.read(str(path)).results) == {"id2"}


@pytest.mark.parametrize(("path", "reason"), [("/dev/full", "not a regular file"), ("/dev", "Is a directory")])
def test_only_a_file_can_be_a_journal(path: str, reason: str) -> None:
    with pytest.raises(LaunchError, match=f"can't write the journal: {path}: .*{reason}"), journal.opened(path):
        pass


def test_merged_journals_tell_the_best_of_each_item(tmp_path: Path) -> None:
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    write(first, result(1, "failed", 5.0), result(2, ended=1.0), result(3, "failed", 1.0))
    write(second, result(1, ended=1.0), result(2, "failed", 9.0), result(3, "timeout", 2.0))
    found = journal.merge([str(first), str(second)])
    assert {each.id: each.result for each in found.results.values()} == {"id1": "ok", "id2": "ok", "id3": "timeout"}
    again = journal.parse("\n".join(journal.lines(found)).encode())
    assert (again.results, again.maps, again.broken) == (found.results, found.maps, 0)
