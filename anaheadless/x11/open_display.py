"""Connections to a display, by its name and its X authority file."""

from __future__ import annotations

import os

from anaheadless.x11.authority import find_cookie
from anaheadless.x11.connection import Connection, connect
from anaheadless.x11.display_number import abstract_name, socket_path


def open_display(display: str, authority: str, deadline: float) -> Connection:
    """Connect to *display*, as ``:4711``.

    :param authority: the X authority file of the display.
    :raises OSError: the file or the server can't be reached; :func:`~anaheadless.x11.connection.connect` says more.
    :raises KeyError: the file has no cookie for the display; likewise ValueError and struct.error.
    :raises RefusedError: the server refuses the connection.
    """
    number = int(display.lstrip(":"))
    # The session's own entry comes first. A process that only looks like a keeper may offer a file of any type.
    descriptor = os.open(authority, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        cookie = find_cookie(os.read(descriptor, 1 << 12), number)
    finally:
        os.close(descriptor)
    try:
        return connect(abstract_name(number), cookie, deadline)
    except ConnectionRefusedError:  # a server that makes no abstract socket
        return connect(socket_path(number), cookie, deadline)
