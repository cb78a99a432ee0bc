"""The smallest window manager: it gives new windows the input focus, and tells other programs which windows there are.

It draws no frames and moves no windows, but for those that ask to be maximised or full-screen. Windows do not depend on
it: they are mapped without its help, and go on if it has ended.

Sources: Inter-Client Communication Conventions Manual 2.0; Extended Window Manager Hints 1.5, which define the atoms.
"""

from __future__ import annotations

import struct
from contextlib import suppress

from anaheadless.x11.client import POINTER_ROOT, Client

NAME = b"anaheadless"
ATOM, WINDOW, WM_HINTS = 4, 33, 35  # atoms that the protocol itself defines
_ATOMS = (
    *("UTF8_STRING", "WM_PROTOCOLS", "WM_STATE", "WM_TAKE_FOCUS"),
    *("_NET_WM_NAME", "_NET_WM_USER_TIME", "_NET_SUPPORTED"),
    *("_NET_SUPPORTING_WM_CHECK", "_NET_CLIENT_LIST", "_NET_ACTIVE_WINDOW", "_NET_WM_STATE"),
    *("_NET_WM_STATE_MAXIMIZED_HORZ", "_NET_WM_STATE_MAXIMIZED_VERT", "_NET_WM_STATE_FULLSCREEN"),
)
_SUPPORTED = _ATOMS[_ATOMS.index("_NET_SUPPORTING_WM_CHECK") :]
_STATES = ("MAXIMIZED_HORZ", "MAXIMIZED_VERT", "FULLSCREEN")

# The events, and the masks that select them.
FOCUS_IN, FOCUS_OUT, DESTROY_NOTIFY, UNMAP_NOTIFY, MAP_NOTIFY = 9, 10, 17, 18, 19
REPARENT_NOTIFY, CONFIGURE_NOTIFY, CLIENT_MESSAGE = 21, 22, 33
SENT_BY_CLIENT = 0x80
STRUCTURE_NOTIFY, SUBSTRUCTURE_NOTIFY, FOCUS_CHANGE = 1 << 17, 1 << 19, 1 << 21
FOCUS_MODES = (0, 3)  # not of a grab, or of its end
# Where the focus comes from, or goes to: not the root window, nor one of the window's own children.
ANCESTOR, VIRTUAL, INFERIOR, NONLINEAR, NONLINEAR_VIRTUAL = range(5)
GAINED, LOST = range(5), (ANCESTOR, VIRTUAL, NONLINEAR, NONLINEAR_VIRTUAL)

NORMAL_STATE, NO_ICON = 1, 0
INPUT_HINT = 1 << 0
MAX_WINDOWS = 1024  # more are left alone
REMOVE, ADD, TOGGLE = 0, 1, 2


class Window:
    """A window that is managed.

    :param states: the atoms of its states that are on.
    :param before: position and size that it had before the first of these was put on.
    """

    def __init__(self) -> None:
        self.states: list[int] = []
        self.before: tuple[int, int, int, int] | None = None


class FocusManager:
    """The state of the window manager. Each event may change it, and lead to requests."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._atoms = {name: client.intern_atom(name) for name in _ATOMS}
        horizontal, vertical, full = (self._atoms[f"_NET_WM_STATE_{name}"] for name in _STATES)
        self._horizontal, self._vertical, self._full = horizontal, vertical, full
        self._screen = (client.width, client.height)
        self._windows: dict[int, Window] = {}  # in the order in which they were mapped
        self._recent: list[int] = []  # the same, the one that had the focus last comes last
        self._active = 0

    def start(self) -> None:
        """Manage the windows that are there, and tell all clients that there is a window manager."""
        client, atoms = self._client, self._atoms
        client.select_events(client.root, STRUCTURE_NOTIFY | SUBSTRUCTURE_NOTIFY)
        for window in client.top_level_windows():
            self._manage(window)
        self._publish()
        check = client.create_unseen_window()
        client.set_property(check, atoms["_NET_WM_NAME"], atoms["UTF8_STRING"], NAME)
        client.set_property(client.root, atoms["_NET_SUPPORTED"], ATOM, [atoms[name] for name in _SUPPORTED])
        for window in check, client.root:  # the root window last: who waits for a window manager looks there
            client.set_property(window, atoms["_NET_SUPPORTING_WM_CHECK"], WINDOW, [check])

    def handle(self, event: bytes) -> None:
        """Act on an event, whoever has sent it: the 32 bytes that the protocol defines."""
        kind, window = event[0], int.from_bytes(event[8:12], "little")
        if kind == MAP_NOTIFY and not event[12]:
            self._manage(window)
        elif kind == REPARENT_NOTIFY:
            if window in self._windows:
                self._forget(window, exists=True)
            if int.from_bytes(event[12:16], "little") == self._client.root:
                self._manage(window)
        elif kind in (UNMAP_NOTIFY, DESTROY_NOTIFY) and window in self._windows:
            self._forget(window, exists=kind == UNMAP_NOTIFY)
        elif kind == CONFIGURE_NOTIFY and window == self._client.root:
            self._screen = struct.unpack_from("<HH", event, 20)
            for each in self._windows:
                self._place(each)
        elif kind in (FOCUS_IN, FOCUS_OUT) and event[8] in FOCUS_MODES:
            self._note_focus(int.from_bytes(event[4:8], "little"), event[1], gained=kind == FOCUS_IN)
        elif kind == CLIENT_MESSAGE | SENT_BY_CLIENT and event[1] == 32:
            self._handle_message(int.from_bytes(event[4:8], "little"), *struct.unpack_from("<IIII", event, 8))

    def _handle_message(self, window: int, kind: int, first: int, second: int, third: int) -> None:
        if window not in self._windows:
            return
        if kind == self._atoms["_NET_ACTIVE_WINDOW"]:
            self._client.raise_window(window)
            self._focus(window)
        elif kind == self._atoms["_NET_WM_STATE"] and first in (REMOVE, ADD, TOGGLE):
            states = self._windows[window].states
            for state in dict.fromkeys((second, third)):
                if state not in (self._horizontal, self._vertical, self._full):
                    continue
                if state in states and first in (REMOVE, TOGGLE):
                    states.remove(state)
                elif state not in states and first in (ADD, TOGGLE):
                    states.append(state)
            self._client.set_property(window, self._atoms["_NET_WM_STATE"], ATOM, states)
            self._place(window)

    def _manage(self, window: int) -> None:
        """Take a new window over, unless it has gone meanwhile, or is none for a window manager."""
        client, atoms = self._client, self._atoms
        if window in self._windows or len(self._windows) == MAX_WINDOWS or not client.is_managed(window):
            return
        self._windows[window] = managed = Window()
        self._recent.insert(0, window)  # until it gets the focus
        client.select_events(window, FOCUS_CHANGE)
        client.set_property(window, atoms["WM_STATE"], atoms["WM_STATE"], [NORMAL_STATE, NO_ICON])
        asked_for = client.property(window, atoms["_NET_WM_STATE"])
        managed.states = [state for state in (self._horizontal, self._vertical, self._full) if state in asked_for]
        self._place(window)
        self._publish()
        # A user time of 0 says that the window does not want the focus now.
        if client.property(window, atoms["_NET_WM_USER_TIME"], 1) != [0]:
            self._focus(window)

    def _forget(self, window: int, *, exists: bool) -> None:
        del self._windows[window]
        self._recent.remove(window)
        if exists:
            self._client.delete_property(window, self._atoms["WM_STATE"])
        if self._active in (window, 0):
            self._active = 0
            if self._recent:
                self._focus(self._recent[-1])
            else:
                self._client.focus(POINTER_ROOT)
        self._publish()

    def _focus(self, window: int) -> None:
        """Give a window the focus in the way that it wants, see ICCCM 4.1.7."""
        client, atoms = self._client, self._atoms
        hints = client.property(window, WM_HINTS, 2)
        if len(hints) < 2 or not hints[0] & INPUT_HINT or hints[1]:
            client.focus(window)
        if atoms["WM_TAKE_FOCUS"] in client.property(window, atoms["WM_PROTOCOLS"]):
            client.send_message(window, atoms["WM_PROTOCOLS"], (atoms["WM_TAKE_FOCUS"], 0))

    def _note_focus(self, window: int, detail: int, *, gained: bool) -> None:
        if window not in self._windows or detail not in (GAINED if gained else LOST):
            return
        active = self._active
        if gained:
            self._recent.remove(window)
            self._recent.append(window)
            self._active = window
        elif window == active:
            self._active = 0
        if self._active != active:
            self._publish()

    def _place(self, window: int) -> None:
        """Give a window the size of the screen in the directions in which it wants that, and else its own."""
        managed = self._windows[window]
        if managed.states and managed.before is None:
            managed.before = self._client.geometry(window)
        if managed.before is None:  # it has its own size, or has gone
            return
        x, y, width, height = managed.before
        if self._full in managed.states or self._horizontal in managed.states:
            x, width = 0, self._screen[0]
        if self._full in managed.states or self._vertical in managed.states:
            y, height = 0, self._screen[1]
        self._client.configure(window, x, y, width, height)
        if self._full in managed.states:
            self._client.raise_window(window)
        if not managed.states:
            managed.before = None

    def _publish(self) -> None:
        """Tell all clients which windows there are, and which one has the focus."""
        client, atoms = self._client, self._atoms
        client.set_property(client.root, atoms["_NET_CLIENT_LIST"], WINDOW, list(self._windows))
        client.set_property(client.root, atoms["_NET_ACTIVE_WINDOW"], WINDOW, [self._active])


def run(client: Client) -> None:
    """Manage windows until the server ends."""
    with suppress(OSError):
        manager = FocusManager(client)
        manager.start()
        while True:
            manager.handle(client.next_event())
