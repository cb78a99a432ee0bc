"""Descendants: having orphans come to this process, and ending them.

It runs in any target: on the standard library of Python 3.8 or newer.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress

from anaheadless.session import discovery

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
END_SECONDS = 5.0


def adopt_orphans() -> None:
    """Have the kernel make this process the parent of all descendants that lose theirs."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def children() -> set[int]:
    """Return the PIDs of this process's children, zombies included."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return set(map(int, file.read().split()))
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return {pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _parent(pid) == os.getpid()}


def _parent(pid: int) -> int:
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])
    return 0


def end_children(kept: frozenset[int] = frozenset(), seconds: float = END_SECONDS) -> bool:
    """Kill and reap all children but those that are *kept*, and what becomes a child by that; whether none is left.

    A keeper of a session is left to end by itself, as it does when its target has ended: it removes what its session
    has made.
    """
    deadline = time.monotonic() + seconds
    while kept or not _has_no_child():
        others = children() - kept
        if not others:
            return True
        now = time.monotonic()
        for pid in others:
            with suppress(OSError):  # it is another user's by now
                if os.waitpid(pid, os.WNOHANG) == (0, 0) and (now >= deadline or not is_keeper(pid)):
                    os.kill(pid, signal.SIGKILL)
        if now >= deadline + 1:
            return False
        time.sleep(0.001)
    return True


def _has_no_child() -> bool:
    """Reap a zombie, if there is one; whether there is no child at all: the one question that most items take."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def is_keeper(pid: int) -> bool:
    return discovery.inspect_keeper(pid) is not None
