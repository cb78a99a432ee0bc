"""The windows of a display, as a window manager sees them.

Sources: Inter-Client Communication Conventions Manual 2.0 (WM_NAME); Extended Window Manager Hints 1.5 (the others).
"""

from __future__ import annotations

import struct
import time

from anaheadless.errors import LaunchError
from anaheadless.system.light_stdlib import Record
from anaheadless.x11.client import Client
from anaheadless.x11.connection import RefusedError
from anaheadless.x11.open_display import open_display

TIMEOUT = 20.0  # seconds, for each answer
MAX_WINDOWS = 1024
MAX_TITLE = 1024  # bytes
WM_NAME = 39  # an atom that the protocol itself defines


class Window(Record):
    """A visible window of a program.

    :param x: the place of its contents on the screen, in pixels from the upper left corner; *y* likewise.
    :param width: the size of its contents, without a window manager's frame; *height* likewise.
    """

    title: str
    x: int
    y: int
    width: int
    height: int


def list_windows(display: str, authority: str) -> list[Window]:
    """List the visible windows of *display*, but no menus and tooltips, which no window manager manages.

    :param authority: the X authority file of the display.
    :raises LaunchError: the server does not answer, or not as expected.
    """
    try:
        with open_display(display, authority, time.monotonic() + TIMEOUT) as connection:
            client = Client(connection)
            connection.socket.settimeout(TIMEOUT)
            # A window manager may have put the windows into frames of its own; then it lists them.
            listed = client.property(client.root, client.intern_atom("_NET_CLIENT_LIST"), MAX_WINDOWS)
            windows = listed or client.top_level_windows()[:MAX_WINDOWS]
            return [found for window in windows if (found := _describe(client, window)) is not None]
    except (OSError, ValueError, KeyError, struct.error, RefusedError) as error:
        raise LaunchError(
            f"can't list the windows of display {display}: {error}",
            hint="Its session may have ended, or its X server hangs.",
        ) from error


def _describe(client: Client, window: int) -> Window | None:
    """Describe a window; return None if it has gone, is not visible, or is not managed."""
    geometry, place = client.geometry(window), client.place_on_screen(window)
    if geometry is None or place is None or not client.is_managed(window):
        return None
    title = client.text(window, client.intern_atom("_NET_WM_NAME"), MAX_TITLE).decode("utf-8", "replace")
    title = title or client.text(window, WM_NAME, MAX_TITLE).decode("latin-1")
    return Window(title, *place, *geometry[2:])
