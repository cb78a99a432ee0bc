from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.documentation import BLOCKS
from tests.support.helpers import BIN


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a user who has the documentation's hello.py, some tests, and anaheadless in a virtual environment."""
    (tmp_path / "hello.py").write_text(BLOCKS["hello"])
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_display.py").write_text("import os\ndef test(): assert os.environ['DISPLAY']\n")
    (tmp_path / "venv").symlink_to(BIN.parent)
    # Stand-ins for the network and the system: apt-get only simulates, and the others have done their work already.
    (tmp_path / "bin").mkdir()
    for name, lines in {
        "sudo": 'exec "$@"',
        "apt-get": f'[ "$1" = update ] || exec {shutil.which("apt-get")} --simulate "$@"',
        "pip": 'case "$*" in "install ./anaheadless" | "install /src/anaheadless") ;; *) exit 1 ;; esac',
        "pipx": '[ "$*" = "install ./anaheadless" ]',
        "conda": '[ "$1 $2" = "install -c" ]',
        "dnf": '[ "$1 $2" = "install -y" ]',
        "jupyter": 'echo "$1 on display $DISPLAY"',
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path
