"""A running session, as the process that has started it holds it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from anaheadless.errors import LaunchError
from anaheadless.session import protocol
from anaheadless.session.discovery import SessionStatus
from anaheadless.system.light_stdlib import Record

CLOSE_SECONDS = 5.0
READY_WORD_SECONDS = 0.2


class Session(Record):
    """A display, its X server and their keeper.

    :param authority: the X authority file.
    :param keeper: the PID of the keeper.
    :param control: the keeper's control socket; the session ends when END is sent there, or with the target.
    :param starter: the PID of the process that has started the session.
    """

    display: str
    authority: str
    keeper: int
    control: socket.socket
    starter: int

    def publish(self, status: SessionStatus) -> None:
        """Store *status* with the keeper, where :mod:`anaheadless.session.discovery` finds it.

        :raises LaunchError: the keeper has ended.
        """
        try:
            with open(f"/proc/{self.keeper}/fd/{protocol.STATUS}", "ab") as file:
                file.write(status.as_text().encode("utf-8", "surrogateescape"))
        except OSError as error:
            if was_stopped(self.control):
                raise stopped() from error
            raise LaunchError(
                f"the keeper has ended: {error.strerror}", hint="Something has killed it. Try again."
            ) from error

    def release(self) -> None:
        """Let the session live on without this process, where another process is its target."""
        with suppress(OSError):  # the keeper has ended: whoever uses the display will find out
            self.control.send(protocol.RELEASE, socket.MSG_NOSIGNAL)

    def accepts_early_clients(self) -> bool:
        """Return whether the server, which is ready, took our sockets and has said so: clients need not wait for it.

        A server that does not say so costs READY_WORD_SECONDS.
        """
        self.control.settimeout(READY_WORD_SECONDS)
        try:
            return self.control.recv(1) == protocol.READY
        except OSError:
            return False

    def close(self) -> None:
        """End the session; wait until nothing is left of it, but no longer than CLOSE_SECONDS."""
        if os.getpid() == self.starter:
            close_keeper(self.control)
        else:  # a forked child: the session is its parent's
            self.control.close()


def close_keeper(control: socket.socket) -> None:
    """Tell the keeper to end, and wait until it has; after CLOSE_SECONDS it ends by itself."""
    with control, suppress(OSError):
        control.settimeout(CLOSE_SECONDS)
        control.send(protocol.END, socket.MSG_NOSIGNAL)
        while control.recv(64):
            pass


def was_stopped(control: socket.socket) -> bool:
    """Return whether a keeper has said, before it ended, that somebody has stopped the session."""
    control.settimeout(0.0)
    with suppress(OSError):
        while word := control.recv(64):
            if word == protocol.STOPPED:
                return True
    return False


def stopped() -> LaunchError:
    """Make the error for a session that was stopped while it was starting."""
    return LaunchError("the session was stopped while it was starting", hint="anaheadless stop did that. Start again.")
