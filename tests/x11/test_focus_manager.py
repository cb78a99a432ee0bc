"""The built-in window manager: windows get the focus and the sizes that they ask for, and other programs find them."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anaheadless.x11 import focus_manager
from anaheadless.x11.client import POINTER_ROOT, Client
from anaheadless.x11.connection import connect
from anaheadless.x11.display_number import socket_path
from tests.support.helpers import PATIENCE, wait_until
from tests.support.windows import Windows, windows
from tests.support.x_servers import Server, x_server

pytestmark = pytest.mark.any_server

ADD, REMOVE, TOGGLE = 1, 0, 2
QT = """\
import sys
from PyQt5.QtCore import Qt
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QApplication, QWidget

def until(condition):
    QTest.qWait(0)
    for _ in range(600):
        if condition():
            return True
        QTest.qWait(50)
    return False

app = QApplication(sys.argv)
screen = app.primaryScreen().geometry()
first, second = QWidget(), QWidget()
first.resize(200, 100)
first.show()
print("first is active:", QTest.qWaitForWindowActive(first, 30000))
second.show()
print("second is active:", QTest.qWaitForWindowActive(second, 30000), first.isActiveWindow())
second.close()
print("first is active again:", QTest.qWaitForWindowActive(first, 30000))
size = first.size()
first.showMaximized()
print("maximised:", until(lambda: first.geometry() == screen and first.isMaximized()))
first.showNormal()
print("normal:", until(lambda: first.size() == size and not first.isMaximized()))
first.showFullScreen()
print("full screen:", until(lambda: first.geometry() == screen and first.isFullScreen()))
shy, last = QWidget(), QWidget()
shy.setAttribute(Qt.WA_ShowWithoutActivating)
shy.show()
QTest.qWaitForWindowExposed(shy)
last.showMaximized()
print("maximised from the start:", until(lambda: last.geometry() == screen and last.isActiveWindow()))
last.close()
print("shown without activating:", QTest.qWaitForWindowActive(first, 30000))
shy.activateWindow()
print("activated:", QTest.qWaitForWindowActive(shy, 30000))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """An X server with the window manager."""
    with x_server("-screen", "0", "800x600x24") as server:
        connection = connect(socket_path(server.number), b"", time.monotonic() + PATIENCE)
        connection.socket.settimeout(None)
        manager = threading.Thread(target=focus_manager.run, args=[Client(connection)])
        manager.start()
        yield server
    manager.join(PATIENCE)
    assert not manager.is_alive(), "it ends with the server"
    connection.socket.close()


@pytest.fixture
def client(server: Server) -> Iterator[Windows]:
    with windows(socket_path(server.number)) as client:
        wait_until(lambda: client.net(client.root, "SUPPORTING_WM_CHECK"), "a window manager")
        yield client
    with windows(socket_path(server.number)) as other:
        wait_until(lambda: other.net(other.root, "CLIENT_LIST") == [], "no windows are left")


def shown(client: Windows, **settings: bool) -> int:
    """A new window that has got the focus."""
    window = client.create(**settings)  # type: ignore[arg-type]
    client.map(window)
    wait_until(lambda: client.net(client.root, "ACTIVE_WINDOW") == [window], "it is active")
    return window


def test_a_new_window_gets_the_focus_and_is_listed(client: Windows) -> None:
    first = shown(client)
    assert client.focused() == first
    assert client.net(client.root, "CLIENT_LIST") == [first]
    second = shown(client)
    assert client.focused() == second
    assert client.net(client.root, "CLIENT_LIST") == [first, second]


@pytest.mark.parametrize("how", ["unmap", "destroy", "take into another"])
def test_the_window_before_gets_the_focus_back(client: Windows, how: str) -> None:
    first, second, third = (shown(client) for _ in range(3))
    client.tell(first, "_NET_ACTIVE_WINDOW", 2)
    wait_until(lambda: client.focused() == first, "it is active")
    if how == "unmap":
        client.unmap(first)
    elif how == "destroy":
        client.destroy(first)
    else:
        client.take_into(second, first)
    wait_until(lambda: client.net(client.root, "ACTIVE_WINDOW") == [third], "the one that had it before")
    assert client.focused() == third
    assert client.net(client.root, "CLIENT_LIST") == [second, third]


def test_without_windows_nothing_is_active(client: Windows) -> None:
    window = shown(client)
    client.destroy(window)
    wait_until(lambda: client.net(client.root, "CLIENT_LIST") == [], "it is gone")
    assert client.net(client.root, "ACTIVE_WINDOW") == [0]
    wait_until(lambda: client.focused() == POINTER_ROOT, "the pointer's window has the focus")


def test_a_menu_is_left_alone(client: Windows) -> None:
    window = shown(client)
    menu = client.create(unmanaged=True)
    client.map(menu)
    last = shown(client)
    assert client.net(client.root, "CLIENT_LIST") == [window, last]


def test_active_is_the_window_that_has_the_focus_whoever_gave_it(client: Windows) -> None:
    first, second = shown(client), shown(client)
    client.focus(first)
    wait_until(lambda: client.net(client.root, "ACTIVE_WINDOW") == [first], "it is active")
    client.focus(POINTER_ROOT)
    wait_until(lambda: client.net(client.root, "ACTIVE_WINDOW") == [0], "none is active")
    client.destroy(first)
    wait_until(lambda: client.net(client.root, "ACTIVE_WINDOW") == [second], "the other one is active")


@pytest.mark.parametrize("user_time", [False, True])
def test_a_window_that_wants_no_focus_gets_none(client: Windows, user_time: bool) -> None:
    window = shown(client)
    shy = client.create()
    if user_time:
        client.set_property(shy, client.intern_atom("_NET_WM_USER_TIME"), 6, [0])
    else:
        client.set_property(shy, focus_manager.WM_HINTS, focus_manager.WM_HINTS, [1, 0, 0, 0, 0, 0, 0, 0, 0])
    client.map(shy)
    wait_until(lambda: client.net(client.root, "CLIENT_LIST") == [window, shy], "it is listed")
    client.tell(window, "_NET_WM_STATE", ADD, *client.states("FULLSCREEN"))  # answered after all that came before
    wait_until(lambda: client.net(window, "WM_STATE"), "the window manager has gone on")
    assert client.focused() == window


def test_a_window_that_takes_the_focus_itself_is_told(client: Windows) -> None:
    window = client.create()
    protocols, take_focus = client.intern_atom("WM_PROTOCOLS"), client.intern_atom("WM_TAKE_FOCUS")
    client.set_property(window, focus_manager.WM_HINTS, focus_manager.WM_HINTS, [1, 0, 0, 0, 0, 0, 0, 0, 0])
    client.set_property(window, protocols, focus_manager.ATOM, [take_focus])
    client.map(window)
    event = client.next_event()
    assert (event[0], *struct.unpack_from("<III", event, 4)) == (0x80 | 33, window, protocols, take_focus)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("MAXIMIZED_VERT", "MAXIMIZED_HORZ"), (0, 0, 800, 600)),
        (("MAXIMIZED_VERT",), (20, 0, 100, 600)),
        (("MAXIMIZED_HORZ",), (0, 30, 800, 50)),
        (("FULLSCREEN",), (0, 0, 800, 600)),
    ],
)
@pytest.mark.parametrize("off", [REMOVE, TOGGLE])
def test_a_window_gets_the_size_it_asks_for_and_its_own_again(
    client: Windows, names: tuple[str, ...], expected: tuple[int, int, int, int], off: int
) -> None:
    window = shown(client)
    own = client.geometry(window)
    assert own == (20, 30, 100, 50)
    states = client.states(*names)
    for on in ADD, TOGGLE:
        client.tell(window, "_NET_WM_STATE", on, *states)
        wait_until(lambda: client.geometry(window) == expected, "it has the size")
        assert sorted(client.net(window, "WM_STATE")) == sorted(states)
        client.tell(window, "_NET_WM_STATE", off, *states)
        wait_until(lambda: client.geometry(window) == own, "it has its own size again")
        assert client.net(window, "WM_STATE") == []


def test_a_window_can_ask_before_it_is_shown(client: Windows) -> None:
    window = client.create()
    client.set_property(window, client.intern_atom("_NET_WM_STATE"), focus_manager.ATOM, client.states("FULLSCREEN"))
    client.map(window)
    wait_until(lambda: client.geometry(window) == (0, 0, 800, 600), "it is full-screen")


def test_windows_that_were_there_first_are_managed_too() -> None:
    with x_server() as server, windows(socket_path(server.number)) as client:
        window, hidden, menu = client.create(), client.create(), client.create(unmanaged=True)
        client.map(window)
        client.map(menu)
        connection = connect(socket_path(server.number), b"", time.monotonic() + PATIENCE)
        connection.socket.settimeout(None)
        manager = threading.Thread(target=focus_manager.run, args=[Client(connection)])
        manager.start()
        wait_until(lambda: client.net(client.root, "SUPPORTING_WM_CHECK"), "a window manager")
        assert client.net(client.root, "CLIENT_LIST") == [window]
        assert client.focused() == window
        client.map(hidden)
        wait_until(lambda: client.focused() == hidden, "it is active")
    manager.join(PATIENCE)
    connection.socket.close()


def test_other_programs_find_the_window_manager(client: Windows) -> None:
    (check,) = client.net(client.root, "SUPPORTING_WM_CHECK")
    assert client.net(check, "SUPPORTING_WM_CHECK") == [check]
    supported = client.net(client.root, "SUPPORTED")
    assert {client.intern_atom(f"_NET_{name}") for name in ("CLIENT_LIST", "ACTIVE_WINDOW", "WM_STATE")} < set(
        supported
    )


def test_events_that_another_client_makes_up_change_nothing(client: Windows) -> None:
    window = shown(client)
    for kind in range(2, 36):
        for values in (window, window, 0), (window, client.root, client.root), (0xFFFFFFFF, 0, window):
            client.send_to_root(struct.pack("<BBHIII16x", kind, 32, 0, *values))
    last = shown(client)
    assert client.net(client.root, "CLIENT_LIST") == [window, last]


def test_qt_sees_a_window_manager(server: Server, client: Windows) -> None:
    environ = {**os.environ, "DISPLAY": server.display, "QT_QPA_PLATFORM": "xcb"}
    command = [sys.executable, "-c", QT]
    output = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=150)
    assert output.stdout.splitlines() == [
        "first is active: True",
        "second is active: True False",
        "first is active again: True",
        "maximised: True",
        "normal: True",
        "full screen: True",
        "maximised from the start: True",
        "shown without activating: True",
        "activated: True",
    ], output


class MadeUpServer:
    """Any answers to a window manager's requests; what it sends is only counted."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self.root, self.width, self.height = 1, 800, 600
        self.numbers = numbers
        self.atoms: dict[str, int] = {}
        self.touched: set[int] = set()

    def intern_atom(self, name: str) -> int:
        return self.atoms.setdefault(name, 100 + len(self.atoms))

    def create_unseen_window(self) -> int:
        return 2

    def is_managed(self, window: int) -> bool:
        return next(self.numbers) % 4 != 0

    def geometry(self, window: int) -> tuple[int, int, int, int] | None:
        number = next(self.numbers)
        return (number, number, 1, 1) if number % 2 else None

    def top_level_windows(self) -> list[int]:
        return [next(self.numbers) for _ in range(next(self.numbers) % 3)]

    def property(self, window: int, name: int, limit: int = 64) -> list[int]:
        self.touched.add(window)
        return [next(self.numbers) + 100 * (next(self.numbers) % 2) for _ in range(next(self.numbers) % 4)]

    def _touch(self, window: int, *_: object) -> None:
        self.touched.add(window)

    focus = select_events = configure = raise_window = set_property = delete_property = send_message = _touch


EVENTS = st.builds(
    lambda kind, detail, words: struct.pack("<BBH7I", kind, detail, 0, *words),
    st.one_of(st.integers(0, 255), st.sampled_from([9, 10, 17, 18, 19, 21, 22, 33 | 0x80])),
    st.sampled_from([0, 1, 2, 3, 4, 5, 32, 255]),
    st.lists(st.one_of(st.integers(0, 10), st.integers(100, 115), st.integers(0, 0xFFFFFFFF)), min_size=7, max_size=7),
)


@settings(max_examples=400)
@given(st.lists(st.one_of(EVENTS, st.binary(min_size=32, max_size=32)), max_size=60), st.randoms(use_true_random=False))
def test_whatever_events_come_it_goes_on(events: list[bytes], random: object) -> None:
    server = MadeUpServer(iter(lambda: random.randrange(12), None))  # type: ignore[attr-defined]
    manager = focus_manager.FocusManager(server)  # type: ignore[arg-type]
    manager.start()
    mapped = {int.from_bytes(event[8:12], "little") for event in events}
    for event in events:
        manager.handle(event)
    assert server.touched <= mapped | set(range(12)) | {POINTER_ROOT}
