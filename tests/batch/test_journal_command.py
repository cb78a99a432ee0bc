"""``anaheadless journal``: what came of a map, for people and for the next map."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.helpers import run
from tests.support.maps import Maps

CODE = "import sys; sys.exit('bad' in sys.argv[1])"


@pytest.fixture
def mapped(maps: Maps) -> Maps:
    maps.run("-c", CODE, ":::", "good", "bad\nline", "bad", status=1)
    return maps


def journal(maps: Maps, *args: str, status: int = 0) -> str:
    output = run("journal", *args, cwd=maps.folder)
    assert output.returncode == status, output
    assert "Traceback" not in output.stderr
    return output.stdout if status == 0 else output.stderr


def test_it_shows_each_item_and_the_sum(mapped: Maps) -> None:
    lines = journal(mapped, "show", "anaheadless-map.jsonl").splitlines()
    assert sorted(line.partition(")")[0] for line in lines[:-1]) == [
        "item 1 (good",
        "item 2 (bad\\nline",
        "item 3 (bad",
    ]
    assert lines[-1].startswith("1 of 3 items are done, 2 failed; ")
    shown = json.loads(journal(mapped, "show", "--json", "anaheadless-map.jsonl"))
    assert {each["input"][0]: each["result"] for each in shown} == mapped.results()


def test_what_has_failed_can_be_run_again(mapped: Maps) -> None:
    failed = journal(mapped, "failed", "-0", "anaheadless-map.jsonl")
    assert sorted(failed.split("\0")) == ["", "bad", "bad\nline"]
    again = ("--journal", "again.jsonl", "-j1", "-0", "-c", "import sys; print(ascii(sys.argv[1]))")
    output = mapped.run(*again, input=failed, stdin=None)
    assert sorted(output.stdout.split()) == ["'bad'", "'bad\\nline'"]


def test_what_has_failed_of_a_table_is_a_table(maps: Maps) -> None:
    (maps.folder / "t.csv").write_text('id,note\n1,good\n2,"bad\tone"\n')
    maps.run("--inputs", "t.csv", "-c", CODE, "{note}", status=1)
    (maps.folder / "failed.tsv").write_text(journal(maps, "failed", "anaheadless-map.jsonl"))
    args = ("--journal", "again.jsonl", "--inputs", "failed.tsv", "-c", "import sys; print(sys.argv[1:])")
    assert maps.run(*args, "{id}", "{note}").stdout == "['2', 'bad\\tone']\n"


def test_shards_are_put_together(maps: Maps) -> None:
    for number in "1", "2":
        maps.run("--shard", f"{number}/2", "-c", CODE, ":::", "a", "b", "bad", status=int(number == "1"))
    names = ("anaheadless-map-1of2.jsonl", "anaheadless-map-2of2.jsonl")
    assert "2 of 3 items are done, 1 failed" in journal(maps, "show", _merged(maps, *names))
    assert "File exists" in journal(maps, "merge", "merged.jsonl", *names, status=125)
    # And a map that is not split goes on from there.
    (maps.folder / "merged.jsonl").rename(maps.folder / "anaheadless-map.jsonl")
    assert "2 of 3 items are done already" in maps.run("-c", CODE, ":::", "a", "b", "bad", status=1).stderr


def _merged(maps: Maps, *names: str) -> str:
    journal(maps, "merge", "merged.jsonl", *names)
    return "merged.jsonl"


def test_a_journal_that_is_not_there_is_said(maps: Maps, tmp_path: Path) -> None:
    for command in ("show", "nowhere"), ("failed", "nowhere"), ("merge", "out", "nowhere"):
        assert "can't read the journal: nowhere: No such file" in journal(maps, *command, status=2)
