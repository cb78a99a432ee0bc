"""A slot's display, as the mapper sees it between two items: whether the first one has left windows there."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from contextlib import suppress

from anaheadless.x11.client import Client
from anaheadless.x11.connection import Connection, RefusedError
from anaheadless.x11.open_display import open_display

ANSWER_SECONDS = 5.0
# A client that was killed has its windows until the server notices that.
CLEAR_SECONDS = 1.0


class Display:
    """A connection that stays: connecting anew after each item would take longer than what is asked."""

    def __init__(self, connected: Connection) -> None:
        self._socket = connected.socket
        self._socket.settimeout(ANSWER_SECONDS)
        self._id_mask = int.from_bytes(connected.setup[8:12], "little")
        self._client = Client(connected)
        self._sign = self._client.intern_atom("_NET_SUPPORTING_WM_CHECK")

    def is_clear(self) -> bool:
        """Return whether there is no window, or soon will be none, but those of the window manager."""
        deadline = time.monotonic() + CLEAR_SECONDS
        with suppress(OSError):  # then, the display is of no more use
            while True:
                managers = {self._owner(window) for window in self._client.property(self._client.root, self._sign)}
                if all(self._owner(window) in managers for window in self._client.top_level_windows()):
                    return True
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.002)
        return False

    def _owner(self, window: int) -> int:
        """Return the part of a window's ID that all windows of its client have in common."""
        return window & ~self._id_mask

    def close(self) -> None:
        self._socket.close()


def connect(variables: Mapping[str, str]) -> Display | None:
    """Connect to the display that a session's *variables* name; None: it can't be had."""
    with suppress(OSError, ValueError, KeyError, struct.error, RefusedError):
        deadline = time.monotonic() + ANSWER_SECONDS
        return Display(open_display(variables["DISPLAY"], variables["XAUTHORITY"], deadline))
    return None
