"""Placeholders stand for what they stand for in GNU parallel."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anaheadless.batch import placeholders
from anaheadless.batch.items import Item

PARTS = ("{}", "{.}", "{/}", "{//}", "{/.}", "{#}", "{%}", "x{}y{.}", "{} {}", "{x}", "{", "}", "{}}", "{{}}", "{..}")
VALUES = (
    *(
        "a",
        "a.b",
        "dir/a.b.c",
        "/",
        "//",
        "//a",
        "/a",
        "/a/",
        "a/",
        "a//b",
        "a/b/",
        "a/./b",
        "a/..",
        "a/../",
        "..",
        ".",
    ),
    *(".hidden", "dir/.hidden", "dir.d/file", "a.", "a..b", "with blank/x y.z", "new\nline/x.y", "a\n.b", "x.y\n"),
    *(
        "x/y\n/z.t",
        "{/}",
        "{#}.{}",
        "\udcff/\udcfe.\udcfd",
        "é/ü.ö",
        "-x.y",
        "~/x",
        "*.x",
        "a\\b.c",
        "'\"$x`y`",
        "a.b/",
    ),
)


def item(value: str, number: int = 1) -> Item:
    return Item(number, (value,), "id")


@pytest.mark.needs("parallel")
def test_what_parallel_makes_of_it() -> None:
    command = ["parallel", "--will-cite", "-q", "-k", "-j1", "-0", "printf", r"%s\0", *PARTS]
    data = "\0".join(VALUES).encode(errors="surrogateescape")
    theirs = subprocess.run(command, input=data, capture_output=True, check=True).stdout
    ours = [placeholders.expand(PARTS, item(value, number), slot=1) for number, value in enumerate(VALUES, 1)]
    words = theirs.decode(errors="surrogateescape").split("\0")[:-1]
    rows = [tuple(words[start : start + len(PARTS)]) for start in range(0, len(words), len(PARTS))]
    assert len(rows) == len(VALUES)
    for value, row, expected in zip(VALUES, ours, rows):
        assert row == expected, value


@given(st.text(), st.lists(st.text()))
def test_words_without_placeholders_stay(value: str, words: list[str]) -> None:
    plain = [word.replace("{", "(") for word in words]
    assert placeholders.expand(plain, item(value)) == tuple(plain)


@given(st.text())
def test_the_value_itself_is_not_looked_at(value: str) -> None:
    assert placeholders.expand(["<{}>"], item(value)) == (f"<{value}>",)


def test_columns_go_by_their_names() -> None:
    row = Item(7, ("sub-01", "/data/left.gii", "c"), "id")
    columns = ("id", "mesh", "odd.")
    words = ["{id}", "{mesh}", "{mesh.}", "{mesh/}", "{mesh//}", "{mesh/.}", "{#}", "{}", "{odd.}", "{other}", "{id#}"]
    assert placeholders.expand(words, row, columns) == (
        *(
            "sub-01",
            "/data/left.gii",
            "/data/left",
            "left.gii",
            "/data",
            "left",
            "7",
            "sub-01",
            "c",
            "{other}",
            "{id#}",
        ),
    )


def test_without_a_placeholder_the_value_comes_last() -> None:
    assert placeholders.with_default(["a"]) == ("a", "{}")
    assert placeholders.with_default(["{#}"]) == ("{#}",)
    assert placeholders.with_default(["{id}"], ["id"]) == ("{id}",)
    assert placeholders.with_default(["{id}"]) == ("{id}", "{}")


def test_the_slot_is_only_known_when_the_item_runs() -> None:
    assert placeholders.expand(["{%}"], item("a")) == ("{%}",)
    assert placeholders.expand(["{%}"], item("a"), slot=3) == ("3",)
