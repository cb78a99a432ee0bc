"""Say which session this is, as one line of JSON, and stay until standard input ends.

With --on-signal NAME=STATUS, that signal asks the display for its size and leaves with the status.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time


def report() -> dict[str, object]:
    keeper = int(os.environ["ANAHEADLESS_SESSION"].partition(",")[2])
    deadline = time.monotonic() + 10
    children: list[str] = []
    while not children and time.monotonic() < deadline:  # the launcher may be faster than the keeper
        with open(f"/proc/{keeper}/task/{keeper}/children") as file:
            children = file.read().split()
    server = int(children[0])
    return {
        "target": os.getpid(),
        "keeper": keeper,
        "server": server,
        "display": os.environ["DISPLAY"],
        "authority": os.environ["XAUTHORITY"],
    }


def leave_with(status: int) -> None:
    """The script's own clean-up: it still has its display."""
    answer = subprocess.run(["xdpyinfo"], capture_output=True, text=True)
    # Not print(): the signal may have come in the middle of one.
    os.write(1, f"clean-up: {'display works' if 'dimensions' in answer.stdout else answer.stderr}\n".encode())
    os._exit(status)


for option in sys.argv[1:]:
    name, _, status = option.partition("=")
    signal.signal(signal.Signals[name], lambda *_, status=int(status): leave_with(status))
print(json.dumps(report()), flush=True)
sys.stdin.read()
