"""The protocol between launcher and keeper: descriptor numbers, words and signals. There is nothing but constants here.

The keeper imports this, so it imports next to nothing.
"""

from __future__ import annotations

from anaheadless.system.light_stdlib import signal

KEEPER_FILE = "keeper.py"  # by this name in its command line, a keeper is known

# The keeper's descriptors; its docstring says what they are.
CONTROL, MESSAGES, FIRST_LISTENER, COOKIE, STATUS, LOG, STDERR = 1, 2, 3, 5, 6, 7, 8
RECORDER, TARGET, REPORT, COMPOSITOR, FOR_SERVER, WINDOW_MANAGER = 10, 11, 12, 13, 14, 15

# What the launcher says on the control socket; the keeper answers READY with READY.
READY, GROUP, HOLD, RELEASE, END = b"R", b"G", b"H", b"F", b"E"
# What the keeper says there when somebody stops the session.
STOPPED = b"X"

# A stop by systemd, or the end of some batch jobs, signals every process; the target may still need its display.
IGNORED_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2),
    signal.SIGXCPU,
)
STOP = signal.SIGRTMIN  # ends the session, and is sent by nobody else
FINISH = signal.SIGXCPU  # ends a recorder in good order
