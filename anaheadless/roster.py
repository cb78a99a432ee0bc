"""The live sessions: which there are, what they are doing, and their end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from anaheadless import display, keeper, live, processes
from anaheadless.errors import LaunchError
from anaheadless.live import LiveSession

END_SECONDS = 10.0


@dataclass(frozen=True)
class Row:
    """A session as ``anaheadless list`` shows it.

    :param state: ``running``; ``starting``: the launcher is still at work; ``stale``: the target has ended, the keeper
        has not.
    :param age: seconds.
    :param server_memory: of the X server, in bytes (resident set).
    """

    session: str
    state: str
    purpose: str
    target: int
    command: str
    backend: str
    renderer: str
    age: float
    keeper: int
    server: int | None
    server_memory: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def rows() -> list[Row]:
    """All sessions of this user."""
    return [row for row in map(_row, live.sessions()) if row is not None]


def _row(session: LiveSession) -> Row | None:
    notes = session.notes
    state = "running" if notes is not None else "starting"
    if not processes.is_alive(session.target, session.target_start):
        state = "stale"
    command, memory = "", 0
    with suppress(psutil.Error):
        words = " ".join(" ".join(psutil.Process(session.target).cmdline()).split())
        command = "".join(letter if letter.isprintable() else "?" for letter in words)
    if notes is not None:
        with suppress(psutil.Error):
            memory = psutil.Process(notes.server).memory_info().rss
    try:
        age = time.time() - psutil.Process(session.keeper).create_time()
    except psutil.Error:  # it has ended just now
        return None
    return Row(
        session=session.display,
        state=state,
        purpose=notes.purpose if notes else "",
        target=session.target,
        command=command,
        backend=notes.backend if notes else "",
        renderer=notes.renderer if notes else "",
        age=max(0.0, age),
        keeper=session.keeper,
        server=(notes.server or None) if notes else None,
        server_memory=memory,
    )


def find(name: str | None, environ: Mapping[str, str]) -> LiveSession:
    """The session called *name*: its display, with or without the colon, or the PID of its target.

    Without a name, the one that *environ* is in, or the only one that there is.

    :raises LaunchError: there is none, or more than one.
    """
    found = live.sessions()
    if name is None:
        inside = live.current(environ)
        if inside is not None:
            return inside
    else:
        found = [each for each in found if name in (each.display, each.display[1:], str(each.target))]
    if len(found) == 1:
        return found[0]
    called = "" if name is None else f" {name}"
    if not found:
        raise LaunchError(f"there is no session{called}", hint="anaheadless list shows those that there are.")
    raise LaunchError(
        f"there are {len(found)} sessions{called}: {', '.join(each.display for each in found)}",
        hint="Say which by its display: see anaheadless list.",
    )


def stop(session: LiveSession, grace: float) -> None:
    """End *session*, and the target with it, where that is what the launcher became.

    :param grace: seconds that the target has between SIGTERM and SIGKILL.
    :raises LaunchError: it could not be ended.
    """
    start = processes.state(session.keeper)[1]
    seen = live.look(session.keeper)
    if seen is None or (seen.display, seen.target, seen.target_start) != (
        session.display,
        session.target,
        session.target_start,
    ):  # it has ended, and its number may mean another process by now
        return
    if session.is_run():
        _end(session.target, session.target_start, signal.SIGTERM, grace)
    _end(session.keeper, start, keeper.STOP, END_SECONDS)
    if processes.is_alive(session.keeper, start):
        raise LaunchError(
            f"session {session.display} can't be ended: its keeper, process {session.keeper}, hangs",
            hint="See what the kernel says of it: ps -o stat,wchan.",
        )
    display.sweep(None)


def _end(pid: int, start: str, number: int, seconds: float) -> None:
    """Send a process signal *number*; it may be stopped. What has not ended by that in some *seconds* is killed."""
    for step in (number, signal.SIGCONT), (signal.SIGKILL,):
        for each in step:
            if processes.is_alive(pid, start):
                try:
                    os.kill(pid, each)
                except ProcessLookupError:
                    return
                except PermissionError as error:
                    raise LaunchError(
                        f"process {pid} can't be ended: {error.strerror}", hint="It has become another user's."
                    ) from error
        _wait(pid, start, seconds)


def _wait(pid: int, start: str, seconds: float) -> None:
    """Wait until a process has ended, *seconds* at most; one that only waits to be reaped has."""
    deadline = time.monotonic() + seconds
    while processes.is_alive(pid, start) and time.monotonic() < deadline:
        time.sleep(0.005)
