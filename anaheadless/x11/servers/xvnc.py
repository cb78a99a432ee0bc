"""Xvnc of TigerVNC: an X server that VNC viewers could connect to, without any way for them to do so."""

from __future__ import annotations

from anaheadless.x11.servers.kind import Descriptors, ServerCall, ServerKind

# Socket activation counts from 3. Before TigerVNC 1.14, -inetd copied descriptor 0 to 3, whatever was there.
_DESCRIPTORS = Descriptors(listeners=(4, 5), cookie=6, vnc=(0, 3))


def command(call: ServerCall) -> list[str]:
    """Build the command line.

    Xvnc needs something to listen on, and would take a TCP port on all addresses. As if started by inetd, it takes
    the socket that is its standard input. Nobody is told the name of that socket, and there is no password that would
    open it.
    """
    return [
        call.program,
        f":{call.number}",
        *("-geometry", f"{call.screen.width}x{call.screen.height}"),
        *("-depth", str(call.screen.depth)),
        *(("-dpi", str(call.dpi)) if call.dpi else ()),
        *("-SecurityTypes", "VncAuth"),
        *("-auth", f"/proc/self/fd/{_DESCRIPTORS.cookie}"),
        *(("-displayfd", str(_DESCRIPTORS.ready)) if call.activate else ()),
        *("-nolisten", "tcp"),
        "-noreset",
        *(() if call.glx else ("-extension", "GLX")),
        *call.extra,
        # The last one: from here on, what goes to standard error is lost.
        "-inetd",
    ]


KIND = ServerKind(
    "xvnc",
    ("Xtigervnc", "Xvnc"),
    command,
    depths=(16, 24),
    largest=(16384, 16384),
    descriptors=_DESCRIPTORS,
    activation=3,
)
