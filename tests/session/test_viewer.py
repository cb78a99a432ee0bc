"""A session can be looked at in a VNC viewer, by its owner alone, and until the viewer has gone."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from tests.support import vnc_client
from tests.support.browser import Tab, browsing
from tests.support.helpers import (
    ANAHEADLESS,
    PATIENCE,
    PROGRAMS,
    hanging,
    holding,
    is_running,
    run,
    shared_memory_of,
    wait_until,
    write_program,
)

needs_x11vnc = pytest.mark.needs("x11vnc")


class View:
    """``anaheadless view`` that has said how to connect, and its x11vnc."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        self.process = process
        self.said = "".join(process.stdout.readline() for _ in range(5))
        match = re.search(r"vncviewer 127\.0\.0\.1::(\d+)\n  password: (\w{8})\n", self.said)
        assert match, self.said
        self.port, self.password = int(match[1]), match[2]
        (self.server,) = psutil.Process(process.pid).children()

    def end(self) -> tuple[int, str, str]:
        """Exit status, and the last words on stdout and stderr."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, stdout, stderr


@contextlib.contextmanager
def viewing(session: str, **environ: str) -> Iterator[View]:
    command = [ANAHEADLESS, "view", session]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env={**os.environ, **environ}, **pipes) as process:  # type: ignore[call-overload]
        try:
            view = View(process)
            yield view
        finally:
            process.kill()
    wait_until(lambda: not is_running(view.server), "x11vnc has ended")


@needs_x11vnc
@pytest.mark.parametrize(
    ("depth", "pixel", "colour"),
    [(24, 0xFF8001, "#ff8001"), (30, 0x3FF, "#0000ff")],
)
@pytest.mark.server("xvfb")
def test_a_viewer_sees_the_screen_of_a_program_that_hangs(depth: int, pixel: int, colour: str, tmp_path: Path) -> None:
    (tmp_path / ".x11vncrc").write_text("-nonsense\n")
    with (
        hanging("--screen", f"321x123x{depth}", pixel=pixel) as process,
        viewing(str(process.pid), HOME=str(tmp_path)) as view,
        vnc_client.connect(view.port, view.password) as viewer,
    ):
        width, height, colours = vnc_client.look(viewer)
        assert (width, height) == (321, 123)
        assert colour in colours
        viewer.close()
        assert view.end() == (0, "The viewer was closed.\n", "")
        assert process.poll() is None


@needs_x11vnc
@pytest.mark.server("xvfb", "xwayland", "xvnc")
def test_others_are_kept_out() -> None:
    with holding("--gl", "none", "--screen", "64x48") as session, viewing(session.display) as view:
        addresses = {each.laddr.ip for each in view.server.net_connections("inet") if each.status == "LISTEN"}
        assert {"127.0.0.1"} <= addresses <= {"127.0.0.1", "::1"}  # as it was built
        for process in view.server, psutil.Process(view.process.pid):
            assert view.password not in str((process.cmdline(), process.environ()))
        for wrong in "", view.password[:-1], view.password.swapcase():
            with pytest.raises(vnc_client.WrongPasswordError):
                vnc_client.connect(view.port, wrong)
        with vnc_client.connect(view.port, view.password) as viewer:
            vnc_client.look(viewer)
            with pytest.raises((AssertionError, ConnectionError)):  # it is good for once
                vnc_client.connect(view.port, view.password)
            assert shared_memory_of(view.server) == []
        assert view.end() == (0, "The viewer was closed.\n", "")


@needs_x11vnc
@pytest.mark.parametrize("connected", [False, True])
def test_the_view_ends_with_the_session(connected: bool) -> None:
    with holding("--gl", "none") as session, viewing(session.display) as view:
        assert f"To see display {session.display}, " in view.said
        assert f"ssh -L {view.port}:127.0.0.1:{view.port} {socket.gethostname()}\n" in view.said
        with vnc_client.connect(view.port, view.password) if connected else contextlib.nullcontext():
            session.process.kill()
            assert view.end() == (0, "The session has ended.\n", "")


@needs_x11vnc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_view(number: signal.Signals) -> None:
    with holding("--gl", "none") as session, viewing(session.display) as view:
        view.process.send_signal(number)
        assert view.end() == (-number, "", "")
        wait_until(lambda: not is_running(view.server), "x11vnc has ended")
        assert is_running(session.target)


@needs_x11vnc
def test_a_killed_vnc_server_is_said() -> None:
    with holding("--gl", "none") as session, viewing(session.display) as view:
        view.server.kill()
        status, _, stderr = view.end()
        assert status == 125
        assert "x11vnc failed" in stderr


def stand_in(folder: Path, lines: str) -> dict[str, str]:
    """An environment with an x11vnc that is a shell script."""
    program = folder / "x11vnc"
    program.write_text(f"#!/bin/sh\n{lines}\n")
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("echo it is broken >&2; exit 1", "x11vnc did not start"),
        ("echo it is broken >&2; echo nonsense", "x11vnc did not start"),
        ("echo PORT=5901; exit 0", "no viewer connected"),
    ],
)
def test_a_vnc_server_that_fails_is_quoted(lines: str, complaint: str, tmp_path: Path) -> None:
    with holding("--gl", "none") as session:
        output = run("view", session.display, env=stand_in(tmp_path, lines))
    assert output.returncode == 125
    assert complaint in output.stderr
    assert ("it is broken" in output.stderr) == ("it is broken" in lines)


def test_a_missing_vnc_server_is_said_with_its_package(tmp_path: Path) -> None:
    with holding("--gl", "none") as session:
        output = run("view", session.display, env={**os.environ, "PATH": str(tmp_path)})
    assert (output.returncode, output.stdout) == (125, "")
    assert "x11vnc is not installed" in output.stderr
    assert "install x11vnc" in output.stderr


def test_view_says_that_there_is_no_session() -> None:
    output = run("view", ":1")
    assert (output.returncode, output.stdout) == (125, "")
    assert "there is no session :1" in output.stderr


needs_novnc = pytest.mark.skipif(not os.path.exists("/usr/share/novnc/vnc.html"), reason="noVNC is not installed")
needs_websockify = pytest.mark.needs("x11vnc", "websockify")


@contextlib.contextmanager
def viewing_in_browser(session: str, **environ: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``anaheadless view --web`` that has said which page to open, and that page."""
    command = [ANAHEADLESS, "view", "--web", session]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env={**os.environ, **environ}, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout
            said = "".join(process.stdout.readline() for _ in range(4))
            match = re.search(r"open this page .*\n  (http://127\.0\.0\.1:(\d+)/vnc\.html#.*)\n", said)
            assert match, said
            assert f"ssh -L {match[2]}:127.0.0.1:{match[2]} " in said
            children = psutil.Process(process.pid).children()
            assert len(children) == 2
            yield process, match[1]
        finally:
            process.kill()
    wait_until(lambda: not any(map(is_running, children)), "x11vnc and websockify have ended")


def colour_in_the_middle(tab: Tab) -> str:
    return str(
        tab.evaluate(
            "(() => { const c = document.querySelector('canvas'); return c && c.width > 300 ?"
            " String(c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data) : '' })()"
        )
    )


@needs_websockify
@needs_novnc
@pytest.mark.needs("chromium")
def test_a_browser_shows_the_program_and_controls_it(tmp_path: Path) -> None:
    command = [
        ANAHEADLESS,
        "run",
        "--gl",
        "none",
        "--wm",
        "focus",
        "--screen",
        "400x300",
        str(PROGRAMS / "echo_input.py"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout
            assert program.stdout.readline() == "active\n"
            with viewing_in_browser(str(program.pid)) as (view, address):
                with browsing(address, tmp_path) as tab:
                    wait_until(lambda: colour_in_the_middle(tab) == "10,200,30,255", "the picture is seen")
                    place = tab.evaluate("document.querySelector('canvas').getBoundingClientRect().toJSON()")
                    tab.click(place["x"] + place["width"] / 4, place["y"] + place["height"] / 3)
                    assert program.stdout.readline() == "click 100 100\n"
                    tab.press("a")
                    assert program.stdout.readline() == "key a\n"
                assert view.communicate(timeout=PATIENCE) == ("The viewer was closed.\n", "")
            assert view.returncode == 0
        finally:
            program.kill()


@contextlib.contextmanager
def calling(address: str, token: str) -> Iterator[bytes]:
    """What the server answers to somebody who wants to speak VNC, while they stay."""
    headers = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary"
    key = base64.b64encode(bytes(16)).decode()
    with socket.create_connection(("127.0.0.1", urlsplit(address).port), timeout=PATIENCE) as peer:
        peer.sendall(f"GET /websockify{token} HTTP/1.1\r\n{headers}\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        try:
            said = peer.recv(1000)
        except ConnectionError:
            said = b""
        yield said


@needs_websockify
@needs_novnc
def test_only_who_has_the_page_is_let_in_and_nothing_outlives_the_view() -> None:
    with holding("--gl", "none") as session, viewing_in_browser(session.display) as (view, address):
        secrets = parse_qs(urlsplit(address).fragment)
        token, password = secrets["path"][0].partition("token=")[2], secrets["password"][0]
        process = psutil.Process(view.pid)
        for each in process, *process.children():
            assert not [word for word in (token, password) if word in str((each.cmdline(), each.environ()))]
            addresses = {open_.laddr.ip for open_ in each.net_connections("inet") if open_.status == "LISTEN"}
            assert addresses <= {"127.0.0.1", "::1"}
        for wrong in "", "?token=", f"?token={token[:-1]}", f"?token={token.swapcase()}":
            with calling(address, wrong) as said:
                assert not said.startswith(b"HTTP/1.1 101 ")
        idle = socket.create_connection(("127.0.0.1", urlsplit(address).port), timeout=PATIENCE)
        with idle, calling(address, f"?token={token}") as said:
            assert said.startswith(b"HTTP/1.1 101 ")
            idle.sendall(b"GET /vnc.html HTTP/1.1\r\n\r\n")
            assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")  # and a browser keeps such connections open
            descendants = process.children(recursive=True)
            assert len(descendants) > 3
            view.kill()
            wait_until(lambda: not any(map(is_running, descendants)), "all have ended")


@pytest.mark.needs("x11vnc")
@needs_novnc
def test_a_websockify_that_fails_is_quoted(tmp_path: Path) -> None:
    write_program(tmp_path / "websockify", "echo it is broken >&2; exit 1")
    with holding("--gl", "none") as session:
        path = f"{tmp_path}:{os.environ['PATH']}"
        output = run("view", "--web", session.display, env={**os.environ, "PATH": path})
    assert output.returncode == 125
    assert f"websockify has ended: {tmp_path}/websockify\n  | it is broken\n" in output.stderr


def test_a_missing_websockify_is_said_with_its_package(tmp_path: Path) -> None:
    with holding("--gl", "none") as session:
        output = run("view", "--web", session.display, env={**os.environ, "PATH": str(tmp_path)})
    assert (output.returncode, output.stdout) == (125, "")
    assert "a view in the browser needs what is not installed: websockify" in output.stderr
    assert "apt-get install websockify" in output.stderr
