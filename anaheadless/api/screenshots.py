"""Screenshots that Python code takes, and that a notebook shows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from anaheadless.api import qt, queries
from anaheadless.errors import LaunchError

if TYPE_CHECKING:
    from anaheadless.session.discovery import LiveSession


class Screenshot(bytes):
    """A screenshot: the bytes of a PNG file. A notebook shows it as a picture."""

    def __repr__(self) -> str:
        width, height = (int.from_bytes(self[at : at + 4], "big") for at in (16, 20))
        return f"<Screenshot: {width}x{height}>"

    __str__ = __repr__  # print() would show the bytes, and -bb would refuse to

    def _repr_png_(self) -> bytes:
        return bytes(self)


def screenshot(path: str | os.PathLike[str] | None = None) -> Screenshot:
    """Take a screenshot of the virtual display that this program is on.

    It shows the whole first screen, in 8-bit RGB, without the pointer. Windows of this process's own Qt are drawn
    first, if this is the thread of its QApplication.

    :param path: the PNG file to save it as, if any; an existing file is replaced.
    :raises LaunchError: this program is on no virtual display, or the X server does not answer.
    :raises OSError: the file can't be written.
    """
    return of_session(queries.current_session(), path)


def of_session(session: LiveSession | None, path: str | os.PathLike[str] | None) -> Screenshot:
    """Do what :func:`screenshot` says, for the *session* that this process is in."""
    from anaheadless.session import protocol

    if session is None:
        raise LaunchError(
            "there is nothing to take a screenshot of: this program is on no virtual display",
            hint="Start it with 'anaheadless run', or call anaheadless.setup_headless() first.",
        )
    qt.let_draw()
    return take(session.display, f"/proc/{session.keeper}/fd/{protocol.COOKIE}", path)


def take(display: str, authority: str, path: str | os.PathLike[str] | None) -> Screenshot:
    """Take a screenshot of *display*, and save it if there is a *path*."""
    from anaheadless.x11 import screenshot as camera

    taken = Screenshot(camera.take(display, authority))
    if path is not None:
        with open(path, "wb") as file:
            file.write(taken)
    return taken
