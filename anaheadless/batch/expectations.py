"""The files that an item is to make: whether they are there, and newer than what they are made from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from anaheadless.batch import placeholders
from anaheadless.batch.items import Item


def check(patterns: Sequence[str], item: Item, columns: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return the expected files that are there, and what is wrong with them: ``missing``, or nothing.

    A file counts when it is no older than each of the item's values that is a file.
    """
    paths = placeholders.expand(patterns, item, columns)
    newest = max(filter(None, map(_modified, item.values)), default=0)
    made = tuple(path for path in paths if (_modified(path) or -1) >= newest)
    return made, "" if made == paths else "missing"


def _modified(path: str) -> int | None:
    """When a file was last written, in nanoseconds; None: there is none."""
    with suppress(OSError, ValueError):  # ValueError: a NUL in it
        return os.stat(path).st_mtime_ns
    return None
