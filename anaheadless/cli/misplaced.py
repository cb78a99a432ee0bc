"""A note for people whose script is given an option that looks as if it were meant for anaheadless."""

from __future__ import annotations

import os
from collections.abc import Sequence

from anaheadless.cli import config_file
from anaheadless.errors import print_stderr
from anaheadless.options import FILE, FLAG, PROGRAM, options_of


def say(script: str | None, words: Sequence[str]) -> None:
    """Say on a terminal which of our options *words* give to the *script* that comes first among them."""
    if script is None or not os.isatty(2):
        return
    option = misplaced(words[1:], config_file.read_beginning(script))
    if option:
        print_stderr(
            f"anaheadless: {option} comes after the script, so it is passed to {script}\n"
            f"  If it is meant for anaheadless: anaheadless run {option} … {script}. No note: -q"
        )


def misplaced(args: Sequence[str], source: bytes) -> str:
    """Return the first option among a script's *args* that only anaheadless can have been meant by, or nothing.

    That is one of ours with a value that would do, whose name does not even occur in the script's *source*.
    """
    known = {f"--{row.name}": row for row in options_of("run") if row.kind not in (FLAG, FILE, PROGRAM)}
    for place, word in enumerate(args):
        if word == "--":
            break
        name, equals, value = word.partition("=")
        row = known.get(name)
        values = [value] if equals else args[place + 1 : place + 2]
        if row is None or not values or row.name.encode() in source or row.field.encode() in source:
            continue
        try:
            row.kind.parse(values[0])
        except ValueError:
            continue
        return name
    return ""
