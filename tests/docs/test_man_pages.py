"""The man pages say what the commands say of themselves, and man can read them."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

from tests.support.helpers import CHECKOUT

FOLDER = CHECKOUT / "docs" / "man"


def test_man_pages_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("man_pages", CHECKOUT / "docs" / "man_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert found == module.pages(), "run python docs/man_pages.py"


@pytest.mark.needs("man", "groff")
@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_man_reads_them(path: Path) -> None:
    command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(path)]
    output = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (output.returncode, output.stderr) == (0, "")
