from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.documentation import BLOCKS
from tests.support.helpers import BIN


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a user who has the README's hello.py, some tests, and anaheadless in a virtual environment."""
    (tmp_path / "hello.py").write_text(BLOCKS["hello"])
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_display.py").write_text("import os\ndef test(): assert os.environ['DISPLAY']\n")
    (tmp_path / "venv").symlink_to(BIN.parent)
    # What stands in for the network and the system: apt-get only simulates, and pip has done its work already.
    (tmp_path / "bin").mkdir()
    for name, lines in {
        "sudo": 'exec "$@"',
        "apt-get": f'[ "$1" = update ] || exec {shutil.which("apt-get")} --simulate "$@"',
        "pip": '[ "$*" = "install anaheadless" ]',
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path
