from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def no_server(tmp_path: Path) -> dict[str, str]:
    """An environment in which a server that is started leaves a trace, whatever becomes of it."""
    (tmp_path / "Xvfb").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "Xvfb").chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
