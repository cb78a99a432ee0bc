"""What differs between the kinds of X servers, as a user sees it; all else is tested with each of them elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from anaheadless.x11.servers import xwayland
from anaheadless.x11.servers.choice import KINDS
from anaheadless.x11.servers.kind import ServerKind
from tests.support.helpers import ANAHEADLESS, assert_refused, holding, listed_sessions, log_lines, run, write_program
from tests.support.namespaces import in_namespaces, needs_namespaces
from tests.support.server_kinds import installed

pytestmark = pytest.mark.any_server

BARE = ("run", "--gl", "none")
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@every_kind
def test_the_kind_that_is_asked_for_is_taken_and_shown(kind: ServerKind) -> None:
    program = installed(kind)
    with holding("--gl", "none", "--server", kind.name) as session:
        assert session.server.cmdline()[0] == program
        row = listed_sessions()[session.display]
        assert (row["server_kind"], row["server_reason"]) == (kind.name, "asked for")
    said = run(*BARE, "-v", "--server", kind.name, "-c", "").stderr
    assert f"X server: {kind.name}, asked for\n" in said


@every_kind
def test_a_refused_argument_is_quoted(kind: ServerKind) -> None:
    installed(kind)
    output = run(*BARE, "--server", kind.name, "--server-arg=-nonsense", "-c", "")
    assert_refused(output, 125, "ended before it was ready", "Unrecognized option: -nonsense", "--server-arg")
    assert "wiki" not in output.stderr


@every_kind
def test_a_screen_that_takes_too_much_memory_is_said(kind: ServerKind) -> None:
    """By the hint, where Xvnc itself says nothing."""
    installed(kind)
    limited = ("-c", 'ulimit -v 200000; exec "$@"', "sh", ANAHEADLESS)
    output = run(*limited, *BARE, "--server", kind.name, "--screen", "16000x16000", "-c", "", command="sh")
    assert_refused(output, 125, "ended before it was ready", "choose a smaller one")


@needs_namespaces
def test_a_tmp_that_xwayland_can_not_write_to_is_said() -> None:
    installed(xwayland.KIND)
    output = in_namespaces(
        *(ANAHEADLESS, *BARE, "--server", "xwayland", "-c", ""),
        setup="mount -t tmpfs none /tmp; mkdir /tmp/.X11-unix; mount -t tmpfs none /tmp/.X11-unix",
        last="mount -o remount,ro,bind none /tmp",
    )
    assert_refused(output, 125, "ended before it was ready", "in /tmp, where you can't write", "another --server")


@pytest.mark.parametrize(
    "words", ["garbage, and more of that", r"\001\000\000\000\000\000\377\177", r"\377\377\377\377\000\000\010\000"]
)
def test_a_server_that_speaks_no_wayland_is_ended(words: str, tmp_path: Path) -> None:
    real = shutil.which("Xwayland")
    if real is None:
        pytest.skip("xwayland is not installed")
    write_program(tmp_path / "Xwayland", f"[ $1 = -help ] || printf '{words}' >&6", f'exec {real} "$@"')
    log = tmp_path / "log"
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    output = run(*BARE, "--server", "xwayland", "--log", str(log), "-c", "", env=environ)
    assert_refused(output, 125, "the X server ended before it was ready")
    lines = log_lines(log)
    assert any(line.startswith("the X server speaks no Wayland: ") for line in lines), lines
    assert lines[-1] == "nothing is left"
