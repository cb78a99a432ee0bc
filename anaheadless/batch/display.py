"""A slot's display, as the mapper sees it between two items: whether the first one has left anything there.

Source: X Window System Protocol, X Version 11, Encoding (QueryTree).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from contextlib import suppress

from anaheadless.x11 import connection, screenshot
from anaheadless.x11.authority import find_cookie
from anaheadless.x11.display_number import abstract_name, socket_path

QUERY_TREE = 15
ANSWER_SECONDS = 5.0
# A client that was killed has its windows until the server notices that.
CLEAR_SECONDS = 1.0
MAX_REPLY = 1 << 20


class Display:
    """A connection that stays: in a server without clients, much would start afresh with the next one.

    Whoever holds it is told by the server when an item has changed the keyboard, instead of what was asked: such a
    server counts as one that fails.
    """

    def __init__(self, connected: connection.Connection) -> None:
        self._connection = connected
        self._root = screenshot.parse_setup(connected.setup).root

    def is_clear(self) -> bool:
        """Whether there is no window, or soon will be none."""
        deadline = time.monotonic() + CLEAR_SECONDS
        server = self._connection.replace(deadline=deadline + ANSWER_SECONDS)
        with suppress(OSError, connection.RefusedError):  # then, it is of no more use
            while True:
                reply = server.ask(QUERY_TREE, 0, struct.pack("<I", self._root), MAX_REPLY)
                if not int.from_bytes(reply[16:18], "little"):
                    return True
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.002)
        return False

    def close(self) -> None:
        self._connection.socket.close()


def connect(variables: Mapping[str, str]) -> Display | None:
    """Connect to the display that a session's *variables* name; None: it can't be had."""
    number = int(variables["DISPLAY"].lstrip(":"))
    with suppress(OSError, ValueError, KeyError, struct.error, connection.RefusedError):
        with open(variables["XAUTHORITY"], "rb") as file:
            cookie = find_cookie(file.read(1 << 12), number)
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            return Display(connection.connect(abstract_name(number), cookie, deadline))
        except ConnectionRefusedError:  # a server that makes no abstract socket
            return Display(connection.connect(socket_path(number), cookie, deadline))
    return None
