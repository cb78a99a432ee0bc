"""A small X client: the requests with which a test paints on a display, each under its name in the protocol.

Source: X Window System Protocol, X Version 11, Encoding.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anaheadless import VirtualDisplay
from anaheadless.x11.authority import find_cookie
from anaheadless.x11.connection import connect
from anaheadless.x11.display_number import abstract_name
from anaheadless.x11.screenshot import parse_setup
from tests.support.helpers import PATIENCE

GET_INPUT_FOCUS, CREATE_GC, CHANGE_GC, POLY_FILL_RECTANGLE, ALLOC_COLOR = 43, 55, 56, 70, 84
FOREGROUND = 1 << 2  # the bit of this value in the mask of a graphics context


class Painter:
    """A connection to a display whose root window is painted: what is painted there stays."""

    def __init__(self, display: VirtualDisplay) -> None:
        number = int(display.display[1:])
        cookie = find_cookie(Path(display.environ["XAUTHORITY"]).read_bytes(), number)
        self.connection = connect(abstract_name(number), cookie, time.monotonic() + PATIENCE)
        self.screen = parse_setup(self.connection.setup)
        (self.context,) = struct.unpack_from("<4xI", self.connection.setup)  # the first identifier that is ours
        self._send(CREATE_GC, "<IIII", self.context, self.screen.root, FOREGROUND, 0)

    def fill(self, pixel: int, x: int, y: int, width: int, height: int) -> None:
        """Fill a rectangle with a colour, given as the value that a pixel of it has."""
        self._send(CHANGE_GC, "<III", self.context, FOREGROUND, pixel)
        self._send(POLY_FILL_RECTANGLE, "<IIhhHH", self.screen.root, self.context, x, y, width, height)

    def allocate_colour(self, red: int, green: int, blue: int) -> int:
        """Ask the colormap for a colour, whose parts have 16 bits each; return the value that a pixel of it has."""
        answer = self._ask(ALLOC_COLOR, "<IHHHxx", self.screen.colormap, red, green, blue)
        (pixel,) = struct.unpack_from("<16xI", answer)
        return int(pixel)

    def wait_until_painted(self) -> None:
        """Ask for something: a server answers after it has done all that came before."""
        self._ask(GET_INPUT_FOCUS, "")

    def _send(self, opcode: int, layout: str, *values: int) -> None:
        body = struct.pack(layout, *values)
        self.connection.socket.sendall(struct.pack("<BxH", opcode, 1 + len(body) // 4) + body)

    def _ask(self, opcode: int, layout: str, *values: int) -> bytes:
        return self.connection.ask(opcode, 0, struct.pack(layout, *values))


@contextmanager
def painting(display: VirtualDisplay) -> Iterator[Painter]:
    """A painter of the root window of *display*, which leaves at the end."""
    painter = Painter(display)
    with painter.connection:
        yield painter
