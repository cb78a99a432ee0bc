"""An X client that lives on: requests by their names in the protocol, and events.

Source: X Window System Protocol, X Version 11, Encoding.
"""

from __future__ import annotations

import struct
from collections import deque

from anaheadless.x11.connection import REPLY, Connection

ERROR = 0
GENERIC_EVENT = 35  # the one event that may be longer than 32 bytes
MAX_LENGTH = 1 << 20  # of what may follow these 32 bytes

COPY_FROM_PARENT, INPUT_ONLY, CURRENT_TIME = 0, 2, 0
REPLACE = 0  # how a property is changed
REVERT_TO_POINTER_ROOT, POINTER_ROOT = 1, 1
VIEWABLE = 2
ABOVE = 0
# The bits of what a request changes, in its mask of values.
CW_OVERRIDE_REDIRECT, CW_EVENT_MASK = 1 << 9, 1 << 11
CONFIGURE_X, CONFIGURE_Y, CONFIGURE_WIDTH, CONFIGURE_HEIGHT, CONFIGURE_STACK_MODE = 1, 2, 4, 8, 64


class Client:
    """A connection whose events are read one by one. Errors of requests without a reply are ignored: the windows of
    other clients may have gone at any time.

    :param connection: its deadline does not count any more, but the timeout of its socket.
    :raises OSError: from all methods; the server has gone, or does not answer in time.
    """

    def __init__(self, connection: Connection) -> None:
        self._socket = connection.socket
        self._sent = 0
        self._events: deque[bytes] = deque()
        self._next_id = int.from_bytes(connection.setup[4:8], "little")
        vendor, formats = struct.unpack_from("<16xHxxxB", connection.setup)
        screen = 32 + vendor + -vendor % 4 + 8 * formats
        self.root: int
        self.width: int
        self.height: int
        self.root, self.width, self.height = struct.unpack_from("<I16xHH", connection.setup, screen)

    def next_event(self) -> bytes:
        """Wait for an event; return its first 32 bytes."""
        while not self._events:
            self._receive()
        return self._events.popleft()

    def intern_atom(self, name: str) -> int:
        data = name.encode()
        reply = self._ask(16, 0, struct.pack("<Hxx", len(data)) + data + bytes(-len(data) % 4))
        return int.from_bytes(reply[8:12], "little")  # None (0) if there is no memory for it

    def create_unseen_window(self) -> int:
        """Create a window that is never mapped, to hold properties; return its ID."""
        window = self._next_id
        self._next_id += 1
        place = (-1, -1, 1, 1, 0)
        values = struct.pack(
            "<IIhhHHHHIII", window, self.root, *place, INPUT_ONLY, COPY_FROM_PARENT, CW_OVERRIDE_REDIRECT, 1
        )
        self._send(1, 0, values)
        return window

    def select_events(self, window: int, mask: int) -> None:
        self._send(2, 0, struct.pack("<III", window, CW_EVENT_MASK, mask))

    def is_managed(self, window: int) -> bool:
        """Tell whether a window is visible, and is one that window managers manage."""
        reply = self._ask(3, 0, struct.pack("<I", window))
        return len(reply) == 44 and reply[26] == VIEWABLE and not reply[27]

    def geometry(self, window: int) -> tuple[int, int, int, int] | None:
        """Return position and size of a window, or None if it has gone."""
        reply = self._ask(14, 0, struct.pack("<I", window))
        return struct.unpack_from("<hhHH", reply, 12) if len(reply) == 32 else None

    def top_level_windows(self) -> list[int]:
        """List the children of the root window, the lowest one first."""
        reply = self._ask(15, 0, struct.pack("<I", self.root))
        return [window for (window,) in struct.iter_unpack("<I", reply[32:])]

    def configure(self, window: int, x: int, y: int, width: int, height: int) -> None:
        mask = CONFIGURE_X | CONFIGURE_Y | CONFIGURE_WIDTH | CONFIGURE_HEIGHT
        self._send(12, 0, struct.pack("<IHxxiiII", window, mask, x, y, width, height))

    def raise_window(self, window: int) -> None:
        self._send(12, 0, struct.pack("<IHxxI", window, CONFIGURE_STACK_MODE, ABOVE))

    def set_property(self, window: int, name: int, kind: int, values: list[int] | bytes) -> None:
        """Set a property to 32-bit values, or to text."""
        size = 8 if isinstance(values, bytes) else 32
        data = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}I", *values)
        head = struct.pack("<IIIBxxxI", window, name, kind, size, len(data) * 8 // size)
        self._send(18, REPLACE, head + data + bytes(-len(data) % 4))

    def delete_property(self, window: int, name: int) -> None:
        self._send(19, 0, struct.pack("<II", window, name))

    def property(self, window: int, name: int, limit: int = 64) -> list[int]:
        """Return the 32-bit values of a property, *limit* at most; none if there is no such property."""
        any_type, offset = 0, 0
        reply = self._ask(20, 0, struct.pack("<5I", window, name, any_type, offset, limit))
        if len(reply) < 32 or reply[1] != 32:
            return []
        return [value for (value,) in struct.iter_unpack("<I", reply[32 : 32 + 4 * limit])]

    def text(self, window: int, name: int, limit: int) -> bytes:
        """Return the text of a property, about *limit* bytes at most; empty if there is no such property."""
        any_type, offset = 0, 0
        reply = self._ask(20, 0, struct.pack("<5I", window, name, any_type, offset, limit // 4))
        if len(reply) < 32 or reply[1] != 8:
            return b""
        return reply[32 : 32 + int.from_bytes(reply[16:20], "little")]

    def place_on_screen(self, window: int) -> tuple[int, int] | None:
        """Return the place of a window's upper left corner on the screen, or None if the window has gone."""
        reply = self._ask(40, 0, struct.pack("<IIhh", window, self.root, 0, 0))
        return struct.unpack_from("<hh", reply, 12) if len(reply) == 32 else None

    def focus(self, window: int) -> None:
        self._send(42, REVERT_TO_POINTER_ROOT, struct.pack("<II", window, CURRENT_TIME))

    def send_message(self, window: int, kind: int, values: tuple[int, ...]) -> None:
        """Send a ClientMessage event with up to five 32-bit values to the client that owns *window*."""
        event = struct.pack("<BBHII5I", 33, 32, 0, window, kind, *values, *(0,) * (5 - len(values)))
        self._send(25, 0, struct.pack("<II", window, 0) + event)

    def _send(self, opcode: int, data: int, body: bytes) -> None:
        self._sent = (self._sent + 1) % (1 << 16)
        self._socket.sendall(struct.pack("<BBH", opcode, data, 1 + len(body) // 4) + body)

    def _ask(self, opcode: int, data: int, body: bytes) -> bytes:
        """Send a request and return the reply, which is empty if the server answers with an error."""
        self._send(opcode, data, body)
        while True:
            answer = self._receive()
            if answer and int.from_bytes(answer[2:4], "little") == self._sent:
                return answer if answer[0] == REPLY else b""

    def _receive(self) -> bytes:
        """Read what comes next: return a reply or an error, and keep an event."""
        unit = self._read(32)
        kind = unit[0] & 0x7F
        length = 4 * int.from_bytes(unit[4:8], "little") if kind in (REPLY, GENERIC_EVENT) else 0
        if length > MAX_LENGTH:
            raise ConnectionError(f"the server sends {length} bytes at once")
        rest = self._read(length)
        if kind in (REPLY, ERROR):
            return unit + rest
        self._events.append(unit)
        return b""

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = self._socket.recv(size - len(data))
            if not chunk:
                raise ConnectionError("the server closed the connection")
            data += chunk
        return bytes(data)
