"""The processes of a session, by the variable that names it: those that a map leaves when all of it is killed.

The keeper imports this, at the end of a map's session.
"""

from __future__ import annotations

import os
import time

from anaheadless.options import SESSION
from anaheadless.system import processes
from anaheadless.system.light_stdlib import signal, suppress

END_SECONDS = 1.0


def end_all(display: str, keeper: int) -> None:
    """Kill the processes that have the session's variable, and those that they start meanwhile."""
    mark = f"{SESSION}={display},{keeper}".encode()
    deadline = time.monotonic() + END_SECONDS
    # Not only one time: what is about to be killed may have forked.
    while _kill(mark) and time.monotonic() < deadline:
        time.sleep(0.002)


def _kill(mark: bytes) -> bool:
    """Kill the processes that have *mark* in their environment; return whether there was one."""
    found = False
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # it has ended, or is another user's
            if os.stat(f"/proc/{name}").st_uid != os.geteuid() or not _has(name, mark):
                continue
            process = processes.open_process(int(name))
            try:
                if _has(name, mark):  # only now is it sure to be that one
                    process.send(signal.SIGKILL)
                    found = True
            finally:
                process.close()
    return found


def _has(name: str, mark: bytes) -> bool:
    with open(f"/proc/{name}/environ", "rb") as file:
        return mark in file.read().split(b"\0")
