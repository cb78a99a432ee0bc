"""noVNC in a browser: an installed websockify serves its page, and connects that to a VNC server."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlencode

from anaheadless.errors import LaunchError
from anaheadless.system import processes
from anaheadless.system.light_stdlib import Record, signal
from anaheadless.system.memfile import memory_file
from anaheadless.system.programs import find_program

PORTS = range(6080, 6180)
PAGE = "vnc.html"
END_SECONDS = 3.0


class Parts(Record):
    """What is installed: the program websockify, and the folder of noVNC."""

    websockify: str
    folder: str


class Page(Record):
    """A page that is being served.

    :param address: for the browser. What follows the # stays there: the page's server does not see it.
    """

    port: int
    address: str
    server: subprocess.Popen[bytes]


def find(search: Sequence[str]) -> Parts:
    """Find websockify in the folders *search*, and noVNC beside it or in /usr/share.

    :raises LaunchError: one of them is not installed.
    """
    program = find_program("websockify", search)
    beside = [os.path.dirname(os.path.dirname(os.path.abspath(program)))] if program else []
    folders = [f"{prefix}/share/novnc" for prefix in (*beside, "/usr")]
    folder = next((each for each in folders if os.path.isfile(f"{each}/{PAGE}")), None)
    if program and folder:
        return Parts(os.path.abspath(program), folder)
    from anaheadless import packages

    missing = [part for part, found in (("websockify", program), ("novnc", folder)) if not found]
    raise LaunchError(
        f"a view in the browser needs what is not installed: {' and '.join(missing)}",
        details=(f"PATH: {os.pathsep.join(search)}",) if not program else (),
        hint=packages.install_hint(*missing),
    )


@contextmanager
def serving(parts: Parts, vnc_port: int, password: str, environ: Mapping[str, str]) -> Iterator[Page]:
    """Serve the page to this machine; who knows its token is connected to *vnc_port*.

    :raises LaunchError: there is no free port, or websockify has ended on its own by the end of the block.
    """
    token = secrets.token_urlsafe(16)
    with _listener() as listener, memory_file("token") as tokens, memory_file("messages") as messages:
        tokens.write(f"{token}: 127.0.0.1:{vnc_port}\n".encode())
        port = listener.getsockname()[1]
        values = {"path": f"websockify?token={token}", "password": password, "autoconnect": "true", "resize": "scale"}
        address = f"http://127.0.0.1:{port}/{PAGE}#{urlencode(values)}"
        command = [
            *(parts.websockify, "--inetd", "--web", parts.folder),
            *("--token-plugin", "TokenFile", "--token-source", f"/proc/{os.getpid()}/fd/{tokens.fileno()}"),
        ]
        with subprocess.Popen(
            command,
            cwd="/",  # a self.pem in the current folder would be its certificate
            env=processes.environment_for(parts.websockify, environ),
            stdin=listener.fileno(),
            stdout=messages,
            stderr=messages,
            # On SIGTERM, it ends its own processes first, one for each connection.
            preexec_fn=partial(processes.die_with, os.getpid(), signal.SIGTERM),
        ) as server:
            try:
                yield Page(port, address, server)
                failed = server.poll() is not None
            finally:
                server.terminate()
                try:
                    server.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    server.kill()
        if failed:
            said = os.pread(messages.fileno(), 1 << 20, 0).decode(errors="replace")
            raise LaunchError(
                f"websockify has ended: {parts.websockify}",
                details=tuple(said.splitlines()[-12:]) or ("(it said nothing)",),
                hint="Without --web, a VNC viewer can connect.",
            )


def _listener() -> socket.socket:
    """Return a socket that listens on the first free port of this machine alone."""
    for port in PORTS:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for a port that a view has just left
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError as error:
            listener.close()
            reason = error
        else:
            return listener
    raise LaunchError(
        f"no port is free for the browser, from {PORTS[0]} to {PORTS[-1]}: {reason.strerror}",
        hint="Close other views, or use a VNC viewer, without --web.",
    )
