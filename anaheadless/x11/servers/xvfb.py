"""Xvfb, the virtual framebuffer X server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from anaheadless.options import Screen
from anaheadless.system.programs import find_program, this_python
from anaheadless.x11.server_process import READINESS


def find(environ: Mapping[str, str]) -> str:
    """The path of Xvfb; :raises LaunchError: it is not installed."""
    # Beside the interpreter too: a conda environment brings its own, activated or not.
    search = os.get_exec_path(environ)
    program = find_program("Xvfb", [*search, os.path.dirname(this_python())])
    if program is None:
        from anaheadless import packages  # only here: a run that goes well has no need of it

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
    """The X server's command line; *extra* comes last, so that it has the last word.

    :param authority: the X authority file with its cookie.
    :param activate: it gets its sockets from us, see systemd's sd_listen_fds(3).
    """
    return [
        program,
        f":{number}",
        *("-screen", "0", str(screen)),
        *(("-dpi", str(dpi)) if dpi else ()),
        *("-auth", authority),
        # With this, it makes no lock file: our sockets keep others off the display, and it can't be left behind.
        *(("-displayfd", str(READINESS)) if activate else ()),
        *("-nolisten", "tcp"),
        # Without it the server starts afresh when a probe was its only client, and may refuse the next one.
        "-noreset",
        *(() if glx else ("-extension", "GLX")),
        *extra,
    ]
