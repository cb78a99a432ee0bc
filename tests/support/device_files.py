"""A /dev with the device files of GPUs that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.namespaces import in_namespaces


def with_device_files(folder: Path, *names: str) -> str:
    """What a shell in namespaces of its own does to have only *names* in its /dev; if it can't, the test is skipped."""
    steps = [
        f"mount -t tmpfs none {folder}",
        f"mkdir {folder}/dri {folder}/shm",
        *(f"touch {folder}/{name}" for name in names),
        f"for each in null zero urandom; do touch {folder}/$each; mount --bind /dev/$each {folder}/$each; done",
        f"mount --rbind {folder} /dev",
    ]
    setup = "; ".join(steps)
    if in_namespaces("true", setup=setup).returncode != 0:
        pytest.skip("nothing can be mounted on /dev")
    return setup
