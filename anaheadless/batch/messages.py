"""Messages between the mapper and its workers, and what a worker does with one of them.

This runs in the target's own interpreter, on the standard library of Python 3.8 or newer.
"""

from __future__ import annotations

import json
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

REFUSED = 125


def refusal(message: str, details: Sequence[str] = (), hint: str = "", status: int = REFUSED) -> dict[str, Any]:
    """Make the message that says why nothing can be run."""
    return {"refused": message, "details": list(details), "hint": hint, "status": status}


class Channel:
    """Lines of JSON over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._unread = b""

    def send(self, message: dict[str, Any]) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> Iterator[dict[str, Any]]:
        """Wait for something to come, and yield the messages that are complete; :raises EOFError: nothing will come."""
        try:
            data = self.connection.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            raise EOFError
        *lines, self._unread = (self._unread + data).split(b"\n")
        yield from map(json.loads, lines)


def redirect(task: dict[str, Any]) -> None:
    """Have standard output and standard error be the files of an item."""
    for number, name in (1, "out"), (2, "err"):
        descriptor = os.open(task[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)
