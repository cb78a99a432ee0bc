"""What launcher and keeper have agreed on: descriptor numbers, words and signals. There is nothing but constants here.

Part of the keeper, which imports next to nothing.
"""

from __future__ import annotations

from anaheadless.system.light_stdlib import signal

CONTROL, MESSAGES, FIRST_LISTENER, COOKIE, STATUS, LOG, STDERR = 1, 2, 3, 5, 6, 7, 8
READY, GROUP, HOLD, RELEASE, END = b"R", b"G", b"H", b"F", b"E"
STOPPED = b"X"
SAYS_READY, LATE = b"S", b"L"
RECORDER, TARGET = 10, 11
# A stop by systemd, or the end of some batch jobs, signals every process; the target may still need its display.
IGNORED_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2),
    signal.SIGXCPU,
)
STOP = signal.SIGRTMIN  # ends the session, and is sent by nobody else
FINISH = signal.SIGXCPU  # ends a recorder in good order
