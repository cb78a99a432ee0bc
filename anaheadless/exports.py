"""The environment of a session, in the words of a shell or a CI system: pure functions."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """The variables in which *after* differs from *before*, by name; None for those that are no more."""
    names = sorted({*before, *after})
    return {name: after.get(name) for name in names if before.get(name) != after.get(name)}


def for_shell(changed: Mapping[str, str | None], shell: str) -> list[str]:
    """Lines for that shell's ``eval`` or ``source``; *shell* is sh (and bash, dash, zsh), fish or csh."""
    lines = {
        "sh": ("export {}={}", "unset {}"),
        "fish": ("set -gx {} {}", "set -e {}"),
        "csh": ("setenv {} {}", "unsetenv {}"),
    }
    put, drop = lines[shell]
    return [
        drop.format(name) + ";" if value is None else put.format(name, _quoted(value, shell)) + ";"
        for name, value in changed.items()
    ]


def _quoted(value: str, shell: str) -> str:
    if shell == "fish":
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if shell == "csh":  # its history works within quotes, too
        return shlex.quote(value).replace("!", "\\!").replace("\n", "\\\n")
    return shlex.quote(value)


def for_github(changed: Mapping[str, str | None]) -> list[str]:
    """Lines for the file that GITHUB_ENV names; a variable can't be removed there, only be empty.

    Source: GitHub's "Workflow commands", multiline strings.
    """
    lines = []
    for name, value in changed.items():
        end = "END"
        while value and end in value:
            end += "_"
        lines += [f"{name}<<{end}", value or "", end]
    return lines
