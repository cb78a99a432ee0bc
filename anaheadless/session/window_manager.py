"""A window manager on the display of a keeper, as a process of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import NoReturn

from anaheadless.errors import LaunchError
from anaheadless.session import protocol
from anaheadless.system import processes
from anaheadless.system.programs import find_program
from anaheadless.x11 import focus_manager
from anaheadless.x11.client import Client
from anaheadless.x11.connection import RefusedError
from anaheadless.x11.open_display import open_display

CONNECT_SECONDS = 30.0
# Those that need neither D-Bus nor fonts, and leave windows as large as they ask to be. The smallest come first.
KNOWN = ("icewm", "fluxbox", "openbox", "jwm", "herbstluftwm", "metacity", "marco")


def find_window_manager(name: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the command line of the window manager called *name*; no words stand for the built-in one.

    :param name: a program, or ``focus`` for the built-in one, or ``auto`` for one that is installed, else the same.
    :raises LaunchError: it is not installed.
    """
    search = os.get_exec_path(environ)
    if name == "focus":
        return ()
    if name == "auto":
        found = (find_program(known, search) for known in KNOWN)
        return next(((os.path.abspath(program),) for program in found if program), ())
    program = find_program(name, search)
    if program is None:
        raise LaunchError(
            f"there is no window manager {name} on PATH ({os.pathsep.join(search)})",
            hint="Install it, or take the built-in one: --wm focus.",
        )
    return (os.path.abspath(program),)


def become(parent: str, display: str, *command: str) -> NoReturn:
    """Become a window manager of *display*, as a child of the keeper *parent*.

    :param command: the command line of an installed one, or nothing for the built-in one.
    """
    # Standard output and error go to a memfd of the keeper. Other descriptors would stay open for as long as this runs.
    processes.close_descriptors_except({0, 1, 2})
    # Batch systems and service managers signal every process. Only the end of the server, or the keeper, ends this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, protocol.IGNORED_SIGNALS)
    processes.die_with(int(parent))
    authority = f"/proc/{parent}/fd/{protocol.COOKIE}"
    if command:
        environ = processes.environment_for(command[0], os.environ)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execve(command[0], command, {**environ, "DISPLAY": display, "XAUTHORITY": authority})
    try:
        connection = open_display(display, authority, time.monotonic() + CONNECT_SECONDS)
    except (OSError, RefusedError) as error:
        raise SystemExit(f"the window manager can't reach the X server: {error}") from error
    connection.socket.settimeout(None)
    focus_manager.run(Client(connection))
    raise SystemExit
