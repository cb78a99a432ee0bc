"""Running sessions, for people: the list of them, finding one, ending one."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from anaheadless.errors import USAGE, LaunchError, printable
from anaheadless.session import discovery, leftovers, protocol
from anaheadless.session.discovery import LiveSession
from anaheadless.system import private_files, processes
from anaheadless.system.processes import Process

END_SECONDS = 10.0


@dataclass(frozen=True)
class SessionInfo:
    """A session as ``anaheadless list`` shows it.

    :param state: ``running``; ``starting``: the launcher is still at work; ``stale``: the target has ended, the keeper
        has not.
    :param hardware: whether a GPU has drawn, or None without OpenGL.
    :param age: seconds.
    :param server: the PID of the X server; None if it has not started.
    :param server_kind: its kind, and *server_reason* why that was taken; empty where it is not known yet.
    :param server_memory: of the X server, in bytes (resident set).
    """

    session: str
    state: str
    purpose: str
    target: int
    command: str
    backend: str
    renderer: str
    hardware: bool | None
    age: float
    keeper: int
    server: int | None
    server_kind: str
    server_reason: str
    server_memory: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def rows() -> list[SessionInfo]:
    """List all sessions of this user."""
    return [row for row in map(_row, discovery.sessions()) if row is not None]


def _row(session: LiveSession) -> SessionInfo | None:
    notes = session.status
    state = "running" if notes is not None else "starting"
    if not session.has_target:
        state = "stale"
    command, memory = "", 0
    with suppress(psutil.Error):
        command = " ".join(psutil.Process(session.target).cmdline())
    if notes is not None:
        with suppress(psutil.Error):
            memory = psutil.Process(notes.server).memory_info().rss
    try:
        age = time.time() - psutil.Process(session.keeper).create_time()
    except psutil.Error:  # it has ended just now
        return None
    return SessionInfo(
        session=session.display,
        state=state,
        purpose=notes.purpose if notes else "",
        target=session.target,
        command=_printable(command),
        backend=notes.backend if notes else "",
        renderer=_printable(notes.renderer) if notes else "",
        hardware=bool(notes.hardware) if notes and notes.backend != "none" else None,
        age=max(0.0, age),
        keeper=session.keeper,
        server=(notes.server or None) if notes else None,
        server_kind=notes.server_kind if notes else "",
        server_reason=_printable(notes.server_reason) if notes else "",
        server_memory=memory,
    )


def _printable(text: str) -> str:
    """Put *text* on one line, without characters that a terminal would obey."""
    return printable(" ".join(text.split()))


def find(name: str | None, environ: Mapping[str, str]) -> LiveSession:
    """Find the session called *name*: its display, with or without the colon, or the PID of its target.

    Without a name, it is the session that *environ* is in, or the only session.

    :raises LaunchError: there is none, or more than one.
    """
    found = discovery.sessions()
    if name is None:
        inside = discovery.current(environ)
        if inside is not None:
            return inside
    else:
        found = [each for each in found if name in (each.display, each.display[1:], str(each.target))]
    if len(found) == 1:
        return found[0]
    called = "" if name is None else f" {name}"
    if not found:
        running = _running()
        hint = "No session is running now: anaheadless run, exec and start begin one."
        if running:
            hint = f"Give a display or the PID of a program. Running now: {running}; see anaheadless list."
        raise LaunchError(f"there is no session{called}", hint=hint)
    raise LaunchError(
        f"there are {len(found)} sessions{called}: {', '.join(each.display for each in found)}",
        hint="Say which one you mean by its display; see anaheadless list.",
    )


def find_to_stop(name: str | None, environ: Mapping[str, str]) -> LiveSession:
    """Find a session as :func:`find` does; but without a name, only the session that *environ* is in will do.

    On an account that several people share, the only session may be somebody else's.
    """
    found = discovery.current(environ) if name is None else find(name, environ)
    if found is not None:
        return found
    running = _running()
    raise LaunchError(
        "this shell is not in a session, so anaheadless stop needs the name of one",
        hint=f"Running now: {running}. Say anaheadless stop :NUMBER." if running else "No session is running now.",
        exit_code=USAGE,
    )


def _running() -> str:
    return ", ".join(session.display for session in discovery.sessions())


def stop(session: LiveSession, grace: float, environ: Mapping[str, str]) -> None:
    """End *session*, and the target with it if the launcher became the target.

    :param grace: seconds that the target has between SIGTERM and SIGKILL.
    :param environ: names the folders where the session may have left something.
    :raises LaunchError: it could not be ended.
    """
    with ExitStack() as stack:
        kept = stack.enter_context(closing(processes.open_process(session.keeper)))
        target = stack.enter_context(closing(processes.open_process(session.target)))
        # Only now: if the session is still the same, these are its processes, and not others with reused numbers.
        seen = discovery.inspect_keeper(session.keeper)
        if seen is None or not session.is_same(seen):
            return
        if seen.is_run() and seen.has_target:
            _end(target, signal.SIGTERM, grace)
        _end(kept, protocol.STOP, END_SECONDS)
    leftovers.sweep(None, private_files.folders(environ))


def _end(process: Process, number: int, seconds: float) -> None:
    """Send *process* signal *number*, and SIGCONT, since it may be stopped. If it still runs after *seconds*, kill it.

    :raises LaunchError: it is still there.
    """
    try:
        for each, limit in (number, seconds), (signal.SIGKILL, END_SECONDS):
            process.send(each)
            process.send(signal.SIGCONT)
            if process.await_end(limit):
                return
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise LaunchError(
            f"process {process.pid} can't be ended: {error.strerror}", hint="It now belongs to another user."
        ) from error
    raise LaunchError(
        f"process {process.pid} can't be ended: it hangs", hint=f"See where it waits: ps -o stat,wchan {process.pid}"
    )
