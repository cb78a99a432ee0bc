"""Print the number of each signal that comes, and leave with status 7 when it is SIGTERM."""

from __future__ import annotations

import signal

signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print("ready", flush=True)
number = 0
while number != signal.SIGTERM:
    number = signal.sigwait(signal.valid_signals())
    print(f"signal {int(number)}", flush=True)
raise SystemExit(7)
