"""Xwayland, rootful: an X server whose whole screen is a window of a Wayland compositor.

The compositor is our own, see :mod:`anaheadless.x11.null_compositor`: no other program has to be installed.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress

from anaheadless.system import processes
from anaheadless.x11.servers.kind import Descriptors, ServerCall, ServerKind

_DESCRIPTORS = Descriptors(compositor=6)
DEFAULT_DPI = 96
HELP_SECONDS = 5.0
_HELP_SIZE, _MOST_READ = 1 << 16, 1 << 26


def command(call: ServerCall) -> list[str]:
    """Build the command line.

    Xwayland 22.1 has no -geometry. Its screen is as large as the compositor's output.
    """
    return [
        call.program,
        f":{call.number}",
        *(("-geometry", f"{call.screen.width}x{call.screen.height}") if call.knows_geometry else ()),
        *("-dpi", str(call.dpi or DEFAULT_DPI)),
        "-shm",  # no attempt to find a GPU: it would end with two lines on standard error
        *("-auth", f"/proc/self/fd/{_DESCRIPTORS.cookie}"),
        *(argument for socket in _DESCRIPTORS.listeners for argument in ("-listenfd", str(socket)) if call.activate),
        *(("-displayfd", str(_DESCRIPTORS.ready)) if call.activate else ()),
        *("-nolisten", "tcp"),
        # Without -noreset, it hangs when its last client has gone (seen with 24.1).
        "-noreset",
        *(() if call.glx else ("-extension", "GLX")),
        *call.extra,
    ]


def knows_geometry(program: str) -> bool:
    """Tell whether an Xwayland has the option -geometry.

    Its help, which names the option, is looked for in the program's file. To have it printed takes 6 ms on a quiet
    machine, and many times that on a busy one. Only if the file is a wrapper script, it is asked.

    :raises OSError: it can't be executed.
    """
    with suppress(OSError), open(program, "rb") as file:  # it may be executable, but not readable
        if file.read(4) == b"\x7fELF":
            return b"-geometry " in file.read(_MOST_READ)
    return _help_has_geometry(program)


def _help_has_geometry(program: str) -> bool:
    read_end, write_end = os.pipe()
    try:
        streams = [(os.POSIX_SPAWN_DUP2, write_end, 1), (os.POSIX_SPAWN_DUP2, write_end, 2)]
        environ = processes.environment_for(program, os.environ)
        child = os.posix_spawn(program, [program, "-help"], environ, file_actions=streams)
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    text, deadline = b"", time.monotonic() + HELP_SECONDS
    try:
        poll = select.poll()
        poll.register(read_end, select.POLLIN)
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000) and len(text) < _HELP_SIZE:
            chunk = os.read(read_end, 1 << 12)
            if not chunk:
                break
            text += chunk
    finally:
        os.close(read_end)
        with suppress(OSError):  # it is reaped: the kernel does that where SIGCHLD is ignored
            if os.waitpid(child, os.WNOHANG) == (0, 0):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
    return b"-geometry" in text


KIND = ServerKind(
    "xwayland",
    ("Xwayland",),
    command,
    depths=(24,),
    descriptors=_DESCRIPTORS,
    activation=0,
    variables=(("WAYLAND_SOCKET", str(_DESCRIPTORS.compositor)),),
    knows_geometry=knows_geometry,
)
