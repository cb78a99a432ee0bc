"""Xvfb, the virtual framebuffer X server."""

from __future__ import annotations

from anaheadless.options import DEPTHS
from anaheadless.x11.servers.kind import ServerCall, ServerKind


def command(call: ServerCall) -> list[str]:
    """Build the command line."""
    return [
        call.program,
        f":{call.number}",
        *("-screen", "0", str(call.screen)),
        *(("-dpi", str(call.dpi)) if call.dpi else ()),
        *("-auth", f"/proc/self/fd/{KIND.descriptors.cookie}"),
        # With -displayfd, it makes no lock file, which could be left behind; the sockets keep others off the display.
        *(("-displayfd", str(KIND.descriptors.ready)) if call.activate else ()),
        *("-nolisten", "tcp"),
        # Without -noreset, the server restarts when its only client, a probe, has gone, and may refuse the next one.
        "-noreset",
        *(() if call.glx else ("-extension", "GLX")),
        *call.extra,
    ]


KIND = ServerKind("xvfb", ("Xvfb",), command, DEPTHS)
