"""A session can be looked at in a VNC viewer, by its owner alone, and until the viewer has gone."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import vnc_client
from tests.support.helpers import ANAHEADLESS, PATIENCE, hanging, holding, is_running, run, shared_memory_of, wait_until

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
