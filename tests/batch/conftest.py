"""Maps in a folder of their own, of which nothing is left afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.helpers import wait_until
from tests.support.maps import Maps


@pytest.fixture
def maps(tmp_path: Path) -> Iterator[Maps]:
    found = Maps(tmp_path)
    yield found
    try:
        wait_until(lambda: not found.left(), "nothing is left of the maps")
    finally:
        for process in found.left():
            process.kill()
