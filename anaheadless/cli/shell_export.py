"""The environment of a session, as commands of a shell or as settings of a CI system."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

from anaheadless.errors import LaunchError
from anaheadless.launch.environment import NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables in which *after* differs from *before*, by name; None for those that are gone."""
    names = sorted({*before, *after})
    return {name: after.get(name) for name in names if before.get(name) != after.get(name)}


def for_shell(changed: Mapping[str, str | None], shell: str) -> list[str]:
    """Write lines for that shell's ``eval`` or ``source``; *shell* is sh (and bash, dash, zsh), fish or csh.

    A variable whose name the shell does not know as one is left out: the shell would run the line.
    """
    lines = {
        "sh": ("export {}={}", "unset {}"),
        "fish": ("set -gx {} {}", "set -e {}"),
        "csh": ("setenv {} {}", "unsetenv {}"),
    }
    put, drop = lines[shell]
    return [
        drop.format(name) + ";" if value is None else put.format(name, _quoted(value, shell)) + ";"
        for name, value in _nameable(changed)
    ]


def _nameable(changed: Mapping[str, str | None]) -> Iterable[tuple[str, str | None]]:
    """Yield those that a shell can name; bash exports functions as BASH_FUNC_name%%."""
    return ((name, value) for name, value in changed.items() if NAME.fullmatch(name))


def _quoted(value: str, shell: str) -> str:
    if shell == "fish":
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    # Always, even where shlex.quote() sees no need: zsh takes =ls for the path of ls.
    quoted = "'" + value.replace("'", "'\"'\"'") + "'"
    if shell == "csh":  # its history works within quotes, too
        return quoted.replace("!", "\\!").replace("\n", "\\\n")
    return quoted


def for_github(changed: Mapping[str, str | None]) -> list[str]:
    """Write lines for the file that GITHUB_ENV names; a variable can't be removed there, only be empty.

    Source: GitHub's "Workflow commands", multiline strings.
    """
    lines = []
    for name, value in _nameable(changed):
        end = "END"
        while value and end in value:
            end += "_"
        lines += [f"{name}<<{end}", value or "", end]
    return lines


def open_github_file(path: str) -> BinaryIO:
    """Open the file that GITHUB_ENV names, for :func:`append`; :raises LaunchError: it can't be written."""
    try:
        # O_NONBLOCK: never wait for the other end of a FIFO. It is read, too: its last line may lack a newline.
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    except OSError as error:
        raise _not_written(path, str(error.strerror)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_written(path, "it is not a regular file")
    return os.fdopen(descriptor, "r+b", buffering=0)


def append(lines: Iterable[str], file: BinaryIO, path: str) -> None:
    """Write *lines* at the end of *file*, which is *path*: all of them or none.

    :raises LaunchError: they can't be written.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        start = "\n" if size and os.pread(file.fileno(), 1, size - 1) != b"\n" else ""
        data = os.fsencode(start + "".join(f"{line}\n" for line in lines))
        while data:
            data = data[os.write(file.fileno(), data) :]
    except OSError as error:
        os.ftruncate(file.fileno(), size)
        raise _not_written(path, str(error.strerror)) from error


def _not_written(path: str, why: str) -> LaunchError:
    return LaunchError(
        f"can't write to the file named by GITHUB_ENV: {path}: {why}",
        hint="--github only works in a step of a GitHub Actions job, where the runner provides that file.",
    )
