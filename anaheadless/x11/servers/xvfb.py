"""Xvfb, the virtual framebuffer X server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from anaheadless.options import Screen
from anaheadless.system.programs import find_program, this_python
from anaheadless.x11.server_process import READY_DESCRIPTOR


def find(environ: Mapping[str, str]) -> str:
    """Return the path of Xvfb.

    :raises LaunchError: it is not installed.
    """
    # Beside the interpreter, too: a conda environment has its own Xvfb, whether it is activated or not.
    search = os.get_exec_path(environ)
    program = find_program("Xvfb", [*search, os.path.dirname(this_python())])
    if program is None:
        from anaheadless import packages  # only here: a run that succeeds does not need it

        raise packages.not_installed("Xvfb", search)
    return os.path.abspath(program)


def command(
    program: str,
    number: int,
    screen: Screen,
    dpi: int | None,
    *,
    glx: bool,
    extra: Sequence[str],
    authority: str,
    activate: bool,
) -> list[str]:
    """Build the X server's command line; *extra* comes last, so that it overrides the rest.

    :param authority: the X authority file with the display's cookie.
    :param activate: whether the server inherits its sockets, see systemd's sd_listen_fds(3).
    """
    return [
        program,
        f":{number}",
        *("-screen", "0", str(screen)),
        *(("-dpi", str(dpi)) if dpi else ()),
        *("-auth", authority),
        # With -displayfd, it makes no lock file, which could be left behind; the sockets keep others off the display.
        *(("-displayfd", str(READY_DESCRIPTOR)) if activate else ()),
        *("-nolisten", "tcp"),
        # Without -noreset, the server restarts when its only client, a probe, has gone, and may refuse the next one.
        "-noreset",
        *(() if glx else ("-extension", "GLX")),
        *extra,
    ]
