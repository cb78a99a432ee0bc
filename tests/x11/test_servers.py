"""The command line of X servers, and the files that they leave."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anaheadless.options import Screen
from anaheadless.x11 import server_process
from anaheadless.x11.servers import xvfb


def test_the_users_own_arguments_have_the_last_word() -> None:
    command = xvfb.command(
        "/bin/Xvfb", 2000, Screen(), None, glx=True, extra=["-dpi", "7"], authority="/a", activate=True
    )
    assert command[:5] == ["/bin/Xvfb", ":2000", "-screen", "0", "1280x1024x24"]
    assert command[-2:] == ["-dpi", "7"]
    assert "GLX" not in command
    command = xvfb.command("/bin/Xvfb", 2000, Screen(), 96, glx=False, extra=[], authority="/a", activate=False)
    assert " -dpi 96 " in " ".join(command)
    assert command[-2:] == ["-extension", "GLX"]


@given(st.binary(max_size=30))
@example(b"")
@example(b"        -1\n")
@example(b"9" * 30)
def test_any_file_is_a_lock_of_ours_or_not(folder: Path, text: bytes) -> None:
    lock = folder / "lock"
    lock.write_bytes(text)
    assert not server_process.is_locked_by(str(lock), 999999999)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parsers")
