"""Say "ready", wait for the end of standard input, and leave with the status given, or 3 if the display is gone.

Arguments: STATUS, and as wanted ``stubborn`` (SIGTERM is ignored) or ``display GL`` (a virtual_display of its own).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys


def answers(display: str) -> bool:
    """Whether an X server says anything there, a refusal too: no cookie is shown to it."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(20)
        client.connect(f"/tmp/.X11-unix/X{display[1:]}")
        client.sendall(struct.pack("<cxHHHHxx", b"l", 11, 0, 0, 0))
        return client.recv(1) != b""
    return False


def stay(display: str) -> int:
    print("ready", flush=True)
    sys.stdin.read()
    return int(status) if answers(display) else 3


status, *words = sys.argv[1:]
if words[:1] == ["stubborn"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if words[:1] == ["display"]:
    from anaheadless import LaunchError, virtual_display

    try:
        with virtual_display(gl=words[1]) as own:
            left_with = stay(own.display)
    except LaunchError as error:
        print(error, file=sys.stderr)
        left_with = 125
else:
    left_with = stay(os.environ["DISPLAY"])
sys.exit(left_with)
