"""A slot, as the mapper sees it: a worker in a session of its own, and the item that it runs."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from anaheadless.batch import display, messages, worker
from anaheadless.batch.display import Display
from anaheadless.batch.items import Item
from anaheadless.batch.program import Program
from anaheadless.batch.signals import HANDLED
from anaheadless.errors import LIMITS_HINT, LaunchError
from anaheadless.launch import run as launch
from anaheadless.launch.run import Role
from anaheadless.launch.target import Target
from anaheadless.options import Options
from anaheadless.session import discovery
from anaheadless.system import processes

_IN_SLOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "in_slot.py")


@dataclass
class Attempt:
    """An item that a slot runs.

    :param tries: which try this is, from 1 on.
    :param paths: where what it says goes: standard output, standard error.
    :param phase: what is waited for, see :mod:`anaheadless.batch.local`; and until when, *due*.
    :param cause: why it is being ended: ``timeout`` or ``stop``; or nothing.
    :param camera: the process that takes a picture of the display.
    """

    item: Item
    tries: int
    command: tuple[str, ...]
    paths: tuple[str, str]
    phase: str = "run"
    due: float = float("inf")
    cause: str = ""
    camera: int = 0


@dataclass(eq=False)
class Slot:
    """A worker, and how to reach it.

    :param variables: those of its session, or None while it is only starting.
    """

    number: int
    pid: int
    channel: messages.Channel
    attempt: Attempt | None = None
    variables: dict[str, str] | None = None
    display: Display | None = None
    backend: str | None = None
    renderer: str | None = None

    def fileno(self) -> int:
        return self.channel.connection.fileno()

    def has_started(self, variables: dict[str, str]) -> None:
        """Note what the worker says of its session."""
        self.variables = variables
        _, _, keeper = variables.get("ANAHEADLESS_SESSION", "").partition(",")
        session = discovery.inspect_keeper(int(keeper)) if keeper.isdecimal() else None
        if session is not None and session.status is not None:
            self.backend, self.renderer = session.status.backend, session.status.renderer or None

    def is_clear(self) -> bool:
        """Whether nothing of the items that have ended is left on its display."""
        if self.display is None and self.variables is not None:
            self.display = display.connect(self.variables)
        return self.display is not None and self.display.is_clear()

    def gpu(self) -> str | None:
        """Name the GPU that its items are told to use, or None."""
        variables = self.variables or {}
        return variables.get("CUDA_VISIBLE_DEVICES") or variables.get("VGL_DISPLAY")

    def close(self) -> None:
        """Have the worker end, and with it its session."""
        self.channel.connection.close()
        if self.display is not None:
            self.display.close()


def start(number: int, program: Program, options: Options, environ: Mapping[str, str]) -> Slot:
    """Start a slot's session and worker; :raises LaunchError: no process is to be had."""
    ours, theirs = socket.socketpair()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        pid = os.fork()
        if not pid:
            ours.close()
            _become_worker(messages.Channel(theirs), program, options, environ, mask)
    except OSError as error:
        ours.close()
        raise LaunchError(f"can't start another process: {error.strerror}", hint=LIMITS_HINT) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
    with suppress(OSError):  # it has done so itself, and is another program already
        os.setpgid(pid, pid)
    channel = messages.Channel(ours)
    with suppress(ConnectionError):  # it has failed already: what it says of that is still to be read
        channel.send(program.as_message())
    return Slot(number, pid, channel)


def _become_worker(
    channel: messages.Channel,
    program: Program,
    options: Options,
    environ: Mapping[str, str],
    mask: Iterable[int],
) -> NoReturn:
    """Be the launcher of a session whose target is the worker."""
    try:
        # What a terminal sends, and who kills the mapper's group, is to leave it to the worker to end its item.
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        with suppress(OSError):  # standard error may be closed
            os.dup2(2, 1)
        if program.kind == "exec":
            ready = launch.start(options, environ, program.python, Role("map", wait_for_server=False, fork=True))
            processes.close_descriptors_except({0, 1, 2, channel.connection.fileno()})
            worker.main(channel, ready.environ)
        # To import, it takes the interpreter of the program.
        channel.connection.set_inheritable(True)
        arguments = (program.executable, _IN_SLOT, str(channel.connection.fileno()))
        launch.run(Target(program.executable, arguments), options, environ, program.python, purpose="map")
    except LaunchError as error:
        refusal = messages.refusal(error.message, error.details, error.hint, error.exit_code)
    except BaseException:
        import traceback  # only here: it should never be needed

        refusal = messages.refusal("a slot can't be started", traceback.format_exc().splitlines())
    with suppress(OSError):
        channel.send(refusal)
    os._exit(messages.REFUSED)
