"""An X client with windows of its own, as a window manager sees them."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from anaheadless.x11.client import Client
from anaheadless.x11.connection import connect
from tests.support.helpers import PATIENCE

INPUT_OUTPUT = 1
OVERRIDE_REDIRECT = 1 << 9
SUBSTRUCTURE_EVENTS = 1 << 19 | 1 << 20  # notify and redirect: messages for window managers are sent to these


class Windows(Client):
    """A client that makes windows and sends messages to the window manager."""

    def create(self, *, unmanaged: bool = False, size: tuple[int, int] = (100, 50)) -> int:
        window = self._next_id
        self._next_id += 1
        head = struct.pack("<IIhhHHHHI", window, self.root, 20, 30, *size, 0, INPUT_OUTPUT, 0)
        self._send(1, 0, head + struct.pack("<II", OVERRIDE_REDIRECT, unmanaged))
        return window

    def map(self, window: int) -> None:
        self._send(8, 0, struct.pack("<I", window))

    def unmap(self, window: int) -> None:
        self._send(10, 0, struct.pack("<I", window))

    def destroy(self, window: int) -> None:
        self._send(4, 0, struct.pack("<I", window))

    def take_into(self, parent: int, window: int) -> None:
        self._send(7, 0, struct.pack("<IIhh", window, parent, 0, 0))

    def focused(self) -> int:
        """Return the window that has the input focus."""
        return int.from_bytes(self._ask(43, 0, b"")[8:12], "little")

    def tell(self, window: int, kind: str, *values: int) -> None:
        """Send a message about *window* to the window manager."""
        event = struct.pack("<BBHII5I", 33, 32, 0, window, self.intern_atom(kind), *values, *(0,) * (5 - len(values)))
        self.send_to_root(event)

    def send_to_root(self, event: bytes) -> None:
        self._send(25, 0, struct.pack("<II", self.root, SUBSTRUCTURE_EVENTS) + event)

    def net(self, window: int, name: str) -> list[int]:
        """Return the property _NET_NAME of a window."""
        return self.property(window, self.intern_atom(f"_NET_{name}"))

    def states(self, *names: str) -> list[int]:
        return [self.intern_atom(f"_NET_WM_STATE_{name}") for name in names]


@contextmanager
def windows(address: str, cookie: bytes = b"") -> Iterator[Windows]:
    with connect(address, cookie, time.monotonic() + PATIENCE) as connection:
        yield Windows(connection)
