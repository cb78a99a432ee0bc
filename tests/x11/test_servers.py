"""Each kind of X server: its command line, and what a real server makes of it. The keeper has no part in this."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anaheadless.opengl import rendercheck
from anaheadless.options import MAX_SIDE, Screen
from anaheadless.x11 import server_process
from anaheadless.x11.connection import RefusedError, connect
from anaheadless.x11.display_number import abstract_name, socket_path
from anaheadless.x11.servers import xorg, xvfb, xwayland
from anaheadless.x11.servers.choice import KINDS
from anaheadless.x11.servers.kind import ServerCall, ServerKind, find
from tests.support.helpers import PATIENCE, run
from tests.support.server_kinds import installed, output, running

pytestmark = pytest.mark.any_server

SILENCE = 2.0
CALL = ServerCall("", 0, Screen(640, 480))
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@every_kind
def test_the_users_own_arguments_have_the_last_word(kind: ServerKind) -> None:
    call = ServerCall("/bin/X", 2000, Screen(), dpi=96, extra=("-dpi", "7"))
    command = kind.command(call)
    assert command[:2] == ["/bin/X", ":2000"]
    without = kind.command(call.replace(extra=()))
    at = next(index for index, word in enumerate(command) if without[index : index + 1] != [word])
    assert command[at : at + 2] == ["-dpi", "7"]
    assert command[at + 2 :] in ([], ["-inetd"])
    assert without[without.index("-dpi") + 1] == "96"


@every_kind
def test_glx_is_left_out_on_request(kind: ServerKind) -> None:
    assert "GLX" not in kind.command(CALL)
    command = kind.command(CALL.replace(glx=False))
    assert command[command.index("-extension") + 1] == "GLX"


def test_xvfb_is_called_as_ever() -> None:
    call = ServerCall("/bin/Xvfb", 2000, Screen(), None, activate=True)
    assert xvfb.command(call) == [
        *("/bin/Xvfb", ":2000", "-screen", "0", "1280x1024x24", "-auth", "/proc/self/fd/5", "-displayfd", "9"),
        *("-nolisten", "tcp", "-noreset"),
    ]
    assert "-displayfd" not in xvfb.command(call.replace(activate=False))


def sizes() -> list[tuple[ServerKind, Screen]]:
    """Screens of each kind: the smallest, the widest and the highest, odd ones, and each depth."""
    found = []
    for kind in KINDS:
        (left, top), (right, bottom) = kind.smallest, kind.largest
        for width, height in (left, top), (right, top), (left, bottom), (1367, 771), (left + 2, top + 1):
            found.append((kind, Screen(width, height)))
        found += [(kind, Screen(640, 480, depth)) for depth in kind.depths if depth != Screen.depth]
    return found


@pytest.mark.needs("xdpyinfo")
@pytest.mark.parametrize(("kind", "screen"), sizes(), ids=lambda value: getattr(value, "name", str(value)))
def test_screen_has_exactly_the_size_and_depth(kind: ServerKind, screen: Screen, tmp_path: Path) -> None:
    assert kind.can_make(screen)
    with running(kind, CALL.replace(screen=screen), tmp_path) as server:
        text = output(server, "xdpyinfo")
        assert re.search(rf"dimensions: +{screen.width}x{screen.height} pixels", text), text
        assert re.search(rf"depth of root window: +{screen.depth} planes", text), text
        assert bool(re.search(r"^    GLX$", text, re.M)) or screen.depth == 8


def test_what_a_kind_can_not_make_is_known() -> None:
    assert not xwayland.KIND.can_make(Screen(640, 480, 16))
    assert not xorg.KIND.can_make(Screen(255, 128))
    assert not xorg.KIND.can_make(Screen(256, 127))
    assert all(kind.can_make(Screen()) for kind in KINDS)
    assert not any(kind.can_make(Screen(MAX_SIDE + 1, 1)) for kind in KINDS)


@every_kind
@pytest.mark.needs("xdpyinfo")
@pytest.mark.parametrize("dpi", [96, 123])
def test_dpi_is_exact(kind: ServerKind, dpi: int, tmp_path: Path) -> None:
    with running(kind, CALL.replace(screen=Screen(1270, 1270), dpi=dpi), tmp_path) as server:
        found = re.search(r"dimensions: .*\((\d+)x(\d+) millimeters\)", output(server, "xdpyinfo"))
        assert found
        assert all(abs(int(size) - 1270 * 25.4 / dpi) < 1 for size in found.groups()), found[0]


@every_kind
def test_opengl_draws_a_picture(kind: ServerKind, tmp_path: Path) -> None:
    with running(kind, CALL, tmp_path) as server:
        program = [sys.executable, "-s", "-S", rendercheck.__file__, "60", ""]
        found = run(*program[1:], command=program[0], env=server.environ)
        assert "result: drawn\n" in found.stdout, found
        assert "direct: yes\n" in found.stdout
        assert re.search("^renderer: (llvmpipe|softpipe)", found.stdout, re.M), found.stdout


@every_kind
def test_clients_need_the_cookie(kind: ServerKind, tmp_path: Path) -> None:
    with running(kind, CALL, tmp_path) as server:
        for address in abstract_name(server.number), socket_path(server.number):
            deadline = time.monotonic() + PATIENCE
            connect(address, server.cookie, deadline).socket.close()
            for wrong in b"", bytes(16):
                with pytest.raises(RefusedError):
                    connect(address, wrong, deadline)


@every_kind
def test_nothing_listens_but_the_display_s_own_sockets(kind: ServerKind, tmp_path: Path) -> None:
    with running(kind, CALL, tmp_path) as server:
        everything = [server.process, *server.process.children(recursive=True)]
        connections = [each for process in everything for each in process.net_connections("all")]
        assert [each for each in connections if each.family != socket.AF_UNIX] == []
        own = socket_path(server.number)
        names = {str(each.laddr).lstrip("@\0") for each in connections if each.laddr}
        assert own in names
        # One more, of Xvnc, has a name of five digits by the kernel.
        others = {name for name in names if name != own}
        assert all(re.fullmatch("[0-9a-f]{5}", name) for name in others), others
        assert len(others) == (1 if kind.name == "xvnc" else 0)


@every_kind
def test_nothing_is_left_when_it_is_killed(kind: ServerKind, tmp_path: Path) -> None:
    with running(kind, CALL, tmp_path) as server:
        number = server.number
    for path in server_process.lock_path(str(number)), socket_path(number), f"/tmp/.tX{number}-lock":
        assert not os.path.lexists(path)
    assert not list(Path("/tmp").glob(f"server-{number}*"))


def test_the_socket_of_xvnc_opens_to_nobody(tmp_path: Path) -> None:
    kind = next(each for each in KINDS if each.name == "xvnc")
    with running(kind, CALL, tmp_path) as server:
        # The server knows no password, and offers nothing that needs none.
        addresses = (str(each.laddr) for each in server.process.net_connections("unix"))
        name = next(address for address in addresses if re.fullmatch("[@\0][0-9a-f]{5}", address))
        with socket.socket(socket.AF_UNIX) as viewer:
            viewer.settimeout(SILENCE)
            viewer.connect("\0" + name[1:])
            viewer.sendall(b"RFB 003.008\n")
            received = b""
            with suppress(socket.timeout):  # TigerVNC 1.15 says nothing more
                while len(received) < 14 and (chunk := viewer.recv(1 << 12)):
                    received += chunk
        assert received[:4] in (b"RFB ", b"")
        assert received[12:] in (b"\1\2", b""), "one way in: a password (2)"


@pytest.mark.needs("xrandr")
def test_xwayland_changes_its_size_on_request(tmp_path: Path) -> None:
    if not xwayland.knows_geometry(installed(xwayland.KIND)):
        pytest.skip("this Xwayland (22.1) can't")
    with running(xwayland.KIND, CALL.replace(screen=Screen(1280, 1024)), tmp_path) as server:
        output(server, "xrandr", "-s", "640x480")
        assert "dimensions:    640x480 pixels" in output(server, "xdpyinfo")


def test_xwayland_ends_with_its_compositor(tmp_path: Path) -> None:
    """So it does not outlive its keeper, whatever ends that."""
    with running(xwayland.KIND, CALL, tmp_path) as server:
        assert server.compositor
        server.compositor.shutdown(socket.SHUT_RDWR)
        assert server.process.wait(PATIENCE) != -signal.SIGKILL


def test_xorg_s_driver_is_required(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "Xorg"
    program.write_text("")
    program.chmod(0o755)
    kind = xorg.KIND.replace(programs=("Xorg",), modules=(str(tmp_path / "dummy_drv.so"),))
    environ = {"PATH": str(tmp_path)}
    assert find(kind, environ) is None
    (tmp_path / "dummy_drv.so").touch()
    assert find(kind, environ) == str(program)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("echo '-geometry WxH   set Xwayland window size when rootful' >&2", True),
        ("echo '-shm   use shared memory' >&2", False),
        ("exit 1", False),
        ("yes -- -geometry", True),
    ],
)
def test_an_xwayland_is_asked_for_its_options(lines: str, expected: bool, tmp_path: Path) -> None:
    program = tmp_path / "Xwayland"
    program.write_text(f"#!/bin/sh\n{lines}\n")
    program.chmod(0o755)
    assert xwayland.knows_geometry(str(program)) == expected


def test_the_options_of_a_real_xwayland_are_found_in_its_file() -> None:
    program = installed(xwayland.KIND)
    printed = subprocess.run([program, "-help"], capture_output=True, text=True, check=False)
    assert xwayland.knows_geometry(program) == ("-geometry WxH" in printed.stdout + printed.stderr)


@given(st.binary(max_size=30))
@example(b"")
@example(b"        -1\n")
@example(b"9" * 30)
def test_any_file_is_a_lock_of_ours_or_not(folder: Path, text: bytes) -> None:
    lock = folder / "lock"
    lock.write_bytes(text)
    assert not server_process.is_locked_by(str(lock), 999999999)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parsers")
