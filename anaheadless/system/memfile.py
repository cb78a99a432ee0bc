"""Files without a name: nothing to be left behind, and nothing for others to open."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


def memory_file(name: str) -> BinaryIO:
    """A new file for reading and writing, in memory where that can be had; *name* is for people who look at /proc."""
    # Not there in a Python that was built for glibc before 2.27: conda's and uv's (globus-compute#2204, uv#15081).
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create(f"anaheadless-{name}"), "w+b", buffering=0)
    import tempfile  # no small import

    return tempfile.TemporaryFile(buffering=0, dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
