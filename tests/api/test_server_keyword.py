"""The keyword ``server`` of the functions that start a display."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.helpers import run
from tests.support.plain import bare

STARTS = {
    "setup_headless": "info = anaheadless.setup_headless(need_opengl=False, server={})",
    "virtual_display": "held = anaheadless.virtual_display(gl='none', server={}); display = held.__enter__()",
    "relaunch": "anaheadless.relaunch(gl='none', server={})",
}
LIST = """
import subprocess, sys
subprocess.run([sys.executable, '-m', 'anaheadless', 'list', '--json'], check=True)
"""


@pytest.mark.needs("Xwayland")
@pytest.mark.parametrize("function", STARTS)
def test_a_kind_of_server_can_be_asked_for(function: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import anaheadless\n{STARTS[function].format(repr('xwayland'))}\n{LIST}")
    output = run(script, command=sys.executable, env=bare())
    assert (output.returncode, output.stderr) == (0, "")
    (row,) = [row for row in json.loads(output.stdout) if str(script) in row["command"]]
    assert (row["server_kind"], row["server_reason"]) == ("xwayland", "asked for")


@pytest.mark.parametrize("function", STARTS)
@pytest.mark.parametrize(("wrong", "error"), [("nonsense", "ValueError"), (7, "TypeError")])
def test_what_is_no_kind_of_server_is_refused(function: str, wrong: object, error: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import anaheadless\n{STARTS[function].format(repr(wrong))}\n")
    output = run(script, command=sys.executable, env=bare())
    assert (output.returncode, output.stdout) == (1, "")
    assert f"\n{error}: " in output.stderr
    assert "server" in output.stderr.splitlines()[-1]
