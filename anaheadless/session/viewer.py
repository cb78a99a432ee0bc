"""A display in a VNC viewer or a browser: an installed x11vnc serves it until the viewer has gone."""

from __future__ import annotations

import os
import re
import secrets
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

from anaheadless.errors import LaunchError
from anaheadless.session import protocol, web_viewer
from anaheadless.session.discovery import LiveSession
from anaheadless.session.start import SERVER_ENVIRONMENT
from anaheadless.system import processes
from anaheadless.system.memfile import memory_file
from anaheadless.system.programs import find_program

FIRST_PORT = 5901  # a Mac that is the near end of a tunnel may have 5900 for itself
START_SECONDS = 20.0
VIEWER_MINUTES = 10
END_SECONDS = 1.0
LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that looks like another one


def command(program: str, password_file: str) -> list[str]:
    """Build the command line of x11vnc, *program*, for one viewer on this machine that knows the password."""
    return [
        *(program, "-norc", "-localhost", "-noipv6", "-no6", "-nolookup"),
        *("-autoport", str(FIRST_PORT), "-passwdfile", password_file),
        *("-once", "-timeout", str(60 * VIEWER_MINUTES)),
        "-noshm",  # others could look into that, and it would outlive a SIGKILL
        *("-safer", "-repeat"),  # nothing is run, and nothing set, that would have to be undone
    ]


def invitation(display: str, port: int, password: str, host: str, address: str = "") -> str:
    """Say how to connect: here, and from elsewhere to this *host*; with the *address* of a page, in a browser."""
    how = address or f"vncviewer 127.0.0.1::{port}\n  password: {password}"
    return f"""\
To see display {display}, {"open this page" if address else "connect"} within {VIEWER_MINUTES} minutes (once):
  {how}
From another machine, first:
  ssh -L {port}:127.0.0.1:{port} {host}"""


def show(session: LiveSession, environ: Mapping[str, str], tell: Callable[[str], None], web: bool = False) -> str:
    """Serve the display of *session* until the viewer has gone, or the session has ended; say which.

    :param tell: is given the invitation.
    :param web: whether the viewer is noVNC, in a browser.
    :raises LaunchError: what this needs is missing, does not start or fails, or nobody has come.
    """
    search = os.get_exec_path(environ)
    parts = web_viewer.find(search) if web else None
    program = find_program("x11vnc", search)
    if program is None:
        from anaheadless import packages

        raise packages.not_installed("x11vnc", search)
    program = os.path.abspath(program)
    inherited = {name: environ[name] for name in SERVER_ENVIRONMENT if name in environ}
    authority = f"/proc/{session.keeper}/fd/{protocol.COOKIE}"
    start = processes.state(session.keeper)[1]
    # Of a VNC password, eight characters count.
    password = "".join(secrets.choice(LETTERS) for _ in range(8))
    with memory_file("password") as secret, memory_file("messages") as messages:
        secret.write(f"{password}\n".encode())
        with subprocess.Popen(
            # A file that has a size: with a pipe, x11vnc takes no password, and crashes.
            command(program, f"/proc/{os.getpid()}/fd/{secret.fileno()}"),
            env={**processes.environment_for(program, inherited), "DISPLAY": session.display, "XAUTHORITY": authority},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=messages,
            preexec_fn=partial(processes.die_with, os.getpid()),
        ) as server:
            try:
                port = _read_port(server)
                if port is not None:
                    host = os.uname().nodename
                    with web_viewer.serving(parts, port, password, inherited) if parts else nullcontext() as page:
                        if page:
                            tell(invitation(session.display, page.port, password, host, page.address))
                        else:
                            tell(invitation(session.display, port, password, host))
                        _await_end([server, *([page.server] if page else [])], session.keeper, start)
            finally:
                server.kill()
        said = os.pread(messages.fileno(), 1 << 20, 0)
    if not processes.is_alive(session.keeper, start):
        return "The session has ended."
    if port is None or server.returncode:
        raise LaunchError(
            f"x11vnc {'did not start' if port is None else 'failed'}: {program}",
            details=tuple(said.decode(errors="replace").splitlines()[:12]) or ("(it said nothing)",),
            hint=f"Check that the display still answers: anaheadless screenshot {session.display} FILE.png",
        )
    if b"viewer exited" not in said:
        raise LaunchError(f"no viewer connected within {VIEWER_MINUTES} minutes", hint="Run anaheadless view again.")
    return "The viewer was closed."


def _read_port(server: subprocess.Popen[bytes]) -> int | None:
    """Return the port that x11vnc listens on, or None when it says none within START_SECONDS."""
    assert server.stdout
    poll = select.poll()
    poll.register(server.stdout, select.POLLIN)
    said, deadline = b"", time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        more = os.read(server.stdout.fileno(), 256) if poll.poll(100) else None
        if more == b"":
            return None
        said += more or b""
        match = re.search(rb"PORT=(\d+)\n", said)
        if match:
            return int(match[1])
    return None


def _await_end(servers: Sequence[subprocess.Popen[bytes]], keeper_pid: int, start: str) -> None:
    """Wait until x11vnc, the first of *servers*, another one, or the session has ended.

    Where it is the X server that has ended, wait for the end of the session.
    """
    server = servers[0]
    assert server.stdout
    poll = select.poll()
    poll.register(server.stdout, 0)  # that is, until it is closed
    pidfd = processes.open_pidfd(keeper_pid)
    if pidfd is not None:
        poll.register(pidfd, select.POLLIN)
    while processes.is_alive(keeper_pid, start) and all(each.poll() is None for each in servers):
        poll.poll(1000)
    deadline = time.monotonic() + END_SECONDS
    while server.poll() and processes.is_alive(keeper_pid, start) and time.monotonic() < deadline:
        time.sleep(0.01)
