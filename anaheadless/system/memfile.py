"""Files without a name, which can't be left behind and which other users can't open."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


def memory_file(name: str) -> BinaryIO:
    """Create a file for reading and writing, in memory if possible.

    :param name: shown in /proc, for people.
    """
    # A Python that was built for glibc before 2.27 lacks it: conda's and uv's (globus-compute#2204, uv#15081).
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create(f"anaheadless-{name}"), "w+b", buffering=0)
    import tempfile  # only here: slow to import

    return tempfile.TemporaryFile(buffering=0, dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
