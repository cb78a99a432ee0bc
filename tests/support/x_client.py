"""A client of an X server that says which pixels are there."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anaheadless import VirtualDisplay
from anaheadless.x11 import client
from anaheadless.x11.authority import find_cookie
from anaheadless.x11.display_number import abstract_name
from anaheadless.x11.screenshot import parse_setup
from tests.support.helpers import (
    PATIENCE,
)


class Client:
    """A connection to a display that paints its root window: what it paints stays."""

    def __init__(self, display: VirtualDisplay) -> None:
        number = int(display.display[1:])
        cookie = find_cookie(Path(display.environ["XAUTHORITY"]).read_bytes(), number)
        self.connection = client.connect(abstract_name(number), cookie, time.monotonic() + PATIENCE)
        self.form = parse_setup(self.connection.setup)
        (self.context,) = struct.unpack_from("<4xI", self.connection.setup)  # any of the identifiers that are ours
        self.connection.socket.sendall(struct.pack("<BxHIIIII", 55, 5, self.context, self.form.root, 4, 0, 0)[:20])

    def paint(self, value: int, x: int, y: int, width: int, height: int) -> None:
        change = struct.pack("<BxHIII", 56, 4, self.context, 4, value)  # ChangeGC: foreground
        fill = struct.pack("<BxHIIhhHH", 70, 5, self.form.root, self.context, x, y, width, height)
        self.connection.socket.sendall(change + fill)

    def allocate(self, red: int, green: int, blue: int) -> int:
        """The pixel of a colour, each part of 16 bits."""
        answer = self.connection.ask(84, 0, struct.pack("<IHHHxx", self.form.colormap, red, green, blue))
        (value,) = struct.unpack_from("<16xI", answer)
        return int(value)

    def sync(self) -> None:
        self.connection.ask(43, 0, b"")  # GetInputFocus: answered after all that came before


@contextmanager
def painting(display: VirtualDisplay) -> Iterator[Client]:
    client = Client(display)
    with client.connection:
        yield client
