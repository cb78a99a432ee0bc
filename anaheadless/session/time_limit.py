"""The time limit of a target: a screenshot and SIGTERM when its time is up, SIGKILL after a grace period.

This is part of the keeper, so it imports next to nothing.
"""

from __future__ import annotations

import os
import time

from anaheadless.session.helpers import log, print_stderr
from anaheadless.system.light_stdlib import signal, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from anaheadless.system.processes import Process


class TimeLimit:
    """The time that a target has left; it runs from :meth:`start` on, by this process's real-time timer.

    :param timeout: seconds until SIGTERM.
    :param grace: seconds from there to SIGKILL.
    :param save_screenshot: called when the time is up.
    """

    def __init__(self, target: Process, timeout: float, grace: float, save_screenshot: Callable[[], None]) -> None:
        self._target, self._save_screenshot = target, save_screenshot
        self._steps = [(signal.SIGKILL, "SIGKILL", grace), (signal.SIGTERM, "SIGTERM", timeout)]
        self._due = 0.0
        self._own_group = False

    def start(self, *, own_group: bool) -> None:
        """Let the time run.

        :param own_group: the target leads a process group that was made for it, and whose signals these are, too.
        """
        self._own_group = own_group
        self._set_timer(self._steps[-1][2])

    def _set_timer(self, seconds: float) -> None:
        self._due = time.monotonic() + seconds
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _on_alarm(self, *_: object) -> None:
        left = self._due - time.monotonic()
        if left > 0:  # somebody else's signal
            signal.setitimer(signal.ITIMER_REAL, left)
            return
        # Nor is one meant that comes meanwhile, or after the last step.
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        number, name, seconds = self._steps.pop()
        if number == signal.SIGTERM:
            self._save_screenshot()
        if not self._target.is_alive():
            return
        _report(f"PID {self._target.pid} was still running after {in_words(seconds)}: {name}")
        for each in number, signal.SIGCONT:  # it may be stopped
            try:
                self._send(each)
            except ProcessLookupError:
                break
            except PermissionError as error:  # it has become another user's
                _report(f"PID {self._target.pid} can't be ended: {error.strerror}")
                break
        if self._steps:
            self._set_timer(self._steps[-1][2])

    def _send(self, number: int) -> None:
        """Send a signal to the target, once, and to the process group that was made for it."""
        pid = self._target.pid
        if self._own_group:
            with suppress(ProcessLookupError):  # the target has gone elsewhere, and was alone
                os.killpg(pid, number)
        if not self._own_group or os.getpgid(pid) != pid:
            self._target.send(number)


def _report(event: str) -> None:
    log(event)
    print_stderr(f"anaheadless: {event}")


def in_words(seconds: float) -> str:
    """Write a time as --timeout takes it: 90s, 2h."""
    for unit, name in (86400, "d"), (3600, "h"), (60, "m"):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g}{name}"
    return f"{seconds:g}s"
