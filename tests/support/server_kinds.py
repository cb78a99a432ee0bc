"""X servers of every kind, started by their command lines as the keeper would start them."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from anaheadless.system.memfile import memory_file
from anaheadless.x11 import authority, display_number
from anaheadless.x11.null_compositor import Link, NullCompositor
from anaheadless.x11.servers import xwayland
from anaheadless.x11.servers.kind import ServerCall, ServerKind, find
from tests.support.helpers import PATIENCE


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready.

    :param messages: the file with its output.
    :param compositor: the compositor's end of its socket pair, where it has one.
    """

    number: int
    cookie: bytes
    process: psutil.Process
    environ: dict[str, str]
    messages: Path
    compositor: socket.socket | None


def installed(kind: ServerKind) -> str:
    """The program of *kind*; without it, the test is skipped."""
    program = find(kind, os.environ)
    if program is None:
        pytest.skip(f"{kind.name} is not installed")
    return program


@contextmanager
def running(kind: ServerKind, call: ServerCall, folder: Path) -> Iterator[RunningServer]:
    """A server of *kind*, on a display number of its own, until the end of the block; *folder* is for its files.

    The program and the number in *call* do not matter.
    """
    call = call.replace(program=installed(kind))
    with ExitStack() as stack:
        claim = display_number.claim()
        stack.callback(claim.release)
        cookie, messages = os.urandom(16), folder / "messages"
        entries = authority.authority(claim.number, cookie, os.uname().nodename)
        (folder / "authority").write_bytes(entries)
        inherited = {1: stack.enter_context(messages.open("wb")).fileno()}
        inherited[kind.descriptors.cookie] = stack.enter_context((folder / "authority").open("rb")).fileno()
        inherited.update(zip(kind.descriptors.listeners, (each.fileno() for each in claim.listeners)))
        ready, inherited[kind.descriptors.ready] = os.pipe()
        stack.callback(os.close, ready)
        compositor = None
        if kind.descriptors.compositor is not None:
            call = call.replace(knows_geometry=xwayland.knows_geometry(call.program))
            compositor, theirs = stack.enter_context(composing(call))
            inherited[kind.descriptors.compositor] = theirs.fileno()
        if kind.configure:
            assert kind.descriptors.configuration is not None
            configuration = stack.enter_context(memory_file("configuration"))
            configuration.write(kind.configure(call.screen).encode())
            inherited[kind.descriptors.configuration] = configuration.fileno()
        if kind.descriptors.vnc:
            vnc = stack.enter_context(socket.socket(socket.AF_UNIX))
            vnc.bind("")  # a name that the kernel chooses
            vnc.listen()
            inherited.update(dict.fromkeys(kind.descriptors.vnc, vnc.fileno()))
        process = spawn(kind.command(call.replace(number=claim.number)), kind, inherited)
        try:
            os.close(inherited[kind.descriptors.ready])
            if kind.descriptors.compositor is not None:
                theirs.close()
            assert select.select([ready], [], [], PATIENCE)[0], "it is not ready"
            assert os.read(ready, 16).startswith(b"%d" % claim.number), messages.read_text()
            environ = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
            environ.update(DISPLAY=f":{claim.number}", XAUTHORITY=str(folder / "authority"))
            yield RunningServer(claim.number, cookie, process, environ, messages, compositor)
        finally:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE)


def spawn(command: list[str], kind: ServerKind, inherited: dict[int, int]) -> psutil.Process:
    """Start a server with the descriptors that it inherits: their numbers there, and here."""
    environ = {name: value for name, value in os.environ.items() if name not in ("LD_LIBRARY_PATH", "DISPLAY")}
    environ.update(kind.variables)
    # Socket activation is for the process that LISTEN_PID names: only the shell knows its PID before it becomes that.
    activation = f"export LISTEN_FDS={kind.activation} LISTEN_PID=$$; " if kind.activation else ""
    shell = [shutil.which("sh") or "/bin/sh", "-c", f'{activation}exec "$@"', "sh", *command]
    with ExitStack() as stack:
        copies = {}
        for number, descriptor in inherited.items():
            copies[number] = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 32)  # out of the way of all the numbers
            stack.callback(os.close, copies[number])
        copies.setdefault(0, stack.enter_context(open(os.devnull)).fileno())
        copies[2] = copies[1]
        actions = [(os.POSIX_SPAWN_DUP2, copy, number) for number, copy in copies.items()]
        return psutil.Process(os.posix_spawn(shell[0], shell, environ, file_actions=actions))


@contextmanager
def composing(call: ServerCall) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A null compositor that works until its server has gone: its own end of the socket pair, and the server's."""
    ours, theirs = socket.socketpair()
    link = Link(ours.fileno(), NullCompositor(call.screen.width, call.screen.height))

    def work() -> None:
        while True:
            poll = select.poll()
            poll.register(link.descriptor, link.awaited)
            poll.poll()
            if not link.advance():
                break

    with ours, theirs:
        thread = threading.Thread(target=work)
        thread.start()
        yield ours, theirs
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the server keeps its socket"


def output(server: RunningServer, *command: str) -> str:
    settings = {"capture_output": True, "text": True, "timeout": 60, "check": True}
    return str(subprocess.run(command, env=server.environ, **settings).stdout)  # type: ignore[call-overload]
