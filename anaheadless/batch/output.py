"""What the items have said, passed on item after item, and what came of them in words."""

from __future__ import annotations

import io
import os
import signal
from collections import Counter

from anaheadless.batch.journal import OK, Contents, Result
from anaheadless.errors import printable

_CHUNK = 1 << 20


def pass_on(result: Result) -> None:
    """Write what an item has said to our own standard output and standard error; :raises OSError: that fails."""
    for descriptor, path in (1, result.stdout), (2, result.stderr):
        if path is not None:
            with open(path, "rb", buffering=0) as file:
                while chunk := file.read(_CHUNK):
                    write_all(descriptor, chunk)


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def describe(result: Result) -> str:
    """Say in one line what came of an item."""
    how = {
        OK: "done",
        "failed": f"failed with status {result.status}",
        "killed": f"was ended by {_signal_name(result.signal)}",
        "timeout": "ran out of time",
        "missing": "has not made what was expected",
        "blank": "has made a picture of one colour",
        "lost": "was lost with its slot",
    }.get(result.result, result.result)
    tries = f", {result.tries} tries" if result.tries > 1 else ""
    return f"item {result.item} ({printable(' '.join(result.input))}) {how}, {result.seconds:.1f} s{tries}"


def _signal_name(number: int | None) -> str:
    try:
        return signal.Signals(number or 0).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def summary(contents: Contents) -> str:
    """Say in one line what a journal tells."""
    results = contents.results.values()
    counts = Counter(result.result for result in results)
    parts = [f"{counts[OK]} of {len(results)} items are done"]
    parts += [f"{count} {name}" for name, count in sorted(counts.items()) if name != OK]
    if contents.broken:
        parts.append(f"{contents.broken} lines can't be read")
    return f"{', '.join(parts)}; {sum(result.seconds for result in results):.1f} s in all"


def failed_inputs(contents: Contents, *, null: bool) -> bytes:
    """Write the inputs of what has failed, as a map reads them."""
    columns = contents.maps[-1].get("columns") if contents.maps else None
    rows = [result.input for result in contents.results.values() if result.result != OK]
    if columns:
        import csv  # only here: no map has a need of it

        with io.StringIO(newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows([columns, *rows])
            return os.fsencode(file.getvalue())
    return b"".join(os.fsencode(value) + (b"\0" if null else b"\n") for row in rows for value in row)
