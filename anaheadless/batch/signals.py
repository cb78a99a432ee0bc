"""Signals to a process that waits in a selector."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


@contextmanager
def noted(note: Callable[[int], None], selector: selectors.BaseSelector) -> Iterator[None]:
    """Have the *selector* find out about signals, and *note* them."""
    heard, said = os.pipe()
    for end in heard, said:
        os.set_blocking(end, False)

    def listen() -> None:
        with suppress(BlockingIOError):
            for number in dict.fromkeys(os.read(heard, 4096)):
                note(number)

    selector.register(heard, selectors.EVENT_READ, listen)
    before = {}
    wakeup = signal.set_wakeup_fd(said, warn_on_full_buffer=False)
    try:
        for number in HANDLED:
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGCHLD:  # nohup's stays ignored
                before[number] = signal.signal(number, lambda *_: None)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        selector.close()
        os.close(heard)
        os.close(said)
