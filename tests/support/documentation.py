"""Blocks of the documentation, and a home in which a user runs them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree

from tests.support.helpers import BIN, CHECKOUT

README = publish_doctree((CHECKOUT / "README.rst").read_text(), settings_overrides={"report_level": 2, "halt_level": 2})
BLOCKS = {name: block.astext() for block in README.findall(nodes.literal_block) for name in block["names"]}


def shell(command: str, home: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "HOME": str(home), "PATH": f"{home}/bin:{BIN}:{os.environ['PATH']}"}
    settings = {"env": environ, "cwd": home, "capture_output": True, "text": True, "timeout": 120, **settings}
    return subprocess.run(["bash", "-e", "-c", command], stdin=subprocess.DEVNULL, **settings)


def assert_well(output: subprocess.CompletedProcess[str]) -> None:
    assert (output.returncode, output.stderr) == (0, ""), output
