"""Nothing may be left behind: by no test, whatever it is about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import anaheadless.keeper
from helpers import wait_until


def orphaned_keepers() -> list[str]:
    """Keepers of this checkout whose target has ended."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if anaheadless.keeper.__file__ in command:
            display, target, start = command[command.index(anaheadless.keeper.__file__) + 1 :][:3]
            if not anaheadless.keeper.is_alive(int(target), start):
                found.append(f"{display} of {target}: {process}")
    return found


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    wait_until(lambda: not orphaned_keepers(), "no keeper outlives its target")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "script.py"
