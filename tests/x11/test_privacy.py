"""Nobody else gets at the display, or at the cookie that opens it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.helpers import holding, run

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


def other_user(*command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **environ},
        cwd="/",
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
    )


@needs_root
@pytest.mark.needs("xdpyinfo")
def test_another_user_is_refused_by_the_display() -> None:
    with holding("--gl", "none") as session:
        for environ in ({}, {"XAUTHORITY": session.authority}, {"XAUTHORITY": "/dev/null"}):
            refused = other_user("/usr/bin/xdpyinfo", DISPLAY=session.display, **environ)
            assert (refused.returncode, refused.stdout) == (1, ""), refused
        assert subprocess.run(["xdpyinfo"], env=session.environ, capture_output=True).returncode == 0


@pytest.mark.needs("xdpyinfo")
def test_a_client_without_the_cookie_is_refused(tmp_path: Path) -> None:
    """Whoever it is: also where containers share the network, and with it the abstract socket."""
    wrong = tmp_path / "authority"
    with holding("--gl", "none") as session:
        entries = bytearray(Path(session.authority).read_bytes())
        cookie = bytes(entries[-16:])
        for authority in b"", bytes(entries).replace(cookie, bytes(16)):
            wrong.write_bytes(authority)
            refused = subprocess.run(
                ["xdpyinfo"], env={**session.environ, "XAUTHORITY": str(wrong)}, capture_output=True, text=True
            )
            assert refused.returncode == 1
            assert "uthorization" in refused.stderr or "Invalid MIT-MAGIC-COOKIE-1" in refused.stderr


@needs_root
def test_another_user_can_read_nothing_of_the_session() -> None:
    with holding("--gl", "none") as session:
        pids = [str(process.pid) for process in (session.keeper, session.server, session.target)]
        for pid in pids:
            listing = other_user("sh", "-c", f"ls /proc/{pid}/fd; cat /proc/{pid}/environ /proc/{pid}/fd/*")
            assert listing.stdout == ""
            assert "denied" in listing.stderr


def test_the_cookie_is_on_no_command_line_and_in_no_environment() -> None:
    with holding("--gl", "none") as session:
        cookie = Path(session.authority).read_bytes()[-16:]
        for process in session.target, session.keeper, session.server:
            for name in "cmdline", "environ":
                shown = Path(f"/proc/{process.pid}/{name}").read_bytes()
                assert shown or process == session.keeper
                assert cookie not in shown
                assert cookie.hex() not in shown.decode("latin-1")


def test_every_session_has_a_cookie_of_its_own() -> None:
    code = "import os; print(open(os.environ['XAUTHORITY'], 'rb').read()[-16:].hex())"
    cookies = {run("run", "--gl", "none", "-c", code).stdout for _ in range(3)}
    assert len(cookies) == 3
    assert all(len(cookie) == 33 for cookie in cookies)


@pytest.mark.needs("xdpyinfo")
def test_xlib_finds_the_cookie_under_any_host_name() -> None:
    """python-xlib asks for FamilyLocal and the host's name; others, by another name, find the wild one."""
    with holding("--gl", "none") as session:
        entries = Path(session.authority).read_bytes()
        assert entries.startswith(b"\x01\x00")
        assert os.uname().nodename.encode() in entries
        assert b"\xff\xff\x00\x00" in entries
        if os.geteuid() == 0:
            command = ["unshare", "--uts", "sh", "-c", "hostname elsewhere 2>/dev/null || echo elsewhere "
                       ">/proc/sys/kernel/hostname; exec xdpyinfo"]  # fmt: skip
            renamed = subprocess.run(command, env=session.environ, capture_output=True, text=True)
            assert renamed.returncode == 0, renamed.stderr


def test_runtime_folder_is_private(tmp_path: Path) -> None:
    """XDG_RUNTIME_DIR is taken over only when it is the caller's, and closed to others."""
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    code = "import os; print(os.environ['XDG_RUNTIME_DIR'])"
    for folder, kept in ((private, True), (open_to_all, False), (tmp_path / "gone", False)):
        output = run("run", "--gl", "none", "-c", code, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)})
        assert (output.stdout.strip() == str(folder)) is kept
    created = Path(output.stdout.strip())
    assert (created.stat().st_uid, created.stat().st_mode & 0o777) == (os.geteuid(), 0o700)
