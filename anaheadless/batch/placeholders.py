"""The placeholders of GNU parallel, and those for the columns of a table: pure.

The regular expressions are GNU parallel's own, so that even odd names give the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from anaheadless.batch.items import Item

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def _remove_suffix(value: str) -> str:
    return re.sub(r"\.[^/.]*$", "", value, count=1)


def _remove_folder(value: str) -> str:
    return re.sub(r".*/", "", value, count=1)


def _folder(value: str) -> str:
    """Name the folder, as the dirname of Perl's File::Basename does."""
    folder, slash, name = value.rpartition("/")
    folder = _without_slashes(folder + slash or "./")
    if not name:
        above, slash, _ = folder.rpartition("/")
        folder = _without_slashes(above + slash or "./")
    return folder


def _without_slashes(path: str) -> str:
    return path.rstrip("/") or "/"


_PARTS: Mapping[str, Callable[[str], str]] = {
    "//": _folder,
    "/.": lambda value: _remove_suffix(_remove_folder(value)),
    "/": _remove_folder,
    ".": _remove_suffix,
    "": lambda value: value,
}


def expand(words: Sequence[str], item: Item, columns: Sequence[str] = (), slot: int | None = None) -> tuple[str, ...]:
    """Put an item into the words of a command.

    ``{}`` stands for the value, or for that of the first column; ``{.}``, ``{/}``, ``{//}`` and ``{/.}`` for it without
    its suffix, its name without the folder, its folder, and its name without either; ``{NAME}``, ``{NAME.}``, … for
    those of a column; ``{#}`` for the item's number, ``{%}`` for that of the slot. All else stays as it is.

    :param slot: None: ``{%}`` stays as it is, too.
    """

    def replaced(match: re.Match[str]) -> str:
        body = match[1]
        if body == "#":
            return str(item.number)
        if body == "%" and slot is not None:
            return str(slot)
        found = _find(body, columns)
        if found is None:
            return match[0]
        place, part = found
        return _PARTS[part](item.values[place])

    return tuple(_PLACEHOLDER.sub(replaced, word) for word in words)


def with_default(words: Sequence[str], columns: Sequence[str] = ()) -> tuple[str, ...]:
    """Append ``{}`` where no placeholder says where the value is to go, as GNU parallel does."""
    return tuple(words) if any(has_placeholder(word, columns) for word in words) else (*words, "{}")


def has_placeholder(word: str, columns: Sequence[str] = ()) -> bool:
    return any(body in ("#", "%") or _find(body, columns) for body in _PLACEHOLDER.findall(word))


def _find(body: str, columns: Sequence[str]) -> tuple[int, str] | None:
    """Find the column and the part that the *body* of a placeholder stands for; None: nothing."""
    for part in _PARTS:  # the longer ones first
        name = body[: len(body) - len(part)]
        if body in columns:  # whatever its name ends with
            return columns.index(body), ""
        if body.endswith(part) and (not name or name in columns):
            return (columns.index(name) if name else 0), part
    return None
