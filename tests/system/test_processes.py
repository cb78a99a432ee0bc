"""Processes, as /proc shows them."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from anaheadless.system import processes


@given(st.binary(min_size=1, max_size=15))
@example(b") R 1 (")
@example(b"\n\xff")
def test_any_name_of_a_process_can_be_read(name: bytes) -> None:
    start = processes.state(os.getpid())[1]
    before = Path("/proc/self/comm").read_bytes()
    try:
        Path("/proc/self/comm").write_bytes(name)
        assert processes.state(os.getpid()) == ("R", start)
    finally:
        Path("/proc/self/comm").write_bytes(before.rstrip(b"\n"))
