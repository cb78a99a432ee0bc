"""A virtual_display(): its processes and files, and what it says of itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

import anaheadless
from anaheadless import VirtualDisplay
from anaheadless.options import Screen, parse_screen
from anaheadless.x11.servers.choice import KINDS
from tests.support.helpers import SOCKETS, is_running


def virtual_display(screen: str = str(Screen()), **options: Any) -> AbstractContextManager[VirtualDisplay]:
    """Start a display by the kind of X server that this test run is for; in Python, no variable chooses that.

    The test is skipped where that kind can't make the *screen*.
    """
    chosen = os.environ.get("ANAHEADLESS_SERVER", "auto")
    if any(kind.name == chosen and not kind.can_make(parse_screen(screen)) for kind in KINDS):
        pytest.skip(f"{chosen} can't make a screen of {screen}")
    return anaheadless.virtual_display(screen=screen, server=chosen, **options)


def parts(display: VirtualDisplay) -> list[psutil.Process]:
    """The keeper of *display*, and its X server."""
    found = psutil.Process(int(display.environ["ANAHEADLESS_SESSION"].partition(",")[2]))
    return [found, *found.children()]


def watch(display: VirtualDisplay) -> Callable[[], list[str]]:
    """Remember what there is of *display*; the function returned says, at any later time, what is left of it."""
    number = int(display.display[1:])
    processes = parts(display)
    assert len(processes) == 2
    files = SOCKETS / f"X{number}", Path(f"/tmp/.X{number}-lock")

    def left() -> list[str]:
        return [str(x) for x in processes if is_running(x)] + [str(x) for x in files if os.path.lexists(x)]

    return left


def xdpyinfo(environ: Mapping[str, str]) -> str:
    return subprocess.run(["xdpyinfo"], env=environ, capture_output=True, text=True, timeout=60, check=True).stdout
