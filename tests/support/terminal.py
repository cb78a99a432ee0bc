"""Commands on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from contextlib import suppress
from typing import Any


def on_terminal(*command: str | os.PathLike[str], width: int = 100, **settings: Any) -> tuple[int, list[str]]:
    """Run *command* with a terminal for all it says; return its status, and the lines."""
    ours, theirs = pty.openpty()
    if sys.version_info >= (3, 11):
        termios.tcsetwinsize(theirs, (24, width))
    environ = {**settings.pop("env", os.environ), "COLUMNS": str(width)}
    said = b""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environ, **settings
    ) as process:
        os.close(theirs)
        with suppress(OSError):  # EIO: nobody has the terminal any more
            while chunk := os.read(ours, 4096):
                said += chunk
        os.close(ours)
        status = process.wait(60)
    return status, said.decode().splitlines()
