"""What there is of a virtual_display(), and what it looks like from inside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from anaheadless import VirtualDisplay
from tests.support.helpers import (
    SOCKETS,
    is_running,
)


def parts(display: VirtualDisplay) -> list[psutil.Process]:
    """Keeper and X server."""
    found = psutil.Process(int(display.environ["ANAHEADLESS_SESSION"].partition(",")[2]))
    return [found, *found.children()]


def watch(display: VirtualDisplay) -> Callable[[], list[str]]:
    """What will say, at any later time, what is left of *display*."""
    number = int(display.display[1:])
    processes = parts(display)
    assert len(processes) == 2
    files = SOCKETS / f"X{number}", Path(f"/tmp/.X{number}-lock")

    def left() -> list[str]:
        return [str(x) for x in processes if is_running(x)] + [str(x) for x in files if os.path.lexists(x)]

    return left


def python(*args: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    settings = {"capture_output": True, "text": True, "timeout": 60, "stdin": subprocess.DEVNULL, **settings}
    return subprocess.run([sys.executable, *args], **settings)


def xdpyinfo(environ: Mapping[str, str]) -> str:
    return subprocess.run(["xdpyinfo"], env=environ, capture_output=True, text=True, timeout=60, check=True).stdout
