"""A Wayland compositor that shows nothing: as much of the protocol as a rootful Xwayland needs.

Such an Xwayland shows its screen in a window of a compositor. This one has no screen and no input devices, and never
looks at a pixel. It needs no file, no name and no other program, only a socket pair: the server gets one end as
``WAYLAND_SOCKET``, and ends by itself when the other end is closed.

The keeper imports this. It stays in memory as long as the target, so this module imports next to nothing. What the
server sends is checked: whatever it is, it raises nothing but :class:`BrokenPeerError`, and takes limited memory.

Sources: wayland.xml and xdg-shell.xml, which also define the names of interfaces and requests; hw/xwayland of Xwayland
22.1, 23.2 and 24.1.
"""

from __future__ import annotations

import os
import select
import sys

MAX_MESSAGE = 4096  # libwayland's own limit
MAX_OBJECTS = 512  # Xwayland has less than 20
READ_SIZE = 4096

DISPLAY = 1  # the one object that exists from the start
FIRST_SERVER_ID = 0xFF000000  # IDs from here on are not the client's to give
NO_STATES = 0  # the length of an empty array
OUTPUT_CURRENT_MODE, OUTPUT_PREFERRED_MODE = 1, 2
MILLIHERTZ = 60_000

# What can be bound, with its version. A global's name is its place in this list, from 1 on.
_GLOBALS = (("wl_compositor", 5), ("wl_shm", 1), ("xdg_wm_base", 1), ("wl_output", 2))

# The requests of each interface, in the order of their numbers: the name, the number of 32-bit words that follow the
# header (None: any, there is a string among them), and the interface of the object that is made, whose ID is the first
# of these words. Descriptors take no words.
_REQUESTS: dict[str, tuple[tuple[str, int | None, str], ...]] = {
    "wl_display": (("sync", 1, "wl_callback"), ("get_registry", 1, "wl_registry")),
    "wl_registry": (("bind", None, ""),),
    "wl_callback": (),
    "wl_compositor": (("create_surface", 1, "wl_surface"), ("create_region", 1, "wl_region")),
    "wl_region": (("destroy", 0, ""), ("add", 4, ""), ("subtract", 4, "")),
    "wl_surface": (
        *(("destroy", 0, ""), ("attach", 3, ""), ("damage", 4, ""), ("frame", 1, "wl_callback")),
        *(("set_opaque_region", 1, ""), ("set_input_region", 1, ""), ("commit", 0, "")),
        *(("set_buffer_transform", 1, ""), ("set_buffer_scale", 1, ""), ("damage_buffer", 4, ""), ("offset", 2, "")),
    ),
    "wl_shm": (("create_pool", 2, "wl_shm_pool"),),
    "wl_shm_pool": (("create_buffer", 6, "wl_buffer"), ("destroy", 0, ""), ("resize", 1, "")),
    "wl_buffer": (("destroy", 0, ""),),
    "wl_output": (),
    "xdg_wm_base": (
        *(("destroy", 0, ""), ("create_positioner", 1, "xdg_positioner"), ("get_xdg_surface", 2, "xdg_surface")),
        ("pong", 1, ""),
    ),
    "xdg_positioner": (("destroy", 0, ""),),
    "xdg_surface": (
        *(("destroy", 0, ""), ("get_toplevel", 1, "xdg_toplevel"), ("get_popup", 3, "xdg_popup")),
        *(("set_window_geometry", 4, ""), ("ack_configure", 1, "")),
    ),
    "xdg_popup": (("destroy", 0, ""),),
    "xdg_toplevel": (
        *(("destroy", 0, ""), ("set_parent", 1, ""), ("set_title", None, ""), ("set_app_id", None, "")),
        *(("show_window_menu", 4, ""), ("move", 2, ""), ("resize", 3, ""), ("set_max_size", 2, "")),
        *(("set_min_size", 2, ""), ("set_maximized", 0, ""), ("unset_maximized", 0, ""), ("set_fullscreen", 1, "")),
        *(("unset_fullscreen", 0, ""), ("set_minimized", 0, "")),
    ),
}

# The numbers of the events.
_DISPLAY_DELETE_ID, _REGISTRY_GLOBAL, _CALLBACK_DONE, _BUFFER_RELEASE = 1, 0, 0, 0
_SHM_FORMAT, _SHM_ARGB8888, _SHM_XRGB8888 = 0, 0, 1
_OUTPUT_GEOMETRY, _OUTPUT_MODE, _OUTPUT_DONE, _OUTPUT_SCALE = 0, 1, 2, 3
_SURFACE_CONFIGURE, _TOPLEVEL_CONFIGURE = 0, 0


class BrokenPeerError(Exception):
    """A message that no Xwayland sends; the text says what is wrong with it. The connection is of no use any more."""


class NullCompositor:
    """The state of one connection: requests go in as bytes, events come out as bytes. Nothing here touches a socket.

    A frame callback would tell the server that its last picture is shown and that it may send the next one. It is never
    answered, so that the server never copies its screen for a compositor that does not look.

    :param width: the width of the one output (the monitor). Xwayland 22.1, which can't be told a size, makes its screen
        as large as that; later ones ignore it.
    """

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._objects = {DISPLAY: "wl_display"}
        self._attached: dict[int, int] = {}  # the next buffer of each surface
        self._serial = 0
        self._unread = b""
        self._events = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes from the server, however they are split, and return the bytes to be sent to it.

        :raises BrokenPeerError: they make no sense.
        """
        self._unread += data
        start = 0
        while len(self._unread) - start >= 8:
            header = _word(self._unread, start + 4)
            size, opcode = header >> 16, header & 0xFFFF
            if not 8 <= size <= MAX_MESSAGE or size % 4:
                raise BrokenPeerError(f"a message of {size} bytes")
            if len(self._unread) - start < size:
                break
            self._handle(_word(self._unread, start), opcode, self._unread[start + 8 : start + size])
            start += size
        self._unread = self._unread[start:]
        events = bytes(self._events)
        self._events.clear()
        return events

    def _handle(self, target: int, opcode: int, body: bytes) -> None:
        interface = self._objects.get(target)
        if interface is None:
            raise BrokenPeerError(f"a request to object {target}, which does not exist")
        if opcode >= len(_REQUESTS[interface]):
            raise BrokenPeerError(f"request {opcode} of {interface}, which is not offered")
        name, words, made = _REQUESTS[interface][opcode]
        if words is not None and len(body) != 4 * words:
            raise BrokenPeerError(f"{interface}.{name} with {len(body)} bytes of arguments")
        new = self._make(_word(body, 0), made) if made else 0
        if name == "destroy":
            self._delete(target)
        elif name == "sync":
            self._send(new, _CALLBACK_DONE, _bytes(self._next_serial()))
            self._delete(new)
        elif name == "get_registry":
            for number, (offered, version) in enumerate(_GLOBALS, 1):
                self._send(new, _REGISTRY_GLOBAL, _bytes(number) + _string(offered) + _bytes(version))
        elif name == "bind":
            self._bind(body)
        elif name == "attach":
            self._attached[target] = _word(body, 0)
        elif name == "commit":
            buffer = self._attached.pop(target, 0)
            if self._objects.get(buffer) == "wl_buffer":
                self._send(buffer, _BUFFER_RELEASE)
        elif name == "get_toplevel":
            # A width and height of 0 leave the size to the server.
            self._send(new, _TOPLEVEL_CONFIGURE, _bytes(0, 0, NO_STATES))
            self._send(target, _SURFACE_CONFIGURE, _bytes(self._next_serial()))

    def _bind(self, body: bytes) -> None:
        """Make the object for a global: its number, its interface as a string, the version, and the new ID."""
        number = _word(body, 0)
        if not 1 <= number <= len(_GLOBALS):
            raise BrokenPeerError(f"wl_registry.bind of global {number}, which is not offered")
        interface, version = _GLOBALS[number - 1]
        name = _bytes(number) + _string(interface)
        if body[: len(name)] != name or len(body) != len(name) + 8 or not 1 <= _word(body, len(name)) <= version:
            raise BrokenPeerError(f"wl_registry.bind of {interface} with wrong arguments")
        new = self._make(_word(body, len(name) + 4), interface)
        if interface == "wl_shm":
            for pixels in _SHM_ARGB8888, _SHM_XRGB8888:  # the two that every compositor has to know
                self._send(new, _SHM_FORMAT, _bytes(pixels))
        elif interface == "wl_output":
            position = physical_size = (0, 0)
            subpixel = transform = 0
            maker = model = _string("none")
            self._send(
                new,
                _OUTPUT_GEOMETRY,
                _bytes(*position, *physical_size, subpixel) + maker + model + _bytes(transform),
            )
            flags = OUTPUT_CURRENT_MODE | OUTPUT_PREFERRED_MODE
            self._send(new, _OUTPUT_MODE, _bytes(flags, *self._size, MILLIHERTZ))
            self._send(new, _OUTPUT_SCALE, _bytes(1))
            self._send(new, _OUTPUT_DONE)

    def _make(self, number: int, interface: str) -> int:
        if not 0 < number < FIRST_SERVER_ID or number in self._objects:
            raise BrokenPeerError(f"a new {interface} with the ID {number}")
        if len(self._objects) == MAX_OBJECTS:
            raise BrokenPeerError(f"more than {MAX_OBJECTS} objects")
        self._objects[number] = interface
        return number

    def _delete(self, number: int) -> None:
        del self._objects[number]
        self._attached.pop(number, None)
        self._send(DISPLAY, _DISPLAY_DELETE_ID, _bytes(number))  # from now on, the server may give the ID again

    def _next_serial(self) -> int:
        self._serial = (self._serial + 1) % (1 << 32)
        return self._serial

    def _send(self, source: int, opcode: int, body: bytes = b"") -> None:
        self._events += _bytes(source, (8 + len(body)) << 16 | opcode) + body


class Link:
    """The compositor's end of the socket pair, which never waits.

    :param descriptor: a stream socket; the caller closes it.
    """

    def __init__(self, descriptor: int, compositor: NullCompositor) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._compositor = compositor
        self._unsent = b""

    @property
    def awaited(self) -> int:
        """The event to poll for: as long as the server does not read, nothing more is read from it."""
        return select.POLLOUT if self._unsent else select.POLLIN

    def advance(self) -> bool:
        """Do what can be done without waiting; return False if the server has gone.

        :raises BrokenPeerError: what it sends makes no sense.
        """
        try:
            if not self._unsent:
                # Buffers come along as descriptors. The kernel closes those that are not asked for (unix(7)).
                data = os.read(self.descriptor, READ_SIZE)
                if not data:
                    return False
                self._unsent = self._compositor.feed(data)
            if self._unsent:
                self._unsent = self._unsent[os.write(self.descriptor, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # the server has ended with unread messages, or closed its end
            return False
        return True


def _word(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 4], sys.byteorder)


def _bytes(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, sys.byteorder) for word in words)


def _string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return _bytes(len(data)) + data + bytes(-len(data) % 4)
