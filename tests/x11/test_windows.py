"""The windows of a display, as VirtualDisplay.windows() lists them."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from anaheadless import LaunchError, VirtualDisplay
from anaheadless.x11.authority import find_cookie
from anaheadless.x11.display_number import socket_path
from tests.support.displays import virtual_display
from tests.support.helpers import wait_until
from tests.support.windows import Windows, windows

WM_NAME, STRING = 39, 31  # atoms that the protocol itself defines


@pytest.fixture
def display() -> Iterator[VirtualDisplay]:
    with virtual_display(gl="none", screen="640x480") as display:
        yield display


@pytest.fixture
def client(display: VirtualDisplay) -> Iterator[Windows]:
    with open(display.authority, "rb") as file:
        cookie = find_cookie(file.read(), display.number)
    with windows(socket_path(display.number), cookie) as client:
        yield client


def test_visible_windows_are_listed_with_title_place_and_size(display: VirtualDisplay, client: Windows) -> None:
    assert display.windows() == []
    first, second, hidden, menu = (
        client.create(),
        client.create(size=(7, 5)),
        client.create(),
        client.create(unmanaged=True),
    )
    client.set_property(first, WM_NAME, STRING, "größer".encode("latin-1"))
    client.set_property(second, WM_NAME, STRING, b"not shown where there is another name")
    client.set_property(second, client.intern_atom("_NET_WM_NAME"), client.intern_atom("UTF8_STRING"), "→ ②".encode())
    for window in first, second, menu:
        client.map(window)
    client.unmap(hidden)
    client.intern_atom("a request with an answer: all that came before is done")
    assert [(each.title, each.x, each.y, each.width, each.height) for each in display.windows()] == [
        ("größer", 20, 30, 100, 50),
        ("→ ②", 20, 30, 7, 5),
    ]
    client.destroy(first)
    client.set_property(second, client.intern_atom("_NET_WM_NAME"), STRING, struct.pack("5000s", b""))
    client.intern_atom("a request with an answer: all that came before is done")
    (left,) = display.windows()
    assert len(left.title) == 1024


FRAMED = """
from PyQt5.QtWidgets import QApplication, QWidget
application = QApplication([])
window = QWidget()
window.setWindowTitle("framed")
window.resize(200, 100)
window.show()
application.exec()
"""


@pytest.mark.any_server
@pytest.mark.needs("openbox")
def test_window_in_the_frame_of_a_window_manager_is_listed_without_it(display: VirtualDisplay, client: Windows) -> None:
    settings = {"env": display.environ, "stderr": subprocess.DEVNULL}
    with ExitStack() as stack:
        for command in ["openbox"], [sys.executable, "-c", FRAMED]:
            process = stack.enter_context(subprocess.Popen(command, **settings))  # type: ignore[call-overload]
            stack.callback(process.kill)
            wait_until(lambda: client.net(client.root, "SUPPORTING_WM_CHECK"), "openbox is ready")
        wait_until(lambda: client.net(client.root, "CLIENT_LIST") and display.windows(), "the window is listed")
        (found,) = display.windows()
        assert (found.title, found.width, found.height) == ("framed", 200, 100)
        (window,) = client.net(client.root, "CLIENT_LIST")
        assert window not in client.top_level_windows()


def test_display_that_has_ended_is_reported() -> None:
    with virtual_display(gl="none") as display:
        pass
    with pytest.raises(LaunchError, match=f"can't list the windows of display {display.display}"):
        display.windows()
