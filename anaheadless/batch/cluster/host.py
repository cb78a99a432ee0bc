"""A slot on a worker's machine: a process with the engine of a single machine, for one item after another.

It is a process of its own because a Dask worker has threads, which must not fork, and children that are not ours. It
talks to the worker over a socket, see :class:`anaheadless.batch.messages.Channel`. These come:

``{"item": [NUMBER, [VALUE, ...], ID], "tries": N}``
    Run an item.
``{"end": KILL}``
    End the item, at once or by SIGTERM first.

and one of these is the answer:

``{"result": {NAME: VALUE, ...}}``
    What came of it, see :class:`anaheadless.batch.journal.Result`.
``{"back": true}``
    It was ended as it was asked for.
``{"idle": true}``
    It has ended, for nothing has come; what comes now is not run.
``{"refused": TEXT, "details": [LINE, ...], "hint": TEXT, "status": STATUS}``
    Nothing can be run here.

When the worker closes the socket, or dies, everything ends; likewise when no item has come for IDLE_SECONDS, for nobody
tells a worker that a mapper was killed.
"""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import socket
import sys
import time
from typing import Any

from anaheadless.batch import messages, signals
from anaheadless.batch.engine import GivenBack, Started
from anaheadless.batch.items import Item
from anaheadless.batch.journal import Result
from anaheadless.batch.local import LocalEngine
from anaheadless.errors import LaunchError

IDLE_SECONDS = 60.0


class Host:
    """An engine with one slot, and the channel to the worker."""

    def __init__(self, channel: messages.Channel, selector: selectors.BaseSelector, settings: dict[str, Any]) -> None:
        self._channel = channel
        self._selector = selector
        self.engine = LocalEngine(**settings, selector=selector, tell=self._tell)
        selector.register(channel.connection, selectors.EVENT_READ, self._hear)

    def serve(self) -> None:
        """Serve the worker until it is gone, or has nothing to do any more; :raises EOFError: that is so."""
        while True:
            due = self.engine.due() if self.engine.is_busy() else time.monotonic() + IDLE_SECONDS
            seconds = None if due == float("inf") else max(0.0, due - time.monotonic())
            ready = self._selector.select(seconds)
            if not ready and not self.engine.is_busy():
                self._channel.send({"idle": True})
                return
            for key, _ in ready:
                key.data()
            self.engine.attend()

    def _hear(self) -> None:
        for message in self._channel.receive():
            if "item" in message:
                number, values, name = message["item"]
                self.engine.give(Item(number, tuple(values), name), message["tries"])
            else:
                self.engine.end_items(kill=message["end"])

    def _tell(self, told: Started | GivenBack | Result) -> None:
        if isinstance(told, GivenBack):
            self._channel.send({"back": True})
        elif isinstance(told, Result):
            self._channel.send({"result": {**told.as_dict(), "value": told.value}})


def main() -> None:
    """Read what is to be run from standard input, and serve the worker on the descriptor that is named."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    settings = pickle.load(sys.stdin.buffer)  # noqa: S301  # it is our parent's
    channel = messages.Channel(connection)
    selector = selectors.DefaultSelector()

    def note(number: int) -> None:
        if number != signal.SIGCHLD:
            sys.exit(128 + number)

    with signals.noted(note, selector):
        host = Host(channel, selector, settings)
        try:
            host.serve()
        except LaunchError as error:
            channel.send(messages.refusal(error.message, error.details, error.hint, error.exit_code))
        except (EOFError, ConnectionError):
            pass
        finally:
            host.engine.close()


if __name__ == "__main__":
    os.dup2(2, 1)
    main()
