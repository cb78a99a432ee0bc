"""X servers that are not ours: what VirtualGL renders on, or what the caller sits at."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.helpers import SOCKETS


class Server:
    """An X server that is not ours: what VirtualGL renders on, or what the caller sits at."""

    def __init__(self, number: int, process: psutil.Process) -> None:
        self.number, self.process = number, process
        self.display = f":{number}"


@contextmanager
def x_server(*options: str | Path) -> Iterator[Server]:
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-noreset", "-nolisten", "tcp", *map(str, options)]
    with subprocess.Popen(
        command, pass_fds=[writing], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        os.close(writing)
        try:
            with open(reading, "rb") as pipe:
                said = pipe.readline()
            assert said.endswith(b"\n"), "the server did not start"
            yield Server(int(said), psutil.Process(process.pid))
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()


def nobody() -> str:
    """A display that does not exist."""
    return f":{next(number for number in range(700, 60000) if not (SOCKETS / f'X{number}').exists())}"
