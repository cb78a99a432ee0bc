"""Errors that keep the target from starting, and their exit statuses."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

# The statuses of env, nohup, timeout and the shells: readers of batch logs know them already.
USAGE = 2
FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127

LIMITS_HINT = "Check the limits on processes, open files and memory (ulimit -a)."


class LaunchError(RuntimeError):
    """A target that could not be started, or a display that could not be set up.

    :param message: what failed and what the tool or the kernel said, in one sentence without a full stop.
    :param hint: what to do about it.
    :param details: lines of a tool's output, shown below the message.
    :param exit_code: the launcher's exit status.
    """

    def __init__(self, message: str, *, hint: str = "", details: tuple[str, ...] = (), exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        self.exit_code = exit_code

    def __str__(self) -> str:
        lines = [f"anaheadless: {self.message}"]
        lines += [f"  | {line}" for line in self.details]
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(map(printable, lines))


def printable(text: str) -> str:
    """Escape what is not printable in *text*, line ends included: a terminal might act on it."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # a byte that could not be decoded, as in a file name
        return f"\\x{ord(letter) - 0xDC00:x}"
    return repr(letter)[1:-1]


def print_stderr(text: str) -> None:
    """Print *text* to stderr; ignore a stderr that is closed."""
    if sys.stderr is not None:  # print() would write to stdout
        lines = "".join(f"{printable(line)}\n" for line in text.split("\n"))
        # Bypass Python's buffer: output that can't be flushed at exit makes the exit status 120.
        with suppress(OSError):
            os.write(sys.stderr.fileno(), lines.encode())
