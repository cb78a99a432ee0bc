"""How far a map is: on a terminal, elsewhere, and for programs."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from anaheadless.batch import progress
from tests.support.helpers import ANAHEADLESS
from tests.support.maps import Maps


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((10, 0, 0, 0, 0.0), "0 of 10 items are done"),
        ((10, 4, 2, 1, 4.0), "5 of 10 items are done, 1 failed, 0.5 a second, 8 s left"),
        ((1000, 0, 10, 0, 10.0), "10 of 1000 items are done, 1.0 a second, 16 min left"),
        ((100000, 0, 10, 0, 10.0), "10 of 100000 items are done, 1.0 a second, 27.8 h left"),
        ((2, 0, 2, 0, 1.0), "2 of 2 items are done, 2.0 a second"),
    ],
)
def test_the_state_in_words(numbers: tuple[int, int, int, int, float], text: str) -> None:
    assert progress.state(*numbers) == text


def test_a_terminal_shows_a_bar_and_whole_lines(maps: Maps) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 100, 0, 0))
    command = [
        ANAHEADLESS,
        "map",
        "--gl",
        "none",
        "-j1",
        "-c",
        "import sys; print('<said>'); sys.exit(sys.argv[1] == 'b')",
    ]
    command += [":::", "a", "b", "c"]
    process = subprocess.Popen(
        command, cwd=maps.folder, env=maps.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:  # EIO: it has ended
        pass
    os.close(ours)
    output, _ = process.communicate(timeout=30)
    assert (output, process.returncode) == (b"<said>\n" * 3, 1)
    text = said.decode()
    assert re.search(r"3/3 .*1 failed", text)
    assert "anaheadless: item 2 (b) failed with status 1" in text
    assert "2 of 3 items are done, 1 failed" in text


def test_the_bar_is_only_imported_for_a_terminal(maps: Maps) -> None:
    command = [sys.executable, "-X", "importtime", ANAHEADLESS, "map", "--gl", "none", "-c", "pass", ":::", "a"]
    output = subprocess.run(command, cwd=maps.folder, env=maps.environ, capture_output=True, text=True, check=True)
    assert "anaheadless.batch.progress" in output.stderr
    assert "tqdm" not in output.stderr
